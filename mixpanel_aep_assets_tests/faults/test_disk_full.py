"""A full disk at any write: a sentence that names the disk, nothing committed is touched, the next run finishes."""

from __future__ import annotations

import sqlite3
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from sqlalchemy.exc import OperationalError

from mixpanel_aep_assets.cli.run import dagster_instance
from mixpanel_aep_assets.mixpanel import hash_partitions
from mixpanel_aep_assets.mixpanel.budget import open_budget
from mixpanel_aep_assets.mixpanel.mixpanel_errors import SettingsWrong
from mixpanel_aep_assets.storage import StorageError
from mixpanel_aep_assets_tests.faults.conftest import COMBINATION
from mixpanel_aep_assets_tests.faults.points import FullDisk, watched
from mixpanel_aep_assets_tests.faults.world import World

pytestmark = pytest.mark.e2e
Record = Callable[[str, object], None]

WRITES = range(1, 25)
"""Each write of a run that replaces a day; some to spare."""

SHORT_WRITES = {2}


@pytest.mark.parametrize(
    "write", [pytest.param(n, marks=[] if n in SHORT_WRITES else [pytest.mark.long]) for n in WRITES]
)
def test_a_disk_that_is_full_from_some_write_on_is_named_and_loses_nothing(
    world: World, write: int, record_property: Record
) -> None:
    world.change(0, 20)
    world.finish()
    old = world.expected()
    world.change(5, 30)
    disk = FullDisk(write)
    with watched(world.root, disk):
        said, text = world.run()
    if disk.refused:
        if said == "done":  # only the release of the claim, the last receipt, may fail in silence
            (last,) = disk.refused
            assert last.startswith("put aep_receipts")
        else:
            assert said == "StorageError"
            assert "The disk is full" in text
            assert str(world.root) in text
        record_property(COMBINATION, 1)
    world.require_whole()
    assert world.live() in (old, world.expected())
    world.finish()


@pytest.mark.long
def test_every_write_of_a_run_meets_a_full_disk(world: World) -> None:
    world.change(0, 20)
    world.finish()
    world.change(5, 30)
    disk = FullDisk(None)
    with watched(world.root, disk):
        assert world.run() == ("done", "")
    assert disk.writes <= len(WRITES)


@pytest.mark.parametrize(
    "limit", [pytest.param(n, marks=pytest.mark.long) for n in (0, 700, 1_300, 2_500, 4_000, 9_000)]
)
def test_files_that_the_system_lets_not_grow_are_a_typed_error(
    world: World, limit: int, record_property: Record
) -> None:
    world.change(0, 20)
    world.finish()
    old = world.expected()
    world.change(5, 30)
    with world.start(file_limit=limit) as child:
        said, text = child.said()
    assert said in {"StorageError", "SettingsWrong", "done"}, (said, text)
    assert said == "done" or str(world.folder) in text or tempfile.gettempdir() in text
    world.require_whole()
    assert world.live() in (old, world.expected())
    world.finish()
    record_property(COMBINATION, 1)


def test_a_full_folder_for_temporary_files_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "gone"))
    records = np.zeros(3, np.dtype([("high", "<u8")]))
    with (
        pytest.raises(StorageError, match=r"(?s)gone.*TMPDIR"),
        hash_partitions.hash_partitions(records.dtype, 3) as spread,
    ):
        spread.put(records)


def test_a_budget_that_cannot_be_written_any_more_is_named(tmp_path: Path) -> None:
    budget = open_budget("project", location=str(tmp_path / "budget"))
    budget.acquire()
    (tmp_path / "budget").write_bytes(b"x" * 100_000)
    with pytest.raises(SettingsWrong, match="MIXPANEL_AEP_BUDGET"):
        budget.acquire()
    budget.close()


def test_a_full_disk_below_dagsters_own_instance_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path / "home"))
    with pytest.raises(StorageError, match=r"home \(DAGSTER_HOME\) cannot be written: database or disk is full"):
        with dagster_instance():
            raise OperationalError("INSERT", {}, sqlite3.OperationalError("database or disk is full"))
