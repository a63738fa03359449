"""One HTTP client for all of the Platform's services: headers, token, tries, and answers turned into typed errors.

The four headers go on every call; a refused token is renewed and the call replayed once; what is worth another try
depends on the call (`Call`, platform.md#retries). What does not belong here: paths and bodies of the
services.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from types import TracebackType
from typing import Any

import httpx
import orjson

from mixpanel_aep_assets import network
from mixpanel_aep_assets.aep.http_retry import Refused, blocked_by, faults_explained, request_id, tried
from mixpanel_aep_assets.aep.ims import TokenSource
from mixpanel_aep_assets.aep.platform_errors import (
    AepError,
    AnswerLost,
    BadRequest,
    Conflict,
    CredentialsRejected,
    NotFound,
    PermissionMissing,
    SourceChanged,
    TooLarge,
    UnexpectedAnswer,
)
from mixpanel_aep_assets.aep.platform_settings import Platform

IMPORT = "/data/foundation/import"
CATALOG = "/data/foundation/catalog"
EXPORT = "/data/foundation/export"
REGISTRY = "/data/foundation/schemaregistry"
NAMESPACES = "/data/core/idnamespace"

TOKEN_REFUSED = "401013"  # noqa: S105 - a gateway code, platform.md#gateway-errors
ORG_OR_KEY_REFUSED = frozenset({"403000", "403003", "403025", "403027"})


class Call(enum.Enum):
    """How a call may be repeated."""

    REPEATABLE = enum.auto()
    """Again on 408, 429, 5xx and transport faults: reads, PUT of a file (it replaces), COMPLETE, ABORT, REVERT."""
    CREATE = enum.auto()
    """Again only when it was surely not carried out (429, no connection); otherwise `AnswerLost`: look up first."""
    ONCE = enum.auto()
    """Never again by itself: a chunk, whose next range only HEAD knows."""


class PlatformClient:
    """The open door to one sandbox; close it or use it as a context manager. Safe to share between threads."""

    def __init__(self, platform: Platform) -> None:
        self.platform = platform
        timeout = httpx.Timeout(platform.read_timeout, connect=platform.connect_timeout)
        pool = platform.uploads_at_once + 4
        self._client = network.client(
            timeout=timeout, limits=httpx.Limits(max_connections=pool, max_keepalive_connections=pool)
        )
        self._tokens = TokenSource(platform, self._client)

    def __repr__(self) -> str:
        return f"PlatformClient({self.platform.url!r}, sandbox={self.platform.sandbox!r})"

    def __enter__(self) -> PlatformClient:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        self._client.close()

    def sign_in(self) -> None:
        """Fetches a token now, so that wrong credentials show before anything else is done."""
        self._tokens.new()

    def request(
        self,
        method: str,
        path: str,
        *,
        call: Call = Call.REPEATABLE,
        params: Mapping[str, str | int] | None = None,
        json: Any = None,
        content: Callable[[], Iterable[bytes]] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> httpx.Response:
        """The 2xx answer, read whole. `content` is called anew for each try; give its Content-Length in `headers`.

        Raises the typed errors of `errors`; none of them tells the token.
        """
        where = f"{method} {path}"
        merged = dict(headers or {})
        if json is not None:
            merged.setdefault("Content-Type", "application/json")

        def build() -> httpx.Request:
            body = content() if content is not None else orjson.dumps(json) if json is not None else None
            return self._client.build_request(
                method, self.platform.url + path, params=params, content=body, headers=merged
            )

        def once() -> httpx.Response:
            with faults_explained(f"{method} {self.platform.url}{path}"), _length_explained(where):
                answer = self._sent(build)
            if answer.status_code in (408, 429) or answer.status_code >= 500:
                raise Refused.of(answer, where)
            if answer.status_code >= 300:
                raise error_of(answer, where)
            return answer

        if call is Call.REPEATABLE:
            return tried(self.platform, once)
        if call is Call.CREATE:
            return tried(self.platform, lambda: self._unless_sent(once, where))
        try:
            return once()
        except Refused as refused:
            raise refused.error from refused.__cause__

    def json(self, method: str, path: str, **given: Any) -> Any:
        """Like `request`; the parsed body, None where it is empty."""
        answer = self.request(method, path, **given)
        where = f"{method} {path}"
        if not answer.content:
            return None
        try:
            return orjson.loads(answer.content)
        except orjson.JSONDecodeError as error:
            raise UnexpectedAnswer("The answer is not JSON", where=where, status=answer.status_code) from error

    @contextmanager
    def stream(self, path: str, *, params: Mapping[str, str | int] | None = None) -> Iterator[httpx.Response]:
        """A GET whose body is read by the caller, line by line. Not tried again once the body flows."""
        where = f"GET {path}"

        def build() -> httpx.Request:
            return self._client.build_request("GET", self.platform.url + path, params=params)

        def once() -> httpx.Response:
            with faults_explained(f"GET {self.platform.url}{path}"):
                answer = self._sent(build, stream=True)
                if answer.status_code >= 300:
                    answer.read()
            if answer.status_code in (408, 429) or answer.status_code >= 500:
                raise Refused.of(answer, where)
            if answer.status_code >= 300:
                raise error_of(answer, where)
            return answer

        answer = tried(self.platform, once)
        try:
            with faults_explained(where):
                yield answer
        except Refused as refused:
            raise refused.error from refused.__cause__
        finally:
            answer.close()

    def _sent(self, build: Callable[[], httpx.Request], *, stream: bool = False) -> httpx.Response:
        """Sends with the current token; when that is refused, once more with a new one."""
        token = self._tokens.token()
        answer = self._client.send(self._signed(build(), token), stream=stream)
        if answer.status_code == 401 or (answer.status_code == 403 and _code(answer) == TOKEN_REFUSED):
            answer.close()
            answer = self._client.send(self._signed(build(), self._tokens.renew(token)), stream=stream)
        return answer

    def _signed(self, request: httpx.Request, token: str) -> httpx.Request:
        request.headers["Authorization"] = f"Bearer {token}"
        request.headers["x-api-key"] = self.platform.client_id.get_secret_value()
        request.headers["x-gw-ims-org-id"] = self.platform.org_id
        request.headers["x-sandbox-name"] = self.platform.sandbox
        return request

    @staticmethod
    def _unless_sent(once: Callable[[], httpx.Response], where: str) -> httpx.Response:
        """Lets pass what is surely not carried out; makes `AnswerLost` of the rest."""
        try:
            return once()
        except Refused as refused:
            error = refused.error
            if not refused.carried_out:
                raise
            raise AnswerLost(
                f"Whether the call took effect is not known: {error.what}",
                where=where,
                status=error.status,
                request_id=error.request_id,
            ) from None


@contextmanager
def _length_explained(where: str) -> Iterator[None]:
    try:
        yield
    except httpx.LocalProtocolError as error:
        if "header" in str(error):  # the text goes on with the header's value
            raise BadRequest(
                "A setting or the token cannot be sent as a header", where=where
            ) from None  # its text repeats it
        raise SourceChanged(f"The data is not as long as announced: {error}", where=where) from None


def error_of(answer: httpx.Response, where: str) -> AepError:
    """The typed error of an answer that is no success: the gateway's form, problem+json, or anything else."""
    if blocked := blocked_by(answer, where):
        return blocked
    body = _body(answer)
    report = body.get("report") if isinstance(body.get("report"), Mapping) else {}
    detail = body.get("detail") or body.get("message") or body.get("title") or (report or {}).get("message")
    code = body.get("error_code") or (report or {}).get("code") or _last_part(body.get("type"))
    status = answer.status_code
    what = (
        network.without(str(detail), _token_of(answer))[:500]
        if detail
        else f"The Platform answered {status} {answer.reason_phrase}".rstrip()
    )
    kind = _kind(status, str(code or ""))
    return kind(what, where=where, status=status, code=str(code)[:80] if code else None, request_id=request_id(answer))


