"""A provisioned sandbox on the emulator, its storage, and the ways of the tests to send, break and judge."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from mixpanel_aep_assets.aep import FileToSend, Platform, PlatformClient, Receipt, catalog, registry, send_day
from mixpanel_aep_assets.emulator.client import Control
from mixpanel_aep_assets.storage import Storage, open_storage
from mixpanel_aep_assets_tests.aep.days import DAY

EXPERIENCE_EVENT = "https://ns.adobe.com/xdm/context/experienceevent"
BATCHES = "/data/foundation/import/batches"
CREATE = {"method": "POST", "path": BATCHES}
PUT = {"method": "PUT", "path": f"{BATCHES}/*"}
COMPLETE = {"method": "POST", "path": f"{BATCHES}/*", "query": {"action": "COMPLETE"}}
REVERT = {"method": "POST", "path": f"{BATCHES}/*", "query": {"action": "REVERT"}}
ABORT = {"method": "POST", "path": f"{BATCHES}/*", "query": {"action": "ABORT"}}
LOOK_UP = {"method": "GET", "path": "/data/foundation/catalog/batches"}
TOKEN = {"method": "POST", "path": "/ims/token/v3"}


@dataclass
class Sandbox:
    """One dataset of the emulator, and one storage."""

    control: Control
    platform: Platform
    storage: Storage
    dataset_id: str

    def client(self, **changes: Any) -> PlatformClient:
        return PlatformClient(self.platform.model_copy(update=changes))

    def send(
        self, files: Sequence[FileToSend], version: str, storage: Storage | None = None, day: str = DAY, **given: Any
    ) -> Receipt:
        """One call of `send_day`, with a client of its own as a process has. `settings` changes the platform's."""
        with self.client(**given.pop("settings", {})) as client:
            return send_day(client, storage or self.storage, "default", day, self.dataset_id, version, files, **given)

    def start(self, version: str, count: int, parts: int = 1, base: str = "") -> subprocess.Popen[str]:
        """The same in a process of its own; its events are `ids(count, version)`."""
        settings = self.platform.model_dump(mode="json")
        settings["client_id"] = self.platform.client_id.get_secret_value()
        settings["client_secret"] = self.platform.client_secret.get_secret_value()
        arguments = [self.storage.url, json.dumps(settings), self.dataset_id, version, str(count), str(parts), base]
        return subprocess.Popen(
            [sys.executable, "-m", "mixpanel_aep_assets_tests.aep.sender", *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=Path(__file__).resolve().parents[2],
        )

    def live(self) -> Counter[str]:
        """How often each `_id` is live, once all batches have come to their end."""
        self.control.settle()
        return Counter(self.control.books(self.dataset_id, ids=True)["ids"])

    def batches(self) -> list[dict[str, Any]]:
        self.control.settle()
        batches: list[dict[str, Any]] = self.control.books(self.dataset_id)["batches"]
        return batches

    def uploads(self) -> int:
        """PUT and PATCH requests so far."""
        return sum(r["method"] in ("PUT", "PATCH") for r in self.control.requests())

    def wait_until_held(self) -> None:
        deadline = time.monotonic() + 60
        while not self.control.held(1):
            assert time.monotonic() < deadline, "no request came to the fault"


@pytest.fixture
def make_sandbox(emulator: Any, tmp_path: Path) -> Callable[..., Sandbox]:
    """A factory, so that a test may set the emulator up first."""

    def make(**changes: Any) -> Sandbox:
        given: dict[str, Any] = {
            "client_id": "demo-client", "client_secret": "demo-client-secret", "ims_url": emulator.url,
            "org_id": "0123456789ABCDEF01234567@AdobeOrg", "url": emulator.url, "backoff": 0.005, "backoff_cap": 0.05,
            "longest_wait": 2.0, "settle_seconds": 20.0,
        }  # fmt: skip
        platform = Platform(**{**given, **changes})
        with PlatformClient(platform) as client:
            schema = {
                "title": "Events", "description": "Only the class", "type": "object",
                "allOf": [{"$ref": EXPERIENCE_EVENT}],
            }  # fmt: skip
            schema_id = registry.create(client, "schemas", schema)["$id"]
            content_type = "application/vnd.adobe.xed+json;version=1"
            body = {"name": "Events", "schemaRef": {"id": schema_id, "contentType": content_type}}
            dataset_id = catalog.create_dataset(client, body)
        emulator.control.reset_counters()
        return Sandbox(emulator.control, platform, open_storage(str(tmp_path / "data")), dataset_id)

    return make


@pytest.fixture
def sandbox(make_sandbox: Callable[..., Sandbox]) -> Sandbox:
    return make_sandbox()
