"""docs/performance.md from results: the tables, and the words around them, in which every number is filled in."""

from __future__ import annotations

import json
import math
from functools import partial
from pathlib import Path
from string import Template
from typing import Any

from plot import plot
from results import Results, Spread, is_limit, own_seconds

HERE = Path(__file__).resolve().parent
TITLES = {
    "gunzip-zlib": "limit: gunzip, zlib",
    "gunzip-isal": "limit: gunzip, isal",
    "parse-msgspec": "limit: parse, msgspec",
    "parse-orjson": "limit: parse, orjson",
    "process-orjson": "limit: a process that reads, cuts and parses, orjson",
    "extract": "export to committed Parquet",
    "transform": "XDM, conformance included",
    "conformance": "conformance, files read back",
    "upload": "upload to the emulator",
    "end to end": "**end to end**",
}
LIMIT = "parse-orjson"
DAGSTER = {
    "import domain": "the domain's modules imported",
    "import dagster": "`import dagster`",
    "dagster definitions": "the code location loaded",
    "dagster domain": "a day, domain alone (checks included)",
    "dagster run": "a day, `mixpanel-aep run`",
    "dagster job": "a day, `dagster job execute`, as the UI's worker runs it",
}


def about(file: Path) -> dict[str, Any]:
    """What is told of a day: events, distinct events, bytes plain and compressed."""
    day = json.loads(file.read_text())
    return {key: day[key] for key in ("events", "distinct", "bytes", "gzip_bytes")}


def spread(found: Spread | None, digits: int = 2) -> str:
    if found is None:
        return ""
    text = f"{found.median:,.{digits}f}"
    return text if found.least == found.most else f"{text} ({found.least:,.{digits}f}–{found.most:,.{digits}f})"


def row(*cells: str) -> str:
    return "| " + " | ".join(cells) + " |"


def stages(results: Results, events: int) -> str:
    lines = [
        row(
            "what",
            "events/s",
            "MB/s",
            "wall s",
            "start s",
            "CPU s",
            "CPU µs/event",
            "largest MB",
            "all MB",
            "of orjson",
        ),
        "|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|",
    ]
    size = results.days[events]["bytes"]
    titles = TITLES | {peer: peer for peer in results.peers()}
    for what, title in titles.items():
        if not results.of(what, events):
            continue
        rate = results.rate(what, events)
        cells = [title, f"{rate:,.0f}", f"{rate * size / events / 1e6:,.0f}"]
        if is_limit(what):
            cells += [spread(results.spread(what, events, lambda run: run["said"]["seconds"])), *[""] * 5]
        else:
            cpu = results.spread(what, events, "cpu")
            assert cpu is not None
            start = results.median(what, events, lambda run: run["wall"] - own_seconds(run))
            cells += [
                spread(results.spread(what, events, "wall")),
                "" if what.startswith("peer") else f"{start:.2f}",
                spread(cpu),
                f"{cpu.median / events * 1e6:.1f}",
                spread(results.spread(what, events, "largest"), 0),
                spread(results.spread(what, events, "together"), 0),
            ]
        lines.append(row(*cells, f"{rate / results.rate(LIMIT, events):.0%}"))
    return "\n".join(lines)


def ratios(results: Results) -> str:
    header = row("", *(f"{events:,} events" for events in results.sizes))
    lines = [header, "|---|" + "---:|" * len(results.sizes)]
    for what in ("extract", "end to end"):
        for limit in ("process-orjson", "parse-orjson", "parse-msgspec", "gunzip-isal", "gunzip-zlib"):
            cells = [f"{results.rate(what, n) / results.rate(limit, n):.0%}" for n in results.sizes]
            lines.append(row(f"{TITLES[what]} / {TITLES[limit].removeprefix('limit: ')}", *cells))
        cells = [f"{started(results, what, n) / results.rate(LIMIT, n):.0%}" for n in results.sizes]
        lines.append(row(f"{TITLES[what]} without the start of its process / parse, orjson", *cells))
    return "\n".join(lines)


def started(results: Results, what: str, events: int) -> float:
    """Events a second from the moment at which the process has started."""
    return events / results.median(what, events, own_seconds)


def growth(results: Results) -> str:
    lines = [
        row("from", "to", "what", "time", "time for twice the events", "largest process", "all processes"),
        "|---:|---:|---|---:|---:|---:|---:|",
    ]
    for small, large in zip(results.sizes, results.sizes[1:], strict=False):
        for what in ("extract", "transform", "conformance", "upload", "end to end"):
            if results.of(what, small) and results.of(what, large):
                time, largest, together = (
                    results.median(what, large, value) / results.median(what, small, value)
                    for value in ("wall", "largest", "together")
                )
                twice = time ** (1 / math.log2(large / small))
                cells = [f"{time:.2f}×", f"{twice:.2f}×", f"{largest:.2f}×", f"{together:.2f}×"]
                lines.append(row(f"{small:,}", f"{large:,}", TITLES[what], *cells))
    return "\n".join(lines) if len(lines) > 2 else "(one size only)"


