"""The receipts: one owner at a time, entries that fold to the state, and fencing of owners that were thought dead."""

from __future__ import annotations

import datetime
import subprocess
import sys
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from mixpanel_aep_assets.aep import entries, receipts
from mixpanel_aep_assets.aep.entries import Intended, Kind, Released
from mixpanel_aep_assets.aep.platform_errors import ClaimLost, PartitionBusy, ReceiptsDamaged
from mixpanel_aep_assets.aep.receipts import Receipts, State
from mixpanel_aep_assets.manifests import NewerFormat
from mixpanel_aep_assets.runtime.owner import Owner
from mixpanel_aep_assets.storage import Log, Storage, open_storage

DAY = "2026-01-31"
START = datetime.datetime(2026, 2, 1, tzinfo=datetime.UTC)


def at(seconds: float) -> Callable[[], datetime.datetime]:
    """A clock that stands so long after START."""
    return lambda: START + datetime.timedelta(seconds=seconds)


@pytest.fixture
def storage(tmp_path: Path) -> Storage:
    return open_storage(str(tmp_path / "data"))


def intend(claim: Receipts, version: str = "v1", part: str = receipts.MAIN) -> int:
    claim.record(
        Intended(
            external_id=f"mp-{version}", target="t", dataset_id="d", data_version=version, files="f", rows=3,
            bytes=9, predecessors=(), part=part,
        )
    )  # fmt: skip
    return len(claim.state.attempts)


def test_a_claimed_partition_is_busy_for_others_and_says_how_long(storage: Storage) -> None:
    with (
        receipts.claimed(storage, "default", DAY, claim_seconds=300, clock_skew=30),
        pytest.raises(PartitionBusy) as busy,
        receipts.claimed(storage, "default", DAY, claim_seconds=300, clock_skew=30),
    ):
        pass
    assert busy.value.retryable
    assert busy.value.wait is not None
    assert 0 < busy.value.wait <= 330


def test_a_released_partition_can_be_claimed_at_once(storage: Storage) -> None:
    for _ in range(3):
        with receipts.claimed(storage, "default", DAY, claim_seconds=300, clock_skew=30):
            pass


def test_the_claim_of_a_killed_process_on_this_host_is_taken_over_at_once(storage: Storage) -> None:
    log = f"open_storage({storage.url!r}).log('default', receipts.LOG, {DAY!r})"
    code = (
        "import os; from mixpanel_aep_assets.aep import entries, receipts\n"
        "from mixpanel_aep_assets.storage import open_storage\n"
        f"receipts.take({log}, claim_seconds=3600, clock_skew=30); os._exit(9)"
    )
    subprocess.run([sys.executable, "-c", code], check=False, timeout=60)
    assert receipts.read(storage, "default", DAY).claim is not None
    with receipts.claimed(storage, "default", DAY, claim_seconds=300, clock_skew=30):
        pass


def test_the_claim_of_another_host_is_taken_over_only_when_its_time_is_up(storage: Storage) -> None:
    log = storage.log("default", receipts.LOG, DAY)
    there = replace(Owner.this(), host="another-host")
    expires = (START + datetime.timedelta(seconds=300)).isoformat()
    log.append(1, {"kind": "claim", "token": "x", "owner": there.as_json(), "expires_at": expires})
    for seconds in (0, 299, 329):
        with pytest.raises(PartitionBusy):
            receipts.take(log, claim_seconds=9, clock_skew=30, clock=at(seconds))
    assert receipts.take(log, claim_seconds=9, clock_skew=30, clock=at(331)).state.number == 2


def test_an_owner_whose_process_id_was_given_to_another_process_is_dead() -> None:
    this = Owner.this()
    assert replace(this, started=this.started - 1000, pid=1).is_dead("t")


def test_a_container_with_the_same_host_name_and_process_id_is_not_taken_for_dead() -> None:
    assert not replace(Owner.this(), space="another boot/pid:[1]").is_dead("t")


