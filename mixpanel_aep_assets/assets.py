"""The three nouns of a connection: `raw_events`, `xdm_events`, `aep_batch`, one partition a day.

What belongs here: for each day one call of the pipeline, and its numbers as metadata. What does not: anything about the
data itself (`pipeline` and the rooms below it), when the assets run (`automation`), what must hold (`checks`).
"""

from collections.abc import Callable
from functools import cache, partial
from typing import Any

import dagster as dg

from mixpanel_aep_assets import backfill, failures, metadata
from mixpanel_aep_assets.connection import Opened
from mixpanel_aep_assets.pipeline import (
    export_requests,
    extract,
    history,
    load,
    previews,
    report,
    time_modes,
    transform,
)
from mixpanel_aep_assets.resources import ConnectionResource


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
        description="A day of Mixpanel's raw export, exactly as sent, in Parquet. The partition is the day that the "
        "Export API is asked for. Lines that are no events are kept in a quarantine file with number and reason.",
    )
    def raw_events(context: dg.AssetExecutionContext) -> dg.MaterializeResult[Any]:
        together = backfill.pass_of(context, failures.days_of(context, days))
        force = failures.is_forced(context.run.tags)

        def step(opened: Opened, day: str, *, log: Callable[[str], None]) -> dict[str, Any]:
            waited = failures.UNSURE_TAG in context.run.tags
            settled = time_modes.settle_day(opened, day, log=log) if waited else None
            return settled or history.extract_day(opened, day, together=together, force=force, log=log)

        return materialize(context, resource_key, step, _raw_metadata, "digest")

    @dg.asset(  # type: ignore[untyped-decorator]
        **common,
        deps=[raw_events],
        kinds={"polars", "parquet"},
        code_version=transform.VERSION,
        metadata={"dagster/uri": f"{uri}/{name}/{transform.TABLE}"},
        description="The day's events as XDM ExperienceEvents: duplicates removed, time in true UTC, identities, the "
        "mapping set applied, columns in the exact Parquet types of the dataset's schema. Rows that cannot conform are "
        "set aside with their reasons.",
    )
    def xdm_events(context: dg.AssetExecutionContext) -> dg.MaterializeResult[Any]:
        def describe(manifest: dict[str, Any], resource: ConnectionResource) -> dict[str, Any]:
            return _xdm_metadata(manifest, resource, raw_events.key)

        return materialize(context, resource_key, transform.transform_day, describe, "data_version")

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
        return materialize(context, resource_key, step, _batch_metadata, "data_version")

    return [raw_events, xdm_events, aep_batch]


def materialize(
    context: dg.AssetExecutionContext,
    resource_key: str,
    step: Callable[..., dict[str, Any]],
    describe: Callable[[dict[str, Any], ConnectionResource], dict[str, Any]],
    version: str,
) -> dg.MaterializeResult[Any]:
    """The days of the run through `step`, each described by its manifest, whose key `version` is the day's data version.

    The metadata of a range is that of each of its days.
    """
    resource: ConnectionResource = getattr(context.resources, resource_key)
    described: dict[str, Any] = {}
    versions = []
    days = failures.days_of(context, context.assets_def.partitions_def)
    for day in days:
        with failures.explained(context, context.asset_key.path[0], day):
            manifest = step(resource.opened, day, log=metadata.plainly(context.log.info))
            described = metadata.shown(partial(describe, manifest, resource), context.log.warning)
        versions.append(str(manifest[version]))
        if len(days) > 1:
            context.add_asset_metadata(described, partition_key=day)
    if len(versions) > 1:
        return dg.MaterializeResult(metadata={"days": len(versions)})
    return dg.MaterializeResult(metadata=described, data_version=dg.DataVersion(versions[0]))


def _files(resource: ConnectionResource, manifest: dict[str, Any], table: str) -> dg.MetadataValue[Any]:
    day = resource.opened.day(table, manifest["day"])
    return dg.MetadataValue.path(day.storage.location(f"{day.path}/{manifest['generation']}"))


