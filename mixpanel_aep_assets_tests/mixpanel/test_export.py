"""A day over real HTTP into committed Parquet: what is kept, what is proven, what is left as it was."""

from __future__ import annotations

import datetime
from collections.abc import Callable
from typing import Any

import polars as pl
import pytest

from mixpanel_aep_assets import manifests
from mixpanel_aep_assets.manifests import Changes, Exported, RawManifest
from mixpanel_aep_assets.mixpanel import dedup, export, mixpanel_errors
from mixpanel_aep_assets.mixpanel.client import MixpanelClient
from mixpanel_aep_assets.mixpanel.parts import FILE_SCHEMA, ROW_GROUP
from mixpanel_aep_assets.storage import Day, StorageError
from mixpanel_aep_assets_tests.mixpanel import samples
from mixpanel_aep_assets_tests.mixpanel.conftest import DAY, NO_WAIT, Scripted, answer, event, outside_of

GOOD = [line + b"\n" for line in samples.OF_ONE_DAY]


def run(client: MixpanelClient, day: Day, **options: Any) -> Exported:
    return export.export_day(client, day, DAY, retry=NO_WAIT, **options)


def stored(day: Day) -> pl.DataFrame:
    return pl.concat(pl.read_parquet(path) for path in day.locations())


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("chunk", [1, 17, 1 << 16])
def test_a_day_is_stored_line_by_line(
    server: Scripted, client: MixpanelClient, day: Day, packed: bool, chunk: int
) -> None:
    server.answers = [answer(b"".join(GOOD), packed=packed, chunk=chunk)]
    made = run(client, day)
    frame = stored(day)
    assert frame.columns == FILE_SCHEMA.names
    assert frame["line"].to_list() == list(range(1, len(GOOD) + 1))
    texts = [line[line.index(b'"properties":') + 13 : -2].decode() for line in GOOD]
    assert frame["properties"].to_list() == texts
    assert frame["content"].equals(frame.select(content=dedup.content_hash())["content"])
    assert (made.manifest.exported, made.manifest.rows, made.manifest.quarantined) == (len(GOOD), len(GOOD), 0)
    assert manifests.read(day, RawManifest) == made.manifest
    assert len(server.requests) == 1


def test_the_request_asks_for_one_day_in_milliseconds_and_gzip(
    server: Scripted, make_client: Callable[..., MixpanelClient], day: Day
) -> None:
    server.answers = [answer(b"")]
    run(make_client(events=("a", "ü"), where='properties["x"]==1'), day)
    assert server.query() == {
        "from_date": DAY,
        "to_date": DAY,
        "time_in_ms": "true",
        "project_id": "7",
        "event": '["a","ü"]',
        "where": 'properties["x"]==1',
    }
    assert "accept-encoding: gzip\r\n" in server.requests[0].lower()
    assert "authorization: basic dxnlcjpodw50zxiylxnly3jlda==" in server.requests[0].lower()


def test_broken_lines_are_set_aside_and_the_counts_add_up(server: Scripted, client: MixpanelClient, day: Day) -> None:
    broken = list(samples.BROKEN)
    lines = [GOOD[0], *(line + b"\n" for line in broken), b"\n", GOOD[1]]
    server.answers = [answer(b"".join(lines), packed=True)]
    made = run(client, day)
    mine = [line for line in broken if b'"time":1768024804' in line]
    assert (made.manifest.exported, made.manifest.rows, made.manifest.quarantined) == (2 + len(mine), 2, len(mine))
    assert sum(made.manifest.reasons.values()) == sum(part.rows for part in made.manifest.quarantine) == len(mine)
    aside = pl.concat(pl.read_parquet(path) for path in day.locations(kind="quarantine"))
    every = pl.concat([aside, outside_of(day).select(aside.columns)]).sort("line")
    assert every["bytes"].to_list() == broken
    assert every["reason"].to_list() == list(samples.BROKEN.values())
    assert every["line"].to_list() == list(range(2, len(broken) + 2))


def test_a_line_of_another_day_and_one_without_a_day_are_kept_with_the_request(
    server: Scripted, client: MixpanelClient, day: Day
) -> None:
    astray, undated = event(7, time=1768024800000 + 20 * 365 * 86_400_000), b'{"event":"x","properties":{}}\n'
    server.answers = [answer(GOOD[0] + astray + undated), answer(GOOD[0])]
    alone, both = run(client, day), outside_of(day)
    assert (alone.manifest.exported, alone.manifest.first_ms, alone.manifest.last_ms) == (
        1,
        1768024800123,
        1768024800123,
    )
    assert both["bytes"].to_list() == [astray.rstrip(b"\n"), undated.rstrip(b"\n")]
    assert both.select("line", "reason", "day").rows() == [
        (2, "other_day", datetime.date(2046, 1, 5)),
        (3, "no_time", None),
    ]
    assert run(client, day).unchanged, "the day is what it is without them"
    assert outside_of(day).is_empty(), "Mixpanel does not send them any more"


def test_an_empty_day_is_a_day_of_no_rows__mixpanel_utils(server: Scripted, client: MixpanelClient, day: Day) -> None:
    server.answers = [answer(b"")]
    made = run(client, day)
    assert (made.manifest.exported, made.manifest.rows, made.manifest.parts) == (0, 0, ())
    assert day.manifest() is not None


def test_an_empty_day_may_say_gzip_and_send_nothing(server: Scripted, client: MixpanelClient, day: Day) -> None:
    server.answers = [answer(b"", headers={"Content-Encoding": "gzip"})]
    assert run(client, day).manifest.rows == 0


