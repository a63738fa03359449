"""The parameter rules of the export (mixpanel.md#emulator): each breach is a 400."""

from __future__ import annotations

import datetime
import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from mixpanel_aep_assets.emulator.http import Call, Refusal
from mixpanel_aep_assets.emulator.mixpanel.access import error
from mixpanel_aep_assets.emulator.mixpanel.accounts import today
from mixpanel_aep_assets.emulator.mixpanel.where import WhereError, compile_where
from mixpanel_aep_assets.emulator.store import Document

MAXIMUM_LIMIT = 100_000
_DAY = re.compile(r"\d{4}-\d{2}-\d{2}")


@dataclass(frozen=True)
class Window:
    """What an export request asks for."""

    first: str
    last: str
    events: frozenset[str] | None = None
    where: Callable[[dict[str, Any]], bool] | None = None
    limit: int | None = None
    in_ms: bool = False


def window(call: Call, project: Document) -> Window:
    """The request's parameters, or a refusal."""
    first, last = days(call, project)
    return Window(first, last, event_names(call), where(call), _limit(call), _in_ms(call))


def days(call: Call, project: Document) -> tuple[str, str]:
    """The first and the last request day."""
    first, last = _day(call, "from_date"), _day(call, "to_date")
    if last < first:
        raise _bad(call, "to_date cannot be earlier than from_date")
    if last > today(project, call.world.clock.utc()).isoformat():
        raise _bad(call, "Invalid to_date: to_date cannot be later than today")
    return first, last


def event_names(call: Call) -> frozenset[str] | None:
    """The `event` filter: a JSON array of exact names."""
    text = call.query.get("event")
    if not text:
        return None
    try:
        names = json.loads(text)
    except ValueError:
        names = None
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise _bad(call, "event must be a JSON array of strings")
    return frozenset(names)


def where(call: Call) -> Callable[[dict[str, Any]], bool] | None:
    """The `where` filter as a predicate."""
    if not (text := call.query.get("where")):
        return None
    try:
        return compile_where(text)
    except WhereError as reason:
        raise _bad(call, f"Unable to parse where expression: {reason}") from None


def _day(call: Call, name: str) -> str:
    text = call.query.get(name, "")
    if not text:
        raise _bad(call, f"Missing required parameter: {name}")
    if not _DAY.fullmatch(text):
        raise _bad(call, f"Error in {name}: invalid date, must be in the format yyyy-mm-dd")
    try:
        day = datetime.date.fromisoformat(text)
    except ValueError:
        raise _bad(call, f"Error in {name}: invalid date, bad day or month") from None
    if day.year < 2000:
        raise _bad(call, f"Error in {name}: invalid date, bad year")
    return text


def _limit(call: Call) -> int | None:
    text = call.query.get("limit")
    if text is None:
        return None
    if not text.isascii() or not text.isdigit() or not 0 < int(text) <= MAXIMUM_LIMIT:
        raise _bad(call, f"Invalid limit: must be an integer from 1 to {MAXIMUM_LIMIT}")
    return int(text)


def _in_ms(call: Call) -> bool:
    text = call.query.get("time_in_ms", "false")
    if text not in ("true", "false"):
        raise _bad(call, "Invalid time_in_ms: must be true or false")
    return text == "true"


def _bad(call: Call, text: str) -> Refusal:
    return Refusal(error(call, 400, text))
