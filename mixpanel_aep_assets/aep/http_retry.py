"""When a call is tried again, and after how long (platform.md#retries).

What belongs here: the waits, `Retry-After`, and turning transport faults and refusals into typed errors. What does not:
which answers of which call are worth another try (`http`).
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

import httpx
from tenacity import RetryCallState, Retrying, retry_if_exception, stop_after_attempt
from tenacity.wait import wait_exponential, wait_random

from mixpanel_aep_assets import network
from mixpanel_aep_assets.aep.platform_errors import (
    AepError,
    Blocked,
    CannotConnect,
    RateLimited,
    ServerFault,
    UnexpectedAnswer,
    Unreachable,
)
from mixpanel_aep_assets.aep.platform_settings import Platform

log = logging.getLogger(__name__)

Answer = TypeVar("Answer")

LONGEST_ASKED = 3_600.0
"""Seconds that a `Retry-After` counts at most; what asks for more is asked again after an hour."""

REQUEST_ID_HEADERS = ("x-request-id", "x-adobe-request-id", "x-correlation-id")


class Refused(Exception):
    """A refusal that may pass.

    `error` is what is raised when it does not, `wait` what the server asked for; `carried_out` is False when the call
    surely had no effect.
    """

    def __init__(self, error: AepError, wait: float | None = None, *, carried_out: bool = True) -> None:
        super().__init__(str(error))
        self.error = error
        self.wait = wait
        self.carried_out = carried_out

    @classmethod
    def of(cls, answer: httpx.Response, where: str) -> Refused:
        wait = network.retry_after(answer.headers.get("retry-after"), LONGEST_ASKED)
        limited = answer.status_code == 429
        kind = RateLimited if limited else ServerFault
        what = "The server asks to slow down" if limited else "The server failed to answer"
        error = kind(what, where=where, status=answer.status_code, request_id=request_id(answer), wait=wait)
        return cls(error, wait, carried_out=not limited)


def blocked_by(answer: httpx.Response, where: str) -> Blocked | None:
    """The refusal of a front end or a proxy: a page for people (401, 403), or 407. None for an answer of the API."""
    said = answer.content[:4096].decode("utf-8", "replace")
    if answer.status_code != 407 and not (answer.status_code in (401, 403) and network.is_page(said)):
        return None
    title = re.search(r"<title>(.*?)</title>", said, re.IGNORECASE | re.DOTALL)
    text = " ".join(title[1].split())[:200] if title else answer.reason_phrase
    return Blocked(f"A front end on the way refuses the request: “{text}”", where=where, status=answer.status_code)


def request_id(answer: httpx.Response) -> str | None:
    """The id that Adobe's support asks for."""
    return next((answer.headers[name] for name in REQUEST_ID_HEADERS if name in answer.headers), None)


def tried(platform: Platform, call: Callable[[], Answer]) -> Answer:
    """The call's result; as long as it raises `Refused`, again, as often as the settings allow.

    Ends with the typed error of the last refusal. A `Retry-After` longer than `longest_wait` ends the tries at once:
    the error carries it.
    """
    pause = wait_exponential(multiplier=platform.backoff, max=platform.backoff_cap) + wait_random(0, platform.backoff)

    def wait(state: RetryCallState) -> float:
        error = state.outcome.exception() if state.outcome else None
        asked = error.wait if isinstance(error, Refused) else None
        return max(pause(state), asked or 0.0)

    tries = Retrying(
        stop=stop_after_attempt(platform.tries),
        wait=wait,
        retry=retry_if_exception(lambda e: isinstance(e, Refused) and (e.wait or 0.0) <= platform.longest_wait),
        before_sleep=_say,
        reraise=True,
    )
    try:
        return tries(call)
    except Refused as refused:
        raise refused.error from refused.__cause__


def _say(state: RetryCallState) -> None:
    error = state.outcome.exception() if state.outcome else None
    log.warning("%s Next try in %.1f s.", error, state.upcoming_sleep)


@contextmanager
def faults_explained(where: str) -> Iterator[None]:
    """Turns the transport's faults into `Refused(Unreachable)`. The text never holds headers or bodies.

    What is wrong with a proxy or a certificate stays wrong: CannotConnect, which is not tried again.
    """
    try:
        yield
    except (httpx.TimeoutException, httpx.NetworkError, httpx.RemoteProtocolError, httpx.ProxyError) as error:
        what = {
            httpx.ConnectError: "No connection",
            httpx.ConnectTimeout: "No connection in time",
            httpx.ReadTimeout: "No answer in time",
            httpx.WriteTimeout: "The server takes no more data",
        }.get(type(error), "The connection was cut")
        detail = str(error).split("\n", 1)[0][:200]
        what = f"{what}{network.through(error)}{f': {detail}' if detail else ''}"
        known = network.fault_of(error)
        if known is not None and not known.passing:
            raise CannotConnect(known.what, where=where, fix=known.fix) from error
        fault = Unreachable(what if known is None else known.what, where=where, fix="" if known is None else known.fix)
        unsent = isinstance(error, httpx.ConnectError | httpx.ConnectTimeout | httpx.PoolTimeout | httpx.ProxyError)
        raise Refused(fault, carried_out=not unsent) from error
    except httpx.DecodingError as error:
        raise UnexpectedAnswer("The answer is not in the coding that it names", where=where) from error
