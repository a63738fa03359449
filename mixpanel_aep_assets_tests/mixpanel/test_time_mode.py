"""What `time` means, and true UTC from it (mixpanel.md#time-modes)."""

from __future__ import annotations

import datetime

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mixpanel_aep_assets.mixpanel import time_mode
from mixpanel_aep_assets.mixpanel.mixpanel_errors import TimeModeUnsure
from mixpanel_aep_assets.mixpanel.zones import zone

HOUR = 3_600_000


def utc(wall: str, name: str, received: str | None = None) -> datetime.datetime:
    def ms(text: str) -> int:
        return int(datetime.datetime.fromisoformat(text).replace(tzinfo=datetime.UTC).timestamp() * 1000)

    frame = pl.DataFrame(
        {"time_ms": [ms(wall)], "received_ms": [received and ms(received)]},
        schema={"time_ms": pl.Int64, "received_ms": pl.Int64},
    )
    (value,) = frame.select(time_mode.to_utc("project", name)).to_series().to_list()
    assert isinstance(value, datetime.datetime)
    return value.replace(tzinfo=None)


def test_a_set_mode_is_taken_and_project_mode_needs_a_zone() -> None:
    assert time_mode.configured("utc", None) == time_mode.Decision("utc", "UTC", "set")
    assert time_mode.configured("project", "Pacific Standard Time") == time_mode.Decision(
        "project", "America/Los_Angeles", "set"
    )
    assert time_mode.configured("auto", "US/Pacific") is None
    assert time_mode.configured("auto", "Europe/London") is None
    with pytest.raises(TimeModeUnsure):
        time_mode.configured("project", None)


@pytest.mark.parametrize("name", ["UTC", "Etc/GMT", "Zulu", "Atlantic/Reykjavik", "Africa/Abidjan", "Africa/Dakar"])
def test_a_zone_that_never_has_an_offset_needs_no_events(name: str) -> None:
    decided = time_mode.configured("auto", name)
    assert decided is not None
    assert decided.mode == "utc"


def test_utc_mode_keeps_the_instant() -> None:
    frame = pl.DataFrame({"time_ms": [1768024800123, -5]})
    expected = [
        datetime.datetime(2026, 1, 10, 6, 0, 0, 123_000, datetime.UTC),
        datetime.datetime(1969, 12, 31, 23, 59, 59, 995_000, datetime.UTC),
    ]
    values = frame.select(time_mode.to_utc("utc", "US/Pacific")).to_series()
    assert values.dtype == pl.Datetime("ms", "UTC")
    assert values.to_list() == expected


def test_the_worked_example() -> None:
    frame = pl.DataFrame({"time_ms": [1602611311000], "received_ms": [1602625711874]})
    (value,) = frame.select(time_mode.to_utc("project", "America/New_York")).to_series().to_list()
    assert value.timestamp() == 1602625711


@pytest.mark.parametrize(
    ("received", "expected"),
    [
        (None, "2026-11-01T08:30"),
        ("2026-11-01T08:30:05", "2026-11-01T08:30"),
        ("2026-11-01T09:29:59", "2026-11-01T08:30"),
        ("2026-11-01T09:30:05", "2026-11-01T09:30"),
    ],
)
def test_the_repeated_hour_is_told_apart_by_the_receipt(received: str | None, expected: str) -> None:
    assert utc("2026-11-01T01:30", "US/Pacific", received) == datetime.datetime.fromisoformat(expected)


@pytest.mark.parametrize(
    ("wall", "name", "expected"),
    [
        ("2026-03-08T02:30", "US/Pacific", "2026-03-08T10:30"),
        ("2026-10-04T02:15", "Australia/Lord_Howe", "2026-10-03T15:45"),
        ("2011-12-30T12:00", "Pacific/Apia", "2011-12-30T22:00"),
    ],
)
def test_a_wall_clock_that_never_was_moves_on_by_the_gap(wall: str, name: str, expected: str) -> None:
    assert utc(wall, name) == datetime.datetime.fromisoformat(expected)


def test_uncertain_instants_are_flagged() -> None:
    walls = ["2026-11-01T01:30", "2026-11-01T01:30", "2026-03-08T02:30", "2026-06-01T00:00"]
    frame = pl.DataFrame(
        {"at": walls, "received_ms": [None, 1, None, None]}, schema={"at": pl.String, "received_ms": pl.Int64}
    ).with_columns(pl.col("at").str.to_datetime(time_unit="ms").dt.epoch("ms").alias("time_ms"))
    assert frame.select(time_mode.flags("project", "US/Pacific")).to_series().to_list() == ["fold", None, "gap", None]
    assert frame.select(f=time_mode.flags("utc", "UTC"))["f"].unique().to_list() == [None]


def test_rows_keep_the_zone_that_was_set_when_they_came_in() -> None:
    changed = datetime.date(2026, 3, 1)
    ingested = [datetime.datetime(2026, 2, 27, tzinfo=datetime.UTC), datetime.datetime(2026, 3, 2, tzinfo=datetime.UTC)]
    frame = pl.DataFrame(
        {"time_ms": [1768024800000] * 2, "received_ms": [int(moment.timestamp() * 1000) for moment in ingested]}
    ).with_columns(pl.lit(None, pl.Int64).alias("processing_ms"))
    zones = [(changed, "Asia/Kolkata"), (datetime.date(2020, 1, 1), "UTC")]
    first, second = frame.select(time_mode.to_utc("project", "UTC", zones)).to_series().dt.epoch("ms").to_list()
    assert (first, second) == (1768024800000, 1768024800000 - int(5.5 * HOUR))


zones_of_the_world = st.sampled_from(
    ["US/Pacific", "America/New_York", "Europe/Berlin", "Asia/Kolkata", "Australia/Lord_Howe", "America/St_Johns"]
)


@given(zones_of_the_world, st.datetimes(datetime.datetime(2015, 1, 1), datetime.datetime(2029, 1, 1)))
def test_an_event_received_at_once_gets_its_true_instant_back(name: str, moment: datetime.datetime) -> None:
    true = moment.replace(microsecond=0, tzinfo=datetime.UTC)
    wall = true.astimezone(zone(name)).replace(tzinfo=None)
    received = true + datetime.timedelta(seconds=2)
    assert utc(wall.isoformat(), name, received.replace(tzinfo=None).isoformat()) == true.replace(tzinfo=None)
