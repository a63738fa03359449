"""Every difference between two sides' numbers is explained, or red."""

from __future__ import annotations

import datetime
from pathlib import Path
from typing import cast

import pytest
from click.testing import CliRunner

from mixpanel_aep_assets.aep import ingest
from mixpanel_aep_assets.cli import cli
from mixpanel_aep_assets.connection import Connection
from mixpanel_aep_assets.emulator import EmulatorThread
from mixpanel_aep_assets.manifests import RawManifest
from mixpanel_aep_assets.pipeline.books import reconcile, verify
from mixpanel_aep_assets.pipeline.steps import extract, load, transform
from mixpanel_aep_assets_tests.connections import (
    DAY,
    NOON,
    NOWHERE,
    event,
    events,
    lines,
    opened,
    provisioned,
    run_day,
    settled,
    strict_mapping,
    variables,
)

FUTURE = NOON + 20 * 365 * 86_400_000
QUERY = {"path": "/api/query/*"}


def told(row: reconcile.OtherSides | reconcile.Row) -> dict[tuple[str, ...], tuple[int, str | None]]:
    return {tuple(one["between"]): (one["count"], one["explanation"]) for one in row["differences"]}


def test_duplicates_and_quarantine_explain_what_was_exported_and_not_uploaded(
    emulator: EmulatorThread, tmp_path: Path
) -> None:
    with provisioned(opened(emulator, tmp_path, mapping=strict_mapping(tmp_path))) as connection:
        nowhere = event(98, **NOWHERE)
        broken = b'null\n{"event":"x","properties":{"time":%d,"n":NaN}}\n' % NOON
        emulator.control.seed_day(DAY, broken + lines([*events(98), nowhere, *events(2)]))
        run_day(connection)
        settled(connection)
        row = reconcile.report_of(connection, [DAY])["days"][0]
        assert (row["mixpanel"], row["exported"], row["uploaded"], row["ingested"], row["live"]) == (
            99,
            103,
            98,
            98,
            98,
        )
        assert not reconcile.unexplained(row)
        count, why = told(row)["exported", "uploaded"]
        assert count == 5
        assert why is not None
        assert "2 duplicates" in why
        assert "1 in quarantine, stage raw" in why
        assert "1 in quarantine, stage request (wrong_shape 1)" in why
        assert "stateProvince 1" in why
        assert told(row)["mixpanel", "exported"] == (
            -4, "2 lines without an event; 2 duplicates, which Mixpanel's numbers leave out",
        )  # fmt: skip


def test_events_of_other_days_are_explained_as_mixpanel_counts_them(
    emulator: EmulatorThread, connection: Connection
) -> None:
    emulator.control.seed_day(DAY, lines([*events(30), *[event(30, time=FUTURE)] * 2]))
    run_day(connection)
    counted = told(reconcile.of_day(connection, DAY))["mixpanel", "exported"]
    assert counted == (-1, "1 duplicate among the events of other days"), "the emulator counts what it sends"
    emulator.control.seed_day(DAY, lines(events(30)))
    left_out = told(reconcile.of_day(connection, DAY))["mixpanel", "exported"]
    assert left_out == (-2, "2 events of other days, which are not in Mixpanel's count of this one")


@pytest.mark.parametrize("hidden", [True, False])
def test_hidden_in_lexicon_is_said_only_of_events_that_are_hidden_there(
    emulator: EmulatorThread, connection: Connection, hidden: bool
) -> None:
    about = {"metadata": {"com.mixpanel": {"hidden": hidden}}}
    emulator.control.project(id=12345, lexicon=[{"entityType": "event", "name": "Secret", "schemaJson": about}])
    emulator.control.seed_day(DAY, lines([*events(30), event(30, "Secret"), event(31, "Secret")]))
    run_day(connection)
    counts = {"Page Viewed": 30, "Secret": 0}
    why = reconcile.explain_count(connection, DAY, raw(connection), counts, reread=False)
    assert (why == "Mixpanel's numbers leave out 2 events named Secret, hidden in Lexicon") is hidden
    assert hidden or why is None


