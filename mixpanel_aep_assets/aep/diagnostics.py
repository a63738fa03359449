"""The rows that the Platform refused, with its reasons: downloaded within bounds (platform.md#diagnostics).

What does not belong here: joining them back to the source rows by `_id`; that is the caller's, who has the rows.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

import orjson

from mixpanel_aep_assets.aep.http import EXPORT, PlatformClient
from mixpanel_aep_assets.aep.platform_errors import AepError, BadRequest, NotFound

log = logging.getLogger(__name__)

PAGE = 100
MOST_FILES = 2_000
MOST_ROWS = 200_000
MOST_BYTES = 1 << 30
"""Bounds of what is read of one batch; 5 % of four million rows fit. Memory holds some hundred bytes a row."""

LONGEST_LINE = 4 << 20
"""Of a longer line only the beginning is kept, which then does not parse; an event has 10 KB as a rule."""


@dataclass(frozen=True, slots=True)
class RowError:
    """One reason for one row. `id` is the row's `_id`, None where the row could not be read that far.

    `code` is the middle of the batch-level code (`1401` of `INGEST-1401-400`); unknown ones are passed on as they are.
    `record` is what the Platform gave back of a row without an `_id`; one that has it is found in our own files.
    """

    id: str | None
    code: str
    message: str
    column: str | None
    file: str
    record: Mapping[str, Any]


@dataclass(frozen=True)
class Diagnostics:
    """What could be learned. `truncated`: there was more than the bounds allow; `problem`: why nothing was read."""

    errors: tuple[RowError, ...]
    truncated: bool = False
    problem: str | None = None

    def ids(self) -> frozenset[str]:
        """The `_id`s of refused rows."""
        return frozenset(e.id for e in self.errors if e.id is not None)

    def by_code(self) -> dict[str, int]:
        """Reasons counted by code, the most frequent first."""
        counts: dict[str, int] = {}
        for error in self.errors:
            counts[error.code] = counts.get(error.code, 0) + 1
        return dict(sorted(counts.items(), key=lambda item: -item[1]))


def download(client: PlatformClient, batch_id: str, *, most_rows: int = MOST_ROWS) -> Diagnostics:
    """Row errors of the batch: first `row_errors`; where there are none, `failed`.

    Diagnostics explain a batch and never stop the work: when they cannot be read, `problem` says why. They are kept
    for 30 days by the Platform.
    """
    base = f"{EXPORT}/batches/{quote(batch_id, safe='')}"
    try:
        reader = _Reader(client, most_rows)
        reader.read(f"{base}/meta", "row_errors")
        if not reader.errors:
            reader.read(f"{base}/failed", None)
    except AepError as error:
        log.warning("The diagnostics of batch %s cannot be read: %s", batch_id, error)
        return Diagnostics((), problem=str(error))
    return Diagnostics(tuple(reader.errors), reader.truncated)


class _Reader:
    """Reads the files of a folder until one of the bounds is reached."""

    def __init__(self, client: PlatformClient, most_rows: int) -> None:
        self.client = client
        self.most_rows = most_rows
        self.errors: list[RowError] = []
        self.rows = 0
        self.bytes = 0
        self.truncated = False

    def read(self, path: str, folder: str | None) -> None:
        try:
            names = list(self._names(path, folder))
        except (NotFound, BadRequest):  # no such folder: nothing was refused, or diagnostics were not asked for
            return
        if len(names) > MOST_FILES:
            self.truncated = True
        for name in names[:MOST_FILES]:
            if self.rows >= self.most_rows or self.bytes >= MOST_BYTES:
                self.truncated = True
                return
            self._file(path, name if folder is None else f"{folder}/{name}", name)

    def _names(self, path: str, folder: str | None) -> Iterator[str]:
        """File names of a folder, page by page. Their links are not followed: the token goes to our gateway only."""
        start = 0
        while True:
            params: dict[str, str | int] = {"limit": PAGE, "start": start}
            if folder is not None:
                params["path"] = folder
            body = self.client.json("GET", path, params=params)
            entries = body.get("data") if isinstance(body, Mapping) else None
            for entry in entries or ():
                name = str(entry.get("name") or "").rsplit("/", 1)[-1]
                if name and not name.startswith("_") and str(entry.get("length") or "1") != "0":
                    yield name
            if not entries or len(entries) < PAGE or start >= PAGE * MOST_FILES:
                return
            start += PAGE

    def _file(self, path: str, inner: str, name: str) -> None:
        with self.client.stream(path, params={"path": inner}) as answer:
            for line in _lines(answer.iter_bytes()):
                self.bytes += len(line)
                if self.rows >= self.most_rows or self.bytes >= MOST_BYTES:
                    self.truncated = True
                    return
                if line.strip():
                    self.rows += 1
                    self.errors.extend(_parsed(line, name))


def _lines(chunks: Iterator[bytes]) -> Iterator[bytes]:
    """Lines cut at the byte 0x0A; of a line, what goes beyond LONGEST_LINE is dropped, so that memory is bounded."""
    rest = b""
    for chunk in chunks:
        *lines, tail = (rest + chunk).split(b"\n")
        yield from lines
        rest = tail[:LONGEST_LINE]
    if rest:
        yield rest


def _parsed(line: bytes, file: str) -> list[RowError]:
    try:
        row = orjson.loads(line)
    except orjson.JSONDecodeError:
        row = None
    if not isinstance(row, dict):
        return [RowError(None, "unreadable", "The diagnostics line is not a JSON object", None, file, {})]
    reasons = row.pop("_errors", None)
    validations = row.pop("_validationErrors", None)
    origin = str(row.pop("_filename", None) or file)
    key = row.get("_id")
    row_id = str(key) if key is not None else None
    record = row if row_id is None else {}
    found = [
        RowError(row_id, str(r.get("code") or ""), str(r.get("message") or ""), _text(r.get("column")), origin, record)
        for r in _objects(reasons)
    ]
    found += [
        RowError(
            row_id,
            str(r.get("keyword") or "validation"),
            str(r.get("message") or ""),
            _text(r.get("pointerToViolation")),
            origin,
            record,
        )
        for r in _objects(validations)
    ]
    return found or [RowError(row_id, "unknown", "The Platform gave no reason", None, origin, record)]


def _objects(reasons: Any) -> list[Mapping[str, Any]]:
    """The list of reasons; a streaming variant nests the lists in an object."""
    if isinstance(reasons, Mapping):
        return [r for value in reasons.values() if isinstance(value, list) for r in value if isinstance(r, Mapping)]
    return [r for r in reasons if isinstance(r, Mapping)] if isinstance(reasons, list) else []


def _text(value: Any) -> str | None:
    return None if value is None else str(value)
