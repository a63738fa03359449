"""The fault switches of an export (mixpanel.md#emulator)."""

from __future__ import annotations

import json
import threading
import zlib
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest

from mixpanel_aep_assets.emulator import ControlError
from mixpanel_aep_assets_tests.emulator.conftest import Mixpanel

EXPORT = {"path": "/api/2.0/export"}
PLAIN = {"Accept-Encoding": "identity"}


@pytest.fixture
def seeded(mixpanel: Mixpanel) -> Mixpanel:
    mixpanel.control.seed_events(
        {"event": "Kauf ½", "properties": {"time": 1768046400000 + n, "distinct_id": "u", "$insert_id": str(n), "n": n}}
        for n in range(100)
    )
    return mixpanel


def test_a_status_fault_hits_the_nth_call_of_a_day_and_no_other(seeded: Mixpanel) -> None:
    seeded.control.fault("status", match=EXPORT | {"day": "2026-01-10", "nth": 2}, status=503, body="busy")
    statuses = [seeded.export(day).status_code for day in ("2026-01-10", "2026-01-11", "2026-01-10", "2026-01-10")]
    assert statuses == [200, 200, 503, 200]
    assert seeded.control.faults()[0]["fired"] == 1


def test_count_ends_a_fault_and_probability_is_repeatable(seeded: Mixpanel) -> None:
    seeded.control.fault("status", match=EXPORT, count=2, status=500)
    assert [seeded.export().status_code for _ in range(3)] == [500, 500, 200]
    runs = []
    for _ in range(2):
        seeded.control.clear_faults()
        seeded.control.fault("status", match=EXPORT, probability=0.5, seed=3, status=500)
        runs.append([seeded.export().status_code for _ in range(8)])
    assert runs[0] == runs[1]
    assert set(runs[0]) == {200, 500}


@pytest.mark.parametrize("value", [7, "soon", 10**12, "Wed, 21 Oct 2026 07:28:00 GMT"])
def test_retry_after_takes_every_form(seeded: Mixpanel, value: Any) -> None:
    seeded.control.fault("status", match=EXPORT, status=429, retry_after=value)
    assert seeded.export().headers["retry-after"] == str(value)


def test_retry_after_can_be_a_date_from_now(seeded: Mixpanel) -> None:
    seeded.control.clock(freeze="2026-06-01T00:00:00Z")
    seeded.control.fault("status", match=EXPORT, status=429, retry_after={"date_in": 60})
    assert seeded.export().headers["retry-after"] == "Mon, 01 Jun 2026 00:01:00 GMT"


@pytest.mark.parametrize("newline", [True, False])
def test_early_ends_cleanly_with_the_failure_text(seeded: Mixpanel, newline: bool) -> None:
    seeded.control.fault("early", match=EXPORT, after_lines=5, newline=newline)
    content = seeded.export().content
    assert content.endswith(b"terminated early\n" if newline else b"terminated early")
    assert content.count(b'"event"') == 5


@pytest.mark.parametrize("headers", [PLAIN, {"Accept-Encoding": "gzip"}])
@pytest.mark.parametrize("where", [{"after_bytes": 150}, {}])
def test_cut_closes_the_socket(seeded: Mixpanel, headers: dict[str, str], where: dict[str, int]) -> None:
    seeded.control.fault("cut", match=EXPORT, **where)
    with pytest.raises(httpx.RemoteProtocolError):
        seeded.export(headers=headers)


def test_clean_cut_ends_cleanly_inside_a_line(seeded: Mixpanel) -> None:
    seeded.control.fault("clean_cut", match=EXPORT, after_bytes=2001)
    assert len(seeded.export().content) == 2001


def test_clean_cut_on_the_wire_leaves_half_a_gzip_stream(seeded: Mixpanel) -> None:
    seeded.control.fault("clean_cut", match=EXPORT, wire_bytes=300)
    with seeded.http.stream("GET", "/api/2.0/export", params={
        "project_id": 12345, "from_date": "2026-01-10", "to_date": "2026-01-10"}) as response:  # fmt: skip
        raw = b"".join(response.iter_raw())
    decompressor = zlib.decompressobj(31)
    decompressor.decompress(raw)
    assert len(raw) == 300
    assert not decompressor.eof


def test_empty_html_and_auth400_are_as_named(seeded: Mixpanel) -> None:
    seeded.control.fault("empty", match=EXPORT | {"nth": 1})
    seeded.control.fault("html", match=EXPORT | {"nth": 2})
    seeded.control.fault("auth400", match=EXPORT | {"nth": 3})
    answers = [seeded.export() for _ in range(3)]
    assert answers[0].content == b""
    assert (answers[1].status_code, b"<html>" in answers[1].content) == (502, True)
    assert (answers[2].status_code, answers[2].text) == (400, "Unable to authenticate request")


