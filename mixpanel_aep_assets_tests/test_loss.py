"""A committed day is not taken back, nor cut short, by an answer of Mixpanel that nothing bears out.

Most tests read a second day beside the day in question, since Mixpanel's count is a witness only for names that it is seen to
count somewhere.
"""

from __future__ import annotations

import datetime
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import dagster as dg
import pytest
from click.testing import CliRunner

from mixpanel_aep_assets import failures
from mixpanel_aep_assets.cli import cli
from mixpanel_aep_assets.components import MixpanelToAep
from mixpanel_aep_assets.components.mixpanel_to_aep import build_connection
from mixpanel_aep_assets.connection import Opened
from mixpanel_aep_assets.emulator import EmulatorThread
from mixpanel_aep_assets.errors import ExplainedError
from mixpanel_aep_assets.mixpanel import doubt, errors, slices
from mixpanel_aep_assets.mixpanel.budget import open_budget
from mixpanel_aep_assets.mixpanel.export import UNCHANGED
from mixpanel_aep_assets.mixpanel.retry import Retry
from mixpanel_aep_assets.pipeline import evidence, extract, history, report, verify
from mixpanel_aep_assets.pipeline.passes import Pass
from mixpanel_aep_assets_tests.connections import (
    DAY,
    event,
    events,
    lines,
    opened,
    provisioned,
    run_day,
    settled,
    variables,
)

EXPORT, QUERY = {"path": "/api/2.0/export"}, {"path": "/api/query/*"}
BEFORE = (datetime.date.fromisoformat(DAY) - datetime.timedelta(days=1)).isoformat()
AFTER = (datetime.date.fromisoformat(DAY) + datetime.timedelta(days=1)).isoformat()
NO_WAIT = Retry(tries=2, first=0.0, longest=0.0, jitter=(0.0, 0.0), sleep=lambda _: None)


