"""Which times are taken: none that Polars, a zone or XDM cannot hold ever fails a day (mixpanel.md#time-values)."""

from __future__ import annotations

import datetime
import json
from zoneinfo import available_timezones

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mixpanel_aep_assets.mixpanel import events, line_parser, time_mode
from mixpanel_aep_assets.mixpanel.lines_by_day import seeming_time
from mixpanel_aep_assets_tests.mixpanel import samples

OUT_OF_RANGE = {
    "microseconds": 1741168800000000,
    "nanoseconds": 1741168800000000000,
    "year 10000": 253402300800000,
    "year 10000 in UTC alone": "9999-12-31T23:59:59-12:00",
    "year 10000 in words": "10000-01-01T00:00:00Z",
    "year 53895": 1638559200000000,
    "before year 1": -62135596800001,
    "before year 1 in UTC alone": "0001-01-01T00:00:00+14:00",
    "large negative": -1741168800000000,
    "smallest column value": -(2**63),
    "largest column value": 2**63 - 1,
    "more than any column": 2**63,
    "more than any float": 10**400,
    "float": 1e15,
    "largest float": 1.7976931348623157e308,
    "text": "1741168800000000",
    "infinite text": "1e400",
}
ODD = [
    *OUT_OF_RANGE.values(),
    *(str(value) for value in OUT_OF_RANGE.values()),
    "+-5",
    "-+5",
    "²",
    "nan",
    "",
    " ",
    "-",
    "e5",
]


def line(value: object, name: str = "time") -> bytes:
    return json.dumps({"event": "x", "properties": {"time": 1768024801, name: value}}).encode()


@pytest.mark.parametrize("value", OUT_OF_RANGE.values(), ids=OUT_OF_RANGE)
def test_a_time_outside_the_years_1_to_9999_sets_its_line_aside_and_no_other(value: object) -> None:
    parsed = events.parse(b"\n".join([samples.VARIED[0], line(value), samples.VARIED[1]]) + b"\n")
    assert parsed.events["line"].to_pylist() == [1, 3]
    (broken,) = parsed.broken
    assert (broken.line, broken.reason) == (2, "bad_time")
    assert str(value)[:20] in broken.detail
    assert len(broken.detail) < 130


@pytest.mark.parametrize(
    "moment",
    [line_parser.EARLIEST_MS, line_parser.EARLIEST_MS + 1, -1, 0, line_parser.LATEST_MS - 1, line_parser.LATEST_MS],
)
def test_a_time_at_the_edges_of_the_range_is_taken_as_it_is(moment: int) -> None:
    wanted = moment if abs(moment) > line_parser.LARGEST_SECONDS else moment * 1000
    assert events.parse(line(moment) + b"\n").events["time_ms"].to_pylist() == [wanted]
    assert events.parse(line(str(moment)) + b"\n").events["time_ms"].to_pylist() == [wanted]


@pytest.mark.parametrize("moment", [line_parser.EARLIEST_MS - 1, line_parser.LATEST_MS + 1])
def test_a_millisecond_beyond_the_edges_is_not(moment: int) -> None:
    assert [broken.reason for broken in events.parse(line(moment) + b"\n").broken] == ["bad_time"]


@pytest.mark.parametrize("name", ["$mp_api_timestamp_ms", "mp_processing_time_ms"])
@pytest.mark.parametrize("value", ODD, ids=repr)
def test_a_stamp_that_is_none_costs_the_stamp_and_not_the_event(name: str, value: object) -> None:
    parsed = events.parse(samples.VARIED[0] + b"\n" + line(value, name) + b"\n")
    assert parsed.broken == []
    row = parsed.events.to_pylist()[1]
    assert (row["received_ms"], row["processing_ms"]) == (None, None)


def test_both_modes_hold_every_instant_of_the_range_in_every_zone() -> None:
    moments = [line_parser.EARLIEST_MS, line_parser.LATEST_MS, 0]
    frame = pl.DataFrame({"time_ms": moments, "received_ms": [*moments[:2], None], "processing_ms": moments})
    for name in sorted(available_timezones() - {"Factory", "localtime"}):
        made = frame.select(time_mode.to_utc("project", name), flag=time_mode.flags("project", name))
        assert all(isinstance(value, datetime.datetime) for value in made["time_ms"].to_list())
    assert frame.select(time_mode.to_utc("utc", "UTC"))["time_ms"].null_count() == 0


@pytest.mark.parametrize("mode", ["utc", "project"])
def test_a_stored_time_outside_the_range_has_no_instant(mode: time_mode.Mode) -> None:
    frame = pl.DataFrame(
        {"time_ms": [2**63 - 1, -(2**63), 1741168800000000, 0], "received_ms": [2**63 - 1, None, -(2**60), 1]}
    )
    made = frame.select(time_mode.to_utc(mode, "Europe/Berlin"), flag=time_mode.flags(mode, "Europe/Berlin"))
    assert [value is None for value in made["time_ms"].to_list()] == [True, True, True, False]


@pytest.mark.parametrize("value", ODD, ids=repr)
def test_what_looks_like_a_time_in_a_broken_line_is_read_by_the_same_rule(value: object) -> None:
    assert seeming_time(b'{"event":5,"properties":{"time":%s}}' % json.dumps(value).encode()) == line_parser.instant(
        value
    )


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("1768024801", 1768024801000), ("1.768024801e9", 1768024801000), ("1768024801.5", 1768024801500),
        ("1768024801123.0", 1768024801123), ("17680248010000000000", None), ("1e999", None), ("-", None), ("true", None),
        ('"2026-01-10T06:00:13"', 1768024813000), ('"\\ud83d"', None),
    ],
)  # fmt: skip
def test_the_seeming_time_of_a_broken_line(text: str, moment: int | None) -> None:
    assert seeming_time(b'{"properties":{"time":' + text.encode() + b',"a":') == moment


anything = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=30) | st.lists(st.integers())
near_edges = st.builds(
    lambda edge, off: edge + off,
    st.sampled_from(
        [
            line_parser.EARLIEST_MS,
            line_parser.LATEST_MS,
            -line_parser.LARGEST_SECONDS,
            line_parser.LARGEST_SECONDS,
            2**63,
            -(2**63),
            0,
        ]
    ),
    st.integers(-(10**6), 10**6),
)


@given(
    anything
    | near_edges
    | st.datetimes().map(str)
    | st.datetimes(timezones=st.timezones()).map(datetime.datetime.isoformat)
)
def test_an_instant_lies_in_the_range_or_is_none(value: object) -> None:
    found = line_parser.instant(value)
    assert found is None or line_parser.EARLIEST_MS <= found <= line_parser.LATEST_MS


@given(st.binary(max_size=60) | st.text(max_size=60).map(str.encode))
def test_no_bytes_behind_time_raise(value: bytes) -> None:
    assert seeming_time(b'{"time":' + value) is None or True
    assert seeming_time(b'{"time":"' + value) is None or True
