"""Batch Ingestion: create, upload in both protocols, COMPLETE, ABORT, REVERT (platform.md#batch-ingestion).

Uploaded bytes stream to disk. What becomes of a completed batch is the business of `lifecycle`.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import anyio
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from mixpanel_aep_assets.emulator.faults import pick
from mixpanel_aep_assets.emulator.http import Refusal, endpoint, reply
from mixpanel_aep_assets.emulator.platform import uploads
from mixpanel_aep_assets.emulator.platform.gateway import (
    PlatformCall,
    admit,
    bad_request,
    not_found,
    problem,
    refuse,
    through,
)
from mixpanel_aep_assets.emulator.store import Document

BASE = "/data/foundation/import/batches"
FORMATS = frozenset({"json", "parquet", "csv"})
SMALL_UPLOAD = 256 << 20
CHUNK = 512_000_000
PER_MINUTE = {"2023": 138, "2026": 2000}
_RANGE = re.compile(r"bytes (\d+)-(\d+)(?:/(\d+|\*))?")


def create(call: PlatformCall) -> Response:
    """A new batch in `loading`. Not idempotent: every call makes another one."""
    body, platform = call.object(), call.platform
    dataset_id = body.get("datasetId")
    if not isinstance(dataset_id, str):
        raise bad_request("datasetId is required")
    dataset = platform.datasets.get(dataset_id)
    if dataset is None or dataset["sandbox"] != call.sandbox:
        raise not_found(f"The dataset {dataset_id} was not found")
    limit = PER_MINUTE[call.world.settings.limits]
    if call.world.windows.enter(f"batches:{call.client}", call.world.clock.now(), 60.0, limit) is not None:
        raise refuse(429, "RequestRateTooLarge", "Request rate is large. Please try again later.")
    batch_id = platform.ulid()
    external_id = body.get("externalId", batch_id)
    with platform.store.lock:
        if call.world.settings.unique_external_ids and any(
            other["externalId"] == external_id for other in platform.batches.values()
        ):
            raise refuse(409, "Conflict", f"A batch with externalId {external_id} exists already")
        batch = _document(call, batch_id, str(external_id), dataset_id, body)
        platform.batches.put(batch_id, batch)
    return reply(_shown(batch), 201)


def _document(call: PlatformCall, batch_id: str, external_id: str, dataset_id: str, body: dict[str, Any]) -> Document:
    now = call.world.clock.now_ms()
    input_format = {**(body.get("inputFormat") or {"format": "parquet"})}
    input_format["format"] = str(input_format.get("format", "")).lower()
    if input_format["format"] not in FORMATS:
        raise bad_request(f"inputFormat.format must be one of {', '.join(sorted(FORMATS))}")
    tags = dict(body.get("tags") or {})
    dataset = call.platform.datasets.get(dataset_id) or {}
    diagnostics = bool(body.get("enableErrorDiagnostics", dataset.get("enableErrorDiagnostics", False)))
    percent = body.get("partialIngestionPercent")
    if percent is not None:
        if isinstance(percent, bool) or not isinstance(percent, int | float) or not 0 < percent <= 100:
            raise bad_request("partialIngestionPercent must be a number above 0 and up to 100")
        tags["acp_partialIngestionPercent"] = percent
    if diagnostics:
        tags["acp_enableErrorDiagnostics"] = True
    batch: Document = {
        "id": batch_id, "externalId": external_id, "imsOrg": call.org, "sandbox": call.sandbox, "dataset": dataset_id,
        "status": "loading", "inputFormat": input_format, "tags": tags, "version": "1.0.0",
        "relatedObjects": [{"type": "dataSet", "id": dataset_id}], "created": now, "updated": now,
        "createdClient": call.client, "createdUser": f"{call.client}@techacct.adobe.com",
        "updatedUser": f"{call.client}@techacct.adobe.com",
    }  # fmt: skip
    if replay := body.get("replay"):
        batch["replay"] = _replay(call, dataset_id, replay)
    return batch


def _replay(call: PlatformCall, dataset_id: str, replay: dict[str, Any]) -> dict[str, Any]:
    """The replay with bare ids; every predecessor must be a batch of the same dataset."""
    batches = call.platform.batches
    predecessors = [re.sub(r"^\$?\{?|\}?$", "", str(one)) for one in replay.get("predecessors", [])]
    for external in replay.get("predecessorsByExternalId", []):
        found = [
            one["id"] for one in batches.values() if one["externalId"] == external and one["sandbox"] == call.sandbox
        ]
        if not found:
            raise bad_request(f"No batch has the externalId {external}")
        predecessors += found
    for predecessor in predecessors:
        known = batches.get(predecessor)
        if known is None or known["dataset"] != dataset_id:
            raise bad_request(f"The predecessor {predecessor} is no batch of the dataset {dataset_id}")
    return {**replay, "predecessors": predecessors}


def act(call: PlatformCall) -> Response:
    """`?action=` COMPLETE, ABORT, REVERT or FAIL."""
    batch, lifecycle = _batch(call), call.world.lifecycle
    match call.query.get("action", "").upper():
        case "COMPLETE":
            lifecycle.complete(batch, pick(call.faults, "batch"))
        case "ABORT":
            lifecycle.abort(batch)
        case "REVERT":
            lifecycle.revert(batch)
        case "FAIL":
            lifecycle.fail(batch)
        case other:
            raise bad_request(f"action {other!r} is none of COMPLETE, ABORT, REVERT, FAIL")
    return Response(status_code=200)


def file_action(call: PlatformCall) -> Response:
    """`?action=` INITIALIZE or COMPLETE of a large file."""
    batch, path = _loading(call), call.path("path")
    match call.query.get("action", "").upper():
        case "INITIALIZE":
            uploads.initialize(call.platform, batch["id"], path)
        case "COMPLETE":
            if reason := uploads.finish(call.platform, batch["id"], path):
                raise bad_request(reason)
        case other:
            raise bad_request(f"action {other!r} is neither INITIALIZE nor COMPLETE")
    return Response(status_code=201)


def file_status(call: PlatformCall) -> Response:
    """HEAD: how far a large file has come."""
    batch = _batch(call)
    document = call.platform.files.get(f"{batch['id']}/{call.path('path')}")
    if document is None:
        raise not_found("The file was not found")
    received = uploads.received(document)
    return Response(status_code=200, headers={"range": f"bytes=0-{received - 1}"} if received else {})


async def upload(request: Request) -> Response:
    """PUT a small file, or PATCH a chunk of a large one; the body goes to disk as it comes."""
    try:
        call = await run_in_threadpool(admit, request)
        batch = await run_in_threadpool(_loading, call)
        if (call.header("content-type") or "").partition(";")[0].strip() != "application/octet-stream":
            raise refuse(415, "UnsupportedMediaType", "The content type must be application/octet-stream")
        part = uploads.fresh_part(call.platform, batch["id"])
        try:
            size = await _write(request, part, SMALL_UPLOAD if request.method == "PUT" else CHUNK)
            return await run_in_threadpool(_received, call, batch, part, size)
        finally:
            await anyio.Path(part).unlink(missing_ok=True)
    except Refusal as refusal:
        return refusal.response


async def _write(request: Request, part: Path, limit: int) -> int:
    """Write the body as it comes; returns its size. Refuses with 413 above the limit."""
    size = 0
    async with await anyio.open_file(part, "wb") as file:
        async for block in request.stream():
            size += len(block)
            if size > limit:
                raise refuse(413, "PayloadTooLarge", f"The body is larger than {limit} bytes")
            await file.write(block)
    return size


def _received(call: PlatformCall, batch: Document, part: Path, size: int) -> Response:
    path = call.path("path")
    if call.request.method == "PUT":
        replaced = uploads.put(call.platform, batch["id"], path, part, size)
        return Response(status_code=200 if replaced else 201)
    found = _RANGE.fullmatch((call.header("content-range") or "").strip())
    if found is None:
        raise bad_request("Content-Range must be of the form bytes {start}-{end}/{total}")
    start, end = int(found[1]), int(found[2])
    if end - start + 1 != size:
        raise bad_request(f"Content-Range covers {end - start + 1} bytes, the body has {size}")
    total = int(found[3]) if (found[3] or "*").isdigit() else None
    document = uploads.chunk(call.platform, batch["id"], path, part, start, end, total)
    if document is None:
        raise bad_request("The file was not initialized")
    return Response(status_code=200, headers={"range": f"bytes=0-{uploads.received(document) - 1}"})


async def preview(request: Request) -> Response:
    """Declared by Adobe, not needed by an ingesting client."""
    del request
    return problem(501, "NotImplemented", "The emulator gives no preview of uploaded files")


def _batch(call: PlatformCall) -> Document:
    batch = call.platform.batches.get(call.path("batch"))
    if batch is None or batch["sandbox"] != call.sandbox:
        raise not_found(f"The batch {call.path('batch')} was not found")
    if "dataset" in call.request.path_params and batch["dataset"] != call.path("dataset"):
        raise not_found(f"The batch {batch['id']} does not belong to the dataset {call.path('dataset')}")
    call.world.lifecycle.advance(batch)
    return batch


def _loading(call: PlatformCall) -> Document:
    batch = _batch(call)
    if batch["status"] != "loading":
        raise bad_request(f"The batch {batch['id']} takes no files: it is {batch['status']}")
    return batch


def _shown(batch: Document) -> dict[str, Any]:
    names = ("id", "imsOrg", "updated", "status", "created", "relatedObjects", "version", "tags", "createdUser",
             "updatedUser", "inputFormat", "externalId", "replay")  # fmt: skip
    return {name: batch[name] for name in names if name in batch}


ROUTES = [
    Route(BASE, endpoint(through(create)), methods=["POST"]),
    Route(f"{BASE}/{{batch}}", endpoint(through(act)), methods=["POST"]),
    Route(f"{BASE}/{{batch}}/datasets/{{dataset}}/preview", preview, methods=["GET"]),
]
for _spelling in ("datasets", "dataSets"):
    _path = f"{BASE}/{{batch}}/{_spelling}/{{dataset}}/files/{{path:path}}"
    ROUTES += [
        Route(_path, upload, methods=["PUT", "PATCH"]),
        Route(_path, endpoint(through(file_action)), methods=["POST"]),
        Route(_path, endpoint(through(file_status)), methods=["HEAD"]),
    ]
