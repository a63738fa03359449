"""Lines of an export as columns of `raw_events`: each line a row, or a row of the quarantine with its reason.

Two ways to the same result. The fast way takes all plain lines of a batch: one pass of msgspec over them that checks all of
the JSON and builds only the typed fields, and `properties` as views into the bytes received. What is unusual in any way goes
through `line_parser`, line by line, and does not slow down its neighbours. What belongs here: the shape of a line. What does not:
where lines come from (`body`), whether they are all (`export`), what `time` means (`time_mode`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, NamedTuple

import msgspec
import numpy as np
import numpy.typing as npt
import polars as pl
import polars_hash as plh
import pyarrow as pa
import re2

from mixpanel_aep_assets.mixpanel import body, line_parser
from mixpanel_aep_assets.mixpanel.line_parser import EVENT_LIMIT, HOT_SHARD, Broken, Row

RAW_SCHEMA = pa.schema(
    [
        pa.field("line", pa.int64(), nullable=False),
        pa.field("event", pa.string(), nullable=False),
        pa.field("time_ms", pa.int64(), nullable=False),
        pa.field("distinct_id", pa.string()),
        pa.field("distinct_id_before_identity", pa.string()),
        pa.field("device_id", pa.string()),
        pa.field("user_id", pa.string()),
        pa.field("insert_id", pa.string()),
        pa.field("received_ms", pa.int64()),
        pa.field("processing_ms", pa.int64()),
        pa.field("imported", pa.bool_()),
        pa.field("properties", pa.string(), nullable=False),
    ]
)
"""`time_ms` is the wire's `time` in milliseconds, not yet UTC in project mode. `properties` is the JSON text as sent."""

QUARANTINE_SCHEMA = pa.schema(
    [
        pa.field("line", pa.int64(), nullable=False),
        pa.field("reason", pa.string(), nullable=False),
        pa.field("detail", pa.string(), nullable=False),
        pa.field("bytes", pa.binary(), nullable=False),
    ]
)

_HEAD = b'{"event"'
_TAIL = b"}}"
"""How plain lines begin and end. No JSON can go on from the one to the other over a newline, so that a value which the decoder
finds is one line, never two or a half."""

_KEY = b'","properties":{'
"""What follows the event's name. Cannot stand inside a string, whose quotes are escaped."""

_MEMBER_BEHIND_AN_OBJECT = re2.compile(rb'\}[ \t\r]*,[ \t\r]*"(?:event"|properties"|[^"\n]*\\u00[67])')
"""Behind the first `properties` another member may follow, its name spelled out or with escapes, whose letters begin so."""

_VIEW = np.dtype([("length", "<i4"), ("prefix", "<u4"), ("buffer", "<i4"), ("offset", "<i4")])
_INLINE = 12
_DIGEST = plh.col("line").nchash.xxh3_128().sum()
_TEXT = pl.col("line").cast(pl.String)

_Instant = Annotated[int, msgspec.Meta(ge=line_parser.EARLIEST_MS, le=line_parser.LATEST_MS)]
"""Milliseconds, or seconds up to `line_parser.LARGEST_SECONDS`, which lie within."""


class _Properties(msgspec.Struct, gc=False, rename=line_parser.FIELDS):
    """The typed fields in the types that they nearly always have."""

    time: _Instant
    distinct_id: str | None = None
    distinct_id_before_identity: str | None = None
    device_id: str | None = None
    user_id: str | None = None
    insert_id: str | None = None
    received_ms: _Instant | None = None
    processing_ms: _Instant | None = None
    imported: bool | None = None


class _Event(msgspec.Struct, gc=False, forbid_unknown_fields=True):
    event: str
    properties: _Properties


class _Members(msgspec.Struct, gc=False, forbid_unknown_fields=True):
    """The texts of a line's members; of several of one name the last one's, however the name is spelled."""

    event: msgspec.Raw
    properties: msgspec.Raw


_decoder = msgspec.json.Decoder(_Event)
_texts_of = msgspec.json.Decoder(_Members).decode
_REFUSALS = (msgspec.MsgspecError, UnicodeError, RecursionError)
_members = msgspec.structs.astuple
_TYPED = [RAW_SCHEMA.field(name) for name in _Properties.__struct_fields__[1:]]


class Parsed(NamedTuple):
    """What a batch holds. `lines` counts those that are not empty: the rows of `events` and `broken` together.

    `numbered` counts all lines, empty ones too; `digest` is the sum of the XXH3 hashes of the counted lines, mod 2**128.
    """

    events: pa.RecordBatch
    broken: list[Broken]
    lines: int
    numbered: int
    digest: int


_TURN_LINES = 256
"""Lines decoded in one call, some 0.5 ms: the thread that receives waits so long for its turn at the interpreter's lock."""


