"""A provisioned emulator with one changing day, the storage of its connection, and the judge of both."""

from __future__ import annotations

import hashlib
import os
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson
import pyarrow.parquet as pq

from mixpanel_aep_assets.aep import ims, receipts
from mixpanel_aep_assets.emulator import EmulatorThread
from mixpanel_aep_assets.mixpanel import lines_of_other_days
from mixpanel_aep_assets.pipeline.books import report
from mixpanel_aep_assets.pipeline.steps import extract, load, transform
from mixpanel_aep_assets.storage import LEFTOVER_AGE
from mixpanel_aep_assets_tests.connections import DAY, event, lines, provisioned
from mixpanel_aep_assets_tests.faults import way
from mixpanel_aep_assets_tests.faults.child import Child, outcome

TABLES = (extract.TABLE, transform.TABLE, load.TABLE)
PASSES = {
    "AnswerLost", "BatchInProgress", "BudgetExhausted", "ClaimLost", "DayReplaced", "EvidenceMissing", "ExportIncomplete",
    "PartitionBusy", "RateLimited", "ServerFault", "StorageError", "Unreachable",
}  # fmt: skip
"""Errors after which the next run may go through without anybody changing anything."""


class World:
    """One day of one connection. `version` of the day: its events 0..count-1, some of them twice, one line broken."""

    def __init__(self, emulator: EmulatorThread, folder: Path, *, in_chunks: bool = False) -> None:
        self.url, self.control, self.folder, self.in_chunks = emulator.url, emulator.control, folder, in_chunks
        self.rows: list[dict[str, Any]] = []
        with way.connection(self.url, folder) as made:
            provisioned(made)
            self.dataset = made.dataset
        self.control.reset_counters()

    def change(self, first: int, count: int, *, doubled: int = 3, broken: bool = True) -> None:
        """From now on Mixpanel's day holds the events `first`.. and nothing else."""
        self.rows = [event(first + number) for number in range(count)]
        body = lines(self.rows) + lines(self.rows[:doubled])
        if broken and count:
            body = b'{"event":"x","properties":{"n":NaN}}\n' + body
        self.control.seed_day(DAY, body)

    def run(self) -> tuple[str, str]:
        """One plain run in this process, which begins without a token as a new one does: what became of it (`child.outcome`)."""
        ims.forget()
        return outcome(lambda: way.run(self.url, self.folder, DAY, in_chunks=self.in_chunks))

    def start(self, **options: Any) -> Child:
        """The same in a process of its own."""
        return Child(self.url, self.folder, DAY, in_chunks=self.in_chunks, **options)

    def calm(self) -> None:
        """No more faults; what a dead process had sent and the emulator held arrives now."""
        self.control.clear_faults()
        self.control.release()

    def live(self) -> Counter[str]:
        self.control.settle()
        return Counter(self.control.books(self.dataset, ids=True)["ids"])

    def expected(self) -> Counter[str]:
        return Counter(id_of(row) for row in self.rows)

    def finish(self) -> None:
        """The next plain run, and the proof that the day is whole, once, and accounted for."""
        self.calm()
        said = self.run()
        deadline = time.monotonic() + 30
        while said[0] in ("BatchInProgress", "PartitionBusy") and time.monotonic() < deadline:
            self.control.settle()
            said = self.run()
        assert said == ("done", "")
        self.prove()

    def prove(self) -> None:
        """The books hold every event of the day exactly once, and the counts explain every line."""
        assert self.live() == self.expected()
        with way.connection(self.url, self.folder) as made:
            load.confirm_day(made, DAY)
            row = report.counts_of(made, DAY)
        assert row["status"] == ("ingested" if self.rows else "empty")
        assert row["exported"] == row["duplicates"] + row["quarantined"] + row["uploaded"]
        assert row["uploaded"] == row["ingested"] + row["rejected"] == len(self.rows)

    @property
    def root(self) -> Path:
        return self.folder.resolve() / "data"

    def manifests(self) -> Iterator[tuple[Path, dict[str, Any]]]:
        places = [*((table, DAY) for table in TABLES), (lines_of_other_days.TABLE, f"{DAY}_{DAY}")]
        for table, name in places:
            path = self.root / "default" / table / name / "manifest.json"
            if path.exists():
                yield path, orjson.loads(path.read_bytes())

    def require_whole(self) -> None:
        """Whatever is visible is whole: every manifest, every file that one names, every receipt."""
        for path, manifest in self.manifests():
            for kind in ("parts", "quarantine"):
                for entry in manifest.get(kind) or []:
                    file = path.parent / manifest["generation"] / entry["name"]
                    assert file.stat().st_size == entry["bytes"]
                    assert pq.read_table(file).num_rows == entry["rows"]
        with way.connection(self.url, self.folder) as made:
            receipts.read(made.storage, "default", DAY)

    def leftovers(self) -> list[str]:
        """Files of the storage that neither a manifest nor the log of receipts accounts for, and empty folders."""
        base = self.root / "default"
        known = {path for path, _ in self.manifests()} | {base / "time_mode.json"}
        for path, manifest in self.manifests():
            known |= {
                path.parent / manifest["generation"] / entry["name"]
                for kind in ("parts", "quarantine")
                for entry in manifest.get(kind) or []
            }
        found = []
        for folder, folders, files in os.walk(base):
            paths = {Path(folder, name) for name in files}
            if Path(folder).parent.name == receipts.LOG:
                paths = {path for path in paths if path.suffix != ".json"}
            found += [str(path.relative_to(base)) for path in paths - known]
            if not folders and not files:
                found.append(str(Path(folder).relative_to(base)))
        return sorted(found)

    def require_swept(self) -> None:
        """A day after a killed run, the next reading of the day removes what that left."""
        for name in self.leftovers():
            old = time.time() - LEFTOVER_AGE.total_seconds() - 60
            os.utime(self.root / "default" / name, (old, old))
        assert self.run() == ("done", "")
        assert self.leftovers() == []


def id_of(row: dict[str, Any]) -> str:
    """The `_id` that the event must have (mixpanel.md#duplicates), made without the project's code."""
    own = row["properties"]
    name, person = row["event"], own.get("$distinct_id_before_identity") or own["distinct_id"]
    key = [len(name.encode()), name, len(person.encode()), person, own["time"], own["$insert_id"]]
    return hashlib.sha256("\x1f".join(map(str, key)).encode()).hexdigest()
