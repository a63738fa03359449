"""What lies in quarantine, day by day and stage by stage, with the reasons of now.

Stages: `request` (lines that came with a request for the day, alone or with others, and belong to no day that it asked for),
`raw` (lines that are no events), `xdm` (events that do not conform to the dataset's schema), `aep` (events that the Platform
refused). A replay takes rows out and gives those that stay their new reasons. What belongs here: reading. What does not:
setting aside (`extract`, `transform`, `load`) and sending again (`replay`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any, Literal

import polars as pl

from mixpanel_aep_assets.connection import Opened
from mixpanel_aep_assets.pipeline import export_requests, extract, load, redaction, replay, rows, transform

Stage = Literal["request", "raw", "xdm", "aep"]
STAGES: tuple[Stage, ...] = ("request", "raw", "xdm", "aep")
TOGETHER: Stage = "request"
"""The stage whose rows may be of a request for several days."""


def summary(opened: Opened, day: str) -> dict[Stage, dict[str, int]]:
    """For each stage that has rows: the reasons with the number of rows, the most frequent first.

    Of stage `request` only those of the request for this day alone, which are in the day's books.
    """
    found: dict[Stage, dict[str, int]] = {}
    others = export_requests.alone(opened, day)
    if others is not None:
        found[TOGETHER] = dict(others.reasons)
    for stage in STAGES[1:]:
        counts: Counter[str] = Counter()
        for frame in read(opened, day, stage):
            counts.update(frame["reason"].to_list())
        if counts:
            found[stage] = dict(counts.most_common())
    return found


def read(opened: Opened, day: str, stage: Stage) -> Iterator[pl.DataFrame]:
    """The rows of a stage, some at a time. `request` and `raw`: line, reason, detail, bytes, `request` of the former (its
    days); else `transform.QUARANTINE_SCHEMA`."""
    if stage == TOGETHER:
        for request in export_requests.of_day(opened, day):
            for frame in request.rows():
                yield redaction.redacted_lines(opened, request, frame).with_columns(request=pl.lit(request.name))
        return
    made = replay.standing(opened, day)
    if replay.refused(made):
        made = None  # all is as it was before
    if stage == "raw":
        yield from rows.read_groups(opened.day(extract.TABLE, day))
        return
    again = opened.day(replay.TABLE, day)
    if made is not None:
        for frame in rows.read_groups(again, made, "left"):
            yield frame.filter(pl.col("stage") == stage).drop("stage")
    if stage == "xdm":
        if made is None:
            yield from rows.read_groups(opened.day(transform.TABLE, day))
        return
    tried = (
        [frame["id"] for kind in ("left", "replayed") for frame in rows.read_groups(again, made, kind)] if made else []
    )
    known = pl.concat(tried) if tried else pl.Series([], dtype=pl.String)
    for frame in rows.read_groups(opened.day(load.TABLE, day)):
        yield frame.filter(pl.col("id").is_null() | ~pl.col("id").is_in(known.implode()))
    if made is not None:
        yield from rows.read_groups(again, made)


def show(
    opened: Opened, day: str, *, stage: Stage | None = None, reason: str | None = None, limit: int = 20
) -> Iterator[dict[str, Any]]:
    """The first `limit` rows: `stage`, `line`, `id`, `reason`, `pointer`, `detail`, `event`, `source` (text or bytes),
    and of stage `request` the days that were asked for with it.

    `reason` keeps the rows that have it among their reasons.
    """
    left = limit
    for one in STAGES if stage is None else (stage,):
        for frame in read(opened, day, one):
            if reason is not None:
                frame = frame.filter(pl.col("reason").str.split(",").list.contains(reason))
            for row in frame.head(left).to_dicts():
                yield _shown(one, row)
            left -= min(left, frame.height)
            if left == 0:
                return


def _shown(stage: Stage, row: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "stage": stage,
        **({"request": row["request"]} if stage == TOGETHER else {}),
        "line": row["line"],
        "id": row.get("id"),
        "reason": row["reason"],
        "pointer": row.get("pointer"),
        "detail": row["detail"],
        "event": row.get("event"),
        "source": row["bytes"] if stage in ("raw", TOGETHER) else row["properties"],
    }
