"""JSON text of many records to typed columns: one decode for all the fields that a mapping set reads.

A field whose values have several JSON types becomes one column per type (`JsonKind`), each null where the row has another type.
Values are exact: an integer beyond 64 bits keeps its digits, of two members of one name the last one counts, `records.py`
tells the rest. Rows that the fast decoder refuses are read one by one; no row is lost. What an expression does with the
columns is `compile.py`.

Why msgspec and not Polars' own JSON reader: that one fails where a field changes its type, and alters what does not fit.
The decoder makes one slotted object per row, whose fields come out as a tuple in one call; `zip` turns tuples to columns. No
Python code runs per row or value, save for nested paths and for columns of mixed types.
"""

from __future__ import annotations

import functools
import gc
import operator
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain
from typing import Any, Final, Literal

import msgspec
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc

from mixpanel_aep_assets.dataprep.interpreter.records import decode_object, value_at
from mixpanel_aep_assets.dataprep.language.ast import Step

Steps = tuple[Step, ...]

JsonKind = Literal[
    "text",
    "integer",
    "decimal",
    "boolean",
    "wide",
    "texts",
    "integers",
    "decimals",
    "booleans",
    "json",
    "moment",
    "native",
]
"""How the values of a column are held:

- `text`, `integer` (64 bits), `decimal`, `boolean`, `moment` (a date-time in UTC): as Polars holds them;
- `wide`: the digits of an integer beyond 64 bits;
- `texts`, `integers`, `decimals`, `booleans`: arrays with elements of one type, or null;
- `json`: any other array or object, as JSON text;
- `native`: a derived column of another Polars type, that can only be passed on.
"""

DTYPES: Final[Mapping[JsonKind, pl.DataType]] = {
    "text": pl.String(),
    "integer": pl.Int64(),
    "decimal": pl.Float64(),
    "boolean": pl.Boolean(),
    "wide": pl.String(),
    "texts": pl.List(pl.String()),
    "integers": pl.List(pl.Int64()),
    "decimals": pl.List(pl.Float64()),
    "booleans": pl.List(pl.Boolean()),
    "json": pl.String(),
    "moment": pl.Datetime("us", "UTC"),
}

_ARROW: Final[Mapping[JsonKind, pa.DataType]] = {
    "text": pa.string_view(),
    "integer": pa.int64(),
    "decimal": pa.float64(),
    "boolean": pa.bool_(),
    "wide": pa.large_string(),
    "texts": pa.large_list(pa.large_string()),
    "integers": pa.large_list(pa.int64()),
    "decimals": pa.large_list(pa.float64()),
    "booleans": pa.large_list(pa.bool_()),
    "json": pa.large_string(),
}

KINDS: Final[tuple[JsonKind, ...]] = (*DTYPES, "native")

BATCH_ROWS: Final = 500
"""Rows decoded at a time: small enough that their Python objects stay in the processor's cache until they are columns."""

Layout = Literal["event", "record"]
"""What a path's first step means. `event`: `event`, `properties`, the flattened `data`, or a derived attribute; the frame has
the columns `event` and `properties`. `record`: a member of the record itself; the frame has the column `record`."""

_SCALARS: Final[Mapping[type, JsonKind]] = {str: "text", int: "integer", float: "decimal", bool: "boolean"}
_ARRAYS: Final[Mapping[frozenset[type], JsonKind]] = {
    frozenset(): "texts",
    frozenset({str}): "texts",
    frozenset({int}): "integers",
    frozenset({float}): "decimals",
    frozenset({bool}): "booleans",
}
_NOTHING: Final = type(None)
_NO_VALUE: Final = msgspec.Raw()
_NAMES: Final = msgspec.json.Decoder(dict[str, msgspec.Raw])
_MOST_NAMES: Final = 400
"""With more names than this, the decoder is told of the needed ones only."""
_LOW, _HIGH = -(2**63), 2**63 - 1


def column_name(slot: int, kind: JsonKind) -> str:
    """The column of a source's values of one kind in `DecodedColumns.frame`."""
    return f"{slot}.{kind}"


@dataclass(frozen=True)
class DecodedColumns:
    """`frame` has a column `column_name(slot, kind)` for each kind that occurs; a source that is null throughout has none."""

    frame: pl.DataFrame
    kinds: tuple[tuple[JsonKind, ...], ...]


@dataclass(frozen=True)
class _Member:
    """A top-level member, by its position in the decoder, and the steps from there."""

    at: int
    steps: Steps = ()


@dataclass(frozen=True)
class _Either:
    """Two top-level members: the first where it was sent, even as null, otherwise the second."""

    first: int
    second: int


