"""Fixtures that several rooms' tests share."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from mixpanel_aep_assets.aep import ims
from mixpanel_aep_assets.emulator import EmulatorThread

# How long an example takes is the machine's affair. `--hypothesis-profile=ci` tries the same examples every time.
settings.register_profile("default", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("ci", settings.get_profile("default"), derandomize=True)
settings.load_profile("default")


@pytest.fixture(autouse=True)
def no_tokens_held() -> None:
    """Each test begins as a new process does; a port that another emulator had tells nothing of its tokens."""
    ims.forget()


@pytest.fixture(autouse=True)
def nothing_stored_in_the_checkout(request: pytest.FixtureRequest) -> Iterator[None]:
    """Fails a test that stores days in `./data`, the default of MIXPANEL_AEP_STORAGE, instead of in a temporary folder.

    With several workers the test that fails may be one that ran at the same time.
    """
    data = request.config.invocation_params.dir / "data"
    before = _names(data)
    yield
    if left := _names(data) - before:
        pytest.fail(
            f"left in {data}: {', '.join(sorted(left))}. Give the connection a start_date or a storage of its own."
        )


def _names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()} if folder.exists() else set()


@pytest.fixture
def emulator() -> Iterator[EmulatorThread]:
    """A fresh Mixpanel and Platform on a free port: `.url`, `.control` to seed, break and read it, default credentials."""
    with EmulatorThread() as running:
        yield running
