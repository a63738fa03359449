"""Mapping sets on whole frames: rows folded, typed and reported as the plain evaluator does it record by record."""

from __future__ import annotations

import datetime as dt
import json
import pickle
from collections.abc import Sequence
from typing import Any

import polars as pl
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from mixpanel_aep_assets.dataprep.columnar.compile_functions import NATIVE
from mixpanel_aep_assets.dataprep.columnar.compiled_mapping import MappedFrame, compile_mapping
from mixpanel_aep_assets.dataprep.interpreter.context import EvaluationContext
from mixpanel_aep_assets.dataprep.interpreter.evaluate import Evaluator
from mixpanel_aep_assets.dataprep.interpreter.functions import FUNCTIONS, Kind
from mixpanel_aep_assets.dataprep.interpreter.records import flattened
from mixpanel_aep_assets.dataprep.interpreter.schema_targets import target_type
from mixpanel_aep_assets.dataprep.interpreter.validation import validate
from mixpanel_aep_assets.dataprep.language.mapping_errors import MappingSetError
from mixpanel_aep_assets.dataprep.language.mapping_set import MappingSet
from mixpanel_aep_assets.xdm.schema import Field, Schema
from mixpanel_aep_assets_tests.outside import DATAPREP, NO_DATAPREP

EXAMPLES_FILE = DATAPREP / "mapping_examples.json"
EXAMPLES = json.loads(EXAMPLES_FILE.read_text()) if EXAMPLES_FILE.exists() else []

NAME = Field("name", "string")
PRODUCT = Field(
    "products", "array", items=Field("", "object", children=(Field("sku", "string"), Field("price", "double")))
)
SCHEMA = Schema(
    Field(
        "",
        "object",
        children=(
            Field("_id", "string"),
            Field("timestamp", "date_time"),
            Field("day", "date"),
            Field("count", "int"),
            Field("size", "long"),
            Field("price", "double"),
            Field("member", "boolean"),
            Field("person", "object", children=(NAME, Field("address", "object", children=(Field("city", "string"),)))),
            Field("tags", "array", items=Field("", "string")),
            PRODUCT,
            Field("identityMap", "map", values=Field("", "array", items=Field("", "object", children=(Field("id", "string"),)))),
        ),
    )
)  # fmt: skip


def mapped(
    mappings: Sequence[tuple[str, str] | tuple[str, str, str]],
    properties: list[dict[str, Any] | str],
    target: Schema | None = SCHEMA,
    derived: dict[str, str] | None = None,
    **columns: Any,
) -> MappedFrame:
    frame = pl.DataFrame(
        {
            "event": ["Seen"] * len(properties),
            "properties": [one if isinstance(one, str) else json.dumps(one) for one in properties],
            **columns,
        }
    )
    return compile_mapping(a_set(mappings), target, derived).apply(frame)


def a_set(mappings: Sequence[tuple[str, str] | tuple[str, str, str]]) -> MappingSet:
    return MappingSet.from_json(
        [
            {"source": source, "destination": destination, "sourceType": kind[0] if kind else "ATTRIBUTE"}
            for source, destination, *kind in mappings
        ]
    )


def tidy(value: Any) -> Any:
    """Without members that are null and objects that are empty, as rows are compared; instants as ISO texts."""
    if isinstance(value, dict):
        return {key: tidied for key, item in value.items() if (tidied := tidy(item)) not in (None, {})}
    if isinstance(value, list):
        return [tidy(item) for item in value]
    if isinstance(value, dt.datetime):
        return value.isoformat().replace("+00:00", "Z").replace("000Z", "Z")
    if isinstance(value, dt.date):
        return value.isoformat()
    return value


def rows_of(result: MappedFrame) -> list[Any]:
    rows = result.frame.to_dicts()
    for row in rows:
        for name in result.json_columns:
            row[name] = None if row[name] is None else json.loads(row[name])
    return [tidy(row) for row in rows]


