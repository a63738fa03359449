"""The closed JSON Schema of a model: what a JSON-Schema validator needs to judge a record as the Platform would.

The tests' oracle, and a way to hand the contract to other tools. Draft-06 keywords; own rules (`rules.OWN`) are not
in it.
"""

from __future__ import annotations

from typing import Any

from mixpanel_aep_assets.xdm.schema import INTEGER_RANGES, Field, Schema

_TYPES = {"string": "string", "double": "number", "boolean": "boolean", "date": "string", "date_time": "string"}


def closed_json_schema(schema: Schema) -> dict[str, Any]:
    """Draft-06 with Platform names; every object that declares members permits no others."""
    return {"$schema": "http://json-schema.org/draft-06/schema#", "title": schema.title, **_node(schema.root)}


def _node(field: Field) -> dict[str, Any]:
    node: dict[str, Any] = {}
    if field.enum is not None:
        node = {"const": field.enum[0]} if field.constant else {"enum": list(field.enum)}
    if field.kind == "any":
        return node
    node |= _given({"minProperties": field.min_properties, "maxProperties": field.max_properties})
    if field.kind == "object":
        node["type"] = "object"
        if field.children:
            node["properties"] = {child.name: _node(child) for child in field.children}
        if field.children or field.closed:
            node["additionalProperties"] = False
        if field.required:
            node["required"] = list(field.required)
    elif field.kind == "array":
        node |= {"type": "array", "items": _node(field.items) if field.items is not None else {}}
        node |= _given({"minItems": field.min_items, "maxItems": field.max_items})
        node |= {"uniqueItems": True} if field.unique_items else {}
    elif field.kind == "map":
        node |= {"type": "object", "additionalProperties": _node(field.values) if field.values is not None else {}}
    else:
        node["type"] = "integer" if field.kind in INTEGER_RANGES else _TYPES[field.kind]
        low, high = field.range
        text_format = {"date": "date", "date_time": "date-time"}.get(field.kind, field.format)
        node |= _given(
            {
                "minimum": low,
                "maximum": high,
                "exclusiveMinimum": field.exclusive_minimum,
                "exclusiveMaximum": field.exclusive_maximum,
                "multipleOf": field.multiple_of,
                "minLength": field.min_length,
                "maxLength": field.max_length,
                "pattern": field.pattern,
                "format": text_format,
            }
        )
    return node


def _given(keywords: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in keywords.items() if value is not None}
