"""The project's request budget, shared by every process that is told the same place: 60 an hour (trailing), 3 a second.

A request is counted before it is sent, and stays counted whatever becomes of it (section 3.5: assume that failed calls
count). The limit of 100 at once needs no counter of its own: of 60 begun in an hour, 100 cannot run.
What belongs here: whether a request may begin now. What does not: sleeping longer than a moment; that is the caller's.
"""

from __future__ import annotations

import hashlib
import os
import random
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

from pyrate_limiter import Duration, Rate, RateItem, SQLiteBucket

from mixpanel_aep_assets.mixpanel.errors import BudgetExhausted, SettingsWrong
from mixpanel_aep_assets.mixpanel.settings import REQUESTS_AN_HOUR

PER_SECOND = 3
SHORT_WAIT = 10.0
"""Seconds that `acquire` waits by itself."""

FIRST_PAUSE = 60.0
LONGEST_PAUSE = 900.0
"""After a 429 without `Retry-After`: a minute, doubling to a quarter of an hour (section 3.6)."""

LONGEST_ASKED = 3_600.0
"""Of a pause that Mixpanel names: the window is an hour, so that no honest one is longer. One cut shorter would end in the
next 429."""

CLOCK_STEP_MS = 60_000
"""What lies further ahead was written before the machine's clock was set back: it counts from now, not from then."""

LOCK_TIMEOUT = 30.0


class Store(Protocol):
    """Where the counter is. Each call is atomic across the processes that share the place."""

    def take(self, now_ms: int) -> int:
        """Counts a request that begins now and returns 0; or counts nothing and returns the milliseconds to wait."""

    def pause(self, until_ms: int | None, now_ms: int) -> int:
        """Lets nobody begin before; None: as long as the pauses in a row suggest. Returns the milliseconds to wait."""

    def fill(self, now_ms: int) -> None:
        """Counts as many requests beginning now as the hour has left."""

    def went_well(self) -> None:
        """An answer that was no 429: the next pause is a first one again."""

    def close(self) -> None:
        """Lets go of the file or the server."""


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
        else:  # some seconds more (section 3.6): a header in whole seconds ends just when the first request fits
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
        raise _not_kept(location.rsplit("@", 1)[-1], error) from None


def _not_kept(place: str, error: Exception) -> SettingsWrong:
    fix = "Free space there, name another writable path (MIXPANEL_AEP_BUDGET), or install the package."
    if isinstance(error, sqlite3.DatabaseError) and not isinstance(error, sqlite3.OperationalError):
        fix = (
            "The file is damaged or another program's: remove it, it only counts the requests of the last hour, or name "
            "another path (MIXPANEL_AEP_BUDGET)."
        )
    return SettingsWrong(f"The request budget cannot be kept at {place}: {error}", fix=fix)


def default_location() -> Path:
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(cache) / "mixpanel-aep" / "budget.sqlite"


def pause_length(strikes: int) -> float:
    """Seconds of the n-th pause in a row (from 1)."""
    return float(min(FIRST_PAUSE * 2 ** (strikes - 1), LONGEST_PAUSE))


class SqliteStore:
    """A file for the processes of one machine. An immediate transaction makes count-then-add one step for all of them.

    Raises SettingsWrong where the file cannot be written any more.
    """

    def __init__(self, path: Path, name: str, rates: list[Rate]) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._path, self._name, self._rates = path, name, rates
        self._lock = threading.Lock()
        self._connection = sqlite3.connect(path, timeout=LOCK_TIMEOUT, check_same_thread=False)
        with self._connection as connection:
            connection.execute("BEGIN IMMEDIATE")
            connection.execute(f"CREATE TABLE IF NOT EXISTS '{name}' (name VARCHAR, item_timestamp INTEGER)")
            connection.execute(
                "CREATE TABLE IF NOT EXISTS pause (name TEXT PRIMARY KEY, until INTEGER, strikes INTEGER)"
            )
        self._bucket = SQLiteBucket(rates, self._connection, name)

    def take(self, now_ms: int) -> int:
        with self._transaction() as connection:
            until, _ = self._paused()
            if now_ms < until <= now_ms + int(LONGEST_ASKED * 1000) + CLOCK_STEP_MS:
                return until - now_ms
            connection.execute(
                f"DELETE FROM '{self._name}' WHERE item_timestamp < ?",  # noqa: S608 - the name is a hex digest
                (now_ms - int(Duration.HOUR),),
            )
            connection.execute(
                f"UPDATE '{self._name}' SET item_timestamp = ? WHERE item_timestamp > ?",  # noqa: S608
                (now_ms, now_ms + CLOCK_STEP_MS),
            )
            item = RateItem(self._name, now_ms)
            if self._bucket.put(item):
                return 0
            waiting = self._bucket.waiting(item)
            return max(1, waiting if isinstance(waiting, int) else 1000)

    def pause(self, until_ms: int | None, now_ms: int) -> int:
        with self._transaction() as connection:
            until, strikes = self._paused()
            if until <= now_ms or until_ms is not None:  # of several that ran into the same limit, one counts
                strikes += 1
            until = max(until, until_ms if until_ms is not None else now_ms + int(pause_length(strikes) * 1000))
            connection.execute("INSERT OR REPLACE INTO pause VALUES (?, ?, ?)", (self._name, until, strikes))
            return max(0, until - now_ms)

    def fill(self, now_ms: int) -> None:
        with self._transaction() as connection:
            counted = connection.execute(
                f"SELECT COUNT(*) FROM '{self._name}' WHERE item_timestamp >= ?",  # noqa: S608
                (now_ms - int(Duration.HOUR),),
            ).fetchone()[0]
            connection.executemany(
                f"INSERT INTO '{self._name}' VALUES (?, ?)",  # noqa: S608
                [(self._name, now_ms)] * (self._rates[-1].limit - counted),
            )

    def went_well(self) -> None:
        with self._transaction() as connection:
            connection.execute("UPDATE pause SET strikes = 0 WHERE name = ? AND strikes > 0", (self._name,))

    def close(self) -> None:
        self._connection.close()

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        try:
            with self._lock, self._connection as connection:
                connection.execute("BEGIN IMMEDIATE")
                yield connection
        except sqlite3.Error as error:
            raise _not_kept(str(self._path), error) from None

    def _paused(self) -> tuple[int, int]:
        row = self._connection.execute("SELECT until, strikes FROM pause WHERE name = ?", (self._name,)).fetchone()
        return row or (0, 0)
