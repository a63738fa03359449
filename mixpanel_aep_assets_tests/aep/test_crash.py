"""kill -9 at any instant, two processes at once, faults in any order: in the end each event is live exactly once.

Processes are killed from outside, while the emulator holds a chosen request before or after carrying it out.
"""

from __future__ import annotations

import contextlib
import random
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Mapping
from typing import Any

import pytest

from mixpanel_aep_assets.aep import AepError
from mixpanel_aep_assets.aep.platform_errors import CredentialsRejected, PartitionBusy
from mixpanel_aep_assets.storage import Log, StorageError
from mixpanel_aep_assets_tests.aep.conftest import COMPLETE, CREATE, LOOK_UP, PUT, REVERT, TOKEN, Sandbox
from mixpanel_aep_assets_tests.aep.days import files, ids

pytestmark = pytest.mark.e2e

STEPS: dict[str, dict[str, Any]] = {
    "token": TOKEN,
    "look-up": LOOK_UP,
    "create": CREATE,
    "first file": {**PUT, "nth": 1},
    "last file": {**PUT, "nth": 3},
    "complete": COMPLETE,
}


def kill_at_random(process: subprocess.Popen[str]) -> None:
    """Kill a process that nothing holds: it may have ended by itself just before."""
    process.kill()
    process.communicate(timeout=30)


def kill(process: subprocess.Popen[str]) -> None:
    """Kill a process that the emulator holds in the middle of a request."""
    kill_at_random(process)
    assert process.returncode == -signal.SIGKILL


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("step", STEPS)
def test_a_process_killed_during_a_step_leaves_a_day_that_the_next_run_finishes(
    sandbox: Sandbox, step: str, when: str
) -> None:
    sandbox.control.fault("hold", match=STEPS[step], count=1, when=when)
    process = sandbox.start("v1", 9, parts=3)
    sandbox.wait_until_held()
    kill(process)
    sandbox.control.clear_faults()
    sandbox.control.release()
    sandbox.send(files(ids(9, "v1"), 3), "v1")
    assert sandbox.live() == Counter(ids(9, "v1"))


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("step", ["create", "last file", "complete"])
def test_a_process_killed_while_it_replaces_a_day_leaves_the_old_or_the_new_day_and_never_both(
    sandbox: Sandbox, step: str, when: str
) -> None:
    sandbox.send(files(ids(5, "v1")), "v1")
    sandbox.control.settle()
    sandbox.control.fault("hold", match=STEPS[step] if step != "last file" else {**PUT, "nth": 3}, count=1, when=when)
    process = sandbox.start("v2", 9, parts=3)
    sandbox.wait_until_held()
    kill(process)
    sandbox.control.clear_faults()
    sandbox.control.release()
    assert sandbox.live() in (Counter(ids(5, "v1")), Counter(ids(9, "v2")))
    sandbox.send(files(ids(9, "v2"), 3), "v2")
    assert sandbox.live() == Counter(ids(9, "v2"))


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_process_killed_while_it_takes_a_day_back_leaves_a_day_that_can_be_filled_again(
    sandbox: Sandbox, when: str
) -> None:
    sandbox.send(files(ids(5, "v1")), "v1")
    sandbox.control.settle()
    sandbox.control.fault("hold", match=REVERT, count=1, when=when)
    process = sandbox.start("v0", 0)
    sandbox.wait_until_held()
    kill(process)
    sandbox.control.clear_faults()
    sandbox.send(files(ids(5, "v1")), "v1")
    sandbox.control.release()  # the dead process's request arrives after all
    assert sandbox.live() == Counter(ids(5, "v1"))


def test_of_two_processes_that_start_together_one_sends_and_the_other_ends_without_harm(sandbox: Sandbox) -> None:
    sandbox.control.fault("hold", match=CREATE, count=1, when="after")
    first = sandbox.start("v1", 9, parts=3)
    sandbox.wait_until_held()
    with pytest.raises(PartitionBusy) as busy:
        sandbox.send(files(ids(9, "v1"), 3), "v1")
    assert busy.value.wait
    sandbox.control.release()
    out, err = first.communicate(timeout=60)
    assert out.startswith("uploaded"), err
    assert sandbox.live() == Counter(ids(9, "v1"))


def test_an_owner_that_slept_past_its_claim_cannot_hand_over_a_second_batch(sandbox: Sandbox) -> None:
    sleepy = sandbox.platform.model_copy(update={"claim_seconds": 0.4, "clock_skew": 0.0})
    sandbox.platform = sleepy
    sandbox.control.fault("hold", match={**PUT, "nth": 1}, count=1, when="before")
    first = sandbox.start("v1", 9, parts=3)
    sandbox.wait_until_held()
    first.send_signal(signal.SIGSTOP)
    deadline = time.monotonic() + 30
    while True:  # another process takes over when the claim is over
        try:
            sandbox.send(files(ids(6, "v2")), "v2")
            break
        except PartitionBusy:
            assert time.monotonic() < deadline
            time.sleep(0.1)
    sandbox.control.release()
    first.send_signal(signal.SIGCONT)
    out, err = first.communicate(timeout=60)
    assert out.split()[0] in ("ClaimLost", "PartitionBusy"), err
    assert sandbox.live() == Counter(ids(6, "v2"))


