"""The Parquet files of a raw day: parts of bounded size, and the quarantine, written while the export comes in.

Encoding and compressing run in a thread of their own, one row group behind the parser. Memory: two row groups.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from mixpanel_aep_assets.mixpanel.events import QUARANTINE_SCHEMA, RAW_SCHEMA, quarantine
from mixpanel_aep_assets.mixpanel.odd import Broken
from mixpanel_aep_assets.storage import Staging

ROW_GROUP = 1 << 15
PART_ROWS = 15 * ROW_GROUP
QUARANTINE_BYTES = 16 << 20
"""Bytes of broken lines held before a row group of them is written."""

_OPTIONS: dict[str, Any] = {"compression": "zstd", "compression_level": 1}
_RAW_OPTIONS: dict[str, Any] = {
    **_OPTIONS,
    "use_dictionary": ["event"],
    # Smallest and greatest of random ids and of long texts help no reader and cost time.
    "write_statistics": ["line", "time_ms", "received_ms", "processing_ms"],
}


class PartWriter:
    """Use as a context manager; `close` gives the manifest's entries. Raises StorageError from any call."""

    def __init__(self, staging: Staging) -> None:
        self._staging = staging
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="parquet")
        self._written: Future[None] | None = None
        self._pending: list[pa.RecordBatch] = []
        self._pending_rows = 0
        self._broken: list[Broken] = []
        self._broken_bytes = 0
        self._events = _Files(staging, "part", RAW_SCHEMA, _RAW_OPTIONS)
        self._quarantine = _Files(staging, "quarantine", QUARANTINE_SCHEMA, _OPTIONS)

    def __enter__(self) -> PartWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._pool.shutdown(wait=True, cancel_futures=True)
        self._events.abandon()
        self._quarantine.abandon()

    def write(self, events: pa.RecordBatch, broken: Sequence[Broken]) -> None:
        """Takes a batch; returns before it is on disk."""
        if events.num_rows:
            self._pending.append(events)
            self._pending_rows += events.num_rows
        while self._pending_rows >= ROW_GROUP:
            self._flush(ROW_GROUP)
        if broken:
            self._broken += broken
            self._broken_bytes += sum(len(line.bytes) for line in broken)
            if self._broken_bytes >= QUARANTINE_BYTES:
                self._flush_broken()

    def close(self) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
        """Finishes all files: entries (name, rows, bytes) of the parts and of the quarantine."""
        if self._pending_rows:
            self._flush(self._pending_rows)
        if self._broken:
            self._flush_broken()
        self._wait()
        return self._events.close(), self._quarantine.close()

    def _flush(self, rows: int) -> None:
        table = pa.Table.from_batches(self._pending, RAW_SCHEMA)
        rest = table.slice(rows)
        self._pending = rest.to_batches()
        self._pending_rows = rest.num_rows
        self._submit(self._events.write, table.slice(0, rows))

    def _flush_broken(self) -> None:
        table = quarantine(self._broken)
        self._broken, self._broken_bytes = [], 0
        self._submit(self._quarantine.write, table)

    def _submit(self, write: Callable[[pa.Table], None], table: pa.Table) -> None:
        self._wait()
        self._written = self._pool.submit(write, table)

    def _wait(self) -> None:
        if self._written is not None:
            self._written.result()
            self._written = None


class _Files:
    """Files of one kind, a new one after each `PART_ROWS` rows. Runs in the writer's thread."""

    def __init__(self, staging: Staging, kind: str, schema: pa.Schema, options: dict[str, Any]) -> None:
        self._staging, self._kind, self._schema, self._options = staging, kind, schema, options
        self._entries: list[dict[str, Any]] = []
        self._file: Any = None
        self._writer: Any = None
        self._rows = 0

    def write(self, table: pa.Table) -> None:
        if self._writer is None:
            self._file = self._staging.open(self._name)
            self._writer = pq.ParquetWriter(self._file, self._schema, **self._options)
        self._writer.write_table(table, row_group_size=ROW_GROUP)
        self._rows += table.num_rows
        if self._rows >= PART_ROWS:
            self._finish()

    def close(self) -> list[dict[str, Any]]:
        if self._writer is not None:
            self._finish()
        return self._entries

    def abandon(self) -> None:
        """Lets go of an unfinished file, which nobody will read."""
        if self._writer is not None:
            writer, self._writer = self._writer, None
            writer.is_open = False  # else pyarrow would write a footer when the object is collected
            self._file.abandon()

    @property
    def _name(self) -> str:
        return f"{self._kind}-{len(self._entries):05d}.parquet"

    def _finish(self) -> None:
        self._writer.close()
        self._file.close()
        self._entries.append({"name": self._name, "rows": self._rows, "bytes": self._file.size})
        self._writer, self._rows = None, 0
