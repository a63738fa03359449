"""What is awkward in a line costs that line or a part of it, never its day; judged by the emulator's own books."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from mixpanel_aep_assets.connection import Connection
from mixpanel_aep_assets.emulator import EmulatorThread
from mixpanel_aep_assets.manifests import Violations
from mixpanel_aep_assets.mixpanel import dedup, identity
from mixpanel_aep_assets.pipeline.books import quarantine, report
from mixpanel_aep_assets.pipeline.steps import extract, replay, transform
from mixpanel_aep_assets.pipeline.steps.source_rows import Stage
from mixpanel_aep_assets_tests.connections import DAY, NOON, event, events, lines, opened, provisioned, run_day, settled
from mixpanel_aep_assets_tests.outside import CASES, NO_CASES


def live(emulator: EmulatorThread, connection: Connection) -> int:
    emulator.control.settle()
    return int(emulator.control.books(connection.dataset)["live"]["rows"])


def xdm(connection: Connection) -> pl.DataFrame:
    """The day as it was uploaded, in the order of its time."""
    paths = connection.day(transform.TABLE, DAY).locations()
    return pl.concat([pl.read_parquet(path) for path in paths]).sort("timestamp")


def ids(connection: Connection) -> list[list[str]]:
    """For each event the ids of its identityMap."""
    return [
        [item["id"] for items in (entries or {}).values() for item in items]
        for entries in xdm(connection)["identityMap"].to_list()
    ]


def done(connection: Connection) -> dict[str, Any]:
    run_day(connection)
    settled(connection)
    return dict(report.counts_of(connection, DAY))


OUT_OF_RANGE = [
    1741168800000000,
    1741168800000000000,
    253402300800000,
    -1741168800000000,
    10**400,
    "10000-01-01T00:00:00",
]


@pytest.mark.parametrize("mode", ["utc", "project"])
def test_a_time_that_nothing_can_hold_sets_one_line_aside(emulator: EmulatorThread, tmp_path: Path, mode: str) -> None:
    rows = events(40)
    rows[20:20] = [event(100 + number, time=value) for number, value in enumerate(OUT_OF_RANGE)]
    emulator.control.seed_day(DAY, lines(rows))
    with opened(emulator, tmp_path, time_mode=mode, timezone="Europe/London") as connection:
        provisioned(connection)
        row = done(connection)
        assert (row["uploaded"], row["quarantined"], row["status"]) == (40, len(OUT_OF_RANGE), "ingested")
        assert quarantine.summary(connection, DAY)[Stage.REQUEST] == {"bad_time": len(OUT_OF_RANGE)}
        assert len(extract.preview(connection, DAY, 60)) == len(transform.preview(connection, DAY, 60)) == 40
    assert live(emulator, connection) == 40


def test_a_stamp_that_nothing_can_hold_costs_the_stamp_alone(emulator: EmulatorThread, tmp_path: Path) -> None:
    odd = {"$mp_api_timestamp_ms": 1741168800000000, "mp_processing_time_ms": -(2**63)}
    emulator.control.seed_day(DAY, lines([*events(30), event(40, **odd)]))
    with opened(emulator, tmp_path, time_mode="project", timezone="Europe/Berlin") as connection:
        provisioned(connection)
        assert done(connection)["ingested"] == 31
        assert xdm(connection)["receivedTimestamp"].null_count() == 1


def test_a_raw_day_of_an_earlier_version_with_such_a_time_is_no_failed_day(
    emulator: EmulatorThread, connection: Connection
) -> None:
    emulator.control.seed_day(DAY, lines([*events(30), event(40, time=NOON)]))
    extract.extract_day(connection, DAY)
    (path,) = connection.day(extract.TABLE, DAY).locations()
    stored = pl.read_parquet(path)
    late = pl.when(pl.col("line") == 31).then(8210266876800000).otherwise("time_ms").alias("time_ms")
    stored.with_columns(late).write_parquet(path)
    manifest = transform.transform_day(connection, DAY)
    assert (manifest.rows, manifest.quarantined) == (30, 1)
    assert manifest.violations == (Violations("", "required", 1),)


@pytest.mark.parametrize("others", [0, 30])
def test_a_number_for_the_name_of_an_event_is_a_line_set_aside(
    emulator: EmulatorThread, connection: Connection, others: int
) -> None:
    odd = [{**event(100), "event": 100}, {**event(101, error="not found"), "event": 404}]
    emulator.control.seed_day(DAY, lines([*events(others), *odd]))
    row = done(connection)
    assert (row["uploaded"], row["quarantined"]) == (others, 2)
    assert quarantine.summary(connection, DAY)[Stage.RAW] == {"no_event": 2}
    assert live(emulator, connection) == others


REFUSED = [
    "Invalid",
    "INVALID",
    "x" * 1100,
    "anonymous",
    "null",
    "0",
    "",
    "undefined",
    ["u1"],
    {"id": "u1"},
    "[object Object]",
    [],
    {},
]


def test_an_id_that_is_refused_costs_the_identity_and_not_the_event(
    emulator: EmulatorThread, connection: Connection
) -> None:
    rows = [event(number, distinct_id=value, **NO_OTHER) for number, value in enumerate(REFUSED)]
    rows += [event(50, distinct_id="Invalid", **{**NO_OTHER, "$device_id": "d1"}), event(51)]
    emulator.control.seed_day(DAY, lines(rows))
    row = done(connection)
    assert (row["ingested"], row["quarantined"], row["rejected"]) == (len(rows), 0, 0)
    assert ids(connection) == [*([[]] * len(REFUSED)), ["d1"], ["u2", "d2"]]
    assert live(emulator, connection) == len(rows)


NO_OTHER: dict[str, Any] = {"$user_id": None, "$device_id": None}


def test_a_mapping_set_that_builds_identities_itself_loses_the_refused_ones_and_no_event(
    emulator: EmulatorThread, tmp_path: Path
) -> None:
    file = tmp_path / "mapping.json"
    built = """to_object(
        "Email", to_array(false, to_object("id", properties.email, "primary", true)),
        "CRMID", to_array(false, to_object("id", properties.member)))"""
    mappings = [{"sourceType": "EXPRESSION", "source": built, "destination": "identityMap"}]
    file.write_text(json.dumps({"mappings": mappings}))
    given = [
        ("a@b.example", "m1"),
        ("Invalid", "m2"),
        ("null", "anonymous"),
        ("x" * 1100, "m4"),
        (None, "m5"),
        ("undefined", "m6"),
    ]
    seeded = [event(n, email=email, member=member, guest=False) for n, (email, member) in enumerate(given)]
    emulator.control.seed_day(DAY, lines(seeded))
    with opened(emulator, tmp_path, mapping=str(file)) as connection:
        provisioned(connection)
        row = done(connection)
        assert (row["ingested"], row["quarantined"]) == (len(given), 0)
        assert ids(connection) == [["a@b.example", "m1"], ["m2"], [], ["m4"], ["m5"], ["undefined", "m6"]]


def test_two_events_of_one_second_with_an_empty_insert_id_are_two(
    emulator: EmulatorThread, connection: Connection
) -> None:
    rows = [event(1, item=item, **{"$insert_id": ""}) for item in ("C", "D")]
    emulator.control.seed_day(DAY, lines(rows))
    row = done(connection)
    assert (row["ingested"], row["duplicates"]) == (2, 0)
    assert live(emulator, connection) == 2


@pytest.fixture
def version_1() -> Iterator[Callable[[], None]]:
    """Takes days as version 1 did: a blank insert id is an id, a list is an identity. The function given ends that."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(transform, "VERSION", "1")
        patched.setattr(transform._data_version, "__defaults__", ("1",))
        patched.setattr(dedup, "lacks_insert_id", lambda: pl.col("insert_id").is_null())
        patched.setattr(identity, "_REFUSED", identity._pattern(*map(re.escape, identity.NOBODY)))
        yield patched.undo


