"""Columns without empty values: the Platform takes no null and nothing empty for any field (xdm.md#empty-values and
xdm.md#custom-fields).

Null, an empty text, a list without items, a map without entries and an object without members are empty, and so is
what holds nothing else. Empty items go from their list, empty entries from their map, empty members from their object.
"""

from __future__ import annotations

from typing import cast

import polars as pl


def without_empty(column: pl.Series) -> pl.Series:
    """The column with null for what is empty, and without empty items and entries at whatever depth; of the same type.

    A column without empty values, as most are, is only looked at.
    """
    if not _has_empty(column):
        return column
    dtype = column.dtype
    if dtype == pl.String():
        return column.set(column == "", None)
    if isinstance(dtype, pl.Struct):
        return _struct(column)
    return _list(column, dtype) if isinstance(dtype, pl.List) else _list(_entries(column), dtype)


def _has_empty(column: pl.Series) -> bool:
    """Whether something other than whole rows that are null is empty."""
    dtype = column.dtype
    if dtype == pl.String():
        return bool((column == "").any())
    if isinstance(dtype, pl.Struct):
        members = column.struct.unnest()
        return any(map(_has_empty, members)) or _without_members(column, members)
    if not isinstance(dtype, pl.List | pl.Map):
        return False
    lists = column if isinstance(dtype, pl.List) else _entries(column)
    if (lists.list.len() == 0).any():
        return True
    items = _items(lists)
    values = items if isinstance(dtype, pl.List) else items.struct.field("value")
    return values.null_count() > 0 or _has_empty(values)


def _without_members(column: pl.Series, members: pl.DataFrame) -> bool:
    """Whether an object is there of which no member is."""
    if any(member.null_count() == column.null_count() for member in members):
        return False
    alone = members.select(pl.all_horizontal(pl.all().is_null())).to_series()
    return bool((alone & column.is_not_null()).any())


def _struct(column: pl.Series) -> pl.Series:
    members = pl.DataFrame([without_empty(member) for member in column.struct.unnest()])
    there = pl.any_horizontal(pl.all().is_not_null())
    return members.select(pl.when(there).then(pl.struct(pl.all())).alias(column.name)).to_series()


def _list(lists: pl.Series, dtype: pl.DataType) -> pl.Series:
    """The lists as `dtype`, which is theirs or a map's."""
    frame = pl.DataFrame({"row": pl.int_range(len(lists), dtype=pl.UInt32, eager=True), "item": lists})
    items = frame.explode("item", empty_as_null=False, keep_nulls=False)
    item = items.get_column("item")
    if isinstance(dtype, pl.List):
        item = without_empty(item)
        kept = item.is_not_null()
    else:
        value = without_empty(item.struct.field("value"))
        item = pl.DataFrame([item.struct.field("key"), value]).to_struct("item")
        kept = value.is_not_null()
    filled = items.with_columns(item).filter(kept).group_by("row", maintain_order=True).agg("item")
    joined = frame.select("row").join(filled, on="row", how="left", maintain_order="left")
    return joined.get_column("item").cast(dtype).alias(lists.name)


def _items(lists: pl.Series) -> pl.Series:
    return lists.explode(empty_as_null=False, keep_nulls=False)


def _entries(column: pl.Series) -> pl.Series:
    """Maps as lists of `{key, value}`."""
    dtype = cast("pl.Map", column.dtype)
    return column.cast(pl.List(pl.Struct({"key": dtype.key, "value": dtype.value})))
