#!/usr/bin/env python3
"""Measures the whole way of a day, stage by stage, and writes docs/performance.md: bench/run.py [--events N …]

Makes its days (events.py), serves them (server.py), and runs in each round, one after the other and each in a fresh
process: the limits of the machine on the same lines, the export, transform, conformance and upload, and the whole way.
Rounds interleave what is compared, because a machine is not equally fast all the time; the page gives median, least and
most. On two cores 4 minutes for 200 thousand events, 6 more for a million, 25 more for 10 million.

    bench/run.py                                                    # 200 thousand events (make bench)
    bench/run.py --events 200000 1000000 --out docs/performance.json --render
    bench/run.py --events 10000000 --add --out docs/performance.json --render
    bench/run.py --render-only --out docs/performance.json
"""

from __future__ import annotations

import argparse
import datetime
import os
import platform
import shlex
import shutil
import subprocess
import sys
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import page
from measure import Failed, Usage, measured, serving
from results import Results

HERE = Path(__file__).resolve().parent
WORK = HERE / ".work"
DAY = "2025-09-14"
ROUNDS = {200_000: 3, 1_000_000: 2}
"""By size of the day; one for the others."""

SMALL = 2_000
"""Events of the day with which the cost of Dagster is measured."""

DAGSTER_ROUNDS = 3

LIMITS = ("gunzip-zlib", "gunzip-isal", "parse-orjson", "parse-msgspec", "process-orjson")
STAGES = ("transform", "conformance", "upload")
LIBRARIES = ("dagster", "polars", "pyarrow", "msgspec", "orjson", "isal")
PYTHON = sys.executable


class Bench:
    def __init__(self, work: Path, results: Results) -> None:
        self.work, self.results = work, results

    def data(self, events: int) -> Path:
        """The folder with the day of so many events, made where it is missing."""
        folder = self.work / "data" / str(events)
        command: list[str | Path] = [PYTHON, HERE / "events.py", "--out", folder, f"{DAY}:{events}"]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)  # noqa: S603
        return folder

    def fresh(self) -> Path:
        out = self.work / "out"
        shutil.rmtree(out, ignore_errors=True)
        out.mkdir(parents=True)
        return out

    def take(self, what: str, events: int, command: Sequence[str | Path], **more: Any) -> Usage | None:
        """Runs a command and keeps the result; says what failed and goes on."""
        try:
            usage = measured(command, **more)
        except Failed as failed:
            print(f"{what}: {failed}", file=sys.stderr)
            self.results.fail(what, events, str(failed))
            return None
        self.results.add(what, events, usage)
        rate = events / usage.wall
        print(f"{events:>12,} {what:<14} {usage.wall:8.2f} s {usage.cpu:8.2f} CPU s {usage.together:7,.0f} MB {rate:11,.0f}/s",
              file=sys.stderr, flush=True)  # fmt: skip
        return usage

    def round(self, events: int, base: str, peers: dict[str, str]) -> None:
        file = self.work / "data" / str(events) / f"{DAY}.ndjson.gz"
        for name in LIMITS:
            self.take(name, events, [PYTHON, HERE / "limits.py", name, file])
        out = self.fresh()
        common: list[str | Path] = ["--base-url", base, "--date", DAY, "--out", out]
        self.take("extract", events, [PYTHON, HERE / "extract.py", *common])
        with emulator(out) as url:
            stage = [PYTHON, HERE / "stages.py", "--platform-url", url, *common]
            measured([*stage, "provision"])
            for name in STAGES:
                self.take(name, events, [*stage, name])
        common[-1] = self.fresh()
        self.take("end to end", events, [PYTHON, HERE / "end_to_end.py", *common])
        for name, command in peers.items():
            values = {"base_url": base, "date": DAY, "out": str(self.fresh())}
            self.take(f"peer {name}", events, [part.format(**values) for part in shlex.split(command)])

    def beside(self, events: int, base: str) -> None:
        """The compiled check and the compiled mapping beside the same work row by row."""
        out = self.fresh()
        common: list[str | Path] = ["--base-url", base, "--date", DAY, "--out", out]
        measured([PYTHON, HERE / "extract.py", *common])
        with emulator(out) as url:
            stage = [PYTHON, HERE / "stages.py", "--platform-url", url, *common]
            measured([*stage, "provision"])
            measured([*stage, "transform"])
            for name in ("oracle", "mapping"):
                self.take(name, events, [*stage, name])

    def dagster(self, base: str) -> None:
        """One small day: the domain alone, `mixpanel-aep run`, and the job as the UI's worker runs it."""
        module = "mixpanel_aep_assets"
        self.take("import domain", SMALL, [PYTHON, "-c", f"import {module}.pipeline.load, {module}.pipeline.verify"])
        self.take("import dagster", SMALL, [PYTHON, "-c", "import dagster"])
        load = f"from {module}.definitions import defs; defs()"
        for what in ("definitions", "domain", "run", "job"):
            out = self.fresh()
            with emulator(out) as url:
                environment = variables(base, url, out)
                common = ["--base-url", base, "--date", DAY, "--out", out]
                stage = [PYTHON, HERE / "stages.py", "--platform-url", url, *common]
                measured([*stage, "provision"])
                # Else the runs would make the instance's tables, which a machine does once.
                measured([PYTHON, "-m", "dagster", "instance", "info"], environment=environment)
                tags = f'{{"dagster/partition": "{DAY}"}}'
                command = {
                    "definitions": [PYTHON, "-c", load],
                    "domain": [*stage, "whole"],
                    "run": [PYTHON, "-m", module, "run", "--from", DAY, "--to", DAY],
                    "job": [PYTHON, "-m", "dagster", "job", "execute", "-m", f"{module}.definitions", "-j", "default_daily",
                            "--tags", tags],
                }[what]  # fmt: skip
                self.take(f"dagster {what}", SMALL, command, environment=environment, accept=(0, 3))


