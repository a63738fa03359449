"""The time mode of a connection, found out over its days: small projects, zones without offset, days that had to wait."""

from __future__ import annotations

import datetime
import json
from pathlib import Path
from typing import Any

import dagster as dg
import polars as pl
import pytest
from click.testing import CliRunner

from mixpanel_aep_assets.cli import cli
from mixpanel_aep_assets.connection import Connection, remembered
from mixpanel_aep_assets.emulator import EmulatorThread
from mixpanel_aep_assets.mixpanel.mixpanel_errors import TimeModeUnsure
from mixpanel_aep_assets.mixpanel.zones import zone
from mixpanel_aep_assets.orchestration import failures
from mixpanel_aep_assets.pipeline.books import verify
from mixpanel_aep_assets.pipeline.steps import extract, time_modes, transform
from mixpanel_aep_assets.storage import open_storage
from mixpanel_aep_assets_tests.connections import DAY, opened, provisioned, variables
from mixpanel_aep_assets_tests.orchestration.layer import default_definitions

LAST = datetime.date.fromisoformat(DAY)
SHARED = Path(__file__).resolve().parents[3] / "shared"
CHICAGO = "America/Chicago"


def days(count: int) -> list[str]:
    """Oldest first, the last one is DAY."""
    return [(LAST - datetime.timedelta(days=n)).isoformat() for n in reversed(range(count))]


def seed(emulator: EmulatorThread, mode: str, timezone: str, instants: list[datetime.datetime]) -> None:
    """A project of this mode and zone with events of these instants, received within a second."""
    emulator.control.project(id=12345, timezone=timezone, mode=mode)
    emulator.control.settings(export_per_second=100)
    rows = []
    for number, instant in enumerate(instants):
        at = int(instant.timestamp() * 1000)
        received = {"$mp_api_timestamp_ms": at + 700, "mp_processing_time_ms": at + 900}
        properties = {"time": at, "distinct_id": "u", "$insert_id": f"{number}", **received}
        rows.append({"event": "Play", "properties": properties})
    emulator.control.seed_events(rows)


def hours(day: str, count: int, *, first: int = 8, timezone: str = "UTC") -> list[datetime.datetime]:
    """Instants of a day, one an hour."""
    begin = datetime.datetime.fromisoformat(day).replace(hour=first, tzinfo=zone(timezone))
    return [begin.astimezone(datetime.UTC) + datetime.timedelta(hours=n) for n in range(count)]


def stored_times(connection: Connection, day: str) -> list[datetime.datetime]:
    transform.transform_day(connection, day)
    files = connection.day(transform.TABLE, day).locations()
    return sorted(pl.read_parquet(files, columns=["timestamp"])["timestamp"])


def requests(emulator: EmulatorThread) -> int:
    return int(emulator.control.counters()["requests"].get("GET /api/2.0/export", 0))


@pytest.mark.parametrize(
    ("timezone", "day"),
    [
        ("Europe/London", "2025-01-20"), ("Europe/London", "2025-07-01"), ("Europe/Lisbon", "2025-01-20"),
        ("Europe/Dublin", "2025-01-20"), ("Atlantic/Azores", "2025-07-01"), ("Africa/Casablanca", "2025-03-10"),
        ("Atlantic/Reykjavik", "2025-07-01"), ("Africa/Abidjan", "2025-07-01"),
    ],
)  # fmt: skip
def test_project_time_is_green_on_days_with_and_without_an_offset(
    emulator: EmulatorThread, tmp_path: Path, timezone: str, day: str
) -> None:
    instants = hours(day, 22, first=1, timezone=timezone)
    seed(emulator, "legacy", timezone, instants)
    with opened(emulator, tmp_path, timezone=timezone, time_mode="project") as connection:
        provisioned(connection)
        extract.extract_day(connection, day)
        finding = verify.time_mode_is_sure(connection, day)
        assert finding.passed, finding.text
        assert stored_times(connection, day) == instants


