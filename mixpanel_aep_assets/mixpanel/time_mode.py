"""What `time` means: true UTC, or the wall clock of the project's zone written as if it were UTC (mixpanel.md#time-modes).

Projects made before about 2023 export the latter ("project" mode). What belongs here: telling which, and turning either
into UTC. What does not: which days there are (`calendar`).
"""

from __future__ import annotations

import datetime
import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
import polars as pl

from mixpanel_aep_assets.mixpanel.line_parser import EARLIEST_MS, LATEST_MS
from mixpanel_aep_assets.mixpanel.mixpanel_errors import TimeModeUnsure
from mixpanel_aep_assets.mixpanel.zones import zone

Mode = Literal["utc", "project"]

_PerZone = Callable[[str], pl.Expr]

QUARTER = 15 * 60_000
"""Milliseconds; every zone's offset since 1972 is a multiple of 15 minutes."""

LONGEST_SPAN = 14 * 96 * QUARTER
"""Milliseconds of a span that `agree` looks at: a day's, with what strays beside it."""

NEVER = -(1 << 62)
"""Stands for the instant of a wall clock that never was; far from every receipt, and from an overflow."""

DatedZones = Sequence[tuple[datetime.date, str]]
"""(first ingestion day, zone): a project's zones over time; changing the setting is not retroactive (mixpanel.md#time-modes)."""


@dataclass(frozen=True)
class Decision:
    """`mode` is what the evidence (or the setting) says; `lasting`: it holds for other days too, not only for these."""

    mode: Literal["utc", "project", "unsure"]
    timezone: str
    evidence: str
    lasting: bool = True

    @property
    def sure(self) -> bool:
        return self.mode != "unsure"

    def required(self) -> Mode:
        """The mode. Raises TimeModeUnsure with the evidence."""
        if self.mode == "unsure":
            raise TimeModeUnsure(f"It is not clear what `time` means: {self.evidence}")
        return self.mode


def configured(mode: Literal["auto", "utc", "project"], timezone: str | None) -> Decision | None:
    """The decision that the settings alone allow; None where events must be looked at.

    Raises TimeModeUnsure for the project mode without a zone.
    """
    if mode == "utc":
        return Decision("utc", zone(timezone).key if timezone else "UTC", "set")
    if mode == "project":
        if timezone is None:
            raise TimeModeUnsure("MIXPANEL_TIME_MODE=project needs the project's zone", fix="Set MIXPANEL_TIMEZONE.")
        return Decision("project", zone(timezone).key, "set")
    if timezone is not None and _always_utc(key := zone(timezone).key):
        return Decision("utc", key, f"the project's zone {key} has no offset: both modes agree")
    return None


@functools.cache
def _always_utc(name: str) -> bool:
    """Whether a zone has had no offset since 1971, the first year that Mixpanel takes: UTC, Reykjavik, Abidjan, …"""
    first = datetime.datetime(1971, 1, 1, tzinfo=datetime.UTC)
    weeks = (first + datetime.timedelta(weeks=n) for n in range(52 * 67))
    return not any(week.astimezone(zone(name)).utcoffset() for week in weeks)


def agree(name: str, first_ms: int, last_ms: int) -> bool:
    """Whether both modes read every `time` from the first to the last as the same instant: the zone has no offset then.

    False for a span over `LONGEST_SPAN`, which is not looked at.
    """
    if not 0 <= last_ms - first_ms <= LONGEST_SPAN:
        return False
    times = np.append(np.arange(first_ms, last_ms, QUARTER), last_ms)
    earliest, latest = readings(times, name)
    return bool((earliest == times).all() and (latest == times).all())


def readings(times: npt.NDArray[np.int64], name: str) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Wall clocks (milliseconds, as if UTC) read first and second in the zone; `NEVER` where there was none."""
    frame = pl.DataFrame({"time_ms": times}, schema={"time_ms": pl.Int64})
    both = (
        reading.dt.epoch("ms").fill_null(NEVER).alias(str(n)) for n, reading in enumerate(_readings(zone(name).key))
    )
    first, second = frame.select(*both)
    return first.to_numpy(), second.to_numpy()


def to_utc(mode: Mode, timezone: str, zones: DatedZones = ()) -> pl.Expr:
    """True UTC of `time_ms` as Datetime("ms", "UTC"). Reads `time_ms`, `received_ms` and, with `zones`, `processing_ms`.

    In project mode, the hour that autumn repeats is told apart by the receipt: the second one if the event had happened
    by then in the second reading, else the first. A wall clock that spring skipped moves on by the gap.
    """
    if mode == "utc":
        return _moment("time_ms").dt.replace_time_zone("UTC")
    return _by_zone(timezone, zones, _wall_to_utc)


def flags(mode: Mode, timezone: str, zones: DatedZones = ()) -> pl.Expr:
    """What is not certain about the instant: `fold` (repeated hour, no receipt to choose by), `gap`, or null."""
    if mode == "utc":
        return pl.lit(None, pl.String)
    return _by_zone(timezone, zones, _flag)


def _moment(column: str) -> pl.Expr:
    """Null outside the years 1 to 9999, which days stored by earlier versions may hold: Polars panics on such a date."""
    value = pl.col(column)
    return pl.when(value.is_between(EARLIEST_MS, LATEST_MS)).then(value).cast(pl.Datetime("ms"))


def _by_zone(timezone: str, zones: DatedZones, make: _PerZone) -> pl.Expr:
    chosen = make(zone(timezone).key)
    if not zones:
        return chosen
    ingested = pl.coalesce(_moment("received_ms"), _moment("processing_ms")).dt.date()
    ordered = sorted(zones)
    chosen = make(zone(ordered[0][1]).key)
    for first_day, name in ordered[1:]:
        chosen = pl.when(ingested >= first_day).then(make(zone(name).key)).otherwise(chosen)
    return chosen


def _wall_to_utc(name: str) -> pl.Expr:
    earliest, latest = _readings(name)
    received = _moment("received_ms").dt.replace_time_zone("UTC")
    return (
        pl.when(received >= latest).then(latest).otherwise(earliest)
        .fill_null(_after_gap(name, hours=3))
        .fill_null(_after_gap(name, hours=26))
    )  # fmt: skip


def _flag(name: str) -> pl.Expr:
    earliest, latest = _readings(name)
    return (
        pl.when(earliest.is_null()).then(pl.lit("gap"))
        .when((earliest != latest) & pl.col("received_ms").is_null()).then(pl.lit("fold"))
    )  # fmt: skip


def _readings(name: str) -> tuple[pl.Expr, pl.Expr]:
    """The first and the second reading of a wall clock in UTC; null for one that never was."""
    wall = _moment("time_ms")
    earliest, latest = (
        wall.dt.replace_time_zone(name, ambiguous=which, non_existent="null").dt.convert_time_zone("UTC")
        for which in ("earliest", "latest")
    )
    return earliest, latest


def _after_gap(name: str, hours: int) -> pl.Expr:
    """A skipped wall clock read with the offset in force some hours before it."""
    back = pl.duration(hours=hours, time_unit="ms")
    before = (_moment("time_ms") - back).dt.replace_time_zone(name, ambiguous="earliest", non_existent="null")
    return before.dt.convert_time_zone("UTC") + back
