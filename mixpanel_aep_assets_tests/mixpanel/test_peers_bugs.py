"""Bugs that other Mixpanel clients have or had; each test is named after the client (peers.md#bugs)."""

from __future__ import annotations

import datetime
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from mixpanel_aep_assets.manifests import Exported
from mixpanel_aep_assets.mixpanel import calendar, dedup, export, mixpanel_errors, time_mode
from mixpanel_aep_assets.mixpanel.client import MixpanelClient
from mixpanel_aep_assets.mixpanel.export_retry import Retry
from mixpanel_aep_assets.storage import Day, open_storage
from mixpanel_aep_assets_tests.mixpanel import samples
from mixpanel_aep_assets_tests.mixpanel.conftest import DAY, NO_WAIT, Scripted, Unlimited, answer, event

BODY = b"".join(event(number) for number in range(300))


def run(client: MixpanelClient, day: Day, **options: Any) -> Exported:
    return export.export_day(client, day, DAY, **{"retry": NO_WAIT, **options})


def test_terminated_early_is_not_the_end_of_data__airbyte(server: Scripted, client: MixpanelClient, day: Day) -> None:
    server.answers = [answer(BODY + b"terminated early\n")]
    with pytest.raises(mixpanel_errors.ExportIncomplete, match="early"):
        run(client, day)
    assert day.manifest() is None


def test_rows_are_not_given_again_after_a_retry_in_mid_body__headless_and_tap(
    server: Scripted, client: MixpanelClient, day: Day
) -> None:
    whole = answer(BODY, chunk=512)
    server.answers = [whole[: len(whole) * 6 // 10], whole]
    assert run(client, day).manifest.rows == 300
    lines = pl.concat(pl.read_parquet(path) for path in day.locations())["line"].to_list()
    assert lines == list(range(1, 301))


def test_malformed_lines_are_not_skipped__headless(server: Scripted, client: MixpanelClient, day: Day) -> None:
    server.answers = [answer(BODY + b'{"event":"x","properties":{"n":NaN,"time":1768024800}}\n' + event(300))]
    made = run(client, day)
    assert (made.manifest.exported, made.manifest.rows, made.manifest.reasons) == (302, 301, {"nan": 1})


def test_a_missing_insert_id_gives_the_same_id_in_every_run__headless(
    server: Scripted, client: MixpanelClient, tmp_path: Path
) -> None:
    server.answers = [answer(samples.VARIED[0].replace(b'"$insert_id":"a1b2c3d4-0001",', b"") + b"\n")]
    storage = open_storage(str(tmp_path / "data"))
    ids = []
    for name in ("one", "two"):
        day = storage.day(name, "raw_events", DAY)
        run(client, day)
        (path,) = day.locations()
        ids += pl.read_parquet(path).select(id=dedup.stable_id())["id"].to_list()
    assert ids[0] == ids[1]


def test_adjacent_days_are_asked_for_one_by_one_and_none_twice__posthog(
    server: Scripted, client: MixpanelClient, tmp_path: Path
) -> None:
    server.answers = [answer(b"")]
    storage = open_storage(str(tmp_path / "data"))
    for date in ("2026-01-10", "2026-01-11"):
        export.export_day(client, storage.day("shop", "raw_events", date), date, retry=NO_WAIT)
    asked = [(server.query(n)["from_date"], server.query(n)["to_date"]) for n in range(2)]
    assert asked == [("2026-01-10", "2026-01-10"), ("2026-01-11", "2026-01-11")]


@pytest.mark.parametrize(
    ("wall", "offset"), [("2026-03-07T12:00", 8), ("2026-03-09T12:00", 7), ("2026-11-02T12:00", 8)]
)
def test_the_offset_follows_daylight_saving__mixpanel_utils(wall: str, offset: int) -> None:
    ms = int(datetime.datetime.fromisoformat(wall).replace(tzinfo=datetime.UTC).timestamp() * 1000)
    frame = pl.DataFrame({"time_ms": [ms], "received_ms": [None]}, schema_overrides={"received_ms": pl.Int64})
    (value,) = frame.select(time_mode.to_utc("project", "US/Pacific")).to_series().dt.epoch("ms").to_list()
    assert value - ms == offset * 3_600_000


def test_project_time_is_not_read_as_utc__airbyte_and_tap(
    server: Scripted, make_client: Callable[..., MixpanelClient], day: Day
) -> None:
    shifted = [event(n, mp_processing_time_ms=1768024800000 + n + 8 * 3_600_000 + 900) for n in range(50)]
    server.answers = [answer(b"".join(shifted))]
    made = run(make_client(timezone="US/Pacific"), day)
    assert (made.manifest.time_mode, made.manifest.timezone, made.manifest.time_evidence.sure) == (
        "project",
        "US/Pacific",
        True,
    )


@pytest.mark.parametrize("zone", ["Pacific/Kiritimati", "Etc/GMT+12"])
def test_today_is_not_the_hosts__several(zone: str) -> None:
    now = datetime.datetime(2026, 1, 10, 11, 0, tzinfo=datetime.UTC)
    assert calendar.today("utc", zone, now).isoformat() == "2026-01-10"
    assert calendar.today("project", zone, now).isoformat() == {"P": "2026-01-11", "E": "2026-01-09"}[zone[0]]


def test_a_day_that_has_not_begun_is_an_error_and_no_success__airbyte(
    server: Scripted, client: MixpanelClient, day: Day
) -> None:
    server.answers = [answer(b"to_date cannot be later than today", "400 Bad Request")]
    with pytest.raises(mixpanel_errors.DateTooLate, match="MIXPANEL_TIMEZONE"):
        run(client, day)
    assert day.manifest() is None


def test_unicode_line_separators_do_not_cut_a_line__airbyte(server: Scripted, client: MixpanelClient, day: Day) -> None:
    server.answers = [answer(samples.RAW_SEPARATORS + b"\n" + samples.RAW_CONTROLS + b"\n", packed=True, chunk=1)]
    assert run(client, day).manifest.rows == 2


@pytest.mark.parametrize("headers", [{}, {"Retry-After": "1"}, {"Retry-After": "never"}])
def test_a_storm_of_429_is_waited_out_and_slows_the_project__mixpanel_utils(
    server: Scripted, client: MixpanelClient, day: Day, headers: dict[str, str]
) -> None:
    server.answers = [answer(b"slow down", "429 Too Many Requests", headers=headers)] * 2 + [answer(BODY)]
    if headers.get("Retry-After") == "1":
        waits: list[float] = []
        assert run(client, day, retry=Retry(tries=5, sleep=waits.append)).manifest.rows == 300
        assert waits == [1.0, 1.0]
        assert isinstance(client.budget, Unlimited)
        assert client.budget.pauses == [1.0, 1.0]
    else:
        with pytest.raises(mixpanel_errors.RateLimited) as caught:
            run(client, day)
        assert caught.value.wait == 60.0
        assert len(server.requests) == 1


def test_memory_does_not_hold_the_day__mixpanel_utils(server: Scripted, client: MixpanelClient, day: Day) -> None:
    from mixpanel_aep_assets.mixpanel import events as parsing

    largest = 0
    prepare = parsing.prepare

    def watched(data: bytes) -> parsing.Prepared:
        nonlocal largest
        largest = max(largest, len(data))
        return prepare(data)

    server.answers = [answer(b"".join(event(n, text="x" * 500) for n in range(30_000)), packed=True, chunk=1 << 16)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(parsing, "prepare", watched)
        assert run(client, day).manifest.rows == 30_000
    assert 0 < largest <= 8 << 20
