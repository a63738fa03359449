"""Settings from the environment and from YAML, and what is said when one is missing or wrong."""

from __future__ import annotations

import datetime

import pytest
from pydantic import SecretStr

from mixpanel_aep_assets.connection import VARIABLES, Connection, Secrets, Settings
from mixpanel_aep_assets.errors import SettingsError


def test_every_variable_of_the_environment_reaches_its_setting() -> None:
    values = {
        "MIXPANEL_PROJECT_ID": "12345",
        "MIXPANEL_REGION": "eu",
        "MIXPANEL_TIMEZONE": "Pacific Standard Time",
        "MIXPANEL_TIME_MODE": "Project",
        "MIXPANEL_EXPORT_URL": "http://127.0.0.1:1",
        "MIXPANEL_API_URL": "http://127.0.0.1:2",
        "ADOBE_ORG_ID": "X@AdobeOrg",
        "ADOBE_SCOPES": "openid",
        "ADOBE_IMS_URL": "http://127.0.0.1:3",
        "AEP_URL": "http://127.0.0.1:4",
        "AEP_SANDBOX": "dev",
        "AEP_DATASET_ID": "5f",
        "AEP_DATASET_NAME": "Shop",
        "MIXPANEL_AEP_SCHEMA_TITLE": "Shop events",
        "MIXPANEL_AEP_FIELD_GROUP_TITLE": "Shop event details",
        "MIXPANEL_AEP_START_DATE": "2026-01-31",
        "MIXPANEL_AEP_BUDGET": "/tmp/budget",
        "MIXPANEL_AEP_BUDGET_SHARE": "0.5",
        "MIXPANEL_AEP_PARTIAL_INGESTION_PERCENT": "2.5",
        "MIXPANEL_AEP_MAX_NONCONFORMING_PERCENT": "0.5",
        "MIXPANEL_AEP_MAX_NONCONFORMING_ROWS": "7",
        "MIXPANEL_AEP_STORAGE": "s3://bucket/x",
        "MIXPANEL_AEP_MAPPING": "m.json",
        "MIXPANEL_AEP_SHRINK_PERCENT": "7.5",
        "MIXPANEL_AEP_SHRINK_FLOOR": "50",
        "MIXPANEL_AEP_EMPTY_FLOOR": "20",
    }
    assert set(values) == set(VARIABLES.values())
    settings = Settings.read(values)
    assert (settings.project_id, settings.region, settings.time_mode) == (12345, "EU", "project")
    assert settings.zone == "America/Los_Angeles"
    assert settings.start_date == datetime.date(2026, 1, 31)
    assert (settings.budget_share, settings.partial_ingestion_percent) == (0.5, 2.5)
    assert (settings.schema_title, settings.field_group_title) == ("Shop events", "Shop event details")
    assert (settings.max_nonconforming_percent, settings.max_nonconforming_rows) == (0.5, 7)
    assert (settings.storage, settings.mapping, settings.dataset_id) == ("s3://bucket/x", "m.json", "5f")
    assert (settings.shrink_percent, settings.shrink_floor, settings.empty_floor) == (7.5, 50, 20)


def test_given_values_win_over_the_environment() -> None:
    assert Settings.read({"MIXPANEL_REGION": "EU"}, region="IN").region == "IN"


def test_a_wrong_value_names_its_variable() -> None:
    with pytest.raises(SettingsError, match="MIXPANEL_REGION='MARS'"):
        Settings.read({"MIXPANEL_REGION": "mars"})


def test_a_further_connection_must_name_its_own_project() -> None:
    with pytest.raises(SettingsError, match="'shop' has no project_id"):
        Settings.read({"MIXPANEL_PROJECT_ID": "1"}, name="shop")


def test_missing_platform_settings_are_named() -> None:
    with Connection(Settings(), Secrets()) as opened, pytest.raises(SettingsError, match="ADOBE_ORG_ID"):
        _ = opened.platform
    with Connection(Settings(org_id="X@AdobeOrg"), Secrets()) as opened:
        with pytest.raises(SettingsError, match="ADOBE_CLIENT_ID, ADOBE_CLIENT_SECRET"):
            _ = opened.platform


def test_no_secret_shows_in_any_text() -> None:
    secrets = Secrets(mixpanel_secret=SecretStr("hunter2"), adobe_client_secret=SecretStr("hunter2"))
    opened = Connection(Settings(), secrets)
    assert "hunter2" not in repr(secrets) + str(secrets) + repr(opened)
