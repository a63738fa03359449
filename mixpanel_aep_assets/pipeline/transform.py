"""Step two: a day of `raw_events` as XDM ExperienceEvents in the table `xdm_events`.

The way of a row group: duplicates out, derived attributes (`mixpanel.*`: id, true UTC time, identities) in, mapping set
applied, conformance checked, conforming rows to Parquet in the dataset's exact types, the others to quarantine.
Memory holds a few row groups, whatever the size of the day.
"""

from __future__ import annotations

import datetime
import hashlib
import re
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import IO, Any, cast

import orjson
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from mixpanel_aep_assets.connection import DERIVED, Opened
from mixpanel_aep_assets.mixpanel import dedup, identity, time_mode
from mixpanel_aep_assets.pipeline import extract
from mixpanel_aep_assets.storage import Staging, Storage
from mixpanel_aep_assets.xdm.parquet import XdmWriter, shape
from mixpanel_aep_assets.xdm.schema import Schema

TABLE = "xdm_events"
VERSION = "1"

ROW_GROUP_ROWS = 32_768
"""As in the raw files, so that the writer holds one group of the frame that was just made."""

EXAMPLES = 20
"""Offending rows that a manifest keeps for the check's table; all of them are in the quarantine file."""

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


class NotExported(Exception):
    """The day has no raw files yet."""

    retryable = False


def transform_day(
    opened: Opened, day: str, *, log: Callable[[str], None] = lambda _: None, target: Storage | None = None
) -> dict[str, Any]:
    """Transforms the day and commits it, to `target` instead of the connection's storage where that is given.

    A day whose raw digest, mapping and schema are unchanged is left as it is. The manifest: `rows` (to upload),
    `duplicates`, `quarantined`, `violations` (pointer, rule, rows), `examples`, `mapping_errors`, `raw_digest`,
    `data_version`, `schema`, `mapping`, `seconds`.
    Raises NotExported, the errors of `dataprep`, `aep.errors` (schema) and `storage.StorageError`.
    """
    began = time.perf_counter()
    raw = opened.day(extract.TABLE, day)
    source = raw.manifest()
    if source is None:
        raise NotExported(f"{opened.settings.name} {day}: no raw files; materialize raw_events of the day first.")
    written = (target or opened.storage).day(opened.settings.name, TABLE, day)
    version = _data_version(opened, source)
    current = written.manifest()
    if current is not None and current["data_version"] == version:
        log(f"{day}: raw events, mapping and schema are unchanged; the XDM files stay")
        return current
    with written.stage() as staging:
        counted = _transform(opened, raw.files(source), source, staging)
        log(f"{day}: {counted.rows} events, {counted.duplicates} duplicates, {counted.quarantined} set aside")
        return staging.commit(
            {
                "day": day,
                "parts": counted.parts,
                "quarantine": counted.quarantine,
                "rows": counted.rows,
                "duplicates": counted.duplicates,
                "quarantined": counted.quarantined,
                "violations": counted.violations(),
                "warnings": counted.warnings(),
                "examples": counted.examples,
                "mapping_errors": counted.mapping_errors(),
                "oversized": counted.oversized,
                "raw_digest": source["digest"],
                "data_version": version,
                "schema": opened.schema.id,
                "mapping": opened.mapping_name,
                "seconds": time.perf_counter() - began,
            }
        )


class _Counted:
    """What came of the day's rows."""

    def __init__(self) -> None:
        self.rows = self.duplicates = self.quarantined = self.oversized = 0
        self.parts: list[dict[str, Any]] = []
        self.quarantine: list[dict[str, Any]] = []
        self.examples: list[dict[str, Any]] = []
        self._violations: dict[tuple[str, str], int] = {}
        self._warnings: dict[tuple[str, str], int] = {}
        self._errors: dict[tuple[str, str], int] = {}

    def count(self, violations: pl.DataFrame, kind: str) -> None:
        tally = self._violations if kind == "violation" else self._warnings
        for pointer, keyword, rows in (
            violations.group_by("pointer", "keyword")
            .agg(pl.col("row").n_unique())
            .sort("pointer", "keyword")
            .iter_rows()
        ):
            tally[pointer, keyword] = tally.get((pointer, keyword), 0) + rows

    def count_errors(self, errors: pl.DataFrame) -> None:
        for destination, exception, rows in (
            errors.group_by("destination", "exception").agg(pl.len()).sort("destination", "exception").iter_rows()
        ):
            self._errors[destination, exception] = self._errors.get((destination, exception), 0) + rows

    def violations(self) -> list[dict[str, Any]]:
        return [{"pointer": p, "rule": k, "rows": n} for (p, k), n in sorted(self._violations.items())]

    def warnings(self) -> list[dict[str, Any]]:
        return [{"pointer": p, "rule": k, "rows": n} for (p, k), n in sorted(self._warnings.items())]

    def mapping_errors(self) -> list[dict[str, Any]]:
        found = sorted(self._errors.items(), key=lambda item: (-item[1], item[0]))
        return [{"destination": d, "exception": e, "rows": n} for (d, e), n in found[:EXAMPLES]]