class Prepared(NamedTuple):
    """A batch after the work that needs no Python objects.

    `lines` are those that are not empty, `offsets` their numbers from 0. `plain` marks those that are UTF-8 and begin and end
    as events do, `doubtful` those that may have several members of one name.
    """

    lines: body.Lines
    offsets: npt.NDArray[np.int64]
    numbered: int
    digest: int
    plain: npt.NDArray[np.bool_]
    doubtful: npt.NDArray[np.bool_]


def parse(data: bytes | memoryview, first_line: int = 1) -> Parsed:
    """Reads whole lines. `first_line` is the number of the first one in the body.

    Never raises for what the lines hold: a line that is no event comes back as `Broken`.
    """
    return read(prepare(data), first_line)


def prepare(data: bytes | memoryview) -> Prepared:
    """The first half of `parse`: where the lines are, their digest, which are plain."""
    lines = body.lines(data)
    numbered = len(lines.ends)
    offsets = np.flatnonzero(lines.ends > lines.starts)
    if len(offsets) < numbered:
        lines = lines.only(offsets)
    if not len(offsets):
        return Prepared(lines, offsets, numbered, 0, np.zeros(0, np.bool_), np.zeros(0, np.bool_))
    frame = _frame(lines)
    digest = int(frame.select(_DIGEST).item())
    return Prepared(lines, offsets, numbered, digest, _plain(lines, frame), _doubtful(lines))


def read(prepared: Prepared, first_line: int) -> Parsed:
    """The second half of `parse`: plain lines the fast way, the others one by one."""
    lines, plain = prepared.lines, prepared.plain
    numbers = prepared.offsets + first_line
    events = _together(lines) if plain.all() else None
    if events is None:
        plain, events = _apart(lines, plain)
    others = np.flatnonzero(~plain)
    rows, broken = _one_by_one(lines.only(others), numbers[others])
    columns = _columns(lines.only(plain) if len(others) else lines, numbers[plain], events, prepared.doubtful[plain])
    return Parsed(_merged(columns, rows), broken, len(numbers), prepared.numbered, prepared.digest)


def _frame(lines: body.Lines) -> pl.DataFrame:
    return pl.DataFrame({"line": pl.from_arrow(_views(lines.data, lines.starts, lines.ends - lines.starts))})


def _plain(lines: body.Lines, frame: pl.DataFrame) -> npt.NDArray[np.bool_]:
    data, starts, ends = lines
    lengths = ends - starts
    plain: npt.NDArray[np.bool_] = (lengths >= len(_HEAD) + len(_KEY) + len(_TAIL)) & (lengths <= EVENT_LIMIT)
    if not plain.any():
        return plain
    plain[plain] = _holds(data, starts[plain], _HEAD) & _holds(data, ends[plain] - len(_TAIL), _TAIL)
    try:
        frame.select(_TEXT)
    except pl.exceptions.PolarsError:  # somewhere bytes that are not UTF-8
        plain &= np.fromiter((_is_text(lines.line(at)) for at in range(len(starts))), np.bool_, len(starts))
    return plain


def _doubtful(lines: body.Lines) -> npt.NDArray[np.bool_]:
    doubtful = np.zeros(len(lines.starts), np.bool_)
    found = [match.start() for match in _MEMBER_BEHIND_AN_OBJECT.finditer(lines.data)]
    doubtful[np.searchsorted(lines.starts, found, "right") - 1] = True
    return doubtful


def _holds(data: bytes | memoryview, places: npt.NDArray[np.int64], word: bytes) -> npt.NDArray[np.bool_]:
    """Whether `word`, of 2, 8 or 16 bytes, stands at each of the places."""
    kind = np.dtype("<u8" if len(word) >= 8 else "<u2")
    held = np.lib.stride_tricks.sliding_window_view(np.frombuffer(data, np.uint8), len(word))[places]
    same: npt.NDArray[np.bool_] = (np.ascontiguousarray(held).view(kind) == np.frombuffer(word, kind)).all(axis=1)
    return same


def _is_text(line: bytes) -> bool:
    try:
        line.decode()
    except UnicodeDecodeError:
        return False
    return True


def _together(lines: body.Lines) -> list[_Event] | None:
    """All lines as events, None where any is unusual."""
    events: list[_Event] = []
    data = memoryview(lines.data)
    begin = 0
    for end in [*lines.starts[_TURN_LINES::_TURN_LINES].tolist(), len(data)]:
        try:
            events += _decoder.decode_lines(data[begin:end])
        except _REFUSALS:
            return None
        begin = end
    return None if len(events) != len(lines.ends) or any(event.event == HOT_SHARD for event in events) else events


def _apart(lines: body.Lines, plain: npt.NDArray[np.bool_]) -> tuple[npt.NDArray[np.bool_], list[_Event]]:
    """Plain lines as events, and which those are: the decoder may refuse some."""
    plain = plain.copy()
    events: list[_Event] = []
    for at in np.flatnonzero(plain).tolist():
        try:
            event = _decoder.decode(lines.line(at))
        except _REFUSALS:
            plain[at] = False
            continue
        if event.event == HOT_SHARD:
            plain[at] = False
        else:
            events.append(event)
    return plain, events


