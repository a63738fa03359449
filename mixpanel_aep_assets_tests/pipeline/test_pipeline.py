"""A day's whole way over HTTP, export to live events, judged by the emulator's own books."""

from __future__ import annotations

import datetime
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from mixpanel_aep_assets.aep import registry
from mixpanel_aep_assets.connection import Connection, Settings
from mixpanel_aep_assets.dataprep.language.mapping_errors import MappingSetError
from mixpanel_aep_assets.emulator import EmulatorThread
from mixpanel_aep_assets.mixpanel.export_retry import Retry
from mixpanel_aep_assets.mixpanel.mixpanel_errors import (
    AuthenticationFailed,
    DateTooLate,
    ExportIncomplete,
    Unreachable,
)
from mixpanel_aep_assets.pipeline.books import quarantine, report, verify
from mixpanel_aep_assets.pipeline.steps import extract, transform
from mixpanel_aep_assets.pipeline.steps.allowance import is_more_than_a_trifle
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
)
from mixpanel_aep_assets_tests.outside import EVENTS, NO_EVENTS


@pytest.fixture
def strict(emulator: EmulatorThread, tmp_path: Path) -> Iterator[Connection]:
    with opened(emulator, tmp_path, mapping=strict_mapping(tmp_path)) as connection:
        yield provisioned(connection)


def books(emulator: EmulatorThread, connection: Connection) -> dict[str, Any]:
    emulator.control.settle()
    return dict(emulator.control.books(connection.dataset)["live"])


def test_every_event_of_a_day_is_live_exactly_once(emulator: EmulatorThread, connection: Connection) -> None:
    rows = events(500)
    emulator.control.seed_day(DAY, lines(rows + rows[:20]))
    run_day(connection)
    settled(connection)
    row = report.counts_of(connection, DAY)
    assert row | {"batch_id": None} == {
        "day": DAY,
        "exported": 520,
        "duplicates": 20,
        "quarantined": 0,
        "uploaded": 500,
        "ingested": 500,
        "rejected": 0,
        "batch_id": None,
        "status": "ingested",
    }
    live = books(emulator, connection)
    assert (live["rows"], live["distinct_ids"]) == (500, 500)


def test_a_finished_day_run_again_uploads_nothing(emulator: EmulatorThread, connection: Connection) -> None:
    emulator.control.seed_day(DAY, lines(events(50)))
    first = run_day(connection)
    settled(connection)
    again = run_day(connection)
    assert (first.action, again.action) == ("uploaded", "unchanged")
    assert again.batch_id == first.batch_id
    assert books(emulator, connection)["rows"] == 50


def test_a_platform_at_another_address_is_sent_nothing_that_it_has(
    emulator: EmulatorThread, connection: Connection, tmp_path: Path
) -> None:
    emulator.control.seed_day(DAY, lines(events(50)))
    first = run_day(connection)
    settled(connection)
    with opened(emulator, tmp_path, aep_url=emulator.url.replace("127.0.0.1", "localhost")) as elsewhere:
        again = run_day(elsewhere)
        assert (again.action, again.batch_id) == ("adopted", first.batch_id)
        outcome = settled(elsewhere).outcome
        assert outcome is not None
        assert outcome.ingested == 50
        assert run_day(elsewhere).action == "unchanged"
        emulator.control.seed_day(DAY, lines(events(60)))
        assert run_day(elsewhere).predecessors == (first.batch_id,)
        settled(elsewhere)
    assert books(emulator, connection)["rows"] == 60


def test_a_changed_day_replaces_its_batch(emulator: EmulatorThread, connection: Connection) -> None:
    emulator.control.seed_day(DAY, lines(events(50)))
    first = run_day(connection)
    settled(connection)
    emulator.control.seed_day(DAY, lines(events(60)))
    second = run_day(connection)
    settled(connection)
    assert second.action == "replaced"
    assert second.predecessors == (first.batch_id,)
    assert books(emulator, connection)["rows"] == 60


def test_a_day_that_becomes_empty_takes_its_batch_back(emulator: EmulatorThread, connection: Connection) -> None:
    emulator.control.seed_day(DAY, lines(events(50)))
    run_day(connection)
    settled(connection)
    emulator.control.clear_events(DAY)
    assert run_day(connection).action == "reverted"
    assert books(emulator, connection)["rows"] == 0


def test_an_empty_day_is_a_finished_day(connection: Connection) -> None:
    assert run_day(connection).action == "nothing"
    assert report.counts_of(connection, DAY)["status"] == "empty"


