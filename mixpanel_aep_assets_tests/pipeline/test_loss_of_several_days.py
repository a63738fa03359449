"""Days that one request read together, or in slices, are doubted as one day alone is."""

from __future__ import annotations

import datetime
from typing import Any

import pytest

from mixpanel_aep_assets.connection import Connection
from mixpanel_aep_assets.emulator import EmulatorThread
from mixpanel_aep_assets.manifests import Changes, Exported
from mixpanel_aep_assets.mixpanel import doubt, mixpanel_errors, slices
from mixpanel_aep_assets.pipeline.steps import day_exports, evidence, extract
from mixpanel_aep_assets.pipeline.steps.run_groups import Pass
from mixpanel_aep_assets_tests.connections import (
    DAY,
    event,
    events,
    lines,
)
from mixpanel_aep_assets_tests.pipeline.losses import (
    EXPORT,
    NO_COUNT,
    NO_WAIT,
    QUERY,
    WORSE,
    asked,
    doubted,
    ingested,
    moved,
    require_good,
    rows,
)

pytestmark = pytest.mark.usefixtures("unthrottled")


def window(connection: Connection, days: list[str], pass_id: str, **more: Any) -> list[Exported]:
    together = Pass(pass_id, tuple(sorted(days)))
    return [
        day_exports.extract_day(connection, day, together=together, retry=NO_WAIT, **more) for day in reversed(days)
    ]


def week(emulator: EmulatorThread, count: int = 18) -> list[str]:
    """Six days of so many events."""
    days = []
    for back in range(-5, 1):
        days.append((datetime.date.fromisoformat(DAY) + datetime.timedelta(days=back)).isoformat())
        emulator.control.seed_day(days[-1], lines(moved(back, events(count))))
    return days


@pytest.mark.parametrize("worse", WORSE)
def test_a_window_asks_once_more_for_all_its_doubted_days_together(
    emulator: EmulatorThread, connection: Connection, worse: str
) -> None:
    days = week(emulator)
    window(connection, days, "first")
    before, counted = len(asked(emulator)), len(asked(emulator, "/events"))
    emulator.control.fault(match=EXPORT, **WORSE[worse])
    made = window(connection, days, "second")
    assert asked(emulator)[before:] == [(days[0], days[-1])] * 2
    assert len(asked(emulator, "/events")) == counted + 1
    short = days if worse == "empty answer" else days[1:]
    first = days[0] if worse == "empty answer" else None
    for day, read in zip(reversed(days), made, strict=True):
        assert read.manifest.rows == 18, "the committed day stays"
        if day in short or day == first:
            assert "Mixpanel itself counts 18" in doubted(connection, day)
    emulator.control.clear_faults()
    window(connection, days, "third")
    for day in days:
        require_good(connection, day)


def test_a_window_commits_its_good_days_and_believes_those_that_vanished_on_a_second_reading(
    emulator: EmulatorThread, connection: Connection
) -> None:
    days = week(emulator)
    window(connection, days, "first")
    emulator.control.fault(match=QUERY, **NO_COUNT)
    emulator.control.seed_day(days[1], b"")
    emulator.control.seed_day(days[3], lines(moved(-2, events(20))))
    before = len(asked(emulator))
    made = {read.manifest.day: read for read in window(connection, days, "second")}
    assert asked(emulator)[before:] == [(days[0], days[-1])] * 2
    assert [rows(connection, day) for day in days] == [18, 0, 18, 20, 18, 18]
    assert made[days[3]].manifest.changes == Changes(appeared=2)
    assert [made[day].unchanged for day in days] == [True, False, True, False, True, True]


def test_a_forced_window_believes_its_answer(emulator: EmulatorThread, connection: Connection) -> None:
    days = week(emulator)
    window(connection, days, "first")
    emulator.control.fault("empty", match=EXPORT)
    window(connection, days, "second", force=True)
    assert [rows(connection, day) for day in days] == [0] * 6


def test_a_day_read_in_slices_is_doubted_as_well(emulator: EmulatorThread, connection: Connection) -> None:
    ingested(emulator, connection)
    emulator.control.fault("empty", match=EXPORT)
    date = datetime.date.fromisoformat(DAY)
    day = connection.day(extract.TABLE, DAY)

    def request(judge: doubt.Judge) -> dict[datetime.date, Exported]:
        return {date: slices.export_slices(connection.mixpanel, day, date, {}, 2, retry=NO_WAIT, judge=judge)}

    before = len(asked(emulator))
    evidence.read(connection, extract.TABLE, [date], request, retry=NO_WAIT)
    assert len(asked(emulator)) == before + 4
    assert "Mixpanel itself counts 18" in doubted(connection)


def test_events_that_came_with_more_days_are_looked_for_there_before_they_are_taken_as_gone(
    emulator: EmulatorThread, connection: Connection
) -> None:
    days = week(emulator)
    stray = lines(moved(-5, [event(100)]))
    emulator.control.seed_day(days[1], stray, append=True)  # an event of the first day, filed under the second
    window(connection, days[-1:], "size")
    made = {read.manifest.day: read for read in window(connection, days, "all")}
    wider = made[days[0]].manifest.window
    assert wider is not None
    assert rows(connection, days[0]) == 19
    before = len(asked(emulator))
    said: list[str] = []
    assert extract.extract_day(connection, days[0], log=said.append).unchanged
    assert asked(emulator)[before:] == [(days[0], days[0]), (wider.first, wider.last)]
    assert rows(connection, days[0]) == 19
    assert any("Mixpanel may have filed them" in text for text in said)
    require_good(connection, days[0])
    emulator.control.seed_day(days[1], lines(moved(-4, events(20))))
    made_again = extract.extract_day(connection, days[0])
    assert (made_again.manifest.rows, (made_again.manifest.changes or Changes()).vanished) == (18, 1), (
        "the wider request says that it is gone"
    )
    assert rows(connection, days[1]) == 18, "the other days of that request stay as they are"


def test_a_wider_request_that_fails_leaves_the_day(emulator: EmulatorThread, connection: Connection) -> None:
    days = week(emulator)
    emulator.control.seed_day(days[1], lines(moved(-5, [event(100)])), append=True)
    window(connection, days[-1:], "size")
    window(connection, days, "all")
    emulator.control.fault("status", match=EXPORT | {"nth": [2, 3]}, status=503)
    with pytest.raises(mixpanel_errors.EvidenceMissing, match="may have filed them"):
        extract.extract_day(connection, days[0], retry=NO_WAIT)
    assert rows(connection, days[0]) == 19
    assert "that request has not been answered again yet" in doubted(connection, days[0])
