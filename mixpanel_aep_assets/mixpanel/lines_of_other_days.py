"""Lines of a request that belong to none of the days that it asked for: the request's own quarantine.

A line belongs to the day of its `time`, read as UTC (see `dealing`). What lies outside the days asked for, and what has no
day, is kept with the request that it came with, in a table of its own: `export_requests/<first day>_<last day>`. Only
requests with such lines leave anything there.

Which of these lines count is found out when they are read, so that a run that is killed in between loses and doubles
nothing: a line does not count where a newer request over the same days returned it too, and where the committed day of its
`time` holds it, because that day came with a wider request. What belongs here: keeping such lines and counting them. What does
not: whose they are (`dealing`), how many are too many (`pipeline.requests`).
"""

from __future__ import annotations

import datetime
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any

import numpy as np
import polars as pl
import polars_hash  # noqa: F401 - gives expressions `nchash`
import pyarrow as pa
import pyarrow.parquet as pq
from msgspec.structs import replace

from mixpanel_aep_assets import manifests
from mixpanel_aep_assets.manifests import Part, RawManifest, RequestManifest
from mixpanel_aep_assets.mixpanel.dedup import stable_key
from mixpanel_aep_assets.mixpanel.line_parser import Broken
from mixpanel_aep_assets.mixpanel.parts import OPTIONS, QUARANTINE_BYTES, ROW_GROUP, SHARED_BUFFER, Files
from mixpanel_aep_assets.mixpanel.privacy import Privacy
from mixpanel_aep_assets.mixpanel.request_windows import DAY_MS
from mixpanel_aep_assets.storage import Day, Staging, Storage, reading

TABLE = "export_requests"
OTHER_DAY = "other_day"
"""The reason of an event whose `time` is of a day that was not asked for; lines that are no events have their own."""

SCHEMA = pa.schema(
    [
        pa.field("line", pa.int64(), nullable=False),
        pa.field("reason", pa.string(), nullable=False),
        pa.field("detail", pa.string(), nullable=False),
        pa.field("bytes", pa.binary(), nullable=False),
        pa.field("day", pa.date32()),
        pa.field("event", pa.string()),
        pa.field("time_ms", pa.int64()),
        pa.field("key", pa.uint64(), nullable=False),
        pa.field("repeats", pa.bool_(), nullable=False),
    ]
)
"""`day` is the day that the line's content tells, null where it tells none. `key` is the hash of an event's stable key, or of
the bytes of a line that is none; `repeats`: lines of one key are one event, since it has an insert id."""

_EPOCH = datetime.date(1970, 1, 1).toordinal()
_KEY = stable_key().nchash.xxh3_64(seed=0)  # type: ignore[attr-defined]
_BYTES_KEY = pl.col("bytes").nchash.xxh3_64(seed=0)  # type: ignore[attr-defined]
_NONE = pl.DataFrame(schema={"key": pl.UInt64, "seen": pl.UInt32})
_JUDGED = ["reason", "day", "time_ms", "key", "repeats"]
"""Columns that tell whether a line counts."""

DayOf = Callable[[datetime.date], Day]
"""The connection's raw day of a date."""


def calendar_day(number: int) -> datetime.date | None:
    """The date of a number of days since 1970; None where no calendar has it."""
    try:
        return datetime.date.fromordinal(number + _EPOCH)
    except (ValueError, OverflowError):
        return None