@dataclass(frozen=True)
class _Column:
    """A column of the input; `is_json` for JSON text that stands for its value."""

    name: str
    is_json: bool = False


_Source = _Column | _Member | _Either | None
"""Where a path's values come from. None: only the record as a whole has them."""


class ColumnDecoder:
    """Takes the fields at `paths` out of records. Holds nothing but its plan, so that it can be sent to a worker process.

    `derived` maps a dotted path (`mixpanel.id`) to the column that has its values.
    """

    def __init__(
        self, paths: Iterable[Steps], derived: Mapping[str, str] | None = None, layout: Layout = "event"
    ) -> None:
        self.layout = layout
        self._members: dict[str, int] = {}
        self._presence: set[int] = set()
        self._names: list[str] = []
        self._sources: dict[Steps, _Source] = {}
        for steps in paths:
            column = (derived or {}).get(".".join(step.name or "" for step in steps))
            self._sources[steps] = self._source(steps) if column is None else _Column(column)

    @property
    def paths(self) -> tuple[Steps, ...]:
        """The paths without repetition; the place of a path is its slot."""
        return tuple(self._sources)

    def supports(self, steps: Steps) -> bool:
        """Whether the values at this path come out as columns. If not, only the record as a whole has them."""
        return self._sources[steps] is not None

    def _source(self, steps: Steps) -> _Source:
        if self.layout == "record":
            return self._member(steps)
        match steps[0].name, steps[1:]:
            case "event", ():
                return _Column("event")
            case "properties", ():
                return _Column("properties", is_json=True)
            case "properties", below:
                return self._member(below)
            case "data", (Step(name="event_name"),):
                return _Column("event")
            case "data", (Step(name=str(name)), *below) if name.startswith("$"):
                return self._member((Step(name="$" + name), *below))
            case "data", (Step(name=str(name)),):
                first, second = self._position("$" + name), self._position(name)
                self._presence.add(first)
                return _Either(first, second)
        return None

    def _member(self, steps: Steps) -> _Source:
        return _Member(self._position(steps[0].name), steps[1:]) if steps[0].name is not None else None

    def _position(self, name: str) -> int:
        return self._members.setdefault(name, len(self._members))

    def decode(self, frame: pl.DataFrame) -> DecodedColumns:
        """The columns of a batch; `frame` has the layout's columns and the derived ones."""
        texts = frame.get_column("properties" if self.layout == "event" else "record")
        decoded: list[tuple[_Member | _Either, list[tuple[int, Arrays]]]] = []
        slots: list[list[tuple[int, Arrays]]] = []
        for source in self._sources.values():
            slots.append([])
            if isinstance(source, _Member | _Either):
                decoded.append((source, slots[-1]))
        if decoded:
            with _collector_paused():
                for rows, columns in _Decoder(tuple(self._members), frozenset(self._presence), self._names).batches(
                    texts
                ):
                    for source, chunks in decoded:
                        values = self._values(source, columns)
                        chunks.append((rows, {} if values is None else arrays_of(values)))
        found: list[pl.Series] = []
        kinds: list[tuple[JsonKind, ...]] = []
        for slot, (source, chunks) in enumerate(zip(self._sources.values(), slots, strict=True)):
            if isinstance(source, _Column):
                column = frame.get_column(source.name)
                parts = {"json": column} if source.is_json else column_of_frame(column)
            else:
                parts = _joined(chunks)
            kinds.append(tuple(kind for kind in KINDS if kind in parts))
            found.extend(parts[kind].alias(column_name(slot, kind)) for kind in kinds[-1])
        return DecodedColumns(pl.DataFrame(found), tuple(kinds))

    def _values(self, source: _Member | _Either, columns: Sequence[Sequence[Any] | None]) -> Sequence[Any] | None:
        if isinstance(source, _Either):
            first, second = columns[source.first], self._plain(source.second, columns)
            if first is None or first.count(msgspec.UNSET) == len(first):
                return second
            others = [None] * len(first) if second is None else second
            return [other if value is msgspec.UNSET else value for value, other in zip(first, others, strict=True)]
        values = self._plain(source.at, columns)
        if values is None or not source.steps or values.count(None) == len(values):
            return values
        return [None if value is None else value_at(value, source.steps) for value in values]

    def _plain(self, member: int, columns: Sequence[Sequence[Any] | None]) -> Sequence[Any] | None:
        values = columns[member]
        if values is not None and member in self._presence:
            return [None if value is msgspec.UNSET else value for value in values]
        return values


