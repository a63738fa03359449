"""What expressions and mapping sets give for a record: values, nulls, operators, destinations, conversion, errors."""

from __future__ import annotations

import contextlib
import datetime as dt
import random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mixpanel_aep_assets.dataprep.interpreter.context import EvaluationContext
from mixpanel_aep_assets.dataprep.interpreter.evaluate import Evaluator, Mapped, evaluate_expression
from mixpanel_aep_assets.dataprep.interpreter.targets import TargetType, convert
from mixpanel_aep_assets.dataprep.interpreter.values import to_json
from mixpanel_aep_assets.dataprep.language.mapping_errors import EvaluationError, ExpressionError, MappingSetError
from mixpanel_aep_assets.dataprep.language.mapping_set import MappingSet


@pytest.mark.parametrize(
    ("text", "record", "value"),
    [
        ("a.b.c", {"a": None}, None),
        ("a.b", {"a": "text"}, None),
        ("a[5]", {"a": [1]}, None),
        ("a[0 - 1]", {"a": [1]}, None),
        ("a['k']", {"a": {"k": 1}}, 1),
        ("a[b]", {"a": [1, 2], "b": 1}, 2),
        ("a[*].b", {"a": [{"b": 1}, {}, None]}, [1, None, None]),
        ("a[*].b", {}, None),
        ("a[*].b[*]", {"a": [{"b": [1, 2]}, {"b": None}]}, [[1, 2], None]),
        ("a.equals('x')", {}, None),
        ("iif(a.equals('x'), 1, 2)", {}, 2),
        ("a == null", {}, True),
        ("a == false", {}, False),
        ("a == 'x'", {"a": None}, False),
        ("a == true", {"a": "yes"}, True),
        ("a == 5", {"a": "5.0"}, True),
        ("a.equals('5')", {"a": 5}, False),
        ("a < 5", {}, False),
        ("a >= 5", {}, False),
        ("a >= 5", {"a": 5}, True),
        ("a < b", {"a": "10", "b": "9"}, True),
        ("a < 9", {"a": "10"}, False),
        ("a && b", {"a": "false", "b": 1}, False),
        ("a || b", {"a": 0, "b": "x"}, True),
        ("!a", {}, True),
        ("a ?: 'd'", {"a": ""}, ""),
        ("a ?: 'd'", {"a": False}, "d"),
        ("7 / 2", {}, 3),
        ("(0 - 7) / 2", {}, -3),
        ("(0 - 7) % 3", {}, -1),
        ("7 / 2.0", {}, 3.5),
        ("'1' + 2", {}, "12"),
        ("'3' * '2'", {}, 6),
        ("true + 'x'", {}, "truex"),
        ("2147483647 * 2147483647", {}, 4611686014132420609),
        ("5 & 3 | 8 ^ 1", {}, 9),
        ("~'33'", {}, -34),
        ("'abc' =^ 'ab'", {}, True),
        ("'abc' !$ 'bc'", {}, False),
        ("'abc' =~ 'a.c'", {}, True),
        ("'xabc' =~ 'a.c'", {}, False),
        ("2 =~ [1, 2]", {}, True),
        ("a !~ {'k': 1}", {"a": "k"}, False),
        ("x -> x", {"x": 1}, ExpressionError),
        ("a + 1", {}, EvaluationError),
        ("1 / 0", {}, EvaluationError),
        ("1.0 / 0", {}, EvaluationError),
        ("a == 5", {"a": "five"}, EvaluationError),
        ("a < b", {"a": [1], "b": [2]}, EvaluationError),
        ("-a", {"a": ""}, EvaluationError),
        ("iif(true, 1, 1 / 0)", {}, 1),
        ("decode('a', 'a', 1, 'b', 1 / 0)", {}, 1),
        ("decode('a', 'd')", {}, "d"),
        ("true ? 1 : 1 / 0", {}, 1),
        ("false && 1 / 0 == 1", {}, False),
        ("'s'.equalsIgnoreCase('S')", {}, True),
        ("a.get('k')", {"a": {"k": 2}}, 2),
        ("'abc'.length() + 'abc'.toUpperCase()", {}, "3ABC"),
        ("{'k': a, 1: 'n'}", {"a": None}, {"k": None, "1": "n"}),
        ("transformArray([1, 2], x -> transformArray([x], x -> x * 10))", {}, [[10], [20]]),
        ("filterArray(items, i -> i.price > limit)[0].name", {"limit": 2, "items": [{"name": "a", "price": 3}]}, "a"),
    ],
)
def test_an_expression_gives_this_value(text: str, record: dict[str, Any], value: Any) -> None:
    if isinstance(value, type):
        with pytest.raises(value):
            evaluate_expression(text, record)
    else:
        found = evaluate_expression(text, record)
        assert found == value
        assert type(found) is type(value)


