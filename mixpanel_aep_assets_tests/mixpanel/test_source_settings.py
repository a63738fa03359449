"""Settings of the room: regions, credentials, zone names."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import SecretStr

from mixpanel_aep_assets.mixpanel.microsoft_time_zones import WINDOWS_ZONES
from mixpanel_aep_assets.mixpanel.mixpanel_errors import SettingsWrong
from mixpanel_aep_assets.mixpanel.source_settings import Credentials, MixpanelSource, Region
from mixpanel_aep_assets.mixpanel.zones import zone

ACCOUNT = Credentials("svc", SecretStr("pa:ss"))


@pytest.mark.parametrize(
    ("region", "export", "api"),
    [
        ("US", "https://data.mixpanel.com", "https://mixpanel.com"),
        ("EU", "https://data-eu.mixpanel.com", "https://eu.mixpanel.com"),
        ("IN", "https://data-in.mixpanel.com", "https://in.mixpanel.com"),
    ],
)
def test_every_region_has_its_hosts__airbyte_tap_and_fivetran_lack_india(region: Region, export: str, api: str) -> None:
    source = MixpanelSource(ACCOUNT, project_id=1, region=region)
    assert (str(source.export_base), str(source.api_base)) == (export, api)


def test_a_base_url_may_end_in_a_slash() -> None:
    assert str(MixpanelSource(ACCOUNT, project_id=1, export_url="http://x:1/").export_base) == "http://x:1"


@pytest.mark.parametrize(
    ("credentials", "header"),
    [
        (ACCOUNT, "Basic c3ZjOnBhOnNz"),
        (Credentials(project_secret=SecretStr("secret")), "Basic c2VjcmV0Og=="),
        (Credentials(bearer_token=SecretStr("tok")), "Bearer tok"),
    ],
)
def test_the_three_ways_in(credentials: Credentials, header: str) -> None:
    assert credentials.header() == header


@pytest.mark.parametrize(
    "given",
    [
        {},
        {"username": "u"},
        {"secret": SecretStr("s")},
        {"username": "u", "secret": SecretStr("s"), "bearer_token": SecretStr("t")},
    ],
)
def test_credentials_that_are_none_or_several_are_refused_by_name(given: dict[str, Any]) -> None:
    with pytest.raises(SettingsWrong, match="MIXPANEL_"):
        Credentials(**given)


@pytest.mark.parametrize(
    "given",
    [
        {"project_id": None},
        {"region": "UK"},
        {"time_mode": "local"},
        {"timezone": "Mars/Olympus"},
        {"budget_share": 0.0},
        {"budget_share": 1.5},
        {"export_url": "data.mixpanel.com"},
    ],
)
def test_a_wrong_setting_is_named(given: dict[str, Any]) -> None:
    with pytest.raises(SettingsWrong) as caught:
        MixpanelSource(**{"credentials": ACCOUNT, "project_id": 1, **given})
    assert "MIXPANEL_" in str(caught.value) or "share" in str(caught.value)


def test_a_project_secret_needs_no_project_id() -> None:
    source = MixpanelSource(Credentials(project_secret=SecretStr("very-secret")))
    assert "very-secret" not in source.budget_key


def test_projects_and_regions_have_budgets_of_their_own_whatever_the_account() -> None:
    other = Credentials("another", SecretStr("x"))
    keys = [
        MixpanelSource(ACCOUNT, project_id=1).budget_key,
        MixpanelSource(ACCOUNT, project_id=2).budget_key,
        MixpanelSource(ACCOUNT, project_id=1, region="EU").budget_key,
    ]
    assert len(set(keys)) == 3
    assert MixpanelSource(other, project_id=1).budget_key == keys[0]


def test_no_representation_shows_a_secret() -> None:
    for credentials in (
        Credentials("svc", SecretStr("hunter2")),
        Credentials(project_secret=SecretStr("hunter2")),
        Credentials(bearer_token=SecretStr("hunter2")),
    ):
        source = MixpanelSource(credentials, project_id=1)
        assert "hunter2" not in f"{credentials!r} {credentials} {source!r} {source}"


@pytest.mark.parametrize("name", WINDOWS_ZONES)
def test_every_windows_name_is_a_zone_of_this_machine(name: str) -> None:
    assert zone(name).key == WINDOWS_ZONES[name]


@pytest.mark.parametrize(
    ("name", "key"),
    [
        ("pacific standard time", "America/Los_Angeles"),
        (" US/Pacific ", "US/Pacific"),
        ("UTC", "Etc/UTC"),
        ("Asia/Kolkata", "Asia/Kolkata"),
    ],
)
def test_a_zone_may_be_spelled_both_ways(name: str, key: str) -> None:
    assert zone(name).key == key
