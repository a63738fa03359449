"""Step two: a day of `raw_events` as XDM ExperienceEvents in the table `xdm_events`.

Duplicates are found first, over the whole day; then slices of it become XDM (`shaping`), those of a large day in as many
processes as there are cores (`workers`).
"""

from __future__ import annotations

import datetime
import hashlib
import re
import time
from collections import Counter
from collections.abc import Callable
from functools import partial
from typing import Any

import orjson
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from mixpanel_aep_assets import manifests
from mixpanel_aep_assets.connection import Connection
from mixpanel_aep_assets.connection.dataset_mapping import DatasetMapping
from mixpanel_aep_assets.dataprep.interpreter.evaluate import failure
from mixpanel_aep_assets.dataprep.language.mapping_set import MappingSet
from mixpanel_aep_assets.manifests import MappingError, RawManifest, Violations, XdmManifest
from mixpanel_aep_assets.mixpanel import dedup, identity
from mixpanel_aep_assets.mixpanel.mixpanel_errors import TimeModeUnsure
from mixpanel_aep_assets.pipeline.steps import extract, redaction, time_modes
from mixpanel_aep_assets.pipeline.steps.rows_to_xdm import RowsToXdm, derived
from mixpanel_aep_assets.pipeline.steps.shaping import (
    QUARANTINE_SCHEMA,
    Counted,
    Place,
    Shaper,
    group_rows,
    row_group,
    slices,
)
from mixpanel_aep_assets.runtime import workers
from mixpanel_aep_assets.storage import Day, Staging, Storage, reading
from mixpanel_aep_assets.xdm.conformance import Conformance, SeenIds

__all__ = ["QUARANTINE_SCHEMA", "TABLE", "VERSION"]

TABLE = "xdm_events"
VERSION = "2"
"""Of the rules that make XDM files of raw ones. A day of version 1 stays as it is unless version 2 reads rows of it otherwise
(`_differs_from_version_1`): then it is made anew, and its batch replaced, the next time it is materialized."""

CHECKED = 1 << 15
"""Rows that are checked at a time: fewer cost more time, since some is spent on each slice, more take memory."""

SOURCE_TOLD = 60
"""Characters of a mapping's source in the description of its column."""


def transform_day(
    connection: Connection, day: str, *, log: Callable[[str], None] = lambda _: None, target: Storage | None = None
) -> XdmManifest:
    """Transforms the day and commits it, to `target` instead of the connection's storage where that is given.

    A day whose raw digest, mapping and schema are unchanged is left as it is (`VERSION`).
    Raises NotExported, TimeModeUnsure (not for `target`, a preview), OtherPrivacyRules, the errors of `dataprep`,
    `aep.platform_errors` (schema) and `storage.StorageError`.
    """
    began = time.perf_counter()
    raw = connection.day(extract.TABLE, day)
    source = extract.stored(connection, day)
    if source is None:
        raise extract.NotExported(
            f"{connection.settings.name} {day}: no raw files; materialize raw_events of the day first."
        )
    if target is None and source.rows and not source.time_evidence.sure:
        source = time_modes.settle_day(connection, day, log=log)
        if source is None:
            raise TimeModeUnsure("What `time` means is not known yet, so the day is not turned into XDM")
    written = (target or connection.storage).day(connection.settings.name, TABLE, day)
    version = _data_version(connection, source)
    current = manifests.read(written, XdmManifest)
    if current is not None and (
        current.data_version == version
        or (
            current.data_version == _data_version(connection, source, "1")
            and not _differs_from_version_1(raw, source, current)
        )
    ):
        log(f"{day}: raw events, mapping and schema are unchanged; the XDM files stay")
        return current
    with written.stage() as staging, redaction.readable(connection, raw, source) as (storage, files):
        counted = _transform(connection.mapping, storage, files, source, staging)
        log(f"{day}: {counted.rows} events, {counted.duplicates} duplicates, {counted.quarantined} quarantined")
        made = XdmManifest(
            day=day,
            parts=tuple(counted.parts),
            quarantine=tuple(counted.quarantine),
            rows=counted.rows,
            duplicates=counted.duplicates,
            quarantined=counted.quarantined,
            violations=_listed(counted.violations),
            warnings=_listed(counted.warnings),
            examples=tuple(counted.examples),
            mapping_errors=_errors(counted, connection.mapping.mapping_set),
            oversized=counted.oversized,
            raw_digest=source.digest,
            data_version=version,
            schema=connection.mapping.schema.id,
            mapping=connection.mapping.name,
            seconds=time.perf_counter() - began,
        )
        return manifests.commit(staging, made)


