"""Slices of a raw day as XDM: each a task of its own, in this process or another, that leaves its own files.

The way of a row group: duplicates out, rows as XDM (`rows_to_xdm`), conforming rows to Parquet, the others to quarantine.
Memory holds one row group, whatever the size of the day. What a day is made of, and its manifest, is `transform`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import IO, Any, cast

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from mixpanel_aep_assets.manifests import Part, RowSetAside
from mixpanel_aep_assets.mixpanel import dedup, time_mode
from mixpanel_aep_assets.pipeline.steps.rows_to_xdm import RowsToXdm, derived
from mixpanel_aep_assets.storage import Day, Staging, Storage, reading
from mixpanel_aep_assets.xdm.conformance import reasons
from mixpanel_aep_assets.xdm.parquet import XdmWriter
from mixpanel_aep_assets.xdm.schema import Schema

ROW_GROUP_ROWS = 32_768
"""As in the raw files, so that the writer holds one group of the frame that was just made."""

SLICE_GROUPS = 8
"""Row groups of a slice at most: its part has some 130 MB, well under the 256 MB of the small-file protocol."""

EXAMPLES = 20
"""Offending rows that are kept for the check's table; all of them are in the quarantine files."""

QUARANTINE_SCHEMA = pa.schema(
    [
        ("line", pa.int64()),
        ("id", pa.string()),
        ("reason", pa.string()),
        ("pointer", pa.string()),
        ("detail", pa.string()),
        ("event", pa.string()),
        ("properties", pa.string()),
    ]
)

Place = tuple[str, str]
"""Pointer and rule of a violation."""


@dataclass(frozen=True)
class RowGroups:
    """Consecutive row groups of one raw file by their rows, the position of the first row, and which rows to drop."""

    number: int
    path: str
    part: int
    first: int
    groups: tuple[int, ...]
    twice: dedup.Duplicates


@dataclass
class Counted:
    """What came of rows."""

    rows: int = 0
    duplicates: int = 0
    quarantined: int = 0
    oversized: int = 0
    parts: list[Part] = field(default_factory=list)
    quarantine: list[Part] = field(default_factory=list)
    examples: list[RowSetAside] = field(default_factory=list)
    violations: Counter[Place] = field(default_factory=Counter)
    warnings: Counter[Place] = field(default_factory=Counter)
    mapping_errors: Counter[str] = field(default_factory=Counter)
    """By destination. Exceptions quote values, so that there may be as many kinds of them as rows: the first is kept."""
    exceptions: dict[str, str] = field(default_factory=dict)

    def add(self, other: Counted) -> None:
        """Takes in what came of later rows."""
        self.rows += other.rows
        self.duplicates += other.duplicates
        self.quarantined += other.quarantined
        self.oversized += other.oversized
        self.parts += other.parts
        self.quarantine += other.quarantine
        self.examples = (self.examples + other.examples)[:EXAMPLES]
        self.violations += other.violations
        self.warnings += other.warnings
        self.mapping_errors += other.mapping_errors
        self.exceptions = other.exceptions | self.exceptions

    def count_errors(self, errors: pl.DataFrame) -> None:
        found = errors.group_by("destination").agg(pl.col("row").n_unique(), pl.col("exception").first())
        for destination, rows, exception in found.iter_rows():
            self.mapping_errors[destination] += rows
            self.exceptions.setdefault(destination, exception)


