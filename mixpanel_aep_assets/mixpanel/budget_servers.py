"""The request budget on a server that several machines share: Redis or Postgres (see `budget`).

Their packages come with the extras `redis` and `postgres`.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from pyrate_limiter import Duration, PostgresBucket, Rate, RateItem, RedisBucket

from mixpanel_aep_assets.mixpanel.budget_stores import pause_length
from mixpanel_aep_assets.mixpanel.mixpanel_errors import SettingsWrong, Unreachable

STRIKES_KEPT_MS = 3_600_000


@contextmanager
def _asked(package: str) -> Iterator[None]:
    """What the server's package raises, as an error that may pass. Its text names host and port, and no password."""
    try:
        yield
    except ModuleNotFoundError as error:
        extra = "redis" if package == "redis" else "postgres"
        raise SettingsWrong(
            f"MIXPANEL_AEP_BUDGET needs the package {error.name!r}, which is not installed",
            fix=f"pip install 'mixpanel-aep-assets[{extra}]'",
        ) from None
    except Exception as error:
        if type(error).__module__.split(".")[0] not in (package, f"{package}_pool"):
            raise
        reason = str(error).strip().split("\n", 1)[0][:200] or type(error).__name__
        raise Unreachable(
            f"The server of the request budget does not answer: {reason}",
            fix="Check MIXPANEL_AEP_BUDGET and the server it names. Nothing was asked of Mixpanel.",
        ) from None


class RedisStore:
    """A sorted set for the requests, and two keys that expire by themselves for the pause."""

    @_asked("redis")
    def __init__(self, url: str, name: str, rates: list[Rate]) -> None:
        import redis

        self._client: Any = redis.Redis.from_url(url, socket_timeout=10)
        self._name, self._hourly = name, rates[-1].limit
        self._bucket: Any = RedisBucket.init(rates, self._client, name)

    @_asked("redis")
    def take(self, now_ms: int) -> int:
        paused = int(self._client.pttl(f"{self._name}:pause"))
        if paused > 0:
            return paused
        item = RateItem(uuid.uuid4().hex, now_ms)  # a name of its own: equal members of a sorted set count once
        self._bucket.leak(now_ms)
        return 0 if self._bucket.put(item) else max(1, int(self._bucket.waiting(item)))

    @_asked("redis")
    def pause(self, until_ms: int | None, now_ms: int) -> int:
        left = max(0, int(self._client.pttl(f"{self._name}:pause")))
        first = self._client.set(f"{self._name}:pause", 1, px=int(pause_length(1) * 1000), nx=True)
        if first or until_ms is not None:  # of several that ran into the same limit, one counts
            strikes = int(self._client.incr(f"{self._name}:strikes"))
            self._client.pexpire(f"{self._name}:strikes", STRIKES_KEPT_MS)
        else:
            strikes = int(self._client.get(f"{self._name}:strikes") or 1)
        asked = until_ms - now_ms if until_ms is not None else int(pause_length(strikes) * 1000)
        wait = max(left, asked, 0)
        self._client.set(f"{self._name}:pause", 1, px=max(1, wait))
        return wait

    @_asked("redis")
    def fill(self, now_ms: int) -> None:
        left = self._hourly - int(self._client.zcount(self._name, now_ms - int(Duration.HOUR), "+inf"))
        if left > 0:
            self._client.zadd(self._name, {uuid.uuid4().hex: now_ms for _ in range(left)})

    @_asked("redis")
    def went_well(self) -> None:
        self._client.delete(f"{self._name}:strikes")

    def close(self) -> None:
        self._client.close()


class PostgresStore:
    """The library's table for the requests, and a row of our own for the pause."""

    @_asked("psycopg")
    def __init__(self, url: str, name: str, rates: list[Rate]) -> None:
        from psycopg_pool import ConnectionPool

        self._pool: Any = ConnectionPool(url, min_size=1, max_size=2, timeout=10)
        self._name, self._hourly = name, rates[-1].limit
        self._bucket = PostgresBucket(self._pool, name, rates)
        with self._pool.connection() as connection:
            connection.execute(
                "CREATE TABLE IF NOT EXISTS mixpanel_aep_pause (name TEXT PRIMARY KEY, until BIGINT, strikes INTEGER)"
            )

    @_asked("psycopg")
    def take(self, now_ms: int) -> int:
        until, _ = self._paused()
        if until > now_ms:
            return until - now_ms
        item = RateItem(self._name, now_ms)
        self._bucket.leak(now_ms)
        if self._bucket.put(item):
            return 0
        waiting = self._bucket.waiting(item)
        return max(1, waiting if isinstance(waiting, int) else 1000)

    @_asked("psycopg")
    def pause(self, until_ms: int | None, now_ms: int) -> int:
        before, strikes = self._paused()
        if before <= now_ms or until_ms is not None:  # of several that ran into the same limit, one counts
            strikes += 1
        until = max(before, until_ms if until_ms is not None else now_ms + int(pause_length(strikes) * 1000))
        with self._pool.connection() as connection:
            connection.execute(
                "INSERT INTO mixpanel_aep_pause VALUES (%s, %s, %s) ON CONFLICT (name) "
                "DO UPDATE SET until = EXCLUDED.until, strikes = EXCLUDED.strikes",
                (self._name, until, strikes),
            )
        return max(0, until - now_ms)

    @_asked("psycopg")
    def fill(self, now_ms: int) -> None:
        since, until = (now_ms - int(Duration.HOUR)) / 1000, now_ms / 1000
        table = f'"ratelimit___{self._name}"'  # the library's, and a hex digest
        with self._pool.connection() as connection:
            connection.execute(
                f"INSERT INTO {table} SELECT %s, 1, TO_TIMESTAMP(%s) FROM generate_series(1, %s - "  # noqa: S608
                f"(SELECT COUNT(*) FROM {table} WHERE item_timestamp >= TO_TIMESTAMP(%s))::int)",
                (self._name, until, self._hourly, since),
            )

    @_asked("psycopg")
    def went_well(self) -> None:
        with self._pool.connection() as connection:
            connection.execute("UPDATE mixpanel_aep_pause SET strikes = 0 WHERE name = %s", (self._name,))

    def close(self) -> None:
        self._pool.close()

    def _paused(self) -> tuple[int, int]:
        with self._pool.connection() as connection:
            row = connection.execute(
                "SELECT until, strikes FROM mixpanel_aep_pause WHERE name = %s", (self._name,)
            ).fetchone()
        return row or (0, 0)
