"""One input record from the stored text of an event: the slow, exact and forgiving way, a row at a time.

The plain evaluator reads these records; the fast way to columns is `json_columns.py`, which comes here for the rows that its
decoder refuses. What both must agree on is decided here:

- a number keeps its value: integers of any size are exact, decimals are doubles;
- of two members of one name the last one counts;
- half a surrogate pair (`"\\ud83d"`) is not valid text: U+FFFD replaces it, the rest of the row is kept;
- `NaN` and `Infinity`, and numbers beyond a double, are decimals that are not finite. No conversion accepts them.
"""

from __future__ import annotations

import json
import operator
from collections.abc import Mapping, Sequence
from typing import Any, Final, Literal

from mixpanel_aep_assets.dataprep.language.ast import Step
from mixpanel_aep_assets.errors import ExplainedError

INTEGER_DIGITS: Final = 4000
"""Longer integers become decimals: Python refuses to read more than 4300 digits, for their quadratic cost."""


class NoJsonError(ExplainedError, ValueError):
    """A text that is no JSON, with its place in it."""


def read_json(text: str | bytes | memoryview) -> Any:
    """The value of a JSON text, with the decisions above. Raises NoJsonError."""
    raw = text if isinstance(text, str) else bytes(text).decode("utf-8", "replace")
    try:
        value = json.loads(raw.removeprefix("\ufeff"), parse_int=_integer)
        return _whole_text(value) if "\\u" in raw else value
    except json.JSONDecodeError as error:
        raise NoJsonError(f"line {error.lineno}, column {error.colno}: {error.msg}") from None
    except RecursionError:
        raise NoJsonError("the value is nested too deeply") from None


def decode_lenient(text: str | bytes | memoryview) -> Any:
    """The value of a JSON text. None for a text that is no JSON at all."""
    try:
        return read_json(text)
    except NoJsonError:
        return None


def decode_object(text: str | bytes | memoryview | None) -> dict[str, Any]:
    """The object of a JSON text; without members where the text holds none."""
    value = decode_lenient(text) if text is not None else None
    return value if isinstance(value, dict) else {}


def flattened(event: str | None, properties: Mapping[str, Any]) -> dict[str, Any]:
    """The record that Adobe's connector reads: one level, without the leading `$`, `event` renamed to `event_name`.

    Where `$city` and `city` are both sent, Mixpanel's own wins (data-prep.md#mapping-sets).
    """
    plain = {name: value for name, value in properties.items() if not name.startswith("$")}
    reserved = {name[1:]: value for name, value in properties.items() if name.startswith("$")}
    return {**plain, **reserved, "event_name": event}


def value_at(value: Any, steps: Sequence[Step]) -> Any:
    """The value at a path below `value`; null where the path leads nowhere (data-prep.md#null-and-missing).

    `[*]` gives an array with one value per element.
    """
    for place, step in enumerate(steps):
        if step.every:
            rest = steps[place + 1 :]
            return [value_at(item, rest) for item in value] if isinstance(value, list) else None
        if step.name is not None:
            value = value.get(step.name) if isinstance(value, dict) else None
        else:
            index = step.index or 0
            value = value[index] if isinstance(value, list) and index < len(value) else None
        if value is None:
            return None
    return value


def columns_of(
    path: Sequence[Step], derived: Mapping[str, str], layout: Literal["event", "record"] = "event"
) -> frozenset[str]:
    """The columns of the input frame that hold what a source path reads (see `row_values.Records`); none for an unknown root."""
    names = [step.name for step in path]
    read = {column for dotted, column in derived.items() if all(map(operator.eq, dotted.split("."), names))}
    if read:
        return frozenset(read)
    if layout == "record":
        return frozenset({"record"})
    match names:
        case ["event", *_] | ["data", "event_name", *_]:
            return frozenset({"event"})
        case ["properties", *_] | ["data", str(), *_]:
            return frozenset({"properties"})
        case ["data", *_]:
            return frozenset({"event", "properties"})
    return frozenset()


def _integer(digits: str) -> int | float:
    return int(digits) if len(digits) <= INTEGER_DIGITS else float(digits)


def _whole_text(value: Any) -> Any:
    if isinstance(value, str):
        try:
            value.encode()
        except UnicodeEncodeError:
            # Pairs that stand side by side are characters; what is left over is replaced.
            return value.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
        return value
    if isinstance(value, list):
        return [_whole_text(item) for item in value]
    if isinstance(value, dict):
        return {_whole_text(name): _whole_text(item) for name, item in value.items()}
    return value
