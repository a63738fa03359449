"""What of a mapping set runs in Python instead of columns, and why: known before any data is read.

Which rows need Python depends on their values (`columns.py`: escape); this names what does so for ordinary values already.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

from mixpanel_aep_assets.dataprep.columnar.json_columns import JsonKind
from mixpanel_aep_assets.dataprep.interpreter.functions import FUNCTIONS, Function
from mixpanel_aep_assets.dataprep.interpreter.functions import Kind as Parameter
from mixpanel_aep_assets.dataprep.interpreter.targets import TargetType
from mixpanel_aep_assets.dataprep.language.ast import Call, Expression, Path
from mixpanel_aep_assets.dataprep.language.parser import nodes
from mixpanel_aep_assets.dataprep.language.paths import Steps


class Extent(StrEnum):
    """How much of a mapping Python does; rows whose sources are alike are done once in all of them."""

    MAPPING = "mapping"
    """The plain evaluator computes the whole mapping."""
    ROWS = "rows"
    """The plain evaluator computes the rows whose value is an array or an object; null and the like stay in columns."""
    VALUES = "values"
    """One function runs its Python body once per distinct arguments; the rest is columns."""


@dataclass(frozen=True)
class Note:
    """Something that has no column form."""

    extent: Extent
    reason: str


@dataclass(frozen=True)
class Fallback:
    """A mapping (its place in the set, from 0) of which Python does `extent`, and why."""

    mapping: int
    source: str
    destination: str
    extent: Extent
    reason: str

    def to_json(self) -> dict[str, Any]:
        return {"extent": self.extent.value, "reason": self.reason}

    def __str__(self) -> str:
        return f"mapping {self.mapping + 1} ({self.destination}), {_SAID[self.extent]}: {self.reason}"


_SAID: Final = {
    Extent.MAPPING: "in plain Python",
    Extent.ROWS: "in plain Python for arrays and objects",
    Extent.VALUES: "in part in Python, once per distinct value",
}
_STRUCTURES: Final = frozenset({Parameter.ARRAY, Parameter.OBJECT})
_PARTIAL: Final = {
    "join": "join of arrays whose elements are not all texts",
    "join_arrays": "join_arrays of arrays that are not of text",
    "add_to_array": "add_to_array on arrays that are not of text",
    "size_of": "size_of of objects and of arrays of several types",
}
_PARTIAL_OF_ONE: Final = {
    "coalesce": "coalesce of objects and of arrays of several types",
    "first": "first of arrays of several types or of objects",
    "last": "last of arrays of several types or of objects",
}
"""Functions on columns that leave some structures to Python: always, or when called with one argument."""
_RANK: Final[tuple[JsonKind, ...]] = ("text", "texts", "json")


def note_of(function: Function, reason: str) -> Note:
    """Of a call that runs the function's own body; `reason` is why it has no column form."""
    if _STRUCTURES & set(function.takes) or (function.alias_of or function.name) == "arrays_to_object":
        return Note(Extent.ROWS, f"{function.name} reads arrays and objects row by row")
    return Note(Extent.VALUES, reason)


def notes_of(tree: Expression, target: TargetType | None) -> Iterator[Note]:
    """What a mapping leaves to Python although it has a column form."""
    for node in nodes(tree):
        if isinstance(node, Call) and (
            node.name in _PARTIAL or (node.name in _PARTIAL_OF_ONE and len(node.arguments) == 1)
        ):
            yield Note(Extent.ROWS, {**_PARTIAL, **_PARTIAL_OF_ONE}[node.name])
    inner = target
    while inner is not None and inner.name == "array":
        inner = inner.items
    if inner is not None and inner.name in {"object", "map"}:
        yield Note(Extent.ROWS, "objects are copied to the target's fields row by row")


def likely_kinds(sources: Sequence[Steps], trees: Iterable[Expression]) -> tuple[tuple[JsonKind, ...], ...]:
    """The kinds for which the expressions are meant: arrays and objects where a function takes them, else texts."""
    kinds: dict[Steps, int] = {}
    for tree in trees:
        for node in nodes(tree):
            for at, argument in enumerate(node.arguments if isinstance(node, Call) else ()):
                if isinstance(node, Call) and isinstance(argument, Path) and FUNCTIONS[node.name].takes:
                    taken = FUNCTIONS[node.name].kind_at(at)
                    rank = 2 if taken is Parameter.OBJECT else 1 if taken is Parameter.ARRAY else 0
                    kinds[argument.steps] = max(rank, kinds.get(argument.steps, 0))
    return tuple((_RANK[kinds.get(steps, 0)],) for steps in sources)
