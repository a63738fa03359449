"""Schemas grown from data, over HTTP: profile, Lexicon, plan, fields on the Platform, mapping, the lake's own books."""

from __future__ import annotations

import datetime
import json
import random
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from click.testing import CliRunner

from mixpanel_aep_assets.aep import registry
from mixpanel_aep_assets.aep.platform_errors import Conflict
from mixpanel_aep_assets.cli import cli
from mixpanel_aep_assets.connection import Connection
from mixpanel_aep_assets.emulator import EmulatorThread
from mixpanel_aep_assets.growth.schema_plan import PlanError, SchemaPlan, read_plan
from mixpanel_aep_assets.pipeline.books import report, verify
from mixpanel_aep_assets.pipeline.insight import property_statistics, schema_growth
from mixpanel_aep_assets.pipeline.steps import extract, transform
from mixpanel_aep_assets.storage import open_storage
from mixpanel_aep_assets_tests.connections import (
    DAY,
    NOON,
    event,
    events,
    lines,
    opened,
    provisioned,
    reopened,
    run_day,
    settled,
    variables,
)  # fmt: skip

NEXT = (datetime.date.fromisoformat(DAY) + datetime.timedelta(days=1)).isoformat()
DAY_MS = 86_400_000


def next_day(number: int, **properties: Any) -> dict[str, Any]:
    """An event of the day after."""
    return event(number, time=NOON + DAY_MS + number * 1000, **{"$insert_id": f"n-{number}", **properties})


def numbers_then_texts(emulator: EmulatorThread) -> None:
    """`total` is a number on DAY and a text on half of the events of NEXT."""
    emulator.control.seed_day(DAY, lines([event(n, total=n + 0.5) for n in range(60)]))
    rows = [
        next_day(n, total="n/a" if n % 2 else n + 0.5, **{"$mp_api_timestamp_ms": NOON + DAY_MS + n * 1000 + 1000})
        for n in range(60)
    ]
    emulator.control.seed_day(NEXT, lines(rows))


def accepted(connection: Connection, plan: SchemaPlan) -> Connection:
    schema_growth.apply(connection, plan, schema_growth.steps(connection, plan))
    return reopened(connection)


def proposed(connection: Connection, *days: str) -> SchemaPlan:
    return schema_growth.plan_from_data(connection, days)


def grown(connection: Connection, day: str) -> pl.DataFrame:
    """The grown columns of the day's XDM files, with the line that they are from."""
    frame = pl.read_parquet(connection.day(transform.TABLE, day).locations())
    custom = frame.select(pl.col("_demotenant").struct.field("mixpanel").struct.field("custom"))
    return custom.unnest("custom")


def test_a_proposed_field_is_made_filled_and_live(
    emulator: EmulatorThread, connection: Connection, tmp_path: Path
) -> None:
    rows = [event(n, **{"Plan Type": "pro", "items": n, "beta": n % 2 == 0, "tags": ["a", "b"]}) for n in range(40)]
    emulator.control.seed_day(DAY, lines(rows))
    extract.extract_day(connection, DAY)
    before = transform.transform_day(connection, DAY).data_version
    plan = proposed(connection, DAY)
    assert {one.field: one.type for one in plan.included} == {
        "planType": "string",
        "items": "double",
        "beta": "boolean",
        "tags": "strings",
    }
    connection = accepted(connection, plan)
    assert connection.with_storage(open_storage(str(tmp_path))).mapping.mapping_set == connection.mapping.mapping_set
    manifest = run_day(connection)
    settled(connection)
    assert manifest.action == "uploaded"
    assert connection.day(transform.TABLE, DAY).manifest()["data_version"] != before  # type: ignore[index]
    columns = grown(connection, DAY)
    assert columns["planType"].to_list() == ["pro"] * 40
    assert sorted(columns["items"]) == list(range(40))
    assert columns["tags"].to_list() == [["a", "b"]] * 40
    assert emulator.control.books(connection.dataset)["live"]["rows"] == 40


