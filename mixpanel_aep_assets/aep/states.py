"""The states of a batch, and what they mean to us (platform.md#batch-states)."""

from __future__ import annotations

from enum import StrEnum


class BatchStatus(StrEnum):
    """The Platform's words that are known. A status is any of them or another text: the Platform may add to them."""

    LOADING = "loading"
    STALLED = "stalled"
    ACTIVE = "active"
    SUCCESS = "success"
    FAILED = "failed"
    FAILURE = "failure"
    ABORTED = "aborted"
    ABANDONED = "abandoned"
    INACTIVE = "inactive"
    DELETED = "deleted"
    ARCHIVED = "archived"
    RETAINED = "retained"


LOADING = BatchStatus.LOADING
STALLED = BatchStatus.STALLED

MISSING = "missing"
"""Our own word for a batch that is not in the sandbox."""

SUCCESS: frozenset[str] = frozenset({BatchStatus.ACTIVE, BatchStatus.SUCCESS})
FAILED: frozenset[str] = frozenset({BatchStatus.FAILED, BatchStatus.FAILURE})
"""The Platform judged the data."""
UNFINISHED: frozenset[str] = frozenset({BatchStatus.ABORTED, BatchStatus.ABANDONED})
"""Given up before the data was judged: the same data may be sent again."""
FAILURE = FAILED | UNFINISHED
GONE: frozenset[str] = frozenset(
    {BatchStatus.INACTIVE, BatchStatus.DELETED, BatchStatus.ARCHIVED, BatchStatus.RETAINED}
)
"""Was live once: reverted, replaced, expired."""
FINAL = SUCCESS | FAILURE | GONE
"""Everything else, unknown strings too, is in progress."""
