"""Lines of an export as columns of `raw_events`: each line a row, or a row of the quarantine with its reason.

Two ways to the same result. The fast way takes a whole batch: one pass of msgspec over the lines that checks all of the
JSON and builds only the typed fields, and `properties` as views into the bytes received. It refuses a batch in which
anything is unusual; then `odd` reads line by line. What belongs here: the shape of a line. What does not: where lines come
from (`body`), whether they are all (`export`), what `time` means (`time_mode`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import msgspec
import numpy as np
import numpy.typing as npt
import polars as pl
import polars_hash as plh
import pyarrow as pa

from mixpanel_aep_assets.mixpanel import body, odd
from mixpanel_aep_assets.mixpanel.odd import EVENT_LIMIT, HOT_SHARD, Broken, Row

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

MARKER = b'"properties":'
"""Cannot stand inside a JSON string, whose quotes are escaped: its first occurrence is the key."""

_HEAD = np.frombuffer(b'{"event":', np.uint8)
_BRACE_OPEN, _BRACE_CLOSE = b"{}"
_VIEW = np.dtype([("length", "<i4"), ("prefix", "<u4"), ("buffer", "<i4"), ("offset", "<i4")])
_INLINE = 12
_DIGEST = plh.col("line").nchash.xxh3_128().sum()
_FIND_MARKER = pl.col("line").cast(pl.String).str.find(MARKER.decode(), literal=True)
_HAS_MARKER = pl.col("rest").cast(pl.String).str.contains(MARKER.decode(), literal=True).any()


class _Properties(msgspec.Struct, gc=False, rename=odd.FIELDS):
    """The typed fields in the types that they nearly always have."""

    time: int
    distinct_id: str | None = None
    distinct_id_before_identity: str | None = None
    device_id: str | None = None
    user_id: str | None = None
    insert_id: str | None = None
    received_ms: int | None = None
    processing_ms: int | None = None
    imported: bool | None = None


class _Event(msgspec.Struct, gc=False, forbid_unknown_fields=True):
    event: str
    properties: _Properties


_decode_lines = msgspec.json.Decoder(_Event).decode_lines


class Parsed(NamedTuple):
    """What a batch holds. `lines` counts those that are not empty: the rows of `events` and `broken` together.

    `numbered` counts all lines, empty ones too; `digest` is the sum of the XXH3 hashes of the counted lines, mod 2**128.
    """

    events: pa.RecordBatch
    broken: list[Broken]
    lines: int
    numbered: int
    digest: int


class _Unusual(Exception):
    """The batch is not for the fast way."""


class Prepared(NamedTuple):
    """A batch after the work that needs no Python objects and so can run beside the parser in another thread.

    `lines` are those that are not empty, `offsets` their numbers from 0; `properties` their texts (an Arrow binary array,
    proven UTF-8), None where the batch is not for the fast way.
    """

    lines: body.Lines
    offsets: npt.NDArray[np.int64]
    numbered: int
    digest: int
    properties: pa.Array | None


def parse(data: bytes, first_line: int = 1) -> Parsed:
    """Reads whole lines. `first_line` is the number of the first one in the body.

    Never raises for what the lines hold: a line that is no event comes back as `Broken`.
    """
    return read(prepare(data), first_line)


def prepare(data: bytes) -> Prepared:
    """The first half of `parse`: where the lines are, their digest, and the texts of `properties`."""
    lines = body.lines(data)
    numbered = len(lines.ends)
    lengths = lines.ends - lines.starts
    if numbered and int(lengths.min()) == 0:
        offsets = np.flatnonzero(lengths)
        lines = body.Lines(data, lines.starts[offsets], lines.ends[offsets])
    else:
        offsets = np.arange(numbered)
    if not len(offsets):
        return Prepared(lines, offsets, numbered, 0, None)
    frame = pl.DataFrame({"line": pl.from_arrow(_views(data, lines.starts, lines.ends - lines.starts))})
    digest = int(frame.select(_DIGEST).item())
    try:
        properties = _properties(lines, frame)
    except (_Unusual, pl.exceptions.PolarsError):
        properties = None
    return Prepared(lines, offsets, numbered, digest, properties)


def read(prepared: Prepared, first_line: int) -> Parsed:
    """The second half of `parse`."""
    numbers = prepared.offsets + first_line
    broken: list[Broken] = []
    try:
        events = _fast(prepared, numbers)
    except (_Unusual, msgspec.MsgspecError, UnicodeError, RecursionError, pa.ArrowException):
        rows, broken = _one_by_one(prepared.lines, numbers)
        events = _table(rows, np.array([row.line for row in rows], np.int64))
    return Parsed(events, broken, len(numbers), prepared.numbered, prepared.digest)


def _properties(lines: body.Lines, frame: pl.DataFrame) -> pa.Array:
    """The texts of `properties`, or _Unusual (or an error of Polars for bad UTF-8) if any line is not plain.

    A line is plain if it starts with the key `event`, ends with two braces and holds the marker once. If the parser
    then finds an object of nothing but `event`, which is text, and `properties`, the object that ends the line is
    `properties`, from the marker on, byte for byte.
    """
    data, starts, ends = lines
    raw = np.frombuffer(data, np.uint8)
    lengths = ends - starts
    if int(lengths.min()) < len(_HEAD) + len(MARKER) + 6 or int(lengths.max()) > EVENT_LIMIT:
        raise _Unusual
    heads = raw[starts[:, None] + np.arange(len(_HEAD))]
    if not ((heads == _HEAD).all() and (raw[ends - 1] == _BRACE_CLOSE).all() and (raw[ends - 2] == _BRACE_CLOSE).all()):
        raise _Unusual
    found = frame.select(_FIND_MARKER).to_series()
    if found.null_count():
        raise _Unusual
    inner = starts + found.to_numpy() + len(MARKER)
    inner += raw[inner] == ord(" ")
    if not (raw[inner] == _BRACE_OPEN).all():
        raise _Unusual
    texts = _views(data, inner, ends - 1 - inner)
    if pl.DataFrame({"rest": pl.from_arrow(texts)}).select(_HAS_MARKER).item():
        raise _Unusual
    return texts.cast(pa.binary())


def _fast(prepared: Prepared, numbers: npt.NDArray[np.int64]) -> pa.RecordBatch:
    """All lines as events, or _Unusual (or an error of a library) if any is not plain."""
    texts = prepared.properties
    if texts is None:
        raise _Unusual
    events = _decode_lines(prepared.lines.data)
    if len(events) != len(numbers):
        raise _Unusual
    names = [event.event for event in events]
    if HOT_SHARD in names:
        raise _Unusual
    rows = [event.properties for event in events]
    arrays = [
        pa.array(numbers),
        pa.array(names, pa.string()),
        pa.array(_milliseconds(np.array([row.time for row in rows], np.int64))),
        pa.array([row.distinct_id for row in rows], pa.string()),
        pa.array([row.distinct_id_before_identity for row in rows], pa.string()),
        pa.array([row.device_id for row in rows], pa.string()),
        pa.array([row.user_id for row in rows], pa.string()),
        pa.array([row.insert_id for row in rows], pa.string()),
        pa.array([row.received_ms for row in rows], pa.int64()),
        pa.array([row.processing_ms for row in rows], pa.int64()),
        pa.array([row.imported for row in rows], pa.bool_()),
        # The bytes were proven UTF-8 when Polars searched them as text.
        pa.Array.from_buffers(pa.string(), len(texts), texts.buffers()),
    ]
    return pa.RecordBatch.from_arrays(arrays, schema=RAW_SCHEMA)


def _milliseconds(times: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Seconds or milliseconds to milliseconds, by size (section 5.4)."""
    seconds = np.abs(times) <= odd.LARGEST_SECONDS
    return np.where(seconds, times * 1000, times) if seconds.any() else times


