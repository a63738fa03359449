"""Identities that Identity Service refuses, taken out of `identityMap`, so that their event goes on without them.

For maps that a user's own mapping set builds; those that we derive hold none (`mixpanel.identity`). Adobe's advice is to
leave such an item out, and its namespace where no item is left (xdm.md#identities). What ids those are: `rules`.
"""

from __future__ import annotations

from typing import Any, cast

import polars as pl

from mixpanel_aep_assets.xdm import formats
from mixpanel_aep_assets.xdm.compiled import map_entries, refused_id
from mixpanel_aep_assets.xdm.rules import ECID_PATTERN, takes_id

COLUMN = "identityMap"
ECID = "ECID"


def without_refused(frame: pl.DataFrame) -> pl.DataFrame:
    """The frame (as `parquet.shape` gives it) without items of `identityMap` whose id is refused or missing.

    Where the primary identity was one of them, the first of the others becomes primary: a record needs one. A map that
    loses its last identity becomes null. Other columns, and frames without such a map, stay as they are.
    """
    listed, dtype = map_entries(frame.schema.get(COLUMN, pl.Null()), pl.col(COLUMN))
    if listed is None or not _holds_items(cast("pl.DataType", dtype)):
        return frame
    refused = frame.select(_refused(listed)).to_series()
    if not refused.any():
        return frame
    values = frame.select(listed).to_series()
    mended: list[Any] = [None] * frame.height
    rows = refused.arg_true()
    for row, value in zip(rows, values.gather(rows), strict=True):
        mended[row] = _mended(value)
    columns = pl.DataFrame({"refused": refused, "kept": values, "mended": pl.Series(mended, dtype=values.dtype)})
    chosen = columns.select(pl.when("refused").then("mended").otherwise("kept").cast(frame.schema[COLUMN])).to_series()
    return frame.with_columns(chosen.alias(COLUMN))


def _holds_items(dtype: pl.DataType) -> bool:
    if not (isinstance(dtype, pl.List) and isinstance(dtype.inner, pl.Struct)):
        return False
    members = {member.name: member.dtype for member in dtype.inner.fields}
    return (members.get("id"), members.get("primary")) == (pl.String(), pl.Boolean())


def _refused(listed: pl.Expr) -> pl.Expr:
    items = pl.element().struct.field("value")
    item_id = pl.element().struct.field("id")
    no_ecid = items.list.eval(~item_id.str.contains(ECID_PATTERN)).list.any()
    wrong = items.list.eval(refused_id(item_id)).list.any() | ((pl.element().struct.field("key") == ECID) & no_ecid)
    return listed.list.eval(wrong.fill_null(value=False)).list.any().fill_null(value=False).alias("refused")


def _mended(listed: Any) -> list[dict[str, Any]] | None:
    kept = []
    lost_primary = False
    for entry in listed:
        good = [item for item in entry["value"] or () if _is_taken(entry["key"], item)]
        lost_primary |= any(item["primary"] for item in entry["value"] or () if item is not None and item not in good)
        if good:
            kept.append({"key": entry["key"], "value": good})
    items = [item for entry in kept for item in entry["value"]]
    if items and lost_primary and not any(item["primary"] for item in items):
        items[0]["primary"] = True
    return kept or None


def _is_taken(namespace: str, item: dict[str, Any] | None) -> bool:
    value = None if item is None else item["id"]
    return value is not None and takes_id(value) and (namespace != ECID or formats.matches(value, ECID_PATTERN))