def _transform(opened: Opened, files: list[str], source: dict[str, Any], staging: Staging) -> _Counted:
    counted = _Counted()
    compiled = opened.mapping
    conformance = opened.conformance
    found_twice = dedup.find([opened.storage.location(path) for path in files])
    utc = time_mode.to_utc(source["time_mode"], source["timezone"])

    def shaped(frame: pl.DataFrame) -> pl.DataFrame:
        return frame.with_columns(
            utc.alias("mixpanel.timestamp"),
            dedup.stable_id(pl.col("ordinal")).alias("mixpanel.id"),
            identity.identity_map().alias("mixpanel.identityMap"),
        )

    writer = _Writer(staging, opened.schema)
    aside = _Aside(staging)

    with ThreadPoolExecutor(1) as pool:
        written = pool.submit(lambda: None)
        for frame, dropped in _row_groups(opened, files, found_twice):
            counted.duplicates += dropped
            if frame.is_empty():
                continue
            frame = shaped(frame)
            mapped = compiled.apply(frame)
            counted.count_errors(mapped.errors)
            typed = shape(mapped.frame, opened.schema)
            found = conformance.check(typed)
            counted.oversized += found.oversized
            if not found.warnings.is_empty():
                counted.count(found.warnings, "warning")
            good = typed
            if found.bad.any():
                counted.count(found.violations, "violation")
                aside.write(frame, found.violations, counted)
                counted.quarantined += int(found.bad.sum() or 0)
                good = typed.filter(~found.bad)
            counted.rows += good.height
            written.result()
            written = pool.submit(writer.write, good)
        written.result()
        counted.parts = writer.close()
    counted.quarantine = aside.close()
    return counted


def _row_groups(opened: Opened, files: list[str], twice: dedup.Found) -> Iterator[tuple[pl.DataFrame, int]]:
    """The row groups of the day without its duplicates, and how many rows were dropped of each."""
    for part, path in enumerate(files):
        with opened.storage.open_read(path) as file:
            parquet = pq.ParquetFile(file)
            first = 0
            for group in range(parquet.num_row_groups):
                frame = pl.DataFrame(pl.from_arrow(parquet.read_row_group(group)))
                kept = twice.keep(part, first, frame)
                first += frame.height
                yield kept, frame.height - kept.height


class _Writer:
    """The XDM parts; their columns are those that the first frame has."""

    def __init__(self, staging: Staging, schema: Schema) -> None:
        self._staging, self._schema = staging, schema
        self._writer: XdmWriter | None = None

    def write(self, frame: pl.DataFrame) -> None:
        if self._writer is None:
            self._writer = XdmWriter(
                lambda name: cast("IO[bytes]", self._staging.open(name)),
                self._schema,
                frame.schema,
                row_group_rows=ROW_GROUP_ROWS,
            )
        self._writer.write(frame, shaped=True)

    def close(self) -> list[dict[str, Any]]:
        return [] if self._writer is None else [dict(part) for part in self._writer.close()]


