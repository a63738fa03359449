"""The client against the project's own emulator, which shares no code with it: every fault of the export."""

from __future__ import annotations

import datetime
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson
import polars as pl
import pytest
from pydantic import SecretStr

from mixpanel_aep_assets.emulator import EmulatorThread
from mixpanel_aep_assets.manifests import Changes, Exported
from mixpanel_aep_assets.mixpanel import dedup, export, mixpanel_errors, time_mode
from mixpanel_aep_assets.mixpanel.budget import open_budget
from mixpanel_aep_assets.mixpanel.client import MixpanelClient
from mixpanel_aep_assets.mixpanel.source_settings import Credentials, MixpanelSource
from mixpanel_aep_assets.storage import Day, open_storage
from mixpanel_aep_assets_tests.mixpanel.conftest import NO_WAIT, Unlimited, outside_of

DAY = "2026-01-10"
NOON = 1768046400
PROJECT = 777
COUNT = 400


def model_events(count: int = COUNT) -> list[dict[str, Any]]:
    return [
        {
            "event": ("View", "Purchase 検索")[number % 2],
            "properties": {
                "time": (NOON + number) * 1000 + number,
                "distinct_id": f"U{number % 40}",
                "$insert_id": f"id-{number}",
                "text": "line\u2028break " + "x" * (number % 300),
            },
        }
        for number in range(count)
    ]


@pytest.fixture
def seeded(emulator: EmulatorThread) -> EmulatorThread:
    control = emulator.control
    control.project(id=PROJECT, region="US", timezone="US/Pacific", mode="utc", secret="project-secret")
    control.account(username="svc", secret="hunter2", projects={str(PROJECT): "analyst"})
    control.seed_events(model_events(), project=PROJECT)
    return emulator


def settings(url: str, **more: Any) -> MixpanelSource:
    given = {
        "credentials": Credentials("svc", SecretStr("hunter2")),
        "project_id": PROJECT,
        "export_url": url,
        "api_url": url,
        "timezone": "UTC",
        **more,
    }
    return MixpanelSource(**given)


@pytest.fixture
def client(seeded: EmulatorThread) -> Iterator[MixpanelClient]:
    with MixpanelClient(settings(seeded.url), budget=Unlimited()) as made:
        yield made


@pytest.fixture
def day(tmp_path: Path) -> Day:
    return open_storage(str(tmp_path / "data")).day("shop", "raw_events", DAY)


def run(client: MixpanelClient, day: Day, **options: Any) -> Exported:
    return export.export_day(client, day, day.path.rsplit("/", 1)[-1], retry=NO_WAIT, **options)


def rows(day: Day) -> pl.DataFrame:
    return pl.concat(pl.read_parquet(path) for path in day.locations())


def test_a_day_arrives_row_for_row(client: MixpanelClient, day: Day) -> None:
    made = run(client, day)
    assert (made.manifest.exported, made.manifest.rows) == (COUNT, COUNT)
    frame = rows(day)
    expected = {event["properties"]["$insert_id"]: event for event in model_events()}
    for event, insert_id, time_ms, text in frame.select("event", "insert_id", "time_ms", "properties").iter_rows():
        wanted = expected.pop(insert_id)
        assert event == wanted["event"]
        assert time_ms == wanted["properties"]["time"]
        assert orjson.loads(text)["text"] == wanted["properties"]["text"]
    assert expected == {}


@pytest.mark.parametrize(
    "fault",
    [
        {"kind": "early", "after_lines": 100},
        {"kind": "early", "after_lines": 100, "newline": False},
        {"kind": "early", "after_lines": 0, "text": "export terminated early"},
        {"kind": "cut", "after_bytes": 1},
        {"kind": "cut", "after_bytes": 5_000},
        {"kind": "cut"},
        {"kind": "clean_cut", "after_bytes": 20_001},
        {"kind": "clean_cut", "wire_bytes": 3_000},
        {"kind": "html"},
        {"kind": "status", "status": 500},
        {"kind": "status", "status": 503},
        {"kind": "drop"},
    ],
    ids=lambda fault: "-".join(str(value) for value in fault.values()),
)
def test_a_fault_once_costs_a_try_and_no_row(
    seeded: EmulatorThread, client: MixpanelClient, day: Day, fault: dict[str, Any]
) -> None:
    seeded.control.fault(**fault, match={"path": "*/export", "nth": 1})
    assert run(client, day).manifest.rows == COUNT
    assert rows(day)["insert_id"].n_unique() == COUNT


