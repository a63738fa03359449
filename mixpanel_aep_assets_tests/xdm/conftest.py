"""Schemas and examples of the official repository, for the tests of this room."""

from __future__ import annotations

import datetime
import json
from pathlib import Path
from typing import Any

import pytest

from mixpanel_aep_assets.xdm import standard
from mixpanel_aep_assets.xdm.schema import Schema

REPOSITORY = Path(__file__).resolve().parents[3] / "shared" / "xdm"
NOW = datetime.datetime(2026, 11, 24, tzinfo=datetime.UTC)
TENANT = "acme"
OWN_GROUP = "https://ns.adobe.com/acme/mixins/mixpanel"


def load(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


@pytest.fixture(scope="session")
def files() -> list[dict[str, Any]]:
    """The documents of `shared/xdm`, with the standard field group of the tenant `acme` beside them."""
    found = [load(path) for path in sorted(REPOSITORY.rglob("*.schema.json"))]
    if not found:
        pytest.skip(f"no official XDM files at {REPOSITORY}")
    return [*found, {**standard.field_group(TENANT), "$id": OWN_GROUP}]


@pytest.fixture(scope="session")
def event_schema(files: list[dict[str, Any]]) -> Schema:
    """The ExperienceEvent class with every event group of the bundle."""
    groups = [
        file["$id"]
        for file in files
        if standard.CLASS_ID in file.get("meta:intendedToExtend", []) and "experienceevent" in file["$id"]
    ]
    return Schema.from_repository(files, standard.CLASS_ID, groups, title="All event groups")


@pytest.fixture(scope="session")
def standard_schema(files: list[dict[str, Any]]) -> Schema:
    """The schema that `provision` makes."""
    return Schema.from_repository(
        files, standard.CLASS_ID, [*standard.standard_groups(), OWN_GROUP], title="Mixpanel events"
    )
