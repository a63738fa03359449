"""Mapped columns to the columns of the row: one per root of the destinations, with objects as structs and arrays as lists.

Paths of names, with single elements `[n]`, fold as expressions. Where mappings iterate with `[*]`, or one writes below what
another wrote and no type tells what that is, `destinations.put` folds the values in Python, row by row.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec
import polars as pl

from mixpanel_aep_assets.dataprep.columnar.columns import any_of
from mixpanel_aep_assets.dataprep.columnar.json_columns import Steps
from mixpanel_aep_assets.dataprep.interpreter.destinations import put
from mixpanel_aep_assets.dataprep.language.mapping_errors import EvaluationError

Key = str | int


@dataclass(frozen=True)
class Placed:
    """A mapped column: its mapping's index, where it goes, and whether its values are JSON texts of any value."""

    mapping: int
    steps: Steps
    column: str
    dtype: pl.DataType
    is_json: bool = False


@dataclass
class Node:
    """A place in the row: the columns written to it, in order of precedence, and the places below."""

    own: list[Placed] = field(default_factory=list)
    children: dict[Key, Node] = field(default_factory=dict)


@dataclass(frozen=True)
class Folded:
    """`frame` has one column per root. `json_roots` hold JSON text, for want of one type. `errors`: mapping, row, text."""

    frame: pl.DataFrame
    json_roots: tuple[str, ...]
    errors: tuple[tuple[int, int, str], ...]


def fold(frame: pl.DataFrame, placed: Sequence[Placed], *, keep_nulls: bool = False) -> Folded:
    """The rows of the mapped columns in `frame`. `placed` is in the order of writing: outer destinations first."""
    roots: dict[str, list[Placed]] = {}
    for one in sorted(placed, key=lambda one: one.mapping):
        roots.setdefault(one.steps[0].name or "", [])
    for one in placed:
        roots[one.steps[0].name or ""].append(one)
    expressions: list[pl.Expr] = []
    series: dict[str, pl.Series] = {}
    json_roots: list[str] = []
    errors: list[tuple[int, int, str]] = []
    for root, below in roots.items():
        expression = _expression(below, keep_nulls=keep_nulls)
        if expression is not None:
            expressions.append(expression.alias(root))
            if len(below[0].steps) == 1 and below[0].is_json:
                json_roots.append(root)
            continue
        series[root], is_json = _by_rows(frame, below, errors, keep_nulls=keep_nulls)
        if is_json:
            json_roots.append(root)
    folded = frame.lazy().select(expressions).collect() if expressions else pl.DataFrame()
    columns = {**{column.name: column for column in folded.get_columns()}, **series}
    return Folded(pl.DataFrame([columns[root] for root in roots]), tuple(json_roots), tuple(errors))


def _expression(placed: Sequence[Placed], *, keep_nulls: bool) -> pl.Expr | None:
    """The root as one expression; None where only rows tell what is written."""
    tree = Node()
    for one in placed:
        if one.is_json and len(one.steps) > 1:
            return None
        at = tree
        for step in one.steps:
            # A null that is kept makes its element, too.
            if step.every or (keep_nulls and step.index is not None):
                return None
            key: Key = step.name if step.name is not None else step.index or 0
            at = at.children.setdefault(key, Node())
        if at.own and (keep_nulls or any(other.dtype != one.dtype or other.is_json != one.is_json for other in at.own)):
            return None
        at.own.append(one)
    (node,) = tree.children.values()
    try:
        return _folded(node, None)[0]
    except _UntypedError:
        return None


class _UntypedError(Exception):
    """A place whose type only the values tell."""


def _folded(node: Node, outer: tuple[pl.Expr, pl.DataType] | None) -> tuple[pl.Expr, pl.DataType, pl.Expr]:
    """A place's value, its type, and where it holds something. `outer` is what a copy from further out wrote there."""
    sources = [(pl.col(one.column), one.dtype) for one in reversed(node.own)]
    if outer is not None:
        sources.append(outer)
    if not node.children:
        if len({str(dtype) for _, dtype in sources}) > 1:
            raise _UntypedError
        value = sources[0][0] if len(sources) == 1 else pl.coalesce([one for one, _ in sources])
        return value, sources[0][1], value.is_not_null()
    if any(one.is_json for one in node.own) or len(sources) > 1:
        raise _UntypedError
    if any(isinstance(key, int) for key in node.children):
        return _list(node, has_outer=bool(sources))
    return _struct(node, sources[0] if sources else None)


