"""Files of a storage as Python's own: one being written, on the local disk or as a multipart upload, and one being read."""

from __future__ import annotations

import contextlib
import io
from typing import TYPE_CHECKING, Any

import obstore

from mixpanel_aep_assets.storage.storage_errors import StorageError, is_missing, replaced

if TYPE_CHECKING:
    from mixpanel_aep_assets.storage.tree import Storage

WRITE_BUFFER = 8 << 20
"""Bytes that a file holds before they are written; of an object store's multipart upload (5 MB at least) always so many."""


REMOTE_BUFFER = 1 << 20
"""Bytes that are read of an object at a time."""


class RemoteFile(io.RawIOBase):
    """An object being read, with the whole of Python's interface, which obstore's reader lacks."""

    def __init__(self, storage: Storage, path: str) -> None:
        self.path = path
        self._storage = storage
        self._reader = obstore.open_reader(storage.store, path)

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        try:
            data = self._reader.read(len(buffer))
        except Exception as error:
            if is_missing(error):
                raise replaced(self._storage.location(self.path)) from error
            raise self._storage.failed("read", self.path, error) from error
        buffer[: len(data)] = memoryview(data)
        return len(data)

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        return self._reader.seek(offset, whence)

    def tell(self) -> int:
        return self._reader.tell()


class StagedFile(io.RawIOBase):
    """A file being written. On the local disk a plain file (what is staged does not show anyway), else multipart."""

    def __init__(self, storage: Storage, path: str, buffer: int = WRITE_BUFFER) -> None:
        self.path = path
        self.size = 0
        self._storage = storage
        self._file: Any
        try:
            if storage.root is not None:
                target = storage.root / path
                target.parent.mkdir(parents=True, exist_ok=True)
                self._file = target.open("wb", buffering=buffer)
            else:
                self._file = obstore.open_writer(storage.store, path, buffer_size=WRITE_BUFFER)
        except Exception as error:
            raise storage.failed("written", path, error) from error

    @property
    def location(self) -> str:
        return self._storage.location(self.path)

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        try:
            self._file.write(data)
        except Exception as error:
            raise self._storage.failed("written", self.path, error) from error
        size = memoryview(data).nbytes
        self.size += size
        return size

    def tell(self) -> int:
        return self.size

    def close(self) -> None:
        if self.closed:
            return
        super().close()
        try:
            self._file.close()
        except Exception as error:
            raise self._storage.failed("written", self.path, error) from error

    def abandon(self) -> None:
        """Closes without caring whether what is left could be written."""
        with contextlib.suppress(StorageError):
            self.close()
