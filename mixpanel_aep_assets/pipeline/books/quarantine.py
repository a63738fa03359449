"""What is in quarantine, day by day and stage by stage, with the current reasons.

Stages: `request` (lines that came with a request for the day, alone or with others, and belong to no day that it asked for),
`raw` (lines that are not events), `xdm` (events that do not conform to the dataset's schema), `aep` (events that the Platform
refused). A replay takes rows out and gives those that stay their new reasons. What belongs here: reading. What does not:
setting aside (`extract`, `transform`, `load`) and sending again (`replay`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any, NotRequired, TypedDict

import polars as pl

from mixpanel_aep_assets.connection import Connection
from mixpanel_aep_assets.pipeline.steps import export_requests, extract, load, redaction, replay, source_rows, transform
from mixpanel_aep_assets.pipeline.steps.source_rows import Stage as Stage


class Shown(TypedDict):
    """A row in quarantine; `source` is its text, or the bytes of a line, `request` the days that were asked for with it."""

    stage: Stage
    request: NotRequired[str]
    line: int | None
    id: str | None
    reason: str
    pointer: str | None
    detail: str
    event: str | None
    source: str | bytes | None


def summary(connection: Connection, day: str) -> dict[Stage, dict[str, int]]:
    """For each stage that has rows: the reasons with the number of rows, the most frequent first.

    Of stage `request` only those of the request for this day alone, which are in the day's books.
    """
    found: dict[Stage, dict[str, int]] = {}
    others = export_requests.alone(connection, day)
    if others is not None:
        found[Stage.REQUEST] = dict(others.reasons)
    for stage in (Stage.RAW, Stage.XDM, Stage.AEP):
        counts: Counter[str] = Counter()
        for frame in read(connection, day, stage):
            counts.update(frame["reason"].to_list())
        if counts:
            found[stage] = dict(counts.most_common())
    return found


def read(connection: Connection, day: str, stage: Stage) -> Iterator[pl.DataFrame]:
    """The rows of a stage, some at a time. `request` and `raw`: line, reason, detail, bytes, `request` of the former (its
    days); else `transform.QUARANTINE_SCHEMA`."""
    if stage is Stage.REQUEST:
        for request in export_requests.of_day(connection, day):
            for frame in request.rows():
                yield redaction.redacted_lines(connection, request, frame).with_columns(request=pl.lit(request.name))
        return
    made = replay.standing(connection, day)
    if replay.refused(made):
        made = None  # all is as it was before
    if stage is Stage.RAW:
        yield from source_rows.read_groups(connection.day(extract.TABLE, day), extract.stored(connection, day))
        return
    again = connection.day(replay.TABLE, day)
    if made is not None:
        for frame in source_rows.read_groups(again, made, "left"):
            yield frame.filter(pl.col("stage") == stage.value).drop("stage")
    if stage is Stage.XDM:
        if made is None:
            yield from source_rows.read_groups(connection.day(transform.TABLE, day), transform.stored(connection, day))
        return
    tried = (
        [frame["id"] for kind in ("left", "replayed") for frame in source_rows.read_groups(again, made, kind)]
        if made
        else []
    )
    known = pl.concat(tried) if tried else pl.Series([], dtype=pl.String)
    for frame in source_rows.read_groups(connection.day(load.TABLE, day), load.stored(connection, day)):
        yield frame.filter(pl.col("id").is_null() | ~pl.col("id").is_in(known.implode()))
    if made is not None:
        yield from source_rows.read_groups(again, made)


def show(
    connection: Connection, day: str, *, stage: Stage | None = None, reason: str | None = None, limit: int = 20
) -> Iterator[Shown]:
    """The first `limit` rows; `reason` keeps those that have it among their reasons."""
    left = limit
    for one in Stage if stage is None else (stage,):
        for frame in read(connection, day, one):
            if reason is not None:
                frame = frame.filter(pl.col("reason").str.split(",").list.contains(reason))
            for row in frame.head(left).to_dicts():
                yield _shown(one, row)
            left -= min(left, frame.height)
            if left == 0:
                return


def _shown(stage: Stage, row: Mapping[str, Any]) -> Shown:
    shown: Shown = {
        "stage": stage,
        "line": row["line"],
        "id": row.get("id"),
        "reason": row["reason"],
        "pointer": row.get("pointer"),
        "detail": row["detail"],
        "event": row.get("event"),
        "source": row["bytes"] if stage in (Stage.RAW, Stage.REQUEST) else row["properties"],
    }
    if stage is Stage.REQUEST:
        shown["request"] = row["request"]
    return shown