def _struct(node: Node, outer: tuple[pl.Expr, pl.DataType] | None) -> tuple[pl.Expr, pl.DataType, pl.Expr]:
    known: dict[str, pl.DataType] = {}
    if outer is not None:
        if not isinstance(outer[1], pl.Struct):
            raise _UntypedError
        known = {one.name: _instance(one.dtype) for one in outer[1].fields}
    fields: list[pl.Expr] = []
    dtypes: list[pl.Field] = []
    held: list[pl.Expr] = []
    for name in [*known, *(key for key in node.children if key not in known)]:
        name = str(name)
        below = (outer[0].struct.field(name), known[name]) if outer is not None and name in known else None
        if name in node.children:
            value, dtype, holds = _folded(node.children[name], below)
        elif below is not None:
            value, dtype, holds = below[0], below[1], below[0].is_not_null()
        fields.append(value.alias(name))
        dtypes.append(pl.Field(name, dtype))
        held.append(holds)
    holds = any_of(held)
    return pl.when(holds).then(pl.struct(fields)), pl.Struct(dtypes), holds


def _list(node: Node, *, has_outer: bool) -> tuple[pl.Expr, pl.DataType, pl.Expr]:
    if has_outer or not all(isinstance(key, int) for key in node.children):
        raise _UntypedError
    elements = {key: _folded(child, None) for key, child in node.children.items() if isinstance(key, int)}
    dtype = next(iter(elements.values()))[1]
    # concat_list joins arrays instead of making an array of them.
    if isinstance(dtype, pl.List) or any(str(other) != str(dtype) for _, other, _ in elements.values()):
        raise _UntypedError
    length = max(elements) + 1
    empty = pl.lit(None, dtype=dtype)
    values = [elements[at][0] if at in elements else empty for at in range(length)]
    size = pl.max_horizontal([pl.when(elements[at][2]).then(at + 1).otherwise(0) for at in elements])
    holds = any_of(one[2] for one in elements.values())
    items = pl.concat_list(values)
    return pl.when(holds).then(items if length == 1 else items.list.head(size)), pl.List(dtype), holds


def _by_rows(
    frame: pl.DataFrame, placed: Sequence[Placed], errors: list[tuple[int, int, str]], *, keep_nulls: bool
) -> tuple[pl.Series, bool]:
    root = placed[0].steps[0].name or ""
    columns = [_values(frame, one) for one in placed]
    rows: list[Any] = []
    for row in range(len(frame)):
        data: dict[str, Any] = {}
        for one, values in zip(placed, columns, strict=True):
            try:
                put(data, one.steps, values[row], keep_nulls=keep_nulls)
            except EvaluationError as error:
                errors.append((one.mapping, row, str(error)))
        rows.append(data.get(root))
    dtype = None if any(one.is_json for one in placed) else _dtype([(one.steps[1:], one.dtype) for one in placed])
    if dtype is not None:
        return pl.Series(root, rows, dtype=dtype), False
    texts = [None if value is None else msgspec.json.encode(value).decode() for value in rows]
    return pl.Series(root, texts, dtype=pl.String), True


def _values(frame: pl.DataFrame, one: Placed) -> list[Any]:
    values = frame.get_column(one.column).to_list()
    if one.is_json:
        return [None if value is None else msgspec.json.decode(value) for value in values]
    return values


def _dtype(parts: Iterable[tuple[Steps, pl.DataType]]) -> pl.DataType | None:
    """The type of a place that is written at these paths below it; None where they contradict each other."""
    fields: dict[str, list[tuple[Steps, pl.DataType]]] = {}
    items: list[tuple[Steps, pl.DataType]] = []
    here: list[pl.DataType] = []
    maps: list[tuple[Steps, pl.DataType]] = []
    for steps, dtype in parts:
        if not steps:
            if isinstance(dtype, pl.Map):
                maps.append(((), _instance(dtype.value)))
            elif isinstance(dtype, pl.Struct):
                for one in dtype.fields:
                    fields.setdefault(one.name, []).append(((), _instance(one.dtype)))
            elif isinstance(dtype, pl.List) and steps == ():
                items.append(((), _instance(dtype.inner)))
            else:
                here.append(dtype)
        elif steps[0].name is not None:
            fields.setdefault(steps[0].name, []).append((steps[1:], dtype))
        elif steps[0].every:
            # Under [*] the column holds an array of what goes to the elements.
            inner = _instance(dtype.inner) if isinstance(dtype, pl.List) else dtype
            items.append((steps[1:], inner))
        else:
            items.append((steps[1:], dtype))
    if maps:  # named steps are keys of it
        maps += [part for below in fields.values() for part in below]
        fields = {}
    if bool(fields) + bool(items) + bool(here) + bool(maps) != 1:
        return None
    if maps:
        value_type = _dtype(maps)
        return None if value_type is None else pl.Map(pl.String(), value_type)
    if here:
        return here[0] if len({str(one) for one in here}) == 1 else None
    if items:
        inner_type = _dtype(items)
        return None if inner_type is None else pl.List(inner_type)
    members: Mapping[str, pl.DataType | None] = {name: _dtype(below) for name, below in fields.items()}
    known = {name: one for name, one in members.items() if one is not None}
    return pl.Struct(known) if len(known) == len(members) else None


def _instance(dtype: Any) -> pl.DataType:
    return dtype if isinstance(dtype, pl.DataType) else dtype()
