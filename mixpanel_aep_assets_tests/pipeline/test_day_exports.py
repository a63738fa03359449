"""Days read together: by a command, by runs side by side, by a Dagster backfill; what is asked for, counted at Mixpanel."""

from __future__ import annotations

import dataclasses
import datetime
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast
from urllib.parse import parse_qs

import dagster as dg
import pytest
from click.testing import CliRunner

from mixpanel_aep_assets import definitions as code_location
from mixpanel_aep_assets.cli import cli
from mixpanel_aep_assets.connection import Connection
from mixpanel_aep_assets.emulator import EmulatorThread
from mixpanel_aep_assets.manifests import Exported, Slices
from mixpanel_aep_assets.mixpanel import mixpanel_errors, slices
from mixpanel_aep_assets.mixpanel.budget import open_budget
from mixpanel_aep_assets.mixpanel.export_retry import Retry
from mixpanel_aep_assets.orchestration import backfill
from mixpanel_aep_assets.pipeline.books import verify
from mixpanel_aep_assets.pipeline.insight.forecast import forecast
from mixpanel_aep_assets.pipeline.steps import day_exports, extract, run_groups
from mixpanel_aep_assets.pipeline.steps.run_groups import Notes, Pass
from mixpanel_aep_assets.runtime.owner import Owner
from mixpanel_aep_assets_tests.connections import event, lines, opened, provisioned, variables
from mixpanel_aep_assets_tests.orchestration.layer import default_definitions, described

LAST = datetime.date(2026, 3, 10)
NO_WAIT = Retry(tries=3, first=0.0, longest=0.0, jitter=(0.0, 0.0), sleep=lambda _: None)
EVENTS = 6


def days(count: int) -> list[str]:
    """Oldest first, the last one is LAST."""
    return [(LAST - datetime.timedelta(days=n)).isoformat() for n in reversed(range(count))]


def seed(emulator: EmulatorThread, wanted: list[str], count: int = EVENTS) -> None:
    for day in wanted:
        back = (LAST - datetime.date.fromisoformat(day)).days * 86_400_000
        rows = [event(number) for number in range(count)]
        for row in rows:
            for name in ("time", "$mp_api_timestamp_ms", "mp_processing_time_ms"):
                row["properties"][name] -= back
        emulator.control.seed_day(day, lines(rows))


def asked(emulator: EmulatorThread) -> list[tuple[str, str]]:
    """The ranges of the export requests so far."""
    queries = [parse_qs(r["query"]) for r in emulator.control.requests() if r["path"].endswith("/export")]
    return [(query["from_date"][0], query["to_date"][0]) for query in queries]


@pytest.fixture
def connection(emulator: EmulatorThread, tmp_path: Path) -> Iterator[Connection]:
    emulator.control.settings(export_per_second=100)
    with opened(emulator, tmp_path, timezone="UTC") as made:
        yield made


def read(connection: Connection, wanted: list[str], pass_id: str = "p") -> list[Exported]:
    together = Pass(pass_id, tuple(sorted(wanted)))
    return [day_exports.extract_day(connection, day, together=together, retry=NO_WAIT) for day in wanted]


@pytest.mark.parametrize("order", ["newest first", "oldest first"])
def test_later_days_find_themselves_read(emulator: EmulatorThread, connection: Connection, order: str) -> None:
    wanted = days(20) if order == "oldest first" else days(20)[::-1]
    seed(emulator, wanted)
    read_days = read(connection, wanted)
    assert [made.manifest.day for made in read_days] == wanted
    assert {made.manifest.rows for made in read_days} == {EVENTS}
    assert [1 + _length(window) for window in asked(emulator)] == [1, 4, 15]


def _length(window: tuple[str, str]) -> int:
    first, last = map(datetime.date.fromisoformat, window)
    return (last - first).days


def test_another_pass_reads_the_days_anew_and_knows_their_sizes(
    emulator: EmulatorThread, connection: Connection
) -> None:
    wanted = days(20)
    seed(emulator, wanted)
    read(connection, wanted)
    before = len(asked(emulator))
    assert all(made.unchanged for made in read(connection, wanted, "q"))
    assert asked(emulator)[before:] == [(wanted[0], wanted[-1])]


