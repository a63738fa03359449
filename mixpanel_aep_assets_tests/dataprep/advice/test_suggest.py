"""Recommended mappings: what is suggested for which properties, and that it holds."""

from __future__ import annotations

import random
from typing import Any

import pytest

from mixpanel_aep_assets.dataprep.advice.name_similarity import likeness, words
from mixpanel_aep_assets.dataprep.advice.property_samples import RECORDS, PropertySamples
from mixpanel_aep_assets.dataprep.advice.suggest import Suggestions, flat, suggest
from mixpanel_aep_assets.dataprep.interpreter.evaluate import Evaluator
from mixpanel_aep_assets.dataprep.interpreter.validation import validate
from mixpanel_aep_assets.dataprep.language.mapping_set import MappingSet
from mixpanel_aep_assets.xdm.schema import Field, Schema

SCHEMA = Schema(
    Field("", "object", children=(
        Field("_id", "string"),
        Field("_acme", "object", children=(
            Field("signupSource", "string"),
            Field("orderTotal", "double"),
            Field("itemCount", "int"),
            Field("lastSeenAt", "date_time"),
            Field("isMember", "boolean"),
            Field("tags", "array", items=Field("", "string")),
            Field("plan", "string", enum=("free", "pro")),
        )),
        Field("environment", "object", children=(
            Field("browserDetails", "object", children=(Field("name", "string"), Field("version", "string"))),
        )),
        Field("products", "array", items=Field("", "object", children=(Field("sku", "string"),))),
    ))
)  # fmt: skip
KNOWN = MappingSet.from_json(
    {
        "name": "known",
        "mappings": [
            {"source": "mixpanel.id", "destination": "_id"},
            {"source": "properties.$browser", "destination": "environment.browserDetails.name"},
            {"source": "properties.$os", "destination": "environment.operatingSystem"},
        ],
    }
)


def suggested(*properties: dict[str, Any], known: MappingSet | None = None) -> Suggestions:
    return suggest(
        PropertySamples({"event": "e", "properties": one} for one in properties), SCHEMA, known, ["mixpanel.id"]
    )


def pairs(found: Suggestions) -> list[tuple[str, str]]:
    return [(one.mapping.source, one.mapping.destination) for one in found.made]


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("$initial_referrer", ("initial", "referrer")),
        ("mp_lib", ("lib",)),
        ("signupSource", ("signup", "source")),
        ("Payment Method", ("payment", "method")),
        ("$os", ("operating", "system")),
        ("HTTPStatus2", ("http", "status", "2")),
        ("Größe", ("grösse",)),
        ("$", ()),
    ],
)
def test_a_name_is_split_into_words(name: str, found: tuple[str, ...]) -> None:
    assert words(name) == found


@pytest.mark.parametrize(
    ("name", "path", "least", "most"),
    [
        ("signup_source", ["signupSource"], 1, 1),
        ("$browser_version", ["environment", "browserDetails", "version"], 0.95, 0.95),
        ("product_name", ["products", "name"], 0.95, 0.95),
        ("refferer_url", ["web", "referrerUrl"], 0.75, 0.9),
        ("name", ["web", "webReferrer", "name"], 0, 0.7),
        ("order_number", ["device", "modelNumber"], 0, 0.7),
        ("$", ["name"], 0, 0),
    ],
)
def test_names_are_alike_by_their_words(name: str, path: list[str], least: float, most: float) -> None:
    assert least <= likeness(name, path) <= most


def test_known_properties_go_where_the_known_mapping_has_them() -> None:
    found = suggested({"$browser": "Chrome", "$os": "iOS"}, known=KNOWN)
    assert pairs(found) == [
        ("mixpanel.id", "_id"),
        ("properties.$browser", "environment.browserDetails.name"),
    ]
    assert found.unmatched == ("properties.$os",)
    assert all(one.score == 1.0 and one.reason.startswith("known: ") for one in found.made)


def test_a_known_mapping_is_left_out_where_its_property_was_not_seen() -> None:
    assert pairs(suggested({"x": 1}, known=KNOWN)) == [("mixpanel.id", "_id")]


def test_a_property_goes_to_the_field_of_the_same_words() -> None:
    found = suggested({"signup_source": "ad", "$browser_version": 17})
    assert pairs(found) == [
        ("properties.signup_source", "_acme.signupSource"),
        ("properties.$browser_version", "environment.browserDetails.version"),
    ]
    assert [one.score for one in found.made] == [1.0, 0.95]


