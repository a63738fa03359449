"""The Registry's full form of a model, as the Platform would send it. For tests only."""

from __future__ import annotations

from typing import Any

from mixpanel_aep_assets.xdm.schema import INTEGER_RANGES, Field, Schema

_JSON = {"double": "number", "boolean": "boolean", "object": "object", "array": "array", "map": "object"}
_XDM = {"double": "number", "date_time": "date-time"}


def full_form(schema: Schema) -> dict[str, Any]:
    """`application/vnd.adobe.xed-full+json` of a schema."""
    return {
        "$id": "https://ns.adobe.com/acme/schemas/1",
        "meta:altId": "_acme.schemas.1",
        "meta:resourceType": "schemas",
        "version": "1.3",
        "title": schema.title,
        "meta:class": schema.class_id,
        "meta:extends": list(schema.extends),
        "meta:immutableTags": ["union"],
        **_node(schema.root),
    }


def _node(field: Field) -> dict[str, Any]:
    node: dict[str, Any] = {"type": _JSON.get(field.kind, "string"), "meta:xdmType": _XDM.get(field.kind, field.kind)}
    if field.kind in INTEGER_RANGES:
        low, high = field.range
        node |= {"type": "integer"} | ({"minimum": low, "maximum": high} if field.kind != "int" or low == 0 else {})
    for key, value in {
        "title": field.title,
        "description": field.description,
        "meta:xdmField": field.origin,
        "enum": list(field.enum) if field.enum and not field.constant else None,
        "const": field.enum[0] if field.enum and field.constant else None,
        "meta:enum": dict.fromkeys(field.suggested, "") or None,
        "pattern": field.pattern,
        "format": {"date": "date", "date_time": "date-time"}.get(field.kind, field.format),
        "minLength": field.min_length,
        "maxLength": field.max_length,
        "minItems": field.min_items,
        "maxItems": field.max_items,
        "exclusiveMinimum": field.exclusive_minimum,
        "uniqueItems": field.unique_items or None,
        "minProperties": field.min_properties,
        "required": list(field.required) or None,
        "minimum": field.minimum if field.kind == "double" else None,
        "maximum": field.maximum if field.kind == "double" else None,
    }.items():
        if value is not None:
            node[key] = value
    if field.children:
        node["properties"] = {child.name: _node(child) for child in field.children}
    if field.items is not None:
        node["items"] = _node(field.items)
    if field.values is not None:
        node["additionalProperties"] = _node(field.values)
    return node
