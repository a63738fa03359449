"""What is remembered of a connection in its storage, so that it is the same in every process and on every day::

    <connection>/time_mode.json      what `time` means, decided once from events (mixpanel.md#rules-for-clients)
    <connection>/start_date.json     the first day, where none is set
    <connection>/schema_plan.json    the plan of grown fields that was accepted last

The first two are written by whoever comes first; the others read them. A file that cannot be read as what it should be (a
torn write) counts as never written and is replaced.
"""

from __future__ import annotations

import datetime
import logging
import threading
from typing import TYPE_CHECKING, Literal, TypeVar

import orjson

from mixpanel_aep_assets import manifests
from mixpanel_aep_assets.manifests import Stored, UnreadableManifest
from mixpanel_aep_assets.mixpanel.time_mode import Decision
from mixpanel_aep_assets.storage import EntryExists, Storage, StorageError, open_storage

if TYPE_CHECKING:  # only connections that grow fields need this room
    from mixpanel_aep_assets.growth.schema_plan import SchemaPlan

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


def time_mode(storage: Storage, name: str) -> Decision | None:
    """The mode that was decided from events; None before."""
    kept = _read(storage, _time_mode(name), DecidedMode)
    if kept is None:
        return None
    return Decision(kept.mode, kept.timezone, f"decided from {kept.day}: {kept.evidence}")


def keep_time_mode(storage: Storage, name: str, decision: Decision, day: str) -> None:
    """Keeps the first decision; later ones change nothing."""
    kept = DecidedMode(mode=decision.required(), timezone=decision.timezone, day=day, evidence=decision.evidence)
    _keep(storage, _time_mode(name), kept)


def start_date(url: str, name: str, default: datetime.date, patience: float = PATIENCE) -> datetime.date:
    """The first day of a connection for which none is set: the one remembered, else `default`, which is remembered.

    Never fails and never takes longer than `patience` seconds: while the storage cannot be reached, it is `default`.
    """
    found: list[datetime.date] = []

    def look() -> None:
        try:
            storage = open_storage(url)
            _keep(storage, _start(name), FirstDay(start_date=default))
            kept = _read(storage, _start(name), FirstDay)
            found.append(default if kept is None else kept.start_date)
        except StorageError as error:
            logger.warning("The first day of %s is not remembered: %s", name, error)

    # An object store that does not answer is asked again for minutes by its client.
    thread = threading.Thread(target=look, name="start_date", daemon=True)
    thread.start()
    thread.join(patience)
    return found[0] if found else default


def reach_back(storage: Storage, name: str, day: datetime.date) -> None:
    """Moves the remembered first day back to `day` if it is later."""
    before = _read(storage, _start(name), FirstDay)
    if before is None or day < before.start_date:
        storage.write(_start(name), manifests.encoded(FirstDay(start_date=day)))


def plan(storage: Storage, name: str) -> SchemaPlan | None:
    """The plan of grown fields that was accepted last, None where there is none. Raises PlanError for a damaged one."""
    from mixpanel_aep_assets.growth.schema_plan import read_plan

    path = _plan(name)
    data = storage.read(path)
    return None if data is None else read_plan(data.decode(), storage.location(path))


def keep_plan(storage: Storage, name: str, accepted: SchemaPlan) -> None:
    """Keeps the plan for connections opened from now on; a day mapped before is mapped again when it is materialized again."""
    storage.write(_plan(name), orjson.dumps(accepted.model_dump(mode="json", by_alias=True)))


def _plan(name: str) -> str:
    return f"{name}/schema_plan.json"


def _time_mode(name: str) -> str:
    return f"{name}/time_mode.json"


def _start(name: str) -> str:
    return f"{name}/start_date.json"


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
