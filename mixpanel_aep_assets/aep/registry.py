"""Schema Registry and identity namespaces: read and make resources (platform.md#schema-registry).

What does not belong here: which resources a connection wants (`provision`, `xdm.standard`), what a schema means
(`xdm.schema`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any
from urllib.parse import quote

from mixpanel_aep_assets.aep.http import NAMESPACES, REGISTRY, Call, PlatformClient
from mixpanel_aep_assets.aep.platform_errors import AepError, AnswerLost, Conflict, UnexpectedAnswer
from mixpanel_aep_assets.aep.references import References

LIST_IDS = "application/vnd.adobe.xed-id+json"
RAW = "application/vnd.adobe.xed+json; version=1"
FULL = "application/vnd.adobe.xed-full+json; version=1"
DESCRIPTORS = "application/vnd.adobe.xdm-v2+json"
"""The form that comes in pages (platform.md#accept-headers)."""

Resource = Mapping[str, Any]

KINDS = ("schemas", "fieldgroups", "datatypes", "classes")
"""Titles are unique across these (platform.md#registry-errors)."""


def tenant_id(client: PlatformClient) -> str:
    """The organisation's tenant id, without the underscore that field names carry."""
    body = client.json("GET", f"{REGISTRY}/stats")
    tenant = str(body.get("tenantId") or "") if isinstance(body, Mapping) else ""
    if not tenant:
        raise UnexpectedAnswer("The Registry's answer has no tenant id", where=f"GET {REGISTRY}/stats")
    return tenant.removeprefix("_")


def resources(client: PlatformClient, kind: str) -> list[Resource]:
    """`$id`, `title` and `version` of all tenant resources of a kind (`schemas`, `fieldgroups`, …), by title."""
    found: list[Resource] = []
    params: dict[str, str | int] = {"orderby": "title", "limit": 300}
    while True:
        body = client.json("GET", f"{REGISTRY}/tenant/{kind}", params=params, headers={"Accept": LIST_IDS})
        page = body.get("results") if isinstance(body, Mapping) else None
        if page is None:
            raise UnexpectedAnswer("The Registry's list has no results", where=f"GET {REGISTRY}/tenant/{kind}")
        found.extend(page)
        following = (body.get("_page") or {}).get("next")
        if not page or not following:
            return found
        params["start"] = str(following)


def titled(client: PlatformClient, kind: str, title: str) -> Resource | None:
    """The tenant resource of that title, None where there is none."""
    return next((r for r in resources(client, kind) if r.get("title") == title), None)


def resource(client: PlatformClient, kind: str, resource_id: str, accept: str = RAW, container: str = "tenant") -> Any:
    """One resource by its `$id`. Raises NotFound."""
    path = f"{REGISTRY}/{container}/{kind}/{quote(resource_id, safe='')}"
    return client.json("GET", path, headers={"Accept": accept})


def schema_document(client: PlatformClient, schema_id: str) -> dict[str, Any]:
    """The schema with all references resolved, as `xdm.composition.registry_schema` reads it. Raises NotFound.

    What the Registry's full form still refers to, data types for example, is looked up and put in its place.
    """
    body = resource(client, "schemas", schema_id, FULL)
    if not isinstance(body, dict):
        raise UnexpectedAnswer("The schema is not a JSON object", where=f"GET {REGISTRY}/tenant/schemas")
    return references(client).resolved(body)


def references(client: PlatformClient) -> References:
    """What follows `$ref`s in this Registry."""

    def look_up(container: str, kind: str, resource_id: str) -> Resource:
        found = resource(client, kind, resource_id, FULL, container)
        if not isinstance(found, Mapping):
            raise UnexpectedAnswer("The resource is not a JSON object", where=f"GET {REGISTRY}/{container}/{kind}")
        return found

    return References(look_up)


def create(client: PlatformClient, kind: str, body: Resource) -> Resource:
    """Makes a tenant resource. When the answer is lost, looks for its title before another try."""
    last: AepError | None = None
    for _ in range(client.platform.tries):
        try:
            made = client.json("POST", f"{REGISTRY}/tenant/{kind}", call=Call.CREATE, json=body)
        except AnswerLost as error:
            last = error
            there = titled(client, kind, str(body["title"]))
            if there is not None:
                return there
            continue
        if isinstance(made, Mapping) and made.get("$id"):
            return made
        raise UnexpectedAnswer(
            "The Registry's answer has no $id of the new resource", where=f"POST {REGISTRY}/tenant/{kind}"
        )
    assert last is not None
    raise last


def patch(client: PlatformClient, kind: str, resource_id: str, operations: Sequence[Resource]) -> None:
    """Applies a JSON Patch. Sent once: `add` to the end of a list, repeated, would add twice."""
    path = f"{REGISTRY}/tenant/{kind}/{quote(resource_id, safe='')}"
    client.request("PATCH", path, call=Call.CREATE, json=list(operations))


def descriptors(client: PlatformClient, *sources: str) -> list[Resource]:
    """All descriptors of these schemas, field groups or classes, by their `$id`."""
    return [one for one in _descriptors(client) if one.get("xdm:sourceSchema") in sources]


def _descriptors(client: PlatformClient) -> Iterator[Resource]:
    where = f"GET {REGISTRY}/tenant/descriptors"
    params: dict[str, str] = {}
    while True:
        body = client.json("GET", f"{REGISTRY}/tenant/descriptors", params=params, headers={"Accept": DESCRIPTORS})
        if not isinstance(body, Mapping):
            raise UnexpectedAnswer("The Registry's list of descriptors is not a JSON object", where=where)
        # Without pages the answer is a list for each type.
        lists = [body["results"]] if "results" in body else body.values()
        for entries in lists:
            yield from (one for one in (entries if isinstance(entries, list) else ()) if isinstance(one, Mapping))
        page = body.get("_page") if "results" in body else None
        if not isinstance(page, Mapping) or not body["results"]:
            return
        following = page.get("next")
        if not following or str(following) == params.get("start"):
            return
        params = {"start": str(following), "orderby": str(page.get("orderby") or "@id")}


def primary_identities(client: PlatformClient, schema_id: str) -> list[Resource]:
    """The descriptors that make a field the primary identity (one at most is allowed), without what changes from call to
    call."""
    told = ("@type", "xdm:sourceProperty", "xdm:namespace", "xdm:isPrimary")
    found = [
        {key: one[key] for key in told if key in one}
        for one in descriptors(client, schema_id)
        if one.get("@type") == "xdm:descriptorIdentity" and one.get("xdm:isPrimary") is True
    ]
    return sorted(found, key=lambda one: str(one.get("xdm:sourceProperty")))


def create_descriptor(client: PlatformClient, body: Resource) -> None:
    client.request("POST", f"{REGISTRY}/tenant/descriptors", call=Call.CREATE, json=body)


def namespaces(client: PlatformClient) -> dict[str, Resource]:
    """Identity namespaces of the sandbox by code."""
    body = client.json("GET", f"{NAMESPACES}/identities")
    if not isinstance(body, list):
        raise UnexpectedAnswer("The list of namespaces is not a JSON array", where=f"GET {NAMESPACES}/identities")
    return {str(entry.get("code")): entry for entry in body if isinstance(entry, Mapping)}


def create_namespace(client: PlatformClient, body: Resource) -> None:
    """Makes a namespace; it can never be deleted. One that came to be meanwhile is as good."""
    try:
        client.request("POST", f"{NAMESPACES}/identities", call=Call.CREATE, json=body)
    except (Conflict, AnswerLost):
        if str(body["code"]) not in namespaces(client):
            raise
