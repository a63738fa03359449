"""The XDM type of a property by the kinds of its values, and what a value must look like to fit it.

A type can never change once data has come in (xdm.md#custom-fields), so the choice is the one that later values break least:
one number type for whole numbers and others, text wherever nothing else clearly leads.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal, get_args

from mixpanel_aep_assets.growth.properties import (
    DATE_PATTERN,
    DATE_TIME_PATTERN,
    NO_VALUE,
    NUMBER_PATTERN,
    Property,
)
from mixpanel_aep_assets.mixpanel.lexicon import Declared
from mixpanel_aep_assets.xdm.schema import Field
from mixpanel_aep_assets.xdm.standard import JSON_TYPES

Type = Literal["string", "double", "long", "int", "boolean", "date", "date_time", "strings"]
"""Types of a grown field: XDM's (xdm.md#types), and `strings`, an array of texts."""

TYPES: Final = get_args(Type)

LEADING_SHARE: Final = 0.2
"""A property gets a typed column if at least this share of its values has that type; else a text column takes all."""

_WHOLE: Final = "0|[1-9][0-9]{0,14}|[1-8][0-9]{15}"
"""The whole ones of `NUMBER_PATTERN`."""

FITTING: Final[Mapping[Type, str]] = {
    "double": NUMBER_PATTERN,
    "long": f"-?({_WHOLE})",
    "int": "-?(0|[1-9][0-9]{0,8}|1[0-9]{9})",
    "boolean": "true|false",
    "date": DATE_PATTERN,
    "date_time": f"{DATE_PATTERN}|{DATE_TIME_PATTERN}",
    "strings": "\\[.*",
}
"""Type -> what the text form of a value must match whole."""

_GROUPS: Final[Mapping[str, str]] = {
    "integer": "double",
    "number": "double",
    "boolean": "boolean",
    "date": "date_time",
    "date_time": "date_time",
    "booleans": "strings",
    "numbers": "strings",
    "strings": "strings",
    "mixed": "strings",
}
"""Kind -> the type whose column takes it; what is missing here goes into text."""

_DECLARED: Final[Mapping[str, Type]] = {
    "string": "string",
    "number": "double",
    "integer": "double",
    "boolean": "boolean",
}
_WORDS: Final[Mapping[str, str]] = {
    "null": "null",
    "empty": "empty",
    "boolean": "true or false",
    "integer": "whole numbers",
    "number": "numbers with a fraction",
    "oversized": "numbers beyond 2^53",
    "date": "dates",
    "date_time": "dates with time",
    "numeral": "numbers as text",
    "string": "texts",
    "booleans": "lists of true and false",
    "numbers": "lists of numbers",
    "strings": "lists of texts",
    "objects": "lists of objects",
    "mixed": "mixed lists",
    "object": "objects",
}


@dataclass(frozen=True)
class Decision:
    """A type, the reason with the counts behind it, and the number of values that do not fit the type."""

    type: Type
    reason: str
    misfits: int


def settled(seen: Property, wanted: Type, why: str) -> Decision:
    """The type that is given, with what was seen."""
    return Decision(wanted, f"{_counted(seen)}; {wanted}: {why}", misfits(seen, wanted))


def decide(seen: Property, declared: Declared | None = None) -> Decision:
    """The type for a property: what Lexicon declares where that is text or values of it were seen; else the type that
    leads among the values; else text."""
    counts: dict[Type, int] = {}
    for kind, count in seen.kinds.items():
        group = _GROUPS.get(kind)
        if group is not None:
            counts[group] = counts.get(group, 0) + count  # type: ignore[index, call-overload]
    wanted = _DECLARED.get(declared.type or "") if declared is not None else None
    readable = wanted == "double" and seen.kinds.get("numeral")
    if wanted is not None and (wanted == "string" or counts.get(wanted) or readable):
        return Decision(wanted, f"{_counted(seen)}; Lexicon declares {declared.type}", misfits(seen, wanted))  # type: ignore[union-attr]
    leading = max(sorted(counts), key=lambda one: counts[one], default=None)
    if leading is None or counts[leading] < LEADING_SHARE * seen.count:
        return Decision("string", _counted(seen) + ("; text takes them all" if seen.is_conflict else ""), 0)
    if leading == "date_time" and "date_time" not in seen.kinds:
        leading = "date"
    why = f"; {leading} as at least {LEADING_SHARE:.0%} are of it" if seen.is_conflict else ""
    return Decision(leading, _counted(seen) + why, misfits(seen, leading))


def misfits(seen: Property, wanted: Type) -> int:
    """How many values do not fit a column of that type, by their kinds."""
    if wanted == "string":
        return 0
    fitting = {kind for kind, group in _GROUPS.items() if group == wanted}
    fitting |= {"double": {"numeral"}, "long": {"integer"}, "int": {"integer"}, "date": {"date"}}.get(wanted, set())
    return sum(count for kind, count in seen.kinds.items() if kind not in fitting and kind not in NO_VALUE)


def json_type(wanted: Type) -> dict[str, Any]:
    """The type as a field group states it."""
    if wanted == "strings":
        return {"type": "array", "items": dict(JSON_TYPES["string"])}
    return dict(JSON_TYPES[wanted])


def type_of(field: Field) -> Type | None:
    """The grown type of a field that a schema has, None for one that no plan made."""
    if field.kind == "array":
        return "strings" if field.items is not None and field.items.kind == "string" else None
    return field.kind if field.kind in TYPES else None  # type: ignore[return-value]


def _counted(seen: Property) -> str:
    return ", ".join(f"{count:,} {_WORDS[kind]}" for kind, count in seen.kinds.items())
