"""JSON text to typed columns: nothing lost, nothing altered, whatever the members are called and hold."""

from __future__ import annotations

import json
import pickle
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mixpanel_aep_assets.dataprep.columnar import json_columns
from mixpanel_aep_assets.dataprep.columnar.json_columns import ColumnDecoder, column_name
from mixpanel_aep_assets.dataprep.language.ast import Step
from mixpanel_aep_assets.dataprep.language.paths import parse_source

ARRAY_KINDS = ("texts", "integers", "decimals", "booleans")


def values(texts: list[str], *paths: str | tuple[Step, ...], layout: Any = "record", **columns: Any) -> list[list[Any]]:
    """The values at each path in all rows, as Python values; JSON texts decoded."""
    steps = [parse_source(path) if isinstance(path, str) else path for path in paths]
    text_column = "record" if layout == "record" else "properties"
    frame = pl.DataFrame({text_column: texts, **columns}, schema_overrides={text_column: pl.String})
    decoder = ColumnDecoder(steps, layout=layout)
    result = decoder.decode(frame)
    found: list[list[Any]] = []
    for path in steps:
        slot = decoder.paths.index(path)
        rows: list[Any] = [None] * len(texts)
        for kind in result.kinds[slot]:
            for row, value in enumerate(result.frame.get_column(column_name(slot, kind)).to_list()):
                if value is not None:
                    assert rows[row] is None, "two kinds in one row"
                    rows[row] = json.loads(value) if kind == "json" else int(value) if kind == "wide" else value
        found.append(rows)
    return found


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=6,
)


def typed(value: Any) -> Any:
    """With the type of every value, so that 1, 1.0 and true are told apart."""
    if isinstance(value, list):
        return [typed(item) for item in value]
    if isinstance(value, dict):
        return {key: typed(item) for key, item in value.items()}
    return type(value).__name__, value


@settings(max_examples=300, deadline=None)
@given(st.lists(st.dictionaries(st.sampled_from(["a", "b", "$c", "d e", "", 'q"', "n\n", "x\\y"]), JSON), min_size=1))
def test_every_json_value_comes_back_with_its_type(records: list[dict[str, Any]]) -> None:
    names = ["a", "b", "$c", "d e", "", 'q"', "n\n", "x\\y"]
    found = values([json.dumps(record) for record in records], *[(Step(name=name),) for name in names])
    for name, rows in zip(names, found, strict=True):
        assert [typed(value) for value in rows] == [typed(record.get(name)) for record in records]


@pytest.mark.parametrize("number", [2**63 - 1, 2**63, 2**64, -(2**63), -(2**63) - 1, 10**30, 10**200])
def test_integers_keep_every_digit(number: int) -> None:
    assert values([f'{{"a": {number}}}', '{"a": 1}'], "a") == [[number, 1]]


def test_of_two_members_of_one_name_the_last_counts() -> None:
    assert values(['{"a": 1, "a": "x"}', '{"a": "x", "a": null}'], "a") == [["x", None]]


@pytest.mark.parametrize("text", [r'"\ud83d"', r'"a\udc00b"', r'"\ud83dx\ud83d\ude00"'])
def test_half_a_surrogate_pair_is_replaced_and_the_row_kept(text: str) -> None:
    found = values(['{"a": 1, "b": "x"}', f'{{"a": {text}, "b": "y"}}', '{"a": 2}'], "a", "b")
    assert found[0][0] == 1
    assert found[0][2] == 2
    assert "\ufffd" in found[0][1]
    assert found[1] == ["x", "y", None]


def test_half_a_pair_in_a_member_that_nobody_reads_costs_nothing() -> None:
    assert values([r'{"z": "\ud83d", "\ud83d": 1, "a": 1}'], "a") == [[1]]


def test_numbers_that_are_not_finite_are_decimals() -> None:
    ((first, second, third),) = values(['{"a": NaN}', '{"a": -Infinity}', '{"a": 1e999}'], "a")
    assert first != first
    assert (second, third) == (float("-inf"), float("inf"))


