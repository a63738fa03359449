"""The asset `property_drift`, one partition a day, and its check: which properties are new, changed or gone.

Its numbers are metadata of each partition, which the UI plots over the days. It warns and blocks nothing. What does not
belong here: finding out (`pipeline.drift`).
"""

from functools import partial
from typing import Any

import dagster as dg

from mixpanel_aep_assets import failures, metadata
from mixpanel_aep_assets.checks import result
from mixpanel_aep_assets.connection import Opened
from mixpanel_aep_assets.pipeline import drift, verify
from mixpanel_aep_assets.resources import ConnectionResource


def build_drift(
    raw_events: dg.AssetsDefinition, *, resource_key: str, owners: list[str]
) -> tuple[dg.AssetsDefinition, dg.AssetChecksDefinition]:
    """The asset and its check beside the connection's `raw_events`, in the same partitions."""
    name = raw_events.key.path[0]

    @dg.asset(
        key_prefix=[name],
        group_name=name,
        partitions_def=raw_events.partitions_def,
        owners=owners,
        required_resource_keys={resource_key},
        retry_policy=failures.CRASH_RETRY,
        deps=[raw_events],
        kinds={"polars"},
        code_version=drift.VERSION,
        automation_condition=dg.AutomationCondition.eager(),
        description="Which properties of the day are new, have values of another type, or are gone, against the accepted "
        "schema plan or, without one, the days before. Its numbers are plotted over the days.",
    )
    def property_drift(context: dg.AssetExecutionContext) -> dg.MaterializeResult[Any]:
        opened = getattr(context.resources, resource_key).opened
        described: dict[str, Any] = {}
        versions = []
        days = failures.days_of(context, raw_events.partitions_def)
        for day in days:
            with failures.explained(context, name, day):
                manifest = drift.drift_day(opened, day, log=metadata.plainly(context.log.info))
                described = metadata.shown(partial(_metadata, manifest, opened), context.log.warning)
            versions.append(str(manifest["data_version"]))
            if len(days) > 1:
                context.add_asset_metadata(described, partition_key=day)
        if len(versions) > 1:
            return dg.MaterializeResult(metadata={"days": len(versions)})
        return dg.MaterializeResult(metadata=described, data_version=dg.DataVersion(versions[0]))

    @dg.asset_check(
        asset=property_drift,
        name="properties_have_not_drifted",
        description="No property is new, has values of another type, or is gone. A warning; nothing is held up.",
        partitions_def=raw_events.partitions_def,
        blocking=False,
        required_resource_keys={resource_key},
    )
    def check(context: dg.AssetCheckExecutionContext) -> dg.AssetCheckResult:
        resource: ConnectionResource = getattr(context.resources, resource_key)
        findings = []
        for day in failures.days_of(context, raw_events.partitions_def):
            with failures.explained(context, name, day):
                findings.append(verify.properties_have_not_drifted(resource.opened, day))
        return result(findings, context.log.warning)

    return property_drift, check


def _metadata(manifest: dict[str, Any], opened: Opened) -> dict[str, Any]:
    against = manifest["against"] or "nothing: no plan is accepted and no day before is exported"
    return {
        "properties": manifest["properties"],
        "new": manifest["new"],
        "changed": manifest["changed"],
        "vanished": manifest["vanished"],
        "conflicts": manifest["conflicts"],
        "events": manifest["rows"],
        "against": against,
        "found": lambda: metadata.table(manifest["found"], caption=f"Held against {against}."),
        "history": lambda: metadata.table(
            drift.history(opened, manifest["day"]), caption="The days so far, newest first."
        ),
    }