@pytest.mark.parametrize("seed", range(6))
def test_after_kills_at_random_moments_the_day_is_live_once(sandbox: Sandbox, seed: int) -> None:
    chance = random.Random(seed)
    sandbox.control.fault("slow", match={"path": "/data/*"}, before_headers=0.03)
    version = "v1"
    for _ in range(3):
        version = chance.choice(["v1", "v2"])
        process = sandbox.start(version, 6, parts=3)
        try:
            process.communicate(timeout=chance.uniform(0.3, 1.6))
        except subprocess.TimeoutExpired:
            kill_at_random(process)
    sandbox.control.clear_faults()
    sandbox.send(files(ids(6, version), 3), version)
    assert sandbox.live() == Counter(ids(6, version))


KINDS: list[dict[str, Any]] = [
    {"kind": "status", "status": 500},
    {"kind": "status", "status": 503},
    {"kind": "status", "status": 429, "retry_after": 0},
    {"kind": "drop"},
    {"kind": "lost_response"},
    {"kind": "expired_token"},
    {"kind": "html"},
]


@pytest.mark.parametrize("seed", range(16))
def test_after_a_random_schedule_of_faults_and_changes_the_last_version_is_live_once(
    sandbox: Sandbox, seed: int
) -> None:
    chance = random.Random(seed)
    settings = {"tries": 2, "backoff": 0.001}
    version, count = "v0", 0
    for _ in range(6):
        for number in range(3):
            fault = dict(chance.choice(KINDS))
            path = chance.choice(["/data/*", f"{PUT['path']}", COMPLETE["path"], CREATE["path"], LOOK_UP["path"]])
            sandbox.control.fault(
                fault.pop("kind"), match={"path": path}, probability=0.25, seed=seed * 100 + number, **fault
            )
        count = chance.choice([0, 3, 3, 5, 5, 7])
        version = f"v{count}"
        try:
            sandbox.send(files(ids(count, version), 2) if count else [], version, settings=settings)
        except AepError as error:
            # A token that is refused right after its renewal is a person's business, rightly.
            assert error.retryable or isinstance(error, CredentialsRejected), error  # noqa: PT017
        sandbox.control.clear_faults()
        if chance.random() < 0.5:
            sandbox.control.settle()
    sandbox.send(files(ids(count, version), 2) if count else [], version)
    assert sandbox.live() == Counter(ids(count, version) if count else [])


@pytest.mark.parametrize("written", [False, True])
@pytest.mark.parametrize("entry", range(1, 7))
def test_a_receipt_that_cannot_be_written_leaves_a_day_that_the_next_run_finishes(
    sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch, entry: int, written: bool
) -> None:
    sandbox.send(files(ids(3, "v1")), "v1")
    sandbox.control.settle()
    original, seen = Log.append, []

    def full(self: Log, number: int, body: Mapping[str, Any]) -> None:
        seen.append(number)
        if len(seen) < entry or written:
            original(self, number, body)
        if len(seen) >= entry:
            raise StorageError("The disk is full: free space and run the day again.")

    monkeypatch.setattr(Log, "append", full)
    with contextlib.suppress(StorageError):  # only the last entry, the release, may fail in silence
        sandbox.send(files(ids(5, "v2"), 2), "v2")
    assert len(seen) >= entry
    monkeypatch.undo()
    assert sandbox.live() in (Counter(ids(3, "v1")), Counter(ids(5, "v2")))
    sandbox.send(files(ids(5, "v2"), 2), "v2")
    assert sandbox.live() == Counter(ids(5, "v2"))


@pytest.mark.parametrize("seed", range(3))
def test_of_processes_that_race_freely_the_day_is_live_once_even_if_one_is_killed(sandbox: Sandbox, seed: int) -> None:
    chance = random.Random(seed)
    sandbox.control.fault("slow", match={"path": "/data/*"}, before_headers=0.02)
    processes = [sandbox.start("v1", 6, parts=3) for _ in range(3)]
    time.sleep(chance.uniform(0.5, 1.5))
    processes[0].kill()
    answers = [process.communicate(timeout=60)[0].split() for process in processes]
    assert {a[0] for a in answers if a} <= {"uploaded", "adopted", "unchanged", "PartitionBusy"}
    sandbox.control.clear_faults()
    sandbox.send(files(ids(6, "v1"), 3), "v1")
    assert sandbox.live() == Counter(ids(6, "v1"))
    assert sum(b["status"] == "success" for b in sandbox.batches()) == 1
