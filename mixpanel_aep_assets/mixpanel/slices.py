"""A day that one request cannot carry, by several: by event lists and the rest, or by the time of day.

The parts must be the whole, and nothing that Mixpanel sends says so. What proves it:

* No event is in two slices: each row is held against the slice that it came with.
* None is missing: the last slice asks for whatever the others do not (`not (…)`, where what is undefined counts as true:
  mixpanel.md#expressions). By time that is a documented form. By name it is not (`event["$event_name"]` is only seen in
  queries), so it counts as proven only if the rest holds events of other names: then the filter told names apart.

A rest that is empty proves nothing; the manifest then says `complete: false`, and the check of the day shows it. Lines
that are no events match no filter and do not come: those that an earlier request for the day left stay with it.
"""

from __future__ import annotations

import datetime
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import orjson
import pyarrow as pa
import pyarrow.compute as pc
from msgspec.structs import replace

from mixpanel_aep_assets.manifests import Exported, Part, Slices
from mixpanel_aep_assets.mixpanel import events, lines_of_other_days, mixpanel_errors, time_evidence, time_mode
from mixpanel_aep_assets.mixpanel.client import NAMES_IN_URL, MixpanelClient
from mixpanel_aep_assets.mixpanel.content import Content
from mixpanel_aep_assets.mixpanel.doubt import Judge
from mixpanel_aep_assets.mixpanel.export import Progress, commit, is_believed, manifest_of, receive
from mixpanel_aep_assets.mixpanel.export_retry import Retry
from mixpanel_aep_assets.mixpanel.line_parser import HOT_SHARD_EVENT
from mixpanel_aep_assets.mixpanel.lines_by_day import Dealer, Share
from mixpanel_aep_assets.mixpanel.lines_of_other_days import OutsideWriter
from mixpanel_aep_assets.mixpanel.parts import PartWriter
from mixpanel_aep_assets.mixpanel.request_windows import name_lists
from mixpanel_aep_assets.storage import Day, Staging, now


@dataclass(frozen=True)
class Slice:
    """A part of a day: the request's `event` and `where`, and which rows may come with it (a boolean array)."""

    events: tuple[str, ...] | None
    where: str | None
    holds: Callable[[pa.RecordBatch], Any]
    rest: bool = False


def by_names(names: Mapping[str, int], count: int, closed: bool) -> list[Slice]:
    """The rest and at most `count` - 1 event lists, from the numbers of events seen; empty where lists do not help.

    `closed`: there are no other names, because the connection exports only these. Then the rest is a list too.
    """
    lists = name_lists(names if closed else _short(names), count)
    if not lists:
        return []
    listed = [name for some in lists for name in some]
    rest = tuple(name for name in names if name not in listed)
    if closed:
        last = Slice(rest, None, _named(rest))
    else:
        where = f'not (event["$event_name"] in {orjson.dumps(listed).decode()})'
        last = Slice(None, where, lambda rows: pc.or_(pc.invert(_is_in(rows, listed)), _hot_shard(rows)), rest=True)
    # The rest comes first: a server that does not know its filter is found out by one request.
    return [last, *(Slice(some, None, _named(some)) for some in lists)]


def by_time(date: datetime.date, count: int) -> list[Slice]:
    """`count` spans of the day of equal length; what lies outside the day by its time comes with the first or the last."""
    midnight = datetime.datetime.combine(date, datetime.time())
    borders = [midnight + datetime.timedelta(days=1) * n / count for n in range(1, count)]
    borders = [border.replace(microsecond=0) for border in borders]
    earlier = [f'event["$time"] < datetime("{border.isoformat()}")' for border in borders]
    marks = [int(border.replace(tzinfo=datetime.UTC).timestamp() * 1000) for border in borders]
    slices = [Slice(None, earlier[0], _between(None, marks[0]))]
    for n in range(1, count - 1):
        where = f"not ({earlier[n - 1]}) and {earlier[n]}"
        slices.append(Slice(None, where, _between(marks[n - 1], marks[n])))
    return [*slices, Slice(None, f"not ({earlier[-1]})", _between(marks[-1], None))]


def export_slices(
    client: MixpanelClient,
    day: Day,
    date: datetime.date,
    names: Mapping[str, int],
    count: int,
    *,
    mode: time_mode.Decision | None = None,
    others: time_evidence.Evidence | None = None,
    retry: Retry | None = None,
    progress: Progress | None = None,
    log: Callable[[str], None] = lambda _: None,
    judge: Judge | None = None,
) -> Exported:
    """Exports one day by `count` requests and commits it once all of them are whole.

    `names` are numbers of events by name, as seen in the day itself or in others. By event lists where they divide the
    day well and Mixpanel tells names apart, else by time. The manifest has `slices`.
    Raises SliceNotHonoured where neither filter is followed, and the errors of `export.export_day`.
    """
    closed = bool(client.source.events)
    expected = {name: names.get(name, 0) for name in client.source.events} if closed else names
    lists = by_names(expected, count, closed)
    known = mode or time_mode.configured(client.source.time_mode, client.source.timezone)
    options = (known, others, retry, progress, log, judge)
    if lists:
        try:
            return _export(client, day, date, lists, "event", *options)
        except (mixpanel_errors.SliceNotHonoured, mixpanel_errors.BadRequest) as error:
            log(f"{date}: not by event names ({error.what}); by time instead")
    return _export(client, day, date, by_time(date, count), "time", *options)


