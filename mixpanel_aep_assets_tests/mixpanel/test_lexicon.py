"""What the Lexicon says of a property, taken together over events."""

from __future__ import annotations

from typing import Any

from mixpanel_aep_assets.mixpanel.lexicon import declared


def schema(event: str, **properties: Any) -> dict[str, Any]:
    return {"entityType": "event", "name": event, "schemaJson": {"properties": properties}}


def mark(**marks: bool) -> dict[str, Any]:
    return {"com.mixpanel": marks}


def test_a_type_counts_where_all_events_agree_and_the_first_description_in_their_order() -> None:
    found = declared(
        [
            schema("B", total={"type": "number", "description": "second"}, plan={"type": "string"}),
            schema("A", total={"type": "number", "description": " first\n one "}, plan={"type": "number"}),
        ]
    )
    assert (found["total"].type, found["total"].description) == ("number", "first one")
    assert found["plan"].type is None


def test_a_property_is_hidden_where_every_event_hides_or_drops_it() -> None:
    found = declared(
        [
            schema("A", x={"metadata": mark(hidden=True)}, y={"metadata": mark(hidden=True)}),
            schema("B", x={"metadata": mark(dropped=True)}, y={}),
        ]
    )
    assert (found["x"].hidden, found["y"].hidden) == (True, False)


def test_entries_of_an_unknown_shape_are_passed_over() -> None:
    assert declared([None, 3, {}, {"schemaJson": []}, {"schemaJson": {"properties": None}}]) == {}
    assert declared([schema("A", p=None)])["p"].type is None
