"""Days to send: small Parquet files of ExperienceEvents whose `_id`s a test chooses."""

from __future__ import annotations

import datetime
import io
from collections.abc import Sequence

import pyarrow as pa
import pyarrow.parquet as pq

from mixpanel_aep_assets.aep import FileToSend

DAY = "2026-01-31"
SCHEMA = pa.schema([("_id", pa.string()), ("timestamp", pa.timestamp("ms", "UTC"))])


def ids(count: int, prefix: str = "e") -> list[str]:
    return [f"{prefix}{number:04}" for number in range(count)]


def files(events: Sequence[str | None], parts: int = 1) -> list[FileToSend]:
    """The events in `parts` files; an `_id` of None makes a row that the Platform refuses."""
    share = max(1, -(-len(events) // parts))
    pieces = [events[at : at + share] for at in range(0, len(events), share)]
    return [_file(f"part-{number:05}.parquet", piece) for number, piece in enumerate(pieces)]


def _file(name: str, events: Sequence[str | None]) -> FileToSend:
    moment = datetime.datetime(2026, 1, 31, 12, tzinfo=datetime.UTC)
    table = pa.table({"_id": list(events), "timestamp": [moment] * len(events)}, schema=SCHEMA)
    sink = io.BytesIO()
    pq.write_table(table, sink, compression="snappy")
    data = sink.getvalue()
    return FileToSend(name, lambda: io.BytesIO(data), len(data), len(events))
