"""Resolving a schema: class and field groups merged into one JSON Schema with Platform names (platform.md#schema-registry).

Adobe's own resources come from `global_xdm.json`; those of the tenant from what was posted.
"""

from __future__ import annotations

import copy
import functools
import json
from collections.abc import Iterator
from importlib.resources import files
from typing import Any

from mixpanel_aep_assets.emulator.platform.state import Platform
from mixpanel_aep_assets.emulator.platform.tree import Node, kind_of, node
from mixpanel_aep_assets.emulator.store import Document

Schema = dict[str, Any]
KINDS = ("classes", "fieldgroups", "datatypes", "schemas")


class Unresolved(Exception):
    """A reference leads to nothing."""


@functools.cache
def global_table() -> dict[str, Any]:
    """The compact table of Adobe's resources."""
    text = files("mixpanel_aep_assets.emulator.platform").joinpath("global_xdm.json").read_text(encoding="utf-8")
    table: dict[str, Any] = json.loads(text)
    return table


def alt_id(identifier: str) -> str:
    """`meta:altId`: `https://ns.adobe.com/xdm/context/x` as `_xdm.context.x`."""
    return "_" + identifier.split("ns.adobe.com/", 1)[-1].replace("/", ".")


@functools.cache
def global_resources() -> dict[str, Schema]:
    """Adobe's classes, field groups and data types by `$id`, resolved."""
    table, made = global_table(), {}
    for kind in ("classes", "fieldgroups"):
        for identifier, compact in table[kind].items():
            schema = _expanded({name: value for name, value in compact.items() if name != "title"})
            made[identifier] = _resource(kind, identifier, compact["title"], schema)
    for name, compact in table["types"].items():
        identifier = table["typeIds"][name]
        made[identifier] = _resource("datatypes", identifier, name, _expanded(compact))
    return made


def _resource(kind: str, identifier: str, title: str, schema: Schema) -> Schema:
    return {
        "$id": identifier, "meta:altId": alt_id(identifier), "title": title, "version": "1",
        "meta:resourceType": "mixins" if kind == "fieldgroups" else kind, "meta:containerId": "global", **schema,
    }  # fmt: skip


def _expanded(compact: Any) -> Schema:
    """The compact notation as JSON Schema with `meta:xdmType`."""
    if isinstance(compact, str):
        if compact.startswith("@"):
            return _expanded(global_table()["types"][compact[1:]])
        compact = {"type": compact}
    if "fields" in compact:
        schema: Schema = {"type": "object", "meta:xdmType": "object"}
        schema["properties"] = {name: _expanded(child) for name, child in compact["fields"].items()}
        if "required" in compact:
            schema["required"] = list(compact["required"])
        return schema
    if "items" in compact:
        return {"type": "array", "meta:xdmType": "array", "items": _expanded(compact["items"])}
    if "values" in compact:
        return {"type": "object", "meta:xdmType": "map", "additionalProperties": _expanded(compact["values"])}
    return {**compact, "meta:xdmType": kind_of(compact)}