def test_a_day_that_stands_alone_is_always_asked_for(emulator: EmulatorThread, connection: Connection) -> None:
    seed(emulator, days(1))
    for _ in range(2):
        day_exports.extract_day(connection, days(1)[0], retry=NO_WAIT)
        day_exports.extract_day(connection, days(1)[0], together=Pass("p", tuple(days(1))), retry=NO_WAIT)
    assert len(asked(emulator)) == 4


def test_windows_can_be_turned_off(emulator: EmulatorThread, tmp_path: Path) -> None:
    seed(emulator, days(3))
    with opened(emulator, tmp_path, timezone="UTC", window_days=1) as connection:
        read(connection, days(3))
    assert asked(emulator) == [(day, day) for day in days(3)]


def test_a_body_that_one_request_cannot_carry_is_halved_and_its_days_cut_by_time(
    emulator: EmulatorThread, connection: Connection
) -> None:
    wanted = days(6)
    seed(emulator, wanted)
    bad = wanted[2]
    read(connection, wanted[-2:], "sizes")
    before = len(asked(emulator))
    tries = NO_WAIT.tries
    # The window of all, the half of three days, of two, and the day itself: each fails as often as it is tried.
    emulator.control.fault("early", after_lines=1, match={"path": "*/export", "day": bad}, count=4 * tries)
    manifests = {made.manifest.day: made.manifest for made in read(connection, wanted)}
    assert {manifest.rows for manifest in manifests.values()} == {EVENTS}
    assert manifests[bad].slices == Slices("time", 2, complete=True)
    assert asked(emulator)[before:] == [
        *[(wanted[0], wanted[5])] * tries,
        (wanted[3], wanted[5]),
        *[(wanted[0], wanted[2])] * tries,
        *[(wanted[1], wanted[2])] * tries,
        *[(bad, bad)] * (tries + 2),
        (wanted[1], wanted[1]),
        (wanted[0], wanted[0]),
    ]


def test_a_mixpanel_that_is_down_is_not_asked_for_less(emulator: EmulatorThread, connection: Connection) -> None:
    seed(emulator, days(6))
    read(connection, days(6)[:2], "sizes")
    before = len(asked(emulator))
    emulator.control.fault("status", match={"path": "*/export"}, status=503)
    with pytest.raises(mixpanel_errors.ServerFault):
        read(connection, days(6))
    assert asked(emulator)[before:] == [(days(6)[0], days(6)[-1])] * NO_WAIT.tries


def test_a_window_that_times_out_is_asked_for_in_halves(emulator: EmulatorThread, connection: Connection) -> None:
    wanted = days(4)
    seed(emulator, wanted)
    read(connection, wanted[:2], "sizes")
    before = len(asked(emulator))
    emulator.control.fault("status", match={"path": "*/export"}, status=504, count=NO_WAIT.tries)
    read(connection, wanted)
    assert asked(emulator)[before + NO_WAIT.tries :] == [(wanted[2], wanted[3]), (wanted[0], wanted[1])]


def test_a_spent_budget_keeps_what_was_read_and_the_next_try_reads_the_rest(
    emulator: EmulatorThread, connection: Connection, tmp_path: Path
) -> None:
    wanted = days(12)[::-1]
    seed(emulator, wanted)
    now = [1_800_000_000.0]
    settings = connection.settings.model_copy(update={"window_days": 3})
    with dataclasses.replace(connection, settings=settings) as narrow:
        narrow.mixpanel.budget = open_budget(
            "p", 3 / 60, str(tmp_path / "three"), clock=lambda: now[0], sleep=lambda s: now.__setitem__(0, now[0] + s)
        )
        with pytest.raises(mixpanel_errors.BudgetExhausted):
            read(narrow, wanted)
        assert len(asked(emulator)) == 3
        done = [day for day in wanted if narrow.day(extract.TABLE, day).manifest()]
        assert done == wanted[: 1 + 3 + 3]
        now[0] += 3600
        read(narrow, wanted)
    assert asked(emulator)[3:] == [(wanted[9], wanted[7]), (wanted[11], wanted[10])]