@pytest.mark.parametrize("mode", ["legacy", "utc"])
@pytest.mark.parametrize("timezone", ["Europe/London", "Europe/Lisbon", "Europe/Dublin"])
def test_an_autumn_change_seen_first_is_told_rightly_or_not_at_all(
    emulator: EmulatorThread, connection: Connection, timezone: str, mode: str
) -> None:
    day, count = "2024-10-27", 60
    begin = datetime.datetime(2024, 10, 27, tzinfo=zone(timezone) if mode == "legacy" else datetime.UTC)
    instants = [begin.astimezone(datetime.UTC) + datetime.timedelta(minutes=24 * n) for n in range(count)]
    seed(emulator, mode, timezone, instants)
    manifest = extract.extract_day(connection, day).manifest
    finding = verify.time_mode_is_sure(connection, day)
    if mode == "legacy":
        assert (manifest.time_mode, finding.passed) == ("project", True)
        assert stored_times(connection, day) == instants
    else:
        assert not finding.passed
        assert remembered.time_mode(connection.storage, "default") is None


def test_winter_days_are_taken_and_leave_the_mode_open_until_summer_tells(
    emulator: EmulatorThread, connection: Connection
) -> None:
    winter, summer = "2025-01-20", "2025-07-01"
    seed(emulator, "legacy", "Europe/London", hours(winter, 20) + hours(summer, 10))
    extract.extract_day(connection, winter)
    assert verify.time_mode_is_sure(connection, winter).passed
    assert connection.time_mode() is None
    assert extract.extract_day(connection, summer).manifest.time_mode == "project"
    assert verify.time_mode_is_sure(connection, winter).passed
    assert verify.time_mode_is_sure(connection, summer).passed
    assert stored_times(connection, summer) == hours(summer, 10)


def test_days_with_too_few_events_count_together(emulator: EmulatorThread, connection: Connection) -> None:
    first, second, third = days(3)
    seed(emulator, "legacy", CHICAGO, [*hours(first, 2), *hours(second, 2), *hours(third, 2)])
    for day in (third, second):
        extract.extract_day(connection, day)
        finding = verify.time_mode_is_sure(connection, day)
        assert (finding.passed, finding.waits) == (False, True)
        assert "MIXPANEL_TIME_MODE" in finding.text
    assert extract.extract_day(connection, first).manifest.time_mode == "project"
    asked = requests(emulator)
    for day in days(3):
        assert verify.time_mode_is_sure(connection, day).passed
        assert stored_times(connection, day) == hours(day, 2)
    assert requests(emulator) == asked, "what is stored is not exported again"


def test_runs_side_by_side_lose_no_evidence(emulator: EmulatorThread, connection: Connection, tmp_path: Path) -> None:
    """Neither of two exports sees the other's events; whoever looks afterwards sees both."""
    first, second = days(2)
    seed(emulator, "utc", CHICAGO, [*hours(first, 3), *hours(second, 3)])
    extract.extract_day(connection, first)
    with opened(emulator, tmp_path / "other") as beside:
        extract.extract_day(beside, second)
        source = Path(beside.storage.url) / "default" / "raw_events" / second
        source.rename(Path(connection.storage.url) / "default" / "raw_events" / second)
    assert connection.time_mode() is None
    for day in (first, second):
        assert verify.time_mode_is_sure(connection, day).passed
    decided = connection.time_mode()
    assert decided is not None
    assert decided.mode == "utc"


def test_the_first_decision_stands_and_a_day_under_another_is_red(
    emulator: EmulatorThread, connection: Connection
) -> None:
    seed(emulator, "utc", CHICAGO, hours(DAY, 8))
    extract.extract_day(connection, DAY)
    path = Path(connection.storage.url) / "default" / "time_mode.json"
    kept = json.loads(path.read_bytes())
    path.write_text(json.dumps({**kept, "mode": "project"}))
    finding = verify.time_mode_is_sure(connection, DAY)
    assert (finding.passed, finding.severe) == (False, True)
    again = time_modes.decide(connection)
    assert again is not None
    assert again.mode == "project", "a later decision does not replace an earlier one"


