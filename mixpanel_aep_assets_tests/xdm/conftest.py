"""Schemas and examples of the official repository, for the tests of this room."""

from __future__ import annotations

import datetime
import json
from pathlib import Path
from typing import Any

import pytest

from mixpanel_aep_assets.xdm import standard
from mixpanel_aep_assets.xdm.composition import repository_schema
from mixpanel_aep_assets.xdm.schema import Schema
from mixpanel_aep_assets_tests.outside import NO_XDM, XDM

SELECTION = [
    path for path in Path(__file__).with_name("selection.txt").read_text().splitlines() if (XDM / path).exists()
]
"""Paths of the official files that the tests read: what events and profiles refer to, and nothing else of the repository."""

NOW = datetime.datetime(2026, 11, 24, tzinfo=datetime.UTC)
TENANT = "acme"
OWN_GROUP = "https://ns.adobe.com/acme/mixins/mixpanel"


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Without the official files, one test of a module stands for all of its tests that need them, and skips."""
    if SELECTION:
        return
    kept: list[pytest.Item] = []
    left_out: list[pytest.Item] = []
    modules: set[Path] = set()
    for item in items:
        needs_files = "files" in getattr(item, "fixturenames", ())
        (left_out if needs_files and item.path in modules else kept).append(item)
        if needs_files:
            modules.add(item.path)
    config.hook.pytest_deselected(items=left_out)
    items[:] = kept


def load(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


@pytest.fixture(scope="session")
def files() -> list[dict[str, Any]]:
    """The official schemas, and the standard field group of the tenant `acme`."""
    found = [load(XDM / path) for path in SELECTION if path.endswith(".schema.json")]
    if not found:
        pytest.skip(NO_XDM)
    return [*found, {**standard.field_group(TENANT), "$id": OWN_GROUP}]


@pytest.fixture(scope="session")
def event_schema(files: list[dict[str, Any]]) -> Schema:
    """The ExperienceEvent class with every event group of the bundle."""
    groups = [
        file["$id"]
        for file in files
        if standard.CLASS_ID in file.get("meta:intendedToExtend", []) and "experienceevent" in file["$id"]
    ]
    return repository_schema(files, standard.CLASS_ID, groups, title="All event groups")


@pytest.fixture(scope="session")
def standard_schema(files: list[dict[str, Any]]) -> Schema:
    """The schema that `provision` makes."""
    return repository_schema(
        files, standard.CLASS_ID, [*standard.standard_groups(), OWN_GROUP], title="Mixpanel events"
    )
