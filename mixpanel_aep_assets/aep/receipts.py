"""The receipts of a partition: what was about to be done and what was done, in an append-only log, and who may go on.

Every irreversible step has an entry before it and one after it. Entry n+1 can be created by one writer only
(`storage.Log`), so that the log is also the lock: a claim is an entry, and each later entry of its owner is a
compare-and-swap that fails as soon as somebody else has written (fencing by the entry's number). Folding the entries,
oldest first, gives the state; nothing else is stored.

Entries, by `kind`:

    claim     token, owner, expires_at   this process works on the partition now
    renew     token, expires_at          it still does
    release   token                      it has ended
    intend    part, …                    a batch is about to be made
    created   attempt, batch_id          it was made (or found)
    completing, completed                before and after COMPLETE
    aborting, aborted                    before and after ABORT
    reverting, reverted                  before and after REVERT
    ended     status                     the Platform's final word on it, unless that is success
    void                                 the intended batch was never made

What does not belong here: which step is right (`batch`), talking to the Platform (`ingest`, `catalog`).
"""

from __future__ import annotations

import datetime
import logging
import threading
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

import orjson
from msgspec import structs

from mixpanel_aep_assets.aep.entries import (
    MAIN,
    REPLAY,
    Claimed,
    Entry,
    Intended,
    Kind,
    Released,
    Renewed,
    Stepped,
    entry_of,
)
from mixpanel_aep_assets.aep.platform_errors import ClaimLost, PartitionBusy, ReceiptsDamaged
from mixpanel_aep_assets.manifests import NewerFormat
from mixpanel_aep_assets.runtime.owner import Owner
from mixpanel_aep_assets.storage import EntryExists, Log, Storage, StorageError, now

log = logging.getLogger(__name__)

__all__ = ["MAIN", "REPLAY"]

LOG = "aep_receipts"
"""Name of the log beside the tables of a connection."""

LOOKS = 3
"""How often entries that do not add up are read before they are said to be damaged."""

BUSY_LOOK = 20.0
"""Seconds after which a busy partition is looked at again."""

CLAIM_TRIES = 20
"""How often a claim reads again after losing the race for an entry's number, before it says busy."""


@dataclass(frozen=True)
class Attempt:
    """One batch of the day, from the intention to make it to its end.

    `step` is the kind of its last entry. `files` is a fingerprint of names and sizes: only the same files may be
    added to a batch that has some already. `part` is MAIN or REPLAY.
    """

    number: int
    external_id: str
    target: str
    dataset_id: str
    data_version: str
    files: str
    rows: int
    bytes: int
    predecessors: tuple[str, ...] = ()
    batch_id: str | None = None
    step: Kind = Kind.INTEND
    status: str | None = None
    part: str = MAIN

    @property
    def handed_over(self) -> bool:
        """COMPLETE was called for it, and nothing has ended it that we know of."""
        return self.step in (Kind.COMPLETED, Kind.REVERTING)

    @property
    def open(self) -> bool:
        """The last step is one whose outcome has to be looked up."""
        return self.step in (Kind.INTEND, Kind.CREATED, Kind.COMPLETING, Kind.ABORTING, Kind.REVERTING)


@dataclass(frozen=True)
class Claim:
    token: str
    owner: Owner
    expires_at: datetime.datetime

    def over(self, at: datetime.datetime, skew: float) -> bool:
        """Whether another process may take over: the time is up for any clock, or the owner is known to be dead."""
        return at > self.expires_at + datetime.timedelta(seconds=skew) or self.owner.is_dead(self.token)

    def wait(self, at: datetime.datetime, skew: float) -> float:
        """Seconds until a look makes sense: a living owner mostly ends long before its claim does."""
        return min(max(1.0, (self.expires_at - at).total_seconds() + skew), BUSY_LOOK)


@dataclass(frozen=True)
class State:
    """What the entries add up to. `number` is that of the last entry."""

    number: int = 0
    claim: Claim | None = None
    attempts: tuple[Attempt, ...] = ()

    @classmethod
    def fold(cls, stored: Iterable[Mapping[str, object]]) -> State:
        """Raises ReceiptsDamaged on a gap in the numbers or an entry that cannot be, NewerFormat."""
        state = cls()
        for entry in stored:
            state = state.after(entry_of(entry))
        return state

    def after(self, entry: Entry) -> State:
        """The state with one more entry."""
        if entry.number != self.number + 1:
            raise ReceiptsDamaged(f"Receipt {self.number + 1} is missing before {entry.number}")
        match entry:
            case Claimed():
                return replace(self, number=entry.number, claim=Claim(entry.token, entry.owner, entry.expires_at))
            case Renewed() | Released():
                return replace(self, number=entry.number, claim=self._renewed(entry))
            case Intended():
                attempt = Attempt(
                    number=len(self.attempts) + 1,
                    external_id=entry.external_id,
                    target=entry.target,
                    dataset_id=entry.dataset_id,
                    data_version=entry.data_version,
                    files=entry.files,
                    rows=entry.rows,
                    bytes=entry.bytes,
                    predecessors=entry.predecessors,
                    part=entry.part,
                )
                return replace(self, number=entry.number, attempts=(*self.attempts, attempt))
            case Stepped():
                return replace(self, number=entry.number, attempts=self._stepped(entry))
        raise AssertionError(entry)

    def _renewed(self, entry: Renewed | Released) -> Claim | None:
        if self.claim is None or self.claim.token != entry.token:
            return self.claim
        return replace(self.claim, expires_at=entry.expires_at) if isinstance(entry, Renewed) else None

    def _stepped(self, entry: Stepped) -> tuple[Attempt, ...]:
        if entry.attempt > len(self.attempts):
            raise ReceiptsDamaged(f"Receipt {entry.number} is of attempt {entry.attempt}, which was never intended")
        before = self.attempts[entry.attempt - 1]
        changed = replace(
            before,
            step=entry.kind,
            batch_id=entry.batch_id or before.batch_id,
            status=entry.status or before.status,
        )
        return (*self.attempts[: entry.attempt - 1], changed, *self.attempts[entry.attempt :])