@pytest.mark.parametrize("text", ["null", "[]", "5", "not json", "", '{"a": 1', " "])
def test_a_row_that_is_no_object_has_no_members(text: str) -> None:
    assert values([text, '{"a": 1}'], "a") == [[None, 1]]


def test_null_and_missing_rows_and_values_are_null() -> None:
    frame = pl.DataFrame({"record": [None, '{"a": null}', "{}"]}, schema={"record": pl.String})
    assert ColumnDecoder([parse_source("a")], layout="record").decode(frame).kinds == ((),)


def test_white_space_and_escapes_in_names_do_not_matter() -> None:
    assert values(['  {\t"\\u0061" :\r 1 }  '], "a") == [[1]]


def test_line_breaks_between_tokens_do_not_shift_rows() -> None:
    assert values(['{"a":\n 1}', '{"a": 2}', '{\n"a": 3\n}'], "a") == [[1, 2, 3]]


def test_nested_paths_elements_and_iterations() -> None:
    records = ['{"a": {"b": [{"c": 1}, {"c": 2}, {}]}}', '{"a": "text"}', '{"a": {"b": {"c": 5}}}', '{"a": {"b": []}}']
    found = values(records, "a.b[0].c", "a.b[*].c", "a.b.c", "a.b[7]")
    assert found == [[1, None, None, None], [[1, 2, None], None, None, []], [None, None, 5, None], [None] * 4]


def test_rows_of_many_batches_stay_in_order(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(json_columns, "BATCH_ROWS", 7)
    records = [json.dumps({"a": at, "b": str(at)} if at % 3 else {"a": f"x{at}", f"n{at}": 1}) for at in range(100)]
    found = values(records, "a", "b")
    assert found[0] == [at if at % 3 else f"x{at}" for at in range(100)]
    assert found[1] == [str(at) if at % 3 else None for at in range(100)]


def test_names_without_end_are_no_trouble(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(json_columns, "BATCH_ROWS", 50)
    records = [json.dumps({f"p{at}": at, "a": at, f"q{at}": "x"}) for at in range(1000)]
    assert values(records, "a", "p7") == [list(range(1000)), [7 if at == 7 else None for at in range(1000)]]


def test_the_flattened_record_drops_the_dollar_and_prefers_reserved_names() -> None:
    texts = ['{"$city": "x", "city": "y"}', '{"city": "y"}', '{"$city": null, "city": "y"}', '{"$$z": 1, "$z": 2}']
    found = values(texts, "data.city", "data.event_name", "data.$z", layout="event", event=["e"] * 4)
    assert found == [["x", "y", None, None], ["e"] * 4, [None, None, None, 1]]


def test_a_derived_path_reads_its_column() -> None:
    steps = parse_source("mixpanel.id")
    frame = pl.DataFrame({"event": ["e"], "properties": ["{}"], "key": ["k"]})
    decoded = ColumnDecoder([steps], {"mixpanel.id": "key"}).decode(frame)
    assert decoded.frame.to_dicts() == [{"0.text": "k"}]


def test_a_path_of_an_unknown_root_is_left_to_the_record() -> None:
    steps = parse_source("other.x")
    assert not ColumnDecoder([steps]).supports(steps)


def test_a_decoder_can_be_sent_to_a_worker() -> None:
    decoder = ColumnDecoder([parse_source("a")], layout="record")
    frame = pl.DataFrame({"record": ['{"a": 1}']})
    decoder.decode(frame)
    assert pickle.loads(pickle.dumps(decoder)).decode(frame).frame.equals(decoder.decode(frame).frame)


def test_a_batch_without_rows_has_no_columns() -> None:
    frame = pl.DataFrame({"record": []}, schema={"record": pl.String})
    assert ColumnDecoder([parse_source("a")], layout="record").decode(frame).kinds == ((),)