def _token_of(answer: httpx.Response) -> str:
    """The token that the call carried, which no text may repeat."""
    try:
        return str(answer.request.headers.get("authorization", "")).partition(" ")[2]
    except RuntimeError:
        return ""


def _kind(status: int, code: str) -> type[AepError]:
    if status == 401 or code == TOKEN_REFUSED:
        return CredentialsRejected
    if status == 403 or code in ORG_OR_KEY_REFUSED:
        return PermissionMissing
    if status == 404:
        return NotFound
    if status in (409, 412):
        return Conflict
    if status in (413, 414, 431):
        return TooLarge
    return BadRequest if 400 <= status < 500 else UnexpectedAnswer


def _body(answer: httpx.Response) -> dict[str, Any]:
    try:
        body = orjson.loads(answer.content)
    except (orjson.JSONDecodeError, httpx.ResponseNotRead):
        return {}
    return body if isinstance(body, dict) else {}


def _code(answer: httpx.Response) -> str | None:
    if not answer.is_stream_consumed:
        answer.read()
    code = _body(answer).get("error_code")
    return str(code) if code else None


def _last_part(kind: Any) -> str | None:
    """`XDM-1012-404` of `http://ns.adobe.com/aep/errors/XDM-1012-404`; the placeholder of older pages says nothing."""
    text = str(kind or "").rsplit("/", 1)[-1]
    return text if any(c.isdigit() for c in text) else None
