"""The events that a project holds, in two forms.

Model events have a true UTC time and the zone offset at their ingestion; the export renders them in the project's time
mode. Verbatim days are the lines of one request day exactly as they are to be sent, kept in a file: for big days, broken
lines and real samples.
"""

from __future__ import annotations

import contextlib
import datetime
import json
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from mixpanel_aep_assets.emulator.mixpanel.accounts import zone
from mixpanel_aep_assets.emulator.store import Document, Store

BLOCK = 1 << 20
_SHUFFLED = "((number * 2654435761 + ?) & 4294967295)"
"""Knuth's multiplicative hash of the row number: a repeatable order that no client can rely on."""


class Events:
    """All projects' events."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._days = store.collection("mixpanel.day")
        self._folder = store.folder / "days"

    def add(self, project: Document, lines: Iterable[dict[str, Any]]) -> int:
        """Ingest events in the form of the ingestion API: `properties.time` is true UTC, in seconds or milliseconds.

        Returns how many were stored. ValueError names the first one without a usable time; none is stored then.
        """
        rows = [_row(project, line, index) for index, line in enumerate(lines)]
        with self._store.transaction() as connection:
            connection.executemany(
                "INSERT INTO events (project, day, event, true_ms, offset_ms, wall_day, properties)"
                " VALUES (?, ?, ?, ?, ?, ?, ?)",
                rows,
            )
        return len(rows)

    def put_day(self, project: int, day: str, source: Path | bytes, *, append: bool = False) -> Document:
        """Make `source` (NDJSON, a file's path or the bytes) the verbatim lines of the request day."""
        folder = self._folder / str(project)
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"{day}.ndjson"
        fresh = folder / f"{day}.new"
        with fresh.open("wb") as file:
            if append and path.exists():
                with path.open("rb") as earlier:
                    shutil.copyfileobj(earlier, file, BLOCK)
            if isinstance(source, bytes):
                file.write(source)
            else:
                with source.open("rb") as lines:
                    shutil.copyfileobj(lines, file, BLOCK)
        fresh.replace(path)
        return self.register_day(project, day, path)

    def register_day(self, project: int, day: str, path: Path) -> Document:
        """Serve the file where it is as the verbatim lines of the request day; it must stay there."""
        lines, last = 0, b"\n"
        with path.open("rb") as file:
            while block := file.read(BLOCK):
                lines += block.count(b"\n")
                last = block[-1:]
        document = {"project": project, "day": day, "path": str(path), "bytes": path.stat().st_size,
                    "lines": lines + (last != b"\n")}  # fmt: skip
        self._days.put(f"{project}/{day}", document)
        return document

    def clear(self, project: int, day: str | None = None) -> None:
        """Forget the project's events, or those of one request day."""
        with self._store.transaction() as connection:
            if day is None:
                connection.execute("DELETE FROM events WHERE project = ?", (project,))
            else:
                connection.execute("DELETE FROM events WHERE project = ? AND ? IN (day, wall_day)", (project, day))
            for document in self._days.values():
                if document["project"] == project and day in (None, document["day"]):
                    self._days.delete(f"{project}/{document['day']}")
                    if Path(document["path"]).is_relative_to(self._folder):
                        Path(document["path"]).unlink(missing_ok=True)

    def days(self) -> list[Document]:
        """The verbatim days."""
        return self._days.values()

    def verbatim(self, project: int, days: Iterable[str]) -> list[Path]:
        """The files of the verbatim days among `days`."""
        found = (self._days.get(f"{project}/{day}") for day in days)
        return [Path(document["path"]) for document in found if document]

    def model(
        self, project: Document, first: str, last: str, *, seed: int | None
    ) -> Iterator[tuple[str, int, dict[str, Any]]]:
        """The model events of the request days: name, `time` in ms as the project's mode exports it, properties.

        `seed` shuffles them; None keeps the order of ingestion. Rows are read in slices, not all at once.
        """
        column = "wall_day" if project["mode"] == "legacy" else "day"
        order = "number" if seed is None else _SHUFFLED
        query = (
            f"SELECT event, true_ms, offset_ms, properties FROM events WHERE project = ? AND {column} BETWEEN ? AND ?"  # noqa: S608
            f" ORDER BY {order}"
        )
        arguments: list[Any] = [project["id"], first, last]
        if seed is not None:
            arguments.append(seed)
        with self._store.lock:
            cursor = self._store.connection.execute(query, arguments)
            rows = cursor.fetchmany(20_000)
        with contextlib.closing(cursor):
            while rows:
                for event, true_ms, offset_ms, properties in rows:
                    wire_ms = true_ms + offset_ms if project["mode"] == "legacy" else true_ms
                    yield event, wire_ms, json.loads(properties)
                with self._store.lock:
                    rows = cursor.fetchmany(20_000)


def days_between(first: str, last: str) -> list[str]:
    """All days from first to last, both included."""
    day, end = datetime.date.fromisoformat(first), datetime.date.fromisoformat(last)
    return [(day + datetime.timedelta(n)).isoformat() for n in range((end - day).days + 1)]


def epoch_ms(value: object) -> int:
    """Milliseconds of a `time` in seconds or milliseconds, as a number or as text. ValueError when it is none."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise ValueError("must be specified as seconds since epoch")  # noqa: TRY004 - the API's own words
    number = float(value)
    return round(number) if abs(number) > 10_000_000_000 else round(number * 1000)


def _row(project: Document, line: dict[str, Any], index: int) -> tuple[Any, ...]:
    try:
        name, properties = line["event"], line["properties"]
        true_ms = epoch_ms(properties["time"])
        moment = datetime.datetime.fromtimestamp(true_ms / 1000, datetime.UTC)
    except (ValueError, OverflowError, OSError):
        raise ValueError(f"event {index}: 'properties.time' is no time") from None
    except (KeyError, TypeError):
        raise ValueError(f"event {index} is not of the form {{event, properties: {{time, ...}}}}") from None
    offset = moment.astimezone(zone(project["timezone"])).utcoffset() or datetime.timedelta()
    text = json.dumps(properties)  # escaped, because lone surrogates cannot be stored as UTF-8
    offset_ms = round(offset.total_seconds() * 1000)
    return (
        project["id"], moment.date().isoformat(), name, true_ms, offset_ms,
        (moment + offset).date().isoformat(), text,
    )  # fmt: skip
