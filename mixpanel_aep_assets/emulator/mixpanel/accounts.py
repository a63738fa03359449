"""Projects, service accounts and tokens, and who may read what (mixpanel.md#hosts and mixpanel.md#authentication)."""

from __future__ import annotations

import base64
import binascii
import datetime
from dataclasses import dataclass
from typing import Any
from zoneinfo import ZoneInfo

from mixpanel_aep_assets.emulator.store import Document, Store

ORGANIZATION_ID = 55
DEFAULT_PROJECT: Document = {
    "id": 12345, "name": "Demo shop", "region": "US", "secret": "demo-project-secret", "token": "demo-project-token",
    "timezone": "UTC", "mode": "utc", "created": "2024-02-01", "organization_id": ORGANIZATION_ID,
    "plan": {"export": True, "query": True}, "classified": [], "merges": {},
}  # fmt: skip
DEFAULT_ACCOUNT: Document = {
    "id": 1, "username": "demo.abc123.mp-service-account", "secret": "demo-secret", "expires": None,
    "projects": {"12345": "analyst"}, "sensitive": True, "user_details": True, "created": "2026-01-02T03:04:05Z",
}  # fmt: skip
DEFAULT_BEARER: Document = {"token": "demo-bearer-token", "projects": {"12345": "analyst"}, "sensitive": True}
HOSTS = {
    "mixpanel.com": "US", "data.mixpanel.com": "US", "api.mixpanel.com": "US",
    "eu.mixpanel.com": "EU", "data-eu.mixpanel.com": "EU", "api-eu.mixpanel.com": "EU",
    "in.mixpanel.com": "IN", "data-in.mixpanel.com": "IN", "api-in.mixpanel.com": "IN",
}  # fmt: skip
DOMAINS = {"US": "mixpanel.com", "EU": "eu.mixpanel.com", "IN": "in.mixpanel.com"}


class Unauthenticated(Exception):
    """The credentials are missing, unknown or expired; the text says which, for the emulator's own log."""


@dataclass(frozen=True)
class Caller:
    """Who calls: by which way, and the projects that are open to them with their role there."""

    way: str
    projects: dict[str, str]
    sensitive: bool = True
    user_details: bool = True
    name: str = ""
    project: int | None = None
    """The project that a project secret stands for."""


class Accounts:
    """Projects, service accounts and bearer tokens. Makes the default ones in an empty memory."""

    def __init__(self, store: Store) -> None:
        self.projects = store.collection("mixpanel.project")
        self.accounts = store.collection("mixpanel.account")
        self.bearers = store.collection("mixpanel.bearer")
        if not self.projects.values():
            self.put_project({})
            self.put_account({})
            self.put_bearer({})

    def project(self, number: int | str) -> Document | None:
        """The project of that id."""
        return self.projects.get(str(number))

    def put_project(self, changes: dict[str, Any]) -> Document:
        """Make a project, or change the named members of an existing one. ValueError for a zone that does not exist."""
        number = int(changes.get("id") or DEFAULT_PROJECT["id"])
        base = self.project(number) or {
            **DEFAULT_PROJECT,
            "secret": DEFAULT_PROJECT["secret"] if number == DEFAULT_PROJECT["id"] else f"project-secret-{number}",
            "token": f"project-token-{number}",
        }
        project = {**base, **changes, "id": number}
        if project["mode"] not in ("utc", "legacy"):
            raise ValueError("a project's mode is utc or legacy")
        zone(project["timezone"])
        self.projects.put(str(number), project)
        return project

    def put_account(self, changes: dict[str, Any]) -> Document:
        """Make a service account, or change the named members of an existing one."""
        name = str(changes.get("username") or DEFAULT_ACCOUNT["username"])
        base = self.accounts.get(name) or {**DEFAULT_ACCOUNT, "id": len(self.accounts) + 1}
        account = {**base, **changes, "username": name}
        account["projects"] = {str(number): role for number, role in account["projects"].items()}
        self.accounts.put(name, account)
        return account

    def put_bearer(self, changes: dict[str, Any]) -> Document:
        """Make a bearer token."""
        bearer = {**DEFAULT_BEARER, **changes}
        bearer["projects"] = {str(number): role for number, role in bearer["projects"].items()}
        self.bearers.put(bearer["token"], bearer)
        return bearer

    def caller(self, authorization: str | None, now: datetime.datetime) -> Caller:
        """Who sent this Authorization header. Raises `Unauthenticated`."""
        if not authorization:
            raise Unauthenticated("no Authorization header")
        scheme, _, value = authorization.partition(" ")
        if scheme.lower() == "bearer":
            if (bearer := self.bearers.get(value.strip())) is None:
                raise Unauthenticated("unknown bearer token")
            return Caller("bearer", bearer["projects"], bearer["sensitive"], name="bearer")
        if scheme.lower() != "basic":
            raise Unauthenticated("neither Basic nor Bearer")
        user, _, secret = _basic(value.strip()).partition(":")
        if account := self.accounts.get(user):
            if account["secret"] != secret:
                raise Unauthenticated("wrong secret")
            if account["expires"] and datetime.datetime.fromisoformat(account["expires"]) <= now:
                raise Unauthenticated("expired")
            return Caller(
                "service_account",
                account["projects"],
                account["sensitive"],
                account["user_details"],
                account["username"],
            )
        for project in self.projects.values():
            if secret == "" and user == project["secret"]:
                number = project["id"]
                return Caller("project_secret", {str(number): "admin"}, name="project secret", project=number)
        raise Unauthenticated("unknown credentials")


def _basic(value: str) -> str:
    """The pair behind `Basic `; Mixpanel takes it base64-encoded or in plain text."""
    if ":" in value:
        return value
    try:
        return base64.b64decode(value, validate=True).decode()
    except (binascii.Error, UnicodeDecodeError):
        raise Unauthenticated("not base64") from None


def zone(name: str) -> ZoneInfo:
    """The zone of an IANA name. ValueError if there is none."""
    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError):
        raise ValueError(f"no such time zone: {name}") from None


def today(project: Document, now: datetime.datetime) -> datetime.date:
    """The day that has begun in the zone of the project's time mode."""
    return now.astimezone(zone(project["timezone"]) if project["mode"] == "legacy" else datetime.UTC).date()
