"""A thousand mutated bodies: no foreign exception, no good row lost in silence."""

from __future__ import annotations

import gzip
import json
import random
from pathlib import Path

import polars as pl
import pytest

from mixpanel_aep_assets.mixpanel import body, events, export, mixpanel_errors
from mixpanel_aep_assets.mixpanel.client import MixpanelClient
from mixpanel_aep_assets.storage import open_storage
from mixpanel_aep_assets_tests.mixpanel import samples
from mixpanel_aep_assets_tests.mixpanel.conftest import DAY, NO_WAIT, Scripted, answer, event, outside_of

GOOD = [line + b"\n" for line in [*samples.OF_ONE_DAY, samples.RAW_SEPARATORS]] + [
    event(number) for number in range(20)
]
TYPED = [b"time", b"$mp_api_timestamp_ms", b"mp_processing_time_ms", b"distinct_id", b"$insert_id", b"$import"]
ODD = [
    1741168800000000, -1741168800000000, 10**30, 10**400, -(2**63), 1e300, "1e999", "", " ", "[object Object]", None, True,
    ["u", {"a": 1}], {}, [], 0, -5, "10000-01-01", "+-5", "x" * 2000,
]  # fmt: skip
"""Values of the typed properties that no column, zone or identity can hold."""

TOTAL = 1_000
OVER_HTTP = 60


def mutate(rng: random.Random) -> tuple[bytes, set[bytes]]:
    """A damaged body, and those of its lines that are whole."""
    lines = rng.choices(GOOD, k=rng.randint(1, 40))
    kind = rng.randrange(10)
    at = rng.randrange(len(lines))
    line = lines[at]
    if kind == 0:
        data = b"".join(lines)
        data = data[: rng.randrange(len(data) + 1)]
        return data, whole(data)
    if kind == 1:
        flipped = bytearray(line)
        for _ in range(rng.randint(1, 6)):
            flipped[rng.randrange(len(flipped))] = rng.randrange(256)
        lines[at] = bytes(flipped)
    elif kind == 2:
        lines[at] = line.rstrip(b"\n") + rng.choice([b"", b",", b" ", b"\r"])
    elif kind == 3:
        position = rng.randrange(len(line))
        lines[at] = (
            line[:position] + rng.choice([b"\xff", b"\xed\xa0\x80", b"\xc3", b"\x00", b"\n", b"\n\n"]) + line[position:]
        )
    elif kind == 4:
        huge = b"x" * rng.choice([10_000, 300_000, 3_000_000])
        lines[at] = b'{"event":"huge","properties":{"time":1768024801,"text":"' + huge + rng.choice([b'"}}\n', b"\n"])
    elif kind == 5:
        depth = rng.choice([50, 900, 5_000, 100_000])
        opening, closing = rng.choice([(b"[", b"]"), (b'{"a":', b"}")])
        inner = opening * depth + b"1" + closing * rng.choice([depth, depth - 1])
        lines[at] = b'{"event":"deep","properties":{"time":1768024801,"a":' + inner + b"}}\n"
    elif kind == 6:
        position, end = sorted(rng.choices(range(len(line) + 1), k=2))
        lines[at] = line[:position] + line[end:]
    elif kind == 7:
        name, value = rng.choice(TYPED), json.dumps(rng.choice(ODD)).encode()
        lines[at] = b'{"event":"odd","properties":{"time":1768024801,"%s":%s}}\n' % (name, value)
    elif kind == 8:
        named, error = json.dumps(rng.choice(ODD)).encode(), rng.choice([b"", b',"error":"not found"'])
        lines[at] = b'{"event":%s,"properties":{"time":1768024801%s}}\n' % (named, error)
    else:
        lines[at] = rng.choice(list(samples.BROKEN)) + b"\n"
    data = b"".join(lines)
    return data, whole(data)


def whole(data: bytes) -> set[bytes]:
    """The lines of the undamaged body that still stand as they were, from newline to newline."""
    return {line + b"\n" for line in data.split(b"\n")} & set(GOOD)


def texts(lines: set[bytes]) -> set[str]:
    return {line[line.index(b'"properties":') + 13 : -2].decode() for line in lines}


@pytest.mark.parametrize("seed", range(10))
def test_every_line_of_a_mutated_body_is_a_row_or_a_broken_line(seed: int) -> None:
    rng = random.Random(seed)
    for _ in range(TOTAL // 10):
        data, good = mutate(rng)
        rows: list[str] = []
        accounted = numbered = broken = 0
        for batch in body.batches(
            [data[at : at + 4096] for at in range(0, len(data), 4096)], rng.choice([1, 5_000, 1 << 20])
        ):
            parsed = events.parse(batch, numbered + 1)
            numbered += parsed.numbered
            accounted += parsed.lines
            broken += len(parsed.broken)
            rows += parsed.events["properties"].to_pylist()
            for line in parsed.broken:
                assert line.bytes in bytes(batch)
        assert accounted == len(rows) + broken == sum(1 for line in data.split(b"\n") if line)
        assert texts(good) <= set(rows) | ({""} if not data.endswith(b"\n") else set())


@pytest.mark.parametrize("seed", range(OVER_HTTP))
def test_a_mutated_answer_is_a_typed_error_or_a_day_without_loss(
    server: Scripted, client: MixpanelClient, tmp_path: Path, seed: int
) -> None:
    rng = random.Random(1_000 + seed)
    data, good = mutate(rng)
    packed = rng.random() < 0.5
    raw = answer(data, packed=packed, chunk=rng.choice([1, 100, 4096]) if len(data) < 50_000 else 1 << 16)
    if rng.random() < 0.3:
        head, _, rest = raw.partition(b"\r\n\r\n")
        broken = bytearray(rest)
        for _ in range(rng.randint(1, 3)):
            broken[rng.randrange(len(broken))] ^= 1 << rng.randrange(8)
        raw = head + b"\r\n\r\n" + bytes(broken)
        good = set()
    server.answers = [raw]
    day = open_storage(str(tmp_path / "data")).day("shop", "raw_events", DAY)
    try:
        made = export.export_day(client, day, DAY, retry=NO_WAIT)
    except mixpanel_errors.MixpanelError as error:
        assert error.fix  # noqa: PT017 - an error is one of two right ends
        assert day.manifest() is None
        return
    assert made.manifest.exported == made.manifest.rows + made.manifest.quarantined
    rows = {text for path in day.locations() for text in pl.read_parquet(path)["properties"].to_list()}
    assert texts(good) <= rows
    assert made.manifest.exported + outside_of(day).height == sum(bool(line) for line in data.split(b"\n"))


@pytest.mark.parametrize("seed", range(5))
def test_a_mutated_gzip_stream_is_the_same_bytes_or_an_error(seed: int) -> None:
    rng = random.Random(seed)
    text = b"".join(GOOD)
    stream = gzip.compress(text)
    for _ in range(60):
        broken = bytearray(stream)
        broken[rng.randrange(len(broken))] ^= 1 << rng.randrange(8)
        for new in (body.new_decompressor, body.ZlibDecompressor):
            try:
                given = b"".join(body.gunzip([bytes(broken)], new=new))
            except mixpanel_errors.ExportIncomplete:
                continue
            assert given == text
