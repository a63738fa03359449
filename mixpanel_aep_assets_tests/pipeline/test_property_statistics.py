"""The profile of raw events: what was seen, whatever the order, made anew only when the day changed."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mixpanel_aep_assets.emulator import EmulatorThread
from mixpanel_aep_assets.manifests import Conflict
from mixpanel_aep_assets.pipeline.insight import property_statistics
from mixpanel_aep_assets.pipeline.insight.property_statistics import Profile
from mixpanel_aep_assets.pipeline.steps import extract
from mixpanel_aep_assets_tests.connections import DAY, events, lines, opened

EMPTY_DAY = "2026-03-11"


def frame(rows: Sequence[tuple[str, Mapping[str, Any] | str]]) -> pl.DataFrame:
    texts = [row if isinstance(row, str) else json.dumps(row, ensure_ascii=False) for _, row in rows]
    return pl.DataFrame({"event": [event for event, _ in rows], "properties": texts}, schema=["event", "properties"])


def of(*rows: dict[str, Any] | str) -> Profile:
    return property_statistics.profile_frames([frame([("e", row) for row in rows])])


def same(one: Profile, other: Profile) -> bool:
    return (
        (one.rows, one.events) == (other.rows, other.events)
        and one.cells.equals(other.cells)
        and one.values.equals(other.values)
    )


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("null", "null"),
        ('""', "empty"),
        ("[]", "empty"),
        ("{}", "empty"),
        ("true", "boolean"),
        ("12", "integer"),
        ("-9007199254740991", "integer"),
        ("9007199254740992", "oversized"),
        ("12345678901234567890123", "oversized"),
        ("1e400", "oversized"),
        ("1.0", "number"),
        ("1e5", "number"),
        ('"12"', "numeral"),
        ('"-1.5e3"', "numeral"),
        ('"007"', "string"),
        ('"12345678901234567890"', "string"),
        ('" 12"', "string"),
        ('"2026-11-20"', "date"),
        ('"2026-13-20"', "string"),
        ('"0000-00-00"', "string"),
        ('"2026-11-20T09:30:00"', "date_time"),
        ('"2026-11-20 09:30:00.250+05:30"', "date_time"),
        ('"2026-11-20T09:30:00Z"', "date_time"),
        ('"2026-11-20T09:30:00 o\'clock"', "string"),
        ('"\\ud83d"', "string"),
        ("[true]", "booleans"),
        ("[1, 2.5]", "numbers"),
        ('["a"]', "strings"),
        ('[{"a": 1}]', "objects"),
        ('[1, "a"]', "mixed"),
        ("[[1]]", "mixed"),
        ("[null]", "empty"),
        ('["a", null]', "strings"),
        ('[{"a": 1}, null]', "objects"),
        ('{"a": 1}', "object"),
    ],
)
def test_each_value_has_one_kind(text: str, kind: str) -> None:
    assert of(f'{{"p":{text}}}').properties["p"].kinds == {kind: 1}


def test_a_property_tells_kinds_events_extents_values_and_examples() -> None:
    rows: list[tuple[str, dict[str, Any] | str]] = [
        ("A", {"p": "text"}), ("A", {"p": 5}), ("B", {"p": 7}), ("B", {"p": 5}), ("B", {"p": None}), ("C", {"q": 1}),
    ]  # fmt: skip
    made = property_statistics.profile_frames([frame(rows)])
    p = made.properties["p"]
    assert p.kinds == {"integer": 3, "null": 1, "string": 1}
    assert p.events == {"A": 2, "B": 2}
    assert (p.minimum, p.maximum, p.min_length, p.max_length) == (5.0, 7.0, 4, 4)
    assert p.examples == {"integer": ["5", "7"], "string": ["text"]}
    assert p.top[0] == ("5", 2)
    assert (p.distinct, p.count, p.is_conflict) == (3, 4, True)
    assert made.events == {"A": 2, "B": 3, "C": 1}
    assert not made.properties["q"].is_conflict


def test_examples_are_the_shortest_values() -> None:
    made = of(*({"p": "x" * n} for n in (9, 3, 7, 1, 8, 2)))
    assert [len(text) for text in made.properties["p"].examples["string"]] == [1, 2, 3, 7, 8]


def test_distinct_values_are_exact_while_few_and_estimated_beyond() -> None:
    assert of(*({"p": n % 200} for n in range(1000))).properties["p"].distinct == 200
    many = of(*({"p": f"value {n}"} for n in range(5_000))).properties["p"].distinct
    assert 4_200 < many < 5_800


VALUES = st.one_of(
    st.none(), st.booleans(), st.integers(-3, 3), st.sampled_from([0.5, 2**60, "", "a", "b", "2026-01-01", [1], {"x": 1}, []])
)  # fmt: skip
ROWS = st.lists(
    st.tuples(st.sampled_from("AB"), st.dictionaries(st.sampled_from(["p", "P", "q"]), VALUES)), max_size=20
)


@settings(max_examples=20, deadline=None)
@given(ROWS, st.randoms(use_true_random=False), st.integers(1, 7))
def test_the_profile_is_the_same_in_whatever_order_and_batches_events_come(rows: Any, random: Any, size: int) -> None:
    whole = property_statistics.profile_frames([frame(rows)])
    random.shuffle(rows)
    assert same(property_statistics.profile_frames(frame(rows).iter_slices(size)), whole)
    half = len(rows) // 2
    parts = [property_statistics.profile_frames([frame(part)]) for part in (rows[:half], rows[half:])]
    assert same(property_statistics.merge(reversed(parts)), whole)


def test_the_sample_of_many_values_does_not_depend_on_order() -> None:
    rows = [("e", {"p": f"v{n % 3000}"}) for n in range(6000)]
    whole = property_statistics.profile_frames(frame(rows).iter_slices(700))
    assert same(property_statistics.profile_frames(frame(rows[::-1]).iter_slices(1100)), whole)
    assert whole.values.height == property_statistics.SAMPLE
    assert whole.values["count"].unique().to_list() == [2]


def test_names_without_end_are_counted_together(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(property_statistics, "PROPERTIES_LIMIT", 20)
    monkeypatch.setattr(property_statistics, "EVENTS_LIMIT", 5)
    rows = [(f"event {n % 30}", {f"property {n}": n}) for n in range(200)]
    whole = property_statistics.profile_frames([frame(rows)])
    assert len(whole.properties) == 21
    assert len(whole.events) == 6
    assert sum(one.count for one in whole.properties.values()) == 200 == sum(whole.events.values())
    assert same(property_statistics.profile_frames(frame(rows[::-1]).iter_slices(9)), whole)


def test_a_day_is_profiled_anew_only_when_it_changed(emulator: EmulatorThread, tmp_path: Path) -> None:
    emulator.control.seed_day(DAY, lines(events(30, plan="pro")))
    with opened(emulator, tmp_path) as connection:
        with pytest.raises(extract.NotExported, match="materialize raw_events"):
            property_statistics.profile_day(connection, DAY)
        extract.extract_day(connection, DAY)
        first = property_statistics.profile_day(connection, DAY)
        assert (first.rows, first.conflicts) == (30, ())
        assert property_statistics.profile_day(connection, DAY).generation == first.generation
        emulator.control.seed_day(DAY, lines(events(20, plan="pro") + events(5, plan=1)))
        extract.extract_day(connection, DAY)
        again = property_statistics.profile_day(connection, DAY)
        assert again.generation != first.generation
        assert again.conflicts == (Conflict("plan", {"string": 20, "integer": 5}),)
        read = property_statistics.read_day(connection, DAY)
        assert read is not None
        assert same(property_statistics.profile_days(connection, property_statistics.exported_days(connection)), read)
        extract.extract_day(connection, EMPTY_DAY)
        assert property_statistics.profile_day(connection, EMPTY_DAY).rows == 0
        assert property_statistics.profile_days(connection, [EMPTY_DAY]).properties == {}
