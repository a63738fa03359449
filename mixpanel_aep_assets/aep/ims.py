"""Access tokens of Adobe IMS (OAuth server-to-server): fetched when needed, kept until they are old, never shown.

One token serves all clients of a process that use the same credential: Adobe throttles who asks for too many. Source:
platform.md#tokens. What does not belong here: the calls that the token opens.
"""

from __future__ import annotations

import hashlib
import logging
import re
import threading
import time
from dataclasses import dataclass, field
from urllib.parse import quote, quote_plus

import httpx
import orjson

from mixpanel_aep_assets import network
from mixpanel_aep_assets.aep.http_retry import Refused, blocked_by, faults_explained, tried
from mixpanel_aep_assets.aep.platform_errors import AepError, CredentialsRejected, UnexpectedAnswer
from mixpanel_aep_assets.aep.platform_settings import Platform

log = logging.getLogger(__name__)

RENEW_BEFORE = 300.0
"""Seconds before its end at which a token is renewed; of a token with a short life half is used."""

TRIED_AGAIN = frozenset({408, 429, 500, 502, 503, 504})


@dataclass
class _Held:
    """A credential's token; `until` is when to renew it, by the monotonic clock."""

    lock: threading.Lock = field(default_factory=threading.Lock)
    token: str | None = field(default=None, repr=False)
    until: float = 0.0


_held: dict[str, _Held] = {}


def forget() -> None:
    """Forgets all tokens, so that the next call asks for one as a new process does."""
    _held.clear()


class TokenSource:
    """The current token, shared by all threads and clients; one of them renews, the others wait for it."""

    def __init__(self, platform: Platform, client: httpx.Client) -> None:
        self._platform = platform
        self._client = client
        credential = (
            platform.ims_url,
            platform.client_id.get_secret_value(),
            platform.client_secret.get_secret_value(),
            platform.scopes,
        )
        key = hashlib.sha256("\0".join(credential).encode()).hexdigest()
        self._held = _held.setdefault(key, _Held())

    def __repr__(self) -> str:
        return f"TokenSource({self._platform.ims_url!r})"

    def token(self) -> str:
        """A token that is good for minutes. Raises CredentialsRejected, RateLimited, ServerFault or Unreachable."""
        with self._held.lock:
            if self._held.token is None or time.monotonic() >= self._held.until:
                return self._fetch()
            return self._held.token

    def new(self) -> str:
        """A token fetched now, whatever is held: proves the credential. Raises as `token` does."""
        with self._held.lock:
            return self._fetch()

    def renew(self, refused: str) -> str:
        """A token other than the refused one; when another thread has renewed it meanwhile, that one."""
        with self._held.lock:
            if self._held.token is None or self._held.token == refused:
                return self._fetch()
            return self._held.token

    def _fetch(self) -> str:
        where = f"POST {self._platform.ims_url}/ims/token/v3"
        token, life = tried(self._platform, lambda: self._ask(where))
        self._held.token, self._held.until = token, time.monotonic() + life - min(RENEW_BEFORE, life / 2)
        log.info("New access token from %s, good for %d s", self._platform.ims_url, life)
        return token

    def _ask(self, where: str) -> tuple[str, float]:
        form = {
            "grant_type": "client_credentials",
            "client_id": self._platform.client_id.get_secret_value(),
            "client_secret": self._platform.client_secret.get_secret_value(),
            "scope": self._platform.scopes,
        }
        with faults_explained(where):
            answer = self._client.post(f"{self._platform.ims_url}/ims/token/v3", data=form)
        if answer.status_code in TRIED_AGAIN:
            raise Refused.of(answer, where)
        if answer.status_code >= 400:
            raise self._rejected(answer, where)
        try:
            body = orjson.loads(answer.content)
            token, life = str(body["access_token"]), float(body["expires_in"])
        except (orjson.JSONDecodeError, KeyError, TypeError, ValueError):
            what = "The token endpoint's answer holds no access_token and expires_in"
            raise UnexpectedAnswer(
                what, where=where, status=answer.status_code
            ) from None  # the answer may hold a token
        if not re.fullmatch(r"[!-~]+", token):
            what = "The token endpoint's access_token cannot be sent as a header"
            raise UnexpectedAnswer(what, where=where, status=answer.status_code)
        return token, life

    def _rejected(self, answer: httpx.Response, where: str) -> AepError:
        """IMS names the kind (`error`) and says more (`error_description`), which may quote what was sent."""
        if blocked := blocked_by(answer, where):
            return blocked
        try:
            body = orjson.loads(answer.content)
            kind, said = (self._without_secrets(str(body.get(name) or "")) for name in ("error", "error_description"))
        except (orjson.JSONDecodeError, AttributeError):
            kind = said = ""
        what = {
            "invalid_client": "Adobe IMS does not know this client id with this secret",
            "invalid_scope": "Adobe IMS does not grant these scopes to this client",
        }.get(kind, "Adobe IMS refuses to give a token")
        if said:
            what += f": “{' '.join(said.split())[:300]}”"
        return CredentialsRejected(what, where=where, status=answer.status_code, code=kind[:80] or None)

    def _without_secrets(self, text: str) -> str:
        """Also without the secret as it travels in a form."""
        secret = self._platform.client_secret.get_secret_value()
        return network.without(text, secret, quote(secret, safe=""), quote_plus(secret))
