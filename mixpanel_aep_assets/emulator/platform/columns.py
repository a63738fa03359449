"""Validating Parquet columns against the schema tree, a column at a time (platform.md#parquet-types and platform.md#conversions).

`check_types` compares the file's schema: unknown columns and impossible conversions end the batch. `check_rows` looks for
rows with values that the schema refuses; nothing inside an array or a map is looked at, as Adobe documents.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from mixpanel_aep_assets.emulator.platform.tree import RANGES, Node
from mixpanel_aep_assets.emulator.platform.values import (
    DATE,
    DATE_TIME,
    FORMATS,
    INTEGER,
    NUMBER,
    SchemaMismatchError,
    TypeCompatibilityError,
)

INTEGERS = frozenset(RANGES)
_FROM_STRING = frozenset({"string", "double", "date", "date-time"}) | INTEGERS
_FROM_NUMBER = frozenset({"string", "double"}) | INTEGERS
CONVERSIONS: dict[str, frozenset[str]] = {
    "string": _FROM_STRING,
    "byte": _FROM_NUMBER,
    "short": _FROM_NUMBER,
    "int": _FROM_NUMBER,
    "double": _FROM_NUMBER,
    "long": _FROM_NUMBER | {"date", "date-time"},
    "date": frozenset({"date"}),
    "date-time": frozenset({"date-time"}),
    "boolean": frozenset({"boolean"}),
    "array": frozenset({"array"}),
    "object": frozenset({"object", "map"}),
    "map": frozenset({"object", "map"}),
}
"""The conversion matrix: from the inbound kind to the field kinds that it can become."""


@dataclass(frozen=True)
class RowErrors:
    """Rows that break one rule of one field. `rows` is a boolean mask over the batch of rows."""

    code: str
    column: str
    detail: str
    rows: Any


def inbound_kind(type_: Any) -> str | None:
    """The XDM kind that a Parquet column of this Arrow type holds; None for types that the documented table lacks."""
    if pa.types.is_dictionary(type_):
        return inbound_kind(type_.value_type)
    for test, kind in _INBOUND:
        if test(type_):
            return kind
    if pa.types.is_timestamp(type_):  # only INT64 TIMESTAMP_MILLIS, adjusted to UTC, is documented
        return "date-time" if type_.unit == "ms" and type_.tz is not None else None
    return None


_INBOUND: tuple[tuple[Callable[[Any], bool], str], ...] = (
    (pa.types.is_string, "string"),
    (pa.types.is_large_string, "string"),
    (pa.types.is_string_view, "string"),
    (pa.types.is_int8, "byte"),
    (pa.types.is_int16, "short"),
    (pa.types.is_int32, "int"),
    (pa.types.is_int64, "long"),
    (pa.types.is_float64, "double"),
    (pa.types.is_boolean, "boolean"),
    (pa.types.is_date32, "date"),
    (pa.types.is_struct, "object"),
    (pa.types.is_map, "map"),
    (pa.types.is_list, "array"),
    (pa.types.is_large_list, "array"),
)


def check_types(schema: Any, root: Node) -> None:
    """Compare a file's Arrow schema with the tree. Raises `SchemaMismatchError` or `TypeCompatibilityError`."""
    for field in schema:
        _check_field(field.name, field.type, root.fields.get(field.name))


def _check_field(path: str, type_: Any, node: Node | None) -> None:
    if node is None:
        raise SchemaMismatchError(f"The column {path} does not exist in the schema of the dataset.")
    if pa.types.is_null(type_):
        return
    kind = inbound_kind(type_)
    if kind is None:
        raise TypeCompatibilityError(f"The column {path} has the type {type_}, which cannot be read into {node.kind}.")
    if node.kind not in CONVERSIONS[kind]:
        raise TypeCompatibilityError(f"The column {path} of type {kind} cannot be converted to {node.kind}.")
    if kind == "object" and node.kind == "object":
        for field in type_:
            _check_field(f"{path}.{field.name}", field.type, node.fields.get(field.name))
    elif kind == "object":
        for field in type_:
            _check_field(f"{path}.{field.name}", field.type, node.item)
    elif kind == "map":
        if inbound_kind(type_.key_type) != "string":
            raise TypeCompatibilityError(f"The keys of the map {path} are {type_.key_type}, not text.")
        for child in [node.item] if node.kind == "map" else list(node.fields.values()):
            _check_field(f"{path}{{}}", type_.item_type, child)
    elif kind == "array":
        _check_field(f"{path}[]", type_.value_type, node.item)


