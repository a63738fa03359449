"""The standard mapping, field group and schema as data."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from mixpanel_aep_assets.xdm import standard
from mixpanel_aep_assets.xdm.schema import Schema
from mixpanel_aep_assets_tests.xdm.conftest import REPOSITORY, TENANT, load

FUNCTIONS = REPOSITORY.parent / "dataprep" / "functions.json"
MAPPINGS = standard.standard_mapping(TENANT)["mappings"]


@pytest.mark.parametrize("row", MAPPINGS, ids=lambda row: row["destination"])
def test_every_destination_is_a_field_of_the_standard_schema(row: dict[str, Any], standard_schema: Schema) -> None:
    field = standard_schema.field(row["destination"])
    assert field is not None
    assert field.kind not in ("object", "array") or row["source"].startswith("mixpanel.")


def test_every_tenant_field_is_written_by_some_row(standard_schema: Schema) -> None:
    group = standard_schema.field(f"_{TENANT}.mixpanel")
    assert group is not None
    written = {row["destination"].rsplit(".", 1)[1] for row in MAPPINGS if row["destination"].startswith(f"_{TENANT}.")}
    assert written == set(group.by_name)


def test_no_destination_is_written_twice() -> None:
    destinations = [row["destination"] for row in MAPPINGS]
    assert len(destinations) == len(set(destinations))


@pytest.mark.skipif(not FUNCTIONS.exists(), reason=f"no {FUNCTIONS}")
def test_only_documented_functions_are_used() -> None:
    known = {function["name"] for function in load(FUNCTIONS)["functions"]}
    for row in MAPPINGS:
        if row["sourceType"] == "EXPRESSION":
            text = re.sub(r'"(?:[^"\\]|\\.)*"', '""', row["source"])
            assert set(re.findall(r"([A-Za-z_]\w*)\(", text)) <= known, row["destination"]


def test_field_names_keep_the_rules_of_the_registry() -> None:
    properties = standard.field_group(TENANT)["definitions"]["customFields"]["properties"][f"_{TENANT}"]["properties"]
    names = list(properties["mixpanel"]["properties"])
    assert all(re.fullmatch(r"[A-Za-z][A-Za-z0-9_-]*", name) for name in names)
    assert len({name.lower() for name in names}) == len(names)


def test_no_placeholder_is_left_in_what_is_sent() -> None:
    for document in (standard.standard_mapping(TENANT), standard.field_group(TENANT), standard.schema_request()):
        assert standard.TENANT not in str(document)


def test_the_schema_request_has_the_class_first_and_our_group_last() -> None:
    request = standard.schema_request("T", ["https://ns.adobe.com/acme/mixins/1"])
    references = [part["$ref"] for part in request["allOf"]]
    assert references[0] == standard.CLASS_ID
    assert references[-1] == "https://ns.adobe.com/acme/mixins/1"
    assert request["title"] == "T"
    assert request["description"]


def test_namespace_codes_hold_letters_and_digits_only() -> None:
    assert [space.code for space in standard.namespaces()] == ["mixpanelUserId", "mixpanelDeviceId"]
    assert all(space.code.isalnum() for space in standard.namespaces())


def test_the_shipped_file_holds_the_placeholder_not_a_tenant() -> None:
    text = (Path(standard.__file__).parent / "mapping.yaml").read_text(encoding="utf-8")
    assert "_{TENANT_ID}.mixpanel.eventName" in text
    assert len(yaml.safe_load(text)["mappings"]) == len(MAPPINGS)
