"""Trailing-window and concurrency accounts: how many requests began lately, how many are under way."""

from __future__ import annotations

import threading
from collections import Counter, deque


class Windows:
    """Accounts by name. Every request is entered, enforced or not, so that the highest count can be told afterwards."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._begun: dict[str, deque[float]] = {}
        self.running: Counter[str] = Counter()
        self.peaks: Counter[str] = Counter()

    def enter(self, account: str, now: float, seconds: float, limit: int | None = None) -> float | None:
        """Enter one request into the account's window of `seconds`.

        Returns None if it fits, else the seconds until it would. A refused request is entered as well: whether Mixpanel
        counts those is not documented, the strict reading is that it does.
        """
        with self._lock:
            begun = self._begun.setdefault(f"{account}/{seconds:g}s", deque())
            while begun and begun[0] <= now - seconds:
                begun.popleft()
            begun.append(now)
            name = f"{account}/{seconds:g}s"
            self.peaks[name] = max(self.peaks[name], len(begun))
            if limit is None or len(begun) <= limit:
                return None
            return max(0.0, begun[len(begun) - limit] + seconds - now)

    def start(self, account: str, limit: int | None = None) -> bool:
        """Begin a request; False if the account has its limit under way already (then nothing is begun)."""
        with self._lock:
            if limit is not None and self.running[account] >= limit:
                return False
            self.running[account] += 1
            self.peaks[account] = max(self.peaks[account], self.running[account])
            return True

    def finish(self, account: str) -> None:
        """End a request that `start` began."""
        with self._lock:
            self.running[account] -= 1

    def reset(self) -> None:
        """Forget all windows and peaks."""
        with self._lock:
            self._begun.clear()
            self.peaks.clear()
