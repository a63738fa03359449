"""Worker processes, for work on large days that the interpreter's lock would keep on one core.

loky spawns them (nothing is forked from a process with threads) and does not run the caller's main module again, so
they cost about a second each: callers use them for days where that is little. Until then this process does the work. Who
works on several days, or exports a day first, keeps them: `kept`.
"""

from __future__ import annotations

import functools
import importlib
import os
import pickle
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

from loky import ProcessPoolExecutor
from loky.process_executor import BrokenProcessPool

from mixpanel_aep_assets.errors import ExplainedError

Item = TypeVar("Item")
Result = TypeVar("Result")

MOST = 8
"""Processes at most, each with some hundred megabytes."""

IDLE_SECONDS = 300
"""After so long without work a kept process ends and gives its memory back; the next work starts it anew."""

LARGE = 1 << 17
"""Rows from which a day is worth processes of its own."""

_ENVIRONMENT = {
    # One thread each: the processes themselves are the parallelism.
    "POLARS_MAX_THREADS": "1",
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    # Blocks of a row group's size come and go: giving each back to the system costs more than the work on it.
    "ARROW_DEFAULT_MEMORY_POOL": "system",
    "MALLOC_MMAP_MAX_": "0",
    "MALLOC_TRIM_THRESHOLD_": str(1 << 30),
    "_RJEM_MALLOC_CONF": "narenas:1,dirty_decay_ms:-1,background_thread:false,oversize_threshold:0",  # Polars' allocator
    # loky would take the memory that is kept for a leak, and start the process anew.
    "LOKY_MAX_MEMORY_LEAK_SIZE": str(1 << 40),
}


class WorkerLost(ExplainedError):
    """A process was killed from outside."""

    retryable = True


class Over(Protocol):
    """`map` over processes or in this one: results in the order of the items."""

    def __call__(self, function: Callable[[Item], Result], items: Iterable[Item], /) -> Iterator[Result]: ...


def cores() -> int:
    """Cores that this process may use, `MOST` at most."""
    return min(MOST, len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1)


def _end_with(parent: int) -> None:
    """Ends this process soon after its caller was killed: else it would keep its memory until it has long been idle."""

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(1)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def _load() -> None:
    """Imports what the work on a day needs, half a second's worth, so that its first piece does not wait for that."""
    importlib.import_module("mixpanel_aep_assets.pipeline.steps.shaping")


def _apply(function: bytes, item: Any) -> Any:
    return _unpickled(function)(item)


@functools.lru_cache(maxsize=2)
def _unpickled(function: bytes) -> Callable[[Any], Any]:
    """The function with what it belongs to, made once for all items: what it learns or compiles serves the next ones too."""
    unpickled: Callable[[Any], Any] = pickle.loads(function)  # noqa: S301 - of our own parent process
    return unpickled


@dataclass
class _Pool:
    executor: ProcessPoolExecutor
    ready: list[Future[None]]

    @classmethod
    def start(cls, count: int) -> _Pool:
        executor = ProcessPoolExecutor(
            max_workers=count, timeout=IDLE_SECONDS, env=_ENVIRONMENT, initializer=_end_with, initargs=(os.getpid(),)
        )
        return cls(executor, [executor.submit(_load) for _ in range(count)])

    def end(self) -> None:
        # Between two items they hold nothing, and in the middle of one its caller has given up: no farewell is waited for.
        self.executor.shutdown(kill_workers=True)


@dataclass
class _Kept:
    blocks: int = 0
    pool: _Pool | None = None

    def take(self, count: int) -> _Pool:
        """The kept processes, started where there are none yet."""
        self.pool = self.pool or _Pool.start(count)
        return self.pool

    def end(self) -> None:
        pool, self.pool = self.pool, None
        if pool is not None:
            pool.end()


_kept = _Kept()


@contextmanager
def kept() -> Iterator[None]:
    """Processes that are started within serve all work within, one day after the other, and end with the outermost block."""
    _kept.blocks += 1
    try:
        yield
    finally:
        _kept.blocks -= 1
        if not _kept.blocks:
            _kept.end()


def start_ahead() -> None:
    """Starts the processes where they are kept: they load while this process does the work that comes before theirs."""
    if _kept.blocks and cores() > 1:
        _kept.take(cores())


@contextmanager
def workers(count: int) -> Iterator[Over]:
    """`count` processes as a `map`, this process until the first of them has started. With one, the map of this process.

    Functions, items and results must be picklable. One item a process is computed ahead of the caller, so that results do
    not pile up. An error ends the processes. Raises WorkerLost where the system killed one.
    """
    if count < 2:
        yield map
        return
    pool = _kept.take(count) if _kept.blocks else _Pool.start(count)

    def over(function: Callable[[Item], Result], items: Iterable[Item], /) -> Iterator[Result]:
        results: deque[Future[Result]] = deque()
        pickled = pickle.dumps(function)
        for item in items:
            if any(process.done() for process in pool.ready):
                results.append(pool.executor.submit(_apply, pickled, item))
            else:
                results.append(_done(function(item)))
            while results and (results[0].done() or len(results) > 2 * count):
                yield results.popleft().result()
        while results:
            yield results.popleft().result()

    try:
        yield over
    except BaseException as error:
        _kept.pool = None if _kept.pool is pool else _kept.pool
        pool.end()
        if isinstance(error, BrokenProcessPool):
            raise WorkerLost(
                "A process that worked on the day was killed from outside, most likely because the machine's memory was "
                "used up. Run the day again with fewer runs at the same time."
            ) from None
        raise
    if not _kept.blocks:
        pool.end()


def _done(result: Result) -> Future[Result]:
    future: Future[Result] = Future()
    future.set_result(result)
    return future
