"""The asset `property_drift`, one partition a day, and its check: which properties are new, changed or gone.

Its numbers are metadata of each partition, which the UI plots over the days. It warns and blocks nothing. What does not
belong here: finding out (`pipeline.insight.drift`).
"""

from typing import Any

import dagster as dg

from mixpanel_aep_assets.manifests import DriftManifest, as_json
from mixpanel_aep_assets.orchestration import metadata
from mixpanel_aep_assets.orchestration.assets import materialize
from mixpanel_aep_assets.orchestration.checks import Check, checks_of
from mixpanel_aep_assets.orchestration.resources import ConnectionResource
from mixpanel_aep_assets.pipeline.books import verify
from mixpanel_aep_assets.pipeline.insight import drift


def build_drift(
    raw_events: dg.AssetsDefinition, *, resource_key: str, owners: list[str] | None = None
) -> tuple[dg.AssetsDefinition, dg.AssetChecksDefinition]:
    """The asset and its check beside the connection's `raw_events`, in the same partitions."""
    name = raw_events.key.path[0]

    @dg.asset(
        key_prefix=[name],
        group_name=name,
        partitions_def=raw_events.partitions_def,
        owners=owners,
        required_resource_keys={resource_key},
        deps=[raw_events],
        kinds={"polars"},
        code_version=drift.VERSION,
        automation_condition=dg.AutomationCondition.eager(),
        description="Which properties of the day are new, have values of another type, or are gone, against the accepted "
        "schema plan or, without one, the days before. Its numbers are plotted over the days.",
    )
    def property_drift(context: dg.AssetExecutionContext) -> dg.MaterializeResult[Any]:
        return materialize(context, resource_key, drift.drift_day, _metadata, lambda made: str(made.data_version))

    return property_drift, checks_of(
        property_drift,
        Check(
            "properties_have_not_drifted",
            "No property is new, has values of another type, or is gone. A warning; nothing is held up.",
            verify.properties_have_not_drifted,
            blocking=False,
        ),
        resource_key=resource_key,
    )


def _metadata(manifest: DriftManifest, resource: ConnectionResource) -> dict[str, Any]:
    against = manifest.against or "nothing: no plan is accepted and no day before is exported"
    return {
        "properties": manifest.properties,
        "new": manifest.new,
        "changed": manifest.changed,
        "vanished": manifest.vanished,
        "conflicts": manifest.conflicts,
        "events": manifest.rows,
        "against": against,
        "found": lambda: metadata.table(as_json(manifest.found), caption=f"Held against {against}."),
        "history": lambda: metadata.table(
            drift.history(resource.connection, manifest.day), caption="The days so far, newest first."
        ),
    }
