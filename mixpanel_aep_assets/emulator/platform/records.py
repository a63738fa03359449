"""Validating one JSON record against the schema tree: the rules of `columns` for the JSON input formats."""

from __future__ import annotations

import re
from typing import Any

from mixpanel_aep_assets.emulator.platform.columns import CONVERSIONS, INTEGERS
from mixpanel_aep_assets.emulator.platform.tree import RANGES, Node
from mixpanel_aep_assets.emulator.platform.values import DATE, DATE_TIME, FORMATS, INTEGER, NUMBER

Error = tuple[str, str, str]
"""Code, column, detail."""


def check_record(record: dict[str, Any], root: Node, *, drop_unknown: bool) -> list[Error]:
    """What is wrong with the record; empty if nothing is."""
    errors: list[Error] = []
    _object(record, root, "", errors, drop_unknown=drop_unknown, nested=False)
    return errors


def _object(
    record: dict[str, Any], node: Node, path: str, errors: list[Error], *, drop_unknown: bool, nested: bool
) -> None:
    errors.extend(
        ("1555", f"{path}{name}", "required field missing or null")
        for name in node.required
        if record.get(name) is None and not nested and not node.fields[name].has_default
    )
    for name, value in record.items():
        child = node.fields.get(name)
        if child is not None:
            _value(value, child, f"{path}{name}", errors, drop_unknown=drop_unknown, nested=nested)
        elif not drop_unknown:
            errors.append(("1557", f"{path}{name}", "the field does not exist in the schema"))


def _value(value: Any, node: Node, path: str, errors: list[Error], *, drop_unknown: bool, nested: bool) -> None:
    if value is None:
        return
    kind = _kind(value)
    if node.kind not in CONVERSIONS[kind]:
        errors.append(("1404", path, f"{kind} cannot be converted to {node.kind}"))
    elif node.kind == "object":
        _object(value, node, path + ".", errors, drop_unknown=drop_unknown, nested=nested)
    elif node.item is not None:
        for child in value if node.kind == "array" else value.values():
            _value(child, node.item, path + "[]", errors, drop_unknown=drop_unknown, nested=True)
    elif reason := _leaf(value, kind, node, nested=nested):
        errors.append((*reason[:1], path, reason[1]))


def _kind(value: Any) -> str:
    if isinstance(value, bool):
        return "boolean"
    if isinstance(value, int):
        return "long"
    if isinstance(value, float):
        return "double"
    if isinstance(value, str):
        return "string"
    return "array" if isinstance(value, list) else "object"


def _leaf(value: Any, kind: str, node: Node, *, nested: bool) -> tuple[str, str] | None:
    """The first rule that the value breaks: code and detail."""
    wanted = {"double": NUMBER, "date": DATE, "date-time": DATE_TIME} | dict.fromkeys(INTEGERS, INTEGER)
    if kind == "string" and node.kind in wanted:
        if not re.search(wanted[node.kind].replace("$", r"\Z"), value):
            return "1404", f"cannot be converted to {node.kind}"
        if node.kind not in ("date", "date-time"):
            value = float(value)
    if kind == "double" and node.kind in INTEGERS and not value.is_integer():
        return "1404", f"cannot be converted to {node.kind}"
    if nested:
        return None
    if node.kind in INTEGERS and not RANGES[node.kind][0] <= value <= RANGES[node.kind][1]:
        return "1556", f"is out of the range of {node.kind}"
    reason = _number(value, node) if isinstance(value, int | float) else _text(str(value), node)
    return ("1556", reason) if reason else None


def _number(value: float, node: Node) -> str | None:
    if node.kind == "string":
        return None
    if node.minimum is not None and value < node.minimum:
        return f"is less than the minimum {node.minimum:g}"
    if node.maximum is not None and value > node.maximum:
        return f"is greater than the maximum {node.maximum:g}"
    if node.exclusive_minimum is not None and value <= node.exclusive_minimum:
        return f"is not above the exclusive minimum {node.exclusive_minimum:g}"
    if node.exclusive_maximum is not None and value >= node.exclusive_maximum:
        return f"is not below the exclusive maximum {node.exclusive_maximum:g}"
    return None


def _text(value: str, node: Node) -> str | None:
    if node.kind != "string":
        return None
    if node.enum is not None and value not in node.enum:
        return f"is none of the allowed values {', '.join(map(str, node.enum))}"
    if node.pattern is not None and not re.search(_ended(node.pattern), value):
        return f"does not match the pattern {node.pattern}"
    if node.min_length is not None and len(value) < node.min_length:
        return f"is shorter than {node.min_length}"
    if node.max_length is not None and len(value) > node.max_length:
        return f"is longer than {node.max_length}"
    if any(not re.search(_ended(pattern), value) for pattern in FORMATS.get(node.format or "", ())):
        return f"is not a valid {node.format}"
    return None


def _ended(pattern: str) -> str:
    """Python's `$` also matches before a final newline; JSON Schema's does not."""
    return re.sub(r"(?<!\\)\$(?=\)*$)", r"\\Z", pattern)