def test_properties_that_differ_in_case_or_signs_alone_get_fields_of_their_own(
    emulator: EmulatorThread, connection: Connection
) -> None:
    names = [
        "Plan",
        "plan",
        "PLAN",
        "plan ",
        "plan-type",
        "plan_type",
        "planType",
        "Plan Type",
        "$plan",
        "план",
        "3d",
        "$3d",
    ]
    emulator.control.seed_day(DAY, lines([event(n, **{name: f"{name}{n}" for name in names}) for n in range(3)]))
    extract.extract_day(connection, DAY)
    plan = proposed(connection, DAY)
    assert {one.name for one in plan.included} == set(names)
    connection = accepted(connection, plan)
    home = connection.schema.field("_demotenant.mixpanel.custom")
    assert home is not None
    assert {child.title for child in home.children} == set(names)
    assert len({child.name.casefold() for child in home.children}) == len(names)


def test_applying_twice_changes_nothing_and_a_later_plan_only_adds(
    emulator: EmulatorThread, connection: Connection
) -> None:
    emulator.control.seed_day(DAY, lines([event(n, plan="pro") for n in range(5)]))
    extract.extract_day(connection, DAY)
    connection = accepted(connection, proposed(connection, DAY))
    version = connection.mapping.fingerprint
    again = proposed(connection, DAY)
    assert schema_growth.steps(connection, again).changes == ()
    connection = accepted(connection, again)
    assert connection.mapping.fingerprint == version
    emulator.control.seed_day(DAY, lines([event(n, seats=n) for n in range(5)]))
    extract.extract_day(connection, DAY)
    later = proposed(connection, DAY)
    assert [one.field for one in later.included] == ["plan", "seats"]
    connection = accepted(connection, later)
    home = connection.schema.field("_demotenant.mixpanel.custom")
    assert home is not None
    assert {child.name for child in home.children} == {"plan", "seats"}


def test_an_open_connection_maps_as_it_did_and_one_opened_after_a_plan_was_accepted_maps_by_it(
    emulator: EmulatorThread, connection: Connection
) -> None:
    emulator.control.seed_day(DAY, lines([event(n, plan="pro") for n in range(5)]))
    extract.extract_day(connection, DAY)
    before = connection.mapping
    later = accepted(connection, proposed(connection, DAY))
    assert connection.mapping is before
    assert later.mapping.fingerprint != before.fingerprint
    assert later.mapping.name == "the standard mapping and 1 grown fields"
    added = set(later.mapping.mapping_set.mappings) - set(before.mapping_set.mappings)
    assert {one.destination for one in added} == {"_demotenant.mixpanel.custom.plan"}


def test_the_same_events_in_another_order_and_other_days_give_the_same_plan_and_schema(tmp_path: Path) -> None:
    names = ["Currency", "CURRENCY", "total", "Total", "Plan Type", "plan_type", "when"]
    values: list[Any] = ["x", 1, 2.5, True, "2026-01-02", None, ["a"]]
    rows = [event(n, **{name: values[(n * 7 + m) % len(values)] for m, name in enumerate(names)}) for n in range(60)]
    found = []
    for number in range(2):
        random.Random(number).shuffle(rows)
        with EmulatorThread() as emulator, opened(emulator, tmp_path / str(number)) as connection:
            provisioned(connection)
            emulator.control.seed_day(DAY, lines(rows))
            extract.extract_day(connection, DAY)
            plan = proposed(connection, DAY)
            connection = accepted(connection, plan)
            field = connection.schema.field("_demotenant.mixpanel.custom")
            assert field is not None
            found.append((plan.to_yaml(), field))
    assert found[0] == found[1]


def test_under_widen_texts_of_a_number_go_to_the_text_field_and_every_event_is_live(
    emulator: EmulatorThread, connection: Connection
) -> None:
    numbers_then_texts(emulator)
    run_day(connection)
    extract.extract_day(connection, NEXT)
    plan = proposed(connection, DAY, NEXT)
    (total,) = plan.included
    assert (total.type, total.on_conflict, total.text) == ("double", "widen", "totalText")
    assert "90 numbers with a fraction, 30 texts" in total.reason
    assert "30 of 120 do not fit double" in total.reason
    connection = accepted(connection, plan)
    for day in (DAY, NEXT):
        run_day(connection, day)
        settled(connection, day)
    assert grown(connection, DAY)["totalText"].null_count() == 60
    columns = grown(connection, NEXT)
    assert (columns["total"].null_count(), columns["totalText"].null_count()) == (30, 30)
    assert set(columns["totalText"].drop_nulls()) == {"n/a"}
    assert [report.counts_of(connection, day)["ingested"] for day in (DAY, NEXT)] == [60, 60]
    assert emulator.control.books(connection.dataset)["live"]["rows"] == 120


