"""Following a batch to its final state, and reading its counts (platform.md#batch-states and platform.md#catalog).

What does not belong here: the rows that were refused (`diagnostics`), what is done about them.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from mixpanel_aep_assets.aep import catalog, diagnostics
from mixpanel_aep_assets.aep.catalog import Batch
from mixpanel_aep_assets.aep.diagnostics import Diagnostics
from mixpanel_aep_assets.aep.http import PlatformClient
from mixpanel_aep_assets.aep.platform_errors import BatchVanished
from mixpanel_aep_assets.aep.recovery import PARTITION_TAG
from mixpanel_aep_assets.aep.states import FAILURE, FINAL, STALLED, SUCCESS
from mixpanel_aep_assets.manifests import BatchError

log = logging.getLogger(__name__)

FIRST_PAUSE = 5.0
LONGEST_PAUSE = 60.0
GROWTH = 1.5
"""Section 12: poll after 5 s, then x 1.5, at most 60 s."""

INPUT_METRICS = ("inputRecordCount", "inputRecordSize", "recordsRead")
OUTPUT_METRICS = ("outputRecordCount", "outputRecordSize", "recordsWritten")
FAILED_METRICS = ("failedRecordCount", "recordsFailed")
"""Names of today, those of the troubleshooting page, then those of very old batches (platform.md#catalog)."""


@dataclass(frozen=True)
class Outcome:
    """What is known of a batch.

    `final`: the state will not change any more by itself · `ok`: its rows are live · `stalled`: the Platform has used
    up its own tries, a person should open a support case · `ingested`, `rejected`: rows; None while unknown ·
    `seconds`: from creation to the end, by the Platform's clock.
    """

    batch_id: str
    status: str
    final: bool
    ok: bool
    stalled: bool
    received: int | None
    ingested: int | None
    rejected: int | None
    errors: tuple[BatchError, ...]
    diagnostics: Diagnostics | None = None
    external_id: str = ""
    seconds: float | None = None

    def text(self) -> str:
        """One sentence for a log or a check."""
        if self.ok:
            return f"Batch {self.batch_id} is live: {self.ingested} rows ingested, {self.rejected} rejected."
        reasons = "; ".join(f"{e.code}: {e.description}" for e in self.errors[:3])
        if self.final:
            return f"Batch {self.batch_id} is {self.status}" + (f": {reasons}" if reasons else ".")
        if self.stalled:
            return (
                f"Batch {self.batch_id} is stalled: the Platform's own tries are used up. Open a support case with "
                "Adobe and name the batch id; the day is not lost and not sent again meanwhile."
            )
        return f"Batch {self.batch_id} is {self.status}, not final yet."


def status(
    client: PlatformClient, batch_id: str, *, uploaded: int | None = None, with_diagnostics: bool = False
) -> Outcome:
    """The batch as it is now. `uploaded` (rows sent) completes the counts where the Platform gives none.

    Raises BatchVanished when the sandbox has no such batch.
    """
    found = catalog.batch(client, batch_id)
    if found is None:
        raise BatchVanished(f"There is no batch {batch_id} in the sandbox {client.platform.sandbox!r}")
    outcome = _outcome(found, uploaded)
    if with_diagnostics and outcome.final and (outcome.rejected or outcome.errors):
        outcome = replace(outcome, diagnostics=diagnostics.download(client, batch_id))
    return outcome


def live(client: PlatformClient, dataset_id: str, partition: str) -> list[Outcome]:
    """The live batches of a day (its name in their tags) by the Catalog, oldest first, whoever made them."""
    found = catalog.batches(client, dataSet=dataset_id, tags=f"{PARTITION_TAG}:{partition}")
    return [
        _outcome(batch, None)
        for batch in found
        if batch.status in SUCCESS and batch.tag(PARTITION_TAG) == partition and dataset_id in batch.dataset_ids
    ]


def follow_batch(
    client: PlatformClient,
    batch_id: str,
    *,
    timeout: float = 7_200.0,
    uploaded: int | None = None,
    with_diagnostics: bool = True,
    first_pause: float = FIRST_PAUSE,
    seen: Callable[[Outcome], None] | None = None,
) -> Outcome:
    """Polls until the batch is final or the time is up; then returns what is known and leaves the batch alone.

    `seen` is called with each new state. A batch that is `stalled` is said so once in the log and followed on.
    """
    deadline = time.monotonic() + timeout
    pause, last = first_pause, ""
    while True:
        outcome = status(client, batch_id, uploaded=uploaded, with_diagnostics=with_diagnostics)
        if outcome.status != last:
            last = outcome.status
            log.log(logging.WARNING if outcome.stalled else logging.INFO, "%s", outcome.text())
            if seen is not None:
                seen(outcome)
        left = deadline - time.monotonic()
        if outcome.final or left <= 0:
            return outcome
        time.sleep(min(pause, left))
        pause = min(pause * GROWTH, LONGEST_PAUSE)


def _outcome(batch: Batch, uploaded: int | None) -> Outcome:
    ok = batch.status in SUCCESS
    failed = batch.status in FAILURE
    received = _count(batch.metrics, INPUT_METRICS)
    received = _count(batch.raw, ("recordCount",)) if received is None else received
    ingested = _count(batch.metrics, OUTPUT_METRICS)
    rejected = _count(batch.metrics, FAILED_METRICS)
    rejected = _count(batch.raw, ("failedRecordCount",)) if rejected is None else rejected
    total = received if received is not None else uploaded
    if failed:
        # All or nothing: none of the rows of a failed batch is live, however many of them were good.
        ingested, rejected = 0, uploaded if uploaded is not None else received
    elif ok and total is not None:
        if ingested is None:
            ingested = total - (rejected or 0)
        if rejected is None:
            rejected = total - ingested
    return Outcome(
        batch_id=batch.id,
        status=batch.status,
        final=batch.status in FINAL,
        ok=ok,
        stalled=batch.status == STALLED,
        received=received,
        ingested=ingested,
        rejected=rejected,
        errors=tuple(_error(e) for e in batch.errors),
        external_id=batch.external_id,
        seconds=(batch.completed - batch.created) / 1000 if batch.completed and batch.created else None,
    )


def _error(body: Mapping[str, Any]) -> BatchError:
    count = body.get("recordCount")
    return BatchError(
        str(body.get("code") or ""), str(body.get("description") or ""), int(count) if count is not None else None
    )


def _count(numbers: Mapping[str, Any], names: tuple[str, ...]) -> int | None:
    value = next((numbers[name] for name in names if numbers.get(name) is not None), None)
    try:
        return None if value is None else int(value)
    except (TypeError, ValueError):
        return None