@pytest.mark.parametrize(
    ("fault", "kind"),
    [
        ({"kind": "early", "after_lines": 100}, mixpanel_errors.ExportIncomplete),
        ({"kind": "cut", "after_bytes": 4_000}, mixpanel_errors.ExportIncomplete),
        ({"kind": "clean_cut", "after_bytes": 9_000}, mixpanel_errors.ExportIncomplete),
        ({"kind": "html"}, mixpanel_errors.ServerFault),
        ({"kind": "auth400"}, mixpanel_errors.AuthenticationFailed),
        ({"kind": "expired"}, mixpanel_errors.AuthenticationFailed),
        ({"kind": "status", "status": 402}, mixpanel_errors.PlanLacksExport),
        ({"kind": "status", "status": 403}, mixpanel_errors.NotAllowed),
        ({"kind": "status", "status": 429}, mixpanel_errors.RateLimited),
    ],
    ids=lambda given: given["kind"] if isinstance(given, dict) else None,
)
def test_a_fault_for_good_is_a_typed_error_and_leaves_nothing(
    seeded: EmulatorThread, client: MixpanelClient, day: Day, fault: dict[str, Any], kind: type[Exception]
) -> None:
    seeded.control.fault(**fault, match={"path": "*/export"})
    with pytest.raises(kind):
        run(client, day)
    assert day.manifest() is None
    assert list(day.storage.objects(day.path)) == []


def test_bad_lines_are_set_aside(seeded: EmulatorThread, client: MixpanelClient, day: Day) -> None:
    lines = ["empty", "spaces", "null", "list", "error", "utf8", "nan", "half"]
    seeded.control.fault("badline", lines=lines, at=50)
    made = run(client, day)
    aside = outside_of(day, DAY)["reason"].to_list()
    assert (made.manifest.rows, made.manifest.quarantined + len(aside)) == (COUNT, 7)
    reasons = Counter(made.manifest.reasons) + Counter(aside)
    assert reasons == {"nan": 1, "no_event": 1, "not_json": 2, "not_utf8": 1, "wrong_shape": 2}


def test_a_line_of_a_megabyte_is_an_event(seeded: EmulatorThread, client: MixpanelClient, day: Day) -> None:
    seeded.control.fault("bigline", bytes=1_000_000)
    made = run(client, day)
    assert made.manifest.rows == COUNT + 1
    assert max(len(text) for text in rows(day)["properties"]) > 900_000


def test_a_stream_of_many_gzip_members_is_read_whole(seeded: EmulatorThread, client: MixpanelClient, day: Day) -> None:
    seeded.control.settings(gzip_member_bytes=2_000)
    assert run(client, day).manifest.rows == COUNT


def test_odd_times_are_the_same_instants(seeded: EmulatorThread, client: MixpanelClient, day: Day) -> None:
    run(client, day)
    before = rows(day).sort("insert_id")["time_ms"]
    seeded.control.fault("iso_time", match={"path": "*/export"})
    run(client, day)
    moved = rows(day).sort("insert_id")["time_ms"] - before
    assert (moved.abs() < 1000).all()


def test_resent_rows_are_duplicates_of_the_same_events(
    seeded: EmulatorThread, client: MixpanelClient, day: Day
) -> None:
    seeded.control.fault("dups", every=10)
    made = run(client, day)
    assert made.manifest.rows == COUNT + dedup.find(day.locations()).duplicates
    assert made.manifest.rows > COUNT


