"""The Query API's daily counts: segmentation, events, event names (mixpanel.md#daily-counts).

Counts are of distinct (event, distinct id, time, insert id), as Mixpanel's reports count, by day of the project's zone;
in a project whose export is in UTC too.
"""

from __future__ import annotations

import datetime
from collections import defaultdict
from collections.abc import Callable
from typing import Any
from zoneinfo import ZoneInfo

from starlette.responses import Response
from starlette.routing import Route

from mixpanel_aep_assets.emulator.http import Call, Handler, Refusal, endpoint, reply
from mixpanel_aep_assets.emulator.mixpanel import access
from mixpanel_aep_assets.emulator.mixpanel.accounts import zone
from mixpanel_aep_assets.emulator.mixpanel.events import days_between, epoch_ms
from mixpanel_aep_assets.emulator.mixpanel.parameters import Window, days, event_names, where
from mixpanel_aep_assets.emulator.mixpanel.selection import Selection, parse
from mixpanel_aep_assets.emulator.store import Document

Values = dict[str, dict[str, int]]


def segmentation(call: Call, project: Document) -> Response:
    """The daily counts of one event."""
    name = call.query.get("event")
    if not name:
        raise Refusal(access.error(call, 400, "Missing required parameter: event"))
    return _series(call, project, [name])


def events(call: Call, project: Document) -> Response:
    """The daily counts of several events, or of all when none is named."""
    names = event_names(call)
    return _series(call, project, sorted(names) if names is not None else None)


def names(call: Call, project: Document) -> Response:
    """The names of the events of the last 31 days, the most frequent first."""
    limit = call.query.get("limit", "255")
    if not limit.isdigit():
        raise Refusal(access.error(call, 400, "Invalid limit"))
    today = call.world.clock.utc().date()
    first = today.fromordinal(today.toordinal() - 31).isoformat()
    counts = counted(call, project, Window(first, today.isoformat(), in_ms=True))
    ranked = sorted(counts, key=lambda name: (-sum(counts[name].values()), name))
    return reply(ranked[: int(limit)])


def counted(call: Call, project: Document, asked: Window) -> Values:
    """Distinct events by name and day."""
    seen: defaultdict[str, defaultdict[str, set[int]]] = defaultdict(lambda: defaultdict(set))
    place = zone(project["timezone"]) if project["mode"] == "utc" and project["timezone"] != "UTC" else None
    first, last = (day if place is None else _moved(day, by) for day, by in ((asked.first, -1), (asked.last, 1)))
    for of_export in days_between(first, last):
        one = Window(of_export, of_export, asked.events, asked.where, in_ms=True)
        for block in Selection(call.world.events, project, one, []).blocks():
            for line in block.split(b"\n"):
                try:
                    event = parse(line)
                    name, properties = event["event"], event["properties"]
                    time_ms = epoch_ms(properties["time"])
                    key = (properties.get("distinct_id"), time_ms, properties.get("$insert_id"))
                    day = of_export if place is None else _day(time_ms, place)
                except (ValueError, TypeError, KeyError, OverflowError):
                    continue
                if asked.first <= day <= asked.last:
                    seen[name][day].add(hash((str(key[0]), key[1], str(key[2]))))
    return {name: {day: len(keys) for day, keys in days.items()} for name, days in seen.items()}


def _moved(day: str, days: int) -> str:
    return (datetime.date.fromisoformat(day) + datetime.timedelta(days=days)).isoformat()


def _day(time_ms: int, place: ZoneInfo) -> str:
    return datetime.datetime.fromtimestamp(time_ms / 1000, place).date().isoformat()


def _series(call: Call, project: Document, wanted: list[str] | None) -> Response:
    if call.query.get("unit", "day") != "day":
        raise Refusal(access.error(call, 400, "The emulator counts by day only: unit must be day"))
    first, last = days(call, project)
    asked = Window(first, last, frozenset(wanted) if wanted is not None else None, where(call), in_ms=True)
    counts = counted(call, project, asked)
    series = days_between(first, last)
    chosen = wanted if wanted is not None else sorted(counts)
    values = {name: {day: counts.get(name, {}).get(day, 0) for day in series} for name in chosen}
    return reply({"data": {"series": series, "values": values}, "legend_size": len(values)})


def _queried(handler: Callable[[Call, Document], Response]) -> Handler:
    """The checks of the Query API around a handler."""

    def run(call: Call) -> Response:
        access.limits(call, "query")
        account = access.account(call, "query")
        call.world.windows.start(account)
        try:
            return handler(call, access.project(call, access.caller(call), "query"))
        except access.EmptyRegion:
            body: dict[str, Any] = {"data": {"series": [], "values": {}}, "legend_size": 0}
            return reply(body)
        finally:
            call.world.windows.finish(account)

    return run


ROUTES = [
    Route(f"{base}/{path}", endpoint(_queried(handler)))
    for base in ("/api/query", "/api/2.0")
    for path, handler in (("segmentation", segmentation), ("events/names", names), ("events", events))
]
