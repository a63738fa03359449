"""Date functions. A date is a zoned date-time; text given where a date is expected is read by the default formats."""

from __future__ import annotations

import calendar
import datetime as dt
from collections.abc import Callable
from typing import Any, Final

from mixpanel_aep_assets.dataprep.interpreter import date_formats
from mixpanel_aep_assets.dataprep.interpreter.context import EvaluationContext
from mixpanel_aep_assets.dataprep.interpreter.date_formats import check_pattern, check_zone, compiled, read_default
from mixpanel_aep_assets.dataprep.interpreter.functions.function_registry import Kind, Style, function
from mixpanel_aep_assets.dataprep.interpreter.values import Value, kind_of, shown, to_text
from mixpanel_aep_assets.dataprep.language.mapping_errors import EvaluationError, nearest

_EPOCH: Final = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
_MILLISECOND: Final = dt.timedelta(milliseconds=1)


@function("now", category="date", gives=Kind.DATE, style=Style.CONTEXT)
def now(context: EvaluationContext) -> dt.datetime:
    return context.clock()


@function("timestamp", category="date", gives=Kind.INTEGER, style=Style.CONTEXT)
def timestamp(context: EvaluationContext) -> int:
    """Milliseconds since 1970."""
    return (context.clock() - _EPOCH) // _MILLISECOND


@function(
    "format",
    category="date",
    takes=(Kind.DATE, Kind.TEXT),
    gives=Kind.TEXT,
    null_in=(0, 1),
    constants={1: check_pattern},
)
def format_date(moment: dt.datetime, pattern: str) -> str:
    return compiled(pattern).write(moment)


@function(
    "dformat",
    category="date",
    takes=(Kind.INTEGER, Kind.TEXT),
    gives=Kind.TEXT,
    null_in=(0, 1),
    constants={1: check_pattern},
)
def dformat(milliseconds: int, pattern: str) -> str:
    """Epoch milliseconds, written in UTC."""
    try:
        moment = _EPOCH + milliseconds * _MILLISECOND
    except OverflowError:
        raise EvaluationError(
            f"{shown(milliseconds)} milliseconds are not a date between the years 1 and 9999"
        ) from None
    return compiled(pattern).write(moment)


def _check_readable(pattern: Any) -> None:
    check_pattern(pattern)
    if isinstance(pattern, str) and compiled(pattern).unreadable:
        compiled(pattern).read("")


@function(
    "date",
    category="date",
    takes=(Kind.ANY, Kind.TEXT, Kind.DATE),
    gives=Kind.DATE,
    required=1,
    constants={1: _check_readable},
)
def date(value: Value, pattern: str | None = None, default: dt.datetime | None = None) -> dt.datetime | None:
    """Text to date-time. The pattern describes the text; the default is for null only, text that does not fit fails."""
    if value is None:
        return default
    if isinstance(value, dt.date):
        return date_formats.to_datetime(value)
    text = to_text(value, "the text of a date")
    if pattern is None:
        return read_default(text)
    moment = compiled(pattern).read(text)
    if moment is None:
        raise EvaluationError(f"the text {shown(text)} does not fit the date pattern {pattern!r}")
    return moment


_PARTS: Final[dict[tuple[str, ...], Callable[[dt.datetime], int]]] = {
    ("year", "yyyy", "yy"): lambda moment: moment.year,
    ("quarter", "qq", "q"): lambda moment: (moment.month + 2) // 3,
    ("month", "mm", "m"): lambda moment: moment.month,
    ("dayofyear", "dy", "y"): lambda moment: moment.timetuple().tm_yday,
    ("day", "dd", "d"): lambda moment: moment.day,
    ("week", "ww", "w"): lambda moment: moment.isocalendar().week,
    ("weekday", "dw"): lambda moment: moment.isoweekday() % 7 + 1,
    ("hour", "hh", "hh24"): lambda moment: moment.hour,
    ("hh12",): lambda moment: moment.hour % 12 or 12,
    ("minute", "mi", "n"): lambda moment: moment.minute,
    ("second", "ss", "s"): lambda moment: moment.second,
    ("millisecond", "sss", "ms"): lambda moment: moment.microsecond // 1000,
}
_PART: Final = {name: part for names, part in _PARTS.items() for name in names}
_SETTABLE: Final = {
    name: field
    for names, field in (
        (("year", "yyyy", "yy"), "year"),
        (("month", "mm", "m"), "month"),
        (("day", "dd", "d"), "day"),
        (("hour", "hh"), "hour"),
        (("minute", "mi", "n"), "minute"),
        (("second", "ss", "s"), "second"),
    )
    for name in names
}


