"""Quarantine and replay, judged by the emulator's own books: after a fix just the mended rows are sent, once."""

from __future__ import annotations

import contextlib
import json
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, cast

import click
import pytest
from click.testing import CliRunner

from mixpanel_aep_assets.aep import batch
from mixpanel_aep_assets.aep.platform_errors import AepError, BatchRefused, DayChanged
from mixpanel_aep_assets.cli import cli
from mixpanel_aep_assets.connection import Connection
from mixpanel_aep_assets.emulator import EmulatorThread
from mixpanel_aep_assets.manifests import ReplayManifest
from mixpanel_aep_assets.pipeline.books import quarantine, reconcile, report, verify
from mixpanel_aep_assets.pipeline.steps import load, replay, source_rows, transform
from mixpanel_aep_assets.pipeline.steps.source_rows import Stage
from mixpanel_aep_assets.storage import Staging, StorageError
from mixpanel_aep_assets_tests.connections import (
    DAY,
    NOON,
    event,
    events,
    lines,
    opened,
    provisioned,
    run_day,
    settled,
    variables,
)

STRICT = "properties.state"
MENDED = 'decode(properties.state, "California", "US-CA", "Oregon", "US-OR", properties.state)'
HALF = 'decode(properties.state, "California", "US-CA", properties.state)'

COMPLETE = {"method": "POST", "query": {"action": "COMPLETE"}}
PUT = {"method": "PUT"}
CREATE = {"method": "POST", "path": "/data/foundation/import/batches"}

Open = Callable[[str], Connection]


@pytest.fixture
def connect(emulator: EmulatorThread, tmp_path: Path) -> Iterator[Open]:
    """Opens the connection with an expression for the state, as after a change of the mapping set."""
    opens: list[Connection] = []

    def open_with(state: str) -> Connection:
        file = tmp_path / "mapping.json"
        rows = {"event": "eventType", state: "placeContext.geo.stateProvince"}
        mappings = [{"sourceType": "EXPRESSION", "source": s, "destination": d} for s, d in rows.items()]
        file.write_text(json.dumps({"mappings": mappings}))
        opens.append(opened(emulator, tmp_path, mapping=str(file), partial_ingestion_percent=50))
        return opens[-1] if len(opens) > 1 else provisioned(opens[-1])

    yield open_with
    for connection in opens:
        connection.__exit__()


def a_day(emulator: EmulatorThread, more: bytes = b"") -> None:
    """40 events that conform, 4 with a state in words (3 California, 1 Oregon)."""
    words = [event(40 + n, state=name) for n, name in enumerate(["California"] * 3 + ["Oregon"])]
    emulator.control.seed_day(DAY, lines(events(40, state="US-NY") + words) + more)


def live(emulator: EmulatorThread, connection: Connection) -> Counter[int]:
    """How many ids are live so often: {1: 44} is 44 events, each once."""
    emulator.control.settle()
    return Counter(emulator.control.books(connection.dataset, ids=True)["ids"].values())


def counts(connection: Connection) -> tuple[int, ...]:
    row = report.counts_of(connection, DAY)
    assert row["exported"] == row["duplicates"] + row["quarantined"] + row["uploaded"]
    assert row["status"] == "in_progress" or row["uploaded"] == row["ingested"] + row["rejected"]
    return tuple(row[name] for name in ("quarantined", "uploaded", "ingested", "rejected"))


def finished(emulator: EmulatorThread, connection: Connection) -> ReplayManifest:
    emulator.control.settle()
    manifest = replay.confirm_day(connection, DAY)
    assert manifest is not None
    return manifest


