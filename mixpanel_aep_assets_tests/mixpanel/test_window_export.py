"""One request over several days gives each day what a request of its own would have given."""

from __future__ import annotations

import datetime
import functools
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import orjson
import polars as pl
import pytest
from pydantic import SecretStr

from mixpanel_aep_assets.emulator import EmulatorThread
from mixpanel_aep_assets.manifests import Changes, Exported
from mixpanel_aep_assets.mixpanel import body, dedup, export, lines_by_day, mixpanel_errors, window_export
from mixpanel_aep_assets.mixpanel.client import MixpanelClient
from mixpanel_aep_assets.mixpanel.source_settings import Credentials, MixpanelSource
from mixpanel_aep_assets.storage import Day, Storage, open_storage
from mixpanel_aep_assets_tests.mixpanel.conftest import NO_WAIT, Scripted, Unlimited, answer, outside_of

FIRST = datetime.date(2026, 3, 6)
DAYS = [FIRST + datetime.timedelta(days=n) for n in range(5)]
"""Around 8 March 2026, when clocks in the United States went forward."""

SAME = ("exported", "rows", "quarantined", "reasons", "digest", "max_processing_ms", "first_ms", "last_ms", "events",
        "time_mode", "timezone", "request", "time_evidence")  # fmt: skip
MIDNIGHT = 86_400_000


def same(made: Exported) -> dict[str, object]:
    """What a day has however it was asked for."""
    return {name: getattr(made.manifest, name) for name in SAME}


def start(day: datetime.date) -> int:
    return int(datetime.datetime.combine(day, datetime.time(), datetime.UTC).timestamp() * 1000)


def line(time_ms: object, number: object, **more: object) -> bytes:
    properties = {"time": time_ms, "distinct_id": f"u{number}", "$insert_id": f"i{number}", **more}
    return orjson.dumps({"event": "View", "properties": properties}) + b"\n"


