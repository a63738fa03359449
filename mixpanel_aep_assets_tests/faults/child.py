"""A run in a process of its own, to be killed from outside, and how the tests start one.

A fork server imports the project once, so that a child costs milliseconds. A child tells over its pipe what became of
the run, or, where it was told to stop at a moment, that it is there; then it waits for its end.
"""

from __future__ import annotations

import multiprocessing
import resource
import signal
import time
from collections.abc import Callable
from contextlib import nullcontext
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from mixpanel_aep_assets.errors import ExplainedError
from mixpanel_aep_assets_tests.faults import way
from mixpanel_aep_assets_tests.faults.points import Moments, watched

_context = multiprocessing.get_context("forkserver")
_context.set_forkserver_preload(["mixpanel_aep_assets_tests.faults.child"])

PATIENCE = 120.0
"""Seconds until a child that says nothing is a failed test."""


def main(pipe: Connection, url: str, folder: str, day: str, options: dict[str, Any]) -> None:
    """`stop_at`: the number of the moment to stop at. `file_limit`: bytes that no file may outgrow (EFBIG)."""
    stop_at, limit = options.pop("stop_at", None), options.pop("file_limit", None)

    def stop(kind: str, path: str) -> None:
        pipe.send(("here", f"{kind} {path}"))
        pipe.recv()

    if limit is not None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
    root = Path(folder, "data").resolve()
    moments = Moments(stop_at, stop)
    with watched(root, moments) if stop_at is not None else nullcontext():
        pipe.send(outcome(lambda: way.run(url, Path(folder), day, **options)))


def outcome(run: Callable[[], object]) -> tuple[str, str]:
    """("done", "") or the error's type, marked where it does not explain itself, and its text."""
    try:
        run()
    except Exception as error:
        name = type(error).__name__ if isinstance(error, ExplainedError) else f"bare {type(error).__name__}"
        return name, str(error)
    return "done", ""


class Child:
    """A running child; `with` makes sure that it is gone in the end."""

    def __init__(self, url: str, folder: Path, day: str, **options: Any) -> None:
        self._pipe, other = _context.Pipe()
        self.process = _context.Process(target=main, args=(other, url, str(folder), day, options), daemon=True)
        self.process.start()
        other.close()

    def __enter__(self) -> Child:
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()

    def said(self) -> tuple[str, str]:
        """The next word of the child: ("here", moment), or its run's outcome."""
        assert self._pipe.poll(PATIENCE), "the child says nothing"
        word: tuple[str, str] = self._pipe.recv()
        return word

    def ended(self) -> bool:
        """Whether it has something to say (or is dead) already."""
        return self._pipe.poll(0)

    def kill(self) -> None:
        """SIGKILL, and wait until it is dead."""
        self.process.kill()
        self.process.join()

    def kill_while_held(self, held: Callable[[float], int]) -> None:
        """Kill it as soon as the emulator holds a request of it."""
        deadline = time.monotonic() + PATIENCE
        while not held(0.2):
            assert not self.ended(), f"it ended before any request was held: {self.said()}"
            assert time.monotonic() < deadline, "no request came to the fault"
        self.kill()
        assert self.process.exitcode == -signal.SIGKILL
