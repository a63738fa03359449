"""The import contracts of pyproject.toml cover all of the package, so that a new room must say where it stands."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import mixpanel_aep_assets

PACKAGE = Path(mixpanel_aep_assets.__file__).parent
WITH_DAGSTER = {
    "assets",
    "automation",
    "backfill",
    "checks",
    "components",
    "definitions",
    "defs",
    "drift",
    "failures",
    "metadata",
    "resources",
}
"""The Dagster layer."""

COMMANDS = {"cli", "__main__"}
"""These run days, and so load Dagster where they need it."""


def contract(name: str) -> dict[str, Any]:
    document = tomllib.loads((PACKAGE.parent / "pyproject.toml").read_text())
    (found,) = [one for one in document["tool"]["importlinter"]["contracts"] if one["name"] == name]
    return dict(found)


def rooms() -> set[str]:
    """Modules and packages on the ground floor of the package."""
    found = {file.stem for file in PACKAGE.glob("*.py")} | {file.parent.name for file in PACKAGE.glob("*/__init__.py")}
    return found - {"__init__"}


def test_each_room_is_of_the_dagster_layer_or_may_not_import_dagster() -> None:
    without = {name.rpartition(".")[2] for name in contract("Only the Dagster layer imports dagster")["source_modules"]}
    assert not without & WITH_DAGSTER
    assert without | WITH_DAGSTER | COMMANDS == rooms()