def _views(data: bytes, starts: npt.NDArray[np.int64], lengths: npt.NDArray[np.int64]) -> pa.Array:
    """Slices of `data` as an Arrow binary view array, without copying them."""
    views = np.empty(len(starts), _VIEW)
    views["length"] = lengths
    views["buffer"] = 0
    views["offset"] = starts
    raw = np.frombuffer(data, np.uint8)
    views["prefix"] = raw[np.minimum(starts[:, None] + np.arange(4), len(raw) - 1)].view("<u4").ravel()
    for index in np.flatnonzero(lengths <= _INLINE):
        text = data[int(starts[index]) : int(starts[index] + lengths[index])]
        views[index : index + 1].view(np.uint8)[4:] = np.frombuffer(text.ljust(_INLINE, b"\0"), np.uint8)
    buffers = [None, pa.py_buffer(views), pa.py_buffer(data)]
    return pa.Array.from_buffers(pa.binary_view(), len(starts), buffers)


def _one_by_one(lines: body.Lines, numbers: Sequence[int] | npt.NDArray[np.int64]) -> tuple[list[Row], list[Broken]]:
    rows: list[Row] = []
    broken: list[Broken] = []
    for index, number in enumerate(numbers):
        read = odd.read_line(lines.line(index), int(number))
        if isinstance(read, Broken):
            broken.append(read)
        else:
            rows.append(read)
    return rows, broken


def _table(rows: Sequence[Row], numbers: npt.NDArray[np.int64]) -> pa.RecordBatch:
    columns: list[Any] = [[getattr(row, name) for row in rows] for name in RAW_SCHEMA.names]
    columns[0] = numbers
    arrays = [pa.array(column, field.type) for column, field in zip(columns, RAW_SCHEMA, strict=True)]
    return pa.RecordBatch.from_arrays(arrays, schema=RAW_SCHEMA)


def quarantine(broken: Sequence[Broken]) -> pa.Table:
    """Broken lines as rows of the quarantine file."""
    columns = {name: [getattr(line, name) for line in broken] for name in QUARANTINE_SCHEMA.names}
    return pa.table(columns, schema=QUARANTINE_SCHEMA)
