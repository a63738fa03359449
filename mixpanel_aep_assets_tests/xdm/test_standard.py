"""The standard mapping, field group and schema as data."""

from __future__ import annotations

import functools
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from mixpanel_aep_assets.dataprep.interpreter.evaluate import Evaluator, Mapped
from mixpanel_aep_assets.dataprep.interpreter.schema_targets import target_type
from mixpanel_aep_assets.dataprep.language.mapping_set import MappingSet
from mixpanel_aep_assets.xdm import standard
from mixpanel_aep_assets.xdm.schema import Schema
from mixpanel_aep_assets_tests.outside import DATAPREP, NO_DATAPREP
from mixpanel_aep_assets_tests.xdm.conftest import TENANT, load

FUNCTIONS = DATAPREP / "functions.json"
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


@pytest.mark.skipif(not FUNCTIONS.exists(), reason=NO_DATAPREP)
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


EVALUATORS: dict[int, Evaluator] = {}


def mapped(schema: Schema, properties: dict[str, Any], event: str = "Seen") -> Mapped:
    """A record of these properties, mapped by the standard mapping to the types of the standard schema."""
    if id(schema) not in EVALUATORS:
        EVALUATORS[id(schema)] = Evaluator(MappingSet.from_json({"mappings": MAPPINGS}), target_type(schema.root))
    return EVALUATORS[id(schema)].row({"event": event, "properties": properties})


def value_at(data: Any, path: str) -> Any:
    steps = re.findall(r"[^.\[\]]+", path.replace("T.", f"_{TENANT}.mixpanel.") if path.startswith("T.") else path)
    try:
        return functools.reduce(lambda here, step: here[int(step) if step.isdigit() else step], steps, data)
    except (KeyError, IndexError):
        return None