def test_rows_set_aside_are_listed_by_stage_and_shown_with_place_and_source(
    emulator: EmulatorThread, connect: Open
) -> None:
    connection = connect(STRICT)
    a_day(emulator, more=b'{"event":"x\xff","properties":{"time":%d}}\n' % NOON)
    run_day(connection)
    summary = quarantine.summary(connection, DAY)
    assert summary[Stage.XDM] == {"stateProvince": 4}
    assert sum(summary[Stage.RAW].values()) == 1
    raw, first, *_ = quarantine.show(connection, DAY)
    assert (raw["stage"], raw["line"], raw["source"]) == (
        "raw",
        45,
        b'{"event":"x\xff","properties":{"time":%d}}' % NOON,
    )
    assert (first["line"], first["event"], first["pointer"]) == (41, "Page Viewed", "/placeContext/geo/stateProvince")
    assert json.loads(first["source"] or "")["state"] == "California"
    assert not list(quarantine.show(connection, DAY, stage=Stage.AEP))
    assert len(list(quarantine.show(connection, DAY, reason="stateProvince", limit=3))) == 3


def test_after_a_fix_replay_sends_just_the_rows_that_were_set_aside(emulator: EmulatorThread, connect: Open) -> None:
    a_day(emulator)
    run_day(connect(STRICT))
    connection = connect(MENDED)
    settled(connection)
    assert counts(connection) == (4, 40, 40, 0)
    made = replay.replay_day(connection, DAY)
    assert (made.action, made.rows) == ("uploaded", 4)
    finished(emulator, connection)
    assert counts(connection) == (0, 44, 44, 0)
    assert live(emulator, connection) == {1: 44}
    assert verify.counts_add_up(connection, DAY).passed
    assert quarantine.summary(connection, DAY) == {}


def test_a_replay_again_sends_nothing(emulator: EmulatorThread, connect: Open) -> None:
    a_day(emulator)
    run_day(connect(STRICT))
    connection = connect(MENDED)
    settled(connection)
    first = replay.replay_day(connection, DAY)
    batches = len(emulator.control.books(connection.dataset)["batches"])
    assert replay.replay_day(connection, DAY).action == "unchanged"
    finished(emulator, connection)
    again = replay.replay_day(connection, DAY)
    assert (again.action, again.batch_id) == ("unchanged", first.batch_id)
    assert len(emulator.control.books(connection.dataset)["batches"]) == batches
    assert counts(connection) == (0, 44, 44, 0)


def test_rows_that_still_do_not_conform_stay_with_the_reason_of_now(emulator: EmulatorThread, connect: Open) -> None:
    a_day(emulator)
    run_day(connect(STRICT))
    connection = connect(HALF)
    settled(connection)
    assert replay.replay_day(connection, DAY).rows == 3
    finished(emulator, connection)
    assert counts(connection) == (1, 43, 43, 0)
    (left,) = quarantine.show(connection, DAY)
    assert json.loads(left["source"] or "")["state"] == "Oregon"


def test_a_replay_after_a_further_fix_takes_the_place_of_the_one_before(
    emulator: EmulatorThread, connect: Open
) -> None:
    a_day(emulator)
    run_day(connect(STRICT))
    half = connect(HALF)
    settled(half)
    first = replay.replay_day(half, DAY)
    finished(emulator, half)
    whole = connect(MENDED)
    second = replay.replay_day(whole, DAY)
    assert (second.action, second.predecessors) == ("replaced", (first.batch_id,))
    finished(emulator, whole)
    assert counts(whole) == (0, 44, 44, 0)
    assert live(emulator, whole) == {1: 44}


def test_a_replay_that_would_take_live_rows_back_is_refused(emulator: EmulatorThread, connect: Open) -> None:
    a_day(emulator)
    run_day(connect(STRICT))
    connection = connect(MENDED)
    settled(connection)
    replay.replay_day(connection, DAY)
    finished(emulator, connection)
    with pytest.raises(replay.WouldTakeBack, match="1 events"):
        replay.replay_day(connect(HALF), DAY)
    assert live(emulator, connection) == {1: 44}


