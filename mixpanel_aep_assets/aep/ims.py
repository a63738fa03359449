"""Access tokens of Adobe IMS (OAuth server-to-server): fetched when needed, kept until they are old, never shown.

Source: reference aep-api.md section 2.1. What does not belong here: the calls that the token opens.
"""

from __future__ import annotations

import logging
import threading
import time

import httpx
import orjson

from mixpanel_aep_assets.aep.errors import AepError, CredentialsRejected, UnexpectedAnswer
from mixpanel_aep_assets.aep.retry import Refused, faults_explained, tried
from mixpanel_aep_assets.aep.settings import Platform

log = logging.getLogger(__name__)

RENEW_BEFORE = 300.0
"""Seconds before its end at which a token is renewed; of a token with a short life half is used."""

TRIED_AGAIN = frozenset({408, 429, 500, 502, 503, 504})


class TokenSource:
    """The current token, shared by all threads; one of them renews, the others wait for it."""

    def __init__(self, platform: Platform, client: httpx.Client) -> None:
        self._platform = platform
        self._client = client
        self._lock = threading.Lock()
        self._token: str | None = None
        self._until = 0.0

    def __repr__(self) -> str:
        return f"TokenSource({self._platform.ims_url!r})"

    def token(self) -> str:
        """A token that is good for minutes. Raises CredentialsRejected, RateLimited, ServerFault or Unreachable."""
        with self._lock:
            if self._token is None or time.monotonic() >= self._until:
                self._fetch()
            assert self._token is not None
            return self._token

    def renew(self, refused: str) -> str:
        """A token other than the refused one; when another thread has renewed it meanwhile, that one."""
        with self._lock:
            if self._token is None or self._token == refused:
                self._fetch()
            assert self._token is not None
            return self._token

    def _fetch(self) -> None:
        where = f"POST {self._platform.ims_url}/ims/token/v3"
        self._token, life = tried(self._platform, lambda: self._ask(where))
        self._until = time.monotonic() + life - min(RENEW_BEFORE, life / 2)
        log.info("New access token from %s, good for %d s", self._platform.ims_url, life)

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
            raise UnexpectedAnswer(what, where=where, status=answer.status_code) from None
        return token, life

    def _rejected(self, answer: httpx.Response, where: str) -> AepError:
        """An error of IMS names its kind (`error`); its description is not repeated, it may quote what was sent."""
        try:
            kind = str(orjson.loads(answer.content).get("error", ""))
        except (orjson.JSONDecodeError, AttributeError):
            kind = ""
        what = {
            "invalid_client": "Adobe IMS does not know this client id with this secret",
            "invalid_scope": "Adobe IMS does not grant these scopes to this client",
        }.get(kind, "Adobe IMS refuses to give a token")
        return CredentialsRejected(what, where=where, status=answer.status_code, code=kind[:80] or None)