def _export(
    client: MixpanelClient,
    day: Day,
    date: datetime.date,
    slices: Sequence[Slice],
    by: Literal["event", "time"],
    known: time_mode.Decision | None,
    others: time_evidence.Evidence | None,
    retry: Retry | None,
    progress: Progress | None,
    log: Callable[[str], None],
    judge: Judge | None,
) -> Exported:
    total, complete, numbered = Content(), True, 0
    parts: list[Part] = []
    aside: list[Part] = []
    request, asked_at = lines_of_other_days.request_of(day, date, date), now()
    astray: list[OutsideWriter] = []
    with day.stage() as staging, request.stage() as beside:
        for number, piece in enumerate(slices, 1):
            prefix = f"slice-{number:02d}-"

            def attempt(piece: Slice = piece, prefix: str = prefix, after: int = numbered) -> _Read:
                return _read(client, date, (staging, beside), piece, prefix, after, progress)

            read = (retry or Retry()).call(attempt, log)
            log(f"{date}: slice {number} of {len(slices)} by {by}: {read.content.rows} events")
            total.merge(read.content)
            numbered += read.numbered
            parts += read.parts
            aside += read.quarantine
            astray.append(read.astray)
            complete = complete and not (piece.rest and read.content.rows == 0)
        with OutsideWriter(beside, client.source.privacy, date.isoformat(), "kept-") as kept:
            for rows in lines_of_other_days.carried_over(request):
                kept.keep(rows)
            kept.close()
        manifest = manifest_of(client, date, total, known, others)
        made = Slices(by, len(slices), complete)
        manifest = replace(manifest, slices=made, parts=tuple(parts), quarantine=tuple(aside))
        committed = commit(day, staging, manifest, log, judge)
        if is_believed(judge):
            alone = () if judge is None else judge.held
            writers = [*astray, kept]
            lines_of_other_days.finish(
                request,
                beside,
                date,
                date,
                asked_at,
                writers,
                client.source.privacy,
                events_only=True,
                left_alone=alone,
            )
        return committed


@dataclass(frozen=True)
class _Read:
    content: Content
    numbered: int
    parts: tuple[Part, ...]
    quarantine: tuple[Part, ...]
    astray: OutsideWriter


def _read(
    client: MixpanelClient,
    date: datetime.date,
    stagings: tuple[Staging, Staging],
    piece: Slice,
    prefix: str,
    after: int,
    progress: Progress | None,
) -> _Read:
    """One slice into files of its own, of the day and of the request; a failed try's files are taken away."""
    staging, beside = stagings
    try:
        with (
            PartWriter(staging, client.source.privacy, prefix) as writer,
            OutsideWriter(beside, client.source.privacy, date.isoformat(), prefix) as astray,
        ):
            share = Share(writer)
            dealer = Dealer(date, [share], astray)

            def take(parsed: events.Parsed, prepared: events.Prepared) -> None:
                _refuse_foreign(parsed.events, piece, date)
                dealer.take(parsed, prepared)

            received = receive(
                client, date, date, take, events_only=piece.events, where=piece.where, after=after, progress=progress
            )
            dealer.deal()
            parts, aside = writer.close()
            astray.close()
    except mixpanel_errors.MixpanelError:
        for one in stagings:
            folder = one.path("")
            storage = one.day.storage
            storage.delete([s.path for s in storage.objects(folder) if s.path.startswith(folder + prefix)])
        raise
    share.content.wire_bytes, share.content.seconds = received.wire_bytes, received.seconds
    return _Read(share.content, received.numbered, parts, aside, astray)


def _refuse_foreign(rows: pa.RecordBatch, piece: Slice, date: datetime.date) -> None:
    if rows.num_rows and not pc.all(piece.holds(rows)).as_py():
        what = "these event names" if piece.events else piece.where
        raise mixpanel_errors.SliceNotHonoured(
            f"Asked for a slice of {date} ({what}), Mixpanel sent events that are not of it"
        )


def _short(names: Mapping[str, int]) -> dict[str, int]:
    """The most frequent names, as many as an address can hold twice; the others are left to the rest."""
    kept: dict[str, int] = {}
    length = 0
    for name in sorted(names, key=lambda name: (-names[name], name)):
        length += len(orjson.dumps(name)) + 1
        if length > NAMES_IN_URL // 2:
            break
        kept[name] = names[name]
    return kept


def _named(names: Sequence[str]) -> Callable[[pa.RecordBatch], Any]:
    return lambda rows: pc.or_(_is_in(rows, names), _hot_shard(rows))


def _is_in(rows: pa.RecordBatch, names: Sequence[str]) -> Any:
    return pc.is_in(rows["event"], value_set=pa.array(names, pa.string()))


def _hot_shard(rows: pa.RecordBatch) -> Any:
    """Rows that Mixpanel knows by another name than the one that was restored."""
    return pc.match_substring(rows["properties"], f'"{HOT_SHARD_EVENT}"')


def _between(first: int | None, end: int | None) -> Callable[[pa.RecordBatch], Any]:
    """Rows from `first` on and before `end`, to the second: Mixpanel may compare seconds."""

    def holds(rows: pa.RecordBatch) -> Any:
        seconds = pc.floor(pc.divide(rows["time_ms"].cast(pa.float64()), 1000.0))
        low = pc.greater_equal(seconds, -1e300 if first is None else first / 1000)
        high = pc.less(seconds, 1e300 if end is None else end / 1000)
        return pc.and_(low, high)

    return holds
