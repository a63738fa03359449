"""When things run: the daily job and its schedule, re-reading of late days, the sensors that follow and requeue.

What does not belong here: what a run does (`assets`, `checks`).
"""

import contextlib
import datetime
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, TypedDict

import dagster as dg

from mixpanel_aep_assets.orchestration import backfill, failures
from mixpanel_aep_assets.orchestration.checks import INGESTED
from mixpanel_aep_assets.orchestration.resources import ConnectionResource
from mixpanel_aep_assets.pipeline.steps import load
from mixpanel_aep_assets.pipeline.steps.run_groups import Pass

FOLLOW_SECONDS = 60
FOLLOW_LIMIT = 100
"""Batches that one tick asks the Platform about; a tick must end within the daemon's 60 s."""

REREAD_TAG = "mixpanel_aep/reread"
REREAD_TAGS = {REREAD_TAG: "true", "dagster/priority": "-1"}
"""Of runs that read a day again for late events: to find them in the UI, and so that new days go first in the queue."""

WEEKLY_DEPTH = 30
"""Days that are read again once a week, on Mondays, however few are on the others."""

NO_BATCH = "(none: the day has no events)"
"""Stands in materializations of 0.1.0 and before for a batch id."""

REQUEUE_LIMIT = 100
"""Runs that one tick brings back; the others follow with the next ticks."""

KEPT_TAGS = {
    *REREAD_TAGS,
    failures.FORCE_TAG,
    failures.REQUEUES_TAG,
    failures.WAITS_TAG,
    failures.UNSURE_TAG,
}
"""Tags that a run has from the one in whose place it is launched."""


class Cursor(TypedDict):
    """What a tick of the follow sensor leaves for the next: the last materialization read, and day -> batch id still open."""

    after: int | None
    open: dict[str, str]


def daily_job(name: str, assets: Sequence[dg.AssetsDefinition]) -> Any:
    """raw → xdm → checks → batch of one day; the check of the Platform's verdict is left to `confirm_job`."""
    keys = [asset.key for asset in assets]
    verdict = dg.AssetSelection.checks(dg.AssetCheckKey(keys[-1], INGESTED))
    return dg.define_asset_job(
        f"{name}_daily",
        selection=dg.AssetSelection.assets(*keys) - verdict,
        description=f"A day of {name}: export, XDM, conformance, upload.",
        tags=failures.NO_RUN_RETRY,
    )


def drift_sensor(name: str, drifted: dg.AssetsDefinition, *, running: bool) -> dg.AutomationConditionSensorDefinition:
    """Materializes the newest day's `property_drift` once its raw events are there, in a run of its own.

    Not in the daily job: nobody should wait for a profile, and one that fails should turn no delivered day red.
    """
    return dg.AutomationConditionSensorDefinition(
        name=f"{name}_drift",
        target=dg.AssetSelection.assets(drifted.key),
        default_status=dg.DefaultSensorStatus.RUNNING if running else dg.DefaultSensorStatus.STOPPED,
        description="Looks at the properties of the newest day when it is exported.",
    )


def confirm_job(name: str, batch: dg.AssetKey) -> Any:
    """Only the check that asks the Platform what became of a batch; run for a day by the tag `dagster/partition`."""
    return dg.define_asset_job(
        f"{name}_confirm",
        selection=dg.AssetSelection.checks(dg.AssetCheckKey(batch, INGESTED)),
        description="Asks the Platform what became of a handed-over batch, fetches its diagnostics, counts up.",
        tags=failures.NO_RUN_RETRY,
    )


def closed_days(days: dg.TimeWindowPartitionsDefinition, at: datetime.datetime, delay: datetime.timedelta) -> list[str]:
    """Partition keys whose day ended at least `delay` before `at`, oldest first."""
    return list(days.get_partition_keys(current_time=at - delay))


def daily_schedule(
    name: str,
    job: Any,
    days: dg.TimeWindowPartitionsDefinition,
    *,
    hour: int,
    minute: int,
    delay: datetime.timedelta,
    look_back: int,
    running: bool,
) -> dg.ScheduleDefinition:
    """Every day at hour:minute of the partitions' zone: the last closed day, and the `look_back` days before it again.

    Mixpanel takes events up to five days late (mixpanel.md#late-data), so days are re-read; one whose digest is
    unchanged goes no further than the digest. On the first day of the week it looks back WEEKLY_DEPTH days.
    """

    @dg.schedule(
        name=f"{name}_daily",
        job=job,
        cron_schedule=f"{minute} {hour} * * *",
        execution_timezone=days.timezone,
        default_status=dg.DefaultScheduleStatus.RUNNING if running else dg.DefaultScheduleStatus.STOPPED,
        description=f"The last closed day, and the {look_back} days before it again for late events.",
    )
    def schedule(context: dg.ScheduleEvaluationContext) -> Iterator[dg.RunRequest | dg.SkipReason]:
        at = context.scheduled_execution_time
        keys = closed_days(days, at, delay)
        if not keys:
            yield dg.SkipReason("No day is closed yet.")
            return
        depth = max(WEEKLY_DEPTH, look_back) if at.weekday() == 0 else look_back
        wanted = keys[-1 - depth :]
        together = backfill.tags(Pass(f"daily-{keys[-1]}", tuple(wanted)))  # few requests for all of them
        for key in reversed(wanted):
            again = key != keys[-1]
            yield dg.RunRequest(
                partition_key=key,
                run_key=f"{key} as of {keys[-1]}",
                tags=together | (REREAD_TAGS if again else {}),
            )

    return schedule


