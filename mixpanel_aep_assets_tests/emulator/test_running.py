"""Starting, restarting and steering an emulator; the sample days."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from mixpanel_aep_assets.emulator import EmulatorProcess, EmulatorThread, samples
from mixpanel_aep_assets_tests.emulator.conftest import Mixpanel, Platform, events, parquet


def test_starting_loads_nothing_heavy() -> None:
    code = (
        "import sys; from mixpanel_aep_assets.emulator.server import build_app; "
        "sys.exit(bool({'polars', 'dagster', 'pyarrow', 'lark'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_two_emulators_share_nothing(emulator: EmulatorThread) -> None:
    with EmulatorThread() as other:
        other.control.seed_day("2026-01-10", b"null\n")
        assert other.url != emulator.url
        assert Mixpanel(emulator.url, emulator.control).lines() == []


def test_reset_forgets_everything_but_the_defaults(platform: Platform) -> None:
    platform.batch()
    platform.control.fault("status", status=500, match={"path": "/nowhere"})
    platform.control.project(timezone="Asia/Tokyo")
    platform.control.reset()
    platform.login()
    assert platform.control.faults() == []
    assert platform.http.get("/data/foundation/catalog/batches").json() == {}


@pytest.mark.e2e
def test_a_killed_process_goes_on_from_its_file(tmp_path: Path) -> None:
    state = tmp_path / "world.sqlite"
    with EmulatorProcess(state) as first:
        first.control.seed_day("2026-01-10", b'{"event":"x","properties":{"time":1768024800123}}\n')
        first.control.seed_events([{"event": "y", "properties": {"time": 1768024800}}])
        first.control.settings(batch_seconds=3600)
        platform = Platform(first.url, first.control)
        done, open_batch = platform.batch(), platform.batch()
        platform.put(done, parquet(events(5)))
        platform.put(open_batch, parquet(events(2)))
        platform.act(done, "COMPLETE")
        dataset = platform.dataset
        first.kill()
    with EmulatorProcess(state, settings={"batch_seconds": 0}) as second:
        assert len(Mixpanel(second.url, second.control).lines()) == 2
        again = Platform(second.url, second.control, _dataset=dataset)
        second.control.settle()
        assert again.status(done)["metrics"]["inputRecordCount"] == 5
        again.act(open_batch, "COMPLETE")
        second.control.settle()
        assert second.control.books(dataset)["live"]["rows"] == 7


@pytest.mark.e2e
def test_a_process_takes_faults_at_its_start_and_says_why_it_cannot_start(tmp_path: Path) -> None:
    rule = {"match": {"path": "/api/2.0/export"}, "fault": {"kind": "status", "status": 418}}
    with EmulatorProcess(faults=[rule]) as emulator:
        assert Mixpanel(emulator.url, emulator.control).export().status_code == 418
    with pytest.raises(RuntimeError, match="no such setting"), EmulatorProcess(settings={"nonsense": 1}):
        pass


def test_the_sample_week_is_the_same_every_time_and_counts_itself(mixpanel: Mixpanel) -> None:
    summaries = samples.seed_demo(mixpanel.control, days=7, last_day="2026-01-16")
    assert [one["day"] for one in summaries] == [f"2026-01-{day:02}" for day in range(9, 17)]
    bodies = [mixpanel.export(one["day"]).content for one in summaries]
    assert [body.count(b"\n") for body in bodies] == [one["lines"] for one in summaries]
    samples.seed_demo(mixpanel.url, days=7, last_day="2026-01-16")
    assert [mixpanel.export(one["day"]).content for one in summaries] == bodies


def test_a_sample_day_has_the_oddities_of_real_projects(mixpanel: Mixpanel) -> None:
    summary, lines = samples.sample_day(samples.datetime.date(2026, 1, 13), samples.BROKEN_DAY)
    found = []
    for line in lines:
        try:
            found.append(json.loads(line))
        except ValueError:
            continue
    found = [one for one in found if isinstance(one, dict) and "$insert_id" in one["properties"]]
    keys = Counter((one["event"], str(one["properties"]["distinct_id"]), one["properties"]["time"],
                    one["properties"]["$insert_id"]) for one in found)  # fmt: skip
    assert summary.broken == len(samples.BROKEN)
    assert sum(count - 1 for count in keys.values()) in (summary.duplicates, summary.duplicates - 1)
    names = {one["event"] for one in found}
    assert {"$hotshard_events", "$identify", "$merge", "検索 🔍", "$ae_session", "$mp_web_page_view"} <= names
    assert len({type(one["properties"]["price"]) for one in found if "price" in one["properties"]}) == 2
