"""Contracts of the house: import contracts cover all of the package, so that a new room must say where it stands; modules
stay short, and a module's name says which one is meant."""

from __future__ import annotations

import tomllib
from collections import Counter
from pathlib import Path
from typing import Any

import mixpanel_aep_assets

PACKAGE = Path(mixpanel_aep_assets.__file__).parent
WITH_DAGSTER = {"components", "definitions", "defs", "orchestration"}
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


def test_each_room_but_the_commands_may_not_import_click_or_rich() -> None:
    held = {
        name.rpartition(".")[2] for name in contract("Only the command line imports click and rich")["source_modules"]
    }
    assert held == rooms() - COMMANDS


def test_no_module_is_longer_than_500_lines() -> None:
    long = {
        str(file.relative_to(PACKAGE)) for file in PACKAGE.rglob("*.py") if len(file.read_text().splitlines()) > 500
    }
    assert not long


def test_a_name_of_a_module_stands_once_in_the_package() -> None:
    """The emulator aside: it is a world of its own and mirrors the services' names."""
    files = [file for file in PACKAGE.rglob("*.py") if "emulator" not in file.parts and not file.stem.startswith("__")]
    named = Counter(file.stem for file in files)
    assert {name for name, times in named.items() if times > 1} == set()
