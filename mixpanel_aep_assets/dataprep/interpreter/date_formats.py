"""Dates as text: Java's pattern letters, the default formats of `date()`, zones. What the date functions build on.

Patterns are compiled once, to a regular expression for reading and a list of writers. Names are English, of any case on
input; a text without a zone is UTC; precision is the microsecond (data-prep.md#dates).
"""

from __future__ import annotations

import calendar
import datetime as dt
import functools
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from mixpanel_aep_assets.dataprep.interpreter.values import Value, iso, kind_of, shown
from mixpanel_aep_assets.dataprep.language.mapping_errors import EvaluationError

DEFAULT_FORMATS: Final = (
    "yyyy-MM-dd HH:mm:ssZ",
    "yyyy-MM-dd HH:mm:ss.SSSZ",
    "yyyy-MM-dd HH:mm:ss.SSS",
    "yyyy-MM-dd'T'HH:mm:ss.SSSX",
    "yyyy-MM-dd'T'HH:mm:ss'Z'",
    "yyyy-MM-dd",
    "yyyy/MM/dd",
    "yyyy.MM.dd",
    "yyyy-MMM-dd",
    "yyyyMMdd",
    "MM-dd-yyyy",
    "MMddyyyy",
    "M/dd/yyyy",
    "dd.M.yyyy",
    "M/dd/yyyy hh:mm:ss a",
    "dd.M.yyyy hh:mm:ss a",
    "dd.MMM.yyyy",
    "dd-MMM-yyyy",
)
"""What `date(text)` and text under a date field of the target read, in this order."""

_LONGEST_DATE: Final = 100
_MONTHS: Final = calendar.month_name[1:]
_DAYS: Final = calendar.day_name[:]
_ZONE_NAMES: Final = {
    "UTC": "UTC",
    "GMT": "UTC",
    "Z": "UTC",
    "PST": "America/Los_Angeles",
    "PDT": "America/Los_Angeles",
    "MST": "America/Denver",
    "MDT": "America/Denver",
    "CST": "America/Chicago",
    "CDT": "America/Chicago",
    "EST": "America/New_York",
    "EDT": "America/New_York",
    "CET": "Europe/Paris",
    "CEST": "Europe/Paris",
    "BST": "Europe/London",
    "JST": "Asia/Tokyo",
    "IST": "Asia/Kolkata",
}
"""Abbreviations that Java resolves to regions, so that the date and not the letters decide about daylight time."""

_OFFSET: Final = re.compile(r"(?:UTC|GMT)?([+-])(\d{1,2})(?::?(\d{2}))?(?::?(\d{2}))?")
_ISO: Final = re.compile(
    r"(\d{4})-(\d{2})-(\d{2})(?:[T ](\d{2}):(\d{2})(?::(\d{2})(?:\.(\d{1,9}))?)?(Z|[+-]\d{2}(?::?\d{2})?)?)?"
)


@functools.lru_cache(maxsize=512)
def zone(name: str) -> dt.tzinfo:
    """The zone of an IANA id, an abbreviation of Java or an offset. Raises EvaluationError for anything else."""
    known = _ZONE_NAMES.get(name.upper(), name)
    if known == "UTC":
        return dt.UTC
    offset = _OFFSET.fullmatch(known)
    if offset:
        hours, minutes, seconds = int(offset[2]), int(offset[3] or 0), int(offset[4] or 0)
        if hours > 18 or minutes > 59 or seconds > 59:
            raise EvaluationError(f"the zone offset {name!r} is out of range")
        delta = dt.timedelta(hours=hours, minutes=minutes, seconds=seconds)
        return dt.timezone(-delta if offset[1] == "-" else delta)
    try:
        return ZoneInfo(known)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise EvaluationError(f"the time zone {shown(name)} is unknown, expected an id such as Europe/Paris") from None


def settled(moment: dt.datetime) -> dt.datetime:
    """The moment as clocks of its zone show it: a time that they skip is as much later as they are set forward, as in Java."""
    return moment.astimezone(dt.UTC).astimezone(moment.tzinfo) if isinstance(moment.tzinfo, ZoneInfo) else moment


def check_zone(name: Any) -> None:
    """Raises EvaluationError for a constant that names no zone."""
    if name is not None:
        zone(name if isinstance(name, str) else kind_of(name))