def follow_sensor(name: str, batch: dg.AssetKey, job: Any, resource_key: str, *, running: bool) -> dg.SensorDefinition:
    """Follows handed-over batches to their final state and asks for the check of their day.

    The cursor holds the last materialization read and the batches still open. The sensor reports nothing itself: a
    check evaluation without a run cannot be repeated for a partition (dagster.md#checks-from-sensors).
    """

    @dg.sensor(
        name=f"{name}_batch_status",
        job=job,
        minimum_interval_seconds=FOLLOW_SECONDS,
        required_resource_keys={resource_key},
        default_status=dg.DefaultSensorStatus.RUNNING if running else dg.DefaultSensorStatus.STOPPED,
        description="Follows uploaded batches to their final state, then runs the check of their day.",
    )
    def sensor(context: dg.SensorEvaluationContext) -> dg.SensorResult:
        resource: ConnectionResource = getattr(context.resources, resource_key)
        cursor: Cursor = json.loads(context.cursor) if context.cursor else {"after": None, "open": {}}
        still_open, after = read_handed_over(context.instance, batch, cursor)
        finished: list[tuple[str, str, str]] = []
        for day, batch_id in list(still_open.items())[:FOLLOW_LIMIT]:
            del still_open[day]
            status, final = load.status(resource.connection, batch_id)
            if final:
                finished.append((day, batch_id, status))
            else:
                still_open[day] = batch_id  # behind the others, so that each has its turn
            if status == load.UNKNOWN:
                break
        requests = [
            dg.RunRequest(run_key=f"{batch_id}:{status}", tags={"dagster/partition": day})
            for day, batch_id, status in finished
        ]
        skip = None if requests else dg.SkipReason(f"{len(still_open)} batches are still in progress.")
        return dg.SensorResult(
            run_requests=requests, skip_reason=skip, cursor=json.dumps(Cursor(after=after, open=still_open))
        )

    return sensor


def read_handed_over(
    instance: dg.DagsterInstance, batch: dg.AssetKey, cursor: Cursor
) -> tuple[dict[str, str], int | None]:
    """Day -> batch id of the batches to follow, and the storage id up to which materializations were read."""
    still_open = dict(cursor["open"])
    after = cursor["after"]
    records = instance.fetch_materializations(
        dg.AssetRecordsFilter(batch, after_storage_id=after), limit=FOLLOW_LIMIT * 10, ascending=True
    )
    for record in records.records:
        after = record.storage_id
        materialization = record.asset_materialization
        if materialization is None or record.partition_key is None:
            continue
        if batch_id := _batch_id(materialization.metadata):
            still_open[record.partition_key] = batch_id
        else:
            still_open.pop(record.partition_key, None)
    return still_open, after


def _batch_id(metadata: Mapping[str, dg.MetadataValue[Any]]) -> str | None:
    """The batch that a materialization of `aep_batch` tells of; None of a day without events."""
    found = metadata.get("batch_id", metadata.get("batch"))  # `batch` until 0.1.0, a text where there was none
    if found is None or not found.value or found.value == NO_BATCH:
        return None
    return str(found.value)


def requeue_sensor(
    name: str, jobs: Sequence[Any], mode_is_known: Callable[[], bool], *, running: bool
) -> dg.SensorDefinition:
    """Launches again, once their time has come, runs that let go of their worker to wait (spent budget, busy day).

    The time of a run that waits for the time mode has come when `mode_is_known`, which is asked once a tick at most.
    """
    by_name = {job.name: job for job in jobs}

    @dg.sensor(
        name=f"{name}_requeue",
        jobs=list(jobs),
        minimum_interval_seconds=30,
        default_status=dg.DefaultSensorStatus.RUNNING if running else dg.DefaultSensorStatus.STOPPED,
        description="Launches waiting runs again when the export budget, or the other run, lets them, and those of days that "
        "came before the time mode was known.",
    )
    def sensor(context: dg.SensorEvaluationContext) -> dg.SensorResult:
        for run_id in json.loads(context.cursor or "[]"):  # brought back by the tick before, which came to its end
            with contextlib.suppress(dg.DagsterRunNotFoundError):
                context.instance.add_run_tags(run_id, {failures.REQUEUE_TAG: "done"})
        due = {failures.CONNECTION_TAG: name, failures.REQUEUE_TAG: "due"}
        runs = context.instance.get_runs(dg.RunsFilter(statuses=[dg.DagsterRunStatus.FAILURE], tags=due))
        at = datetime.datetime.now(datetime.UTC)
        requests = []
        known: bool | None = None
        for run in reversed(runs):  # oldest first
            day = run.tags.get("dagster/partition")
            if not day or run.tags.get(failures.LET_GO_TAG) != run.run_id:
                continue
            if datetime.datetime.fromisoformat(run.tags[failures.RETRY_AT_TAG]) > at:
                continue
            if run.tags.get(failures.WAITING_TAG) == failures.TIME_MODE:
                known = mode_is_known() if known is None else known
                if not known:
                    continue
            job = run.job_name if run.job_name in by_name else jobs[0].name
            tags = {"dagster/partition": day} | {tag: value for tag, value in run.tags.items() if tag in KEPT_TAGS}
            tags |= backfill.tags_kept(run.tags)
            requests.append((run.run_id, dg.RunRequest(run_key=f"after {run.run_id}", job_name=job, tags=tags)))
            if len(requests) == REQUEUE_LIMIT:
                break
        return dg.SensorResult(
            run_requests=[request for _, request in requests],
            skip_reason=None if requests else dg.SkipReason("No run is due again."),
            cursor=json.dumps([run_id for run_id, _ in requests]),
        )

    return sensor
