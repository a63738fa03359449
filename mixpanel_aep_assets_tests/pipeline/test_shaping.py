"""A large day is shaped in slices by several processes, to the same end as in one."""

from __future__ import annotations

import datetime
import json
import os
import signal
import subprocess
import sys
import time
from concurrent.futures import wait
from pathlib import Path

import polars as pl
import pytest

from mixpanel_aep_assets.connection import Connection
from mixpanel_aep_assets.emulator import EmulatorThread
from mixpanel_aep_assets.manifests import XdmManifest
from mixpanel_aep_assets.mixpanel import parts
from mixpanel_aep_assets.mixpanel.dedup import Duplicates
from mixpanel_aep_assets.pipeline.books import verify
from mixpanel_aep_assets.pipeline.steps import extract, shaping, transform
from mixpanel_aep_assets.runtime import workers
from mixpanel_aep_assets.storage import open_storage
from mixpanel_aep_assets.xdm.conformance import Conformance
from mixpanel_aep_assets_tests.connections import DAY, event, events, lines, opened, provisioned

PROCESSES = 2


def stored_rows(connection: Connection, manifest: XdmManifest) -> pl.DataFrame:
    files = connection.day(transform.TABLE, DAY).locations(manifest)
    return pl.concat([pl.read_parquet(file) for file in files]).sort("_id")


def test_several_processes_make_the_same_rows_and_counts_as_one(
    emulator: EmulatorThread, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parts, "ROW_GROUP", 40)
    bad = [event(number, **{"$current_url": "no url " * 10, "$browser": {"a": 1}}) for number in range(300, 310)]
    rows = [*events(300), *bad]
    emulator.control.seed_day(DAY, lines(rows + rows[:25]))
    with opened(emulator, tmp_path) as connection:
        provisioned(connection)
        extract.extract_day(connection, DAY)
        alone = transform.transform_day(connection, DAY, target=open_storage(str(tmp_path / "alone")))
        monkeypatch.setattr(workers, "LARGE", 1)
        monkeypatch.setattr(workers, "cores", lambda: PROCESSES)
        together = transform.transform_day(connection, DAY)
        counts = ("rows", "duplicates", "quarantined", "violations", "warnings", "mapping_errors", "data_version")
        assert [getattr(together, key) for key in counts] == [getattr(alone, key) for key in counts]
        assert len(together.parts) >= PROCESSES
        single = connection.with_storage(open_storage(str(tmp_path / "alone")))
        assert stored_rows(connection, together).equals(stored_rows(single, alone))


def test_several_processes_find_the_same_violations_in_the_files_as_one(
    emulator: EmulatorThread, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parts, "ROW_GROUP", 40)
    monkeypatch.setattr(workers, "cores", lambda: PROCESSES)
    emulator.control.seed_day(DAY, lines(events(300)))
    with opened(emulator, tmp_path) as connection:
        provisioned(connection)
        extract.extract_day(connection, DAY)
        transform.transform_day(connection, DAY)
        assert transform.violations_left(connection, DAY) == 0
        long_ago = datetime.datetime(2000, 1, 1, tzinfo=datetime.UTC)
        monkeypatch.setitem(connection.mapping.__dict__, "conformance", Conformance(connection.schema, now=long_ago))
        assert transform.violations_left(connection, DAY) == 300
        monkeypatch.setattr(workers, "LARGE", 1)
        assert transform.violations_left(connection, DAY) == 300


def test_an_id_of_the_users_own_that_comes_again_in_another_row_group_blocks_the_day(
    emulator: EmulatorThread, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parts, "ROW_GROUP", 40)
    mapping = {
        "mappings": [
            {"sourceType": "ATTRIBUTE", "source": "properties.order", "destination": "_id"},
            {"sourceType": "ATTRIBUTE", "source": "event", "destination": "eventType"},
        ]
    }
    file = tmp_path / "mapping.json"
    file.write_text(json.dumps(mapping))
    emulator.control.seed_day(DAY, lines([event(number, order=f"o-{number % 90}") for number in range(100)]))
    with opened(emulator, tmp_path, mapping=str(file)) as connection:
        provisioned(connection)
        extract.extract_day(connection, DAY)
        transform.transform_day(connection, DAY)
        finding = verify.conforms_to_xdm(connection, DAY)
    assert finding.severe
    assert finding.text.startswith("10 rows")


def test_every_row_group_is_in_one_slice_and_no_slice_is_larger_than_a_part_may_be(tmp_path: Path) -> None:
    storage = open_storage(str(tmp_path))
    for name, rows in (("a", 95), ("b", 10)):
        pl.DataFrame({"line": range(rows)}).write_parquet(tmp_path / name, row_group_size=5)
    made = shaping.slices(storage, ["a", "b"], Duplicates({0: pl.Series([0, 7, 94], dtype=pl.UInt32)}), 1)
    seen = [
        (piece.path, piece.first + sum(piece.groups[:group]), rows)
        for piece in made
        for group, rows in enumerate(piece.groups)
    ]
    assert seen == [(name, first, 5) for name, rows in (("a", 95), ("b", 10)) for first in range(0, rows, 5)]
    assert [piece.number for piece in made] == list(range(len(made)))
    assert max(len(piece.groups) for piece in made) <= shaping.SLICE_GROUPS
    assert sum(piece.twice.duplicates for piece in made) == 3


