"""The clean official examples, each broken in every way that its own schema forbids (xdm.md#official-examples).

What must be reported is written down with each mutation; the oracle and the frame's compiled form must say the same.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import jsonschema_rs
import polars as pl
import pytest

from mixpanel_aep_assets.xdm.conformance import Conformance
from mixpanel_aep_assets.xdm.json_schema import closed_json_schema
from mixpanel_aep_assets.xdm.rules import OWN
from mixpanel_aep_assets.xdm.schema import INTEGER_RANGES, Field
from mixpanel_aep_assets_tests.xdm.conftest import NOW
from mixpanel_aep_assets_tests.xdm.events import ABSENT, Mutation, apply
from mixpanel_aep_assets_tests.xdm.test_conformance import foretold, found, in_frame, same
from mixpanel_aep_assets_tests.xdm.test_examples import CLEAN, converted

WRONG_FORMAT = {
    "date": ("2026-02-30", "2026-1-1"),
    "date-time": ("2026-01-10", "2025-02-29T06:00:00Z", "2026-01-10T06:00:00", "2026-01-10T24:00:00Z"),
    "uri": ("no uri", "/a"),
    "uri-reference": ("42:abc", "a b"),
    "email": ("x",),
    "ipv4": ("999.1.1.1",),
    "ipv6": ("1::2::3",),
}


def mutations(field: Field, value: Any, at: str = "") -> Iterator[Mutation]:
    if field.kind == "any":
        return
    if at:
        yield Mutation(at, None, at, "type")
        yield Mutation(at, 7 if isinstance(value, str) else "seven", at, "type")
    if isinstance(value, dict):
        if field.children:
            yield Mutation(f"{at}/xdm:foo", "x", at, "additionalProperties")
            yield Mutation(f"{at}/a~1b", {"c": 1}, at, "additionalProperties")
        for name in field.required:
            yield Mutation(f"{at}/{name}", ABSENT, at, "required")
        for name, member in value.items():
            child = field.values if field.kind == "map" else field.child(name)
            if child is not None:
                yield from mutations(child, member, f"{at}/{name.replace('~', '~0').replace('/', '~1')}")
    elif isinstance(value, list):
        yield Mutation(at, {"0": value[0]}, at, "type")
        if field.items is not None:
            for index, item in enumerate(value):
                yield from mutations(field.items, item, f"{at}/{index}")
    else:
        yield from scalar_mutations(field, at)


def scalar_mutations(field: Field, at: str) -> Iterator[Mutation]:
    if field.enum is not None:
        yield Mutation(at, "none of them", at, "const" if field.constant else "enum")
    if field.pattern is not None and field.pattern.startswith("^"):
        yield Mutation(at, "!\n", at, "pattern")
    name = {"date": "date", "date_time": "date-time"}.get(field.kind, field.format)
    for text in WRONG_FORMAT.get(name or "", ()):
        yield Mutation(at, text, at, "format")
    if field.kind in INTEGER_RANGES:
        yield Mutation(at, 1.5, at, "type")
        yield Mutation(at, True, at, "type")
    low, high = field.range
    if low is not None:
        yield Mutation(at, low - 1, at, "minimum")
    if high is not None:
        yield Mutation(at, high + 1, at, "maximum")


def of_the_schema(pairs: set[tuple[str, str]]) -> set[tuple[str, str]]:
    return {pair for pair in pairs if pair[1] not in OWN}


@pytest.mark.parametrize("name", CLEAN)
def test_each_mutation_of_a_clean_example_is_refused_by_record_oracle_and_frame(
    name: str, files: list[dict[str, Any]]
) -> None:
    schema, example = converted(name, files)
    rules = Conformance(schema, now=NOW)
    oracle = jsonschema_rs.Draft6Validator(closed_json_schema(schema), validate_formats=True)
    screen = rules.screen()
    for mutation in mutations(schema.root, example):
        record = apply(example, mutation.path, mutation.value)
        pairs = found(rules, record)
        assert (mutation.pointer, mutation.keyword) in pairs, str(mutation)
        assert of_the_schema(pairs) == foretold(oracle, record), str(mutation)
        assert screen.passed(json.dumps(record).encode()) is None, str(mutation)
        frame = as_frame(record)
        if frame is not None:
            assert in_frame(rules, frame) == pairs, str(mutation)


def test_there_are_far_more_than_three_hundred_of_each_class(files: list[dict[str, Any]]) -> None:
    counts: dict[str, int] = {}
    for name in CLEAN:
        schema, example = converted(name, files)
        for mutation in mutations(schema.root, example):
            counts[mutation.keyword] = counts.get(mutation.keyword, 0) + 1
    assert sum(counts.values()) > 2_500
    classes = ("type", "additionalProperties", "required", "enum", "pattern", "format", "minimum", "maximum")
    assert all(counts[one] > 5 for one in classes), counts


def as_frame(record: dict[str, Any]) -> pl.DataFrame | None:
    """One row of inferred types, None where there are none, or no column holds the record as it stands."""
    try:
        frame = pl.DataFrame([record], strict=True)
    except (pl.exceptions.PolarsError, TypeError, OverflowError):
        return None
    return frame if frame.width and same(record, frame.to_dicts()[0]) else None
