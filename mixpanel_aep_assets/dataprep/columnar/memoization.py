"""Expressions computed once for each combination of values: a batch has few countries, products and browsers.

What an expression of a mapping gives depends on its own row alone, so rows whose sources are equal share it. This is worth its
cost for large mappings, which search the same texts many times, and for what reads no other columns than these.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import polars as pl

ROW = "row"
"""The column of a batch that numbers its rows, from 0."""

REPETITIVE = 0.5
"""Combinations for each row, at most."""

_TOLD_APART = (pl.String, pl.Int64, pl.Boolean, pl.Float64)


@dataclass(frozen=True, eq=False)
class Shared:
    """Expressions, and the columns that they read together."""

    columns: tuple[str, ...]
    expressions: tuple[pl.Expr, ...]


def sharing(large: Iterable[pl.Expr], small: Iterable[pl.Expr]) -> tuple[list[Shared], list[pl.Expr]]:
    """The large expressions, those together that have columns in common, with the small ones of no other columns; the rest."""
    found: list[tuple[set[str], list[pl.Expr]]] = []
    rest: list[pl.Expr] = []
    for expression in large:
        columns, together = set(expression.meta.root_names()), [expression]
        if not columns:
            rest += together
            continue
        apart = []
        for others, theirs in found:
            if columns & others:
                columns, together = columns | others, theirs + together
            else:
                apart.append((others, theirs))
        found = [*apart, (columns, together)]
    for expression in small:
        roots = set(expression.meta.root_names())
        fitting = next((together for columns, together in found if roots and roots <= columns), rest)
        fitting.append(expression)
    return [Shared(tuple(sorted(columns)), tuple(together)) for columns, together in found], rest


def by_combination(batch: pl.DataFrame, one: Shared) -> pl.DataFrame | None:
    """The expressions' columns in all rows; None where combinations are many, or values cannot be told apart."""
    if any(batch.schema[name] not in _TOLD_APART for name in one.columns):
        return None
    decimals = [name for name in one.columns if batch.schema[name] == pl.Float64]
    # By their bits: -0.0 equals 0.0, but is another text.
    rows = batch.select(ROW, *one.columns).with_columns(pl.col(decimals).reinterpret(dtype=pl.Int64))
    groups = rows.group_by(one.columns).agg(pl.col(ROW))
    if groups.height > REPETITIVE * rows.height:
        return None
    each = (
        groups.lazy().with_columns(pl.col(decimals).reinterpret(dtype=pl.Float64)).select(pl.col(ROW), *one.expressions)
    )
    of_row = np.empty(rows.height, np.uint32)
    of_row[groups[ROW].explode().to_numpy()] = np.repeat(np.arange(groups.height), groups[ROW].list.len())
    return each.collect().drop(ROW).select(pl.all().gather(of_row))