@pytest.mark.parametrize("status", [401, 402, 403, 404])
def test_the_zone_stays_open_where_the_account_may_not_ask_for_it(
    emulator: EmulatorThread, connection: Connection, status: int
) -> None:
    emulator.control.fault("status", match={"path": "/api/app/me"}, status=status)
    emulator.control.seed_day(DAY, lines(events(40)))
    assert extract.extract_day(connection, DAY).manifest.time_mode == "utc"
    assert verify.time_mode_is_sure(connection, DAY).passed


def test_a_host_that_does_not_tell_the_zone_is_an_error_that_names_the_setting(
    emulator: EmulatorThread, tmp_path: Path
) -> None:
    with opened(emulator, tmp_path, api_url="http://127.0.0.1:9") as alone, pytest.raises(Unreachable) as caught:
        extract.extract_day(alone, DAY)
    assert "MIXPANEL_TIMEZONE" in str(caught.value)


def test_nobody_is_asked_for_the_zone_in_utc_mode(emulator: EmulatorThread, tmp_path: Path) -> None:
    emulator.control.seed_day(DAY, lines(events(5)))
    with opened(emulator, tmp_path, api_url="http://127.0.0.1:9", time_mode="utc") as alone:
        assert extract.extract_day(alone, DAY).manifest.rows == 5


def test_broken_lines_are_set_aside_and_counted(emulator: EmulatorThread, connection: Connection) -> None:
    broken = b'{"event":"x","properties":{"n":NaN}}\nnull\n[]\n{"event":"x","properties":{"s":"\xff","time":1}}\n'
    broken += b'{"event":"x","properties":{"s":"\xff","time":%d}}\n' % NOON
    emulator.control.seed_day(DAY, broken + lines(events(30)))
    run_day(connection)
    settled(connection)
    row = report.counts_of(connection, DAY)
    assert (row["exported"], row["quarantined"], row["ingested"]) == (35, 5, 30)
    assert [(one["stage"], one["line"]) for one in quarantine.show(connection, DAY)] == [
        *(("request", number) for number in range(1, 5)),
        ("raw", 5),
    ]


def test_rows_that_cannot_conform_are_set_aside_with_their_reasons(
    emulator: EmulatorThread, strict: Connection
) -> None:
    emulator.control.seed_day(DAY, lines([*events(99), event(99, **NOWHERE)]))
    run_day(strict)
    settled(strict)
    row = report.counts_of(strict, DAY)
    assert (row["quarantined"], row["uploaded"], row["ingested"]) == (1, 99, 99)
    finding = verify.conforms_to_xdm(strict, DAY)
    assert not finding.passed
    assert not finding.severe
    (file,) = strict.day(transform.TABLE, DAY).locations(kind="quarantine")
    (aside,) = pl.read_parquet(file).to_dicts()
    assert aside["pointer"] == "/placeContext/geo/stateProvince"
    assert json.loads(aside["properties"])["state"] == "California"


def test_more_violations_than_allowed_block_the_day(emulator: EmulatorThread, strict: Connection) -> None:
    emulator.control.seed_day(DAY, lines(events(21, **NOWHERE) + [event(number) for number in range(21, 71)]))
    extract.extract_day(strict, DAY)
    transform.transform_day(strict, DAY)
    finding = verify.conforms_to_xdm(strict, DAY)
    assert not finding.passed
    assert finding.severe
    assert finding.text.startswith("21 of 71 events (29.6 %) cannot conform; the connection allows 5 % or 20 events")


def test_a_handful_that_cannot_conform_is_a_warning_with_its_number_whatever_its_share(
    emulator: EmulatorThread, strict: Connection
) -> None:
    emulator.control.seed_day(DAY, lines([*events(40), *(event(number, **NOWHERE) for number in (40, 41, 42))]))
    extract.extract_day(strict, DAY)
    transform.transform_day(strict, DAY)
    finding = verify.conforms_to_xdm(strict, DAY)
    assert (finding.passed, finding.severe) == (False, False)
    assert finding.text.startswith("40 events conform; 3 of 43 (7.0 %) cannot and were quarantined")
    assert finding.numbers["allowed_rows"] == 20


def test_a_day_of_which_nothing_conforms_is_blocked(emulator: EmulatorThread, tmp_path: Path) -> None:
    emulator.control.seed_day(DAY, lines(events(2, **NOWHERE)))
    with provisioned(opened(emulator, tmp_path, time_mode="utc", mapping=strict_mapping(tmp_path))) as connection:
        extract.extract_day(connection, DAY)
        transform.transform_day(connection, DAY)
        assert verify.conforms_to_xdm(connection, DAY).severe


