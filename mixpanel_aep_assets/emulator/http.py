"""How a route is written: a plain function from `Call` to a response, run in a worker thread.

The body is read before the function runs (uploads, which are large, are routes of their own kind and stream). A function
ends early by raising `Refusal`.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, cast

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from mixpanel_aep_assets.emulator.faults import Fault

if TYPE_CHECKING:
    from mixpanel_aep_assets.emulator.world import World


class Refusal(Exception):
    """Answer with this response."""

    def __init__(self, response: Response) -> None:
        super().__init__(response.status_code)
        self.response = response


@dataclass
class Call:
    """One request, with its body read."""

    request: Request
    body: bytes = b""

    @property
    def world(self) -> World:
        """The world that the server serves."""
        return cast("World", self.request.app.state.world)

    @cached_property
    def query(self) -> dict[str, str]:
        """The query parameters; the last of several with one name counts."""
        return dict(self.request.query_params)

    @property
    def faults(self) -> list[Fault]:
        """The faults that this request meets."""
        return cast("list[Fault]", self.request.scope.get("emulator_faults", []))

    def path(self, name: str) -> str:
        """A path parameter."""
        return cast("str", self.request.path_params[name])

    def header(self, name: str) -> str | None:
        """A request header."""
        return self.request.headers.get(name)

    def json(self) -> Any:
        """The body as JSON. ValueError when it is none."""
        return json.loads(self.body)


Handler = Callable[[Call], Response]
Endpoint = Callable[[Request], Awaitable[Response]]


def endpoint(handler: Handler) -> Endpoint:
    """The handler as a Starlette endpoint."""

    async def run(request: Request) -> Response:
        call = Call(request, await request.body())
        try:
            return await run_in_threadpool(handler, call)
        except Refusal as refusal:
            return refusal.response

    return run


def reply(body: Any, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    """A JSON response."""
    return JSONResponse(body, status, headers)
