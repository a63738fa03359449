"""What properties a day's raw events hold: kinds of value with counts, extents, distinct values, examples.

The profile of a day is the table `property_profile`, rebuilt only when the day's raw digest changed. Profiles of days
merge into one. The result is the same whatever the order of events, batches and days: counts are sums, extents are
minima and maxima, and values are kept by the smallest hashes of their texts (a bottom-k sample). A value of that
sample was in it from its first occurrence on, so its count is exact, and the highest hash tells how many distinct
values there are. What belongs here: what was seen. What to make of it is `growth`.

=============  =======================================================================================================
kind           values
=============  =======================================================================================================
``null``       JSON null
``empty``      ``""``, ``[]``, ``[null]``, ``{}``: what the Platform takes for no value
``boolean``    ``true``, ``false``
``integer``    a number without fraction and exponent, within ±(2^53-1)
``number``     a number with a fraction or exponent
``oversized``  an integer beyond ±(2^53-1), whose digits no XDM number keeps; any number from 2^63 on
``date``       a text such as ``2026-11-20``
``date_time``  a text such as ``2026-11-20T09:30:00`` (Mixpanel's own form), also with fraction and offset
``numeral``    a text that is a number as JSON writes it: ``"12.5"``, not ``"007"`` nor the 20 digits of an id
``string``     any other text
``booleans``   an array of booleans; ``numbers``, ``strings``, ``objects`` likewise
``mixed``      an array of several of them, or with arrays in it
               (nulls in an array do not count: they are left out of what is sent)
``object``     a JSON object
=============  =======================================================================================================
"""

from __future__ import annotations

import contextlib
import gc
import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import chain
from typing import Any, Final

import numpy as np
import orjson
import polars as pl
import polars_hash as plh
import pyarrow.parquet as pq

from mixpanel_aep_assets import manifests
from mixpanel_aep_assets.connection import Connection
from mixpanel_aep_assets.dataprep.interpreter.records import decode_object
from mixpanel_aep_assets.growth.properties import DATE_PATTERN, DATE_TIME_PATTERN, NO_VALUE, NUMBER_PATTERN, Property
from mixpanel_aep_assets.manifests import Conflict, Part, ProfileManifest
from mixpanel_aep_assets.pipeline.steps import extract, redaction

TABLE = "property_profile"
VERSION = "3"

SAMPLE: Final = 256
"""Values kept of each kind of each property; up to so many distinct ones are counted exactly, more within some 6 %."""

VALUE_CHARACTERS: Final = 120
"""A kept value is cut after these; its length and its hash are those of the whole."""

EXAMPLES: Final = 5
TOP: Final = 10

EVENTS_LIMIT: Final = 2_000
PROPERTIES_LIMIT: Final = 10_000
OTHER: Final = "(others)"
"""Names beyond the limits are counted together under this one. Only a project that puts ids into names has so many."""

BATCH_ROWS: Final = 16_384
_MERGE_EVERY: Final = 8

_LARGEST: Final = 2**53 - 1
_VAST: Final = 2.0**63
"""The parser makes doubles of integers from here on, so that their digits are not known any more."""

CELLS = pl.Schema(
    {
        "event": pl.String(),
        "property": pl.String(),
        "kind": pl.String(),
        "count": pl.Int64(),
        "min_length": pl.UInt32(),
        "max_length": pl.UInt32(),
        "minimum": pl.Float64(),
        "maximum": pl.Float64(),
    }
)
"""One row per event, property and kind. Lengths are characters of texts; minimum and maximum are of numbers."""

VALUES = pl.Schema(
    {
        "property": pl.String(),
        "kind": pl.String(),
        "hash": pl.UInt64(),
        "value": pl.String(),
        "count": pl.Int64(),
    }
)
"""The sample: one row per property, kind and kept value (as text; arrays and objects as JSON)."""


