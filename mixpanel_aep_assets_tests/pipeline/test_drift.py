"""Drift of a day's properties: against the days before, against the accepted plan, in Dagster as plotted numbers and a warning."""

from __future__ import annotations

import datetime
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from pydantic import SecretStr

from mixpanel_aep_assets.connection import Connection, remembered
from mixpanel_aep_assets.emulator import EmulatorThread
from mixpanel_aep_assets.growth.schema_plan import PlannedField, SchemaPlan
from mixpanel_aep_assets.manifests import DriftManifest
from mixpanel_aep_assets.pipeline.books import verify
from mixpanel_aep_assets.pipeline.insight import drift, property_statistics
from mixpanel_aep_assets.pipeline.steps import extract
from mixpanel_aep_assets_tests.connections import events, lines, opened, provisioned, reopened
from mixpanel_aep_assets_tests.orchestration.layer import default_definitions, described

DAYS = ("2026-03-08", "2026-03-09", "2026-03-10")
DAY_MS = 86_400_000


@pytest.fixture
def connection(emulator: EmulatorThread, tmp_path: Path) -> Iterator[Connection]:
    with opened(emulator, tmp_path) as connection:
        yield connection


def exported(emulator: EmulatorThread, connection: Connection, **days: list[dict[str, Any]]) -> None:
    """Exports days, named `d0` to `d2`, with these properties of their events."""
    for name, properties in days.items():
        number = int(name[1:])
        rows = [row for more in properties for row in events(1, **more)]
        for index, row in enumerate(rows):
            row["properties"]["time"] -= (2 - number) * DAY_MS - index * 1000
        emulator.control.seed_day(DAYS[number], lines(rows))
        extract.extract_day(connection, DAYS[number])


def found(manifest: DriftManifest) -> dict[str, list[str]]:
    names: dict[str, list[str]] = {"new": [], "changed": [], "vanished": []}
    for row in manifest.found:
        names[row.finding].append(row.property)
    return names


def test_a_day_is_held_against_the_days_before(emulator: EmulatorThread, connection: Connection) -> None:
    exported(
        emulator,
        connection,
        d0=[{"price": 1, "when": "2026-01-01", "gone": True, "rare": 1, "note": "x"}],
        d1=[{"price": 1.5, "when": "2026-01-02T10:00:00", "gone": True, "note": "y"}],
        d2=[{"price": "1.5", "when": "2026-01-03", "coupon": "A", "empty": "", "note": "2026-01-01"}, {"coupon": "B"}],
    )
    manifest = drift.drift_day(reopened(connection), DAYS[2])
    assert found(manifest) == {"new": ["coupon"], "changed": ["price"], "vanished": ["gone"]}
    assert (manifest.new, manifest.changed, manifest.vanished) == (1, 1, 1)
    (price,) = [row for row in manifest.found if row.property == "price"]
    assert (price.before, price.now, price.examples) == ("number", "numeral 1", "1.5")
    assert manifest.against == "the 2 exported days before (2026-03-08 to 2026-03-09)"
    finding = verify.properties_have_not_drifted(connection, DAYS[2])
    assert not finding.passed
    assert not finding.severe
    assert "1 new, 1 changed, 1 vanished" in finding.text


def test_the_first_day_and_a_day_without_events_are_no_drift(emulator: EmulatorThread, connection: Connection) -> None:
    exported(emulator, connection, d0=[{"a": 1}], d1=[], d2=[{"a": 2}])
    for day in DAYS:
        manifest = drift.drift_day(connection, day)
        assert found(manifest) == {"new": [], "changed": [], "vanished": []}
        assert verify.properties_have_not_drifted(connection, day).passed
    assert manifest.against == "the exported day before (2026-03-08)"


def test_with_an_accepted_plan_the_day_is_held_against_it(emulator: EmulatorThread, connection: Connection) -> None:
    provisioned(connection)
    plan = SchemaPlan(
        days="2026-03-08",
        fields=(
            PlannedField(name="price", field="price", type="double"),
            PlannedField(name="note", field="note", type="string"),
            PlannedField(name="both", field="both", type="double", text_field="bothText"),
            PlannedField(name="turned", field="turned", type="double", text_field="turnedText"),
            PlannedField(name="left out", field="leftOut", type="string", include=False),
            PlannedField(name="rare", field="rare", type="string"),
            PlannedField(name="gone", field="gone", type="string"),
        ),
    )
    remembered.keep_plan(connection.storage, connection.settings.name, plan)
    exported(
        emulator,
        connection,
        d1=[{"rare": "x", "$city": "Köln", "both": "n/a", "turned": 1}, {"both": 1, "turned": 2}],
        d2=[
            {
                "price": "much",
                "note": 1,
                "": 1,
                "both": "n/a",
                "turned": "n/a",
                "left out": 1,
                "coupon": "A",
                "$browser": "Chrome",
                "$city": 5,
            }
        ],
    )
    manifest = drift.drift_day(reopened(connection), DAYS[2])
    assert found(manifest) == {"new": ["coupon"], "changed": ["$city", "price", "turned"], "vanished": ["gone"]}
    assert manifest.against == "the accepted schema plan (2026-03-08)"
    assert {row.property: row.before for row in manifest.found}["price"] == "planned as double"