def moved(days: int, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Events of DAY as events of another day."""
    for row in rows:
        for name in ("time", "$mp_api_timestamp_ms", "mp_processing_time_ms"):
            row["properties"][name] += days * 86_400_000
    return rows


@pytest.fixture
def connection(emulator: EmulatorThread, tmp_path: Path) -> Iterator[Opened]:
    emulator.control.settings(export_per_second=1_000)
    with opened(emulator, tmp_path) as connection:
        yield provisioned(connection)


def live(emulator: EmulatorThread, connection: Opened) -> int:
    emulator.control.settle()
    return int(emulator.control.books(connection.dataset)["live"]["rows"])


def asked(emulator: EmulatorThread, what: str = "/export") -> list[tuple[str, str]]:
    """The ranges of the requests so far."""
    queries = [parse_qs(r["query"]) for r in emulator.control.requests() if r["path"].endswith(what)]
    return [(query["from_date"][0], query["to_date"][0]) for query in queries]


def rows(connection: Opened, day: str = DAY) -> int:
    manifest = connection.day(extract.TABLE, day).manifest()
    assert manifest is not None
    return int(manifest["rows"])


def seed(emulator: EmulatorThread, count: int = 18) -> None:
    """DAY has so many events, the day before has 18."""
    emulator.control.seed_day(BEFORE, lines(moved(-1, events(18))))
    emulator.control.seed_day(DAY, lines(events(count)))


def ingested(emulator: EmulatorThread, connection: Opened) -> None:
    """Both days are live."""
    seed(emulator)
    for day in (BEFORE, DAY):
        run_day(connection, day)
        settled(connection, day)


WORSE = {"empty answer": {"kind": "empty"}, "short answer": {"kind": "short", "after_lines": 7}}
NO_COUNT = {"kind": "status", "status": 402}


def doubted(connection: Opened, day: str = DAY) -> str:
    """The text of the red check."""
    finding = verify.loss_is_proven(connection, day)
    assert (finding.passed, finding.severe) == (False, True)
    return finding.text


def require_good(connection: Opened, day: str = DAY) -> None:
    finding = verify.loss_is_proven(connection, day)
    assert finding.passed, finding.text
    assert doubt.read(connection.day(extract.TABLE, day)) is None


@pytest.mark.parametrize("worse", WORSE)
def test_an_answer_that_the_count_contradicts_is_asked_for_again_and_the_good_one_settles_it(
    emulator: EmulatorThread, connection: Opened, worse: str
) -> None:
    ingested(emulator, connection)
    emulator.control.fault(match=EXPORT, count=1, **WORSE[worse])
    before = len(asked(emulator))
    assert extract.extract_day(connection, DAY)[UNCHANGED]
    assert len(asked(emulator)) == before + 2
    require_good(connection)


@pytest.mark.parametrize("worse", WORSE)
def test_an_answer_that_the_count_contradicts_is_not_believed_however_often_it_comes(
    emulator: EmulatorThread, connection: Opened, worse: str
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
        assert report.counts_of(connection, DAY)["status"] == report.DOUBTED
    assert len(asked(emulator)) == before + 4, "one request more a reading"
    emulator.control.clear_faults()
    run_day(connection)
    require_good(connection)
    assert report.counts_of(connection, DAY)["status"] == "ingested"


@pytest.mark.parametrize("left", [0, 5])
def test_an_answer_that_the_count_bears_out_is_believed_at_once(
    emulator: EmulatorThread, connection: Opened, left: int
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
    emulator: EmulatorThread, connection: Opened, worse: str
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
    emulator: EmulatorThread, connection: Opened
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


def test_a_count_that_knows_none_of_the_names_is_no_evidence(emulator: EmulatorThread, connection: Opened) -> None:
    emulator.control.seed_day(DAY, lines(events(18)))
    extract.extract_day(connection, DAY)
    emulator.control.seed_day(DAY, b"")  # now the name is counted nowhere, as one that is hidden in Lexicon
    said: list[str] = []
    extract.extract_day(connection, DAY, log=said.append)
    assert rows(connection) == 0
    assert asked(emulator) == [(DAY, DAY)] * 3
    assert any("hidden in Lexicon" in text for text in said)


def test_a_forced_run_believes_the_answer(emulator: EmulatorThread, connection: Opened) -> None:
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


def test_duplicates_that_mixpanel_drops_are_no_loss(emulator: EmulatorThread, connection: Opened) -> None:
    emulator.control.seed_day(DAY, lines(events(30) * 2))
    extract.extract_day(connection, DAY)
    emulator.control.seed_day(DAY, lines(events(30)))
    extract.extract_day(connection, DAY)
    assert asked(emulator) == [(DAY, DAY)] * 2
    assert rows(connection) == 30


def test_half_of_a_day_in_which_everything_is_doubled_is_seen_through(
    emulator: EmulatorThread, connection: Opened
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
    emulator: EmulatorThread, connection: Opened, tmp_path: Path
) -> None:
    ingested(emulator, connection)
    emulator.control.project(id=777)
    emulator.control.account(
        username=connection.source.credentials.username,
        secret=connection.source.credentials.secret.get_secret_value(),  # type: ignore[union-attr]
        projects={"12345": "analyst", "777": "analyst"},
    )
    with opened(emulator, tmp_path, project_id=777) as wrong:
        for _ in range(2):
            extract.extract_day(wrong, DAY)
            assert "another project (US/12345)" in doubted(wrong)


def test_the_hour_being_spent_leaves_the_day_and_the_run_comes_back(
    emulator: EmulatorThread, connection: Opened, tmp_path: Path
) -> None:
    ingested(emulator, connection)
    emulator.control.fault(match=QUERY, **NO_COUNT)
    emulator.control.fault("empty", match=EXPORT)
    clock = [1_800_000_000.0]
    connection.mixpanel.budget = open_budget(
        "p", 1 / 60, str(tmp_path / "one"), clock=lambda: clock[0], sleep=lambda s: clock.__setitem__(0, clock[0] + s)
    )
    with pytest.raises(errors.EvidenceMissing, match="second request has not been answered") as raised:
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


def test_a_second_request_that_fails_says_what_it_was_for(emulator: EmulatorThread, connection: Opened) -> None:
    ingested(emulator, connection)
    emulator.control.fault("empty", match=EXPORT, count=1)
    emulator.control.fault("status", match=EXPORT | {"from_nth": 2}, status=503)
    with pytest.raises(errors.EvidenceMissing, match=r"0 events, 18 of the 18 .* failed: Mixpanel failed"):
        extract.extract_day(connection, DAY, retry=NO_WAIT)
    assert rows(connection) == 18


def test_a_note_beside_a_day_that_was_replaced_since_means_nothing(
    emulator: EmulatorThread, connection: Opened
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
def pacific(emulator: EmulatorThread, tmp_path: Path) -> Iterator[Opened]:
    """A project whose exports are in UTC while its reports count days in California; three days with events all day."""
    emulator.control.settings(export_per_second=1_000)
    emulator.control.project(id=12345, timezone="US/Pacific")
    for number, day in enumerate((BEFORE, DAY, AFTER), -1):
        hours = [event(hour * 3600 - 43_200, name="Hour") for hour in range(24)]
        emulator.control.seed_day(day, lines(moved(number, hours)))
    with opened(emulator, tmp_path, time_mode="utc", timezone="US/Pacific") as connection:
        for day in (BEFORE, DAY, AFTER):
            extract.extract_day(connection, day)
        yield connection


@pytest.mark.parametrize("worse", WORSE)
def test_in_utc_mode_the_count_is_compared_in_the_projects_zone(
    emulator: EmulatorThread, pacific: Opened, worse: str
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
    emulator: EmulatorThread, pacific: Opened
) -> None:
    emulator.control.fault("empty", match=EXPORT)
    before = len(asked(emulator))
    said: list[str] = []
    extract.extract_day(pacific, AFTER, log=said.append)
    assert rows(pacific, AFTER) == 0
    assert len(asked(emulator)) == before + 2
    assert any("is not exported, so they cannot be compared" in text for text in said)


def window(connection: Opened, days: list[str], pass_id: str, **more: Any) -> list[dict[str, Any]]:
    together = Pass(pass_id, tuple(sorted(days)))
    return [history.extract_day(connection, day, together=together, retry=NO_WAIT, **more) for day in reversed(days)]


def week(emulator: EmulatorThread, count: int = 18) -> list[str]:
    """Six days of so many events."""
    days = []
    for back in range(-5, 1):
        days.append((datetime.date.fromisoformat(DAY) + datetime.timedelta(days=back)).isoformat())
        emulator.control.seed_day(days[-1], lines(moved(back, events(count))))
    return days


@pytest.mark.parametrize("worse", WORSE)
def test_a_window_asks_once_more_for_all_its_doubted_days_together(
    emulator: EmulatorThread, connection: Opened, worse: str
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
    for day, manifest in zip(reversed(days), made, strict=True):
        assert manifest["rows"] == 18, "the committed day stays"
        if day in short or day == first:
            assert "Mixpanel itself counts 18" in doubted(connection, day)
    emulator.control.clear_faults()
    window(connection, days, "third")
    for day in days:
        require_good(connection, day)


def test_a_window_commits_its_good_days_and_believes_those_that_vanished_on_a_second_reading(
    emulator: EmulatorThread, connection: Opened
) -> None:
    days = week(emulator)
    window(connection, days, "first")
    emulator.control.fault(match=QUERY, **NO_COUNT)
    emulator.control.seed_day(days[1], b"")
    emulator.control.seed_day(days[3], lines(moved(-2, events(20))))
    before = len(asked(emulator))
    made = {manifest["day"]: manifest for manifest in window(connection, days, "second")}
    assert asked(emulator)[before:] == [(days[0], days[-1])] * 2
    assert [rows(connection, day) for day in days] == [18, 0, 18, 20, 18, 18]
    assert made[days[3]]["changes"] == {"appeared": 2, "changed": 0, "vanished": 0}
    assert [UNCHANGED in made[day] for day in days] == [True, False, True, False, True, True]


def test_a_forced_window_believes_its_answer(emulator: EmulatorThread, connection: Opened) -> None:
    days = week(emulator)
    window(connection, days, "first")
    emulator.control.fault("empty", match=EXPORT)
    window(connection, days, "second", force=True)
    assert [rows(connection, day) for day in days] == [0] * 6


def test_a_day_read_in_slices_is_doubted_as_well(emulator: EmulatorThread, connection: Opened) -> None:
    ingested(emulator, connection)
    emulator.control.fault("empty", match=EXPORT)
    date = datetime.date.fromisoformat(DAY)
    day = connection.day(extract.TABLE, DAY)

    def request(judge: doubt.Judge) -> evidence.Manifests:
        return {date: slices.export_slices(connection.mixpanel, day, date, {}, 2, retry=NO_WAIT, judge=judge)}

    before = len(asked(emulator))
    evidence.read(connection, extract.TABLE, [date], request, retry=NO_WAIT)
    assert len(asked(emulator)) == before + 4
    assert "Mixpanel itself counts 18" in doubted(connection)


FIRST = {"empty_floor": 18}


def test_a_first_reading_that_is_empty_beside_a_full_day_is_asked_for_once_more(
    emulator: EmulatorThread, tmp_path: Path
) -> None:
    seed(emulator)
    with opened(emulator, tmp_path, **FIRST) as connection:
        extract.extract_day(connection, BEFORE)
        emulator.control.fault("empty", match=EXPORT, count=1)
        assert extract.extract_day(connection, DAY)["rows"] == 18
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
        assert extract.extract_day(connection, DAY)["rows"] == 0
        require_good(connection)
    assert len(asked(emulator)) == requests


def test_a_first_reading_that_is_empty_while_mixpanel_counts_events_is_not_committed(
    emulator: EmulatorThread, tmp_path: Path
) -> None:
    seed(emulator)
    with opened(emulator, tmp_path, **FIRST) as connection:
        extract.extract_day(connection, BEFORE)
        emulator.control.fault("empty", match=EXPORT)
        with pytest.raises(errors.EvidenceMissing, match="Mixpanel itself counts 18"):
            extract.extract_day(connection, DAY, retry=NO_WAIT)
        assert connection.day(extract.TABLE, DAY).manifest() is None
        assert extract.extract_day(connection, DAY, force=True)["rows"] == 0


def test_a_live_day_whose_manifest_was_lost_is_not_taken_back_by_an_empty_answer(
    emulator: EmulatorThread, connection: Opened
) -> None:
    ingested(emulator, connection)
    connection.storage.write(f"{connection.day(extract.TABLE, DAY).path}/manifest.json", b"")
    emulator.control.fault("empty", match=EXPORT)
    with pytest.raises(errors.EvidenceMissing, match="Mixpanel itself counts 18"):
        run_day(connection)
    assert live(emulator, connection) == 36
    emulator.control.clear_faults()
    run_day(connection)
    assert (rows(connection), live(emulator, connection)) == (18, 36)
    require_good(connection)


def test_an_empty_day_beside_small_ones_is_asked_for_once(emulator: EmulatorThread, connection: Opened) -> None:
    seed(emulator, 0)
    for day in (BEFORE, DAY):
        extract.extract_day(connection, day)
    assert len(asked(emulator)) == 2


def test_events_that_came_with_more_days_are_looked_for_there_before_they_are_taken_as_gone(
    emulator: EmulatorThread, connection: Opened
) -> None:
    days = week(emulator)
    stray = lines(moved(-5, [event(100)]))
    emulator.control.seed_day(days[1], stray, append=True)  # an event of the first day, filed under the second
    window(connection, days[-1:], "size")
    made = {manifest["day"]: manifest for manifest in window(connection, days, "all")}
    begin, end = made[days[0]]["window"]["from"], made[days[0]]["window"]["to"]
    assert rows(connection, days[0]) == 19
    before = len(asked(emulator))
    said: list[str] = []
    assert extract.extract_day(connection, days[0], log=said.append)[UNCHANGED]
    assert asked(emulator)[before:] == [(days[0], days[0]), (begin, end)]
    assert rows(connection, days[0]) == 19
    assert any("Mixpanel may have filed them" in text for text in said)
    require_good(connection, days[0])
    emulator.control.seed_day(days[1], lines(moved(-4, events(20))))
    made_again = extract.extract_day(connection, days[0])
    assert (made_again["rows"], made_again["changes"]["vanished"]) == (18, 1), "the wider request says that it is gone"
    assert rows(connection, days[1]) == 18, "the other days of that request stay as they are"


def test_a_wider_request_that_fails_leaves_the_day(emulator: EmulatorThread, connection: Opened) -> None:
    days = week(emulator)
    emulator.control.seed_day(days[1], lines(moved(-5, [event(100)])), append=True)
    window(connection, days[-1:], "size")
    window(connection, days, "all")
    emulator.control.fault("status", match=EXPORT | {"nth": [2, 3]}, status=503)
    with pytest.raises(errors.EvidenceMissing, match="may have filed them"):
        extract.extract_day(connection, days[0], retry=NO_WAIT)
    assert rows(connection, days[0]) == 19
    assert "that request has not been answered again yet" in doubted(connection, days[0])


@pytest.fixture
def definitions(
    emulator: EmulatorThread, connection: Opened, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> dg.Definitions:
    """The connection `default` on the same storage, both days ingested."""
    ingested(emulator, connection)
    for name, value in variables(emulator, tmp_path).items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("DAGSTER_HOME")
    block = MixpanelToAep()
    return dg.Definitions.merge(build_connection(block, block.block()), dg.Definitions(executor=dg.in_process_executor))


def test_in_dagster_the_check_is_red_and_nothing_behind_it_runs(
    emulator: EmulatorThread, connection: Opened, definitions: dg.Definitions
) -> None:
    emulator.control.fault("empty", match=EXPORT)

    def run(tags: dict[str, str] | None = None) -> Any:
        return definitions.resolve_job_def("default_daily").execute_in_process(
            instance=instance, partition_key=DAY, tags=tags, raise_on_error=False
        )

    with dg.DagsterInstance.ephemeral() as instance:
        result = run()
        assert not result.success
        (red,) = [e for e in result.get_asset_check_evaluations() if not e.passed]
        assert (red.check_name, red.blocking, red.partition) == ("loss_is_proven", True, DAY)
        assert red.metadata["events_committed"].value == 18
        assert red.metadata["mixpanel_count"].value == 18
        (raw,) = result.get_asset_materialization_events()
        assert "Mixpanel itself counts 18" in raw.materialization.metadata["not_believed"].value
        assert raw.materialization.metadata["dagster/partition_row_count"].value == 18
        assert live(emulator, connection) == 36
        assert run({failures.FORCE_TAG: "true"}).success
    assert live(emulator, connection) == 18


@pytest.mark.usefixtures("definitions")
def test_the_command_fails_and_its_report_says_doubted_until_it_is_forced(
    emulator: EmulatorThread, connection: Opened, tmp_path: Path
) -> None:
    emulator.control.fault("empty", match=EXPORT)
    file = tmp_path / "report.json"

    def command(*more: str) -> Any:
        over = ["run", "--from", DAY, "--to", DAY, "--report", str(file)]
        return CliRunner().invoke(cli, [*over, *more], standalone_mode=False)

    done = command()
    assert done.return_value == 1, done.output
    assert "loss_is_proven" in done.output
    (row,) = json.loads(file.read_text())["days"]
    assert row["status"] == "failed"
    assert "Mixpanel itself counts 18" in row["reason"]
    assert live(emulator, connection) == 36
    reconciled = CliRunner().invoke(cli, ["reconcile", "--from", DAY, "--to", DAY], standalone_mode=False)
    assert reconciled.return_value == 1
    assert report.DOUBTED in reconciled.output
    done = command("--force", "--wait")
    assert done.return_value == 0, done.output
    assert live(emulator, connection) == 18
