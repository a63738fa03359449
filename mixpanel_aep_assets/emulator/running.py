"""Running an emulator beside a test or a demo: as a thread (fast to start) or as a process (can be killed, is apart)."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterable
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any

import httpx

from mixpanel_aep_assets.emulator.client import Control
from mixpanel_aep_assets.emulator.faults import Rule

START_SECONDS = 30.0


class EmulatorThread:
    """An emulator in a thread of this process, on a free port of the loopback; `with` starts and ends it."""

    def __init__(self, state: Path | None = None, faults: Iterable[dict[str, Any]] = ()) -> None:
        self._state, self._faults = state, list(faults)
        self.url = ""
        self._stack = ExitStack()

    def __enter__(self) -> EmulatorThread:
        from mixpanel_aep_assets.emulator.server import listen, uvicorn_server
        from mixpanel_aep_assets.emulator.world import World

        self.world = World(self._state)
        for rule in self._faults:
            self.world.faults.add(Rule.from_json(rule))
        listening = listen("127.0.0.1", 0)
        self._server = uvicorn_server(self.world)
        self._thread = threading.Thread(target=self._server.run, args=([listening],), name="emulator", daemon=True)
        self._thread.start()
        self.url = f"http://127.0.0.1:{listening.getsockname()[1]}"
        self._stack.callback(self.world.close)
        self._stack.callback(listening.close)
        self._stack.callback(self._stop)
        self.control = self._stack.enter_context(Control(self.url))
        _wait(self.control)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def _stop(self) -> None:
        self._server.end()
        self._thread.join(timeout=10)


class EmulatorProcess:
    """An emulator as a process of its own; `with` starts it, waits until it answers, and ends it.

    With the same `state` a second one takes up where the first ended, even if that was killed.
    """

    def __init__(
        self,
        state: Path | None = None,
        faults: Iterable[dict[str, Any]] = (),
        *,
        port: int = 0,
        settings: dict[str, Any] | None = None,
    ) -> None:
        self._state, self._faults, self._port, self._settings = state, list(faults), port, settings or {}
        self.url = ""
        self._stack = ExitStack()

    def __enter__(self) -> EmulatorProcess:
        command = [sys.executable, "-m", "mixpanel_aep_assets.emulator", "--port", str(self._port)]
        if self._state is not None:
            command += ["--state", str(self._state)]
        folder = Path(self._stack.enter_context(tempfile.TemporaryDirectory(prefix="emulator-start-")))
        for name, told in (("faults", self._faults), ("settings", self._settings)):
            if told:
                (folder / f"{name}.json").write_text(json.dumps(told), encoding="utf-8")
                command += [f"--{name}", str(folder / f"{name}.json")]
        log = self._stack.enter_context((folder / "stderr.txt").open("w+", encoding="utf-8"))
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True)  # noqa: S603
        self._stack.callback(self._stop)
        try:
            self.url = (self.process.stdout.readline() if self.process.stdout else "").strip()
            if not self.url:
                self.process.wait(timeout=10)
                log.seek(0)
                raise RuntimeError(f"the emulator did not start: {log.read().strip()}")
            self.control = self._stack.enter_context(Control(self.url))
            _wait(self.control)
        except BaseException:
            self._stack.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def kill(self) -> None:
        """End it at once, as a crash would."""
        self.process.kill()
        self.process.wait(timeout=10)

    def _stop(self) -> None:
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(timeout=10)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait(timeout=10)
        if self.process.stdout is not None:
            self.process.stdout.close()


def _wait(control: Control) -> None:
    deadline = time.monotonic() + START_SECONDS
    while True:
        try:
            control.health()
        except httpx.TransportError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.01)
        else:
            return
