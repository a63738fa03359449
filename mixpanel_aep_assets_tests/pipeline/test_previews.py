"""What a person sees first of a day: true, bounded, and after the privacy rules."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from mixpanel_aep_assets.connection import Connection
from mixpanel_aep_assets.emulator import EmulatorThread
from mixpanel_aep_assets.manifests import RawManifest, XdmManifest
from mixpanel_aep_assets.orchestration import metadata
from mixpanel_aep_assets.pipeline.insight import previews
from mixpanel_aep_assets.pipeline.steps import extract, transform
from mixpanel_aep_assets_tests.connections import (
    DAY,
    NOWHERE,
    event,
    events,
    lines,
    opened,
    provisioned,
    strict_mapping,
)


@pytest.fixture
def connection(emulator: EmulatorThread, tmp_path: Path) -> Iterator[Connection]:
    with opened(emulator, tmp_path, mapping=strict_mapping(tmp_path)) as connection:
        yield provisioned(connection)


def made(
    emulator: EmulatorThread, connection: Connection, rows: list[dict[str, Any]]
) -> tuple[RawManifest, XdmManifest]:
    emulator.control.seed_day(DAY, lines(rows))
    raw = extract.extract_day(connection, DAY).manifest
    return raw, transform.transform_day(connection, DAY)


def by(rows: list[dict[str, Any]], key: str) -> dict[str, dict[str, Any]]:
    return {row[key]: row for row in rows}


def test_the_tables_of_a_day_tell_properties_values_fields_and_pairs(
    emulator: EmulatorThread, connection: Connection
) -> None:
    rows = [event(n, **{"$browser": "Chrome" if n % 4 else "Safari", "mixed": n if n % 2 else "x"}) for n in range(40)]
    rows.append(event(90, "Lost", **NOWHERE, half=None))
    raw, xdm = made(emulator, connection, rows)

    seen = previews.of_raw_events(connection, raw)
    properties = by(seen.properties, "property")
    assert (seen.looked_at, seen.rows) == (41, 41)
    assert properties["$browser"]["filled %"] == 97.6
    assert properties["$browser"]["examples"] == "Chrome · Safari"
    assert properties["mixed"]["types"] == "integer 20, string 20"
    assert properties["mixed"]["conflict"] == "yes"
    assert properties["half"]["filled %"] == 0.0
    assert by(seen.values, "property")["$browser"]["most frequent values"] == "Chrome 75 %, Safari 25 %"
    assert "$insert_id" not in by(seen.values, "property"), "its values do not repeat"

    fields = previews.field_rows(connection, xdm)
    assert (fields[0]["field"], fields[0]["values"]) == ("placeContext.geo.stateProvince", 0)
    assert str(fields[0]["violations"]).endswith(" 1")
    named = by(fields, "field")
    assert named["environment.browserDetails.name"]["values"] == 40
    assert named["identityMap.*[*].id"]["filled %"] is None
    assert all(row["values"] or row["violations"] for row in fields)

    pairs = previews.before_and_after(connection, xdm)
    assert len(pairs) == previews.PAIRS
    before, after = (json.loads(text) for text in pairs[0])
    assert before["properties"]["$insert_id"] == after["_demotenant"]["mixpanel"]["insertId"]
    assert after["identityMap"]["mixpanelUserId"][0]["id"] == before["properties"]["$user_id"]


def test_previews_of_an_empty_day_are_empty(emulator: EmulatorThread, connection: Connection) -> None:
    raw, xdm = made(emulator, connection, [])
    assert previews.of_raw_events(connection, raw).properties == []
    assert previews.field_rows(connection, xdm) == []
    assert previews.before_and_after(connection, xdm) == []


def test_a_day_stored_in_full_is_shown_after_the_rules(emulator: EmulatorThread, tmp_path: Path) -> None:
    with opened(emulator, tmp_path, privacy={"drop": ("email",), "stage": "xdm"}) as connection:
        raw, xdm = made(emulator, provisioned(connection), events(5, email="someone@example.com"))
        shown = str(previews.of_raw_events(connection, raw)) + str(previews.before_and_after(connection, xdm))
    assert "someone@example.com" not in shown
    assert "email" not in shown


def test_tables_and_texts_are_bounded() -> None:
    rows = [{"a": "x" * 1_000, "b": "|"}]
    shown = metadata.table(rows, caption="Above.").value
    assert shown is not None
    assert shown.startswith("Above.\n\n| a | b |")
    assert len(shown) < 200
    long = metadata.texts([("**Title**", json.dumps({"a": "y" * 100_000}))]).value
    assert long is not None
    assert len(long) < metadata.TEXT + 100
