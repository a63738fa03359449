"""One line of an export, read tolerantly: every spelling that a real line may have, or the reason why it is not an event.

The slow way behind `events`, and the definition of what that way means. Uses the standard library's scanner, which keeps
positions, integers of any size and lone surrogates. What belongs here: the value of one line. What does not: columns.
"""

from __future__ import annotations

import datetime
import json
import math
import re
from json.decoder import scanstring  # type: ignore[attr-defined]
from typing import Any, NamedTuple

FIELDS = {
    "time": "time",
    "distinct_id": "distinct_id",
    "distinct_id_before_identity": "$distinct_id_before_identity",
    "device_id": "$device_id",
    "user_id": "$user_id",
    "insert_id": "$insert_id",
    "received_ms": "$mp_api_timestamp_ms",
    "processing_ms": "mp_processing_time_ms",
    "imported": "$import",
}
"""Column -> property (mixpanel.md#platform-properties)."""

HOT_SHARD = "$hotshard_events"
HOT_SHARD_EVENT, HOT_SHARD_ID = "mp_original_event_name", "mp_original_distinct_id"

LARGEST_SECONDS = 10_000_000_000
"""A `time` above is milliseconds (mixpanel.md#time-values); as seconds it would be the year 2286."""

EVENT_LIMIT = 8 << 20
"""Bytes of a line. An event has at most 1 MB (mixpanel.md#event-limits); escapes may make it some times as long."""

EARLIEST_MS, LATEST_MS = -62_135_424_000_000, 253_402_127_999_999
"""The instants that are taken, in milliseconds: 0001-01-03T00:00:00.000 to 9999-12-29T23:59:59.999.

XDM's `date-time` and Python's dates end with the years 1 and 9999. Two days of room at either end, because a wall clock on
its way to UTC moves by an offset, and one that spring skipped is read with the offset of the day before (`time_mode`).
Mixpanel itself takes no `time` before 1971 and none that lies in the future (mixpanel.md#time-values)."""

_INTEGER_DIGITS = 4_000
_WHITESPACE = re.compile(r"[ \t\n\r]*")
_CONTROL = re.compile(r"[\x00-\x1f]")
_EPOCH = datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)


class Row(NamedTuple):
    line: int
    event: str
    time_ms: int
    distinct_id: str | None
    distinct_id_before_identity: str | None
    device_id: str | None
    user_id: str | None
    insert_id: str | None
    received_ms: int | None
    processing_ms: int | None
    imported: bool | None
    properties: str


class Broken(NamedTuple):
    """A line that is no event: its number, a stable reason code, what is wrong in words, and the line as received.

    Codes: `not_utf8`, `not_json`, `nan`, `too_deep`, `too_long`, `wrong_shape` (JSON, but not an object of `event` and
    `properties`), `no_event`, `no_time`, `bad_time`.
    """

    line: int
    reason: str
    detail: str
    bytes: bytes


class _Refused(Exception):
    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(detail)
        self.reason, self.detail = reason, detail


def read_line(data: bytes, number: int) -> Row | Broken:
    """The event of a line (without its newline), or why it is none. Never raises."""
    try:
        return _read(data, number)
    except _Refused as refused:
        return Broken(number, refused.reason, refused.detail, data)


def _read(data: bytes, number: int) -> Row:
    if len(data) > EVENT_LIMIT:
        raise _Refused("too_long", f"{len(data)} bytes; an event has at most {EVENT_LIMIT}")
    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        raise _Refused("not_utf8", f"byte {error.start}: {error.reason}") from None  # holds the event, as below
    members = _parse(text)
    if "event" not in members:
        raise _Refused("no_event", f"no member `event`, only {_names(members)}")
    event, _ = members["event"]
    if not isinstance(event, str):
        raise _Refused("no_event", f"`event` is {_kind(event)}, not a string")
    properties, span = members.get("properties", (None, (0, 0)))
    if not isinstance(properties, dict):
        raise _Refused("wrong_shape", f"`properties` is {_kind(properties)}, not an object")
    if len(members) > 2:
        raise _Refused("wrong_shape", f"members other than `event` and `properties`: {_names(members)}")
    time_ms = _time(properties)
    values = {column: properties.get(name) for column, name in FIELDS.items()}
    distinct_id = values["distinct_id"]
    if event == HOT_SHARD:
        original = properties.get(HOT_SHARD_EVENT)
        event = original if isinstance(original, str) and original else event
        distinct_id = properties.get(HOT_SHARD_ID, distinct_id)
    imported = values["imported"]
    return Row(
        line=number,
        event=_storable(event),
        time_ms=time_ms,
        distinct_id=identifier(distinct_id),
        distinct_id_before_identity=identifier(values["distinct_id_before_identity"]),
        device_id=identifier(values["device_id"]),
        user_id=identifier(values["user_id"]),
        insert_id=identifier(values["insert_id"]),
        received_ms=_stamp(values["received_ms"]),
        processing_ms=_stamp(values["processing_ms"]),
        imported=imported if isinstance(imported, bool) else _truth(imported),
        properties=_as_json(text[slice(*span)]),
    )


