"""What a failing mapping does to a day: its row goes on without the attribute, or aside where the attribute is required."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from mixpanel_aep_assets.emulator import EmulatorThread
from mixpanel_aep_assets.manifests import Violations, as_json
from mixpanel_aep_assets.pipeline.books import verify
from mixpanel_aep_assets.pipeline.steps import extract, transform
from mixpanel_aep_assets_tests.connections import DAY, event, lines, opened, provisioned


def transformed(emulator: EmulatorThread, folder: Path, mappings: list[dict[str, str]], rows: list[Any]) -> Any:
    file = folder / "set.json"
    file.write_text(json.dumps({"mappings": mappings}))
    emulator.control.seed_day(DAY, lines(rows))
    with provisioned(opened(emulator, folder, mapping=str(file))) as connection:
        extract.extract_day(connection, DAY)
        manifest = transform.transform_day(connection, DAY)
        return manifest, transform.preview(connection, DAY, 10), verify.mapping_has_no_errors(connection, DAY)


def expression(source: str, destination: str) -> dict[str, str]:
    return {"sourceType": "EXPRESSION", "source": source, "destination": destination}


def test_a_failing_expression_is_counted_and_keeps_the_rows_other_fields(
    emulator: EmulatorThread, tmp_path: Path
) -> None:
    mappings = [
        expression("to_integer(properties.width)", "device.screenWidth"),
        expression("event", "eventType"),
    ]
    rows = [event(0, width="12"), event(1, width="wide"), event(2)]
    manifest, events, finding = transformed(emulator, tmp_path, mappings, rows)
    assert (manifest.rows, manifest.quarantined) == (3, 0)
    assert as_json(manifest.mapping_errors) == [
        {
            "source": "to_integer(properties.width)",
            "destination": "device.screenWidth",
            "sourceType": "EXPRESSION",
            "columnName": None,
            "exception": "expected a number, the text 'wide' does not read as one",
            "rows": 1,
        }
    ]
    assert [one["eventType"] for one in events] == ["Page Viewed"] * 3
    assert ["12" in str(one.get("device")) for one in events] == [True, False, False]
    assert not finding.passed


def test_a_required_field_that_failed_sends_the_row_aside(emulator: EmulatorThread, tmp_path: Path) -> None:
    mappings = [
        expression("date(properties.at)", "timestamp"),
        expression("event", "eventType"),
    ]
    rows = [event(0, at="2026-03-10T12:00:00Z"), event(1, at="someday"), event(2)]
    manifest, events, _ = transformed(emulator, tmp_path, mappings, rows)
    assert (manifest.rows, manifest.quarantined) == (1, 2)
    assert [error.rows for error in manifest.mapping_errors] == [1]
    assert manifest.violations == (Violations("", "required", 2),)
    assert len(events) == 1
