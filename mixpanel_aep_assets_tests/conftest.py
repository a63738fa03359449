"""Fixtures that several rooms' tests share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from mixpanel_aep_assets.emulator import EmulatorThread


@pytest.fixture
def emulator() -> Iterator[EmulatorThread]:
    """A fresh Mixpanel and Platform on a free port: `.url`, `.control` to seed, break and read it, default credentials."""
    with EmulatorThread() as running:
        yield running