def test_a_lexicon_that_may_not_be_read_proves_nothing(emulator: EmulatorThread, connection: Connection) -> None:
    emulator.control.seed_day(DAY, lines([*events(30), event(30, "Secret")]))
    run_day(connection)
    emulator.control.fault("status", match={"path": "*/schemas/event"}, status=403)
    counts = {"Page Viewed": 30, "Secret": 0}
    assert reconcile.explain_count(connection, DAY, raw(connection), counts, reread=False) is None


def test_ids_that_were_merged_since_explain_a_count_only_name_by_name(
    emulator: EmulatorThread, connection: Connection
) -> None:
    twin = event(3, **{"$distinct_id_before_identity": "anonymous"})
    emulator.control.seed_day(DAY, lines([*events(30), twin, event(30, "Other")]))
    run_day(connection)
    merged = reconcile.explain_count(connection, DAY, raw(connection), {"Page Viewed": 30, "Other": 1}, reread=False)
    assert "ids were merged since" in (merged or "")
    lost = reconcile.explain_count(connection, DAY, raw(connection), {"Page Viewed": 31, "Other": 0}, reread=False)
    assert lost is None, "the same total, but it is another event that lacks"


def test_a_batch_that_somebody_took_back_is_a_difference_that_nothing_explains(
    emulator: EmulatorThread, connection: Connection
) -> None:
    emulator.control.seed_day(DAY, lines(events(30)))
    manifest = run_day(connection)
    settled(connection)
    assert manifest.batch_id is not None
    ingest.revert(connection.platform, manifest.batch_id)
    row = reconcile.of_day(connection, DAY)
    assert (row["live"], told(row)) == (0, {("ingested", "live"): (30, None)})
    assert not verify.reconciles_with_mixpanel(connection, DAY).passed


def test_a_batch_in_progress_is_a_calm_difference(emulator: EmulatorThread, connection: Connection) -> None:
    emulator.control.settings(batch_seconds=3600)
    emulator.control.seed_day(DAY, lines(events(30)))
    run_day(connection)
    row = reconcile.of_day(connection, DAY)
    assert told(row) == {("uploaded", "ingested"): (30, "the Platform is still at work on it")}


def test_a_refused_batch_names_the_platforms_reason_and_the_batch_that_is_still_live(
    emulator: EmulatorThread, connection: Connection
) -> None:
    emulator.control.seed_day(DAY, lines(events(30)))
    before = run_day(connection)
    settled(connection)
    emulator.control.seed_day(DAY, lines(events(31)))
    emulator.control.fault("batch", match={"query": {"action": "COMPLETE"}}, outcome="failed")
    run_day(connection)
    settled(connection)
    row = told(reconcile.of_day(connection, DAY))
    assert "INGEST-9999-500" in (row["uploaded", "ingested"][1] or "")
    count, why = row["ingested", "live"]
    assert count == -30
    assert str(before.batch_id) in (why or "")


def test_late_events_are_red_until_the_day_is_read_again_to_see_that_it_changed(
    emulator: EmulatorThread, connection: Connection
) -> None:
    emulator.control.seed_day(DAY, lines(events(30)))
    run_day(connection)
    settled(connection)
    emulator.control.seed_day(DAY, lines(events(33)))
    assert told(reconcile.of_day(connection, DAY)) == {("mixpanel", "exported"): (3, None)}
    count, why = told(reconcile.of_day(connection, DAY, reread=True))["mixpanel", "exported"]
    assert count == 3
    assert "3 appeared" in (why or "")
    assert connection.day(extract.TABLE, DAY).manifest()["rows"] == 30, "what is stored stays"  # type: ignore[index]


def test_a_plan_without_the_query_api_is_told_and_not_red(emulator: EmulatorThread, connection: Connection) -> None:
    emulator.control.seed_day(DAY, lines(events(30)))
    run_day(connection)
    settled(connection)
    emulator.control.fault("status", match=QUERY, status=402)
    row = reconcile.of_day(connection, DAY)
    assert row["mixpanel"] is None
    assert "402" in row["mixpanel_error"]
    assert not row["differences"]
    assert verify.reconciles_with_mixpanel(connection, DAY).passed


