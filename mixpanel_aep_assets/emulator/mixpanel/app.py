"""The App API: `/me`, service accounts, Lexicon schemas (mixpanel.md#self-checks and mixpanel.md#lexicon)."""

from __future__ import annotations

from typing import Any

from starlette.responses import Response
from starlette.routing import Route

from mixpanel_aep_assets.emulator.faults import pick
from mixpanel_aep_assets.emulator.http import Call, Refusal, endpoint, reply
from mixpanel_aep_assets.emulator.mixpanel.access import app_error, region
from mixpanel_aep_assets.emulator.mixpanel.accounts import DOMAINS, Caller, Unauthenticated
from mixpanel_aep_assets.emulator.store import Document

PATH = "/api/app"


def me(call: Call) -> Response:
    """Who the caller is, with the projects that are open to them and these projects' zones."""
    who = _caller(call)
    if not who.user_details:
        raise Refusal(app_error(403, "Missing required scope: user_details"))
    here = region(call)
    projects = {
        number: _project(project, role)
        for number, role in who.projects.items()
        if (project := call.world.accounts.project(number)) and here in (None, project["region"])
    }
    if here is not None and not projects:
        raise Refusal(app_error(401, "Invalid credentials"))
    organizations = sorted({project["organization_id"] for project in projects.values()})
    results: dict[str, Any] = {
        "user_id": 123,
        "user_email": who.name,
        "organizations": {str(number): {"id": number, "name": "Demo", "role": "admin"} for number in organizations},
        "projects": projects,
        "workspaces": {},
    }
    return reply({"status": "ok", "results": results})


def organization_accounts(call: Call) -> Response:
    """The organisation's service accounts, with their date of expiry."""
    _caller(call)
    return reply({"status": "ok", "results": [_account(account) for account in call.world.accounts.accounts.values()]})


def organization_account(call: Call) -> Response:
    """One service account by its number."""
    _caller(call)
    for account in call.world.accounts.accounts.values():
        if str(account["id"]) == call.path("account"):
            return reply({"status": "ok", "results": _account(account)})
    raise Refusal(app_error(404, "Service account not found"))


def project_accounts(call: Call) -> Response:
    """The project's service accounts, with their role and whether they see classified data."""
    who, number = _caller(call), call.path("project")
    _member(who, number)
    members = [
        _account(account)
        | {"hasSensitiveAccess": account["sensitive"], "role": account["projects"][number], "target_type": "individual"}
        for account in call.world.accounts.accounts.values()
        if number in account["projects"]
    ]
    return reply({"status": "ok", "results": members})


def lexicon(call: Call) -> Response:
    """The declared schemas, of one kind where the path names it: those that the project was seeded with."""
    who, number = _caller(call), call.path("project")
    _member(who, number)
    project = call.world.accounts.project(number) or {}
    kind = call.request.path_params.get("kind")
    found = [one for one in project.get("lexicon", []) if kind in (None, one.get("entityType", "event"))]
    return reply({"status": "ok", "results": found})


def _caller(call: Call) -> Caller:
    try:
        if pick(call.faults, "auth400", "expired"):
            raise Unauthenticated("by fault")
        return call.world.accounts.caller(call.header("authorization"), call.world.clock.utc())
    except Unauthenticated:
        raise Refusal(app_error(401, "Invalid service account credentials")) from None


def _member(who: Caller, number: str) -> None:
    if number not in who.projects:
        raise Refusal(app_error(403, "You are not a member of this project"))


def _project(project: Document, role: str) -> dict[str, Any]:
    return {
        "id": project["id"], "name": project["name"], "domain": DOMAINS[project["region"]],
        "organization_id": project["organization_id"], "timezone": project["timezone"], "type": "PROJECT",
        "has_workspaces": False, "role": {"id": 1, "name": role}, "permissions": ["raw_data_export"],
    }  # fmt: skip


def _account(account: Document) -> dict[str, Any]:
    return {
        "id": account["id"], "username": account["username"], "last_used": None, "expires": account["expires"],
        "creator": 123, "created": account["created"], "user": 1000 + int(account["id"]),
    }  # fmt: skip


ROUTES = [
    Route(f"{PATH}/me", endpoint(me)),
    Route(f"{PATH}/organizations/{{organization}}/service-accounts", endpoint(organization_accounts)),
    Route(f"{PATH}/organizations/{{organization}}/service-accounts/{{account}}", endpoint(organization_account)),
    Route(f"{PATH}/projects/{{project}}/service-accounts", endpoint(project_accounts)),
    Route(f"{PATH}/projects/{{project}}/schemas", endpoint(lexicon)),
    Route(f"{PATH}/projects/{{project}}/schemas/{{kind}}", endpoint(lexicon)),
]