def test_a_conflict_after_the_plan_is_a_counted_mapping_error_until_the_next_plan_adds_the_text_field(
    emulator: EmulatorThread, connection: Connection
) -> None:
    numbers_then_texts(emulator)
    extract.extract_day(connection, DAY)
    connection = accepted(connection, proposed(connection, DAY))
    run_day(connection, NEXT)
    manifest = connection.day(transform.TABLE, NEXT).manifest()
    assert manifest is not None
    (error,) = manifest["mapping_errors"]
    assert (error["destination"], error["rows"]) == ("_demotenant.mixpanel.custom.total", 30)
    assert "n/a" in error["exception"]
    assert (manifest["rows"], manifest["quarantined"]) == (60, 0)
    connection = accepted(connection, proposed(connection, DAY, NEXT))
    assert report.counts_of(connection, NEXT)["uploaded"] == 60
    run_day(connection, NEXT)
    settled(connection, NEXT)
    assert grown(connection, NEXT)["totalText"].null_count() == 30
    assert emulator.control.books(connection.dataset)["live"]["rows"] == 60


def test_under_quarantine_an_event_with_a_text_is_set_aside_with_the_reason_and_the_others_are_live(
    emulator: EmulatorThread, connection: Connection
) -> None:
    numbers_then_texts(emulator)
    run_day(connection)
    extract.extract_day(connection, NEXT)
    plan = proposed(connection, DAY, NEXT)
    (total,) = plan.included
    connection = accepted(
        connection, plan.model_copy(update={"fields": (total.model_copy(update={"on_conflict": "quarantine"}),)})
    )
    for day in (DAY, NEXT):
        run_day(connection, day)
        settled(connection, day)
    counts = report.counts_of(connection, NEXT)
    assert (counts["exported"], counts["quarantined"], counts["ingested"]) == (60, 30, 30)
    manifest = connection.day(transform.TABLE, NEXT).manifest()
    assert manifest is not None
    assert manifest["violations"] == [{"pointer": "/_demotenant/mixpanel/custom/total", "rule": "mapping", "rows": 30}]
    (file,) = connection.day(transform.TABLE, NEXT).locations(kind="quarantine")
    aside = pl.read_parquet(file)
    assert aside.height == 30
    assert aside["detail"].unique().to_list() == ["expected a number, found 'n/a'"]
    assert "totalText" not in grown(connection, NEXT).columns
    assert emulator.control.books(connection.dataset)["live"]["rows"] == 90
    assert verify.conforms_to_xdm(connection, NEXT).severe


def test_lexicon_gives_descriptions_types_and_what_is_hidden(emulator: EmulatorThread, connection: Connection) -> None:
    hidden = {"com.mixpanel": {"hidden": True, "dropped": False}}
    properties = {
        "zip": {"type": "string", "description": "Postal code"},
        "debug": {"type": "string", "metadata": hidden},
    }
    schema = {"entityType": "event", "name": "Page Viewed", "schemaJson": {"properties": properties}}
    emulator.control.project(id=12345, lexicon=[schema, {**schema, "entityType": "profile", "name": "x"}])
    emulator.control.seed_day(DAY, lines(events(5, zip=12345, debug="x")))
    extract.extract_day(connection, DAY)
    plan = proposed(connection, DAY)
    assert plan.lexicon == "2 properties declared"
    entries = {one.name: one for one in plan.fields}
    assert (entries["zip"].type, entries["zip"].description) == ("string", "Postal code")
    assert not entries["debug"].include
    assert "hidden in Lexicon" in entries["debug"].reason


def test_a_lexicon_that_may_not_be_read_is_said_and_left_out(emulator: EmulatorThread, connection: Connection) -> None:
    emulator.control.fault("status", match={"path": "*/schemas/event"}, status=403)
    emulator.control.seed_day(DAY, lines(events(5, plan="pro")))
    extract.extract_day(connection, DAY)
    plan = proposed(connection, DAY)
    assert plan.lexicon.startswith("not read: ")
    assert [one.field for one in plan.included] == ["plan"]


