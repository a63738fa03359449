"""The settings of a connection and its secrets, from YAML and the environment; the environment alone describes the
connection `default` (`VARIABLES`, README "Settings").

Precedence: what is given (the YAML block, `blocks`), then the environment, then the default.
"""

from __future__ import annotations

import datetime
import json
from collections.abc import Mapping
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError, field_validator

from mixpanel_aep_assets import credential_text
from mixpanel_aep_assets.errors import SettingsError
from mixpanel_aep_assets.mixpanel.privacy import PrivacySettings
from mixpanel_aep_assets.mixpanel.zones import zone

DEFAULT_NAME = "default"
DEFAULT_DAYS_BACK = 30

VARIABLES: dict[str, str] = {
    "project_id": "MIXPANEL_PROJECT_ID",
    "region": "MIXPANEL_REGION",
    "timezone": "MIXPANEL_TIMEZONE",
    "time_mode": "MIXPANEL_TIME_MODE",
    "export_url": "MIXPANEL_EXPORT_URL",
    "api_url": "MIXPANEL_API_URL",
    "org_id": "ADOBE_ORG_ID",
    "scopes": "ADOBE_SCOPES",
    "ims_url": "ADOBE_IMS_URL",
    "aep_url": "AEP_URL",
    "sandbox": "AEP_SANDBOX",
    "dataset_id": "AEP_DATASET_ID",
    "dataset_name": "AEP_DATASET_NAME",
    "schema_title": "MIXPANEL_AEP_SCHEMA_TITLE",
    "field_group_title": "MIXPANEL_AEP_FIELD_GROUP_TITLE",
    "start_date": "MIXPANEL_AEP_START_DATE",
    "budget_location": "MIXPANEL_AEP_BUDGET",
    "budget_share": "MIXPANEL_AEP_BUDGET_SHARE",
    "partial_ingestion_percent": "MIXPANEL_AEP_PARTIAL_INGESTION_PERCENT",
    "max_nonconforming_percent": "MIXPANEL_AEP_MAX_NONCONFORMING_PERCENT",
    "max_nonconforming_rows": "MIXPANEL_AEP_MAX_NONCONFORMING_ROWS",
    "storage": "MIXPANEL_AEP_STORAGE",
    "mapping": "MIXPANEL_AEP_MAPPING",
    "shrink_percent": "MIXPANEL_AEP_SHRINK_PERCENT",
    "shrink_floor": "MIXPANEL_AEP_SHRINK_FLOOR",
    "empty_floor": "MIXPANEL_AEP_EMPTY_FLOOR",
}
"""Setting -> environment variable (README, "Settings")."""

PRIVACY_VARIABLES: dict[str, str] = {
    "drop": "MIXPANEL_AEP_PRIVACY_DROP",
    "hash": "MIXPANEL_AEP_PRIVACY_HASH",
    "allow": "MIXPANEL_AEP_PRIVACY_ALLOW",
    "stage": "MIXPANEL_AEP_PRIVACY_STAGE",
}
"""Setting below `privacy` -> environment variable. The first three are names with commas between, or a JSON array."""

SECRET_VARIABLES: dict[str, str] = {
    "mixpanel_username": "MIXPANEL_USERNAME",
    "mixpanel_secret": "MIXPANEL_SECRET",
    "mixpanel_project_secret": "MIXPANEL_PROJECT_SECRET",
    "mixpanel_bearer_token": "MIXPANEL_BEARER_TOKEN",
    "adobe_client_id": "ADOBE_CLIENT_ID",
    "adobe_client_secret": "ADOBE_CLIENT_SECRET",
    "privacy_salt": "MIXPANEL_AEP_PRIVACY_SALT",
}
"""Secret -> the environment variable that holds it unless the YAML names another."""

WAYS_INTO_MIXPANEL = (
    ("mixpanel_username", "mixpanel_secret"),
    ("mixpanel_project_secret",),
    ("mixpanel_bearer_token",),
)
"""Service account, project secret, bearer token: the first that is there is used."""

IDS: dict[str, credential_text.CredentialKind] = {
    "project_id": "token",
    "org_id": "organisation",
    "scopes": "list",
    "sandbox": "token",
    "dataset_id": "token",
}
"""Settings that are ids: read by the rule of `credential_text`, as the secrets are."""


