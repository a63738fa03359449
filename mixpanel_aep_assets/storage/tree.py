"""The tree of days at a path or URL: its objects, its listings, and the sweep of what killed runs left."""

from __future__ import annotations

import contextlib
import datetime
import io
import shutil
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO
from urllib.parse import urlsplit

import obstore
from obstore.exceptions import AlreadyExistsError
from obstore.store import LocalStore, ObjectStore, from_url

from mixpanel_aep_assets.storage.days import LEFTOVER_AGE, MANIFEST, Day, Log, now
from mixpanel_aep_assets.storage.files import REMOTE_BUFFER, RemoteFile
from mixpanel_aep_assets.storage.storage_errors import (
    EntryExists,
    StorageError,
    WrongStorage,
    failed,
    first_line,
    replaced,
)

PASSING = "mixpanel-aep-day-"
"""Begins the names of our folders for temporary files."""


def open_storage(url: str) -> Storage:
    """The storage at a path or URL (`./data`, `s3://bucket/prefix`, `gs://…`, `abfss://…`).

    Credentials of object stores come from the places where their own tools look (environment, instance profile).
    """
    if len(urlsplit(url).scheme) > 1:
        if url.startswith("file://"):
            return _local(Path(urlsplit(url).path))
        try:
            return Storage(from_url(url), url.rstrip("/"))
        except Exception as error:
            raise WrongStorage(f"MIXPANEL_AEP_STORAGE={url!r} cannot be opened: {first_line(error)}") from error
    return _local(Path(url).expanduser())


def uri_of(url: str) -> str:
    """The URI of the storage at a path or URL, without opening it: `file:///…` for a folder."""
    if len(urlsplit(url).scheme) > 1 and not url.startswith("file://"):
        return url.rstrip("/")
    path = Path(urlsplit(url).path) if url.startswith("file://") else Path(url).expanduser()
    return path.resolve().as_uri()


def _local(path: Path) -> Storage:
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StorageError(
            f"The storage folder {path} cannot be made: {error.strerror}. Set MIXPANEL_AEP_STORAGE."
        ) from error
    root = path.resolve()
    return Storage(LocalStore(root, mkdir=True, automatic_cleanup=True), str(root), root)


@dataclass(frozen=True)
class Storage:
    """A tree of days. `url` is the root as the user wrote it, made absolute; `root` is its folder on the local disk."""

    store: ObjectStore
    url: str
    root: Path | None = None

    def __reduce__(self) -> tuple[Callable[[str], Storage], tuple[str]]:
        """Another process opens the same tree by its URL."""
        return open_storage, (self.url,)

    def day(self, connection: str, table: str, day: str) -> Day:
        return Day(self, f"{connection}/{table}/{day}")

    def days(self, connection: str, table: str) -> list[str]:
        """The days of a table that have a committed manifest, in order."""
        folders = self._folders(f"{connection}/{table}/")
        return sorted(f.rsplit("/", 1)[-1] for f in folders if self.read(f"{f}/{MANIFEST}") is not None)

    def folders(self, connection: str, table: str) -> list[str]:
        """The names below a table, in order, by one listing: of its days, whether committed or not."""
        return sorted(path.rsplit("/", 1)[-1] for path in self._folders(f"{connection}/{table}/"))

    def log(self, connection: str, name: str, day: str) -> Log:
        return Log(self, f"{connection}/{name}/{day}")

    def location(self, path: str) -> str:
        """A path or URL for a reader outside (Polars, a person)."""
        return f"{self.url}/{path}"

    def read(self, path: str) -> bytes | None:
        """The whole object, None where there is none."""
        try:
            return bytes(obstore.get(self.store, path).bytes())
        except FileNotFoundError:
            return None
        except Exception as error:
            raise self.failed("read", path, error) from error

    def write(self, path: str, data: bytes) -> None:
        """Puts the object, replacing an older one in one step."""
        try:
            obstore.put(self.store, path, data)
        except Exception as error:
            raise self.failed("written", path, error) from error

    def create(self, path: str, data: bytes) -> None:
        """Puts the object if there is none yet; raises EntryExists otherwise. Atomic on every kind of store."""
        try:
            obstore.put(self.store, path, data, mode="create", use_multipart=False)
        except AlreadyExistsError as error:
            raise EntryExists(path) from error
        except Exception as error:
            raise self.failed("written", path, error) from error

    def open_read(self, path: str) -> IO[bytes]:
        """A seekable reader."""
        try:
            if self.root is not None:
                return (self.root / path).open("rb")
            return io.BufferedReader(RemoteFile(self, path), REMOTE_BUFFER)
        except FileNotFoundError as error:
            raise replaced(self.location(path)) from error
        except Exception as error:
            raise self.failed("read", path, error) from error

    def objects(self, prefix: str) -> Iterator[Stored]:
        """All objects below a folder."""
        try:
            for batch in obstore.list(self.store, prefix.rstrip("/") + "/"):
                for meta in batch:
                    yield Stored(meta["path"], meta["size"], meta["last_modified"])
        except FileNotFoundError:
            return

    def delete(self, paths: list[str]) -> None:
        if paths:
            try:
                obstore.delete(self.store, paths)
            except FileNotFoundError:
                pass
            except Exception as error:
                raise self.failed("deleted", paths[0], error) from error

    def sweep(self, connection: str, day: str) -> None:
        """Removes what killed runs left of the day in any table or log of the connection, and in `tempfile`'s folder."""
        for folder in self._folders(f"{connection}/"):
            Day(self, f"{folder}/{day}").sweep()
            self._sweep_parts(f"{folder}/{day}")
        self._sweep_parts(connection)
        _sweep_passing()

    def _sweep_parts(self, folder: str) -> None:
        if self.root is None:
            return
        limit = (now() - LEFTOVER_AGE).timestamp()
        for part in (self.root / folder).glob("*#*"):
            with contextlib.suppress(OSError):  # another process sweeps too
                if part.is_file() and part.stat().st_mtime < limit:
                    part.unlink()

    def _folders(self, prefix: str) -> list[str]:
        try:
            return [str(p) for p in obstore.list_with_delimiter(self.store, prefix)["common_prefixes"]]
        except FileNotFoundError:
            return []

    def failed(self, what: str, path: str, error: Exception) -> StorageError:
        """The error for an object of this storage that cannot be `what` (read, written, deleted)."""
        return failed(self.location(path), what, error)


@dataclass(frozen=True)
class Stored:
    path: str
    size: int
    modified: datetime.datetime


def _sweep_passing() -> None:
    """Folders for temporary files of runs that were killed; those of others are left to them."""
    limit = (now() - LEFTOVER_AGE).timestamp()
    try:
        place = Path(tempfile.gettempdir())
    except OSError:  # none can be written: what needs one will say so
        return
    for folder in place.glob(f"{PASSING}*"):
        with contextlib.suppress(OSError):  # another process sweeps too
            if folder.is_dir() and folder.stat().st_mtime < limit:
                shutil.rmtree(folder, ignore_errors=True)
