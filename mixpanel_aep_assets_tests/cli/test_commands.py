"""The commands as a script would call them: reports, exit codes, one clear sentence for bad input."""

from __future__ import annotations

import datetime
import json
import os
import sqlite3
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from mixpanel_aep_assets.cli import full_disk, main
from mixpanel_aep_assets.emulator import EmulatorThread
from mixpanel_aep_assets.mixpanel.export_retry import Retry
from mixpanel_aep_assets_tests.connections import DAY, events, lines, opened, provisioned, variables

pytestmark = pytest.mark.e2e

NEXT = (datetime.date.fromisoformat(DAY) + datetime.timedelta(days=1)).isoformat()


def call(environment: dict[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("MIXPANEL", "ADOBE", "AEP", "DAGSTER"))}
    command = [sys.executable, "-m", "mixpanel_aep_assets", *arguments]
    return subprocess.run(command, env=clean | environment, capture_output=True, text=True, timeout=240, check=False)


@pytest.fixture
def ready(emulator: EmulatorThread, tmp_path: Path) -> dict[str, str]:
    """The environment of a provisioned connection with a day of 40 events and 5 duplicates."""
    with opened(emulator, tmp_path) as connection:
        provisioned(connection)
    emulator.control.seed_day(DAY, lines(events(40) + events(5)))
    return variables(emulator, tmp_path)


def test_run_reports_every_day_and_exits_with_0_when_all_are_in(ready: dict[str, str], tmp_path: Path) -> None:
    file = tmp_path / "r.json"
    done = call(ready, "run", "--from", DAY, "--to", NEXT, "--wait", "--report", str(file))
    assert done.returncode == 0, done.stdout + done.stderr
    report = json.loads(file.read_text())
    first, second = report["days"]
    assert set(first) == {
        "day", "exported", "duplicates", "quarantined", "uploaded", "ingested", "rejected", "batch_id", "status",
    }  # fmt: skip
    counts = {key: first[key] for key in ("exported", "duplicates", "quarantined", "uploaded", "ingested", "rejected")}
    expected = {"exported": 45, "duplicates": 5, "quarantined": 0, "uploaded": 40, "ingested": 40, "rejected": 0}
    assert counts == expected == report["totals"]
    assert (first["status"], second["status"]) == ("ingested", "empty")
    assert call(ready, "reconcile", "--from", DAY, "--to", NEXT).returncode == 0


