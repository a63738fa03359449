"""Values of the language as typed Polars expressions: `Vector`, and the rules of `values.py` on whole columns.

The rule that keeps both evaluators alike: a vector is right in every row that it does not give away. Where a value needs more
than Polars has (an error to be worded, an integer beyond 64 bits, a text in an unusual form) the row is marked in `escape`, and
the plain evaluator decides it. So escaping is always safe, and a missing escape is a bug.
"""

from __future__ import annotations

import datetime as dt
import functools
import operator
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final

import polars as pl

from mixpanel_aep_assets.dataprep.columnar.json_columns import DTYPES, JsonKind

EXACT: Final = 2**53
"""Integers up to here are exact as doubles, and sums and differences of two of them fit into 64 bits."""

ARRAYS: Final[Mapping[JsonKind, JsonKind]] = {
    "texts": "text",
    "integers": "integer",
    "decimals": "decimal",
    "booleans": "boolean",
}
"""The kinds of arrays, and the kind of their elements."""

ARRAY_OF: Final[Mapping[JsonKind, JsonKind]] = {item: array for array, item in ARRAYS.items()}

SCALARS: Final[tuple[JsonKind, ...]] = ("text", "integer", "decimal", "boolean", "moment")

_INTEGER_TEXT: Final = r"^-?[0-9]{1,18}$"
_DECIMAL_TEXT: Final = r"^-?[0-9]{1,15}\.[0-9]{1,15}$"
_PLAIN_DECIMALS: Final = (1e-3, 1e15)
"""Where the shortest text of a double has no exponent, neither in Python nor in Polars."""

_MOST_CHAINED: Final = 8

FALSE: Final = pl.lit(False)
TRUE: Final = pl.lit(True)

Escape = pl.Expr | None
"""True in rows that the plain evaluator must decide, never null; None: in no row."""


class NotNativeError(Exception):
    """An expression, or a part of it, that has no columnar form. The text is the reason shown to users."""


@dataclass(frozen=True)
class Unknown:
    """The value of a vector that is not a constant."""


VARIABLE: Final = Unknown()


@dataclass(frozen=True)
class Vector:
    """The values of an expression in all rows. In each row at most one of `columns` is not null; in none: null.

    `moments` are the same values as moments, for texts that were written from moments: whoever wants those need not read them.
    """

    columns: Mapping[JsonKind, pl.Expr] = field(default_factory=dict)
    escape: Escape = None
    constant: Any = VARIABLE
    moments: pl.Expr | None = None

    @property
    def is_constant(self) -> bool:
        return self.constant is not VARIABLE

    def escaping(self, *masks: Escape) -> Vector:
        """The same values, with more rows given away. Rows that may be given away make it no constant."""
        escape = either(self.escape, *masks)
        return self if escape is None else Vector(self.columns, escape, moments=self.moments)


NULL: Final = Vector(constant=None)


def either(*masks: Escape) -> Escape:
    """Rows in any of the masks."""
    given = [mask for mask in masks if mask is not None]
    return any_of(given) if given else None


def within(rows: pl.Expr, mask: Escape) -> Escape:
    return None if mask is None else rows & mask


def any_of(parts: Iterable[pl.Expr]) -> pl.Expr:
    """Where any of the parts is true. Many are taken at once, since Polars recurses over a chain of them."""
    given = list(parts)
    if len(given) > _MOST_CHAINED:
        return pl.any_horizontal(given)
    return functools.reduce(operator.or_, given) if given else FALSE


def nulls(kind: JsonKind) -> pl.Expr:
    return pl.lit(None, dtype=DTYPES[kind])


def constant(value: Any) -> Vector:
    """A constant as a vector. Raises NotNativeError for a value that no kind holds."""
    kind = kind_of_constant(value)
    if kind is None:
        return NULL
    if kind in ARRAYS:
        return Vector({kind: pl.lit(pl.Series([value], dtype=DTYPES[kind])).first()}, constant=value)
    return Vector({kind: pl.lit(value, dtype=DTYPES[kind])}, constant=value)


