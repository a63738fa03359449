"""Whose line is it: each line of a body goes to the day of its content, or to the request where that day was not asked for.

The one rule for single days, windows of days and slices of a day. A line's day is the day of its `time` read as UTC, in both
time modes: Mixpanel takes the days of a request from the same instant or wall clock that it writes into `time`
(mixpanel.md#export-request). A line that is not an event belongs to the day that its `time` suggests.
"""

from __future__ import annotations

import datetime
import re
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from mixpanel_aep_assets.mixpanel import body, events, line_parser
from mixpanel_aep_assets.mixpanel.content import Content
from mixpanel_aep_assets.mixpanel.line_parser import Broken
from mixpanel_aep_assets.mixpanel.lines_of_other_days import OutsideWriter
from mixpanel_aep_assets.mixpanel.parts import PartWriter
from mixpanel_aep_assets.mixpanel.request_windows import DAY_MS

CHUNK_BYTES = 8 << 20
"""Bytes of body that are dealt out at a time, so that a day's share of it is worth a call."""

HELD_BYTES = 64 << 20
"""Events of all days that wait for a full row group; beyond it the fullest days write what they have."""

OUTSIDE = -1
"""In the place of a day's index: none of the days asked for."""

_TIME = re.compile(rb'"time"\s*:\s*(?:"([^"]{1,40})"|(-?\d[\d.eE+-]{0,400}))')
_EPOCH = datetime.date(1970, 1, 1).toordinal()
_NO_EVENTS = pa.RecordBatch.from_pylist([], events.RAW_SCHEMA)


@dataclass
class Share:
    """What one day gets of a body."""

    writer: PartWriter
    content: Content = field(default_factory=Content)


