"""The Parquet types of a file's columns against the Platform's table (platform.md#parquet-types and
platform.md#conversions), from its footer.

A column must be of a type that the table has, and that the Platform converts to the type of the field; else the batch
fails whole, whatever the values. What the values are is for `conformance`. Judged are the types of Parquet itself, not
those that a writer remembers beside them for Arrow.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

import orjson
import pyarrow as pa
import pyarrow.parquet as pq

from mixpanel_aep_assets.xdm.record_validation import escape
from mixpanel_aep_assets.xdm.rules import Violation
from mixpanel_aep_assets.xdm.schema import INTEGER_RANGES, Field, FieldKind, Schema

RULE: Final = "columnType"

TABLE: Final[Mapping[FieldKind, str]] = {
    "string": "BYTE_ARRAY (String)",
    "double": "DOUBLE",
    "long": "INT64",
    "int": "INT32",
    "short": "INT32 (Int 16)",
    "byte": "INT32 (Int 8)",
    "boolean": "BOOLEAN",
    "date": "INT32 (Date)",
    "date_time": "INT64 (Timestamp milliseconds UTC)",
    "map": "a MAP group",
    "object": "a group",
    "array": "a LIST group of three levels",
}
"""XDM type -> the Parquet type that Adobe's table gives it, as `_shown` prints it."""

_KINDS: Final[Mapping[str, FieldKind]] = {
    **{text: kind for kind, text in TABLE.items()},
    "INT32 (Int 32)": "int",
    "INT64 (Int 64)": "long",
}

_INTEGERS: Final = frozenset(INTEGER_RANGES)
_NUMBERS: Final = frozenset({"string", "double"}) | _INTEGERS
_CONVERTS: Final[Mapping[str, frozenset[str]]] = {
    "string": _NUMBERS | {"date", "date_time"},
    "byte": _NUMBERS,
    "short": _NUMBERS,
    "int": _NUMBERS,
    "double": _NUMBERS,
    "long": _NUMBERS | {"date", "date_time"},
    "object": frozenset({"object", "map"}),
    "map": frozenset({"object", "map"}),
}
"""Type of a column -> types of fields that it can become; the others become their own only."""


def column_findings(file: pq.ParquetSchema, schema: Schema) -> list[Violation]:
    """A violation for each column that the Platform cannot read into its field. `*` in a pointer stands for the items of
    a list and the entries of a map. A column that the schema lacks is judged by the table alone."""
    leaves = (file.column(number) for number in range(len(file)))
    found: list[Violation] = []
    for column in file.to_arrow_schema():
        at = f"/{escape(column.name)}"
        found += _column(column.type, schema.root.child(column.name), at, _dots(column.name), leaves)
    return found


def _column(
    dtype: pa.DataType, field: Field | None, at: str, dots: int, leaves: Iterator[Any], *, in_list: bool = False
) -> Iterator[Violation]:
    """The findings of a column and of what is below it. `dots` are those of its path in the file; `leaves` go along."""
    if pa.types.is_struct(dtype):
        yield from _convertible("object", field, at)
        for member in dtype:
            below = None if field is None else field.values if field.kind == "map" else field.child(member.name)
            path = f"{at}/{escape(member.name)}"
            yield from _column(member.type, below, path, dots + 1 + _dots(member.name), leaves, in_list=in_list)
    elif pa.types.is_map(dtype):
        yield from _convertible("map", field, at)
        keys = list(_column(dtype.key_type, None, at, dots + 2, leaves, in_list=in_list))
        if not keys and not _is_text(dtype.key_type):
            keys = [_violation(at, f"keys of {dtype.key_type}", "the keys of a map are text")]
        yield from keys
        values = field.values if field is not None and field.kind == "map" else None
        yield from _column(dtype.item_type, values, f"{at}/*", dots + 2, leaves, in_list=in_list)
    elif _is_list(dtype):
        yield from _convertible("array", field, at)
        items = field.items if field is not None else None
        yield from _column(dtype.value_type, items, f"{at}/*", dots + 2, leaves, in_list=True)
    else:
        column = next(leaves)
        shown = _shown(column)
        kind = _KINDS.get(shown)
        if in_list and column.path.count(".") < dots:
            yield _violation(at, shown, f"a list on the way to it is not {TABLE['array']}")
        if kind is not None:
            yield from _convertible(kind, field, at, shown)
        else:
            yield _violation(at, shown, f"no Parquet type that the Platform takes{_wanted(field)}")


def _convertible(kind: FieldKind, field: Field | None, at: str, shown: str | None = None) -> Iterator[Violation]:
    if field is None or field.kind in ("any", kind) or field.kind in _CONVERTS.get(kind, ()):
        return
    yield _violation(at, shown or TABLE[kind], f"the Platform does not convert it{_wanted(field)}")


def _violation(at: str, shown: str, message: str) -> Violation:
    return Violation(at, RULE, shown, f"{shown}: {message}")


def _wanted(field: Field | None) -> str:
    return f"; {field.kind} is {TABLE[field.kind]}" if field is not None and field.kind in TABLE else ""


def _shown(column: Any) -> str:
    """The type of a leaf: its physical type and what its annotation says."""
    logical = orjson.loads(column.logical_type.to_json())
    physical: str = column.physical_type
    match logical["Type"]:
        case "None":
            return physical if column.converted_type == "NONE" else f"{physical} ({column.converted_type})"
        case "Int":
            signed = "Int" if logical["isSigned"] else "unsigned Int"
            return f"{physical} ({signed} {logical['bitWidth']})"
        case "Timestamp" | "Time" as name:
            zone = "UTC" if logical["isAdjustedToUTC"] else "without UTC"
            return f"{physical} ({name} {logical['timeUnit']} {zone})"
        case "Decimal":
            return f"{physical} (Decimal {logical['precision']}, {logical['scale']})"
        case name:
            return f"{physical} ({name})"


def _is_list(dtype: pa.DataType) -> bool:
    return bool(pa.types.is_list(dtype) or pa.types.is_large_list(dtype) or pa.types.is_fixed_size_list(dtype))


def _is_text(dtype: pa.DataType) -> bool:
    dtype = dtype.value_type if pa.types.is_dictionary(dtype) else dtype
    return bool(pa.types.is_string(dtype) or pa.types.is_large_string(dtype) or pa.types.is_string_view(dtype))


def _dots(name: str) -> int:
    return name.count(".")
