"""The control routes below `/_emulator`: seed, break, steer the clock, read tallies and books. No part of either API.

`client.Control` is the Python face of these.
"""

from __future__ import annotations

import datetime
import json
import secrets
from collections.abc import Callable
from pathlib import Path
from typing import Any

import anyio
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from mixpanel_aep_assets.emulator.faults import Rule
from mixpanel_aep_assets.emulator.gate import Holds
from mixpanel_aep_assets.emulator.http import Call, Handler, endpoint, reply

BASE = "/_emulator"


def health(call: Call) -> Response:
    """Whether the server answers, and what time it believes it is."""
    return reply({"status": "ok", "now": call.world.clock.now()})


def reset(call: Call) -> Response:
    """Back to the first moment."""
    call.world.reset()
    return Response(status_code=204)


def settings(call: Call) -> Response:
    """Read the switches, or set the named ones."""
    if call.request.method == "PATCH":
        call.world.settings.update(call.json())
    return reply(call.world.settings.to_json())


def faults(call: Call) -> Response:
    """Read the rules with their tallies, put one in force, or lift all."""
    match call.request.method:
        case "POST":
            body = call.json()
            for rule in [Rule.from_json(one) for one in (body if isinstance(body, list) else [body])]:
                call.world.faults.add(rule)
        case "DELETE":
            call.world.faults.clear()
    return reply(call.world.faults.rules())


def counters(call: Call) -> Response:
    """Read the tallies, or set them to nought."""
    if call.request.method == "DELETE":
        call.world.counters.reset()
        call.world.windows.reset()
    return reply({**call.world.counters.to_json(), "peaks": dict(call.world.windows.peaks)})


def requests(call: Call) -> Response:
    """The last requests one by one, those after the number `after`."""
    return reply(call.world.counters.log(int(call.query.get("after", "0"))))


def clock(call: Call) -> Response:
    """Read the clock, or steer it: `set`, `freeze` (true, or a moment), `step` (seconds), `run`.

    Moments are ISO 8601 or seconds since the epoch.
    """
    if call.request.method == "POST":
        told = call.json()
        if "set" in told:
            call.world.clock.set(_moment(told["set"]))
        if told.get("freeze"):
            call.world.clock.freeze(None if told["freeze"] is True else _moment(told["freeze"]))
        if "step" in told:
            call.world.clock.step(float(told["step"]))
        if told.get("run"):
            call.world.clock.run()
    return reply({
        "now": call.world.clock.now(), "utc": call.world.clock.utc().isoformat(), "frozen": call.world.clock.frozen,
    })  # fmt: skip


def project(call: Call) -> Response:
    """Make or change a Mixpanel project."""
    return reply(call.world.accounts.put_project(call.json()))


def account(call: Call) -> Response:
    """Make or change a service account."""
    return reply(call.world.accounts.put_account(call.json()))


def bearer(call: Call) -> Response:
    """Make a bearer token."""
    return reply(call.world.accounts.put_bearer(call.json()))


def events(call: Call) -> Response:
    """Ingest model events (`properties.time` is true UTC): a JSON array, or NDJSON."""
    found = call.world.accounts.project(call.query.get("project", "12345"))
    if found is None:
        raise ValueError("no such project")
    if call.request.method == "DELETE":
        call.world.events.clear(found["id"], call.query.get("day"))
        return Response(status_code=204)
    text = call.body.strip()
    lines = json.loads(text) if text.startswith(b"[") else [json.loads(line) for line in text.split(b"\n") if line]
    return reply({"stored": call.world.events.add(found, lines)})


async def day(request: Request) -> Response:
    """Make the body, or the file `path`, the verbatim lines of the request day `day` of `project`.

    A body streams to disk; a file is served where it is and must stay there.
    """
    query, world = request.query_params, request.app.state.world
    number, wanted = int(query.get("project", "12345")), datetime.date.fromisoformat(query["day"]).isoformat()
    if "path" in query:
        return reply(await run_in_threadpool(world.events.register_day, number, wanted, Path(query["path"])))
    part = world.store.folder / f"arriving-{secrets.token_hex(8)}"
    async with await anyio.open_file(part, "wb") as file:
        async for block in request.stream():
            await file.write(block)
    append = query.get("append") == "true"
    stored = await run_in_threadpool(lambda: world.events.put_day(number, wanted, part, append=append))
    await anyio.Path(part).unlink()
    return reply(stored)