@pytest.mark.skipif(not EXAMPLES, reason=NO_DATAPREP)
@pytest.mark.parametrize(
    "one", [one for one in EXAMPLES if not one.get("skip") and "input" in one], ids=lambda one: one["id"]
)
def test_a_documented_mapping_set_gives_its_rows(one: dict[str, Any]) -> None:
    compiled = compile_mapping(MappingSet.from_json(one["mapping_set"]), layout="record")
    result = compiled.apply(pl.DataFrame({"record": [json.dumps(one["input"])]}))
    assert rows_of(result) == [tidy(one["expected"])]


def test_destinations_below_one_object_fill_it() -> None:
    result = mapped(
        [("properties.n", "person.name"), ("properties.c", "person.address.city")], [{"n": "Ann"}, {"c": "Rome"}, {}]
    )
    assert rows_of(result) == [{"person": {"name": "Ann"}}, {"person": {"address": {"city": "Rome"}}}, {}]
    assert result.frame.get_column("person").to_list()[2] is None


def test_values_take_the_types_of_the_schema() -> None:
    sources = [
        ("properties.i", "_id"),
        ("properties.c", "count"),
        ("properties.p", "price"),
        ("properties.m", "member"),
        ("properties.t", "timestamp"),
    ]
    result = mapped(sources, [{"i": 25, "c": "7", "p": "1.50", "m": "yes", "t": "2026-09-14T10:00:00.123Z"}])
    assert result.frame.schema == {
        "_id": pl.String(), "count": pl.Int32(), "price": pl.Float64(), "member": pl.Boolean(), "timestamp": pl.Datetime("ms", "UTC")
    }  # fmt: skip
    assert result.frame.row(0) == ("25", 7, 1.5, True, dt.datetime(2026, 9, 14, 10, 0, 0, 123000, tzinfo=dt.UTC))
    assert result.errors.is_empty()


def test_a_value_that_does_not_convert_is_null_and_reported_and_the_row_goes_on() -> None:
    result = mapped([("properties.c", "count"), ("properties.n", "_id")], [{"c": "many", "n": "x"}, {"c": 5, "n": "y"}])
    assert rows_of(result) == [{"_id": "x"}, {"_id": "y", "count": 5}]
    assert result.errors.to_dicts() == [
        {
            "row": 0,
            "mapping": 0,
            "destination": "count",
            "source": "properties.c",
            "source_type": "ATTRIBUTE",
            "exception": "expected an integer, found 'many'",
        }
    ]


@pytest.mark.parametrize("number", [2**31, -(2**31) - 1, "2147483648", 1e12])
def test_an_integer_that_its_column_cannot_hold_is_an_error(number: Any) -> None:
    result = mapped([("properties.c", "count")], [{"c": number}, {"c": 2**31 - 1}])
    assert result.frame.get_column("count").to_list() == [None, 2**31 - 1]
    assert "out of the range" in result.errors.get_column("exception").item()


def test_an_integer_beyond_64_bits_keeps_its_digits_under_a_text_field() -> None:
    result = mapped([("properties.i", "_id")], [f'{{"i": {2**64 + 1}}}', '{"i": -5}', '{"i": "x"}'])
    assert result.frame.get_column("_id").to_list() == [str(2**64 + 1), "-5", "x"]


def test_a_copied_object_keeps_what_the_schema_knows_and_inner_mappings_override_it() -> None:
    result = mapped(
        [("properties.n", "person.name"), ("properties.p", "person")],
        [
            {"p": {"name": "old", "address": {"city": "Rome", "zip": 1}, "x": 1}, "n": "new"},
            {"p": {"name": "old"}},
            {"n": "n"},
        ],
    )
    assert rows_of(result) == [
        {"person": {"name": "new", "address": {"city": "Rome"}}},
        {"person": {"name": "old"}},
        {"person": {"name": "n"}},
    ]


def test_elements_by_number_make_an_array_up_to_the_last_one() -> None:
    result = mapped([("properties.a", "tags[0]"), ("properties.b", "tags[2]")], [{"a": "x"}, {"b": "y"}, {}])
    assert result.frame.get_column("tags").to_list() == [["x"], [None, None, "y"], None]


