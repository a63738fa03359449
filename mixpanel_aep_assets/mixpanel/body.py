"""The body of an export as bytes: gunzip, whole lines, and the proof that it ended where it should.

Bytes in, batches of whole lines out, memory bounded by one batch and one line. What a line means stands in `events`; the
proof's last two signs (the last line, failure text) are judged by `export`, which has seen the lines.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from mixpanel_aep_assets.mixpanel.mixpanel_errors import ExportIncomplete, LineTooLong

igzip: Any
try:
    from isal import igzip_lib as igzip
except ImportError:  # pragma: no cover - no wheel for this platform: zlib, which is a third slower
    igzip = None

GZIP_ERRORS: tuple[type[Exception], ...] = (zlib.error,) if igzip is None else (zlib.error, igzip.IsalError)

BATCH = 1 << 22
"""Decompressed bytes parsed at a time: enough that what is done once per batch costs little, and a few fit in memory."""

GUNZIP_BLOCK = 1 << 21
"""Most bytes that one call decompresses, so that a gzip bomb costs time but no memory."""

LINE_LIMIT = 64 << 20
"""An event has at most 1 MB (mixpanel.md#event-limits), some times that after escaping; a line beyond this is no event."""

NEWLINE = 10

MARK = b"\xef\xbb\xbf"
"""The byte order mark that some programs put before UTF-8."""


class Lines(NamedTuple):
    """Whole lines: the bytes, and where each line starts and ends (its newline not counted). Arrays of int64."""

    data: bytes | memoryview
    starts: npt.NDArray[np.int64]
    ends: npt.NDArray[np.int64]

    def only(self, chosen: npt.NDArray[np.int64] | npt.NDArray[np.bool_]) -> Lines:
        """Some of the lines, by position or mask."""
        return Lines(self.data, self.starts[chosen], self.ends[chosen])

    def line(self, index: int) -> bytes:
        return bytes(self.data[int(self.starts[index]) : int(self.ends[index])])


def gunzip(blocks: Iterable[bytes], *, new: Callable[[], Any] | None = None) -> Iterator[bytes]:
    """Decompresses a gzip stream of one or several members, at most `GUNZIP_BLOCK` bytes a time.

    Raises ExportIncomplete where the stream is damaged (checksum, length), cut, or followed by something else.
    `new` makes a decompressor with the interface of `bz2.BZ2Decompressor`.
    """
    new = new or new_decompressor
    member: Any = None
    seen = False
    for block in blocks:
        data = block
        while data or (member is not None and not member.needs_input):
            if member is None:
                if seen and not data.strip(b"\0"):  # padding behind a member, as gzip tools accept it
                    break
                member, seen = new(), True
            try:
                out = member.decompress(data, GUNZIP_BLOCK)
            except GZIP_ERRORS as error:
                raise ExportIncomplete(f"the gzip stream is damaged: {error}") from error
            data = b""
            if out:
                yield out
            if member.eof:
                data, member = member.unused_data, None
    if member is not None or not seen:
        raise ExportIncomplete("the gzip stream ends before its end marker")


def new_decompressor() -> Any:
    """isal's decompressor, zlib's where isal is missing."""
    return ZlibDecompressor() if igzip is None else igzip.IgzipDecompressor(flag=igzip.DECOMP_GZIP)


class ZlibDecompressor:
    """`zlib.decompressobj` of one gzip member with the interface of isal's (and bz2's) decompressor."""

    def __init__(self) -> None:
        self._inner = zlib.decompressobj(31)
        self._rest = b""

    @property
    def eof(self) -> bool:
        return self._inner.eof

    @property
    def unused_data(self) -> bytes:
        return self._inner.unused_data

    @property
    def needs_input(self) -> bool:
        return not self._rest and not self._inner.eof

    def decompress(self, data: bytes, max_length: int) -> bytes:
        out = self._inner.decompress(self._rest + data, max_length)
        self._rest = self._inner.unconsumed_tail
        return out


def without_mark(blocks: Iterable[bytes]) -> Iterator[bytes]:
    """The same bytes without a byte order mark before the first."""
    held: bytes | None = b""
    for block in blocks:
        rest = block
        if held is not None:
            held += block
            if len(held) < len(MARK) and MARK.startswith(held):
                continue
            rest, held = held.removeprefix(MARK), None
        if rest:
            yield rest
    if held:
        yield held


def batches(blocks: Iterable[bytes], size: int = BATCH, limit: int = LINE_LIMIT) -> Iterator[memoryview]:
    """The same bytes cut behind a newline, some `size` bytes each; what follows the last newline comes last.

    Cuts at the byte 0x0A only: U+0085, U+2028 and the like may stand raw inside a string (mixpanel.md#reading-the-stream).
    Raises LineTooLong for a line of more than `limit` bytes.
    """
    parts: list[bytes] = []
    held = 0
    for block in blocks:
        parts.append(block)
        held += len(block)
        if held < size:
            continue
        if cut := block.rfind(b"\n") + 1:
            parts[-1] = block[:cut]
            yield _joined(parts)
            parts = [block[cut:]]
            held = len(parts[0])
        elif held > limit:
            # What came before the last newline has been given out unless the batch was still filling up.
            joined = b"".join(parts)
            cut = joined.rfind(b"\n") + 1
            if len(joined) - cut > limit:
                raise LineTooLong(f"a line of the export has more than {limit >> 20} MB")
            yield memoryview(joined)[:cut]
            parts = [joined[cut:]]
            held = len(parts[0])
    if any(parts):
        yield _joined(parts)


def _joined(parts: list[bytes]) -> memoryview:
    """The bytes one behind the other, copied without the interpreter's lock, which the parser of another batch holds."""
    whole = np.empty(sum(map(len, parts)), np.uint8)
    at = 0
    for part in parts:
        whole[at : at + len(part)] = np.frombuffer(part, np.uint8)
        at += len(part)
    return whole.data


def lines(data: bytes | memoryview) -> Lines:
    """Where the lines of a batch are. A last line without newline counts as a line."""
    ends = np.flatnonzero(np.frombuffer(data, np.uint8) == NEWLINE)
    if len(data) and data[-1] != NEWLINE:
        ends = np.append(ends, len(data))
    starts = np.empty_like(ends)
    starts[:1] = 0
    np.add(ends[:-1], 1, out=starts[1:])
    return Lines(data, starts, ends)
