"""A day by several requests is the day that one request gives, or says that it is not."""

from __future__ import annotations

import datetime
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from mixpanel_aep_assets.emulator import EmulatorThread
from mixpanel_aep_assets.manifests import Slices, as_json
from mixpanel_aep_assets.mixpanel import export, mixpanel_errors, slices
from mixpanel_aep_assets.mixpanel.client import MixpanelClient
from mixpanel_aep_assets.mixpanel.source_settings import Credentials, MixpanelSource
from mixpanel_aep_assets.storage import Day, Storage, open_storage
from mixpanel_aep_assets_tests.mixpanel.conftest import NO_WAIT, Scripted, Unlimited, answer, event
from mixpanel_aep_assets_tests.mixpanel.test_window_export import SAME, contents

DATE = datetime.date(2026, 1, 10)
NAMES = {"View": 60, "Purchase": 40, 'Say "hi" \\ 検索': 30, "Login": 20, "Rare": 3}


@pytest.fixture
def storage(tmp_path: Path) -> Storage:
    return open_storage(str(tmp_path / "data"))


@pytest.fixture
def day(storage: Storage) -> Day:
    return storage.day("shop", "raw_events", DATE.isoformat())


@pytest.fixture
def alone(storage: Storage) -> Day:
    return storage.day("alone", "raw_events", DATE.isoformat())


def source(url: str, **more: Any) -> MixpanelSource:
    return MixpanelSource(
        credentials=Credentials("svc", SecretStr("hunter2")), project_id=777, export_url=url, api_url=url,
        timezone="UTC", **more,
    )  # fmt: skip


@pytest.fixture
def seeded(emulator: EmulatorThread) -> EmulatorThread:
    emulator.control.project(id=777, region="US", timezone="UTC", mode="utc", secret="s")
    emulator.control.account(username="svc", secret="hunter2", projects={"777": "analyst"})
    seed(emulator, NAMES)
    return emulator


def seed(emulator: EmulatorThread, names: dict[str, int]) -> None:
    midnight = int(datetime.datetime.combine(DATE, datetime.time(), datetime.UTC).timestamp() * 1000)
    every = [name for name, count in names.items() for _ in range(count)]
    emulator.control.clear_events(project=777)
    emulator.control.seed_events(
        [
            {
                "event": name,
                "properties": {
                    "time": midnight + number * 86_399_999 // (len(every) - 1),
                    "distinct_id": "u",
                    "$insert_id": f"i{number}",
                },
            }
            for number, name in enumerate(every)
        ],
        project=777,
    )


@pytest.fixture
def client(seeded: EmulatorThread) -> Iterator[MixpanelClient]:
    with MixpanelClient(source(seeded.url), budget=Unlimited()) as made:
        yield made


def asked(emulator: EmulatorThread) -> list[dict[str, str]]:
    return [request["query"] for request in emulator.control.requests() if request["path"].endswith("/export")]


def assert_is_the_day(client: MixpanelClient, day: Day, alone: Day) -> None:
    manifest, whole = day.manifest() or {}, export.export_day(client, alone, DATE, retry=NO_WAIT)
    assert {key: manifest[key] for key in SAME} == {key: as_json(getattr(whole.manifest, key)) for key in SAME}
    assert contents(day).equals(contents(alone))


def test_a_day_by_event_lists_and_the_rest_is_the_whole_day(
    seeded: EmulatorThread, client: MixpanelClient, day: Day, alone: Day
) -> None:
    seen = {name: count for name, count in NAMES.items() if name != "Rare"}
    made = slices.export_slices(client, day, DATE, seen, 3, retry=NO_WAIT)
    assert made.manifest.slices == Slices("event", 3, complete=True)
    assert len(asked(seeded)) == 3
    assert_is_the_day(client, day, alone)


def test_a_day_of_one_name_is_cut_by_time(seeded: EmulatorThread, client: MixpanelClient, day: Day, alone: Day) -> None:
    made = slices.export_slices(client, day, DATE, {"View": 1}, 3, retry=NO_WAIT)
    assert made.manifest.slices == Slices("time", 3, complete=True)
    assert_is_the_day(client, day, alone)


def test_the_connections_own_event_list_needs_no_rest(seeded: EmulatorThread, day: Day, alone: Day) -> None:
    only = ("View", "Purchase", "Login")
    with MixpanelClient(source(seeded.url, events=only, where='defined(properties["time"])'), budget=Unlimited()) as c:
        made = slices.export_slices(c, day, DATE, NAMES, 2, retry=NO_WAIT)
        assert made.manifest.slices == Slices("event", 2, complete=True)
        assert_is_the_day(c, day, alone)


def test_a_rest_without_events_is_not_proven(seeded: EmulatorThread, client: MixpanelClient, day: Day) -> None:
    seed(seeded, {"View": 10, "Purchase": 10})
    made = slices.export_slices(client, day, DATE, {"View": 10, "Purchase": 10, "Gone": 1}, 3, retry=NO_WAIT)
    assert made.manifest.slices == Slices("event", 3, complete=False)


def test_a_torn_slice_is_asked_for_again_alone(
    seeded: EmulatorThread, client: MixpanelClient, day: Day, alone: Day
) -> None:
    seeded.control.fault("early", after_lines=5, match={"path": "*/export", "nth": 2})
    slices.export_slices(client, day, DATE, NAMES, 3, retry=NO_WAIT)
    assert len(asked(seeded)) == 4
    assert len(list(day.storage.objects(day.path))) == 3 + 1
    assert_is_the_day(client, day, alone)


def test_a_server_that_does_not_follow_the_filter_is_found_out(server: Scripted, make_client: Any, day: Day) -> None:
    server.answers = [answer(b"".join(event(n, name) for n, name in enumerate(["View", "Purchase", "Login"])))]
    with pytest.raises(mixpanel_errors.SliceNotHonoured):
        slices.export_slices(make_client(), day, DATE, NAMES, 3, retry=NO_WAIT)
    assert len(server.requests) == 3, "the rest by name, then the first slice by time that the events are not of"
    assert list(day.storage.objects(day.path)) == []
