"""Which events of a day are the same event, and the id that each one keeps for ever.

The stable key is (event, id before identity merge, time in ms, insert id): `distinct_id` alone changes when identities
merge, and `$insert_id` alone is not unique (mixpanel.md#duplicates). Of equal keys the row received last wins; ties
fall to the later
processing, then to the greater hash of `properties`, so that every run keeps the same row. A row without insert id is
never a duplicate: its content, with an ordinal among rows of equal content, takes the insert id's place. A blank insert id
is none: senders that have no id send `""`, and it would merge whatever they sent in one second.

Memory does not grow with the day: rows are spread by key hash over buckets on disk, and one bucket is judged at a time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl
import polars_hash  # noqa: F401 - gives expressions `nchash` and `chash`

from mixpanel_aep_assets.mixpanel.hash_partitions import HashPartitions, Records, hash_partitions
from mixpanel_aep_assets.storage import reading

CONTENT = "content"
"""The raw files' column of `content_hash`. Files of earlier versions lack it."""

SEPARATOR = "\x1f"
_CHUNK = 32_768

_RECORD = np.dtype(
    [("high", "<u8"), ("low", "<u8"), ("received", "<i8"), ("processing", "<i8"), ("part", "<u4"), ("row", "<u4")]
)
MIXPANELS_KEY = ("event", "distinct_id", "time_ms", "insert_id")
"""What Mixpanel's own numbers count once (mixpanel.md#duplicates): a merged person's events under their id of today."""

_NO_INSERT_ID = np.iinfo(np.int64).max
"""In `received`, marks a row without insert id."""

_LONGEST_AGO = np.iinfo(np.int64).min

_SHARED_BITS = 22
_SHIFT = np.uint64(64 - _SHARED_BITS)


@dataclass(frozen=True)
class Duplicates:
    """Row positions within each part (its index in the list that was searched).

    `losers`: rows to drop. `ordinals`: for rows without insert id whose content another row has too, how many such rows
    came before (from 1; rows that are not named have 0).
    """

    losers: dict[int, pl.Series] = field(default_factory=dict)
    ordinals: dict[int, pl.DataFrame] = field(default_factory=dict)

    @property
    def duplicates(self) -> int:
        return sum(len(rows) for rows in self.losers.values())

    def within(self, part: int, first: int, rows: int) -> Duplicates:
        """What is known of `rows` rows of a part, from row `first` on."""
        here = pl.col("row").is_between(first, first + rows - 1)
        found = Duplicates()
        if part in self.losers:
            found.losers[part] = self.losers[part].to_frame("row").filter(here).to_series()
        if part in self.ordinals:
            found.ordinals[part] = self.ordinals[part].filter(here)
        return found

    def keep(self, part: int, first: int, frame: pl.DataFrame) -> pl.DataFrame:
        """The rows of a slice of a part (from row `first` on) that stay, with their `ordinal` for `stable_id`."""
        rows = frame.with_columns(pl.int_range(first, first + pl.len(), dtype=pl.UInt32).alias("_row"))
        lost = self.losers.get(part)
        if lost is not None:
            rows = rows.filter(~pl.col("_row").is_in(lost.implode()))
        ordinals = self.ordinals.get(part)
        if ordinals is None:
            return rows.with_columns(pl.lit(0, pl.UInt32).alias("ordinal")).drop("_row")
        joined = rows.join(ordinals, left_on="_row", right_on="row", how="left", maintain_order="left")
        return joined.with_columns(pl.col("ordinal").fill_null(0)).drop("_row")


@reading()
def find(locations: Sequence[str], over: Callable[..., Iterable[Any]] = map) -> Duplicates:
    """Searches the parts of one day (Parquet files of `raw_events`: paths or URLs).

    `over` reads the parts: `map`, or one that does it in other processes. Raises DayReplaced where another run has
    replaced the day meanwhile.
    """
    rows = sum(count_rows(location) for location in locations)
    lost: list[Records] = []
    tied: list[Records] = []
    ordinals: list[pl.DataFrame] = []
    with hash_partitions(_RECORD, rows) as spread:
        for _ in over(partial(_put, spread), list(enumerate(locations))):
            pass
        for records in spread.drain():
            sharing = _sharing(records)
            worse, equal = _judged(sharing)
            lost.append(worse)
            tied.append(equal)
            ordinals.append(_ordinals(sharing))
    lost.append(_tied_losers(np.concatenate(tied), locations, over))
    return _by_part(np.concatenate(lost), pl.concat(ordinals))


