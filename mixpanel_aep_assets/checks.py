"""What must hold for a day, as asset checks: each named for the truth it claims, each with its numbers.

Blocking are those where going on would put wrong data into the lake. What does not belong here: how a truth is found
out (`pipeline`), what to do about a red one (README).
"""

from collections.abc import Callable
from typing import Any

import dagster as dg

from mixpanel_aep_assets import failures, metadata
from mixpanel_aep_assets.pipeline import verify
from mixpanel_aep_assets.resources import ConnectionResource

Finding = verify.Finding

INGESTED = "ingested_by_aep"
"""The check that the batch sensor asks for once a batch is final."""


def build_checks(
    days: dg.PartitionsDefinition[str], assets: list[dg.AssetsDefinition], *, resource_key: str
) -> list[dg.AssetChecksDefinition]:
    """The checks of a connection's three assets."""
    raw, xdm, batch = assets

    def check(
        asset: dg.AssetsDefinition, name: str, description: str, find: Callable[[Any, str], Finding], *, blocking: bool
    ) -> dg.AssetChecksDefinition:
        @dg.asset_check(
            asset=asset,
            name=name,
            description=description,
            partitions_def=days,
            blocking=blocking,
            required_resource_keys={resource_key},
        )
        def body(context: dg.AssetCheckExecutionContext) -> dg.AssetCheckResult:
            resource: ConnectionResource = getattr(context.resources, resource_key)
            findings = []
            for day in context.partition_keys:
                with failures.explained(context, asset.key.path[0], day):
                    findings.append(find(resource.opened, day))
            return result(findings)

        return body

    return [
        check(
            raw,
            "body_is_whole",
            "The export's body was whole (chunking, gzip trailer, last line, no failure text), and the files on disk "
            "still hold every event of it.",
            verify.body_is_whole,
            blocking=True,
        ),
        check(
            raw,
            "time_mode_is_sure",
            "Whether `time` is UTC or the project's wall clock is known, and this day's receipt times agree.",
            verify.time_mode_is_sure,
            blocking=True,
        ),
        check(
            xdm,
            "conforms_to_xdm",
            "Every event in the XDM files conforms to the dataset's schema and the identity rules; the events that do "
            "not are set aside, and are fewer than the connection allows.",
            verify.conforms_to_xdm,
            blocking=True,
        ),
        check(
            xdm,
            "mapping_has_no_errors",
            "No attribute was lost to an error of the mapping.",
            verify.mapping_has_no_errors,
            blocking=False,
        ),
        check(
            batch,
            "counts_add_up",
            "exported = duplicates + quarantined + uploaded.",
            verify.counts_add_up,
            blocking=True,
        ),
        check(
            batch,
            "within_guardrails",
            "Platform limits: event batches a day, files a batch, bytes an hour, bytes an event.",
            verify.within_guardrails,
            blocking=False,
        ),
        check(
            batch,
            INGESTED,
            "The Platform took the batch, and uploaded = ingested + rejected.",
            verify.ingested_by_aep,
            blocking=False,
        ),
        check(
            batch,
            "reconciles_with_mixpanel",
            "Mixpanel's own daily counts agree with what was exported and is live.",
            verify.reconciles_with_mixpanel,
            blocking=False,
        ),
    ]


def result(findings: list[Finding]) -> dg.AssetCheckResult:
    """One result for the days of a run; with one day, the usual case, exactly its finding."""
    failed = [finding for finding in findings if not finding.passed]
    worst = next((f for f in failed if f.severe), failed[0] if failed else findings[0])
    described: dict[str, Any] = {}
    for key, value in worst.numbers.items():
        described[key] = metadata.table(value) if isinstance(value, list) else value
    return dg.AssetCheckResult(
        passed=not failed,
        severity=dg.AssetCheckSeverity.ERROR if worst.severe else dg.AssetCheckSeverity.WARN,
        description=worst.text,
        metadata=described,
    )
