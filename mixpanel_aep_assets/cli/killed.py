"""Runs of a command whose process was killed.

Dagster takes them for running, and they hold their slots in the pools: the next command would wait for them for ever.
"""

from __future__ import annotations

import json
from typing import Any

from mixpanel_aep_assets.runtime.owner import Owner

COMMAND_TAG = "mixpanel_aep/command"
"""Run tag: the run belongs to the process of a command."""

PROCESS_TAG = "mixpanel_aep/process"
"""Run tag: that process (`runtime.owner.Owner` as JSON)."""


def tags() -> dict[str, str]:
    """Of the runs of this process. Dagster's own retry of a crashed run is off: the command is called again instead."""
    return {COMMAND_TAG: "run", PROCESS_TAG: json.dumps(Owner.this().as_json()), "dagster/max_retries": "0"}


def end(instance: Any) -> None:
    """Marks the runs of commands as failed whose process is surely dead, and frees their slots."""
    import dagster as dg

    begun = [dg.DagsterRunStatus.STARTING, dg.DagsterRunStatus.STARTED, dg.DagsterRunStatus.CANCELING]
    for run in instance.get_runs(dg.RunsFilter(statuses=begun, tags={COMMAND_TAG: "run"})):
        if Owner.of(json.loads(run.tags[PROCESS_TAG])).is_dead(""):
            instance.report_run_failed(run, "The process of the command was killed.")
            if instance.event_log_storage.supports_global_concurrency_limits:
                instance.event_log_storage.free_concurrency_slots_for_run(run.run_id)
