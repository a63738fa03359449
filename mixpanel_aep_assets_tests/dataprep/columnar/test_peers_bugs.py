"""Bugs that other tools have or had where they read properties; the test is named after the tool (peers.md#bugs)."""

from __future__ import annotations

import json

from mixpanel_aep_assets_tests.dataprep.columnar.test_json_columns import values


def test_properties_that_differ_in_case_alone_are_read_by_their_own_names_in_any_order__airbyte() -> None:
    members = {"Plan": "x", "plan": "y", "PLAN": "z"}
    texts = [json.dumps({"properties": dict(order)}) for order in (members.items(), reversed(members.items()))]
    assert values(texts, *(f"properties.{name}" for name in members)) == [["x", "x"], ["y", "y"], ["z", "z"]]