def _component(name: str, known: dict[str, Any]) -> Any:
    found = known.get(name.lower())
    if found is None:
        close = nearest(name, known)
        raise EvaluationError(f"{shown(name)} is not a part of a date" + (f", did you mean {close}?" if close else ""))
    return found


def _check_part(name: Any) -> None:
    if name is not None:
        _component(name if isinstance(name, str) else kind_of(name), _PART)


def _check_settable(name: Any) -> None:
    if name is not None:
        _component(name if isinstance(name, str) else kind_of(name), _SETTABLE)


@function(
    "date_part",
    category="date",
    takes=(Kind.TEXT, Kind.DATE),
    gives=Kind.INTEGER,
    null_in=(0, 1),
    constants={0: _check_part},
)
def date_part(component: str, moment: dt.datetime) -> int:
    """A part by name, case ignored. `w` is the ISO week, weekday 1 is Sunday (data-prep.md#our-answers)."""
    part: Callable[[dt.datetime], int] = _component(component, _PART)
    return part(moment)


@function(
    "set_date_part",
    category="date",
    takes=(Kind.TEXT, Kind.INTEGER, Kind.DATE),
    gives=Kind.DATE,
    null_in=(0, 1, 2),
    constants={0: _check_settable},
)
def set_date_part(component: str, value: int, moment: dt.datetime) -> dt.datetime:
    """With a new year or month, a day that the month lacks becomes its last day, as in Java."""
    field = _component(component, _SETTABLE)
    try:
        if field in {"year", "month"}:
            year, month = (value, moment.month) if field == "year" else (moment.year, value)
            last = calendar.monthrange(year, month)[1]
            return date_formats.settled(moment.replace(year=year, month=month, day=min(moment.day, last)))
        change: dict[str, Any] = {field: value}
        return date_formats.settled(moment.replace(**change))
    except (ValueError, OverflowError):
        raise EvaluationError(f"{shown(value)} is no {field} of {shown(moment.date())}") from None


_DATE_TIME: Final = (Kind.INTEGER,) * 7 + (Kind.TEXT,)


@function(
    "make_date_time",
    "make_timestamp",
    category="date",
    takes=_DATE_TIME,
    gives=Kind.DATE,
    null_in=tuple(range(8)),
    constants={7: check_zone},
)
def make_date_time(
    year: int, month: int, day: int, hour: int, minute: int, second: int, nanosecond: int, time_zone: str
) -> dt.datetime:
    """The zone is honoured (data-prep.md#our-answers); nanoseconds are cut to microseconds."""
    try:
        moment = dt.datetime(year, month, day, hour, minute, second, nanosecond // 1000, date_formats.zone(time_zone))
        return date_formats.settled(moment)
    except OverflowError:
        raise EvaluationError("no such date-time: a part is out of its range") from None
    except ValueError as error:
        raise EvaluationError(f"no such date-time: {error}") from None


@function("zone_date_to_utc", category="date", takes=(Kind.DATE,), gives=Kind.DATE, null_in=(0,))
def zone_date_to_utc(moment: dt.datetime) -> dt.datetime:
    return _moved(moment, dt.UTC)


@function(
    "zone_date_to_zone",
    category="date",
    takes=(Kind.DATE, Kind.TEXT),
    gives=Kind.DATE,
    null_in=(0, 1),
    constants={1: check_zone},
)
def zone_date_to_zone(moment: dt.datetime, time_zone: str) -> dt.datetime:
    return _moved(moment, date_formats.zone(time_zone))


def _moved(moment: dt.datetime, time_zone: dt.tzinfo) -> dt.datetime:
    try:
        return moment.astimezone(time_zone)
    except OverflowError:
        raise EvaluationError(f"{shown(moment)} is out of range in this zone") from None
