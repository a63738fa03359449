"""Field names for property names: the Platform's rules, no collisions, no dependence on order."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mixpanel_aep_assets.growth import field_names

TEXTS = st.text(min_size=1, max_size=80)
CLOSE = st.text(alphabet="aAbB_ -$1é.", min_size=1, max_size=4)
"""Short names of few letters, so that many of them collide."""


@pytest.mark.parametrize(
    ("name", "field"),
    [
        ("Plan Type", "planType"),
        ("$ae_total_app_sessions", "aeTotalAppSessions"),
        ("mp_keyword_extra", "keywordExtra"),
        ("3d view", "p3dView"),
        ("URL", "url"),
        ("HTTPStatus", "httpStatus"),
        ("ID", "id"),
        ("iPhone", "iPhone"),
        ("Größe", "gro_"),
        ("café", "cafe"),
        ("价格", "property_"),
        ("🎉", "property_"),
        ("x" * 80, "x" * 57 + "_"),
    ],
)
def test_a_name_becomes_camel_case_and_gets_a_suffix_only_where_letters_were_lost(name: str, field: str) -> None:
    made = field_names.field_names([name])[name]
    assert made == field or (field.endswith("_") and made.startswith(field.split("_", maxsplit=1)[0]) and "_" in made)


def test_of_names_that_differ_in_case_the_one_spelled_like_the_field_stays_plain() -> None:
    made = field_names.field_names(["Currency", "currency", "CURRENCY"])
    assert made["currency"] == "currency"
    assert made["Currency"].startswith("currency_")
    assert len({name.lower() for name in made.values()}) == 3


def test_a_name_that_is_taken_is_not_given_again() -> None:
    made = field_names.field_names(["Total"], taken=["TOTAL"])["Total"]
    assert made.startswith("total_")
    assert field_names.beside("total", ["totaltext"]).startswith("totalText_")
    assert field_names.beside("total", []) == "totalText"


@settings(deadline=None, max_examples=40)
@given(st.sets(st.one_of(TEXTS, CLOSE), max_size=30), st.sets(CLOSE, max_size=5))
def test_names_are_valid_and_no_two_are_one(properties: set[str], taken: set[str]) -> None:
    made = field_names.field_names(properties, taken)
    assert made.keys() == properties
    assert all(field_names.VALID.fullmatch(name) and len(name) <= field_names.LONGEST for name in made.values())
    lower = [name.lower() for name in (*made.values(), *{one.lower() for one in taken})]
    assert len(lower) == len(set(lower))


@settings(deadline=None, max_examples=40)
@given(st.lists(st.one_of(TEXTS, CLOSE), max_size=30, unique=True), st.randoms(use_true_random=False))
def test_names_do_not_depend_on_order(properties: list[str], random: object) -> None:
    shuffled = list(properties)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    assert field_names.field_names(shuffled) == field_names.field_names(properties)


@settings(deadline=None, max_examples=40)
@given(st.sets(CLOSE, min_size=1, max_size=20))
def test_the_text_column_beside_a_field_is_never_one_of_the_others(properties: set[str]) -> None:
    made = field_names.field_names(properties)
    for name in made.values():
        beside = field_names.beside(name, made.values())
        assert field_names.VALID.fullmatch(beside)
        assert beside.lower() not in {one.lower() for one in made.values()}
