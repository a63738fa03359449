"""Map functions. A map is an object with text keys (data-prep.md#maps); null in, null out."""

from __future__ import annotations

from mixpanel_aep_assets.dataprep.interpreter.functions.function_registry import Kind, function
from mixpanel_aep_assets.dataprep.interpreter.functions.objects import pairs
from mixpanel_aep_assets.dataprep.interpreter.values import Value, kind_of, to_text
from mixpanel_aep_assets.dataprep.language.mapping_errors import EvaluationError


@function("array_to_map", category="map", takes=(Kind.ARRAY, Kind.TEXT), gives=Kind.OBJECT, null_in=(0, 1))
def array_to_map(items: list[Value], key: str) -> dict[str, Value]:
    """The objects of an array by the value of one of their fields; objects without it are left out."""
    keyed: dict[str, Value] = {}
    for item in items:
        if item is None:
            continue
        if not isinstance(item, dict):
            raise EvaluationError(f"expected an array of objects, found {kind_of(item)} in it")
        if item.get(key) is not None:
            keyed[to_text(item[key], "a key")] = item
    return keyed


@function(
    "to_map",
    category="map",
    takes=(Kind.ANY,),
    gives=Kind.OBJECT,
    required=2,
    variadic=True,
    null_in=(0,),
    pairs_from=0,
)
def to_map(*arguments: Value) -> dict[str, Value]:
    return pairs(arguments)


@function(
    "object_to_map", category="objects", takes=(Kind.ANY,), gives=Kind.OBJECT, required=1, variadic=True, null_in=(0,)
)
def object_to_map(first: Value, *others: Value) -> dict[str, Value]:
    """From one object; from an array of objects and the name of a field; or from pairs.

    The bare name that Adobe allows as second argument of the array form reaches this body as text: see `evaluate.py`.
    """
    if not others:
        if isinstance(first, dict):
            return dict(first)
        raise EvaluationError(f"object_to_map expects an object, found {kind_of(first)}")
    if isinstance(first, list) and len(others) == 1:
        if others[0] is None:
            raise EvaluationError("object_to_map of an array needs the name of a field")
        return array_to_map(first, to_text(others[0], "the name of a field"))
    return pairs((first, *others))
