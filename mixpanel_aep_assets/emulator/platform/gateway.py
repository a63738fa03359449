"""What stands in front of every Platform service: the four headers, and the shapes of errors (platform.md#gateway-errors).

The gateway's own failures are `{"error_code", "message"}`; those of the services behind it are problem+json.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from mixpanel_aep_assets.emulator.faults import pick
from mixpanel_aep_assets.emulator.http import Call, Handler, Refusal
from mixpanel_aep_assets.emulator.platform.state import Platform

MAXIMUM_URL = 2000
_ORG = re.compile(r"[0-9A-Za-z]{24}@AdobeOrg")
_CODES = {
    "403010": "Oauth token is missing.",
    "401013": "Oauth token is not valid",
    "403000": "Api Key is required",
    "403003": "Api Key is invalid",
    "400003": "Missing header",
    "403025": "Profile is not valid",
    "403027": "User region is missing",
}


@dataclass
class PlatformCall(Call):
    """A call that passed the gateway."""

    org: str = ""
    sandbox: str = ""
    client: str = ""

    @property
    def platform(self) -> Platform:
        """The Platform's state."""
        return self.world.platform

    def object(self) -> dict[str, Any]:
        """The body as a JSON object, or a refusal with 400."""
        if "json" not in (self.header("content-type") or ""):
            raise bad_request("A valid content-type must be specified")
        try:
            body = self.json()
        except ValueError as error:
            raise bad_request(f"The body is not valid JSON: {error}") from None
        if not isinstance(body, dict):
            raise bad_request("The body must be a JSON object")
        return body


def problem(status: int, title: str, detail: str, *, type_: str = "/placeholder/type/uri", **more: Any) -> Response:
    """An error of a service: problem+json."""
    body = {"type": type_, "status": status, "title": title, "detail": detail, **more}
    return JSONResponse(body, status, media_type="application/problem+json")


def refuse(status: int, title: str, detail: str, **more: Any) -> Refusal:
    """A problem to be raised."""
    return Refusal(problem(status, title, detail, **more))


def bad_request(detail: str) -> Refusal:
    """400."""
    return refuse(400, "BadRequestError", detail)


def not_found(detail: str) -> Refusal:
    """404."""
    return refuse(404, "NotFoundError", detail)


def admit(request: Request, body: bytes = b"") -> PlatformCall:
    """Check the headers of a Platform call. Raises `Refusal`."""
    call = PlatformCall(request, body)
    platform = call.platform
    if len(str(request.url)) > MAXIMUM_URL:
        raise refuse(414, "URI Too Long", f"The URL is longer than {MAXIMUM_URL} characters")
    authorization = call.header("authorization")
    if not authorization:
        raise _gateway("403010")
    scheme, _, value = authorization.partition(" ")
    token = platform.tokens.get(value.strip()) if scheme.lower() == "bearer" else None
    if token is not None and pick(call.faults, "expired_token"):
        platform.tokens.delete(value.strip())
        token = None
    if token is None or token["expires"] <= call.world.clock.now():
        raise _gateway("401013")
    key = call.header("x-api-key")
    if not key:
        raise _gateway("403000")
    client = platform.clients.get(key)
    if client is None or key != token["client"]:
        raise _gateway("403003")
    org = call.header("x-gw-ims-org-id")
    if not org:
        raise _gateway("400003")
    if not _ORG.fullmatch(org) or not client["entitled"]:
        raise _gateway("403027")
    if org != client["org"]:
        raise _gateway("403025")
    sandbox = call.header("x-sandbox-name")
    if not sandbox:
        if call.world.settings.sandbox_header_required:
            raise bad_request("The header x-sandbox-name is required")
        sandbox = "prod"
    if sandbox not in client["sandboxes"]:
        raise refuse(403, "Forbidden", f"The sandbox {sandbox} does not exist or is not open to this credential")
    call.org, call.sandbox, call.client = org, sandbox, key
    return call


def through(handler: Callable[[PlatformCall], Response]) -> Handler:
    """The handler behind the gateway."""

    def run(call: Call) -> Response:
        return handler(admit(call.request, call.body))

    return run


def _gateway(code: str) -> Refusal:
    return Refusal(JSONResponse({"error_code": code, "message": _CODES[code]}, int(code[:3])))
