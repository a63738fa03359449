"""What the Schema Registry refuses in a tenant's field groups and schemas (platform.md#schemas-and-field-groups)."""

from __future__ import annotations

import re
from typing import Any

from mixpanel_aep_assets.emulator.http import Refusal
from mixpanel_aep_assets.emulator.platform.composition import Registry, Unresolved
from mixpanel_aep_assets.emulator.platform.gateway import bad_request, problem
from mixpanel_aep_assets.emulator.store import Document

_NAME = re.compile(r"[A-Za-z0-9-][A-Za-z0-9_-]*")
TYPES = frozenset({"string", "number", "integer", "boolean", "object", "array"})


def check_field_group(registry: Registry, document: Document) -> None:
    """A field group: says what it extends, and keeps every custom field under the tenant's root object."""
    if not document.get("meta:intendedToExtend"):
        raise bad_request("meta:intendedToExtend is required")
    if document.get("type") != "object":
        raise bad_request('type must be "object"')
    try:
        resolved = registry.resolved(document)
    except Unresolved as error:
        raise bad_request(str(error)) from None
    root = f"_{registry.tenant}"
    if outside := [name for name in resolved.get("properties", {}) if name != root]:
        detail = (
            f"For custom fields, you must use a top level field named {root}; found {', '.join(outside)} outside of it."
        )
        type_ = "http://ns.adobe.com/aep/errors/XDM-1020-400"
        raise Refusal(problem(400, "BadRequestError", detail, type_=type_))
    if reason := repeated(resolved, root):
        raise bad_request(reason)
    _check_names(resolved["properties"].get(root, {}), root)


def check_schema(registry: Registry, document: Document, earlier: Document | None) -> None:
    """A schema: exactly one class, field groups that exist, Profile only with a primary identity and for ever."""
    if not document.get("description"):
        raise bad_request("description is required")
    references = document["meta:extends"]
    missing = [reference for reference in references if registry.find(reference) is None]
    if missing:
        raise bad_request(f"The referenced resource {missing[0]} was not found")
    kinds = [(registry.find(reference) or {}).get("meta:resourceType") for reference in references]
    if kinds.count("classes") != 1:
        raise bad_request("A schema must refer to exactly one class")
    if reason := repeated(registry.resolved(document), f"_{registry.tenant}"):
        raise bad_request(reason)
    before = set((earlier or {}).get("meta:immutableTags", []))
    after = set(document.get("meta:immutableTags", []))
    if before - after:
        raise bad_request("meta:immutableTags cannot be taken away")
    if "union" in after:
        properties = registry.resolved(document)["properties"]
        if "identityMap" not in properties:
            raise bad_request("To enable a schema for Profile it needs a primary identity or an identityMap")


def repeated(resolved: dict[str, Any], root: str) -> str | None:
    """The first two custom fields of one level whose names differ in case alone, which a schema may not have."""
    return _repeated(resolved.get("properties", {}).get(root, {}), root)


def _repeated(schema: dict[str, Any], path: str) -> str | None:
    names: dict[str, str] = {}
    for name, child in schema.get("properties", {}).items():
        if (other := names.setdefault(name.lower(), name)) != name:
            return f"The field names {path}.{other} and {path}.{name} differ in case alone"
        inside = child["items"] if isinstance(child.get("items"), dict) else child
        if reason := _repeated(inside, f"{path}.{name}"):
            return reason
    return None


def tenant_class(body: dict[str, Any]) -> str | None:
    """The class that a schema refers to, by the shape of the reference."""
    references = [str(part.get("$ref", "")) for part in body.get("allOf", [])]
    return next((one for one in references if "/mixins/" not in one and "/fieldgroups/" not in one), None)


def _check_names(schema: dict[str, Any], path: str) -> None:
    for name, child in schema.get("properties", {}).items():
        here = f"{path}.{name}"
        if not _NAME.fullmatch(name):
            raise bad_request(
                f"The field name {here} may hold only letters, digits, - and _, and must not start with _"
            )
        if child.get("type") not in TYPES:
            raise bad_request(f"The field {here} has no valid type")
        if child.get("meta:xdmType") == "map" and (child.get("additionalProperties") or {}).get("type") not in (
            "string", "integer",
        ):  # fmt: skip
            raise bad_request(f"The values of the custom map {here} must be string or integer")
        _check_names(child, here)
        if isinstance(child.get("items"), dict):
            _check_names(child["items"], here + "[]")
