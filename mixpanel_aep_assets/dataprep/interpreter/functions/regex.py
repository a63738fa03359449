"""Regular expression functions; the engine and its limits are `regular_expressions.py`."""

from __future__ import annotations

from mixpanel_aep_assets.dataprep.interpreter import regular_expressions
from mixpanel_aep_assets.dataprep.interpreter.functions.function_registry import Kind, function

_PATTERN = {1: regular_expressions.check}


@function(
    "extract_regex",
    category="regex",
    takes=(Kind.TEXT, Kind.TEXT),
    gives=Kind.ARRAY,
    null_in=(0, 1),
    constants=_PATTERN,
)
def extract_regex(text: str, pattern: str) -> list[str | None]:
    """The first match and its groups (null for a group that took no part); an empty array without a match
    (data-prep.md#our-answers)."""
    match = regular_expressions.compiled(pattern).search(text)
    return [] if match is None else [match.group(0), *match.groups()]


@function(
    "matches_regex",
    category="regex",
    takes=(Kind.TEXT, Kind.TEXT),
    gives=Kind.BOOLEAN,
    null_in=(0, 1),
    constants=_PATTERN,
)
def matches_regex(text: str, pattern: str) -> bool:
    return regular_expressions.full_match(text, pattern)
