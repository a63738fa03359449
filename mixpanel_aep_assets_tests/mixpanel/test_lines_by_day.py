"""Whose line is it: what a day gets depends on the lines alone, never on the days that were asked for with it."""

from __future__ import annotations

import datetime
import functools
import tempfile
from collections import Counter
from collections.abc import Iterator
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mixpanel_aep_assets.mixpanel import body, export, lines_by_day, window_export
from mixpanel_aep_assets.mixpanel.client import MixpanelClient
from mixpanel_aep_assets.storage import Day, open_storage
from mixpanel_aep_assets_tests.mixpanel.conftest import NO_WAIT, Scripted, Unlimited, answer, outside_of, source
from mixpanel_aep_assets_tests.mixpanel.test_window_export import MIDNIGHT, line, same, start, target

FIRST = datetime.date(2026, 3, 1)
MONTH = [FIRST + datetime.timedelta(days=n) for n in range(8)]

near = st.integers(0, 7).map(lambda n: start(MONTH[n]))
far = st.sampled_from([-1, 20 * 365, -40 * 365]).map(lambda n: start(FIRST) + n * MIDNIGHT)
moment = st.tuples(st.one_of(near, near, near, far), st.sampled_from([0, 1, MIDNIGHT // 2, MIDNIGHT - 1])).map(sum)
lines = st.one_of(
    st.builds(line, moment, st.integers(0, 5)),
    st.builds(lambda time: b'{"event":"x","properties":{"n":NaN,"time":%d}}\n' % time, moment),
    st.builds(lambda time: line(time // 1000, "s"), moment),
    st.sampled_from([b"null\n", b'{"event":"x","properties":{}}\n', b'{"event":"x\xff","properties":{"time":"?"}}\n', b"\n"]),
)  # fmt: skip


@pytest.fixture(scope="module")
def mixpanel() -> Iterator[Scripted]:
    server = Scripted()
    yield server
    server.close()


@pytest.fixture(scope="module")
def asking(mixpanel: Scripted) -> Iterator[MixpanelClient]:
    with MixpanelClient(source(mixpanel.url), budget=Unlimited()) as made:
        yield made


def kept(day: Day, kind: str) -> list[tuple[Any, ...]]:
    """What a day's files hold, in any order."""
    frames = [pl.read_parquet(path) for path in day.locations(kind=kind)]
    return sorted(pl.concat(frames).drop("line").rows(), key=repr) if frames else []


@settings(max_examples=60)
@given(
    sent=st.lists(lines, max_size=40).map(lambda some: [*some, line(start(FIRST), "last")]),
    window=st.tuples(st.integers(0, 7), st.integers(0, 7)).map(sorted),
    batch=st.sampled_from([100, 1_000, 100_000]),
    chunk=st.sampled_from([1, 500, 1 << 20]),
)
def test_a_day_gets_the_same_alone_and_in_any_window_and_no_line_is_lost(
    mixpanel: Scripted, asking: MixpanelClient, sent: list[bytes], window: list[int], batch: int, chunk: int
) -> None:
    asked = MONTH[window[0] : window[1] + 1]
    mixpanel.requests.clear()
    mixpanel.answers = [answer(b"".join(sent))]
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setattr(lines_by_day, "CHUNK_BYTES", chunk)
        patch.setattr(body, "batches", functools.partial(body.batches, size=batch))
        storage = open_storage(folder)
        days = target(storage, asked)
        together = window_export.export_window(asking, days, retry=NO_WAIT)
        for date, into in target(storage, asked, "alone").items():
            alone = export.export_day(asking, into, date, retry=NO_WAIT)
            assert same(together[date]) == same(alone)
            assert together[date].manifest.body.bytes == alone.manifest.body.bytes
            for kind in ("parts", "quarantine"):
                assert kept(days[date], kind) == kept(into, kind)
            elsewhere = outside_of(into, str(date))
            assert alone.manifest.exported + elsewhere.height == sum(text != b"\n" for text in sent)
        beside = outside_of(days[asked[0]], str(asked[0]), str(asked[-1]))
        assert sum(m.manifest.exported for m in together.values()) + beside.height == sum(
            text != b"\n" for text in sent
        )
        assert Counter(beside["bytes"]) <= Counter(text.rstrip(b"\n") for text in sent)
        assert not [day for day in beside["day"] if day in asked]


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        (b'{"event":1,"properties":{"time":1772323200}}', 1_772_323_200_000),
        (b'{"event":1,"properties":{"time":"2026-03-01T00:00:00"}}', 1_772_323_200_000),
        (b'{"event":1,"properties":{"time":"2026-03-01T01:00:00+01:00"}}', 1_772_323_200_000),
        (b'{"event":1,"properties":{"time":"yesterday"}}', None),
        (b'{"event":1,"properties":{"time":"\xff"}}', None),
        (b"null", None),
    ],
)
def test_a_line_that_is_no_event_seems_to_be_of_the_day_of_its_time(text: bytes, moment: int | None) -> None:
    assert lines_by_day.seeming_time(text) == moment


def test_a_time_that_no_calendar_has_leaves_a_line_with_the_request(
    mixpanel: Scripted, asking: MixpanelClient, day: Day
) -> None:
    beyond = b'{"event":1,"properties":{"time":99999999999999999}}\n'
    mixpanel.answers = [answer(beyond + line(start(FIRST), 1))]
    assert export.export_day(asking, day, FIRST, retry=NO_WAIT).manifest.exported == 1
    assert outside_of(day, str(FIRST))["day"].to_list() == [None]