@pytest.mark.parametrize(
    ("properties", "path", "value"),
    [
        ({}, "eventType", "Seen"),
        ({}, "T.eventName", "Seen"),
        ({"$mp_api_timestamp_ms": 1773144000123}, "receivedTimestamp", "2026-03-10T12:00:00.123Z"),
        ({"mp_processing_time_ms": 1773144000123}, "T.processingTime", "2026-03-10T12:00:00.123Z"),
        ({}, "dataSource", {"_id": "https://mixpanel.com", "code": "mixpanel"}),
        ({}, "producedBy", "self"),
        ({"$import": True}, "producedBy", "system"),
        ({"$browser": " Chrome "}, "environment.browserDetails.name", "Chrome"),
        ({"$browser_version": 120}, "environment.browserDetails.version", "120"),
        ({"$browser_version": 120.5}, "environment.browserDetails.version", "120.5"),
        ({"$os": "Windows"}, "environment.operatingSystem", "Windows"),
        ({"$os_version": 17.4}, "environment.operatingSystemVersion", "17.4"),
        ({"mp_lib": "web"}, "environment.type", "browser"),
        ({"mp_lib": "swift"}, "environment.type", "application"),
        ({"mp_lib": "python"}, "environment.type", "external"),
        ({"mp_lib": "web"}, "implementationDetails.environment", "browser"),
        ({"mp_lib": "swift"}, "implementationDetails.environment", "app"),
        ({"mp_lib": "python"}, "implementationDetails.environment", "server"),
        ({"mp_lib": "web"}, "implementationDetails.name", "https://mixpanel.com/lib/web"),
        ({"mp_lib": "Segment: node"}, "implementationDetails.name", None),
        ({"$lib_version": 2.5}, "implementationDetails.version", "2.5"),
        ({"$screen_width": 390.6}, "device.screenWidth", 391),
        ({"$screen_height": "844"}, "device.screenHeight", 844),
        ({"$screen_dpi": 420}, "T.screenDpi", 420),
        ({"$manufacturer": "Apple", "$brand": "B"}, "device.manufacturer", "Apple"),
        ({"$manufacturer": "Apple", "$brand": "B"}, "T.brand", "B"),
        ({"$brand": "B"}, "device.manufacturer", "B"),
        ({"$model": "iPhone14,5"}, "device.modelNumber", "iPhone14,5"),
        ({"$device": "iPhone"}, "device.model", "iPhone"),
        ({"$os": "Android"}, "device.type", "mobile"),
        ({"$os": "iOS", "$model": "iPad13,1"}, "device.type", "tablet"),
        ({"$os": "Mac OS X"}, "device.type", "desktop"),
        ({"$app_version": 3}, "application.version", "3"),
        ({"$app_build_number": 77}, "T.appBuildNumber", "77"),
        ({"$carrier": "O2"}, "environment.carrier", "O2"),
        ({"$wifi": True, "$radio": "LTE"}, "environment.connectionType", "wireless_wifi"),
        ({"$wifi": False, "$radio": "LTE"}, "environment.connectionType", "mobile_lte"),
        ({"$wifi": False, "$radio": "EDGE"}, "environment.connectionType", "mobile_edge"),
        ({"$wifi": False, "$radio": "5G"}, "environment.connectionType", "mobile"),
        ({"$wifi": False, "$radio": ""}, "environment.connectionType", None),
        ({"ip": "203.0.113.7"}, "environment.ipV4", "203.0.113.7"),
        ({"ip": "2001:db8::1"}, "environment.ipV6", "2001:db8::1"),
        ({"ip": "none"}, "environment.ipV4", None),
        ({"$language": "en_US"}, "environment._dc.language", "en-US"),
        ({"$bluetooth_enabled": True}, "T.bluetoothEnabled", True),
        ({"$city": "Paris"}, "placeContext.geo.city", "Paris"),
        ({"$region": "California", "mp_country_code": "us"}, "placeContext.geo.stateProvince", "US-CA"),
        ({"$region": "US-CA"}, "placeContext.geo.stateProvince", "US-CA"),
        ({"$region": "Elsewhere", "mp_country_code": "US"}, "placeContext.geo.stateProvince", None),
        ({"$region": "Elsewhere", "mp_country_code": "US"}, "T.regionName", "Elsewhere"),
        ({"mp_country_code": " us "}, "placeContext.geo.countryCode", "US"),
        ({"mp_country_code": "USA"}, "placeContext.geo.countryCode", None),
        ({"$latitude": 48.8}, "placeContext.geo._schema.latitude", 48.8),
        ({"$latitude": 91}, "placeContext.geo._schema.latitude", None),
        ({"$longitude": -181}, "placeContext.geo._schema.longitude", None),
        ({"$timezone": "Europe/Paris"}, "placeContext.ianaTimezone", "Europe/Paris"),
        ({"$current_url": "not a url"}, "web.webPageDetails.URL", "not a url"),
        ({"current_page_title": "Home"}, "web.webPageDetails.name", "Home"),
        ({"current_page_title": "Home", "mp_lib": "swift"}, "environment.viewedScreen", "Home"),
        ({"current_domain": "a.com"}, "web.webPageDetails.server", "a.com"),
        ({"current_url_path": "/p"}, "T.currentUrlPath", "/p"),
        ({"$referrer": "https://b.com/"}, "web.webReferrer.URL", "https://b.com/"),
        ({"$referrer": "$direct"}, "web.webReferrer.URL", None),
        ({"$referrer": "$direct"}, "web.webReferrer.type", "typed_bookmarked"),
        ({"$search_engine": "google"}, "web.webReferrer.type", "search_engine"),
        ({"$search_engine": "", "$referring_domain": "b.com"}, "web.webReferrer.type", "external"),
        ({"$referring_domain": "a.com", "current_domain": "a.com"}, "web.webReferrer.type", "internal"),
        ({"$referring_domain": "m.facebook.com"}, "web.webReferrer.type", "social"),
        ({"$initial_referrer": "$direct"}, "T.initialReferrer", "$direct"),
        ({"$search_engine": "google"}, "search.searchEngine", "google"),
        ({"mp_keyword": "shoes"}, "search.keywords", "shoes"),
        ({"utm_campaign": "spring"}, "marketing.campaignName", "spring"),
        ({"utm_id": "1", "utm_campaign_id": "2"}, "marketing.trackingCode", "1"),
        ({"utm_source": "News"}, "T.utmSource", "News"),
        ({"gclid": "x"}, "T.gclid", "x"),
        ({"revenue": "12.50"}, "commerce.order.priceTotal", 12.5),
        ({"currency": "eur"}, "commerce.order.currencyCode", "EUR"),
        ({"currency": "euro"}, "commerce.order.currencyCode", None),
        ({"order_id": 7}, "commerce.order.purchaseID", "7"),
        ({"item_id": 5, "item_name": "Pen"}, "productListItems[0]", {"SKU": "5", "name": "Pen"}),
        ({"item_id": "5", "quantity": "3", "item_price": "2.5"}, "productListItems[0].priceTotal", 7.5),
        ({"item_id": "5", "quantity": 2.5}, "productListItems[0].quantity", None),
        ({"item_id": "5", "currency": "eur"}, "productListItems[0].currencyCode", "EUR"),
        ({"item_id": " ", "item_name": "Pen", "quantity": 1, "item_price": 2, "currency": "EUR"}, "productListItems", None),
        ({"$duration": "2.5"}, "T.duration", 2.5),
        ({"$ae_session_length": 12.6}, "application.sessionLength", 13),
    ],
    ids=str,
)  # fmt: skip
def test_a_property_stands_at_its_place_in_its_form(
    standard_schema: Schema, properties: dict[str, Any], path: str, value: Any
) -> None:
    row = mapped(standard_schema, properties)
    assert value_at(row.data, path) == value
    assert row.errors == []


