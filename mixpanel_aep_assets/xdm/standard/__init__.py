"""The standard mapping, its field group and its schema, as data beside this module (xdm.md#standard-mapping).

The files hold the literal text `{TENANT_ID}`; the functions here put the organisation's tenant id in its place.
Nothing here talks to the Platform: what is returned are request bodies and the mapping set.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any, Final

import yaml

TENANT = "{TENANT_ID}"

HOME: Final = "custom"
"""The object below `_{TENANT_ID}.mixpanel` that holds grown fields, apart from those of the standard field group."""

CLASS_ID = "https://ns.adobe.com/xdm/context/experienceevent"

JSON_TYPES: Mapping[str, Mapping[str, Any]] = {
    "string": {"type": "string"},
    "double": {"type": "number"},
    "long": {"type": "integer", "minimum": -(2**53) + 1, "maximum": 2**53 - 1},
    "int": {"type": "integer"},
    "boolean": {"type": "boolean"},
    "date": {"type": "string", "format": "date"},
    "date_time": {"type": "string", "format": "date-time"},
}


@dataclass(frozen=True)
class Namespace:
    """An identity namespace that must exist before data comes in. `id_type` as the Identity Service names it."""

    code: str
    name: str
    id_type: str
    description: str = ""


def standard_mapping(tenant: str) -> dict[str, Any]:
    """The mapping set (newer JSON form: name, version, mappings) for a tenant id without its underscore."""
    mapping = dict(_load("mapping.yaml"))
    mapping["mappings"] = [
        {**row, "source": str(row["source"]), "destination": row["destination"].replace(TENANT, tenant)}
        for row in mapping["mappings"]
    ]
    return mapping


def field_group(tenant: str, title: str = "") -> dict[str, Any]:
    """The body of `POST /tenant/fieldgroups`. `title` must be unique among all resources of the tenant."""
    group = _load("field_group.yaml")
    properties = {name: {"title": spec["title"], **JSON_TYPES[spec["type"]]} for name, spec in group["fields"].items()}
    ours = {"type": "object", "title": "Mixpanel", "properties": properties}
    root = {"type": "object", "properties": {group["root"]: ours}}
    return {
        "title": title or group["title"],
        "description": group["description"],
        "type": "object",
        "meta:intendedToExtend": [group["intendedToExtend"]],
        "definitions": {"customFields": {"type": "object", "properties": {f"_{tenant}": root}}},
        "allOf": [{"$ref": "#/definitions/customFields"}],
    }


def standard_groups() -> tuple[str, ...]:
    """`$id`s of the standard field groups that the mapping writes to."""
    return tuple(_load("schema.yaml")["field_groups"])


def schema_request(title: str = "", field_groups: Sequence[str] = (), description: str = "") -> dict[str, Any]:
    """The body of `POST /tenant/schemas`: class, standard groups, then `field_groups` (the `$id` of the tenant's
    own)."""
    spec = _load("schema.yaml")
    return {
        "title": title or spec["title"],
        "description": description or spec["description"],
        "type": "object",
        "allOf": [{"$ref": uri} for uri in (spec["class"], *spec["field_groups"], *field_groups)],
    }


def namespaces() -> tuple[Namespace, ...]:
    """The identity namespaces that the derived `identityMap` uses."""
    return tuple(
        Namespace(row["code"], row["name"], row["idType"], row.get("description", ""))
        for row in _load("schema.yaml")["namespaces"]
    )


def descriptors(schema_id: str) -> list[dict[str, Any]]:
    """Descriptor bodies for the schema, if the standard schema wants any."""
    source = {"xdm:sourceSchema": schema_id, "xdm:sourceVersion": 1}
    return [{**row, **source} for row in _load("schema.yaml")["descriptors"]]


@cache
def _load(name: str) -> dict[str, Any]:
    text = files(__name__).joinpath(name).read_text(encoding="utf-8")
    document: dict[str, Any] = yaml.safe_load(text)
    return document