BLANK = [event(1, item=item, **{"$insert_id": ""}) for item in ("C", "D")]
CONCERNED = {"an empty insert id": BLANK, "a list for an id": [event(1, distinct_id=["u"], **NO_OTHER)]}


@pytest.mark.parametrize("odd", CONCERNED.values(), ids=CONCERNED)
def test_a_day_that_is_live_by_the_rules_before_is_replaced_when_it_is_materialized_again(
    emulator: EmulatorThread, connection: Connection, version_1: Callable[[], None], odd: list[dict[str, Any]]
) -> None:
    emulator.control.seed_day(DAY, lines([*events(30)[10:], *odd]))
    before = run_day(connection)
    settled(connection)
    assert live(emulator, connection) == 21
    version_1()
    after = run_day(connection)
    settled(connection)
    assert (after.action, after.predecessors) == ("replaced", (before.batch_id,))
    assert live(emulator, connection) == 20 + len(odd)
    assert run_day(connection).action == "unchanged"


def test_a_day_that_both_rules_read_alike_stays_as_it_is(
    emulator: EmulatorThread, connection: Connection, version_1: Callable[[], None]
) -> None:
    emulator.control.seed_day(
        DAY, lines([*events(30), event(40, **{"$insert_id": None}), event(41, **{"$insert_id": "null"})])
    )
    before = run_day(connection)
    settled(connection)
    version_1()
    again = run_day(connection)
    assert (again.action, again.batch_id, again.data_version) == (
        "unchanged", before.batch_id, before.data_version,
    )  # fmt: skip
    assert live(emulator, connection) == 32


def test_events_set_aside_for_a_refused_id_by_the_rules_before_can_be_replayed(
    emulator: EmulatorThread, connection: Connection, version_1: Callable[[], None]
) -> None:
    emulator.control.seed_day(DAY, lines([*events(30), event(40, distinct_id="Invalid", **NO_OTHER)]))
    run_day(connection)
    settled(connection)
    assert report.counts_of(connection, DAY)["quarantined"] == 1
    version_1()
    assert replay.replay_day(connection, DAY).rows == 1
    assert live(emulator, connection) == 31


@pytest.mark.skipif(not CASES.exists(), reason=NO_CASES)
@pytest.mark.parametrize(
    ("folder", "day", "uploaded", "quarantined"),
    [
        ("time-out-of-range", "2025-04-01", 400, 1),
        ("empty-insert-id", "2025-03-01", 2, 0),
        ("numeric-event-names", "2025-05-01", 3, 1),
        ("numeric-event-names", "2025-05-02", 0, 1),
        ("numeric-event-names", "2025-05-03", 0, 2),
        ("numeric-event-names", "2025-05-04", 30, 1),
        ("refused-ids", "2025-01-10", 20, 0),
    ],
)
def test_a_case_of_the_shared_folder(
    emulator: EmulatorThread, tmp_path: Path, folder: str, day: str, uploaded: int, quarantined: int
) -> None:
    emulator.control.seed_day(day, (CASES / folder / f"{day}.ndjson").read_bytes())
    with opened(emulator, tmp_path, time_mode="utc", timezone="UTC") as connection:
        provisioned(connection)
        run_day(connection, day)
        settled(connection, day)
        row = report.counts_of(connection, day)
        assert (row["uploaded"], row["quarantined"], row["rejected"]) == (uploaded, quarantined, 0)
    assert live(emulator, connection) == uploaded