def kind_of_constant(value: Any) -> JsonKind | None:
    """The kind of a Python value; None for null."""
    match value:
        case None:
            return None
        case bool():
            return "boolean"
        case int() if -(2**63) <= value < 2**63:
            return "integer"
        case float():
            return "decimal"
        case str():
            return "text"
        case dt.datetime() if value.utcoffset() == dt.timedelta():
            return "moment"
        case list():
            kinds = {kind_of_constant(item) for item in value} - {None}
            if len(kinds) <= 1:
                item = kinds.pop() if kinds else "text"
                if item is not None and item in ARRAY_OF:
                    return ARRAY_OF[item]
    raise NotNativeError("a constant of this kind has no column type")


def booleans(values: pl.Expr, *masks: Escape) -> Vector:
    return Vector({"boolean": values}, either(*masks))


def present(vector: Vector) -> pl.Expr:
    """Where the value is not null."""
    if vector.is_constant:
        return FALSE if vector.constant is None else TRUE
    return any_of(column.is_not_null() for column in vector.columns.values())


def others(vector: Vector, *kinds: JsonKind) -> Escape:
    """Where the value has none of these kinds and is not null."""
    return either(*(column.is_not_null() for kind, column in vector.columns.items() if kind not in kinds))


def choose(rows: pl.Expr, then: Vector, otherwise: Vector) -> Vector:
    """`then` in the rows, `otherwise` in the others; what was not chosen cannot spoil a row. `rows` is never null."""
    if then.constant is None and otherwise.constant is None and then.escape is otherwise.escape is None:
        return NULL
    kinds = {*then.columns, *otherwise.columns}
    if "native" in kinds:
        raise NotNativeError("a derived structure can only be mapped as it is")
    columns = {
        kind: pl.when(rows)
        .then(then.columns.get(kind, nulls(kind)))
        .otherwise(otherwise.columns.get(kind, nulls(kind)))
        for kind in kinds
    }
    return Vector(columns, either(within(rows, then.escape), within(~rows, otherwise.escape)))


def first_present(vectors: Iterable[Vector]) -> Vector:
    """The first value of each row that is not null. Errors of all of them count."""
    found = NULL
    for vector in vectors:
        if found.constant is None and found.escape is None:
            found = vector
            continue
        if vector.constant is None:
            found = found.escaping(vector.escape)
            continue
        if len({*found.columns, *vector.columns}) <= 1:
            columns = {
                kind: pl.coalesce(found.columns[kind], vector.columns[kind])
                if kind in found.columns and kind in vector.columns
                else (found.columns.get(kind, vector.columns.get(kind, nulls(kind))))
                for kind in {*found.columns, *vector.columns}
            }
            found = Vector(columns, either(found.escape, vector.escape))
        else:
            chosen = choose(present(found), replace(found, escape=None), replace(vector, escape=None))
            found = Vector(chosen.columns, either(found.escape, vector.escape))
    return found


def truth(vector: Vector) -> pl.Expr:
    """The truth of a condition, never null."""
    return any_of(_truth(kind, column) for kind, column in vector.columns.items())


def _truth(kind: JsonKind, column: pl.Expr) -> pl.Expr:
    match kind:
        case "boolean":
            return column.fill_null(value=False)
        case "integer" | "decimal":
            return (column != 0).fill_null(value=False)
        case "text":
            return ((column != "") & (column != "false")).fill_null(value=False)
        case _:
            return column.is_not_null()


def text(vector: Vector) -> Vector:
    """As text. Arrays and objects are given away: they are errors, which the evaluator words."""
    if vector.is_constant and isinstance(vector.constant, str):
        return vector
    columns: list[pl.Expr] = []
    masks: list[Escape] = [vector.escape]
    for kind, column in vector.columns.items():
        match kind:
            case "text" | "wide":
                columns.append(column)
            case "integer" | "boolean":
                columns.append(column.cast(pl.String))
            case "decimal":
                written, mask = decimal_text(column)
                columns.append(written)
                masks.append(mask)
            case "moment":
                columns.append(iso(column))
            case _:
                masks.append(column.is_not_null())
    return Vector({"text": united(columns, "text")}, either(*masks)) if columns else Vector({}, either(*masks))


