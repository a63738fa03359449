"""The operators of the language on vectors: `operators.py` and the comparisons of `values.py`, column by column."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Final

import polars as pl

from mixpanel_aep_assets.dataprep.columnar.columns import (
    ARRAYS,
    FALSE,
    NULL,
    SCALARS,
    TRUE,
    Escape,
    NotNativeError,
    Vector,
    any_of,
    booleans,
    constant,
    doubles,
    either,
    inexact,
    integer,
    number,
    others,
    present,
    text,
    truth,
    unbounded,
    united,
    within,
)
from mixpanel_aep_assets.dataprep.columnar.json_columns import JsonKind
from mixpanel_aep_assets.dataprep.language import bounds

_NUMBERS: Final = frozenset({"integer", "decimal"})
_PRODUCT: Final = 2**62


def equals(left: Vector, right: Vector) -> Vector:
    """`==`: null equals only null; a boolean or a number on one side makes the other side one."""
    if left.constant is None or right.constant is None:
        known = right if left.constant is None else left
        return booleans(~present(known), left.escape, right.escape)
    found: list[pl.Expr] = []
    masks: list[Escape] = [left.escape, right.escape]
    for kind, column in left.columns.items():
        for other_kind, other in right.columns.items():
            same, mask = _equal(kind, column, other_kind, other)
            found.append(same)
            masks.append(mask)
    return booleans(any_of(found) | (~present(left) & ~present(right)), *masks)


def _equal(kind: JsonKind, column: pl.Expr, other_kind: JsonKind, other: pl.Expr) -> tuple[pl.Expr, Escape]:
    both = column.is_not_null() & other.is_not_null()
    if kind == other_kind and (kind in SCALARS or kind == "wide"):
        return (column == other).fill_null(value=False), unbounded(column) if kind == "decimal" else None
    if "boolean" in (kind, other_kind):
        left, right = truth(Vector({kind: column})), truth(Vector({other_kind: other}))
        return both & (left == right), None
    if kind in _NUMBERS or other_kind in _NUMBERS:
        same, mask = _compared(Vector({kind: column}), Vector({other_kind: other}), lambda a, b: a == b)
        return same, within(both, mask)
    if {kind, other_kind} <= {*SCALARS}:
        return FALSE, None
    return FALSE, both


def _compared(left: Vector, right: Vector, comparison: Callable[[pl.Expr, pl.Expr], pl.Expr]) -> tuple[pl.Expr, Escape]:
    """A comparison of numbers, or texts read as such."""
    left, right = number(left), number(right)
    if set(left.columns) == set(right.columns) and len(left.columns) == 1:
        ((kind, column),) = left.columns.items()
        other = right.columns[kind]
        masks = (unbounded(column), unbounded(other)) if kind == "decimal" else ()
        return comparison(column, other).fill_null(value=False), either(left.escape, right.escape, *masks)
    left, right = doubles(left), doubles(right)
    compared = comparison(left.columns.get("decimal", pl.lit(None)), right.columns.get("decimal", pl.lit(None)))
    return compared.fill_null(value=False), either(left.escape, right.escape)


def same(left: Vector, right: Vector) -> Vector:
    """`.equals` on a value that is not null: no conversion, save that 1 and 1.0 are the same number."""
    found: list[pl.Expr] = []
    masks: list[Escape] = [left.escape, right.escape]
    for kind, column in left.columns.items():
        for other_kind, other in right.columns.items():
            if kind == other_kind and kind in SCALARS:
                found.append((column == other).fill_null(value=False))
            elif {kind, other_kind} == _NUMBERS:
                equal, mask = _compared(Vector({kind: column}), Vector({other_kind: other}), lambda a, b: a == b)
                found.append(equal)
                masks.append(mask)
            elif kind not in SCALARS and other_kind not in SCALARS:
                masks.append(column.is_not_null() & other.is_not_null())
    return booleans(any_of(found), *masks)


def negation(vector: Vector) -> Vector:
    return booleans(~truth(vector), vector.escape)


def _ordering(comparison: Callable[[pl.Expr, pl.Expr], pl.Expr]) -> Callable[[Vector, Vector], Vector]:
    def ordered(left: Vector, right: Vector) -> Vector:
        found: list[pl.Expr] = []
        masks: list[Escape] = [left.escape, right.escape]
        for kind, column in left.columns.items():
            for other_kind, other in right.columns.items():
                both = column.is_not_null() & other.is_not_null()
                if kind == other_kind and kind in SCALARS and kind not in _NUMBERS:
                    found.append(comparison(column, other).fill_null(value=False))
                elif {kind, other_kind} & _NUMBERS and "boolean" not in (kind, other_kind):
                    compared, mask = _compared(Vector({kind: column}), Vector({other_kind: other}), comparison)
                    found.append(compared)
                    masks.append(within(both, mask))
                else:
                    masks.append(both)
        return booleans(any_of(found), *masks)

    return ordered


def add(left: Vector, right: Vector) -> Vector:
    """Numbers add; if either side is text, the texts are joined. What gives no value is an error, null among them."""
    numbers = _arithmetic(_numbers(left), _numbers(right), lambda a, b: a + b, lambda a, b: a + b)
    columns, masks = {**numbers.columns}, [left.escape, right.escape, numbers.escape]
    if "text" in left.columns or "text" in right.columns:
        rows = _text_rows(left) | _text_rows(right)
        joined = text(replace(left, escape=None)), text(replace(right, escape=None))
        if all(one.columns for one in joined):
            columns["text"] = pl.when(rows).then(pl.concat_str([one.columns["text"] for one in joined]))
            masks += [within(rows, one.escape) for one in joined]
            masks.append((columns["text"].str.len_bytes() > bounds.TEXT_CHARACTERS).fill_null(value=False))
    result = Vector(columns)
    return result.escaping(*masks, ~present(result))


def _numbers(vector: Vector) -> Vector:
    return Vector({kind: column for kind, column in vector.columns.items() if kind in _NUMBERS})


def _text_rows(vector: Vector) -> pl.Expr:
    column = vector.columns.get("text")
    return FALSE if column is None else column.is_not_null()


def _beyond(numbers: Vector) -> Escape:
    integers, decimals = numbers.columns.get("integer"), numbers.columns.get("decimal")
    return either(None if integers is None else inexact(integers), None if decimals is None else unbounded(decimals))


def _arithmetic(
    left: Vector,
    right: Vector,
    on_integers: Callable[[pl.Expr, pl.Expr], pl.Expr],
    on_decimals: Callable[[pl.Expr, pl.Expr], pl.Expr],
) -> Vector:
    """Integers with integers, and doubles as soon as one side is one."""
    columns: dict[JsonKind, list[pl.Expr]] = {"integer": [], "decimal": []}
    masks: list[Escape] = [left.escape, right.escape, _beyond(left), _beyond(right)]
    for kind, column in left.columns.items():
        for other_kind, other in right.columns.items():
            if kind == other_kind == "integer":
                columns["integer"].append(on_integers(column, other))
            else:
                result = on_decimals(column.cast(pl.Float64), other.cast(pl.Float64))
                columns["decimal"].append(result)
                masks.append(unbounded(result))
    return Vector({kind: united(given, kind) for kind, given in columns.items() if given}, either(*masks))


def _numeric(
    on_integers: Callable[[pl.Expr, pl.Expr], pl.Expr], on_decimals: Callable[[pl.Expr, pl.Expr], pl.Expr]
) -> Callable[[Vector, Vector], Vector]:
    def operation(left: Vector, right: Vector) -> Vector:
        result = _arithmetic(number(left), number(right), on_integers, on_decimals)
        return result.escaping(~present(result))

    return operation


def _product(left: pl.Expr, right: pl.Expr) -> pl.Expr:
    fits = left.cast(pl.Float64).abs() * right.cast(pl.Float64).abs() < _PRODUCT
    return pl.when(fits).then(left * right)


def _quotient(left: pl.Expr, right: pl.Expr) -> pl.Expr:
    return pl.when(right != 0).then((left.abs() // right.abs()) * left.sign() * right.sign())


def _remainder(left: pl.Expr, right: pl.Expr) -> pl.Expr:
    return pl.when(right != 0).then((left.abs() % right.abs()) * left.sign())


def _no_remainder(left: pl.Expr, _right: pl.Expr) -> pl.Expr:
    """Polars computes the remainder of doubles from their rounded quotient; the true one is the evaluator's."""
    return pl.when(left.is_null()).then(left)


