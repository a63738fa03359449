"""A dataset that we did not provision: any ExperienceEvent schema, named by its id alone."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import polars as pl
import pytest

from mixpanel_aep_assets.aep import catalog, registry
from mixpanel_aep_assets.cli import doctor
from mixpanel_aep_assets.connection import Connection
from mixpanel_aep_assets.emulator import EmulatorThread
from mixpanel_aep_assets.pipeline.books import report, verify
from mixpanel_aep_assets.pipeline.steps import transform
from mixpanel_aep_assets.xdm.standard import CLASS_ID
from mixpanel_aep_assets_tests.connections import DAY, events, lines, opened, run_day, settled


def dataset(connection: Connection, fields: dict[str, Any] | None = None) -> str:
    """A dataset on a schema of the class alone, or with these tenant fields. Its id."""
    client = connection.platform
    groups = []
    if fields is not None:
        custom = {"type": "object", "properties": {f"_{connection.tenant}": {"type": "object", "properties": fields}}}
        body = {
            "title": "Our fields",
            "type": "object",
            "meta:intendedToExtend": [CLASS_ID],
            "definitions": {"customFields": custom},
            "allOf": [{"$ref": "#/definitions/customFields"}],
        }
        groups.append(str(registry.create(client, "fieldgroups", body)["$id"]))
    schema = {
        "title": "Our events",
        "description": "Made by hand",
        "type": "object",
        "allOf": [{"$ref": CLASS_ID}, *({"$ref": group} for group in groups)],
    }
    made = registry.create(client, "schemas", schema)
    reference = {"id": made["$id"], "contentType": "application/vnd.adobe.xed+json;version=1"}
    return catalog.create_dataset(client, {"name": "Ours", "schemaRef": reference})


@pytest.fixture
def asking(emulator: EmulatorThread, tmp_path: Path) -> Iterator[Connection]:
    with opened(emulator, tmp_path) as connection:
        yield connection


def live(connection: Connection) -> pl.DataFrame:
    (file,) = connection.day(transform.TABLE, DAY).locations()
    return pl.read_parquet(file)


def test_a_schema_of_the_class_alone_takes_every_event(
    emulator: EmulatorThread, asking: Connection, tmp_path: Path
) -> None:
    emulator.control.seed_day(DAY, lines(events(30)))
    with opened(emulator, tmp_path, dataset_id=dataset(asking)) as connection:
        run_day(connection)
        settled(connection)
        row = report.counts_of(connection, DAY)
        assert (row["status"], row["ingested"]) == ("ingested", 30)
        assert set(live(connection).columns) == {
            "_id", "timestamp", "eventType", "producedBy", "identityMap"
        }  # fmt: skip


def test_what_the_schema_cannot_keep_is_said(emulator: EmulatorThread, asking: Connection, tmp_path: Path) -> None:
    emulator.control.seed_day(DAY, lines(events(3)))
    with opened(emulator, tmp_path, dataset_id=dataset(asking)) as connection:
        run_day(connection)
        finding = verify.mapping_has_no_errors(connection, DAY)
        assert not finding.passed
        assert not finding.severe
        assert "MIXPANEL_AEP_MAPPING" in finding.text
        told = {one.name: one for one in doctor.diagnoses(connection)}
        assert told["mapping"].state == "warning"


def test_tenant_fields_take_the_properties_of_their_names(
    emulator: EmulatorThread, asking: Connection, tmp_path: Path
) -> None:
    fields = {
        "event_name": {"type": "string"},
        "distinct_id": {"type": "string"},
        "insert_id": {"type": "string"},
        "shop": {"type": "object", "properties": {"item_price": {"type": "number"}, "item_id": {"type": "integer"}}},
        "mixpanel": {"type": "object", "properties": {"properties": {"type": "string"}}},
    }
    emulator.control.seed_day(DAY, lines(events(2, item_price="800.00", item_id=29066, colour="red")))
    with opened(emulator, tmp_path, dataset_id=dataset(asking, fields)) as connection:
        run_day(connection)
        outcome = settled(connection).outcome
        assert outcome is not None
        assert outcome.ingested == 2
        own = live(connection).sort("timestamp")[f"_{connection.tenant}"][0]
        text = own["mixpanel"].pop("properties")
        assert own == {
            "event_name": "Page Viewed",
            "distinct_id": "u0",
            "insert_id": "i-0",
            "shop": {"item_price": 800.0, "item_id": 29066},
            "mixpanel": {},
        }
        assert json.loads(text)["colour"] == "red"
        assert verify.mapping_has_no_errors(connection, DAY).passed


def test_a_value_that_does_not_fit_a_tenant_field_is_left_out_and_told(
    emulator: EmulatorThread, asking: Connection, tmp_path: Path
) -> None:
    emulator.control.seed_day(DAY, lines(events(2, item_id="not a number")))
    with opened(emulator, tmp_path, dataset_id=dataset(asking, {"item_id": {"type": "integer"}})) as connection:
        run_day(connection)
        outcome = settled(connection).outcome
        assert outcome is not None
        assert outcome.ingested == 2
        found = verify.mapping_has_no_errors(connection, DAY).numbers["errors"]
        (error,) = cast("list[dict[str, object]]", found)
        assert (error["destination"], error["rows"]) == (f"_{connection.tenant}.item_id", 2)
