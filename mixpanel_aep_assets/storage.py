"""Where a day lives: paths, whole-day replace, manifests, append-only logs, locks' ground.

One library (obstore) speaks to the local disk and to `s3://`, `gs://`, `abfss://`. Nobody else in the project builds a
path. What belongs here: how bytes become visible, all at once or not at all. What does not: what the bytes mean.

Layout below the storage URL::

    <connection>/<table>/<day>/manifest.json             the commit: written last, replaced whole
    <connection>/<table>/<day>/<generation>/<file>       the files that the manifest names
    <connection>/<log>/<day>/<000001>.json               an append-only log, one create-only object an entry

A table of requests instead of days has `<first day>_<last day>` in the place of `<day>`.

A generation is the output of one attempt. It becomes visible when a manifest names it; one that no manifest names is a
leftover of a killed run, and is swept by a later attempt once it is older than `LEFTOVER_AGE`. So are the part files
(`<name>#<number>`) in which obstore puts an object together on the local disk, and which no listing shows.
"""

from __future__ import annotations

import contextlib
import datetime
import io
import logging
import shutil
import tempfile
import uuid
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import IO, Any
from urllib.parse import urlsplit

import obstore
import orjson
import polars as pl
from obstore.exceptions import AlreadyExistsError
from obstore.store import LocalStore, ObjectStore, from_url

from mixpanel_aep_assets.errors import ExplainedError, SettingsError

logger = logging.getLogger(__name__)

MANIFEST = "manifest.json"
LEFTOVER_AGE = datetime.timedelta(hours=24)
"""Longer than any attempt may take (a run's time limit is 6 h), so that a sweep never takes a living run's files."""

WRITE_BUFFER = 8 << 20
"""Bytes that a file holds before they are written; of an object store's multipart upload (5 MB at least) always so many."""

PASSING = "mixpanel-aep-day-"
"""Begins the names of our folders for temporary files."""

REMOTE_BUFFER = 1 << 20
"""Bytes that are read of an object at a time."""

DISK_FULL = ("No space left", "quota exceeded", "File too large")
"""What the system says when a disk, a quota or the limit of a file is used up, in Python and in obstore."""


UNREACHED = {
    "InvalidCertificate": "Its certificate is not trusted: set SSL_CERT_FILE to a PEM file of its authority "
    "(REQUESTS_CA_BUNDLE is not read here; docs/network.md).",
    "No CA certificates": "No certificate authority could be read: check SSL_CERT_FILE and SSL_CERT_DIR.",
    "unsupported scheme": "The object store's client knows no SOCKS proxy: set HTTPS_PROXY to an HTTP proxy, or name the "
    "store's host in NO_PROXY (docs/network.md).",
}
"""What obstore says of the way to an object store, and what to do (seen with obstore 0.12)."""


class StorageError(ExplainedError):
    """Storage cannot be read or written: disk full, no permission, unreachable. The text names the path and the fix."""


class WrongStorage(StorageError, SettingsError):
    """MIXPANEL_AEP_STORAGE names no place that can be opened."""


class DayReplaced(StorageError):
    """A committed file was gone when it was to be read: another run has replaced the day meanwhile."""

    retryable = True
    wait = 1.0
    """Seconds: the files of now are there already."""


class EntryExists(Exception):
    """Another writer has already written this entry of the log."""


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
            raise WrongStorage(f"MIXPANEL_AEP_STORAGE={url!r} cannot be opened: {_first_line(error)}") from None
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
        ) from None
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
            raise self._failed("read", path, error) from None

    def write(self, path: str, data: bytes) -> None:
        """Puts the object, replacing an older one in one step."""
        try:
            obstore.put(self.store, path, data)
        except Exception as error:
            raise self._failed("written", path, error) from None

    def create(self, path: str, data: bytes) -> None:
        """Puts the object if there is none yet; raises EntryExists otherwise. Atomic on every kind of store."""
        try:
            obstore.put(self.store, path, data, mode="create", use_multipart=False)
        except AlreadyExistsError:
            raise EntryExists(path) from None
        except Exception as error:
            raise self._failed("written", path, error) from None

    def open_read(self, path: str) -> IO[bytes]:
        """A seekable reader."""
        try:
            if self.root is not None:
                return (self.root / path).open("rb")
            return io.BufferedReader(RemoteFile(self, path), REMOTE_BUFFER)
        except FileNotFoundError:
            raise _replaced(self.location(path)) from None
        except Exception as error:
            raise self._failed("read", path, error) from None

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
                raise self._failed("deleted", paths[0], error) from None

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

    def _failed(self, what: str, path: str, error: Exception) -> StorageError:
        text = str(error)
        hint = "Check the path, the permissions and the credentials of the storage."
        if any(said in text for said in DISK_FULL):
            hint = "The disk is full: free space and run the day again; what was committed before is untouched."
        hint = next((text for sign, text in UNREACHED.items() if sign in str(error)), hint)
        return StorageError(f"{self.location(path)} cannot be {what}: {_first_line(error)}. {hint}")


