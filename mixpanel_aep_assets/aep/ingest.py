"""Batch Ingestion: make a batch, fill it with files, hand it over, cancel it, take it back (platform.md#batch-ingestion).

Each function is one call or one file. What does not belong here: when which of them is right for a day (`batch`), and
what is remembered between them (`receipts`).
"""

from __future__ import annotations

import logging
import re
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from dataclasses import dataclass
from typing import IO, Any
from urllib.parse import quote

from mixpanel_aep_assets.aep import catalog
from mixpanel_aep_assets.aep.http import IMPORT, Call, PlatformClient
from mixpanel_aep_assets.aep.platform_errors import (
    AepError,
    AnswerLost,
    BadRequest,
    Conflict,
    DatasetNotFound,
    NotFound,
    RateLimited,
    ServerFault,
    SourceChanged,
    UnexpectedAnswer,
    Unreachable,
)

log = logging.getLogger(__name__)

READ_SIZE = 1 << 20
BYTES = "application/octet-stream"
FORMAT = {"format": "parquet"}


@dataclass(frozen=True)
class FileToSend:
    """A file of the day: `name` is its path in the batch, `open` gives a fresh seekable reader, `size` is in bytes."""

    name: str
    open: Callable[[], IO[bytes]]
    size: int
    rows: int


@dataclass(frozen=True)
class NewBatch:
    """What a batch is made with."""

    dataset_id: str
    external_id: str
    tags: dict[str, list[str]]
    predecessors: tuple[str, ...] = ()
    partial_ingestion_percent: float | None = None

    def body(self) -> dict[str, Any]:
        body: dict[str, Any] = {
            "datasetId": self.dataset_id,
            "externalId": self.external_id,
            "inputFormat": FORMAT,
            "enableErrorDiagnostics": True,
            "tags": self.tags,
        }
        if self.partial_ingestion_percent is not None:
            body["partialIngestionPercent"] = self.partial_ingestion_percent
        if self.predecessors:
            body["replay"] = {"predecessors": list(self.predecessors), "reason": "replace"}
        return body


def create(client: PlatformClient, new: NewBatch, known: frozenset[str] = frozenset()) -> str:
    """Makes the batch and returns its id.

    After a lost answer the batch is looked up by its external id before another try; `known` are ids that must not be
    taken for it. Raises AnswerLost (or Conflict: the external id is taken) when the tries are used up and none was
    found.
    """
    last: AepError | None = None
    for attempt in range(client.platform.tries):
        try:
            answer = client.json("POST", f"{IMPORT}/batches", call=Call.CREATE, json=new.body())
        except NotFound as error:
            raise DatasetNotFound(
                f"The sandbox {client.platform.sandbox!r} has no dataset {new.dataset_id!r}: {error.what}",
                where="AEP_DATASET_ID",
            ) from error
        except (AnswerLost, Conflict) as error:
            last = error
            log.warning("%s Looking for it by its external id %s.", error, new.external_id)
            time.sleep(min(client.platform.backoff * 2**attempt, client.platform.backoff_cap))
            found = [b for b in catalog.batches_of(client, new.external_id, new.dataset_id) if b.id not in known]
            if found:
                return found[0].id
            continue
        if isinstance(answer, dict) and isinstance(answer.get("id"), str) and answer["id"]:
            return str(answer["id"])
        raise UnexpectedAnswer("The Platform's answer has no id of the new batch", where=f"POST {IMPORT}/batches")
    assert last is not None
    raise last


def complete(client: PlatformClient, batch_id: str) -> None:
    """Hands the batch over. Safe to repeat (platform.md#complete-abort-revert)."""
    _action(client, batch_id, "COMPLETE")


def abort(client: PlatformClient, batch_id: str) -> None:
    """Cancels a batch that is not handed over yet. Raises BadRequest when it is too late."""
    _action(client, batch_id, "ABORT")


def revert(client: PlatformClient, batch_id: str) -> None:
    """Takes a live batch back: it becomes `inactive` at once (platform.md#complete-abort-revert)."""
    _action(client, batch_id, "REVERT")


def _action(client: PlatformClient, batch_id: str, action: str) -> None:
    client.request("POST", f"{IMPORT}/batches/{quote(batch_id, safe='')}", params={"action": action})


