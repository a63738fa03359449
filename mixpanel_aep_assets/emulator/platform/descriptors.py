"""Descriptors of the Schema Registry: which field is an identity (platform.md#descriptors)."""

from __future__ import annotations

import re
import secrets
from typing import Any

from starlette.responses import Response
from starlette.routing import Route

from mixpanel_aep_assets.emulator.http import endpoint, reply
from mixpanel_aep_assets.emulator.platform import listing
from mixpanel_aep_assets.emulator.platform.composition import Registry
from mixpanel_aep_assets.emulator.platform.gateway import PlatformCall, bad_request, through
from mixpanel_aep_assets.emulator.platform.namespaces import known
from mixpanel_aep_assets.emulator.platform.registry import BASE, xdm_problem
from mixpanel_aep_assets.emulator.store import Document

IDENTITY = "xdm:descriptorIdentity"
MAXIMUM = 4000
_ACCEPT = re.compile(r"application/vnd\.adobe\.xdm(-v2)?(-id|-link)?\+json\s*(;.*)?")


def descriptors(call: PlatformCall) -> Response:
    """The descriptors of the sandbox: all of them by type, or with a `v2` form one page of them."""
    header = call.header("accept") or ""
    found = _ACCEPT.fullmatch(header.strip())
    if found is None:
        raise xdm_problem(
            "XDM-1008-400", "Invalid Accept header", f"The Accept header {header!r} is not for descriptors"
        )
    paged, form = found[1], found[2]
    known = [one["body"] for one in _own(call)]
    if paged:
        bodies, page = listing.page(call, known, "@id")
        return reply({"results": [_shown(body, form) for body in bodies], "_page": page, "_links": {}})
    answer: dict[str, list[Any]] = {}
    for body in known:
        answer.setdefault(body["@type"], []).append(_shown(body, form))
    return reply(answer)


def _shown(body: dict[str, Any], form: str | None) -> Any:
    return {"-id": body["@id"], "-link": f"/tenant/descriptors/{body['@id']}"}.get(form or "", body)


def descriptor(call: PlatformCall) -> Response:
    """One descriptor."""
    header = call.header("accept") or "*/*"
    if header != "*/*" and not _ACCEPT.fullmatch(header.strip()):
        raise xdm_problem(
            "XDM-1009-400", "Invalid Accept header", f"The Accept header {header!r} is not for descriptors"
        )
    return reply(_found(call)["body"])


def create(call: PlatformCall) -> Response:
    """A new descriptor."""
    if len(_own(call)) >= MAXIMUM:
        raise bad_request(f"A sandbox holds at most {MAXIMUM} descriptors")
    body = _checked(call, call.object(), None)
    call.platform.descriptors.put(body["@id"], {"sandbox": call.sandbox, "body": body})
    return reply(body, 201)


def replace(call: PlatformCall) -> Response:
    """A descriptor anew, under its id."""
    found = _found(call)
    body = _checked(call, call.object(), found["body"]["@id"])
    call.platform.descriptors.put(body["@id"], {"sandbox": call.sandbox, "body": body})
    return reply({"@id": body["@id"]}, 201)


def delete(call: PlatformCall) -> Response:
    """Remove a descriptor."""
    call.platform.descriptors.delete(_found(call)["body"]["@id"])
    return Response(status_code=204)


def _checked(call: PlatformCall, body: dict[str, Any], identifier: str | None) -> dict[str, Any]:
    registry = Registry(call.platform, call.sandbox, call.platform.tenant(call.org))
    if not str(body.get("@type", "")).startswith("xdm:"):
        raise bad_request("@type is required")
    schema = registry.find(str(body.get("xdm:sourceSchema")))
    if schema is None:
        raise bad_request(f"The schema {body.get('xdm:sourceSchema')} was not found")
    path = str(body.get("xdm:sourceProperty", ""))
    if not path.startswith("/") or path.endswith("/"):
        raise bad_request("xdm:sourceProperty must start with / and not end with /")
    if body["@type"] == IDENTITY:
        _check_identity(call, body, path, identifier)
    fields = {child for child, _ in registry.tree(schema["$id"]).leaves()}
    if path[1:].replace("/", ".") not in fields:
        raise bad_request(f"The schema has no field {path}")
    return {
        **body, "@id": identifier or secrets.token_hex(20), "imsOrg": call.org, "version": "1",
        "meta:containerId": "tenant", "meta:sandboxType": "production",
    }  # fmt: skip


def _check_identity(call: PlatformCall, body: dict[str, Any], path: str, identifier: str | None) -> None:
    if path == "/_id":
        raise bad_request("_id must not be an identity")
    if body.get("xdm:property") not in ("xdm:code", "xdm:id"):
        raise bad_request("xdm:property must be xdm:code or xdm:id")
    member = "code" if body["xdm:property"] == "xdm:code" else "id"
    if str(body.get("xdm:namespace")) not in {str(one[member]) for one in known(call.platform, call.sandbox)}:
        raise bad_request(f"The namespace {body.get('xdm:namespace')} was not found")
    others = [one["body"] for one in _own(call) if one["body"]["@id"] != identifier]
    if body.get("xdm:isPrimary") and any(
        one.get("xdm:isPrimary") and one["xdm:sourceSchema"] == body["xdm:sourceSchema"] for one in others
    ):
        raise bad_request("The schema has a primary identity already")


def _own(call: PlatformCall) -> list[Document]:
    return [one for one in call.platform.descriptors.values() if one["sandbox"] == call.sandbox]


def _found(call: PlatformCall) -> Document:
    found = call.platform.descriptors.get(call.path("id"))
    if found is None or found["sandbox"] != call.sandbox:
        raise xdm_problem("XDM-1012-404", "Resource Not Found", f"The descriptor {call.path('id')} is not found")
    return found


_ONE, _MANY = f"{BASE}/tenant/descriptors/{{id}}", f"{BASE}/tenant/descriptors"
ROUTES = [
    Route(_MANY, endpoint(through(descriptors)), methods=["GET"]),
    Route(_MANY, endpoint(through(create)), methods=["POST"]),
    Route(_ONE, endpoint(through(descriptor)), methods=["GET"]),
    Route(_ONE, endpoint(through(replace)), methods=["PUT"]),
    Route(_ONE, endpoint(through(delete)), methods=["DELETE"]),
]
