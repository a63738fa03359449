"""Random sequences of single days and ranges: each line that Mixpanel was asked for is live once or set aside once.

Mixpanel's days hold plain events, lines that show no time, lines that are no events, events whose time is of another year,
and events whose time is of a neighbouring day, so that whose line it is depends on nothing but its content. The judges are the
emulator's books and what is shown of the quarantine, read by the test's own eyes.
"""

from __future__ import annotations

import contextlib
import datetime
import json
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from mixpanel_aep_assets.emulator import EmulatorThread
from mixpanel_aep_assets.pipeline.books import quarantine
from mixpanel_aep_assets.pipeline.steps import day_exports, extract, load, transform
from mixpanel_aep_assets.pipeline.steps.run_groups import Pass
from mixpanel_aep_assets.storage import StorageError
from mixpanel_aep_assets_tests.connections import event, provisioned
from mixpanel_aep_assets_tests.faults import way
from mixpanel_aep_assets_tests.faults.points import FullDisk, watched
from mixpanel_aep_assets_tests.faults.world import id_of

pytestmark = pytest.mark.e2e

LAST = datetime.date(2026, 3, 10)
DAYS = [(LAST - datetime.timedelta(days=n)).isoformat() for n in (4, 3, 2, 1, 0)]
MS = 86_400_000
FAR = 20 * 365

PLAIN, UNDATED, BROKEN, FAR_AWAY, NEAR = "plain", "undated", "broken", "far away", "near"
some_days = st.sets(st.sampled_from(range(len(DAYS))), min_size=1)
kinds = st.lists(
    st.tuples(st.sampled_from([UNDATED, BROKEN, FAR_AWAY, NEAR, NEAR]), st.sampled_from([-3, -2, -1, 0, 1, 2, 3])),
    max_size=4,
)
spans = st.tuples(st.sampled_from(range(len(DAYS))), st.sampled_from(range(len(DAYS)))).map(sorted)


def line(day: str, number: int, kind: str, shift: int) -> tuple[str, bytes]:
    """A line that Mixpanel files under `day`, and what it is known by; its time is `shift` days from there."""
    name = f"{day}/{number}"
    move = (datetime.date.fromisoformat(day) - LAST).days + (FAR if kind == FAR_AWAY else shift)
    if kind == UNDATED:
        return name, json.dumps({"event": "x", "properties": {"name": name}}).encode()
    row = event(number)
    for stamp in ("time", "$mp_api_timestamp_ms", "mp_processing_time_ms"):
        row["properties"][stamp] += move * MS
    row["properties"]["$insert_id"] = name
    if kind == BROKEN:
        return name, json.dumps({**row, "more": name}).encode()
    return id_of(row), json.dumps(row).encode()


