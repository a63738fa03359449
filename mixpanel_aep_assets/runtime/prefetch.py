"""Running an iterator in a thread, ahead of its reader by a bounded number of items; memory that suits it."""

from __future__ import annotations

import gc
import queue
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TypeVar

import pyarrow as pa

T = TypeVar("T")

_PATIENCE = 0.2
_TURN = 0.0005


@contextmanager
def ahead(items: Iterator[T], depth: int) -> Iterator[Iterator[T]]:
    """The same items, made in another thread, at most `depth` of them waiting.

    An error of the maker is raised where the reader would have got the next item. Leaving the block early stops the maker
    and closes its iterator (in its own thread) before it returns.
    """
    made: queue.Queue[T | _End] = queue.Queue(depth)
    stop = threading.Event()

    def put(item: T | _End) -> bool:
        while not stop.is_set():
            try:
                made.put(item, timeout=_PATIENCE)
            except queue.Full:
                continue
            return True
        return False

    def make() -> None:
        error: BaseException | None = None
        try:
            for item in items:
                if not put(item):
                    break
        except BaseException as raised:
            error = raised
        finally:
            close = getattr(items, "close", None)
            if close is not None and error is None:
                close()
        put(_End(error))

    def read() -> Iterator[T]:
        while not isinstance(item := made.get(), _End):
            yield item
        if item.error is not None:
            raise item.error

    thread = threading.Thread(target=make, name="ahead", daemon=True)
    thread.start()
    try:
        yield read()
    finally:
        stop.set()
        thread.join()


@contextmanager
def collector_paused() -> Iterator[None]:
    """No garbage collection meanwhile: parsing makes hundreds of thousands of objects, none of them in a cycle.

    Counts its users, so that exports which run side by side in threads leave the collector as they found it.
    """
    with _paused.lock:
        if _paused.users == 0:
            _paused.was_on = gc.isenabled()
            gc.disable()
        _paused.users += 1
    try:
        yield
    finally:
        with _paused.lock:
            _paused.users -= 1
            if _paused.users == 0 and _paused.was_on:
                gc.enable()


@contextmanager
def memory_kept() -> Iterator[None]:
    """Arrow's buffers from the C library meanwhile, which keeps freed blocks of a batch's size for the next batch.

    Arrow's own pool gives them back to the system, and clearing fresh pages then costs as much as reading JSON.
    """
    before = pa.default_memory_pool()
    pa.set_memory_pool(pa.system_memory_pool())
    try:
        yield
    finally:
        pa.set_memory_pool(before)


@contextmanager
def quick_turns() -> Iterator[None]:
    """Threads take turns at the interpreter's lock every half millisecond meanwhile, not every five.

    A thread that receives needs the lock briefly but often; waiting its turn of 5 ms each time, it starves the parser.
    """
    before = sys.getswitchinterval()
    sys.setswitchinterval(_TURN)
    try:
        yield
    finally:
        sys.setswitchinterval(before)


class _Paused:
    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.users = 0
        self.was_on = True


_paused = _Paused()


class _End:
    def __init__(self, error: BaseException | None) -> None:
        self.error = error
