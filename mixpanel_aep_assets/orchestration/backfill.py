"""Which days a run is read together with, by its tags: those of a Dagster backfill, of a night's re-reads, of a command.

What does not belong here: what such runs do together (`pipeline.steps.day_exports`).
"""

from __future__ import annotations

import datetime
from collections.abc import Mapping, Sequence

import dagster as dg

from mixpanel_aep_assets.pipeline.steps.run_groups import Pass

TOGETHER_TAG = "mixpanel_aep/together"
"""Run tag: runs that have the same read their days together."""

DAYS_TAG = "mixpanel_aep/together_days"
"""Run tag: `first..last`, the days of these runs; a backfill's are asked of Dagster."""

BACKFILL_TAG = "dagster/backfill"
AGAIN_TAG = "dagster/parent_run_id"
"""On a run that repeats another: somebody wants this day again, so it is read anew, alone."""


def tags(together: Pass) -> dict[str, str]:
    """What a run of consecutive days needs to read them together."""
    return {TOGETHER_TAG: together.id, DAYS_TAG: f"{together.days[0]}..{together.days[-1]}"}


def tags_kept(run_tags: Mapping[str, str]) -> dict[str, str]:
    """The same for a run that is launched in the place of one with these tags."""
    kept = {tag: run_tags[tag] for tag in (TOGETHER_TAG, DAYS_TAG) if tag in run_tags}
    if BACKFILL_TAG in run_tags:
        kept.setdefault(TOGETHER_TAG, run_tags[BACKFILL_TAG])
    return kept


def pass_of(context: dg.AssetExecutionContext, keys: Sequence[str]) -> Pass | None:
    """The runs that this one, of the days `keys`, reads its days with; None where it stands alone."""
    found = context.run.tags
    if AGAIN_TAG in found:
        return None
    if len(keys) > 1:  # a range in one run
        return Pass(context.run.run_id, tuple(keys))
    pass_id = found.get(TOGETHER_TAG) or found.get(BACKFILL_TAG)
    if pass_id is None:
        return None
    first, _, last = found.get(DAYS_TAG, "").partition("..")
    days = _between(first, last) if last else _of_backfill(context, pass_id)
    return Pass(pass_id, tuple(days)) if days else None


def _between(first: str, last: str) -> list[str]:
    day, end = datetime.date.fromisoformat(first), datetime.date.fromisoformat(last)
    return [(day + datetime.timedelta(days=n)).isoformat() for n in range((end - day).days + 1)]


def _of_backfill(context: dg.AssetExecutionContext, backfill_id: str) -> Sequence[str]:
    """The days that the backfill wants of this asset, oldest first."""
    backfill = context.instance.get_backfill(backfill_id)
    if backfill is None:
        return []
    if backfill.partition_names is not None:  # of a job
        return sorted(backfill.partition_names)
    data = backfill.get_asset_backfill_data(context.repository_def.asset_graph)
    if context.asset_key not in data.target_subset.asset_keys:
        return []
    return sorted(data.target_subset.get_partitions_subset(context.asset_key).get_partition_keys())