@pytest.mark.parametrize(
    ("event", "properties", "event_type", "path", "value"),
    [
        ("$mp_web_page_view", {}, "web.webpagedetails.pageViews", "web.webPageDetails.pageViews.value", 1),
        ("$mp_click", {"$el_attr__href": "/a"}, "web.webinteraction.linkClicks", "web.webInteraction.linkClicks.value", 1),
        ("$mp_click", {"$el_attr__href": "/a"}, "web.webinteraction.linkClicks", "web.webInteraction.type", "other"),
        ("$mp_click", {}, "$mp_click", "web", None),
        ("$ae_first_open", {}, "application.launch", "application.firstLaunches.value", 1),
        ("$ae_updated", {}, "application.launch", "application.upgrades.value", 1),
        ("$ae_session", {"$ae_session_length": "9"}, "application.close", "application.sessionLength", 9),
    ],
)  # fmt: skip
def test_an_event_that_adobe_has_a_name_for_gets_it_and_its_measure(
    standard_schema: Schema, event: str, properties: dict[str, Any], event_type: str, path: str, value: Any
) -> None:
    row = mapped(standard_schema, properties, event)
    assert row.data["eventType"] == event_type
    assert value_at(row.data, f"_{TENANT}.mixpanel.eventName") == event
    assert value_at(row.data, path) == value


@pytest.mark.parametrize("nothing", [None, ""])
def test_properties_without_a_value_leave_nothing_and_no_errors(standard_schema: Schema, nothing: Any) -> None:
    names = {name for row in MAPPINGS for name in re.findall(r"properties\.([$\w]+)", str(row["source"]))}
    timed = {"$mp_api_timestamp_ms", "mp_processing_time_ms"}
    row = mapped(standard_schema, dict.fromkeys(names - timed, nothing))
    assert row.errors == []
    assert without_empty(row.data) == without_empty(mapped(standard_schema, {}).data)


def without_empty(value: Any) -> Any:
    """As rows are written: an empty text is null, an object of nulls too."""
    if isinstance(value, dict):
        return {key: kept for key, item in value.items() if (kept := without_empty(item)) not in (None, "", {}, [])}
    if isinstance(value, list):
        return [without_empty(item) for item in value]
    return value