def test_without_a_fix_nothing_is_sent(emulator: EmulatorThread, connect: Open) -> None:
    a_day(emulator)
    connection = connect(STRICT)
    run_day(connection)
    settled(connection)
    assert replay.replay_day(connection, DAY).batch_id is None
    assert counts(connection) == (4, 40, 40, 0)
    assert len(emulator.control.books(connection.dataset)["batches"]) == 1


def test_a_dry_run_tells_and_keeps_nothing(emulator: EmulatorThread, connect: Open) -> None:
    a_day(emulator)
    run_day(connect(STRICT))
    connection = connect(HALF)
    settled(connection)
    told = replay.replay_day(connection, DAY, dry_run=True)
    assert (told.rows, told.remaining) == (3, 1)
    assert connection.day(replay.TABLE, DAY).manifest() is None
    assert live(emulator, connection) == {1: 40}


def test_making_the_day_anew_replaces_its_batch_and_its_replay(emulator: EmulatorThread, connect: Open) -> None:
    a_day(emulator)
    main = run_day(connect(STRICT))
    connection = connect(MENDED)
    settled(connection)
    extra = replay.replay_day(connection, DAY)
    finished(emulator, connection)
    anew = run_day(connection)
    settled(connection)
    assert anew.predecessors == (main.batch_id, extra.batch_id)
    assert live(emulator, connection) == {1: 44}
    assert counts(connection) == (0, 44, 44, 0)
    assert replay.standing(connection, DAY) is None
    with pytest.raises(replay.NotReplayable, match="was not handed over"):
        transform.transform_day(connect(HALF), DAY)
        replay.replay_day(connect(HALF), DAY)


def test_running_the_day_again_without_a_change_leaves_the_replay(emulator: EmulatorThread, connect: Open) -> None:
    connection = connect(STRICT)
    a_day(emulator)
    run_day(connection)
    mended = connect(MENDED)
    settled(mended)
    replay.replay_day(mended, DAY)
    finished(emulator, mended)
    assert run_day(connection).action == "unchanged"
    assert live(emulator, connection) == {1: 44}
    assert counts(connection) == (0, 44, 44, 0)


