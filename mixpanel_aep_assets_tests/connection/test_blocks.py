"""One truth for a connection: the component and every command read the same block, and sign in the same way."""

from __future__ import annotations

import os
from pathlib import Path

import dagster as dg
import pytest
from click.testing import CliRunner

from mixpanel_aep_assets.cli import cli, connections
from mixpanel_aep_assets.components import MixpanelToAep
from mixpanel_aep_assets.components.mixpanel_to_aep import resource
from mixpanel_aep_assets.connection import SECRET_VARIABLES, blocks
from mixpanel_aep_assets.emulator import EmulatorThread
from mixpanel_aep_assets.errors import SettingsError
from mixpanel_aep_assets_tests.connections import DAY, events, lines, opened, provisioned, run_day, variables

SHOP = """
type: mixpanel_aep_assets.components.MixpanelToAep
attributes:
  name: shop
  start_date: 2026-01-01
  mapping: mapping.yaml
  max_nonconforming_rows: 3
  mixpanel: {project_id: 7, region: EU, timezone: Europe/Berlin, username_env: SHOP_USER, secret_env: SHOP_SECRET}
  platform: {dataset_name: Shop events, url: "http://127.0.0.1:9", org_id: X@AdobeOrg}
  privacy: {drop: [email], hash: [phone]}
  schedule: {hour: 4}
---
type: mixpanel_aep_assets.components.MixpanelToAep
attributes:
  name: blog
  mixpanel: {project_id: 8}
"""


@pytest.fixture(autouse=True)
def _bare(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith(("MIXPANEL_", "ADOBE_", "AEP_", "SHOP_"))]:
        monkeypatch.delenv(name)


@pytest.fixture
def definitions(tmp_path: Path) -> Path:
    file = tmp_path / "defs" / "shop" / "defs.yaml"
    file.parent.mkdir(parents=True)
    file.write_text(SHOP)
    return tmp_path / "defs"


def found(name: str, folder: Path) -> blocks.Block:
    block = blocks.find(name, folder, os.environ)
    assert block is not None
    return block


def test_a_command_reads_what_the_component_reads(definitions: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MIXPANEL_AEP_SHRINK_FLOOR", "9")
    component = MixpanelToAep.from_attributes_dict(
        attributes={
            "name": "shop",
            "start_date": "2026-01-01",
            "mapping": "mapping.yaml",
            "max_nonconforming_rows": 3,
            "mixpanel": {
                "project_id": 7,
                "region": "EU",
                "timezone": "Europe/Berlin",
                "username_env": "SHOP_USER",
                "secret_env": "SHOP_SECRET",
            },
            "platform": {"dataset_name": "Shop events", "url": "http://127.0.0.1:9", "org_id": "X@AdobeOrg"},
            "privacy": {"drop": ["email"], "hash": ["phone"]},
            "schedule": {"hour": 4},
        }
    )
    ours, theirs = found("shop", definitions), component.block(definitions / "shop" / "defs.yaml")
    assert ours == theirs
    assert ours.settings.mapping == str(definitions / "shop" / "mapping.yaml")
    assert (ours.settings.shrink_floor, ours.settings.aep_url) == (9, "http://127.0.0.1:9")


def test_a_block_wins_over_the_environment_and_the_environment_over_the_default(
    definitions: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MIXPANEL_REGION", "IN")
    assert found("shop", definitions).settings.region == "EU"
    assert found("blog", definitions).settings.region == "IN"
    monkeypatch.delenv("MIXPANEL_REGION")
    assert found("blog", definitions).settings.region == "US"


@pytest.mark.parametrize(
    ("given", "used"),
    [
        (("mixpanel_username", "mixpanel_project_secret", "mixpanel_bearer_token"), "service account"),
        (("mixpanel_project_secret", "mixpanel_bearer_token"), "project secret"),
        (("mixpanel_bearer_token",), "bearer token"),
    ],
)
def test_of_several_ways_into_mixpanel_commands_and_runs_take_the_same(
    given: tuple[str, ...], used: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for key in (*given, *(["mixpanel_secret"] if "mixpanel_username" in given else [])):
        monkeypatch.setenv(SECRET_VARIABLES[key], "x")
    monkeypatch.setenv("MIXPANEL_PROJECT_ID", "7")
    block = MixpanelToAep().block()
    assert block.open(os.environ).source.credentials.kind == used
    held = resource(block)
    names = {key for key in SECRET_VARIABLES if isinstance(getattr(held, key), dg.EnvVar)}
    assert names == set(block.variables)


def test_a_missing_secret_is_named_by_the_variable_of_the_block(definitions: Path) -> None:
    with pytest.raises(SettingsError, match="SHOP_USER, SHOP_SECRET") as raised:
        _ = found("shop", definitions).open(os.environ).source
    assert "'shop'" in str(raised.value)


def test_what_is_wrong_in_a_block_names_its_file_and_key(definitions: Path) -> None:
    file = definitions / "shop" / "defs.yaml"
    file.write_text(SHOP.replace("timezone:", "time_zone:"))
    with pytest.raises(SettingsError, match=f"{file}: time_zone"):
        blocks.find("shop", definitions, os.environ)


def test_yaml_that_cannot_be_read_names_its_file(definitions: Path) -> None:
    (definitions / "shop" / "defs.yaml").write_text("a: [")
    with pytest.raises(SettingsError, match=r"defs\.yaml cannot be read as YAML"):
        blocks.find("shop", definitions, os.environ)


def test_a_block_with_a_template_is_left_to_dagster(definitions: Path) -> None:
    file = definitions / "shop" / "defs.yaml"
    file.write_text(SHOP.replace("Shop events", "'{{ env.NAME }}'"))
    assert blocks.find("shop", definitions, os.environ) is None


def test_an_unknown_connection_is_answered_with_those_that_exist(
    definitions: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections, "DEFINITIONS", definitions)
    said = CliRunner().invoke(cli, ["plan", "--from", DAY, "--to", DAY, "--connection", "shoe"])
    assert said.exit_code == 2
    assert "Known: shop, blog." in said.output


@pytest.mark.e2e
def test_preview_and_quarantine_keep_the_privacy_rules_that_the_yaml_of_default_has(
    emulator: EmulatorThread, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "defs" / "default" / "defs.yaml"
    file.parent.mkdir(parents=True)
    file.write_text(
        "type: mixpanel_aep_assets.components.MixpanelToAep\nattributes:\n  name: default\n  privacy: {drop: [email]}\n"
    )
    monkeypatch.setattr(connections, "DEFINITIONS", tmp_path / "defs")
    for name, value in variables(emulator, tmp_path).items():
        monkeypatch.setenv(name, value)
    with opened(emulator, tmp_path) as connection:
        provisioned(connection)
    secret = "ada@example.com"
    broken = f'{{"event":"Odd","properties":{{"email":"{secret}","n":NaN}}}}\n'.encode()
    emulator.control.seed_day(DAY, broken + lines(events(30, email=secret)))
    shown = CliRunner().invoke(cli, ["preview", "--day", DAY])
    assert "Page Viewed" in shown.output
    assert secret not in shown.output
    with connections.open_connection("default") as connection:
        run_day(connection)
    kept = CliRunner().invoke(cli, ["quarantine", "show", "--day", DAY])
    assert "nan" in kept.output
    assert secret not in kept.output
