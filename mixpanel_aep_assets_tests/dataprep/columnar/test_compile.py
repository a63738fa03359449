"""The compiled form and the plain evaluator agree: same values, same errors, whatever the expression and the records."""

from __future__ import annotations

import datetime as dt
import json
from typing import Any

import polars as pl
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from mixpanel_aep_assets.dataprep.columnar.compiled_mapping import compile_mapping
from mixpanel_aep_assets.dataprep.columnar.memoization import Shared, by_combination
from mixpanel_aep_assets.dataprep.interpreter.evaluate import Evaluator
from mixpanel_aep_assets.dataprep.interpreter.functions import FUNCTIONS
from mixpanel_aep_assets.dataprep.interpreter.records import decode_object
from mixpanel_aep_assets.dataprep.language.mapping_set import MappingSet
from mixpanel_aep_assets_tests.outside import DATAPREP, NO_DATAPREP

CASES_FILE = DATAPREP / "cases.json"
CASES = json.loads(CASES_FILE.read_text()) if CASES_FILE.exists() else []
RUNNABLE = [case for case in CASES if not case.get("skip")]
TYPES: dict[str, dict[str, Any]] = {
    "boolean": {"type": "boolean"},
    "date-time": {"type": "string", "format": "date-time"},
    "string": {"type": "string"},
    "integer": {"type": "integer"},
    "number": {"type": "number"},
    "texts": {"type": "array", "items": {"type": "string"}},
    "integers": {"type": "array", "items": {"type": "integer"}},
}


def mapping_set(expressions: list[str], target: str | None = None) -> MappingSet:
    document: dict[str, Any] = {
        "mappings": [
            {"sourceType": "EXPRESSION", "source": expression, "destination": f"v{at}"}
            for at, expression in enumerate(expressions)
        ]
    }
    if target is not None:
        properties = {f"v{at}": TYPES[target] for at in range(len(expressions))}
        document["outputSchema"] = {"jsonSchema": {"type": "object", "properties": properties}}
    return MappingSet.from_json(document)


def normal(value: Any) -> Any:
    """Comparable with its type; instants as milliseconds, since columns have UTC and three digits."""
    if isinstance(value, dt.datetime):
        return "instant", value.timestamp() * 1000 // 1
    if isinstance(value, list):
        return [normal(item) for item in value]
    if isinstance(value, dict):
        return {key: normal(item) for key, item in value.items()}
    return type(value).__name__, value


def instant(value: Any) -> Any:
    return dt.datetime.fromisoformat(value) if isinstance(value, str) else value


def assert_agreement(expressions: list[str], texts: list[str], target: str | None = None) -> None:
    mappings = mapping_set(expressions, target)
    mapped = compile_mapping(mappings, layout="record").apply(
        pl.DataFrame({"record": texts}, schema={"record": pl.String})
    )
    expected = [Evaluator(mappings).row(decode_object(text)) for text in texts]
    errors = {
        (row, destination): text
        for row, destination, text in mapped.errors.select("row", "destination", "exception").rows()
    }
    assert errors == {
        (row, error.destination): error.exception for row, one in enumerate(expected) for error in one.errors
    }
    for at, expression in enumerate(expressions):
        name = f"v{at}"
        found = mapped.frame.get_column(name).to_list()
        if name in mapped.json_columns:
            found = [None if value is None else json.loads(value) for value in found]
        wanted = [one.data.get(name) for one in expected]
        if target == "date-time":
            wanted = [instant(value) for value in wanted]
        if target == "number":
            wanted = [None if value is None else float(value) for value in wanted]
        assert list(map(normal, found)) == list(map(normal, wanted)), expression


@pytest.mark.skipif(not CASES, reason=NO_DATAPREP)
@pytest.mark.parametrize("case", RUNNABLE, ids=lambda case: case["id"])
def test_a_documented_case_gives_what_the_plain_evaluator_gives(case: dict[str, Any]) -> None:
    if "uuid" in case["expression"] or "now()" in case["expression"]:
        pytest.skip("gives another value each time")
    texts = [json.dumps(case.get("input") or {}), "{}"]
    assert_agreement([case["expression"]], texts, case.get("target_type"))