def test_properties_that_a_mapping_reads_already_are_not_proposed(
    emulator: EmulatorThread, connection: Connection, tmp_path: Path
) -> None:
    emulator.control.seed_day(DAY, lines(events(5, **{"$browser": "Chrome", "utm_source": "x", "own": 1})))
    extract.extract_day(connection, DAY)
    assert [one.name for one in proposed(connection, DAY).fields] == ["own"]
    file = tmp_path / "mapping.json"
    rows = [{"sourceType": "ATTRIBUTE", "source": "data.own", "destination": "_demotenant.mixpanel.userId"}]
    file.write_text(json.dumps({"mappings": rows}))
    with opened(emulator, tmp_path, mapping=str(file)) as other:
        assert "own" not in {one.name for one in proposed(other, DAY).fields}


@pytest.mark.parametrize("source", ["schema", "field group"])
def test_labels_that_the_platform_has_for_a_field_are_shown(
    emulator: EmulatorThread, connection: Connection, source: str
) -> None:
    emulator.control.seed_day(DAY, lines(events(5, plan="pro")))
    extract.extract_day(connection, DAY)
    connection = accepted(connection, proposed(connection, DAY))
    label = {
        "@type": "xdm:descriptorLabel",
        "xdm:sourceSchema": connection.schema.id if source == "schema" else connection.schema.extends[-1],
        "xdm:sourceVersion": 1,
        "xdm:sourceProperty": "/_demotenant/mixpanel/custom/plan",
        "xdm:labels": ["core/C2"],
    }
    registry.create_descriptor(connection.platform, label)
    (plan,) = proposed(connection, DAY).fields
    assert plan.labels == ("core/C2",)


def test_privacy_rules_hold_for_the_profile_too(
    emulator: EmulatorThread, connection: Connection, tmp_path: Path
) -> None:
    emulator.control.seed_day(DAY, lines(events(5, secret="s", plan="pro")))
    extract.extract_day(connection, DAY)
    assert "secret" in property_statistics.profile_days(connection, [DAY]).properties
    with opened(emulator, tmp_path, privacy={"drop": ("secret",), "stage": "xdm"}) as careful:
        assert "secret" not in property_statistics.profile_days(careful, [DAY]).properties


def test_a_type_that_the_schema_has_otherwise_is_a_conflict_before_anything_is_changed(
    emulator: EmulatorThread, connection: Connection
) -> None:
    emulator.control.seed_day(DAY, lines(events(5, plan="pro")))
    extract.extract_day(connection, DAY)
    plan = proposed(connection, DAY)
    connection = accepted(connection, plan)
    changed = plan.model_copy(update={"fields": (plan.fields[0].model_copy(update={"type": "double"}),)})
    with pytest.raises(Conflict, match=r"custom\.plan .* string, wanted is number"):
        schema_growth.steps(connection, changed)


def test_without_an_exported_day_there_is_no_plan(connection: Connection) -> None:
    with pytest.raises(PlanError, match="No day of default is exported"):
        proposed(connection)


def test_the_command_writes_a_plan_keeps_what_was_decided_in_it_and_applies_it(
    emulator: EmulatorThread, connection: Connection, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for key, value in variables(emulator, tmp_path).items():
        monkeypatch.setenv(key, value)
    monkeypatch.setenv("MIXPANEL_AEP_STORAGE", connection.settings.storage)
    emulator.control.seed_day(DAY, lines(events(5, plan="pro", seats=3)))
    extract.extract_day(connection, DAY)
    file = tmp_path / "plan.yaml"

    def call(*arguments: str) -> str:
        done = CliRunner().invoke(cli, ["provision", *arguments], catch_exceptions=False, standalone_mode=False)
        return done.output

    assert "--plan FILE writes this" in call("--from-data")
    assert not file.exists()
    assert f"provision --plan {file} --apply" in call("--from-data", "--plan", str(file))
    file.write_text(file.read_text().replace("field: seats", "field: seatCount"))
    call("--from-data", "--plan", str(file))
    assert {one.field for one in read_plan(file.read_text()).fields} == {"plan", "seatCount"}
    assert "2 new fields: plan, seatCount" in call("--plan", str(file))
    assert "The mapping fills 2 grown fields" in call("--plan", str(file), "--apply")
    assert "Nothing to change." in call("--plan", str(file), "--apply")
    assert "Nothing to change." in call()
    assert json.loads(call("--from-data", "--json"))["fields"][0]["property"] == "plan"
    with pytest.raises(PlanError, match="cannot be read"):
        call("--plan", str(tmp_path / "none.yaml"))
