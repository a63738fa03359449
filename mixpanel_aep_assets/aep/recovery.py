"""Finding out what earlier runs left: steps without their second receipt, batches without any, batches that ended
since.

Afterwards each attempt of the day is either live (handed over, and not ended), resumable (`loading`, with the very
files that are to be sent), or over. What does not belong here: what is done next (`batch`).
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from dataclasses import dataclass, field

from mixpanel_aep_assets.aep import catalog, ingest
from mixpanel_aep_assets.aep.catalog import Batch
from mixpanel_aep_assets.aep.entries import Kind
from mixpanel_aep_assets.aep.handover import Handover
from mixpanel_aep_assets.aep.ingest import NewBatch
from mixpanel_aep_assets.aep.platform_errors import AepError
from mixpanel_aep_assets.aep.receipts import MAIN, Attempt
from mixpanel_aep_assets.aep.states import FAILED, FAILURE, GONE, LOADING, MISSING

log = logging.getLogger(__name__)

PARTITION_TAG = "mixpanelAepPartition"
VERSION_TAG = "mixpanelAepVersion"
PART_TAG = "mixpanelAepPart"
"""Batch tags that let a day's batches be found again even if the receipts are lost; a main batch has no PART_TAG."""


@dataclass
class EarlierBatches:
    """What there is of the day: `live`, oldest first; `adopted` are attempts whose hand-over was found out just now."""

    live: list[tuple[Attempt, Batch]] = field(default_factory=list)
    resumable: list[Attempt] = field(default_factory=list)
    adopted: set[int] = field(default_factory=set)


@dataclass(frozen=True)
class Recovery:
    """Looks after one partition. `version` and `files` tell what is to be sent; `force` gives vanished batches up."""

    steps: Handover
    partition: str
    version: str
    files: str
    force: bool = False

    def attempts(self) -> list[Attempt]:
        """The day's attempts in this dataset, oldest first."""
        target = self.steps.client.platform.target
        every = self.steps.receipts.state.attempts
        return [a for a in every if a.target == target and a.dataset_id == self.steps.dataset_id]

    def find(self) -> EarlierBatches:
        """Brings the receipts up to date with the Catalog."""
        found = EarlierBatches()
        for attempt in self.attempts():
            if attempt.open:
                self._resolve(attempt, found)
        self.meet(catalog.batches(self.steps.client, dataSet=self.steps.dataset_id, tags=self._tag()), found)
        self.refresh(found)
        return found

    def refresh(self, found: EarlierBatches) -> None:
        """Asks for the state of every batch that was handed over; those that ended meanwhile are noted.

        Newest first: a successor that is found live has then already ended what it replaces.
        """
        found.live = []
        for attempt in reversed(self.attempts()):
            if not attempt.handed_over:
                continue
            batch = self.steps.look(attempt)
            if batch is None:
                self._give_up(attempt)
            elif batch.status in FAILURE | GONE:
                self.steps.note(attempt, batch)
            else:
                found.live.append((attempt, batch))
        found.live.sort(key=lambda pair: (pair[1].created, pair[0].number))

    def meet(self, batches: Iterable[Batch], found: EarlierBatches, named_by_us: str | None = None) -> None:
        """Batches of the day that the receipts do not know: live ones are taken in, loading ones are cancelled.

        A batch is the day's by its tags; with `named_by_us` (a part) by its external id, which the caller has compared:
        it says as much, and is there where a gateway keeps no tags.

        A loading one is an orphan of a lost answer, or belongs to a process that works without our receipts; once it is
        cancelled it cannot become a second copy of the day.
        """
        known = self.steps.known()
        for batch in batches:
            if batch.id in known or not (self._ours(batch) or (named_by_us and not batch.tag(PARTITION_TAG))):
                continue
            if batch.status == LOADING:
                self._cancel(batch)
            elif batch.status not in GONE and (batch.status not in FAILURE or self._judged(batch)):
                new = NewBatch(self.steps.dataset_id, batch.external_id, {}, batch.predecessors)
                rows = int(batch.metrics.get("inputRecordCount") or 0)
                size = int(batch.metrics.get("inputByteSize") or 0)
                version, part = batch.tag(VERSION_TAG) or self.version, batch.tag(PART_TAG) or named_by_us or MAIN
                attempt = self.steps.intend(new, version, "", rows, size, part)
                attempt = self.steps.note(attempt, batch)
                if attempt.handed_over:
                    log.warning("The batch %s (%s) was not in the receipts; taken in.", batch.id, batch.status)
                    found.adopted.add(attempt.number)

    def _judged(self, batch: Batch) -> bool:
        return batch.status in FAILED and batch.tag(VERSION_TAG) == self.version

    def _resolve(self, attempt: Attempt, found: EarlierBatches) -> None:
        """Finds out what came of the last step of an attempt."""
        if attempt.step == Kind.INTEND:
            known = self.steps.known()
            same = catalog.batches_of(self.steps.client, attempt.external_id, self.steps.dataset_id)
            fresh = [batch for batch in same if batch.id not in known]
            if not fresh:
                self.steps.receipts.step(attempt.number, Kind.VOID)
                return
            attempt = self.steps.receipts.step(attempt.number, Kind.CREATED, batch_id=fresh[0].id, found=True)
        batch = self.steps.look(attempt)
        if batch is None:
            if attempt.step in (Kind.CREATED, Kind.ABORTING):
                self.steps.receipts.step(attempt.number, Kind.ENDED, status=MISSING)
            else:
                self._give_up(attempt)
        elif attempt.step == Kind.REVERTING:
            # The late request of a dead or slow owner may still arrive: only a finished revert is a known outcome.
            if batch.status in GONE:
                self.steps.receipts.step(attempt.number, Kind.REVERTED)
            else:
                self.steps.take_back(attempt)
        elif batch.status != LOADING:
            attempt = self.steps.note(attempt, batch)
            if attempt.handed_over:
                found.adopted.add(attempt.number)
        elif attempt.step == Kind.COMPLETING and self._same(attempt):
            attempt = self.steps.hand_over(attempt)
            if attempt.handed_over:
                found.adopted.add(attempt.number)
        elif attempt.step == Kind.CREATED and self._same(attempt):
            found.resumable.append(attempt)
        else:
            self.steps.cancel(attempt)

    def _same(self, attempt: Attempt) -> bool:
        return attempt.data_version == self.version and attempt.files == self.files

    def _give_up(self, attempt: Attempt) -> None:
        if not self.force:
            raise self.steps.vanished(attempt)
        self.steps.receipts.step(attempt.number, Kind.ENDED, status=MISSING)

    def _cancel(self, batch: Batch) -> None:
        log.warning("The batch %s is in loading and not in the receipts; cancelled.", batch.id)
        try:
            ingest.abort(self.steps.client, batch.id)
        except AepError as error:
            log.warning("The batch %s was not cancelled: %s", batch.id, error)

    def _ours(self, batch: Batch) -> bool:
        """Filters of lists may be ignored by a server: a batch of another partition must never be touched."""
        return self.steps.dataset_id in batch.dataset_ids and batch.tag(PARTITION_TAG) == self.partition

    def _tag(self) -> str:
        return f"{PARTITION_TAG}:{self.partition}"