def _parse(text: str) -> dict[str, tuple[Any, tuple[int, int]]]:
    """Member -> value and position of its text."""
    try:
        return _members(text)
    except RecursionError:
        raise _Refused("too_deep", "nested too deeply to be read") from None
    except json.JSONDecodeError as error:
        raise _Refused("not_json", f"{error.msg} at character {error.pos}") from None


def _no_constant(name: str) -> Any:
    raise _Refused("nan", f"`{name}` is not JSON")


def _integer(digits: str) -> int | str:
    """An integer; of thousands of digits its text, since Python refuses to convert so many."""
    return int(digits) if len(digits) <= _INTEGER_DIGITS else digits


_decoder = json.JSONDecoder(parse_constant=_no_constant, parse_int=_integer, strict=False)


class Member(NamedTuple):
    """A member of an object, or an element of an array (without a name): its value and where its text is.

    `start` is where the name begins, the text of the value is from `begin` to `end`.
    """

    name: str
    value: Any
    start: int
    begin: int
    end: int


def _members(text: str) -> dict[str, tuple[Any, tuple[int, int]]]:
    """The members of the object that `text` is, with positions; the last of equal names counts."""
    start = skip(text, 0)
    if not text.startswith("{", start):
        value, end = _decoder.raw_decode(text, start)
        if skip(text, end) != len(text):
            raise json.JSONDecodeError("Extra data", text, end)
        raise _Refused("wrong_shape", f"the line is {_kind(value)}, not an object")
    found, position = members(text, start)
    if skip(text, position) != len(text):
        raise json.JSONDecodeError("Extra data", text, position)
    return {member.name: (member.value, (member.begin, member.end)) for member in found}


def members(text: str, start: int) -> tuple[list[Member], int]:
    """All members, equal names too, of the object that begins at `start`, and where it ends.

    Raises JSONDecodeError, RecursionError.
    """
    found: list[Member] = []
    position = skip(text, start + 1)
    if text.startswith("}", position):
        return found, position + 1
    while True:
        if not text.startswith('"', position):
            raise json.JSONDecodeError("Expecting property name", text, position)
        first = position
        name, position = scanstring(text, position + 1, False)
        position = skip(text, position)
        if not text.startswith(":", position):
            raise json.JSONDecodeError("Expecting ':'", text, position)
        begin = skip(text, position + 1)
        value, end = _decoder.raw_decode(text, begin)
        found.append(Member(name, value, first, begin, end))
        position = skip(text, end)
        if text.startswith("}", position):
            return found, position + 1
        if not text.startswith(",", position):
            raise json.JSONDecodeError("Expecting ',' or '}'", text, position)
        position = skip(text, position + 1)


def elements(text: str, start: int) -> list[Member]:
    """The elements of the array that begins at `start`, which was proven to be one."""
    found: list[Member] = []
    position = skip(text, start + 1)
    while not text.startswith("]", position):
        value, end = _decoder.raw_decode(text, position)
        found.append(Member("", value, position, position, end))
        position = skip(text, end)
        if text.startswith(",", position):
            position = skip(text, position + 1)
    return found


def decode(text: str) -> Any:
    """The value of a JSON text, with integers of any size."""
    return _decoder.decode(text)


def skip(text: str, position: int) -> int:
    """The next position that is no white space."""
    match = _WHITESPACE.match(text, position)
    return match.end() if match else position


