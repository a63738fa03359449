"""`POST /ims/token/v3`: access tokens of the OAuth server-to-server grant (platform.md#tokens)."""

from __future__ import annotations

import secrets
from urllib.parse import parse_qs

from starlette.responses import Response
from starlette.routing import Route

from mixpanel_aep_assets.emulator.http import Call, Refusal, endpoint, reply

SCOPES = frozenset(
    {
        "openid",
        "session",
        "AdobeID",
        "read_organizations",
        "additional_info.projectedProductContext",
        "additional_info.roles",
    }
)


def token(call: Call) -> Response:
    """A bearer token; `expires_in` is in seconds."""
    world, platform = call.world, call.world.platform
    fields = {name: values[-1] for name, values in parse_qs(call.body.decode("utf-8", "replace")).items()}
    fields = {**call.query, **fields}
    if fields.get("grant_type") != "client_credentials":
        raise _refuse("unsupported_grant_type", "grant_type must be client_credentials")
    client = platform.clients.get(fields.get("client_id", ""))
    if client is None:
        raise _refuse("invalid_client", "invalid client_id parameter")
    if fields.get("client_secret", "") not in client["secrets"]:
        raise _refuse("invalid_client", "invalid client_secret parameter")
    asked = {scope.strip() for scope in fields.get("scope", "").split(",") if scope.strip()}
    if not asked or asked - SCOPES:
        raise _refuse("invalid_scope", f"the scope is missing or not allowed: {','.join(sorted(asked - SCOPES))}")
    wait = world.windows.enter(f"token:{client['id']}", world.clock.now(), 60.0, world.settings.tokens_per_minute)
    if wait is not None:
        raise Refusal(reply({"error": "too_many_requests"}, 429, {"retry-after": str(int(wait) + 1)}))
    value = "ey" + secrets.token_urlsafe(48)
    life = world.settings.token_seconds
    platform.tokens.put(value, {"client": client["id"], "expires": world.clock.now() + life})
    return reply({"access_token": value, "token_type": "bearer", "expires_in": life})


def _refuse(error: str, description: str) -> Refusal:
    return Refusal(reply({"error": error, "error_description": description}, 400))


ROUTES = [Route("/ims/token/v3", endpoint(token), methods=["POST"])]
