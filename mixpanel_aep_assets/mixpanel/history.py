"""Several days in one export request, or one day in several: the body goes into the days that its lines belong to.

The body as a whole is proven by `export.receive`, then each day is committed by itself, with the manifest that a request
for that day alone would have given. What does not belong here: which days go together (`windows`).

A line's day is the day of its `time` read as UTC, in both time modes: Mixpanel takes the days of a request from the same
instant or wall clock that it writes into `time` (mixpanel-api.md section 3.1).
"""

from __future__ import annotations

import datetime
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from mixpanel_aep_assets.mixpanel import events, odd, time_evidence, time_mode
from mixpanel_aep_assets.mixpanel.client import MixpanelClient
from mixpanel_aep_assets.mixpanel.doubt import Judge
from mixpanel_aep_assets.mixpanel.export import Content, Progress, commit, manifest_of, receive
from mixpanel_aep_assets.mixpanel.odd import Broken
from mixpanel_aep_assets.mixpanel.parts import PartWriter, one_thread
from mixpanel_aep_assets.mixpanel.retry import Retry
from mixpanel_aep_assets.mixpanel.windows import DAY_MS
from mixpanel_aep_assets.storage import Day

CHUNK_BYTES = 8 << 20
"""Bytes of body that are dealt out at a time, so that a day's share of it is worth a call."""

HELD_BYTES = 64 << 20
"""Events of all days that wait for a full row group; beyond it the fullest days write what they have."""

_TIME = re.compile(rb'"time"\s*:\s*(?:"([^"]{1,40})"|(-?\d[\d.eE+-]{0,400}))')
_EPOCH = datetime.date(1970, 1, 1).toordinal()


def export_window(
    client: MixpanelClient,
    days: Mapping[datetime.date, Day],
    *,
    mode: time_mode.Decision | None = None,
    others: time_evidence.Evidence | None = None,
    retry: Retry | None = None,
    progress: Progress | None = None,
    log: Callable[[str], None] = lambda _: None,
    judge: Judge | None = None,
    only: Collection[datetime.date] | None = None,
) -> dict[datetime.date, dict[str, Any]]:
    """Exports consecutive days by one request and commits each; their manifests (see `export.manifest_of`).

    With `only`, just these of the days are committed and returned; the others stay as they are.

    Each manifest also has `window`: `from`, `to`, and of the lines that this day got: `strays` (their time lies outside
    the window; they go to the window's day that is nearest) and `unplaced` (they have no readable time; they go to the
    window's first day). `line` counts the lines of the window's body. `wire_bytes` and `seconds` are the day's part by
    its bytes. Retries, errors and unchanged days as in `export.export_day`; a body that is not whole commits no day.
    """
    dates = sorted(days)
    first, last = dates[0], dates[-1]
    known = mode or time_mode.configured(client.source.time_mode, client.source.timezone)

    def attempt() -> dict[datetime.date, dict[str, Any]]:
        with ExitStack() as stack:
            stagings = {date: stack.enter_context(days[date].stage()) for date in dates}
            with ExitStack() as writing:
                pool = writing.enter_context(one_thread())
                shares = [
                    _Share(writing.enter_context(PartWriter(stagings[date], client.source.privacy, pool=pool)))
                    for date in dates
                ]
                dealer = _Dealer(first, shares)
                received = receive(client, first, last, dealer.take, progress=progress)
                dealer.deal()
                files = [share.writer.close() for share in shares]
            decision = known or _lasting(client, shares, others)
            committed = {}
            for date, share, (parts, aside) in reversed(list(zip(dates, shares, files, strict=True))):
                if only is not None and date not in only:
                    continue
                part = share.content.body_bytes / max(1, received.body_bytes)
                share.content.wire_bytes = round(received.wire_bytes * part)
                share.content.seconds = received.seconds * part
                manifest = manifest_of(client, date, share.content, decision)
                manifest["window"] = {
                    "from": first.isoformat(),
                    "to": last.isoformat(),
                    "strays": share.strays,
                    "unplaced": share.unplaced,
                }
                manifest |= {"parts": parts, "quarantine": aside}
                committed[date] = commit(days[date], stagings[date], manifest, log, judge)
            return committed

    return (retry or Retry()).call(attempt, log)


