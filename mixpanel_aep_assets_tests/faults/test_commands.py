"""The commands under `kill -9`, several at once, on a machine whose Dagster instance lets few steps run side by side."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest

from mixpanel_aep_assets.emulator import EmulatorThread
from mixpanel_aep_assets_tests.connections import DAY, events, lines, opened, provisioned, variables
from mixpanel_aep_assets_tests.faults.requests import STEPS

pytestmark = pytest.mark.e2e

RUN = ("run", "--from", DAY, "--to", DAY, "--wait")
ONE_AT_A_TIME = "concurrency: {pools: {granularity: op, default_limit: 1}}\ntelemetry: {enabled: false}\n"


@pytest.fixture
def ready(emulator: EmulatorThread, tmp_path: Path) -> dict[str, str]:
    """The environment of a provisioned connection with a day, and an instance with one slot a pool."""
    with opened(emulator, tmp_path) as connection:
        provisioned(connection)
    emulator.control.seed_day(DAY, lines(events(40) + events(5)))
    environment = variables(emulator, tmp_path)
    home = Path(environment["DAGSTER_HOME"])
    home.mkdir()
    (home / "dagster.yaml").write_text(ONE_AT_A_TIME)
    return environment


def start(environment: dict[str, str], *arguments: str) -> subprocess.Popen[str]:
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("MIXPANEL", "ADOBE", "AEP", "DAGSTER"))}
    return subprocess.Popen(
        [sys.executable, "-m", "mixpanel_aep_assets", *arguments],
        env=clean | environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip


def ended(process: subprocess.Popen[str]) -> tuple[int, str]:
    try:
        output, _ = process.communicate(timeout=200)
    finally:
        process.kill()
    return process.returncode, output


def require_once(emulator: EmulatorThread, folder: Path) -> None:
    with opened(emulator, folder) as connection:
        live: Counter[str] = Counter(emulator.control.books(connection.dataset, ids=True)["ids"])
    assert len(live) == 40
    assert set(live.values()) == {1}


def test_a_command_killed_in_a_step_does_not_keep_the_next_one_waiting(
    emulator: EmulatorThread, ready: dict[str, str], tmp_path: Path
) -> None:
    emulator.control.fault("hold", match=STEPS["export"], count=1)
    killed = start(ready, *RUN)
    deadline = time.monotonic() + 120
    while not emulator.control.held(0.5):
        assert killed.poll() is None
        assert time.monotonic() < deadline
    killed.kill()
    killed.communicate()
    emulator.control.release()
    code, output = ended(start(ready, *RUN))
    assert code == 0, output
    require_once(emulator, tmp_path)


def test_of_two_commands_for_one_day_at_once_both_end_and_the_day_is_there_once(
    emulator: EmulatorThread, ready: dict[str, str], tmp_path: Path
) -> None:
    both = [start(ready | {"DAGSTER_HOME": str(tmp_path / f"home {number}")}, *RUN) for number in range(2)]
    told = [ended(process) for process in both]
    assert 0 in [code for code, _ in told], told
    assert all("Traceback" not in output for _, output in told)
    require_once(emulator, tmp_path)