def test_an_unchanged_day_is_left_as_it_is_and_a_late_day_before_it_makes_it_anew(
    emulator: EmulatorThread, connection: Connection
) -> None:
    exported(emulator, connection, d1=[{"a": 1}], d2=[{"a": 1, "b": 1}])
    first = drift.drift_day(connection, DAYS[2])
    assert drift.drift_day(connection, DAYS[2]).generation == first.generation
    exported(emulator, connection, d0=[{"b": 1}])
    assert found(drift.drift_day(connection, DAYS[2]))["new"] == []


def test_days_under_other_privacy_rules_are_not_compared_and_values_are_after_the_rules(
    emulator: EmulatorThread, connection: Connection
) -> None:
    exported(emulator, connection, d0=[{"a": 1}])
    secrets = connection.secrets.model_copy(update={"privacy_salt": SecretStr("a salt of the tests, 0123456789")})
    settings = type(connection.settings)(**connection.settings.model_dump() | {"privacy": {"hash": ("mail",)}})
    with Connection(settings, secrets) as ruled:
        exported(emulator, ruled, d1=[{"a": 1, "mail": "someone@example.com"}])
    salted = secrets.model_copy(update={"privacy_salt": SecretStr("another salt, as long as it must be")})
    with Connection(settings, salted) as other:
        exported(emulator, other, d2=[{"a": 1, "mail": "someone@example.com"}])
        manifest = drift.drift_day(other, DAYS[2])
        assert manifest.against == "the exported day before (2026-03-08)"
        assert found(manifest)["new"] == ["mail"]
        assert "someone@" not in str(manifest) + str(
            property_statistics.profile_days(other, [DAYS[2]]).values.to_dicts()
        )


@pytest.fixture
def definitions(emulator: EmulatorThread, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dg.Definitions:
    described(monkeypatch, emulator, tmp_path)
    return default_definitions()


def test_dagster_shows_numbers_history_and_a_warning_that_holds_nothing_up(
    emulator: EmulatorThread, definitions: dg.Definitions
) -> None:
    job = definitions.resolve_implicit_global_asset_job_def()
    key = dg.AssetKey(["default", "property_drift"])
    selected = [dg.AssetKey(["default", "raw_events"]), key]
    with dg.DagsterInstance.ephemeral() as instance:
        for number in (1, 2):
            rows = events(5, **{"coupon": "A"} if number == 2 else {})
            for row in rows:
                row["properties"]["time"] -= (2 - number) * DAY_MS
            emulator.control.seed_day(DAYS[number], lines(rows))
            result = job.execute_in_process(instance=instance, partition_key=DAYS[number], asset_selection=selected)
            assert result.success
        (made,) = [e for e in result.get_asset_materialization_events() if e.asset_key == key]
    numbers = {name: value.value for name, value in made.materialization.metadata.items()}
    assert made.partition == DAYS[2]
    assert (numbers["new"], numbers["changed"], numbers["vanished"], numbers["events"]) == (1, 0, 0, 5)
    assert "coupon" in str(numbers["found"])
    assert DAYS[1] in str(numbers["history"])
    (check,) = [e for e in result.get_asset_check_evaluations() if e.check_name == "properties_have_not_drifted"]
    assert not check.passed
    assert check.severity == dg.AssetCheckSeverity.WARN
    assert check.partition == DAYS[2]


def test_the_newest_day_is_looked_at_once_it_is_exported_in_a_run_that_no_delivery_waits_for(
    definitions: dg.Definitions,
) -> None:
    key = dg.AssetKey(["default", "property_drift"])
    assert key not in definitions.resolve_job_def("default_daily").asset_layer.selected_asset_keys
    with dg.DagsterInstance.ephemeral() as instance:
        at = datetime.datetime(2026, 3, 11, 12, tzinfo=datetime.UTC)
        before = dg.evaluate_automation_conditions(definitions, instance, evaluation_time=at)
        assert before.total_requested == 0
        raw = dg.AssetMaterialization(["default", "raw_events"], partition=DAYS[2])
        instance.report_runless_asset_event(raw)
        after = dg.evaluate_automation_conditions(definitions, instance, cursor=before.cursor, evaluation_time=at)
        assert after.get_requested_partitions(key) == {DAYS[2]}
