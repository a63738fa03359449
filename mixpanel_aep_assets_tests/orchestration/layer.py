"""The Dagster layer in process: the connection `default` on an emulator, as the environment describes it."""

from __future__ import annotations

from pathlib import Path

import dagster as dg
import pytest

from mixpanel_aep_assets.components import MixpanelToAep
from mixpanel_aep_assets.components.mixpanel_to_aep import build_connection
from mixpanel_aep_assets_tests.connections import Server, variables


def described(monkeypatch: pytest.MonkeyPatch, emulator: Server, folder: Path, **more: str) -> None:
    """The environment describes the connection on the emulator, and no Dagster instance."""
    for name, value in variables(emulator, folder, **more).items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("DAGSTER_HOME")


def default_definitions() -> dg.Definitions:
    """The definitions of the connection that the environment describes, run in this process."""
    block = MixpanelToAep()
    return dg.Definitions.merge(build_connection(block, block.block()), dg.Definitions(executor=dg.in_process_executor))