TEXT_PIECES = st.sampled_from(
    ["", " ", "a", "A", "ab", "abc", "true", "false", "yes", "Y", "off", "5", "-5", "5.5", "0", "007", "1e3", "+3", ".5",
     "12345678901234567890", "2020-01-02", "2020-01-02T03:04:05Z", "2020-01-02 03:04:05.123", "2020-02-30",
     "2020-01-02T03:04:05+0200", "7/08/2020", "a,b,,c,,", ",", "x;y,z", "https://a.example.com/p?q=1#f", "http://x:80/",
     "mailto:x", "k:v,l:w", "ß", "İ", "Straße", "Δος", "ŉ", "😀a", "\u00a0x\u2003", "\t", "a\u0000b", "%41+", "a=1:2"]
)  # fmt: skip
TEXTS = TEXT_PIECES | st.text(max_size=6)
NUMBERS = st.sampled_from(
    [0, 1, -1, 2, 5, 7, 10, 2**31, 2**53, 2**53 + 1, 2**63 - 1, -(2**63), 2**63, 2**64, 10**25, 1700000000000,
     0.0, -0.0, 0.5, 1.0, -2.5, 1e15, 1e16, 1e-5, 0.1, 1e300, 123456.789, 10**400, -(10**400)]
)  # fmt: skip
SCALARS = st.none() | st.booleans() | NUMBERS | TEXTS | st.integers(-100, 100) | st.floats(-1e6, 1e6)
ARRAYS = (
    st.lists(TEXTS | st.none(), max_size=3)
    | st.lists(st.integers(-5, 5) | st.none(), max_size=3)
    | st.lists(st.floats(-5, 5), max_size=3)
    | st.lists(st.booleans(), max_size=3)
    | st.lists(SCALARS, max_size=3)
)
VALUES = SCALARS | ARRAYS | st.dictionaries(st.sampled_from(["x", "y"]), SCALARS, max_size=2)
NESTED = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["x", "y", "é", "a b"]), inner, max_size=3)
    ),
    max_leaves=8,
)
RECORDS = st.fixed_dictionaries(
    {}, optional={"a": VALUES, "b": SCALARS, "c": ARRAYS, "t": TEXTS, "n": NUMBERS, "o": NESTED, "a b": SCALARS}
)
BATCHES = st.lists(RECORDS, min_size=1, max_size=6).map(lambda records: list(map(json.dumps, records)))

FIELDS = st.sampled_from(
    ["a", "b", "c", "t", "n", "a.x", "a[0]", "c[1]", "c[*]", "missing", "o", "o.x", "o.x.y", "o.é", "o[0]", "o.x[1]", "${a b}",
     "${o.a b}"]
)  # fmt: skip
LITERALS = st.sampled_from(
    ["null", "true", "false", "0", "1", "2", "-1", "5", "2.5", '"a"', '"5"', '""', '","', '"UTF-8"', '"x"', '[1, 2]', '["a", null]',
     '"yyyy-MM-dd"', '"yyyy-MM-dd\'T\'HH:mm:ss"', '"[a-c]+"', '"\\\\d+"', '"month"', '"remove"', '"false"', "[]"]
)  # fmt: skip
OPERATORS = [
    "+",
    "-",
    "*",
    "/",
    "%",
    "==",
    "!=",
    "<",
    "<=",
    ">",
    ">=",
    "=^",
    "=$",
    "!^",
    "!$",
    "!~",
    "&&",
    "||",
    "|",
    "&",
    "^",
    "=~",
]
PLAIN = sorted(
    name
    for name, function in FUNCTIONS.items()
    if function.refusal is None and name not in {"uuid", "guid", "now", "timestamp", "filterArray", "transformArray"}
)