def slices(storage: Storage, files: Sequence[str], twice: dedup.Duplicates, processes: int) -> list[RowGroups]:
    """The day in slices of `SLICE_GROUPS` row groups, or smaller ones where the processes would have less than four each.

    The last ones are smaller still, so that no process works on a large one when the others have none.
    """
    sizes = [group_rows(storage, path) for path in files]
    left = sum(map(len, sizes))
    most = max(1, min(SLICE_GROUPS, left // (4 * processes))) if processes > 1 else SLICE_GROUPS
    made: list[RowGroups] = []
    for part, (path, rows) in enumerate(zip(files, sizes, strict=True)):
        start = 0
        while start < len(rows):
            share = -(-left // (2 * processes)) if processes > 1 else most
            first, groups = sum(rows[:start]), tuple(rows[start : start + min(most, share)])
            made.append(RowGroups(len(made), path, part, first, groups, twice.within(part, first, sum(groups))))
            start += len(groups)
            left -= len(groups)
    return made


def group_rows(storage: Storage, path: str) -> list[int]:
    """Rows of each row group of a Parquet file."""
    with storage.open_read(path) as file:
        metadata = pq.read_metadata(file)
    return [metadata.row_group(number).num_rows for number in range(metadata.num_row_groups)]


def row_group(storage: Storage, path: str, first: int, rows: int) -> pl.DataFrame:
    """A row group of a Parquet file, by its first row and their number. Raises DayReplaced.

    Read by Polars: its columns are views of the pages, which takes half the time and memory of a copy in Arrow.
    """
    with reading():
        return pl.scan_parquet(storage.location(path), glob=False).slice(first, rows).collect()


@dataclass(frozen=True)
class Shaper:
    """What all slices of a day share. Can be sent to another process."""

    source: Storage
    target: Day
    generation: str
    to_xdm: RowsToXdm
    time_mode: time_mode.Mode
    timezone: str

    def shape(self, piece: RowGroups) -> Counted:
        """Makes the slice's files in the staged generation. Raises the errors of `dataprep`, `xdm` and StorageError."""
        staging = Staging(self.target, self.generation)
        try:
            return self._shape(piece, staging)
        except BaseException:
            staging.abandon()
            raise

    def _shape(self, piece: RowGroups, staging: Staging) -> Counted:
        counted = Counted()
        writer = _Parts(staging, self.to_xdm.schema, piece.number)
        aside = _Aside(staging, piece.number)
        first = piece.first
        for size in piece.groups:
            writer.write(self._conforming(piece, first, size, counted, aside))
            first += size
        counted.parts = writer.close()
        counted.quarantine = aside.close()
        return counted

    def _conforming(
        self, piece: RowGroups, first: int, size: int, counted: Counted, aside: _Aside
    ) -> pl.DataFrame | None:
        """A row group as XDM, without the rows set aside; None where duplicates are all it had.

        A function of its own, so that what is made on the way is let go of before the rows are written and the next are read.
        """
        raw = row_group(self.source, piece.path, first, size)
        rows = piece.twice.keep(piece.part, first, raw)
        counted.duplicates += raw.height - rows.height
        if rows.is_empty():
            return None
        frame = rows.with_columns(**derived(self.time_mode, self.timezone))
        shaped = self.to_xdm.shape(frame)
        counted.count_errors(shaped.errors)
        good, found = shaped.frame, shaped.found
        counted.oversized += found.oversized
        counted.warnings += _tally(found.warnings)
        if found.bad.any():
            counted.violations += _tally(found.violations)
            aside.write(frame, found.violations, counted)
            good = good.filter(~found.bad)
        counted.rows += good.height
        return good


def _tally(found: pl.DataFrame) -> Counter[Place]:
    """Rows for each place and rule."""
    counts = found.group_by("pointer", "keyword").agg(pl.col("row").n_unique())
    return Counter({(pointer, rule): rows for pointer, rule, rows in counts.iter_rows()})


class _Parts:
    """The slice's XDM files; their columns are those that its first frame has."""

    def __init__(self, staging: Staging, schema: Schema, number: int) -> None:
        self._staging, self._schema, self._number = staging, schema, number
        self._writer: XdmWriter | None = None

    def write(self, frame: pl.DataFrame | None) -> None:
        if frame is None:
            return
        if self._writer is None:
            self._writer = XdmWriter(
                lambda name: cast("IO[bytes]", self._staging.open(name)),
                self._schema,
                frame.schema,
                row_group_rows=ROW_GROUP_ROWS,
                name=f"part-{self._number:05}-{{number:03}}.parquet",
            )
        self._writer.write(frame, shaped=True)

    def close(self) -> list[Part]:
        return [] if self._writer is None else self._writer.close()


class _Aside:
    """The slice's quarantine: source rows that do not conform, each with every reason."""

    def __init__(self, staging: Staging, number: int) -> None:
        self._staging = staging
        self._name = f"quarantine-{number:05}.parquet"
        self._file: Any = None
        self._writer: Any = None
        self._rows = 0

    def write(self, frame: pl.DataFrame, violations: pl.DataFrame, counted: Counted) -> None:
        rows = (
            frame.with_row_index("row")
            .join(reasons(violations), on="row", maintain_order="left")
            .select("line", pl.col("mixpanel.id").alias("id"), "reason", "pointer", "detail", "event", "properties")
        )
        room = EXAMPLES - len(counted.examples)
        if room > 0:
            counted.examples += (RowSetAside(**row) for row in rows.head(room).drop("properties").to_dicts())
        if self._writer is None:
            self._file = self._staging.open(self._name)
            self._writer = pq.ParquetWriter(self._file, QUARANTINE_SCHEMA, compression="zstd")
        self._writer.write_table(rows.to_arrow().cast(QUARANTINE_SCHEMA))
        self._rows += rows.height
        counted.quarantined += rows.height

    def close(self) -> list[Part]:
        if self._writer is None:
            return []
        self._writer.close()
        self._file.close()
        return [Part(self._name, self._rows, self._file.size)]