def upload_all(
    client: PlatformClient,
    batch_id: str,
    dataset_id: str,
    files: Sequence[FileToSend],
    progress: Callable[[int], None] | None = None,
) -> None:
    """Uploads the files, several side by side. The first error stops all of them and is raised.

    `progress` is called from the uploading threads with the bytes sent since its last call, and may raise to stop.
    """
    stop = threading.Event()

    def sent(count: int) -> None:
        if stop.is_set():
            raise _Stopped
        if progress is not None:
            progress(count)

    with ThreadPoolExecutor(client.platform.uploads_at_once, thread_name_prefix="upload") as pool:
        running = [pool.submit(upload, client, batch_id, dataset_id, file, sent) for file in files]
        try:
            done, _ = wait(running, return_when=FIRST_EXCEPTION)
        except BaseException:
            stop.set()
            pool.shutdown(wait=False, cancel_futures=True)
            raise
        errors = [error for future in done if (error := future.exception()) is not None]
        if errors:
            stop.set()
            pool.shutdown(wait=True, cancel_futures=True)
            raise next((e for e in errors if not isinstance(e, _Stopped)), errors[0])


class _Stopped(Exception):
    """Another file's error ended the upload."""


def upload(
    client: PlatformClient,
    batch_id: str,
    dataset_id: str,
    file: FileToSend,
    sent: Callable[[int], None] = lambda count: None,  # noqa: ARG005
) -> None:
    """Uploads one file, by the protocol that its size asks for. Raises SourceChanged when the file has another size."""
    path = (
        f"{IMPORT}/batches/{quote(batch_id, safe='')}/datasets/{quote(dataset_id, safe='')}/files/"
        f"{quote(file.name, safe='/=')}"
    )
    if file.size <= client.platform.small_upload_bytes:
        headers = {"Content-Type": BYTES, "Content-Length": str(file.size)}
        client.request("PUT", path, content=lambda: _bytes(file, 0, file.size, sent), headers=headers)
        return
    try:
        _large(client, path, file, sent)
    except BadRequest as error:
        log.warning("%s The file %s is sent again from the start.", error, file.name)
        _large(client, path, file, sent)


def _large(client: PlatformClient, path: str, file: FileToSend, sent: Callable[[int], None]) -> None:
    """INITIALIZE, chunks, COMPLETE. INITIALIZE also resets what an earlier try left (platform.md#retries)."""
    client.request("POST", path, params={"action": "INITIALIZE"})
    at, faults = 0, 0
    while at < file.size:
        end = min(at + client.platform.chunk_bytes, file.size)
        try:
            _chunk(client, path, file, at, end, sent)
            at, faults = end, 0
        except (Unreachable, ServerFault, RateLimited) as error:
            faults += 1
            asked = error.wait or 0.0
            if faults >= client.platform.tries or asked > client.platform.longest_wait:
                raise
            log.warning("%s Asking how much of %s has arrived.", error, file.name)
            time.sleep(max(asked, min(client.platform.backoff * 2 ** (faults - 1), client.platform.backoff_cap)))
            at = _received(client, path, at, end)
    client.request("POST", path, params={"action": "COMPLETE"})


def _chunk(
    client: PlatformClient, path: str, file: FileToSend, start: int, end: int, sent: Callable[[int], None]
) -> None:
    headers = {
        "Content-Type": BYTES,
        "Content-Length": str(end - start),
        "Content-Range": f"bytes {start}-{end - 1}/{file.size}",
    }
    client.request("PATCH", path, call=Call.ONCE, content=lambda: _bytes(file, start, end, sent), headers=headers)


def _received(client: PlatformClient, path: str, start: int, end: int) -> int:
    """Where to go on after a chunk whose answer was lost: behind what HEAD reports, within that chunk."""
    try:
        answer = client.request("HEAD", path)
    except (NotFound, BadRequest):
        return start
    spans = re.findall(r"(\d+)\s*-\s*(\d+)", answer.headers.get("range", ""))
    reached = 0
    for first, last in sorted((int(a), int(b)) for a, b in spans):
        if first > reached:
            break
        reached = max(reached, last + 1)
    return reached if start <= reached <= end else start


def _bytes(file: FileToSend, start: int, end: int, sent: Callable[[int], None]) -> Iterator[bytes]:
    """The bytes of [start, end), a megabyte at a time."""
    with file.open() as reader:
        if start:
            reader.seek(start)
        left = end - start
        while left:
            data = reader.read(min(READ_SIZE, left))
            if not data:
                raise SourceChanged(f"{file.name} ends {left} bytes short of its {file.size}", where="upload")
            left -= len(data)
            yield bytes(data)
            sent(len(data))
        if end == file.size and reader.read(1):
            raise SourceChanged(f"{file.name} is longer than its {file.size} bytes", where="upload")
