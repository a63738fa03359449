"""Rows of any number spread by hash over files, so that all rows of one hash can be looked at in bounded memory."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from mixpanel_aep_assets.storage import PASSING, StorageError

Records = npt.NDArray[np.void]
"""A structured array with a field `high` of type uint64, the hash that the rows are spread by."""

PARTITION_ROWS = 1_000_000


@dataclass(frozen=True)
class HashPartitions:
    """Files of records. Can be sent to other processes, which put theirs in files of their own. Raises StorageError."""

    folder: Path
    count: int
    dtype: np.dtype[np.void]

    def put(self, records: Records) -> None:
        """Adds records, each to the bucket of its hash."""
        bucket = records["high"] % np.uint64(self.count)
        for number in range(self.count):
            here = records if self.count == 1 else records[bucket == number]
            with _explained(), (self.folder / f"{number}-{os.getpid()}").open("ab") as file:
                here.tofile(file)

    def drain(self) -> Iterator[Records]:
        """One bucket after the other, its records in any order; its files go with it."""
        for number in range(self.count):
            files = sorted(self.folder.glob(f"{number}-*"))
            with _explained():
                sizes = [file.stat().st_size for file in files]
                bucket = np.empty(sum(sizes) // self.dtype.itemsize, self.dtype)
                room = bucket.view(np.uint8).data
                for path, size in zip(files, sizes, strict=True):
                    with path.open("rb") as file:
                        if file.readinto(room[:size]) != size:
                            raise OSError(f"{path} is shorter than it was")
                    path.unlink()
                    room = room[size:]
            yield bucket


@contextmanager
def hash_partitions(dtype: np.dtype[np.void], rows: int) -> Iterator[HashPartitions]:
    """Buckets of about `PARTITION_ROWS` of `rows` records, all records of one hash in one of them.

    The files lie in the machine's folder for temporary files; raises StorageError where that cannot be written.
    """
    with ExitStack() as stack:
        with _explained():
            folder = stack.enter_context(tempfile.TemporaryDirectory(prefix=PASSING))
        yield HashPartitions(Path(folder), max(1, -(-rows // PARTITION_ROWS)), dtype)


@contextmanager
def _explained() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise StorageError(
            f"The folder for temporary files, {_place()}, cannot be written: {error}. "
            "Free space on its disk, or set TMPDIR to a folder that has some, and run the day again."
        ) from error


def _place() -> str:
    try:
        return tempfile.gettempdir()
    except OSError:  # it tries to write there, too
        return os.environ.get("TMPDIR", "/tmp")  # noqa: S108 - only named
