"""Where the count of a project's export requests is kept (see `budget`): what each place can do, and a file on this machine."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

from pyrate_limiter import Duration, Rate, RateItem, SQLiteBucket

from mixpanel_aep_assets.mixpanel.mixpanel_errors import SettingsWrong

FIRST_PAUSE = 60.0
LONGEST_PAUSE = 900.0
"""After a 429 without `Retry-After`: a minute, doubling to a quarter of an hour (mixpanel.md#retry)."""

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
            raise not_kept(str(self._path), error) from None

    def _paused(self) -> tuple[int, int]:
        row = self._connection.execute("SELECT until, strikes FROM pause WHERE name = ?", (self._name,)).fetchone()
        return row or (0, 0)


def not_kept(place: str, error: Exception) -> SettingsWrong:
    fix = "Free space there, name another writable path (MIXPANEL_AEP_BUDGET), or install the package."
    if isinstance(error, sqlite3.DatabaseError) and not isinstance(error, sqlite3.OperationalError):
        fix = (
            "The file is damaged or another program's: remove it, it only counts the requests of the last hour, or name "
            "another path (MIXPANEL_AEP_BUDGET)."
        )
    return SettingsWrong(f"The request budget cannot be kept at {place}: {error}", fix=fix)