def read_default(text: str) -> dt.datetime:
    """The date of a text in one of the default formats, or in an ISO form without seconds or zone (data-prep.md#dates)."""
    if len(text) <= _LONGEST_DATE:
        # Every ISO-like default format is contained in this one form, which is quick to try.
        found = _ISO.fullmatch(text)
        if found:
            moment = _iso_moment(found)
            if moment is not None:
                return moment
        for pattern in DEFAULT_FORMATS:
            moment = compiled(pattern).read(text)
            if moment is not None:
                return moment
    raise EvaluationError(f"the text {shown(text)} fits none of the default date formats")


def _iso_moment(found: re.Match[str]) -> dt.datetime | None:
    year, month, day, hour, minute, second, fraction, offset = found.groups()
    try:
        return dt.datetime(
            int(year),
            int(month),
            int(day),
            int(hour or 0),
            int(minute or 0),
            int(second or 0),
            int((fraction or "0").ljust(6, "0")[:6]),
            tzinfo=zone(offset) if offset else dt.UTC,
        )
    except (ValueError, EvaluationError):
        return None


def to_datetime(value: Value) -> dt.datetime:
    """A date argument: a date-time, or text in a default format. Raises EvaluationError."""
    if isinstance(value, dt.datetime):
        return value if value.tzinfo else value.replace(tzinfo=dt.UTC)
    if isinstance(value, dt.date):
        return dt.datetime(value.year, value.month, value.day, tzinfo=dt.UTC)
    if isinstance(value, str):
        return read_default(value)
    raise EvaluationError(f"expected a date, found {kind_of(value)}; use date(text) or dformat(milliseconds, format)")


def check_pattern(pattern: Any) -> None:
    """Raises EvaluationError when a constant is no date pattern."""
    if isinstance(pattern, str):
        compiled(pattern)


@dataclass(frozen=True)
class DateFormat:
    """A compiled pattern. `unreadable` names a letter that can be written but not read."""

    pattern: str
    reader: re.Pattern[str]
    letters: tuple[tuple[str, int], ...]
    writers: tuple[Callable[[dt.datetime], str], ...]
    unreadable: str | None

    def read(self, text: str) -> dt.datetime | None:
        """The date-time of a text that fits the whole pattern with valid fields, or None."""
        if self.unreadable is not None:
            raise EvaluationError(f"the letter {self.unreadable} of the date pattern {self.pattern!r} cannot be read")
        found = self.reader.fullmatch(text) if len(text) <= _LONGEST_DATE else None
        if found is None:
            return None
        fields = {letter: value for (letter, _), value in zip(self.letters, found.groups(), strict=True)}
        try:
            return _moment(fields)
        except (ValueError, OverflowError, EvaluationError):
            return None

    def write(self, moment: dt.datetime) -> str:
        return "".join(writer(moment) for writer in self.writers)


@functools.lru_cache(maxsize=512)
def compiled(pattern: str) -> DateFormat:
    """The compiled form of a Java date pattern. Raises EvaluationError for an unknown letter or an open quote."""
    if len(pattern) > _LONGEST_DATE:
        raise EvaluationError(f"a date pattern has at most {_LONGEST_DATE} characters")
    expression: list[str] = []
    letters: list[tuple[str, int]] = []
    writers: list[Callable[[dt.datetime], str]] = []
    unreadable: str | None = None
    for piece, literal in pattern_pieces(pattern):
        if literal:
            expression.append(re.escape(piece))
            writers.append(functools.partial(_literal, piece))
            continue
        letter, count = piece[0], len(piece)
        if letter not in _WRITERS:
            raise EvaluationError(
                f"{letter!r} of the date pattern {pattern!r} is not a pattern letter; quote literal text"
            )
        writers.append(functools.partial(_WRITERS[letter], count))
        reader = _READERS.get(letter)
        form = reader(count) if reader else None
        if form is None:
            unreadable = unreadable or letter
        else:
            expression.append(f"({form})")
            letters.append((_canonical(letter, count), count))
    return DateFormat(
        pattern, re.compile("".join(expression), re.IGNORECASE), tuple(letters), tuple(writers), unreadable
    )


