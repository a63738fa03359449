"""Lines outside the days asked for: each is live once or set aside once, and a bad day is red however it was asked for."""

from __future__ import annotations

import datetime
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from mixpanel_aep_assets.cli import cli
from mixpanel_aep_assets.connection import Connection
from mixpanel_aep_assets.emulator import EmulatorThread
from mixpanel_aep_assets.mixpanel import lines_of_other_days, slices
from mixpanel_aep_assets.mixpanel.window_export import export_window
from mixpanel_aep_assets.orchestration import assets, checks
from mixpanel_aep_assets.pipeline.books import quarantine, reconcile, report, verify
from mixpanel_aep_assets.pipeline.steps import day_exports, export_requests, extract, load, transform
from mixpanel_aep_assets.pipeline.steps.run_groups import Pass
from mixpanel_aep_assets.storage import StorageError
from mixpanel_aep_assets_tests.connections import event, lines, opened, provisioned, run_day, settled, variables
from mixpanel_aep_assets_tests.pipeline.test_day_exports import NO_WAIT, asked, days

DAYS = days(5)
MS = 86_400_000
FAR = 20 * 365 * MS


def at(day: str, number: int, shift: int = 0, **more: Any) -> dict[str, Any]:
    """An event that Mixpanel sends for `day`, its time `shift` ms from there."""
    row = event(number, **more)
    back = (datetime.date.fromisoformat(DAYS[-1]) - datetime.date.fromisoformat(day)).days * MS
    for name in ("time", "$mp_api_timestamp_ms", "mp_processing_time_ms"):
        row["properties"][name] += shift - back
    row["properties"]["$insert_id"] = f"{day}-{number}"
    return row


def body(day: str, count: int = 30, *more: dict[str, Any]) -> bytes:
    return lines([at(day, number) for number in range(count)] + list(more))


@pytest.fixture
def connection(emulator: EmulatorThread, tmp_path: Path) -> Iterator[Connection]:
    emulator.control.settings(export_per_second=100)
    for day in DAYS:
        emulator.control.seed_day(day, body(day))
    with opened(emulator, tmp_path, timezone="UTC", time_mode="utc") as made:
        yield made


def window(connection: Connection, first: int, last: int) -> None:
    """One request for days of DAYS."""
    wanted = DAYS[first : last + 1]
    tables = {datetime.date.fromisoformat(day): connection.day(extract.TABLE, day) for day in wanted}
    export_window(connection.mixpanel, tables, retry=NO_WAIT)


def aside(connection: Connection) -> dict[str, int]:
    """Lines set aside by request."""
    return {one.name: one.count for one in export_requests.of_days(connection, DAYS)}


def rows(connection: Connection, day: str) -> int:
    manifest = connection.day(extract.TABLE, day).manifest()
    assert manifest is not None
    return int(manifest["rows"])


def test_a_wider_request_takes_the_place_of_those_that_it_covers(
    emulator: EmulatorThread, connection: Connection
) -> None:
    emulator.control.seed_day(DAYS[1], body(DAYS[1], 30, at(DAYS[1], 90, FAR)))
    extract.extract_day(connection, DAYS[1])
    window(connection, 1, 2)
    assert aside(connection) == {f"{DAYS[1]}..{DAYS[2]}": 1}
    window(connection, 0, 4)
    assert aside(connection) == {f"{DAYS[0]}..{DAYS[4]}": 1}
    assert connection.storage.folders("default", lines_of_other_days.TABLE) == [f"{DAYS[0]}_{DAYS[4]}"]


def test_of_a_request_that_is_partly_asked_again_the_lines_that_come_again_go_over(
    emulator: EmulatorThread, connection: Connection
) -> None:
    emulator.control.seed_day(DAYS[0], b"null\n" + body(DAYS[0], 30, at(DAYS[0], 90, FAR)))
    emulator.control.seed_day(DAYS[1], b'null\n{"event":"x"}\n' + body(DAYS[1], 30, at(DAYS[1], 91, FAR)))
    window(connection, 0, 1)
    extract.extract_day(connection, DAYS[1])
    assert aside(connection) == {f"{DAYS[0]}..{DAYS[1]}": 2, DAYS[1]: 3}
    emulator.control.seed_day(DAYS[1], body(DAYS[1]))
    extract.extract_day(connection, DAYS[1])
    assert aside(connection) == {f"{DAYS[0]}..{DAYS[1]}": 2}, "what Mixpanel does not send any more does not come back"


def test_a_line_that_its_own_day_holds_is_not_set_aside_again(emulator: EmulatorThread, connection: Connection) -> None:
    broken = json.dumps(at(DAYS[2], 7)).replace('"event": "Page Viewed"', '"event": 7').encode() + b"\n"
    emulator.control.seed_day(DAYS[1], broken + body(DAYS[1], 30, at(DAYS[1], 90, MS)))
    window(connection, 1, 2)
    assert (rows(connection, DAYS[1]), rows(connection, DAYS[2])) == (30, 31)
    extract.extract_day(connection, DAYS[1])
    assert aside(connection) == {}
    assert verify.lines_belong_to_day(connection, DAYS[1]).text == "All 30 lines belong to the day."


