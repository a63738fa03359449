"""Whether what Mixpanel says of a day now may replace what the day holds.

A reading is an answer to an export request that is whole by every sign. It may still be wrong: Mixpanel, or what stands in
front of it, answers 200 and ends cleanly after nothing or after a part. So a reading without many of the events that the day
holds is doubted until something confirms it: Mixpanel's own daily count, a second request that says the same, or a person
(`force`). Where the count contradicts it, two equal readings do not help. Until then the day stays as it is, with a note
beside its manifest.

What belongs here: which readings are doubted, and what settles it. What does not: asking again (`pipeline.steps.evidence`), what
a count is worth (`daily_count`), what a person sees (`pipeline.books.verify`).
"""

from __future__ import annotations

import datetime
import logging
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import msgspec

from mixpanel_aep_assets import manifests
from mixpanel_aep_assets.manifests import Changes, RawManifest, Stored, UnreadableManifest
from mixpanel_aep_assets.mixpanel import daily_count
from mixpanel_aep_assets.mixpanel.client import MixpanelClient
from mixpanel_aep_assets.storage import Day, now

logger = logging.getLogger(__name__)

NOTE = "doubt.json"
"""The note's name, beside the day's manifest."""

READINGS = 6
"""The last readings that a note keeps."""

DoubtKind = Literal["smaller", "first", "elsewhere"]
"""`smaller`: many of the day's events are missing. `first`: nothing is committed, the answer is empty, and the days around have
many events or the day was handed over. `elsewhere`: events are missing that came with a request over more days, and Mixpanel
may have filed them under another of these."""


@dataclass(frozen=True)
class Thresholds:
    """When a reading is doubted: it has lost at least `percent` of the day's events and at least `floor` of them (all of
    them, whatever the floor), or it is a first one without events beside a day of at least `neighbours` events."""

    percent: float = 20.0
    floor: int = 5
    neighbours: int = 1_000


class Reading(msgspec.Struct, frozen=True):
    """What one answer said of the day. `covers`: it was asked for with all the days that the committed one came with."""

    at: str
    events: int
    digest: str
    covers: bool


class Doubt(Stored, frozen=True, kw_only=True):
    """The note. It is of the committed `generation` (None: of no committed day); beside another one it means nothing.

    `had` events are committed, `lost` of them are missing from the last of the `readings`. `counted` is Mixpanel's count,
    `count` what it says of that reading, `why` in words. `window` are the first and the last day of the request that the
    committed events came with, where the reading did not ask for all of its days.
    """

    day: str
    kind: DoubtKind
    generation: str | None
    had: int
    lost: int
    readings: tuple[Reading, ...]
    counted: int | None
    count: daily_count.Verdict
    why: str
    window: tuple[str, str] | None = None
    other_project: str | None = None

    @property
    def text(self) -> str:
        """What is doubted and what speaks for and against it, in sentences."""
        got = self.readings[-1].events
        if self.kind == "first":
            return (
                f"Mixpanel's answer has no events, though the days around it have many or the day is live: {self.why}."
            )
        return (
            f"Mixpanel's last answer has {got:,} events, {self.lost:,} of the {self.had:,} committed ones are missing. "
            f"{self._missing()} The answer is not accepted: what is committed stays, and so does what is live."
        )

    def _missing(self) -> str:
        if self.window is not None:
            return (
                f"They came with a request for {self.window[0]} to {self.window[1]}, and Mixpanel may have filed them under "
                "another of these days; that request has not been answered again yet."
            )
        if self.count == "contradicts":
            return f"{self.why} events of the day, which contradicts it."
        if self.other_project is not None:
            return f"{self.why}; and the committed events are of another project ({self.other_project})."
        earlier = [reading for reading in self.readings[:-1] if reading.covers]
        if not earlier:
            return f"{self.why}; a second request has not been answered yet."
        return f"{self.why}; and another request said something else ({earlier[-1].events:,} events)."


def read(day: Day) -> Doubt | None:
    """The doubt that stands about a day, None where there is none."""
    data = day.storage.read(f"{day.path}/{NOTE}")
    if data is None:
        return None
    try:
        note = manifests.decoded(data, Doubt, day.storage.location(f"{day.path}/{NOTE}"))
    except UnreadableManifest as error:
        logger.warning("%s", error)
        return None
    if note is None:  # cut by a power failure: the next reading is doubted as the first one was
        return None
    committed = manifests.read(day, RawManifest)
    return note if note.generation == (committed.generation if committed is not None else None) else None