def _calls(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    def call(name: str) -> st.SearchStrategy[str]:
        function = FUNCTIONS[name]
        most = len(function.takes) + (2 if function.variadic else 0)
        return st.lists(inner, min_size=function.required, max_size=max(most, function.required)).map(
            lambda arguments: f"{name}({', '.join(arguments)})"
        )

    return st.sampled_from(PLAIN).flatmap(call)


def _deeper(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    return (
        st.tuples(inner, st.sampled_from(OPERATORS), inner).map(lambda one: f"({one[0]} {one[1]} {one[2]})")
        | st.tuples(st.sampled_from(["-", "~", "!"]), inner).map(lambda one: f"{one[0]}({one[1]})")
        | st.tuples(inner, inner, inner).map(lambda one: f"iif({one[0]}, {one[1]}, {one[2]})")
        | st.tuples(inner, inner).map(lambda one: f"(({one[0]}) ?: ({one[1]}))")
        | st.tuples(inner, inner, inner, inner).map(lambda one: f"decode({', '.join(one)})")
        | st.tuples(inner, inner).map(lambda one: f"({one[0]}).equals({one[1]})")
        | st.tuples(inner, inner).map(lambda one: f"({one[0]}).equalsIgnoreCase({one[1]})")
        | st.tuples(inner).map(lambda one: f"transformArray({one[0]}, x -> x + 1)")
        | st.tuples(inner).map(lambda one: f"filterArray({one[0]}, x -> x > 0)")
        | st.tuples(inner, inner).map(lambda one: f"transformArray({one[0]}, x -> concat(x, {one[1]}))")
        | st.tuples(inner, inner).map(lambda one: f"({one[0]})[{one[1]}]")
        | st.tuples(inner).map(lambda one: f"({one[0]}).x")
        | st.tuples(inner, inner).map(lambda one: f"({one[0]}).get({one[1]})")
        | st.tuples(inner, inner).map(lambda one: f'{{"k": {one[0]}, "l": {one[1]}}}')
        | st.tuples(inner, inner).map(lambda one: f"[{one[0]}, {one[1]}]")
        | st.tuples(inner, inner, inner).map(lambda one: f"(({one[0]}) ? ({one[1]}) : ({one[2]}))")
        | st.tuples(inner, st.sampled_from(["contains", "startsWith", "endsWith"]), inner).map(
            lambda one: f"({one[0]}).{one[1]}({one[2]})"
        )
        | st.tuples(inner, st.sampled_from(["length", "toUpperCase", "toLowerCase"])).map(
            lambda one: f"({one[0]}).{one[1]}()"
        )
        | st.tuples(st.sampled_from(["filterArray", "transformArray"]), st.sampled_from("acot"), BODIES).map(
            lambda one: f"{one[0]}({one[1]}, x -> {one[2]})"
        )
        | st.tuples(inner, PATTERNS).map(lambda one: f"matches_regex({one[0]}, '{one[1]}')")
        | st.tuples(inner, st.sampled_from([",", ";,", " ", "a", "\\\\|", ".", "$"])).map(
            lambda one: f"split({one[0]}, '{one[1]}')"
        )
        | st.tuples(inner, st.sampled_from([",", " ", "a", "\\\\|", "\\\\.", "[,;]", "--", "$"])).map(
            lambda one: f"explode({one[0]}, '{one[1]}')"
        )
        | st.tuples(st.sampled_from(["date", "format", "dformat"]), inner, FORMATS).map(
            lambda one: f'{one[0]}({one[1]}, "{one[2]}")'
        )
        | st.tuples(PARTS, inner).map(lambda one: f"date_part('{one[0]}', {one[1]})")
        | _calls(inner)
    )


BODIES = st.sampled_from(
    ["x.x == 1", "x.x != null", "x == null", "x.equals('a')", "upper(x)", "iif(x, 1, 'b')", "[x]", "x ?: 0", "x =~ ['a', 1]",
     "size_of(x)", "-x", "!x", "x.y", "to_integer(x)", "coalesce(x, 'n')", "x + x", "x > 'a'", "{'v': x}", "x / 2"]
)  # fmt: skip
PATTERNS = st.sampled_from(["[a-c]+", "\\\\d+", ".*", "(?i)abc", "a|b", "\\\\s*", "[^a]+", "x{2,3}", "^a$", "a.b"])
FORMATS = st.sampled_from(
    ["yyyy", "MM", "dd HH:mm", "D", "SSS", "yyyy-MM-dd'T'HH:mm:ssX", "hh a", "yyyy-MM-dd", "yyyyMMdd", "MM/dd/yyyy"]
)
PARTS = st.sampled_from(["yyyy", "q", "m", "dy", "dd", "w", "dw", "hh", "hh12", "mi", "ss", "SSS"])

EXPRESSIONS = st.recursive(FIELDS | LITERALS, _deeper, max_leaves=6)


def _is_accepted(expression: str) -> bool:
    from mixpanel_aep_assets.dataprep.interpreter.validation import validate

    return validate(mapping_set([expression])).ok


@settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck))
@given(EXPRESSIONS.filter(_is_accepted), BATCHES)
def test_a_random_expression_agrees_on_random_records(expression: str, texts: list[str]) -> None:
    assert_agreement([expression], texts)


