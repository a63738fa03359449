"""A valid event with much in it, and ways to break it. Shared by the tests of conformance."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any, NamedTuple

ABSENT = object()


class Mutation(NamedTuple):
    """`pointer` and `keyword` are what must be reported; `path` is where the value goes (ABSENT takes it away)."""

    path: str
    value: Any
    pointer: str
    keyword: str

    def __str__(self) -> str:
        return f"{self.path}={self.value!r:.40}:{self.keyword}" if self.value is not ABSENT else f"{self.path} absent"


def valid_event() -> dict[str, Any]:
    return {
        "_id": "a1b2c3d4-0001",
        "timestamp": "2026-01-10T06:00:00.123Z",
        "eventType": "web.webpagedetails.pageViews",
        "producedBy": "self",
        "receivedTimestamp": "2026-01-10T06:00:01Z",
        "dataSource": {"_id": "https://mixpanel.com", "code": "mixpanel", "tags": ["a", "b"]},
        "environment": {
            "type": "browser",
            "connectionType": "wireless_wifi",
            "colorDepth": 24,
            "viewportWidth": 800,
            "ipV4": "192.0.2.1",
            "ipV6": "2001:db8::1",
            "operatingSystem": "iOS",
            "browserDetails": {"name": "Chrome", "version": "120", "cookiesEnabled": True, "viewportWidth": 800},
            "_dc": {"language": "en-US"},
        },
        "device": {"screenWidth": 390, "screenHeight": 844, "model": "x", "typeIDService": "https://x.example/db"},
        "placeContext": {
            "localTime": "2026-01-10T07:00:00+01:00",
            "geo": {
                "city": "Köln",
                "countryCode": "DE",
                "stateProvince": "DE-NW",
                "_schema": {"latitude": 50.9, "longitude": 6.9},
            },
        },
        "web": {
            "webPageDetails": {"URL": "https://shop.example/p", "name": "P", "pageViews": {"value": 1}},
            "webInteraction": {"type": "other", "linkClicks": {"value": 1.0}},
            "webReferrer": {"type": "search_engine"},
        },
        "implementationDetails": {"name": "https://mixpanel.com/lib/web", "environment": "browser"},
        "application": {"sessionLength": 10, "launches": {"value": 1}},
        "commerce": {
            "order": {"priceTotal": 19.9, "currencyCode": "EUR", "purchaseID": "o-1"},
            "purchases": {"value": 1},
        },
        "productListItems": [
            {"SKU": "A", "name": "Jacke", "quantity": 2, "priceTotal": 2.5, "currencyCode": "EUR"},
            {"SKU": "B"},
        ],
        "identityMap": {
            "mixpanelUserId": [{"id": "u-1", "authenticatedState": "authenticated", "primary": True}],
            "mixpanelDeviceId": [{"id": "d-1", "authenticatedState": "ambiguous", "primary": False}],
        },
    }


def apply(event: dict[str, Any], path: str, value: Any) -> dict[str, Any]:
    """A copy with the value at a JSON Pointer."""
    changed = copy.deepcopy(event)
    *parents, last = [step.replace("~1", "/").replace("~0", "~") for step in path.split("/")[1:]]
    at: Any = changed
    for step in parents:
        at = at[int(step)] if isinstance(at, list) else at[step]
    if isinstance(at, list):
        at[int(last)] = value
    elif value is ABSENT:
        del at[last]
    else:
        at[last] = value
    return changed


_IDENTITY = "/identityMap/mixpanelUserId/0"
_STAMPS = [
    "2026-01-10",
    "2026-01-10T06:00:00",
    "2026-01-10 06:00:00Z",
    "2025-02-29T06:00:00Z",
    "2026-13-01T06:00:00Z",
    "2026-01-10T24:00:00Z",
    "2026-01-10T06:00:00+0000",
    "1768024800",
    "2026-01-10T06:61:00Z",
    "2026-04-31T06:00:00Z",
    "2026-01-10T06:00Z",
    "2026-01-10T06:00:00.Z",
]


def schema_mutations() -> Iterator[Mutation]:
    """What the closed schema refuses (xdm.md#official-examples)."""
    event = valid_event()
    value: object
    for name in ("_id", "timestamp"):
        yield Mutation(f"/{name}", ABSENT, "", "required")
    for value in _STAMPS:
        for path in ("/timestamp", "/receivedTimestamp", "/placeContext/localTime"):
            yield Mutation(path, value, path, "format")
    for value in ("42:abc", "a b", "a\\b", "ü", "%zz", "a|b", "{x}", "a\nb", "a^b"):
        yield Mutation("/_id", value, "/_id", "format")
        yield Mutation("/dataSource/_id", value, "/dataSource/_id", "format")
    for value in ("web", "/lib/web", "://x", "1a:b", "http://a b"):
        for path in ("/implementationDetails/name", "/device/typeIDService"):
            yield Mutation(path, value, path, "format")
    for value in ("999.1.1.1", "1.2.3", "01.2.3.4", "::1", "1.2.3.4.5", "x"):
        yield Mutation("/environment/ipV4", value, "/environment/ipV4", "format")
    for value in ("1.2.3.4", "1::2::3", "12345::", "g::1", "1:2:3:4:5:6:7"):
        yield Mutation("/environment/ipV6", value, "/environment/ipV6", "format")
    for path in ("/device/screenWidth", "/application/sessionLength", "/productListItems/0/quantity"):
        for value in (1.5, "390", True, {}, [], float(2**31) + 0.5):
            yield Mutation(path, value, path, "type")
        for value in (2**31, 2**40, 2.0**31):
            yield Mutation(path, value, path, "maximum")
        yield Mutation(path, -(2**31) - 1, path, "minimum")
    for path in ("/placeContext/geo/_schema/latitude", "/commerce/order/priceTotal", "/productListItems/0/priceTotal"):
        for value in ("2.5", True, [1.0], {"value": 1}):
            yield Mutation(path, value, path, "type")
    for path, low, high in (
        ("/placeContext/geo/_schema/latitude", -91, 91),
        ("/placeContext/geo/_schema/longitude", -180.5, 180.5),
    ):
        yield Mutation(path, low, path, "minimum")
        yield Mutation(path, high, path, "maximum")
    for path in ("/environment/colorDepth", "/environment/viewportWidth", "/application/sessionLength"):
        yield Mutation(path, -1, path, "minimum")
    for path, values in {
        "/environment/type": ("desktop", "Browser", "", "app"),
        "/environment/connectionType": ("wifi", "5g", "LTE"),
        "/web/webReferrer/type": ("search", "External"),
        "/web/webInteraction/type": ("link",),
        "/implementationDetails/environment": ("application", "BROWSER"),
        f"{_IDENTITY}/authenticatedState": ("loggedin", "Authenticated", ""),
    }.items():
        for value in values:
            yield Mutation(path, value, path, "enum")
    for path, values in {
        "/placeContext/geo/countryCode": ("us", "USA", "US\n", "U1"),
        "/commerce/order/currencyCode": ("usd", "US", "€"),
        "/productListItems/0/currencyCode": ("eur", "EURO"),
        "/environment/_dc/language": ("english_US", "en_US", "e"),
    }.items():
        for value in values:
            yield Mutation(path, value, path, "pattern")
    for parent in ("", "/web/webPageDetails", "/environment", "/placeContext/geo", "/commerce/order", _IDENTITY):
        for name in ("foo", "xdm:foo", "https://x.example/y", "Type"):
            yield Mutation(f"{parent}/{name.replace('/', '~1')}", "x", parent, "additionalProperties")
    yield Mutation("/productListItems/1/sku", "x", "/productListItems/1", "additionalProperties")
    for path in ("/web/webPageDetails/pageViews", "/commerce/purchases", "/application/launches"):
        yield Mutation(f"{path}/value", ABSENT, path, "required")
        yield Mutation(path, 1, path, "type")
        yield Mutation(path, [1], path, "type")
    yield Mutation("/productListItems/0/SKU", ABSENT, "/productListItems/0", "required")
    yield Mutation("/dataSource/_id", ABSENT, "/dataSource", "required")
    yield Mutation("/productListItems", {"SKU": "A"}, "/productListItems", "type")
    yield Mutation("/productListItems/0", "A", "/productListItems/0", "type")
    yield Mutation("/identityMap", [{"id": "u"}], "/identityMap", "type")
    yield Mutation("/identityMap/mixpanelUserId", {"id": "u"}, "/identityMap/mixpanelUserId", "type")
    yield Mutation(f"{_IDENTITY}/id", 4, f"{_IDENTITY}/id", "type")
    yield Mutation(f"{_IDENTITY}/primary", "true", f"{_IDENTITY}/primary", "type")
    yield Mutation(f"{_IDENTITY}/primary", 1, f"{_IDENTITY}/primary", "type")
    for path, value in leaves(event):
        yield Mutation(path, None, path, "type")
        yield Mutation(path, {"x": 1}, path, "type")
        yield Mutation(path, ["x"], path, "type")
        yield Mutation(path, 7 if isinstance(value, str) else "seven", path, "type")


def own_mutations() -> Iterator[Mutation]:
    """What no schema expresses (xdm.md#official-examples)."""
    yield Mutation("/_id", "", "/_id", "notEmpty")
    for path, value in leaves(valid_event()):
        if isinstance(value, str) and path not in (
            "/_id",
            "/timestamp",
            "/receivedTimestamp",
            "/placeContext/localTime",
        ):
            yield Mutation(path, "", path, "notEmpty")
    for path, value in (("/dataSource/tags", []), ("/productListItems", []), ("/device", {}), ("/identityMap", {})):
        yield Mutation(path, value, path, "notEmpty")
    yield Mutation("/identityMap/mixpanelUserId", [], "/identityMap/mixpanelUserId", "notEmpty")
    for value in ("2026-11-24T00:00:01Z", "2027-01-01T00:00:00Z", "2026-11-24T00:30:00-01:00"):
        yield Mutation("/timestamp", value, "/timestamp", "notFuture")
    for value in ("null", "anonymous", "invalid", " ", "NULL", "x" * 1025):
        yield Mutation(f"{_IDENTITY}/id", value, f"{_IDENTITY}/id", "identityId")
    yield Mutation(f"{_IDENTITY}/id", ABSENT, _IDENTITY, "identityId")
    yield Mutation(f"{_IDENTITY}/primary", False, "/identityMap", "identityPrimary")
    yield Mutation(f"{_IDENTITY}/primary", ABSENT, "/identityMap", "identityPrimary")
    yield Mutation("/identityMap/mixpanelDeviceId/0/primary", True, "/identityMap", "identityPrimary")
    yield Mutation("/identityMap/", [{"id": "x"}], "/identityMap", "identityNamespace")
    for value in ("1" * 37, "1" * 39, "x" * 38):
        yield Mutation("/identityMap/ECID", [{"id": value}], "/identityMap/ECID/0/id", "identityEcid")
    many = [{"id": f"d-{n}"} for n in range(20)]
    yield Mutation("/identityMap/mixpanelDeviceId", many, "/identityMap", "identityCount")
    two = [{"id": "u-1", "primary": True}, {"id": "u-2"}]
    yield Mutation("/identityMap/mixpanelUserId", two, "/identityMap/mixpanelUserId", "identityPerson")
    for value in ("California", "us-ca", "US-CALI", "US", "US-CA\n"):
        path = "/placeContext/geo/stateProvince"
        yield Mutation(path, value, path, "stateProvince")
    for value in (float("nan"), float("inf"), float("-inf")):
        yield Mutation("/commerce/order/priceTotal", value, "/commerce/order/priceTotal", "finite")
    yield Mutation("/web/webPageDetails/URL", "x" * 11_000, "", "eventSize")
    yield Mutation("/productListItems", [{"SKU": str(n)} for n in range(11)], "/productListItems", "arraySize")


def leaves(value: Any, at: str = "") -> Iterator[tuple[str, Any]]:
    """Every scalar with its pointer."""
    if isinstance(value, dict):
        for name, member in value.items():
            yield from leaves(member, f"{at}/{name}")
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from leaves(item, f"{at}/{index}")
    else:
        yield at, value
