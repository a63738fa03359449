"""Rows of any number spread by hash over files, so that all rows of one hash can be looked at in bounded memory."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import BinaryIO

import numpy as np
import numpy.typing as npt

from mixpanel_aep_assets.storage import PASSING, StorageError

Records = npt.NDArray[np.void]
"""A structured array with a field `high` of type uint64, the hash that the rows are spread by."""

BUCKET_ROWS = 1_000_000


def buckets(chunks: Iterable[Records], dtype: np.dtype[np.void], rows: int) -> Iterator[Records]:
    """The same records in buckets of about `BUCKET_ROWS`, all records of one hash in one bucket, in their order.

    `rows` is how many there will be, about. The files lie in the machine's folder for temporary files; raises
    StorageError where that cannot be written.
    """
    count = max(1, -(-rows // BUCKET_ROWS))
    with ExitStack() as stack:
        with _explained():
            folder = stack.enter_context(tempfile.TemporaryDirectory(prefix=PASSING))
            files = [stack.enter_context(Path(folder, str(number)).open("w+b")) for number in range(count)]
        for records in chunks:
            with _explained():
                _spread(records, files)
        for file in files:
            with _explained():
                file.flush()
                file.seek(0)
                bucket = np.fromfile(file, dtype)
            yield bucket
            file.truncate(0)


def _spread(records: Records, files: Sequence[BinaryIO]) -> None:
    if len(files) == 1:
        records.tofile(files[0])
        return
    bucket = records["high"] % np.uint64(len(files))
    for number, file in enumerate(files):
        records[bucket == number].tofile(file)


@contextmanager
def _explained() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise StorageError(
            f"The folder for temporary files, {_place()}, cannot be written: {error}. "
            "Free space on its disk, or set TMPDIR to a folder that has some, and run the day again."
        ) from None


def _place() -> str:
    try:
        return tempfile.gettempdir()
    except OSError:  # it tries to write there, too
        return os.environ.get("TMPDIR", "/tmp")  # noqa: S108 - only named
