"""Step one: a day of Mixpanel's export into the table `raw_events`."""

from __future__ import annotations

import datetime
from collections.abc import Callable

import polars as pl
import pyarrow as pa

from mixpanel_aep_assets import manifests
from mixpanel_aep_assets.connection import Connection
from mixpanel_aep_assets.errors import ExplainedError
from mixpanel_aep_assets.manifests import Exported, RawManifest
from mixpanel_aep_assets.mixpanel import calendar, export
from mixpanel_aep_assets.mixpanel.doubt import Judge
from mixpanel_aep_assets.mixpanel.export_retry import Retry
from mixpanel_aep_assets.mixpanel.mixpanel_errors import DateTooLate
from mixpanel_aep_assets.mixpanel.parts import FILE_SCHEMA
from mixpanel_aep_assets.mixpanel.time_mode import Decision, Mode, configured
from mixpanel_aep_assets.pipeline.steps import evidence, redaction, time_modes
from mixpanel_aep_assets.runtime import workers

TABLE = time_modes.TABLE
VERSION = "1"
SCHEMA: pa.Schema = FILE_SCHEMA

COLUMNS = {
    "line": "Number of the line in the export, from 1.",
    "event": "Event name as sent.",
    "time_ms": "`time` in milliseconds: UTC, or the project's wall clock written as UTC (see the time mode).",
    "distinct_id": "Canonical id at the time of the export.",
    "distinct_id_before_identity": "Id before identities were merged; part of the key that finds duplicates.",
    "device_id": "`$device_id`, without prefix.",
    "user_id": "`$user_id`.",
    "insert_id": "`$insert_id`; not unique by itself.",
    "received_ms": "`$mp_api_timestamp_ms`: receipt at Mixpanel, UTC.",
    "processing_ms": "`mp_processing_time_ms`, UTC.",
    "imported": "`$import`: sent by the import API, so the receipt time says nothing about the event's time.",
    "properties": "All properties as JSON text, as sent.",
    "content": "Hash of `properties`, which distinguishes events with the same key.",
}
"""What each column holds, for the UI."""


class NotExported(ExplainedError):
    """The day has no raw files yet."""


def stored(connection: Connection, day: str) -> RawManifest | None:
    """What was committed last of the day; None where it was never exported."""
    return manifests.read(connection.day(TABLE, day), RawManifest)


def extract_day(
    connection: Connection,
    day: str,
    *,
    force: bool = False,
    log: Callable[[str], None] = lambda _: None,
    retry: Retry | None = None,
) -> Exported:
    """Exports the day and commits it (see `mixpanel.export`). The digest is the data version.

    An answer that has lost events is only believed with evidence (`mixpanel.doubt`), or with `force`. Raises the errors of
    `mixpanel.mixpanel_errors` and `storage.StorageError`; what was committed before stays.
    """
    decided = connection.time_mode()
    require_closed(connection, day, decided)
    connection.storage.sweep(connection.settings.name, day)
    date, table = datetime.date.fromisoformat(day), connection.day(TABLE, day)
    others = time_modes.pool(connection, [date])

    def request(judge: Judge) -> evidence.Days:
        return {
            date: export.export_day(
                connection.mixpanel,
                table,
                date,
                mode=decided,
                others=others,
                retry=retry,
                log=log,
                progress=_make_ready,
                judge=judge,
            )
        }

    made = evidence.read(connection, TABLE, [date], request, force=force, log=log, retry=retry)[date]
    time_modes.remember(connection, made.manifest)
    return made


def _make_ready(rows: int, _bytes: int) -> None:
    if rows >= workers.LARGE:
        workers.start_ahead()


def require_closed(connection: Connection, day: str, decided: Decision | None) -> None:
    """Raises DateTooLate while the day still runs where Mixpanel counts days; in both zones while the mode is unknown."""
    last, zones = last_closed_day(connection, decided)
    if datetime.date.fromisoformat(day) > last:
        raise DateTooLate(
            f"{day} is not over yet where Mixpanel counts days ({', '.join(zones)})",
            fix=f"Only closed days are exported, because a running day changes; the last one is {last}.",
        )


def last_closed_day(connection: Connection, decided: Decision | None) -> tuple[datetime.date, list[str]]:
    """The last day that is over where Mixpanel counts days, and the zones in which it may count them."""
    source = connection.mixpanel.source
    known = decided or configured(source.time_mode, source.timezone)
    zone = source.timezone or "UTC"
    modes: tuple[Mode, ...] = (known.required(),) if known is not None else ("utc", "project")
    last = min(calendar.last_closed_day(mode, zone) for mode in modes)
    return last, [calendar.partition_zone(mode, zone) for mode in modes]


def preview(connection: Connection, day: str, rows: int) -> list[dict[str, object]]:
    """The first events of the day after the privacy rules, for a person."""
    manifest = stored(connection, day)
    files = connection.day(TABLE, day).locations(manifest) if manifest is not None else []
    if manifest is None or not files:
        return []
    frame = redaction.redacted(connection, manifest, pl.scan_parquet(files[0], glob=False).head(rows).collect())
    return frame.drop("imported", "processing_ms", "content", strict=False).to_dicts()