def days(call: Call) -> Response:
    """The verbatim days."""
    return reply(call.world.events.days())


def client(call: Call) -> Response:
    """Make or change an OAuth client of the Platform."""
    return reply(call.world.platform.put_client(call.json()))


def expire_tokens(call: Call) -> Response:
    """All access tokens that were given out are void from now on."""
    call.world.platform.tokens.clear()
    return Response(status_code=204)


def settle(call: Call) -> Response:
    """Wait until all completed batches are read, and bring them to their final state without their delays."""
    call.world.lifecycle.advance_all(at_once=True)
    return Response(status_code=204)


def recover(call: Call) -> Response:
    """Mend a stalled batch."""
    batch = call.world.platform.batches.get(call.path("batch"))
    if batch is None:
        raise ValueError("no such batch")
    call.world.lifecycle.recover(batch)
    return Response(status_code=204)


def books(call: Call) -> Response:
    """The books of `dataset` (of the only one if there is one), `ids=true` with the count of every id."""
    from mixpanel_aep_assets.emulator.platform.books import books, warnings

    platform = call.world.platform
    call.world.lifecycle.advance_all()
    wanted = call.query.get("dataset")
    chosen = [wanted] if wanted else [one["id"] for one in platform.datasets.values()]
    if len(chosen) != 1:
        return reply({"datasets": chosen, "warnings": warnings(platform)})
    answer = books(platform, chosen[0], ids=call.query.get("ids") == "true")
    return reply({**answer, "warnings": warnings(platform)})


async def held(request: Request) -> Response:
    """How many requests a `hold` fault holds; waits up to `wait` seconds for the first."""
    holds: Holds = request.scope["emulator_holds"]
    return reply({"held": await holds.held(float(request.query_params.get("wait", "0")))})


async def release(request: Request) -> Response:
    """Let all held requests go on."""
    holds: Holds = request.scope["emulator_holds"]
    holds.release()
    return Response(status_code=204)


def _moment(value: Any) -> float:
    if isinstance(value, int | float):
        return float(value)
    moment = datetime.datetime.fromisoformat(str(value))
    return (moment if moment.tzinfo else moment.replace(tzinfo=datetime.UTC)).timestamp()


def _told(handler: Callable[[Call], Response]) -> Handler:
    """Mistakes of the test as 400 with their text."""

    def run(call: Call) -> Response:
        try:
            return handler(call)
        except (ValueError, KeyError, TypeError, OSError) as error:
            return reply({"error": f"{type(error).__name__}: {error}"}, 400)

    return run


def _route(path: str, handler: Callable[[Call], Response], *methods: str) -> Route:
    return Route(f"{BASE}/{path}", endpoint(_told(handler)), methods=list(methods or ("GET",)))


ROUTES = [
    _route("health", health),
    _route("reset", reset, "POST"),
    _route("settings", settings, "GET", "PATCH"),
    _route("faults", faults, "GET", "POST", "DELETE"),
    _route("counters", counters, "GET", "DELETE"),
    _route("requests", requests),
    _route("clock", clock, "GET", "POST"),
    _route("mixpanel/projects", project, "POST"),
    _route("mixpanel/accounts", account, "POST"),
    _route("mixpanel/bearers", bearer, "POST"),
    _route("mixpanel/events", events, "POST", "DELETE"),
    _route("mixpanel/days", days, "GET"),
    Route(f"{BASE}/mixpanel/days", day, methods=["POST"]),
    _route("platform/clients", client, "POST"),
    _route("platform/tokens/expire", expire_tokens, "POST"),
    _route("platform/settle", settle, "POST"),
    _route("platform/recover/{batch}", recover, "POST"),
    _route("books", books),
    Route(f"{BASE}/held", held),
    Route(f"{BASE}/release", release, methods=["POST"]),
]
