"""What is refused before a mapping set runs, and with which words."""

from __future__ import annotations

import pytest

from mixpanel_aep_assets.dataprep.interpreter.targets import TargetType
from mixpanel_aep_assets.dataprep.interpreter.validation import check_expression, validate
from mixpanel_aep_assets.dataprep.language.mapping_set import MappingSet
from mixpanel_aep_assets.dataprep.language.parser import parse


@pytest.mark.parametrize(
    ("text", "column", "words"),
    [
        ("uper(a)", 1, "did you mean upper?"),
        ("xyzzy(a)", 1, "`mixpanel-aep mapping functions` lists what there is"),
        ("decode(a)", 1, "takes 2 or more arguments, 1 given"),
        ("1 + Concat(a)", 5, "did you mean concat?"),
        ("toArray(true, a)", 1, "did you mean to_array?"),
        ("equals(a, b)", 1, "write value.equals(...)"),
        ("substr(a, 1)", 1, "takes 3 arguments, 2 given"),
        ("lower(a, b)", 1, "takes 1 argument, 2 given"),
        ("iif(a, b)", 1, "takes 3 arguments, 2 given"),
        ("now(1)", 1, "takes 0 arguments, 1 given"),
        ("explode(a, b, c)", 1, "takes 1 to 2 arguments, 3 given"),
        ("to_map('a', 1, 'b')", 1, "last key has no value"),
        ("lower([1])", 7, "argument 1 of lower is a string, this is an array"),
        ("join(['a'], b)", 6, "argument 1 of join is a string"),
        ("left(a, 'x')", 9, "does not read as one"),
        ("left(a, 1.5)", 9, "an integer, found 1.5"),
        ("size_of(x -> x)", 9, "a lambda is allowed only"),
        ("filterArray(a, b)", 16, "is a lambda"),
        ("x -> x", 1, "a lambda is allowed only"),
        ("fpid_to_ecid(a)", 1, "does not publish its algorithm"),
        ("aa_get_product_events(a, 'b')", 1, "commented out"),
        ("matches_regex(a, '(?=x)')", 18, "look-around is not supported"),
        ("extract_regex(a, '(a)\\\\1')", 18, "back-references"),
        ("explode(a, '(')", 12, "is wrong"),
        ("date(a, 'yyyy-QQ')", 9, "cannot be read"),
        ("format(a, 'yyyy-bb')", 11, "not a pattern letter"),
        ('format(a, "yyyy\'T")', 11, "not closed"),
        ("date_part('yer', a)", 11, "not a part of a date"),
        ("set_date_part('week', 1, a)", 15, "not a part of a date"),
        ("zone_date_to_zone(a, 'Europe/Pari')", 22, "time zone"),
        ("get_url_query_str(a, 'keep')", 22, "retain or remove or append"),
        ("hash('sha3', a)", 6, "hash algorithm"),
        ("sha1(a, 'EBCDIC')", 9, "character set"),
        ("contains_key('a..b')", 14, "path"),
        ("date_part('yyyy', 5)", 19, "a date, this is an integer"),
        ("a - 'x'", 5, "takes numbers"),
        ("a * [1]", 5, "cannot be calculated with"),
        ("null + 1", 1, "cannot be calculated with"),
        ("a.substring(1)", 3, "there is no method substring"),
        ("a.getClass()", 3, "there is no method getClass"),
        ("a.equals()", 3, "takes 1 argument, 0 given"),
        ("[1].length()", 5, "a method of texts"),
    ],
)
def test_an_expression_that_cannot_run_is_refused_with_place_and_reason(text: str, column: int, words: str) -> None:
    problems = check_expression(parse(text))
    assert [problem.column for problem in problems] == [column]
    assert words in str(problems[0])
    assert problems[0].suggestion


@pytest.mark.parametrize(
    ("pattern", "reason"),
    [
        ("(?=a)b", "look-around"),
        ("(a)\\\\1", "back-references"),
        ("a*+", "possessive"),
        ("[a-z&&[^b]]", "a class within it"),
        ("[a[b]]", "a class within it"),
        ("\\\\p{javaUpperCase}+", "of Java's classes"),
        ("a{2,5000}", "goes to 1000"),
        ("[", "missing"),
    ],
)
def test_a_pattern_that_would_mean_something_else_here_is_refused(pattern: str, reason: str) -> None:
    (problem,) = check_expression(parse(f"matches_regex(a, '{pattern}')"))
    assert reason in problem.message


