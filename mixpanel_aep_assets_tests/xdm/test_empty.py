"""Empty values in columns: what `shape` leaves is what the same rule leaves of the rows, at whatever depth."""

from __future__ import annotations

import datetime
from typing import Any

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mixpanel_aep_assets.xdm.composition import registry_schema
from mixpanel_aep_assets.xdm.conformance import Conformance
from mixpanel_aep_assets.xdm.empty import without_empty
from mixpanel_aep_assets.xdm.parquet import shape, to_arrow

TEXT = {"type": "string"}


def object_of(**properties: Any) -> dict[str, Any]:
    return {"type": "object", "properties": properties}


def list_of(items: dict[str, Any]) -> dict[str, Any]:
    return {"type": "array", "items": items}


def map_of(values: dict[str, Any]) -> dict[str, Any]:
    return {"type": "object", "meta:xdmType": "map", "additionalProperties": values}


ITEM = object_of(sku=TEXT, count={"type": "integer"}, sizes=list_of(TEXT))
FIELDS = {
    "text": TEXT,
    "tags": list_of(TEXT),
    "counts": list_of({"type": "integer"}),
    "cart": list_of(ITEM),
    "grid": list_of(list_of(TEXT)),
    "labels": map_of(TEXT),
    "baskets": map_of(list_of(ITEM)),
    "order": object_of(note=TEXT, lines=list_of(object_of(about=object_of(names=list_of(TEXT)), by=map_of(TEXT)))),
    "shelves": list_of(map_of(list_of(TEXT))),
}
SCHEMA = registry_schema({"title": "Nested", "properties": FIELDS})
WHOLE = SCHEMA.polars_schema()


def without_empty_values(value: Any) -> Any:
    """The rule, for one value of a row: null for what is empty."""
    if isinstance(value, dict):
        members = {key: without_empty_values(member) for key, member in value.items()}
        return {key: member for key, member in members.items() if member is not None} or None
    if isinstance(value, list):
        return [item for item in map(without_empty_values, value) if item is not None] or None
    return None if value == "" else value


def rows(frame: pl.DataFrame) -> list[Any]:
    """Rows as JSON would have them: members that are null are absent."""
    return [without_nulls(row) for row in frame.to_dicts()]


def without_nulls(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: without_nulls(member) for key, member in value.items() if member is not None}
    return [without_nulls(item) for item in value] if isinstance(value, list) else value


def values(dtype: Any) -> st.SearchStrategy[Any]:
    if isinstance(dtype, pl.Struct):
        return st.none() | st.fixed_dictionaries({member.name: values(member.dtype) for member in dtype.fields})
    if isinstance(dtype, pl.List):
        return st.none() | st.lists(values(dtype.inner), max_size=3)
    if isinstance(dtype, pl.Map):
        return st.none() | st.dictionaries(st.sampled_from(["a", "b", ""]), values(dtype.value), max_size=2)
    if dtype == pl.String:
        return st.sampled_from([None, "", "x", " ", "y"])
    return st.none() | st.integers(0, 3)


@given(st.lists(st.fixed_dictionaries({name: values(dtype) for name, dtype in WHOLE.items()}), min_size=1, max_size=4))
def test_shaping_leaves_of_a_frame_what_the_rule_leaves_of_its_rows(given_rows: list[dict[str, Any]]) -> None:
    frame = pl.DataFrame(given_rows, schema=WHOLE)
    shaped = shape(frame, SCHEMA)
    assert shaped.schema == WHOLE
    assert rows(shaped) == [without_empty_values(row) or {} for row in given_rows]
    assert Conformance(SCHEMA).check(shaped).bad.sum() == 0
    assert shape(shaped, SCHEMA).equals(shaped)
    to_arrow(shaped, SCHEMA, shaped=True)


@pytest.mark.parametrize(
    ("name", "value", "left"),
    [
        ("tags", ["a", None, "b"], ["a", "b"]),
        ("tags", ["a", ""], ["a"]),
        ("tags", [None], None),
        ("tags", ["", None], None),
        ("tags", [], None),
        ("tags", [" "], [" "]),
        ("counts", [0, None], [0]),
        ("cart", [{"sku": "1", "count": None}, None, {"sku": ""}], [{"sku": "1"}]),
        ("cart", [{"sku": "1", "sizes": [None, ""]}], [{"sku": "1"}]),
        ("grid", [["a", None], [], [""], None], [["a"]]),
        ("labels", {"a": "", "b": None, "c": "x"}, {"c": "x"}),
        ("labels", {"a": None}, None),
        ("baskets", {"a": [None], "b": [{"count": 1}, None]}, {"b": [{"count": 1}]}),
        ("order", {"note": "", "lines": [{"about": {"names": [""]}, "by": {"a": ""}}]}, None),
        ("shelves", [{"a": [""]}, {"b": ["x", ""]}], [{"b": ["x"]}]),
    ],
)
def test_empty_items_entries_and_members_are_left_out(name: str, value: Any, left: Any) -> None:
    others = [None, value, None]
    shaped = shape(pl.DataFrame({name: pl.Series(others, dtype=WHOLE[name])}), SCHEMA)
    assert rows(shaped) == [{}, {} if left is None else {name: left}, {}]


def test_lists_of_key_and_value_become_maps_without_empty_entries() -> None:
    entries = [[{"key": "a", "value": ""}, {"key": "b", "value": "x"}], [{"key": "a", "value": None}]]
    assert rows(shape(pl.DataFrame({"labels": entries}), SCHEMA)) == [{"labels": {"b": "x"}}, {}]


def test_objects_become_maps_of_the_members_that_are_there() -> None:
    lists = [{"a": ["x", None], "b": None}, {"a": None, "b": [""]}, None]
    frame = pl.DataFrame({"shelves": [lists], "labels": [{"a": "x", "b": ""}]})
    assert rows(shape(frame, SCHEMA)) == [{"shelves": [{"a": ["x"]}], "labels": {"a": "x"}}]


def test_lists_without_empty_items_are_not_copied() -> None:
    column = pl.Series([["a", "b"], None, ["c"]])
    assert without_empty(column) is column


def test_values_that_are_no_text_are_never_empty() -> None:
    moment = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)
    for value in (0, 0.0, False, datetime.date(2026, 1, 1), moment):
        assert without_empty(pl.Series([[value]])).to_list() == [[value]]