def united(columns: list[pl.Expr], kind: JsonKind) -> pl.Expr:
    """Columns of one type of which at most one is not null in a row."""
    return columns[0] if len(columns) == 1 else pl.coalesce(columns) if columns else nulls(kind)


def decimal_text(column: pl.Expr) -> tuple[pl.Expr, pl.Expr]:
    """The shortest text of doubles, whole ones without a point; and where the evaluator has to write it."""
    low, high = _PLAIN_DECIMALS
    size = column.abs()
    whole = (column == column.floor()) & (size < high)
    written = pl.when(whole).then(column.cast(pl.Int64, strict=False).cast(pl.String)).otherwise(column.cast(pl.String))
    return written, (~(whole | ((size >= low) & (size < high)))).fill_null(value=False)


def iso(column: pl.Expr) -> pl.Expr:
    """ISO 8601 of date-times in UTC: no fraction when it is zero, else three or six digits."""
    micros = column.dt.microsecond()
    return (
        pl.when(micros == 0)
        .then(column.dt.strftime("%Y-%m-%dT%H:%M:%SZ"))
        .when(micros % 1000 == 0)
        .then(column.dt.strftime("%Y-%m-%dT%H:%M:%S%.3fZ"))
        .otherwise(column.dt.strftime("%Y-%m-%dT%H:%M:%S%.6fZ"))
    )


def number(vector: Vector) -> Vector:
    """As a number: integers and decimals, or texts that read as one; all else is given away."""
    columns: dict[JsonKind, list[pl.Expr]] = {"integer": [], "decimal": []}
    masks: list[Escape] = [vector.escape]
    for kind, column in vector.columns.items():
        if kind == "integer" or kind == "decimal":
            columns[kind].append(column)
        elif kind == "text":
            whole, broken = column.str.contains(_INTEGER_TEXT), column.str.contains(_DECIMAL_TEXT)
            columns["integer"].append(pl.when(whole).then(column).cast(pl.Int64, strict=False))
            columns["decimal"].append(pl.when(broken).then(column).cast(pl.Float64, strict=False))
            masks.append((~(whole | broken)).fill_null(value=False))
        else:
            masks.append(column.is_not_null())
    return Vector({kind: united(given, kind) for kind, given in columns.items() if given}, either(*masks))


def integer(vector: Vector) -> Vector:
    """As an integer: integers, whole decimals, texts that read as one; all else is given away."""
    numbers = number(vector)
    decimals = numbers.columns.get("decimal")
    given = [numbers.columns["integer"]] if "integer" in numbers.columns else []
    mask: Escape = None
    if decimals is not None:
        whole = (decimals == decimals.floor()) & (decimals.abs() <= EXACT)
        given.append(pl.when(whole).then(decimals).cast(pl.Int64, strict=False))
        mask = (~whole).fill_null(value=False)
    return Vector({"integer": united(given, "integer")}, either(numbers.escape, mask))


def doubles(numbers: Vector) -> Vector:
    """Numbers as doubles; integers that a double does not hold exactly are given away."""
    given: list[pl.Expr] = []
    masks: list[Escape] = [numbers.escape]
    for kind, column in numbers.columns.items():
        given.append(column.cast(pl.Float64))
        masks.append(inexact(column) if kind == "integer" else unbounded(column))
    return Vector({"decimal": united(given, "decimal")}, either(*masks))


def inexact(integers: pl.Expr) -> pl.Expr:
    return ((integers > EXACT) | (integers < -EXACT)).fill_null(value=False)


def unbounded(decimals: pl.Expr) -> pl.Expr:
    """Where a decimal is no finite number; only malformed JSON has such values."""
    return decimals.is_finite().not_().fill_null(value=False)


def only(vector: Vector, *kinds: JsonKind) -> Vector:
    """The values of these kinds; all others are given away."""
    columns = {kind: column for kind, column in vector.columns.items() if kind in kinds}
    return Vector(columns, either(vector.escape, others(vector, *kinds)))
