"""Which days there are: what "today" is where Mixpanel counts days, and which days are closed.

Never the calendar of the machine that this runs on (mixpanel.md#rules-for-clients).
"""

from __future__ import annotations

import datetime
from typing import Literal

from mixpanel_aep_assets.mixpanel.zones import zone


def partition_zone(mode: Literal["utc", "project"], timezone: str) -> str:
    """The IANA zone in which `from_date` and `to_date` are read (mixpanel.md#export-request)."""
    return "UTC" if mode == "utc" else zone(timezone).key


def today(mode: Literal["utc", "project"], timezone: str, now: datetime.datetime | None = None) -> datetime.date:
    """The latest day that Mixpanel accepts. `now` must know its zone; default: the present."""
    now = now or datetime.datetime.now(datetime.UTC)
    return now.astimezone(zone(partition_zone(mode, timezone))).date()


def last_closed_day(
    mode: Literal["utc", "project"],
    timezone: str,
    now: datetime.datetime | None = None,
    delay: datetime.timedelta = datetime.timedelta(0),
) -> datetime.date:
    """The latest day that ended at least `delay` ago."""
    now = now or datetime.datetime.now(datetime.UTC)
    return today(mode, timezone, now - delay) - datetime.timedelta(days=1)


def closed_days(
    first: datetime.date,
    mode: Literal["utc", "project"],
    timezone: str,
    now: datetime.datetime | None = None,
    delay: datetime.timedelta = datetime.timedelta(0),
) -> list[datetime.date]:
    """All days from `first` to the last closed one."""
    last = last_closed_day(mode, timezone, now, delay)
    return [first + datetime.timedelta(days=n) for n in range((last - first).days + 1)]
