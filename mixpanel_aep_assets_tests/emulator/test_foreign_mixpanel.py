"""Mixpanel's own client `mixpanel-utils` against the emulator, over HTTP.

Its hosts are fixed in its code, so its base addresses are set to the emulator's. What it exports is held against what
bare HTTP says that the emulator exports, what it imports against the export that follows.
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from mixpanel_aep_assets.emulator import EmulatorThread
from mixpanel_aep_assets_tests.emulator.conftest import ACCOUNT, Mixpanel

mixpanel_utils = pytest.importorskip("mixpanel_utils", reason="mixpanel-utils is not installed")

DAY = "2026-01-10"
NOON = 1_768_046_400


@pytest.fixture
def mixpanel_client(emulator: EmulatorThread, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Any]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    yield pointed(
        mixpanel_utils.MixpanelUtils(
            ACCOUNT[1],
            token="demo-project-token",
            service_account_username=ACCOUNT[0],
            project_id=12345,
        ),
        emulator,
    )
    assert not (tmp_path / "import_backup.txt").exists()
    assert not (tmp_path / "invalid_events.txt").exists()


def pointed(client: Any, emulator: EmulatorThread) -> Any:
    client.raw_api = client.formatted_api = f"{emulator.url}/api"
    client.import_api = emulator.url
    return client


def event(number: int, seconds: int = NOON) -> dict[str, Any]:
    own = {"distinct_id": f"u{number}", "$insert_id": f"i{number}", "price": 1.5 * number, "tags": ["ä", "b"]}
    return {"event": "Bought", "properties": {"time": seconds + number, **own}}


def in_order(found: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return sorted(found, key=lambda one: one["properties"]["$insert_id"])


def exported(mixpanel: Mixpanel, *days: str) -> list[dict[str, Any]]:
    """What bare HTTP says that the emulator exports."""
    first, last = days[0], days[-1]
    return in_order([json.loads(line) for line in mixpanel.lines(first, last, time_in_ms="false")])


def test_mixpanel_utils_exports_what_the_emulator_holds(mixpanel_client: Any, mixpanel: Mixpanel) -> None:
    mixpanel.control.seed_events([event(number) for number in range(20)])
    held = exported(mixpanel, DAY)
    assert len(held) == 20
    asked = {"from_date": DAY, "to_date": DAY}
    for gzipped in (False, True):
        assert in_order(mixpanel_client.query_export(dict(asked), add_gzip_header=gzipped)) == held


def test_mixpanel_utils_filters_by_event_and_expression(mixpanel_client: Any, mixpanel: Mixpanel) -> None:
    mixpanel.control.seed_events([*(event(number) for number in range(4)), {**event(9), "event": "Seen"}])
    asked = {"from_date": DAY, "to_date": DAY, "event": ["Bought"], "where": 'properties["price"] > 2'}
    assert [one["properties"]["$insert_id"] for one in in_order(mixpanel_client.query_export(asked))] == ["i2", "i3"]


def test_mixpanel_utils_writes_a_file_for_each_day(mixpanel_client: Any, mixpanel: Mixpanel, tmp_path: Path) -> None:
    mixpanel.control.seed_events([event(number, NOON + 86_400 * (number % 2)) for number in range(6)])
    asked = {"from_date": DAY, "to_date": "2026-01-11"}
    mixpanel_client.export_events("events.json", asked, request_per_day=True)
    for day in (DAY, "2026-01-11"):
        assert in_order(json.loads((tmp_path / f"events_{day}.json").read_text())) == exported(mixpanel, day)


def test_mixpanel_utils_streams_the_gzip_body_as_it_is(
    mixpanel_client: Any, mixpanel: Mixpanel, tmp_path: Path
) -> None:
    mixpanel.control.seed_events([event(number) for number in range(50)])
    mixpanel_client.export_events(
        "events.ndjson", {"from_date": DAY, "to_date": DAY}, raw_stream=True, add_gzip_header=True
    )
    written = gzip.decompress((tmp_path / "events.ndjson.gz").read_bytes())
    assert written == b"".join(mixpanel.lines(DAY, time_in_ms="false"))


def test_mixpanel_utils_takes_an_empty_day_for_no_events(mixpanel_client: Any) -> None:
    assert mixpanel_client.query_export({"from_date": DAY, "to_date": DAY}) == []


def test_mixpanel_utils_exports_with_the_project_secret(
    emulator: EmulatorThread, mixpanel_client: Any, mixpanel: Mixpanel
) -> None:
    mixpanel.control.seed_events([event(number) for number in range(3)])
    by_secret = pointed(mixpanel_utils.MixpanelUtils("demo-project-secret"), emulator)
    asked = {"from_date": DAY, "to_date": DAY}
    assert in_order(by_secret.query_export(asked)) == exported(mixpanel, DAY)


def test_what_mixpanel_utils_imports_is_exported_again(mixpanel_client: Any, mixpanel: Mixpanel) -> None:
    sent = [event(number) for number in range(2_500)]  # more than one request holds
    mixpanel_client.import_events(sent, timezone_offset=0)
    held = {one["properties"]["$insert_id"]: one for one in exported(mixpanel, DAY)}
    assert len(held) == 2_500
    for one in sent:
        kept = held[one["properties"]["$insert_id"]]
        assert kept["event"] == one["event"]
        assert one["properties"].items() <= kept["properties"].items()
        assert kept["properties"]["$import"] is True
        assert "token" not in kept["properties"]


def test_mixpanel_utils_imports_local_times_as_utc(mixpanel_client: Any, mixpanel: Mixpanel) -> None:
    mixpanel_client.import_events([event(0)], timezone_offset=-8)
    (kept,) = exported(mixpanel, DAY)
    assert kept["properties"]["time"] == NOON + 8 * 3600
