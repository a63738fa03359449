"""`GET /api/2.0/export`: the raw export (mixpanel.md#export-request)."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from mixpanel_aep_assets.emulator.http import Call, Refusal
from mixpanel_aep_assets.emulator.mixpanel import access, body
from mixpanel_aep_assets.emulator.mixpanel.parameters import window
from mixpanel_aep_assets.emulator.mixpanel.selection import Selection
from mixpanel_aep_assets.emulator.mixpanel.where import WhereError

CONTENT_TYPE = "text/plain; charset=utf-8"


async def export(request: Request) -> Response:
    """Answer one export request; its project counts as busy until the last byte is sent."""
    call = Call(request, await request.body())
    try:
        pieces, gzip = await run_in_threadpool(_prepare, call)
    except Refusal as refusal:
        return refusal.response
    except access.EmptyRegion:
        return Response(b"", media_type=CONTENT_TYPE)
    headers = {"content-encoding": "gzip"} if gzip else {}
    account = access.account(call, "export")
    call.world.windows.start(account)

    async def stream() -> AsyncIterator[bytes]:
        try:
            async for piece in body.wire(pieces, call.faults):
                yield piece
        finally:
            call.world.windows.finish(account)

    return StreamingResponse(stream(), headers=headers, media_type=CONTENT_TYPE)


def _prepare(call: Call) -> tuple[Iterator[bytes], bool]:
    world, settings = call.world, call.world.settings
    if settings.auth_before_limits:
        access.caller(call)
    access.limits(call, "export")
    who = access.caller(call)
    project = access.project(call, who, "export")
    if project["classified"] and not who.sensitive and settings.classified == "refuse":
        raise Refusal(access.app_error(403, "You do not have access to classified data"))
    asked = window(call, project)
    hidden = frozenset(project["classified"]) if not who.sensitive else frozenset()
    selection = Selection(
        world.events, project, asked, call.faults, hidden=hidden, seed=settings.seed if settings.shuffle else None
    )
    plain = body.plain(selection.blocks(), call.faults)
    try:
        wanted = "gzip" in (call.header("accept-encoding") or "")
        encoded, gzip = body.encode(plain, gzip=wanted, member_bytes=settings.gzip_member_bytes)
    except WhereError as reason:  # a number where a truth value belongs is only found with the first events
        raise Refusal(access.error(call, 400, f"Unable to evaluate where expression: {reason}")) from None
    return body.chunks(encoded, settings.seed), gzip


ROUTES = [Route("/api/2.0/export", export, methods=["GET"])]
