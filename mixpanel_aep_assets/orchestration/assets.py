"""The three nouns of a connection: `raw_events`, `xdm_events`, `aep_batch`, one partition a day.

What belongs here: for each day one call of the pipeline, and its numbers as metadata. What does not: anything about the
data itself (`pipeline` and the rooms below it), when the assets run (`automation`), what must hold (`checks`).
"""

from collections.abc import Callable
from functools import cache, partial
from typing import Any, TypeVar

import dagster as dg

from mixpanel_aep_assets.connection import Connection
from mixpanel_aep_assets.manifests import BatchManifest, Changes, Exported, RawManifest, XdmManifest, as_json
from mixpanel_aep_assets.orchestration import backfill, failures, metadata
from mixpanel_aep_assets.orchestration.resources import ConnectionResource
from mixpanel_aep_assets.pipeline.books import report
from mixpanel_aep_assets.pipeline.insight import previews
from mixpanel_aep_assets.pipeline.steps import day_exports, export_requests, extract, load, time_modes, transform

Made = TypeVar("Made")


def build_assets(
    name: str,
    days: dg.PartitionsDefinition[str],
    *,
    resource_key: str,
    owners: list[str] | None = None,
    uri: str,
) -> list[dg.AssetsDefinition]:
    """The assets of the connection `name`, keyed `[name, noun]`, reading the resource `resource_key`.

    `uri` is that of the storage, which the days lie below.
    """
    common: dict[str, Any] = {
        "key_prefix": [name],
        "group_name": name,
        "partitions_def": days,
        "owners": owners,
        "required_resource_keys": {resource_key},
    }

    @dg.asset(  # type: ignore[untyped-decorator]
        **common,
        kinds={"mixpanel", "parquet"},
        pool=f"mixpanel_export_{name}",
        code_version=extract.VERSION,
        metadata={"dagster/uri": f"{uri}/{name}/{extract.TABLE}"},
        description="A day of Mixpanel's raw export, exactly as sent, in Parquet. The partition is the day requested "
        "from the Export API. Lines that are not events are kept in a quarantine file with line number and reason.",
    )
    def raw_events(context: dg.AssetExecutionContext) -> dg.MaterializeResult[Any]:
        together = backfill.pass_of(context, failures.days_of(context, days))
        force = failures.is_forced(context.run.tags)

        def step(connection: Connection, day: str, *, log: Callable[[str], None]) -> Exported:
            waited = failures.UNSURE_TAG in context.run.tags
            settled = time_modes.settle_day(connection, day, log=log) if waited else None
            if settled is not None:
                return Exported(settled, unchanged=True)
            return day_exports.extract_day(connection, day, together=together, force=force, log=log)

        return materialize(context, resource_key, step, _raw_metadata, lambda made: made.manifest.digest)

    @dg.asset(  # type: ignore[untyped-decorator]
        **common,
        deps=[raw_events],
        kinds={"polars", "parquet"},
        code_version=transform.VERSION,
        metadata={"dagster/uri": f"{uri}/{name}/{transform.TABLE}"},
        description="The day's events as XDM ExperienceEvents: duplicates removed, time in true UTC, identities, the "
        "mapping set applied, columns in the exact Parquet types of the dataset's schema. Rows that cannot conform are "
        "quarantined with their reasons.",
    )
    def xdm_events(context: dg.AssetExecutionContext) -> dg.MaterializeResult[Any]:
        def describe(manifest: XdmManifest, resource: ConnectionResource) -> dict[str, Any]:
            return _xdm_metadata(manifest, resource, raw_events.key)

        return materialize(context, resource_key, transform.transform_day, describe, lambda made: made.data_version)

    @dg.asset(  # type: ignore[untyped-decorator]
        **common,
        deps=[xdm_events],
        kinds={"adobe"},
        pool=f"aep_upload_{name}",
        code_version=load.VERSION,
        description="The day as one Platform batch, with its receipt. Running a finished day again uploads nothing; a "
        "changed day replaces its earlier batch. The asset ends when the batch is handed over; a sensor follows it.",
    )
    def aep_batch(context: dg.AssetExecutionContext) -> dg.MaterializeResult[Any]:
        step = partial(load.load_day, force=failures.is_forced(context.run.tags))
        return materialize(context, resource_key, step, _batch_metadata, lambda made: made.data_version)

    return [raw_events, xdm_events, aep_batch]


def materialize(
    context: dg.AssetExecutionContext,
    resource_key: str,
    step: Callable[..., Made],
    describe: Callable[[Made, ConnectionResource], dict[str, Any]],
    version: Callable[[Made], str],
) -> dg.MaterializeResult[Any]:
    """The days of the run through `step`, each described by what the step made of it, of which `version` gives the day's
    data version.

    The metadata of a range is that of each of its days.
    """
    resource: ConnectionResource = getattr(context.resources, resource_key)
    described: dict[str, Any] = {}
    versions = []
    days = failures.days_of(context, context.assets_def.partitions_def)
    for day in days:
        with failures.explained(context, context.asset_key.path[0], day):
            made = step(resource.connection, day, log=metadata.plainly(context.log.info))
            described = metadata.shown(partial(describe, made, resource), context.log.warning)
        versions.append(version(made))
        if len(days) > 1:
            context.add_asset_metadata(described, partition_key=day)
    if len(versions) > 1:
        return dg.MaterializeResult(metadata={"days": len(versions)})
    return dg.MaterializeResult(metadata=described, data_version=dg.DataVersion(versions[0]))


