"""How an export body goes over the wire: gzip, chunk sizes, and the faults that break it.

early      after `after_lines` lines write `text` ("terminated early", with a newline unless `newline` is false) and
           end cleanly
clean_cut  end cleanly after `after_bytes` of plain text, in the middle of a line; or after `wire_bytes`, so that a
           gzip stream is half
cut        close the socket after `after_bytes` on the wire; without that number, before the last chunk
slow       wait `first_byte` seconds before the first and `between_chunks` before each further chunk
empty      no bytes at all
short      end cleanly after `after_lines` whole lines
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Iterable, Iterator

from starlette.concurrency import iterate_in_threadpool

from mixpanel_aep_assets.emulator.faults import Cut, Fault, pick

GZIP_ABOVE = 1400
"""Smaller bodies come plain even when gzip is asked for (documented)."""
_PUNISHING = 256 << 10
"""So many bytes come in chunks of seeded odd sizes; the rest of a big body in large ones."""


def plain(blocks: Iterator[bytes], faults: list[Fault]) -> Iterator[bytes]:
    """The body before encoding, under the faults that act on it."""
    if pick(faults, "empty"):
        return iter(())
    for fault in pick(faults, "short"):
        blocks = _after_lines(blocks, int(fault.get("after_lines", 0)), b"")
    for fault in pick(faults, "early"):
        text = str(fault.get("text", "terminated early")).encode() + (b"\n" if fault.get("newline", True) else b"")
        blocks = _after_lines(blocks, int(fault.get("after_lines", 0)), text)
    for fault in pick(faults, "clean_cut"):
        if "wire_bytes" not in fault:
            blocks = _first_bytes(blocks, int(fault.get("after_bytes", 100)))
    return blocks


def encode(blocks: Iterator[bytes], *, gzip: bool, member_bytes: int | None = None) -> tuple[Iterator[bytes], bool]:
    """The body as sent and whether that is gzip: only if asked for and longer than 1400 bytes.

    `member_bytes` begins a new gzip member after so many plain bytes.
    """
    head: list[bytes] = []
    while sum(map(len, head)) <= GZIP_ABOVE and (block := next(blocks, None)) is not None:
        head.append(block)
    whole = _chain(head, blocks)
    if not gzip or sum(map(len, head)) <= GZIP_ABOVE:
        return whole, False
    return _compressed(whole, member_bytes), True


def chunks(blocks: Iterable[bytes], seed: int) -> Iterator[bytes]:
    """The bytes in chunks of seeded sizes from one byte to 64 KB, so that lines, characters and gzip borders are cut."""
    sizes = random.Random(seed)  # noqa: S311 - repeatable, not secret
    sent = 0
    for block in blocks:
        at = 0
        while at < len(block):
            size = int(2 ** sizes.uniform(0, 16)) if sent < _PUNISHING else 1 << 16
            piece = block[at : at + size]
            at += len(piece)
            sent += len(piece)
            yield piece


async def wire(pieces: Iterator[bytes], faults: list[Fault]) -> AsyncIterator[bytes]:
    """The chunks with delays and cuts. Raises `Cut` where the socket is to be closed."""
    cuts = pick(faults, "cut")
    cut_at = next((int(fault["after_bytes"]) for fault in cuts if "after_bytes" in fault), None)
    end_at = next((int(fault["wire_bytes"]) for fault in pick(faults, "clean_cut") if "wire_bytes" in fault), None)
    slow = pick(faults, "slow")
    sent = 0
    async for piece in iterate_in_threadpool(pieces):
        for fault in slow:
            await asyncio.sleep(float(fault.get("first_byte" if sent == 0 else "between_chunks", 0)))
        for border in (cut_at, end_at):
            if border is not None and sent + len(piece) >= border:
                yield piece[: border - sent]
                if border == cut_at:
                    raise Cut
                return
        sent += len(piece)
        yield piece
    if cuts:
        raise Cut


def _compressed(blocks: Iterator[bytes], member_bytes: int | None) -> Iterator[bytes]:
    from isal import isal_zlib

    compressor, size = isal_zlib.compressobj(1, wbits=31), 0
    for block in blocks:
        for piece in _pieces(block, member_bytes):
            if member_bytes is not None and size >= member_bytes:
                yield compressor.flush()
                compressor, size = isal_zlib.compressobj(1, wbits=31), 0
            size += len(piece)
            if data := compressor.compress(piece):
                yield data
    yield compressor.flush()


def _pieces(block: bytes, size: int | None) -> Iterator[bytes]:
    step = size or len(block)
    return (block[at : at + step] for at in range(0, len(block), step))


def _chain(head: list[bytes], rest: Iterator[bytes]) -> Iterator[bytes]:
    yield from head
    yield from rest


def _after_lines(blocks: Iterator[bytes], count: int, text: bytes) -> Iterator[bytes]:
    left = count
    for block in blocks:
        if block.count(b"\n") > left:
            yield b"".join(line + b"\n" for line in block.split(b"\n", left)[:left])
            break
        left -= block.count(b"\n")
        yield block
    if text:
        yield text


def _first_bytes(blocks: Iterator[bytes], count: int) -> Iterator[bytes]:
    for block in blocks:
        if len(block) >= count:
            yield block[:count]
            return
        count -= len(block)
        yield block
