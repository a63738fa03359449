"""What must hold for a day, as asset checks: each named for the truth it claims, each with its numbers.

Blocking are those where going on would put wrong data into the lake. What does not belong here: how a truth is found
out (`pipeline`), what to do about a red one (README).
"""

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import dagster as dg

from mixpanel_aep_assets.orchestration import failures, metadata
from mixpanel_aep_assets.orchestration.resources import ConnectionResource
from mixpanel_aep_assets.pipeline.books import verify

Finding = verify.Finding

INGESTED = "ingested_by_aep"
"""The check that the batch sensor asks for once a batch is final."""


class Check(NamedTuple):
    """A truth about an asset's day, and how it is found out."""

    name: str
    description: str
    find: Callable[[Any, str], Finding]
    blocking: bool


def build_checks(assets: list[dg.AssetsDefinition], *, resource_key: str) -> list[dg.AssetChecksDefinition]:
    """The checks of a connection's three assets."""
    raw, xdm, batch = assets
    return [
        checks_of(
            raw,
            Check(
                "body_is_whole",
                "The export's body was complete (chunking, gzip trailer, last line, no failure text), and the files on disk "
                "still hold every event of it.",
                verify.body_is_whole,
                blocking=True,
            ),
            Check(
                "lines_belong_to_day",
                "By their time, the lines that the day's request returned belong to the days requested. Those that do not are "
                "quarantined with the request, and are fewer than the connection allows.",
                verify.lines_belong_to_day,
                blocking=True,
            ),
            Check(
                "time_mode_is_sure",
                "Whether `time` is UTC or the project's wall clock is known, and this day's receipt times agree.",
                verify.time_mode_is_sure,
                blocking=True,
            ),
            Check(
                "loss_is_proven",
                "Mixpanel's last answer for the day is what is committed. An answer that is empty or has lost many events "
                "only replaces the day if Mixpanel's own count, a second request or the user confirms it.",
                verify.loss_is_proven,
                blocking=True,
            ),
            resource_key=resource_key,
        ),
        checks_of(
            xdm,
            Check(
                "conforms_to_xdm",
                "Every event in the XDM files conforms to the dataset's schema and the identity rules. Those that do not "
                "are quarantined, and are fewer than the connection allows.",
                verify.conforms_to_xdm,
                blocking=True,
            ),
            Check(
                "mapping_has_no_errors",
                "No attribute was lost to a mapping error.",
                verify.mapping_has_no_errors,
                blocking=False,
            ),
            resource_key=resource_key,
        ),
        checks_of(
            batch,
            Check(
                "counts_add_up",
                "exported = duplicates + quarantined + uploaded.",
                verify.counts_add_up,
                blocking=True,
            ),
            Check(
                "within_guardrails",
                "Platform limits: event batches per day, files per batch, bytes per hour, bytes per event.",
                verify.within_guardrails,
                blocking=False,
            ),
            Check(
                INGESTED,
                "The Platform accepted the batch, and uploaded = ingested + rejected.",
                verify.ingested_by_aep,
                blocking=False,
            ),
            Check(
                "reconciles_with_mixpanel",
                "Mixpanel's own daily counts agree with what was exported and is live.",
                verify.reconciles_with_mixpanel,
                blocking=False,
            ),
            resource_key=resource_key,
        ),
    ]


def checks_of(asset: dg.AssetsDefinition, *checks: Check, resource_key: str) -> dg.AssetChecksDefinition:
    """The checks of an asset, in its partitions, and in one step, since each step costs events in Dagster's log."""
    days, connection = asset.partitions_def, asset.key.path[0]

    @dg.multi_asset_check(
        name=f"{'__'.join(asset.key.path)}_checks",
        specs=[
            dg.AssetCheckSpec(
                check.name,
                asset=asset.key,
                description=check.description,
                blocking=check.blocking,
                partitions_def=days,
            )
            for check in checks
        ],
        can_subset=True,
        required_resource_keys={resource_key},
    )
    def body(context: dg.AssetCheckExecutionContext) -> Iterator[dg.AssetCheckResult]:
        resource: ConnectionResource = getattr(context.resources, resource_key)
        selected = {key.name for key in context.selected_asset_check_keys}
        for check in checks:
            if check.name not in selected:
                continue
            findings = []
            for day in failures.days_of(context, days):
                with failures.explained(context, connection, day):
                    findings.append(check.find(resource.connection, day))
            if any(finding.waits for finding in findings):
                failures.wait_for_time_mode(context, connection)
            yield result(findings, context.log.warning, check.name, asset.key)

    return body


def result(
    findings: list[Finding],
    log: Callable[[str], None],
    name: str | None = None,
    asset: dg.AssetKey | None = None,
) -> dg.AssetCheckResult:
    """One result for the days of a run; with one day, the usual case, exactly its finding.

    `name` and `asset` tell which check it is of, where a step has several. `log` is told of numbers that cannot be shown.
    """
    failed = [finding for finding in findings if not finding.passed]
    worst = next((f for f in failed if f.severe), failed[0] if failed else findings[0])
    return dg.AssetCheckResult(
        check_name=name,
        asset_key=asset,
        passed=not failed,
        severity=dg.AssetCheckSeverity.ERROR if worst.severe else dg.AssetCheckSeverity.WARN,
        description=metadata.description(worst.text),
        metadata=metadata.shown(lambda: worst.numbers, log),
    )
