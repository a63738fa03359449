"""The closed model of an XDM schema: one tree of fields with Platform names, types and constraints.

Everything that needs to know a schema reads this model: the Parquet layout, the conformance rules, the mapping engine's
target types. How JSON Schema files become a tree lives in `composition`, the rules that rows must keep in
`conformance`. Closed means: a name that the tree lacks is not permitted (xdm.md#closed-schemas).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import msgspec
import polars as pl

from mixpanel_aep_assets.errors import ExplainedError

FieldKind = Literal[
    "string",
    "double",
    "long",
    "int",
    "short",
    "byte",
    "boolean",
    "date",
    "date_time",
    "object",
    "array",
    "map",
    "any",
]
"""XDM types (xdm.md#types). `any` is a field whose schema names no single type: every value passes,
and it has no column. Only JSON Schema helper files of the official repository hold such fields."""

INTEGER_RANGES: Mapping[str, tuple[int, int]] = {
    "byte": (-(2**7), 2**7 - 1),
    "short": (-(2**15), 2**15 - 1),
    "int": (-(2**31), 2**31 - 1),
    "long": (-(2**53) + 1, 2**53 - 1),
}
"""The true ranges; Adobe's pages print one more at the top of byte, short and int."""

DATE_TIME = pl.Datetime("ms", "UTC")

_DTYPES: Mapping[str, pl.DataType] = {
    "string": pl.String(),
    "double": pl.Float64(),
    "long": pl.Int64(),
    "int": pl.Int32(),
    "short": pl.Int16(),
    "byte": pl.Int8(),
    "boolean": pl.Boolean(),
    "date": pl.Date(),
    "date_time": DATE_TIME,
}

_MARKS = re.compile(r"\[\*?\d*\]|\{\}")


class SchemaError(ExplainedError):
    """A schema cannot be read or used. The text names the schema, the place in it, and what to do."""


@dataclass(frozen=True)
class Field:
    """One field: its name on the Platform, its type, and what the schema demands of a value.

    `required` names children that must be present. `items` is set for arrays, `values` for maps, `children` for
    objects. An object without children is free-form: the schema declares nothing about its members, unless it is
    `closed`. `constant` says that `enum` was a `const`. `suggested` are the values of `meta:enum`, which the Platform
    never enforces. `origin` is the name in the official repository (`meta:xdmField`).
    """

    name: str
    kind: FieldKind
    required: tuple[str, ...] = ()
    children: tuple[Field, ...] = ()
    items: Field | None = None
    values: Field | None = None
    enum: tuple[str | int | float | bool, ...] | None = None
    constant: bool = False
    suggested: tuple[str, ...] = ()
    pattern: str | None = None
    format: str | None = None
    minimum: int | float | None = None
    maximum: int | float | None = None
    exclusive_minimum: int | float | None = None
    exclusive_maximum: int | float | None = None
    min_length: int | None = None
    max_length: int | None = None
    min_items: int | None = None
    max_items: int | None = None
    unique_items: bool = False
    min_properties: int | None = None
    max_properties: int | None = None
    multiple_of: int | float | None = None
    closed: bool = False
    title: str | None = None
    description: str | None = None
    origin: str | None = None

    @cached_property
    def by_name(self) -> dict[str, Field]:
        return {child.name: child for child in self.children}

    def child(self, name: str) -> Field | None:
        return self.by_name.get(name)

    @property
    def range(self) -> tuple[int | float | None, int | float | None]:
        """Inclusive limits: those of the schema, within those of the integer type."""
        limits: tuple[int | float, int | float] | None = INTEGER_RANGES.get(self.kind)
        low, high = limits if limits is not None else (None, None)
        if self.minimum is not None:
            low = self.minimum if low is None else max(low, self.minimum)
        if self.maximum is not None:
            high = self.maximum if high is None else min(high, self.maximum)
        return low, high

    def polars_type(self) -> pl.DataType | None:
        """The column type of this field; None where no column can hold it (`any`, an object without children)."""
        if self.kind == "object":
            members = {child.name: child.polars_type() for child in self.children}
            known = {name: dtype for name, dtype in members.items() if dtype is not None}
            return pl.Struct(known) if known else None
        if self.kind == "array":
            inner = self.items.polars_type() if self.items is not None else None
            return None if inner is None else pl.List(inner)
        if self.kind == "map":
            inner = self.values.polars_type() if self.values is not None else None
            return None if inner is None else pl.Map(pl.String(), inner)
        return _DTYPES.get(self.kind)


@dataclass(frozen=True)
class Schema:
    """A whole schema: its identity in the Registry and the root object.

    `union` tells whether it carries the Profile tag; `descriptors` are the Registry's identity and other descriptors as
    sent (their `xdm:sourceProperty` uses Platform names). `unchecked` names what the documents demand beyond the model.
    """

    root: Field
    id: str = ""
    title: str = ""
    version: str = ""
    class_id: str = ""
    extends: tuple[str, ...] = ()
    descriptors: tuple[dict[str, Any], ...] = ()
    union: bool = False
    unchecked: tuple[str, ...] = ()

    @property
    def primary(self) -> tuple[str, ...] | None:
        """Path of the field that an identity descriptor makes the primary identity, and so mandatory (xdm.md#identities);
        None where there is none, and the primary identity is marked in `identityMap`."""
        for one in self.descriptors:
            if one.get("@type") == "xdm:descriptorIdentity" and one.get("xdm:isPrimary") is True:
                steps = str(one.get("xdm:sourceProperty", "")).strip("/").split("/")
                return tuple(step.replace("~1", "/").replace("~0", "~") for step in steps)
        return None

    def field(self, path: str) -> Field | None:
        """The field at a dotted path; marks of arrays and maps may be left out.

        `environment.browserDetails.name`, `productListItems[].SKU`, `productListItems.SKU`, `identityMap{}[].id`.
        """
        at: Field | None = self.root
        for step in _MARKS.sub("", path).split("."):
            at = _inner(at) if at is not None else None
            at = at.child(step) if at is not None else None
            if at is None:
                return None
        return at

    def leaves(self) -> Iterator[tuple[str, Field]]:
        """Every field that holds a value, with its path: `[]` marks an array, `{}` a map, as in
        `identityMap{}[].id`."""
        yield from _leaves(self.root, "")

    def polars_schema(self) -> pl.Schema:
        """The columns of a frame that holds this schema whole, in the schema's order."""
        columns = {child.name: child.polars_type() for child in self.root.children}
        return pl.Schema({name: dtype for name, dtype in columns.items() if dtype is not None})

    def to_json(self) -> bytes:
        """A compact form for a cache, read back by `from_json`."""
        return msgspec.json.encode(self)

    @classmethod
    def from_json(cls, text: bytes | str) -> Schema:
        """Raises SchemaError if the text was not written by `to_json`."""
        try:
            return msgspec.json.decode(text, type=Schema)
        except msgspec.DecodeError as error:
            raise SchemaError(f"The cached schema is damaged ({error}); delete it, it is fetched again.") from error


def _inner(field: Field) -> Field | None:
    """Through arrays and maps to what has names."""
    at: Field | None = field
    while at is not None and at.kind in ("array", "map"):
        at = at.items if at.kind == "array" else at.values
    return at


def _leaves(field: Field, path: str) -> Iterator[tuple[str, Field]]:
    if field.kind == "object" and field.children:
        for child in field.children:
            yield from _leaves(child, f"{path}.{child.name}" if path else child.name)
    elif field.kind == "array" and field.items is not None:
        yield from _leaves(field.items, path + "[]")
    elif field.kind == "map" and field.values is not None:
        yield from _leaves(field.values, path + "{}")
    else:
        yield path, field
