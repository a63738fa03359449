"""Which time mode the receipt times of events leave (mixpanel.md#detecting-the-mode)."""

from __future__ import annotations

import datetime
from importlib import resources

import numpy as np
import numpy.typing as npt
import polars as pl
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from mixpanel_aep_assets.mixpanel import time_evidence, time_mode
from mixpanel_aep_assets.mixpanel.mixpanel_errors import TimeModeUnsure
from mixpanel_aep_assets.mixpanel.time_evidence import Evidence
from mixpanel_aep_assets.mixpanel.zones import zone

SUMMER = datetime.date(2026, 7, 10)
WINTER = datetime.date(2026, 1, 10)
HOUR = 3_600_000
DAY_MS = 24 * HOUR

WITHOUT_OFFSET = [
    ("Europe/London", datetime.date(2025, 1, 20)),
    ("Europe/Lisbon", datetime.date(2025, 1, 20)),
    ("Europe/Dublin", datetime.date(2025, 1, 20)),
    ("Atlantic/Azores", datetime.date(2025, 7, 1)),
    ("Africa/Casablanca", datetime.date(2025, 3, 10)),
    ("Atlantic/Reykjavik", datetime.date(2025, 7, 1)),
    ("Africa/Abidjan", datetime.date(2025, 7, 1)),
]
"""Zones on days on which their wall clock is UTC; Casablanca in Ramadan."""

ZONES = sorted(resources.files("tzdata").joinpath("zones").read_text().split())

Ints = npt.NDArray[np.int64]


def start(day: datetime.date) -> int:
    return int(datetime.datetime.combine(day, datetime.time(), datetime.UTC).timestamp() * 1000)


