"""How days become requests: counts, not clocks."""

from __future__ import annotations

import datetime
import math

import pytest

from mixpanel_aep_assets.mixpanel import request_windows
from mixpanel_aep_assets.mixpanel.request_windows import Limits, Size, Sizes, Window

LAST = datetime.date(2026, 11, 20)
LIMITS = Limits()
EVENT_BYTES = 1_100
"""A body's bytes an event, as in the bench kit (README there)."""


def days(count: int, last: datetime.date = LAST) -> list[datetime.date]:
    return [last - datetime.timedelta(days=n) for n in range(count)]


def day_size(events: float) -> Size:
    return Size(events * EVENT_BYTES, events)


def read_through(wanted: list[datetime.date], real: dict[datetime.date, Size], limits: Limits = LIMITS) -> list[Window]:
    """The requests of runs that take their days in this order, each planning from what is known by then."""
    known: dict[datetime.date, Size] = {}
    made: list[Window] = []
    for day in wanted:
        if day not in known:
            made.append(request_windows.window_of(day, set(wanted) - set(known), Sizes(known), limits))
            known |= {each: real[each] for each in made[-1].days}
    return made


@pytest.mark.parametrize("order", ["newest first", "oldest first"])
def test_two_years_of_50_000_events_a_day_fit_into_an_hours_requests(order: str) -> None:
    wanted = days(730) if order == "newest first" else days(730)[::-1]
    made = read_through(wanted, dict.fromkeys(wanted, day_size(50_000)))
    assert sum(window.requests for window in made) <= 60
    assert sorted(day for window in made for day in window.days) == sorted(wanted)
    assert math.floor(60 * 0.9) >= len(made), "also within the share of the budget that is ours by default"


def test_the_forecast_of_the_same_two_years_needs_no_wait_for_the_budget() -> None:
    sizes = Sizes({LAST: day_size(50_000)})
    forecast = request_windows.forecast(request_windows.plan(days(730), sizes, LIMITS), hourly=54, bytes_a_second=20e6)
    assert (forecast.days, forecast.waiting) == (730, 0)
    assert forecast.requests <= 54
    assert forecast.receiving == pytest.approx(730 * 50_000 * EVENT_BYTES / 20e6)


def test_a_budget_makes_the_requests_beyond_it_wait_an_hour_each() -> None:
    made = request_windows.plan(days(730), Sizes({LAST: day_size(2_000_000)}), LIMITS)
    assert len(made) == 730
    assert request_windows.forecast(made, hourly=54, bytes_a_second=None).waiting == 13 * 3600


def test_a_first_day_goes_alone_and_windows_grow_from_what_it_showed() -> None:
    wanted = days(40)
    made = read_through(wanted, dict.fromkeys(wanted, day_size(1_000)))
    assert [len(window.days) for window in made] == [1, 4, 20, 15]


def test_windows_go_from_the_newest_day_back_and_never_over_a_gap() -> None:
    wanted = [*days(5), *days(3, LAST - datetime.timedelta(days=9))]
    made = request_windows.plan(wanted, Sizes({LAST: day_size(10)}), Limits(most_days=4))
    assert [(window.last, len(window.days)) for window in made] == [
        (LAST, 4),
        (LAST - datetime.timedelta(days=4), 1),
        (LAST - datetime.timedelta(days=9), 3),
    ]


def test_bytes_events_and_days_each_end_a_window() -> None:
    known = dict.fromkeys(days(100), Size(30e6, 20_000))
    for limits, most in (
        (LIMITS, 31),
        (Limits(target_bytes=100 * 10**6), 3),
        (Limits(most_events=50_000), 2),
        (Limits(most_days=7), 7),
    ):
        made = request_windows.plan(days(31), Sizes(known), limits)
        assert max(len(window.days) for window in made) == most


def test_weekends_are_told_from_weekdays() -> None:
    def size(day: datetime.date) -> Size:
        return day_size(1_000 if day.weekday() >= 5 else 40_000)

    known = {day: size(day) for day in days(28)}
    sizes = Sizes(known)
    for day in days(14, LAST - datetime.timedelta(days=28)):
        assert sizes.of(day) == size(day)


def test_a_shrinking_past_is_followed() -> None:
    wanted = days(365)
    real = {day: day_size(80_000 * (1 - n / 400)) for n, day in enumerate(wanted)}
    made = read_through(wanted, real)
    totals = [sum(real[day].bytes for day in window.days) for window in made[3:-1]]
    assert max(totals) < 1.1 * LIMITS.target_bytes
    assert len(made[-2].days) > len(made[3].days)


def test_a_day_beyond_what_one_request_carries_is_for_several() -> None:
    sizes = Sizes({LAST: Size(50e9, 45e6), LAST - datetime.timedelta(days=1): Size(1e6, 900)})
    made = request_windows.plan(days(2), sizes, LIMITS)
    assert [(window.first, window.requests) for window in made] == [(LAST, 5), (LAST - datetime.timedelta(days=1), 1)]
    assert request_windows.window_of(LAST, set(days(2)), sizes, LIMITS) == made[0]


def test_a_window_that_cannot_be_carried_is_halved_down_to_a_day() -> None:
    newer, older = request_windows.halves(days(5))
    assert (newer, older) == (days(5)[:3], days(5)[3:])
    assert request_windows.halves(days(2)) == (days(2)[:1], days(2)[1:])


def test_event_lists_weigh_about_the_same_and_leave_the_rarest_to_the_rest() -> None:
    names = {"a": 50, "b": 45, "c": 40, "d": 10, "e": 5}
    lists = request_windows.name_lists(names, 3)
    assert len(lists) == 2
    assert "e" not in {name for some in lists for name in some}
    assert max(sum(names[name] for name in some) for some in lists) <= 60


@pytest.mark.parametrize("names", [{}, {"only": 5}, {"most": 90, "b": 5, "c": 5}])
def test_names_that_do_not_divide_a_day_give_no_lists(names: dict[str, int]) -> None:
    assert request_windows.name_lists(names, 3) == []
