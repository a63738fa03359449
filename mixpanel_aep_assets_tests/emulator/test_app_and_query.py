"""The App API and the daily counts (mixpanel.md#self-checks and mixpanel.md#daily-counts)."""

from __future__ import annotations

from mixpanel_aep_assets_tests.emulator.conftest import Mixpanel, Query

NOON = 1768046400


def test_me_tells_the_zone_of_the_projects_that_are_open_to_the_account(mixpanel: Mixpanel) -> None:
    mixpanel.control.project(id=7, timezone="Asia/Tokyo")
    mixpanel.control.project(id=12345, timezone="US/Pacific", mode="legacy")
    projects = mixpanel.http.get("/api/app/me").json()["results"]["projects"]
    assert {number: project["timezone"] for number, project in projects.items()} == {"12345": "US/Pacific"}


def test_me_needs_the_scope_and_the_region(mixpanel: Mixpanel) -> None:
    assert mixpanel.http.get("/api/app/me", headers={"Host": "eu.mixpanel.com"}).status_code == 401
    mixpanel.control.account(user_details=False)
    assert mixpanel.http.get("/api/app/me").status_code == 403


def test_the_app_api_answers_bad_credentials_with_401_json(mixpanel: Mixpanel) -> None:
    answer = mixpanel.http.get("/api/app/me", auth=("x", "y"))
    assert (answer.status_code, answer.json()["status"]) == (401, "error")


def test_service_accounts_are_listed_with_expiry_and_access(mixpanel: Mixpanel) -> None:
    mixpanel.control.account(username="late.x.mp-service-account", expires="2027-01-01T00:00:00Z", sensitive=False)
    organisation = mixpanel.http.get("/api/app/organizations/55/service-accounts").json()["results"]
    assert {one["username"]: one["expires"] for one in organisation}["late.x.mp-service-account"].startswith("2027")
    members = mixpanel.http.get("/api/app/projects/12345/service-accounts").json()["results"]
    assert [one["hasSensitiveAccess"] for one in members] == [True, False]
    assert mixpanel.http.get("/api/app/projects/9/service-accounts").status_code == 403


def test_daily_counts_are_deduplicated(mixpanel: Mixpanel) -> None:
    mixpanel.control.seed_events(
        {"event": "A", "properties": {"time": NOON + 86_400 * (n % 2), "distinct_id": "u", "$insert_id": str(n // 4)}}
        for n in range(8)
    )
    query: Query = {"project_id": 12345, "from_date": "2026-01-10", "to_date": "2026-01-12"}
    answer = mixpanel.http.get("/api/query/segmentation", params=query | {"event": "A"}).json()
    assert answer["data"]["series"] == ["2026-01-10", "2026-01-11", "2026-01-12"]
    assert answer["data"]["values"] == {"A": {"2026-01-10": 2, "2026-01-11": 2, "2026-01-12": 0}}
    events = mixpanel.http.get("/api/2.0/events", params=query | {"event": '["A","B"]'}).json()
    assert events["data"]["values"]["B"] == {"2026-01-10": 0, "2026-01-11": 0, "2026-01-12": 0}


def test_event_names_are_those_of_the_last_31_days(mixpanel: Mixpanel) -> None:
    mixpanel.control.clock(freeze="2026-01-20T00:00:00Z")
    for name, time in (("new", NOON), ("new", NOON), ("old", NOON - 60 * 86_400), ("rare", NOON)):
        event = {"event": name, "properties": {"time": time, "distinct_id": "u", "$insert_id": name}}
        mixpanel.control.seed_events([event])
    assert mixpanel.http.get("/api/query/events/names", params={"project_id": 12345}).json() == ["new", "rare"]


def test_the_query_api_has_its_own_account_and_plan(mixpanel: Mixpanel) -> None:
    mixpanel.control.settings(query_per_hour=1)
    query = {"project_id": 12345}
    assert [mixpanel.http.get("/api/query/events/names", params=query).status_code for _ in range(2)] == [200, 429]
    assert mixpanel.export().status_code == 200
    mixpanel.control.settings(query_per_hour=None)
    mixpanel.control.project(plan={"export": True, "query": False})
    assert mixpanel.http.get("/api/query/events/names", params=query).status_code == 402
