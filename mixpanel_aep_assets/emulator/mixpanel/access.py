"""The checks in front of every Mixpanel route, in the order of mixpanel.md#emulator: region, limits, credentials,
project and membership, plan."""

from __future__ import annotations

import math
from typing import Any

from starlette.responses import JSONResponse, PlainTextResponse, Response

from mixpanel_aep_assets.emulator.faults import pick
from mixpanel_aep_assets.emulator.http import Call, Refusal
from mixpanel_aep_assets.emulator.mixpanel.accounts import HOSTS, Caller, Unauthenticated
from mixpanel_aep_assets.emulator.store import Document

HOUR, SECOND = 3600.0, 1.0
NO_EXPORT = "Your plan does not support raw data export. Visit mixpanel.com/pricing to upgrade."


class EmptyRegion(Exception):
    """The project lives in another region, and the emulator is set to answer with an empty body then."""


def error(call: Call, status: int, text: str, headers: dict[str, str] | None = None) -> Response:
    """An error of the export and Query APIs: plain text, or JSON with the request's path, as the settings want it."""
    if call.world.settings.error_format == "json":
        request = call.request.url.path + (f"?{call.request.url.query}" if call.request.url.query else "")
        return JSONResponse({"request": request, "error": text}, status, headers)
    return PlainTextResponse(text, status, headers)


def app_error(status: int, text: str) -> Response:
    """An error of the App API."""
    return JSONResponse({"error": text, "status": "error"}, status)


def region(call: Call) -> str | None:
    """The region that the caller reached: by Host header, else the one that the settings name."""
    host = (call.header("host") or "").partition(":")[0]
    return HOSTS.get(host) or call.world.settings.region


def caller(call: Call) -> Caller:
    """Who calls. Refuses with 400, as export and Query do."""
    try:
        if pick(call.faults, "auth400", "expired"):
            raise Unauthenticated("by fault")
        return call.world.accounts.caller(call.header("authorization"), call.world.clock.utc())
    except Unauthenticated:
        raise Refusal(error(call, 400, "Unable to authenticate request")) from None


def limits(call: Call, api: str) -> None:
    """Enter the request into its project's windows; refuse with 429 when one is full."""
    world, settings = call.world, call.world.settings
    account = f"{api}:{_project_of(call)}"
    per_hour = settings.export_per_hour if api == "export" else settings.query_per_hour
    per_second = settings.export_per_second if api == "export" else None
    concurrent = settings.export_concurrent if api == "export" else settings.query_concurrent
    now = world.clock.now()
    second = world.windows.enter(account, now, SECOND, per_second)
    hour = world.windows.enter(account, now, HOUR, per_hour)
    running = world.windows.running[account]
    if concurrent is not None and running >= concurrent:
        text = (
            "too many export requests in progress for this project" if api == "export" else _limit_text(call, running)
        )
        raise Refusal(_too_many(call, text, 1))
    if second is not None:
        raise Refusal(_too_many(call, "Project exceeded rate limits. Please retry with exponential backoff.", second))
    if hour is not None:
        raise Refusal(_too_many(call, _limit_text(call, running), hour))


def account(call: Call, api: str) -> str:
    """The name under which the request's project is counted as running."""
    return f"{api}:{_project_of(call)}"


def _project_of(call: Call) -> str:
    if named := call.query.get("project_id"):
        return named
    try:
        who = call.world.accounts.caller(call.header("authorization"), call.world.clock.utc())
    except Unauthenticated:
        return "unknown"
    return str(who.project or "unknown")


def _limit_text(call: Call, running: int) -> str:
    return (
        f"Query rate limit exceeded for project_id: {_project_of(call)}. {running}/100 queries running concurrently and "
        "61/60 queries running in the last hour. For more information, please consult our documentation at "
        "https://help.mixpanel.com/"
    )


def _too_many(call: Call, text: str, seconds: float) -> Response:
    headers = {"retry-after": str(math.ceil(seconds))} if call.world.settings.retry_after == "seconds" else None
    return error(call, 429, text, headers)


def project(call: Call, who: Caller, plan: str) -> Document:
    """The project that is asked for, after membership, region and plan. Refuses; or raises `EmptyRegion`."""
    named = call.query.get("project_id")
    if who.way == "project_secret":
        number = str(who.project)
    elif not named:
        raise Refusal(error(call, call.world.settings.missing_project_status, "project_id is a required parameter"))
    else:
        number = named
    found: Document | None = call.world.accounts.project(number)
    if found is None or number not in who.projects:
        raise Refusal(app_error(403, "You are not a member of this project"))
    here = region(call)
    if here is not None and here != found["region"]:
        if call.world.settings.wrong_region == "empty":
            raise EmptyRegion
        if call.world.settings.wrong_region == "cluster":
            raise Refusal(_cluster(call))
        raise Refusal(app_error(401, "Invalid credentials"))
    if not found["plan"].get(plan, True):
        text = NO_EXPORT if plan == "export" else "Your plan does not allow API calls. Upgrade at mixpanel.com/pricing"
        raise Refusal(_payment(call, text))
    return found


def _cluster(call: Call) -> Response:
    """JSON whatever `error_format` says, as it was seen."""
    request = call.request.url.path + (f"?{call.request.url.query}" if call.request.url.query else "")
    return JSONResponse(
        {"request": request, "error": "request failed with error: invalid project id for cluster."}, 400
    )


def _payment(call: Call, text: str) -> Response:
    body: dict[str, Any] = {"error": text, "request": call.request.url.path}
    return JSONResponse(body, 402)