def test_clock_and_random_source_come_from_the_context() -> None:
    moment = dt.datetime(2024, 1, 2, 3, 4, 5, 678000, tzinfo=dt.UTC)
    contexts = [EvaluationContext(clock=lambda: moment, random=random.Random(7)) for _ in range(2)]
    assert evaluate_expression("now()", context=contexts[0]) == moment
    assert evaluate_expression("timestamp()", context=contexts[0]) == 1704164645678
    first, second = (evaluate_expression("uuid()", context=context) for context in contexts)
    assert first == second


@pytest.mark.parametrize(
    ("value", "name", "expected"),
    [
        ("yes", "boolean", True),
        ("Yes", "boolean", EvaluationError),
        (1, "boolean", EvaluationError),
        (1234, "string", "1234"),
        (5.0, "string", "5"),
        (True, "string", "true"),
        ([1], "string", EvaluationError),
        ("12", "integer", 12),
        ("12.0", "integer", 12),
        ("12.5", "integer", EvaluationError),
        ("x", "integer", EvaluationError),
        ("1e2", "number", 100.0),
        ("inf", "number", EvaluationError),
        ("07/08/2020", "date-time", "2020-07-08T00:00:00Z"),
        ("2020-07-08T10:11:12.345+02:00", "date-time", "2020-07-08T10:11:12.345+02:00"),
        ("2020-07-08", "date", "2020-07-08"),
        ("20.07", "date", EvaluationError),
        (1700000000000, "date-time", EvaluationError),
        (None, "integer", None),
    ],
)
def test_a_value_is_converted_to_the_type_of_its_destination(value: Any, name: Any, expected: Any) -> None:
    if isinstance(expected, type):
        with pytest.raises(expected):
            convert(value, TargetType(name))
    else:
        found = to_json(convert(value, TargetType(name)))
        assert found == expected
        assert type(found) is type(expected)


def mapped(mappings: list[tuple[str, str, str]], record: dict[str, Any], target: Any = None, **more: Any) -> Mapped:
    documents = [{"sourceType": kind, "source": source, "destination": to} for kind, source, to in mappings]
    return Evaluator(MappingSet.from_json({"mappings": documents, **more}), target).row(record)


def attribute(source: str, destination: str) -> tuple[str, str, str]:
    return ("ATTRIBUTE", source, destination)


def test_mappings_below_one_object_fill_it_together() -> None:
    assert mapped([attribute("a", "_t.x.a"), attribute("b", "_t.x.b")], {"a": 1, "b": 2}).data == {
        "_t": {"x": {"a": 1, "b": 2}}
    }


def test_null_leaves_nothing_behind_unless_nulls_are_allowed() -> None:
    assert mapped([attribute("a", "x.y")], {"a": None}).data == {}
    assert mapped([attribute("a", "x.y")], {}, allowNullValues=True).data == {"x": {"y": None}}


def test_an_attribute_that_fails_is_written_as_null_where_nulls_are_allowed() -> None:
    failing = ("EXPRESSION", "a / 0", "x.y")
    assert mapped([failing], {"a": 1}).data == {}
    assert mapped([failing], {"a": 1}, allowNullValues=True).data == {"x": {"y": None}}


def test_an_index_makes_the_elements_before_it_null() -> None:
    assert mapped([attribute("a", "l[2].v"), attribute("b", "l[0].v")], {"a": 1, "b": 2}).data == {
        "l": [{"v": 2}, None, {"v": 1}]
    }


def test_iteration_merges_by_position_and_keeps_elements_without_the_leaf() -> None:
    record = {"items": [{"id": 1, "n": "a"}, {"n": "b"}]}
    result = mapped([attribute("items[*].id", "p[*].sku.id"), attribute("items[*].n", "p[*].name")], record)
    assert result.data == {"p": [{"sku": {"id": 1}, "name": "a"}, {"sku": {}, "name": "b"}]}


def test_iteration_over_a_missing_array_writes_nothing() -> None:
    assert mapped([attribute("items[*].id", "p[*].id")], {}).data == {}


def test_an_expression_may_feed_an_iteration() -> None:
    result = mapped([("EXPRESSION", "transformArray(l, x -> upper(x))", "p[*].name")], {"l": ["a", "b"]})
    assert result.data == {"p": [{"name": "A"}, {"name": "B"}]}


def test_iteration_of_what_is_no_array_is_an_error_of_the_attribute() -> None:
    result = mapped([attribute("a", "p[*].x"), attribute("b", "b")], {"a": 1, "b": 2})
    assert result.data == {"b": 2}
    assert "takes an array" in result.errors[0].exception