def _raw_metadata(manifest: dict[str, Any], resource: ConnectionResource) -> dict[str, Any]:
    opened = resource.opened
    body = manifest["body"]
    others = export_requests.of_day(opened, manifest["day"])
    seen = cache(partial(previews.of_raw_events, opened, manifest))

    def looked_at(rows: Callable[[previews.RawPreview], previews.Rows], how: str) -> dg.MetadataValue[Any]:
        of_day = seen()
        caption = f"In the first {of_day.looked_at:,} of {of_day.rows:,} events{how}."
        return metadata.table(rows(of_day), caption=caption)

    return {
        "dagster/partition_row_count": manifest["rows"],
        "dagster/size_bytes": sum(part["bytes"] for part in manifest["parts"]),
        "exported": manifest["exported"],
        "quarantined": manifest["quarantined"],
        "quarantine_reasons": report.reason_rows(manifest["reasons"]),
        "lines_outside_days": sum(one.count for one in others),
        "requests_with_lines_outside": export_requests.reason_rows(others),
        "body_bytes": body["bytes"],
        "wire_bytes": body["wire_bytes"],
        "seconds": round(body["seconds"], 3),
        "rows_per_second": metadata.rate(manifest["exported"], body["seconds"]),
        "time_mode": manifest["time_mode"] if manifest["time_evidence"]["sure"] else "not known yet",
        "time_zone": manifest["timezone"],
        "changed": not manifest.get("unchanged", False),
        **({"not_believed": manifest["doubt"]} if "doubt" in manifest else {}),
        **_changes(manifest),
        "export_request": partial(_request, manifest),
        "files": partial(_files, resource, manifest, extract.TABLE),
        "preview": lambda: metadata.table(extract.preview(opened, manifest["day"], 10)),
        "properties": lambda: looked_at(lambda of_day: of_day.properties, ", most frequent first"),
        "top_values": lambda: looked_at(lambda of_day: of_day.values, "; properties whose values repeat"),
        "dagster/column_schema": partial(metadata.column_schema, extract.SCHEMA, extract.COLUMNS),
    }


def _changes(manifest: dict[str, Any]) -> dict[str, int]:
    """Events that this reading of the day has and the one before had not, and the like; nothing of a first reading."""
    found = manifest.get("changes")
    if found is None and not manifest.get("unchanged"):
        return {}
    now = {} if found is None or manifest.get("unchanged") else found
    return {f"events_{what}": now.get(what, 0) for what in ("appeared", "changed", "vanished")}


def _request(manifest: dict[str, Any]) -> str:
    """How the day was asked for."""
    if slices := manifest.get("slices"):
        return f"{slices['requests']} requests by {slices['by']}"
    window = manifest.get("window")
    if window is None:
        return "the day alone"
    return f"{window['from']} to {window['to']}"


def _xdm_metadata(manifest: dict[str, Any], resource: ConnectionResource, raw: dg.AssetKey) -> dict[str, Any]:
    opened, day = resource.opened, manifest["day"]
    return {
        "dagster/partition_row_count": manifest["rows"],
        "dagster/size_bytes": sum(part["bytes"] for part in manifest["parts"]),
        "duplicates": manifest["duplicates"],
        "quarantined": manifest["quarantined"],
        "quarantine_reasons": manifest["violations"],
        "mapping_errors": manifest["mapping_errors"],
        "seconds": round(manifest["seconds"], 3),
        "rows_per_second": metadata.rate(manifest["rows"], manifest["seconds"]),
        "schema": manifest["schema"],
        "mapping": manifest["mapping"],
        "files": partial(_files, resource, manifest, transform.TABLE),
        "preview": lambda: metadata.table(transform.preview(opened, day, 10)),
        "fields": lambda: metadata.table(
            previews.field_rows(opened, manifest),
            caption=f"Fields with values or violations in {manifest['rows']:,} events, violated ones first.",
        ),
        "before_and_after": lambda: metadata.texts(
            text
            for number, (before, after) in enumerate(previews.before_and_after(opened, manifest), 1)
            for text in ((f"**Event {number}, raw**", before), (f"**Event {number}, XDM**", after))
        ),
        "dagster/column_lineage": lambda: metadata.column_lineage(raw, transform.lineage(opened, day)),
    } | ({"dagster/column_schema": partial(_columns, opened, day)} if manifest["parts"] else {})


def _columns(opened: Opened, day: str) -> dg.TableSchema:
    return metadata.column_schema(transform.arrow_schema(opened, day), transform.described(opened))


def _counts(opened: Opened, day: str) -> dict[str, Any]:
    """The day's row of the report; of what the Platform has not said yet it says so."""
    row = report.known(report.counts_of(opened, day))
    return {name: "not known yet" if value is None and name in report.COUNTS else value for name, value in row.items()}


def _batch_metadata(manifest: dict[str, Any], resource: ConnectionResource) -> dict[str, Any]:
    batch_id = manifest["batch_id"]
    return {
        "dagster/partition_row_count": manifest["rows"],
        "dagster/size_bytes": manifest["bytes"],
        "action": manifest["action"],
        "batch_id": batch_id or None,
        "external_id": manifest["external_id"] or "",
        "status": manifest["status"],
        "replaced_batches": ", ".join(manifest["predecessors"]) or "none",
        "guardrails": [{"warning": text} for text in manifest["guardrails"]],
        "seconds": round(manifest["seconds"], 3),
        "rows_per_second": metadata.rate(manifest["rows"], manifest["seconds"]),
        "counts": lambda: metadata.table([_counts(resource.opened, manifest["day"])]),
    } | ({"batch_url": lambda: metadata.url(load.batch_url(resource.opened, batch_id))} if batch_id else {})
