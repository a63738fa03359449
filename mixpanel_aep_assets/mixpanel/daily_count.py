"""Mixpanel's own daily count as a witness: does it confirm what an export says about a day?

The Query API counts equal events once, by day of the project's zone, leaves out names hidden in Lexicon, and counts rows of
hot shards under another name (mixpanel.md#duplicates and mixpanel.md#hot-shards). A count that one of these makes
worthless is silent.
"""

from __future__ import annotations

import datetime
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

import polars as pl

from mixpanel_aep_assets import manifests
from mixpanel_aep_assets.manifests import RawManifest
from mixpanel_aep_assets.mixpanel.client import MixpanelClient, names_of_one_request
from mixpanel_aep_assets.mixpanel.dedup import MIXPANELS_KEY
from mixpanel_aep_assets.mixpanel.line_parser import HOT_SHARD
from mixpanel_aep_assets.mixpanel.mixpanel_errors import MixpanelError
from mixpanel_aep_assets.mixpanel.zones import zone
from mixpanel_aep_assets.storage import Day, reading

AROUND = 3
"""Days before and after a day whose events tell the names that it may have."""

BACK = datetime.timedelta(days=7)
"""How far back the count reaches, to see which names Mixpanel counts at all."""

TOLERATED = 10
"""Percent of the lost events that the count may exceed an export by: events come late, ids are merged."""

COVERED = 50
"""Percent of the lost events whose names Mixpanel must be seen to count."""

Verdict = Literal["agrees", "contradicts", "silent"]


@dataclass(frozen=True)
class Count:
    """What Mixpanel's count says of an export of a day.

    `events` is its number, without what it counts of neighbouring days; None where there is none, then `why` says why.
    """

    verdict: Verdict
    events: int | None
    why: str


def silent(why: str, events: int | None = None) -> Count:
    return Count("silent", events, why)


class DailyCounts:
    """The counts of the days of one export, asked for by one request when the first one is needed."""

    def __init__(
        self, client: MixpanelClient, dates: Sequence[datetime.date], table: Callable[[datetime.date], Day]
    ) -> None:
        self._client, self._dates, self._table = client, sorted(dates), table
        self._known: dict[str, dict[datetime.date, int]] | None = None
        self._failed: str | None = None
        self._settled: set[datetime.date] = set()

    def settled(self, date: datetime.date) -> None:
        """What is committed of this day is what Mixpanel says now."""
        self._settled.add(date)

    def of(self, date: datetime.date, before: RawManifest | None, after: RawManifest, parts: Sequence[str]) -> Count:
        """Holds the count against an export of the day: its manifest `after`, its files `parts`.

        `before` is the manifest of what the day holds, None where it was never exported.
        """
        source = self._client.source
        if source.where:
            return silent("only some events are exported (`where`), which Mixpanel's count cannot tell apart")
        if (counts := self._counts()) is None:
            return silent(self._failed or "")
        zone_name = source.timezone
        if (before or after).time_mode == "project":
            zone_name = "UTC"  # `time` is the wall clock by which Mixpanel counts
        elif zone_name is None:
            return silent("the project's zone, by which Mixpanel counts days, is not known")
        days, span = _counted_days(date, zone_name)
        names = [name for name, by_day in counts.items() if name != HOT_SHARD and any(by_day.values())]
        if not any(day in by_day for by_day in counts.values() for day in days):
            return silent("Mixpanel's answer has no count of the day")
        lost = _lost(before, after)
        lost_of_known = sum(lost[name] for name in names)
        if (before is not None and lost_of_known * 100 < lost.total() * COVERED) or not names:
            return silent("Mixpanel's count does not have the names of these events (they may be hidden in Lexicon)")
        around, certain = 0, True
        for other in _days_between(span):
            if other == date:
                continue
            neighbour = self._table(other)
            manifest = manifests.read(neighbour, RawManifest)
            if manifest is None:
                return silent(
                    f"Mixpanel counts days in {zone_name}, and {other} is not exported, so they cannot be compared"
                )
            certain = certain and (other not in self._dates or other in self._settled)
            around += distinct(neighbour.locations(manifest), names, span)
        theirs = sum(counts[name].get(day, 0) for name in names for day in days)
        hot = sum(counts.get(HOT_SHARD, {}).get(day, 0) for day in days)
        allowed = around + distinct(parts, names) + lost_of_known * TOLERATED // 100
        told = max(0, theirs - around)
        if theirs > allowed:
            return Count("contradicts", told, f"Mixpanel itself counts {told:,}")
        if theirs + hot > allowed:
            return silent("Mixpanel counts events of hot shards, whose names it does not report", told)
        if not certain:
            return silent(f"Mixpanel counts days in {zone_name}, and the days around change in the same request", told)
        return Count("agrees", told, f"Mixpanel itself counts {told:,}")

    def _counts(self) -> dict[str, dict[datetime.date, int]] | None:
        if self._known is None and self._failed is None:
            first, last = self._dates[0], self._dates[-1]
            try:
                self._known = self._client.daily_counts(first - BACK, self._last(last), self._names())
            except MixpanelError as error:
                self._failed = f"Mixpanel's own count cannot be had: {str(error).removesuffix(error.fix).strip()}"
        return self._known

    def _last(self, date: datetime.date) -> datetime.date:
        """The last day to ask for: none that has not begun."""
        source = self._client.source
        days, _ = _counted_days(date, source.timezone or "UTC")
        return days[-1] if source.time_mode != "project" else date

    def _names(self) -> list[str]:
        """Names of the events of these days and those around, the most frequent ones, as many as one request takes."""
        found: Counter[str] = Counter()
        first, last = self._dates[0], self._dates[-1]
        for number in range(-AROUND, (last - first).days + AROUND + 1):
            manifest = manifests.read(self._table(first + datetime.timedelta(days=number)), RawManifest)
            found.update(manifest.events if manifest else {})
        wanted = self._client.source.events
        names = [name for name, _ in found.most_common() if name != HOT_SHARD and (not wanted or name in wanted)]
        return names_of_one_request([HOT_SHARD, *names])


