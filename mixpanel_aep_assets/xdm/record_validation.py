"""One record against the rules, value by value: every violation with its pointer. Exact, and slow compared with `compiled`.

Reads Python objects: JSON records as parsed, or rows of a typed frame, where None means that the field is absent.
Schema keywords follow JSON Schema draft-06 on the closed schema (`json_schema`); rules of our own are those of
`rules.OWN`.
"""

from __future__ import annotations

import datetime
import decimal
import fractions
import functools
import json
import math
from collections.abc import Callable, Iterator
from typing import Any

import orjson

from mixpanel_aep_assets.xdm import formats
from mixpanel_aep_assets.xdm.rules import (
    ECID_PATTERN,
    MAX_ARRAY_ITEMS,
    MAX_EVENT_BYTES,
    MAX_IDENTITIES,
    MAX_IDENTITY_LENGTH,
    REFUSED_IDS,
    STATE_PROVINCE,
    STATE_PROVINCE_PATTERN,
    Violation,
)
from mixpanel_aep_assets.xdm.schema import INTEGER_RANGES, Field, Schema

Report = Callable[[str, str, object, str], None]
"""Takes pointer, keyword, value, message."""


class RecordValidator:
    """The rules of one schema. `typed` says that records are rows of a frame: None is absent, dates are objects."""

    def __init__(self, schema: Schema, *, typed: bool = False) -> None:
        self._root = schema.root
        self._typed = typed
        identities = schema.root.child("identityMap")
        self._has_identities = identities is not None and identities.kind == "map"
        self._has_timestamp = schema.root.child("timestamp") is not None
        self._primary = schema.primary
        self._has_state = schema.field(STATE_PROVINCE) is not None

    def violations(self, record: Any, now: datetime.datetime) -> list[Violation]:
        """All violations of a record; `now` is the instant that `timestamp` may not lie after."""
        found: list[Violation] = []

        def report(pointer: str, keyword: str, value: object, message: str) -> None:
            found.append(Violation(pointer, keyword, value, message))

        self._check(self._root, record, "", report)
        if isinstance(record, dict):
            if self._has_timestamp:
                _timestamp(record.get("timestamp"), now, report)
            if self._has_identities and isinstance(record.get("identityMap"), dict):
                _identities(record["identityMap"], 1 if self._primary is None else 0, report)
            if self._primary is not None:
                _primary(record, self._primary, report)
            if self._has_state:
                _state_province(record, report)
            size = event_bytes(record)
            if size > MAX_EVENT_BYTES:
                report("", "eventSize", size, f"the event has {size} bytes as JSON, over {MAX_EVENT_BYTES}")
        return found

    def _check(self, field: Field, value: Any, at: str, report: Report) -> None:
        kind = field.kind
        if field.enum is not None and not _is_one_of(value, field.enum):
            keyword = "const" if field.constant else "enum"
            report(at, keyword, value, f"{_shown(value)} is none of {', '.join(map(str, field.enum))}")
        if kind == "any":
            return
        if kind == "object":
            self._object(field, value, at, report)
        elif kind == "array":
            self._array(field, value, at, report)
        elif kind == "map":
            self._map(field, value, at, report)
        elif kind == "boolean":
            if not isinstance(value, bool):
                _wrong_type(value, "a boolean", at, report)
        elif kind == "double" or kind in INTEGER_RANGES:
            _number(field, value, at, report)
        elif kind == "string":
            _text(field, value, at, report)
        else:
            _moment(kind, value, at, report)

    def _object(self, field: Field, value: Any, at: str, report: Report) -> None:
        if not isinstance(value, dict):
            _wrong_type(value, "an object", at, report)
            return
        present = 0
        for name, member in value.items():
            if member is None and self._typed:
                continue
            present += 1
            child = field.by_name.get(name)
            if child is not None:
                self._check(child, member, f"{at}/{escape(name)}", report)
            elif field.children or field.closed:
                report(at, "additionalProperties", {name: member}, f"extraneous key [{name}] is not permitted")
        for name in field.required:
            if name not in value or (self._typed and value[name] is None):
                report(at, "required", None, f"required key [{name}] not found")
        _members(field, present, value, at, report)
        if not present and at:
            report(at, "notEmpty", value, "an object without members")

    def _array(self, field: Field, value: Any, at: str, report: Report) -> None:
        if not isinstance(value, list):
            _wrong_type(value, "an array", at, report)
            return
        if field.min_items is not None and len(value) < field.min_items:
            report(at, "minItems", value, f"{len(value)} items, at least {field.min_items} expected")
        if field.max_items is not None and len(value) > field.max_items:
            report(at, "maxItems", value, f"{len(value)} items, at most {field.max_items} expected")
        if field.unique_items and not _is_unique(value):
            report(at, "uniqueItems", value, "an item occurs twice")
        if not value:
            report(at, "notEmpty", value, "a list without items")
        elif len(value) > MAX_ARRAY_ITEMS:
            report(at, "arraySize", len(value), f"{len(value)} items, at most {MAX_ARRAY_ITEMS} advised")
        if field.items is not None:
            for index, item in enumerate(value):
                self._check(field.items, item, f"{at}/{index}", report)

    def _map(self, field: Field, value: Any, at: str, report: Report) -> None:
        if not isinstance(value, dict):
            _wrong_type(value, "a map", at, report)
            return
        entries = [(key, item) for key, item in value.items() if item is not None or not self._typed]
        _members(field, len(entries), value, at, report)
        if not entries:
            report(at, "notEmpty", value, "a map without entries")
        if field.values is not None:
            for key, item in entries:
                self._check(field.values, item, f"{at}/{escape(key)}", report)