def _bitwise(operation: Callable[[pl.Expr, pl.Expr], pl.Expr]) -> Callable[[Vector, Vector], Vector]:
    def bitwise(left: Vector, right: Vector) -> Vector:
        left, right = integer(left), integer(right)
        if not left.columns or not right.columns:
            return Vector({}, TRUE)
        result = Vector({"integer": operation(left.columns["integer"], right.columns["integer"])})
        return result.escaping(left.escape, right.escape, ~present(result))

    return bitwise


def _affix(test: Callable[[pl.Expr, pl.Expr], pl.Expr]) -> Callable[[Vector, Vector], Vector]:
    def affix(left: Vector, right: Vector) -> Vector:
        whole, part = text(left), text(right)
        both = present(left) & present(right)
        if not whole.columns or not part.columns:
            return booleans(~present(left) & ~present(right), within(both, TRUE), left.escape, right.escape)
        found = test(whole.columns["text"], part.columns["text"]).fill_null(value=False)
        return booleans(
            (both & found) | (~present(left) & ~present(right)),
            left.escape,
            right.escape,
            within(both, either(whole.escape, part.escape)),
        )

    return affix


def matches(left: Vector, right: Vector) -> Vector:
    """`=~` with a constant array: whether the value is in it. With a pattern: `compile_functions.py`."""
    if not isinstance(right.constant, list):
        raise NotNativeError("=~ has a columnar form only with a constant array or pattern")
    if others(left, *SCALARS) is not None or any(kind in ARRAYS for kind in left.columns):
        raise NotNativeError("=~ on arrays or objects")
    found = [same(left, constant(item)) for item in right.constant if item is not None]
    return booleans(any_of(one.columns["boolean"] for one in found), left.escape, *(one.escape for one in found))


