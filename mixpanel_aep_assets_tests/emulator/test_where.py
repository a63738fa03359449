"""The expression language of `where` (mixpanel.md#expressions)."""

from __future__ import annotations

import pytest

from mixpanel_aep_assets.emulator.mixpanel.where import WhereError, compile_where

EVENT = {
    "event": "Purchase",
    "properties": {"time": 1768024800123, "s": "hello", "n": 5, "b": True, "l": ["a", 2], "nil": None, 'q"x': 1},
}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('properties["n"] == 5', True),
        ('properties["n"] == "5"', False),
        ('properties["n"] != "5"', True),
        ('properties["n"] + 2 * 3 > 10', True),
        ('properties["s"] > 3', False),
        ('not (properties["s"] > 3)', True),
        ('"ell" in properties["s"]', True),
        ('properties["n"] in [1, 5]', True),
        ('properties["s"] in ["x"]', False),
        ('defined(properties["none"])', False),
        ('defined(properties["nil"])', True),
        ('properties["none"] and true', False),
        ('not properties["none"]', True),
        ('properties["b"] or false', True),
        ('number("x") > 0', False),
        ("number(true) == 1", True),
        ('string(5) == "5"', True),
        ("7 / 0 == 7 / 0", True),
        ("-7 % 3 == -1", True),
        ("floor(2.7) + ceil(2.1) == 5", True),
        ('properties["s"] + "!" == "hello!"', True),
        ('properties["q\\"x"] == 1', True),
        ('event["$time"] >= datetime("2026-01-10T06:00:00")', True),
        ('properties["$time"] >= datetime(1768024801)', False),
        ('not properties["b"] and properties["n"] == 5', False),
    ],
)
def test_an_expression_means_what_the_reference_says(text: str, expected: bool) -> None:
    assert compile_where(text)(EVENT) is expected


@pytest.mark.parametrize("text", ["properties[x]", "==", 'properties["a"] ==', "foo(1)", '"open', "1 < 2 < 3"])
def test_what_is_outside_the_grammar_is_refused(text: str) -> None:
    with pytest.raises(WhereError):
        compile_where(text)


def test_a_number_is_no_truth_value() -> None:
    with pytest.raises(WhereError, match="not a boolean"):
        compile_where('properties["n"] and true')(EVENT)
