"""What was measured: runs by what and how many events, kept as JSON, and the statistics of them."""

from __future__ import annotations

import datetime
import json
import statistics
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from measure import Usage


@dataclass(frozen=True)
class Spread:
    """Median, least and most of some runs."""

    median: float
    least: float
    most: float

    @classmethod
    def of(cls, values: list[float]) -> Spread:
        return cls(statistics.median(values), min(values), max(values))


@dataclass
class Results:
    file: Path
    date: str
    commands: list[str]
    machine: dict[str, Any]
    days: dict[int, dict[str, Any]] = field(default_factory=dict)
    runs: list[dict[str, Any]] = field(default_factory=list)
    failures: list[dict[str, Any]] = field(default_factory=list)

    @classmethod
    def begin(cls, file: Path, machine: dict[str, Any], command: str, *, keep: bool) -> Results:
        """Nothing measured yet, or with `keep` what the file has."""
        today = datetime.datetime.now(datetime.UTC).date().isoformat()
        if not keep:
            return cls(file, today, [command], machine)
        kept = cls.load(file)
        kept.date, kept.machine = today, machine
        kept.commands.append(command)
        return kept

    @classmethod
    def load(cls, file: Path) -> Results:
        kept = json.loads(file.read_text())
        kept["days"] = {int(events): day for events, day in kept["days"].items()}
        return cls(file, **kept)

    def save(self) -> None:
        kept = asdict(self)
        del kept["file"]
        self.file.parent.mkdir(parents=True, exist_ok=True)
        self.file.write_text(json.dumps(kept, indent=1) + "\n")

    def add(self, what: str, events: int, usage: Usage) -> None:
        self.runs.append({"what": what, "events": events, **asdict(usage)})

    def fail(self, what: str, events: int, text: str) -> None:
        self.failures.append({"what": what, "events": events, "text": text})

    @property
    def sizes(self) -> list[int]:
        return sorted(self.days)

    def of(self, what: str, events: int) -> list[dict[str, Any]]:
        return [run for run in self.runs if run["what"] == what and run["events"] == events]

    def spread(self, what: str, events: int, value: str | Callable[[dict[str, Any]], float]) -> Spread | None:
        """Of a value of the runs (its name, or how to get it); None where there is no run."""
        get = value if callable(value) else lambda run: run[value]
        values = [get(run) for run in self.of(what, events)]
        return Spread.of(values) if values else None

    def median(self, what: str, events: int, value: str | Callable[[dict[str, Any]], float]) -> float:
        found = self.spread(what, events, value)
        return found.median if found else float("nan")

    def rate(self, what: str, events: int) -> float:
        """Events a second: of a limit by its own clock, else by the wall time of the whole process."""
        return self.median(what, events, rate_of)

    def peers(self) -> list[str]:
        return sorted({run["what"] for run in self.runs if run["what"].startswith("peer ")})


def is_limit(what: str) -> bool:
    """Whether it is a limit of the machine (`limits.py`), not a stage."""
    return what.startswith(("gunzip-", "parse-", "process-"))


def rate_of(run: dict[str, Any]) -> float:
    if is_limit(run["what"]):
        return float(run["said"]["records"] / run["said"]["seconds"])
    return float(run["events"] / run["wall"])


def own_seconds(run: dict[str, Any]) -> float:
    """The stage's own wall time, without the start of its process."""
    seconds = run["said"].get("seconds")
    return float(sum(seconds.values())) if isinstance(seconds, dict) else run["wall"]
