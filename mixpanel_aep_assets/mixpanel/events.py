"""Lines of an export as columns of `raw_events`: each line a row, or a row of the quarantine with its reason.

Two ways to the same result. The fast way takes all plain lines of a batch: one pass of msgspec over them that checks all of
the JSON and builds only the typed fields, and `properties` as views into the bytes received. What is unusual in any way goes
through `odd`, line by line, and does not slow down its neighbours. What belongs here: the shape of a line. What does not:
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
"""Cannot stand inside a JSON string, whose quotes are escaped: where it stands, it is a key."""

_HEAD = np.frombuffer(b'{"event":', np.uint8)
_TAIL = np.frombuffer(b"}}", np.uint8)
_KEY = np.frombuffer(b'",' + MARKER + b"{", np.uint8)
_NAME = '"properties"'
_BETWEEN = np.frombuffer(b" \t\r:", np.uint8)
"""What may stand between a key and its object, beside newlines, which end a line."""

_VIEW = np.dtype([("length", "<i4"), ("prefix", "<u4"), ("buffer", "<i4"), ("offset", "<i4")])
_INLINE = 12
_DIGEST = plh.col("line").nchash.xxh3_128().sum()
_TEXT = pl.col("line").cast(pl.String)
_FIND_NAME = _TEXT.str.find(_NAME, literal=True)
_ONE_KEY = (_TEXT.str.count_matches(_NAME, literal=True) == 1) & ~(
    _TEXT.str.contains("\\u006", literal=True) | _TEXT.str.contains("\\u007", literal=True)
)
"""One key `properties`, and none that is spelled with escapes, whose letters begin so."""

_Integer = Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)]


class _Properties(msgspec.Struct, gc=False, rename=odd.FIELDS):
    """The typed fields in the types that they nearly always have."""

    time: _Integer
    distinct_id: str | None = None
    distinct_id_before_identity: str | None = None
    device_id: str | None = None
    user_id: str | None = None
    insert_id: str | None = None
    received_ms: _Integer | None = None
    processing_ms: _Integer | None = None
    imported: bool | None = None


class _Event(msgspec.Struct, gc=False, forbid_unknown_fields=True):
    event: str
    properties: _Properties


_decoder = msgspec.json.Decoder(_Event)
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


class Prepared(NamedTuple):
    """A batch after the work that needs no Python objects.

    `lines` are those that are not empty, `offsets` their numbers from 0. `plain` marks those that are UTF-8, begin and end
    as events do, and hold the key `properties` once.
    """

    lines: body.Lines
    offsets: npt.NDArray[np.int64]
    numbered: int
    digest: int
    plain: npt.NDArray[np.bool_]


def parse(data: bytes, first_line: int = 1) -> Parsed:
    """Reads whole lines. `first_line` is the number of the first one in the body.

    Never raises for what the lines hold: a line that is no event comes back as `Broken`.
    """
    return read(prepare(data), first_line)


def prepare(data: bytes) -> Prepared:
    """The first half of `parse`: where the lines are, their digest, and which are plain."""
    lines = body.lines(data)
    numbered = len(lines.ends)
    offsets = np.flatnonzero(lines.ends > lines.starts)
    if len(offsets) < numbered:
        lines = lines.only(offsets)
    if not len(offsets):
        return Prepared(lines, offsets, numbered, 0, np.zeros(0, np.bool_))
    frame = _frame(lines)
    return Prepared(lines, offsets, numbered, int(frame.select(_DIGEST).item()), _plain(lines, frame))


def read(prepared: Prepared, first_line: int) -> Parsed:
    """The second half of `parse`: plain lines the fast way, the others one by one."""
    lines, plain = prepared.lines, prepared.plain
    numbers = prepared.offsets + first_line
    events = _together(lines.data) if plain.all() else None
    if events is None or len(events) != len(numbers):
        plain, events = _apart(lines, plain)
    others = np.flatnonzero(~plain)
    rows, broken = _one_by_one(lines.only(others), numbers[others])
    columns = _columns(lines.only(plain) if len(others) else lines, numbers[plain], events)
    return Parsed(_merged(columns, rows), broken, len(numbers), prepared.numbered, prepared.digest)


def _frame(lines: body.Lines) -> pl.DataFrame:
    return pl.DataFrame({"line": pl.from_arrow(_views(lines.data, lines.starts, lines.ends - lines.starts))})


def _plain(lines: body.Lines, frame: pl.DataFrame) -> npt.NDArray[np.bool_]:
    data, starts, ends = lines
    raw = np.frombuffer(data, np.uint8)
    lengths = ends - starts
    plain = (lengths >= len(_HEAD) + len(_KEY) + 6) & (lengths <= EVENT_LIMIT)
    # Clipped for lines at the end that are shorter than what is looked for, and so not plain.
    heads = np.minimum(starts[:, None] + np.arange(len(_HEAD)), len(raw) - 1)
    tails = np.maximum(ends[:, None] - np.arange(1, 1 + len(_TAIL)), 0)
    plain &= (raw[heads] == _HEAD).all(axis=1) & (raw[tails] == _TAIL).all(axis=1)
    if not plain.any():
        return plain
    try:
        plain &= frame.select(_ONE_KEY).to_series().to_numpy()
    except pl.exceptions.PolarsError:  # somewhere bytes that are not UTF-8
        plain &= np.fromiter((_is_text(lines.line(at)) for at in range(len(starts))), np.bool_, len(starts))
        plain[plain] = _frame(lines.only(plain)).select(_ONE_KEY).to_series().to_numpy()
    return plain


def _is_text(line: bytes) -> bool:
    try:
        line.decode()
    except UnicodeDecodeError:
        return False
    return True


def _together(data: bytes) -> list[_Event] | None:
    """All lines as events at once, None where any is unusual."""
    try:
        events = _decoder.decode_lines(data)
    except _REFUSALS:
        return None
    return None if any(event.event == HOT_SHARD for event in events) else events


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


def _columns(lines: body.Lines, numbers: npt.NDArray[np.int64], events: Sequence[_Event]) -> pa.RecordBatch:
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
        _properties(lines, names),
    ]
    return pa.RecordBatch.from_arrays(arrays, schema=RAW_SCHEMA)


def _properties(lines: body.Lines, names: pa.Array) -> pa.Array:
    """The texts of `properties` in plain lines, as Arrow strings; `names` are the events' names.

    The parser found an object of nothing but `event`, which is text, and `properties`: so the object that ends the line is
    `properties`, from behind its key on, byte for byte.
    """
    data, starts, ends = lines
    raw = np.frombuffer(data, np.uint8)
    # Where a name has no escapes, its key follows it at once. Nothing inside a string can look like _KEY.
    lengths = np.diff(np.frombuffer(names.buffers()[1], np.int32)[: len(names) + 1])
    keys = np.minimum(starts + len(_HEAD) + 1 + lengths, len(raw) - len(_KEY))
    inner = keys + len(_KEY) - 1
    if not (raw[keys[:, None] + np.arange(len(_KEY))] == _KEY).all():
        inner = starts + _frame(lines).select(_FIND_NAME).to_series().to_numpy() + len(_NAME)
        while (between := np.isin(raw[inner], _BETWEEN)).any():
            inner = inner + between
    # The bytes were proven UTF-8 when they were searched as text.
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


def _one_by_one(lines: body.Lines, numbers: npt.NDArray[np.int64]) -> tuple[list[Row], list[Broken]]:
    rows: list[Row] = []
    broken: list[Broken] = []
    for index, number in enumerate(numbers):
        read = odd.read_line(lines.line(index), int(number))
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
