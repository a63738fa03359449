"""The request budget on a server that several machines share: Redis or Postgres (see `budget`).

Their packages (`redis`, or `psycopg` and `psycopg_pool`) are no dependencies of this project; who names such a place has
them.
"""

from __future__ import annotations

import uuid
from typing import Any

from pyrate_limiter import PostgresBucket, Rate, RateItem, RedisBucket

from mixpanel_aep_assets.mixpanel.budget import pause_length

STRIKES_KEPT_MS = 3_600_000


class RedisStore:
    """A sorted set for the requests, and two keys that expire by themselves for the pause."""

    def __init__(self, url: str, name: str, rates: list[Rate]) -> None:
        import redis

        self._client: Any = redis.Redis.from_url(url, socket_timeout=10)
        self._name = name
        self._bucket: Any = RedisBucket.init(rates, self._client, name)

    def take(self, now_ms: int) -> int:
        paused = int(self._client.pttl(f"{self._name}:pause"))
        if paused > 0:
            return paused
        item = RateItem(uuid.uuid4().hex, now_ms)  # a name of its own: equal members of a sorted set count once
        self._bucket.leak(now_ms)
        return 0 if self._bucket.put(item) else max(1, int(self._bucket.waiting(item)))

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

    def went_well(self) -> None:
        self._client.delete(f"{self._name}:strikes")

    def close(self) -> None:
        self._client.close()


class PostgresStore:
    """The library's table for the requests, and a row of our own for the pause."""

    def __init__(self, url: str, name: str, rates: list[Rate]) -> None:
        from psycopg_pool import ConnectionPool

        self._pool: Any = ConnectionPool(url, min_size=1, max_size=2, timeout=10)
        self._name = name
        self._bucket = PostgresBucket(self._pool, name, rates)
        with self._pool.connection() as connection:
            connection.execute(
                "CREATE TABLE IF NOT EXISTS mixpanel_aep_pause (name TEXT PRIMARY KEY, until BIGINT, strikes INTEGER)"
            )

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