def emulator(out: Path) -> Any:
    return serving([PYTHON, "-m", "mixpanel_aep_assets.emulator", "--state", out / "emulator.sqlite"])


def variables(base: str, url: str, out: Path) -> dict[str, str]:
    """The connection of `connection.opened` as the README's variables."""
    from mixpanel_aep_assets.cli.demo import environment

    home = out / "dagster_home"
    home.mkdir()
    shutil.copy(HERE.parent / "dagster.yaml", home)
    bench = environment(url, out, home, datetime.date.fromisoformat(DAY)) | {
        "MIXPANEL_EXPORT_URL": base, "MIXPANEL_API_URL": base, "MIXPANEL_PROJECT_ID": "1",
        "MIXPANEL_TIMEZONE": "UTC", "MIXPANEL_TIME_MODE": "utc",
    }  # fmt: skip
    return {**os.environ, **bench}


def machine() -> dict[str, Any]:
    names = [
        line.split(":")[1].strip() for line in Path("/proc/cpuinfo").read_text().splitlines() if "model name" in line
    ]
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return {
        "processor": names[0] if names else platform.processor(),
        "cores": len(os.sched_getaffinity(0)),
        "memory_gb": round(memory / 1e9),
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "libraries": {name: version(name) for name in LIBRARIES},
    }


def measure(args: argparse.Namespace) -> Results:
    command = shlex.join(["bench/run.py", *sys.argv[1:]])
    results = Results.begin(args.out, machine(), command, keep=args.add)
    bench = Bench(args.work, results)
    peers = dict(peer.split("=", 1) for peer in args.peer)
    for events in sorted(args.events):
        folder = bench.data(events)
        with serving([PYTHON, HERE / "server.py", "--data", folder]) as base:
            for _ in range(args.rounds or ROUNDS.get(events, 1)):
                bench.round(events, base, peers)
            results.days[events] = page.about(folder / f"{DAY}.json")
            results.save()
    if not args.add:
        near_a_million = min(args.events, key=lambda events: abs(events - 1_000_000))
        with serving([PYTHON, HERE / "server.py", "--data", bench.data(near_a_million)]) as base:
            bench.beside(near_a_million, base)
        with serving([PYTHON, HERE / "server.py", "--data", bench.data(SMALL)]) as base:
            for _ in range(args.rounds or DAGSTER_ROUNDS):
                bench.dagster(base)
    results.save()
    shutil.rmtree(args.work / "out", ignore_errors=True)
    return results


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--events", nargs="+", type=int, default=[200_000], help="sizes of the days")
    parser.add_argument(
        "--rounds", type=int, help="runs of everything; default 3, 2, 1 for 200 thousand, 1, 10 million"
    )
    parser.add_argument("--work", type=Path, default=WORK, help="for the days and what is made of them")
    parser.add_argument("--out", type=Path, default=WORK / "performance.json", help="the results")
    parser.add_argument("--add", action="store_true", help="keep what --out has of other sizes, of rows and of Dagster")
    parser.add_argument("--peer", action="append", default=[], metavar="NAME=COMMAND",
                        help="another tool beside ours; {base_url}, {date}, {out} in the command are filled in")  # fmt: skip
    parser.add_argument("--render", action="store_true", help="write docs/performance.md and its plot too")
    parser.add_argument("--render-only", action="store_true", help="… from an earlier --out, without measuring")
    args = parser.parse_args()
    results = Results.load(args.out) if args.render_only else measure(args)
    print(page.tables(results))
    if args.render or args.render_only:
        page.write(results, HERE.parent / "docs")


if __name__ == "__main__":
    main()
