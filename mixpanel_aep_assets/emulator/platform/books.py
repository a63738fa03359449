"""The books: what is live in a dataset, by `_id`, by day and by batch. The judge of the fault tests.

Counted from the ledgers that ingestion wrote, not from what any client says.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from mixpanel_aep_assets.emulator.platform.lifecycle import LIVE
from mixpanel_aep_assets.emulator.platform.sizes import PROFILE_LIMIT
from mixpanel_aep_assets.emulator.platform.state import Platform
from mixpanel_aep_assets.emulator.store import Document

NAMED = 1000
"""So many ids with a count other than one are named."""
_DAY_MS = 86_400_000


def books(platform: Platform, dataset: str, *, ids: bool = False) -> dict[str, Any]:
    """The dataset's books.

    `live`: rows, distinct `_id`s, `duplicates` (rows beyond the first of each `_id`), `repeated` ({_id: count}, at most
    1000), rows by UTC day of `timestamp`. `profile`: events the Profile store would hold (no event over 10 KB, none with an
    `_id` it has). `batches`: id, external id, status, rows, predecessors, in the order of creation. With `ids`, the count
    of every live `_id`.
    """
    own = [one for one in platform.batches.values() if one["dataset"] == dataset]
    live = _ledger(platform, [one for one in own if one["status"] in LIVE])
    counts = live.group_by("id").aggregate([("id", "count")])
    repeated = counts.filter(pc.greater(counts["id_count"], 1))
    small = live.filter(pc.less_equal(live["bytes"], PROFILE_LIMIT))
    answer: dict[str, Any] = {
        "dataset": dataset,
        "live": {
            "rows": live.num_rows,
            "distinct_ids": counts.num_rows,
            "duplicates": live.num_rows - counts.num_rows,
            "repeated": dict(_pairs(repeated.slice(0, NAMED), "id")),
            "by_day": _by_day(live),
        },
        "profile": {
            "events": len(pc.unique(small["id"])),
            "dropped_too_large": live.num_rows - small.num_rows,
            "dropped_repeated": small.num_rows - len(pc.unique(small["id"])),
        },
        "batches": [_line(platform, one) for one in own],
    }
    if ids:
        answer["ids"] = dict(_pairs(counts, "id"))
    return answer


def warnings(platform: Platform) -> list[str]:
    """Soft limits that were passed: more batches on a UTC day in a sandbox than the guardrail recommends."""
    tallies: dict[tuple[str, int], int] = {}
    for one in platform.batches.values():
        key = (one["sandbox"], one["created"] // _DAY_MS)
        tallies[key] = tallies.get(key, 0) + 1
    limit = platform.settings.event_batches_per_day
    return [
        f"{count} batches in sandbox {sandbox} on day {day} since the epoch: the guardrail is {limit} a day"
        for (sandbox, day), count in tallies.items()
        if count > limit
    ]


def _ledger(platform: Platform, batches: list[Document]) -> Any:
    paths: list[Path] = [platform.folder(one["id"]) / "rows.parquet" for one in batches]
    tables = [pq.read_table(path) for path in paths if path.exists()]
    empty = pa.table({"id": pa.array([], pa.string()), "timestamp": pa.array([], pa.int64()),
                      "bytes": pa.array([], pa.int32())})  # fmt: skip
    return pa.concat_tables([empty, *tables])


def _by_day(live: Any) -> dict[str, int]:
    moments = live["timestamp"].cast(pa.timestamp("ms", tz="UTC"))
    days = pa.table({"day": pc.strftime(pc.floor_temporal(moments, unit="day"), format="%Y-%m-%d")})
    return dict(sorted(_pairs(days.group_by("day").aggregate([("day", "count")]), "day")))


def _pairs(table: Any, key: str) -> list[tuple[str, int]]:
    return list(zip(table[key].to_pylist(), table[f"{key}_count"].to_pylist(), strict=True))


def _line(platform: Platform, batch: Document) -> dict[str, Any]:
    path = platform.folder(batch["id"]) / "rows.parquet"
    rows = pq.read_metadata(path).num_rows if path.exists() and "result" in batch else 0
    return {
        "id": batch["id"], "externalId": batch["externalId"], "status": batch["status"], "created": batch["created"],
        "rows": rows,
        "live_rows": rows if batch["status"] in LIVE else 0,
        "metrics": batch.get("metrics"), "errors": batch.get("errors", []),
        "predecessors": batch.get("replay", {}).get("predecessors", []),
    }  # fmt: skip