class _Aside:
    """The quarantine file of rows that do not conform: the source row with every reason."""

    def __init__(self, staging: Staging) -> None:
        self._staging = staging
        self._file: Any = None
        self._writer: Any = None
        self._rows = 0

    def write(self, frame: pl.DataFrame, violations: pl.DataFrame, counted: _Counted) -> None:
        reasons = violations.group_by("row", maintain_order=True).agg(
            pl.col("keyword").str.join(",").alias("reason"),
            pl.col("pointer").str.join(",").alias("pointer"),
            pl.col("message").str.join("; ").alias("detail"),
        )
        rows = (
            frame.with_row_index("row")
            .join(reasons, on="row", maintain_order="left")
            .select("line", pl.col("mixpanel.id").alias("id"), "reason", "pointer", "detail", "event", "properties")
        )
        room = EXAMPLES - len(counted.examples)
        if room > 0:
            counted.examples += rows.head(room).drop("properties").to_dicts()
        if self._writer is None:
            self._file = self._staging.open("quarantine-00000.parquet")
            self._writer = pq.ParquetWriter(self._file, QUARANTINE_SCHEMA, compression="zstd")
        self._writer.write_table(rows.to_arrow().cast(QUARANTINE_SCHEMA))
        self._rows += rows.height

    def close(self) -> list[dict[str, Any]]:
        if self._writer is None:
            return []
        self._writer.close()
        self._file.close()
        return [{"name": "quarantine-00000.parquet", "rows": self._rows, "bytes": self._file.size}]


def _data_version(opened: Opened, source: dict[str, Any]) -> str:
    """Of everything that the XDM files are a function of."""
    parts = [VERSION, source["digest"], source["time_mode"], source["timezone"], opened.fingerprint]
    return hashlib.sha256(orjson.dumps(parts)).hexdigest()[:32]


def preview(opened: Opened, day: str, rows: int) -> list[dict[str, Any]]:
    """The first events of the day as they will be uploaded, for a person."""
    files = opened.day(TABLE, day).files()
    if not files:
        return []
    with opened.storage.open_read(files[0]) as file:
        group = pq.ParquetFile(file).read_row_group(0).slice(0, rows)
    return [_compact(row) for row in group.to_pylist()]


def _compact(row: dict[str, Any]) -> dict[str, Any]:
    shown = {}
    for key, value in row.items():
        if isinstance(value, datetime.datetime):
            shown[key] = value.isoformat(timespec="milliseconds")
        elif isinstance(value, (dict, list)):
            shown[key] = orjson.dumps(_without_nulls(value), default=str).decode()
        else:
            shown[key] = value
    return shown


def _without_nulls(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: _without_nulls(v) for k, v in value.items() if v is not None}
    if isinstance(value, (list, tuple)):
        return [_without_nulls(v) for v in value]
    return value


def violations_left(opened: Opened, day: str) -> int:
    """Rows of the committed files that do not conform: read back and checked once more, a row group at a time."""
    bad = 0
    for path in opened.day(TABLE, day).files():
        with opened.storage.open_read(path) as file:
            parquet = pq.ParquetFile(file)
            for group in range(parquet.num_row_groups):
                frame = pl.DataFrame(pl.from_arrow(parquet.read_row_group(group)))
                bad += int(opened.conformance.check(frame).bad.sum() or 0)
    return bad


def arrow_schema(opened: Opened, day: str) -> pa.Schema | None:
    """The Parquet schema of the day's files, None for an empty day."""
    files = opened.day(TABLE, day).files()
    if not files:
        return None
    with opened.storage.open_read(files[0]) as file:
        return pq.read_schema(file)


def lineage(opened: Opened) -> dict[str, list[str]]:
    """XDM root column -> columns of `raw_events` that it is made from."""
    made: dict[str, set[str]] = {}
    for mapping in opened.mapping_set.mappings:
        root = mapping.destination.split(".", 1)[0].split("[", 1)[0]
        made.setdefault(root, set()).update(_columns_of(mapping.source))
    return {root: sorted(columns & set(extract.SCHEMA.names)) for root, columns in made.items() if columns}


def _columns_of(source: str) -> set[str]:
    """Columns of `raw_events` that a source, path or expression, names."""
    columns = {column for path, column in DERIVED.items() if path in source}
    if "mixpanel.timestamp" in columns:
        columns.add("time_ms")
    if "mixpanel.id" in columns:
        columns |= {"event", "distinct_id", "distinct_id_before_identity", "time_ms", "insert_id"}
    if "mixpanel.identityMap" in columns:
        columns |= {"distinct_id", "device_id", "user_id"}
    if "properties." in source or "data." in source:
        columns.add("properties")
    if re.search(r"\bevent\b", source):
        columns.add("event")
    return columns
