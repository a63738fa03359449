"""The benchmark's own commands on a day of 500 events: what others rely on when they time them."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from mixpanel_aep_assets.storage import open_storage

BENCH = Path(__file__).resolve().parent.parent / "bench"
DAY = "2025-09-14"
EVENTS = 500


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("days")
    command(BENCH / "events.py", "--out", folder, "--plain", f"{DAY}:{EVENTS}")
    return folder


@pytest.fixture
def url(data: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    monkeypatch.syspath_prepend(BENCH)
    import server

    with server.listen(data) as listening:
        thread = threading.Thread(target=listening.serve_forever, daemon=True)
        thread.start()
        yield server.url(listening)
        listening.shutdown()
        thread.join()


def command(*parts: str | Path) -> dict[str, Any]:
    done = subprocess.run([sys.executable, *map(str, parts)], check=True, stdout=subprocess.PIPE, text=True)
    last: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return last


def sent(data: Path) -> list[bytes]:
    return (data / f"{DAY}.ndjson").read_bytes().splitlines(keepends=True)


def test_a_day_has_distinct_events_and_some_that_were_sent_twice(data: Path) -> None:
    ids = [json.loads(line)["properties"]["$insert_id"] for line in sent(data)]
    about = json.loads((data / f"{DAY}.json").read_text())
    assert len(ids) == EVENTS
    assert len(set(ids)) == about["distinct"] == sum(about["names"].values()) < EVENTS


def test_extract_leaves_the_committed_partition_and_says_how_many_records(url: str, data: Path, tmp_path: Path) -> None:
    said = command(BENCH / "extract.py", "--base-url", url, "--date", DAY, "--out", tmp_path)
    assert said["records"] == EVENTS
    assert said["seconds"]["export"] > 0
    table = open_storage(str(tmp_path / "data")).day("default", "raw_events", DAY)
    stored = pl.concat([pl.read_parquet(path) for path in table.locations()]).sort("line")
    texts = [line[line.index(b'"properties":') + 13 : -2].decode() for line in sent(data)]
    assert stored["properties"].to_list() == texts


def test_end_to_end_uploads_the_day_to_an_emulator_that_it_starts(url: str, tmp_path: Path) -> None:
    said = command(BENCH / "end_to_end.py", "--base-url", url, "--date", DAY, "--out", tmp_path)
    assert said["records"] == EVENTS == said["uploaded"] + said["duplicates"] + said["quarantined"]
    assert set(said["seconds"]) == {"export", "xdm", "upload"}
    manifest = open_storage(str(tmp_path / "data")).day("default", "aep_batch", DAY).manifest()
    assert manifest is not None
    assert manifest["batch_id"] == said["batch"]
    assert manifest["rows"] == said["uploaded"]
    assert (tmp_path / "emulator.sqlite").exists()
