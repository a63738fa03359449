"""Fixtures that several rooms' tests share."""

from __future__ import annotations

from collections.abc import Iterator

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


@pytest.fixture
def emulator() -> Iterator[EmulatorThread]:
    """A fresh Mixpanel and Platform on a free port: `.url`, `.control` to seed, break and read it, default credentials."""
    with EmulatorThread() as running:
        yield running
