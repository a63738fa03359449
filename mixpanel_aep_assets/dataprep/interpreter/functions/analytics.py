"""Adobe Analytics functions: events `name=value:id`, and products `category;product;quantity;price;events;eVars`."""

from __future__ import annotations

from typing import Final, NamedTuple

from mixpanel_aep_assets.dataprep.interpreter.functions.function_registry import Kind, function, refuse
from mixpanel_aep_assets.dataprep.interpreter.values import parts_of

_CATEGORY, _NAME, _QUANTITY, _PRICE, _EVENTS, _EVARS = range(6)
_UNPUBLISHED: Final = "Adobe's page has it commented out, so the Platform may refuse it"


class _Event(NamedTuple):
    value: str
    id: str | None


def _event(text: str, name: str, separator: str) -> _Event | None:
    """The first event of this name; a value that is not given counts as 1."""
    for one in parts_of(text, separator):
        before, colon, identifier = one.strip().partition(":")
        found, equals, value = before.partition("=")
        if found.strip() == name:
            return _Event(value if equals else "1", identifier if colon else None)
    return None


def _parts(products: str, part: int) -> list[str | None]:
    """One part of every product; null where it is missing or empty."""
    rows = [product.split(";") for product in parts_of(products, ",")]
    return [row[part] or None if part < len(row) else None for row in rows]


@function("aa_get_event_id", category="analytics", takes=(Kind.TEXT, Kind.TEXT), gives=Kind.TEXT, null_in=(0, 1))
def aa_get_event_id(events: str, name: str) -> str | None:
    event = _event(events, name, ",")
    return event.id if event else None


@function("aa_get_event_value", category="analytics", takes=(Kind.TEXT, Kind.TEXT), gives=Kind.TEXT, null_in=(0, 1))
def aa_get_event_value(events: str, name: str) -> str | None:
    """Null when the event is not there."""
    event = _event(events, name, ",")
    return event.value if event else None


@function("aa_get_product_categories", category="analytics", takes=(Kind.TEXT,), gives=Kind.ARRAY, null_in=(0,))
def aa_get_product_categories(products: str) -> list[str | None]:
    return _parts(products, _CATEGORY)


@function("aa_get_product_names", category="analytics", takes=(Kind.TEXT,), gives=Kind.ARRAY, null_in=(0,))
def aa_get_product_names(products: str) -> list[str | None]:
    return _parts(products, _NAME)


@function("aa_get_product_quantities", category="analytics", takes=(Kind.TEXT,), gives=Kind.ARRAY, null_in=(0,))
def aa_get_product_quantities(products: str) -> list[str | None]:
    return _parts(products, _QUANTITY)


@function("aa_get_product_prices", category="analytics", takes=(Kind.TEXT,), gives=Kind.ARRAY, null_in=(0,))
def aa_get_product_prices(products: str) -> list[str | None]:
    return _parts(products, _PRICE)


@function(
    "aa_get_product_event_values",
    category="analytics",
    takes=(Kind.TEXT, Kind.TEXT),
    gives=Kind.ARRAY,
    null_in=(0, 1),
)
def aa_get_product_event_values(products: str, name: str) -> list[str | None]:
    found = [_event(events, name, "|") if events else None for events in _parts(products, _EVENTS)]
    return [event.value if event else None for event in found]


@function("aa_get_product_evars", category="analytics", takes=(Kind.TEXT, Kind.TEXT), gives=Kind.ARRAY, null_in=(0, 1))
def aa_get_product_evars(products: str, name: str) -> list[str | None]:
    values: list[str | None] = []
    for evars in _parts(products, _EVARS):
        pairs = [evar.partition("=") for evar in (evars or "").split("|")]
        values.append(next((value for key, equals, value in pairs if equals and key.strip() == name), None))
    return values


for _refused in ("aa_get_product_events", "aa_get_product_event_ids"):
    refuse(_refused, "analytics", (Kind.TEXT, Kind.TEXT), Kind.ARRAY, _UNPUBLISHED, "use aa_get_product_event_values")