class Judge:
    """Of the readings of some days that are asked for together."""

    def __init__(
        self,
        client: MixpanelClient,
        dates: Sequence[datetime.date],
        table: Callable[[datetime.date], Day],
        thresholds: Thresholds,
        *,
        force: bool = False,
        live: Callable[[datetime.date], int] = lambda _: 0,
        log: Callable[[str], None] = lambda _: None,
    ) -> None:
        """`table` gives the days of `raw_events`, `live` the events of a day that were handed over to the Platform, as far as
        is known; with `force` every reading is believed."""
        self.held: dict[datetime.date, Doubt] = {}
        self._asked = (min(dates), max(dates))
        self._table, self._thresholds, self._force, self._live, self._log = table, thresholds, force, live, log
        self._project = client.source.project_name
        self._counts = daily_count.DailyCounts(client, dates, table)
        self._repeated = False

    def repeats(self, dates: Sequence[datetime.date]) -> None:
        """The request that brings the missing evidence is about to be made, over these days."""
        self._asked = (min(dates), max(dates))
        self._repeated = True

    def doubt(
        self,
        day: Day,
        before: RawManifest | None,
        manifest: RawManifest,
        parts: Sequence[str],
    ) -> Doubt | None:
        """The doubt about a reading of the day, which is noted; None where it may be committed.

        `before` is the manifest of what the day holds, `manifest` that of the reading with its `changes`, `parts` its files.
        """
        date = datetime.date.fromisoformat(manifest.day)
        self.held.pop(date, None)
        kind = self._kind(date, before, manifest)
        if kind is None:
            return None
        if self._force:
            self._log(f"{date}: {manifest.rows} events, accepted without evidence because the run is forced")
            return None
        window = self._uncovered(before)
        standing = read(day)
        earlier = standing.readings if standing is not None else ()
        now_read = Reading(now().isoformat(), manifest.rows, manifest.digest, window is None)
        other = (before and before.project) or self._project
        count = daily_count.silent("")
        if window is None:
            count = self._counts.of(date, before, manifest, parts)
            if count.verdict == "agrees":
                self._log(f"{date}: {manifest.rows} events; {count.why}, so they are accepted")
                return None
            if count.verdict == "silent" and other == self._project and _said(now_read, earlier):
                self._log(f"{date}: {manifest.rows} events, as a second request confirmed; accepted")
                return None
        note = Doubt(
            day=manifest.day,
            kind=kind,
            generation=before.generation if before is not None else None,
            had=before.rows if before else 0,
            lost=manifest.changes.vanished if manifest.changes else 0,
            readings=(*earlier, now_read)[-READINGS:],
            counted=count.events,
            count=count.verdict,
            why=count.why,
            window=window,
            other_project=None if other == self._project else other,
        )
        day.storage.write(f"{day.path}/{NOTE}", manifests.encoded(note))
        self.held[date] = note
        return note

    def settle(self, day: Day, manifest: RawManifest) -> None:
        """The day holds what Mixpanel says: there is no doubt about it any more."""
        date = datetime.date.fromisoformat(manifest.day)
        self.held.pop(date, None)
        self._counts.settled(date)
        path = f"{day.path}/{NOTE}"
        if day.storage.read(path) is not None:
            day.storage.delete([path])

    def _kind(self, date: datetime.date, before: RawManifest | None, manifest: RawManifest) -> DoubtKind | None:
        if before is None:
            if manifest.exported > 0:
                return None
            # A manifest that a power failure took leaves a day that is live and looks as if it was never exported.
            return "first" if self._live(date) or self._near(date) >= self._thresholds.neighbours else None
        if before.request != manifest.request:
            return None  # other events are asked for
        changes, rows = manifest.changes or Changes(), manifest.rows
        lost = changes.vanished - changes.appeared
        # Of events, not rows: Mixpanel drops duplicates in time, and that is no loss.
        had = min(before.rows, rows + lost)
        emptied = rows == 0 and before.rows > 0
        if emptied or (lost >= self._thresholds.floor and lost * 100 >= had * self._thresholds.percent):
            return "smaller"
        fewer = Counter(before.reasons) - Counter(manifest.reasons)  # lines that are no events, of each reason
        return "elsewhere" if (changes.vanished or fewer) and self._uncovered(before) else None

    def _uncovered(self, before: RawManifest | None) -> tuple[str, str] | None:
        """The days that the committed events came with, where not all of them are asked for now."""
        if before is None or before.window is None:
            return None
        window = before.window
        first, last = (day.isoformat() for day in self._asked)
        return None if first <= window.first and window.last <= last else (window.first, window.last)

    def _near(self, date: datetime.date) -> int:
        """Events of the larger one of the committed days that are nearest before and after."""
        found = [0]
        for direction in (-1, 1):
            for far in range(1, daily_count.AROUND + 1):
                manifest = manifests.read(self._table(date + datetime.timedelta(days=far * direction)), RawManifest)
                if manifest is not None:
                    found.append(manifest.rows)
                    break
        return max(found)

    def evidence(self, most_days: int) -> list[datetime.date]:
        """The days to ask for once more: those asked for, and with them those that missing events may be filed under."""
        first, last = self._asked
        for date, note in sorted(self.held.items(), reverse=True):
            if note.window is not None:
                begin, end = (datetime.date.fromisoformat(day) for day in note.window)
                begin, end = min(first, begin), max(last, end)
                if (end - begin).days < most_days:
                    first, last = begin, end
                else:
                    self._log(f"{date}: {begin} to {end} are too many days for one request; its doubt stands")
        return [first + datetime.timedelta(days=n) for n in range((last - first).days + 1)]


def _said(reading: Reading, earlier: Sequence[Reading]) -> bool:
    """Whether the last reading said the same, or the last one that was asked for with as many days."""
    last = list(earlier[-1:]) + [one for one in earlier if one.covers == reading.covers][-1:]
    return any(one.digest == reading.digest for one in last)
