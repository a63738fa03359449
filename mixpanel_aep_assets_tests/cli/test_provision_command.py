"""`mixpanel-aep provision` and `doctor` against an emulator: titles, names that clash, schemas made by other hands."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from mixpanel_aep_assets.aep import registry
from mixpanel_aep_assets.aep.platform_errors import Conflict
from mixpanel_aep_assets.cli import cli, doctor
from mixpanel_aep_assets.emulator import EmulatorThread
from mixpanel_aep_assets.xdm import standard
from mixpanel_aep_assets_tests.connections import opened, provisioned, variables


@pytest.fixture
def environment(emulator: EmulatorThread, tmp_path: Path) -> dict[str, str | None]:
    """The variables of a connection to an empty sandbox, and of nothing else."""
    ours = ("MIXPANEL", "ADOBE", "AEP", "DAGSTER")
    return {**{key: None for key in os.environ if key.startswith(ours)}, **variables(emulator, tmp_path)}


def provision(environment: dict[str, str | None], *arguments: str) -> Result:
    return CliRunner().invoke(cli, ["provision", *arguments], env=environment, catch_exceptions=False)


def titles(emulator: EmulatorThread, folder: Path) -> set[str]:
    with opened(emulator, folder) as connection:
        kinds = ("schemas", "fieldgroups")
        return {str(one["title"]) for kind in kinds for one in registry.resources(connection.platform, kind)}


def test_titles_come_from_options(emulator: EmulatorThread, environment: dict[str, str | None], tmp_path: Path) -> None:
    chosen = ("--schema-title", "Shop events", "--field-group-title", " Shop details ")
    assert provision(environment, *chosen, "--apply").exit_code == 0
    assert titles(emulator, tmp_path) == {"Shop events", "Shop details"}
    assert "Nothing to change." in provision(environment, *chosen).output


def test_titles_come_from_variables(
    emulator: EmulatorThread, environment: dict[str, str | None], tmp_path: Path
) -> None:
    chosen: dict[str, str | None] = {
        "MIXPANEL_AEP_SCHEMA_TITLE": "Shop events",
        "MIXPANEL_AEP_FIELD_GROUP_TITLE": "Shop details",
    }
    assert provision(environment | chosen, "--apply").exit_code == 0
    assert titles(emulator, tmp_path) == {"Shop events", "Shop details"}


def test_a_blank_title_is_wrong_use(environment: dict[str, str | None]) -> None:
    done = provision(environment, "--schema-title", " ")
    assert (done.exit_code, "at least one letter" in done.output) == (2, True)


def test_a_title_that_clashes_is_refused_before_anything_is_made(
    emulator: EmulatorThread, environment: dict[str, str | None], tmp_path: Path
) -> None:
    with opened(emulator, tmp_path) as connection:
        registry.create(connection.platform, "schemas", standard.schema_request("mixpanel EVENTS"))
        with pytest.raises(Conflict, match=r"--schema-title .* exactly 'mixpanel EVENTS' extends that one"):
            provision(environment, "--apply")
        assert not {"mixpanelUserId", "mixpanelDeviceId"} & registry.namespaces(connection.platform).keys()
        assert titles(emulator, tmp_path) == {"mixpanel EVENTS"}
    assert provision(environment, "--apply", "--schema-title", "Shop events").exit_code == 0


@pytest.mark.parametrize("form", ["resolved", "referred"])
def test_doctor_sees_fields_behind_data_types(emulator: EmulatorThread, tmp_path: Path, form: str) -> None:
    emulator.control.settings(data_types=form)
    body = standard.field_group("demotenant")
    fields = body["definitions"]["customFields"]["properties"]["_demotenant"]["properties"]
    with opened(emulator, tmp_path) as connection:
        kind = {**fields["mixpanel"], "title": "A data type"}
        fields["mixpanel"] = {"$ref": registry.create(connection.platform, "datatypes", kind)["$id"]}
        registry.create(connection.platform, "fieldgroups", body)
        provisioned(connection)
        told = {one.name: one for one in doctor.diagnoses(connection)}
        assert (told["schema"].state, told["mapping"].state) == ("ok", "ok")
        assert told["mapping"].text == "the standard mapping"
