"""Which lines an export request gets, and how they are written.

Faults that act on lines: `dups` (each `every`-th line again, received later), `late` and `vanish` (a `share` of the
lines missing, chosen by `seed`), `merge` (`ids`: old to canonical), `badline` (`lines`: names of `BAD_LINES` or texts, put in
`at` that line), `bigline` (`bytes`, `at`), `bigday` (`rows`), `iso_time`, `ms`.
"""

from __future__ import annotations

import datetime
import itertools
import json
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson

from mixpanel_aep_assets.emulator.faults import Fault, pick
from mixpanel_aep_assets.emulator.mixpanel.events import BLOCK, Events, days_between, epoch_ms
from mixpanel_aep_assets.emulator.mixpanel.parameters import Window
from mixpanel_aep_assets.emulator.store import Document

BAD_LINES: dict[str, bytes] = {
    "terminated_early": b"terminated early",
    "half": b'{"event":"x","properties":{"time":17',
    "empty": b"",
    "spaces": b"   ",
    "null": b"null",
    "list": b"[]",
    "error": b'{"error":"internal error"}',
    "utf8": b'{"event":"x\xff","properties":{"time":1768024800}}',
    "nan": b'{"event":"x","properties":{"time":1768024800,"n":NaN}}',
}
_LINE_FAULTS = ("dups", "late", "vanish", "merge", "badline", "bigline", "bigday", "iso_time", "ms")
_REWRITES = ("dups", "merge", "iso_time", "ms")


class Selection:
    """The lines of one request. Iterating gives blocks of whole lines, each ended by a newline."""

    def __init__(
        self, events: Events, project: Document, window: Window, faults: list[Fault], *,
        hidden: frozenset[str] = frozenset(), seed: int | None = None,
    ) -> None:  # fmt: skip
        self._events, self._project, self._window = events, project, window
        self._faults, self._hidden, self._seed = pick(faults, *_LINE_FAULTS), hidden, seed
        self._merges: dict[str, str] = dict(project["merges"])
        for fault in pick(faults, "merge"):
            self._merges.update(fault["ids"])
        self._rewrites = bool(
            window.events is not None or window.where or hidden or self._merges or not window.in_ms
            or pick(faults, *_REWRITES)
        )  # fmt: skip

    def blocks(self) -> Iterator[bytes]:
        """Blocks of about a megabyte."""
        paths = self._events.verbatim(self._project["id"], days_between(self._window.first, self._window.last))
        if paths and not self._rewrites and not self._faults and self._window.limit is None:
            for path in paths:
                yield from _whole_blocks(path)
            paths = []
        for lines in _batches(self._lines(paths)):
            yield b"".join(lines)

    def _lines(self, paths: list[Path]) -> Iterator[bytes]:
        lines: Iterator[bytes] = itertools.chain(self._verbatim(paths), self._model(), self._generated())
        for fault in self._faults:
            match fault["kind"]:
                case "late" | "vanish":
                    lines = _without(lines, float(fault.get("share", 0.1)), int(fault.get("seed", 1)))
                case "dups":
                    lines = _repeated(lines, int(fault.get("every", 10)))
                case "badline":
                    wanted = [BAD_LINES.get(name, name.encode()) + b"\n" for name in fault.get("lines", BAD_LINES)]
                    lines = _inserted(lines, wanted, fault.get("at"))
                case "bigline":
                    lines = _inserted(lines, [self._big_line(int(fault.get("bytes", 1_000_000)))], fault.get("at"))
        return itertools.islice(lines, self._window.limit) if self._window.limit is not None else iter(lines)

    def _verbatim(self, paths: list[Path]) -> Iterator[bytes]:
        for path in paths:
            with path.open("rb") as file:
                for line in file:
                    whole = line if line.endswith(b"\n") else line + b"\n"
                    if not self._rewrites:
                        yield whole
                    elif (changed := self._rewritten(whole)) is not None:
                        yield changed

    def _rewritten(self, line: bytes) -> bytes | None:
        """A verbatim line under the request's filters; one that is no event passes unless a filter asks for events."""
        try:
            event = parse(line)
            name, properties = event["event"], event["properties"]
            wire_ms = epoch_ms(properties["time"])
        except (ValueError, TypeError, KeyError):
            return None if self._window.events is not None or self._window.where else line
        if not self._wanted(name, wire_ms, properties):
            return None
        keep_time = self._window.in_ms and not isinstance(properties["time"], str)
        if keep_time and not (self._hidden or self._merges or pick(self._faults, *_REWRITES)):
            return line
        exact = json.loads(line)["properties"]
        return self._changed(name, wire_ms, exact, keep_time=keep_time)

    def _model(self) -> Iterator[bytes]:
        rows = self._events.model(self._project, self._window.first, self._window.last, seed=self._seed)
        for name, wire_ms, properties in rows:
            if self._wanted(name, wire_ms, properties):
                yield self._changed(name, wire_ms, properties)

    def _generated(self) -> Iterator[bytes]:
        for fault in pick(self._faults, "bigday"):
            start = datetime.datetime.fromisoformat(self._window.first).replace(tzinfo=datetime.UTC)
            first_ms, rows = int(start.timestamp() * 1000), int(fault.get("rows", 200_000))
            for number in range(rows):
                properties = {
                    "time": 0, "distinct_id": f"big-{number % 5000}", "$insert_id": f"big-{number:09d}",
                    "mp_lib": "web", "position": number, "page_title": "Generated page",
                }  # fmt: skip
                wire_ms = first_ms + number * 86_400_000 // rows
                if self._wanted("Generated", wire_ms, properties):
                    yield self._changed("Generated", wire_ms, properties)

    def _big_line(self, size: int) -> bytes:
        start = datetime.datetime.fromisoformat(self._window.first).replace(tzinfo=datetime.UTC)
        properties = {"distinct_id": "U1", "$insert_id": "big-line", "text": "x" * size}
        return self._write("Big line", int(start.timestamp() * 1000), properties)

    def _wanted(self, name: str, wire_ms: int, properties: dict[str, Any]) -> bool:
        if self._window.events is not None and name not in self._window.events:
            return False
        if self._window.where is None:
            return True
        return self._window.where({"event": name, "properties": {**properties, "time": wire_ms}})

    def _changed(self, name: str, wire_ms: int, properties: dict[str, Any], *, keep_time: bool = False) -> bytes:
        for hidden in self._hidden & properties.keys():
            del properties[hidden]
        known = properties.get("distinct_id")
        if isinstance(known, str) and (canonical := self._merges.get(known)) is not None and canonical != known:
            properties["distinct_id"] = canonical
            properties.setdefault("$distinct_id_before_identity", known)
        return self._write(name, wire_ms, properties, keep_time=keep_time)

    def _write(self, name: str, wire_ms: int, properties: dict[str, Any], *, keep_time: bool = False) -> bytes:
        if pick(self._faults, "iso_time"):
            properties["time"] = datetime.datetime.fromtimestamp(wire_ms / 1000, datetime.UTC).strftime(
                "%Y-%m-%dT%H:%M:%S"
            )
        elif pick(self._faults, "ms"):
            properties["time"] = wire_ms
        elif not keep_time:
            properties["time"] = wire_ms if self._window.in_ms else wire_ms // 1000
        return dump({"event": name, "properties": properties})