def check_rows(batch: Any, root: Node) -> Iterator[RowErrors]:
    """The rows of a record batch that break a rule."""
    columns = dict(zip(batch.schema.names, batch.columns, strict=True))
    everywhere = pa.array([True] * batch.num_rows, pa.bool_()) if batch.num_rows else pa.array([], pa.bool_())
    yield from _check_object(columns, root, "", everywhere)


def _check_object(columns: dict[str, Any], node: Node, path: str, present: Any) -> Iterator[RowErrors]:
    for name, child in node.fields.items():
        here, values = f"{path}{name}", columns.get(name)
        if name in node.required and not child.has_default:
            absent = present if values is None else pc.and_(present, pc.is_null(values))
            if pc.any(absent).as_py():
                yield RowErrors("1555", here, "required field missing or null", absent)
        if values is None or values.null_count == len(values):
            continue
        if child.kind == "object" and pa.types.is_struct(values.type):
            inner = {field.name: pc.struct_field(values, index) for index, field in enumerate(values.type)}
            yield from _check_object(inner, child, here + ".", pc.is_valid(values))
        elif child.item is None and not child.fields:
            yield from _check_leaf(values, child, here)


def _check_leaf(values: Any, node: Node, path: str) -> Iterator[RowErrors]:
    if pa.types.is_dictionary(values.type):
        values = values.dictionary_decode()
    kind = inbound_kind(values.type)
    good: Any = None
    if kind == "string" and node.kind in INTEGERS:
        good = _matches(values, INTEGER)
        values = pc.cast(pc.if_else(good, values, None), pa.int64())
    elif kind == "string" and node.kind == "double":
        good = _matches(values, NUMBER)
        values = pc.cast(pc.if_else(good, values, None), pa.float64())
    elif kind == "string" and node.kind in ("date", "date-time"):
        good = _matches(values, DATE if node.kind == "date" else DATE_TIME)
    elif kind == "double" and node.kind in INTEGERS:
        good = pc.and_(pc.is_finite(values), pc.equal(values, pc.trunc(values)))
    if good is not None and (bad := _bad(good)) is not None:
        yield RowErrors("1404", path, f"cannot be converted to {node.kind}", bad)
    if node.kind == "double" and kind == "double" and (bad := _bad(pc.is_finite(values))) is not None:
        yield RowErrors("1404", path, "is not a finite number", bad)
    for detail, passes in _constraints(values, node):
        if (bad := _bad(passes)) is not None:
            yield RowErrors("1556", path, detail, bad)


def _constraints(values: Any, node: Node) -> Iterator[tuple[str, Any]]:
    """What each constraint of the field says of the values: a description and which pass (null: not looked at)."""
    numeric = pa.types.is_integer(values.type) or pa.types.is_floating(values.type)
    textual = inbound_kind(values.type) == "string" and node.kind == "string"
    if numeric and node.kind in INTEGERS:
        low, high = RANGES[node.kind]
        passes = pc.and_(pc.greater_equal(values, low), pc.less_equal(values, high))
        yield f"is out of the range of {node.kind}", passes
    if numeric and node.kind != "string":
        for bound, compare, word in (
            (node.minimum, pc.greater_equal, "less than the minimum"),
            (node.maximum, pc.less_equal, "greater than the maximum"),
            (node.exclusive_minimum, pc.greater, "not above the exclusive minimum"),
            (node.exclusive_maximum, pc.less, "not below the exclusive maximum"),
        ):
            if bound is not None:
                yield f"is {word} {bound:g}", compare(values, pa.scalar(bound).cast(pa.float64()))
    if not textual:
        return
    if node.enum is not None:
        allowed = pc.is_in(values, pa.array([str(value) for value in node.enum], values.type))
        yield f"is none of the allowed values {', '.join(map(str, node.enum))}", _where_valid(values, allowed)
    if node.pattern is not None:
        yield f"does not match the pattern {node.pattern}", _matches(values, node.pattern)
    if node.min_length is not None:
        yield f"is shorter than {node.min_length}", pc.greater_equal(pc.utf8_length(values), node.min_length)
    if node.max_length is not None:
        yield f"is longer than {node.max_length}", pc.less_equal(pc.utf8_length(values), node.max_length)
    for pattern in FORMATS.get(node.format or "", ()):
        yield f"is not a valid {node.format}", _matches(values, pattern)


def _matches(values: Any, pattern: str) -> Any:
    return pc.match_substring_regex(values, pattern)


def _where_valid(values: Any, mask: Any) -> Any:
    return pc.if_else(pc.is_valid(values), mask, None)


def _bad(passes: Any) -> Any:
    """The rows that do not pass, or None if all do. Null means that there is no value to look at."""
    bad = pc.fill_null(pc.invert(passes), False)
    return bad if pc.any(bad).as_py() else None