def losers(locations: Sequence[str]) -> dict[int, pl.Series]:
    """`find(…).losers`, for callers that have no rows without insert id or do not ask for ids."""
    return find(locations).losers


def lacks_insert_id() -> pl.Expr:
    """Whether a row has no insert id, or a blank one. Placeholders such as `undefined` are ids, as they are to Mixpanel."""
    return (pl.col("insert_id").str.strip_chars() == "").fill_null(value=True)


def keyed_otherwise_in_version_1() -> pl.Expr:
    """Rows with a blank insert id, which version 1 of the XDM files (`pipeline.steps.transform`) took for an id."""
    return pl.col("insert_id").is_not_null() & lacks_insert_id()


def stable_key() -> pl.Expr:
    """The key as text; each part after its length, so that no two keys spell the same. No insert id: the properties."""
    identifier = pl.coalesce("distinct_id_before_identity", "distinct_id").fill_null("")
    # Null where an insert id is there: else the text of every row would be copied.
    content = pl.when(lacks_insert_id()).then(pl.col("properties"))
    last = pl.coalesce(pl.lit("~") + content, "insert_id")
    return pl.concat_str(
        pl.col("event").str.len_bytes(), pl.col("event"), identifier.str.len_bytes(), identifier, pl.col("time_ms"), last,
        separator=SEPARATOR,
    )  # fmt: skip


KEY_COLUMNS = tuple(name for name in dict.fromkeys(stable_key().meta.root_names()) if name != "properties")
"""The columns of the raw files that `stable_key` reads of every row, beside `properties`."""

_COLUMNS = [*KEY_COLUMNS, "received_ms", "processing_ms"]


def stable_id(ordinal: pl.Expr | None = None) -> pl.Expr:
    """`_id`: 64 hex digits (a valid uri-reference without colon), equal in every export of the same event.

    `ordinal` is the column that `Duplicates.keep` adds; without it, rows of equal content that lack an insert id share an id.
    """
    key = stable_key()
    if ordinal is not None:
        key = pl.when(lacks_insert_id() & (ordinal > 0)).then(
            pl.concat_str(key, ordinal.cast(pl.String), separator=SEPARATOR)
        ).otherwise(key)  # fmt: skip
    return key.chash.sha2_256()  # type: ignore[attr-defined, no-any-return]


def content_hash() -> pl.Expr:
    """XXH3 of `properties`, 64 bits: tells rows of one key apart without a second look at their text."""
    return pl.col("properties").nchash.xxh3_64()  # type: ignore[attr-defined, no-any-return]


def count_rows(location: str) -> int:
    """Rows of a Parquet file."""
    return int(pl.scan_parquet(location, glob=False).select(pl.len()).collect().item())


def _put(spread: HashPartitions, numbered: tuple[int, str]) -> None:
    spread.put(_records(numbered))


def _records(numbered: tuple[int, str]) -> Records:
    """Key hashes and ranks of a part's rows; `properties` is read only where an insert id lacks."""
    part, location = numbered
    found: list[Records] = [np.empty(0, _RECORD)]
    part_rows = pl.scan_parquet(location, glob=False)
    lacking = bool(part_rows.select(lacks_insert_id().any()).collect().item())
    columns = [*_COLUMNS, "properties"] if lacking else _COLUMNS
    first = 0
    for frame in part_rows.select(columns).collect_batches(chunk_size=_CHUNK, maintain_order=True):
        rows = frame.height
        if not rows:
            continue
        if not lacking:
            frame = frame.with_columns(pl.lit(None, pl.String).alias("properties"))
        found.append(_hashed(frame, part, first))
        first += rows
    return np.concatenate(found)


def _hashed(frame: pl.DataFrame, part: int, first: int) -> Records:
    hashed = frame.with_columns(stable_key().alias("key")).select(
        pl.col("key").nchash.xxh3_64(seed=0).alias("high"),  # type: ignore[attr-defined]
        pl.col("key").nchash.xxh3_64(seed=1).alias("low"),  # type: ignore[attr-defined]
        pl.when(lacks_insert_id())
        .then(pl.lit(_NO_INSERT_ID))
        .otherwise(pl.col("received_ms").fill_null(_LONGEST_AGO))
        .alias("received"),
        pl.col("processing_ms").fill_null(_LONGEST_AGO).alias("processing"),
    )
    records = np.empty(frame.height, _RECORD)
    for name in ("high", "low", "received", "processing"):
        records[name] = hashed[name].to_numpy()
    records["part"] = part
    records["row"] = np.arange(first, first + frame.height, dtype=np.uint32)
    return records


