"""A day becomes exactly one live batch, whatever happened to the runs before (README, promise 2).

Beside that main batch, rows of its quarantine that conform since a fix may stand as a second one, the replay. A new main
batch replaces both; a new replay replaces only the replay before it.

`send_day` is the room's main call. It claims the partition, finds out what earlier runs left (`recovery`), decides, and
takes the steps with receipts (`handover`). What does not belong here: following the batch to its end (`follow`).
"""

from __future__ import annotations

import hashlib
import logging
import re
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from mixpanel_aep_assets.aep import catalog, limits, receipts
from mixpanel_aep_assets.aep.catalog import Batch
from mixpanel_aep_assets.aep.entries import Kind
from mixpanel_aep_assets.aep.handover import Handover
from mixpanel_aep_assets.aep.http import PlatformClient
from mixpanel_aep_assets.aep.ingest import FileToSend, NewBatch
from mixpanel_aep_assets.aep.platform_errors import BatchInProgress, BatchRefused, DayChanged
from mixpanel_aep_assets.aep.receipts import MAIN, REPLAY, Attempt
from mixpanel_aep_assets.aep.recovery import PART_TAG, PARTITION_TAG, VERSION_TAG, EarlierBatches, Recovery
from mixpanel_aep_assets.aep.states import FAILED, GONE, STALLED, SUCCESS
from mixpanel_aep_assets.manifests import Action
from mixpanel_aep_assets.storage import Storage

log = logging.getLogger(__name__)

HANDED_OVER = "loaded"
"""The state right after COMPLETE."""

MOST_SUFFIXES = 100


@dataclass(frozen=True)
class Receipt:
    """What became of the day.

    `uploaded`: sent as the day's first live batch · `replaced`: sent, `predecessors` go when it is live · `adopted`:
    an earlier run had handed it over without knowing · `unchanged`: this data is there already · `reverted`: the day
    is empty now, `predecessors` were taken back · `nothing`: the day is empty and was never there. `status` is the
    batch's state when last seen; `seconds` those of this call; `rows` and `bytes` are of the batch that stands for
    the day; `warnings` are the soft limits that it comes near to (`limits.before`).
    """

    batch_id: str | None
    external_id: str | None
    action: Action
    rows: int
    bytes: int
    seconds: float
    predecessors: tuple[str, ...] = ()
    status: str | None = None
    warnings: tuple[str, ...] = ()


def send_day(
    client: PlatformClient,
    storage: Storage,
    connection: str,
    day: str,
    dataset_id: str,
    data_version: str,
    files: Sequence[FileToSend],
    partial_ingestion_percent: float | None = None,
    progress: Callable[[int], None] | None = None,
    *,
    project: str = "",
    force: bool = False,
    base: str | None = None,
) -> Receipt:
    """Makes the files the day's one live batch; without rows, takes the day's batch back.

    With `base`, the id of the day's main batch, the files are its replay: sent beside it, in place of an earlier
    replay. Raises DayChanged when another batch has become the day's main one.

    May be called any number of times, by any number of processes that share the storage, and be killed at any
    instant: the next call finishes. `data_version` names the content: with the same version nothing is sent twice,
    and what the Platform refused is not sent again (BatchRefused), unless `force`. `progress` gets the bytes sent
    since its last call.

    Raises PartitionBusy(wait) when another process is at it, BatchInProgress(wait) when an earlier batch must end
    first, LimitExceeded, SourceChanged, and what the calls raise.
    """
    part = MAIN if base is None else REPLAY
    files = [file for file in files if file.rows]
    limits.check(files)
    platform = client.platform
    with receipts.claimed(
        storage, connection, day, claim_seconds=platform.claim_seconds, clock_skew=platform.clock_skew
    ) as claim:
        steps = Handover(client, claim, dataset_id)
        recovery = Recovery(
            steps,
            partition=partition_name(project, connection, day),
            version=data_version,
            files=_fingerprint(files, partial_ingestion_percent),
            force=force,
        )
        sender = _Sender(client, steps, recovery, part, base, files, partial_ingestion_percent, progress)
        return sender.send()


