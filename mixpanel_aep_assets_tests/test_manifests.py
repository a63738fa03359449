"""What a step leaves is read by the next one in the same terms, whichever version has written it.

`storages/before-formats.zip` is a storage that the commit 04023b3 wrote (28 November 2026), when manifests had no format
number, and the emulator's state beside it: two small days, exported, transformed, handed over; of the first one, rows were
set aside and some of them replayed.
"""

from __future__ import annotations

import datetime
import json
import zipfile
from collections.abc import Iterator
from pathlib import Path

import orjson
import pytest

from mixpanel_aep_assets import manifests
from mixpanel_aep_assets.connection import Connection, remembered
from mixpanel_aep_assets.emulator import EmulatorProcess
from mixpanel_aep_assets.manifests import FORMAT, Action, NewerFormat, RawManifest, UnreadableManifest
from mixpanel_aep_assets.pipeline.books import reconcile, report
from mixpanel_aep_assets.pipeline.insight import drift, property_statistics
from mixpanel_aep_assets.pipeline.steps import extract, load, replay, transform
from mixpanel_aep_assets.storage import MANIFEST
from mixpanel_aep_assets_tests.connections import DAY, event, lines, opened, run_day, settled

BEFORE = Path(__file__).parent / "storages" / "before-formats.zip"
NEXT = "2026-03-11"
TABLES = (extract.TABLE, transform.TABLE, load.TABLE)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    with zipfile.ZipFile(BEFORE) as stored:
        stored.extractall(tmp_path)
    return tmp_path


@pytest.fixture
def platform(folder: Path) -> Iterator[EmulatorProcess]:
    """The Mixpanel and the Platform that the storage was written with."""
    with EmulatorProcess(state=folder / "emulator.sqlite") as running:
        yield running


@pytest.fixture
def connection(platform: EmulatorProcess, folder: Path) -> Iterator[Connection]:
    with opened(platform, folder, mapping=str(folder / "mapping.json"), partial_ingestion_percent=50) as made:
        yield made


def formats(connection: Connection, day: str) -> list[int | None]:
    """The format numbers in the stored manifests of the day; None where there is no number."""
    return [(connection.day(table, day).manifest() or {}).get("format") for table in TABLES]


def test_a_manifest_without_a_number_is_of_format_1_and_later_fields_take_their_defaults(
    connection: Connection,
) -> None:
    raw = extract.stored(connection, DAY)
    assert raw is not None
    assert (raw.format, raw.exported, raw.rows, raw.quarantined) == (1, 18, 17, 1)
    assert (raw.project, raw.window, raw.time_evidence.counts) == (None, None, None)


def test_a_storage_of_the_version_before_has_the_same_books(connection: Connection) -> None:
    rows = [report.counts_of(connection, day) for day in (DAY, NEXT)]
    assert [(row["exported"], row["uploaded"], row["ingested"], row["status"]) for row in rows] == [
        (18, 15, 15, "ingested"),
        (5, 5, 5, "ingested"),
    ]
    assert (rows[0]["duplicates"], rows[0]["quarantined"]) == (1, 2)
    assert replay.standing(connection, DAY) is not None


def test_it_reconciles_with_mixpanel_and_the_platform(connection: Connection) -> None:
    found = reconcile.report_of(connection, [DAY, NEXT])
    assert [reconcile.unexplained(row) for row in found["days"]] == [[], []]
    assert [row["live"] for row in found["days"]] == [15, 5]


def test_an_unchanged_day_stays_as_the_version_before_left_it(connection: Connection) -> None:
    before = connection.day(extract.TABLE, NEXT).manifest()
    made = extract.extract_day(connection, NEXT)
    assert made.unchanged or made.manifest.changes == manifests.Changes()
    assert connection.day(extract.TABLE, NEXT).manifest() == before or made.manifest.format == FORMAT
    transform.transform_day(connection, NEXT)
    assert load.load_day(connection, NEXT).action in ("unchanged", "replaced")


def test_a_changed_day_is_replaced_and_its_manifests_have_the_number(
    platform: EmulatorProcess, connection: Connection
) -> None:
    more = [event(n + 86_400, "Signed Up", state="US-NY") for n in range(7)]
    platform.control.seed_day(NEXT, lines(more))
    run_day(connection, NEXT)
    platform.control.settle()
    settled(connection, NEXT)
    row = report.counts_of(connection, NEXT)
    assert (row["exported"], row["ingested"], row["status"]) == (7, 7, "ingested")
    assert formats(connection, NEXT)[0] == FORMAT
    raw = extract.stored(connection, NEXT)
    assert raw is not None
    assert raw.changes == manifests.Changes(appeared=2)
    assert reconcile.unexplained(reconcile.report_of(connection, [NEXT])["days"][0]) == []