@functools.lru_cache(8192)
def escape(name: str) -> str:
    """A name as a step of a JSON Pointer (RFC 6901)."""
    return name.replace("~", "~0").replace("/", "~1")


def event_bytes(record: Any) -> int:
    """Bytes of a record as compact JSON, absent fields left out (and an upper bound where under the limit)."""
    return size if (size := _json_bytes(record)) <= MAX_EVENT_BYTES else _json_bytes(_without_nulls(record))


def _json_bytes(record: Any) -> int:
    try:
        return len(orjson.dumps(record, default=str, option=orjson.OPT_NON_STR_KEYS))
    except orjson.JSONEncodeError:  # an integer beyond 64 bits, a lone surrogate, or too deep
        try:
            text = json.dumps(record, default=str, separators=(",", ":"), ensure_ascii=False)
        except RecursionError:
            return 0  # so deep that it is no record of any schema, and refused for that
        return len(text.encode(errors="replace"))


def _without_nulls(value: Any) -> Any:
    if isinstance(value, dict):
        kept = {key: _without_nulls(item) for key, item in value.items() if item is not None}
        return {key: item for key, item in kept.items() if item is not None}
    if isinstance(value, list):
        return [_without_nulls(item) for item in value]
    return value


def _is_one_of(value: object, allowed: tuple[str | int | float | bool, ...]) -> bool:
    """As JSON compares: true is not 1."""
    return any(value == choice and isinstance(value, bool) == isinstance(choice, bool) for choice in allowed)


def _is_unique(items: list[Any]) -> bool:
    """As JSON compares: 1 is 1.0, and the order of members does not matter."""
    texts = [json.dumps(_plain_numbers(item), sort_keys=True, default=str) for item in items]
    return len(set(texts)) == len(texts)