def pattern_pieces(pattern: str) -> list[tuple[str, bool]]:
    """Runs of one letter, and literal texts: what is quoted, and every character that is no letter."""
    pieces: list[tuple[str, bool]] = []
    at = 0
    while at < len(pattern):
        character = pattern[at]
        if character == "'":
            end = at + 1
            text = ""
            while True:
                close = pattern.find("'", end)
                if close < 0:
                    raise EvaluationError(f"a quote in the date pattern {pattern!r} is not closed")
                text += pattern[end:close]
                if pattern[close + 1 : close + 2] != "'":
                    break
                text += "'"
                end = close + 2
            pieces.append((text or "'", True))
            at = close + 1
        elif character.isascii() and character.isalpha():
            run = len(pattern[at:]) - len(pattern[at:].lstrip(character))
            pieces.append((character * run, False))
            at += run
        else:
            pieces.append((character, True))
            at += 1
    return pieces


def _literal(text: str, _moment: dt.datetime) -> str:
    return text


def _canonical(letter: str, count: int) -> str:
    if letter in "ML":
        return "month" if count < 3 else "month_name"
    if letter in "yu" and count == 2 and letter == "y":
        return "short_year"
    return {"V": "z", "O": "z", "X": "offset", "x": "offset", "Z": "offset"}.get(letter, letter)


def _digits(count: int) -> str:
    return r"\d{1,2}" if count == 1 else rf"\d{{{count}}}"


def _names(names: list[str], count: int) -> str:
    return "|".join(name if count >= 4 else name[:3] for name in names)


_READERS: Final[dict[str, Callable[[int], str | None]]] = {
    "y": lambda count: r"\d{1,4}" if count == 1 else rf"\d{{{count}}}" if count <= 4 else None,
    "M": lambda count: _digits(count) if count < 3 else _names(_MONTHS, count),
    "L": lambda count: _digits(count) if count < 3 else _names(_MONTHS, count),
    "d": _digits,
    "D": lambda count: r"\d{1,3}" if count == 1 else rf"\d{{{count}}}",
    "H": _digits,
    "k": _digits,
    "K": _digits,
    "h": _digits,
    "m": _digits,
    "s": _digits,
    "S": lambda count: rf"\d{{{count}}}" if count <= 9 else None,
    "a": lambda _: "AM|PM",
    "E": lambda count: _names(_DAYS, count),
    "u": lambda count: "[1-7]" if count == 1 else None,
    "z": lambda _: r"[A-Za-z][A-Za-z0-9_+:/-]*|[+-]\d{1,2}:?\d{2}",
    "V": lambda _: r"[A-Za-z][A-Za-z0-9_+:/-]*|[+-]\d{1,2}:?\d{2}",
    "O": lambda _: r"GMT(?:[+-]\d{1,2}(?::\d{2})?)?",
    "Z": lambda count: r"[+-]\d{2}:?\d{2}" if count < 5 else r"Z|[+-]\d{2}:?\d{2}",
    "X": lambda count: r"Z|[+-]\d{2}(?:\d{2})?" if count == 1 else rf"Z|[+-]\d{{2}}{':' if count > 2 else ''}\d{{2}}",
}


def _moment(fields: dict[str, str]) -> dt.datetime:
    """The date-time of the fields that a pattern read. Raises ValueError for a field out of range."""
    year = int(fields["y"]) if "y" in fields else 2000 + int(fields["short_year"]) if "short_year" in fields else 1970
    if "month_name" in fields:
        month = 1 + [name[:3].lower() for name in _MONTHS].index(fields["month_name"][:3].lower())
    else:
        month = int(fields.get("month", 1))
    hour = int(fields.get("H", 0))
    if "k" in fields:
        hour = _within(int(fields["k"]), 1, 24) % 24
    elif "h" in fields or "K" in fields:
        half = _within(int(fields["h"]), 1, 12) % 12 if "h" in fields else _within(int(fields["K"]), 0, 11)
        hour = half + (12 if fields.get("a", "AM").upper() == "PM" else 0)
    zone_text = fields.get("offset") or fields.get("z")
    moment = dt.datetime(
        year,
        month,
        int(fields.get("d", 1)),
        hour,
        int(fields.get("m", 0)),
        int(fields.get("s", 0)),
        int(fields.get("S", "0").ljust(6, "0")[:6]),
        tzinfo=zone(zone_text) if zone_text else dt.UTC,
    )
    if "D" in fields:
        day = _within(int(fields["D"]), 1, 366 if calendar.isleap(year) else 365)
        moment = moment.replace(month=1, day=1) + dt.timedelta(days=day - 1)
    if "E" in fields and not _DAYS[moment.weekday()].lower().startswith(fields["E"].lower()):
        raise ValueError("the name of the day does not fit the date")
    return settled(moment)


