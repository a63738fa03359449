"""What the emulator remembers: documents in SQLite, bytes in a folder beside it.

In memory (and a temporary folder) by default; with a file, everything survives a restart. What the documents mean is
the business of the rooms that own a collection.
"""

from __future__ import annotations

import json
import shutil
import sqlite3
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

Document = dict[str, Any]

_TABLES = """
CREATE TABLE IF NOT EXISTS documents (kind TEXT, key TEXT, body TEXT NOT NULL, PRIMARY KEY (kind, key)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS events (
    number INTEGER PRIMARY KEY, project INTEGER NOT NULL, day TEXT NOT NULL, event TEXT NOT NULL,
    true_ms INTEGER NOT NULL, offset_ms INTEGER NOT NULL, wall_day TEXT NOT NULL, properties TEXT NOT NULL);
CREATE INDEX IF NOT EXISTS events_by_day ON events (project, day);
CREATE INDEX IF NOT EXISTS events_by_wall_day ON events (project, wall_day);
"""


class Store:
    """One SQLite database and one folder. `lock` guards both; hold it for whatever must be seen as one step."""

    def __init__(self, path: Path | None = None) -> None:
        self.lock = threading.RLock()
        self._temporary = path is None
        if path is None:
            self.folder = Path(tempfile.mkdtemp(prefix="mixpanel-aep-emulator-"))
        else:
            path.parent.mkdir(parents=True, exist_ok=True)
            self.folder = path.with_name(path.name + ".files")
            self.folder.mkdir(exist_ok=True)
        self.connection = sqlite3.connect(path or ":memory:", check_same_thread=False, isolation_level=None)
        self.connection.execute("PRAGMA journal_mode=WAL")
        self.connection.execute("PRAGMA synchronous=NORMAL")
        self.connection.executescript(_TABLES)
        self._depth = 0

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """All writes inside become durable together. May be nested; the outermost one commits."""
        with self.lock:
            if self._depth == 0:
                self.connection.execute("BEGIN")
            self._depth += 1
            try:
                yield self.connection
            except BaseException:
                self._depth -= 1
                if self._depth == 0:
                    self.connection.execute("ROLLBACK")
                raise
            self._depth -= 1
            if self._depth == 0:
                self.connection.execute("COMMIT")

    def collection(self, kind: str) -> Collection:
        """The documents of one kind."""
        return Collection(self, kind)

    def clear(self) -> None:
        """Forget everything."""
        with self.transaction() as connection:
            connection.execute("DELETE FROM documents")
            connection.execute("DELETE FROM events")
        for child in self.folder.iterdir():
            shutil.rmtree(child) if child.is_dir() else child.unlink()

    def close(self) -> None:
        """Close the database; a temporary folder goes with it."""
        with self.lock:
            self.connection.close()
        if self._temporary:
            shutil.rmtree(self.folder, ignore_errors=True)


class Collection:
    """Documents by key, held in memory and written through. A changed document must be `put` again to last."""

    def __init__(self, store: Store, kind: str) -> None:
        self._store, self._kind = store, kind
        rows = store.connection.execute("SELECT key, body FROM documents WHERE kind = ?", (kind,))
        self._documents: dict[str, Document] = {key: json.loads(body) for key, body in rows}

    def __contains__(self, key: str) -> bool:
        return key in self._documents

    def __len__(self) -> int:
        return len(self._documents)

    def get(self, key: str) -> Document | None:
        """The document, or None."""
        return self._documents.get(key)

    def values(self) -> list[Document]:
        """All documents, in the order in which they were first put."""
        with self._store.lock:
            return list(self._documents.values())

    def put(self, key: str, document: Document) -> None:
        """Write the document."""
        with self._store.transaction() as connection:
            connection.execute(
                "INSERT INTO documents VALUES (?, ?, ?) ON CONFLICT (kind, key) DO UPDATE SET body = excluded.body",
                (self._kind, key, json.dumps(document)),
            )
            self._documents[key] = document

    def delete(self, key: str) -> None:
        """Forget the document."""
        with self._store.transaction() as connection:
            connection.execute("DELETE FROM documents WHERE kind = ? AND key = ?", (self._kind, key))
            self._documents.pop(key, None)

    def clear(self) -> None:
        """Forget all documents of this kind."""
        with self._store.transaction() as connection:
            connection.execute("DELETE FROM documents WHERE kind = ?", (self._kind,))
            self._documents.clear()
