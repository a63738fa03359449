"""A connection to an emulator, for tests of the pipeline, the Dagster layer and the commands."""

from __future__ import annotations

import dataclasses
import json
import time
from pathlib import Path
from typing import Any, Protocol

from pydantic import SecretStr

from mixpanel_aep_assets.aep import provision
from mixpanel_aep_assets.cli.demo import CREDENTIALS, environment
from mixpanel_aep_assets.connection import Connection, Secrets, Settings
from mixpanel_aep_assets.manifests import BatchManifest
from mixpanel_aep_assets.pipeline.steps import extract, load, transform
from mixpanel_aep_assets.xdm import standard

DAY = "2026-03-10"
NOON = 1_773_144_000_000
"""12:00 UTC of DAY, in milliseconds."""


class Server(Protocol):
    """An emulator, or whatever has its address."""

    url: str


def opened(emulator: Server, folder: Path, **settings: Any) -> Connection:
    """The default connection on the emulator, its days below `folder`."""
    given = {
        "project_id": 12345,
        "export_url": emulator.url,
        "api_url": emulator.url,
        "ims_url": emulator.url,
        "aep_url": emulator.url,
        "org_id": CREDENTIALS["ADOBE_ORG_ID"],
        "storage": str(folder / "data"),
        "budget_location": str(folder / "budget"),
    }
    secrets = Secrets(
        mixpanel_username=SecretStr(CREDENTIALS["MIXPANEL_USERNAME"]),
        mixpanel_secret=SecretStr(CREDENTIALS["MIXPANEL_SECRET"]),
        adobe_client_id=SecretStr(CREDENTIALS["ADOBE_CLIENT_ID"]),
        adobe_client_secret=SecretStr(CREDENTIALS["ADOBE_CLIENT_SECRET"]),
    )
    return Connection(Settings(**given | settings), secrets)


def variables(emulator: Server, folder: Path, **more: str) -> dict[str, str]:
    """The environment that describes the same connection."""
    import datetime

    start = datetime.date.fromisoformat(DAY) - datetime.timedelta(days=2)
    return environment(emulator.url, folder, folder / "dagster_home", start) | more


def provisioned(connection: Connection) -> Connection:
    provision.apply(connection.platform, provision.plan(connection.platform, connection.wanted()))
    return connection


def reopened(connection: Connection) -> Connection:
    """The same connection as another process opens it: with what the storage remembers now. The first one closes the clients."""
    again = dataclasses.replace(connection)
    again.__dict__.update(
        {name: client for name, client in connection.__dict__.items() if name in ("mixpanel", "platform")}
    )
    return again


def strict_mapping(folder: Path) -> str:
    """The standard mapping set, but that events with `NOWHERE` do not conform by it."""
    mapping = standard.standard_mapping(standard.TENANT)
    (state,) = (row for row in mapping["mappings"] if row["destination"] == "placeContext.geo.stateProvince")
    state["source"] = "properties.state"
    file = folder / "strict.json"
    file.write_text(json.dumps(mapping))
    return str(file)


NOWHERE = {"state": "California"}
"""Properties of an event whose state is not an ISO 3166-2 code."""


def event(number: int, name: str = "Page Viewed", /, **properties: Any) -> dict[str, Any]:
    """An event of DAY, received a second after it happened."""
    time_ms = NOON + number * 1000
    own = {
        "time": time_ms,
        "distinct_id": f"u{number % 7}",
        "$user_id": f"u{number % 7}",
        "$device_id": f"d{number % 7}",
        "$insert_id": f"i-{number}",
        "$mp_api_timestamp_ms": time_ms + 1000,
        "mp_processing_time_ms": time_ms + 2000,
    }
    return {"event": name, "properties": own | properties}


def events(count: int, /, **properties: Any) -> list[dict[str, Any]]:
    return [event(number, **properties) for number in range(count)]


def lines(rows: list[dict[str, Any]]) -> bytes:
    return b"".join(json.dumps(row, ensure_ascii=False).encode() + b"\n" for row in rows)


def run_day(connection: Connection, day: str = DAY) -> BatchManifest:
    """Export, XDM, upload; the handed-over day's manifest."""
    extract.extract_day(connection, day)
    transform.transform_day(connection, day)
    return load.load_day(connection, day)


def settled(connection: Connection, day: str = DAY, seconds: float = 60) -> BatchManifest:
    """The day's manifest once its batch is final."""
    deadline = time.monotonic() + seconds
    while True:
        manifest = load.confirm_day(connection, day)
        if manifest is not None and (not manifest.batch_id or manifest.outcome is not None):
            return manifest
        if time.monotonic() > deadline:
            raise TimeoutError(f"the batch of {day} is not final: {manifest}")
        time.sleep(0.05)
