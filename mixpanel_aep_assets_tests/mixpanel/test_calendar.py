"""Which day is today, and which days are closed."""

from __future__ import annotations

import datetime
from typing import Literal

import pytest

from mixpanel_aep_assets.mixpanel import calendar

NOW = datetime.datetime(2026, 1, 10, 11, 30, tzinfo=datetime.UTC)


@pytest.mark.parametrize(
    ("mode", "timezone", "day"),
    [
        ("utc", "US/Pacific", "2026-01-10"),
        ("project", "US/Pacific", "2026-01-10"),
        ("project", "Pacific/Kiritimati", "2026-01-11"),
        ("project", "Etc/GMT+12", "2026-01-09"),
        ("project", "Pacific Standard Time", "2026-01-10"),
    ],
)
def test_today_is_the_projects_and_never_the_hosts__several_peers(
    mode: Literal["utc", "project"], timezone: str, day: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    import time

    for host in ("Etc/GMT+12", "Pacific/Kiritimati"):
        monkeypatch.setenv("TZ", host)
        time.tzset()
        try:
            assert calendar.today(mode, timezone, NOW).isoformat() == day
            there = NOW.astimezone(datetime.timezone(datetime.timedelta(hours=-12)))
            assert calendar.today(mode, timezone, there).isoformat() == day
        finally:
            monkeypatch.undo()
            time.tzset()


def test_a_day_is_closed_once_the_delay_has_passed() -> None:
    hours = datetime.timedelta(hours=1)
    assert calendar.last_closed_day("utc", "UTC", NOW).isoformat() == "2026-01-09"
    assert calendar.last_closed_day("utc", "UTC", NOW, 11 * hours).isoformat() == "2026-01-09"
    assert calendar.last_closed_day("utc", "UTC", NOW, 12 * hours).isoformat() == "2026-01-08"


def test_closed_days_run_to_yesterday_and_may_be_none() -> None:
    days = calendar.closed_days(datetime.date(2026, 1, 7), "utc", "UTC", NOW)
    assert [day.day for day in days] == [7, 8, 9]
    assert calendar.closed_days(datetime.date(2026, 1, 10), "utc", "UTC", NOW) == []