def shares(results: Results) -> str:
    header = row("step of end to end", *(f"{events:,} events" for events in results.sizes))
    lines = [header, "|---|" + "---:|" * len(results.sizes)]
    steps = {"export": "export", "xdm": "XDM and conformance", "upload": "upload"}
    for step, title in steps.items():
        cells = []
        for events in results.sizes:
            wall = results.median("end to end", events, "wall")
            seconds = results.median("end to end", events, partial(step_seconds, step))
            cells.append(f"{seconds:,.2f} s, {seconds / wall:.0%}, {seconds / events * 1e6:.1f} µs/event")
        lines.append(row(title, *cells))
    rest = []
    for events in results.sizes:
        seconds = results.median("end to end", events, lambda run: run["wall"] - own_seconds(run))
        rest.append(f"{seconds:,.2f} s, {seconds / results.median('end to end', events, 'wall'):.0%}")
    lines.append(row("start of the process and of the emulator, provisioning", *rest))
    return "\n".join(lines)


def step_seconds(step: str, run: dict[str, Any]) -> float:
    return float(run["said"]["seconds"][step])


def beside(results: Results) -> str:
    lines = [row("", "compiled", "row by row", "ratio"), "|---|---:|---:|---:|"]
    for what, title, prefix in (
        ("oracle", "conformance (`jsonschema-rs`)", "oracle"),
        ("mapping", "standard mapping (plain evaluator)", "plain"),
    ):
        for run in [run["said"] for run in results.runs if run["what"] == what]:
            whole = run["compiled_seconds"]
            by_row = run[f"{prefix}_seconds_per_row"] * run["records"]
            lines.append(
                row(f"{title}, {run['records']:,} rows", f"{whole:.1f} s, {run['records'] / whole:,.0f} rows/s",
                    f"{by_row:,.1f} s, {run['records'] / by_row:,.0f} rows/s (from {run[f'{prefix}_sample']:,} rows)",
                    f"{by_row / whole:.1f}×")
            )  # fmt: skip
    return "\n".join(lines)


def dagster(results: Results) -> str:
    lines = [row("what", "wall s", "CPU s"), "|---|---:|---:|"]
    for what, title in DAGSTER.items():
        for events in sorted({run["events"] for run in results.runs if run["what"] == what}):
            wall, cpu = (spread(results.spread(what, events, value)) for value in ("wall", "cpu"))
            lines.append(row(title, wall, cpu))
    return "\n".join(lines)


def dagster_cost(results: Results, what: str) -> float:
    events = next((run["events"] for run in results.runs if run["what"] == what), 0)
    return results.median(what, events, "wall") - results.median("dagster domain", events, "wall")


def tables(results: Results) -> str:
    """All tables, for a terminal."""
    parts = [f"{events:,} events\n\n{stages(results, events)}" for events in results.sizes]
    parts += [ratios(results), shares(results), growth(results), beside(results), dagster(results)]
    return "\n\n".join(parts)


def text(results: Results) -> str:
    machine, largest = results.machine, results.sizes[-1]
    day = results.days[largest]
    libraries = ", ".join(f"{name} {number}" for name, number in machine["libraries"].items())
    orjson, gunzip = results.rate(LIMIT, largest), results.rate("gunzip-isal", largest)
    cpu = results.median("extract", largest, "cpu") / largest * 1e6
    values = {
        "machine": f"{machine['processor']}, {machine['cores']} cores, {machine['memory_gb']} GB, {machine['system']}, "
        f"Python {machine['python']}; {libraries}",
        "date": results.date,
        "command": "\n".join(results.commands),
        "bytes_per_event": f"{day['bytes'] / day['events']:,.0f}",
        "gzip_ratio": f"{day['bytes'] / day['gzip_bytes']:.1f}",
        "tables": "\n\n".join(f"### {events:,} events\n\n{stages(results, events)}" for events in results.sizes),
        "ratios": ratios(results),
        "shares": shares(results),
        "growth": growth(results),
        "beside": beside(results),
        "dagster": dagster(results),
        "run_cost": f"{dagster_cost(results, 'dagster run'):.1f}",
        "job_cost": f"{dagster_cost(results, 'dagster job'):.1f}",
        "largest": f"{largest:,}",
        "gunzip_us": f"{1e6 / gunzip:.1f}",
        "orjson_us": f"{1e6 / orjson:.1f}",
        "export_cpu_us": f"{cpu:.1f}",
        "export_two_cores": f"{2e6 / cpu:,.0f}",
        "export_two_cores_share": f"{2e6 / cpu / orjson:.0%}",
        "failures": "".join(
            f"\n- {one['what']}, {one['events']:,} events: {one['text'].splitlines()[-1]}" for one in results.failures
        ),
    }
    return Template((HERE / "performance.md.in").read_text()).substitute(values)


def write(results: Results, folder: Path) -> None:
    """Writes performance.md and performance.svg."""
    folder.mkdir(exist_ok=True)
    (folder / "performance.md").write_text(text(results))
    (folder / "performance.svg").write_text(plot(results, TITLES))