def test_a_null_that_is_kept_makes_its_element() -> None:
    mappings = [{"source": "a", "destination": "l[1]"}, {"source": "b", "destination": "o[0].x"}]
    compiled = compile_mapping(MappingSet.from_json({"mappings": mappings, "allowNullValues": True}), layout="record")
    result = compiled.apply(pl.DataFrame({"record": ['{"a": null}', '{"a": "y", "b": "z"}']}))
    assert result.frame.get_column("l").to_list() == [[None, None], [None, "y"]]
    assert result.frame.get_column("o").to_list() == [[{"x": None}], [{"x": "z"}]]


def test_an_array_at_an_element_is_an_array_of_arrays() -> None:
    result = mapped(
        [("properties.a", "l[0]"), ("properties.b", "l[1]")], [{"a": ["x"], "b": ["y", "z"]}, {"a": []}], None
    )
    assert rows_of(result) == [{"l": [["x"], ["y", "z"]]}, {"l": [[]]}]


def test_members_of_one_element_meet_in_it() -> None:
    result = mapped(
        [("properties.s", "products[0].sku"), ("properties.p", "products[0].price")], [{"s": 5, "p": "2"}, {"p": 1}, {}]
    )
    assert result.frame.get_column("products").to_list() == [
        [{"sku": "5", "price": 2.0}],
        [{"sku": None, "price": 1.0}],
        None,
    ]


def test_iteration_makes_one_element_per_element_and_merges_by_position() -> None:
    result = mapped(
        [("properties.cart[*].id", "products[*].sku"), ("properties.cart[*].p", "products[*].price")],
        [{"cart": [{"id": 1, "p": "2"}, {"p": 3}]}, {"cart": []}, {}, {"cart": None}],
    )
    assert rows_of(result) == [
        {"products": [{"sku": "1", "price": 2.0}, {"price": 3.0}]},
        {"products": []},
        {},
        {},
    ]


def test_a_later_mapping_to_one_place_wins_where_it_has_a_value() -> None:
    result = mapped([("properties.a", "_id"), ("properties.b", "_id")], [{"a": "x", "b": "y"}, {"a": "x"}, {"b": "y"}])
    assert result.frame.get_column("_id").to_list() == ["y", "x", "y"]


def test_a_static_value_is_in_every_row() -> None:
    result = mapped([("12", "count", "STATIC"), ("${a}", "_id", "STATIC")], [{}, {}])
    assert result.frame.rows() == [(12, "${a}")] * 2


def test_a_derived_structure_passes_as_it_is() -> None:
    column = pl.Series([[{"key": "ID", "value": [{"id": "x"}]}], None])
    result = mapped(
        [("mixpanel.identityMap", "identityMap")], [{}, {}], derived={"mixpanel.identityMap": "ids"}, ids=column
    )
    assert result.frame.get_column("identityMap").to_list() == column.to_list()


def test_derived_columns_serve_expressions_and_the_evaluator_alike() -> None:
    result = mapped(
        [
            ('iif(mixpanel.id != null, concat("m:", mixpanel.id), event)', "_id", "EXPRESSION"),
            ('json_to_object(properties.json).get("x")', "count", "EXPRESSION"),
            ("mixpanel.at", "timestamp"),
        ],
        [{"json": '{"x": 5}'}, {"json": "{"}],
        derived={"mixpanel.id": "key", "mixpanel.at": "at"},
        key=["k", None],
        at=[dt.datetime(2026, 1, 2, tzinfo=dt.UTC), None],
    )  # fmt: skip
    assert rows_of(result) == [{"_id": "m:k", "count": 5, "timestamp": "2026-01-02T00:00:00Z"}, {"_id": "Seen"}]
    assert result.errors.get_column("row").to_list() == [1]


def test_what_has_no_columns_is_named_with_its_reason() -> None:
    compiled = compile_mapping(
        a_set(
            [
                ("properties.a", "_id"),
                ('contains_key("properties.a")', "member", "EXPRESSION"),
                ("lower(properties.a)", "person.name", "EXPRESSION"),
            ]
        ),
        SCHEMA,
    )
    assert [(one.mapping, one.reason) for one in compiled.fallbacks] == [(1, "contains_key needs the whole record")]
    result = compiled.apply(pl.DataFrame({"event": ["e", "e"], "properties": ['{"a": null}', "{}"]}))
    assert result.frame.get_column("member").to_list() == [True, False]