def test_runs_side_by_side_ask_once(emulator: EmulatorThread, connection: Connection, tmp_path: Path) -> None:
    wanted = days(8)
    seed(emulator, wanted)
    read(connection, wanted[:2], "size")
    before = len(asked(emulator))
    emulator.control.fault("hold", match={"path": "*/export"}, count=1)
    together = Pass("p", tuple(wanted))
    failed: list[BaseException] = []

    def one(day: str) -> None:
        try:
            with opened(emulator, tmp_path, timezone="UTC") as own:
                day_exports.extract_day(own, day, together=together, retry=NO_WAIT)
        except BaseException as error:
            failed.append(error)

    leader = threading.Thread(target=one, args=(wanted[-1],))
    leader.start()
    emulator.control.held(wait=60)
    others = [threading.Thread(target=one, args=(day,)) for day in wanted[:-1]]
    for thread in others:
        thread.start()
    emulator.control.release()
    for thread in [leader, *others]:
        thread.join()
    assert failed == []
    assert asked(emulator)[before:] == [(wanted[0], wanted[-1])]


def test_days_of_a_process_that_died_are_read_by_the_next_run(emulator: EmulatorThread, connection: Connection) -> None:
    wanted = days(3)
    seed(emulator, wanted)
    notes = Notes(connection.storage, "default", "p")
    owner = Owner.this()
    dead = {**owner.as_json(), "started": owner.started - 1_000}
    notes._log.append(1, {"days": wanted, "owner": dead, "token": "t"})
    read(connection, wanted)
    assert all(connection.day(extract.TABLE, day).manifest() for day in wanted)


def test_a_silent_process_of_another_host_is_not_waited_for_for_ever(
    emulator: EmulatorThread, connection: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run_groups, "SILENCE", 0.2)
    monkeypatch.setattr(run_groups, "LOOK", 0.05)
    wanted = days(2)
    seed(emulator, wanted)
    elsewhere = {**Owner.this().as_json(), "host": "elsewhere"}
    Notes(connection.storage, "default", "p")._log.append(1, {"days": wanted, "owner": elsewhere, "token": "t"})
    assert [made.manifest.rows for made in read(connection, wanted)] == [EVENTS, EVENTS]


def test_a_stopped_command_is_taken_up_and_a_finished_one_is_not(connection: Connection) -> None:
    wanted = days(3)
    first = run_groups.begin(connection.storage, "default", wanted)
    Notes(connection.storage, "default", first.id).mark_read(wanted[0], "g", unchanged=False)
    assert run_groups.begin(connection.storage, "default", wanted) == first
    assert run_groups.begin(connection.storage, "default", days(4)).id != first.id
    run_groups.finish(connection.storage, "default", first)
    assert run_groups.begin(connection.storage, "default", wanted).id != first.id


def test_notes_of_old_passes_are_swept(connection: Connection) -> None:
    Notes(connection.storage, "default", "old").mark_read(days(1)[0], "g", unchanged=False)
    Notes(connection.storage, "default", "new").mark_read(days(1)[0], "g", unchanged=False)
    root = Path(connection.storage.url) / "default" / run_groups.FOLDER
    long_ago = datetime.datetime.now(datetime.UTC) - run_groups.KEPT - datetime.timedelta(hours=1)
    os.utime(root / "old" / "read" / days(1)[0], (long_ago.timestamp(), long_ago.timestamp()))
    run_groups.sweep(connection.storage, "default")
    left = connection.storage.objects(f"default/{run_groups.FOLDER}")
    assert [stored.path for stored in left] == [f"default/{run_groups.FOLDER}/new/read/{days(1)[0]}"]


def test_60_days_take_at_most_3_requests_and_all_of_them_balance(
    emulator: EmulatorThread, connection: Connection
) -> None:
    wanted = days(60)
    seed(emulator, wanted, 3)
    known = days(64)[:4]
    seed(emulator, known, 3)
    read(connection, known, "sizes")
    before = len(asked(emulator))
    read(connection, wanted[::-1])
    assert len(asked(emulator)[before:]) <= 3
    rows = [connection.day(extract.TABLE, day).manifest() or {} for day in wanted]
    assert {(row["exported"], row["rows"]) for row in rows} == {(3, 3)}


