"""What the emulator saw: requests, peaks, 429s, bytes. Kept always: a test can prove that a client kept a limit."""

from __future__ import annotations

import threading
from collections import Counter, deque
from typing import Any

LOG = 5_000
"""So many of the last requests are remembered one by one."""


class Counters:
    """Tallies by endpoint and the log of the last requests. Safe to use from several threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._running: Counter[str] = Counter()
        self.reset()

    def reset(self) -> None:
        """All tallies to nought (requests under way stay counted as under way)."""
        with self._lock:
            self._requests: Counter[str] = Counter()
            self._statuses: Counter[str] = Counter()
            self._received: Counter[str] = Counter()
            self._sent: Counter[str] = Counter()
            self._peaks: Counter[str] = Counter()
            self._faults: Counter[str] = Counter()
            self._number = 0
            self._log: deque[dict[str, Any]] = deque(maxlen=LOG)

    def begin(self, endpoint: str, method: str, path: str, query: str, moment: float) -> dict[str, Any]:
        """A request arrived. Returns its entry of the log, to be given to `end`."""
        with self._lock:
            self._number += 1
            self._requests[endpoint] += 1
            self._running[endpoint] += 1
            self._peaks[endpoint] = max(self._peaks[endpoint], self._running[endpoint])
            entry = {
                "number": self._number, "endpoint": endpoint, "method": method, "path": path, "query": query,
                "time": moment, "status": None, "received": 0, "sent": 0, "faults": [],
            }  # fmt: skip
            self._log.append(entry)
            return entry

    def end(self, entry: dict[str, Any]) -> None:
        """The request is over."""
        with self._lock:
            endpoint = entry["endpoint"]
            self._running[endpoint] -= 1
            self._statuses[f"{endpoint} {entry['status'] or 'none'}"] += 1
            self._received[endpoint] += entry["received"]
            self._sent[endpoint] += entry["sent"]
            self._faults.update(entry["faults"])

    def running(self, endpoint: str) -> int:
        """How many requests of the endpoint are under way."""
        return self._running[endpoint]

    def log(self, after: int = 0) -> list[dict[str, Any]]:
        """The remembered requests with a number above `after`."""
        with self._lock:
            return [dict(entry) for entry in self._log if entry["number"] > after]

    def to_json(self) -> dict[str, Any]:
        """All tallies."""
        with self._lock:
            refused = Counter[str]()
            for key, count in self._statuses.items():
                endpoint, _, status = key.rpartition(" ")
                if status == "429":
                    refused[endpoint] += count
            return {
                "requests": dict(self._requests),
                "statuses": dict(self._statuses),
                "peak_concurrency": dict(self._peaks),
                "running": {name: count for name, count in self._running.items() if count},
                "refused_429": dict(refused),
                "bytes_received": dict(self._received),
                "bytes_sent": dict(self._sent),
                "faults": dict(self._faults),
                "total": self._number,
            }