@pytest.mark.parametrize(
    "places", [[f"o.f{n}" for n in range(2000)], [f"o[{n}]" for n in range(1000)], [".".join("o" * 30)]]
)
def test_a_row_of_unusual_shape_stays_bounded(places: list[str]) -> None:
    result = mapped([("properties.a", place) for place in places], [{"a": 5}], None)
    assert "5" in str(result.frame.row(0))
    assert result.errors.is_empty()


def test_an_expression_of_very_many_parts_takes_no_columns_for_them() -> None:
    compiled = compile_mapping(a_set([("+".join(["properties.a", "'x'"] * 90), "_id", "EXPRESSION")]))
    assert [one.reason for one in compiled.fallbacks] == ["an expression of very many parts"]
    result = compiled.apply(pl.DataFrame({"event": ["e"], "properties": ['{"a": "y"}']}))
    assert rows_of(result) == [{"_id": "yx" * 90}]


def test_every_function_without_columns_is_named() -> None:
    offered = {name: one for name, one in FUNCTIONS.items() if one.refusal is None and one.takes}
    calls = {
        name: f"{name}({', '.join(f'f{at}' for at in range(max(one.required, 2 if one.pairs_from == 0 else 1)))})"
        for name, one in offered.items()
        if Kind.LAMBDA not in one.takes
    }
    compiled = compile_mapping(
        a_set([(f"{source}", f"v.{name}", "EXPRESSION") for name, source in calls.items()]), layout="record"
    )
    named = {one.destination.removeprefix("v.") for one in compiled.fallbacks}
    in_columns = {"iif", "decode", *(name for name, one in offered.items() if (one.alias_of or name) in NATIVE)}
    assert set(calls) - named <= in_columns


@pytest.mark.parametrize(
    ("source", "extent"),
    [
        ("lower(properties.a)", None),
        ('join(",", properties.a)', "rows"),
        ("array_to_string(',', properties.a)", "rows"),
        ("get_keys(properties.a)", "rows"),
        ("coalesce(properties.a, properties.b)", None),
        ("coalesce(properties.a)", "rows"),
        ("sha256(properties.a)", None),
        ("crc32(properties.a)", "values"),
        ("uuid()", "mapping"),
        ("now()", None),
        ("transformArray(properties.a, x -> x.y)", "mapping"),
    ],
)
def test_how_much_of_a_mapping_runs_in_python_is_told(source: str, extent: str | None) -> None:
    compiled = compile_mapping(a_set([(source, "_id", "EXPRESSION")]))
    assert [one.extent for one in compiled.fallbacks] == ([] if extent is None else [extent])


def test_an_object_that_is_copied_is_told_and_a_derived_one_is_not() -> None:
    mappings = [("properties.p", "person"), ("mixpanel.identityMap", "identityMap"), ("properties.n", "person.name")]
    compiled = compile_mapping(a_set(mappings), SCHEMA, {"mixpanel.identityMap": "ids"})
    assert [(one.mapping, one.extent) for one in compiled.fallbacks] == [(0, "rows")]


def test_the_clock_is_read_once_per_batch_and_random_identifiers_differ() -> None:
    now = dt.datetime(2026, 5, 1, tzinfo=dt.UTC)
    compiled = compile_mapping(
        a_set([("now()", "timestamp", "EXPRESSION"), ("uuid()", "_id", "EXPRESSION")]),
        SCHEMA,
        context=EvaluationContext(clock=lambda: now),
    )
    result = compiled.apply(pl.DataFrame({"event": ["e"] * 3, "properties": ["{}"] * 3}))
    assert result.frame.get_column("timestamp").to_list() == [now] * 3
    assert result.frame.get_column("_id").n_unique() == 3


def test_a_set_that_is_not_valid_is_refused_with_its_problems() -> None:
    with pytest.raises(MappingSetError, match="uper"):
        compile_mapping(a_set([("uper(event)", "_id", "EXPRESSION")]), SCHEMA)