def test_a_line_that_was_set_aside_goes_away_when_its_day_comes_with_it(
    emulator: EmulatorThread, connection: Connection
) -> None:
    emulator.control.seed_day(DAYS[1], body(DAYS[1], 30, at(DAYS[1], 90, MS)))
    extract.extract_day(connection, DAYS[2])
    extract.extract_day(connection, DAYS[1])
    assert aside(connection) == {DAYS[1]: 1}
    window(connection, 1, 2)
    assert (aside(connection), rows(connection, DAYS[2])) == ({}, 31)


def test_lines_without_insert_id_count_each(emulator: EmulatorThread, connection: Connection) -> None:
    bare = at(DAYS[1], 90, MS)
    del bare["properties"]["$insert_id"]
    emulator.control.seed_day(DAYS[1], body(DAYS[1], 30, bare, bare, bare))
    emulator.control.seed_day(DAYS[2], body(DAYS[2], 30, bare))
    extract.extract_day(connection, DAYS[2])
    extract.extract_day(connection, DAYS[1])
    assert aside(connection) == {DAYS[1]: 2}, "one of the three may be the one that its day holds"


def test_a_request_that_is_stopped_before_it_takes_older_ones_away_counts_nothing_twice(
    emulator: EmulatorThread, connection: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    emulator.control.seed_day(DAYS[1], b"null\n" + body(DAYS[1], 30, at(DAYS[1], 90, MS), at(DAYS[1], 91, FAR)))
    extract.extract_day(connection, DAYS[1])
    assert aside(connection) == {DAYS[1]: 3}

    def stopped(*_: object, **__: object) -> None:
        raise StorageError("killed")

    with monkeypatch.context() as patch:
        patch.setattr(lines_of_other_days, "_take_away", stopped)
        with pytest.raises(StorageError):
            window(connection, 0, 2)
    assert aside(connection) == {f"{DAYS[0]}..{DAYS[2]}": 2}
    with monkeypatch.context() as patch:
        patch.setattr(lines_of_other_days, "finish", stopped)
        emulator.control.seed_day(DAYS[1], body(DAYS[1]))
        with pytest.raises(StorageError):
            window(connection, 0, 2)
    assert aside(connection) == {f"{DAYS[0]}..{DAYS[2]}": 2}, "as before, until the request is made again"
    window(connection, 0, 2)
    assert aside(connection) == {}


def test_slices_of_a_day_keep_the_same_rule_and_the_lines_that_no_filter_passes(
    emulator: EmulatorThread, connection: Connection
) -> None:
    emulator.control.seed_day(DAYS[1], b"null\n" + body(DAYS[1], 30, at(DAYS[1], 90, FAR)))
    whole = extract.extract_day(connection, DAYS[1])
    table, date = connection.day(extract.TABLE, DAYS[1]), datetime.date.fromisoformat(DAYS[1])
    sliced = slices.export_slices(connection.mixpanel, table, date, {}, 2, retry=NO_WAIT)
    assert (sliced.manifest.digest, sliced.manifest.rows) == (whole.manifest.digest, 30)
    assert quarantine.summary(connection, DAYS[1]) == {"request": {"other_day": 1, "wrong_shape": 1}}


WRONG_CLOCKS = 25


def planted(emulator: EmulatorThread, shift: int = FAR) -> str:
    """A day of 300 lines of which 25 tell another day."""
    bad = DAYS[1]
    emulator.control.seed_day(bad, body(bad, 275, *(at(bad, 300 + n, shift) for n in range(WRONG_CLOCKS))))
    return bad


@pytest.mark.parametrize("shift", [FAR, 3 * MS, -10 * MS], ids=["far", "near", "before"])
@pytest.mark.parametrize("span", [(1, 1), (0, 1), (1, 2), (0, 4), (1, 4), (0, 3)], ids=str)
def test_a_bad_day_is_red_alone_and_in_every_range_and_its_neighbours_are_not(
    emulator: EmulatorThread, connection: Connection, span: tuple[int, int], shift: int
) -> None:
    bad = planted(emulator, shift)
    wanted = DAYS[span[0] : span[1] + 1]
    for known in ("2026-03-01", "2026-03-02"):  # so that windows may have all the days
        day_exports.extract_day(connection, known, retry=NO_WAIT)
    for day in wanted:
        day_exports.extract_day(connection, day, together=Pass("p", tuple(wanted)), retry=NO_WAIT)
    within = shift == 3 * MS and span[1] == 4
    red = [day for day in wanted if not verify.lines_belong_to_day(connection, day).passed]
    if within:  # the lines are of a day of the range, which gets them
        assert red == []
        assert rows(connection, DAYS[4]) == 30 + WRONG_CLOCKS
        return
    assert red == [bad]
    finding = verify.lines_belong_to_day(connection, bad)
    assert "25 of 300 lines (8.3 %)" in finding.text
    assert finding.severe
    assert [rows(connection, day) for day in wanted] == [275 if day == bad else 30 for day in wanted]
    assert aside(connection) == {bad: WRONG_CLOCKS}


def test_a_trifle_stays_with_the_window_and_costs_no_further_request(
    emulator: EmulatorThread, connection: Connection
) -> None:
    emulator.control.seed_day(DAYS[1], body(DAYS[1], 30, *(at(DAYS[1], 90 + n, FAR) for n in range(20))))
    day_exports.extract_day(connection, "2026-03-01", retry=NO_WAIT)
    before = len(asked(emulator))
    wanted = tuple(DAYS[:4])
    for day in wanted:
        day_exports.extract_day(connection, day, together=Pass("p", wanted), retry=NO_WAIT)
    assert asked(emulator)[before:] == [(DAYS[0], DAYS[3])]
    finding = verify.lines_belong_to_day(connection, DAYS[0])
    assert finding.passed
    assert f"20 lines of the request for {DAYS[0]}..{DAYS[3]} (other_day 20)" in finding.text


def test_the_check_stands_before_the_transformation(emulator: EmulatorThread, connection: Connection) -> None:
    import dagster as dg

    days_of = dg.DailyPartitionsDefinition(start_date=DAYS[0])
    made = assets.build_assets("default", days_of, resource_key="r", uri="file:///data")
    specs = [spec for one in checks.build_checks(made, resource_key="r") for spec in one.check_specs]
    (spec,) = [spec for spec in specs if spec.name == "lines_belong_to_day"]
    assert (spec.asset_key.path, spec.blocking) == (["default", "raw_events"], True)


def test_the_books_of_a_day_asked_for_alone_have_its_requests_lines(
    emulator: EmulatorThread, connection: Connection
) -> None:
    provisioned(connection)
    emulator.control.seed_day(DAYS[1], b"null\n" + body(DAYS[1], 30, at(DAYS[1], 90, FAR)))
    run_day(connection, DAYS[1])
    settled(connection, DAYS[1])
    found = report.report(connection, [DAYS[1]])
    (row,) = found["days"]
    assert (row["exported"], row["quarantined"], row["uploaded"], row["status"]) == (32, 2, 30, "ingested")
    assert found["requests"] == []
    assert verify.counts_add_up(connection, DAYS[1]).passed
    assert verify.body_is_whole(connection, DAYS[1]).passed
    assert not reconcile.unexplained(reconcile.of_day(connection, DAYS[1]))


def test_the_lines_of_a_window_stand_beside_the_books_of_its_days(
    emulator: EmulatorThread, connection: Connection
) -> None:
    provisioned(connection)
    emulator.control.seed_day(DAYS[1], b"null\n" + body(DAYS[1], 30, at(DAYS[1], 90, FAR)))
    window(connection, 0, 4)
    for day in DAYS[1:3]:
        transform.transform_day(connection, day)
        load.load_day(connection, day)
        settled(connection, day)
    found = report.report(connection, DAYS[1:3])
    assert [row["exported"] for row in found["days"]] == [30, 30]
    assert found["requests"] == [
        {"from": DAYS[0], "to": DAYS[4], "quarantined": 2, "reasons": {"wrong_shape": 1, "other_day": 1}}
    ]
    assert (found["totals"]["exported"], found["totals"]["quarantined"], found["totals"]["uploaded"]) == (62, 2, 60)
    assert verify.counts_add_up(connection, DAYS[1]).passed


def test_the_commands_list_and_show_the_lines_of_requests(
    emulator: EmulatorThread, connection: Connection, tmp_path: Path
) -> None:
    emulator.control.seed_day(DAYS[1], b"null\n" + body(DAYS[1], 30, at(DAYS[1], 90, FAR)))
    environment = variables(emulator, tmp_path, MIXPANEL_TIMEZONE="UTC")

    def call(*arguments: str) -> str:
        done = CliRunner(env=environment).invoke(cli, ["quarantine", *arguments], standalone_mode=False)
        assert done.exception is None, done.output
        return done.output

    window(connection, 0, 2)
    (entry,) = json.loads(call("list", "--json"))
    assert (entry["day"], entry["stage"], entry["rows"]) == (f"{DAYS[0]}..{DAYS[2]}", "request", 2)
    extract.extract_day(connection, DAYS[1])
    (entry,) = json.loads(call("list", "--json"))
    assert (entry["day"], entry["reasons"]) == (DAYS[1], {"wrong_shape": 1, "other_day": 1})
    shown = call("show", "--day", DAYS[1], "--stage", "request")
    assert f"request {DAYS[1]}, line 1: wrong_shape" in shown
    assert f"line 32: other_day: `time` is of 2046-03-02; requested was {DAYS[1]}" in shown
