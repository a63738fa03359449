"""What the parser makes of a text, and how it refuses one."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mixpanel_aep_assets.dataprep.language import bounds
from mixpanel_aep_assets.dataprep.language.ast import (
    Array,
    Binary,
    Call,
    Conditional,
    Expression,
    Index,
    Lambda,
    Map,
    Member,
    Method,
    Path,
    Step,
    Unary,
    Value,
)
from mixpanel_aep_assets.dataprep.language.mapping_errors import ExpressionError
from mixpanel_aep_assets.dataprep.language.parser import RESERVED, parse
from mixpanel_aep_assets.dataprep.language.paths import escape, format_steps, parse_destination, parse_source


def path(*steps: str | int) -> Path:
    return Path(tuple(Step(name=step) if isinstance(step, str) else Step(index=step) for step in steps))


@pytest.mark.parametrize(
    ("text", "tree"),
    [
        ("properties.$browser", path("properties", "$browser")),
        ("address.street\\.name", path("address", "street.name")),
        ("${First Name}", path("First Name")),
        ("${First\\.Name}", path("First.Name")),
        ("${a.b-c}.d[1]", path("a", "b-c", "d", 1)),
        ("a.size", path("a", "size")),
        ("date", path("date")),
        ("order_id", path("order_id")),
        ("truely", path("truely")),
        ("a[*].b", Path((Step(name="a"), Step(every=True), Step(name="b")))),
        ("f(a)[0]", Index(Call("f", (path("a"),)), Value(0))),
        ("f(a).b", Member(Call("f", (path("a"),)), "b")),
        ("${date}.equals('x')", Method(path("date"), "equals", (Value("x"),))),
        ("a ?: 'none'", Conditional(path("a"), None, Value("none"))),
        ("a ? 1 : 2", Conditional(path("a"), Value(1), Value(2))),
        ("f(x -> x + 1)", Call("f", (Lambda("x", Binary("+", path("x"), Value(1))),))),
        ("{:}", Map(())),
        ("{'k': [1, null]}", Map(((Value("k"), Array((Value(1), Value(None)))),))),
        ("not a", Unary("!", path("a"))),
        ("1 + 2 * 3", Binary("+", Value(1), Binary("*", Value(2), Value(3)))),
        (
            "a or b and c eq 1",
            Binary("||", path("a"), Binary("&&", path("b"), Binary("==", path("c"), Value(1)))),
        ),
    ],
)
def test_a_text_becomes_this_tree(text: str, tree: Expression) -> None:
    assert parse(text) == tree


@pytest.mark.parametrize(
    ("text", "value"),
    [
        (r"'\\|'", r"\|"),
        (r"'\|'", r"\|"),
        (r'"\t"', r"\t"),
        (r'"say \"hi\""', 'say "hi"'),
        (r"'\u00e9'", "é"),
        (r"'\ud83d\ude00'", "😀"),
        ("0x1F", 31),
        ("12L", 12),
        ("1.5f", 1.5),
        ("1e3", 1000.0),
        ("3d", 3.0),
    ],
)
def test_a_literal_has_this_value(text: str, value: object) -> None:
    tree = parse(text)
    assert isinstance(tree, Value)
    assert tree.value == value
    assert type(tree.value) is type(value)


@pytest.mark.parametrize(
    ("text", "line", "column", "words"),
    [
        ("", 1, 1, "empty"),
        ("lower(", 1, 7, "ends too early"),
        ("concat('a',\n  'b'", 2, 6, "expected ')'"),
        ("a = b", 1, 3, "=="),
        ("new", 1, 1, "${new}"),
        ("1 + size", 1, 5, "${size}"),
        ("a b", 1, 3, "unexpected 'b'"),
        ("'abc", 1, 1, "not closed"),
        ("${a", 1, 2, "}"),
        ("x + ${a.}", 1, 9, "name is expected"),
        ("f(a)[*]", 1, 6, "follows a field"),
        ("9" * 41, 1, 1, "at most 40"),
        ("1e999", 1, 1, "too large"),
        ("1.5L", 1, 1, "integer"),
        (r"'\ud800'", 1, 1, "surrogate"),
        ("a" * 4097, 1, 1, "4096"),
    ],
)
def test_a_wrong_text_is_refused_with_place_and_hint(text: str, line: int, column: int, words: str) -> None:
    with pytest.raises(ExpressionError) as refusal:
        parse(text)
    assert (refusal.value.line, refusal.value.column) == (line, column)
    assert words in str(refusal.value)


@pytest.mark.parametrize(
    "text", ["[" * 300 + "]" * 300, "-" * 300 + "1", "+".join(["a"] * 300), "a ? b : " * 300 + "c"]
)
def test_deep_nesting_is_refused(text: str) -> None:
    with pytest.raises(ExpressionError, match="nested deeper"):
        parse(text)


names = st.from_regex(r"[a-zA-Z_$][a-zA-Z0-9_$]{0,5}", fullmatch=True).filter(
    lambda name: name not in RESERVED and name not in {"f", "l"}
)
literals = st.builds(
    Value,
    st.none()
    | st.booleans()
    | st.integers(0, 10**30)
    | st.floats(0, 1e300, allow_nan=False)
    | st.text(st.characters(blacklist_categories=["Cs"]), max_size=8),
)
any_names = st.text(st.characters(blacklist_categories=["Cs", "Cc"], blacklist_characters="}"), min_size=1, max_size=6)
steps = st.builds(Step, name=any_names) | st.builds(Step, index=st.integers(0, 99)) | st.just(Step(every=True))
paths = st.builds(lambda first, rest: Path((Step(name=first), *rest)), any_names, st.lists(steps, max_size=3)).filter(
    lambda one: bool(format_steps(one.steps).strip())
)


def _nodes(inner: st.SearchStrategy[Expression]) -> st.SearchStrategy[Expression]:
    few = st.lists(inner, max_size=3).map(tuple)
    operators = ["+", "-", "*", "/", "%", "==", "!=", "<", "<=", ">", ">=", "&&", "||", "|", "&", "^"]
    return st.one_of(
        st.builds(Call, names, few),
        st.builds(Method, inner, names, few),
        st.builds(Unary, st.sampled_from(["-", "~", "!"]), inner),
        st.builds(Binary, st.sampled_from([*operators, "=~", "!~", "=^", "!^", "=$", "!$"]), inner, inner),
        st.builds(Conditional, inner, st.none() | inner, inner),
        st.builds(Array, few),
        st.builds(Map, st.lists(st.tuples(inner, inner), max_size=2).map(tuple)),
        st.builds(lambda name, parameter, body: Call(name, (Lambda(parameter, body),)), names, names, inner),
    )


trees = st.recursive(literals | paths, _nodes, max_leaves=12)


def render(node: Expression) -> str:
    """The text of a tree, with brackets wherever they could matter."""
    match node:
        case Value(value=None):
            return "null"
        case Value(value=bool(value)):
            return str(value).lower()
        case Value(value=str(value)):
            escaped = value.replace("\\", "\\\\").replace("'", "\\'")
            return "'" + escaped.replace("\n", "\\u000a") + "'"
        case Value(value=value):
            return repr(value)
        case Path(steps=steps):
            return "${" + format_steps(steps) + "}"
        case Call(name=name, arguments=arguments):
            return f"{name}({', '.join(map(render, arguments))})"
        case Method(target=target, name=name, arguments=arguments):
            return f"({render(target)}).{name}({', '.join(map(render, arguments))})"
        case Unary(operator=operator, operand=operand):
            return f"{operator}({render(operand)})"
        case Binary(operator=operator, left=left, right=right):
            return f"({render(left)}) {operator} ({render(right)})"
        case Conditional(test=test, then=None, otherwise=otherwise):
            return f"({render(test)}) ?: ({render(otherwise)})"
        case Conditional(test=test, then=then, otherwise=otherwise):
            return f"({render(test)}) ? ({render(then)}) : ({render(otherwise)})"
        case Array(items=items):
            return f"[{', '.join(map(render, items))}]"
        case Map(entries=entries):
            return "{" + ", ".join(f"({render(key)}): ({render(item)})" for key, item in entries) + "}"
        case Lambda(parameter=parameter, body=body):
            return f"{parameter} -> {render(body)}"
    raise AssertionError(node)


@given(trees)
def test_the_text_of_a_tree_parses_back_to_it(tree: Expression) -> None:
    text = render(tree)
    if len(text) <= bounds.EXPRESSION_CHARACTERS:
        assert parse(text) == tree


@given(st.text(max_size=60) | st.text("abf()[]{}.,:?'\"\\$!<>=&|+-*/ ~^#x0123", max_size=60))
def test_any_text_is_parsed_or_refused_as_an_expression(text: str) -> None:
    with contextlib.suppress(ExpressionError):
        parse(text)


@given(st.lists(st.text(min_size=1, max_size=6), min_size=1, max_size=4).filter(lambda one: bool("".join(one).strip())))
def test_a_path_of_any_names_survives_formatting(parts: list[str]) -> None:
    expected = tuple(Step(name=part) for part in parts)
    assert parse_destination(format_steps(expected)) == expected
    assert parse_source("${" + ".".join(map(escape, parts)) + "}") == expected


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "empty"),
        ("a..b", "expected a name"),
        ("a.", "ends where a name"),
        ("[0].a", "begins with a name"),
        ("a[x]", "expected [n] or [*]"),
        ("a]b", "expected '.' or '['"),
        ("a\\", "escapes nothing"),
        ("a[5000]", "highest index"),
    ],
)
def test_a_wrong_destination_is_refused(text: str, words: str) -> None:
    with pytest.raises(ExpressionError) as refusal:
        parse_destination(text)
    assert words in str(refusal.value)


def test_an_attribute_path_takes_spaces_and_hyphens_as_they_are() -> None:
    assert parse_source("First Name.e-mail") == (Step(name="First Name"), Step(name="e-mail"))