def test_all_problems_of_an_expression_are_named_in_order() -> None:
    problems = check_expression(parse("concat(uper(a),\n lowr(b))"))
    assert [(problem.line, problem.column) for problem in problems] == [(1, 8), (2, 2)]


@pytest.mark.parametrize(
    "text",
    [
        "iif(a > 1, nullify(), b.equals('x') ? c : null)",
        "filterArray(a, x -> transformArray(x.items, y -> y + x.base) == 1)",
        "object_to_map(addresses, type)",
        "left(a, '2')",
        "date_part('YYYY', '2020-01-01')",
        "decode(a, 'x', 1)",
        "upsert_array_replace([1], 1)",
    ],
)
def test_an_expression_that_can_run_has_no_problems(text: str) -> None:
    assert check_expression(parse(text)) == []


def mapping_set(source: str, destination: str, source_type: str = "ATTRIBUTE", **more: object) -> MappingSet:
    mapping = {"sourceType": source_type, "source": source, "destination": destination}
    return MappingSet.from_json({"mappings": [mapping], **more})


@pytest.mark.parametrize(
    ("source", "destination", "source_type", "part", "words"),
    [
        ("a..b", "c", "ATTRIBUTE", "source", "expected a name"),
        ("", "c", "ATTRIBUTE", "source", "empty"),
        ("a", "c[", "ATTRIBUTE", "destination", "expected [n] or [*]"),
        ("a", "", "ATTRIBUTE", "destination", "empty"),
        ("x", "c[*].d", "STATIC", "destination", "no elements to iterate"),
        ("a +", "c", "EXPRESSION", "source", "ends too early"),
        ("a" * 4097, "c", "ATTRIBUTE", "source", "at most 4096"),
        ("a", "c[1001]", "ATTRIBUTE", "destination", "above the highest index"),
        ("a", ".".join("c" * 31), "ATTRIBUTE", "destination", "more than 30 steps"),
        ("a", "[0].c", "ATTRIBUTE", "destination", "begins with a name"),
        ("a\\", "c", "ATTRIBUTE", "source", "escapes nothing"),
    ],
)
def test_wrong_paths_and_expressions_of_a_set_are_refused(
    source: str, destination: str, source_type: str, part: str, words: str
) -> None:
    problems = list(validate(mapping_set(source, destination, source_type)))
    assert [problem.part for problem in problems] == [part]
    assert words in str(problems[0])
    assert problems[0].error.suggestion


PERSON = TargetType(
    "object", {"name": TargetType("object", {"first": TargetType("string")}), "age": TargetType("integer")}
)


def test_a_destination_that_the_target_lacks_is_refused_with_the_nearest_field() -> None:
    (problem,) = validate(mapping_set("a", "name.frist"), PERSON)
    assert "the target schema has no field name.frist" in str(problem)
    assert problem.error.suggestion == "did you mean first?"


def test_a_constant_that_does_not_fit_its_field_is_refused() -> None:
    (problem,) = validate(mapping_set("old", "age", "STATIC"), PERSON)
    assert "does not fit the integer field" in str(problem)
    assert problem.error.suggestion == "write digits alone"


@pytest.mark.parametrize(
    ("destination", "hint"),
    [
        ("xyz", "the fields here are age, name"),
        ("age.x", "this place is integer"),
        ("name[0]", "this place is object"),
    ],
)
def test_a_destination_like_none_of_the_target_is_told_what_there_is(destination: str, hint: str) -> None:
    (problem,) = validate(mapping_set("a", destination), PERSON)
    assert problem.error.suggestion == hint


def test_a_target_may_be_any_function_of_the_path() -> None:
    types = {"": PERSON, "age": TargetType("integer")}.get
    assert validate(mapping_set("a", "age"), types).ok
    assert not validate(mapping_set("a", "aged"), types).ok


def test_the_outcome_has_the_shape_of_the_platforms_answer() -> None:
    two = MappingSet.from_json(
        [{"source": "a", "destination": "b"}, {"source": "uper(a)", "destination": "c", "sourceType": "EXPRESSION"}]
    )
    good, bad = validate(two).to_json()
    assert good == {"status": "SUCCESS", "errors": None}
    assert bad["status"] == "FAILED"
    (error,) = bad["errors"]
    assert {key: error[key] for key in ("source", "destination", "sourceType", "line", "column")} == {
        "source": "uper(a)",
        "destination": "c",
        "sourceType": "EXPRESSION",
        "line": 1,
        "column": 1,
    }
    assert error["suggestion"] == "did you mean upper?"