class DaysAndRanges(RuleBasedStateMachine):
    """A connection, five days at Mixpanel, and what was asked for so far."""

    def __init__(self) -> None:
        super().__init__()
        self.emulator = EmulatorThread()
        self.emulator.__enter__()
        self.folder = tempfile.TemporaryDirectory()
        self.path = Path(self.folder.name)
        self.filed: dict[str, list[str]] = {day: [] for day in DAYS}
        self.asked: set[str] = set()
        self.runs = 0
        with self._connection() as made:
            provisioned(made)
            self.dataset = made.dataset
        self.emulator.control.settings(export_per_second=1_000)

    def teardown(self) -> None:
        try:
            self._send_and_judge()
        finally:
            self.emulator.__exit__(None, None, None)
            self.folder.cleanup()

    def _connection(self) -> Any:
        return way.connection(self.emulator.url, self.path)

    @initialize(odd=st.tuples(*[kinds] * len(DAYS)), plain=st.tuples(*[st.sampled_from([0, 1, 6, 30])] * len(DAYS)))
    def mixpanel_holds(self, odd: tuple[list[tuple[str, int]], ...], plain: tuple[int, ...]) -> None:
        for day, strange, count in zip(DAYS, odd, plain, strict=True):
            self._file(day, [*[(PLAIN, 0)] * count, *strange])

    def _file(self, day: str, more: list[tuple[str, int]]) -> None:
        made = [line(day, len(self.filed[day]) + number, *kind) for number, kind in enumerate(more)]
        self.filed[day] += [name for name, _ in made]
        self.emulator.control.seed_day(day, b"".join(text + b"\n" for _, text in made), append=True)

    @rule(span=spans)
    def ask(self, span: tuple[int, int]) -> None:
        """One day, or a range in which the days find themselves read together."""
        wanted = DAYS[span[0] : span[1] + 1]
        with self._connection() as made:
            self._extract(made, wanted)
        self.asked |= set(wanted)

    def _extract(self, made: Any, wanted: list[str]) -> None:
        self.runs += 1
        together = Pass(f"p{self.runs}", tuple(wanted))
        for day in reversed(wanted):
            day_exports.extract_day(made, day, together=together, retry=way.QUICK)

    @rule(span=spans, number=st.integers(1, 14))
    def ask_on_a_full_disk_and_again(self, span: tuple[int, int], number: int) -> None:
        """A request that breaks in the middle of what it leaves, and the next one like it."""
        wanted = DAYS[span[0] : span[1] + 1]
        with self._connection() as made, watched(self.path.resolve() / "data", FullDisk(number)):
            with contextlib.suppress(StorageError):
                self._extract(made, wanted)
        self.ask(span)

    @precondition(lambda self: self.runs < 6)
    @rule(number=st.sampled_from(range(len(DAYS))), more=kinds)
    def late_lines_come(self, number: int, more: list[tuple[str, int]]) -> None:
        """Nobody knows of them before their day is asked for again."""
        day = DAYS[number]
        self._file(day, more)
        if more:
            self.asked.discard(day)

    @invariant()
    def each_line_is_stored_once(self) -> None:
        if not self.asked:
            return
        with self._connection() as made:
            found = Counter(name for name in self._stored(made))
        self._require(found)

    def _stored(self, made: Any) -> list[str]:
        """What the raw days hold, by the name of each line, and what is set aside, each request once."""
        names: list[str] = []
        for table in made.storage.days("default", extract.TABLE):
            day = made.day(extract.TABLE, table)
            for path in day.locations():
                names += [id_of(_row(one)) for one in _rows(path)]
        return names + self._aside(made)

    def _aside(self, made: Any) -> list[str]:
        names: list[str] = []
        seen: set[str] = set()
        for day in made.storage.days("default", extract.TABLE):
            for row in quarantine.show(made, day, limit=10_000):
                if row["stage"] == "request":
                    seen.add(row["request"])
                    if day != row["request"].partition("..")[0] and row["request"].partition("..")[0] in DAYS:
                        continue  # shown once, by the first of its days
                    names.append(_name(row["source"] or b""))
                else:
                    source = row["source"]
                    names.append(_name(source if isinstance(source, bytes) else _line(row)))
        return names

    def _require(self, found: Counter[str]) -> None:
        due = {name for day in self.asked for name in self.filed[day]}
        every = {name for day in DAYS for name in self.filed[day]}
        assert not [name for name in due if found[name] != 1], "neither live nor set aside, or both"
        assert not [name for name, count in found.items() if count > 1 or name not in every]

    def _send_and_judge(self) -> None:
        """What is stored goes to the Platform; its books and the quarantine are the judges."""
        if not self.asked:
            return
        control = self.emulator.control
        with self._connection() as made:
            for day in made.storage.days("default", extract.TABLE):
                transform.transform_day(made, day)
                load.load_day(made, day)
            control.settle()
            for day in made.storage.days("default", extract.TABLE):
                load.confirm_day(made, day)
            live: Counter[str] = Counter(control.books(self.dataset, ids=True)["ids"])
            self._require(live + Counter(self._aside(made)))


def _rows(path: str) -> list[dict[str, Any]]:
    import polars as pl

    return pl.read_parquet(path, columns=["event", "properties"]).to_dicts()


def _row(stored: dict[str, Any]) -> dict[str, Any]:
    return {"event": stored["event"], "properties": json.loads(stored["properties"])}


def _line(row: quarantine.Shown) -> bytes:
    return json.dumps({"event": row["event"], "properties": json.loads(row["source"] or "")}).encode()


def _name(text: str | bytes) -> str:
    row = json.loads(text)
    if "more" in row:
        return str(row["more"])
    return str(row["properties"]["name"]) if "name" in row["properties"] else id_of(row)


CALM = [HealthCheck.too_slow, HealthCheck.filter_too_much, HealthCheck.data_too_large]


class ManyDaysAndRanges(DaysAndRanges):
    """The long form."""


TestDays = DaysAndRanges.TestCase
TestDays.settings = settings(max_examples=6, stateful_step_count=5, deadline=None, suppress_health_check=CALM)

TestManyDays = pytest.mark.long(pytest.mark.timeout(1_800)(ManyDaysAndRanges.TestCase))
TestManyDays.settings = settings(max_examples=60, stateful_step_count=8, deadline=None, suppress_health_check=CALM)