@pytest.mark.parametrize(
    ("match", "status", "side"), [(QUERY, 403, "mixpanel"), ({"path": "/data/foundation/catalog/batches"}, 403, "live")]
)
def test_a_side_that_does_not_answer_proves_nothing(
    emulator: EmulatorThread, connection: Connection, tmp_path: Path, match: dict[str, str], status: int, side: str
) -> None:
    emulator.control.seed_day(DAY, lines(events(30)))
    run_day(connection)
    settled(connection)
    emulator.control.fault("status", match=match, status=status)
    row = reconcile.of_day(connection, DAY)
    assert ({**row}[side], row["unanswered"]) == (None, [side])
    finding = verify.reconciles_with_mixpanel(connection, DAY)
    assert not finding.passed
    assert "Not known" in finding.text
    done = CliRunner(env=variables(emulator, tmp_path)).invoke(
        cli, ["reconcile", "--from", DAY, "--to", DAY], standalone_mode=False
    )
    assert done.return_value == 1, done.output


def raw(connection: Connection) -> RawManifest:
    manifest = extract.stored(connection, DAY)
    assert manifest is not None
    return manifest


def test_in_utc_mode_the_day_is_compared_in_the_projects_zone(emulator: EmulatorThread, tmp_path: Path) -> None:
    emulator.control.seed_day(DAY, lines(events(30)))
    following = (datetime.date.fromisoformat(DAY) + datetime.timedelta(days=1)).isoformat()
    with opened(emulator, tmp_path, time_mode="utc", timezone="US/Pacific") as connection:
        provisioned(connection)
        run_day(connection)
        late = [event(n, time=NOON + 15 * 3_600_000 + n, **{"$insert_id": f"late-{n}"}) for n in range(5)]
        emulator.control.seed_day(following, lines(late))
        elsewhere = {"Page Viewed": 35}
        with pytest.raises(reconcile.NotComparable, match=f"{following} is missing"):
            reconcile.explain_count(connection, DAY, raw(connection), elsewhere, reread=False)
        extract.extract_day(connection, following)
        why = reconcile.explain_count(connection, DAY, raw(connection), elsewhere, reread=False)
        assert "both have 35 events" in (why or "")


def test_the_guardrails_are_warned_of_before_the_upload_and_in_the_check(
    emulator: EmulatorThread, connection: Connection
) -> None:
    emulator.control.clock(step=86_400)  # so that no midnight falls between the batches and the count
    for number in range(75):
        body = {"datasetId": connection.dataset, "externalId": f"other-{number}", "inputFormat": {"format": "parquet"}}
        connection.platform.request("POST", "/data/foundation/import/batches", json=body)
    emulator.control.seed_day(DAY, lines([*events(3), event(3, long="x" * 11_000)]))
    said: list[str] = []
    extract.extract_day(connection, DAY)
    transform.transform_day(connection, DAY)
    manifest = load.load_day(connection, DAY, log=said.append)
    assert any("76 event batches today" in text for text in said)
    assert len(manifest.guardrails) == 2
    finding = verify.within_guardrails(connection, DAY)
    assert not finding.passed
    assert "over 10 kB" in finding.text


def test_what_changed_since_the_export_before_is_counted_in_the_log_and_the_check(
    emulator: EmulatorThread, connection: Connection
) -> None:
    emulator.control.seed_day(DAY, lines(events(30)))
    extract.extract_day(connection, DAY)
    late = [event(0, colour="red"), *events(32)[2:]]
    emulator.control.seed_day(DAY, lines(late))
    said: list[str] = []
    extract.extract_day(connection, DAY, log=said.append)
    assert any("2 appeared, 1 changed, 1 vanished" in text for text in said)
    changes = verify.body_is_whole(connection, DAY).numbers["changes_since_last_export"]
    (row,) = cast("list[dict[str, int]]", changes)
    assert row == {"appeared": 2, "changed": 1, "vanished": 1}