def test_a_compiled_set_can_be_sent_to_a_worker() -> None:
    compiled = compile_mapping(a_set([("properties.a", "_id")]), SCHEMA)
    frame = pl.DataFrame({"event": ["e"], "properties": ['{"a": 5}']})
    compiled.apply(frame)
    assert pickle.loads(pickle.dumps(compiled)).apply(frame).frame.equals(compiled.apply(frame).frame)


def test_a_batch_without_rows_has_the_columns_of_the_schema() -> None:
    result = mapped([("properties.a", "_id"), ("properties.c", "count")], [])
    assert result.frame.schema == {"_id": pl.String(), "count": pl.Int32()}


SCALARS = (
    st.none() | st.booleans() | st.integers(-3, 300) | st.sampled_from([2**40, 1.5, 2.0, -0.25, 10**20])
    | st.sampled_from(["", "x", "5", "yes", "N", "2026-01-02", "2026-01-02T03:04:05Z", "7/08/2020", "1.50"])
)  # fmt: skip
VALUES = (
    SCALARS
    | st.lists(SCALARS, max_size=3)
    | st.fixed_dictionaries(
        {}, optional={"name": SCALARS, "x": SCALARS, "address": st.fixed_dictionaries({"city": SCALARS})}
    )
    | st.lists(st.fixed_dictionaries({}, optional={"sku": SCALARS, "price": SCALARS}), max_size=3)
)
RECORDS = st.fixed_dictionaries({}, optional={"a": VALUES, "b": VALUES, "$c": VALUES, "c": SCALARS})
SOURCES = st.sampled_from(
    [("properties.a",), ("properties.b",), ("properties.b[0]",), ("data.c",), ("event",), ("properties.a.address",),
     ("5", "STATIC"), ("coalesce(properties.a, properties.b)", "EXPRESSION"), ("properties.a == 5", "EXPRESSION")]
)  # fmt: skip
ITERATED = st.sampled_from([("properties.a[*].sku",), ("properties.b[*].price",), ("properties.a[*]",)])
PLACES = ["_id", "timestamp", "day", "count", "size", "price", "member", "person", "person.name", "person.address",
          "person.address.city", "tags", "tags[0]", "tags[2]", "products", "products[0].sku", "products[1].price"]  # fmt: skip
MAPPINGS = st.lists(
    st.tuples(SOURCES, st.sampled_from(PLACES))
    | st.tuples(ITERATED, st.sampled_from(["products[*].sku", "products[*].price", "tags[*]"])),
    min_size=1,
    max_size=6,
)


@settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck))
@given(MAPPINGS, st.lists(RECORDS, min_size=1, max_size=4))
def test_random_sets_agree_with_the_plain_evaluator(mappings: list[Any], records: list[dict[str, Any]]) -> None:
    chosen = a_set([(source[0], place, *source[1:]) for source, place in mappings])
    assume(validate(chosen, target_type(SCHEMA.root)).ok)
    result = compile_mapping(chosen, SCHEMA).apply(
        pl.DataFrame({"event": ["Seen"] * len(records), "properties": [json.dumps(record) for record in records]})
    )
    evaluator = Evaluator(chosen, target_type(SCHEMA.root))
    wanted = [
        evaluator.row({"event": "Seen", "properties": record, "data": flattened("Seen", record)}) for record in records
    ]
    ranged = result.errors.filter(pl.col("exception").str.contains("out of the range"))
    if ranged.is_empty():
        assert rows_of(result) == [tidy(one.data) for one in wanted]
        assert sorted(result.errors.get_column("exception").to_list()) == sorted(
            error.exception for one in wanted for error in one.errors
        )


def test_batches_of_ever_other_kinds_share_a_plan_and_agree(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mixpanel_aep_assets.dataprep.columnar.compiled_mapping._PLANS", 1)
    compiled = compile_mapping(a_set([("coalesce(properties.a, properties.b)", "_id", "EXPRESSION")]), SCHEMA)
    for record, expected in [
        ({"a": 1}, "1"),
        ({"b": "x"}, "x"),
        ({"a": 2.5}, "2.5"),
        ({"a": True, "b": 1}, "true"),
        ({}, None),
    ]:
        result = compiled.apply(pl.DataFrame({"event": ["e"], "properties": [json.dumps(record)]}))
        assert result.frame.get_column("_id").to_list() == [expected]