def test_drop_cuts_before_and_lost_response_after_the_work(seeded: Mixpanel) -> None:
    seeded.control.fault("drop", match=EXPORT | {"nth": 1})
    seeded.control.fault("lost_response", match={"path": "/import"})
    with pytest.raises(httpx.RemoteProtocolError):
        seeded.export()
    body = [{"event": "B", "properties": {"time": 1768046400}}]
    with pytest.raises(httpx.RemoteProtocolError):
        seeded.http.post("/import", params={"project_id": 12345}, json=body)
    assert len(seeded.lines(event='["B"]')) == 1


def test_dups_repeats_lines_with_a_later_receipt(seeded: Mixpanel) -> None:
    seeded.control.fault("dups", match=EXPORT, every=10)
    lines = [json.loads(line)["properties"] for line in seeded.lines()]
    assert len(lines) == 110
    assert len({line["$insert_id"] for line in lines}) == 100


def test_late_rows_appear_and_vanished_rows_are_gone(seeded: Mixpanel) -> None:
    seeded.control.fault("late", match=EXPORT | {"nth": 1}, share=0.3)
    seeded.control.fault("vanish", match=EXPORT | {"from_nth": 3}, share=0.2)
    sizes = [len(seeded.lines()) for _ in range(4)]
    assert sizes[0] < 100 == sizes[1] > sizes[2] == sizes[3]


def test_merge_changes_ids_between_calls(seeded: Mixpanel) -> None:
    seeded.control.fault("merge", match=EXPORT | {"from_nth": 2}, ids={"u": "known"})
    before, after = (json.loads(seeded.lines()[0])["properties"] for _ in range(2))
    assert (before["distinct_id"], after["distinct_id"]) == ("u", "known")
    assert after["$distinct_id_before_identity"] == "u"


def test_bad_and_big_lines_are_put_in(seeded: Mixpanel) -> None:
    seeded.control.fault("badline", match=EXPORT, lines=["utf8", "empty", "what is this"], at=2)
    seeded.control.fault("bigline", match=EXPORT, bytes=1_000_000)
    lines = seeded.lines()
    assert b"\xff" in lines[2]
    assert lines[3:5] == [b"\n", b"what is this\n"]
    assert len(lines[-1]) > 1_000_000


def test_iso_time_writes_text_and_bigday_makes_rows(seeded: Mixpanel) -> None:
    seeded.control.fault("iso_time", match=EXPORT | {"nth": 1})
    seeded.control.fault("bigday", match=EXPORT | {"nth": 2}, rows=5000)
    assert json.loads(seeded.lines()[0])["properties"]["time"] == "2026-01-10T12:00:00"
    assert len(seeded.lines()) == 5100


def test_a_held_request_waits_until_it_is_released(seeded: Mixpanel) -> None:
    seeded.control.fault("hold", match={"path": "/import"}, when="after")
    body = [{"event": "B", "properties": {"time": 1768046400}}]
    sender = threading.Thread(
        target=lambda: seeded.http.post("/import", params={"project_id": 12345}, json=body), daemon=True
    )
    sender.start()
    assert seeded.control.held(wait=20) == 1
    assert len(seeded.lines(event='["B"]')) == 1  # carried out, not answered
    seeded.control.release()
    sender.join(timeout=20)
    assert not sender.is_alive()


def test_the_counters_know_how_many_exports_ran_at_once(seeded: Mixpanel) -> None:
    seeded.control.fault("slow", match=EXPORT, first_byte=0.3)
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda _: seeded.export(), range(4)))
    assert 2 <= seeded.control.counters()["peaks"]["export:12345"] <= 4


def test_a_rule_that_means_nothing_is_refused(seeded: Mixpanel) -> None:
    with pytest.raises(ControlError, match="fault kind"):
        seeded.control.fault("explode")
    with pytest.raises(ControlError, match="unknown members"):
        seeded.control.fault("status", match={"pathh": "x"})


def test_the_request_log_tells_what_happened(seeded: Mixpanel) -> None:
    seeded.control.fault("status", match=EXPORT, status=500)
    seeded.export()
    entry = seeded.control.requests()[-1]
    assert (entry["endpoint"], entry["status"], entry["faults"]) == ("GET /api/2.0/export", 500, ["status"])
