"""Whole-day replace, append-only logs, and what a killed writer leaves behind."""

from __future__ import annotations

import os
import tempfile
import threading
import time
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from obstore.store import MemoryStore

from mixpanel_aep_assets import storage as storage_module
from mixpanel_aep_assets.storage import DayReplaced, EntryExists, Storage, StorageError, open_storage, reading


@pytest.fixture
def storage(tmp_path: Path) -> Storage:
    return open_storage(str(tmp_path / "lake"))


def write(storage: Storage, day: str, data: bytes, *, commit: bool = True) -> None:
    with storage.day("shop", "raw_events", day).stage() as staging:
        with staging.open("part-00000.parquet") as file:
            file.write(data)
        if commit:
            staging.commit({"parts": [{"name": "part-00000.parquet", "rows": 1}]})


def content(storage: Storage, day: str) -> bytes:
    (location,) = storage.day("shop", "raw_events", day).locations()
    return Path(location).read_bytes()


def test_a_day_is_invisible_until_it_is_committed(storage: Storage) -> None:
    day = storage.day("shop", "raw_events", "2026-01-10")
    with day.stage() as staging:
        with staging.open("part-00000.parquet") as file:
            file.write(b"half")
        assert day.manifest() is None
        assert day.files() == []
        staging.commit({"parts": [{"name": "part-00000.parquet"}]})
    assert len(day.files()) == 1


def test_an_attempt_that_fails_leaves_the_committed_day_as_it_was(storage: Storage) -> None:
    write(storage, "2026-01-10", b"first")
    with pytest.raises(ZeroDivisionError), storage.day("shop", "raw_events", "2026-01-10").stage() as staging:
        with staging.open("part-00000.parquet") as file:
            file.write(b"second")
        _ = 1 / 0
    assert content(storage, "2026-01-10") == b"first"
    assert len(list(storage.objects("shop/raw_events/2026-01-10"))) == 2


def test_a_commit_replaces_the_whole_day_and_removes_the_files_before_it(storage: Storage) -> None:
    write(storage, "2026-01-10", b"first")
    write(storage, "2026-01-10", b"second")
    assert content(storage, "2026-01-10") == b"second"
    assert len(list(storage.objects("shop/raw_events/2026-01-10"))) == 2


def test_leftovers_of_a_killed_run_are_swept_once_no_run_can_still_write_them(storage: Storage) -> None:
    write(storage, "2026-01-10", b"committed")
    assert storage.root is not None
    leftover = storage.root / "shop/raw_events/2026-01-10/0123456789abcdef/part-00000.parquet"
    leftover.parent.mkdir()
    leftover.write_bytes(b"half")
    write(storage, "2026-01-10", b"again", commit=False)
    assert leftover.exists(), "it may belong to a run that still lives"
    old = (storage_module.now() - 2 * storage_module.LEFTOVER_AGE).timestamp()
    os.utime(leftover, (old, old))
    write(storage, "2026-01-10", b"again", commit=False)
    assert not leftover.exists()
    assert content(storage, "2026-01-10") == b"committed"


def test_a_sweep_of_a_day_takes_the_leftovers_in_every_table_and_log_and_nothing_else(storage: Storage) -> None:
    write(storage, "2026-01-10", b"committed")
    storage.log("shop", "aep_receipts", "2026-01-10").append(1, {"kind": "claim"})
    assert storage.root is not None
    known = {path for path in storage.root.rglob("*") if path.is_file()}
    names = ("xdm_events/2026-01-10/0123456789abcdef/part", "aep_receipts/2026-01-10/000002.json#1", "time_mode.json#1")
    left = [storage.root / "shop" / name for name in names]
    old = (storage_module.now() - 2 * storage_module.LEFTOVER_AGE).timestamp()
    for path in left:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"half")
    storage.sweep("shop", "2026-01-10")
    assert all(path.exists() for path in left), "they may belong to a run that still lives"
    for path in (*left, *known):
        os.utime(path, (old, old))
    storage.sweep("shop", "2026-01-10")
    assert {path for path in storage.root.rglob("*") if path.is_file()} == known
    assert not left[0].parent.exists()