def test_the_last_slices_are_small_so_that_the_processes_end_together(tmp_path: Path) -> None:
    pl.DataFrame({"line": range(200)}).write_parquet(tmp_path / "a", row_group_size=1)
    made = shaping.slices(open_storage(str(tmp_path)), ["a"], Duplicates(), 2)
    sizes = [len(piece.groups) for piece in made]
    assert sum(sizes) == 200
    assert sizes == sorted(sizes, reverse=True)
    assert sizes[0] == shaping.SLICE_GROUPS
    assert sizes[-4:] == [1, 1, 1, 1]


def test_results_come_in_the_order_of_the_items() -> None:
    with workers.workers(PROCESSES) as over:
        assert list(over(abs, range(-20, 0))) == list(range(20, 0, -1))


def test_a_process_that_is_killed_from_outside_is_told_with_what_to_do() -> None:
    with pytest.raises(workers.WorkerLost, match="memory") as lost, workers.workers(PROCESSES) as over:
        list(over(_die_elsewhere, [os.getpid()] * 300))
    assert lost.value.retryable


def test_this_process_works_while_the_others_start() -> None:
    with workers.workers(PROCESSES) as over:
        assert next(iter(over(_pid, range(3)))) == os.getpid()


def test_other_processes_take_over_when_they_have_started() -> None:
    with workers.workers(PROCESSES) as over:
        made = list(over(_pid, range(300)))
    assert len({*made} - {os.getpid()}) == PROCESSES
    assert made[-1] != os.getpid()


def test_kept_processes_serve_one_day_after_the_other_and_end_with_the_block() -> None:
    seen: list[set[int]] = []
    with workers.kept():
        for _ in range(2):
            with workers.workers(PROCESSES) as over:
                seen.append({*over(_pid, range(300))} - {os.getpid()})
    assert seen[0] == seen[1]
    assert not any(map(_lives, seen[0]))


def test_kept_processes_that_were_killed_are_replaced() -> None:
    with workers.kept():
        with pytest.raises(workers.WorkerLost), workers.workers(PROCESSES) as over:
            list(over(_die_elsewhere, [os.getpid()] * 300))
        with workers.workers(PROCESSES) as over:
            assert list(over(abs, [-1])) == [1]


def test_processes_end_with_a_caller_that_is_killed() -> None:
    code = f"from {__name__} import stay; stay()"
    root = Path(__file__).resolve().parents[2]
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, cwd=root) as caller:
        assert caller.stdout is not None
        processes = json.loads(caller.stdout.readline())
        assert len(processes) == PROCESSES
        assert all(map(_lives, processes))
        caller.kill()
    deadline = time.monotonic() + 30
    while any(map(_lives, processes)):
        assert time.monotonic() < deadline
        time.sleep(0.1)


def stay() -> None:
    """Starts processes, tells them, and waits to be killed."""
    with workers.kept(), workers.workers(PROCESSES) as over:
        print(json.dumps(sorted({*over(_pid, range(300))} - {os.getpid()})), flush=True)
        time.sleep(600)


def test_processes_started_ahead_do_all_the_work(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workers, "cores", lambda: PROCESSES)
    with workers.kept():
        workers.start_ahead()
        assert workers._kept.pool is not None
        wait(workers._kept.pool.ready)
        with workers.workers(PROCESSES) as over:
            assert os.getpid() not in list(over(_pid, range(5)))


def test_nothing_is_started_ahead_where_nobody_keeps_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workers._Pool, "start", lambda _: pytest.fail("a process was started"))
    workers.start_ahead()


def test_a_process_makes_the_function_once_for_all_items() -> None:
    with workers.kept(), workers.workers(PROCESSES) as over:
        calls = [call for process, call in over(_Counting(), range(300)) if process != os.getpid()]
    assert calls.count(1) == PROCESSES


def test_an_error_in_any_process_is_raised_here() -> None:
    with pytest.raises(ValueError, match="invalid literal"), workers.workers(PROCESSES) as over:
        list(over(int, ["1", "x"]))


def _die_elsewhere(here: int) -> None:
    if os.getpid() == here:
        time.sleep(0.05)
    else:
        os.kill(os.getpid(), signal.SIGKILL)


class _Counting:
    """Tells the process and how often it was called there."""

    calls = 0

    def __call__(self, _: int) -> tuple[int, int]:
        time.sleep(0.02)
        self.calls += 1
        return os.getpid(), self.calls


def _lives(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    state = Path(f"/proc/{process}/stat")  # an orphan may be dead without anybody having asked for its end
    return not state.exists() or state.read_text().rpartition(")")[2].split()[0] != "Z"


def _pid(_: int) -> int:
    time.sleep(0.05)
    return os.getpid()