def test_many_rows_come_in_bounded_row_groups_and_in_order(server: Scripted, client: MixpanelClient, day: Day) -> None:
    import pyarrow.parquet as pq

    count = 2 * ROW_GROUP + 5
    server.answers = [answer(b"".join(event(number) for number in range(count)), packed=True, chunk=1 << 16)]
    made = run(client, day)
    assert made.manifest.rows == count
    (path,) = day.locations()
    metadata = pq.ParquetFile(path).metadata
    assert [metadata.row_group(n).num_rows for n in range(metadata.num_row_groups)] == [ROW_GROUP, ROW_GROUP, 5]
    assert stored(day)["line"].to_list() == list(range(1, count + 1))


def test_the_same_lines_in_another_order_leave_the_day_as_it_is(
    server: Scripted, client: MixpanelClient, day: Day
) -> None:
    server.answers = [answer(b"".join(GOOD)), answer(b"".join(reversed(GOOD)), packed=True)]
    first = run(client, day)
    again = run(client, day)
    assert again.unchanged is True
    assert again.manifest.generation == first.manifest.generation
    assert manifests.read(day, RawManifest) == first.manifest
    assert stored(day)["line"].to_list() == list(range(1, len(GOOD) + 1))


def test_a_changed_day_replaces_the_one_before(server: Scripted, client: MixpanelClient, day: Day) -> None:
    server.answers = [answer(b"".join(GOOD)), answer(b"".join(GOOD[:-1]))]
    first, second = run(client, day), run(client, day)
    assert first.manifest.digest != second.manifest.digest
    assert stored(day).height == len(GOOD) - 1
    assert not second.unchanged
    assert first.manifest.changes is None
    assert second.manifest.changes == Changes(vanished=1)


def test_a_day_that_became_empty_is_a_change(server: Scripted, client: MixpanelClient, day: Day) -> None:
    server.answers = [answer(b"".join(GOOD)), answer(b"")]
    run(client, day)
    assert run(client, day).manifest.rows == 0
    assert day.manifest()["parts"] == []  # type: ignore[index]


def test_a_failed_export_leaves_the_committed_day_untouched(server: Scripted, client: MixpanelClient, day: Day) -> None:
    server.answers = [answer(b"".join(GOOD)), answer(b"".join(GOOD), last_chunk=False)]
    first = run(client, day)
    with pytest.raises(mixpanel_errors.ExportIncomplete):
        run(client, day)
    assert manifests.read(day, RawManifest) == first.manifest
    assert stored(day).height == len(GOOD)
    assert len({stored.path.split("/")[-2] for stored in day.storage.objects(day.path) if "part" in stored.path}) == 1


def test_a_whole_body_after_a_torn_one_counts_its_rows_once(server: Scripted, client: MixpanelClient, day: Day) -> None:
    whole = b"".join(GOOD)
    server.answers = [answer(whole, last_chunk=False), answer(whole, packed=True, cut=200), answer(whole, packed=True)]
    assert run(client, day).manifest.rows == len(GOOD)
    assert len(server.requests) == 3


def test_a_full_disk_stops_the_day_with_its_own_words_and_without_asking_again(
    server: Scripted, client: MixpanelClient, day: Day, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mixpanel_aep_assets import storage

    def full(*_: object) -> int:
        raise StorageError("part cannot be written: No space left on device. The disk is full: free space.")

    monkeypatch.setattr(storage.StagedFile, "write", full)
    server.answers = [answer(b"".join(event(number) for number in range(40_000)), packed=True)]
    with pytest.raises(StorageError, match="disk is full"):
        run(client, day)
    assert len(server.requests) == 1


def test_an_error_of_the_reader_stops_the_receiver(server: Scripted, client: MixpanelClient, day: Day) -> None:
    import threading

    def stop(rows: int, _: int) -> None:
        raise KeyboardInterrupt

    server.answers = [answer(b"".join(event(number) for number in range(60_000)), packed=True)]
    with pytest.raises(KeyboardInterrupt):
        run(client, day, progress=stop)
    assert not [thread for thread in threading.enumerate() if thread.name in ("ahead", "parquet")]
    assert day.manifest() is None


def test_progress_tells_rows_and_bytes(server: Scripted, client: MixpanelClient, day: Day) -> None:
    seen: list[tuple[int, int]] = []
    server.answers = [answer(b"".join(GOOD))]
    run(client, day, progress=lambda rows, size: seen.append((rows, size)))
    assert seen[-1] == (len(GOOD), sum(map(len, GOOD)))


def test_the_manifest_tells_the_highest_processing_time_and_the_bytes(
    server: Scripted, client: MixpanelClient, day: Day
) -> None:
    server.answers = [answer(b"".join(GOOD), packed=True)]
    made = run(client, day)
    assert made.manifest.max_processing_ms == 1768030000000
    assert made.manifest.body.bytes == sum(map(len, GOOD))
    assert 0 < made.manifest.body.wire_bytes < made.manifest.body.bytes
    assert made.manifest.events["Purchase"] == 5
    assert made.manifest.request == {"from_date": DAY, "to_date": DAY}


def test_no_secret_is_in_what_is_stored_logged_or_shown(
    server: Scripted, client: MixpanelClient, day: Day, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(0)
    server.answers = [answer(b"oh no", "401 Unauthorized")]
    with pytest.raises(mixpanel_errors.AuthenticationFailed) as caught:
        run(client, day)
    seen = caplog.text + repr(client.source) + str(caught.value) + repr(caught.value)
    assert "hunter2" not in seen
    assert "aHVudGVy" not in seen
    assert "dXNlcjpodW50ZXIy" not in seen
