"""The project's request budget, shared by every process that uses the same store: 60 an hour (trailing), 3 a second.

A request is counted before it is sent, and stays counted whatever becomes of it (mixpanel.md#limits: assume that failed calls
count). The limit of 100 at once needs no counter of its own: of 60 begun in an hour, 100 cannot run.
What belongs here: whether a request may begin now. What does not: sleeping longer than a moment; that is the caller's.
"""

from __future__ import annotations

import hashlib
import os
import random
import sqlite3
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pyrate_limiter import Duration, Rate

from mixpanel_aep_assets.mixpanel.budget_stores import LONGEST_ASKED, SqliteStore, Store, not_kept
from mixpanel_aep_assets.mixpanel.mixpanel_errors import BudgetExhausted
from mixpanel_aep_assets.mixpanel.source_settings import REQUESTS_AN_HOUR

PER_SECOND = 3
SHORT_WAIT = 10.0
"""Seconds that `acquire` waits by itself."""


class Budget:
    """The requests of one project. Thread-safe."""

    def __init__(
        self,
        store: Store,
        *,
        clock: Callable[[], float] = time.time,
        sleep: Callable[[float], None] = time.sleep,
        jitter: tuple[float, float] = (1.0, 5.0),
    ) -> None:
        self._store = store
        self._jitter = jitter
        self._clock = clock
        self._sleep = sleep

    def acquire(self) -> None:
        """Returns when a request may begin, having counted it.

        Waits `SHORT_WAIT` seconds at most, in all; raises BudgetExhausted with `wait` where it would take longer.
        """
        patience = SHORT_WAIT
        while wait := self._store.take(self._now()) / 1000:
            if wait > patience:
                raise BudgetExhausted(
                    f"The next export request may begin in {wait:.0f} s: our share of the project's "
                    f"{REQUESTS_AN_HOUR} requests an hour is used up, or Mixpanel asked for a pause",
                    wait=wait,
                )
            patience -= wait
            self._sleep(wait)

    def pause(self, seconds: float | None) -> float:
        """Mixpanel answered 429: nobody begins a request for so long (None: it did not say). Returns the seconds."""
        now = self._now()
        if seconds is None:
            until = None
        else:  # some seconds more (mixpanel.md#retry): a header in whole seconds ends just when the first request fits
            until = now + int((min(seconds, LONGEST_ASKED) + random.uniform(*self._jitter)) * 1000)  # noqa: S311
        return self._store.pause(until, now) / 1000

    def hour_is_full(self) -> float:
        """Mixpanel answered 429, the hour's requests are used up, and did not say until when. Returns the seconds.

        Requests that are not ours fill the rest of the hour. When they leave it is not known, at the latest in an hour;
        until then one begins as one of ours leaves, which gives no second 429.
        """
        now = self._now()
        self._store.fill(now)
        later = now + int(Duration.SECOND) + 1  # when the limit of a second plays no part
        return (later - now + self._store.take(later)) / 1000

    def went_well(self) -> None:
        """An answer came that was no 429."""
        self._store.went_well()

    def close(self) -> None:
        self._store.close()

    def _now(self) -> int:
        return int(self._clock() * 1000)


def open_budget(key: str, share: float = 1.0, location: str | None = None, **options: Any) -> Budget:
    """The budget of a project (`key`). `location`: path of an SQLite file (None: one in the user's cache folder), or
    `redis://…` or `postgresql://…` where several machines share (needs the extra `redis` or `postgres`).

    Raises SettingsWrong for a place that cannot be opened.
    """
    hourly = max(1, int(REQUESTS_AN_HOUR * share))
    rates = [Rate(hourly, Duration.HOUR)]
    if hourly > 1:  # the library wants rates that grow with their interval
        rates.insert(0, Rate(min(PER_SECOND, hourly - 1), Duration.SECOND))
    name = "budget_" + hashlib.blake2b(key.encode(), digest_size=12).hexdigest()
    location = location or str(default_location())
    try:
        if location.startswith(("redis://", "rediss://")):
            from mixpanel_aep_assets.mixpanel.budget_servers import RedisStore

            return Budget(RedisStore(location, name, rates), **options)
        if location.startswith(("postgres://", "postgresql://")):
            from mixpanel_aep_assets.mixpanel.budget_servers import PostgresStore

            return Budget(PostgresStore(location, name, rates), **options)
        return Budget(SqliteStore(Path(location).expanduser(), name, rates), **options)
    except (sqlite3.Error, OSError, ImportError) as error:
        raise not_kept(location.rsplit("@", 1)[-1], error) from None  # it may name the password


def default_location() -> Path:
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(cache) / "mixpanel-aep" / "budget.sqlite"