class Settings(BaseModel):
    """What describes a connection and is no secret."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(DEFAULT_NAME, pattern=r"^[A-Za-z][A-Za-z0-9_]{0,62}$")
    project_id: int | None = None
    region: Literal["US", "EU", "IN"] = "US"
    timezone: str | None = None
    time_mode: Literal["auto", "utc", "project"] = "auto"
    export_url: str | None = None
    api_url: str | None = None
    events: tuple[str, ...] = ()
    where: str | None = None
    budget_share: float = Field(0.9, gt=0, le=1)
    budget_location: str | None = None
    window_megabytes: int = Field(1_000, gt=0)
    window_days: int = Field(31, ge=1, le=31)
    org_id: str | None = None
    scopes: str = "openid,session,AdobeID,read_organizations,additional_info.projectedProductContext"
    ims_url: str | None = None
    aep_url: str | None = None
    sandbox: str = "prod"
    dataset_id: str | None = None
    dataset_name: str = "Mixpanel events"
    schema_title: str | None = Field(None, min_length=1)
    field_group_title: str | None = Field(None, min_length=1)
    profile: bool = False
    start_date: datetime.date | None = None
    storage: str = "./data"
    mapping: str | None = None
    partial_ingestion_percent: float | None = Field(None, gt=0, le=100)
    max_nonconforming_percent: float = Field(5.0, ge=0, le=100)
    shrink_percent: float = Field(20.0, gt=0, le=100)
    shrink_floor: int = Field(5, ge=1)
    empty_floor: int = Field(1_000, ge=1)
    max_nonconforming_rows: int = Field(20, ge=0)
    privacy: PrivacySettings = PrivacySettings()

    @field_validator(*IDS, mode="before")
    @classmethod
    def _trimmed(cls, value: Any) -> Any:
        return credential_text.trimmed(value) or None if isinstance(value, str) else value

    @classmethod
    def read(cls, environment: Mapping[str, str], **given: Any) -> Settings:
        """The given values, and for those that are not given the environment's.

        Raises SettingsError naming each wrong variable.
        """
        values = {key: value for key, value in given.items() if value is not None}
        for key, variable in VARIABLES.items():
            text = environment.get(variable, "").strip()
            text = credential_text.trimmed(text) if key in IDS else text
            if key not in values and text:
                values[key] = text.upper() if key == "region" else text.lower() if key == "time_mode" else text
        values["privacy"] = _privacy(environment, values.get("privacy") or {})
        if given.get("name", DEFAULT_NAME) != DEFAULT_NAME and given.get("project_id") is None:
            raise SettingsError(
                f"The connection {given['name']!r} has no project_id of its own: set `project_id` in its YAML "
                f"({VARIABLES['project_id']} describes the connection {DEFAULT_NAME!r} only)."
            )
        try:
            return cls(**values)
        except ValidationError as error:
            wrong = [
                f"{VARIABLES.get(str(e['loc'][0]), str(e['loc'][0]))}={e['input']!r}: {e['msg'].removeprefix('Value error, ')}"
                for e in error.errors(include_url=False)
            ]
            raise SettingsError("; ".join(wrong)) from None

    @property
    def zone(self) -> str:
        """IANA name of the project's zone; UTC while it is not set."""
        return zone(self.timezone).key if self.timezone else "UTC"

    def first_day(self, today: datetime.date) -> datetime.date:
        """The first partition as it would be for a connection that is seen for the first time."""
        return self.start_date or today - datetime.timedelta(days=DEFAULT_DAYS_BACK)

    def require(self, *keys: str) -> None:
        """Raises SettingsError naming the variables of settings that are missing."""
        missing = [VARIABLES[key] for key in keys if getattr(self, key) is None]
        if missing:
            raise SettingsError(
                f"Not set: {', '.join(missing)} (connection {self.name!r}). Set the environment variable, or the same "
                "name in lower case without its prefix in the connection's YAML."
            )


def _privacy(environment: Mapping[str, str], given: Mapping[str, Any]) -> dict[str, Any]:
    """The privacy settings: given ones, and the environment's for those that are not given."""
    values = {key: value for key, value in given.items() if value is not None}
    for key, variable in PRIVACY_VARIABLES.items():
        text = environment.get(variable, "").strip()
        if key in values or not text:
            continue
        if key == "stage":
            values[key] = text.lower()
        else:
            names = _json_array(variable, text) if text.startswith("[") else text.split(",")
            values[key] = tuple(name.strip() for name in names if name.strip())
    return values


def _json_array(variable: str, text: str) -> list[str]:
    try:
        names = json.loads(text)
    except json.JSONDecodeError as error:
        raise SettingsError(f"{variable} begins like a JSON array and is none: {error}") from None
    return [str(name) for name in names]


class Secrets(BaseModel):
    """The credentials of a connection. Printing shows stars."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    mixpanel_username: SecretStr | None = None
    mixpanel_secret: SecretStr | None = None
    mixpanel_project_secret: SecretStr | None = None
    mixpanel_bearer_token: SecretStr | None = None
    adobe_client_id: SecretStr | None = None
    adobe_client_secret: SecretStr | None = None
    privacy_salt: SecretStr | None = None

    @classmethod
    def read(cls, environment: Mapping[str, str], variables: Mapping[str, str] = SECRET_VARIABLES) -> Secrets:
        """What the variables hold; one that is not set is a secret that is missing."""
        found = {key: environment.get(variable) or None for key, variable in variables.items()}
        return cls(**{key: SecretStr(value) for key, value in found.items() if value})