def read(storage: Storage, connection: str, day: str) -> State:
    """The state of a partition, for looking only."""
    return _folded(storage.log(connection, LOG, day))


def _folded(entries: Log) -> State:
    """The state by the stored entries. A listing made while others write may lack an entry before one that it has."""
    for look in range(1, LOOKS + 1):
        try:
            return State.fold(entries.entries())
        except NewerFormat as error:
            raise NewerFormat(error.what, where=entries.storage.location(entries.path), fix=error.fix) from None
        except (ReceiptsDamaged, orjson.JSONDecodeError) as error:
            if look == LOOKS:
                what = error.what if isinstance(error, ReceiptsDamaged) else "A receipt is not JSON"
                raise ReceiptsDamaged(what, where=entries.storage.location(entries.path)) from error
            time.sleep(0.1 * look)
    raise AssertionError


@dataclass
class Receipts:
    """The receipts of a partition in the hands of the one process that has claimed it. Threads may share it."""

    entries: Log
    token: str
    state: State
    claim_seconds: float
    clock: Callable[[], datetime.datetime] = now
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)
    _lost: bool = False

    def record(self, entry: Entry) -> None:
        """Writes the next entry. Raises ClaimLost when another process has written meanwhile: stop at once."""
        with self._lock:
            self._append(structs.replace(entry, token=self.token))

    def step(
        self,
        attempt: int,
        kind: Kind,
        *,
        batch_id: str | None = None,
        status: str | None = None,
        found: bool | None = None,
    ) -> Attempt:
        """Writes an entry about an attempt (its number); returns the attempt as it stands then."""
        self.record(Stepped(kind=kind, attempt=attempt, batch_id=batch_id, status=status, found=found))
        return self.state.attempts[attempt - 1]

    def renew(self) -> None:
        """Makes the claim hold for `claim_seconds` from now."""
        self.record(Renewed(expires_at=self._expiry()))

    def check(self) -> None:
        """Raises ClaimLost if a renewal has found another process at work."""
        if self._lost:
            raise self._gone()

    def _append(self, entry: Entry) -> None:
        self.check()
        number = self.state.number + 1
        if not _written(self.entries, number, entry):
            self._lost = True
            raise self._gone()
        self.state = self.state.after(structs.replace(entry, number=number))

    def _expiry(self) -> datetime.datetime:
        return self.clock() + datetime.timedelta(seconds=self.claim_seconds)

    def _gone(self) -> ClaimLost:
        return ClaimLost("Another process has taken this partition over", where=self.entries.path, wait=BUSY_LOOK)


def take(
    entries: Log, *, claim_seconds: float, clock_skew: float, clock: Callable[[], datetime.datetime] = now
) -> Receipts:
    """Claims the partition. Raises PartitionBusy(wait) while another living process has it."""
    token = uuid.uuid4().hex
    for _ in range(CLAIM_TRIES):
        state = _folded(entries)
        at = clock()
        if state.claim is not None and not state.claim.over(at, clock_skew):
            break
        expires = at + datetime.timedelta(seconds=claim_seconds)
        entry = Claimed(token=token, owner=Owner.this(), expires_at=expires)
        number = state.number + 1
        Owner.living(token)
        written = False
        try:
            written = _written(entries, number, entry)
        finally:
            if not written:
                Owner.ended(token)
        if not written:
            continue
        return Receipts(entries, token, state.after(structs.replace(entry, number=number)), claim_seconds, clock)
    claim = _folded(entries).claim
    wait = claim.wait(clock(), clock_skew) if claim is not None else 1.0
    who = f"process {claim.owner.pid} on {claim.owner.host}" if claim is not None else "another process"
    raise PartitionBusy(f"The partition is being worked on by {who}", where=entries.path, wait=wait)


def _written(entries: Log, number: int, entry: Entry) -> bool:
    """Appends; False when another writer has the number.

    An object store may carry out a write whose answer is lost and refuse its repetition: an entry with our mark is
    ours.
    """
    mark = uuid.uuid4().hex
    try:
        entries.append(number, structs.replace(entry, mark=mark).as_json())
    except EntryExists:
        there = entries.entries()
        return len(there) >= number and there[number - 1].get("mark") == mark
    return True


@contextmanager
def claimed(
    storage: Storage, connection: str, day: str, *, claim_seconds: float, clock_skew: float
) -> Iterator[Receipts]:
    """The partition's receipts, claimed and kept claimed by a thread until the block ends; then released.

    Raises PartitionBusy(wait) while another living process has it.
    """
    receipts = take(storage.log(connection, LOG, day), claim_seconds=claim_seconds, clock_skew=clock_skew)
    ended = threading.Event()
    keeper = threading.Thread(target=_keep, args=(receipts, ended), name="claim", daemon=True)
    keeper.start()
    try:
        yield receipts
    finally:
        ended.set()
        keeper.join()
        try:
            receipts.record(Released())
        except (ClaimLost, StorageError) as error:
            log.warning("The claim on %s was not released: %s", receipts.entries.path, error)
        Owner.ended(receipts.token)


def _keep(receipts: Receipts, ended: threading.Event) -> None:
    """Renews three times in the life of a claim. A storage that fails for a while is no reason to stop."""
    while not ended.wait(receipts.claim_seconds / 3):
        try:
            receipts.renew()
        except ClaimLost:
            return
        except StorageError as error:
            log.warning("The claim on %s was not renewed: %s", receipts.entries.path, error)
