"""What is remembered of a connection in its storage, so that it is the same in every process and on every day::

    <connection>/time_mode.json      what `time` means, decided once from events (mixpanel.md#rules-for-clients)
    <connection>/start_date.json     the first day, where none is set

Each is written by whoever comes first; the others read it. A file that cannot be read as what it should be (a torn write)
counts as never written and is replaced.
"""

from __future__ import annotations

import datetime
import logging
import threading
from typing import Literal, TypeVar

from mixpanel_aep_assets import manifests
from mixpanel_aep_assets.manifests import Stored, UnreadableManifest
from mixpanel_aep_assets.mixpanel.time_mode import Decision
from mixpanel_aep_assets.storage import EntryExists, Storage, StorageError, open_storage

logger = logging.getLogger(__name__)

PATIENCE = 5.0
"""Seconds that loading the definitions waits for the storage."""

S = TypeVar("S", bound=Stored)


class DecidedMode(Stored, frozen=True, kw_only=True):
    """The decision, the day that it was made from, and why."""

    mode: Literal["utc", "project"]
    timezone: str
    day: str
    evidence: str


class FirstDay(Stored, frozen=True, kw_only=True):
    start_date: datetime.date


def time_mode(storage: Storage, connection: str) -> Decision | None:
    """The mode that was decided from events; None before."""
    kept = _read(storage, _time_mode(connection), DecidedMode)
    if kept is None:
        return None
    return Decision(kept.mode, kept.timezone, f"decided from {kept.day}: {kept.evidence}")


def keep_time_mode(storage: Storage, connection: str, decision: Decision, day: str) -> None:
    """Keeps the first decision; later ones change nothing."""
    kept = DecidedMode(mode=decision.required(), timezone=decision.timezone, day=day, evidence=decision.evidence)
    _keep(storage, _time_mode(connection), kept)


def start_date(url: str, connection: str, default: datetime.date, patience: float = PATIENCE) -> datetime.date:
    """The first day of a connection for which none is set: the one remembered, else `default`, which is remembered.

    Never fails and never takes longer than `patience` seconds: while the storage cannot be reached, it is `default`.
    """
    found: list[datetime.date] = []

    def look() -> None:
        try:
            storage = open_storage(url)
            _keep(storage, _start(connection), FirstDay(start_date=default))
            kept = _read(storage, _start(connection), FirstDay)
            found.append(default if kept is None else kept.start_date)
        except StorageError as error:
            logger.warning("The first day of %s is not remembered: %s", connection, error)

    # An object store that does not answer is asked again for minutes by its client.
    thread = threading.Thread(target=look, name="start_date", daemon=True)
    thread.start()
    thread.join(patience)
    return found[0] if found else default


def reach_back(storage: Storage, connection: str, day: datetime.date) -> None:
    """Moves the remembered first day back to `day` if it is later."""
    before = _read(storage, _start(connection), FirstDay)
    if before is None or day < before.start_date:
        storage.write(_start(connection), manifests.encoded(FirstDay(start_date=day)))


def _time_mode(connection: str) -> str:
    return f"{connection}/time_mode.json"


def _start(connection: str) -> str:
    return f"{connection}/start_date.json"


def _read(storage: Storage, path: str, kind: type[S]) -> S | None:
    data = storage.read(path)
    try:
        return None if data is None else manifests.decoded(data, kind, storage.location(path))
    except UnreadableManifest:
        logger.warning("%s cannot be read; it counts as never written.", storage.location(path))
        return None


def _keep(storage: Storage, path: str, value: Stored) -> None:
    """Writes the value unless there is one."""
    data = manifests.encoded(value)
    try:
        storage.create(path, data)
    except EntryExists:
        if _read(storage, path, type(value)) is None:
            storage.write(path, data)
