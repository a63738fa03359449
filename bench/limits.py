#!/usr/bin/env python3
"""What one core of this machine can do at most with the lines of a day: bench/limits.py NAME FILE.ndjson.gz

NAME: `gunzip-zlib`, `gunzip-isal`, `parse-orjson`, `parse-msgspec`: only that work is timed, over memory, without reading
files or splitting lines. `process-orjson`: a process of its own, from its start to its end, that reads plain lines from a
file, cuts them and parses each. The last line is JSON with "records", "bytes" and "seconds". At most a million lines are read.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
import zlib
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import msgspec
import orjson
from isal import igzip, igzip_lib

MOST = 1_000_000
READ = 1 << 18
LINES_A_TIME = 4_000


def gunzip(new: Callable[[], Any], path: Path) -> dict[str, Any]:
    records = size = 0
    seconds = 0.0
    member = None
    with path.open("rb") as file:
        while records < MOST and (data := file.read(READ)):
            while data:
                member = member or new()
                began = time.perf_counter()
                text = member.decompress(data)
                seconds += time.perf_counter() - began
                size, records = size + len(text), records + text.count(b"\n")
                data = b""
                if member.eof:
                    data, member = member.unused_data, None
    return {"records": records, "bytes": size, "seconds": seconds}


def parse(loads: Callable[[bytes], Any], path: Path) -> dict[str, Any]:
    records = size = 0
    seconds = 0.0
    with _open(path) as file:
        lines: Iterator[bytes] = islice(file, MOST)
        while some := list(islice(lines, LINES_A_TIME)):
            began = time.perf_counter()
            for line in some:
                loads(line)
            seconds += time.perf_counter() - began
            size, records = size + sum(map(len, some)), records + len(some)
    return {"records": records, "bytes": size, "seconds": seconds}


PROCESS = """
import sys, orjson
rest = b""
with open(sys.argv[1], "rb") as file:
    while data := file.read(4 << 20):
        *lines, rest = (rest + data).split(b"\\n")
        for line in lines:
            orjson.loads(line)
"""


def process(path: Path) -> dict[str, Any]:
    records = 0
    with tempfile.NamedTemporaryFile() as plain:
        with _open(path) as file:
            for line in islice(file, MOST):
                plain.write(line)
                records += 1
        plain.flush()
        began = time.perf_counter()
        subprocess.run([sys.executable, "-c", PROCESS, plain.name], check=True)  # noqa: S603 - our own text
        return {"records": records, "bytes": plain.tell(), "seconds": time.perf_counter() - began}


def _open(path: Path) -> Any:
    return igzip.open(path, "rb")  # type: ignore[no-untyped-call]


LIMITS: dict[str, Callable[[Path], dict[str, Any]]] = {
    "gunzip-zlib": lambda path: gunzip(lambda: zlib.decompressobj(31), path),
    "gunzip-isal": lambda path: gunzip(lambda: igzip_lib.IgzipDecompressor(flag=igzip_lib.DECOMP_GZIP), path),
    "parse-orjson": lambda path: parse(orjson.loads, path),
    "parse-msgspec": lambda path: parse(msgspec.json.Decoder().decode, path),
    "process-orjson": process,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", choices=LIMITS)
    parser.add_argument("file", type=Path)
    args = parser.parse_args()
    print(json.dumps(LIMITS[args.name](args.file)))


if __name__ == "__main__":
    main()