def _lasting(
    client: MixpanelClient, shares: Sequence[_Share], others: time_evidence.Evidence | None
) -> time_mode.Decision | None:
    """The decision that holds for all of these days; None: each day is judged alone."""
    return time_evidence.decide(others, [share.content.weighed(client.source.timezone) for share in reversed(shares)])


@dataclass
class _Share:
    """What one day gets of a body."""

    writer: PartWriter
    content: Content = field(default_factory=Content)
    strays: int = 0
    unplaced: int = 0


class _Dealer:
    """Deals the lines of a body out to the days, a chunk at a time. Lines of a day keep their order."""

    def __init__(self, first: datetime.date, shares: Sequence[_Share]) -> None:
        self._first = first.toordinal() - _EPOCH
        self._shares = shares
        self._chunk: list[_Dealt] = []
        self._bytes = 0

    def take(self, parsed: events.Parsed, prepared: events.Prepared) -> None:
        if parsed.lines == 0:
            return
        dealt = self._placed(parsed, prepared)
        self._chunk.append(dealt)
        self._bytes += len(prepared.lines.data)
        if self._bytes >= CHUNK_BYTES:
            self.deal()

    def deal(self) -> None:
        """Hands the chunk to the days."""
        if not self._chunk:
            return
        table = pa.Table.from_batches([dealt.events for dealt in self._chunk], events.RAW_SCHEMA)
        of_event = np.concatenate([dealt.of_event for dealt in self._chunk])
        for index in np.unique(np.concatenate([dealt.days for dealt in self._chunk])):
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

    def _placed(self, parsed: events.Parsed, prepared: events.Prepared) -> _Dealt:
        """The batch with the day (as index) of each event and each line."""
        numbers = np.asarray(parsed.events["line"])
        of_event = self._index(np.asarray(parsed.events["time_ms"]) // DAY_MS - self._first)
        broken = [(line, self._broken_day(line)) for line in parsed.broken]
        every = np.concatenate([numbers, np.array([line.line for line in parsed.broken], np.int64)])
        # The lines of the batch are in the order of their numbers; bring the days into that order.
        of_line = np.concatenate([of_event, np.array([at for _, at in broken], np.int64)])[np.argsort(every)]
        days = np.unique(of_line)
        lengths = prepared.lines.ends - prepared.lines.starts + 1
        sizes = {int(day): int(lengths[of_line == day].sum()) for day in days}
        if len(days) == 1:
            digests = {int(days[0]): parsed.digest}
        else:
            digests = events.digests(prepared.lines, of_line)
        return _Dealt(parsed.events, of_event, broken, days, sizes, digests)

    def _index(self, offsets: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """Days from the window's first; what lies outside goes to the nearest day and is counted as a stray."""
        last = len(self._shares) - 1
        self._shares[0].strays += int((offsets < 0).sum())
        self._shares[last].strays += int((offsets > last).sum())
        return np.clip(offsets, 0, last)

    def _broken_day(self, line: Broken) -> int:
        moment = seeming_time(line.bytes)
        if moment is None:
            self._shares[0].unplaced += 1
            return 0
        return int(self._index(np.array([moment // DAY_MS - self._first]))[0])


@dataclass(frozen=True)
class _Dealt:
    """A batch and where its lines go; days are indexes from the window's first."""

    events: pa.RecordBatch
    of_event: npt.NDArray[np.int64]
    broken: list[tuple[Broken, int]]
    days: npt.NDArray[np.int64]
    sizes: dict[int, int]
    digests: dict[int, int]


_NO_EVENTS = pa.RecordBatch.from_pylist([], events.RAW_SCHEMA)


def _rows(table: pa.Table, rows: npt.NDArray[np.int64]) -> list[pa.RecordBatch]:
    """Some rows of a table. Copied, so that a day that waits for more rows does not keep those of others."""
    if not len(rows):
        return []
    if len(rows) == table.num_rows:
        return list(table.to_batches())
    return list(table.take(pa.array(rows)).combine_chunks().to_batches())


def seeming_time(line: bytes) -> int | None:
    """Milliseconds of what looks like the `time` of a line that is no event; None where nothing does. Never raises."""
    found = _TIME.search(line)
    return None if found is None else odd.instant((found[1] or found[2]).decode("utf-8", "replace"))