@pytest.mark.parametrize(
    ("aside", "total", "percent", "rows", "too_many"),
    [
        (0, 0, 5, 20, False),
        (0, 100, 0, 0, False),
        (1, 18, 5, 20, False),
        (20, 21, 5, 20, False),
        (21, 40, 5, 20, True),
        (21, 420, 5, 20, False),
        (1, 1_000, 0, 0, True),
        (1, 1_000, 0, 1, False),
        (1, 18, 5, 0, True),
        (1, 1, 5, 20, True),
        (3, 3, 100, 20, True),
    ],
)
def test_more_than_a_trifle_is_past_the_share_and_the_number_or_all_there_is(
    aside: int, total: int, percent: float, rows: int, too_many: bool
) -> None:
    settings = Settings(max_nonconforming_percent=percent, max_nonconforming_rows=rows)
    assert is_more_than_a_trifle(aside, total, settings) is too_many


def test_project_time_reaches_the_lake_as_true_utc(emulator: EmulatorThread, tmp_path: Path) -> None:
    emulator.control.project(id=12345, timezone="US/Pacific", mode="legacy")
    true = [event(n) for n in range(60)]
    emulator.control.seed_events(true)
    with opened(emulator, tmp_path) as connection:
        provisioned(connection)
        run_day(connection)
        settled(connection)
        manifest = connection.day(extract.TABLE, DAY).manifest()
        assert manifest is not None
        assert (manifest["time_mode"], manifest["timezone"]) == ("project", "US/Pacific")
        files = connection.day(transform.TABLE, DAY).locations()
        instants = pl.read_parquet(files, columns=["timestamp"])["timestamp"]
        assert instants.min() == datetime.datetime.fromtimestamp(NOON / 1000, datetime.UTC)


def test_properties_reach_the_platform_byte_for_byte(emulator: EmulatorThread, connection: Connection) -> None:
    text = (
        f'{{"time":{NOON},"distinct_id":"u","$insert_id":"x","big":12345678901234567890123,"f":1.50,"e":1e-320,'
        '"u":"\\u00e9\\ud83d\\ude00","raw":"line\u2028nel\u0085","s":"\\ud83d","a":1,"a":2}'
    )
    emulator.control.seed_day(DAY, f'{{"event":"Odd","properties":{text}}}\n'.encode() + lines(events(30)))
    run_day(connection)
    (file,) = connection.day(transform.TABLE, DAY).locations()
    kept = pl.read_parquet(file, columns=["_demotenant"]).select(
        pl.col("_demotenant").struct.field("mixpanel").struct.field("properties")
    )
    assert text in kept["properties"].to_list()


def test_adobes_ten_tutorial_events_reuse_an_insert_id_and_all_arrive(emulator: EmulatorThread, tmp_path: Path) -> None:
    file = EVENTS / "adobe-tutorial-events.ndjson"
    if not file.exists():
        pytest.skip(NO_EVENTS)
    with opened(emulator, tmp_path, timezone="US/Pacific", time_mode="project") as connection:
        provisioned(connection)
        by_day: dict[str, list[str]] = {}
        for line in file.read_text().splitlines():
            seconds = json.loads(line)["properties"]["time"]
            by_day.setdefault(datetime.datetime.fromtimestamp(seconds, datetime.UTC).date().isoformat(), []).append(
                line
            )
        for day, sent in by_day.items():
            emulator.control.seed_day(day, "".join(f"{line}\n" for line in sent).encode())
            run_day(connection, day)
            settled(connection, day)
        totals = report.report(connection, by_day)["totals"]
        assert totals["exported"] == 10
        assert totals["duplicates"] + totals["ingested"] == 10
        assert totals["ingested"] == len({line for line in file.read_text().splitlines() if line})


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        ({"kind": "early", "lines": 3}, ExportIncomplete),
        ({"kind": "cut", "bytes": 700}, ExportIncomplete),
        ({"kind": "auth400"}, AuthenticationFailed),
    ],
)
def test_a_failed_export_keeps_what_is_stored(
    emulator: EmulatorThread, connection: Connection, fault: dict[str, Any], error: type[Exception]
) -> None:
    emulator.control.seed_day(DAY, lines(events(30)))
    before = extract.extract_day(connection, DAY)
    emulator.control.seed_day(DAY, lines(events(40)))
    emulator.control.fault(fault.pop("kind"), match={"path": "*/export"}, **fault)
    with pytest.raises(error):
        extract.extract_day(connection, DAY, retry=Retry(sleep=lambda _: None))
    after = connection.day(extract.TABLE, DAY).manifest()
    assert after is not None
    assert after["generation"] == before.manifest.generation
    emulator.control.clear_faults()
    assert extract.extract_day(connection, DAY).manifest.rows == 40