@dataclass(frozen=True)
class Profile:
    """Of one day or of several merged. Two profiles of the same events are equal, frame by frame.

    `rows`: events in all; `events`: name -> rows, by name; `cells` (`CELLS`) and `values` (`VALUES`) are sorted.
    """

    days: tuple[str, ...]
    rows: int
    events: Mapping[str, int]
    cells: pl.DataFrame
    values: pl.DataFrame

    @cached_property
    def properties(self) -> Mapping[str, Property]:
        """What was seen of each property in all events, by name."""
        kept = {str(name): frame for (name,), frame in self.values.group_by("property")}
        return {
            str(name): _property(str(name), frame, kept.get(str(name), self.values.clear()))
            for (name,), frame in self.cells.group_by("property", maintain_order=True)
        }


def profile_day(connection: Connection, day: str) -> ProfileManifest:
    """Profiles the day's raw events, after the privacy rules, and commits the result, unless that was done before.

    The files are `parts` (`CELLS`) and `values` (`VALUES`). Raises NotExported, OtherPrivacyRules, storage.StorageError.
    """
    raw = connection.day(extract.TABLE, day)
    source = extract.stored(connection, day)
    if source is None:
        raise extract.NotExported(
            f"{connection.settings.name} {day}: no raw files; materialize raw_events of the day first."
        )
    table = connection.day(TABLE, day)
    current = stored(connection, day)
    rules = redaction.pending(connection, source.privacy, source.day)
    version = VERSION if rules is None else f"{VERSION} {rules.fingerprint}"
    if current is not None and (current.raw_digest, current.version) == (source.digest, version):
        return current
    batches = _batches(connection, raw.files(source))
    made = profile_frames((redaction.redacted(connection, source, batch) for batch in batches), (day,))
    with table.stage() as staging:
        files: dict[str, tuple[Part, ...]] = {}
        for kind, frame in (("parts", made.cells), ("values", made.values)):
            name = f"{kind}.parquet"
            with staging.open(name) as file:
                pq.write_table(frame.to_arrow(), file, compression="zstd")
            files[kind] = (Part(name, frame.height, file.size),)
        described = ProfileManifest(
            day=day,
            parts=files["parts"],
            values=files["values"],
            rows=made.rows,
            events=dict(made.events),
            properties=len(made.properties),
            conflicts=tuple(Conflict(one.name, dict(one.kinds)) for one in made.properties.values() if one.is_conflict),
            raw_digest=source.digest,
            version=version,
        )
        return manifests.commit(staging, described)


def stored(connection: Connection, day: str) -> ProfileManifest | None:
    """The manifest of the profiled day, None where there is none. Raises StorageError."""
    return manifests.read(connection.day(TABLE, day), ProfileManifest)


def read_day(connection: Connection, day: str) -> Profile | None:
    """The committed profile of the day, None where there is none."""
    table = connection.day(TABLE, day)
    manifest = stored(connection, day)
    if manifest is None:
        return None
    frames = []
    for kind in ("parts", "values"):
        (path,) = table.files(manifest, kind)
        with connection.storage.open_read(path) as file:
            frames.append(pl.DataFrame(pl.from_arrow(pq.read_table(file))))
    cells, values = frames
    return Profile((day,), manifest.rows, manifest.events, cells.cast(CELLS), values.cast(VALUES))


def profile_days(connection: Connection, days: Iterable[str]) -> Profile:
    """The merged profile of exported days, whose own profiles are made where they are missing or old.

    Raises NotExported for a day without raw files.
    """

    def made() -> Iterator[Profile]:
        for day in days:
            profile_day(connection, day)
            profile = read_day(connection, day)
            assert profile is not None
            yield profile

    return _merged_in_turn(made())


def exported_days(connection: Connection) -> list[str]:
    """The days that have raw files, in order."""
    return connection.storage.days(connection.settings.name, extract.TABLE)


