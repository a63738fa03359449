"""A connection: one Mixpanel project into one Platform dataset. Its settings, its secrets, and what they open.

The environment alone describes the connection `default` (the variables of `VARIABLES`, README "Settings"); a component's
YAML sets the same names in lower case for further ones. What belongs here: reading and checking settings, and building
the clients from them. What does not: what the clients do.
"""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError

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
    "start_date": "MIXPANEL_AEP_START_DATE",
    "storage": "MIXPANEL_AEP_STORAGE",
    "mapping": "MIXPANEL_AEP_MAPPING",
}
"""Setting -> environment variable (design section 5)."""

SECRET_VARIABLES: dict[str, str] = {
    "mixpanel_username": "MIXPANEL_USERNAME",
    "mixpanel_secret": "MIXPANEL_SECRET",
    "mixpanel_project_secret": "MIXPANEL_PROJECT_SECRET",
    "mixpanel_bearer_token": "MIXPANEL_BEARER_TOKEN",
    "adobe_client_id": "ADOBE_CLIENT_ID",
    "adobe_client_secret": "ADOBE_CLIENT_SECRET",
}
"""Secret -> the environment variable that holds it unless the YAML names another."""


class SettingsError(Exception):
    """A setting is missing or wrong; the text names the variable and what it should be."""

    retryable = False


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
    org_id: str | None = None
    scopes: str = "openid,session,AdobeID,read_organizations,additional_info.projectedProductContext"
    ims_url: str | None = None
    aep_url: str | None = None
    sandbox: str = "prod"
    dataset_id: str | None = None
    dataset_name: str = "Mixpanel events"
    profile: bool = False
    start_date: datetime.date | None = None
    storage: str = "./data"
    mapping: str | None = None
    partial_ingestion_percent: float | None = Field(None, gt=0, le=100)
    max_nonconforming_percent: float = Field(5.0, ge=0, le=100)

    @classmethod
    def read(cls, environment: Mapping[str, str], **given: Any) -> Settings:
        """The given values, and for those that are not given the environment's.

        Raises SettingsError naming each wrong variable.
        """
        values = {key: value for key, value in given.items() if value is not None}
        for key, variable in VARIABLES.items():
            text = environment.get(variable, "").strip()
            if key not in values and text:
                values[key] = text.upper() if key == "region" else text.lower() if key == "time_mode" else text
        if given.get("name", DEFAULT_NAME) != DEFAULT_NAME and given.get("project_id") is None:
            raise SettingsError(
                f"The connection {given['name']!r} has no project_id of its own: set `project_id` in its YAML "
                f"({VARIABLES['project_id']} describes the connection {DEFAULT_NAME!r} only)."
            )
        try:
            return cls(**values)
        except ValidationError as error:
            wrong = [
                f"{VARIABLES.get(str(e['loc'][0]), str(e['loc'][0]))}={e['input']!r}: {e['msg']}"
                for e in error.errors(include_url=False)
            ]
            raise SettingsError("; ".join(wrong)) from None

    def first_day(self, today: datetime.date) -> datetime.date:
        return self.start_date or today - datetime.timedelta(days=DEFAULT_DAYS_BACK)

    def require(self, *keys: str) -> None:
        """Raises SettingsError naming the variables of settings that are missing."""
        missing = [VARIABLES[key] for key in keys if getattr(self, key) is None]
        if missing:
            raise SettingsError(
                f"Not set: {', '.join(missing)} (connection {self.name!r}). Set the environment variable, or the same "
                "name in lower case without its prefix in the connection's YAML."
            )


class Secrets(BaseModel):
    """The credentials of a connection. Printing shows stars."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    mixpanel_username: SecretStr | None = None
    mixpanel_secret: SecretStr | None = None
    mixpanel_project_secret: SecretStr | None = None
    mixpanel_bearer_token: SecretStr | None = None
    adobe_client_id: SecretStr | None = None
    adobe_client_secret: SecretStr | None = None

    @classmethod
    def read(cls, environment: Mapping[str, str]) -> Secrets:
        found = {key: environment.get(variable) or None for key, variable in SECRET_VARIABLES.items()}
        return cls(**{key: SecretStr(value) for key, value in found.items() if value})
