"""Identities that Identity Service refuses are left out of a map, their event goes on (xdm.md#identities)."""

from __future__ import annotations

from typing import Any

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mixpanel_aep_assets.xdm.conformance import Conformance
from mixpanel_aep_assets.xdm.identities import without_refused
from mixpanel_aep_assets.xdm.schema import Field, Schema

ITEM = Field(
    "",
    "object",
    children=(Field("id", "string"), Field("authenticatedState", "string"), Field("primary", "boolean")),
)
SCHEMA = Schema(Field("", "object", children=(Field("identityMap", "map", values=Field("", "array", items=ITEM)),)))
TYPE = SCHEMA.polars_schema()["identityMap"]

Map = dict[str, list[dict[str, Any]]]


def item(value: str | None, *, primary: bool | None = None) -> dict[str, Any]:
    return {"id": value, "authenticatedState": None, "primary": primary}


def mended(*maps: Map | None) -> list[Map | None]:
    frame = pl.DataFrame({"identityMap": pl.Series(maps, dtype=TYPE), "row": range(len(maps))})
    after = without_refused(frame)
    assert after.schema == frame.schema
    assert after["row"].equals(frame["row"])
    return after["identityMap"].to_list()


REFUSED = ["null", "Anonymous", " INVALID ", "", "  ", "x" * 1025, None]


@pytest.mark.parametrize("refused", REFUSED, ids=lambda text: repr(text)[:12])
def test_a_refused_id_is_left_out_with_its_namespace_and_the_rest_stays(refused: str | None) -> None:
    device = {"Device": [item("d1", primary=True)]}
    assert mended({"Email": [item(refused)], **device}, device, None) == [device, device, None]


def test_a_map_that_holds_refused_ids_alone_becomes_null() -> None:
    assert mended({"Email": [item("null", primary=True)], "CRM": [item("invalid")]}) == [None]


def test_where_the_primary_identity_was_refused_the_next_one_is_primary() -> None:
    given = {"Email": [item("anonymous", primary=True)], "A": [item("a", primary=False)], "B": [item("b")]}
    assert mended(given) == [{"A": [item("a", primary=True)], "B": [item("b")]}]


def test_no_identity_becomes_primary_where_none_was() -> None:
    assert mended({"Email": [item("anonymous")], "A": [item("a")]}) == [{"A": [item("a")]}]


def test_of_several_ids_of_a_namespace_only_the_refused_ones_go() -> None:
    assert mended({"Email": [item("null"), item("a", primary=True)]}) == [{"Email": [item("a", primary=True)]}]


def test_an_ecid_has_38_digits() -> None:
    good = {"ECID": [item("1" * 38, primary=True)]}
    assert mended({"ECID": [item("1" * 37, primary=True)]}, good) == [None, good]


def test_what_mixpanel_alone_calls_nobody_is_left_to_the_mapping_set() -> None:
    given: Map = {"Email": [item("undefined", primary=True)]}
    assert mended(given) == [given]


@pytest.mark.parametrize(
    "column", [pl.Series([1, 2]), pl.Series([["a"], None]), pl.Series([{"id": "null"}, None])], ids=str
)
def test_a_column_of_another_kind_is_left_alone(column: pl.Series) -> None:
    frame = pl.DataFrame({"identityMap": column})
    assert without_refused(frame).equals(frame)
    assert without_refused(frame.rename({"identityMap": "other"})).columns == ["other"]


some_item = st.builds(
    lambda value, primary: item(value, primary=primary),
    st.sampled_from(REFUSED) | st.text(max_size=4) | st.sampled_from(["1" * 38]),
    st.none() | st.booleans(),
)
some_map = st.dictionaries(st.sampled_from(["ECID", "Email", "CRM"]), st.lists(some_item, max_size=2), max_size=3)


@given(st.lists(st.none() | some_map, max_size=6))
def test_no_rule_finds_a_refused_id_afterwards_and_good_ones_stay(maps: list[Map | None]) -> None:
    after = mended(*maps)
    frame = pl.DataFrame({"identityMap": pl.Series(after, dtype=TYPE)})
    found = Conformance(SCHEMA).check(frame).violations
    assert not set(found["keyword"]) & {"identityId", "identityEcid"}
    for before, kept in zip(maps, after, strict=True):
        ids = {(name, one["id"]) for name, items in (kept or {}).items() for one in items}
        assert ids <= {(name, one["id"]) for name, items in (before or {}).items() for one in items}