def _within(value: int, low: int, high: int) -> int:
    if low <= value <= high:
        return value
    raise ValueError(f"{value} is not between {low} and {high}")


def _offset_text(count: int, moment: dt.datetime, zero: str, colon_from: int, *, short: bool) -> str:
    minutes = round((moment.utcoffset() or dt.timedelta()).total_seconds()) // 60
    if minutes == 0 and zero:
        return zero
    sign, (hours, rest) = "-" if minutes < 0 else "+", divmod(abs(minutes), 60)
    if short and count == 1 and rest == 0:
        return f"{sign}{hours:02d}"
    return f"{sign}{hours:02d}{':' if count >= colon_from else ''}{rest:02d}"


def _named(names: list[str], index: int, count: int) -> str:
    return names[index] if count >= 4 else names[index][:3]


def _month(count: int, moment: dt.datetime) -> str:
    return f"{moment.month:0{count}d}" if count < 3 else _named(_MONTHS, moment.month - 1, count)


def _year(count: int, year: int) -> str:
    return f"{year % 100:02d}" if count == 2 else f"{year:0{count}d}"


def _zone_name(count: int, moment: dt.datetime) -> str:
    if isinstance(moment.tzinfo, ZoneInfo) or moment.utcoffset() == dt.timedelta():
        return moment.tzname() or "UTC"
    return _zone_id(count, moment)


def _zone_id(_count: int, moment: dt.datetime) -> str:
    if isinstance(moment.tzinfo, ZoneInfo):
        return moment.tzinfo.key
    text = iso(moment)
    return "Z" if text.endswith("Z") else text[-6:]


def _gmt_offset(_count: int, moment: dt.datetime) -> str:
    minutes = round((moment.utcoffset() or dt.timedelta()).total_seconds()) // 60
    hours, rest = divmod(abs(minutes), 60)
    return "GMT" + ("" if minutes == 0 else f"{'-' if minutes < 0 else '+'}{hours}" + (f":{rest:02d}" if rest else ""))


def _quarter(count: int, moment: dt.datetime) -> str:
    number = (moment.month + 2) // 3
    return f"{number:0{count}d}" if count < 3 else f"Q{number}"


_WRITERS: Final[dict[str, Callable[[int, dt.datetime], str]]] = {
    "y": lambda count, moment: _year(count, moment.year),
    "Y": lambda count, moment: _year(count, moment.isocalendar().year),
    "M": _month,
    "L": _month,
    "d": lambda count, moment: f"{moment.day:0{count}d}",
    "D": lambda count, moment: f"{moment.timetuple().tm_yday:0{count}d}",
    "w": lambda count, moment: f"{moment.isocalendar().week:0{count}d}",
    "W": lambda count, moment: f"{(moment.day + moment.replace(day=1).weekday() - 1) // 7 + 1:0{count}d}",
    "E": lambda count, moment: _named(_DAYS, moment.weekday(), count),
    "u": lambda count, moment: f"{moment.isoweekday():0{count}d}",
    "F": lambda count, moment: f"{(moment.day - 1) // 7 + 1:0{count}d}",
    "G": lambda _, _moment: "AD",
    "Q": _quarter,
    "q": _quarter,
    "H": lambda count, moment: f"{moment.hour:0{count}d}",
    "k": lambda count, moment: f"{moment.hour or 24:0{count}d}",
    "K": lambda count, moment: f"{moment.hour % 12:0{count}d}",
    "h": lambda count, moment: f"{moment.hour % 12 or 12:0{count}d}",
    "m": lambda count, moment: f"{moment.minute:0{count}d}",
    "s": lambda count, moment: f"{moment.second:0{count}d}",
    "S": lambda count, moment: f"{moment.microsecond:06d}".ljust(count, "0")[:count],
    "a": lambda _, moment: "AM" if moment.hour < 12 else "PM",
    "z": _zone_name,
    "V": _zone_id,
    "O": _gmt_offset,
    "Z": lambda count, moment: _offset_text(count, moment, "Z" if count >= 5 else "", 5, short=False),
    "X": lambda count, moment: _offset_text(count, moment, "Z", 3, short=True),
}
