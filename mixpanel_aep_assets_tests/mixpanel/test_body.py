"""Bytes to whole lines: gunzip, splitting, and what a damaged stream says."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mixpanel_aep_assets.mixpanel import body
from mixpanel_aep_assets.mixpanel.mixpanel_errors import ExportIncomplete, LineTooLong

DECOMPRESSORS = [body.new_decompressor, body.ZlibDecompressor]


def cut(data: bytes, size: int) -> list[bytes]:
    return [data[at : at + size] for at in range(0, len(data), size)]


@pytest.mark.parametrize("new", DECOMPRESSORS, ids=["isal", "zlib"])
@pytest.mark.parametrize("size", [1, 7, 100, 1 << 20])
def test_gunzip_gives_the_bytes_whatever_the_blocks(new: Callable[[], Any], size: int) -> None:
    text = b"".join(b"%d line\n" % number for number in range(5_000))
    assert b"".join(body.gunzip(cut(gzip.compress(text), size), new=new)) == text


@pytest.mark.parametrize("new", DECOMPRESSORS, ids=["isal", "zlib"])
@pytest.mark.parametrize("size", [1, 13, 1 << 20])
def test_gunzip_reads_several_members_and_padding(new: Callable[[], Any], size: int) -> None:
    stream = gzip.compress(b"one\n") + gzip.compress(b"") + gzip.compress(b"two\n") + b"\0" * 20
    assert b"".join(body.gunzip(cut(stream, size), new=new)) == b"one\ntwo\n"


@pytest.mark.parametrize("new", DECOMPRESSORS, ids=["isal", "zlib"])
def test_gunzip_refuses_a_stream_cut_at_any_byte(new: Callable[[], Any]) -> None:
    stream = gzip.compress(b"some text that is long enough to have a body\n" * 3)
    for end in range(len(stream)):
        with pytest.raises(ExportIncomplete):
            list(body.gunzip([stream[:end]], new=new))


@pytest.mark.parametrize("new", DECOMPRESSORS, ids=["isal", "zlib"])
@pytest.mark.parametrize("position", [-1, -8, 30])
def test_gunzip_refuses_flipped_bytes(new: Callable[[], Any], position: int) -> None:
    stream = bytearray(gzip.compress(bytes(range(256)) * 20))
    stream[position] ^= 0x55
    with pytest.raises(ExportIncomplete):
        list(body.gunzip([bytes(stream)], new=new))


@pytest.mark.parametrize("new", DECOMPRESSORS, ids=["isal", "zlib"])
def test_gunzip_refuses_something_else_behind_the_end(new: Callable[[], Any]) -> None:
    with pytest.raises(ExportIncomplete):
        list(body.gunzip([gzip.compress(b"x\n") + b"trailing text that is no gzip"], new=new))


@pytest.mark.parametrize("new", DECOMPRESSORS, ids=["isal", "zlib"])
def test_a_gzip_bomb_comes_in_bounded_blocks(new: Callable[[], Any]) -> None:
    bomb = gzip.compress(b"\0" * (50 << 20))
    assert max(map(len, body.gunzip([bomb], new=new))) <= body.GUNZIP_BLOCK


@given(st.binary(max_size=300), st.integers(1, 40), st.integers(1, 60))
def test_batches_are_the_same_bytes_cut_behind_newlines(data: bytes, block: int, size: int) -> None:
    batches = list(body.batches(cut(data, block), size))
    assert b"".join(batches) == data
    assert all(bytes(batch[-1:]) == b"\n" for batch in batches[:-1])


@given(st.lists(st.binary(max_size=12).map(lambda b: b.replace(b"\n", b"")), max_size=12), st.booleans())
def test_lines_are_what_stands_between_newlines(texts: list[bytes], ended: bool) -> None:
    data = b"\n".join(texts) + (b"\n" if ended and texts else b"")
    lines = body.lines(data)
    expected = data.split(b"\n")
    if not expected[-1]:
        expected.pop()
    assert [lines.line(index) for index in range(len(lines.ends))] == expected


def test_a_line_without_end_fails_loudly_and_in_bounded_memory() -> None:
    endless = (b"x" * 1000 for _ in range(10**9))
    with pytest.raises(LineTooLong):
        list(body.batches(endless, size=10_000, limit=100_000))


def test_a_long_line_below_the_limit_is_one_line() -> None:
    blocks = [b"a\n" + b"x" * 999, *[b"x" * 1000] * 50, b"\nb\n"]
    assert b"".join(body.batches(blocks, size=10_000, limit=100_000)) == b"".join(blocks)


@pytest.mark.parametrize("data", [b"", b"\xef", b"\xef\xbb", b"\xef\xbbx", b"x\xef\xbb\xbf", b"a\nb\n"])
@pytest.mark.parametrize("size", [1, 2, 100])
def test_only_a_whole_byte_order_mark_at_the_beginning_is_taken_away(data: bytes, size: int) -> None:
    assert b"".join(body.without_mark(cut(data, size))) == data
    assert b"".join(body.without_mark(cut(body.MARK + data, size))) == data