Arrays = dict[JsonKind, pa.Array]
"""The values of one source in one batch by kind, without kinds that do not occur."""


@contextmanager
def _collector_paused() -> Iterator[None]:
    """No cyclic collection while rows become columns: nothing here makes cycles, and each pass would walk all rows."""
    if not gc.isenabled():
        yield
        return
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


@dataclass(frozen=True)
class _Reading:
    """How members come out of texts: `values` gives a decoded row's members, those that `occurs` is true of, in order."""

    decoder: msgspec.json.Decoder[Any] | None
    values: Callable[[Any], tuple[Any, ...]]
    occurs: tuple[bool, ...]


@functools.lru_cache(maxsize=64)
def _reading(members: tuple[str, ...], presence: frozenset[int], names: tuple[str, ...] | None) -> _Reading:
    """A decoder for texts with no other names than `names`, in about this order; it refuses others. None: of any names.

    It finds a name at once where it follows the one before in `names`, and tries all where it does not. So it is told of all
    names that occur, in their order, also of those that nobody needs; of these it passes over the values.
    """
    wanted = {name: msgspec.UNSET if at in presence else None for at, name in enumerate(members)}
    known = members if names is None else names
    fields = [
        (f"f{at}", Any, msgspec.field(name=name, default=wanted[name]))
        if name in wanted
        else (f"f{at}", msgspec.Raw, msgspec.field(name=name, default=_NO_VALUE))
        for at, name in enumerate(known)
    ]
    order = {name: f"f{at}" for at, name in enumerate(known)}
    occurs = tuple(name in order for name in members)
    attributes = [order[name] for name in members if name in order]
    try:
        struct = msgspec.defstruct("Record", fields, gc=False, forbid_unknown_fields=names is not None)
    except ValueError:  # a name that msgspec cannot look for
        return _Reading(None, tuple, occurs)
    return _Reading(msgspec.json.Decoder(struct), _getter(attributes), occurs)


def _getter(names: Sequence[str]) -> Callable[[Any], tuple[Any, ...]]:
    """Several attributes at once, by C code."""
    if len(names) > 1:
        return operator.attrgetter(*names)
    return (lambda row: (getattr(row, names[0]),)) if names else (lambda _: ())


class _Decoder:
    """Decodes texts to the values of members, batch by batch, and learns which names there are."""

    def __init__(self, members: tuple[str, ...], presence: frozenset[int], names: list[str]) -> None:
        self._members = members
        self._presence = presence
        self._names = names
        self._absent = [msgspec.UNSET if at in presence else None for at in range(len(members))]

    def batches(self, texts: pl.Series) -> Iterator[tuple[int, list[Sequence[Any] | None]]]:
        """The number of rows, and the values of each member in them; None for a member that no row has."""
        if texts.null_count():
            texts = texts.fill_null("null")
        for start in range(0, len(texts), BATCH_ROWS):
            batch = texts.slice(start, BATCH_ROWS)
            joined = _adjoined(batch)
            found = self._together(joined, len(batch))
            if found is None:
                rows = batch.cast(pl.Binary).to_list()
                self._learn(rows)
                found = self._together(joined, len(batch)) or list(zip(*map(self._single, rows), strict=True))
            yield len(batch), found

    def _together(self, joined: memoryview, count: int) -> list[Sequence[Any] | None] | None:
        """The values of all rows; None where a row is unlike what the decoder knows."""
        names = tuple(self._names) if len(self._names) <= _MOST_NAMES else None
        reading = _reading(self._members, self._presence, names)
        if reading.decoder is None:
            return None
        try:
            rows = reading.decoder.decode_lines(joined)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return None
        if len(rows) != count:
            return None
        columns = iter(zip(*map(reading.values, rows), strict=True))
        return [next(columns) if occurs else None for occurs in reading.occurs]

    def _learn(self, rows: Sequence[bytes]) -> None:
        """Adds the names that are new, each behind the one that it follows in its row."""
        known = set(self._names)
        for row in rows:
            try:
                found = _NAMES.decode(row)
            except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
                continue
            if found.keys() <= known:
                continue
            place = 0
            for name in found:
                if name in known:
                    place = self._names.index(name) + 1
                else:
                    known.add(name)
                    self._names.insert(place, name)
                    place += 1

    def _single(self, row: bytes) -> Sequence[Any]:
        reading = _reading(self._members, self._presence, None)
        if reading.decoder is not None:
            try:
                return reading.values(reading.decoder.decode(row))
            except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
                pass
        document = decode_object(row)
        return [document.get(name, absent) for name, absent in zip(self._members, self._absent, strict=True)]