def test_a_day_of_unknown_mode_is_not_turned_into_xdm_except_to_look_at(
    emulator: EmulatorThread, connection: Connection, tmp_path: Path
) -> None:
    seed(emulator, "legacy", CHICAGO, hours(DAY, 2))
    extract.extract_day(connection, DAY)
    with pytest.raises(TimeModeUnsure, match="MIXPANEL_TIME_MODE"):
        transform.transform_day(connection, DAY)
    assert transform.transform_day(connection, DAY, target=open_storage(str(tmp_path / "passing"))).rows == 2
    with opened(emulator, tmp_path, timezone=CHICAGO, time_mode="project") as told:
        asked = requests(emulator)
        assert stored_times(told, DAY) == hours(DAY, 2)
        assert requests(emulator) == asked


@pytest.mark.parametrize(
    "torn", [b"", b'{"mode":"utc"', b"[]", b'{"mode":"local","timezone":"UTC","day":"","evidence":""}']
)
def test_a_torn_decision_counts_as_never_written(emulator: EmulatorThread, connection: Connection, torn: bytes) -> None:
    seed(emulator, "utc", CHICAGO, hours(DAY, 8))
    connection.storage.write("default/time_mode.json", torn)
    assert connection.time_mode() is None
    assert extract.extract_day(connection, DAY).manifest.time_mode == "utc"
    decided = connection.time_mode()
    assert decided is not None
    assert decided.mode == "utc"


def test_a_day_whose_guess_turns_out_right_does_not_stay_unsure_when_it_is_exported_again(
    emulator: EmulatorThread, connection: Connection
) -> None:
    seed(emulator, "utc", CHICAGO, hours(DAY, 2))
    assert not extract.extract_day(connection, DAY).manifest.time_evidence.sure
    connection.storage.write(
        "default/time_mode.json",
        json.dumps({"mode": "utc", "timezone": CHICAGO, "day": "2026-01-01", "evidence": "told"}).encode(),
    )
    assert extract.extract_day(connection, DAY).manifest.time_evidence.sure


def test_events_at_an_offset_of_neither_mode_are_told(emulator: EmulatorThread, connection: Connection) -> None:
    """As after a change of the project's zone, which does not reach back."""
    first, second = days(2)
    seed(emulator, "legacy", CHICAGO, hours(first, 8))
    extract.extract_day(connection, first)
    emulator.control.project(id=12345, timezone="America/New_York", mode="legacy")
    instants = [hours(second, 1)[0] + datetime.timedelta(minutes=n) for n in range(30)]
    seed(emulator, "legacy", "America/New_York", instants)
    extract.extract_day(connection, second)
    finding = verify.time_mode_is_sure(connection, second)
    assert not finding.passed
    assert "zone changed" in finding.text


