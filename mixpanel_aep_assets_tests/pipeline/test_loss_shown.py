"""What a person sees of an answer that is not believed: in Dagster and from the command."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from click.testing import CliRunner

from mixpanel_aep_assets.cli import cli
from mixpanel_aep_assets.connection import Connection
from mixpanel_aep_assets.emulator import EmulatorThread
from mixpanel_aep_assets.orchestration import failures
from mixpanel_aep_assets.pipeline.books import report
from mixpanel_aep_assets_tests.connections import (
    DAY,
)
from mixpanel_aep_assets_tests.orchestration.layer import default_definitions, described
from mixpanel_aep_assets_tests.pipeline.losses import (
    EXPORT,
    ingested,
    live,
)

pytestmark = pytest.mark.usefixtures("unthrottled")


@pytest.fixture
def definitions(
    emulator: EmulatorThread, connection: Connection, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> dg.Definitions:
    """The connection `default` on the same storage, both days ingested."""
    ingested(emulator, connection)
    described(monkeypatch, emulator, tmp_path)
    return default_definitions()


def test_in_dagster_the_check_is_red_and_nothing_behind_it_runs(
    emulator: EmulatorThread, connection: Connection, definitions: dg.Definitions
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
    emulator: EmulatorThread, connection: Connection, tmp_path: Path
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
    assert row["status"] == "doubted"
    assert "Mixpanel itself counts 18" in row["reason"]
    assert live(emulator, connection) == 36
    reconciled = CliRunner().invoke(cli, ["reconcile", "--from", DAY, "--to", DAY], standalone_mode=False)
    assert reconciled.return_value == 1
    assert report.Status.DOUBTED in reconciled.output
    done = command("--force", "--wait")
    assert done.return_value == 0, done.output
    assert live(emulator, connection) == 18