def _adjoined(texts: pl.Series) -> memoryview:
    """The texts one behind the other, as Arrow holds them: no row becomes a Python object of its own.

    The decoder needs no newline between objects, since each ends with its brace. A text that is none changes their number.
    """
    array = texts.to_arrow(compat_level=pl.CompatLevel.oldest())
    _, offsets, data = array.buffers()
    ends = memoryview(offsets).cast("q")
    return memoryview(data or b"")[ends[array.offset] : ends[array.offset + len(array)]]


def arrays_of(values: Sequence[Any]) -> Arrays:
    """JSON values, nulls among them, as one array per kind."""
    if not values or isinstance(values[0], str | None):
        try:
            # Most columns are text: building one refuses other types sooner than a look at every type would tell.
            array = pa.array(values, _ARROW["text"])
        except pa.ArrowException:
            pass
        else:
            return {"text": array} if array.null_count < len(array) else {}
    types = set(map(type, values)) - {_NOTHING}
    if len(types) == 1:
        return _arrays_of_one(values, types.pop())
    parts: Arrays = {}
    for one in types:
        for kind, array in _arrays_of_one([value if type(value) is one else None for value in values], one).items():
            _put(parts, kind, array)
    return parts


def _arrays_of_one(values: Sequence[Any], of: type) -> Arrays:
    if of is int:
        try:
            return {"integer": pa.array(values, _ARROW["integer"])}
        except OverflowError:
            return _split(values, lambda value: "integer" if _LOW <= value <= _HIGH else "wide")
    if of in _SCALARS:
        return {_SCALARS[of]: pa.array(values, _ARROW[_SCALARS[of]])}
    if of is list:
        items = frozenset(map(type, chain.from_iterable(value for value in values if value is not None))) - {_NOTHING}
        kind = _ARRAYS.get(items)
        if kind in ("texts", "decimals", "booleans"):
            return {kind: pa.array(values, _ARROW[kind])}
        return _split(values, _array_kind)
    return _split(values, lambda _: "json")


def _array_kind(value: list[Any]) -> JsonKind:
    kind = _ARRAYS.get(frozenset(map(type, value)) - {_NOTHING}, "json")
    if kind == "integers" and not all(item is None or _LOW <= item <= _HIGH for item in value):
        return "json"
    return kind


def _split(values: Sequence[Any], kind_of: Callable[[Any], JsonKind]) -> Arrays:
    """Values of one Python type that are of several kinds."""
    rows: dict[JsonKind, list[Any]] = {}
    for row, value in enumerate(values):
        if value is not None:
            kind = kind_of(value)
            column = rows.setdefault(kind, [None] * len(values))
            column[row] = str(value) if kind == "wide" else _json(value) if kind == "json" else value
    return {kind: pa.array(column, _ARROW[kind]) for kind, column in rows.items()}


def _put(parts: Arrays, kind: JsonKind, array: pa.Array) -> None:
    """Adds an array; one of this kind that is there already has its values in other rows."""
    parts[kind] = pc.coalesce(parts[kind], array) if kind in parts else array


def _json(value: Any) -> str:
    # Only for arrays and objects: the text tells values apart and is never read back as the value itself.
    return msgspec.json.encode(value).decode()


def _joined(chunks: Sequence[tuple[int, Arrays]]) -> dict[JsonKind, pl.Series]:
    joined: dict[JsonKind, pl.Series] = {}
    for kind in {kind for _, arrays in chunks for kind in arrays}:
        dtype = _ARROW[kind]
        parts = [arrays[kind] if kind in arrays else pa.nulls(rows, dtype) for rows, arrays in chunks]
        joined[kind] = pl.Series(values=pa.concat_arrays(parts))
    return joined


def column_of_frame(column: pl.Series) -> dict[JsonKind, pl.Series]:
    """A column that came with the frame, as the kind that its Polars type is."""
    if column.null_count() == len(column):
        return {}
    dtype = column.dtype
    if dtype == pl.String:
        return {"text": column}
    if dtype.is_integer() and dtype not in (pl.UInt64, pl.Int128, pl.UInt128):
        return {"integer": column.cast(pl.Int64)}
    if dtype.is_float():
        return {"decimal": column.cast(pl.Float64)}
    if dtype == pl.Boolean:
        return {"boolean": column}
    if isinstance(dtype, pl.Datetime) and dtype.time_zone is not None:
        return {"moment": column.cast(DTYPES["moment"])}
    if dtype == pl.List(pl.String):
        return {"texts": column}
    return {"native": column}