@settings(max_examples=100, deadline=None, suppress_health_check=list(HealthCheck))
@given(EXPRESSIONS.filter(_is_accepted), BATCHES)
def test_an_expression_that_is_computed_in_parts_agrees(
    monkeypatch: pytest.MonkeyPatch, expression: str, texts: list[str]
) -> None:
    monkeypatch.setattr("mixpanel_aep_assets.dataprep.columnar.compile._LARGE", 0)
    assert_agreement([expression], texts)


@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(EXPRESSIONS.filter(_is_accepted), BATCHES)
def test_an_expression_that_is_computed_for_each_combination_agrees(
    monkeypatch: pytest.MonkeyPatch, expression: str, texts: list[str]
) -> None:
    monkeypatch.setattr("mixpanel_aep_assets.dataprep.columnar.compiled_mapping._LARGE", 0)
    assert_agreement([expression, "upper(a)", "a"], texts * 3)


def test_numbers_that_are_equal_but_not_the_same_are_no_combination() -> None:
    numbers = pl.DataFrame(
        {"row": range(8), "a": [-0.0, 0.0, float("nan"), None, 0.0, -0.0, None, 0.0]},
        schema_overrides={"row": pl.UInt32},
    )
    found = by_combination(numbers, Shared(("a",), (pl.col("a").alias("b"),)))
    assert found is not None
    assert list(map(repr, found["b"])) == list(map(repr, numbers["a"]))