def quirks(day: datetime.date) -> list[bytes]:
    """Lines of a day, at its edges and in odd spellings, good and broken."""
    at, name = start(day), day.isoformat()
    return [
        line(at, f"{name}-first"),
        line(at + MIDNIGHT - 1, f"{name}-last", mp_processing_time_ms=at + MIDNIGHT + 400),
        line((at + MIDNIGHT - 1000) // 1000, f"{name}-seconds"),
        line(f"{name}T23:59:59", f"{name}-iso"),
        line(str(at + 5), f"{name}-text"),
        line(at + 5, f"{name}-text"),
        line(at + 2 * 3_600_000 + 1_800_000, f"{name}-half-past-two"),
        b'{"event":"x\xff","properties":{"time":%d}}\n' % (at + 7),
        b'{"event":"x","properties":{"n":NaN,"time":%d}}\n' % (at + 8),
        b'{"event":"x","properties":{"time":%d},"more":1}\n' % (at + MIDNIGHT - 1),
        *(line(at + n * 60_000, f"{name}-{n}", text="x" * n) for n in range(40)),
    ]


@pytest.fixture
def storage(tmp_path: Path) -> Storage:
    return open_storage(str(tmp_path / "data"))


def target(storage: Storage, days: list[datetime.date], name: str = "shop") -> dict[datetime.date, Day]:
    return {day: storage.day(name, "raw_events", day.isoformat()) for day in days}


def contents(day: Day) -> pl.DataFrame:
    return stored(day).drop("line").sort("time_ms", "insert_id", "properties")


def stored(day: Day, kind: str = "parts") -> pl.DataFrame:
    return pl.concat(pl.read_parquet(path) for path in day.locations(kind=kind))


@pytest.mark.parametrize("order", ["as days", "shuffled"])
def test_each_day_of_a_window_is_what_its_own_request_gives(
    server: Scripted, client: MixpanelClient, storage: Storage, order: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lines_by_day, "CHUNK_BYTES", 3_000)
    monkeypatch.setattr(body, "batches", functools.partial(body.batches, size=1_000))
    sent = [text for day in DAYS for text in quirks(day)]
    if order == "shuffled":
        random.Random(7).shuffle(sent)
    server.answers = [answer(b"".join(quirks(day))) for day in DAYS] + [answer(b"".join(sent), packed=True)]
    alone = {
        day: export.export_day(client, into, day, retry=NO_WAIT) for day, into in target(storage, DAYS, "alone").items()
    }
    together = window_export.export_window(client, target(storage, DAYS), retry=NO_WAIT)
    assert len(server.requests) == len(DAYS) + 1
    assert server.query() | {"from_date": "2026-03-06", "to_date": "2026-03-10"} == server.query()
    for day, into in target(storage, DAYS).items():
        mine, theirs = together[day], alone[day]
        assert same(mine) == same(theirs)
        assert mine.manifest.body.bytes == theirs.manifest.body.bytes
        assert mine.manifest.window is not None
        assert (mine.manifest.window.first, mine.manifest.window.last) == ("2026-03-06", "2026-03-10")
        assert theirs.manifest.window is None
        other = target(storage, DAYS, "alone")[day]
        assert contents(into).equals(contents(other))
        assert sorted(stored(into, "quarantine")["bytes"]) == sorted(stored(other, "quarantine")["bytes"])
        assert dedup.find(into.locations()).duplicates == dedup.find(other.locations()).duplicates == 1


def test_a_line_keeps_its_number_in_the_windows_body(
    server: Scripted, client: MixpanelClient, storage: Storage
) -> None:
    server.answers = [answer(line(start(DAYS[1]), "b") + line(start(DAYS[0]), "a") + line(start(DAYS[1]) + 1, "c"))]
    days = target(storage, DAYS[:2])
    window_export.export_window(client, days, retry=NO_WAIT)
    assert stored(days[DAYS[0]])["line"].to_list() == [2]
    assert stored(days[DAYS[1]])["line"].to_list() == [1, 3]


def test_lines_without_a_day_and_from_outside_are_kept_with_the_request(
    server: Scripted, client: MixpanelClient, storage: Storage
) -> None:
    sent = [
        line(start(DAYS[1]), "in"),
        line(start(DAYS[0]) - 1, "before"),
        line(start(DAYS[3]), "after"),
        b'{"error":"?"}\n',
        b'{"event":"x","properties":{"time":"yesterday"}}\n',
        b'{"event":"x","properties":{"time":%d,"n":NaN}}\n' % start(DAYS[4]),
        line(start(DAYS[2]), "in"),
    ]
    server.answers = [answer(b"".join(sent))]
    days = target(storage, DAYS[:3])
    found = window_export.export_window(client, days, retry=NO_WAIT)
    assert [found[day].manifest.exported for day in DAYS[:3]] == [0, 1, 1]
    kept = outside_of(days[DAYS[0]], "2026-03-06", "2026-03-08")
    assert kept.sort("line").select("line", "reason", "day").rows() == [
        (2, "other_day", DAYS[0] - datetime.timedelta(days=1)),
        (3, "other_day", DAYS[3]),
        (4, "no_event", None),
        (5, "bad_time", None),
        (6, "nan", DAYS[4]),
    ]
    assert kept.sort("line")["bytes"].to_list() == [text.rstrip(b"\n") for text in sent[1:6]]


def test_a_window_whose_body_is_cut_commits_no_day(server: Scripted, client: MixpanelClient, storage: Storage) -> None:
    whole = b"".join(text for day in DAYS for text in quirks(day))
    server.answers = [answer(whole, last_chunk=False), answer(whole[:-20]), answer(whole, packed=True, cut=2_000)]
    with pytest.raises(mixpanel_errors.ExportIncomplete):
        window_export.export_window(client, target(storage, DAYS), retry=NO_WAIT)
    assert len(server.requests) == NO_WAIT.tries
    assert list(storage.objects("shop")) == []


def test_a_window_read_again_leaves_its_days_and_counts_what_changed(
    server: Scripted, client: MixpanelClient, storage: Storage
) -> None:
    sent = [text for day in DAYS for text in quirks(day)]
    late = line(start(DAYS[2]) + 3, "late")
    server.answers = [answer(b"".join(sent)), answer(b"".join([late, *reversed(sent)]))]
    first = window_export.export_window(client, target(storage, DAYS), retry=NO_WAIT)
    second = window_export.export_window(client, target(storage, DAYS), retry=NO_WAIT)
    changed = DAYS[2]
    assert [day for day in DAYS if not second[day].unchanged] == [changed]
    assert second[changed].manifest.changes == Changes(appeared=1)
    assert all(second[day].manifest.generation == first[day].manifest.generation for day in DAYS if day != changed)


def test_a_day_of_a_window_read_again_alone_is_the_same(
    server: Scripted, client: MixpanelClient, storage: Storage
) -> None:
    server.answers = [answer(b"".join(t for day in DAYS for t in quirks(day))), answer(b"".join(quirks(DAYS[1])))]
    days = target(storage, DAYS)
    window_export.export_window(client, days, retry=NO_WAIT)
    assert export.export_day(client, days[DAYS[1]], DAYS[1], retry=NO_WAIT).unchanged is True


def test_a_day_without_events_is_committed_empty(server: Scripted, client: MixpanelClient, storage: Storage) -> None:
    server.answers = [answer(line(start(DAYS[0]), "only"))]
    found = window_export.export_window(client, target(storage, DAYS), retry=NO_WAIT)
    assert [found[day].manifest.exported for day in DAYS] == [1, 0, 0, 0, 0]


def test_shuffled_days_write_early_when_they_hold_too_much(
    server: Scripted, client: MixpanelClient, storage: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lines_by_day, "CHUNK_BYTES", 20_000)
    monkeypatch.setattr(body, "batches", functools.partial(body.batches, size=10_000))
    monkeypatch.setattr(lines_by_day, "HELD_BYTES", 50_000)
    sent = [line(start(day) + n, f"{day}-{n}", text="x" * 200) for n in range(400) for day in DAYS]
    server.answers = [answer(b"".join(sent), chunk=1 << 16)]
    held: list[int] = []
    deal = lines_by_day.Dealer.deal

    def watched(self: Any) -> None:
        deal(self)
        held.append(sum(share.writer.pending_bytes for share in self._shares))

    monkeypatch.setattr(lines_by_day.Dealer, "deal", watched)
    found = window_export.export_window(client, target(storage, DAYS), retry=NO_WAIT)
    assert max(held) <= 50_000
    assert {manifest.manifest.rows for manifest in found.values()} == {400}


@pytest.fixture
def make_project(emulator: EmulatorThread) -> Iterator[Callable[[str, str], MixpanelClient]]:
    made: list[MixpanelClient] = []

    def make(mode: str, timezone: str) -> MixpanelClient:
        emulator.control.project(id=777, region="US", timezone=timezone, mode=mode, secret="s")
        emulator.control.account(username="svc", secret="hunter2", projects={"777": "analyst"})
        source = MixpanelSource(
            credentials=Credentials("svc", SecretStr("hunter2")), project_id=777, export_url=emulator.url,
            api_url=emulator.url, timezone=timezone, time_mode="project" if mode == "legacy" else "utc",
        )  # fmt: skip
        made.append(MixpanelClient(source, budget=Unlimited()))
        return made[-1]

    yield make
    for client in made:
        client.close()


@pytest.mark.parametrize(
    ("mode", "timezone"), [("utc", "US/Pacific"), ("legacy", "US/Pacific"), ("legacy", "Asia/Kolkata")]
)
def test_days_are_cut_where_mixpanel_cuts_them_over_a_clock_change(
    emulator: EmulatorThread,
    make_project: Callable[[str, str], MixpanelClient],
    storage: Storage,
    mode: str,
    timezone: str,
) -> None:
    client = make_project(mode, timezone)
    minutes = range(0, (len(DAYS) + 2) * 1440, 17)
    begin = start(DAYS[0]) - MIDNIGHT
    emulator.control.seed_events(
        [
            {"event": "View", "properties": {"time": begin + n * 60_000, "distinct_id": "u", "$insert_id": f"i{n}"}}
            for n in minutes
        ],
        project=777,
    )
    together = window_export.export_window(client, target(storage, DAYS), retry=NO_WAIT)
    for day, into in target(storage, DAYS, "alone").items():
        alone = export.export_day(client, into, day, retry=NO_WAIT)
        assert same(together[day]) == same(alone)
        assert outside_of(into, str(DAYS[0]), str(DAYS[-1])).is_empty()
        assert alone.manifest.rows > 70