def test_a_merge_between_two_exports_keeps_every_id(seeded: EmulatorThread, client: MixpanelClient, day: Day) -> None:
    run(client, day)
    first = set(rows(day).select(id=dedup.stable_id())["id"])
    seeded.control.fault("merge", ids={"U1": "canonical-1"})
    made = run(client, day)
    assert "canonical-1" in set(rows(day)["distinct_id"])
    assert set(rows(day).select(id=dedup.stable_id())["id"]) == first
    assert made.manifest.changes == Changes(changed=COUNT // 40)


def test_late_and_vanished_rows_are_counted(seeded: EmulatorThread, client: MixpanelClient, day: Day) -> None:
    seeded.control.fault("late", share=0.1, match={"path": "*/export", "nth": 1})
    first = run(client, day)
    second = run(client, day)
    assert second.manifest.changes == Changes(appeared=COUNT - first.manifest.rows)
    assert run(client, day).unchanged is True


@pytest.mark.parametrize("share", [0.3, 1.0])
def test_mixpanel_never_says_429_to_one_who_keeps_the_budget(
    seeded: EmulatorThread, tmp_path: Path, share: float
) -> None:
    seeded.control.settings(export_per_hour=60, export_per_second=3)
    now = [1_800_000_000.0]

    def sleep(seconds: float) -> None:
        now[0] += seconds

    budget = open_budget("p", share, str(tmp_path / "b.sqlite"), clock=lambda: now[0], sleep=sleep)
    storage = open_storage(str(tmp_path / "data"))
    seeded.control.clock(freeze=True)
    done = 0
    waits: list[float] = []
    with MixpanelClient(settings(seeded.url), budget=budget) as client:
        for number in range(80):
            before = now[0]
            date = (datetime.date(2026, 1, 1) + datetime.timedelta(days=number)).isoformat()
            try:
                run(client, storage.day("shop", "raw_events", date))
            except mixpanel_errors.BudgetExhausted as exhausted:
                waits.append(exhausted.wait or 0.0)
                break
            done += 1
            now[0] += 1
            seeded.control.clock(step=now[0] - before)
    assert done == int(60 * share)
    assert len(waits) == 1
    assert waits[0] > 10
    assert seeded.control.counters()["refused_429"] in (0, {})


def test_days_of_a_legacy_project_are_told_and_turned_into_utc(seeded: EmulatorThread, tmp_path: Path) -> None:
    seeded.control.project(id=778, region="US", timezone="US/Pacific", mode="legacy", secret="another-secret")
    seeded.control.account(username="svc2", secret="hunter2", projects={"778": "analyst"})
    events = [
        {**event, "properties": {**event["properties"], "mp_processing_time_ms": event["properties"]["time"] + 700}}
        for event in model_events(60)
    ]
    seeded.control.seed_events(events, project=778)
    source = settings(
        seeded.url, credentials=Credentials("svc2", SecretStr("hunter2")), project_id=778, timezone="US/Pacific"
    )
    day = open_storage(str(tmp_path / "data")).day("shop", "raw_events", DAY)
    with MixpanelClient(source, budget=Unlimited()) as client:
        made = run(client, day)
    assert (made.manifest.rows, made.manifest.time_mode) == (60, "project")
    true = rows(day).select(time_mode.to_utc("project", "US/Pacific")).to_series().dt.epoch("ms")
    assert sorted(true) == [event["properties"]["time"] for event in model_events(60)]


@pytest.mark.parametrize("kind", ["service account", "project secret"])
def test_both_ways_in_are_let_in(seeded: EmulatorThread, day: Day, kind: str) -> None:
    credentials = Credentials("svc", SecretStr("hunter2"))
    if kind == "project secret":
        credentials = Credentials(project_secret=SecretStr("project-secret"))
    project_id = PROJECT if kind == "service account" else None
    with MixpanelClient(
        settings(seeded.url, credentials=credentials, project_id=project_id), budget=Unlimited()
    ) as client:
        assert run(client, day).manifest.rows == COUNT


@pytest.mark.parametrize(
    ("change", "kind"),
    [
        ({"credentials": Credentials("svc", SecretStr("wrong"))}, mixpanel_errors.AuthenticationFailed),
        ({"credentials": Credentials("nobody", SecretStr("hunter2"))}, mixpanel_errors.AuthenticationFailed),
        ({"project_id": 999}, mixpanel_errors.MixpanelError),
        ({"where": "((("}, mixpanel_errors.BadRequest),
    ],
    ids=["secret", "name", "project", "where"],
)
def test_wrong_settings_are_named(
    seeded: EmulatorThread, day: Day, change: dict[str, Any], kind: type[mixpanel_errors.MixpanelError]
) -> None:
    with MixpanelClient(settings(seeded.url, **change), budget=Unlimited()) as client, pytest.raises(kind) as caught:
        run(client, day)
    assert not caught.value.retryable
    assert "MIXPANEL_" in str(caught.value)


def test_a_day_that_has_not_begun_is_refused_by_name(client: MixpanelClient, tmp_path: Path) -> None:
    later = (datetime.datetime.now(datetime.UTC) + datetime.timedelta(days=3)).date().isoformat()
    with pytest.raises(mixpanel_errors.DateTooLate):
        run(client, open_storage(str(tmp_path / "data")).day("shop", "raw_events", later))


def test_an_event_filter_and_an_expression_choose_rows(seeded: EmulatorThread, day: Day) -> None:
    source = settings(seeded.url, events=("Purchase 検索",), where='properties["distinct_id"] == "U1"')
    with MixpanelClient(source, budget=Unlimited()) as client:
        made = run(client, day)
    assert set(rows(day)["event"]) == {"Purchase 検索"}
    assert set(rows(day)["distinct_id"]) == {"U1"}
    assert made.manifest.rows == COUNT // 40


def test_the_project_the_accounts_and_the_counts_can_be_asked(client: MixpanelClient) -> None:
    assert client.project().timezone == "US/Pacific"
    assert "svc" in {account.username for account in client.service_accounts()}
    date = datetime.date.fromisoformat(DAY)
    counts = client.daily_counts(date, date, ["View", "Purchase 検索"])
    assert sum(days[date] for days in counts.values()) == COUNT
