"""The application: all routes on one port, and the blocking server."""

from __future__ import annotations

import asyncio
import socket
import sys
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.types import ASGIApp, Receive, Scope, Send

from mixpanel_aep_assets.emulator import control
from mixpanel_aep_assets.emulator.faults import Rule
from mixpanel_aep_assets.emulator.gate import Gate
from mixpanel_aep_assets.emulator.mixpanel import app as app_api
from mixpanel_aep_assets.emulator.mixpanel import export, ingestion, query
from mixpanel_aep_assets.emulator.platform import (
    batches,
    catalog,
    dataaccess,
    descriptors,
    ims,
    mapping_sets,
    namespaces,
    registry,
)
from mixpanel_aep_assets.emulator.world import World

ROUTES = [
    *control.ROUTES, *export.ROUTES, *app_api.ROUTES, *query.ROUTES, *ingestion.ROUTES, *ims.ROUTES, *batches.ROUTES,
    *catalog.ROUTES, *dataaccess.ROUTES, *descriptors.ROUTES, *registry.ROUTES, *namespaces.ROUTES, *mapping_sets.ROUTES,
]  # fmt: skip


def build_app(world: World) -> ASGIApp:
    """The ASGI application over a world."""
    inner = Starlette(routes=list(ROUTES))
    inner.state.world = world
    return Gate(_without_final_slash(inner), world)


def _without_final_slash(inner: ASGIApp) -> ASGIApp:
    """The Schema Registry takes its addresses with a slash at the end too; Adobe's open client writes them so."""

    async def run(scope: Scope, receive: Receive, send: Send) -> None:
        path = scope.get("path", "")
        if path.startswith(registry.BASE) and path.endswith("/"):
            scope = {**scope, "path": path.rstrip("/"), "raw_path": scope["raw_path"].rstrip(b"/")}
        await inner(scope, receive, send)

    return run


def listen(host: str, port: int) -> socket.socket:
    """A listening socket; port 0 takes a free one. OSError when the port is taken."""
    listening = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listening.bind((host, port))
    listening.listen(512)
    return listening


class Server(uvicorn.Server):
    """A server that another thread can end at once. uvicorn looks ten times a second whether it should exit and then waits
    a tenth more, which every test would pay."""

    _loop: asyncio.AbstractEventLoop | None = None

    def end(self) -> None:
        """Cut all connections and return from `run`. Called from another thread."""
        self.should_exit = self.force_exit = True
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self._ended.set)

    async def main_loop(self) -> None:
        self._ended = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        ticking = asyncio.ensure_future(super().main_loop())
        ended = asyncio.ensure_future(self._ended.wait())
        await asyncio.wait((ticking, ended), return_when=asyncio.FIRST_COMPLETED)
        for task in (ticking, ended):
            task.cancel()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        if not self.force_exit:
            await super().shutdown(sockets)
            return
        for server in self.servers:
            server.close()
        for connection in list(self.server_state.connections):
            connection.shutdown()
        if self.server_state.tasks:  # an answer that is all sent still closes its file; one that hangs is cut
            await asyncio.wait(self.server_state.tasks, timeout=0.1)


def uvicorn_server(world: World) -> Server:
    """A server that is not started yet. It is quiet: cut connections are its business, not news."""
    return Server(
        uvicorn.Config(
            build_app(world),
            log_level="critical",
            access_log=False,
            lifespan="off",
            timeout_keep_alive=30,
            timeout_graceful_shutdown=2,
        )
    )


def serve(
    host: str = "127.0.0.1",
    port: int = 0,
    state: Path | None = None,
    *,
    faults: Iterable[dict[str, Any]] = (),
    settings: Mapping[str, Any] | None = None,
    ready: Callable[[str], None] | None = None,
) -> None:
    """Serve until interrupted.

    `state` is the SQLite file to remember in (None: memory), `faults` are rules to put in force at start (see `faults`).
    `ready` is called with the base URL once the port is open; by default the URL is printed as the first line of standard
    output. Raises OSError when the port is taken, ValueError for a rule or setting that does not exist.
    """
    world = World(state)
    world.settings.update(dict(settings or {}))
    for rule in faults:
        world.faults.add(Rule.from_json(rule))
    listening = listen(host, port)
    url = f"http://{host}:{listening.getsockname()[1]}"
    if ready is None:
        sys.stdout.write(url + "\n")
        sys.stdout.flush()
    else:
        ready(url)
    try:
        uvicorn_server(world).run(sockets=[listening])
    finally:
        listening.close()
        world.close()