@pytest.mark.parametrize(
    ("values", "name", "source"),
    [
        (["12.5", 3], "order_total", "properties.order_total"),
        (["12.5", "many"], "order_total", None),
        ([2.5, 3], "item_count", "to_integer(properties.item_count)"),
        ([2**40], "item_count", None),
        (["yes", "no"], "is_member", "properties.is_member"),
        (["Yes", "No"], "is_member", "lower(properties.is_member)"),
        ([1, 0], "is_member", "decode(properties.is_member, 1, true, 0, false)"),
        ([1, 2], "is_member", None),
        (["a", "b"], "tags", "to_array(false, properties.tags)"),
        ([["a"], ["b", "c"]], "tags", "properties.tags"),
        ([["a"], ["b"]], "signup_source", 'join(",", properties.signup_source)'),
        (["2026-01-02", "2026-01-02T03:04:05Z"], "last_seen_at", "properties.last_seen_at"),
        (["free", "pro"], "plan", "properties.plan"),
        (["free", "gold"], "plan", None),
        (["x"], "Order Total", None),
        ([None], "plan", None),
    ],
)
def test_a_field_is_suggested_where_all_values_fit_or_convert(values: list[Any], name: str, source: str | None) -> None:
    found = suggested(*({name: value} for value in values))
    assert [one.mapping.source for one in found.made] == ([] if source is None else [source])


@pytest.mark.parametrize(("moment", "unit"), [(1_773_144_000_000, "milliseconds"), (1_773_144_000, "seconds")])
def test_an_epoch_becomes_a_date(moment: int, unit: str) -> None:
    found = suggested({"last seen at": moment})
    assert unit in found.made[0].reason
    row = Evaluator(MappingSet.from_json(found.to_json())).row({"properties": {"last seen at": moment}})
    assert row.data == {"_acme": {"lastSeenAt": "2026-03-10T12:00:00.000Z"}}


def test_each_field_and_each_property_is_used_once() -> None:
    found = suggested({"plan": "free", "Plan": "pro", "$plan": "pro"})
    assert pairs(found) == [("properties.$plan", "_acme.plan")]
    assert found.unmatched == ("properties.Plan", "properties.plan")


def test_what_is_suggested_is_a_valid_mapping_set() -> None:
    found = suggested({"a b": 1, "order total": 2.5, "new": {"plan": "pro"}, "it}em\\count": 3, "item.count": "5"})
    document = found.to_json()
    assert validate(MappingSet.from_json(document)).ok
    assert {"matchScore", "description", "source", "destination", "sourceType"} == set(document["mappings"][0])


def test_the_flat_records_of_the_connector_are_read_too() -> None:
    seen = PropertySamples([{"data": {"browser": "Chrome", "signup_source": "ad"}}])
    found = suggest(seen, SCHEMA, flat(KNOWN))
    assert pairs(found) == [
        ("data.browser", "environment.browserDetails.name"),
        ("data.signup_source", "_acme.signupSource"),
    ]


def test_the_order_of_events_does_not_matter() -> None:
    rows = [
        {"event": "e", "properties": {"plan": str(n), "order_total": n, "item_count": n / 3}}
        for n in range(2 * RECORDS)
    ]
    shuffled = random.Random(7).sample(rows, len(rows))
    assert suggest(PropertySamples(rows), SCHEMA, KNOWN) == suggest(PropertySamples(shuffled), SCHEMA, KNOWN)
    assert PropertySamples(rows).sample() == PropertySamples(shuffled).sample()
    assert len(PropertySamples(rows).sample()) == RECORDS


TRIMMING = MappingSet.from_json(
    [
        {
            "source": "trim(properties.$browser)",
            "destination": "environment.browserDetails.name",
            "sourceType": "EXPRESSION",
        },
        {
            "source": "iif(is_empty(properties.$total), nullify(), properties.$total)",
            "destination": "_acme.orderTotal",
            "sourceType": "EXPRESSION",
        },
    ]
)


@pytest.mark.parametrize(
    ("browser", "source"), [("Chrome", "properties.$browser"), (" Chrome", "trim(properties.$browser)")]
)
def test_a_known_mapping_that_only_trims_is_suggested_as_the_attribute_where_that_changes_nothing(
    browser: str, source: str
) -> None:
    found = suggested({"$browser": browser, "$total": 5}, known=TRIMMING)
    assert pairs(found) == [(source, "environment.browserDetails.name"), ("properties.$total", "_acme.orderTotal")]


def test_a_known_mapping_that_only_trims_serves_flat_records_too() -> None:
    assert [(one.source, one.source_type) for one in flat(TRIMMING).mappings] == [
        ("data.browser", "ATTRIBUTE"),
        ("data.total", "ATTRIBUTE"),
    ]
