"""Lines of export requests that belong to none of the days asked for: which count, and how many are too many.

Where they are kept and when one counts: `mixpanel.lines_of_other_days`. A request for one day alone answers for that day, so that
its lines stand in the day's books; those of a window of days stand beside them.
"""

from __future__ import annotations

import datetime
from collections.abc import Iterable, Mapping
from typing import TypedDict

import polars as pl

from mixpanel_aep_assets.connection import Connection, Settings
from mixpanel_aep_assets.mixpanel import lines_of_other_days
from mixpanel_aep_assets.mixpanel.lines_of_other_days import Request
from mixpanel_aep_assets.mixpanel.window_export import TooMany
from mixpanel_aep_assets.pipeline.steps import extract
from mixpanel_aep_assets.pipeline.steps.allowance import is_more_than_a_trifle, is_past_allowance
from mixpanel_aep_assets.storage import Day

Beside = TypedDict("Beside", {"from": str, "to": str, "quarantined": int, "reasons": dict[str, int]})
"""A request's row of a report."""


def of_days(connection: Connection, days: Iterable[str]) -> list[Request]:
    """Requests that asked for any of the days and have lines that count, by their days."""
    dates = {datetime.date.fromisoformat(day) for day in days}
    if not dates:
        return []
    found = lines_of_other_days.standing(
        connection.storage, connection.settings.name, _day_of(connection), min(dates), max(dates)
    )
    return [one for one in found if any(one.first <= date <= one.last for date in dates)]


def of_day(connection: Connection, day: str) -> list[Request]:
    """Requests that asked for the day, alone or with others, and have lines that count."""
    return of_days(connection, [day])


def alone(connection: Connection, day: str) -> Request | None:
    """The request for this day alone; None where it was asked for with others last, or all lines belong to their days."""
    return next((one for one in of_day(connection, day) if one.first == one.last), None)


def stops(request: Request, own: int, settings: Settings) -> bool:
    """Whether the lines of a request for a day of `own` lines stop it. A window of days was divided until they could not."""
    judge = is_more_than_a_trifle if request.first == request.last else is_past_allowance
    return judge(request.count, request.count + own, settings)


def too_many(connection: Connection) -> TooMany:
    """For `history.export_window`: whether the lines, were they all of one of the window's days, would stop that day."""

    def judge(lines: Mapping[datetime.date, int], others: pl.DataFrame) -> bool:
        def stops(count: int) -> bool:
            return any(is_more_than_a_trifle(count, count + own, connection.settings) for own in lines.values())

        if not stops(others.height):
            return False
        return stops(others.height - int(lines_of_other_days.held(others, _day_of(connection)).sum()))

    return judge


def as_json(request: Request) -> Beside:
    """The request's row of a report."""
    return {
        "from": request.first.isoformat(),
        "to": request.last.isoformat(),
        "quarantined": request.count,
        "reasons": dict(request.reasons),
    }


def reason_rows(requests: Iterable[Request]) -> list[dict[str, object]]:
    """The lines of requests by reason, for a table."""
    return [
        {"request": one.name, "reason": reason, "lines": lines}
        for one in requests
        for reason, lines in one.reasons.items()
    ]


def _day_of(connection: Connection) -> lines_of_other_days.DayOf:
    def day_of(date: datetime.date) -> Day:
        return connection.day(extract.TABLE, date.isoformat())

    return day_of
