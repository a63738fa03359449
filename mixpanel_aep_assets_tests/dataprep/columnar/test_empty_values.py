"""No empty value leaves a mapping set: the rows that are written are those of the plain evaluator without what is empty.

What the language itself sees stays: functions get arrays with their nulls, as Adobe's do.
"""

from __future__ import annotations

import json
from typing import Any

import polars as pl
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from mixpanel_aep_assets.dataprep.columnar.compiled_mapping import compile_mapping
from mixpanel_aep_assets.dataprep.interpreter.evaluate import Evaluator, evaluate_expression
from mixpanel_aep_assets.dataprep.interpreter.records import decode_object
from mixpanel_aep_assets.dataprep.interpreter.schema_targets import target_type
from mixpanel_aep_assets.dataprep.interpreter.validation import validate
from mixpanel_aep_assets.dataprep.language.mapping_set import MappingSet
from mixpanel_aep_assets.xdm.composition import registry_schema
from mixpanel_aep_assets.xdm.parquet import shape
from mixpanel_aep_assets_tests.dataprep.columnar.test_compiled_mapping import tidy
from mixpanel_aep_assets_tests.dataprep.columnar.test_random_sets import DESTINATIONS, RECORDS, SCHEMA, SOURCES
from mixpanel_aep_assets_tests.xdm.test_empty import rows, without_empty_values

LONG = json.loads(json.dumps(SCHEMA).replace('"integer"', '"integer", "meta:xdmType": "long"'))
"""Whether a number fits its XDM type is only for the columns to tell."""

TARGET = registry_schema(
    {"properties": LONG["properties"] | {"m": SCHEMA["properties"]["m"] | {"meta:xdmType": "map"}}}
)
EMPTY = st.sampled_from([[None], [""], ["a", None, "b"], ["a", ""], [None, {"k": ""}], [{"k": "x", "j": None}], [{}]])
EMPTIER = st.tuples(RECORDS, st.fixed_dictionaries({}, optional=dict.fromkeys(["a", "l"], EMPTY)))
MORE_SOURCES = st.sampled_from(
    [
        ("explode(c, ',')", "EXPRESSION"),
        ("to_array(true, b, c)", "EXPRESSION"),
        ("to_object('k', c)", "EXPRESSION"),
        ("transformArray(l, e -> e)", "EXPRESSION"),
        ("l", "ATTRIBUTE"),
        ("a", "ATTRIBUTE"),
    ]
)


def mapping_set(mappings: list[tuple[tuple[str, str], str]], *, nulls: bool = False) -> MappingSet:
    rows = [{"source": one, "sourceType": kind, "destination": place} for (one, kind), place in mappings]
    return MappingSet.from_json({"mappings": rows, "allowNullValues": nulls})


def written(chosen: MappingSet, records: list[dict[str, Any]]) -> list[Any]:
    """The rows as they go to Parquet."""
    frame = pl.DataFrame({"record": [json.dumps(record) for record in records]})
    return [
        tidy(row) for row in rows(shape(compile_mapping(chosen, TARGET, layout="record").apply(frame).frame, TARGET))
    ]


def evaluated(chosen: MappingSet, records: list[dict[str, Any]]) -> list[Any]:
    """The rows of the plain evaluator, without what is empty."""
    evaluator = Evaluator(chosen, target_type(TARGET.root))
    mapped = [evaluator.row(decode_object(json.dumps(record))).data for record in records]
    return [tidy(without_empty_values(row) or {}) for row in mapped]


@settings(max_examples=300, suppress_health_check=list(HealthCheck))
@given(
    st.lists(st.tuples(SOURCES | MORE_SOURCES, DESTINATIONS | st.just("m")), min_size=1, max_size=5),
    st.lists(EMPTIER, min_size=1, max_size=4),
    st.booleans(),
)
def test_both_ways_of_running_a_set_leave_the_same_out(
    mappings: list[tuple[tuple[str, str], str]], given_records: list[tuple[dict[str, Any], dict[str, Any]]], nulls: bool
) -> None:
    chosen = mapping_set(mappings, nulls=nulls)
    assume(validate(chosen, target_type(TARGET.root)).ok)
    records = [record | emptier for record, emptier in given_records]
    assert written(chosen, records) == evaluated(chosen, records)


@pytest.mark.parametrize(
    ("source", "record", "left"),
    [
        ("l", {"l": ["a", None, "b"]}, {"g": ["a", "b"]}),
        ("l", {"l": [None]}, {}),
        ("l", {"l": ["a", "", 1]}, {"g": ["a", "1"]}),
        ("explode(c, ',')", {"c": "a,,b"}, {"g": ["a", "b"]}),
        ("explode(c, ',')", {"c": ""}, {}),
        ("explode(c, ',')", {"c": ","}, {}),
        ("to_array(true, b, c)", {"b": "x"}, {"g": ["x"]}),
        ("iif(b > 1, l, [c, nullify()])", {"b": 1, "c": "x"}, {"g": ["x"]}),
    ],
)
def test_empty_items_of_a_list_are_left_out_whatever_made_it(source: str, record: dict[str, Any], left: Any) -> None:
    kind = "ATTRIBUTE" if source == "l" else "EXPRESSION"
    chosen = mapping_set([((source, kind), "g")])
    records = [record, {"l": ["y"], "b": 2, "c": "z"}, record]
    assert [row for row in written(chosen, records) if row != {"g": ["y"]}][0::2][:1] == [left]
    assert written(chosen, records) == evaluated(chosen, records)


def test_elements_that_no_mapping_fills_are_left_out() -> None:
    chosen = mapping_set([(("b", "ATTRIBUTE"), "q[2].k"), (("c", "ATTRIBUTE"), "q[0].k")])
    assert written(chosen, [{"b": "x"}, {"b": "x", "c": "y"}, {}]) == [
        {"q": [{"k": "x"}]},
        {"q": [{"k": "y"}, {"k": "x"}]},
        {},
    ]


def test_functions_see_the_nulls_that_the_row_does_not_get() -> None:
    assert evaluate_expression("size_of(l)", {"l": ["a", None, ""]}) == 3
    assert evaluate_expression("explode('a,,b', ',')") == ["a", "", "b"]