def _columns(
    lines: body.Lines,
    numbers: npt.NDArray[np.int64],
    events: Sequence[_Event],
    doubtful: npt.NDArray[np.bool_],
) -> pa.RecordBatch:
    """Plain lines and their events as rows."""
    if not events:
        return pa.RecordBatch.from_pylist([], schema=RAW_SCHEMA)
    names = pa.array([event.event for event in events], pa.string())
    times, *columns = zip(*[_members(event.properties) for event in events], strict=True)
    arrays = [
        pa.array(numbers),
        names,
        pa.array(_milliseconds(np.array(times, np.int64))),
        *(pa.array(column, field.type) for column, field in zip(columns, _TYPED, strict=True)),
        _properties(lines, names, doubtful),
    ]
    return pa.RecordBatch.from_arrays(arrays, schema=RAW_SCHEMA)


def _properties(lines: body.Lines, names: pa.Array, doubtful: npt.NDArray[np.bool_]) -> pa.Array:
    """The texts of `properties` in plain lines as Arrow strings, byte for byte; `names` are the events' names.

    The parser found an object of nothing but `event`, which is text, and `properties`, which so ends before the last brace.
    Where the key follows the name at once and no other member follows it, it begins there; else the decoder is asked.
    """
    data, starts, ends = lines
    # A name with escapes is longer in the line, so that its key stands further on than where it is looked for.
    lengths = np.diff(np.frombuffer(names.buffers()[1], np.int32)[: len(names) + 1])
    keys = starts + len(_HEAD) + len(b':"') + lengths
    inner = keys + len(_KEY) - 1
    unsure = doubtful | (inner > ends - len(_TAIL))
    keys[unsure] = 0
    for at in np.flatnonzero(unsure | ~_holds(data, keys, _KEY)).tolist():
        inner[at] = ends[at] - 1 - len(_texts_of(lines.line(at)).properties)
    # The bytes were proven UTF-8 when lines were chosen.
    texts = _views(data, inner, ends - 1 - inner).cast(pa.binary())
    return pa.Array.from_buffers(pa.string(), len(texts), texts.buffers())


def _merged(columns: pa.RecordBatch, rows: Sequence[Row]) -> pa.RecordBatch:
    """Rows of both ways in the order of their lines."""
    if not rows:
        return columns
    patient = [pa.array([getattr(row, field.name) for row in rows], field.type) for field in RAW_SCHEMA]
    both = pa.concat_batches([columns, pa.RecordBatch.from_arrays(patient, schema=RAW_SCHEMA)])
    return both.take(pa.array(np.argsort(both["line"].to_numpy())))


def _milliseconds(times: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Seconds or milliseconds to milliseconds, by size (mixpanel.md#time-values)."""
    seconds = np.abs(times) <= line_parser.LARGEST_SECONDS
    return np.where(seconds, times * 1000, times) if seconds.any() else times


def _views(data: bytes | memoryview, starts: npt.NDArray[np.int64], lengths: npt.NDArray[np.int64]) -> pa.Array:
    """Slices of `data` as an Arrow binary view array, without copying them."""
    views = np.empty(len(starts), _VIEW)
    views["length"] = lengths
    views["buffer"] = 0
    views["offset"] = starts
    raw = np.frombuffer(data, np.uint8)
    views["prefix"] = raw[np.minimum(starts[:, None] + np.arange(4), len(raw) - 1)].view("<u4").ravel()
    for index in np.flatnonzero(lengths <= _INLINE):
        text = bytes(data[int(starts[index]) : int(starts[index] + lengths[index])])
        views[index : index + 1].view(np.uint8)[4:] = np.frombuffer(text.ljust(_INLINE, b"\0"), np.uint8)
    buffers = [None, pa.py_buffer(views), pa.py_buffer(data)]
    return pa.Array.from_buffers(pa.binary_view(), len(starts), buffers)


def _one_by_one(lines: body.Lines, numbers: npt.NDArray[np.int64]) -> tuple[list[Row], list[Broken]]:
    rows: list[Row] = []
    broken: list[Broken] = []
    for index, number in enumerate(numbers):
        read = line_parser.read_line(lines.line(index), int(number))
        if isinstance(read, Broken):
            broken.append(read)
        else:
            rows.append(read)
    return rows, broken


def digests(lines: body.Lines, groups: npt.NDArray[np.int64]) -> dict[int, int]:
    """`Parsed.digest` of each group of lines; `groups` names the group of each line."""
    frame = _frame(lines).with_columns(group=pl.Series(groups))
    return dict(frame.group_by("group").agg(_DIGEST).iter_rows())


def quarantine(broken: Sequence[Broken]) -> pa.Table:
    """Broken lines as rows of the quarantine file."""
    columns = {name: [getattr(line, name) for line in broken] for name in QUARANTINE_SCHEMA.names}
    return pa.table(columns, schema=QUARANTINE_SCHEMA)