def merge(profiles: Iterable[Profile]) -> Profile:
    """One profile of several; their order does not matter."""
    every = list(profiles)
    rows: Counter[str] = Counter()
    for one in every:
        rows.update(one.events)
    cells = pl.concat([pl.DataFrame(schema=CELLS), *(one.cells for one in every)])
    values = pl.concat([pl.DataFrame(schema=VALUES), *(one.values for one in every)])
    names = _beyond(cells["property"], PROPERTIES_LIMIT)
    events = _beyond(pl.Series(list(rows), dtype=pl.String), EVENTS_LIMIT)
    for name in events:
        rows[OTHER] += rows.pop(name)
    other = {"property": names, "event": events}
    return Profile(
        days=tuple(sorted({day for one in every for day in one.days})),
        rows=sum(one.rows for one in every),
        events=dict(sorted(rows.items())),
        cells=_cells(cells.lazy().with_columns(_folded(column, other[column]) for column in ("event", "property"))),
        values=_values(values.lazy().with_columns(_folded("property", names))),
    )


def profile_frames(frames: Iterable[pl.DataFrame], days: tuple[str, ...] = ()) -> Profile:
    """The profile of frames with the columns `event` and `properties` (JSON text). Memory holds one frame."""
    empty = Profile(days, 0, {}, pl.DataFrame(schema=CELLS), pl.DataFrame(schema=VALUES))
    return merge([empty, _merged_in_turn(_profile(frame, days) for frame in frames)])


def _merged_in_turn(profiles: Iterable[Profile]) -> Profile:
    """`merge`, with a few of them in memory at a time."""
    pending: list[Profile] = []
    for profile in profiles:
        pending.append(profile)
        if len(pending) > _MERGE_EVERY:
            pending = [merge(pending)]
    return merge(pending)


def _batches(connection: Connection, files: list[str]) -> Iterator[pl.DataFrame]:
    for path in files:
        with connection.storage.open_read(path) as file:
            batches = pq.ParquetFile(file).iter_batches(BATCH_ROWS, columns=["event", "properties"])
            yield from (pl.DataFrame(pl.from_arrow(batch)) for batch in batches)


