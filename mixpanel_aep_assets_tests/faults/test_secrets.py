"""No secret anywhere: logs, event log, metadata, run config, exceptions, files, the process list."""

from __future__ import annotations

import base64
import logging
import os
import signal
import subprocess
import sys
import time
import urllib.parse
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import psutil
import pytest

from mixpanel_aep_assets.cli.demo import CREDENTIALS
from mixpanel_aep_assets.components import MixpanelToAep
from mixpanel_aep_assets.components.mixpanel_to_aep import build_connection
from mixpanel_aep_assets.emulator import EmulatorThread
from mixpanel_aep_assets.pipeline.steps import transform
from mixpanel_aep_assets_tests.connections import DAY, events, lines, opened, provisioned, variables
from mixpanel_aep_assets_tests.faults.requests import STEPS

pytestmark = pytest.mark.e2e

WRONG = {"MIXPANEL_SECRET": "a-mistyped-mixpanel-secret", "ADOBE_CLIENT_SECRET": "a-mistyped-adobe-secret"}
VARIABLES = ("MIXPANEL_SECRET", "ADOBE_CLIENT_SECRET")


def needles(emulator: EmulatorThread) -> set[bytes]:
    """Every secret that was in use, as it is and in the forms in which it travels."""
    user = CREDENTIALS["MIXPANEL_USERNAME"]
    rows = emulator.world.store.connection.execute("SELECT key FROM documents WHERE key LIKE 'ey%'")
    tokens = [key for (key,) in rows]
    assert tokens, "no run has got as far as a token"
    plain = [*(CREDENTIALS[name] for name in VARIABLES), *WRONG.values(), *tokens]
    pairs = [f"{user}:{secret}" for secret in (CREDENTIALS["MIXPANEL_SECRET"], WRONG["MIXPANEL_SECRET"])]
    coded = [base64.b64encode(text.encode()).decode() for text in plain + pairs]
    quoted = [urllib.parse.quote(text, safe="") for text in plain + coded]
    return {text.encode() for text in plain + coded + quoted}


def require_none(secrets: set[bytes], places: dict[str, bytes]) -> None:
    found = [place for place, content in places.items() for secret in secrets if secret in content]
    assert not found, f"secrets in {sorted(set(found))}"


def files_below(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture
def ready(emulator: EmulatorThread, tmp_path: Path) -> dict[str, str]:
    """The environment of a provisioned connection with a day."""
    with opened(emulator, tmp_path) as connection:
        provisioned(connection)
    emulator.control.seed_day(DAY, b'{"event":"x","properties":{"n":NaN}}\n' + lines(events(20)))
    return variables(emulator, tmp_path)


@pytest.fixture
def instance(tmp_path: Path) -> Iterator[dg.DagsterInstance]:
    """One whose event log, runs and captured output are files below tmp_path."""
    home = tmp_path / "dagster_home"
    home.mkdir()
    with dg.DagsterInstance.local_temp(str(home)) as instance:
        yield instance


def test_no_secret_shows_in_anything_that_dagster_keeps_of_good_and_failed_runs(
    emulator: EmulatorThread,
    ready: dict[str, str],
    instance: dg.DagsterInstance,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
) -> None:
    caplog.set_level(logging.DEBUG)
    for name, value in ready.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("DAGSTER_HOME")
    block = MixpanelToAep()
    built = build_connection(block, block.block())
    job = dg.Definitions.merge(built, dg.Definitions(executor=dg.in_process_executor)).resolve_job_def("default_daily")
    told: dict[str, bytes] = {}

    def run(what: str, *, success: bool = False) -> None:
        result = job.execute_in_process(instance=instance, partition_key=DAY, raise_on_error=False)
        assert result.success is success, what
        told[what] = "\n".join(repr(event) for event in result.all_events).encode()

    for name in VARIABLES:
        with monkeypatch.context() as patch:
            patch.setenv(name, WRONG[name])
            run(f"a run with a wrong {name}")
    page = {"content-type": "text/html"}
    emulator.control.fault("status", match=STEPS["dataset"], status=403, headers=page, body="<html>Log in first</html>")
    run("a run that meets a proxy's page")
    emulator.control.clear_faults()
    with monkeypatch.context() as patch:
        patch.setattr(transform, "transform_day", lambda opened, day, **_: {}[opened.platform.platform.client_id])
        run("a run with a bug, which ends in a traceback")
    run("a good run", success=True)
    records = [repr((r.run_config, r.tags)) for r in instance.get_runs()]
    logs = [repr(entry) for r in instance.get_runs() for entry in instance.all_logs(r.run_id)]
    captured = capfd.readouterr()
    told |= {
        "runs": "\n".join(records).encode(),
        "event log": "\n".join(logs).encode(),
        "logs": caplog.text.encode(),
        "output": (captured.out + captured.err).encode(),
    }
    assert len(logs) > 100
    kept = files_below(tmp_path)
    assert any(path.endswith(".db") for path in kept)
    require_none(needles(emulator), told | kept)


def command(environment: dict[str, str], *arguments: str) -> subprocess.Popen[bytes]:
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("MIXPANEL", "ADOBE", "AEP", "DAGSTER"))}
    return subprocess.Popen(
        [sys.executable, "-m", "mixpanel_aep_assets", *arguments],
        env=clean | environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip


@pytest.mark.long
@pytest.mark.parametrize("change", [{}, *({name: WRONG[name]} for name in VARIABLES)], ids=["good", *VARIABLES])
def test_no_secret_shows_in_a_commands_output_files_or_arguments(
    emulator: EmulatorThread, ready: dict[str, str], tmp_path: Path, change: dict[str, str]
) -> None:
    step = "token" if "ADOBE_CLIENT_SECRET" in change else "project"
    emulator.control.fault("hold", match=STEPS[step], count=1)
    process = command(ready | change, "run", "--from", DAY, "--to", DAY, "--wait")
    try:
        deadline = time.monotonic() + 120
        while not emulator.control.held(1):
            assert process.poll() is None
            assert time.monotonic() < deadline
        seen = psutil.Process(process.pid)
        arguments = "\0".join(word for one in (seen, *seen.children(recursive=True)) for word in one.cmdline())
        emulator.control.release()
        output, _ = process.communicate(timeout=240)
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGKILL)
            process.wait()
    assert (process.returncode == 0) == (not change), output.decode()
    told: dict[str, Any] = {"output": output, "arguments": arguments.encode()}
    with opened(emulator, tmp_path) as connection:
        connection.platform.sign_in()
    require_none(needles(emulator), told | files_below(tmp_path))
