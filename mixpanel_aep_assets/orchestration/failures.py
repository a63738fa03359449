"""What a domain error means to Dagster: try again soon, let go of the worker and come back later, or stop and tell.

Every domain error carries its own sentence (what happened, where, what to do) and says whether a later try can help:
`retryable`, and `wait` seconds where the other side named them. A bug stays a traceback; bad input never does.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta

import dagster as dg

from mixpanel_aep_assets import display
from mixpanel_aep_assets.connection import VARIABLES
from mixpanel_aep_assets.errors import ExplainedError, causes
from mixpanel_aep_assets.storage import now

SHORT_WAIT = 30.0
"""Seconds that a step may hold its worker while it waits; for longer the run ends and a sensor brings it back."""

MAX_RETRIES = 3

LATER = 900.0
"""Seconds until a run is brought back whose failure may pass by itself (host unreachable, 5xx) after the client's own
tries are used up."""

FIRST_LOOK = 15.0
"""Seconds until a run is brought back that waits for somebody; doubles with each time up to `LATER`, since an earlier
batch or another run may take hours, and each time costs an export request. Longer where the other side asks for longer."""

LONGEST = 6 * 3600.0
"""Seconds that a run is put off at most, whatever the other side asks for."""

LONGEST_TEXT = 4_000
"""Characters of an error's text; those of other sides may hold more than a person reads."""

MAX_REQUEUES = 8
"""Times that one partition is brought back after failures before a person must look."""

MAX_WAITS = 100
"""Times that it is brought back after waits: nothing is wrong then, a long backfill waits for its hour many times."""

CONNECTION_TAG = "mixpanel_aep/connection"
RETRY_AT_TAG = "mixpanel_aep/retry_at"
"""Run tag: UTC time (ISO 8601) at which the requeue sensor launches the same partition again."""

WAITING_TAG = "mixpanel_aep/waiting"
"""Run tag: `true` if the other side named the wait (spent budget, 429, a busy partition), so nothing is wrong; `TIME_MODE`
if the day waits for others to tell the time mode."""

TIME_MODE = "time_mode"

RELEASES_WORKER = "The run frees its worker"
"""How the text goes on that tells of a later launch."""

FORCE_TAG = "mixpanel_aep/force"
"""Run tag: with "true" the day's batch is sent again although its data did not change, and an export that has lost events is
believed without evidence (`run --force`)."""

REQUEUES_TAG = "mixpanel_aep/requeues"
"""Run tag: how often this partition was brought back after a failure."""

WAITS_TAG = "mixpanel_aep/waits"
"""Run tag: how often it was brought back after a wait."""

LET_GO_TAG = "mixpanel_aep/let_go"
"""Run tag: the id of the run that let go. A re-execution from the UI has its parent's tags, and is not meant by them."""

UNSURE_TAG = "mixpanel_aep/unsure"
"""Run tag: how often this partition stopped because the time mode was not known. It is brought back once it is known."""

REQUEUE_TAG = "mixpanel_aep/requeue"
"""Run tag: `due` on a run that is to be brought back, `done` once it was."""

NO_RUN_RETRY = {"dagster/retry_on_asset_or_op_failure": "false"}
"""Run tags: Dagster's run retries, where an instance has them, are for crashes. What a failed step means is said here, and
`allow_retries=False` of a failure stops the retry policy of a step only."""


@contextmanager
def explained(
    context: dg.AssetExecutionContext | dg.AssetCheckExecutionContext, connection: str, day: str
) -> Iterator[None]:
    """Turns domain errors into `RetryRequested` or `Failure` with the error's own text."""
    try:
        yield
    except (dg.Failure, dg.RetryRequested):
        raise
    except Exception as error:
        if not isinstance(error, ExplainedError):
            raise
        wait = error.wait
        if error.retryable and wait is not None and wait <= SHORT_WAIT and context.retry_number < MAX_RETRIES:
            raise dg.RetryRequested(max_retries=MAX_RETRIES, seconds_to_wait=wait) from error
        if behind := causes(error):
            context.log.debug("%s: caused by %s", day, behind)
        # A run that was launched for assets, by a backfill or from the UI, has no tags of a job.
        context.instance.add_run_tags(context.run.run_id, NO_RUN_RETRY)
        if not error.retryable:
            raise dg.Failure(_told(day, error), metadata={"day": day}, allow_retries=False) from None
        raise _later(context, connection, _told(day, error), wait) from None


def _told(day: str, error: Exception) -> str:
    return display.text(f"{day}: {error}", LONGEST_TEXT)


def _later(
    context: dg.AssetExecutionContext | dg.AssetCheckExecutionContext, connection: str, text: str, wait: float | None
) -> dg.Failure:
    """The failure of a run that lets go of its worker, tagged for the sensor that brings it back."""
    tags = context.run.tags
    times, most = (REQUEUES_TAG, MAX_REQUEUES) if wait is None else (WAITS_TAG, MAX_WAITS)
    before = int(tags.get(times, 0))
    if before >= most:
        return dg.Failure(f"{text} It was brought back {most} times already.", allow_retries=False)
    seconds = LATER if wait is None else min(max(wait, min(FIRST_LOOK * 2.0**before, LATER)), LONGEST)
    retry_at = now() + timedelta(seconds=seconds)
    told = {
        RETRY_AT_TAG: retry_at.isoformat(),
        CONNECTION_TAG: connection,
        WAITING_TAG: str(wait is not None).lower(),
        times: str(before + 1),
        LET_GO_TAG: context.run.run_id,
        REQUEUE_TAG: "due",
    }
    context.instance.add_run_tags(context.run.run_id, told)
    return dg.Failure(
        f"{text} {RELEASES_WORKER}; the sensor {connection}_requeue launches it again at {retry_at:%Y-%m-%d %H:%M:%S} UTC.",
        allow_retries=False,
    )


def is_forced(run_tags: Mapping[str, str]) -> bool:
    return run_tags.get(FORCE_TAG) == "true"


def wait_for_time_mode(context: dg.AssetCheckExecutionContext, connection: str) -> None:
    """Tags the run of a day that waits for other days to tell the time mode, for the sensor that brings it back."""
    tags = context.run.tags
    before = int(tags.get(UNSURE_TAG, 0))
    if "dagster/partition" not in tags or before >= MAX_REQUEUES:
        return
    told = {
        UNSURE_TAG: str(before + 1),
        RETRY_AT_TAG: now().isoformat(),
        CONNECTION_TAG: connection,
        WAITING_TAG: TIME_MODE,
        LET_GO_TAG: context.run.run_id,
        REQUEUE_TAG: "due",
    }
    context.instance.add_run_tags(context.run.run_id, told)


def days_of(
    context: dg.AssetExecutionContext | dg.AssetCheckExecutionContext, days: dg.PartitionsDefinition[str] | None
) -> list[str]:
    """The days of the run, oldest first. Raises Failure, in one sentence, for one that is no partition (any more)."""
    named = (context.run.tags.get(f"dagster/{tag}") for tag in _DAY_TAGS)
    if days is not None and (others := sorted({day for day in named if day and not days.has_partition_key(day)})):
        first, last = days.get_first_partition_key(), days.get_last_partition_key()
        raise dg.Failure(
            f"{others[0]} is not a day of {context.job_def.name}: its days go from {first} to {last}. For an earlier day set "
            f"{VARIABLES['start_date']} (or `start_date` in the connection's YAML) back to it and launch it again; a later "
            "one is not over yet.",
            allow_retries=False,
        )
    return list(context.partition_keys)


_DAY_TAGS = ("partition", "asset_partition_range_start", "asset_partition_range_end")
