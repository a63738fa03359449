"""Single rows of a stored day: found again by their id, as the mapping sees them.

What belongs here: the way back from a row that was set aside or refused to its source row. What does not: the way of the
whole day (`transform`), and what is done with the rows found (`load`, `replay`).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Iterable, Iterator, Sequence
from enum import StrEnum
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from mixpanel_aep_assets.aep.diagnostics import RowError
from mixpanel_aep_assets.connection import DERIVED, Connection
from mixpanel_aep_assets.connection.dataset_mapping import DatasetMapping
from mixpanel_aep_assets.dataprep.columnar.compiled_mapping import compile_mapping
from mixpanel_aep_assets.manifests import Part
from mixpanel_aep_assets.mixpanel import dedup
from mixpanel_aep_assets.pipeline.steps import extract, redaction
from mixpanel_aep_assets.pipeline.steps.rows_to_xdm import derived
from mixpanel_aep_assets.pipeline.steps.transform import QUARANTINE_SCHEMA
from mixpanel_aep_assets.storage import Committed, Day, Staging, Storage

QUARANTINE_FILE = "quarantine-00000.parquet"


class Stage(StrEnum):
    """Where rows were set aside: with the export request, as lines, as events, by the Platform (`quarantine`)."""

    REQUEST = "request"
    RAW = "raw"
    XDM = "xdm"
    AEP = "aep"


def source_rows(connection: Connection, day: str, ids: Collection[str] | None = None) -> Iterator[pl.DataFrame]:
    """The day's rows without duplicates, some at a time, with the derived columns `mixpanel.*`.

    `ids`: only the rows with these `mixpanel.id`s. Memory holds a row group. Raises StorageError, OtherPrivacyRules.
    """
    table, manifest = connection.day(extract.TABLE, day), extract.stored(connection, day)
    if manifest is None:
        return
    attributes = derived(manifest.time_mode, manifest.timezone)
    own_id = {"mixpanel.id": attributes.pop("mixpanel.id")}
    wanted = None if ids is None else pl.Series(sorted(ids), dtype=pl.String)
    with redaction.readable(connection, table, manifest) as (storage, files):
        for kept in _without_duplicates(storage, files):
            rows = kept.with_columns(**own_id)
            if wanted is not None:
                rows = rows.filter(pl.col("mixpanel.id").is_in(wanted.implode()))
            if not rows.is_empty():
                yield rows.with_columns(**attributes)


def _without_duplicates(storage: Storage, files: Sequence[str]) -> Iterator[pl.DataFrame]:
    twice = dedup.find([storage.location(path) for path in files])
    for part, path in enumerate(files):
        with storage.open_read(path) as file:
            parquet = pq.ParquetFile(file)
            first = 0
            for group in range(parquet.num_row_groups):
                frame = pl.DataFrame(pl.from_arrow(parquet.read_row_group(group)))
                yield twice.keep(part, first, frame)
                first += frame.height


def rejected_rows(connection: Connection, day: str, errors: Sequence[RowError]) -> pl.DataFrame:
    """The rows that the Platform refused (its diagnostics), joined back by `_id` to the source: QUARANTINE_SCHEMA.

    One row for each refused row, its reasons joined as in the other stages; `id` is `mixpanel.id`, as there. `line`,
    `event` and `properties` are null where the Platform could not read an `_id`, or the raw files hold it no more.
    """
    reasons: dict[tuple[str, Any], list[RowError]] = {}
    for number, error in enumerate(errors):
        key = ("id", error.id) if error.id is not None else ("row", number)
        reasons.setdefault(key, []).append(error)
    refused = pl.DataFrame(
        [
            {
                "id": found[0].id,
                "reason": ",".join(e.code for e in found),
                "pointer": ",".join(e.column or "" for e in found).strip(","),
                "detail": "; ".join(e.message for e in found),
            }
            for found in reasons.values()
        ],
        schema={"id": pl.String, "reason": pl.String, "pointer": pl.String, "detail": pl.String},
    )
    ids = set(refused["id"].drop_nulls())
    sources = _by_platform_id(connection, day, ids) if ids else _NO_SOURCES
    joined = refused.join(sources, left_on="id", right_on="_id", how="left", maintain_order="left")
    return (
        joined.with_columns(pl.coalesce("mixpanel.id", "id").alias("id"))
        .select(QUARANTINE_SCHEMA.names)
        .sort("line", nulls_last=True)
    )


def write_quarantine(staging: Staging, rows: pl.DataFrame, name: str = QUARANTINE_FILE) -> tuple[Part, ...]:
    """Writes the rows (QUARANTINE_SCHEMA, more columns stay) as one Parquet file; the manifest's entry for it."""
    if rows.is_empty():
        return ()
    table = rows.to_arrow()
    kept = [field for field in QUARANTINE_SCHEMA if field.name in rows.columns]
    more = [pa.field(name, pa.string()) for name in rows.columns if name not in QUARANTINE_SCHEMA.names]
    with staging.open(name) as file:
        pq.write_table(table.cast(pa.schema([*kept, *more])), file, compression="zstd")
    return (Part(name, rows.height, file.size),)


def read_groups(
    day: Day, manifest: Committed | None, kind: str = "quarantine", columns: list[str] | None = None
) -> Iterator[pl.DataFrame]:
    """The committed files of a kind, a row group at a time; none where nothing is committed."""
    for path in day.files(manifest, kind) if manifest is not None else ():
        with day.storage.open_read(path) as file:
            parquet = pq.ParquetFile(file)
            for group in range(parquet.num_row_groups):
                yield pl.DataFrame(pl.from_arrow(parquet.read_row_group(group, columns=columns)))


def with_platform_id(mapping: DatasetMapping, frames: Iterable[pl.DataFrame]) -> Iterator[pl.DataFrame]:
    """The frames with the column `_id` as the Platform gets it.

    Only the mappings of `_id` are computed: a set of the user's own may make it of something else than `mixpanel.id`.
    """
    own = tuple(one for one in mapping.mapping_set.mappings if one.destination == "_id")
    of_id = compile_mapping(dataclasses.replace(mapping.mapping_set, mappings=own), mapping.schema, derived=DERIVED)
    for frame in frames:
        yield frame.with_columns(of_id.apply(frame).frame["_id"])


def _by_platform_id(connection: Connection, day: str, ids: set[str]) -> pl.DataFrame:
    """The source rows with these `_id`s in the Platform."""
    wanted = pl.Series(sorted(ids))
    found = [
        frame.select(_NO_SOURCES.columns).filter(pl.col("_id").is_in(wanted.implode()))
        for frame in with_platform_id(connection.mapping, source_rows(connection, day))
    ]
    return pl.concat([_NO_SOURCES, *found]).unique("_id", keep="first", maintain_order=True)


_NO_SOURCES = pl.DataFrame(
    schema={"_id": pl.String, "mixpanel.id": pl.String, "line": pl.Int64, "event": pl.String, "properties": pl.String}
)
