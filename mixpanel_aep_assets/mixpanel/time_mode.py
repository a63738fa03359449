"""What `time` means: true UTC, or the wall clock of the project's zone written as if it were UTC (section 5).

Projects made before about 2023 export the latter ("project" mode). What belongs here: telling which, and turning either
into UTC. What does not: which days there are (`calendar`).
"""

from __future__ import annotations

import datetime
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
import polars as pl

from mixpanel_aep_assets.mixpanel.errors import TimeModeUnsure
from mixpanel_aep_assets.mixpanel.odd import EARLIEST_MS, LATEST_MS
from mixpanel_aep_assets.mixpanel.zones import zone

Mode = Literal["utc", "project"]

QUARTER = 15 * 60_000
"""Milliseconds; every zone's offset since 1972 is a multiple of 15 minutes."""

EARLY, LATE = -30_000, 5 * 60_000
"""How far before and after a whole offset the receipt of an event that was sent at once lies, in milliseconds."""

FEW = 20
"""Events with a receipt time below which a sample tells nothing."""

SHARE = 0.25
"""Part of the sample that must have been received at once. Offline queues and clocks set wrong spread over the rest."""

_PerZone = Callable[[str], pl.Expr]

DatedZones = Sequence[tuple[datetime.date, str]]
"""(first ingestion day, zone): a project's zones over time; changing the setting is not retroactive (section 5.2)."""


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
    if timezone is not None and _always_utc(timezone):
        return Decision("utc", zone(timezone).key, "the project's zone is UTC: both modes agree")
    return None


def detect(differences: npt.NDArray[np.int64], timezone: str | None, day: datetime.date) -> Decision:
    """Judges a sample of `receipt - time` in milliseconds, of events of one day that were not imported (section 5.3).

    Events sent at once were received a little after they happened, so their differences lie just above 0 in UTC mode
    and just above minus the zone's offset in project mode.
    """
    name = zone(timezone).key if timezone else "UTC"
    if timezone and _always_utc(timezone):
        return Decision("utc", name, "the project's zone is UTC: both modes agree")
    if len(differences) < FEW:
        return Decision("unsure", name, f"only {len(differences)} events with a receipt time, {FEW} are needed", False)
    steps = np.floor_divide(differences - EARLY, QUARTER)
    prompt = differences - steps * QUARTER <= LATE
    values, counts = np.unique(steps[prompt], return_counts=True)
    if not len(values) or counts.max() < SHARE * len(differences):
        text = f"of {len(differences)} events too few were received at once to tell"
        return Decision("unsure", name, text, False)
    offset = -int(values[counts.argmax()]) * 15
    share = f"{counts.max() / len(differences):.0%} of {len(differences)} events"
    offsets = _offsets(timezone, day) if timezone else set()
    if offset == 0:
        evidence = f"{share} were received within minutes of `time` read as UTC"
        if 0 in offsets:
            return Decision("utc", name, f"{evidence}; the zone {name} has no offset on this day", lasting=False)
        return Decision("utc", name, evidence)
    evidence = f"{share} were received within minutes of `time` read at UTC{_sign(offset)}"
    if timezone is None:
        return Decision("unsure", name, f"{evidence}, but the project's zone is not known", False)
    if offset not in offsets:
        text = f"{evidence}, but the zone {name} has {', '.join(_sign(o) for o in sorted(offsets))} on this day"
        return Decision("unsure", name, text, False)
    return Decision("project", name, f"{evidence}, as in {name}")


def _always_utc(timezone: str) -> bool:
    return zone(timezone).key in (
        "UTC",
        "Etc/UTC",
        "Etc/UCT",
        "Etc/Universal",
        "Etc/Zulu",
        "Etc/GMT",
        "GMT",
        "Zulu",
        "UCT",
    )


def _offsets(timezone: str, day: datetime.date) -> set[int]:
    """Minutes east of UTC that the zone has on a day or beside it."""
    noon = datetime.datetime.combine(day, datetime.time(12), datetime.UTC)
    moments = [noon + datetime.timedelta(hours=12 * n) for n in range(-2, 3)]
    found = [moment.astimezone(zone(timezone)).utcoffset() for moment in moments]
    return {int(offset.total_seconds() // 60) for offset in found if offset is not None}


def _sign(minutes: int) -> str:
    return f"{'-' if minutes < 0 else '+'}{abs(minutes) // 60:02d}:{abs(minutes) % 60:02d}"


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
