"""Runs that read days together: which days one of them is reading, which have been read. Kept in the storage, so that it
holds across processes and hosts::

    <connection>/windows/<pass>/<000001>.json     a claim: these days are being read by this process
    <connection>/windows/<pass>/beat/<1>          changes every few seconds while it does, `ended` afterwards
    <connection>/windows/<pass>/read/<day>        the day is read and committed
    <connection>/windows/<pass>/finished          a command came to its end

What does not belong here: which days go together, and reading them (`day_exports`).
"""

from __future__ import annotations

import datetime
import re
import threading
import time
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TypeVar

from mixpanel_aep_assets import manifests
from mixpanel_aep_assets.manifests import Stored
from mixpanel_aep_assets.runtime.owner import Owner
from mixpanel_aep_assets.storage import Log, Storage, StorageError, now

FOLDER = "windows"
BEAT = 5.0
"""Seconds between the signs of life of a process that reads."""

SILENCE = 90.0
"""Seconds without a sign of life after which its days are taken over. A day that is read twice only costs a request."""

LOOK = 0.5
"""Seconds between two looks of a run that waits for its day."""

KEPT = datetime.timedelta(days=7)
"""How long the notes of a pass are kept."""

RESUMED = datetime.timedelta(hours=24)
"""A command that was stopped goes on where it was for so long; later its days are read anew, for what came late."""

S = TypeVar("S", bound=Stored)

NOBODY = Owner("", 0, 0.0)

_ENDED = b"ended"
_CLAIM = re.compile(r"\d{6}\.json")


@dataclass(frozen=True)
class Pass:
    """Runs that read each of these days once. `id` becomes the name of a folder."""

    id: str
    days: tuple[str, ...]

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[A-Za-z0-9_.-]{1,120}", self.id):
            raise ValueError(f"{self.id!r} cannot name a pass")


class Claim(Stored, frozen=True, kw_only=True):
    """Days that a process is reading. `token` tells its claims apart."""

    number: int = 0
    days: tuple[str, ...]
    owner: Owner
    token: str


class Read(Stored, frozen=True, kw_only=True):
    """The note of a day that was read: the committed generation, and whether the day stayed as it was."""

    generation: str
    unchanged: bool


class Notes:
    """What the runs of a pass tell each other."""

    def __init__(self, storage: Storage, connection: str, pass_id: str) -> None:
        self._storage = storage
        self._folder = f"{connection}/{FOLDER}/{pass_id}"
        self._log = Log(storage, self._folder)

    def read(self, day: str) -> Read | None:
        """The note of a day that was read; None: it was not."""
        return self._stored(f"{self._folder}/read/{day}", Read)

    def days_read(self) -> set[str]:
        return {stored.path.rsplit("/", 1)[-1] for stored in self._storage.objects(f"{self._folder}/read")}

    def mark_read(self, day: str, generation: str, *, unchanged: bool) -> None:
        self._storage.write(
            f"{self._folder}/read/{day}", manifests.encoded(Read(generation=generation, unchanged=unchanged))
        )

    def claims(self) -> list[Claim]:
        """All claims, oldest first, those that ended too."""
        found = []
        for stored in self._storage.objects(self._folder):
            if _CLAIM.fullmatch(stored.path.removeprefix(f"{self._folder}/")):
                number = int(stored.path.rsplit("/", 1)[-1].removesuffix(".json"))
                # One that was cut claims nothing, and its number is taken.
                found.append(self._stored(stored.path, Claim) or Claim(number=number, days=(), owner=NOBODY, token=""))
        return sorted(found, key=lambda claim: claim.number)

    def _stored(self, path: str, kind: type[S]) -> S | None:
        data = self._storage.read(path)
        return None if data is None else manifests.decoded(data, kind, self._storage.location(path))

    def lives(self, claim: Claim) -> bool:
        """False where the claim ended, or this host can see that its process is dead."""
        return self._storage.read(self._beat(claim.number)) != _ENDED and not claim.owner.is_dead(claim.token)

    def wait(self, claim: Claim, day: str) -> None:
        """Returns when the day is read, or the claim's process has ended or been silent for too long."""
        seen, since = self._storage.read(self._beat(claim.number)), time.monotonic()
        while self.read(day) is None and self.lives(claim):
            beat = self._storage.read(self._beat(claim.number))
            if beat != seen:
                seen, since = beat, time.monotonic()
            elif time.monotonic() - since > SILENCE:
                self._storage.write(self._beat(claim.number), _ENDED)
            time.sleep(LOOK)

    @contextmanager
    def claimed(self, number: int, days: Sequence[str]) -> Iterator[None]:
        """The days are ours in the block. Raises EntryExists if another claim came first: look again."""
        token = uuid.uuid4().hex
        Owner.living(token)
        try:
            claim = Claim(number=number, days=tuple(days), owner=Owner.this(), token=token, format=manifests.FORMAT)
            self._log.append(number, manifests.as_json(claim))
            with self._beating(number):
                yield
        finally:
            Owner.ended(token)

    @contextmanager
    def _beating(self, number: int) -> Iterator[None]:
        stop = threading.Event()

        def beat() -> None:
            count = 0
            while not stop.wait(BEAT):
                count += 1
                with suppress(StorageError):  # the next one may get through
                    self._storage.write(self._beat(number), str(count).encode())

        thread = threading.Thread(target=beat, name="beat", daemon=True)
        thread.start()
        try:
            yield
        finally:
            stop.set()
            thread.join()
            with suppress(StorageError):
                self._storage.write(self._beat(number), _ENDED)

    def _beat(self, number: int) -> str:
        return f"{self._folder}/beat/{number}"


def begin(storage: Storage, connection: str, days: Sequence[str]) -> Pass:
    """The pass of a command over these days: a new one, or the one that was stopped in the last `RESUMED` hours."""
    sweep(storage, connection)
    stopped = unfinished(storage, connection, days)
    return stopped or Pass(f"{_name(days)}{now():%Y%m%dT%H%M%SZ}-{uuid.uuid4().hex[:6]}", tuple(days))


def unfinished(storage: Storage, connection: str, days: Sequence[str]) -> Pass | None:
    """The pass of a command over these days that was stopped lately."""
    name = _name(days)
    earlier = [folder for folder in storage.folders(connection, FOLDER) if folder.startswith(name)]
    if earlier:
        newest = earlier[-1]
        began = datetime.datetime.strptime(newest.removeprefix(name)[:16], "%Y%m%dT%H%M%SZ").replace(
            tzinfo=datetime.UTC
        )
        finished = storage.read(f"{connection}/{FOLDER}/{newest}/finished")
        if finished is None and now() - began < RESUMED:
            return Pass(newest, tuple(days))
    return None


def _name(days: Sequence[str]) -> str:
    return f"run-{days[0]}-{days[-1]}-"


def finish(storage: Storage, connection: str, together: Pass) -> None:
    """The command came to its end: the next one over the same days reads them anew."""
    storage.write(f"{connection}/{FOLDER}/{together.id}/finished", b"")


def sweep(storage: Storage, connection: str) -> None:
    """Removes the notes of passes of which nothing was heard for `KEPT`."""
    newest: dict[str, datetime.datetime] = {}
    paths: dict[str, list[str]] = {}
    prefix = f"{connection}/{FOLDER}/"
    for stored in storage.objects(prefix):
        name = stored.path.removeprefix(prefix).split("/", 1)[0]
        newest[name] = max(newest.get(name, stored.modified), stored.modified)
        paths.setdefault(name, []).append(stored.path)
    for name, modified in newest.items():
        if modified < now() - KEPT:
            storage.delete(paths[name])
