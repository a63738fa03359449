"""The demo as a process: however it is stopped, nothing that it started stays behind."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="reads the processes from /proc")

PATIENCE = 120.0
"""Seconds in which a slow machine has begun what a test waits for."""


@pytest.mark.parametrize(("command", "sign"), [("provision", signal.SIGINT), ("run", signal.SIGTERM)])
def test_a_demo_that_is_stopped_ends_its_children_and_says_one_sentence(
    tmp_path: Path, sign: signal.Signals, command: str
) -> None:
    children, output = stopped_demo(tmp_path, sign, until=f"mixpanel_aep_assets\0{command}\0")
    assert len(children) >= 2, "the emulator and the command"
    assert output.count("Stopped.") == 1, output
    assert "Traceback" not in output
    assert "Interrupted" not in output


def stopped_demo(folder: Path, sign: signal.Signals, *, until: str) -> tuple[set[int], str]:
    """Starts a headless demo over empty days, sends `sign` as soon as a descendant's command line contains `until`; the descendants and its output.

    Requires that it ends with the exit code of a stop, and leaves none of them running.
    """
    log = folder / "output.txt"
    (folder / "demo").mkdir()
    (folder / "demo" / "demo.json").write_text(
        json.dumps({"last_day": "2026-03-10"})
    )  # as if its events were made already
    arguments = [sys.executable, "-m", "mixpanel_aep_assets", "demo", "--headless", "--folder", str(folder / "demo")]
    with log.open("w") as file:
        demo = subprocess.Popen(arguments, stdout=file, stderr=subprocess.STDOUT)
    try:
        deadline = time.monotonic() + PATIENCE
        while not any(until in command_line(pid) for pid in descendants(demo.pid)):
            assert demo.poll() is None, log.read_text()
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.05)
        time.sleep(2)  # until it is at work; a stop before that must do as well
        children = descendants(demo.pid)
        demo.send_signal(sign)
        assert demo.wait(PATIENCE) == 130, log.read_text()
        alive = {pid: command_line(pid) for pid in children if command_line(pid)}
        assert not alive
    finally:
        for pid in (demo.pid, *descendants(demo.pid)):
            if command_line(pid):
                os.kill(pid, signal.SIGKILL)
        demo.wait()
    return children, log.read_text()


def descendants(parent: int) -> set[int]:
    """The processes that `parent` and its descendants have started and that still run."""
    found: set[int] = set()
    parents: dict[int, int] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                parents[int(entry.name)] = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
            except (FileNotFoundError, ProcessLookupError):
                continue
    fresh = {parent}
    while fresh:
        fresh = {pid for pid, above in parents.items() if above in fresh} - found
        found |= fresh
    return found


def command_line(pid: int) -> str:
    """Its arguments, each ended by NUL; empty for a process that has ended."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return ""
