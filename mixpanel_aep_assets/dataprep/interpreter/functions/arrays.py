"""Array functions, those for destinations included. Results are bounded in length (`bounds.ARRAY_ITEMS`)."""

from __future__ import annotations

from collections.abc import Callable

from mixpanel_aep_assets.dataprep.interpreter.functions.function_registry import Kind, function
from mixpanel_aep_assets.dataprep.interpreter.functions.strings import joined
from mixpanel_aep_assets.dataprep.interpreter.values import Value, kind_of, truth
from mixpanel_aep_assets.dataprep.language import bounds
from mixpanel_aep_assets.dataprep.language.mapping_errors import EvaluationError

_ANY, _ARRAY = Kind.ANY, Kind.ARRAY


def _bounded(items: list[Value]) -> list[Value]:
    if len(items) > bounds.ARRAY_ITEMS:
        raise EvaluationError(f"the array would have more than {bounds.ARRAY_ITEMS} elements")
    return items


def arguments_or_array(arguments: tuple[Value, ...]) -> tuple[Value, ...] | list[Value]:
    """The elements of one array argument, else the arguments themselves."""
    return arguments[0] if len(arguments) == 1 and isinstance(arguments[0], list) else arguments


@function("coalesce", category="arrays", takes=(_ANY,), gives=_ANY, variadic=True)
def coalesce(*arguments: Value) -> Value:
    return next((value for value in arguments_or_array(arguments) if value is not None), None)


@function("first", category="arrays", takes=(_ANY,), gives=_ANY, variadic=True)
def first(*arguments: Value) -> Value:
    return next(iter(arguments_or_array(arguments)), None)


@function("last", category="arrays", takes=(_ANY,), gives=_ANY, variadic=True)
def last(*arguments: Value) -> Value:
    items = arguments_or_array(arguments)
    return items[-1] if items else None


@function("add_to_array", category="arrays", takes=(_ARRAY, _ANY), gives=_ARRAY, required=1, variadic=True)
def add_to_array(array: list[Value] | None, *items: Value) -> list[Value]:
    """A null array counts as empty."""
    return _bounded([*(array or ()), *items])


@function("join_arrays", category="arrays", takes=(_ARRAY,), gives=_ARRAY, variadic=True)
def join_arrays(*arrays: list[Value] | None) -> list[Value]:
    """Null arrays count as empty."""
    given = [array for array in arrays if array is not None]
    if sum(map(len, given)) > bounds.ARRAY_ITEMS:
        raise EvaluationError(f"the array would have more than {bounds.ARRAY_ITEMS} elements")
    return [item for array in given for item in array]


@function("to_array", category="arrays", takes=(Kind.BOOLEAN, _ANY), gives=_ARRAY, variadic=True)
def to_array(include_nulls: bool | None, *items: Value) -> list[Value]:
    return list(items) if include_nulls else [item for item in items if item is not None]


@function("size_of", category="arrays", takes=(_ANY,), gives=Kind.INTEGER)
def size_of(value: Value) -> int:
    """Elements of an array, entries of an object, characters of a text; null has none."""
    if value is None:
        return 0
    if isinstance(value, list | dict | str):
        return len(value)
    raise EvaluationError(f"{kind_of(value)} has no size")


@function(
    "upsert_array_append",
    "upsert_array_replace",
    category="arrays",
    takes=(_ARRAY, _ANY),
    gives=_ARRAY,
    required=1,
    variadic=True,
)
def upsert_array(array: list[Value] | None, *_: Value) -> list[Value] | None:
    """On insert the array as it is; further arguments mean nothing (data-prep.md#our-answers)."""
    return array


@function("array_to_string", category="arrays", takes=(Kind.TEXT, _ARRAY), gives=Kind.TEXT, null_in=(1,))
def array_to_string(separator: str | None, array: list[Value]) -> str:
    return joined(separator or "", flatten_array(array))


@function("filterArray", category="arrays", takes=(_ARRAY, Kind.LAMBDA), gives=_ARRAY, null_in=(0,))
def filter_array(array: list[Value], predicate: Callable[[Value], Value]) -> list[Value]:
    return [item for item in array if truth(predicate(item))]


@function("transformArray", category="arrays", takes=(_ARRAY, Kind.LAMBDA), gives=_ARRAY, null_in=(0,))
def transform_array(array: list[Value], change: Callable[[Value], Value]) -> list[Value]:
    return [change(item) for item in array]


@function("flattenArray", category="arrays", takes=(_ARRAY,), gives=_ARRAY, null_in=(0,))
def flatten_array(array: list[Value]) -> list[Value]:
    """All leaves in order. Walks with a stack of its own, so that depth is no danger."""
    leaves: list[Value] = []
    pending = list(reversed(array))
    while pending:
        item = pending.pop()
        if isinstance(item, list):
            pending.extend(reversed(item))
        else:
            leaves.append(item)
        _bounded(leaves)
    return leaves
