"""The Parquet files of a raw day: parts of bounded size, and the quarantine, written while the export comes in.

Encoding and compressing run in a thread of their own, one row group behind the parser. Memory: two row groups.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import suppress
from types import TracebackType
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from mixpanel_aep_assets.manifests import Part
from mixpanel_aep_assets.mixpanel.dedup import CONTENT, content_hash
from mixpanel_aep_assets.mixpanel.events import QUARANTINE_SCHEMA, RAW_SCHEMA, quarantine
from mixpanel_aep_assets.mixpanel.line_parser import Broken
from mixpanel_aep_assets.mixpanel.privacy import Privacy
from mixpanel_aep_assets.storage import WRITE_BUFFER, Staging

FILE_SCHEMA = RAW_SCHEMA.append(pa.field(CONTENT, pa.uint64(), nullable=False))
"""What the files hold: the rows, and the hash of each row's `properties`."""

ROW_GROUP = 1 << 15
PART_ROWS = 15 * ROW_GROUP
QUARANTINE_BYTES = 16 << 20
"""Bytes of broken lines held before a row group of them is written."""

SHARED_BUFFER = 1 << 20
"""Bytes that each file holds of writers that share a pool: as many may be open as a window has days."""

OPTIONS: dict[str, Any] = {"compression": "zstd", "compression_level": 1}
_RAW_OPTIONS: dict[str, Any] = {
    **OPTIONS,
    "use_dictionary": ["event"],
    # Smallest and greatest of random ids and of long texts help no reader and cost time.
    "write_statistics": ["line", "time_ms", "received_ms", "processing_ms"],
}


def one_thread() -> ThreadPoolExecutor:
    """A pool for `PartWriter`."""
    return ThreadPoolExecutor(1, thread_name_prefix="parquet")


class PartWriter:
    """Use as a context manager; `close` gives the manifest's entries. Raises StorageError from any call.

    `privacy`: the rules of lines that are no events, whose content is withheld under any. `prefix` begins the names of the
    files, where several writers share a staging; where they share a `pool` of one thread, its owner ends it.
    """

    def __init__(
        self, staging: Staging, privacy: Privacy | None, prefix: str = "", pool: ThreadPoolExecutor | None = None
    ) -> None:
        self._staging = staging
        self._privacy = privacy
        self._pool = pool or one_thread()
        self._pool_is_ours = pool is None
        self._written: Future[None] | None = None
        self._pending: list[pa.RecordBatch] = []
        self._pending_rows = 0
        self._broken: list[Broken] = []
        self._broken_bytes = 0
        buffer = WRITE_BUFFER if pool is None else SHARED_BUFFER
        self._events = Files(staging, f"{prefix}part", FILE_SCHEMA, _RAW_OPTIONS, buffer)
        self._quarantine = Files(staging, f"{prefix}quarantine", QUARANTINE_SCHEMA, OPTIONS, buffer)

    def __enter__(self) -> PartWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._pool_is_ours:
            self._pool.shutdown(wait=True, cancel_futures=True)
        elif self._written is not None and not self._written.cancel():
            wait([self._written])
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
            self._broken += broken if self._privacy is None else self._privacy.withheld(broken)
            self._broken_bytes += sum(len(line.bytes) for line in broken)
            if self._broken_bytes >= QUARANTINE_BYTES:
                self._flush_broken()

    @property
    def pending_bytes(self) -> int:
        """Bytes of events that wait for their row group to fill."""
        return sum(batch.nbytes for batch in self._pending)

    def spill(self) -> None:
        """Writes the events that wait as a row group, full or not."""
        if self._pending_rows:
            self._flush(self._pending_rows)

    def close(self) -> tuple[tuple[Part, ...], tuple[Part, ...]]:
        """Finishes all files: the parts, and those of the quarantine."""
        self.spill()
        if self._broken:
            self._flush_broken()
        self._wait()
        return self._events.close(), self._quarantine.close()

    def _flush(self, rows: int) -> None:
        table = pa.Table.from_batches(self._pending, RAW_SCHEMA)
        rest = table.slice(rows)
        self._pending = rest.to_batches()
        self._pending_rows = rest.num_rows
        self._submit(self._write_events, table.slice(0, rows))

    def _write_events(self, table: pa.Table) -> None:
        texts = pl.DataFrame({"properties": pl.from_arrow(table["properties"])})
        hashes = texts.select(content_hash()).to_series().to_arrow()
        self._events.write(table.append_column(FILE_SCHEMA.field(CONTENT), hashes))

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


class Files:
    """Files of one kind, a new one after each `PART_ROWS` rows. Used by one thread."""

    def __init__(self, staging: Staging, kind: str, schema: pa.Schema, options: dict[str, Any], buffer: int) -> None:
        self._staging, self._kind, self._schema, self._options = staging, kind, schema, options
        self._buffer = buffer
        self._entries: list[Part] = []
        self._file: Any = None
        self._sink: Any = None
        self._writer: Any = None
        self._rows = 0

    def write(self, table: pa.Table) -> None:
        if self._writer is None:
            self._file = self._staging.open(self._name, self._buffer)
            # Held by Arrow: each page handed to Python would wait for the interpreter's lock, which the parser has.
            self._sink = pa.BufferedOutputStream(pa.PythonFile(self._file, mode="w"), self._buffer)
            self._writer = pq.ParquetWriter(self._sink, self._schema, **self._options)
        self._writer.write_table(table, row_group_size=ROW_GROUP)
        self._rows += table.num_rows
        if self._rows >= PART_ROWS:
            self._finish()

    def close(self) -> tuple[Part, ...]:
        if self._writer is not None:
            self._finish()
        return tuple(self._entries)

    def abandon(self) -> None:
        """Lets go of an unfinished file, which nobody will read."""
        if self._writer is not None:
            writer, self._writer = self._writer, None
            writer.is_open = False  # else pyarrow would write a footer when the object is collected
            with suppress(Exception):  # what Arrow still holds; the first error is the one to see
                self._sink.close()
            self._file.abandon()

    @property
    def _name(self) -> str:
        return f"{self._kind}-{len(self._entries):05d}.parquet"

    def _finish(self) -> None:
        self._writer.close()
        self._sink.close()
        self._file.close()
        self._entries.append(Part(self._name, self._rows, self._file.size))
        self._writer, self._rows = None, 0
