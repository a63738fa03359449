"""Fixtures that several rooms' tests share."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, settings

from mixpanel_aep_assets.aep import ims
from mixpanel_aep_assets.connection import Connection
from mixpanel_aep_assets.emulator import EmulatorThread
from mixpanel_aep_assets_tests.connections import opened, provisioned

if TYPE_CHECKING:
    import dagster as dg

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


@pytest.fixture
def unthrottled(emulator: EmulatorThread) -> None:
    """The emulator answers as many exports a second as a test asks for."""
    emulator.control.settings(export_per_second=1_000)


@pytest.fixture
def connection(emulator: EmulatorThread, tmp_path: Path) -> Iterator[Connection]:
    """The connection `default` on the emulator, its schema and dataset made."""
    with opened(emulator, tmp_path) as made:
        yield provisioned(made)


@pytest.fixture
def definitions(emulator: EmulatorThread, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dg.Definitions:
    """The connection `default`, described by the environment alone, its schema and dataset made."""
    from mixpanel_aep_assets_tests.orchestration.layer import default_definitions, described

    described(monkeypatch, emulator, tmp_path)
    with opened(emulator, tmp_path) as connection:
        provisioned(connection)
    return default_definitions()


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    """A Dagster instance that leaves nothing behind."""
    import dagster as dg

    with dg.DagsterInstance.ephemeral() as instance:
        yield instance