def distinct(
    locations: Sequence[str], names: Sequence[str], span: tuple[datetime.datetime, datetime.datetime] | None = None
) -> int:
    """How many events of these names Mixpanel would count in files of `raw_events` (paths or URLs), within a span."""
    if not locations:
        return 0
    rows = pl.scan_parquet(list(locations), glob=False).filter(pl.col("event").is_in(list(names)))
    if span is not None:
        begin, end = (round(moment.timestamp() * 1000) for moment in span)
        rows = rows.filter(pl.col("time_ms").is_between(begin, end, closed="left"))
    with reading():
        return int(rows.select(pl.struct(MIXPANELS_KEY).hash().n_unique()).collect(engine="streaming").item())


def _lost(before: RawManifest | None, after: RawManifest) -> Counter[str]:
    """Events by name that the day holds and the export has not."""
    return Counter(before.events if before else {}) - Counter(after.events)


def _counted_days(
    date: datetime.date, zone_name: str
) -> tuple[list[datetime.date], tuple[datetime.datetime, datetime.datetime]]:
    """The days of a zone that share a moment with a day of UTC, and where they begin and end."""
    place = zone(zone_name)
    start = datetime.datetime.combine(date, datetime.time(), datetime.UTC)
    end = start + datetime.timedelta(days=1) - datetime.timedelta(microseconds=1)
    first, last = (moment.astimezone(place).date() for moment in (start, end))
    days = [first + datetime.timedelta(days=n) for n in range((last - first).days + 1)]
    begins, ends = (
        datetime.datetime.combine(day, datetime.time(), place) for day in (first, last + datetime.timedelta(days=1))
    )
    return days, (begins, ends)


def _days_between(span: tuple[datetime.datetime, datetime.datetime]) -> Iterable[datetime.date]:
    """Days of UTC that share a moment with the span."""
    first = span[0].astimezone(datetime.UTC).date()
    last = (span[1] - datetime.timedelta(microseconds=1)).astimezone(datetime.UTC).date()
    return (first + datetime.timedelta(days=n) for n in range((last - first).days + 1))