@pytest.fixture
def environment(emulator: EmulatorThread, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    made = variables(emulator, tmp_path) | {"MIXPANEL_AEP_START_DATE": "2025-01-01"}
    for name, value in made.items():
        monkeypatch.setenv(name, value)
    with opened(emulator, tmp_path) as connection:
        provisioned(connection)
    return made


def run(*arguments: str) -> Any:
    return CliRunner().invoke(cli, ["run", *arguments], standalone_mode=False, catch_exceptions=False)


@pytest.mark.parametrize("mode", ["legacy", "utc"])
@pytest.mark.parametrize("a_day", [5, 2])
def test_a_project_of_a_few_events_a_day_is_done_in_one_command(
    emulator: EmulatorThread, environment: dict[str, str], tmp_path: Path, mode: str, a_day: int
) -> None:
    wanted = days(5)
    instants = [instant for day in wanted for instant in hours(day, a_day)]
    seed(emulator, mode, CHICAGO, instants)
    done = run("--from", wanted[0], "--to", wanted[-1], "--wait")
    assert done.return_value == 0, done.output
    books = emulator.control.books()["live"]
    assert books["rows"] == books["distinct_ids"] == len(instants)
    assert requests(emulator) <= len(wanted)
    with opened(emulator, tmp_path) as connection:
        assert [one for day in wanted for one in stored_times(connection, day)] == instants


def test_days_without_any_sign_end_in_one_sentence_each_and_exit_1(
    emulator: EmulatorThread, environment: dict[str, str]
) -> None:
    wanted = days(2)
    seed(emulator, "utc", CHICAGO, [instant for day in wanted for instant in hours(day, 1)])
    done = run("--from", wanted[0], "--to", wanted[-1])
    assert done.return_value == 1
    assert done.output.count("means is not known yet") == 2
    assert "MIXPANEL_TIME_MODE" in done.output


def requeue(definitions: dg.Definitions, instance: dg.DagsterInstance) -> list[Any]:
    sensor = definitions.resolve_sensor_def("default_requeue")
    with dg.build_sensor_context(instance=instance, definitions=definitions) as context:
        return list(sensor.evaluate_tick(context).run_requests or [])


def test_a_red_day_comes_back_by_itself_once_other_days_have_told_the_mode(
    emulator: EmulatorThread, environment: dict[str, str]
) -> None:
    first, second = days(2)
    seed(emulator, "legacy", CHICAGO, [*hours(first, 3), *hours(second, 3)])
    definitions = default_definitions()
    job = definitions.resolve_job_def("default_daily")
    with dg.DagsterInstance.ephemeral() as instance:
        red = job.execute_in_process(instance=instance, partition_key=second, raise_on_error=False)
        assert not red.success
        assert not requeue(definitions, instance), "nothing has told the mode yet"
        assert job.execute_in_process(instance=instance, partition_key=first).success
        (request,) = requeue(definitions, instance)
        assert (request.tags["dagster/partition"], request.tags[failures.UNSURE_TAG]) == (second, "1")
        asked = requests(emulator)
        back = job.execute_in_process(instance=instance, tags=request.tags)
        assert back.success
        assert requests(emulator) == asked
        instance.add_run_tags(red.run_id, {failures.REQUEUE_TAG: "done"})
        assert not requeue(definitions, instance)


def test_a_connection_on_another_storage_knows_the_mode(
    emulator: EmulatorThread, connection: Connection, tmp_path: Path
) -> None:
    seed(emulator, "legacy", CHICAGO, hours(DAY, 8))
    extract.extract_day(connection, DAY)
    elsewhere = connection.with_storage(open_storage(str(tmp_path / "passing")))
    decided = elsewhere.time_mode()
    assert decided is not None
    assert decided.mode == "project"


@pytest.mark.parametrize("day", ["2025-01-20", "2025-07-01"])
def test_the_shared_case_of_a_zone_without_offset(emulator: EmulatorThread, tmp_path: Path, day: str) -> None:
    assert_live(emulator, tmp_path, day, time_mode="project", timezone="Europe/London")


def test_the_shared_case_of_an_autumn_change(emulator: EmulatorThread, tmp_path: Path) -> None:
    times = assert_live(emulator, tmp_path, "2024-10-27", timezone="Europe/London")
    assert times[0] == datetime.datetime(2024, 10, 26, 23, tzinfo=datetime.UTC)


def assert_live(emulator: EmulatorThread, folder: Path, day: str, **settings: Any) -> list[datetime.datetime]:
    file = SHARED / "cases" / "zone-without-offset" / f"{day}.ndjson"
    if not file.exists():
        pytest.skip("the shared cases are not beside this repository")
    emulator.control.seed_day(day, file.read_bytes())
    with opened(emulator, folder, **settings) as connection:
        provisioned(connection)
        extract.extract_day(connection, day)
        assert verify.time_mode_is_sure(connection, day).passed
        times = stored_times(connection, day)
    assert len(times) == len(file.read_bytes().splitlines())
    return times
