"""Answers of Mixpanel that are worse than a committed day, and what is read of the day after them."""

from __future__ import annotations

import datetime
from typing import Any
from urllib.parse import parse_qs

from mixpanel_aep_assets.connection import Connection
from mixpanel_aep_assets.emulator import EmulatorThread
from mixpanel_aep_assets.mixpanel import doubt
from mixpanel_aep_assets.mixpanel.export_retry import Retry
from mixpanel_aep_assets.pipeline.books import verify
from mixpanel_aep_assets.pipeline.steps import extract
from mixpanel_aep_assets_tests.connections import (
    DAY,
    events,
    lines,
    run_day,
    settled,
)

EXPORT, QUERY = {"path": "/api/2.0/export"}, {"path": "/api/query/*"}
BEFORE = (datetime.date.fromisoformat(DAY) - datetime.timedelta(days=1)).isoformat()
AFTER = (datetime.date.fromisoformat(DAY) + datetime.timedelta(days=1)).isoformat()
NO_WAIT = Retry(tries=2, first=0.0, longest=0.0, jitter=(0.0, 0.0), sleep=lambda _: None)
WORSE: dict[str, dict[str, Any]] = {
    "empty answer": {"kind": "empty"},
    "short answer": {"kind": "short", "after_lines": 7},
}
NO_COUNT: dict[str, Any] = {"kind": "status", "status": 402}


def moved(days: int, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Events of DAY as events of another day."""
    for row in rows:
        for name in ("time", "$mp_api_timestamp_ms", "mp_processing_time_ms"):
            row["properties"][name] += days * 86_400_000
    return rows


def live(emulator: EmulatorThread, connection: Connection) -> int:
    emulator.control.settle()
    return int(emulator.control.books(connection.dataset)["live"]["rows"])


def asked(emulator: EmulatorThread, what: str = "/export") -> list[tuple[str, str]]:
    """The ranges of the requests so far."""
    queries = [parse_qs(r["query"]) for r in emulator.control.requests() if r["path"].endswith(what)]
    return [(query["from_date"][0], query["to_date"][0]) for query in queries]


def rows(connection: Connection, day: str = DAY) -> int:
    manifest = connection.day(extract.TABLE, day).manifest()
    assert manifest is not None
    return int(manifest["rows"])


def seed(emulator: EmulatorThread, count: int = 18) -> None:
    """DAY has so many events, the day before has 18."""
    emulator.control.seed_day(BEFORE, lines(moved(-1, events(18))))
    emulator.control.seed_day(DAY, lines(events(count)))


def ingested(emulator: EmulatorThread, connection: Connection) -> None:
    """Both days are live."""
    seed(emulator)
    for day in (BEFORE, DAY):
        run_day(connection, day)
        settled(connection, day)


def doubted(connection: Connection, day: str = DAY) -> str:
    """The text of the red check."""
    finding = verify.loss_is_proven(connection, day)
    assert (finding.passed, finding.severe) == (False, True)
    return finding.text


def require_good(connection: Connection, day: str = DAY) -> None:
    finding = verify.loss_is_proven(connection, day)
    assert finding.passed, finding.text
    assert doubt.read(connection.day(extract.TABLE, day)) is None