def _plain_numbers(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain_numbers(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_plain_numbers(item) for item in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _members(field: Field, count: int, value: object, at: str, report: Report) -> None:
    if field.min_properties is not None and count < field.min_properties:
        report(at, "minProperties", value, f"{count} members, at least {field.min_properties} expected")
    if field.max_properties is not None and count > field.max_properties:
        report(at, "maxProperties", value, f"{count} members, at most {field.max_properties} expected")


def _shown(value: object) -> str:
    text = str(value)
    return repr(text if len(text) <= 60 else text[:57] + "...")


def _wrong_type(value: object, expected: str, at: str, report: Report) -> None:
    names = {type(None): "null", bool: "a boolean", int: "a number", float: "a number", str: "text", list: "a list"}
    found = names.get(type(value), "an object" if isinstance(value, dict) else type(value).__name__)
    report(at, "type", value, f"expected {expected}, found {found}")


def _number(field: Field, value: Any, at: str, report: Report) -> None:
    if isinstance(value, decimal.Decimal):
        value = float(value)
    if isinstance(value, bool) or not isinstance(value, int | float):
        _wrong_type(value, "a number" if field.kind == "double" else "an integer", at, report)
        return
    if isinstance(value, float) and not math.isfinite(value):
        report(at, "finite", str(value), f"{value} is not a JSON number")
        return
    if field.kind != "double" and isinstance(value, float) and not value.is_integer():
        report(at, "type", value, f"expected an integer, found {value}")
    low, high = field.range
    if low is not None and value < low:
        report(at, "minimum", value, f"{value} is below {low}")
    if high is not None and value > high:
        report(at, "maximum", value, f"{value} is above {high}")
    if field.exclusive_minimum is not None and value <= field.exclusive_minimum:
        report(at, "exclusiveMinimum", value, f"{value} is not above {field.exclusive_minimum}")
    if field.exclusive_maximum is not None and value >= field.exclusive_maximum:
        report(at, "exclusiveMaximum", value, f"{value} is not below {field.exclusive_maximum}")
    if field.multiple_of is not None and not is_multiple(value, field.multiple_of):
        report(at, "multipleOf", value, f"{value} is not a multiple of {field.multiple_of}")


def is_multiple(value: int | float, of: int | float) -> bool:
    """Whether the decimal numbers divide: 0.3 is a multiple of 0.1."""
    quotient = fractions.Fraction(str(value)) / fractions.Fraction(str(of))
    return quotient.denominator == 1


def _text(field: Field, value: Any, at: str, report: Report) -> None:
    if not isinstance(value, str):
        _wrong_type(value, "text", at, report)
        return
    if field.pattern is not None and not formats.matches(value, field.pattern):
        report(at, "pattern", value, f"{_shown(value)} does not match {field.pattern[:80]}")
    if field.format is not None and not formats.is_format(value, field.format):
        report(at, "format", value, f"{_shown(value)} is no {field.format}")
    if field.min_length is not None and len(value) < field.min_length:
        report(at, "minLength", value, f"{len(value)} characters, at least {field.min_length} expected")
    if field.max_length is not None and len(value) > field.max_length:
        report(at, "maxLength", value, f"{len(value)} characters, at most {field.max_length} expected")
    if not value:
        report(at, "notEmpty", value, "an empty text")


def _moment(kind: str, value: Any, at: str, report: Report) -> None:
    name = "date-time" if kind == "date_time" else "date"
    if isinstance(value, str):
        if not formats.is_format(value, name):
            report(at, "format", value, f"{_shown(value)} is no {name}" + (" with an offset" if name != "date" else ""))
    elif isinstance(value, datetime.datetime):
        if name == "date" or value.tzinfo is None:
            report(
                at, "format", value, "a date-time where a date is expected" if name == "date" else "no offset from UTC"
            )
    elif isinstance(value, datetime.date):
        if name != "date":
            report(at, "format", value, "a date where a date-time is expected")
    else:
        _wrong_type(value, f"a {name}", at, report)


def _timestamp(value: Any, now: datetime.datetime, report: Report) -> None:
    if isinstance(value, str) and formats.is_format(value, "date-time"):
        # A leap second is no datetime of Python's; the second before it is near enough here.
        text = value.upper().replace(":60", ":59")
        head, dot, rest = text.partition(".")
        if dot:  # datetime reads at most six digits of a fraction
            digits = len(rest) - len(rest.lstrip("0123456789"))
            text = f"{head}.{rest[: min(digits, 6)]}{rest[digits:]}"
        value = datetime.datetime.fromisoformat(text)
    if isinstance(value, datetime.datetime) and value.tzinfo is not None and value > now:
        report(
            "/timestamp", "notFuture", value, f"{value.isoformat()} lies after now, {now.isoformat(timespec='seconds')}"
        )


def _state_province(record: dict[str, Any], report: Report) -> None:
    value: Any = record
    for step in STATE_PROVINCE.split("."):
        value = value.get(step) if isinstance(value, dict) else None
    if isinstance(value, str) and value and not formats.matches(value, STATE_PROVINCE_PATTERN):
        report(
            "/" + STATE_PROVINCE.replace(".", "/"),
            "stateProvince",
            value,
            f"{_shown(value)} is not an ISO 3166-2 code (US-CA)",
        )


def _primary(record: dict[str, Any], path: tuple[str, ...], report: Report) -> None:
    """The field that a descriptor makes the primary identity is mandatory."""
    value: Any = record
    for step in path:
        value = value.get(step) if isinstance(value, dict) else None
    if value is None:
        at = "".join(f"/{escape(step)}" for step in path)
        report(at, "identityPrimary", None, "the primary identity is missing, which a descriptor puts here")


def _identities(identities: dict[str, Any], fewest: int, report: Report) -> None:
    """Rules of Identity Service (xdm.md#identities), with `fewest` primary identities at least; values of a wrong type are
    left to the schema's rules."""
    items = list(_items(identities))
    if "" in identities:
        report("/identityMap", "identityNamespace", "", "a namespace code is empty")
    for namespace, index, item in items:
        _identity(namespace, f"/identityMap/{escape(namespace)}/{index}", item, report)
    if not items:
        return
    if len(items) > MAX_IDENTITIES:
        report(
            "/identityMap", "identityCount", len(items), f"{len(items)} identities, at most {MAX_IDENTITIES} allowed"
        )
    primary = [namespace for namespace, _, item in items if item.get("primary") is True]
    if not fewest <= len(primary) <= 1:
        report("/identityMap", "identityPrimary", len(primary), f"{len(primary)} identities are primary, expected one")
    for namespace in dict.fromkeys(primary):
        ids = {item["id"] for other, _, item in items if other == namespace and isinstance(item.get("id"), str)}
        if len(ids) > 1:
            report(
                f"/identityMap/{escape(namespace)}",
                "identityPerson",
                sorted(ids),
                f"{len(ids)} different ids in the namespace of the primary identity",
            )


def _items(identities: dict[str, Any]) -> Iterator[tuple[str, int, dict[str, Any]]]:
    for namespace, listed in identities.items():
        if isinstance(listed, list):
            for index, item in enumerate(listed):
                if isinstance(item, dict):
                    yield namespace, index, item


def _identity(namespace: str, at: str, item: dict[str, Any], report: Report) -> None:
    value = item.get("id")
    if value is None:
        report(at, "identityId", None, "an identity without id")
        return
    if not isinstance(value, str):
        return
    if value and (not value.strip() or value.strip().lower() in REFUSED_IDS):
        report(f"{at}/id", "identityId", value, f"{_shown(value)} is not an id that Identity Service accepts")
    elif len(value) > MAX_IDENTITY_LENGTH:
        report(f"{at}/id", "identityId", value, f"{len(value)} characters, at most {MAX_IDENTITY_LENGTH} allowed")
    elif namespace == "ECID" and value and not formats.matches(value, ECID_PATTERN):
        report(f"{at}/id", "identityEcid", value, f"{_shown(value)} has not exactly 38 digits")