def test_the_sweep_takes_passing_folders_of_killed_runs_and_no_others(
    storage: Storage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    killed, living, others = (
        tmp_path / name for name in ("mixpanel-aep-day-a", "mixpanel-aep-day-b", "mixpanel-aep-emulator-c")
    )
    for folder in (killed, living, others):
        folder.mkdir()
        (folder / "0").write_bytes(b"x")
    old = time.time() - storage_module.LEFTOVER_AGE.total_seconds() - 60
    for folder in (killed, others):
        os.utime(folder, (old, old))
    storage.sweep("shop", "2026-01-10")
    assert [folder.exists() for folder in (killed, living, others)] == [False, True, True]


def test_a_file_that_another_run_has_replaced_meanwhile_is_named_as_that(storage: Storage) -> None:
    write(storage, "2026-01-10", b"one")
    (path,) = storage.day("shop", "raw_events", "2026-01-10").files()
    write(storage, "2026-01-10", b"two")
    with pytest.raises(DayReplaced, match="run the day again"):
        storage.open_read(path)
    with pytest.raises(DayReplaced, match="part"), reading():
        Path(storage.location(path)).read_bytes()


@pytest.fixture
def remote() -> Storage:
    """A storage that is no folder, as object stores are none."""
    return Storage(MemoryStore(), "memory://lake")


def test_the_files_of_an_object_store_are_read_like_any_other(remote: Storage) -> None:
    table = pa.table({"n": range(300_000)})
    day = remote.day("shop", "raw_events", "2026-01-10")
    with day.stage() as staging:
        with staging.open("part-00000.parquet") as file:
            pq.write_table(table, file, row_group_size=100_000)
        staging.commit({"parts": [{"name": "part-00000.parquet", "rows": table.num_rows}]})
    (path,) = day.files()
    with remote.open_read(path) as file:
        assert pq.ParquetFile(file).read_row_group(2)["n"][-1].as_py() == 299_999
    with remote.open_read(path) as file:
        whole = file.read()
        file.seek(-4, os.SEEK_END)
        assert whole[-4:] == file.read() == b"PAR1"
        file.seek(2)
        assert (file.read(3), file.tell()) == (whole[2:5], 5)
    remote.delete([path])
    with pytest.raises(DayReplaced, match="run the day again"):
        remote.open_read(path)


def test_an_object_that_goes_while_it_is_read_is_named_as_that(remote: Storage) -> None:
    remote.write("a/b", bytes(3 << 20))
    with remote.open_read("a/b") as file:
        remote.delete(["a/b"])
        with pytest.raises(DayReplaced, match="a/b"):
            file.read()


def test_a_manifest_that_a_power_failure_emptied_is_a_day_not_committed(storage: Storage) -> None:
    write(storage, "2026-01-10", b"one")
    day = storage.day("shop", "raw_events", "2026-01-10")
    storage.write(f"{day.path}/manifest.json", b"")
    assert day.manifest() is None
    write(storage, "2026-01-10", b"two")
    assert content(storage, "2026-01-10") == b"two"


def test_days_lists_only_committed_days_in_order(storage: Storage) -> None:
    write(storage, "2026-01-12", b"x")
    write(storage, "2026-01-10", b"x")
    write(storage, "2026-01-11", b"x", commit=False)
    assert storage.days("shop", "raw_events") == ["2026-01-10", "2026-01-12"]


def test_of_racing_writers_of_a_log_entry_exactly_one_wins(storage: Storage) -> None:
    log = storage.log("shop", "receipts", "2026-01-10")
    barrier = threading.Barrier(8)
    outcomes: list[str] = []

    def race(name: str) -> None:
        barrier.wait()
        try:
            log.append(1, {"owner": name})
            outcomes.append(name)
        except EntryExists:
            outcomes.append("lost")

    threads = [threading.Thread(target=race, args=(str(n),)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    (winner,) = [o for o in outcomes if o != "lost"]
    assert [entry["owner"] for entry in log.entries()] == [winner]


def test_a_log_reads_back_in_order(storage: Storage) -> None:
    log = storage.log("shop", "receipts", "2026-01-10")
    for number in range(1, 13):
        log.append(number, {"step": f"s{number}"})
    assert [entry["step"] for entry in log.entries()] == [f"s{n}" for n in range(1, 13)]


def test_a_storage_folder_that_cannot_be_made_names_the_variable(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="MIXPANEL_AEP_STORAGE"):
        open_storage(str(tmp_path / "file" / "lake"))


def test_a_full_disk_names_the_path_and_what_to_do(storage: Storage) -> None:
    if not Path("/dev/full").exists():
        pytest.skip("this system has no /dev/full")
    assert storage.root is not None
    with storage.day("shop", "raw_events", "2026-01-10").stage() as staging:
        target = storage.root / staging.path("part")
        target.parent.mkdir(parents=True)
        target.symlink_to("/dev/full")
        file = staging.open("part")
        with pytest.raises(StorageError, match=r"part cannot be written: .*free space"):
            file.write(b"x" * (storage_module.WRITE_BUFFER + 1))
        file.abandon()
        target.unlink()


def test_an_object_store_url_opens_without_touching_the_network() -> None:
    storage = open_storage("memory:///")
    with storage.day("shop", "raw_events", "2026-01-10").stage() as staging:
        with staging.open("part") as file:
            file.write(b"abc")
        staging.commit({"parts": [{"name": "part"}]})
    (path,) = storage.day("shop", "raw_events", "2026-01-10").files()
    assert bytes(storage.open_read(path).read()) == b"abc"