def stored(connection: Connection, day: str) -> XdmManifest | None:
    """The manifest of the committed day, None where there is none. Raises StorageError."""
    return manifests.read(connection.day(TABLE, day), XdmManifest)


def _transform(
    mapping: DatasetMapping, storage: Storage, files: list[str], source: RawManifest, staging: Staging
) -> Counted:
    shaper = Shaper(
        source=storage,
        target=staging.day,
        generation=staging.generation,
        to_xdm=RowsToXdm.of(mapping),
        time_mode=source.time_mode,
        timezone=source.timezone,
    )
    processes = workers.cores() if source.rows >= workers.LARGE else 1
    counted = Counted()
    with workers.workers(processes) as over:
        twice = dedup.find([storage.location(path) for path in files], over)
        for part in over(shaper.shape, slices(storage, files, twice, processes)):
            counted.add(part)
    return counted


def _listed(counts: Counter[Place]) -> tuple[Violations, ...]:
    return tuple(Violations(pointer, rule, rows) for (pointer, rule), rows in sorted(counts.items()))


def _errors(counted: Counted, mapping_set: MappingSet) -> tuple[MappingError, ...]:
    """Mappings that could not be computed in some rows, the most frequent first: Adobe's shape of an error, and the rows."""
    known = {mapping.destination: mapping for mapping in mapping_set.mappings}
    found = sorted(counted.mapping_errors.items(), key=lambda item: (-item[1], item[0]))
    failures = ((failure(known[where], counted.exceptions[where]), rows) for where, rows in found)
    return tuple(
        MappingError(
            source=one.source,
            destination=one.destination,
            source_type=one.source_type,
            column_name=one.column_name,
            exception=one.exception,
            rows=rows,
        )
        for one, rows in failures
    )


def _data_version(connection: Connection, source: RawManifest, rules: str = VERSION) -> str:
    """Of everything that the XDM files are a function of."""
    parts = [rules, source.digest, source.time_mode, source.timezone, connection.mapping.fingerprint]
    if (privacy := redaction.pending(connection, source.privacy, source.day)) is not None:
        parts.append(privacy.fingerprint)
    return hashlib.sha256(orjson.dumps(parts)).hexdigest()[:32]


@reading()
def _differs_from_version_1(raw: Day, source: RawManifest, current: XdmManifest) -> bool:
    """Whether events were set aside, which may conform now, or rows have another `_id` or other identities than in version 1.

    Reads the columns of ids alone.
    """
    if current.quarantined:
        return True
    concerned = (dedup.keyed_otherwise_in_version_1() | identity.refused_since_version_1()).any()
    return any(
        pl.scan_parquet(location, glob=False).select(concerned).collect(engine="streaming").item()
        for location in raw.locations(source)
    )


def preview(connection: Connection, day: str, rows: int) -> list[dict[str, object]]:
    """The first events of the day as they will be uploaded, for a person."""
    files = connection.day(TABLE, day).files(stored(connection, day))
    if not files:
        return []
    with connection.storage.open_read(files[0]) as file:
        group = pq.ParquetFile(file).read_row_group(0).slice(0, rows)
    return [_compact(row) for row in group.to_pylist()]


