"""What is known of a property: the kinds of its values with counts, examples, extents."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

DATE_PATTERN: Final = "[1-9][0-9]{3}-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])"
DATE_TIME_PATTERN: Final = (
    f"{DATE_PATTERN}[T ]([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9]([.][0-9]{{1,3}})?(Z|[+-](0[0-9]|1[0-4]):?[0-5][0-9])?"
)
"""Texts that are taken for dates: Mixpanel's own form (no zone, UTC) and ISO 8601. Whole matches count."""

NUMBER_PATTERN: Final = "-?(0|[1-9][0-9]{0,14}|[1-8][0-9]{15})([.][0-9]+)?([eE][+-]?[0-9]{1,3})?"
"""Texts that a number's own JSON text may be; whole ones up to nine quadrillions, just below 2^53, so that a double keeps
their digits. `007` is none. Whole matches count."""

NO_VALUE: Final = ("null", "empty")
"""Kinds that the Platform takes for no value (xdm.md#empty-values)."""


@dataclass(frozen=True)
class Property:
    """What was seen of one property, in all events together. Kinds are those of `pipeline.insight.property_statistics`.

    `kinds`: kind -> number of values, most frequent first. `events`: event -> values that are neither null nor empty,
    most frequent first. `examples`: kind -> a few values as text, shortest first. `top`: (text, count) of the most
    frequent kept values. `distinct`: number of distinct values, exact while few, else estimated. Lengths are characters
    of texts, extents are of numbers; None where there were none.
    """

    name: str
    kinds: Mapping[str, int]
    events: Mapping[str, int] = field(default_factory=dict)
    examples: Mapping[str, Sequence[str]] = field(default_factory=dict)
    top: Sequence[tuple[str, int]] = ()
    distinct: int = 0
    min_length: int | None = None
    max_length: int | None = None
    minimum: float | None = None
    maximum: float | None = None

    @property
    def count(self) -> int:
        """Values that are neither null nor empty."""
        return sum(count for kind, count in self.kinds.items() if kind not in NO_VALUE)

    @property
    def is_conflict(self) -> bool:
        """Whether values of kinds that share no type were seen: more than one once null and empty are left out,
        numbers are taken together, dates with date-times, and texts that are numbers with texts."""
        return len({_FAMILIES.get(kind, kind) for kind in self.kinds if kind not in NO_VALUE}) > 1


_FAMILIES: Final[Mapping[str, str]] = {"integer": "number", "date": "date_time", "numeral": "string"}
