"""A hundred and twenty days against Mixpanel's 60 exports an hour, on a clock that only the test moves."""

from __future__ import annotations

import datetime
import time
from collections import deque
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import httpx
import pytest

from mixpanel_aep_assets.connection import Connection
from mixpanel_aep_assets.emulator import EmulatorThread
from mixpanel_aep_assets.mixpanel.budget import SHORT_WAIT, open_budget
from mixpanel_aep_assets.mixpanel.export_retry import Retry
from mixpanel_aep_assets.mixpanel.mixpanel_errors import BudgetExhausted, RateLimited
from mixpanel_aep_assets.pipeline.steps import extract
from mixpanel_aep_assets_tests.connections import DAY, opened

pytestmark = pytest.mark.e2e

DAYS = [str(datetime.date.fromisoformat(DAY) - datetime.timedelta(days=back)) for back in range(120)]


class Hours:
    """Two workers that share a budget, and the clock that they and the emulator live by."""

    def __init__(self, emulator: EmulatorThread, folder: Path, stack: ExitStack) -> None:
        self.now, self.control, self.slept = time.time(), emulator.control, [0.0]
        self.control.settings(export_per_hour=60, export_per_second=3)
        self.control.clock(freeze=self.now)
        self.workers = [stack.enter_context(self._worker(emulator, folder)) for _ in range(2)]

    def _worker(self, emulator: EmulatorThread, folder: Path) -> Connection:
        worker = opened(emulator, folder)
        worker.mixpanel.budget.close()
        source = worker.source
        worker.mixpanel.budget = open_budget(
            source.budget_key, source.budget_share, source.budget_location, clock=lambda: self.now, sleep=self.sleep
        )
        return worker

    def pass_by(self, seconds: float) -> None:
        self.now += seconds
        self.control.clock(step=seconds)

    def sleep(self, seconds: float) -> None:
        """A wait in which the worker is held."""
        self.slept.append(seconds)
        self.pass_by(seconds)

    def export_all(self) -> list[float]:
        """All days, each again at the time that its refusal named; the waits that let go of the worker."""
        waits, waiting, retry = [], deque(DAYS), Retry(sleep=self.sleep)
        while waiting:
            day = waiting.popleft()
            try:
                extract.extract_day(self.workers[len(waiting) % 2], day, retry=retry)
            except (BudgetExhausted, RateLimited) as error:
                named = error.wait or 0.0
                waits.append(named)
                waiting.append(day)
                self.pass_by(named + 0.01)
        return waits


@pytest.fixture
def hours(emulator: EmulatorThread, tmp_path: Path) -> Iterator[Hours]:
    with ExitStack() as stack:
        yield Hours(emulator, tmp_path, stack)


def exported(hours: Hours) -> int:
    return sum(worker.day(extract.TABLE, day).manifest() is not None for worker in hours.workers[:1] for day in DAYS)


def test_120_days_keep_to_60_an_hour_without_one_429_and_without_holding_a_worker(hours: Hours) -> None:
    waits = hours.export_all()
    assert exported(hours) == len(DAYS)
    assert hours.control.counters()["refused_429"] == {}
    assert max(hours.slept) <= SHORT_WAIT
    assert min(waits) > 0
    assert max(waits) > 3000, "the long wait was named instead of slept through"


@pytest.mark.long
def test_after_a_first_429_there_is_no_second(hours: Hours) -> None:
    hours.control.fault("status", match={"path": "*/export"}, status=429, retry_after=600, count=1)
    waits = hours.export_all()
    assert exported(hours) == len(DAYS)
    assert hours.control.counters()["refused_429"] == {"GET /api/2.0/export": 1}
    assert 600 <= waits[0] <= 605
    assert max(hours.slept) <= SHORT_WAIT


@pytest.mark.parametrize("header", ["absent", "seconds"])
def test_requests_that_others_made_cost_one_429_and_no_second(hours: Hours, header: str) -> None:
    source = hours.workers[0].source
    hours.control.settings(export_per_second=100, retry_after=header)
    for _ in range(60):
        httpx.get(f"{source.export_base}/api/2.0/export", params={"project_id": source.project_id})
    hours.control.settings(export_per_second=3)
    hours.pass_by(1)
    waits = hours.export_all()
    assert exported(hours) == len(DAYS)
    assert hours.control.counters()["refused_429"] == {"GET /api/2.0/export": 1}
    assert waits[0] > 3000
    assert max(hours.slept) <= SHORT_WAIT