class _Sender:
    """One call of `send_day`, with the partition claimed."""

    def __init__(
        self,
        client: PlatformClient,
        steps: Handover,
        recovery: Recovery,
        part: str,
        base: str | None,
        files: Sequence[FileToSend],
        partial_ingestion_percent: float | None,
        progress: Callable[[int], None] | None,
    ) -> None:
        self.client = client
        self.steps = steps
        self.recovery = recovery
        self.part = part
        self.base = base
        self.files = files
        self.partial_ingestion_percent = partial_ingestion_percent
        self.progress = progress
        self.rows = sum(file.rows for file in files)
        self.bytes = sum(file.size for file in files)
        self.started = time.monotonic()
        self.warnings: list[str] = []

    def send(self) -> Receipt:
        found = self.recovery.find()
        self._require_base(found)
        if self.rows == 0:
            return self._empty(found)
        done = self._done(found)
        if done is None:
            self._settle(found)
            done = self._done(found)  # what was in progress may have been this data, and may have failed
        if done is None:
            return self._upload(found)
        self._clear(found)
        return done

    def _require_base(self, found: EarlierBatches) -> None:
        if self.base is None:
            return
        mains = [attempt.batch_id for attempt, _ in found.live if attempt.part == MAIN]
        if not mains or mains[-1] != self.base:
            now = f"is {mains[-1]} now" if mains else "is live no more"
            raise DayChanged(f"The day's main batch was {self.base} when its replay was made, and {now}")

    def _replaceable(self, live: list[tuple[Attempt, Batch]]) -> list[tuple[Attempt, Batch]]:
        """Those that this part takes the place of: a replay leaves the main batch alone."""
        return live if self.part == MAIN else [pair for pair in live if pair[0].part == REPLAY]

    def _done(self, found: EarlierBatches) -> Receipt | None:
        """The receipt of a day that needs no upload, None where it needs one."""
        if self.recovery.force:
            return None
        version = self.recovery.version
        own = [at for at, (attempt, _) in enumerate(found.live) if attempt.part == self.part]
        if own:
            tip, batch = found.live[own[-1]]
            before = self._replaceable(found.live[: own[-1]])  # a replay behind the main batch is no rest of old
            rest = {a.batch_id for a, _ in before} - set(tip.predecessors)
            if tip.data_version == version and not rest:
                return self._receipt(
                    tip, Action.ADOPTED if tip.number in found.adopted else Action.UNCHANGED, batch.status
                )
        same = [
            a for a in self.recovery.attempts() if a.data_version == version and a.step in (Kind.ENDED, Kind.REVERTED)
        ]
        last = same[-1] if same else None
        if last is None or last.step != Kind.ENDED:
            return None
        if last.status in FAILED and not found.resumable and last.files in ("", self.recovery.files):
            raise self._refused(last)
        if last.status in GONE and not own and not self._replaced(last):
            log.warning(
                "The batch %s of this data is %s, and not by this project's doing; force the day to send it again.",
                last.batch_id,
                last.status,
            )
            return self._receipt(last, Action.UNCHANGED, last.status)
        return None

    def _replaced(self, attempt: Attempt) -> bool:
        """Whether one of our own later batches has taken its place."""
        later = [a for a in self.recovery.attempts() if a.number > attempt.number]
        return any(attempt.batch_id in a.predecessors for a in later if a.step not in (Kind.VOID, Kind.ABORTED))

    def _refused(self, attempt: Attempt) -> BatchRefused:
        batch = catalog.batch(self.client, attempt.batch_id or "")
        reasons = [f"{e.get('code')}: {e.get('description')}" for e in batch.errors[:3]] if batch else []
        return BatchRefused(
            f"The Platform refused this very data: batch {attempt.batch_id} is {attempt.status}"
            + (f" ({'; '.join(reasons)[:600]})" if reasons else "")
        )

    def _settle(self, found: EarlierBatches) -> None:
        """Waits until what would be replaced or reverted is final. Raises BatchInProgress when that takes long."""
        deadline = time.monotonic() + self.client.platform.settle_seconds
        pause = 0.1
        tried: set[int] = set()
        while True:
            moving = [(a, b) for a, b in self._replaceable(found.live) if b.status not in SUCCESS]
            if not moving:
                return
            for attempt, batch in moving:
                if batch.status == STALLED and attempt.number not in tried:
                    tried.add(attempt.number)
                    self.steps.cancel(attempt)
            if time.monotonic() >= deadline:
                attempt, batch = moving[-1]
                raise BatchInProgress(
                    f"The day's earlier batch {attempt.batch_id} is {batch.status}, and is replaced only when final",
                    wait=60.0,
                )
            time.sleep(pause)
            pause = min(pause * 1.5, 5.0)
            self.recovery.refresh(found)
            self._require_base(found)

    def _empty(self, found: EarlierBatches) -> Receipt:
        self._clear(found)
        self._settle(found)
        live = self._replaceable(found.live)
        taken = tuple(self.steps.take_back(attempt).batch_id or "" for attempt, _ in live)
        action = Action.REVERTED if taken else Action.NOTHING
        return Receipt(None, None, action, 0, 0, self._seconds(), taken, "inactive" if taken else None)

    def _upload(self, found: EarlierBatches) -> Receipt:
        predecessors = tuple(attempt.batch_id or "" for attempt, _ in self._replaceable(found.live))
        attempt = self._resumed(found, predecessors)
        if attempt is None:
            external_id = self._external_id(found)
            if external_id is None:
                self._settle(found)
                done = self._done(found)
                if done is not None:
                    return done
                return self._upload(found)
            self.warnings = limits.before(self.client, self.files)
            tags = {PARTITION_TAG: [self.recovery.partition], VERSION_TAG: [self.recovery.version]}
            new = NewBatch(
                dataset_id=self.steps.dataset_id,
                external_id=external_id,
                tags=tags if self.part == MAIN else {**tags, PART_TAG: [self.part]},
                predecessors=predecessors,
                partial_ingestion_percent=self.partial_ingestion_percent,
            )
            version, files = self.recovery.version, self.recovery.files
            attempt = self.steps.make(new, version, files, self.rows, self.bytes, self.part)
        self.steps.fill(attempt, self.files, self.progress)
        attempt = self.steps.hand_over(attempt)
        return self._receipt(attempt, Action.REPLACED if predecessors else Action.UPLOADED, HANDED_OVER)

    def _clear(self, found: EarlierBatches) -> None:
        """Cancels batches in loading that will not be filled on."""
        for attempt in found.resumable:
            self.steps.cancel(attempt)
        found.resumable = []

    def _resumed(self, found: EarlierBatches, predecessors: tuple[str, ...]) -> Attempt | None:
        """A batch in loading that may be filled on; the others are cancelled.

        Only when each file goes in one PUT, which replaces what is there (platform.md#small-files). Whether a large
        file can be begun anew is nowhere promised.
        """
        small = all(file.size <= self.client.platform.small_upload_bytes for file in self.files)
        fit = [a for a in found.resumable if small and set(a.predecessors) == set(predecessors)]
        chosen = fit[0] if fit else None
        found.resumable = [a for a in found.resumable if a is not chosen]
        self._clear(found)
        return chosen

    def _external_id(self, found: EarlierBatches) -> str | None:
        """An external id that no batch has; None when batches came up that the receipts did not know: decide again."""
        name = self.recovery.partition if self.part == MAIN else f"{self.recovery.partition}-{self.part}"
        first = external_id(name, self.recovery.version, self.steps.dataset_id, self.client)
        for number in range(1, MOST_SUFFIXES + 1):
            candidate = first if number == 1 else f"{first}-a{number}"
            same = catalog.batches_of(self.client, candidate, self.steps.dataset_id)
            before = len(self.recovery.attempts())
            self.recovery.meet(same, found, named_by_us=self.part)
            if len(self.recovery.attempts()) > before:
                self.recovery.refresh(found)
                self._require_base(found)
                return None
            if not same:
                return candidate
        raise BatchRefused(f"{MOST_SUFFIXES} batches of this data were made already and none of them is live")

    def _receipt(self, attempt: Attempt, action: Action, status: str | None) -> Receipt:
        return Receipt(
            batch_id=attempt.batch_id,
            external_id=attempt.external_id,
            action=action,
            rows=attempt.rows,
            bytes=attempt.bytes,
            seconds=self._seconds(),
            predecessors=attempt.predecessors,
            status=status,
            warnings=tuple(self.warnings),
        )

    def _seconds(self) -> float:
        return time.monotonic() - self.started


def partition_name(project: str, connection: str, day: str) -> str:
    """The day's name in the tags of its batches."""
    return _plain("_".join(part for part in (project, connection, day) if part))


def external_id(partition: str, version: str, dataset_id: str, client: PlatformClient) -> str:
    """The batch's own name, the same for the same data in the same place: `mp-<partition>-<16 hex digits>`."""
    digest = hashlib.sha256(f"{client.platform.target}|{dataset_id}|{version}".encode()).hexdigest()
    return f"mp-{partition}-{digest[:16]}"


def _fingerprint(files: Sequence[FileToSend], partial_ingestion_percent: float | None) -> str:
    text = "\n".join(f"{file.name}\t{file.size}\t{file.rows}" for file in sorted(files, key=lambda f: f.name))
    return hashlib.sha256(f"{partial_ingestion_percent}\n{text}".encode()).hexdigest()[:32]


def _plain(text: str) -> str:
    """Letters that mean nothing in the Catalog's filter language and need no escape in a URL."""
    return re.sub(r"[^A-Za-z0-9_.-]+", "-", text)
