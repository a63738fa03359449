"""A committed day is not taken back, nor cut short, by an answer of Mixpanel that nothing bears out.

Most tests read a second day beside the day in question, since Mixpanel's count is a witness only for names that it is seen to
count somewhere.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from mixpanel_aep_assets.cli.demo import CREDENTIALS
from mixpanel_aep_assets.connection import Connection
from mixpanel_aep_assets.emulator import EmulatorThread
from mixpanel_aep_assets.errors import ExplainedError
from mixpanel_aep_assets.mixpanel import doubt, mixpanel_errors
from mixpanel_aep_assets.mixpanel.budget import open_budget
from mixpanel_aep_assets.pipeline.books import report
from mixpanel_aep_assets.pipeline.steps import extract
from mixpanel_aep_assets_tests.connections import (
    DAY,
    event,
    events,
    lines,
    opened,
    run_day,
)
from mixpanel_aep_assets_tests.pipeline.losses import (
    AFTER,
    BEFORE,
    EXPORT,
    NO_COUNT,
    NO_WAIT,
    QUERY,
    WORSE,
    asked,
    doubted,
    ingested,
    live,
    moved,
    require_good,
    rows,
    seed,
)

pytestmark = pytest.mark.usefixtures("unthrottled")


@pytest.mark.parametrize("worse", WORSE)
def test_an_answer_that_the_count_contradicts_is_asked_for_again_and_the_good_one_settles_it(
    emulator: EmulatorThread, connection: Connection, worse: str
) -> None:
    ingested(emulator, connection)
    emulator.control.fault(match=EXPORT, count=1, **WORSE[worse])
    before = len(asked(emulator))
    assert extract.extract_day(connection, DAY).unchanged
    assert len(asked(emulator)) == before + 2
    require_good(connection)


@pytest.mark.parametrize("worse", WORSE)
def test_an_answer_that_the_count_contradicts_is_not_believed_however_often_it_comes(
    emulator: EmulatorThread, connection: Connection, worse: str
) -> None:
    ingested(emulator, connection)
    emulator.control.fault(match=EXPORT, **WORSE[worse])
    before = len(asked(emulator))
    for _ in range(2):
        run_day(connection)
        text = doubted(connection)
        assert "Mixpanel itself counts 18" in text
        assert f"run --from {DAY} --to {DAY} --force" in text
        assert (rows(connection), live(emulator, connection)) == (18, 36)
        assert report.counts_of(connection, DAY)["status"] == report.Status.DOUBTED
    assert len(asked(emulator)) == before + 4, "one request more a reading"
    emulator.control.clear_faults()
    run_day(connection)
    require_good(connection)
    assert report.counts_of(connection, DAY)["status"] == "ingested"


@pytest.mark.parametrize("left", [0, 5])
def test_an_answer_that_the_count_bears_out_is_believed_at_once(
    emulator: EmulatorThread, connection: Connection, left: int
) -> None:
    ingested(emulator, connection)
    seed(emulator, left)
    before = len(asked(emulator))
    run_day(connection)
    assert len(asked(emulator)) == before + 1
    assert live(emulator, connection) == 18 + left
    require_good(connection)


@pytest.mark.parametrize("worse", WORSE)
def test_without_a_count_a_second_request_that_says_the_same_is_believed(
    emulator: EmulatorThread, connection: Connection, worse: str
) -> None:
    ingested(emulator, connection)
    emulator.control.fault(match=QUERY, **NO_COUNT)
    emulator.control.fault(match=EXPORT, **WORSE[worse])
    before = len(asked(emulator))
    run_day(connection)
    assert asked(emulator)[before:] == [(DAY, DAY)] * 2
    assert live(emulator, connection) == 18 + {"empty answer": 0, "short answer": 7}[worse]
    require_good(connection)


def test_without_a_count_a_second_request_that_says_something_else_proves_nothing(
    emulator: EmulatorThread, connection: Connection
) -> None:
    ingested(emulator, connection)
    emulator.control.fault(match=QUERY, **NO_COUNT)
    emulator.control.fault("empty", match=EXPORT, count=1)
    emulator.control.fault("short", match=EXPORT, after_lines=5)
    run_day(connection)
    text = doubted(connection)
    assert "402" in text
    assert "another request said something else (0 events)" in text
    assert live(emulator, connection) == 36
    extract.extract_day(connection, DAY)
    assert rows(connection) == 5, "the next run's request said the same as the last one"


def test_a_count_that_knows_none_of_the_names_is_no_evidence(emulator: EmulatorThread, connection: Connection) -> None:
    emulator.control.seed_day(DAY, lines(events(18)))
    extract.extract_day(connection, DAY)
    emulator.control.seed_day(DAY, b"")  # now the name is counted nowhere, as one that is hidden in Lexicon
    said: list[str] = []
    extract.extract_day(connection, DAY, log=said.append)
    assert rows(connection) == 0
    assert asked(emulator) == [(DAY, DAY)] * 3
    assert any("hidden in Lexicon" in text for text in said)


def test_a_forced_run_believes_the_answer(emulator: EmulatorThread, connection: Connection) -> None:
    ingested(emulator, connection)
    emulator.control.fault("empty", match=EXPORT)
    before = len(asked(emulator))
    extract.extract_day(connection, DAY, force=True)
    assert rows(connection) == 0
    assert len(asked(emulator)) == before + 1
    require_good(connection)


@pytest.mark.parametrize(
    ("settings", "left", "believed"),
    [
        ({}, 15, True),  # 17 percent
        ({}, 14, True),  # 22 percent, but fewer than 5
        ({}, 13, False),
        ({"shrink_percent": 50}, 10, True),
        ({"shrink_percent": 50}, 9, False),
        ({"shrink_floor": 18}, 1, True),
        ({"shrink_floor": 100}, 0, False),
    ],
)
def test_share_and_floor_are_settable_and_an_empty_answer_is_always_doubted(
    emulator: EmulatorThread, tmp_path: Path, settings: dict[str, Any], left: int, believed: bool
) -> None:
    with opened(emulator, tmp_path, **settings) as connection:
        seed(emulator)
        for day in (BEFORE, DAY):
            extract.extract_day(connection, day)
        emulator.control.fault("short", match=EXPORT, after_lines=left)
        extract.extract_day(connection, DAY, retry=NO_WAIT)
        assert rows(connection) == (left if believed else 18)


def test_duplicates_that_mixpanel_drops_are_no_loss(emulator: EmulatorThread, connection: Connection) -> None:
    emulator.control.seed_day(DAY, lines(events(30) * 2))
    extract.extract_day(connection, DAY)
    emulator.control.seed_day(DAY, lines(events(30)))
    extract.extract_day(connection, DAY)
    assert asked(emulator) == [(DAY, DAY)] * 2
    assert rows(connection) == 30


def test_half_of_a_day_in_which_everything_is_doubled_is_seen_through(
    emulator: EmulatorThread, connection: Connection
) -> None:
    emulator.control.seed_day(BEFORE, lines(moved(-1, events(18))))
    emulator.control.seed_day(DAY, lines([row for row in events(30) for _ in range(2)]))
    for day in (BEFORE, DAY):
        extract.extract_day(connection, day)
    emulator.control.fault("short", match=EXPORT, after_lines=30)  # as many rows as Mixpanel counts events
    extract.extract_day(connection, DAY)
    assert "Mixpanel itself counts 30" in doubted(connection)


def test_other_events_asked_for_are_no_loss(emulator: EmulatorThread, tmp_path: Path) -> None:
    emulator.control.seed_day(DAY, lines([*events(18), event(18, "Purchase")]))
    with opened(emulator, tmp_path) as every:
        extract.extract_day(every, DAY)
    with opened(emulator, tmp_path, events=("Purchase",)) as some:
        extract.extract_day(some, DAY)
        assert rows(some) == 1
    assert len(asked(emulator)) == 2


def test_another_project_is_never_believed_because_it_says_the_same_twice(
    emulator: EmulatorThread, connection: Connection, tmp_path: Path
) -> None:
    ingested(emulator, connection)
    emulator.control.project(id=777)
    emulator.control.account(
        username=CREDENTIALS["MIXPANEL_USERNAME"],
        secret=CREDENTIALS["MIXPANEL_SECRET"],
        projects={"12345": "analyst", "777": "analyst"},
    )
    with opened(emulator, tmp_path, project_id=777) as wrong:
        for _ in range(2):
            extract.extract_day(wrong, DAY)
            assert "another project (US/12345)" in doubted(wrong)


def test_the_hour_being_spent_leaves_the_day_and_the_run_comes_back(
    emulator: EmulatorThread, connection: Connection, tmp_path: Path
) -> None:
    ingested(emulator, connection)
    emulator.control.fault(match=QUERY, **NO_COUNT)
    emulator.control.fault("empty", match=EXPORT)
    clock = [1_800_000_000.0]
    connection.mixpanel.budget = open_budget(
        "p", 1 / 60, str(tmp_path / "one"), clock=lambda: clock[0], sleep=lambda s: clock.__setitem__(0, clock[0] + s)
    )
    with pytest.raises(mixpanel_errors.EvidenceMissing, match="second request has not been answered") as raised:
        extract.extract_day(connection, DAY)
    assert raised.value.retryable
    assert (raised.value.wait or 0) > 3_000
    assert isinstance(raised.value, ExplainedError)
    assert "has not been answered" in doubted(connection)
    assert live(emulator, connection) == 36
    clock[0] += 3_601
    extract.extract_day(connection, DAY)  # one request is enough: it is the second one
    assert rows(connection) == 0
    require_good(connection)


def test_a_second_request_that_fails_says_what_it_was_for(emulator: EmulatorThread, connection: Connection) -> None:
    ingested(emulator, connection)
    emulator.control.fault("empty", match=EXPORT, count=1)
    emulator.control.fault("status", match=EXPORT | {"from_nth": 2}, status=503)
    with pytest.raises(mixpanel_errors.EvidenceMissing, match=r"0 events, 18 of the 18 .* failed: Mixpanel failed"):
        extract.extract_day(connection, DAY, retry=NO_WAIT)
    assert rows(connection) == 18


def test_a_note_beside_a_day_that_was_replaced_since_means_nothing(
    emulator: EmulatorThread, connection: Connection
) -> None:
    ingested(emulator, connection)
    emulator.control.fault("empty", match=EXPORT)
    extract.extract_day(connection, DAY)
    day = connection.day(extract.TABLE, DAY)
    note = connection.storage.read(f"{day.path}/{doubt.NOTE}")
    assert note is not None
    emulator.control.clear_faults()
    emulator.control.seed_day(DAY, lines(events(19)))
    extract.extract_day(connection, DAY)
    connection.storage.write(f"{day.path}/{doubt.NOTE}", note)  # of a run that was slower
    assert doubt.read(day) is None
    connection.storage.write(f"{day.path}/{doubt.NOTE}", note[:20])
    assert doubt.read(day) is None


@pytest.fixture
def pacific(emulator: EmulatorThread, tmp_path: Path) -> Iterator[Connection]:
    """A project whose exports are in UTC while its reports count days in California; three days with events all day."""
    emulator.control.settings(export_per_second=1_000)
    emulator.control.project(id=12345, timezone="US/Pacific")
    for number, day in enumerate((BEFORE, DAY, AFTER), -1):
        hours = [event(hour * 3600 - 43_200, "Hour") for hour in range(24)]
        emulator.control.seed_day(day, lines(moved(number, hours)))
    with opened(emulator, tmp_path, time_mode="utc", timezone="US/Pacific") as connection:
        for day in (BEFORE, DAY, AFTER):
            extract.extract_day(connection, day)
        yield connection


@pytest.mark.parametrize("worse", WORSE)
def test_in_utc_mode_the_count_is_compared_in_the_projects_zone(
    emulator: EmulatorThread, pacific: Connection, worse: str
) -> None:
    emulator.control.fault(match=EXPORT, **WORSE[worse])
    extract.extract_day(pacific, DAY)
    assert "Mixpanel itself counts 24" in doubted(pacific)
    emulator.control.clear_faults()
    emulator.control.seed_day(DAY, b"")
    before = len(asked(emulator))
    extract.extract_day(pacific, DAY)
    assert rows(pacific) == 0
    assert len(asked(emulator)) == before + 1, "the count bears it out"


def test_where_the_zones_days_cannot_be_compared_a_second_request_decides(
    emulator: EmulatorThread, pacific: Connection
) -> None:
    emulator.control.fault("empty", match=EXPORT)
    before = len(asked(emulator))
    said: list[str] = []
    extract.extract_day(pacific, AFTER, log=said.append)
    assert rows(pacific, AFTER) == 0
    assert len(asked(emulator)) == before + 2
    assert any("is not exported, so they cannot be compared" in text for text in said)


FIRST = {"empty_floor": 18}


def test_a_first_reading_that_is_empty_beside_a_full_day_is_asked_for_once_more(
    emulator: EmulatorThread, tmp_path: Path
) -> None:
    seed(emulator)
    with opened(emulator, tmp_path, **FIRST) as connection:
        extract.extract_day(connection, BEFORE)
        emulator.control.fault("empty", match=EXPORT, count=1)
        assert extract.extract_day(connection, DAY).manifest.rows == 18
        require_good(connection)
    assert asked(emulator) == [(BEFORE, BEFORE), (DAY, DAY), (DAY, DAY)]


@pytest.mark.parametrize(("count", "requests"), [("agrees", 2), ("missing", 3)])
def test_a_day_that_really_is_empty_is_committed_so(
    emulator: EmulatorThread, tmp_path: Path, count: str, requests: int
) -> None:
    seed(emulator, 0)
    with opened(emulator, tmp_path, **FIRST) as connection:
        extract.extract_day(connection, BEFORE)
        if count == "missing":
            emulator.control.fault(match=QUERY, **NO_COUNT)
        assert extract.extract_day(connection, DAY).manifest.rows == 0
        require_good(connection)
    assert len(asked(emulator)) == requests


def test_a_first_reading_that_is_empty_while_mixpanel_counts_events_is_not_committed(
    emulator: EmulatorThread, tmp_path: Path
) -> None:
    seed(emulator)
    with opened(emulator, tmp_path, **FIRST) as connection:
        extract.extract_day(connection, BEFORE)
        emulator.control.fault("empty", match=EXPORT)
        with pytest.raises(mixpanel_errors.EvidenceMissing, match="Mixpanel itself counts 18"):
            extract.extract_day(connection, DAY, retry=NO_WAIT)
        assert connection.day(extract.TABLE, DAY).manifest() is None
        assert extract.extract_day(connection, DAY, force=True).manifest.rows == 0


def test_a_live_day_whose_manifest_was_lost_is_not_taken_back_by_an_empty_answer(
    emulator: EmulatorThread, connection: Connection
) -> None:
    ingested(emulator, connection)
    connection.storage.write(f"{connection.day(extract.TABLE, DAY).path}/manifest.json", b"")
    emulator.control.fault("empty", match=EXPORT)
    with pytest.raises(mixpanel_errors.EvidenceMissing, match="Mixpanel itself counts 18"):
        run_day(connection)
    assert live(emulator, connection) == 36
    emulator.control.clear_faults()
    run_day(connection)
    assert (rows(connection), live(emulator, connection)) == (18, 36)
    require_good(connection)


def test_an_empty_day_beside_small_ones_is_asked_for_once(emulator: EmulatorThread, connection: Connection) -> None:
    seed(emulator, 0)
    for day in (BEFORE, DAY):
        extract.extract_day(connection, day)
    assert len(asked(emulator)) == 2
