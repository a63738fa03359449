"""A day's whole way as the faults meet it: a connection that does not wait long, and one run of it.

The same code runs in the tests' process and in the child that is killed.
"""

from __future__ import annotations

import json
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from mixpanel_aep_assets.aep import PlatformClient
from mixpanel_aep_assets.connection import Connection
from mixpanel_aep_assets.manifests import BatchManifest
from mixpanel_aep_assets.mixpanel.budget import open_budget
from mixpanel_aep_assets.mixpanel.export_retry import Retry
from mixpanel_aep_assets.pipeline.steps import extract, load, transform
from mixpanel_aep_assets_tests.connections import opened

QUICK = Retry(tries=2, first=0.0, longest=0.0, jitter=(0.0, 0.0), sleep=lambda _: None)
PLATFORM = {"tries": 2, "backoff": 0.001, "backoff_cap": 0.01, "longest_wait": 1.0, "settle_seconds": 20.0}
MAPPING = {"mappings": [{"sourceType": "ATTRIBUTE", "source": "data.event_name", "destination": "eventType"}]}
"""Few columns, so that a run takes a fraction of a second; id, time and identities are added to it."""

IN_CHUNKS = {"small_upload_bytes": 1_000, "chunk_bytes": 1_500}
"""Makes the large-file protocol of a day of some events."""


class Hurried:
    """A clock that jumps over every sleep, for the budget's three requests a second."""

    def __init__(self) -> None:
        self._ahead = 0.0

    def time(self) -> float:
        return time.time() + self._ahead

    def sleep(self, seconds: float) -> None:
        self._ahead += seconds


def connection(url: str, folder: Path, *, in_chunks: bool = False) -> Connection:
    """The default connection as a new process opens it; budget, tries and waits are those of a hurry."""
    mapping = folder / "mapping.json"
    if not mapping.exists():
        mapping.write_text(json.dumps(MAPPING))
    made = opened(SimpleNamespace(url=url), folder, mapping=str(mapping))
    clock, source = Hurried(), made.source
    made.mixpanel.budget.close()
    made.mixpanel.budget = open_budget(
        source.budget_key, source.budget_share, source.budget_location, clock=clock.time, sleep=clock.sleep
    )
    changes: dict[str, Any] = PLATFORM | (IN_CHUNKS if in_chunks else {})
    with made.platform as client:
        made.__dict__["platform"] = PlatformClient(client.platform.model_copy(update=changes))
    return made


def run(url: str, folder: Path, day: str, *, in_chunks: bool = False) -> BatchManifest | None:
    """Export, XDM, upload, a look at the batch: one plain run of the day in a fresh connection."""
    with connection(url, folder, in_chunks=in_chunks) as made:
        extract.extract_day(made, day, retry=QUICK)
        transform.transform_day(made, day)
        load.load_day(made, day)
        return load.confirm_day(made, day)
