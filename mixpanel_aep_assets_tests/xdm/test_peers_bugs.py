"""Bugs that other tools have or had where they name fields; the test is named after the tool (peers.md#bugs)."""

from __future__ import annotations

import itertools

from mixpanel_aep_assets.growth.field_names import field_names


def test_names_that_clash_are_told_apart_the_same_in_whatever_order_they_come__airbyte() -> None:
    properties = ["Plan", "plan", "$plan", "a b", "A B", "a_b"]
    named = [field_names(order) for order in itertools.permutations(properties)]
    assert all(one == named[0] for one in named)
    assert len({name.lower() for name in named[0].values()}) == len(properties)
