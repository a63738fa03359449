"""A committed day is not taken back, nor cut short, by an answer of Mixpanel that nothing else bears out."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from mixpanel_aep_assets.connection import Opened
from mixpanel_aep_assets.emulator import EmulatorThread
from mixpanel_aep_assets_tests.connections import DAY, events, lines, opened, provisioned, run_day, settled

EXPORT = {"path": "/api/2.0/export"}


@pytest.fixture
def connection(emulator: EmulatorThread, tmp_path: Path) -> Iterator[Opened]:
    with opened(emulator, tmp_path) as connection:
        yield provisioned(connection)


def test_an_empty_answer_does_not_take_a_live_day_back(emulator: EmulatorThread, connection: Opened) -> None:
    emulator.control.seed_day(DAY, lines(events(18)))
    run_day(connection)
    settled(connection)
    emulator.control.fault("empty", match=EXPORT, count=1)
    run_day(connection)
    emulator.control.settle()
    assert emulator.control.books(connection.dataset)["live"]["rows"] == 18
