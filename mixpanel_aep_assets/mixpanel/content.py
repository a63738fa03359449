"""What the lines of a day hold, in any order: the numbers that become the day's manifest."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from mixpanel_aep_assets.mixpanel import time_evidence, time_mode
from mixpanel_aep_assets.mixpanel.line_parser import Broken

SAMPLE = 20_000
"""Events whose receipt is looked at to tell the time mode."""


@dataclass
class Content:
    """What a day's lines hold, in any order."""

    body_bytes: int = 0
    wire_bytes: int = 0
    seconds: float = 0.0
    rows: int = 0
    digest: int = 0
    max_processing_ms: int | None = None
    first_ms: int | None = None
    last_ms: int | None = None
    reasons: Counter[str] = field(default_factory=Counter)
    names: Counter[str] = field(default_factory=Counter)
    sample: list[tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]] = field(default_factory=list)
    """`time` and receipt of the first events that have one and were not imported."""
    sampled: int = 0

    @property
    def lines(self) -> int:
        return self.rows + self.reasons.total()

    def add(self, table: pa.RecordBatch, broken: Sequence[Broken], digest: int, size: int) -> None:
        """Takes events, lines that are none, the sum of the lines' hashes and their bytes."""
        self.body_bytes += size
        self.rows += table.num_rows
        self.digest = (self.digest + digest) % (1 << 128)
        for line in broken:
            self.reasons[line.reason] += 1
        if table.num_rows:
            self._look(table)

    def _look(self, table: pa.RecordBatch) -> None:
        processed = pc.max(table["processing_ms"]).as_py()
        if processed is not None:
            self.max_processing_ms = max(processed, self.max_processing_ms or processed)
        span = pc.min_max(table["time_ms"]).as_py()
        self.first_ms = span["min"] if self.first_ms is None else min(self.first_ms, span["min"])
        self.last_ms = span["max"] if self.last_ms is None else max(self.last_ms, span["max"])
        for entry in pc.value_counts(table["event"]).to_pylist():
            self.names[entry["values"]] += entry["counts"]
        if self.sampled < SAMPLE:
            receipt = pc.coalesce(table["received_ms"], table["processing_ms"])
            online = pc.and_(pc.invert(pc.fill_null(table["imported"], False)), pc.is_valid(receipt))
            times, receipts = (one.filter(online).to_numpy(zero_copy_only=False) for one in (table["time_ms"], receipt))
            self.sample.append((times, receipts))
            self.sampled += len(times)

    def merge(self, other: Content) -> None:
        """Takes in what other lines of the same day hold."""
        self.body_bytes += other.body_bytes
        self.wire_bytes += other.wire_bytes
        self.seconds += other.seconds
        self.rows += other.rows
        self.digest = (self.digest + other.digest) % (1 << 128)
        self.max_processing_ms = max(_known(self.max_processing_ms, other.max_processing_ms), default=None)
        self.first_ms = min(_known(self.first_ms, other.first_ms), default=None)
        self.last_ms = max(_known(self.last_ms, other.last_ms), default=None)
        self.reasons += other.reasons
        self.names += other.names
        self.sample += other.sample
        self.sampled += other.sampled

    def weighed(self, timezone: str | None) -> time_evidence.Evidence:
        """What the receipt times of these events say about the time mode."""
        times, receipts = (np.concatenate([one[n] for one in self.sample] or [np.empty(0, np.int64)]) for n in (0, 1))
        agrees = (
            timezone is not None
            and self.first_ms is not None
            and self.last_ms is not None
            and time_mode.agree(timezone, self.first_ms, self.last_ms)
        )
        return time_evidence.weigh(times, receipts, timezone, agrees=agrees)


def _known(*values: int | None) -> list[int]:
    return [value for value in values if value is not None]