def test_object_copy_keeps_what_the_target_knows_and_converts_it() -> None:
    target = TargetType(
        "object",
        {"o": TargetType("object", {"n": TargetType("string"), "l": TargetType("array", items=TargetType("integer"))})},
    )
    result = mapped([attribute("s", "o")], {"s": {"n": 5, "l": ["1", 2], "unknown": True}}, target)
    assert result.data == {"o": {"n": "5", "l": [1, 2]}}


def test_a_specific_mapping_overrides_the_copy_whatever_the_order() -> None:
    result = mapped([attribute("x", "o.a"), attribute("s", "o")], {"s": {"a": 1, "b": 2}, "x": 9})
    assert result.data == {"o": {"a": 9, "b": 2}}


def test_the_record_is_never_changed() -> None:
    record = {"s": {"a": [1]}, "x": 9}
    mapped([attribute("s", "o"), attribute("x", "o.b"), attribute("x", "o.a[1]")], record)
    assert record == {"s": {"a": [1]}, "x": 9}


def test_static_text_never_refers_to_the_input() -> None:
    assert mapped([("STATIC", "a", "x"), ("STATIC", "${a}", "y")], {"a": 1}).data == {"x": "a", "y": "${a}"}


def test_an_error_makes_the_attribute_null_and_is_reported_in_adobes_shape() -> None:
    result = mapped([("EXPRESSION", "a / 0", "x"), attribute("a", "y")], {"a": 1})
    assert result.data == {"y": 1}
    assert result.accepted
    assert result.to_json()["errors"] == [
        {
            "source": "a / 0",
            "destination": "x",
            "sourceType": "EXPRESSION",
            "columnName": None,
            "exception": "division by zero",
        }
    ]


def test_a_row_without_errors_says_null() -> None:
    assert mapped([attribute("a", "x")], {"a": 1}).to_json() == {"data": {"x": 1}, "errors": None}


REQUIRED = {
    "type": "object",
    "required": ["_id"],
    "properties": {
        "_id": {"type": "string"},
        "o": {"type": "object", "required": ["k"], "properties": {"k": {"type": "integer"}, "v": {"type": "integer"}}},
        "l": {"type": "array", "items": {"type": "object", "required": ["k"], "properties": {"k": {"type": "string"}}}},
    },
}


@pytest.mark.parametrize(
    ("record", "missing"),
    [
        ({"id": 1}, []),
        ({}, ["_id"]),
        ({"id": 1, "v": 2}, ["o.k"]),
        ({"id": 1, "v": 2, "k": "x"}, ["o.k"]),
        ({"id": 1, "l": [{"k": "a"}, {}]}, ["l[1].k"]),
    ],
)
def test_a_required_field_that_ends_up_null_makes_the_row_invalid(record: dict[str, Any], missing: list[str]) -> None:
    mappings = [attribute("id", "_id"), attribute("k", "o.k"), attribute("v", "o.v"), attribute("l", "l")]
    result = mapped(mappings, record, REQUIRED)
    assert result.missing == missing
    assert result.accepted == (not missing)
    assert [error.destination for error in result.errors if error.source is None] == missing


def test_a_set_that_is_not_valid_never_runs() -> None:
    with pytest.raises(MappingSetError, match=r"mapping 2 \(y\).*uper"):
        mapped([attribute("a", "x"), ("EXPRESSION", "uper(a)", "y")], {})


NINE = "transformArray([1,2,3,4,5,6,7,8,9], "
NESTED = "".join(f"{NINE}x{level} -> " for level in range(9)) + "1" + ")" * 9


@pytest.mark.parametrize(
    "text",
    [
        "rpad('a', 999999999, 'b')",
        "lpad(lpad('a', 200000, 'b'), 300000, 'c')",
        "replacestr(rpad('a', 200000, 'a'), 'a', rpad('b', 200000, 'b'))",
        "join(rpad(',', 200000, ','), [1, 2, 3])",
        "concat(rpad('a', 200000, 'b'), rpad('a', 200000, 'b'))",
        "transformArray(" * 25 + "[1]" + ", x -> [x, x])" * 25,
        NESTED,
        "*".join(["a"] * 150),
        "1.5 * 1e300 * 1e300",
    ],
)
def test_a_result_that_grows_without_bound_is_an_error(text: str) -> None:
    with pytest.raises(EvaluationError):
        evaluate_expression(text, {"a": 10**39})


