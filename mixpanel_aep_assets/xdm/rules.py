"""Names, meanings and severities of what a row may violate.

Schema rules have the names of JSON Schema keywords; the rules that no schema can express (xdm.md#official-examples)
have names of their own, listed in `OWN`. What the rules do lives in `record_validation` (one record) and `compiled` (a frame).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

Severity = Literal["block", "quarantine", "warn"]
"""What a violation means for a run: `block` stops the partition (the whole batch would fail), `quarantine` sets the row
aside, `warn` only reports."""

SCHEMA_KEYWORDS = (
    "type",
    "required",
    "additionalProperties",
    "enum",
    "const",
    "pattern",
    "format",
    "minimum",
    "maximum",
    "exclusiveMinimum",
    "exclusiveMaximum",
    "minLength",
    "maxLength",
    "minItems",
    "maxItems",
    "uniqueItems",
    "minProperties",
    "maxProperties",
    "multipleOf",
)

OWN: Mapping[str, str] = {
    "json": "the line is valid JSON",
    "columnType": "a Parquet column has a type that the Platform reads and converts to the field's",
    "finite": "numbers are finite: JSON has no NaN or infinity",
    "notEmpty": "no empty string, list, map or object: leave the key out",
    "notFuture": "timestamp is not in the future",
    "uniqueId": "_id occurs once in the data",
    "eventSize": "an event is at most 10 KB, larger ones are dropped by Profile",
    "arraySize": "a list has at most 10 items in an event (advice)",
    "stateProvince": "placeContext.geo.stateProvince is a full ISO 3166-2 code",
    "identityId": "an identity has an id that is not blank, null, anonymous or invalid, of at most 1024 characters",
    "identityPrimary": "exactly one identity is primary; if a descriptor names one, it is present",
    "identityNamespace": "a namespace code is not empty",
    "identityEcid": "an ECID has exactly 38 digits",
    "identityCount": "a record has at most 20 identities",
    "identityPerson": "the namespace of the primary identity has only one id",
}
"""Rules of our own: name and meaning."""

DEFAULT_SEVERITY: Mapping[str, Severity] = {
    "additionalProperties": "block",
    "columnType": "block",
    "eventSize": "warn",
    "arraySize": "warn",
    "identityPerson": "warn",
}
"""Severities other than `quarantine`."""

MAX_IDENTITIES = 20
MAX_IDENTITY_LENGTH = 1024
MAX_EVENT_BYTES = 10 * 1024
MAX_ARRAY_ITEMS = 10
REFUSED_IDS = ("null", "anonymous", "invalid")
"""Ids that Identity Service refuses, in any letter case and with blanks around them. `mixpanel.identity` adds Mixpanel's."""

STATE_PROVINCE = "placeContext.geo.stateProvince"
STATE_PROVINCE_PATTERN = r"^[A-Z]{2}-[A-Z0-9]{1,3}$"
ECID_PATTERN = r"^[0-9]{38}$"


@dataclass(frozen=True)
class Violation:
    """One finding. `pointer` is a JSON Pointer to the value; for `required` and `additionalProperties` to the object, for
    `columnType` to the column."""

    pointer: str
    keyword: str
    value: object
    message: str


def severity(keyword: str, chosen: Mapping[str, Severity] | None = None) -> Severity:
    """The severity of a rule, by choice or by default."""
    return (chosen or {}).get(keyword) or DEFAULT_SEVERITY.get(keyword, "quarantine")


def takes_id(value: str) -> bool:
    """Whether Identity Service takes a text as an id, an ECID's own form aside."""
    return len(value) <= MAX_IDENTITY_LENGTH and value.strip().lower() not in ("", *REFUSED_IDS)
