"""The irreversible steps of a batch, each with a receipt before it and one after it.

A process may die between any two lines here; `recovery` finds out what came of the step whose second receipt is
missing. Another process may take the partition over at any time: the next receipt then raises ClaimLost. What does
not belong here: which step is right (`batch`, `recovery`).
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from mixpanel_aep_assets.aep import catalog, ingest
from mixpanel_aep_assets.aep.catalog import Batch
from mixpanel_aep_assets.aep.entries import Intended, Kind
from mixpanel_aep_assets.aep.http import PlatformClient
from mixpanel_aep_assets.aep.ingest import FileToSend, NewBatch
from mixpanel_aep_assets.aep.platform_errors import AepError, BadRequest, BatchVanished, ClaimLost, Conflict, NotFound
from mixpanel_aep_assets.aep.receipts import Attempt, Receipts
from mixpanel_aep_assets.aep.states import FAILURE, GONE, LOADING, MISSING

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Handover:
    """The steps for one dataset, on a claimed partition."""

    client: PlatformClient
    receipts: Receipts
    dataset_id: str

    def make(self, new: NewBatch, data_version: str, files: str, rows: int, size: int, part: str) -> Attempt:
        """Makes a batch. A lost answer is looked up (`ingest.create`)."""
        attempt = self.intend(new, data_version, files, rows, size, part)
        batch_id = ingest.create(self.client, new, self.known())
        return self.receipts.step(attempt.number, Kind.CREATED, batch_id=batch_id)

    def intend(self, new: NewBatch, data_version: str, files: str, rows: int, size: int, part: str) -> Attempt:
        """The receipt before a batch is made."""
        self.receipts.record(
            Intended(
                external_id=new.external_id,
                target=self.client.platform.target,
                dataset_id=new.dataset_id,
                data_version=data_version,
                files=files,
                rows=rows,
                bytes=size,
                predecessors=tuple(new.predecessors),
                part=part,
            )
        )
        return self.receipts.state.attempts[-1]

    def fill(self, attempt: Attempt, files: Sequence[FileToSend], progress: Callable[[int], None] | None) -> None:
        """Uploads the files. What cannot be mended by another try cancels the batch; else it stays to be resumed.

        Raises ClaimLost when somebody else has ended the batch meanwhile.
        """

        def sent(count: int) -> None:
            self.receipts.check()
            if progress is not None:
                progress(count)

        try:
            ingest.upload_all(self.client, _id(attempt), self.dataset_id, files, sent)
        except AepError as error:
            if not error.retryable and self._cancelled(attempt).step == Kind.ENDED:
                raise self._taken(attempt) from error
            raise

    def hand_over(self, attempt: Attempt) -> Attempt:
        """COMPLETE. When the Platform says that it is too late for that, its state decides: ClaimLost if it ended."""
        attempt = self.receipts.step(attempt.number, Kind.COMPLETING)
        try:
            ingest.complete(self.client, _id(attempt))
        except (BadRequest, Conflict, NotFound) as error:
            found = self.look(attempt)
            if found is None or found.status == LOADING:
                raise
            attempt = self.note(attempt, found)
            if not attempt.handed_over:
                raise self._taken(attempt) from error
            return attempt
        return self.receipts.step(attempt.number, Kind.COMPLETED)

    def cancel(self, attempt: Attempt) -> Attempt:
        """ABORT of a batch that was not handed over; when it is too late for that, its state decides."""
        attempt = self.receipts.step(attempt.number, Kind.ABORTING)
        try:
            ingest.abort(self.client, _id(attempt))
        except (BadRequest, Conflict, NotFound):
            found = self.look(attempt)
            if found is None:
                return self.receipts.step(attempt.number, Kind.ENDED, status=MISSING)
            if found.status == LOADING:
                raise
            return self.note(attempt, found)
        return self.receipts.step(attempt.number, Kind.ABORTED)

    def take_back(self, attempt: Attempt) -> Attempt:
        """REVERT of a live batch."""
        attempt = self.receipts.step(attempt.number, Kind.REVERTING)
        try:
            ingest.revert(self.client, _id(attempt))
        except (BadRequest, Conflict, NotFound):
            found = self.look(attempt)
            if found is not None and found.status not in GONE:
                raise
        return self.receipts.step(attempt.number, Kind.REVERTED)

    def note(self, attempt: Attempt, found: Batch) -> Attempt:
        """Writes down a state that was found and not brought about: handed over, or ended."""
        if found.status in FAILURE | GONE:
            return self.receipts.step(attempt.number, Kind.ENDED, batch_id=found.id, status=found.status)
        return self.receipts.step(attempt.number, Kind.COMPLETED, batch_id=found.id, found=True)

    def look(self, attempt: Attempt) -> Batch | None:
        return catalog.batch(self.client, _id(attempt))

    def vanished(self, attempt: Attempt) -> BatchVanished:
        return BatchVanished(
            f"The batch {attempt.batch_id} of this day is not in the sandbox {self.client.platform.sandbox!r}",
            where=self.receipts.entries.path,
        )

    def known(self) -> frozenset[str]:
        """Ids of the batches that the receipts tell of, at this address.

        One that was made through another address (a proxy, an emulator on another port) is met again by its tags, and
        must be taken in here, or the day would be sent twice.
        """
        target = self.client.platform.target
        return frozenset(a.batch_id for a in self.receipts.state.attempts if a.batch_id and a.target == target)

    def _cancelled(self, attempt: Attempt) -> Attempt:
        try:
            return self.cancel(attempt)
        except ClaimLost:
            raise
        except AepError as error:
            log.warning("The batch %s stays in loading: %s", attempt.batch_id, error)
            return attempt

    def _taken(self, attempt: Attempt) -> ClaimLost:
        now = self.receipts.state.attempts[attempt.number - 1]
        return ClaimLost(
            f"The batch {attempt.batch_id} was ended by somebody else ({now.status}) before it was handed over",
            fix="Nothing of it is live; run the day again.",
        )


def _id(attempt: Attempt) -> str:
    if attempt.batch_id is None:
        raise RuntimeError(f"The attempt {attempt.number} has no batch yet")
    return attempt.batch_id