def test_a_day_that_was_never_run_is_run_on_top(platform: EmulatorProcess, connection: Connection) -> None:
    day = "2026-03-12"
    platform.control.seed_day(day, lines([event(n + 2 * 86_400, state="US-NY") for n in range(4)]))
    run_day(connection, day)
    platform.control.settle()
    settled(connection, day)
    assert formats(connection, day) == [FORMAT] * 3
    found = reconcile.report_of(connection, [DAY, NEXT, day])
    assert [(row["live"], row["status"], reconcile.unexplained(row)) for row in found["days"]] == [
        (15, "ingested", []),
        (5, "ingested", []),
        (4, "ingested", []),
    ]


def test_what_the_version_before_set_aside_is_replayed_in_place_of_its_own_replay(
    platform: EmulatorProcess, connection: Connection, folder: Path
) -> None:
    before = replay.standing(connection, DAY)
    assert before is not None
    with opened(platform, folder, partial_ingestion_percent=50) as mended:
        made = replay.replay_day(mended, DAY)
        assert (made.format, made.action, made.predecessors) == (FORMAT, Action.REPLACED, (before.batch_id,))
        platform.control.settle()
        replay.confirm_day(mended, DAY)
        row = reconcile.report_of(mended, [DAY])["days"][0]
        assert (row["quarantined"], row["uploaded"], row["ingested"], row["live"]) == (1, 16, 16, 16)


def test_what_is_remembered_of_the_connection_is_read(connection: Connection) -> None:
    remembered.reach_back(connection.storage, "default", datetime.date(2026, 3, 1))
    url = connection.storage.url
    assert remembered.start_date(url, "default", datetime.date(2026, 3, 5)) == datetime.date(2026, 3, 1)


def test_a_remembered_first_day_without_a_number_is_read_and_one_of_a_newer_format_is_left_alone(
    tmp_path: Path,
) -> None:
    file = tmp_path / "shop" / "start_date.json"
    file.parent.mkdir()
    file.write_text('{"start_date":"2026-02-01"}')
    other = datetime.date(2026, 3, 5)
    assert remembered.start_date(str(tmp_path), "shop", other) == datetime.date(2026, 2, 1)
    newer = json.dumps({"start_date": {"iso": "2026-02-01"}, "format": FORMAT + 1})
    file.write_text(newer)
    assert remembered.start_date(str(tmp_path), "shop", other) == other
    assert file.read_text() == newer


def test_a_part_of_format_1_has_a_size_and_no_hash(connection: Connection) -> None:
    raw = extract.stored(connection, DAY)
    assert raw is not None
    assert [(part.bytes > 0, part.hash) for part in raw.parts] == [(True, None)]


def test_statistics_and_drift_of_the_version_before_are_read(connection: Connection) -> None:
    seen = property_statistics.read_day(connection, DAY)
    assert seen is not None
    assert seen.rows == 17
    assert [row["day"] for row in drift.history(connection, NEXT)] == [NEXT, DAY]


def stored_again(connection: Connection, **changed: object) -> None:
    day = connection.day(extract.TABLE, DAY)
    connection.storage.write(f"{day.path}/{MANIFEST}", orjson.dumps({**(day.manifest() or {}), **changed}))


def test_fields_that_this_version_does_not_know_are_skipped(connection: Connection) -> None:
    known = extract.stored(connection, DAY)
    stored_again(connection, later=json.dumps({"a": 1}))
    assert extract.stored(connection, DAY) == known


def test_a_newer_format_is_refused_with_what_to_do(connection: Connection) -> None:
    stored_again(connection, format=FORMAT + 1, rows="many")
    with pytest.raises(NewerFormat, match=r"manifest\.json has format 3, this version reads formats up to 2. Update"):
        extract.stored(connection, DAY)


def test_json_that_is_no_manifest_of_its_table_is_refused_with_the_place(connection: Connection) -> None:
    stored_again(connection, rows="many")
    with pytest.raises(UnreadableManifest, match=r"raw_events/2026-03-10/manifest\.json .*rows"):
        extract.stored(connection, DAY)


def test_a_torn_manifest_counts_as_never_written(connection: Connection) -> None:
    day = connection.day(extract.TABLE, DAY)
    connection.storage.write(f"{day.path}/{MANIFEST}", b'{"day": "2026-0')
    assert manifests.read(day, RawManifest) is None