@contextlib.contextmanager
def _collector_off() -> Iterator[None]:
    """Records are trees, so the cycle collector finds nothing among them, and looking takes as long as reading them."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


class _Columns:
    """Values of one batch as long columns: the cell of each, and the value."""

    def __init__(self) -> None:
        self._cells: list[int] = []
        self._lengths: list[int] = []
        self._values: list[list[Any]] = []

    def add(self, cell: int, values: list[Any]) -> None:
        self._cells.append(cell)
        self._lengths.append(len(values))
        self._values.append(values)

    def counted(self, dtype: pl.DataType) -> pl.DataFrame:
        """Columns `cell`, `value`, `count`: each distinct value of each cell once."""
        cells = np.repeat(np.array(self._cells, np.uint32), self._lengths)
        values = pl.Series("value", list(chain.from_iterable(self._values)), dtype=dtype)
        frame = pl.LazyFrame({"cell": pl.Series(cells, dtype=pl.UInt32), "value": values})
        return frame.group_by("cell", "value").agg(pl.len().cast(pl.Int64).alias("count")).collect()


class _Batch:
    """The values of a batch in columns by their Python type; `cells` numbers the pairs of event and property."""

    def __init__(self) -> None:
        self.cells: dict[tuple[str, str], int] = {}
        self.texts, self.integers, self.decimals, self.booleans = _Columns(), _Columns(), _Columns(), _Columns()
        self.others: defaultdict[str, _Columns] = defaultdict(_Columns)

    def add(self, event: str, name: str, column: list[Any]) -> None:
        """Values of one property in rows of one event."""
        cell = self.cells.setdefault((event, name), len(self.cells))
        types = set(map(type, column))
        for of in types:
            values: list[Any] = column if len(types) == 1 else [value for value in column if type(value) is of]
            if of is str:
                self.texts.add(cell, values)
            elif of is int and min(values) >= -_LARGEST and max(values) <= _LARGEST:
                self.integers.add(cell, values)
            elif of is float and min(values) > -_VAST and max(values) < _VAST:
                self.decimals.add(cell, values)
            elif of is bool:
                self.booleans.add(cell, values)
            elif of is type(None):
                self.others["null"].add(cell, ["null"] * len(values))
            elif of in (int, float):
                for value in values:
                    self._add_number(cell, value)
            else:
                for value in values:
                    self.others[_kind(value)].add(cell, [_text(value)])

    def _add_number(self, cell: int, value: int | float) -> None:
        if isinstance(value, int) and abs(value) <= _LARGEST:
            self.integers.add(cell, [value])
        elif isinstance(value, float) and abs(value) < _VAST:
            self.decimals.add(cell, [value])
        else:
            self.others["oversized"].add(cell, [str(value)])

    def counted(self) -> pl.DataFrame:
        """One row per event, property, kind and distinct value: `CELLS` and `value`, the value as text."""
        value = pl.col("value")
        length = value.str.len_chars()
        extents = {"minimum": value.cast(pl.Float64), "maximum": value.cast(pl.Float64)}
        typed = [
            self.texts.counted(pl.String()).with_columns(
                kind=_kind_of_text(value), min_length=length, max_length=length
            ),
            self.integers.counted(pl.Int64()).with_columns(**extents, kind=pl.lit("integer")),
            self.decimals.counted(pl.Float64()).with_columns(**extents, kind=pl.lit("number")),
            self.booleans.counted(pl.Boolean()).with_columns(kind=pl.lit("boolean")),
            *(columns.counted(pl.String()).with_columns(kind=pl.lit(kind)) for kind, columns in self.others.items()),
        ]
        events, names = [event for event, _ in self.cells], [name for _, name in self.cells]
        keys = pl.DataFrame({"event": events, "property": names}, schema=_NAMES).with_row_index("cell")
        texts = (frame.with_columns(value.cast(pl.String)) for frame in typed)
        return pl.concat(texts, how="diagonal").join(keys, on="cell")


_NAMES: Final = {"event": pl.String, "property": pl.String}


def _profile(frame: pl.DataFrame, days: tuple[str, ...]) -> Profile:
    """The profile of one batch, without limits on names."""
    with _collector_off():
        return _counted(frame, days)


def _counted(frame: pl.DataFrame, days: tuple[str, ...]) -> Profile:
    # Rows that list the same members in the same order become columns together: every n-th of their values.
    layouts: defaultdict[tuple[str, ...], list[Any]] = defaultdict(list)
    events = frame["event"].to_list()
    for event, text in zip(events, frame["properties"].to_list(), strict=True):
        try:
            record = orjson.loads(text)
        except orjson.JSONDecodeError:  # half a surrogate pair, a number beyond a double
            record = decode_object(text)
        layouts[event, *record].extend(record.values())
    batch = _Batch()
    for (event, *names), flat in layouts.items():
        for at, name in enumerate(names):
            batch.add(event, name, flat[at :: len(names)])
    counted = batch.counted()
    values = (
        counted.lazy()
        .filter(~pl.col("kind").is_in(NO_VALUE))
        .group_by("property", "kind", "value")
        .agg(pl.col("count").sum())
        .with_columns(plh.col("value").nchash.xxh3_64().alias("hash"), pl.col("value").str.head(VALUE_CHARACTERS))
    )
    return Profile(days, frame.height, Counter(events), _cells(counted.lazy()), _values(values))


def _kind_of_text(text: pl.Expr) -> pl.Expr:
    return (
        pl.when(text == "")
        .then(pl.lit("empty"))
        .when(text.str.contains(rf"\A{DATE_PATTERN}\z"))
        .then(pl.lit("date"))
        .when(text.str.contains(rf"\A{DATE_TIME_PATTERN}\z"))
        .then(pl.lit("date_time"))
        .when(text.str.contains(rf"\A(?:{NUMBER_PATTERN})\z"))
        .then(pl.lit("numeral"))
        .otherwise(pl.lit("string"))
    )


_ELEMENTS: Final[Mapping[type, str]] = {
    bool: "booleans",
    int: "numbers",
    float: "numbers",
    str: "strings",
    dict: "objects",
}


def _kind(value: list[Any] | dict[str, Any]) -> str:
    if not value:
        return "empty"
    if isinstance(value, dict):
        return "object"
    kinds = {_ELEMENTS.get(type(item), "mixed") for item in value if item is not None}
    if not kinds:
        return "empty"
    return kinds.pop() if len(kinds) == 1 else "mixed"


def _text(value: list[Any] | dict[str, Any]) -> str:
    try:
        return orjson.dumps(value, option=orjson.OPT_SORT_KEYS).decode()
    except orjson.JSONEncodeError:  # an integer beyond 64 bits
        return json.dumps(value, ensure_ascii=False, sort_keys=True, separators=(",", ":"))


def _cells(frame: pl.LazyFrame) -> pl.DataFrame:
    """Rows of one event, property and kind together."""
    lowest, highest = pl.col("min_length", "minimum").min(), pl.col("max_length", "maximum").max()
    grouped = frame.group_by("event", "property", "kind").agg(pl.col("count").sum(), lowest, highest)
    return grouped.select(CELLS.names()).cast(CELLS).sort("event", "property", "kind").collect()


def _values(frame: pl.LazyFrame) -> pl.DataFrame:
    """Rows of one value together, and of each kind of each property the `SAMPLE` with the smallest hashes."""
    grouped = frame.group_by("property", "kind", "hash").agg(pl.col("value").min(), pl.col("count").sum())
    ordered = grouped.select(VALUES.names()).cast(VALUES).sort("property", "kind", "hash")
    return ordered.filter(pl.int_range(pl.len()).over("property", "kind") < SAMPLE).collect()


def _beyond(names: pl.Series, limit: int) -> list[str]:
    """The names that are too many: all but the `limit` with the smallest hashes."""
    unique = pl.DataFrame({"name": names.unique()}).filter(pl.col("name") != OTHER)
    if unique.height <= limit:
        return []
    return unique.sort(plh.col("name").nchash.xxh3_64())["name"].to_list()[limit:]


def _folded(column: str, beyond: list[str]) -> pl.Expr:
    return pl.when(pl.col(column).is_in(beyond)).then(pl.lit(OTHER)).otherwise(pl.col(column)).alias(column)


def _property(name: str, cells: pl.DataFrame, values: pl.DataFrame) -> Property:
    def tally(column: str, rows: pl.DataFrame) -> dict[str, int]:
        summed = rows.group_by(column).agg(pl.col("count").sum()).sort(["count", column], descending=[True, False])
        return dict(summed.iter_rows())

    texts = values.sort(pl.col("value").str.len_chars(), "value", "hash")
    extents = cells.select(
        pl.col("min_length", "minimum").min(),
        pl.col("max_length", "maximum").max(),
    ).row(0, named=True)
    top = values.sort(["count", "value"], descending=[True, False]).head(TOP)
    return Property(
        name=name,
        kinds=tally("kind", cells),
        events=tally("event", cells.filter(~pl.col("kind").is_in(NO_VALUE))),
        examples={
            str(kind): rows["value"].head(EXAMPLES).to_list()
            for (kind,), rows in texts.sort("kind", maintain_order=True).group_by("kind", maintain_order=True)
        },
        top=list(top.select("value", "count").iter_rows()),
        distinct=sum(_distinct(rows["hash"]) for _, rows in values.group_by("kind")),
        **extents,
    )


def _distinct(hashes: pl.Series) -> int:
    """How many distinct values the kept hashes speak for: all of them, or as dense as they lie among all hashes."""
    if len(hashes) < SAMPLE:
        return len(hashes)
    highest: int = hashes.max()  # type: ignore[assignment]
    return round((SAMPLE - 1) / (highest / 2**64))