class Dealer:
    """Deals the lines of a body out, a chunk at a time. Lines of a day keep their order. Call `deal` after the last batch.

    `shares` are those of consecutive days from `first` on. A batch of nothing but events of the one day that was asked for
    takes no detour.
    """

    def __init__(self, first: datetime.date, shares: Sequence[Share], outside: OutsideWriter) -> None:
        self._first = first.toordinal() - _EPOCH
        self._shares = shares
        self._outside = outside
        self._chunk: list[_Dealt] = []
        self._bytes = 0

    def take(self, parsed: events.Parsed, prepared: events.Prepared) -> None:
        if parsed.lines == 0:
            return
        if len(self._shares) == 1 and not parsed.broken and self._all_of_the_day(parsed.events):
            (share,) = self._shares
            share.writer.write(parsed.events, ())
            share.content.add(parsed.events, (), parsed.digest, int(_sizes(prepared.lines).sum()))
            return
        self._chunk.append(self._placed(parsed, prepared))
        self._bytes += len(prepared.lines.data)
        if self._bytes >= CHUNK_BYTES or len(self._shares) == 1:
            self.deal()

    def deal(self) -> None:
        """Hands the chunk to the days."""
        if not self._chunk:
            return
        table = pa.Table.from_batches([dealt.events for dealt in self._chunk], events.RAW_SCHEMA)
        of_event = np.concatenate([dealt.of_event for dealt in self._chunk])
        for index in np.unique(np.concatenate([dealt.days for dealt in self._chunk])):
            if index == OUTSIDE:
                continue
            share = self._shares[index]
            broken = [line for dealt in self._chunk for line, at in dealt.broken if at == index]
            digest = sum(dealt.digests.get(index, 0) for dealt in self._chunk)
            size = sum(dealt.sizes.get(index, 0) for dealt in self._chunk)
            rows = np.flatnonzero(of_event == index)
            for batch in _rows(table, rows):
                share.writer.write(batch, ())
                share.content.add(batch, (), 0, 0)
            share.writer.write(_NO_EVENTS, broken)
            share.content.add(_NO_EVENTS, broken, digest, size)
        self._chunk, self._bytes = [], 0
        self._spill()

    def _spill(self) -> None:
        held = {index: share.writer.pending_bytes for index, share in enumerate(self._shares)}
        while sum(held.values()) > HELD_BYTES:
            fullest = max(held, key=lambda index: held[index])
            self._shares[fullest].writer.spill()
            held[fullest] = 0

    def _all_of_the_day(self, rows: pa.RecordBatch) -> bool:
        span = pc.min_max(rows["time_ms"]).as_py()
        return bool(span["min"] // DAY_MS == span["max"] // DAY_MS == self._first)

    def _placed(self, parsed: events.Parsed, prepared: events.Prepared) -> _Dealt:
        """The batch with the day (as index) of each event and each line; what has none is written to the request."""
        numbers = np.asarray(parsed.events["line"])
        of_event = self._index(np.asarray(parsed.events["time_ms"]) // DAY_MS)
        seeming = [_day_number(line) for line in parsed.broken]
        broken = [(line, self._index_of(day)) for line, day in zip(parsed.broken, seeming, strict=True)]
        every = np.concatenate([numbers, np.array([line.line for line in parsed.broken], np.int64)])
        # The lines of the batch are in the order of their numbers; bring the days into that order.
        order = np.argsort(every)
        of_line = np.concatenate([of_event, np.array([at for _, at in broken], np.int64)])[order]
        if OUTSIDE in of_event:
            places = np.searchsorted(every[order], numbers[of_event == OUTSIDE])
            lines = [prepared.lines.line(int(place)) for place in places]
            self._outside.events(parsed.events.filter(pa.array(of_event == OUTSIDE)), lines)
        self._outside.broken([(line, day) for (line, at), day in zip(broken, seeming, strict=True) if at == OUTSIDE])
        sizes = _sizes(prepared.lines)
        days, counts = np.unique(of_line, return_counts=True)
        return _Dealt(
            parsed.events,
            of_event,
            broken,
            days,
            {int(day): int(sizes[of_line == day].sum()) for day in days},
            _digests(parsed, prepared.lines, of_line, int(days[counts.argmax()])),
        )

    def _index(self, days: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """Places of days (by number since 1970) among those asked for."""
        offsets = days - self._first
        return np.where((offsets >= 0) & (offsets < len(self._shares)), offsets, OUTSIDE)

    def _index_of(self, day: int | None) -> int:
        return OUTSIDE if day is None or not 0 <= day - self._first < len(self._shares) else day - self._first


@dataclass(frozen=True)
class _Dealt:
    """A batch and where its lines go; days are indexes from the first one asked for."""

    events: pa.RecordBatch
    of_event: npt.NDArray[np.int64]
    broken: list[tuple[Broken, int]]
    days: npt.NDArray[np.int64]
    sizes: dict[int, int]
    digests: dict[int, int]


def _sizes(lines: body.Lines) -> npt.NDArray[np.int64]:
    """Bytes of each line with its newline."""
    return lines.ends - lines.starts + 1


def _digests(parsed: events.Parsed, lines: body.Lines, of_line: npt.NDArray[np.int64], most: int) -> dict[int, int]:
    """The digest of each day's lines. Only lines beside those of the day that has `most` are hashed once more."""
    others = np.flatnonzero(of_line != most)
    if not len(others):
        return {most: parsed.digest}
    digests = events.digests(lines.only(others), of_line[others])
    return {**digests, most: (parsed.digest - sum(digests.values())) % (1 << 128)}


def _rows(table: pa.Table, rows: npt.NDArray[np.int64]) -> list[pa.RecordBatch]:
    """Some rows of a table. Copied, so that a day that waits for more rows does not keep those of others."""
    if not len(rows):
        return []
    if len(rows) == table.num_rows:
        return list(table.to_batches())
    return list(table.take(pa.array(rows)).combine_chunks().to_batches())


def _day_number(line: Broken) -> int | None:
    """Days from 1970 to the day that a line which is no event seems to be of."""
    moment = seeming_time(line.bytes)
    return None if moment is None else moment // DAY_MS


def seeming_time(line: bytes) -> int | None:
    """Milliseconds of what looks like the `time` of a line that is no event; None where nothing does. Never raises."""
    found = _TIME.search(line)
    return None if found is None else line_parser.instant((found[1] or found[2]).decode("utf-8", "replace"))
