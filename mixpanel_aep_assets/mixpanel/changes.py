"""What a day's new export holds that the one before did not: events that appeared, changed or vanished.

Days change for years after they are over (mixpanel.md#late-data). Events are told apart by the stable key of `dedup`;
an event changed if the properties of the rows with its key did.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

import numpy as np
import polars as pl
import polars_hash  # noqa: F401 - gives expressions `nchash`

from mixpanel_aep_assets.manifests import Changes
from mixpanel_aep_assets.mixpanel.dedup import KEY_COLUMNS, content_hash, count_rows, stable_key
from mixpanel_aep_assets.mixpanel.hash_partitions import Records, hash_partitions
from mixpanel_aep_assets.storage import reading

_RECORD = np.dtype([("high", "<u8"), ("low", "<u8"), ("content", "<u8"), ("after", "<u1")])
_COLUMNS = [*KEY_COLUMNS, "properties"]
_CHUNK = 65_536


@reading()
def compare(before: Sequence[str], after: Sequence[str]) -> Changes:
    """Counts of events. Both are parts of `raw_events` (paths or URLs).

    Raises DayReplaced where another run has replaced the day meanwhile.
    """
    rows = sum(map(count_rows, [*before, *after]))
    totals: Counter[str] = Counter()
    with hash_partitions(_RECORD, rows) as spread:
        for records in _records(before, after):
            spread.put(records)
        for records in spread.drain():
            totals.update(_counts(records))
    return Changes(**totals)


def _counts(records: Records) -> dict[str, int]:
    frame = pl.DataFrame({name: records[name] for name in _RECORD.names or ()})
    new = pl.col("after") == 1
    keys = frame.group_by("high", "low").agg(
        new.any().alias("now"),
        (~new).any().alias("then"),
        # Sums, for the rows of one key come in any order.
        (pl.col("content").filter(new).sum() != pl.col("content").filter(~new).sum()).alias("differs"),
    )
    return keys.select(
        (pl.col("now") & ~pl.col("then")).sum().alias("appeared"),
        (pl.col("now") & pl.col("then") & pl.col("differs")).sum().alias("changed"),
        (~pl.col("now") & pl.col("then")).sum().alias("vanished"),
    ).row(0, named=True)


def _records(before: Sequence[str], after: Sequence[str]) -> Iterator[Records]:
    for side, locations in enumerate((before, after)):
        for location in locations:
            for frame in pl.scan_parquet(location, glob=False).select(_COLUMNS).collect_batches(chunk_size=_CHUNK):
                hashed = frame.select(
                    stable_key().nchash.xxh3_64(seed=0).alias("high"),  # type: ignore[attr-defined]
                    stable_key().nchash.xxh3_64(seed=1).alias("low"),  # type: ignore[attr-defined]
                    content_hash().alias("content"),
                )
                records = np.empty(frame.height, _RECORD)
                for name in hashed.columns:
                    records[name] = hashed[name].to_numpy()
                records["after"] = side
                yield records