def test_combinations_are_computed_once_and_many_of_them_row_by_row(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mixpanel_aep_assets.dataprep.columnar.compiled_mapping._LARGE", 0)
    heights: list[int | None] = []

    def noted(batch: pl.DataFrame, one: Shared) -> pl.DataFrame | None:
        found = by_combination(batch, one)
        heights.append(None if found is None else found.height)
        return found

    monkeypatch.setattr("mixpanel_aep_assets.dataprep.columnar.compiled_mapping.by_combination", noted)
    assert_agreement(["upper(a)"], ['{"a": "x"}', '{"a": "y"}'] * 4)
    assert_agreement(["upper(a)"], [f'{{"a": "{row}"}}' for row in range(8)])
    assert heights == [8, None]


@pytest.mark.parametrize(
    "expression",
    [
        f"min({','.join('ab' * 20)})",
        "+".join("ab" * 50),
        "(" * 60 + "a" + "==b)" * 60,
        "max(a," * 20 + "b" + ")" * 20,
        "iif(a == b, " * 50 + "a" + ", b)" * 50,
        f"coalesce({','.join('ab' * 900)})",
        f"[{','.join(['a + 1'] * 600)}][599]",
        f"decode(a, {','.join(f'{n}, b' for n in range(400))})",
        "-" * 190 + "a",
    ],
    ids=lambda one: one[:12],
)
def test_a_long_expression_stays_bounded_and_agrees(expression: str) -> None:
    assert_agreement([expression], ['{"a": 5, "b": 2}', '{"a": 2.5, "b": "5"}', '{"a": 399}', "{}"])


@settings(max_examples=200, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.sampled_from([*PLAIN]).flatmap(lambda name: _calls_of(name)).filter(_is_accepted), BATCHES)
def test_a_call_of_every_function_agrees_on_random_records(expression: str, texts: list[str]) -> None:
    assert_agreement([expression], texts)


def _calls_of(name: str) -> st.SearchStrategy[str]:
    function = FUNCTIONS[name]
    most = len(function.takes) + (2 if function.variadic else 0)
    return st.lists(FIELDS | LITERALS, min_size=function.required, max_size=max(most, function.required)).map(
        lambda arguments: f"{name}({', '.join(arguments)})"
    )


@settings(max_examples=200, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.sampled_from(sorted(TYPES)), FIELDS, BATCHES)
def test_a_field_is_converted_to_each_target_type_as_the_evaluator_does(
    target: str, field: str, texts: list[str]
) -> None:
    records = [text for text in texts if target not in {"integer", "integers"} or "12345678901234567890" not in text]
    big = ("9223372036854775808", "18446744073709551616", "10000000000000000000000000", "e+16", "1e+300")
    records = [text for text in records if not target.startswith("integer") or not any(one in text for one in big)]
    # What no column of the target holds is refused by the compiled form alone.
    records = [text for text in records if target not in {"integer", "integers", "number"} or "0" * 300 not in text]
    assert_agreement([field], records, target)


def test_a_text_of_very_many_parts_agrees() -> None:
    records = [json.dumps({"t": text}) for text in ("a," * 100_000, "a," * 99_999, "a" * 200_000, "a,b")]
    assert_agreement(["explode(t)", "split(t, ',')", "split(t, ',;')"], records)


@settings(max_examples=300, deadline=None)
@given(st.lists(TEXTS, min_size=1, max_size=8))
@example([chr(code) for code in range(0x3000)])
@example([chr(code) for code in range(0x1F000, 0x1FB00)])
@example(["ΑΣ", "Σ", "ΣΑ", "ΑΣ.", "İ", "I\u0307"])
def test_texts_change_case_and_lose_white_space_alike(texts: list[str]) -> None:
    records = [json.dumps({"t": text}) for text in texts]
    assert_agreement(["upper(t)", "lower(t)", "trim(t)", "ltrim(t)", "rtrim(t)", "t.equalsIgnoreCase('ss')"], records)


@settings(max_examples=300, deadline=None)
@given(st.lists(st.floats(allow_nan=False, allow_infinity=False) | st.integers(), min_size=1, max_size=8))
def test_numbers_are_written_alike(numbers: list[float]) -> None:
    records = [json.dumps({"n": number}) for number in numbers]
    assert_agreement(["concat(n)", "n", "n + 0.5", "n * 3", "n % 7", "-n", "to_integer(n)"], records)
    assert_agreement(["n"], records, "string")


EVERY_KIND: list[Any] = [
    None, True, False, 0, 1, -1, 5, 7, 2**31, 2**53, 2**53 + 1, 2**62, 2**63 - 1, -(2**63), 2**63, 10**25, 0.0, -0.0, 0.5, 1.0,
    -2.5, 5.0, 1e15, 1e16, 1e-5, 1e300, "", " x ", "a", "ab", "5", "-5", "5.5", "1e3", "true", "false", "yes", "Straße",
    "2020-01-02", "2020-01-02T03:04:05Z", "2020-01-02T03:04:05+0200", "a,b,,c,,", "https://a.example.com/p?q=1#f",
    [], ["a", None], [1, 2], [1, "a"], {}, {"x": 1},
]  # fmt: skip


@pytest.mark.parametrize("first", range(0, len(OPERATORS), 4))
def test_every_operator_agrees_on_every_pair_of_kinds(first: int) -> None:
    records = [json.dumps({"a": left, "b": right}) for left in EVERY_KIND for right in EVERY_KIND]
    assert_agreement([f"a {operator} b" for operator in OPERATORS[first : first + 4]], records)


def test_every_unary_form_and_method_agrees_on_every_kind() -> None:
    records = [json.dumps({"a": value}) for value in EVERY_KIND]
    forms = ["-a", "~a", "!a", "a ?: 'none'", "a ? 1 : 'x'", "a[0]", "a.length()", "a.toUpperCase()", "a.toLowerCase()"]
    methods = [f"a.{name}('a')" for name in ("equals", "equalsIgnoreCase", "contains", "startsWith", "endsWith")]
    assert_agreement([*forms, *methods, "transformArray(a, x -> x + 1)", "filterArray(a, x -> x != 'a')"], records)


@pytest.mark.parametrize("name", [name for name in PLAIN if FUNCTIONS[name].alias_of is None])
def test_every_function_agrees_on_every_kind(name: str) -> None:
    function = FUNCTIONS[name]
    records = [json.dumps({"a": value}) for value in EVERY_KIND]
    rest = ["'a'", "2", "'yyyy-MM-dd'", "'month'", "null", "a"]
    calls = [
        "a",
        *(f"a, {one}" for one in rest),
        *(f"{one}, a" for one in rest),
        "a, 1, 2",
        "a, 'a', 'bc'",
        "a, 3, 'x'",
        "'month', 2, a",
        "",
    ]
    accepted = [call for call in (f"{name}({arguments})" for arguments in calls) if _is_accepted(call)]
    assert accepted or function.required > 3, "no form of a call fits"
    assert_agreement(accepted, records)
