"""Where a project's events are, who asks for them, and which: the settings of this room, checked when they are made.

What belongs here: hosts, credentials, zone names. What does not: reading the environment (`connection`).
"""

from __future__ import annotations

import base64
import hashlib
from dataclasses import dataclass, field
from functools import cached_property
from typing import Literal, get_args

import httpx
from pydantic import SecretStr

from mixpanel_aep_assets import network
from mixpanel_aep_assets.mixpanel.mixpanel_errors import SettingsWrong
from mixpanel_aep_assets.mixpanel.privacy import Privacy
from mixpanel_aep_assets.mixpanel.zones import zone

Region = Literal["US", "EU", "IN"]
Mode = Literal["auto", "utc", "project"]

EXPORT_HOSTS: dict[Region, str] = {
    "US": "https://data.mixpanel.com",
    "EU": "https://data-eu.mixpanel.com",
    "IN": "https://data-in.mixpanel.com",
}
API_HOSTS: dict[Region, str] = {
    "US": "https://mixpanel.com",
    "EU": "https://eu.mixpanel.com",
    "IN": "https://in.mixpanel.com",
}
"""Section 1. Residency is chosen when a project is made and never changes."""

REQUESTS_AN_HOUR = 60
"""Of all who export from the project together (mixpanel.md#limits)."""


@dataclass(frozen=True)
class Credentials:
    """One of the three ways in (mixpanel.md#authentication). Printing shows no secret."""

    username: str | None = None
    secret: SecretStr | None = field(default=None, repr=False)
    project_secret: SecretStr | None = field(default=None, repr=False)
    bearer_token: SecretStr | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        ways = [self.username is not None or self.secret is not None, self.project_secret, self.bearer_token]
        if sum(map(bool, ways)) != 1:
            raise SettingsWrong(
                "Exactly one kind of Mixpanel credentials must be set",
                fix="Set MIXPANEL_USERNAME and MIXPANEL_SECRET (service account), or MIXPANEL_PROJECT_SECRET, or "
                "MIXPANEL_BEARER_TOKEN.",
            )
        if (self.username is None) != (self.secret is None):
            missing = "MIXPANEL_USERNAME" if self.username is None else "MIXPANEL_SECRET"
            raise SettingsWrong("A service account needs a name and a secret", fix=f"Set {missing}.")

    @property
    def kind(self) -> Literal["service account", "project secret", "bearer token"]:
        if self.username is not None:
            return "service account"
        return "project secret" if self.project_secret is not None else "bearer token"

    def secrets(self) -> tuple[str, ...]:
        """What no text may hold: the secrets, and the forms in which they travel."""
        plain = (self.secret, self.project_secret, self.bearer_token)
        return (self.header().partition(" ")[2], *(one.get_secret_value() for one in plain if one is not None))

    def header(self) -> str:
        """The value of `Authorization`."""
        if self.bearer_token is not None:
            return f"Bearer {self.bearer_token.get_secret_value()}"
        if self.project_secret is not None:
            pair = f"{self.project_secret.get_secret_value()}:"
        else:
            secret = self.secret.get_secret_value() if self.secret is not None else ""
            pair = f"{self.username}:{secret}"
        return "Basic " + base64.b64encode(pair.encode()).decode()


@dataclass(frozen=True)
class MixpanelSource:
    """A project, and what to export from it.

    `timezone` is the project's zone (IANA or Windows name; None: ask `/me`), `events` the event names to export (none:
    all), `where` an expression of mixpanel.md#expressions, `budget_share` the part of the 60 requests an hour that is ours.
    `budget_location` names where the budget is kept (see `budget`), None for a file in the user's cache folder.
    `privacy` are the rules that lines go through before anything of them is stored.
    """

    credentials: Credentials
    project_id: int | None = None
    region: Region = "US"
    export_url: str | None = None
    api_url: str | None = None
    timezone: str | None = None
    time_mode: Mode = "auto"
    events: tuple[str, ...] = ()
    where: str | None = None
    budget_share: float = 0.9
    budget_location: str | None = None
    read_timeout: float = 600.0
    privacy: Privacy | None = None

    def __post_init__(self) -> None:
        if self.region not in EXPORT_HOSTS:
            raise SettingsWrong(f"MIXPANEL_REGION={self.region!r} is none of {', '.join(EXPORT_HOSTS)}")
        if self.time_mode not in get_args(Mode):
            raise SettingsWrong(f"MIXPANEL_TIME_MODE={self.time_mode!r} is none of {', '.join(get_args(Mode))}")
        if self.project_id is None and self.credentials.kind != "project secret":
            raise SettingsWrong(
                f"A {self.credentials.kind} may see many projects",
                fix="Set MIXPANEL_PROJECT_ID (Mixpanel: Project Settings, Overview).",
            )
        if self.timezone is not None:
            zone(self.timezone)
        if not 0 < self.budget_share <= 1:
            raise SettingsWrong(f"The budget share {self.budget_share} is not above 0 and at most 1")
        for name, url in (("MIXPANEL_EXPORT_URL", self.export_url), ("MIXPANEL_API_URL", self.api_url)):
            if url is not None and (problem := network.url_problem(url)):
                fix = "It should look like https://data.mixpanel.com"
                raise SettingsWrong(f"{name}={network.shown(url)!r} {problem}", fix=fix)

    @cached_property
    def export_base(self) -> httpx.URL:
        return httpx.URL((self.export_url or EXPORT_HOSTS[self.region]).rstrip("/"))

    @cached_property
    def api_base(self) -> httpx.URL:
        return httpx.URL((self.api_url or API_HOSTS[self.region]).rstrip("/"))

    @property
    def budget_key(self) -> str:
        """Names the counter of export requests: one for each project, whatever the account."""
        return f"{self.export_base.host}:{self.export_base.port or ''}/{self._project}"

    @property
    def project_name(self) -> str:
        """Tells projects apart wherever they are asked: region and id; a hash where only a project secret names it."""
        return f"{self.region}/{self._project}"

    @property
    def _project(self) -> str:
        if self.project_id is None and self.credentials.project_secret is not None:
            secret = self.credentials.project_secret.get_secret_value()
            return hashlib.blake2b(secret.encode(), digest_size=8, person=b"mixpanel-aep").hexdigest()
        return str(self.project_id)
