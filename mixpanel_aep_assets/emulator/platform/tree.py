"""A dataset's schema as a closed tree of typed nodes, made from the Registry's resolved JSON Schema.

Kinds are those of platform.md#parquet-types. What values a node takes is checked in `columns` (Parquet) and `records` (JSON).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

RANGES = {
    "byte": (-(2**7), 2**7 - 1),
    "short": (-(2**15), 2**15 - 1),
    "int": (-(2**31), 2**31 - 1),
    "long": (-(2**63), 2**63 - 1),
}
"""What the storage types hold."""
_LONG = 2**53 - 1


@dataclass
class Node:
    """One field. `required` and the constraints are those of JSON Schema."""

    kind: str
    fields: dict[str, Node] = field(default_factory=dict)
    required: tuple[str, ...] = ()
    item: Node | None = None
    enum: tuple[Any, ...] | None = None
    pattern: str | None = None
    format: str | None = None
    minimum: float | None = None
    maximum: float | None = None
    exclusive_minimum: float | None = None
    exclusive_maximum: float | None = None
    min_length: int | None = None
    max_length: int | None = None
    has_default: bool = False

    def leaves(self, path: str = "") -> Iterator[tuple[str, Node]]:
        """Every node below this one, with its path."""
        for name, child in self.fields.items():
            here = f"{path}.{name}" if path else name
            yield here, child
            yield from child.leaves(here)
        if self.item is not None:
            here = f"{path}[]" if self.kind == "array" else f"{path}{{}}"
            yield here, self.item
            yield from self.item.leaves(here)


def node(schema: dict[str, Any]) -> Node:
    """The tree of a resolved JSON Schema."""
    kind = kind_of(schema)
    made = Node(
        kind, enum=tuple(schema["enum"]) if "enum" in schema else None, pattern=schema.get("pattern"),
        format=schema.get("format"), minimum=schema.get("minimum"), maximum=schema.get("maximum"),
        exclusive_minimum=schema.get("exclusiveMinimum"), exclusive_maximum=schema.get("exclusiveMaximum"),
        min_length=schema.get("minLength"), max_length=schema.get("maxLength"), has_default="default" in schema,
    )  # fmt: skip
    if kind == "object":
        made.fields = {name: node(child) for name, child in schema.get("properties", {}).items()}
        made.required = tuple(schema.get("required", ()))
    elif kind == "array":
        made.item = node(schema.get("items", {"type": "string"}))
    elif kind == "map":
        values = schema.get("additionalProperties")
        made.item = node(values if isinstance(values, dict) else {"type": "string"})
    return made


def kind_of(schema: dict[str, Any]) -> str:
    """The XDM type: what `meta:xdmType` says, else by type, format and range."""
    told = schema.get("meta:xdmType")
    match schema.get("type"):
        case "integer":
            if told in RANGES:
                return str(told)
            low, high = schema.get("minimum"), schema.get("maximum")
            if high is None or low is None:
                return "int"
            for kind, (least, most) in RANGES.items():
                # Adobe's pages print maxima that are one too high; schemas that carry them mean the same types.
                if least <= low and high <= most + 1:
                    return kind
            return "long"
        case "number":
            return "double"
        case "boolean":
            return "boolean"
        case "array":
            return "array"
        case "object" | None if "properties" in schema or "additionalProperties" in schema or told in ("object", "map"):
            is_map = told == "map" or (
                "properties" not in schema and isinstance(schema.get("additionalProperties"), dict)
            )
            return "map" if is_map else "object"
        case "object":
            return "object"
    return {"date": "date", "date-time": "date-time"}.get(schema.get("format", ""), "string")


def narrowed(old: Node, new: Node) -> str | None:
    """What an update takes away: the first field that is gone, changed its type or takes fewer values."""
    after = dict(new.leaves())
    for path, before in old.leaves():
        now = after.get(path)
        if now is None:
            return f"{path} was removed"
        if now.kind != before.kind:
            return f"{path} was {before.kind} and would be {now.kind}"
        if reason := _restricted(before, now):
            return f"{path} {reason}"
    return None


def _restricted(before: Node, now: Node) -> str | None:
    if now.enum is not None and (before.enum is None or set(before.enum) - set(now.enum)):
        return "would take fewer values (enum)"
    for name in ("pattern", "format"):
        if getattr(now, name) not in (None, getattr(before, name)):
            return f"would get another {name}"
    for name, tighter in (("minimum", 1), ("min_length", 1), ("maximum", -1), ("max_length", -1)):
        old, new = getattr(before, name), getattr(now, name)
        if new is not None and (old is None or (new - old) * tighter > 0):
            return f"would get a tighter {name.replace('_', ' ')}"
    return None
