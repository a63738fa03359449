"""The world of a fault test, and the tally that `make faults` prints."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import certifi
import pytest

from mixpanel_aep_assets.emulator import EmulatorThread
from mixpanel_aep_assets_tests.faults.world import World

COMBINATION, SCHEDULE = "fault x step combinations", "random schedules"


@pytest.fixture(scope="session", autouse=True)
def few_certificates(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Nothing here speaks TLS, but each of the thousands of clients would parse all of certifi's certificates."""
    first, end, _ = Path(certifi.where()).read_text().partition("-----END CERTIFICATE-----\n")
    file = tmp_path_factory.mktemp("certificates") / "one.pem"
    file.write_text(first + end)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SSL_CERT_FILE", str(file))
        yield


@pytest.fixture
def make_world(emulator: EmulatorThread, tmp_path: Path) -> Callable[..., World]:
    """A factory, so that a test may choose the protocol of the upload."""
    return lambda **given: World(emulator, tmp_path, **given)


@pytest.fixture
def world(make_world: Callable[..., World]) -> World:
    return make_world()


def pytest_terminal_summary(terminalreporter: Any) -> None:
    reports = terminalreporter.stats.get("passed", [])
    counts = Counter(name for report in reports if report.when == "call" for name, _ in report.user_properties)
    if counts:
        told = ", ".join(f"{counts[name]} {name}" for name in (COMBINATION, SCHEDULE))
        verdict = "SOME FAILED" if terminalreporter.stats.get("failed") else "every event live exactly once"
        terminalreporter.write_line(f"{told}: {verdict}")