@pytest.fixture
def definitions(emulator: EmulatorThread, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dg.Definitions:
    """The connection `default`, its first day a week before LAST."""
    start = {"MIXPANEL_AEP_START_DATE": days(8)[0], "MIXPANEL_TIMEZONE": "UTC"}
    described(monkeypatch, emulator, tmp_path, **start)
    return default_definitions()


RAW = dg.AssetKey(["default", "raw_events"])


def run_raw(definitions: dg.Definitions, instance: dg.DagsterInstance, day: str, tags: dict[str, str]) -> None:
    """The first step of a day's job."""
    result = definitions.resolve_job_def("default_daily").execute_in_process(
        instance=instance, partition_key=day, tags=tags, asset_selection=[RAW]
    )
    (made,) = result.get_asset_materialization_events()
    assert made.materialization.metadata["dagster/partition_row_count"].value == EVENTS


def test_a_run_of_a_backfill_of_assets_reads_its_days(
    emulator: EmulatorThread, definitions: dg.Definitions, connection: Connection, tmp_path: Path
) -> None:
    # Dagster has no public way to store a backfill, nor to run a job with its repository as a launched run has it.
    from dagster._core.definitions.reconstruct import ReconstructableJob, ReconstructableRepository
    from dagster._core.execution.backfill import PartitionBackfill

    wanted = days(6)
    seed(emulator, wanted)
    read(connection, wanted[:2], "sizes")
    before = len(asked(emulator))
    backfill_id = "abcdefgh"
    with dg.DagsterInstance.local_temp(str(tmp_path)) as instance:
        made = PartitionBackfill.from_asset_partitions(
            backfill_id=backfill_id,
            asset_graph=definitions.resolve_asset_graph(),
            backfill_timestamp=datetime.datetime(2026, 9, 1, tzinfo=datetime.UTC).timestamp(),
            asset_selection=[RAW],
            partition_names=wanted,
            dynamic_partitions_store=instance,
            all_partitions=False,
            tags={},
            title=None,
            description=None,
            run_config=None,
        )
        instance.add_backfill(made)
        cast("Any", code_location.defs).load_fn.cache_clear()  # another test may have made them from its environment
        cast("Any", ReconstructableJob.get_definition).cache_clear()
        repository = ReconstructableRepository.for_module("mixpanel_aep_assets.definitions", "defs")
        job: Any = repository.get_reconstructable_job("default_daily")
        tags = {"dagster/partition": wanted[2], backfill.BACKFILL_TAG: backfill_id}
        assert dg.execute_job(job, instance, tags=tags, asset_selection=[RAW]).success
    assert asked(emulator)[before:] == [(wanted[0], wanted[-1])]


def test_runs_of_a_backfill_of_a_job_read_their_days_together(
    emulator: EmulatorThread, definitions: dg.Definitions, connection: Connection, instance: dg.DagsterInstance
) -> None:
    from dagster._core.execution.backfill import BulkActionStatus, PartitionBackfill

    wanted = days(6)
    seed(emulator, wanted)
    read(connection, wanted[:2], "sizes")
    before = len(asked(emulator))
    instance.add_backfill(
        PartitionBackfill(
            backfill_id="abcdefgh",
            status=BulkActionStatus.REQUESTED,
            from_failure=False,
            tags={},
            backfill_timestamp=datetime.datetime(2026, 9, 1, tzinfo=datetime.UTC).timestamp(),
            partition_names=wanted,
        )
    )
    for day in wanted[:3]:
        run_raw(definitions, instance, day, {backfill.BACKFILL_TAG: "abcdefgh"})
    assert asked(emulator)[before:] == [(wanted[0], wanted[-1])]


def test_a_run_of_a_backfill_that_is_executed_again_asks_for_its_day_anew(
    emulator: EmulatorThread, definitions: dg.Definitions, instance: dg.DagsterInstance
) -> None:
    wanted = days(3)
    seed(emulator, wanted)
    together = backfill.tags(Pass("p", tuple(wanted)))
    run_raw(definitions, instance, wanted[0], together)
    run_raw(definitions, instance, wanted[0], together | {backfill.AGAIN_TAG: "some-run"})
    assert asked(emulator) == [(wanted[0], wanted[0])] * 2


def test_a_run_brought_back_by_the_sensor_stays_with_its_backfill() -> None:
    assert backfill.tags_kept({"dagster/backfill": "abc", "other": "x"}) == {backfill.TOGETHER_TAG: "abc"}
    together = backfill.tags(Pass("p", ("2026-01-01", "2026-01-02")))
    assert backfill.tags_kept(together | {"dagster/partition": "2026-01-01"}) == together


def test_a_nights_re_reads_share_their_requests(
    emulator: EmulatorThread, definitions: dg.Definitions, connection: Connection, instance: dg.DagsterInstance
) -> None:
    schedule = definitions.resolve_schedule_def("default_daily")
    night = datetime.datetime(2026, 3, 11, 5, tzinfo=datetime.UTC)
    tick = schedule.evaluate_tick(
        dg.build_schedule_context(
            instance=instance, scheduled_execution_time=night, repository_def=definitions.get_repository_def()
        )
    )
    requests = tick.run_requests or []
    assert [request.partition_key for request in requests] == days(6)[::-1]
    seed(emulator, days(6))
    read(connection, days(6)[:2], "sizes")
    before = len(asked(emulator))
    for request in requests[:2]:
        run_raw(definitions, instance, str(request.partition_key), dict(request.tags))
    assert asked(emulator)[before:] == [(days(6)[0], days(6)[-1])]


def test_a_day_whose_rest_is_not_proven_is_marked(emulator: EmulatorThread, connection: Connection) -> None:
    seed(emulator, days(1))
    day = connection.day(extract.TABLE, days(1)[0])
    slices.export_slices(connection.mixpanel, day, LAST, {"Page Viewed": 3, "Gone": 2}, 2, retry=NO_WAIT)
    finding = verify.body_is_whole(connection, days(1)[0])
    assert (finding.passed, finding.severe) == (False, False)
    assert "not proven" in finding.text


def test_a_command_over_days_asks_twice_and_every_day_balances(
    emulator: EmulatorThread, connection: Connection, tmp_path: Path
) -> None:
    wanted = days(3)
    provisioned(connection)
    seed(emulator, wanted)
    start = {"MIXPANEL_AEP_START_DATE": wanted[0], "MIXPANEL_TIMEZONE": "UTC"}
    environment = variables(emulator, tmp_path, **start)
    file = tmp_path / "report.json"
    over = ["--from", wanted[0], "--to", wanted[-1]]
    done = subprocess.run(
        [sys.executable, "-m", "mixpanel_aep_assets", "run", *over, "--wait", "--report", str(file)],
        env=os.environ | environment, capture_output=True, text=True, timeout=400, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert asked(emulator) == [(wanted[2], wanted[2]), (wanted[0], wanted[1])]
    found = json.loads(file.read_text())
    assert [row["day"] for row in found["days"]] == wanted
    assert {(row["exported"], row["ingested"], row["status"]) for row in found["days"]} == {(6, 6, "ingested")}
    plan = json.loads(CliRunner(env=environment).invoke(cli, ["plan", *over, "--json"]).output)
    assert (plan["requests"], plan["requests_by_day"], plan["events"], plan["batches"]) == (1, 3, 18, 3)
    assert plan["upload_bytes"] > 0
    shown = CliRunner(env=environment).invoke(cli, ["plan", *over])
    assert "1 (3 with one request per day)" in shown.output


def test_a_plan_without_any_committed_day_says_that_sizes_are_unknown(connection: Connection) -> None:
    found = forecast(connection, days(730))
    assert found["bytes"] is None
    assert any("no size is known" in text for text in found["assumptions"])
    assert (found["batches"], found["days_of_batches"]) == (730, 9)


def test_a_plan_leaves_out_what_a_stopped_command_has_read(emulator: EmulatorThread, connection: Connection) -> None:
    wanted = days(8)
    seed(emulator, wanted)
    together = run_groups.begin(connection.storage, "default", wanted)
    read(connection, wanted[:5], together.id)
    found = forecast(connection, wanted)
    assert (found["read_already"], found["requests"], found["requests_by_day"]) == (5, 1, 3)
