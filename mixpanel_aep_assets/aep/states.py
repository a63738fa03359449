"""The states of a batch, and what they mean to us (platform.md#batch-states)."""

from __future__ import annotations

LOADING = "loading"
STALLED = "stalled"

SUCCESS = frozenset({"active", "success"})
FAILED = frozenset({"failed", "failure"})
"""The Platform judged the data."""
UNFINISHED = frozenset({"aborted", "abandoned"})
"""Given up before the data was judged: the same data may be sent again."""
FAILURE = FAILED | UNFINISHED
GONE = frozenset({"inactive", "deleted", "archived", "retained"})
"""Was live once: reverted, replaced, expired."""
FINAL = SUCCESS | FAILURE | GONE
"""Everything else, unknown strings too, is in progress."""
