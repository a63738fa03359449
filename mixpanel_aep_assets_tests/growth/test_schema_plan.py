"""The plan of grown fields: types with their reasons, what a person decided stays, what a bad file is told."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mixpanel_aep_assets.growth import field_types
from mixpanel_aep_assets.growth import schema_plan as growing
from mixpanel_aep_assets.growth.properties import Property
from mixpanel_aep_assets.growth.schema_plan import Ground, PlanError, PlannedField, SchemaPlan, propose, read_plan
from mixpanel_aep_assets.mixpanel.lexicon import Declared
from mixpanel_aep_assets.xdm.schema import Field


def seen(name: str, **kinds: int) -> Property:
    return Property(name, kinds)


def one(prop: Property, **ground: Any) -> PlannedField:
    (entry,) = propose([prop], Ground(**ground))
    return entry


@pytest.mark.parametrize(
    ("kinds", "wanted", "misfits"),
    [
        ({"integer": 5}, "double", 0),
        ({"integer": 5, "number": 1, "null": 9, "empty": 3}, "double", 0),
        ({"boolean": 3}, "boolean", 0),
        ({"date": 3}, "date", 0),
        ({"date": 3, "date_time": 1}, "date_time", 0),
        ({"strings": 2, "mixed": 1}, "strings", 0),
        ({"string": 3}, "string", 0),
        ({"string": 5, "number": 5}, "double", 5),
        ({"string": 95, "number": 5}, "string", 0),
        ({"boolean": 5, "integer": 5}, "boolean", 5),
        ({"oversized": 5}, "string", 0),
        ({"oversized": 1, "integer": 9}, "double", 1),
        ({"object": 5}, "string", 0),
        ({"numeral": 5}, "string", 0),
        ({"numeral": 4, "integer": 2}, "double", 0),
        ({"numeral": 4, "integer": 2, "string": 1}, "double", 1),
    ],
    ids=str,
)
def test_the_type_follows_the_kinds_that_were_seen(kinds: dict[str, int], wanted: str, misfits: int) -> None:
    decision = field_types.decide(seen("p", **kinds))
    assert (decision.type, decision.misfits) == (wanted, misfits)
    assert f"{next(iter(kinds.values()))} " in decision.reason


def test_what_lexicon_declares_counts_where_it_fits_what_was_seen() -> None:
    assert field_types.decide(seen("p", integer=5), Declared("string")).type == "string"
    assert field_types.decide(seen("p", string=95, integer=5), Declared("number")).type == "double"
    assert field_types.decide(seen("p", string=5), Declared("number")).type == "string"
    assert field_types.decide(seen("p", numeral=4, string=1), Declared("number")).type == "double"


def test_only_properties_with_values_and_without_a_mapping_are_proposed() -> None:
    properties = [seen("a", string=1), seen("b", string=1), seen("c", null=3, empty=2)]
    assert [entry.name for entry in propose(properties, Ground(covered={"b"}))] == ["a"]


@settings(deadline=None, max_examples=40)
@given(st.randoms(use_true_random=False))
def test_the_plan_is_the_same_in_whatever_order_properties_come(random: Any) -> None:
    properties = [
        seen(name, string=4, number=n) for n, name in enumerate(["Total", "total", "TOTAL", "total text", "x"])
    ]
    wanted = propose(properties, Ground())
    random.shuffle(properties)
    assert propose(properties, Ground()) == wanted


def test_a_conflict_gets_a_text_field_beside_the_typed_one() -> None:
    entry = one(seen("total", number=60, string=40))
    assert (entry.field, entry.type, entry.text) == ("total", "double", "totalText")
    assert "60 numbers with a fraction, 40 texts" in entry.reason
    assert "40 of 100 do not fit double" in entry.reason
    fields = growing.schema_fields(SchemaPlan(fields=(entry,)))
    assert fields["total"] == {"title": "total", "type": "number"}
    assert fields["totalText"] == {"title": "total (as text)", "type": "string"}


def test_under_quarantine_there_is_no_text_field() -> None:
    entry = one(seen("total", number=60, string=40)).model_copy(update={"on_conflict": "quarantine"})
    assert growing.schema_fields(SchemaPlan(fields=(entry,))).keys() == {"total"}


def test_a_conflict_that_comes_later_adds_the_text_field_and_keeps_the_rest() -> None:
    first = one(seen("total", number=60))
    assert first.text_field is None
    later = one(seen("total", number=60, string=400), previous=SchemaPlan(fields=(first,)))
    assert (later.field, later.type, later.text) == ("total", "double", "totalText")


def test_what_a_person_decided_stays() -> None:
    reviewed = one(seen("n", integer=3)).model_copy(
        update={"field": "number", "type": "long", "on_conflict": "quarantine", "description": "mine"}
    )
    entry = one(seen("n", integer=3, string=9), previous=SchemaPlan(fields=(reviewed,)))
    assert (entry.field, entry.type, entry.on_conflict, entry.description) == ("number", "long", "quarantine", "mine")
    left = one(seen("x", integer=3)).model_copy(update={"include": False})
    assert not one(seen("x", integer=3), previous=SchemaPlan(fields=(left,))).include


def test_an_entry_stays_when_its_property_is_not_seen_any_more() -> None:
    before = SchemaPlan(fields=(one(seen("gone", integer=3)),))
    (entry,) = propose([], Ground(previous=before))
    assert (entry.field, entry.include, entry.reason) == ("gone", True, "not seen in these days")


def test_a_field_that_exists_keeps_its_name_and_type_also_without_the_plan_that_made_it() -> None:
    existing = {"amount": Field("amount", "long", title="Total")}
    entry = one(seen("Total", number=5), existing=existing)
    assert (entry.field, entry.type, entry.text) == ("amount", "long", "amountText")


def test_a_field_of_another_property_is_not_taken_over() -> None:
    entry = one(seen("Total", number=5), existing={"total": Field("total", "string", title="something else")})
    assert entry.field.startswith("total_")


@pytest.mark.parametrize(
    ("prop", "label"),
    [
        (Property("contact", {"string": 2}, top=[("a@example.com", 2)]), "I1"),
        (Property("User Email", {"string": 2}, top=[("hash", 2)]), "I1"),
        (Property("mobilePhone", {"string": 2}), "I1"),
        (Property("client_ip", {"string": 2}), "I2"),
        (Property("from", {"string": 2}, top=[("10.1.2.3", 2)]), "I2"),
        (Property("lat", {"number": 2}), "S1"),
    ],
    ids=lambda value: getattr(value, "name", value),
)
def test_personal_data_is_named_left_out_and_not_quoted(prop: Property, label: str) -> None:
    entry = one(prop)
    assert entry.labels == (f"proposed: {label}",)
    assert not entry.include
    assert entry.examples == ()
    assert "personal data is opt-in" in entry.reason


@pytest.mark.parametrize("name", ["plan", "shipping", "tip", "emailed count total", "platform", "flat"])
def test_ordinary_names_are_not_suspected(name: str) -> None:
    assert one(seen(name, integer=1)).labels == ()


def test_what_a_person_included_all_the_same_stays_in_and_is_said() -> None:
    first = one(seen("email", string=1)).model_copy(update={"include": True})
    entry = one(seen("email", string=1), previous=SchemaPlan(fields=(first,)))
    assert entry.include
    assert "included on review: personal data" in entry.reason


def test_a_field_that_a_person_gave_to_another_property_is_not_claimed_by_its_title() -> None:
    existing = {"amount": Field("amount", "double", title="Total")}
    before = SchemaPlan(fields=(one(seen("Sum", number=1)).model_copy(update={"field": "amount"}),))
    made = propose([seen("Total", number=1), seen("Sum", number=1)], Ground(existing=existing, previous=before))
    assert {entry.name: entry.field for entry in made} == {"Sum": "amount", "Total": "total"}


def test_bookkeeping_hidden_properties_and_objects_are_left_out_with_the_reason() -> None:
    assert "bookkeeping" in one(seen("$bucket", string=1)).reason
    hidden = one(seen("p", string=1), declared={"p": Declared(hidden=True, description="said")})
    assert (hidden.include, hidden.description) == (False, "said")
    assert "hidden in Lexicon" in hidden.reason
    assert not one(seen("o", object=1)).include


def test_labels_on_the_platform_are_shown() -> None:
    existing = {"plan": Field("plan", "string", title="plan")}
    entry = one(seen("plan", string=1), existing=existing, labels={"plan": ("core/C2",)})
    assert entry.labels == ("core/C2",)
    assert entry.reason.endswith("labelled core/C2")


def test_where_there_is_no_room_the_most_frequent_properties_get_in() -> None:
    entries = propose([seen("a", string=1), seen("b", string=9), seen("c", string=5)], Ground(room=2))
    assert [entry.name for entry in entries if entry.include] == ["b", "c"]
    assert "no room" in entries[0].reason


@settings(deadline=None, max_examples=40)
@given(st.lists(st.text(min_size=1, max_size=40), unique=True, max_size=8))
def test_a_plan_file_reads_back_to_the_same_plan(properties: list[str]) -> None:
    plan = SchemaPlan(
        days="2026-01-01", fields=propose([seen(name, string=1, number=1) for name in properties], Ground())
    )
    assert read_plan(plan.to_yaml()) == plan
    assert read_plan(plan.model_dump_json(by_alias=True)) == plan


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[", "is not YAML"),
        ("[]", "is not a schema plan"),
        ("fields: [{property: a, field: a, type: text}]", r"entry 1 \('a'\), type"),
        ("fields: [{property: a, field: _a, type: string}]", r"entry 1 \('a'\), field"),
        ("fields: [{property: a, field: a, type: string, inclde: false}]", "inclde"),
        ("fields: [{property: a, field: x, type: string}, {property: b, field: X, type: string}]", "'X' of 'b'"),
        ("fields: [{property: a, field: x, type: double, text_field: X}]", "'X' of 'a'"),
        ("fields: [{property: a, field: x, type: string}, {property: a, field: y, type: string}]", "twice"),
        ("version: 2", "version"),
    ],
)
def test_a_wrong_file_is_told_with_the_place(text: str, said: str) -> None:
    with pytest.raises(PlanError, match=said):
        read_plan(text, "plan.yaml")
