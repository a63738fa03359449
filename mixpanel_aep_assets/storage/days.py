"""A day of a table: whole-day replace by generations and a manifest; and a log with one writer an entry."""

from __future__ import annotations

import datetime
import logging
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import TracebackType
from typing import TYPE_CHECKING, Any, Protocol

import orjson

from mixpanel_aep_assets.storage.files import WRITE_BUFFER, StagedFile
from mixpanel_aep_assets.storage.storage_errors import StorageError

if TYPE_CHECKING:
    from mixpanel_aep_assets.storage.tree import Storage

logger = logging.getLogger(__name__)

MANIFEST = "manifest.json"
LEFTOVER_AGE = datetime.timedelta(hours=24)
"""Longer than any attempt may take (a run's time limit is 6 h), so that a sweep never takes a living run's files."""


class Committed(Protocol):
    """A manifest that knows its files (`manifests.Manifest`)."""

    @property
    def generation(self) -> str: ...

    def names(self, kind: str) -> list[str]: ...


@dataclass(frozen=True)
class Day:
    """One day of one table."""

    storage: Storage
    path: str

    @property
    def connection(self) -> str:
        return self.path.split("/", 1)[0]

    def beside(self, table: str, name: str) -> Day:
        """A day, or another name, of another table of the same connection."""
        return self.storage.day(self.connection, table, name)

    def remove(self) -> None:
        """Takes the content away, the manifest first: a run that is killed meanwhile leaves nothing that shows."""
        self.storage.delete([f"{self.path}/{MANIFEST}"])
        self.storage.delete([stored.path for stored in self.storage.objects(self.path)])

    def manifest(self) -> dict[str, Any] | None:
        """What was committed last, None where nothing was, or where a power failure left no readable manifest."""
        data = self.storage.read(f"{self.path}/{MANIFEST}")
        try:
            return None if data is None else orjson.loads(data)
        except orjson.JSONDecodeError:
            logger.warning("%s/%s cannot be read; the day counts as not committed.", self.path, MANIFEST)
            return None

    def files(self, manifest: Mapping[str, Any] | Committed | None = None, kind: str = "parts") -> list[str]:
        """Storage paths of the committed files of a kind (`parts`, `quarantine`, …), in order."""
        manifest = self.manifest() if manifest is None else manifest
        if manifest is None:
            return []
        if isinstance(manifest, Mapping):
            generation, names = manifest["generation"], [entry["name"] for entry in manifest.get(kind, [])]
        else:
            generation, names = manifest.generation, manifest.names(kind)
        return [f"{self.path}/{generation}/{name}" for name in names]

    def locations(self, manifest: Mapping[str, Any] | Committed | None = None, kind: str = "parts") -> list[str]:
        """The same as paths or URLs that Polars and PyArrow open."""
        return [self.storage.location(path) for path in self.files(manifest, kind)]

    def sweep(self) -> None:
        """Removes generations that no manifest names and that no living run can still be writing."""
        current = (self.manifest() or {}).get("generation")
        newest: dict[str, datetime.datetime] = {}
        paths: dict[str, list[str]] = {}
        for stored in self.storage.objects(self.path):
            inner = stored.path.removeprefix(f"{self.path}/")
            generation = inner.split("/", 1)[0]
            if "/" not in inner or generation == current:
                continue
            newest[generation] = max(newest.get(generation, stored.modified), stored.modified)
            paths.setdefault(generation, []).append(stored.path)
        limit = now() - LEFTOVER_AGE
        for generation, modified in newest.items():
            if modified < limit:
                self.storage.delete(paths[generation])

    def stage(self) -> Staging:
        """A new generation, to be filled and committed: `with day.stage() as staging: …; staging.commit(…)`."""
        return Staging(self)


@dataclass
class Staging:
    """Files of one attempt at a day. Nothing shows before `commit`; leaving without it removes what was written."""

    day: Day
    generation: str = field(default_factory=lambda: uuid.uuid4().hex[:16])
    committed: bool = False
    _open: list[StagedFile] = field(default_factory=list)

    def __enter__(self) -> Staging:
        self.day.sweep()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.committed:
            return
        self.abandon()
        try:
            self.day.storage.delete([s.path for s in self.day.storage.objects(f"{self.day.path}/{self.generation}")])
        except StorageError:
            if error is None:
                raise

    def abandon(self) -> None:
        """Closes what is open without caring whether it can be written."""
        for staged in self._open:
            staged.abandon()

    def path(self, name: str) -> str:
        return f"{self.day.path}/{self.generation}/{name}"

    def open(self, name: str, buffer: int = WRITE_BUFFER) -> StagedFile:
        """A binary file to write to; close it before `commit`. Raises StorageError from write and close.

        `buffer` bytes are held on the local disk; less where many files are open at once.
        """
        staged = StagedFile(self.day.storage, self.path(name), buffer)
        self._open.append(staged)
        return staged

    def commit(self, manifest: Mapping[str, Any]) -> dict[str, Any]:
        """Makes this generation the day's content, in one step, and removes the one before it.

        `manifest` names the files by kind, e.g. `{"parts": [{"name": …, "rows": …, "bytes": …}], …}`.
        """
        for staged in self._open:
            if not staged.closed:
                raise RuntimeError(f"{staged.path} is still open")
        before = self.day.manifest()
        written = {**manifest, "generation": self.generation, "committed_at": now().isoformat()}
        self.day.storage.write(f"{self.day.path}/{MANIFEST}", orjson.dumps(written, option=orjson.OPT_INDENT_2))
        self.committed = True
        if before is not None and before.get("generation") != self.generation:
            old = f"{self.day.path}/{before['generation']}"
            self.day.storage.delete([s.path for s in self.day.storage.objects(old)])
        return written


@dataclass(frozen=True)
class Log:
    """An append-only log with one writer an entry: entry n+1 can be created once, whoever comes first.

    That makes every append a compare-and-swap, on the local disk as on object stores, across processes and hosts.
    """

    storage: Storage
    path: str

    def entries(self) -> list[dict[str, Any]]:
        """All entries, oldest first."""
        names = sorted(stored.path for stored in self.storage.objects(self.path) if stored.path.endswith(".json"))
        found = []
        for name in names:
            data = self.storage.read(name)
            if data is not None:
                found.append(orjson.loads(data))
        return found

    def append(self, number: int, entry: Mapping[str, Any]) -> None:
        """Writes entry `number` (from 1). Raises EntryExists when another writer has it: read again, decide again."""
        data = orjson.dumps({"number": number, "at": now().isoformat(), **entry})
        self.storage.create(f"{self.path}/{number:06d}.json", data)


def now() -> datetime.datetime:
    return datetime.datetime.now(datetime.UTC)
