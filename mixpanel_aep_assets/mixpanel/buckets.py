"""Rows of any number spread by hash over files, so that all rows of one hash can be looked at in bounded memory."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import numpy.typing as npt

Records = npt.NDArray[np.void]
"""A structured array with a field `high` of type uint64, the hash that the rows are spread by."""

BUCKET_ROWS = 1_000_000


def buckets(chunks: Iterable[Records], dtype: np.dtype[np.void], rows: int) -> Iterator[Records]:
    """The same records in buckets of about `BUCKET_ROWS`, all records of one hash in one bucket, in their order.

    `rows` is how many there will be, about. The files lie in the machine's folder for temporary files.
    """
    count = max(1, -(-rows // BUCKET_ROWS))
    with tempfile.TemporaryDirectory(prefix="mixpanel-aep-") as folder, ExitStack() as stack:
        files = [stack.enter_context(Path(folder, str(number)).open("w+b")) for number in range(count)]
        for records in chunks:
            if count == 1:
                records.tofile(files[0])
                continue
            bucket = records["high"] % np.uint64(count)
            for number, file in enumerate(files):
                records[bucket == number].tofile(file)
        for file in files:
            file.flush()
            file.seek(0)
            yield np.fromfile(file, dtype)
            file.truncate(0)
