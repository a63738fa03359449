"""The reference suite, `cases.json` and `mapping_examples.json`, through the plain evaluator."""

from __future__ import annotations

import datetime as dt
import json
from typing import Any

import pytest

from mixpanel_aep_assets.dataprep.interpreter.evaluate import Evaluator, evaluate_expression
from mixpanel_aep_assets.dataprep.interpreter.functions import FUNCTIONS
from mixpanel_aep_assets.dataprep.interpreter.methods import METHODS
from mixpanel_aep_assets.dataprep.interpreter.targets import TargetType
from mixpanel_aep_assets.dataprep.interpreter.validation import validate
from mixpanel_aep_assets.dataprep.interpreter.values import to_json
from mixpanel_aep_assets.dataprep.language.mapping_set import MappingSet
from mixpanel_aep_assets_tests.outside import DATAPREP, NO_DATAPREP


def _suite(name: str) -> list[dict[str, Any]]:
    path = DATAPREP / name
    if not path.is_file():
        return []
    document = json.loads(path.read_text())
    return document["functions"] if isinstance(document, dict) else document


if not DATAPREP.is_dir():
    pytest.skip(NO_DATAPREP, allow_module_level=True)


def _instant(text: str) -> dt.datetime:
    return dt.datetime.fromisoformat(text)


def _same(found: Any, expected: Any, compare: str | None) -> bool:
    """The compare modes of data-prep.md#comparing-results."""
    match compare:
        case "instant":
            return _instant(found) == _instant(expected)
        case "instant_seconds":
            return _instant(found).replace(microsecond=0) == _instant(expected).replace(microsecond=0)
        case "datetime_offset":
            return (
                _instant(found) == _instant(expected) and _instant(found).utcoffset() == _instant(expected).utcoffset()
            )
        case "unordered":
            return sorted(map(json.dumps, found)) == sorted(map(json.dumps, expected))
        case "number":
            return bool(found == expected)
        case "loose_scalar":
            return str(found) == str(expected)
        case _:
            return json.dumps(found, sort_keys=True) == json.dumps(expected, sort_keys=True)


@pytest.mark.parametrize(
    "case", [pytest.param(case, id=case["id"]) for case in _suite("cases.json") if not case.get("skip")]
)
def test_a_case_of_the_suite_gives_the_expected_value(case: dict[str, Any]) -> None:
    name = case.get("target_type")
    value = evaluate_expression(case["expression"], case.get("input"), target=TargetType(name) if name else None)
    found = to_json(value)
    assert _same(found, case["expected"], case.get("compare")), f"{found!r} is not {case['expected']!r}"


CORRECTED = {
    "string-explode-1",
    "date-format-1",
    "objects-map_get_values-1",
    "type-to_bigint-1",
    "type-to_float-1",
    "arrays-filterArray-objects",
    "url-encode-pipe",
}


@pytest.mark.parametrize(
    "case", [pytest.param(case, id=case["id"]) for case in _suite("cases.json") if case["id"] in CORRECTED]
)
def test_where_the_documentation_slips_the_corrected_value_holds(case: dict[str, Any]) -> None:
    assert to_json(evaluate_expression(case["expression"], case.get("input"))) == case["corrected"]


@pytest.mark.parametrize("example", [pytest.param(one, id=one["id"]) for one in _suite("mapping_examples.json")])
def test_every_example_set_is_valid(example: dict[str, Any]) -> None:
    assert list(validate(MappingSet.from_json(example["mapping_set"]))) == []


def _without_nulls(value: Any) -> Any:
    """Null members go, then objects that are empty; nulls inside arrays stay (data-prep.md#comparing-results)."""
    if isinstance(value, list):
        return [_without_nulls(item) for item in value]
    if not isinstance(value, dict):
        return value
    kept = {key: _without_nulls(item) for key, item in value.items() if item is not None}
    return {key: item for key, item in kept.items() if item != {}}


@pytest.mark.parametrize(
    "example",
    [
        pytest.param(one, id=one["id"])
        for one in _suite("mapping_examples.json")
        if not one.get("skip") and "input" in one
    ],
)
def test_an_example_set_maps_its_input_to_its_output(example: dict[str, Any]) -> None:
    mapped = Evaluator(MappingSet.from_json(example["mapping_set"])).row(example["input"])
    assert mapped.errors == []
    assert _without_nulls(mapped.data) == _without_nulls(example["expected"])


@pytest.mark.parametrize("entry", [pytest.param(one, id=one["name"]) for one in _suite("functions.json")])
def test_every_documented_function_is_offered_or_refused_with_a_reason(entry: dict[str, Any]) -> None:
    if entry["name"] in METHODS:
        return
    function = FUNCTIONS[entry["name"]]
    assert (function.refusal is not None) == (entry["name"] == "fpid_to_ecid" or entry["status"] == "unpublished")
    assert function.alias_of == entry.get("alias_of") or entry["status"] == "documented"
