"""Values of the language while it runs: what counts as text, number or true, what is equal, what is less.

A value is None, bool, int, float, str, datetime (with a zone), date, list, or dict with text keys. The rules are those
of data-prep.md#values-and-conversion; a rule that cannot be met raises EvaluationError.
"""

from __future__ import annotations

import datetime as dt
import json
import math
import re
from decimal import Decimal
from typing import Any, Final

from mixpanel_aep_assets.dataprep.language import bounds
from mixpanel_aep_assets.dataprep.language.mapping_errors import EvaluationError

Value = Any
"""A value of the language; see the module."""

_INTEGER: Final = re.compile(r"[+-]?[0-9]+")
_DECIMAL: Final = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?")
_WHOLE_FLOAT_LIMIT: Final = 1e21
_SMALLEST_PLAIN: Final = -6
_SHOWN: Final = 60


def kind_of(value: Value) -> str:
    """The name of a value's kind, for messages."""
    match value:
        case None:
            return "null"
        case bool():
            return "a boolean"
        case int() | float():
            return "a number"
        case str():
            return "a string"
        case dt.date():
            return "a date"
        case list() | tuple():
            return "an array"
        case dict():
            return "an object"
        case _ if callable(value):
            return "a lambda"
        case _:
            return f"a {type(value).__name__}"


def shown(value: Value) -> str:
    """A value in a message: short, so that a message never carries a whole record."""
    text = repr(value) if isinstance(value, str) else str(value)
    return text if len(text) <= _SHOWN else text[: _SHOWN - 1] + "…"


def is_number(value: Value) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def number_of_text(text: str) -> int | float | None:
    """The number that a text reads as, or None. No white space, no grouping; only finite numbers."""
    if len(text) <= bounds.NUMBER_TEXT:
        if _INTEGER.fullmatch(text):
            return int(text)
        if _DECIMAL.fullmatch(text):
            value = float(text)
            return value if math.isfinite(value) else None
    return None


def to_number(value: Value, role: str = "a number") -> int | float:
    """A number, or text that reads as one. Null and anything else is an error."""
    if is_number(value):
        return value  # type: ignore[no-any-return]
    if isinstance(value, str):
        number = number_of_text(value)
        if number is not None:
            return number
        raise EvaluationError(f"expected {role}, the text {shown(value)} does not read as one")
    raise EvaluationError(f"expected {role}, found {kind_of(value)}")


def to_integer(value: Value, role: str = "an integer") -> int:
    """An integer, a number without a fraction, or text that reads as one."""
    number = to_number(value, role)
    if isinstance(number, float):
        if not number.is_integer():
            raise EvaluationError(f"expected {role}, found {number}")
        return int(number)
    return number


def truth(value: Value) -> bool:
    """Truth of a condition: null, 0, empty text and "false" are false, all else is true."""
    match value:
        case None:
            return False
        case bool():
            return value
        case int() | float():
            return value != 0
        case str():
            return value not in {"", "false"}
        case _:
            return True


def iso(moment: dt.datetime) -> str:
    """ISO 8601: `Z` for UTC, no fraction when it is zero, else three or six digits (data-prep.md#dates)."""
    micros = moment.microsecond
    precision = "seconds" if micros == 0 else "milliseconds" if micros % 1000 == 0 else "microseconds"
    text = moment.isoformat(timespec=precision)
    return text[:-6] + "Z" if text.endswith("+00:00") else text


def number_text(number: int | float) -> str:
    """The shortest text of a number; a whole one has no point (data-prep.md#target-types). Raises EvaluationError for
    one that is not finite.

    An exponent is written as JavaScript does, from whose events the numbers come: from 1e21 up, and below 1e-6.
    """
    if not isinstance(number, float):
        return str(number)
    if not math.isfinite(number):
        raise EvaluationError(f"{number} is not a number that JSON can represent")
    if number.is_integer() and abs(number) < _WHOLE_FLOAT_LIMIT:
        return str(int(number))
    digits, _, exponent = repr(number).partition("e")
    if not exponent:
        return digits
    power = int(exponent)
    return f"{digits}e{power:+d}" if power > 0 or power < _SMALLEST_PLAIN else f"{Decimal(repr(number)):f}"