def test_an_owner_that_was_overtaken_cannot_write_any_more(storage: Storage) -> None:
    log = storage.log("default", receipts.LOG, DAY)
    slow = receipts.take(log, claim_seconds=1, clock_skew=0, clock=at(0))
    number = intend(slow)
    Owner.ended(slow.token)
    quick = receipts.take(log, claim_seconds=1, clock_skew=0, clock=at(5))
    with pytest.raises(ClaimLost):
        slow.step(number, Kind.CREATED, batch_id="b1")
    with pytest.raises(ClaimLost):
        slow.check()
    quick.step(number, Kind.CREATED, batch_id="b2")
    assert receipts.read(storage, "default", DAY).attempts[0].batch_id == "b2"


def test_a_write_whose_answer_was_lost_is_recognised_as_ones_own(storage: Storage, monkeypatch: Any) -> None:
    log = storage.log("default", receipts.LOG, DAY)
    claim = receipts.take(log, claim_seconds=60, clock_skew=0)
    original = Log.append

    def twice(self: Log, number: int, entry: Any) -> None:
        original(self, number, entry)
        original(self, number, entry)

    monkeypatch.setattr(Log, "append", twice)
    intend(claim)
    assert len(receipts.read(storage, "default", DAY).attempts) == 1


def test_of_many_threads_that_claim_at_once_one_wins(storage: Storage) -> None:
    won: list[str] = []
    busy: list[BaseException] = []
    gate = threading.Barrier(8)

    def attempt() -> None:
        gate.wait()
        try:
            won.append(receipts.take(storage.log("c", receipts.LOG, DAY), claim_seconds=60, clock_skew=0).token)
        except PartitionBusy as error:
            busy.append(error)

    threads = [threading.Thread(target=attempt) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(won) == 1
    assert len(busy) == 7


def test_a_gap_in_the_receipts_is_told_and_not_guessed_over() -> None:
    with pytest.raises(ReceiptsDamaged, match="Receipt 1 is missing"):
        State.fold([{"number": 2, "kind": "release", "token": "t"}])


def test_a_listing_that_lacks_an_entry_for_a_moment_is_read_again(
    storage: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = storage.log("default", receipts.LOG, DAY)
    intend(receipts.take(log, claim_seconds=60, clock_skew=0))
    whole, looks = Log.entries, []

    def lacking_the_first(self: Log) -> list[dict[str, Any]]:
        looks.append(1)
        return whole(self)[1 if len(looks) == 1 else 0 :]

    monkeypatch.setattr(Log, "entries", lacking_the_first)
    assert len(receipts.read(storage, "default", DAY).attempts) == 1


def test_a_receipt_that_is_no_json_is_told_with_its_place(storage: Storage) -> None:
    storage.write(f"default/{receipts.LOG}/{DAY}/000001.json", b"")
    with pytest.raises(ReceiptsDamaged, match=DAY):
        receipts.read(storage, "default", DAY)


def test_a_receipt_of_an_unknown_kind_is_told(storage: Storage) -> None:
    with pytest.raises(ReceiptsDamaged, match="newer version"):
        State.fold([{"number": 1, "kind": "teleported", "token": "t"}])


def test_a_receipt_of_a_newer_format_is_refused_with_its_place_and_what_to_do(storage: Storage) -> None:
    entry = {"number": 1, "kind": "release", "token": "t", "format": entries.FORMAT + 1}
    storage.write(f"default/{receipts.LOG}/{DAY}/000001.json", orjson.dumps(entry))
    with pytest.raises(NewerFormat, match=rf"format 3.*{DAY}.*Update"):
        receipts.read(storage, "default", DAY)


def test_receipts_with_and_without_a_format_number_add_up_in_one_log() -> None:
    claim = {"kind": "claim", "token": "t", "owner": Owner.this().as_json(), "expires_at": "2026-02-01T00:00:00+00:00"}
    intended = {"external_id": "mp", "target": "t", "dataset_id": "d", "data_version": "v", "files": "f", "rows": 3}
    state = State.fold(
        [
            {"number": 1, **claim},
            {"number": 2, "kind": "intend", "token": "t", **intended, "bytes": 9, "predecessors": ["b0"]},
            {"number": 3, "kind": "created", "token": "t", "attempt": 1, "batch_id": "b1", "format": 2},
        ]
    )
    (attempt,) = state.attempts
    assert (attempt.step, attempt.batch_id, attempt.part) == (Kind.CREATED, "b1", receipts.MAIN)


@pytest.mark.parametrize(
    "wrong", [{"attempt": 0}, {"attempt": 2}, {"attempt": "first"}, {"attempt": 1, "batch_id": 7}, {}], ids=str
)
def test_a_receipt_that_cannot_be_is_told(storage: Storage, wrong: dict[str, object]) -> None:
    claim = receipts.take(storage.log("default", receipts.LOG, DAY), claim_seconds=60, clock_skew=0)
    intend(claim)
    with pytest.raises(ReceiptsDamaged, match="Receipt 3 "):
        claim.state.after(entries.entry_of({"number": 3, "kind": "created", "token": "t", **wrong}))


class Processes(RuleBasedStateMachine):
    """Several processes on hosts that cannot see each other work on one partition, die, sleep and wake.

    The model is the list of writes that succeeded; the invariant is that nobody writes after somebody else has claimed.
    """

    def __init__(self) -> None:
        super().__init__()
        self.now = START
        self.hands: dict[int, Receipts] = {}
        self.owner: int | None = None
        self.expiry = START
        self.written = 0

    @initialize()
    def begin(self) -> None:
        from obstore.store import MemoryStore

        self.log = Storage(MemoryStore(), "memory://").log("default", receipts.LOG, DAY)

    def clock(self) -> datetime.datetime:
        return self.now

    @rule(seconds=st.integers(1, 400))
    def time_passes(self, seconds: int) -> None:
        self.now += datetime.timedelta(seconds=seconds)

    @rule(process=st.integers(1, 3))
    def claims(self, process: int) -> None:
        free = self.owner is None or self.now > self.expiry + datetime.timedelta(seconds=10)
        try:
            self.hands[process] = receipts.take(self.log, claim_seconds=300, clock_skew=10, clock=self.clock)
        except PartitionBusy:
            assert not free
        else:
            assert free
            self.owner, self.expiry = process, self.now + datetime.timedelta(seconds=300)
            self.written += 1

    @precondition(lambda self: self.hands)
    @rule(data=st.data())
    def takes_a_step(self, data: st.DataObject) -> None:
        process = data.draw(st.sampled_from(sorted(self.hands)))
        hand = self.hands[process]
        kinds = ["renew", "release", "intend"]
        if hand.state.attempts:
            kinds += ["created", "completing", "completed", "aborting", "aborted", "ended", "void"]
        kind = data.draw(st.sampled_from(kinds))
        before = len(self.log.entries())
        try:
            if kind == "renew":
                hand.renew()
            elif kind == "release":
                hand.record(Released())
            elif kind == "intend":
                part = data.draw(st.sampled_from([receipts.MAIN, receipts.REPLAY]))
                intend(hand, f"v{before}", part)
                assert hand.state.attempts[-1].part == part
            else:
                hand.step(data.draw(st.integers(1, len(hand.state.attempts))), Kind(kind), batch_id=f"b{before}")
        except ClaimLost:
            assert process != self.owner
            assert len(self.log.entries()) == before
            del self.hands[process]
            return
        self.written += 1
        assert process == self.owner or self.owner is None
        if kind == "renew":
            self.expiry = self.now + datetime.timedelta(seconds=300)
        if kind == "release":
            self.owner = None
            del self.hands[process]

    @precondition(lambda self: self.hands)
    @rule(data=st.data())
    def dies(self, data: st.DataObject) -> None:
        del self.hands[data.draw(st.sampled_from(sorted(self.hands)))]

    @invariant()
    def the_log_has_no_gap_and_folds(self) -> None:
        entries = self.log.entries()
        assert [e["number"] for e in entries] == list(range(1, len(entries) + 1))
        assert len(entries) == self.written
        state = State.fold(entries)
        assert state.number == len(entries)
        assert (state.claim is None) == (self.owner is None)

    @invariant()
    def the_owner_sees_what_is_stored(self) -> None:
        hand = self.hands.get(self.owner or 0)
        if hand is not None:
            assert hand.state == State.fold(self.log.entries())


TestProcesses = Processes.TestCase
TestProcesses.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
