"""The commands `mapping` on a connection: its Platform, its dataset's schema, its stored raw events."""

from __future__ import annotations

import json
from pathlib import Path

from click.testing import CliRunner, Result

from mixpanel_aep_assets.aep.platform_errors import NotFound
from mixpanel_aep_assets.cli.mapping import MAPPING_SETS, mapping
from mixpanel_aep_assets.emulator import EmulatorThread
from mixpanel_aep_assets.pipeline.steps import extract
from mixpanel_aep_assets_tests.connections import DAY, events, lines, opened, provisioned, variables

SET = {
    "name": "theirs",
    "xdmSchema": "https://ns.adobe.com/x",
    "mappings": [{"sourceType": "EXPRESSION", "source": "upper(data.event_name)", "destination": "eventType"}],
}


def run(emulator: EmulatorThread, folder: Path, *arguments: str) -> Result:
    return CliRunner(env=variables(emulator, folder)).invoke(mapping, list(arguments))


def test_import_by_id_brings_the_platforms_mapping_set(emulator: EmulatorThread, tmp_path: Path) -> None:
    with opened(emulator, tmp_path) as connection:
        made = connection.platform.json("POST", MAPPING_SETS, json=SET)
    result = run(emulator, tmp_path, "import", made["id"], str(tmp_path / "set.json"))
    assert (result.exit_code, result.stderr) == (0, f"1 mappings written to {tmp_path / 'set.json'}\n")
    assert json.loads((tmp_path / "set.json").read_text())["mappings"] == SET["mappings"]
    missing = run(emulator, tmp_path, "import", "0" * 32, str(tmp_path / "other.json"))
    assert isinstance(missing.exception, NotFound)
    assert not (tmp_path / "other.json").exists()


def test_suggest_reads_the_newest_stored_day_and_the_datasets_schema(emulator: EmulatorThread, tmp_path: Path) -> None:
    emulator.control.seed_day(DAY, lines(events(5, **{"$browser": "Chrome", "seat": "12A"})))
    with provisioned(opened(emulator, tmp_path)) as connection:
        extract.extract_day(connection, DAY)
    result = run(emulator, tmp_path, "suggest")
    assert result.exit_code == 0, result.output
    found = {one["source"]: one["destination"] for one in json.loads(result.stdout)["mappings"]}
    assert found["mixpanel.id"] == "_id"
    assert found["properties.$browser"] == "environment.browserDetails.name"
    assert "properties.$os" not in found
    assert "from 5 records" in result.stderr
    assert "properties.seat" in result.stderr


def test_validate_and_coverage_hold_a_set_against_the_datasets_schema(emulator: EmulatorThread, tmp_path: Path) -> None:
    with provisioned(opened(emulator, tmp_path)):
        pass
    (tmp_path / "standard.json").write_text(run(emulator, tmp_path, "export").stdout)
    good = run(emulator, tmp_path, "validate", str(tmp_path / "standard.json"), "--connection", "default")
    assert (good.exit_code, good.stdout) == (0, "107 mappings, 0 refused\n")
    found = run(emulator, tmp_path, "coverage", str(tmp_path / "standard.json"), "--connection", "default")
    told = json.loads(found.stdout)
    assert told["identity"] == ["identityMap"]
    assert {"_id", "timestamp", "dataSource._id", "productListItems.SKU"} <= set(told["required"])
    assert told["missing"] == []
    (tmp_path / "wrong.json").write_text(json.dumps([{"source": "a", "destination": "eventTyp"}]))
    wrong = run(emulator, tmp_path, "validate", str(tmp_path / "wrong.json"), "--connection", "default")
    assert wrong.exit_code == 1
    assert "the target schema has no field eventTyp (did you mean eventType?)" in wrong.stdout


def test_suggest_on_a_day_that_is_not_stored_tells_so(emulator: EmulatorThread, tmp_path: Path) -> None:
    with provisioned(opened(emulator, tmp_path)):
        pass
    result = run(emulator, tmp_path, "suggest", "--day", DAY)
    assert result.exit_code == 2
    assert f"no raw events of {DAY}: no day is stored yet" in result.stderr