def instant(value: Any) -> int | None:
    """Milliseconds of a time: a number or its text in seconds or milliseconds, or ISO 8601 (mixpanel.md#time-values).

    None where it is neither, or lies outside `EARLIEST_MS` to `LATEST_MS`. Never raises.
    """
    if isinstance(value, str):
        text = value
        try:
            value = int(text) if text.strip().lstrip("+-").isdigit() else float(text)
        except ValueError:
            return _within_range(_iso(text))
    if not _is_number(value):
        return None
    return _within_range(round(value * 1000 if abs(value) <= LARGEST_SECONDS else value))


def _time(properties: dict[str, Any]) -> int:
    value: Any = properties.get("time")
    if value is None or value == "":
        raise _Refused("no_time", "no property `time`")
    moment = instant(value)
    if moment is None:
        raise _Refused("bad_time", _why_no_time(value))
    return moment


def _why_no_time(value: Any) -> str:
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        return f"`time` is {_kind(value)}"
    shown = repr(value[:40]) if isinstance(value, str) else _digits(value)
    return f"`time` is {shown}, neither a number nor a date of the years 1 to 9999"


def _digits(value: float) -> str:
    """A number, the first digits of a long one."""
    text = repr(value)
    return text if len(text) <= 40 else f"{text[:40]}…"


def _iso(text: str) -> int | None:
    """A date and time without zone is the wall clock that a number would stand for."""
    try:
        moment = datetime.datetime.fromisoformat(text.strip())
    except ValueError:
        return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=datetime.UTC)
    return (moment - _EPOCH) // datetime.timedelta(milliseconds=1)


def _within_range(moment: int | None) -> int | None:
    return moment if moment is not None and EARLIEST_MS <= moment <= LATEST_MS else None


def _is_number(value: Any) -> bool:
    """An integer of any size, or a float that is finite."""
    return (isinstance(value, int) and not isinstance(value, bool)) or (
        isinstance(value, float) and math.isfinite(value)
    )


def identifier(value: Any) -> str | None:
    """An id as text; numbers in their shortest decimal form (`4`, also for 4.0)."""
    if value is None:
        return None
    if isinstance(value, str):
        return _storable(value)
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value)
    if isinstance(value, float):
        return str(int(value)) if value.is_integer() and abs(value) < 1e16 else repr(value)
    return _storable(json.dumps(value, ensure_ascii=False, separators=(",", ":")))


def _storable(text: str) -> str:
    """A lone surrogate cannot be UTF-8: it keeps its escape as text (`\\ud83d`), so that ids stay apart."""
    return text.encode("utf-8", "backslashreplace").decode()


def _stamp(value: Any) -> int | None:
    """A time stamp in milliseconds; None where it is none, or outside `EARLIEST_MS` to `LATEST_MS`."""
    if isinstance(value, str):
        try:
            value = float(value)
        except ValueError:
            return None
    return _within_range(round(value)) if _is_number(value) else None


def _truth(value: Any) -> bool | None:
    return (
        {"true": True, "false": False, 1: True, 0: False}.get(value) if isinstance(value, (str, int, float)) else None
    )


def _as_json(text: str) -> str:
    """The text as sent, but for raw control characters in strings, which JSON forbids and its readers refuse."""
    if _CONTROL.search(text) is None:
        return text
    return _strings_escaped(text)


def _strings_escaped(text: str) -> str:
    """Control characters inside strings as escapes; between tokens (tabs, returns) they stay."""
    out: list[str] = []
    position = 0
    for match in re.finditer(r'"(?:[^"\\]|\\.)*"', text, re.DOTALL):
        out.append(text[position : match.start()])
        out.append(_CONTROL.sub(lambda found: f"\\u{ord(found.group()):04x}", match.group()))
        position = match.end()
    out.append(text[position:])
    return "".join(out)


def _names(members: dict[str, Any]) -> str:
    shown = ", ".join(repr(name[:40]) for name in list(members)[:5])
    return shown or "none"


def _kind(value: Any) -> str:
    if value is None:
        return "null"
    return {bool: "a boolean", int: "a number", float: "a number", str: "a string", list: "an array"}.get(
        type(value), "an object"
    )