def _compact(row: dict[str, object]) -> dict[str, object]:
    shown: dict[str, object] = {}
    for key, value in row.items():
        if isinstance(value, datetime.datetime):
            shown[key] = value.isoformat(timespec="milliseconds")
        elif isinstance(value, (dict, list)):
            shown[key] = orjson.dumps(without_nulls(value), default=str).decode()
        else:
            shown[key] = value
    return shown


def without_nulls(value: Any) -> Any:
    """The value without the null members of its objects, as it will be uploaded."""
    if isinstance(value, dict):
        return {k: without_nulls(v) for k, v in value.items() if v is not None}
    if isinstance(value, (list, tuple)):
        return [without_nulls(v) for v in value]
    return value


def violations_left(connection: Connection, day: str) -> int:
    """Rows of the committed files that do not conform: read back and checked once more, a slice at a time. All rows of a file
    with a column that the Platform cannot read.

    Our own `_id` is unique by its making. One of the user's mapping set is watched over the whole day, at eight bytes a row,
    which takes one process; else large days are checked by as many as there are cores.
    """
    table = connection.day(TABLE, day)
    manifest = stored(connection, day)
    files = table.files(manifest)
    if any(m.destination == "_id" and m.source != "mixpanel.id" for m in connection.mapping.mapping_set.mappings):
        seen = SeenIds()
        return sum(_violations_in(file, connection.storage, connection.mapping.conformance, seen) for file in files)
    large = manifest is not None and manifest.rows >= workers.LARGE
    with workers.workers(workers.cores() if large else 1) as over:
        return sum(
            over(partial(_violations_in, storage=connection.storage, conformance=connection.mapping.conformance), files)
        )


def _violations_in(path: str, storage: Storage, conformance: Conformance, seen: SeenIds | None = None) -> int:
    with storage.open_read(path) as file:
        metadata = pq.read_metadata(file)
    if conformance.columns(metadata.schema):
        return int(metadata.num_rows)
    bad = first = 0
    for rows in group_rows(storage, path):
        for frame in row_group(storage, path, first, rows).iter_slices(CHECKED):
            wrong = conformance.check(frame).bad
            if seen is not None:
                wrong = wrong | seen.repeated(frame["_id"])
            bad += int(wrong.sum() or 0)
        first += rows
    return bad


def arrow_schema(connection: Connection, day: str) -> pa.Schema | None:
    """The Parquet schema of the day's files, None for an empty day."""
    files = connection.day(TABLE, day).files(stored(connection, day))
    if not files:
        return None
    with connection.storage.open_read(files[0]) as file:
        return pq.read_schema(file)


def described(mapping: DatasetMapping) -> dict[str, str]:
    """XDM column as a dotted path -> what the mapping says of it: its description, else its source. For the UI."""
    told = {}
    for one in mapping.mapping_set.mappings:
        path = re.sub(r"\[\d*\]", "[*]", one.destination)
        source = " ".join(one.source.split())  # in words, not as code, which the UI's table would not wrap
        source = source if len(source) <= SOURCE_TOLD else f"{source[: SOURCE_TOLD - 1]}…"
        told[path] = f"{one.description}; from {source}" if one.description else f"from {source}"
    return told


def lineage(connection: Connection, day: str) -> dict[str, list[str]]:
    """XDM root column -> columns of `raw_events` that it is made from, as the compiled mapping set reads them.

    Raises NotExported: which columns tell an event's instant depends on the day's time mode.
    """
    source = extract.stored(connection, day)
    if source is None:
        raise extract.NotExported(
            f"{connection.settings.name} {day}: no raw files; materialize raw_events of the day first."
        )
    made_of = {
        name: frozenset(expression.meta.root_names())
        for name, expression in derived(source.time_mode, source.timezone).items()
    }
    read = {
        root: frozenset[str]().union(*(made_of.get(column, {column}) for column in columns))
        for root, columns in connection.mapping.compiled.lineage.items()
    }
    return {root: sorted(columns & set(extract.SCHEMA.names)) for root, columns in read.items()}
