"""Object functions. `object_to_map`, which Adobe lists here too, is in `maps.py`."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from mixpanel_aep_assets.dataprep.interpreter.functions.function_registry import Kind, Style, function
from mixpanel_aep_assets.dataprep.interpreter.functions.strings import WHITE_SPACE
from mixpanel_aep_assets.dataprep.interpreter.values import Value, kind_of, parts_of, shown, to_text
from mixpanel_aep_assets.dataprep.language import bounds
from mixpanel_aep_assets.dataprep.language.ast import Step
from mixpanel_aep_assets.dataprep.language.mapping_errors import EvaluationError, ExpressionError
from mixpanel_aep_assets.dataprep.language.paths import parse_source

_TEXT = Kind.TEXT


@function("is_empty", category="objects", takes=(Kind.ANY,), gives=Kind.BOOLEAN)
def is_empty(value: Value) -> bool:
    """True for null, an empty array, object or text."""
    return value is None or (isinstance(value, list | dict | str) and not value)


def pairs(arguments: tuple[Value, ...]) -> dict[str, Value]:
    """An object from alternating keys and values; of a repeated key the last value stays."""
    if len(arguments) % 2:
        raise EvaluationError("the last key has no value")
    return {to_text(key, "a key"): value for key, value in zip(arguments[::2], arguments[1::2], strict=True)}


@function(
    "arrays_to_object",
    "arrays_to_objects",
    category="objects",
    takes=(Kind.ANY,),
    gives=Kind.ARRAY,
    required=2,
    variadic=True,
    pairs_from=0,
)
def arrays_to_object(*arguments: Value) -> list[dict[str, Value]]:
    """One object per position of parallel arrays. Shorter arrays leave their key null, a null array is empty."""
    columns: dict[str, list[Value]] = {}
    for key, column in pairs(arguments).items():
        if column is not None and not isinstance(column, list):
            raise EvaluationError(f"expected an array for {key!r}, found {kind_of(column)}")
        columns[key] = column or []
    length = max(map(len, columns.values()))
    return [
        {key: column[row] if row < len(column) else None for key, column in columns.items()} for row in range(length)
    ]


@function(
    "to_object", category="objects", takes=(Kind.ANY,), gives=Kind.OBJECT, required=2, variadic=True, pairs_from=0
)
def to_object(*arguments: Value) -> dict[str, Value]:
    return pairs(arguments)


def _entries(text: str, value_delimiter: str | None, field_delimiter: str | None) -> dict[str, str]:
    """Pairs of a text, trimmed. A part without the delimiter or without a key is no pair; the first of a key stays."""
    entries: dict[str, str] = {}
    for part in parts_of(text, field_delimiter or ","):
        key, found, value = part.partition(value_delimiter or ":")
        key = key.strip(WHITE_SPACE)
        if found and key:
            entries.setdefault(key, value.strip(WHITE_SPACE))
    return entries


@function("str_to_object", category="objects", takes=(_TEXT, _TEXT, _TEXT), gives=Kind.OBJECT, required=1, null_in=(0,))
def str_to_object(text: str, value_delimiter: str | None = None, field_delimiter: str | None = None) -> dict[str, str]:
    """Delimiters are literal texts; values stay text."""
    return _entries(text, value_delimiter, field_delimiter)


@function("get_values", category="objects", takes=(_TEXT, _TEXT, _TEXT, _TEXT), gives=_TEXT, required=3, null_in=(0, 1))
def get_values(
    text: str, key: str, value_delimiter: str | None = None, field_delimiter: str | None = None
) -> str | None:
    return _entries(text, value_delimiter, field_delimiter).get(key)


@functools.lru_cache(maxsize=1024)
def _steps(path: str) -> tuple[Step, ...]:
    try:
        return parse_source(path)
    except ExpressionError as error:
        raise EvaluationError(f"the path {shown(path)} is wrong: {error.message}") from None


def check_path(path: Any) -> None:
    """Raises EvaluationError for a constant that is no path."""
    if path is not None:
        _steps(to_text(path, "a path"))


def exists(value: Value, steps: tuple[Step, ...]) -> bool:
    """Whether a path leads somewhere; a path that holds null does (data-prep.md#our-answers)."""
    for number, step in enumerate(steps):
        if step.every:
            return isinstance(value, list) and any(exists(item, steps[number + 1 :]) for item in value)
        if step.index is not None:
            if not isinstance(value, list) or step.index >= len(value):
                return False
            value = value[step.index]
        elif isinstance(value, dict) and step.name in value:
            value = value[step.name]
        else:
            return False
    return True


@function(
    "contains_key",
    "is_set",
    category="objects",
    takes=(_TEXT,),
    gives=Kind.BOOLEAN,
    style=Style.LAZY,
    constants={0: check_path},
    deprecated=("is_set",),
)
def contains_key(scope: Any, path: Callable[[Any], Value]) -> bool | None:
    """Whether the source record has a path, given as text."""
    text = path(scope)
    return None if text is None else exists(scope.record, _steps(to_text(text, "a path")))


@function("nullify", category="objects", gives=Kind.NULL)
def nullify() -> None:
    return None


@function("get_keys", category="objects", takes=(Kind.OBJECT,), gives=Kind.ARRAY, null_in=(0,))
def get_keys(value: dict[str, Value]) -> list[str]:
    return list(value)


def keys_of(keys: Value) -> list[str]:
    """The keys of a KEY argument that is an array; primitives are taken as text."""
    return [to_text(key, "a key") for key in keys if key is not None]


@function("map_get_values", category="objects", takes=(Kind.OBJECT, Kind.ANY), gives=Kind.ANY, null_in=(0, 1))
def map_get_values(value: dict[str, Value], key: Value) -> Value:
    """One key gives the value, an array of keys a map of those found (data-prep.md#our-answers)."""
    if isinstance(key, list):
        return {name: value[name] for name in keys_of(key) if name in value}
    return value.get(to_text(key, "a key"))


@function("map_has_keys", category="objects", takes=(Kind.OBJECT, Kind.ANY), gives=Kind.BOOLEAN, null_in=(0, 1))
def map_has_keys(value: dict[str, Value], key: Value) -> bool:
    """With an array of keys: whether any of them is there."""
    names = keys_of(key) if isinstance(key, list) else [to_text(key, "a key")]
    return any(name in value for name in names)


@function("add_to_map", category="objects", takes=(Kind.OBJECT,), gives=Kind.OBJECT, required=2, variadic=True)
def add_to_map(*maps: dict[str, Value] | None) -> dict[str, Value] | None:
    """The entries of all maps; the first value of a repeated key stays. Null maps add nothing; all null gives null."""
    given = [one for one in maps if one is not None]
    if not given:
        return None
    merged: dict[str, Value] = {}
    for one in reversed(given):
        merged = {**merged, **one}
    ordered = dict.fromkeys(key for one in given for key in one)
    if len(ordered) > bounds.ARRAY_ITEMS:
        raise EvaluationError(f"the map would have more than {bounds.ARRAY_ITEMS} entries")
    return {key: merged[key] for key in ordered}
