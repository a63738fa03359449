"""The first day of a connection for which none is set: it stays where it was, and days before it are told."""

from __future__ import annotations

import datetime
import threading
import time
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from click.testing import CliRunner

from mixpanel_aep_assets.cli import cli
from mixpanel_aep_assets.connection import remembered
from mixpanel_aep_assets.emulator import EmulatorThread
from mixpanel_aep_assets.storage import open_storage
from mixpanel_aep_assets_tests.connections import DAY, events, lines, opened, provisioned
from mixpanel_aep_assets_tests.orchestration.layer import default_definitions, described

TODAY = datetime.datetime.now(datetime.UTC).date()
BEFORE = "2026-03-01"


def back(days: int) -> datetime.date:
    return TODAY - datetime.timedelta(days=days)


@pytest.fixture
def environment(emulator: EmulatorThread, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A connection without a start date; the folder of its storage."""
    described(monkeypatch, emulator, tmp_path)
    monkeypatch.delenv("MIXPANEL_AEP_START_DATE")
    return tmp_path / "data"


def build() -> dg.Definitions:
    return default_definitions()


def first_day(definitions: dg.Definitions) -> str:
    days = definitions.resolve_job_def("default_daily").partitions_def
    assert days is not None
    return days.get_partition_keys()[0]


def test_the_default_start_is_remembered_over_midnight(environment: Path) -> None:
    assert first_day(build()) == back(30).isoformat()
    remembered_on = '{"start_date":"' + back(37).isoformat() + '"}'
    (environment / "default" / "start_date.json").write_text(remembered_on)
    assert first_day(build()) == back(37).isoformat(), "a week later it is the same day"


def test_a_start_that_is_set_wins_and_nothing_is_remembered_then(
    environment: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MIXPANEL_AEP_START_DATE", "2026-01-05")
    assert first_day(build()) == "2026-01-05"
    assert not environment.exists()


def test_definitions_without_a_project_leave_nothing_behind(environment: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("MIXPANEL_PROJECT_ID", "MIXPANEL_SECRET"):
        monkeypatch.delenv(name)
    assert first_day(build()) == back(30).isoformat()
    assert not environment.exists()


def test_processes_that_see_the_connection_first_at_once_agree(tmp_path: Path) -> None:
    found: list[datetime.date] = []

    def look(day: datetime.date) -> None:
        found.append(remembered.start_date(str(tmp_path), "shop", day))

    threads = [threading.Thread(target=look, args=(back(n),)) for n in (30, 29, 30, 29)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(found)) == 1


@pytest.mark.parametrize("torn", ["", '{"start_date":"2026-', "[]", '{"start_date":7}'])
def test_a_torn_start_counts_as_never_written(tmp_path: Path, torn: str) -> None:
    file = tmp_path / "shop" / "start_date.json"
    file.parent.mkdir()
    file.write_text(torn)
    assert remembered.start_date(str(tmp_path), "shop", back(30)) == back(30)
    assert remembered.start_date(str(tmp_path), "shop", back(29)) == back(30)


@pytest.mark.parametrize("url", ["/proc/none/data", "zzz://nowhere", "s3://bucket/prefix"])
def test_definitions_load_while_the_storage_cannot_be_reached(
    environment: Path, monkeypatch: pytest.MonkeyPatch, url: str
) -> None:
    monkeypatch.setenv("MIXPANEL_AEP_STORAGE", url)
    for name in ("AWS_ENDPOINT", "AWS_ENDPOINT_URL"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    monkeypatch.setenv("AWS_ALLOW_HTTP", "true")
    monkeypatch.setattr(remembered, "PATIENCE", 0.5)
    assert first_day(build()) == back(30).isoformat()


def test_a_storage_that_hangs_is_not_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    let_go = threading.Event()
    monkeypatch.setattr(remembered, "open_storage", lambda url: (let_go.wait(60), open_storage(url))[1])
    began = time.monotonic()
    assert remembered.start_date(str(tmp_path), "shop", back(30), patience=0.1) == back(30)
    let_go.set()
    assert time.monotonic() - began < 60


@pytest.mark.parametrize(
    ("job", "tags"),
    [
        ("default_daily", {"dagster/partition": BEFORE}),
        ("default_confirm", {"dagster/partition": BEFORE}),
        ("default_daily", {"dagster/asset_partition_range_start": BEFORE, "dagster/asset_partition_range_end": DAY}),
    ],
    ids=["a day", "a day's batch", "a range"],
)
def test_a_run_of_a_day_before_the_start_is_told_in_one_sentence(
    environment: Path, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch, job: str, tags: dict[str, str]
) -> None:
    """As of a day that was queued when the start was moved on, or that a sensor asks for."""
    monkeypatch.setenv("MIXPANEL_AEP_START_DATE", "2026-03-08")
    result = build().resolve_job_def(job).execute_in_process(instance=instance, tags=tags, raise_on_error=False)
    (failed,) = result.get_step_failure_events()
    data: Any = failed.step_failure_data.user_failure_data
    assert BEFORE in data.description
    assert "MIXPANEL_AEP_START_DATE" in data.description
    assert "CheckError" not in str(failed)


def test_run_from_an_earlier_day_makes_it_a_day_of_the_ui_too(environment: Path, emulator: EmulatorThread) -> None:
    old = "2025-03-10"
    with opened(emulator, environment.parent) as connection:
        provisioned(connection)
    emulator.control.seed_day(old, lines(events(3)))
    build()
    done = CliRunner().invoke(cli, ["run", "--from", old, "--to", old], standalone_mode=False, catch_exceptions=False)
    assert "is not a partition" not in done.output
    assert first_day(build()) == old
    CliRunner().invoke(cli, ["run", "--from", "2025-03-11", "--to", "2025-03-11"], standalone_mode=False)
    assert first_day(build()) == old, "a later command does not take days away"