def receipts(offset_hours: float, *, late: float = 0.3, rows: int = 400) -> Ints:
    """Receipt minus time: most within a minute, some hours late, some from clocks that run ahead."""
    rng = np.random.default_rng(5)
    delay = rng.integers(100, 60_000, rows)
    delay[: int(rows * late)] = rng.integers(0, 20 * HOUR, int(rows * late))
    delay[-rows // 50 :] = -rng.integers(0, HOUR, len(delay[-rows // 50 :]))
    return (delay - int(offset_hours * HOUR)).astype(np.int64)


def weighed(lateness: Ints, name: str | None, day: datetime.date) -> Evidence:
    """Events spread over the day, received so long after their `time`."""
    times = start(day) + np.linspace(0, DAY_MS - 1, len(lateness)).astype(np.int64)
    agrees = name is not None and len(times) > 0 and time_mode.agree(name, int(times.min()), int(times.max()))
    return time_evidence.weigh(times, times + lateness, name, agrees=agrees)


def judged(lateness: Ints, name: str | None, day: datetime.date) -> time_mode.Decision:
    return time_evidence.judge(weighed(lateness, name, day))


def sent(mode: str, name: str, instants: Ints) -> Ints:
    """`time` as a project of this mode and zone exports events of these instants."""
    if mode == "utc":
        return instants
    frame = pl.DataFrame({"at": instants}).select(
        pl.col("at").cast(pl.Datetime("ms", "UTC")).dt.convert_time_zone(name).dt.replace_time_zone(None).dt.epoch("ms")
    )
    return frame["at"].to_numpy()


def of_a_day(mode: str, name: str, day: datetime.date, count: int, late: int) -> tuple[Ints, Ints, Ints]:
    """Instants, `time` and receipt of events over a day of the zone, `late` of them long after they happened."""
    instants = start(day) + np.linspace(-12 * HOUR, 36 * HOUR, count * 2).astype(np.int64) // 1000 * 1000
    times = sent(mode, name, instants)
    within = (times >= start(day)) & (times < start(day) + DAY_MS)
    instants, times = instants[within], times[within]
    delay = np.full(len(times), 800)
    delay[:late] = np.random.default_rng(count).integers(0, 40 * HOUR, late)[: len(delay)]
    return instants, times, instants + delay


def test_receipts_just_after_the_event_mean_utc() -> None:
    decision = judged(receipts(0), "US/Pacific", SUMMER)
    assert (decision.mode, decision.lasting) == ("utc", True)


@pytest.mark.parametrize(
    ("name", "day", "offset"),
    [
        ("US/Pacific", SUMMER, -7), ("US/Pacific", WINTER, -8), ("Europe/Berlin", SUMMER, 2), ("Asia/Kolkata", WINTER, 5.5),
        ("Asia/Kathmandu", WINTER, 5.75), ("Pacific/Kiritimati", WINTER, 14), ("Etc/GMT+12", WINTER, -12),
    ],
)  # fmt: skip
def test_receipts_a_zones_offset_off_mean_project_time(name: str, day: datetime.date, offset: float) -> None:
    decision = judged(receipts(offset), name, day)
    assert (decision.mode, decision.timezone, decision.lasting) == ("project", name, True)
    assert decision.evidence


@pytest.mark.parametrize(
    ("time", "received", "name"),
    [
        (1602611311, 1602625711874, "America/New_York"),
        (1652825148, 1652850348643, "US/Pacific"),
        (1623860880, 1623886083321, "America/Los_Angeles"),
    ],
)
def test_the_public_sample_lines_are_in_project_time(time: int, received: int, name: str) -> None:
    times = np.full(50, time * 1000, np.int64)
    assert time_evidence.judge(time_evidence.weigh(times, np.full(50, received, np.int64), name)).mode == "project"


def test_an_offset_that_the_zone_does_not_have_is_unsure_and_says_both() -> None:
    seen = weighed(receipts(-5), "US/Pacific", SUMMER)
    decision = time_evidence.judge(seen)
    assert (decision.mode, seen.observed) == ("unsure", "neither")
    assert "-05:00" in decision.evidence
    assert "-07:00" in decision.evidence
    with pytest.raises(TimeModeUnsure, match="MIXPANEL_TIME_MODE"):
        decision.required()


def test_receipts_spread_over_the_day_are_unsure() -> None:
    spread = np.random.default_rng(1).integers(0, 24 * HOUR, 1000)
    assert judged(spread, "US/Pacific", SUMMER).mode == "unsure"


@pytest.mark.parametrize(("name", "day"), WITHOUT_OFFSET)
def test_on_a_day_without_offset_both_modes_agree_and_nothing_lasting_is_concluded(
    name: str, day: datetime.date
) -> None:
    seen = weighed(receipts(0, rows=60), name, day)
    decision = time_evidence.judge(seen)
    assert (decision.mode, decision.lasting, seen.observed) == ("utc", False, "both")
    assert (seen.telling, seen.utc, seen.project) == (0, 0, 0)
    assert time_evidence.decide(None, [seen] * 30) is None


@pytest.mark.parametrize(("name", "day"), [("Europe/London", "2024-10-27"), ("Europe/Lisbon", "2024-10-27"),
                                           ("Europe/Dublin", "2024-10-27"), ("Africa/Casablanca", "2025-02-23")])  # fmt: skip
def test_hours_after_an_autumn_change_do_not_decide_for_utc(name: str, day: str) -> None:
    instants, times, received = of_a_day("project", name, datetime.date.fromisoformat(day), 57, 0)
    assert 0 < (instants != times).sum() < len(times) / 4, "some hours are told apart, most are not"
    assert time_evidence.judge(time_evidence.weigh(times, received, name)).mode != "utc"
    after = times == instants
    assert time_evidence.judge(time_evidence.weigh(times[after], received[after], name)).mode == "unsure"


@given(
    name=st.sampled_from(ZONES),
    day=st.dates(datetime.date(2010, 1, 1), datetime.date(2029, 12, 31)),
    mode=st.sampled_from(["utc", "project"]),
    count=st.integers(0, 120),
    late=st.integers(0, 30),
)
@example(name="Europe/Dublin", day=datetime.date(2024, 10, 27), mode="project", count=57, late=0)
@example(name="Australia/Lord_Howe", day=datetime.date(2026, 4, 5), mode="project", count=100, late=10)
@example(name="Antarctica/Troll", day=datetime.date(2025, 10, 26), mode="utc", count=100, late=10)
@example(name="Pacific/Apia", day=datetime.date(2011, 12, 30), mode="utc", count=100, late=0)
def test_no_project_is_ever_read_in_the_wrong_mode(
    name: str, day: datetime.date, mode: str, count: int, late: int
) -> None:
    """In every zone, on every day: whatever is decided gives each prompt event its true instant."""
    instants, times, received = of_a_day(mode, name, day, count, late)
    agrees = len(times) > 0 and time_mode.agree(name, int(times.min()), int(times.max()))
    seen = time_evidence.weigh(times, received, name, agrees=agrees)
    decision = time_evidence.judge(seen)
    if decision.sure:
        assert decision.mode == mode or agrees
        frame = pl.DataFrame({"time_ms": times, "received_ms": received})
        true = frame.select(time_mode.to_utc(decision.required(), name).dt.epoch("ms")).to_series().to_numpy()
        prompt = received - instants == 800
        assert (true[prompt] == instants[prompt]).all()
    assert seen.observed in (mode, "unsure", "both")
    if late == 0 and not agrees and seen.telling >= time_evidence.ENOUGH:
        assert decision.mode == mode, "a day of prompt events is never left unsure"


@given(
    name=st.sampled_from(ZONES),
    first=st.dates(datetime.date(2012, 1, 1), datetime.date(2029, 1, 1)),
    mode=st.sampled_from(["utc", "project"]),
    counts=st.lists(st.integers(0, 8), min_size=1, max_size=12),
)
def test_the_evidence_of_many_small_days_never_adds_up_to_the_wrong_mode(
    name: str, first: datetime.date, mode: str, counts: list[int]
) -> None:
    days = []
    for number, count in enumerate(counts):
        _, times, received = of_a_day(mode, name, first + datetime.timedelta(days=number), count, 0)
        days.append(time_evidence.weigh(times, received, name))
    decision = time_evidence.decide(None, days)
    assert decision is None or (decision.mode, decision.lasting) == (mode, True)
    if sum(day.telling for day in days) >= time_evidence.ENOUGH:
        assert decision is not None


def test_a_handful_decides_if_it_came_at_different_times_and_nothing_speaks_against_it() -> None:
    five = np.full(5, 700, np.int64)
    assert judged(five, "America/Chicago", SUMMER).mode == "utc"
    assert judged(five - -5 * HOUR, "America/Chicago", SUMMER).mode == "project"
    assert judged(five[:4], "America/Chicago", SUMMER).mode == "unsure"
    against = np.append(five, 700 + 5 * HOUR)
    assert judged(against, "America/Chicago", SUMMER).mode == "unsure"


def test_a_queue_that_was_sent_in_one_go_decides_nothing() -> None:
    times = start(SUMMER) + np.arange(12, dtype=np.int64) * 1000
    held_back = times + 5 * HOUR + 700
    assert time_evidence.judge(time_evidence.weigh(times, held_back, "America/Chicago")).mode == "unsure"


def test_days_count_together_and_a_contradicting_one_is_outweighed_only_by_a_clear_newest_day() -> None:
    three = weighed(np.full(3, 700, np.int64), "America/Chicago", SUMMER)
    assert time_evidence.decide(None, [three]) is None
    pooled = time_evidence.decide(three, [three])
    assert pooled is not None
    assert (pooled.mode, pooled.lasting) == ("utc", True)
    shifted = weighed(np.full(40, 700 + 5 * HOUR, np.int64), "America/Chicago", SUMMER)
    clear = weighed(np.full(40, 700, np.int64), "America/Chicago", SUMMER)
    newest = time_evidence.decide(None, [clear, shifted])
    assert newest is not None
    assert newest.mode == "utc"
    assert time_evidence.decide(None, [three, time_evidence.combined("America/Chicago", [shifted, clear])]) is None


def test_evidence_in_another_zone_does_not_count() -> None:
    three = np.full(3, 700, np.int64)
    other = weighed(three, "America/Denver", SUMMER)
    assert time_evidence.decide(other, [weighed(three, "America/Chicago", SUMMER)]) is None


def test_an_unknown_zone_takes_utc_for_the_day_alone_and_nothing_else() -> None:
    decision = judged(receipts(0, late=0), None, SUMMER)
    assert (decision.mode, decision.lasting) == ("utc", False)
    assert judged(receipts(-7), None, SUMMER).mode == "unsure"
    assert judged(np.empty(0, np.int64), None, SUMMER).mode == "unsure"


def test_an_unknown_zone_with_one_hour_of_a_change_in_it_is_unsure() -> None:
    _, times, received = of_a_day("project", "Europe/London", datetime.date(2024, 10, 27), 60, 0)
    assert time_evidence.judge(time_evidence.weigh(times, received, None)).mode == "unsure"


def test_what_is_kept_of_a_day_is_read_back_and_anything_else_is_none() -> None:
    seen = weighed(receipts(0), "US/Pacific", SUMMER)
    assert Evidence.of("US/Pacific", seen.counts()) == seen
    damaged: list[object] = [None, [], {}, {**seen.counts(), "utc": "3"}, {"utc": 1}]
    for torn in damaged:
        assert Evidence.of("US/Pacific", torn) is None


def test_times_and_receipts_beyond_all_sense_are_left_out() -> None:
    times = np.array([-(1 << 62), (1 << 62), start(SUMMER)], np.int64)
    assert time_evidence.weigh(times, times, "US/Pacific").looked == 1
    assert not time_mode.agree("Europe/London", -(1 << 62), 1 << 62)


@pytest.mark.parametrize("name", ["Europe/London", "Australia/Lord_Howe", "Africa/Casablanca"])
def test_modes_agree_on_just_the_days_on_which_the_zone_has_no_offset(name: str) -> None:
    for number in range(366):
        begin = datetime.datetime(2024, 1, 1, tzinfo=datetime.UTC) + datetime.timedelta(days=number)
        quarters = [begin + datetime.timedelta(minutes=15 * n) for n in range(96)]
        none = not any(wall.replace(tzinfo=zone(name), fold=fold).utcoffset() for wall in quarters for fold in (0, 1))
        at = start(begin.date())
        assert time_mode.agree(name, at, at + DAY_MS - 1) == none, begin
