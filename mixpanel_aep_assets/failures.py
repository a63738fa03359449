"""What a domain error means to Dagster: try again soon, let go of the worker and come back later, or stop and tell.

Every domain error carries its own sentence (what happened, where, what to do) and says whether a later try can help:
`retryable`, and `wait` seconds where the other side named them. A bug stays a traceback; bad input never does.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

import dagster as dg

from mixpanel_aep_assets.storage import StorageError, now

SHORT_WAIT = 60.0
"""Seconds that a step may hold its worker while it waits; for longer the run ends and a sensor brings it back."""

MAX_RETRIES = 3

CONNECTION_TAG = "mixpanel_aep/connection"
RETRY_AT_TAG = "mixpanel_aep/retry_at"
"""Run tag: UTC time (ISO 8601) at which the requeue sensor launches the same partition again."""

CRASH_RETRY = dg.RetryPolicy(max_retries=0)
"""The clients retry what can be retried; the policy only keeps Dagster from adding tries of its own."""


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
        if not is_domain_error(error):
            raise
        wait = float(getattr(error, "wait", None) or 0.0)
        if getattr(error, "retryable", False):
            if wait <= SHORT_WAIT and context.retry_number < MAX_RETRIES:
                raise dg.RetryRequested(max_retries=MAX_RETRIES, seconds_to_wait=wait or 5.0) from error
            retry_at = now() + timedelta(seconds=max(wait, SHORT_WAIT))
            context.instance.add_run_tags(
                context.run.run_id, {RETRY_AT_TAG: retry_at.isoformat(), CONNECTION_TAG: connection}
            )
            raise dg.Failure(
                f"{day}: {error} The run lets go of its worker and is launched again at {retry_at:%H:%M:%S} UTC "
                "(sensor requeue).",
                allow_retries=False,
            ) from None
        raise dg.Failure(f"{day}: {error}", metadata={"day": day}, allow_retries=False) from None


def is_domain_error(error: BaseException) -> bool:
    """True for errors that explain themselves: storage's, and those of the rooms, which all carry `retryable`."""
    return isinstance(error, StorageError) or hasattr(error, "retryable")