def test_run_takes_a_day_before_the_default_start_unless_a_start_is_set(
    ready: dict[str, str], emulator: EmulatorThread
) -> None:
    old = "2025-03-10"
    unbound = {key: value for key, value in ready.items() if key != "MIXPANEL_AEP_START_DATE"}
    done = call(unbound, "run", "--from", old, "--to", old)
    assert done.returncode == 0, done.stdout + done.stderr
    assert emulator.control.counters()["requests"]["GET /api/2.0/export"] == 1
    refused = call(ready, "run", "--from", old, "--to", old)
    assert refused.returncode == 2
    assert "MIXPANEL_AEP_START_DATE" in refused.stderr


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"MIXPANEL_SECRET": "wrong"}, "MIXPANEL_SECRET"),
        ({"MIXPANEL_PROJECT_ID": ""}, "MIXPANEL_PROJECT_ID"),
        ({"MIXPANEL_REGION": "MARS"}, "MIXPANEL_REGION"),
        ({"MIXPANEL_USERNAME": "", "MIXPANEL_SECRET": ""}, "Not set: MIXPANEL_USERNAME, MIXPANEL_SECRET"),
        ({"ADOBE_CLIENT_SECRET": ""}, "Not set: ADOBE_CLIENT_SECRET"),
        ({"ADOBE_ORG_ID": ""}, "Not set: ADOBE_ORG_ID"),
        ({"AEP_URL": "platform.adobe.io"}, "AEP_URL='platform.adobe.io' is not a URL"),
        ({"MIXPANEL_AEP_MAPPING": "/no/such/file.json"}, "MIXPANEL_AEP_MAPPING"),
        ({"AEP_DATASET_NAME": "No such dataset"}, "provision"),
        ({"ADOBE_CLIENT_SECRET": "wrong"}, "ADOBE_CLIENT_SECRET"),
        ({"MIXPANEL_AEP_PRIVACY_HASH": "distinct_id"}, "Set MIXPANEL_AEP_PRIVACY_SALT"),
        ({"MIXPANEL_EXPORT_URL": "http://127.0.0.1:9", "MIXPANEL_TIMEZONE": "UTC"}, "127.0.0.1"),
    ],
    ids=[
        "wrong secret",
        "no project id",
        "wrong region",
        "no account",
        "no Adobe secret",
        "no organisation",
        "address without scheme",
        "no mapping file",
        "unknown dataset",
        "wrong Adobe secret",
        "no salt",
        "unreachable host",
    ],
)
def test_bad_input_gives_one_clear_message_and_a_code(
    ready: dict[str, str],
    change: dict[str, str],
    said: str,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    """In this process, where Dagster is loaded: twelve of its own would be a minute of imports."""
    for name in [name for name in os.environ if name.startswith(("MIXPANEL", "ADOBE", "AEP", "DAGSTER"))]:
        monkeypatch.delenv(name)
    for name, value in (ready | change).items():
        monkeypatch.setenv(name, value)
    call_again = Retry.call
    monkeypatch.setattr(Retry, "call", lambda self, *given: call_again(replace(self, sleep=lambda _: None), *given))
    with pytest.raises(SystemExit) as ended:
        main(["run", "--from", DAY, "--to", DAY])
    text = "".join(capfd.readouterr())
    assert ended.value.code not in (0, 130), text
    assert said in text
    assert "Traceback" not in text
    assert "demo-secret" not in text
    assert "demo-client-secret" not in text


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device without room")
def test_a_report_that_finds_no_room_is_told_in_one_sentence(ready: dict[str, str]) -> None:
    done = call(ready, "run", "--from", DAY, "--to", DAY, "--report", "/dev/full")
    assert done.returncode == 1
    assert "The disk is full" in done.stderr
    assert "Traceback" not in done.stderr


def test_an_instance_database_without_room_is_told_as_a_full_disk() -> None:
    cause = sqlite3.OperationalError("database or disk is full")
    error = RuntimeError("of a library between")
    error.__cause__ = cause
    assert "DAGSTER_HOME" in (full_disk(error) or "")
    assert full_disk(RuntimeError("a bug")) is None


def test_provision_enables_profile_when_told_to_and_then_has_nothing_to_change(ready: dict[str, str]) -> None:
    plan = call(ready, "provision", "--profile")
    assert plan.returncode == 0, plan.stdout + plan.stderr
    assert "enable" in plan.stdout
    assert "Nothing was changed" in plan.stdout
    assert call(ready, "provision", "--profile", "--apply").returncode == 0
    assert "Nothing to change" in call(ready, "provision", "--profile").stdout


def test_doctor_takes_a_project_secret_for_what_it_is(ready: dict[str, str], emulator: EmulatorThread) -> None:
    emulator.control.project(id=12345, secret="the-project-secret")
    others = {"MIXPANEL_USERNAME": "", "MIXPANEL_SECRET": "", "MIXPANEL_PROJECT_ID": ""}
    done = call(ready | others | {"MIXPANEL_PROJECT_SECRET": "the-project-secret"}, "doctor")
    assert done.returncode == 0, done.stdout
    assert "3 March 2027" in done.stdout
    assert "the-project-secret" not in done.stdout


def test_doctor_finds_nothing_wrong_with_a_ready_connection(ready: dict[str, str]) -> None:
    done = call(ready, "doctor")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "wrong" not in done.stdout


def test_doctor_names_what_is_wrong_with_a_mapping_set(ready: dict[str, str], tmp_path: Path) -> None:
    file = tmp_path / "set.json"
    file.write_text('[{"source": "uper(event)", "destination": "eventType", "sourceType": "EXPRESSION"}]')
    done = call(ready | {"MIXPANEL_AEP_MAPPING": str(file)}, "doctor")
    assert done.returncode == 1
    assert "there is no function uper (did you mean upper?)" in done.stdout


def test_doctor_names_each_wrong_thing_and_goes_on(ready: dict[str, str]) -> None:
    done = call(ready | {"MIXPANEL_SECRET": "no", "AEP_DATASET_NAME": "none of that name"}, "doctor")
    assert done.returncode == 1
    assert "MIXPANEL_SECRET" in done.stdout
    assert "none of that name" in done.stdout


def test_provisioning_twice_changes_nothing(emulator: EmulatorThread, tmp_path: Path) -> None:
    environment = variables(emulator, tmp_path)
    assert "5 changes" in call(environment, "provision", "--apply").stdout
    assert "Nothing to change" in call(environment, "provision").stdout


def test_preview_shows_raw_and_mapped_and_keeps_nothing(ready: dict[str, str], tmp_path: Path) -> None:
    done = call(ready, "preview", "--day", DAY, "--rows", "1")
    assert done.returncode == 0, done.stderr
    assert "as XDM" in done.stdout
    assert not list((tmp_path / "data").rglob("*.parquet"))


def test_help_is_there_for_every_command() -> None:
    done = call({}, "--help")
    for name in ("demo", "doctor", "preview", "provision", "run", "reconcile", "mapping", "conformance", "emulator"):
        assert name in done.stdout
