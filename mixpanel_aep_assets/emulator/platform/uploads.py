"""The bytes of uploaded files: whole ones and those that come in chunks.

A file's document is `{"path", "name", "size", "whole", "ranges", "total"}`; `name` is where its bytes lie in the batch's
folder. Ranges are inclusive at both ends, as in Content-Range.
"""

from __future__ import annotations

import hashlib
import secrets
import shutil
from pathlib import Path

from mixpanel_aep_assets.emulator.platform.state import Platform
from mixpanel_aep_assets.emulator.store import Document

COPY = 1 << 20


def fresh_part(platform: Platform, batch: str) -> Path:
    """Where a body that is just arriving is to be written."""
    folder = platform.folder(batch) / "arriving"
    folder.mkdir(exist_ok=True)
    return folder / secrets.token_hex(8)


def location(platform: Platform, batch: str, document: Document) -> Path:
    """Where the file's bytes lie."""
    return platform.folder(batch) / str(document["name"])


def put(platform: Platform, batch: str, path: str, part: Path, size: int) -> bool:
    """Make the part the whole file. Returns whether it replaced an earlier one."""
    key = f"{batch}/{path}"
    with platform.store.lock:
        replaced = key in platform.files
        document = _document(batch, path, size=size, whole=True)
        part.replace(location(platform, batch, document))
        platform.files.put(key, document)
    return replaced


def initialize(platform: Platform, batch: str, path: str) -> None:
    """Begin a large file; one of that path that exists is begun anew."""
    document = _document(batch, path, size=0, whole=False)
    with platform.store.lock:
        location(platform, batch, document).write_bytes(b"")
        platform.files.put(f"{batch}/{path}", document)


def chunk(
    platform: Platform, batch: str, path: str, part: Path, start: int, end: int, total: int | None
) -> Document | None:
    """Put the part into the file's bytes from `start` to `end`. None if the file was not begun.

    Gaps and overlaps are taken here and only found by `finish`; the same range sent again is one range.
    """
    with platform.store.lock:
        document = platform.files.get(f"{batch}/{path}")
        if document is None or document["whole"]:
            part.unlink()
            return None
        with location(platform, batch, document).open("r+b") as file, part.open("rb") as body:
            file.seek(start)
            shutil.copyfileobj(body, file, COPY)
        part.unlink()
        if [start, end] not in document["ranges"]:
            document["ranges"].append([start, end])
        document["total"] = total if total is not None else document["total"]
        platform.files.put(f"{batch}/{path}", document)
        return document


def finish(platform: Platform, batch: str, path: str) -> str | None:
    """End a large file. Returns what is wrong with its chunks, or None."""
    with platform.store.lock:
        document = platform.files.get(f"{batch}/{path}")
        if document is None:
            return "The file was not initialized"
        if document["whole"]:
            return None
        expected = 0
        for start, end in sorted(document["ranges"]):
            if start > expected:
                return f"Bytes {expected}-{start - 1} are missing"
            if start < expected:
                return f"Bytes {start}-{expected - 1} were sent in overlapping chunks"
            expected = end + 1
        if document["total"] is not None and document["total"] != expected:
            return f"The file has {expected} bytes, {document['total']} were announced"
        platform.files.put(f"{batch}/{path}", {**document, "whole": True, "size": expected})
        return None


def received(document: Document) -> int:
    """How many bytes have come without a gap."""
    if document["whole"]:
        return int(document["size"])
    expected = 0
    for start, end in sorted(document["ranges"]):
        if start > expected:
            break
        expected = max(expected, end + 1)
    return expected


def of_batch(platform: Platform, batch: str) -> list[Document]:
    """The batch's files that are whole, by path."""
    prefix = f"{batch}/"
    found = [one for one in platform.files.values() if one["batch"] == batch and one["whole"]]
    return sorted(found, key=lambda one: str(one["path"]).removeprefix(prefix))


def _document(batch: str, path: str, *, size: int, whole: bool) -> Document:
    name = "files-" + hashlib.sha256(path.encode()).hexdigest()[:32]
    return {"batch": batch, "path": path, "name": name, "size": size, "whole": whole, "ranges": [], "total": None}
