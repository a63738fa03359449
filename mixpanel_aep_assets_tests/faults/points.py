"""The moments at which a run changes its storage, and what can be done to it there.

The storage's own calls stay as they are; what they call below (obstore, an open file) is watched. So a full disk comes
from where a disk's error comes from, and a kill falls between two real changes.
"""

from __future__ import annotations

import errno
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import obstore
import pytest
from obstore.exceptions import GenericError

from mixpanel_aep_assets.storage import StagedFile

Act = Callable[[str, str, Callable[[], None] | None], None]
"""Called at each moment with its kind, its path, and, where a change can be half done, what does that half."""

FULL = "Generic LocalFileSystem error: Unable to copy data to file: No space left on device (os error 28)"
"""What obstore says on a full disk."""

WRITES = ("put", "write", "flush")

BLOCK = 4096
"""Bytes of a file after which its next write counts as one; Parquet is written in pieces of some bytes."""


@contextmanager
def watched(root: Path, act: Act) -> Iterator[None]:
    """Calls `act` before and after every change of the storage below `root` while the block runs."""
    put, delete, init = obstore.put, obstore.delete, StagedFile.__init__

    def watched_put(store: Any, path: str, data: bytes, **options: Any) -> Any:
        def half() -> None:  # what obstore leaves when it is killed: its own part file
            part = root / f"{path}#1"
            part.parent.mkdir(parents=True, exist_ok=True)
            part.write_bytes(bytes(data)[: len(data) // 2])

        act("put", path, half)
        done = put(store, path, data, **options)
        act("after put", path, None)
        return done

    def watched_delete(store: Any, paths: list[str]) -> Any:
        act("delete", paths[0], lambda: delete(store, paths[:1]))
        done = delete(store, paths)
        act("after delete", paths[0], None)
        return done

    def watched_init(self: StagedFile, *given: Any) -> None:
        init(self, *given)
        self._file = WatchedFile(self._file, self.path, act)
        act("after open", self.path, None)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(obstore, "put", watched_put)
        patch.setattr(obstore, "delete", watched_delete)
        patch.setattr(StagedFile, "__init__", watched_init)
        yield


class WatchedFile:
    """A file being written, seen by `act`."""

    def __init__(self, file: IO[bytes], path: str, act: Act) -> None:
        self._file, self._path, self._act = file, path, act
        self._unseen = BLOCK

    def write(self, data: Any) -> int:
        def half() -> None:
            whole = bytes(data)
            self._file.write(whole[: len(whole) // 2])
            self._file.flush()

        self._unseen += len(data)
        if self._unseen >= BLOCK:
            self._unseen = 0
            self._act("write", self._path, half)
        return self._file.write(data)

    def close(self) -> None:
        try:
            self._act("flush", self._path, self._file.flush)
        finally:
            self._file.close()
        self._act("after close", self._path, None)


class Moments:
    """Numbers the moments (from 1), and acts at one of them."""

    def __init__(self, at: int | None = None, then: Callable[[str, str], None] = lambda kind, path: None) -> None:
        self.seen: list[str] = []
        self.reached: str | None = None
        self._at, self._then = at, then
        self._lock = threading.Lock()

    def __call__(self, kind: str, path: str, half: Callable[[], None] | None) -> None:
        for state in ("before", "half") if half is not None else ("then",):
            with self._lock:
                self.seen.append(f"{state} {kind} {table_of(path)}")
                here = len(self.seen) == self._at
            if here:
                self.reached = self.seen[-1]
                if state == "half" and half is not None:
                    half()
                self._then(kind, path)


class FullDisk:
    """A disk that is full from the n-th write on, and stays so."""

    def __init__(self, at: int | None) -> None:
        self.writes = 0
        self.refused: list[str] = []
        self._at = at
        self._lock = threading.Lock()

    def __call__(self, kind: str, path: str, half: Callable[[], None] | None) -> None:
        if kind not in WRITES:
            return
        with self._lock:
            self.writes += 1
            full = self._at is not None and self.writes >= self._at
        if full:
            self.refused.append(f"{kind} {table_of(path)}")
            if kind == "put":
                raise GenericError(FULL)
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), path)


def table_of(path: str) -> str:
    """`raw_events manifest.json` of a path below the storage."""
    parts = path.split("/")
    name = parts[-1]
    return f"{parts[1]} {name}" if len(parts) > 2 else name
