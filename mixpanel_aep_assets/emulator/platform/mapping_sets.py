"""Data Prep's mapping sets as objects: made, read, replaced, checked for shape (platform.md#mapping-sets).

The mapping language itself is not emulated: `validate` looks at the shape alone.
"""

from __future__ import annotations

from typing import Any

from starlette.responses import Response
from starlette.routing import Route

from mixpanel_aep_assets.emulator.http import endpoint, reply
from mixpanel_aep_assets.emulator.platform.gateway import PlatformCall, bad_request, not_found, through
from mixpanel_aep_assets.emulator.store import Document

BASE = "/data/foundation/conversion/mappingSets"
SOURCE_TYPES = frozenset({"ATTRIBUTE", "EXPRESSION", "STATIC", "text/x.schema-path"})
MAXIMUM_EXPRESSION = 4096


def create(call: PlatformCall) -> Response:
    """A new mapping set."""
    body = call.object()
    if errors := shape_errors(body):
        raise bad_request(errors[0])
    now = call.world.clock.now_ms()
    made = {
        **body, "id": call.platform.mapping_set_id(), "version": 0, "createdDate": now, "modifiedDate": now,
        "createdBy": call.client, "modifiedBy": call.client,
    }  # fmt: skip
    call.platform.mapping_sets.put(made["id"], {"sandbox": call.sandbox, "body": made})
    names = ("id", "version", "createdDate", "modifiedDate", "createdBy", "modifiedBy")
    return reply({name: made[name] for name in names})


def mapping_sets(call: PlatformCall) -> Response:
    """The sandbox's mapping sets."""
    own = [one["body"] for one in call.platform.mapping_sets.values() if one["sandbox"] == call.sandbox]
    if name := call.query.get("name"):
        own = [one for one in own if one.get("name") == name]
    order = call.query.get("orderBy", "-createdDate")
    own.sort(key=lambda one: one["createdDate"], reverse=order.startswith("-"))
    start, limit = call.query.get("start", "0"), call.query.get("limit", "20")
    if not (start.isdigit() and limit.isdigit()):
        raise bad_request("start and limit must be integers")
    return reply({"data": own[int(start) : int(start) + int(limit)], "_page": {"count": len(own)}})


def mapping_set(call: PlatformCall) -> Response:
    """One mapping set."""
    return reply(_found(call)["body"])


def replace(call: PlatformCall) -> Response:
    """A mapping set anew, with the next version."""
    found, body = _found(call), call.object()
    if errors := shape_errors(body):
        raise bad_request(errors[0])
    old = found["body"]
    made = {**body, **{name: old[name] for name in ("id", "createdDate", "createdBy")}, "version": old["version"] + 1}
    made.update(modifiedDate=call.world.clock.now_ms(), modifiedBy=call.client)
    call.platform.mapping_sets.put(made["id"], {"sandbox": call.sandbox, "body": made})
    return reply(made)


def mappings(call: PlatformCall) -> Response:
    """The mappings of a mapping set."""
    return reply(_found(call)["body"].get("mappings", []))


def validate(call: PlatformCall) -> Response:
    """Whether the body has the shape of a mapping set."""
    errors = shape_errors(call.object())
    return reply({"validationResponse": [{"status": "ERROR" if errors else "SUCCESS", "errors": errors or None}]})


def shape_errors(body: dict[str, Any]) -> list[str]:
    """What is wrong with the shape."""
    rows = body.get("mappings")
    if not isinstance(rows, list):
        return ["mappings must be an array"]
    errors = []
    if not (body.get("xdmSchema") or (body.get("outputSchema") or {}).get("schemaRef")):
        errors.append("xdmSchema or outputSchema.schemaRef is required")
    for index, row in enumerate(rows):
        if not isinstance(row, dict) or row.get("sourceType") not in SOURCE_TYPES:
            errors.append(f"mappings[{index}].sourceType must be ATTRIBUTE, EXPRESSION or STATIC")
        elif not isinstance(row.get("source"), str) or not (row.get("destination") or row.get("destinationXdmPath")):
            errors.append(f"mappings[{index}] needs source and destination")
        elif row["sourceType"] == "EXPRESSION" and len(row["source"]) > MAXIMUM_EXPRESSION:
            errors.append(f"mappings[{index}].source is longer than {MAXIMUM_EXPRESSION} characters")
    return errors


def _found(call: PlatformCall) -> Document:
    found = call.platform.mapping_sets.get(call.path("id"))
    if found is None or found["sandbox"] != call.sandbox:
        raise not_found(f"The mapping set {call.path('id')} was not found")
    return found


ROUTES = [
    Route(BASE, endpoint(through(mapping_sets)), methods=["GET"]),
    Route(BASE, endpoint(through(create)), methods=["POST"]),
    Route(f"{BASE}/validate", endpoint(through(validate)), methods=["POST"]),
    Route(f"{BASE}/{{id}}", endpoint(through(mapping_set)), methods=["GET"]),
    Route(f"{BASE}/{{id}}", endpoint(through(replace)), methods=["PUT"]),
    Route(f"{BASE}/{{id}}/mappings", endpoint(through(mappings)), methods=["GET"]),
]