def parse(line: bytes) -> Any:
    """A line as JSON, only to look at: integers above 64 bits come rounded. ValueError when it is none."""
    try:
        return orjson.loads(line)
    except orjson.JSONDecodeError:
        return json.loads(line)


def dump(line: dict[str, Any]) -> bytes:
    """An event as the export writes it: compact, UTF-8, ended by a newline."""
    text = json.dumps(line, ensure_ascii=False, separators=(",", ":"))
    try:
        return text.encode() + b"\n"
    except UnicodeEncodeError:  # a lone surrogate can only be sent escaped
        return json.dumps(line, separators=(",", ":")).encode() + b"\n"


def _whole_blocks(path: Path) -> Iterator[bytes]:
    last = b"\n"
    with path.open("rb") as file:
        while block := file.read(BLOCK):
            yield block
            last = block[-1:]
    if last != b"\n":
        yield b"\n"


def _batches(lines: Iterator[bytes]) -> Iterator[list[bytes]]:
    batch, size = [], 0
    for line in lines:
        batch.append(line)
        size += len(line)
        if size >= BLOCK:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


def _without(lines: Iterator[bytes], share: float, seed: int) -> Iterator[bytes]:
    return (line for line in lines if zlib.crc32(line, seed) >= share * 2**32)


def _inserted(lines: Iterator[bytes], extra: list[bytes], at: int | None) -> Iterator[bytes]:
    if at is not None:
        yield from itertools.islice(lines, at)
        yield from extra
    yield from lines
    if at is None:
        yield from extra


def _repeated(lines: Iterator[bytes], every: int) -> Iterator[bytes]:
    for number, line in enumerate(lines, 1):
        yield line
        if number % every:
            continue
        try:
            copy = json.loads(line)
            properties = copy["properties"]
        except (ValueError, TypeError, KeyError):
            continue
        received = properties.get("mp_processing_time_ms") or properties.get("time") or 0
        if isinstance(received, int):
            properties["mp_processing_time_ms"] = received + 60_000
        yield dump(copy)
