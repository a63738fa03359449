"""The outermost layer: counts every request and carries out the faults that any request can meet.

    status         answer `status` with `body`, `headers` and `retry_after` instead of carrying the request out
    html           answer 502 with a proxy's page
    blocked        answer 403 with the page of a front end that blocks the caller's address
    slow           wait `before_headers` seconds before the request is carried out (bodies: see mixpanel.body)
    drop           cut the connection without carrying the request out
    cut_upload     read `after_bytes` of the request's body, then cut the connection without carrying the request out
    lost_response  carry the request out, then cut the connection before the answer
    cut_response   send `after_bytes` of the answer's body, then cut the connection
    hold           wait until the control API releases (or `seconds` are over), `when` "before" or "after" carrying the
                   request out; the moment for a test to kill the client

The control API itself (`/_emulator/`) is neither counted nor faulted.
"""

from __future__ import annotations

import asyncio
import contextlib
import email.utils
import html
import json
import re
from typing import Any
from urllib.parse import parse_qsl

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from mixpanel_aep_assets.emulator.faults import Cut, Fault, pick
from mixpanel_aep_assets.emulator.world import World

_IDS = (
    (re.compile(r"/files/.+$"), "/files/{path}"),
    (re.compile(r"(?<=/)(batches|datasets|dataSets|mappingSets|organizations|projects|identities)/[^/]+"), r"\1/{id}"),
    (re.compile(r"(?<=/)(schemas|fieldgroups|mixins|classes|datatypes|descriptors)/.+$"), r"\1/{id}"),
)
_HTML = (
    b"<html><head><title>502 Bad Gateway</title></head><body><center><h1>502 Bad Gateway</h1></center></body></html>"
)
_BLOCKED = (
    "<!doctype html><title>403</title>403 Forbidden<p>Your client does not have permission to get URL <code>{path}</code> "
    "from this server."
)
HOLD_SECONDS = 60.0


def endpoint_of(method: str, path: str) -> str:
    """The name under which a request is counted: method and path with the ids left out."""
    for pattern, shape in _IDS:
        path = pattern.sub(shape, path)
    return f"{method} {path}"


class Holds:
    """Requests that are held until a test releases them."""

    def __init__(self) -> None:
        self.waiting = 0
        self._released = asyncio.Event()
        self._changed = asyncio.Event()

    async def wait(self, seconds: float) -> None:
        """Hold the calling request."""
        self.waiting += 1
        self._changed.set()
        try:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._released.wait(), seconds)
        finally:
            self.waiting -= 1

    async def held(self, seconds: float) -> int:
        """How many requests are held; waits up to `seconds` for the first."""
        if not self.waiting:
            self._changed.clear()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._changed.wait(), seconds)
        return self.waiting

    def release(self) -> None:
        """Let all held requests go on."""
        self._released.set()
        self._released = asyncio.Event()


class Gate:
    """ASGI middleware around the whole application."""

    def __init__(self, app: ASGIApp, world: World) -> None:
        self.app, self.world, self.holds = app, world, Holds()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"].startswith("/_emulator"):
            scope["emulator_holds"] = self.holds
            await self.app(scope, receive, send)
            return
        method, path, query = scope["method"], scope["path"], scope["query_string"].decode("latin-1")
        faults = self.world.faults.of(method, path, dict(parse_qsl(query, keep_blank_values=True)))
        entry = self.world.counters.begin(endpoint_of(method, path), method, path, query, self.world.clock.now())
        entry["faults"] = [fault["kind"] for fault in faults]
        scope["emulator_faults"] = faults
        try:
            await self._answer(scope, _counting(receive, entry), _Line(send, entry), faults)
        finally:
            self.world.counters.end(entry)

    async def _answer(self, scope: Scope, receive: Receive, line: _Line, faults: list[Fault]) -> None:
        for fault in pick(faults, "slow"):
            await asyncio.sleep(float(fault.get("before_headers", 0)))
        for fault in pick(faults, "hold"):
            if fault.get("when", "before") == "before":
                await self.holds.wait(float(fault.get("seconds", HOLD_SECONDS)))
            else:
                line.hold = self.holds
        for fault in faults:
            match fault["kind"]:
                case "drop":
                    line.cut()
                    return
                case "cut_upload":
                    await _read(receive, int(fault.get("after_bytes", 0)))
                    line.cut()
                    return
                case "status":
                    await _read(receive, None)
                    await line.answer(*_status(fault, self.world.clock.now()))
                    return
                case "html":
                    await _read(receive, None)
                    await line.answer(502, {"content-type": "text/html"}, _HTML)
                    return
                case "blocked":
                    await _read(receive, None)
                    page = _BLOCKED.format(path=html.escape(scope["path"])).encode()
                    await line.answer(403, {"content-type": "text/html"}, page)
                    return
                case "lost_response":
                    line.left = 0
                    line.lost = True
                case "cut_response":
                    line.left = int(fault.get("after_bytes", 0))
        try:
            await self.app(scope, receive, line)
        except Cut:
            line.cut()


class _Line:
    """The way back to the client: counts what is sent, and can cut the connection."""

    def __init__(self, send: Send, entry: dict[str, Any]) -> None:
        self._send, self._entry = send, entry
        # uvicorn hands out a bound method of its request cycle; cutting a connection needs the socket behind it.
        self._transport = getattr(getattr(send, "__self__", None), "transport", None)
        self.left: int | None = None
        self.lost = False
        self.hold: Holds | None = None

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self._entry["status"] = message["status"]
            if self.hold is not None:
                await self.hold.wait(HOLD_SECONDS)
            if self.lost:
                self.cut()
                return
        if self.lost:
            return
        body = message.get("body", b"")
        if self.left is not None and message["type"] == "http.response.body":
            if len(body) >= self.left:
                await self._send({**message, "body": body[: self.left], "more_body": True})
                self._entry["sent"] += self.left
                self.lost = True
                self.cut()
                return
            self.left -= len(body)
        self._entry["sent"] += len(body)
        await self._send(message)

    async def answer(self, status: int, headers: dict[str, str], body: bytes) -> None:
        """A whole response."""
        headers = {"content-length": str(len(body)), **headers}
        raw = [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in headers.items()]
        await self({"type": "http.response.start", "status": status, "headers": raw})
        await self({"type": "http.response.body", "body": body})

    def cut(self) -> None:
        """Close the socket; what was sent before still arrives."""
        if self._transport is not None:
            self._transport.close()


def _counting(receive: Receive, entry: dict[str, Any]) -> Receive:
    async def counted() -> Message:
        message = await receive()
        entry["received"] += len(message.get("body", b""))
        return message

    return counted


async def _read(receive: Receive, limit: int | None) -> None:
    """Read the request's body, or its first `limit` bytes, and forget it."""
    read = 0
    while limit is None or read < limit:
        message = await receive()
        read += len(message.get("body", b""))
        if message["type"] == "http.disconnect" or not message.get("more_body"):
            return


def _status(fault: Fault, now: float) -> tuple[int, dict[str, str], bytes]:
    status = int(fault.get("status", 500))
    headers = {"content-type": "text/plain", **fault.get("headers", {})}
    match fault.get("retry_after"):
        case None:
            pass
        case {"date_in": seconds}:
            headers["retry-after"] = email.utils.formatdate(now + seconds, usegmt=True)
        case value:
            headers["retry-after"] = str(value)
    body = fault.get("body", "")
    return status, headers, body.encode() if isinstance(body, str) else _json(body, headers)


def _json(body: object, headers: dict[str, str]) -> bytes:
    headers["content-type"] = "application/json"
    return json.dumps(body).encode()
