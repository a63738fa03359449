"""The raw export: parameters, selection, time modes, encoding (mixpanel.md#export-request and mixpanel.md#time-modes)."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import httpx
import pytest

from mixpanel_aep_assets_tests.emulator.conftest import ACCOUNT, Mixpanel, Query

NOON = 1768046400  # 2026-01-10 12:00:00 UTC


def event(name: str = "A", time: float | str = NOON, **properties: Any) -> dict[str, Any]:
    return {"event": name, "properties": {"time": time, "distinct_id": "u1", **properties}}


@pytest.mark.parametrize(
    ("parameters", "text"),
    [
        ({"from_date": None}, "from_date"),
        ({"from_date": "2026-1-5"}, "from_date"),
        ({"from_date": "2026-02-30"}, "from_date"),
        ({"from_date": "2026-01-10T00:00:00"}, "from_date"),
        ({"from_date": "1999-01-01"}, "bad year"),
        ({"to_date": "2026-01-09"}, "earlier"),
        ({"to_date": "2099-01-01"}, "to_date cannot be later than today"),
        ({"limit": "0"}, "limit"),
        ({"limit": "100001"}, "limit"),
        ({"limit": "1.5"}, "limit"),
        ({"event": "signup"}, "event"),
        ({"event": "[1]"}, "event"),
        ({"where": "properties[x]"}, "where"),
        ({"time_in_ms": "yes"}, "time_in_ms"),
    ],
)
def test_a_bad_parameter_is_answered_with_400_and_its_name(mixpanel: Mixpanel, parameters: Any, text: str) -> None:
    response = mixpanel.export(**({"first": "2026-01-10"} | parameters))
    assert (response.status_code, text in response.text) == (400, True)


def test_unknown_parameters_are_ignored(mixpanel: Mixpanel) -> None:
    assert mixpanel.export(query_origin="x").status_code == 200


def test_only_get_is_served(mixpanel: Mixpanel) -> None:
    assert mixpanel.http.post("/api/2.0/export").status_code == 405


def test_errors_are_json_with_the_request_when_set_so(mixpanel: Mixpanel) -> None:
    mixpanel.control.settings(error_format="json")
    body = mixpanel.export("bad").json()
    assert body["request"].startswith("/api/2.0/export?")
    assert "from_date" in body["error"]


def test_a_day_without_events_is_an_empty_200(mixpanel: Mixpanel) -> None:
    response = mixpanel.export()
    assert (response.status_code, response.content) == (200, b"")
    assert response.headers["content-type"].startswith("text/plain")


def test_both_border_days_are_included(mixpanel: Mixpanel) -> None:
    mixpanel.control.seed_events([event(time=NOON + 86_400 * day) for day in range(4)])
    assert len(mixpanel.lines("2026-01-10", "2026-01-12")) == 3


def test_time_is_in_ms_only_when_asked(mixpanel: Mixpanel) -> None:
    mixpanel.control.seed_events([event(time=NOON * 1000 + 123)])
    assert json.loads(mixpanel.lines()[0])["properties"]["time"] == NOON * 1000 + 123
    assert json.loads(mixpanel.lines(time_in_ms=None)[0])["properties"]["time"] == NOON


def test_the_order_is_shuffled_the_same_way_each_time(mixpanel: Mixpanel) -> None:
    mixpanel.control.seed_events([event(number=number) for number in range(200)])
    order = [json.loads(line)["properties"]["number"] for line in mixpanel.lines()]
    assert order != sorted(order)
    assert order == [json.loads(line)["properties"]["number"] for line in mixpanel.lines()]
    assert sorted(order) == list(range(200))


def test_duplicates_are_not_removed(mixpanel: Mixpanel) -> None:
    mixpanel.control.seed_events([event(**{"$insert_id": "i"})] * 3)
    assert len(mixpanel.lines()) == 3


def test_event_filter_limit_and_where_select_lines(mixpanel: Mixpanel) -> None:
    mixpanel.control.seed_events([event("A", n=number) for number in range(5)] + [event("B b", n=9)])
    assert len(mixpanel.lines(event='["B b","C"]')) == 1
    assert len(mixpanel.lines(limit=2)) == 2
    assert len(mixpanel.lines(where='properties["n"] >= 3')) == 3


def test_filters_also_act_on_verbatim_days(mixpanel: Mixpanel) -> None:
    mixpanel.control.seed_day("2026-01-10", [event("A", n=1), event("B", n=2)])
    assert [json.loads(line)["event"] for line in mixpanel.lines(where='properties["n"] == 2')] == ["B"]


def test_a_verbatim_day_is_sent_byte_for_byte(mixpanel: Mixpanel) -> None:
    body = b'{"event": "odd  spacing", "properties":{"time":1768024800123,"big":12345678901234567890123}}\nnull\n\n   \n\xff\n'
    mixpanel.control.seed_day("2026-01-10", body)
    assert mixpanel.export().content == body


def test_a_big_integer_survives_a_rewritten_line(mixpanel: Mixpanel) -> None:
    mixpanel.control.seed_day(
        "2026-01-10", b'{"event":"x","properties":{"time":1768024800123,"n":1234567890123456789012345}}\n'
    )
    assert b"1234567890123456789012345" in mixpanel.export(time_in_ms="false").content


def test_a_day_can_be_served_from_a_file_in_place(mixpanel: Mixpanel, tmp_path: Path) -> None:
    (tmp_path / "day.ndjson").write_bytes(b'{"event":"x","properties":{"time":1768024800123}}')
    assert mixpanel.control.seed_day("2026-01-10", tmp_path / "day.ndjson")["lines"] == 1
    assert mixpanel.export().content.endswith(b"}}\n")


def test_a_legacy_project_exports_wall_clock_and_selects_by_it(mixpanel: Mixpanel) -> None:
    mixpanel.control.project(id=12345, mode="legacy", timezone="America/New_York")
    mixpanel.control.seed_events([event(time=1602625711)])  # 21:48:31 UTC, 17:48:31 in New York
    mixpanel.control.seed_events([event(time=1602637200)])  # 01:00 UTC of the 14th, 21:00 of the 13th in New York
    times = {json.loads(line)["properties"]["time"] for line in mixpanel.lines("2020-10-13")}
    assert times == {1602611311_000, 1602622800_000}
    assert mixpanel.lines("2020-10-14") == []


def test_a_zone_change_does_not_touch_what_was_ingested_before(mixpanel: Mixpanel) -> None:
    mixpanel.control.project(mode="legacy", timezone="America/New_York")
    mixpanel.control.seed_events([event(time=NOON, n=1)])
    mixpanel.control.project(timezone="UTC")
    mixpanel.control.seed_events([event(time=NOON, n=2)])
    times = {json.loads(line)["properties"]["n"]: json.loads(line)["properties"]["time"] for line in mixpanel.lines()}
    assert times == {1: (NOON - 5 * 3600) * 1000, 2: NOON * 1000}


def test_today_is_the_day_of_the_projects_zone(mixpanel: Mixpanel) -> None:
    mixpanel.control.clock(freeze="2026-01-10T23:30:00Z")
    assert mixpanel.export("2026-01-11").status_code == 400
    mixpanel.control.project(mode="legacy", timezone="Europe/Berlin")
    assert mixpanel.export("2026-01-11").status_code == 200


def test_merged_ids_are_replaced_and_the_old_one_is_shown(mixpanel: Mixpanel) -> None:
    mixpanel.control.seed_events([event(distinct_id="$device:D1")])
    mixpanel.control.project(merges={"$device:D1": "U1"})
    properties = json.loads(mixpanel.lines()[0])["properties"]
    assert (properties["distinct_id"], properties["$distinct_id_before_identity"]) == ("U1", "$device:D1")


def test_gzip_comes_only_when_asked_and_above_1400_bytes(mixpanel: Mixpanel) -> None:
    mixpanel.control.seed_events([event()])
    assert "content-encoding" not in mixpanel.export(headers={"Accept-Encoding": "gzip"}).headers
    mixpanel.control.seed_events([event(n=number) for number in range(50)])
    zipped = mixpanel.export(headers={"Accept-Encoding": "gzip"})
    plain = mixpanel.export(headers={"Accept-Encoding": "identity"})
    assert zipped.headers["content-encoding"] == "gzip"
    assert "content-encoding" not in plain.headers
    assert "content-length" not in plain.headers
    assert zipped.content == plain.content


@pytest.mark.parametrize(
    ("credentials", "status", "text"),
    [
        (("demo.abc123.mp-service-account", "wrong"), 400, "Unable to authenticate request"),
        (("nobody", ""), 400, "Unable to authenticate request"),
        (("demo-project-secret", ""), 200, ""),
    ],
)
def test_credentials_decide(mixpanel: Mixpanel, credentials: tuple[str, str], status: int, text: str) -> None:
    response = mixpanel.export(auth=credentials)
    assert (response.status_code, text in response.text) == (status, True)


def test_plain_basic_text_and_bearer_are_taken(mixpanel: Mixpanel) -> None:
    mixpanel.http.auth = httpx.Auth()  # none but that of the headers
    assert mixpanel.export(headers={"Authorization": "Basic " + ":".join(ACCOUNT)}).status_code == 200
    assert mixpanel.export(headers={"Authorization": "Bearer demo-bearer-token"}).status_code == 200


def test_an_account_past_its_expiry_is_refused(mixpanel: Mixpanel) -> None:
    mixpanel.control.account(expires="2026-06-01T00:00:00Z")
    mixpanel.control.clock(freeze="2026-05-31T00:00:00Z")
    assert mixpanel.export().status_code == 200
    mixpanel.control.clock(step=2 * 86_400)
    assert "authenticate" in mixpanel.export().text


def test_a_service_account_must_name_a_project_of_its_own(mixpanel: Mixpanel) -> None:
    assert mixpanel.export(project_id=None).status_code == 400
    assert mixpanel.export(project_id=777).status_code == 403


def test_a_plan_without_export_gives_402(mixpanel: Mixpanel) -> None:
    mixpanel.control.project(plan={"export": False, "query": True})
    response = mixpanel.export()
    assert (response.status_code, "does not support raw data export" in response.text) == (402, True)


def test_the_wrong_region_refuses_or_looks_empty(mixpanel: Mixpanel) -> None:
    mixpanel.control.seed_events([event()])
    assert mixpanel.export(headers={"Host": "data-eu.mixpanel.com"}).status_code == 401
    assert mixpanel.export(headers={"Host": "data.mixpanel.com"}).status_code == 200
    mixpanel.control.settings(region="EU", wrong_region="empty")
    assert (mixpanel.export().status_code, mixpanel.export().content) == (200, b"")
    mixpanel.control.settings(wrong_region="cluster")
    refused = mixpanel.export()
    assert refused.status_code == 400
    assert refused.json()["error"] == "request failed with error: invalid project id for cluster."


def test_a_front_end_that_blocks_answers_with_a_page(mixpanel: Mixpanel) -> None:
    mixpanel.control.fault("blocked", match={"path": "/api/2.0/export"})
    refused = mixpanel.export()
    assert (refused.status_code, refused.headers["content-type"]) == (403, "text/html")
    assert "does not have permission to get URL <code>/api/2.0/export</code>" in refused.text


def test_classified_properties_are_hidden_or_the_call_refused(mixpanel: Mixpanel) -> None:
    mixpanel.control.seed_events([event(ssn="1")])
    mixpanel.control.project(classified=["ssn"])
    assert b"ssn" in mixpanel.lines()[0]
    mixpanel.control.account(sensitive=False)
    assert b"ssn" not in mixpanel.lines()[0]
    mixpanel.control.settings(classified="refuse")
    assert mixpanel.export().status_code == 403


def test_the_hourly_window_slides(mixpanel: Mixpanel) -> None:
    mixpanel.control.settings(export_per_hour=2, retry_after="seconds")
    mixpanel.control.clock(freeze="2026-06-01T00:00:00Z")
    assert [mixpanel.export().status_code for _ in range(3)] == [200, 200, 429]
    assert int(mixpanel.export().headers["retry-after"]) == 3600
    mixpanel.control.clock(step=3601)
    assert mixpanel.export().status_code == 200
    counters = mixpanel.control.counters()
    assert counters["refused_429"] == {"GET /api/2.0/export": 2}
    assert counters["peaks"]["export:12345/3600s"] == 4


def test_the_second_and_concurrency_limits_are_enforced_when_set(mixpanel: Mixpanel) -> None:
    mixpanel.control.clock(freeze="2026-06-01T00:00:00Z")
    mixpanel.control.settings(export_per_second=3)
    assert [mixpanel.export().status_code for _ in range(4)] == [200, 200, 200, 429]
    mixpanel.control.settings(export_per_second=None, export_concurrent=0)
    assert "too many export requests in progress" in mixpanel.export().text


def test_import_fills_a_project_through_mixpanels_own_api(mixpanel: Mixpanel) -> None:
    good, bad = event(token="t", ip="1.2.3.4"), event(time="never")
    answer = mixpanel.http.post("/import", params={"strict": "1", "project_id": 12345}, json=[good, bad])
    assert (answer.status_code, answer.json()["num_records_imported"]) == (400, 1)
    assert answer.json()["failed_records"][0]["index"] == 1
    properties = json.loads(mixpanel.lines()[0])["properties"]
    assert properties["$import"] is True
    assert not {"token", "ip"} & properties.keys()


def test_gzip_may_have_several_members(mixpanel: Mixpanel) -> None:
    mixpanel.control.seed_events([event(n=number) for number in range(100)])
    whole = mixpanel.export(headers={"Accept-Encoding": "identity"}).content
    mixpanel.control.settings(gzip_member_bytes=1000)
    query: Query = {"project_id": 12345, "from_date": "2026-01-10", "to_date": "2026-01-10", "time_in_ms": "true"}
    with mixpanel.http.stream("GET", "/api/2.0/export", params=query) as response:
        raw = b"".join(response.iter_raw())
    assert raw.count(b"\x1f\x8b\x08") > 3
    assert gzip.decompress(raw) == whole


def test_a_lone_surrogate_comes_back_escaped(mixpanel: Mixpanel) -> None:
    mixpanel.control.seed_day("2026-01-10", [event(text="\ud83d")])
    body = b'[{"event":"A","properties":{"time":1768046400,"text":"\\ud83d"}}]'
    assert mixpanel.http.post("/import", params={"project_id": 12345}, content=body).status_code == 200
    assert all(b'"\\ud83d"' in line for line in mixpanel.lines())
