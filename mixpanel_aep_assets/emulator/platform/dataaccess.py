"""Data Access: diagnostics, failed rows and ingested files (platform.md#diagnostics)."""

from __future__ import annotations

import re
from typing import Any

from starlette.responses import FileResponse, Response
from starlette.routing import Route

from mixpanel_aep_assets.emulator.http import endpoint, reply
from mixpanel_aep_assets.emulator.platform import uploads
from mixpanel_aep_assets.emulator.platform.gateway import PlatformCall, bad_request, not_found, through
from mixpanel_aep_assets.emulator.store import Document

BASE = "/data/foundation/export"
MAXIMUM_LIMIT = 100


def files(call: PlatformCall) -> Response:
    """The dataset files that a live batch made."""
    batch = _batch(call)
    if batch["status"] not in ("active", "success"):
        return _page(call, [])
    identifier = f"{batch['id']}-1"
    return _page(call, [{
        "dataSetFileId": identifier, "dataSetViewId": batch["dataset"], "version": "1.0.0", "created": str(batch["created"]),
        "updated": str(batch["updated"]), "isValid": True, "_links": _link(call, f"{BASE}/files/{identifier}"),
    }])  # fmt: skip


def failed(call: PlatformCall) -> Response:
    """The rejected rows: a list, or with `path` one file."""
    return _folder(call, "failed")


def meta(call: PlatformCall) -> Response:
    """Diagnostics: `path` names a folder (list) or a file (content)."""
    return _folder(call, "meta")


def file(call: PlatformCall) -> Response:
    """An ingested file: a list of its parts, or with `path` the bytes (Range is honoured)."""
    batch_id = call.path("file").removesuffix("-1")
    batch = call.platform.batches.get(batch_id)
    if batch is None or batch["sandbox"] != call.sandbox:
        raise not_found(f"The file {call.path('file')} was not found")
    documents = uploads.of_batch(call.platform, batch_id)
    wanted = call.query.get("path")
    if wanted is None:
        return _page(call, [_entry(call, one["path"], int(one["size"])) for one in documents])
    for one in documents:
        if one["path"] == wanted:
            return FileResponse(uploads.location(call.platform, batch_id, one), media_type="application/octet-stream")
    raise not_found(f"The path {wanted} was not found")


def _folder(call: PlatformCall, where: str) -> Response:
    batch = _batch(call)
    root = (call.platform.folder(batch["id"]) / where).resolve()
    path = call.query.get("path", "").strip("/")
    target = (root / path).resolve()
    if not target.is_relative_to(root):
        raise bad_request("path leads outside of the batch")
    if batch["status"] in ("loading", "loaded", "staging"):
        target = root / "not yet there"
    if target.is_file() and path:
        return FileResponse(target, media_type="application/json")
    if not target.is_dir():
        if path and not path.startswith(("row_errors", "input_files")):
            raise not_found(f"The path {path} was not found")
        return _page(call, [])
    parts = sorted(part for part in target.iterdir() if part.is_file())
    return _page(call, [_entry(call, part.name, part.stat().st_size) for part in parts])


def _entry(call: PlatformCall, name: str, size: int) -> dict[str, Any]:
    folder = call.query.get("path", "").strip("/")
    path = f"{folder}/{name}" if folder else name
    return {"name": name, "length": str(size), "_links": _link(call, f"{call.request.url.path}?path={_quoted(path)}")}


def _quoted(path: str) -> str:
    return re.sub(r"[^A-Za-z0-9._~-]", lambda found: f"%{ord(found[0]):02X}", path)


def _link(call: PlatformCall, path: str) -> dict[str, Any]:
    url = call.request.url
    return {"self": {"href": f"{url.scheme}://{url.netloc}{path}"}}


def _page(call: PlatformCall, entries: list[dict[str, Any]]) -> Response:
    start, limit = call.query.get("start", "0"), call.query.get("limit", str(MAXIMUM_LIMIT))
    if not (start.isdigit() and limit.isdigit()) or not 1 <= int(limit) <= MAXIMUM_LIMIT:
        raise bad_request(f"limit must be from 1 to {MAXIMUM_LIMIT}")
    first, count = int(start), int(limit)
    answer: dict[str, Any] = {"data": entries[first : first + count], "_page": {"limit": count, "count": len(entries)}}
    if first + count < len(entries):
        query = "&".join(f"{name}={_quoted(value)}" for name, value in call.query.items() if name != "start")
        link = _link(call, f"{call.request.url.path}?{query}&start={first + count}")
        answer["_links"] = {"next": link["self"]}
    return reply(answer)


def _batch(call: PlatformCall) -> Document:
    batch = call.platform.batches.get(call.path("batch"))
    if batch is None or batch["sandbox"] != call.sandbox:
        raise not_found(f"The batch {call.path('batch')} was not found")
    call.world.lifecycle.advance(batch)
    return batch


ROUTES = [
    Route(f"{BASE}/batches/{{batch}}/files", endpoint(through(files))),
    Route(f"{BASE}/batches/{{batch}}/failed", endpoint(through(failed))),
    Route(f"{BASE}/batches/{{batch}}/meta", endpoint(through(meta))),
    Route(f"{BASE}/files/{{file}}", endpoint(through(file))),
]