class OutsideWriter:
    """Writes such lines to a staging of the request as they come. Use as a context manager; `close` gives the files.

    `prefix` begins the names of the files. Memory is bounded: a row group waits. Raises StorageError.
    """

    def __init__(self, staging: Staging, privacy: Privacy | None, days: str, prefix: str = "") -> None:
        self._staging, self._privacy, self._days = staging, privacy, days
        self._files = Files(staging, f"{prefix}outside", SCHEMA, OPTIONS, SHARED_BUFFER)
        self._waiting: list[pa.Table] = []
        self._rows = self._bytes = 0
        self.reasons: Counter[str] = Counter()
        self.entries: tuple[Part, ...] = ()

    def __enter__(self) -> OutsideWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._files.abandon()

    @property
    def count(self) -> int:
        return self.reasons.total()

    def events(self, rows: pa.RecordBatch, lines: Sequence[bytes]) -> None:
        """Takes events (columns of `raw_events`) and their lines."""
        frame = pl.DataFrame(pl.from_arrow(rows))
        days = [calendar_day(int(number)) for number in np.asarray(rows["time_ms"]) // DAY_MS]
        said = [f"`time` is of {day or 'no day of the calendar'}; requested was {self._days}" for day in days]
        self._put(
            {
                "line": rows["line"],
                "reason": [OTHER_DAY] * len(days),
                "detail": said,
                "bytes": list(lines),
                "day": days,
                "event": rows["event"],
                "time_ms": rows["time_ms"],
                "key": frame.select(_KEY).to_series().to_arrow(),
                "repeats": frame["insert_id"].is_not_null().to_arrow(),
            }
        )

    def broken(self, lines: Sequence[tuple[Broken, int | None]]) -> None:
        """Takes lines that are no events, each with the number of its seeming day."""
        if not lines:
            return
        told = [line for line, _ in lines]
        marks = [self._mark(line.bytes) for line in told]
        kept = told if self._privacy is None else self._privacy.withheld(told)
        columns: dict[str, Any] = {name: [getattr(line, name) for line in kept] for name in Broken._fields}
        days = [None if number is None else calendar_day(number) for _, number in lines]
        nothing = [None] * len(lines)
        self._put(
            columns | {"day": days, "event": nothing, "time_ms": nothing, "key": marks, "repeats": [False] * len(lines)}
        )

    def keep(self, rows: pl.DataFrame) -> None:
        """Takes rows of an earlier request as they are."""
        self._put({name: rows[name].to_arrow() for name in SCHEMA.names})

    def close(self) -> tuple[Part, ...]:
        """Finishes the files."""
        self._flush()
        self.entries = self._files.close()
        return self.entries

    def _mark(self, line: bytes) -> int:
        if self._privacy is not None:
            return self._privacy.mark(line)
        return int(pl.DataFrame({"bytes": [line]}).select(_BYTES_KEY).item())

    def _put(self, columns: Mapping[str, Any]) -> None:
        arrays = [
            column.cast(field.type)
            if isinstance(column := columns[field.name], pa.Array)
            else pa.array(column, field.type)
            for field in SCHEMA
        ]
        table = pa.Table.from_arrays(arrays, schema=SCHEMA)
        self.reasons.update(table["reason"].to_pylist())
        self._waiting.append(table)
        self._rows += table.num_rows
        self._bytes += table["bytes"].nbytes
        if self._rows >= ROW_GROUP or self._bytes >= QUARANTINE_BYTES:
            self._flush()

    def _flush(self) -> None:
        if self._waiting:
            self._files.write(pa.concat_tables(self._waiting).sort_by("line"))
            self._waiting, self._rows, self._bytes = [], 0, 0


def request_of(day: Day, first: datetime.date, last: datetime.date) -> Day:
    """Where the lines of the request for these days lie, of the connection that `day` is of."""
    return day.beside(TABLE, f"{first}_{last}")


def span_of(name: str) -> tuple[datetime.date, datetime.date] | None:
    """The days of a request by its name in the table."""
    first, _, last = name.partition("_")
    try:
        return datetime.date.fromisoformat(first), datetime.date.fromisoformat(last)
    except ValueError:
        return None


def finish(
    request: Day,
    staging: Staging,
    first: datetime.date,
    last: datetime.date,
    asked_at: datetime.datetime,
    outside: Sequence[OutsideWriter],
    privacy: Privacy | None,
    *,
    events_only: bool = False,
    left_alone: Collection[datetime.date] = (),
) -> None:
    """Keeps the lines of a request whose days are committed, and takes away what earlier requests kept of them.

    Where it is called too late, or not to its end, `standing` says what it would have left. `events_only`: lines that are no
    events cannot come with the request, so that those of earlier ones stay. `left_alone`: days of the request that were not
    committed, so that lines of theirs which earlier requests kept stay, too.
    """
    before = manifests.read(request, RequestManifest)
    reasons: Counter[str] = sum((writer.reasons for writer in outside), Counter())
    if reasons:
        manifest = RequestManifest(
            first=first.isoformat(),
            last=last.isoformat(),
            asked_at=asked_at.isoformat(),
            events_only=events_only,
            left_alone=tuple(sorted(day.isoformat() for day in left_alone)),
            lines=reasons.total(),
            reasons=dict(reasons.most_common()),
            privacy=None if privacy is None else privacy.fingerprint,
            quarantine=tuple(entry for writer in outside for entry in writer.entries),
        )
        manifests.commit(staging, manifest)
    elif before is not None:
        request.remove()
    _take_away(request, first, last, asked_at, events_only, left_alone)


def carried_over(request: Day) -> Iterator[pl.DataFrame]:
    """The lines of a request that are no events: one by event filters, which they never pass, keeps them."""
    manifest = manifests.read(request, RequestManifest)
    for path in request.files(manifest, "quarantine") if manifest else []:
        frame = _read(request.storage, path)
        yield frame.filter(pl.col("reason") != OTHER_DAY)


def _take_away(
    request: Day,
    first: datetime.date,
    last: datetime.date,
    asked_at: datetime.datetime,
    events_only: bool,
    left_alone: Collection[datetime.date],
) -> None:
    """Removes earlier requests that this one covers, and of those that it touches the lines that it returned."""
    mine = _Kept.read(request)
    for name in request.storage.folders(request.connection, TABLE):
        span = span_of(name)
        if span is None or span == (first, last) or span[1] < first or last < span[0]:
            continue
        other = request.beside(TABLE, name)
        theirs = _Kept.read(other)
        if theirs is None:
            other.sweep()
            continue
        if theirs.asked_at >= asked_at:
            continue
        gone = theirs.superseded_by(first, last, mine, events_only, left_alone)
        asked_again = set() if events_only else theirs.days_within(first, last) - theirs.answered
        if gone.all():
            other.remove()
        elif gone.any() or asked_again:
            theirs.without(gone, asked_again)


@dataclass(frozen=True)
class _Kept:
    """What is stored of a request."""

    table: Day
    manifest: RequestManifest
    first: datetime.date
    last: datetime.date

    @classmethod
    def read(cls, table: Day) -> _Kept | None:
        manifest = manifests.read(table, RequestManifest)
        if manifest is None:
            return None
        first, last = map(datetime.date.fromisoformat, (manifest.first, manifest.last))
        return cls(table, manifest, first, last)

    @property
    def asked_at(self) -> datetime.datetime:
        return datetime.datetime.fromisoformat(self.manifest.asked_at)

    def overlaps(self, first: datetime.date, last: datetime.date) -> bool:
        return self.first <= last and first <= self.last

    def frame(self, columns: list[str] | None = None) -> pl.DataFrame:
        files = self.table.files(self.manifest, "quarantine")
        return pl.concat(_read(self.table.storage, path, columns) for path in files)

    @property
    def answered(self) -> set[datetime.date]:
        """Days of the request that newer ones answer for: what they returned was taken away from the lines here."""
        return {datetime.date.fromisoformat(day) for day in self.manifest.answered}

    @property
    def left_alone(self) -> set[datetime.date]:
        return {datetime.date.fromisoformat(day) for day in self.manifest.left_alone}

    def days_within(self, first: datetime.date, last: datetime.date) -> set[datetime.date]:
        """The days that both this request and one from `first` to `last` asked for."""
        begin, end = max(first, self.first), min(last, self.last)
        return {begin + datetime.timedelta(days=n) for n in range((end - begin).days + 1)}

    def superseded_by(
        self,
        first: datetime.date,
        last: datetime.date,
        newer: _Kept | None,
        events_only: bool,
        left_alone: Collection[datetime.date],
    ) -> pl.Series:
        """Which lines a newer request over days from `first` to `last`, that kept `newer`, answers for.

        Lines do not say which of the days they came for. So it is all of them once newer requests have answered for each
        day, and until then those that came again; where lines are alike, as many as came again.
        """
        frame = self.frame(_JUDGED)
        answered, asked_again = self.answered, self.days_within(first, last)
        left = self.days_within(self.first, self.last) - asked_again - (set() if events_only else answered)
        gone = pl.repeat(not left, frame.height, dtype=pl.Boolean, eager=True)
        if left and newer is not None and not asked_again <= answered:
            gone = _seen_in(frame, _counted(newer.frame(["key"])))
        if events_only:
            gone = gone & (frame["reason"] == OTHER_DAY)
        if left_alone:
            gone = gone & ~frame["day"].is_in(sorted(left_alone)).fill_null(False)
        return gone

    def without(self, gone: pl.Series, asked_again: set[datetime.date]) -> None:
        """Commits the request again without some of its lines, once a newer one has asked for some of its days."""
        frame = self.frame().filter(~gone)
        with self.table.stage() as staging, OutsideWriter(staging, None, "") as writer:
            writer.keep(frame)
            entries = writer.close()
            reasons = dict(writer.reasons.most_common())
            answered = tuple(sorted(day.isoformat() for day in self.answered | asked_again))
            changed = replace(self.manifest, lines=frame.height, reasons=reasons, quarantine=entries, answered=answered)
            manifests.commit(staging, changed)


@dataclass(frozen=True)
class Request:
    """The lines of a request that count: none of them is live, or set aside elsewhere. `lines` are all that are stored."""

    first: datetime.date
    last: datetime.date
    lines: int
    reasons: Mapping[str, int]
    counts: pl.Series
    table: Day
    manifest: RequestManifest

    @property
    def name(self) -> str:
        """The days, for a person and as a key of the report."""
        return self.first.isoformat() if self.first == self.last else f"{self.first}..{self.last}"

    @property
    def count(self) -> int:
        return sum(self.reasons.values())

    def rows(self) -> Iterator[pl.DataFrame]:
        """The lines that count (SCHEMA), some at a time."""
        first = 0
        for path in self.table.files(self.manifest, "quarantine"):
            with self.table.storage.open_read(path) as file:
                parquet = pq.ParquetFile(file)
                for group in range(parquet.num_row_groups):
                    frame = pl.DataFrame(pl.from_arrow(parquet.read_row_group(group)))
                    yield frame.filter(self.counts.slice(first, frame.height))
                    first += frame.height


def standing(
    storage: Storage, connection: str, day_of: DayOf, first: datetime.date, last: datetime.date
) -> list[Request]:
    """Requests that have a day from `first` to `last` and lines that count, by their days."""
    spans = {name: span for name in storage.folders(connection, TABLE) if (span := span_of(name)) is not None}
    wanted = [name for name, (begin, end) in spans.items() if begin <= last and first <= end]
    if not wanted:
        return []
    touching = {
        name for name, (begin, end) in spans.items() if any(begin <= spans[w][1] and spans[w][0] <= end for w in wanted)
    }
    kept = {name: _Kept.read(storage.day(connection, TABLE, name)) for name in touching}
    found = []
    for name in wanted:
        own = kept[name]
        if own is None:
            continue
        newer = [k for k in kept.values() if k and k.asked_at > own.asked_at and k.overlaps(own.first, own.last)]
        frame = own.frame(_JUDGED)
        gone = held(frame, day_of)
        for one in newer:
            gone = gone | own.superseded_by(one.first, one.last, one, one.manifest.events_only, one.left_alone)
        reasons = Counter(frame["reason"].filter(~gone).to_list())
        if reasons:
            ordered = dict(reasons.most_common())
            found.append(Request(own.first, own.last, frame.height, ordered, ~gone, own.table, own.manifest))
    return found


def staged(staging: Staging, writer: OutsideWriter) -> pl.DataFrame:
    """The lines of a request that is not committed, after `close`, as `held` takes them."""
    storage = staging.day.storage
    return pl.concat(_read(storage, staging.path(entry.name), _JUDGED) for entry in writer.entries)


def held(frame: pl.DataFrame, day_of: DayOf) -> pl.Series:
    """Which of the lines the committed day of their content holds: an event's `raw_events`, or its quarantine."""
    seen = [_NONE]
    for (day,), lines in frame.filter(pl.col("day").is_not_null()).group_by("day"):
        assert isinstance(day, datetime.date)
        table = day_of(day)
        manifest = manifests.read(table, RawManifest)
        if manifest is None:
            continue
        times = lines["time_ms"].drop_nulls().unique()
        if len(times):
            seen += [_events_at(path, times) for path in table.locations(manifest)]
        if lines["time_ms"].null_count():
            seen += [
                _counted(_read(table.storage, path, ["bytes"]).select(_BYTES_KEY.alias("key")))
                for path in table.files(manifest, "quarantine")
            ]
    return _seen_in(frame, pl.concat(seen).group_by("key").agg(pl.col("seen").sum()))


@reading()
def _events_at(location: str, times: pl.Series) -> pl.DataFrame:
    """How often a raw file holds the keys of its events at these times."""
    near = pl.col("time_ms").is_between(pl.lit(times.min()), pl.lit(times.max())) & pl.col("time_ms").is_in(
        times.implode()
    )
    return _counted(pl.scan_parquet(location, glob=False).filter(near).select(_KEY.alias("key")).collect())


def _counted(keys: pl.DataFrame) -> pl.DataFrame:
    return keys.group_by("key").agg(pl.len().cast(pl.UInt32).alias("seen"))


def _seen_in(frame: pl.DataFrame, counts: pl.DataFrame) -> pl.Series:
    """Which lines are among others that hold each key so often; of lines that an insert id makes one event, all."""
    joined = frame.select("key", "repeats").join(counts, on="key", how="left", maintain_order="left")
    rank = pl.int_range(pl.len()).over("key")
    gone = pl.col("seen").is_not_null() & (pl.col("repeats") | (rank < pl.col("seen")))
    return joined.select(gone=gone)["gone"]


def _read(storage: Storage, path: str, columns: list[str] | None = None) -> pl.DataFrame:
    with storage.open_read(path) as file:
        return pl.DataFrame(pl.from_arrow(pq.read_table(file, columns=columns)))
