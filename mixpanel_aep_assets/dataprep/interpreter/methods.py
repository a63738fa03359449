"""Methods on values: the three that Adobe documents, and those of Java's String that need no explanation
(data-prep.md#what-is-supported).

A method of null gives null, before any of these is called (data-prep.md#null-and-missing).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from mixpanel_aep_assets.dataprep.interpreter.functions.function_registry import Kind
from mixpanel_aep_assets.dataprep.interpreter.values import Value, kind_of, same, to_integer, to_text
from mixpanel_aep_assets.dataprep.language.mapping_errors import EvaluationError


@dataclass(frozen=True)
class Method:
    """A method: how many arguments it takes, what it may be called on, what it gives."""

    name: str
    body: Callable[..., Value]
    arguments: int
    on: Kind
    gives: Kind


def _text(value: Value, name: str) -> str:
    if isinstance(value, str):
        return value
    raise EvaluationError(f".{name}() is a method of texts, found {kind_of(value)}")


def _equals_ignore_case(value: Value, other: Value) -> bool:
    text = _text(value, "equalsIgnoreCase")
    return isinstance(other, str) and text.upper().lower() == other.upper().lower()


def _get(value: Value, key: Value) -> Value:
    if isinstance(value, dict):
        return None if key is None else value.get(to_text(key, "a key"))
    if isinstance(value, list):
        index = to_integer(key, "an index")
        return value[index] if 0 <= index < len(value) else None
    raise EvaluationError(f".get() is a method of objects and arrays, found {kind_of(value)}")


def _length(value: Value) -> int:
    return len(_text(value, "length"))


def _to_upper(value: Value) -> str:
    return _text(value, "toUpperCase").upper()


def _to_lower(value: Value) -> str:
    return _text(value, "toLowerCase").lower()


def _contains(value: Value, part: Value) -> bool:
    return to_text(part, "a string to look for") in _text(value, "contains")


def _starts_with(value: Value, part: Value) -> bool:
    return _text(value, "startsWith").startswith(to_text(part, "a string to look for"))


def _ends_with(value: Value, part: Value) -> bool:
    return _text(value, "endsWith").endswith(to_text(part, "a string to look for"))


METHODS: Final[Mapping[str, Method]] = MappingProxyType(
    {
        method.name: method
        for method in (
            Method("equals", same, 1, Kind.ANY, Kind.BOOLEAN),
            Method("equalsIgnoreCase", _equals_ignore_case, 1, Kind.TEXT, Kind.BOOLEAN),
            Method("get", _get, 1, Kind.ANY, Kind.ANY),
            Method("length", _length, 0, Kind.TEXT, Kind.INTEGER),
            Method("toUpperCase", _to_upper, 0, Kind.TEXT, Kind.TEXT),
            Method("toLowerCase", _to_lower, 0, Kind.TEXT, Kind.TEXT),
            Method("contains", _contains, 1, Kind.TEXT, Kind.BOOLEAN),
            Method("startsWith", _starts_with, 1, Kind.TEXT, Kind.BOOLEAN),
            Method("endsWith", _ends_with, 1, Kind.TEXT, Kind.BOOLEAN),
        )
    }
)
