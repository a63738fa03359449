"""The other doors: projects, service accounts, daily counts, region."""

from __future__ import annotations

import datetime
from pathlib import Path

import orjson
import pytest

from mixpanel_aep_assets.mixpanel import mixpanel_errors
from mixpanel_aep_assets.mixpanel.client import MixpanelClient, project_zone
from mixpanel_aep_assets_tests.mixpanel.conftest import Scripted, answer, source

ME = {"projects": {"7": {"name": "Shop", "domain": "eu.mixpanel.com", "timezone": "US/Pacific", "organization_id": 55}}}


def says(value: object, status: str = "200 OK") -> bytes:
    return answer(orjson.dumps(value), status)


@pytest.mark.parametrize("wrapped", [True, False])
def test_the_project_tells_its_zone_with_and_without_envelope(
    server: Scripted, client: MixpanelClient, wrapped: bool
) -> None:
    server.answers = [says({"status": "ok", "results": ME} if wrapped else ME)]
    project = client.project()
    assert (project.name, project.timezone, project.organization_id) == ("Shop", "US/Pacific", 55)
    assert server.requests[0].startswith("GET /api/app/me ")


def test_a_project_that_the_account_does_not_see_is_named(server: Scripted, client: MixpanelClient) -> None:
    server.answers = [says({"results": {"projects": {"8": {}}}})]
    with pytest.raises(mixpanel_errors.NotAllowed, match="7"):
        client.project()


@pytest.mark.parametrize("text", [b"[]", b"<html>", b'{"results":{}}', b"null"])
def test_an_answer_that_is_something_else_is_named(server: Scripted, client: MixpanelClient, text: bytes) -> None:
    server.answers = [answer(text)]
    with pytest.raises(mixpanel_errors.UnexpectedAnswer):
        client.projects()


def test_service_accounts_tell_their_expiry(server: Scripted, client: MixpanelClient) -> None:
    server.answers = [
        says(
            {
                "results": [
                    {"username": "a", "expires": "2026-12-01T00:00:00Z", "hasSensitiveAccess": True},
                    {"username": "b", "expires": None},
                    {"username": "c", "expires": "soon"},
                ]
            }
        )
    ]
    found = client.service_accounts()
    assert [account.expires for account in found] == [datetime.datetime(2026, 12, 1, tzinfo=datetime.UTC), None, None]
    assert [account.sensitive for account in found] == [True, None, None]


def test_daily_counts_come_by_name_and_day(server: Scripted, client: MixpanelClient) -> None:
    day = datetime.date(2026, 1, 10)
    server.answers = [says({"data": {"series": ["2026-01-10"], "values": {"Purchase": {"2026-01-10": 6}}}})]
    assert client.daily_counts(day, day, ["Purchase"]) == {"Purchase": {day: 6}}
    asked = server.query()
    assert (asked["event"], asked["unit"], asked["type"]) == ('["Purchase"]', "day", "general")


def test_many_names_are_asked_for_in_several_short_addresses(server: Scripted, client: MixpanelClient) -> None:
    day = datetime.date(2026, 1, 10)
    server.answers = [says({"data": {"values": {}}})]
    client.daily_counts(day, day, [f"検索 number {n}" for n in range(500)])
    assert len(server.requests) > 1
    assert max(len(request.split("\r\n")[0]) for request in server.requests) < 8_000
    assert sum(len(orjson.loads(server.query(n)["event"])) for n in range(len(server.requests))) == 500


def test_a_plan_without_the_query_api_is_named(server: Scripted, client: MixpanelClient) -> None:
    server.answers = [says({"error": "plan"}, "402 Payment Required")]
    with pytest.raises(mixpanel_errors.PlanLacksExport):
        client.daily_counts(datetime.date(2026, 1, 10), datetime.date(2026, 1, 10), ["x"])


def test_an_error_never_shows_the_query(server: Scripted, client: MixpanelClient) -> None:
    server.answers = [says({"error": "x"}, "500 Internal Server Error")]
    with pytest.raises(mixpanel_errors.ServerFault) as caught:
        client.daily_counts(datetime.date(2026, 1, 10), datetime.date(2026, 1, 10), ["private name"])
    assert "private" not in str(caught.value)
    assert "/api/query/events" in str(caught.value)


def test_a_429_pauses_what_shares_its_limit_and_nothing_else(server: Scripted, tmp_path: Path) -> None:
    server.answers = [answer(b"slow down", "429 Too Many Requests", headers={"Retry-After": "1000"})]
    given = source(server.url, budget_location=str(tmp_path / "budget"))
    date = datetime.date(2026, 1, 10)
    with MixpanelClient(given) as client:
        for ask in (client.projects, lambda: client.daily_counts(date, date, ["x"])):
            with pytest.raises(mixpanel_errors.RateLimited) as caught:
                ask()
            assert 1000 <= (caught.value.wait or 0) <= 1005
        with pytest.raises(mixpanel_errors.BudgetExhausted):
            client.daily_counts(date, date, ["x"])
        client.budget.acquire()


@pytest.mark.parametrize(
    ("given", "kind"),
    [
        (answer(b"<html>blocked</html>", "403 Forbidden"), mixpanel_errors.Blocked),
        (answer(b"", "407 Proxy Authentication Required"), mixpanel_errors.Blocked),
    ],
)
def test_a_zone_that_the_network_keeps_back_is_an_error_and_no_zone(
    server: Scripted, tmp_path: Path, given: bytes, kind: type[mixpanel_errors.MixpanelError]
) -> None:
    server.answers = [given]
    with pytest.raises(kind, match="With MIXPANEL_TIMEZONE set it is not asked"):
        project_zone(source(server.url, budget_location=str(tmp_path / "budget")))


def test_a_zone_that_the_account_may_not_see_is_none(server: Scripted, tmp_path: Path) -> None:
    server.answers = [says({"error": "no", "status": "error"}, "403 Forbidden")]
    assert project_zone(source(server.url, budget_location=str(tmp_path / "budget"))) is None


def test_the_other_region_is_named_only_if_it_has_the_project(
    server: Scripted, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mixpanel_aep_assets.mixpanel.client.API_HOSTS", {"US": "http://127.0.0.1:9", "EU": server.url})
    given = source(server.url, api_url=None, budget_location=str(tmp_path / "budget"))
    server.answers = [says({"results": {"projects": {"8": {}}}}), says({"results": ME})]
    with MixpanelClient(given) as client:
        assert client.other_region() is None
        assert client.other_region() == "EU"