@dataclass(frozen=True)
class Stored:
    path: str
    size: int
    modified: datetime.datetime


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

    def files(self, manifest: Mapping[str, Any] | None = None, kind: str = "parts") -> list[str]:
        """Storage paths of the committed files of a kind (`parts`, `quarantine`, …), in order."""
        manifest = self.manifest() if manifest is None else manifest
        if manifest is None:
            return []
        return [f"{self.path}/{manifest['generation']}/{entry['name']}" for entry in manifest.get(kind, [])]

    def locations(self, manifest: Mapping[str, Any] | None = None, kind: str = "parts") -> list[str]:
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


class RemoteFile(io.RawIOBase):
    """An object being read, with the whole of Python's interface, which obstore's reader lacks."""

    def __init__(self, storage: Storage, path: str) -> None:
        self.path = path
        self._storage = storage
        self._reader = obstore.open_reader(storage.store, path)

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        try:
            data = self._reader.read(len(buffer))
        except Exception as error:
            if _is_missing(error):
                raise _replaced(self._storage.location(self.path)) from None
            raise self._storage._failed("read", self.path, error) from None
        buffer[: len(data)] = memoryview(data)
        return len(data)

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        return self._reader.seek(offset, whence)

    def tell(self) -> int:
        return self._reader.tell()


class StagedFile(io.RawIOBase):
    """A file being written. On the local disk a plain file (what is staged does not show anyway), else multipart."""

    def __init__(self, storage: Storage, path: str, buffer: int = WRITE_BUFFER) -> None:
        self.path = path
        self.size = 0
        self._storage = storage
        self._file: Any
        try:
            if storage.root is not None:
                target = storage.root / path
                target.parent.mkdir(parents=True, exist_ok=True)
                self._file = target.open("wb", buffering=buffer)
            else:
                self._file = obstore.open_writer(storage.store, path, buffer_size=WRITE_BUFFER)
        except Exception as error:
            raise storage._failed("written", path, error) from None

    @property
    def location(self) -> str:
        return self._storage.location(self.path)

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        try:
            self._file.write(data)
        except Exception as error:
            raise self._storage._failed("written", self.path, error) from None
        size = memoryview(data).nbytes
        self.size += size
        return size

    def tell(self) -> int:
        return self.size

    def close(self) -> None:
        if self.closed:
            return
        super().close()
        try:
            self._file.close()
        except Exception as error:
            raise self._storage._failed("written", self.path, error) from None

    def abandon(self) -> None:
        """Closes without caring whether what is left could be written."""
        with contextlib.suppress(StorageError):
            self.close()


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


def _is_missing(error: Exception) -> bool:
    """Whether an object is gone, in the words of obstore and of Polars."""
    text = str(error).lower()
    return isinstance(error, FileNotFoundError) or "not found" in text or "nosuchkey" in text


@contextlib.contextmanager
def reading() -> Iterator[None]:
    """For readers outside the storage (Polars, PyArrow): raises DayReplaced where a file of the day is gone."""
    try:
        yield
    except (OSError, pl.exceptions.ComputeError) as error:
        if not _is_missing(error):
            raise
        raise _replaced(_first_line(error)) from None


def _replaced(what: str) -> DayReplaced:
    return DayReplaced(
        f"A file of the day is gone: {what}. Another run has replaced the day meanwhile, or it was removed by hand. "
        "No harm done: run the day again."
    )


def now() -> datetime.datetime:
    return datetime.datetime.now(datetime.UTC)


def _first_line(error: Exception) -> str:
    return str(error).strip().split("\n", 1)[0][:300]