def test_a_run_of_the_day_that_comes_between_stops_the_replay(
    emulator: EmulatorThread, connect: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    a_day(emulator)
    run_day(connect(STRICT))
    connection = connect(MENDED)
    settled(connection)
    send = batch.send_day

    def after_a_run(*arguments: Any, **given: Any) -> Any:
        monkeypatch.undo()
        run_day(connection)
        emulator.control.settle()
        return send(*arguments, **given)

    monkeypatch.setattr(batch, "send_day", after_a_run)
    with pytest.raises(DayChanged, match="main batch was"):
        replay.replay_day(connection, DAY)
    assert live(emulator, connection) == {1: 44}


@pytest.mark.parametrize(
    ("step", "kind"),
    [(CREATE, "lost_response"), (PUT, "status"), (COMPLETE, "lost_response")],
    ids=["create", "upload", "complete"],
)
def test_a_replay_that_is_hit_at_a_step_is_in_at_the_latest_with_the_next(
    emulator: EmulatorThread, connect: Open, step: dict[str, Any], kind: str
) -> None:
    a_day(emulator)
    run_day(connect(STRICT))
    connection = connect(MENDED)
    settled(connection)
    connection.platform.platform = connection.platform.platform.model_copy(update={"tries": 1})
    emulator.control.fault(kind, match=step, **({"status": 500} if kind == "status" else {}))
    with contextlib.suppress(AepError):
        replay.replay_day(connection, DAY)
    emulator.control.clear_faults()
    replay.replay_day(connection, DAY)
    finished(emulator, connection)
    assert live(emulator, connection) == {1: 44}
    assert counts(connection) == (0, 44, 44, 0)


def test_a_replay_that_the_platform_refuses_leaves_the_books_as_they_were(
    emulator: EmulatorThread, connect: Open
) -> None:
    a_day(emulator)
    run_day(connect(STRICT))
    connection = connect(MENDED)
    settled(connection)
    emulator.control.fault("batch", match=COMPLETE, count=1, outcome="failed")
    replay.replay_day(connection, DAY)
    assert replay.refused(finished(emulator, connection))
    assert counts(connection) == (4, 40, 40, 0)
    assert quarantine.summary(connection, DAY)[Stage.XDM] == {"stateProvince": 4}
    with pytest.raises(BatchRefused, match="force"):
        replay.replay_day(connection, DAY)
    replay.replay_day(connection, DAY, force=True)
    finished(emulator, connection)
    assert counts(connection) == (0, 44, 44, 0)
    assert live(emulator, connection) == {1: 44}


@pytest.fixture
def refusing(emulator: EmulatorThread, connect: Open) -> Connection:
    """A day of 40 events of which the Platform refuses the last two: by its clock they have yet to happen."""
    emulator.control.seed_day(DAY, lines(events(40)))
    connection = connect(STRICT)
    emulator.control.settings(future_timestamp="error")
    emulator.control.clock(freeze=f"{DAY}T12:00:37.500+00:00")
    run_day(connection)
    emulator.control.settle()
    emulator.control.clock(freeze="2026-03-12T00:00:00+00:00")
    return connection


def test_rows_that_the_platform_refused_are_joined_back_to_their_source_and_shown_by_the_check(
    refusing: Connection,
) -> None:
    finding = verify.ingested_by_aep(refusing, DAY)
    assert not finding.passed
    assert not finding.severe
    assert counts(refusing) == (0, 40, 38, 2)
    first, second = quarantine.show(refusing, DAY)
    assert (first["stage"], first["line"], first["event"]) == ("aep", 39, "Page Viewed")
    assert json.loads(second["source"] or "")["$insert_id"] == "i-39"
    assert [row["line"] for row in cast("list[dict[str, object]]", finding.numbers["first_refused_rows"])] == [39, 40]


@pytest.mark.parametrize("again", [verify.ingested_by_aep, lambda connection, day: load.load_day(connection, day)])
def test_diagnostics_that_could_not_be_read_are_read_by_the_next_look_at_the_day(
    emulator: EmulatorThread, refusing: Connection, again: Callable[[Connection, str], object]
) -> None:
    emulator.control.fault("status", match={"path": "/data/foundation/export/*"}, status=403, count=1)
    finding = verify.ingested_by_aep(refusing, DAY)
    assert "cannot be read yet" in finding.text
    assert quarantine.summary(refusing, DAY) == {}
    again(refusing, DAY)
    assert sum(quarantine.summary(refusing, DAY)[Stage.AEP].values()) == 2
    assert counts(refusing) == (0, 40, 38, 2)


def test_a_verdict_that_comes_while_another_run_replaces_the_day_is_not_written_over_it(
    emulator: EmulatorThread, refusing: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    rejected = source_rows.rejected_rows

    def meanwhile(*given: Any) -> Any:
        monkeypatch.undo()
        emulator.control.seed_day(DAY, lines(events(35)))
        run_day(refusing)
        return rejected(*given)

    monkeypatch.setattr(source_rows, "rejected_rows", meanwhile)
    assert load.confirm_day(refusing, DAY) == load.stored(refusing, DAY)
    emulator.control.settle()
    assert settled(refusing).rows == 35
    assert live(emulator, refusing) == {1: 35}


def test_refused_rows_are_sent_again_only_after_a_change_or_by_force(
    emulator: EmulatorThread, refusing: Connection
) -> None:
    settled(refusing)
    assert replay.replay_day(refusing, DAY).batch_id is None
    assert replay.replay_day(refusing, DAY, force=True).rows == 2
    finished(emulator, refusing)
    assert counts(refusing) == (0, 40, 40, 0)
    assert live(emulator, refusing) == {1: 40}
    assert quarantine.summary(refusing, DAY) == {}
    assert replay.replay_day(refusing, DAY).action == "unchanged"


def test_a_row_whose_id_another_live_event_has_is_not_replayed(emulator: EmulatorThread, tmp_path: Path) -> None:
    file = tmp_path / "mapping.json"
    file.write_text(json.dumps({"mappings": [{"source": "properties.$insert_id", "destination": "_id"}]}))
    twins = [event(n, name, **{"$insert_id": "same"}) for n, name in enumerate(["A", "B"])]
    emulator.control.seed_day(DAY, lines(events(30) + twins))
    with opened(emulator, tmp_path, mapping=str(file)) as connection:
        provisioned(connection)
        run_day(connection)
        settled(connection)
        assert counts(connection) == (1, 31, 31, 0)
        assert replay.replay_day(connection, DAY).batch_id is None
        assert quarantine.summary(connection, DAY)[Stage.XDM] == {"uniqueId": 1}


def test_the_commands_list_show_and_replay(
    emulator: EmulatorThread, connect: Open, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    connection = connect(STRICT)
    a_day(emulator, more=b'{"event":"\x1b[31m \xff","properties":{"time":%d}}\n' % NOON)
    run_day(connection)
    settled(connection)
    for name, value in variables(emulator, tmp_path, MIXPANEL_AEP_MAPPING=str(tmp_path / "mapping.json")).items():
        monkeypatch.setenv(name, value)

    def call(*arguments: str) -> tuple[Any, str]:
        done = CliRunner().invoke(cli, ["quarantine", *arguments], standalone_mode=False)
        return done.exception or done.return_value, done.output

    assert [(e["stage"], e["rows"]) for e in json.loads(call("list", "--json")[1])] == [("raw", 1), ("xdm", 4)]
    code, text = call("show", "--day", DAY, "--stage", "raw")
    assert code == 0
    assert "\x1b" not in text
    assert "\\xff" in text
    (first, *_) = call("show", "--day", DAY, "--stage", "xdm", "--json")[1].splitlines()
    assert json.loads(first)["line"] == 41
    connect(HALF)
    assert "3 would be sent, 1 would stay" in call("replay", "--day", DAY, "--dry-run")[1]
    assert call("replay", "--from", DAY, "--to", DAY, "--wait")[0] == 0
    assert "nothing was sent" in call("replay", "--day", DAY)[1]
    assert isinstance(call("replay")[0], click.UsageError)
    assert live(emulator, connection) == {1: 43}


def test_a_day_that_was_never_run_is_told_in_one_sentence_and_a_code(
    emulator: EmulatorThread, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in variables(emulator, tmp_path).items():
        monkeypatch.setenv(name, value)
    done = CliRunner().invoke(cli, ["quarantine", "replay", "--day", DAY], standalone_mode=False)
    assert done.return_value == 1
    assert "run it first" in done.output


def test_a_replay_that_stops_before_it_is_written_down_is_found_and_finished(
    emulator: EmulatorThread, connect: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    a_day(emulator)
    run_day(connect(STRICT))
    connection = connect(MENDED)
    settled(connection)

    def full(*_: Any) -> Any:
        raise StorageError("The disk is full: free space and run the day again.")

    monkeypatch.setattr(Staging, "commit", full)
    with pytest.raises(StorageError):
        replay.replay_day(connection, DAY)
    monkeypatch.undo()
    assert live(emulator, connection) == {1: 44}
    (difference,) = [d for d in reconcile.of_day(connection, DAY)["differences"] if "live" in d["between"]]
    assert difference["count"] == -4
    assert "quarantine replay" in (difference["explanation"] or "")
    assert replay.replay_day(connection, DAY).action == "unchanged"
    finished(emulator, connection)
    assert counts(connection) == (0, 44, 44, 0)
    assert live(emulator, connection) == {1: 44}
    assert not reconcile.unexplained(reconcile.of_day(connection, DAY))