def test_a_running_day_is_not_exported(connection: Connection) -> None:
    today = datetime.datetime.now(datetime.UTC).date().isoformat()
    with pytest.raises(DateTooLate, match="not over yet"):
        extract.extract_day(connection, today)


def test_the_platforms_refusal_of_a_batch_is_told_with_its_reason(
    emulator: EmulatorThread, connection: Connection
) -> None:
    emulator.control.seed_day(DAY, lines(events(30)))
    emulator.control.fault("batch", match={"query": {"action": "COMPLETE"}}, outcome="failed")
    run_day(connection)
    settled(connection)
    finding = verify.ingested_by_aep(connection, DAY)
    assert not finding.passed
    assert finding.severe
    assert report.counts_of(connection, DAY)["status"] == "failed"


def test_the_books_of_mixpanel_and_ours_agree(emulator: EmulatorThread, connection: Connection) -> None:
    emulator.control.seed_day(DAY, lines(events(40) + events(3)))
    run_day(connection)
    finding = verify.reconciles_with_mixpanel(connection, DAY)
    assert finding.passed, finding.text
    assert report.counts_of(connection, DAY)["uploaded"] == 40


def test_a_mapping_set_like_adobes_tutorial_runs_unchanged_and_gets_id_time_and_identities(
    emulator: EmulatorThread, tmp_path: Path
) -> None:
    file = tmp_path / "mapping.json"
    rows = {"data.event_name": "eventType", "data.insert_id": "_demotenant.mixpanel.insertId"}
    mappings = [{"sourceType": "ATTRIBUTE", "source": s, "destination": d} for s, d in rows.items()]
    file.write_text(json.dumps({"mappings": mappings}))
    emulator.control.seed_day(DAY, lines(events(30)))
    with opened(emulator, tmp_path, mapping=str(file)) as connection:
        provisioned(connection)
        run_day(connection)
        settled(connection)
        assert report.counts_of(connection, DAY)["ingested"] == 30


def test_a_mapping_set_that_does_not_fit_the_schema_is_refused_with_every_problem(
    emulator: EmulatorThread, tmp_path: Path
) -> None:
    file = tmp_path / "mapping.json"
    rows = {"properties.x": "environment.nosuch", "uper(event)": "eventType"}
    mappings = [{"sourceType": "EXPRESSION", "source": s, "destination": d} for s, d in rows.items()]
    file.write_text(json.dumps({"mappings": mappings}))
    emulator.control.seed_day(DAY, lines(events(3)))
    with opened(emulator, tmp_path, mapping=str(file)) as connection:
        provisioned(connection)
        extract.extract_day(connection, DAY)
        with pytest.raises(MappingSetError, match=r"(?s)environment\.nosuch.*upper"):
            transform.transform_day(connection, DAY)


def test_an_event_without_the_primary_identity_that_a_descriptor_names_is_set_aside(
    emulator: EmulatorThread, connection: Connection, tmp_path: Path
) -> None:
    descriptor = {
        "@type": "xdm:descriptorIdentity",
        "xdm:sourceSchema": connection.schema.id,
        "xdm:sourceVersion": 1,
        "xdm:sourceProperty": "/_demotenant/mixpanel/utmSource",
        "xdm:namespace": "mixpanelUserId",
        "xdm:property": "xdm:code",
        "xdm:isPrimary": True,
    }
    registry.create_descriptor(connection.platform, descriptor)
    rows = [*events(40, utm_source="u"), event(40)]
    emulator.control.seed_day(DAY, lines(rows))
    with opened(emulator, tmp_path) as again:
        assert again.schema.primary == ("_demotenant", "mixpanel", "utmSource")
        extract.extract_day(again, DAY)
        manifest = transform.transform_day(again, DAY)
        assert (manifest.rows, manifest.quarantined) == (40, 1)
        (path,) = again.day(transform.TABLE, DAY).files(manifest, "quarantine")
        with again.storage.open_read(path) as file:
            text = str(pl.read_parquet(file).to_dicts())
    assert "identityPrimary" in text
    assert "/_demotenant/mixpanel/utmSource" in text