def to_text(value: Value, role: str = "a string") -> str:
    """The text form of a scalar: true/false, numbers without a superfluous point, dates as ISO 8601."""
    match value:
        case str():
            return value
        case bool():
            return "true" if value else "false"
        case int() | float():
            return number_text(value)
        case dt.datetime():
            return iso(value)
        case dt.date():
            return value.isoformat()
        case _:
            raise EvaluationError(f"expected {role}, found {kind_of(value)}")


def joined_text(value: Value) -> str:
    """The text form of an element that is joined: null is empty (data-prep.md#our-answers), an array or object is its JSON."""
    if value is None:
        return ""
    if isinstance(value, list | dict):
        return json.dumps(to_json(value), ensure_ascii=False, separators=(",", ":"))
    return to_text(value)


def bounded(text: str) -> str:
    """The text, unless a function has grown it beyond the limit."""
    if len(text) > bounds.TEXT_CHARACTERS:
        raise EvaluationError(f"the result would have more than {bounds.TEXT_CHARACTERS} characters")
    return text


def parts_of(text: str, separator: str) -> list[str]:
    """The parts of a text between separators, as many as an array may have."""
    if text.count(separator) >= bounds.ARRAY_ITEMS:
        raise EvaluationError(f"the text has more than {bounds.ARRAY_ITEMS} parts")
    return text.split(separator)


def equal(left: Value, right: Value) -> bool:
    """`==`: null equals only null; a boolean or a number on one side makes the other side one."""
    if left is None or right is None:
        return left is right
    if isinstance(left, bool) or isinstance(right, bool):
        return truth(left) == truth(right)
    if is_number(left) or is_number(right):
        return to_number(left) == to_number(right)
    return same(left, right)


def same(left: Value, right: Value) -> bool:
    """`.equals`: no conversion. A number never equals a text or a boolean, at any depth."""
    if isinstance(left, bool) or isinstance(right, bool):
        return left is right
    if isinstance(left, list) and isinstance(right, list):
        return len(left) == len(right) and all(map(same, left, right))
    if isinstance(left, dict) and isinstance(right, dict):
        return left.keys() == right.keys() and all(same(value, right[key]) for key, value in left.items())
    return bool(left == right)


def less(left: Value, right: Value) -> bool:
    """`<` of two values that are not null: numbers if either is one, dates in time, else texts by code points."""
    kinds = (bool, str, dt.datetime)
    if not (isinstance(left, bool) or isinstance(right, bool)) and (is_number(left) or is_number(right)):
        return to_number(left) < to_number(right)
    if any(isinstance(left, kind) and isinstance(right, kind) for kind in kinds):
        return bool(left < right)
    raise EvaluationError(f"{kind_of(left)} cannot be compared with {kind_of(right)}")


def to_json(value: Value) -> Any:
    """The value as JSON knows it: dates as ISO 8601 text, fresh containers all the way down."""
    match value:
        case None | bool() | str() | int():
            return value
        case float():
            if not math.isfinite(value):
                raise EvaluationError(f"{value} is not a number that JSON can represent")
            return value
        case dt.datetime() | dt.date():
            return to_text(value)
        case list() | tuple():
            return [to_json(item) for item in value]
        case dict():
            return {str(key): to_json(item) for key, item in value.items()}
        case _:
            raise EvaluationError(f"{kind_of(value)} cannot be a result")


def size(value: Value, at_most: int) -> int:
    """How many values `value` holds, nested ones included, counted to `at_most`; long texts count by length."""
    count = 0
    pending = [value]
    while pending and count <= at_most:
        one = pending.pop()
        count += 1
        if isinstance(one, list):
            pending.extend(one)
        elif isinstance(one, dict):
            pending.extend(one.values())
        elif isinstance(one, str):
            count += len(one) >> 6
    return count
