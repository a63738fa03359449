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
from typing import Any

import orjson

from mixpanel_aep_assets.aep.errors import ClaimLost, PartitionBusy, ReceiptsDamaged
from mixpanel_aep_assets.aep.owner import Owner
from mixpanel_aep_assets.storage import EntryExists, Log, Storage, StorageError, now

log = logging.getLogger(__name__)

LOG = "aep_receipts"
"""Name of the log beside the tables of a connection."""

LOOKS = 3
"""How often entries that do not add up are read before they are said to be damaged."""

BUSY_LOOK = 20.0
"""Seconds after which a busy partition is looked at again."""

CLAIM_TRIES = 20
"""How often a claim reads again after losing the race for an entry's number, before it says busy."""

MAIN = "main"
"""The part of a day that holds its XDM files."""

REPLAY = "replay"
"""The part that holds rows which conform only since a fix; it stands beside the main batch until the day is remade."""

_STEPS = frozenset(
    {"created", "completing", "completed", "aborting", "aborted", "reverting", "reverted", "ended", "void"}
)


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
    step: str = "intend"
    status: str | None = None
    part: str = MAIN

    @property
    def handed_over(self) -> bool:
        """COMPLETE was called for it, and nothing has ended it that we know of."""
        return self.step in ("completed", "reverting")

    @property
    def open(self) -> bool:
        """The last step is one whose outcome has to be looked up."""
        return self.step in ("intend", "created", "completing", "aborting", "reverting")


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
    def fold(cls, entries: Iterable[Mapping[str, Any]]) -> State:
        """Raises ReceiptsDamaged on a gap in the numbers or an entry that cannot be."""
        state = cls()
        for entry in entries:
            state = state.after(entry)
        return state

    def after(self, entry: Mapping[str, Any]) -> State:
        """The state with one more entry."""
        try:
            number, kind = int(entry["number"]), str(entry["kind"])
            if number != self.number + 1:
                raise ReceiptsDamaged(f"Receipt {self.number + 1} is missing before {number}")
            if kind == "claim":
                claim = Claim(str(entry["token"]), Owner.of(entry["owner"]), _time(entry["expires_at"]))
                return replace(self, number=number, claim=claim)
            if kind in ("renew", "release"):
                return replace(self, number=number, claim=self._renewed(entry, kind))
            if kind == "intend":
                fields = {key: entry[key] for key in ("external_id", "target", "dataset_id", "data_version", "files")}
                attempt = Attempt(
                    number=len(self.attempts) + 1,
                    rows=int(entry["rows"]),
                    bytes=int(entry["bytes"]),
                    predecessors=tuple(entry["predecessors"]),
                    part=str(entry.get("part") or MAIN),
                    **fields,
                )
                return replace(self, number=number, attempts=(*self.attempts, attempt))
            if kind in _STEPS:
                return replace(self, number=number, attempts=self._stepped(entry, kind))
        except (KeyError, ValueError, TypeError, IndexError) as error:
            raise ReceiptsDamaged(f"Receipt {entry.get('number')} cannot be read: {error!r}") from error
        raise ReceiptsDamaged(f"Receipt {number} has the unknown kind {kind!r}; a newer version may have written it")

    def _renewed(self, entry: Mapping[str, Any], kind: str) -> Claim | None:
        if self.claim is None or self.claim.token != entry["token"]:
            return self.claim
        return None if kind == "release" else replace(self.claim, expires_at=_time(entry["expires_at"]))

    def _stepped(self, entry: Mapping[str, Any], kind: str) -> tuple[Attempt, ...]:
        at = int(entry["attempt"]) - 1
        if at < 0:
            raise ValueError("attempt numbers start at 1")
        changed = replace(
            self.attempts[at],
            step=kind,
            batch_id=entry.get("batch_id") or self.attempts[at].batch_id,
            status=entry.get("status") or self.attempts[at].status,
        )
        return (*self.attempts[:at], changed, *self.attempts[at + 1 :])


def _time(text: str) -> datetime.datetime:
    return datetime.datetime.fromisoformat(text)


def read(storage: Storage, connection: str, day: str) -> State:
    """The state of a partition, for looking only."""
    return _folded(storage.log(connection, LOG, day))


def _folded(entries: Log) -> State:
    """The state by the stored entries. A listing made while others write may lack an entry before one that it has."""
    for look in range(1, LOOKS + 1):
        try:
            return State.fold(entries.entries())
        except (ReceiptsDamaged, orjson.JSONDecodeError) as error:
            if look == LOOKS:
                what = error.what if isinstance(error, ReceiptsDamaged) else "A receipt is no JSON"
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

    def record(self, kind: str, **fields: Any) -> None:
        """Writes the next entry. Raises ClaimLost when another process has written meanwhile: stop at once."""
        with self._lock:
            self._append({"kind": kind, "token": self.token, **fields})

    def step(self, attempt: int, kind: str, **fields: Any) -> Attempt:
        """Writes an entry about an attempt (its number); returns the attempt as it stands then."""
        self.record(kind, attempt=attempt, **fields)
        return self.state.attempts[attempt - 1]

    def renew(self) -> None:
        """Makes the claim hold for `claim_seconds` from now."""
        self.record("renew", expires_at=self._expiry())

    def check(self) -> None:
        """Raises ClaimLost if a renewal has found another process at work."""
        if self._lost:
            raise self._gone()

    def _append(self, entry: Mapping[str, Any]) -> None:
        self.check()
        number = self.state.number + 1
        if not _written(self.entries, number, entry):
            self._lost = True
            raise self._gone()
        self.state = self.state.after({"number": number, **entry})

    def _expiry(self) -> str:
        return (self.clock() + datetime.timedelta(seconds=self.claim_seconds)).isoformat()

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
        expires = (at + datetime.timedelta(seconds=claim_seconds)).isoformat()
        entry = {"kind": "claim", "token": token, "owner": Owner.this().as_json(), "expires_at": expires}
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
        return Receipts(entries, token, state.after({"number": number, **entry}), claim_seconds, clock)
    claim = _folded(entries).claim
    wait = claim.wait(clock(), clock_skew) if claim is not None else 1.0
    who = f"process {claim.owner.pid} on {claim.owner.host}" if claim is not None else "another process"
    raise PartitionBusy(f"The partition is being worked on by {who}", where=entries.path, wait=wait)


def _written(entries: Log, number: int, entry: Mapping[str, Any]) -> bool:
    """Appends; False when another writer has the number.

    An object store may carry out a write whose answer is lost and refuse its repetition: an entry with our mark is
    ours.
    """
    marked = {**entry, "mark": uuid.uuid4().hex}
    try:
        entries.append(number, marked)
    except EntryExists:
        there = entries.entries()
        return len(there) >= number and there[number - 1].get("mark") == marked["mark"]
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
            receipts.record("release")
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