class Registry:
    """One sandbox's view of the Schema Registry."""

    def __init__(self, platform: Platform, sandbox: str, tenant: str) -> None:
        self._platform, self.sandbox, self.tenant = platform, sandbox, tenant

    def key(self, identifier: str) -> str:
        """Under which the tenant's resource is kept."""
        return f"{self.sandbox}|{identifier}"

    def find(self, identifier: str) -> Document | None:
        """The resource of that `$id` or `meta:altId`, the tenant's or Adobe's."""
        if found := self._platform.resources.get(self.key(identifier)):
            return found
        if found := global_resources().get(identifier):
            return found
        everything = [*global_resources().values(), *self.tenants()]
        return next((one for one in everything if one["meta:altId"] == identifier), None)

    def tenants(self, kind: str | None = None) -> list[Document]:
        """The sandbox's own resources."""
        return [
            one
            for one in self._platform.resources.values()
            if one["sandbox"] == self.sandbox and kind in (None, one["kind"])
        ]

    def behaviour(self, schema: Document) -> str:
        """`time-series` for a schema of XDM ExperienceEvent or of a tenant's class that extends it, else `record`."""
        found = self.find(str(schema.get("meta:class"))) or {}
        parents = [part.get("$ref") for part in found.get("allOf", ())]
        events = {"https://ns.adobe.com/xdm/context/experienceevent", "https://ns.adobe.com/xdm/data/time-series"}
        return "time-series" if events & {found.get("$id"), *parents} else "record"

    def uses(self, resource: Document, identifier: str, seen: frozenset[str] = frozenset()) -> bool:
        """Whether the resource is that one, or refers to it anywhere, through others too."""
        if resource["$id"] == identifier:
            return True
        return any(
            self.uses(found, identifier, seen | {resource["$id"]})
            for reference in _references(resource)
            if reference not in seen and (found := self.find(reference)) is not None
        )

    def resolved(self, resource: Document, *, data_types: bool = True) -> Schema:
        """The resource with all references followed and merged; without `data_types`, fields still refer to theirs."""
        schema = self._resolved(resource, resource, (), data_types)
        kept = ("$id", "meta:altId", "title", "description", "version", "meta:class", "meta:extends", "imsOrg",
                "meta:containerId", "meta:tenantNamespace", "meta:immutableTags", "meta:intendedToExtend",
                "meta:resourceType", "meta:registryMetadata")  # fmt: skip
        return {**{name: resource[name] for name in kept if name in resource}, **schema}

    def tree(self, identifier: str) -> Node:
        """The closed tree of a schema. Raises `Unresolved`."""
        resource = self.find(identifier)
        if resource is None:
            raise Unresolved(f"The schema {identifier} was not found")
        return node(self.resolved(resource))

    def _resolved(self, schema: Schema, root: Schema, trail: tuple[str, ...], data_types: bool = True) -> Schema:
        if "$ref" in schema:
            target, target_root = self._target(str(schema["$ref"]), root, trail)
            if not data_types and target_root.get("meta:resourceType") == "datatypes":
                return schema
            return self._resolved(target, target_root, (*trail, _absolute(str(schema["$ref"]), root)), data_types)
        if "allOf" in schema or "properties" in schema:
            merged: Schema = {"type": "object", "meta:xdmType": "object", "properties": {}}
            for part in schema.get("allOf", ()):
                _merge(merged, self._resolved(part, root, trail, data_types))
            own = {
                name: self._resolved(child, root, trail, data_types)
                for name, child in schema.get("properties", {}).items()
            }
            _merge(merged, {"properties": own, "required": schema.get("required", [])})
            return merged
        made = {name: value for name, value in schema.items() if name in _KEYWORDS}
        made["meta:xdmType"] = kind_of(schema)
        if "items" in schema:
            made["items"] = self._resolved(schema["items"], root, trail, data_types)
        if isinstance(schema.get("additionalProperties"), dict):
            made["additionalProperties"] = self._resolved(schema["additionalProperties"], root, trail, data_types)
        return made

    def _target(self, reference: str, root: Schema, trail: tuple[str, ...]) -> tuple[Schema, Schema]:
        if _absolute(reference, root) in trail:
            raise Unresolved(f"{reference} refers to itself")
        base, _, pointer = reference.partition("#")
        document = root
        if base:
            found = self.find(base)
            if found is None:
                raise Unresolved(f"{base} was not found")
            document = found
        target: Any = document
        for part in filter(None, pointer.split("/")):
            if not isinstance(target, dict) or part not in target:
                raise Unresolved(f"{reference} leads to nothing")
            target = target[part]
        return target, document


_KEYWORDS = frozenset(
    {"type", "title", "description", "enum", "meta:enum", "pattern", "format", "minimum", "maximum", "exclusiveMinimum",
     "exclusiveMaximum", "minLength", "maxLength", "minItems", "maxItems", "uniqueItems", "default", "const"}
)  # fmt: skip


def _absolute(reference: str, root: Schema) -> str:
    """Two documents may have a definition of the same name."""
    return f"{root['$id']}{reference}" if reference.startswith("#") else reference


def _references(value: Any) -> Iterator[str]:
    """Every `$ref` to another document."""
    if isinstance(value, dict):
        for name, child in value.items():
            if name == "$ref" and isinstance(child, str) and not child.startswith("#"):
                yield child.partition("#")[0]
            else:
                yield from _references(child)
    elif isinstance(value, list):
        for child in value:
            yield from _references(child)


def _merge(into: Schema, other: Schema) -> None:
    """Add the other object's fields; objects that both have are merged in turn."""
    for name, child in other.get("properties", {}).items():
        known = into["properties"].get(name)
        if known is not None and "properties" in known and "properties" in child:
            _merge(known, child)
        else:
            into["properties"][name] = copy.deepcopy(child)
    if required := [*into.get("required", []), *other.get("required", [])]:
        into["required"] = list(dict.fromkeys(required))
