"""A command in a fresh process, measured: wall and CPU seconds, memory. Standard library only.

Import nothing large beside it: on Linux a child's peak memory begins at its parent's.
"""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

SAMPLE_SECONDS = 0.1
MB = 1e6


class Failed(Exception):
    """The command ended with a status that is not accepted; the text is the end of what it said."""


@dataclass(frozen=True)
class Usage:
    """`cpu` is user and system time with the children that were waited for; memory in MB of 10**6 bytes.

    `largest` is the peak of the largest process as the kernel counts it, `together` the highest sum of all of the
    command's processes seen in samples, pages that they share counted once. `said` is the JSON of the last line.
    """

    wall: float
    cpu: float
    largest: float
    together: float
    load: float
    said: dict[str, Any]


def measured(
    command: Sequence[str | Path], *, environment: Mapping[str, str] | None = None, accept: Sequence[int] = (0,)
) -> Usage:
    """Runs the command to its end. Raises Failed where its exit status is none of `accept`."""
    load = os.getloadavg()[0]
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        began = time.perf_counter()
        process = subprocess.Popen(  # noqa: S603 - our own commands
            command, stdin=subprocess.DEVNULL, stdout=out, stderr=err, env=environment
        )
        with sampled(process.pid) as peak:
            _, status, usage = os.wait4(process.pid, 0)
            wall = time.perf_counter() - began
        process.returncode = os.waitstatus_to_exitcode(status)
        out.seek(0)
        err.seek(0)
        said = out.read().decode().splitlines()
        if process.returncode not in accept:
            tail = "\n".join(err.read().decode("utf-8", "replace").splitlines()[-15:])
            raise Failed(f"{' '.join(map(str, command))}: exit status {process.returncode}\n{tail}")
    return Usage(
        round(wall, 3),
        round(usage.ru_utime + usage.ru_stime, 3),
        round(usage.ru_maxrss * 1024 / MB, 1),
        round(max(peak[0], usage.ru_maxrss * 1024) / MB, 1),
        round(load, 2),
        _json(said[-1] if said else ""),
    )


def _json(line: str) -> dict[str, Any]:
    with suppress(json.JSONDecodeError):
        value = json.loads(line)
        if isinstance(value, dict):
            return value
    return {}


@contextmanager
def sampled(pid: int) -> Iterator[list[int]]:
    """The highest proportional memory (PSS, bytes) of a process and its descendants meanwhile, in a list of one."""
    peak, stop = [0], threading.Event()

    def watch() -> None:
        while not stop.wait(SAMPLE_SECONDS):
            peak[0] = max(peak[0], sum(map(proportional, family(pid))))

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield peak
    finally:
        stop.set()
        thread.join()


def family(pid: int) -> Iterator[int]:
    yield pid
    for children in Path(f"/proc/{pid}/task").glob("*/children"):
        with suppress(OSError):
            for child in children.read_text().split():
                yield from family(int(child))


def proportional(pid: int) -> int:
    with suppress(OSError):
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) * 1024
    return 0


@contextmanager
def serving(command: Sequence[str | Path]) -> Iterator[str]:
    """A server whose first line is its base URL; ended on leaving."""
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:  # noqa: S603
        assert server.stdout is not None
        try:
            yield server.stdout.readline().strip()
        finally:
            server.terminate()
