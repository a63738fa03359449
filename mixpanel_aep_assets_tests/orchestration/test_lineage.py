"""Column lineage: which columns of `raw_events` an XDM column is made from, exactly as the compiled mapping set reads them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from mixpanel_aep_assets.connection import Connection
from mixpanel_aep_assets.dataprep.columnar.compiled_mapping import compile_mapping
from mixpanel_aep_assets.dataprep.language.mapping_set import MappingSet
from mixpanel_aep_assets.emulator import EmulatorThread
from mixpanel_aep_assets.pipeline.steps import extract, transform
from mixpanel_aep_assets_tests.connections import DAY, events, lines, opened, provisioned

ID = ["distinct_id", "distinct_id_before_identity", "event", "insert_id", "properties", "time_ms"]
"""Without an insert id, what an event holds is a part of its key."""

IDENTITIES = ["device_id", "distinct_id", "distinct_id_before_identity", "user_id"]


@pytest.fixture
def exported(emulator: EmulatorThread, tmp_path: Path) -> Iterator[Connection]:
    emulator.control.seed_day(DAY, lines(events(30)))
    with opened(emulator, tmp_path) as connection:
        extract.extract_day(provisioned(connection), DAY)
        yield connection


def test_lineage_of_the_standard_mapping(exported: Connection) -> None:
    found = transform.lineage(exported, DAY)
    assert found.pop("_id") == ID
    assert found.pop("timestamp") == ["time_ms"]
    assert found.pop("identityMap") == IDENTITIES
    assert found.pop("_demotenant") == [*IDENTITIES[:3], "event", "insert_id", "properties", "user_id"]
    for root in ("eventType", "application", "web"):
        assert found.pop(root) == ["event", "properties"]
    assert set(found) == {
        "commerce", "device", "environment", "implementationDetails", "marketing", "placeContext", "producedBy",
        "productListItems", "receivedTimestamp", "search",
    }  # fmt: skip
    assert all(columns == ["properties"] for columns in found.values()), found


def test_lineage_of_a_set_of_the_users_own(emulator: EmulatorThread, tmp_path: Path) -> None:
    given = {
        "eventType": ("ATTRIBUTE", "data.event_name"),
        "environment.browserDetails.name": ("EXPRESSION", 'concat(event, "properties.x")'),
        "placeContext.geo.city": ("ATTRIBUTE", "properties.event"),
        "web.webPageDetails.name": ("EXPRESSION", 'iif(data.$browser == "mixpanel.userId", mixpanel.insertId, null)'),
        "search.keywords": ("STATIC", "event"),
    }
    file = tmp_path / "set.json"
    rows = [{"sourceType": kind, "source": text, "destination": to} for to, (kind, text) in given.items()]
    file.write_text(json.dumps({"mappings": rows}))
    emulator.control.seed_day(DAY, lines(events(30)))
    with opened(emulator, tmp_path, mapping=str(file)) as connection:
        extract.extract_day(provisioned(connection), DAY)
        assert transform.lineage(connection, DAY) == {
            "eventType": ["event"],
            "environment": ["event"],
            "placeContext": ["properties"],
            "web": ["insert_id", "properties"],
            "_id": ID,
            "timestamp": ["time_ms"],
            "identityMap": IDENTITIES,
        }


def test_an_instant_of_a_wall_clock_is_made_of_the_receipt_too(emulator: EmulatorThread, tmp_path: Path) -> None:
    emulator.control.seed_day(DAY, lines(events(30)))
    with opened(emulator, tmp_path, time_mode="project", timezone="America/Chicago") as connection:
        extract.extract_day(provisioned(connection), DAY)
        assert transform.lineage(connection, DAY)["timestamp"] == ["received_ms", "time_ms"]


@pytest.mark.parametrize(
    ("source", "columns"),
    [
        ("event", {"event"}),
        ("properties", {"properties"}),
        ("data", {"event", "properties"}),
        ("data.event_name", {"event"}),
        ("mixpanel.identityMap.x[0].id", {"identities"}),
        ("mixpanel", {"identities", "id"}),
        ("size_of(properties.events)", {"properties"}),
        ("iif(properties.a == 1, event, mixpanel.id)", {"event", "properties", "id"}),
        ("elsewhere.event", set()),
    ],
)
def test_columns_that_a_source_reads(source: str, columns: set[str]) -> None:
    row: dict[str, Any] = {"sourceType": "EXPRESSION", "source": source, "destination": "a.b"}
    made = compile_mapping(
        MappingSet.from_json({"mappings": [row]}),
        derived={"mixpanel.id": "id", "mixpanel.identityMap": "identities"},
    )
    assert made.lineage == ({"a": columns} if columns else {})
