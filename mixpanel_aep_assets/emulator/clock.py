"""The emulator's own time: what "today", token life, hour windows and batch delays are measured with.

Runs with the machine's clock until a test freezes, steps or sets it. Nothing else in the emulator reads the time.
"""

from __future__ import annotations

import datetime
import threading
import time


class Clock:
    """Seconds since the epoch, steerable. Safe to use from several threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._ahead = 0.0
        self._frozen: float | None = None

    def now(self) -> float:
        """Seconds since the epoch."""
        with self._lock:
            return self._frozen if self._frozen is not None else time.time() + self._ahead

    def now_ms(self) -> int:
        """Milliseconds since the epoch."""
        return int(self.now() * 1000)

    def utc(self) -> datetime.datetime:
        """The moment as an aware datetime."""
        return datetime.datetime.fromtimestamp(self.now(), datetime.UTC)

    @property
    def frozen(self) -> bool:
        """Whether the clock stands still."""
        return self._frozen is not None

    def set(self, moment: float) -> None:
        """Jump to `moment` (seconds since the epoch); a frozen clock stays frozen there."""
        with self._lock:
            if self._frozen is not None:
                self._frozen = moment
            else:
                self._ahead = moment - time.time()

    def freeze(self, moment: float | None = None) -> None:
        """Stand still, at `moment` or at the present one."""
        at = self.now() if moment is None else moment
        with self._lock:
            self._frozen = at

    def step(self, seconds: float) -> None:
        """Go forward (or back) by `seconds`."""
        with self._lock:
            if self._frozen is not None:
                self._frozen += seconds
            else:
                self._ahead += seconds

    def run(self) -> None:
        """Go on from the present moment with the machine's pace."""
        with self._lock:
            if self._frozen is not None:
                self._ahead = self._frozen - time.time()
                self._frozen = None

    def reset(self) -> None:
        """Back to the machine's clock."""
        with self._lock:
            self._ahead, self._frozen = 0.0, None