def negate(value: Vector) -> Vector:
    return _numeric(lambda a, b: a - b, lambda _, b: -b)(Vector({"integer": pl.lit(0)}), value)


def complement(value: Vector) -> Vector:
    numbers = integer(value)
    if not numbers.columns:
        return NULL.escaping(TRUE)
    return Vector({"integer": -numbers.columns["integer"] - 1}).escaping(
        numbers.escape, ~present(numbers), inexact(numbers.columns["integer"])
    )


def _negated(operation: Callable[[Vector, Vector], Vector]) -> Callable[[Vector, Vector], Vector]:
    return lambda left, right: negation(operation(left, right))


BINARY: Final[Mapping[str, Callable[[Vector, Vector], Vector]]] = MappingProxyType(
    {
        "+": add,
        "-": _numeric(lambda a, b: a - b, lambda a, b: a - b),
        "*": _numeric(_product, lambda a, b: a * b),
        "/": _numeric(_quotient, lambda a, b: pl.when(b != 0).then(a / b)),
        "%": _numeric(_remainder, _no_remainder),
        "==": equals,
        "!=": _negated(equals),
        "<": _ordering(lambda a, b: a < b),
        "<=": _ordering(lambda a, b: a <= b),
        ">": _ordering(lambda a, b: a > b),
        ">=": _ordering(lambda a, b: a >= b),
        "=~": matches,
        "!~": _negated(matches),
        "=^": _affix(lambda whole, part: whole.str.starts_with(part)),
        "!^": _negated(_affix(lambda whole, part: whole.str.starts_with(part))),
        "=$": _affix(lambda whole, part: whole.str.ends_with(part)),
        "!$": _negated(_affix(lambda whole, part: whole.str.ends_with(part))),
        "|": _bitwise(lambda a, b: a | b),
        "^": _bitwise(lambda a, b: a ^ b),
        "&": _bitwise(lambda a, b: a & b),
    }
)
"""Every binary operator that always evaluates both sides, by its symbol, as in `operators.py`."""