def _files(resource: ConnectionResource, table: str, day: str, generation: str) -> dg.MetadataValue[Any]:
    stored = resource.connection.day(table, day)
    return dg.MetadataValue.path(stored.storage.location(f"{stored.path}/{generation}"))


def _raw_metadata(made: Exported, resource: ConnectionResource) -> dict[str, Any]:
    connection, manifest = resource.connection, made.manifest
    body = manifest.body
    others = export_requests.of_day(connection, manifest.day)
    seen = cache(partial(previews.of_raw_events, connection, manifest))

    def looked_at(rows: Callable[[previews.RawPreview], previews.Rows], how: str) -> dg.MetadataValue[Any]:
        of_day = seen()
        caption = f"In the first {of_day.looked_at:,} of {of_day.rows:,} events{how}."
        return metadata.table(rows(of_day), caption=caption)

    return {
        "dagster/partition_row_count": manifest.rows,
        "dagster/size_bytes": sum(part.bytes for part in manifest.parts),
        "exported": manifest.exported,
        "quarantined": manifest.quarantined,
        "quarantine_reasons": report.reason_rows(manifest.reasons),
        "lines_outside_days": sum(one.count for one in others),
        "requests_with_lines_outside": export_requests.reason_rows(others),
        "body_bytes": body.bytes,
        "wire_bytes": body.wire_bytes,
        "seconds": round(body.seconds, 3),
        "rows_per_second": metadata.rate(manifest.exported, body.seconds),
        "time_mode": manifest.time_mode if manifest.time_evidence.sure else "not known yet",
        "time_zone": manifest.timezone,
        "changed": not made.unchanged,
        **({"not_believed": made.doubt} if made.doubt is not None else {}),
        **_changes(made),
        "export_request": partial(_request, manifest),
        "files": partial(_files, resource, extract.TABLE, manifest.day, manifest.generation),
        "preview": lambda: metadata.table(extract.preview(connection, manifest.day, 10)),
        "properties": lambda: looked_at(lambda of_day: of_day.properties, ", most frequent first"),
        "top_values": lambda: looked_at(lambda of_day: of_day.values, "; properties whose values repeat"),
        "dagster/column_schema": partial(metadata.column_schema, extract.SCHEMA, extract.COLUMNS),
    }


def _changes(made: Exported) -> dict[str, int]:
    """Events that this reading of the day has and the one before had not, and the like; nothing of a first reading."""
    found = Changes() if made.unchanged else made.manifest.changes
    return {f"events_{what}": count for what, count in as_json(found).items()} if found is not None else {}


def _request(manifest: RawManifest) -> str:
    """How the day was asked for."""
    if manifest.slices is not None:
        return f"{manifest.slices.requests} requests by {manifest.slices.by}"
    return f"{manifest.window.first} to {manifest.window.last}" if manifest.window is not None else "the day alone"


def _xdm_metadata(manifest: XdmManifest, resource: ConnectionResource, raw: dg.AssetKey) -> dict[str, Any]:
    connection, day = resource.connection, manifest.day
    return {
        "dagster/partition_row_count": manifest.rows,
        "dagster/size_bytes": sum(part.bytes for part in manifest.parts),
        "duplicates": manifest.duplicates,
        "quarantined": manifest.quarantined,
        "quarantine_reasons": as_json(manifest.violations),
        "mapping_errors": as_json(manifest.mapping_errors),
        "seconds": round(manifest.seconds, 3),
        "rows_per_second": metadata.rate(manifest.rows, manifest.seconds),
        "schema": manifest.schema,
        "mapping": manifest.mapping,
        "files": partial(_files, resource, transform.TABLE, day, manifest.generation),
        "preview": lambda: metadata.table(transform.preview(connection, day, 10)),
        "fields": lambda: metadata.table(
            previews.field_rows(connection, manifest),
            caption=f"Fields with values or violations in {manifest.rows:,} events, violated ones first.",
        ),
        "before_and_after": lambda: metadata.texts(
            text
            for number, (before, after) in enumerate(previews.before_and_after(connection, manifest), 1)
            for text in ((f"**Event {number}, raw**", before), (f"**Event {number}, XDM**", after))
        ),
        "dagster/column_lineage": lambda: metadata.column_lineage(raw, transform.lineage(connection, day)),
    } | ({"dagster/column_schema": partial(_columns, connection, day)} if manifest.parts else {})


def _columns(connection: Connection, day: str) -> dg.TableSchema:
    return metadata.column_schema(transform.arrow_schema(connection, day), transform.described(connection.mapping))


def _counts(connection: Connection, day: str) -> dict[str, Any]:
    """The day's row of the report; of what the Platform has not said yet it says so."""
    row = report.known(report.counts_of(connection, day))
    return {name: "not known yet" if value is None and name in report.COUNTS else value for name, value in row.items()}


def _batch_metadata(manifest: BatchManifest, resource: ConnectionResource) -> dict[str, Any]:
    batch_id = manifest.batch_id
    return {
        "dagster/partition_row_count": manifest.rows,
        "dagster/size_bytes": manifest.bytes,
        "action": manifest.action,
        "batch_id": batch_id or None,
        "external_id": manifest.external_id or "",
        "status": manifest.status,
        "replaced_batches": ", ".join(manifest.predecessors) or "none",
        "guardrails": [{"warning": text} for text in manifest.guardrails],
        "seconds": round(manifest.seconds, 3),
        "rows_per_second": metadata.rate(manifest.rows, manifest.seconds),
        "counts": lambda: metadata.table([_counts(resource.connection, manifest.day)]),
    } | ({"batch_url": lambda: metadata.url(load.batch_url(resource.connection, batch_id))} if batch_id else {})