@pytest.mark.parametrize(
    "text",
    [
        "explode(a, 'x')",
        "explode(a, 'x*?')",
        "split(a, 'x')",
        "str_to_object(a, ':', 'x')",
        "get_url_query_str(concat('/?', replacestr(a, 'x', '&')), 'remove')",
        "aa_get_product_names(replacestr(a, 'x', ','))",
        "contains_key(a)",
        "hash(a, 'x')",
        "sha1('x', a)",
    ],
)
def test_a_long_text_of_a_record_makes_neither_endless_arrays_nor_long_messages(text: str) -> None:
    with pytest.raises(EvaluationError) as error:
        evaluate_expression(text, {"a": "x" * 200_000})
    assert len(str(error.value)) < 300


def test_a_deep_record_is_an_error_of_the_attribute_only() -> None:
    deep: Any = 1
    for _ in range(5000):
        deep = [deep]
    result = mapped([attribute("deep", "x"), attribute("a", "y")], {"deep": deep, "a": 1})
    assert result.data == {"y": 1}
    assert len(result.errors) == 1


values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=10)
    | st.sampled_from(["1", "true", "2020-01-01"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("abk"), inner, max_size=3),
    max_leaves=6,
)
EXPRESSIONS = [
    "a + b", "a * b - a", "a == b", "a < b", "a =~ b", "-a", "~a", "a[b]", "a.k.equals(b)", "lower(a)",
    "concat(a, b)", "substr(a, b, 2)", "instr(a, b)", "explode(a, b)", "split(a, b)", "lpad(a, b, a)",
    "matches_regex(a, b)", "sha1(a, b)", "get_url_query_str(a, 'retain')", "get_url_port(a)", "date(a)",
    "date(a, b)", "dformat(a, 'yyyy-MM-dd')", "format(a, 'yyyy w E z Z X O')", "date_part('week', a)",
    "set_date_part('month', b, a)", "zone_date_to_zone(a, b)", "make_date_time(a, b, 1, 1, 1, 1, 1, 'UTC')",
    "size_of(a)", "to_object(a, b)", "arrays_to_objects('x', a, 'y', b)", "object_to_map(a, b)",
    "array_to_map(a, b)", "map_get_values(a, b)", "add_to_map(a, b)", "str_to_object(a, b)", "contains_key(a)",
    "flattenArray(a)", "array_to_string(b, a)", "filterArray(a, x -> x.k == b)", "min(a, b)", "max(a)",
    "decode(a, b, 1)", "to_integer(a)", "to_float(a)", "json_to_object(a)", "aa_get_product_evars(a, b)",
    "ua_device_class(a)", "add_to_array(a, b)", "is_empty(a)", "get_values(a, b, ':')",
]  # fmt: skip


@settings(max_examples=300)
@given(st.sampled_from(EXPRESSIONS), values, values)
def test_no_record_makes_an_expression_fail_in_another_way_than_an_evaluation_error(text: str, a: Any, b: Any) -> None:
    with contextlib.suppress(EvaluationError):
        to_json(evaluate_expression(text, {"a": a, "b": b}))


@given(values, st.sampled_from(["string", "integer", "number", "boolean", "date", "date-time", "array", "map", "any"]))
def test_conversion_fails_only_with_an_evaluation_error(value: Any, name: Any) -> None:
    with contextlib.suppress(EvaluationError):
        convert(value, TargetType(name))


def nested(levels: int) -> list[Any]:
    inner: list[Any] = []
    for _ in range(levels):
        inner = [inner]
    return inner


@pytest.mark.parametrize(
    ("text", "record", "words"),
    [
        ("concat('v', a)", {"a": float("nan")}, "not a number that JSON can represent"),
        ("a + 0.5", {"a": 10**400}, "too large for this calculation"),
        ("make_date_time(a, 1, 1, 1, 1, 1, 1, 'UTC')", {"a": 10**400}, "out of its range"),
        ("json_to_object(a)", {"a": "[" * 100_000}, "nested too deeply"),
        ("json_to_object(a)", {"a": '{"x": NaN}'}, "not a number that JSON can represent"),
        ("a", {"a": nested(5000)}, "nested too deeply"),
    ],
)
def test_what_no_value_can_hold_is_an_error_in_words(text: str, record: dict[str, Any], words: str) -> None:
    mappings = [{"sourceType": "EXPRESSION", "source": text, "destination": "v"}]
    (error,) = Evaluator(MappingSet.from_json(mappings)).row(record).errors
    assert words in error.exception


def test_errors_come_in_the_order_of_the_set() -> None:
    mappings = [{"sourceType": "EXPRESSION", "source": "1 / 0", "destination": one} for one in ("a.b.c", "d", "e.f")]
    row = Evaluator(MappingSet.from_json(mappings)).row({})
    assert [error.destination for error in row.errors] == ["a.b.c", "d", "e.f"]