def _sharing(records: Records) -> Records:
    """The records whose first hash another one has too: few of a day, and only they can be duplicates."""
    hashes = np.ascontiguousarray(records["high"])
    ordered = np.sort(hashes)
    twice = np.unique(ordered[1:][ordered[1:] == ordered[:-1]])
    # Most hashes are told from those by some of their bits; only the rest is searched for.
    bits = np.zeros(1 << _SHARED_BITS, np.bool_)
    bits[twice >> _SHIFT] = True
    maybe = np.flatnonzero(bits[hashes >> _SHIFT])
    place = np.minimum(np.searchsorted(twice, hashes[maybe]), len(twice) - 1)
    sharing: Records = records[maybe[twice[place] == hashes[maybe]]] if len(twice) else records[:0]
    return sharing


def _judged(records: Records) -> tuple[Records, Records]:
    """Rows that are received or processed before another of their key; and rows that share the last place in both."""
    keyed = records[records["received"] != _NO_INSERT_ID]
    ordered: Records = keyed[np.lexsort([keyed[name] for name in ("processing", "received", "low", "high")])]
    last = _last_of_each(ordered, "high", "low")
    groups: npt.NDArray[np.int64] = np.cumsum(last) - last
    best = ordered[last][groups]  # for each row, the last one of its key
    top = (ordered["received"] == best["received"]) & (ordered["processing"] == best["processing"])
    tied = top & (np.bincount(groups[top], minlength=1)[groups] > 1) if len(ordered) else top
    worse: Records = ordered[~top]
    equal: Records = ordered[tied]
    return worse, equal


def _tied_losers(records: Records, locations: Sequence[str], over: Callable[..., Iterable[Any]]) -> Records:
    """Of rows that tie, all but one of each key: the one whose `properties` have the greatest hash stays."""
    content = np.zeros(len(records), np.uint64)
    asked = []
    for part in np.unique(records["part"]):
        here = np.flatnonzero(records["part"] == part)
        asked.append((locations[int(part)], here[np.argsort(records["row"][here])]))
    found = over(_content, [(location, records["row"][here]) for location, here in asked])
    for (_, here), hashes in zip(asked, found, strict=True):
        content[here] = hashes
    order = np.lexsort((records["row"], records["part"], content, records["low"], records["high"]))
    ordered: Records = records[order]
    lost: Records = ordered[~_last_of_each(ordered, "high", "low")]
    return lost


def _content(wanted: tuple[str, npt.NDArray[np.uint32]]) -> npt.NDArray[np.uint64]:
    """The content hashes of some rows (sorted) of a part, in one pass over it."""
    location, rows = wanted
    found = np.empty(len(rows), np.uint64)
    first = 0
    part_rows = pl.scan_parquet(location, glob=False)
    hashes = pl.col(CONTENT) if CONTENT in part_rows.collect_schema() else content_hash().alias(CONTENT)
    for frame in part_rows.select(hashes).collect_batches(chunk_size=_CHUNK, maintain_order=True):
        low, high = np.searchsorted(rows, [first, first + frame.height])
        found[low:high] = frame[CONTENT].gather(rows[low:high] - first).to_numpy()
        first += frame.height
    return found


def _last_of_each(ordered: Records, *names: str) -> npt.NDArray[np.bool_]:
    """Whether each row is the last with its values of these fields, in records sorted by them."""
    last = np.ones(len(ordered), np.bool_)
    if len(ordered):
        last[:-1] = np.logical_or.reduce([ordered[name][1:] != ordered[name][:-1] for name in names])
    return last


def _ordinals(records: Records) -> pl.DataFrame:
    """Ordinals above 0 of rows without insert id."""
    bare = records[records["received"] == _NO_INSERT_ID]
    frame = pl.DataFrame({name: bare[name] for name in ("high", "low", "part", "row")})
    return (
        frame.sort("part", "row")
        .with_columns(pl.int_range(pl.len(), dtype=pl.UInt32).over("high", "low").alias("ordinal"))
        .filter(pl.col("ordinal") > 0)
        .select("part", "row", "ordinal")
    )


def _by_part(lost: Records, ordinals: pl.DataFrame) -> Duplicates:
    dropped = {
        int(part): pl.Series("row", np.sort(lost["row"][lost["part"] == part])) for part in np.unique(lost["part"])
    }
    numbered = {int(key[0]): group.drop("part") for key, group in ordinals.group_by("part")}
    return Duplicates(dropped, numbered)
