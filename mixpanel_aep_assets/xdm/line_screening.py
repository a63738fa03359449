"""JSON lines that surely conform, found while they are decoded: a type for `msgspec` made from the schema.

What passes has no violation but perhaps a repeated `_id`; what does not pass is judged by `record_validation`, which is exact and
some ten times slower. So a rule that a type cannot express, or not cheaply, simply does not let a line pass.
"""

from __future__ import annotations

import datetime
import math
import re
from collections.abc import Mapping
from typing import Annotated, Any, Final, Literal

import msgspec
from msgspec import UNSET, Meta, UnsetType

from mixpanel_aep_assets.xdm import formats
from mixpanel_aep_assets.xdm.rules import (
    ECID_PATTERN,
    MAX_ARRAY_ITEMS,
    MAX_EVENT_BYTES,
    MAX_IDENTITIES,
    STATE_PROVINCE,
    STATE_PROVINCE_PATTERN,
    takes_id,
)
from mixpanel_aep_assets.xdm.schema import INTEGER_RANGES, Field, Schema

_NEVER: Final[Any] = Annotated[int, Meta(ge=1, le=0)]
"""No value is of this type."""

_STATE: Final = tuple(STATE_PROVINCE.split("."))
_EMPTY_OBJECT = re.compile(rb"\{[ \t\r\n]*\}")

_DAYS: Final = (
    "[1-9][0-9]{3}-(?:(?:0[13578]|1[02])-(?:0[1-9]|[12][0-9]|3[01])|(?:0[469]|11)-(?:0[1-9]|[12][0-9]|30)"
    "|02-(?:0[1-9]|1[0-9]|2[0-8]))"
)
"""Days of the calendar but for those of February that need a look at the year."""

_WHOLE_TEXTS: Final[Mapping[str, str]] = {
    **formats.FORMATS,
    "date": _DAYS,
    "date-time": rf"{_DAYS}T(?:[01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](?:\.[0-9]+)?(?:Z|[+-](?:[01][0-9]|2[0-3]):[0-5][0-9])",
}


class LineScreening:
    """The lines of one schema that surely conform as of `now`."""

    def __init__(self, schema: Schema, now: datetime.datetime) -> None:
        root = schema.root
        primary = () if schema.primary is None else schema.primary
        self._decoder = msgspec.json.Decoder(_object(root, (), primary))
        self._places = {child.name: f"f{number}" for number, child in enumerate(root.children)}
        self._primaries = (1,) if schema.primary is None else (0, 1)
        # An offset may move an instant by a day; what is nearer to now is for the record validator.
        self._horizon = (now - datetime.timedelta(days=2)).strftime("%Y-%m-%d")

    def passed(self, line: bytes) -> Any:
        """The decoded record of a line that conforms, None for a line that must be looked at."""
        if len(line) > MAX_EVENT_BYTES // 2 or _EMPTY_OBJECT.search(line):
            return None
        try:
            record = self._decoder.decode(line)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return None
        if self._is_late(record) or not self._has_good_identities(record):
            return None
        return record

    def member(self, record: Any, name: str) -> Any:
        """A member of the root of a record that passed, None where it has none."""
        place = self._places.get(name)
        value = getattr(record, place, None) if place is not None else None
        return None if value is UNSET else value

    def _is_late(self, record: Any) -> bool:
        moment = self.member(record, "timestamp")
        return isinstance(moment, str) and moment[:10] >= self._horizon

    def _has_good_identities(self, record: Any) -> bool:
        """Whether each namespace has one good id; several ids of one are for the record validator."""
        identities = self.member(record, "identityMap")
        if not isinstance(identities, dict):
            return True
        primaries = 0
        for namespace, items in identities.items():
            if not namespace or len(items) != 1:
                return False
            value = items[0].id
            if value is UNSET or not takes_id(value):
                return False
            if namespace == "ECID" and not formats.matches(value, ECID_PATTERN):
                return False
            primaries += items[0].primary is True
        return len(identities) <= MAX_IDENTITIES and primaries in self._primaries


def _type(field: Field, path: tuple[str, ...], primary: tuple[str, ...]) -> Any:
    kind = field.kind
    if field.enum is not None:
        return _choice(field, path)
    if kind == "any":
        return Any
    if kind == "object":
        return _object(field, path, primary)
    if kind == "array":
        return _array(field, path)
    if kind == "map":
        return _map(field, path)
    if kind == "boolean":
        return bool
    if kind == "double":
        return _double(field)
    return _whole(field) if kind in INTEGER_RANGES else _text(field, path)


def _object(field: Field, path: tuple[str, ...], primary: tuple[str, ...]) -> Any:
    if field.min_properties is not None or field.max_properties is not None or field.closed:
        return _NEVER
    needed = {*field.required, *primary[:1]}
    if not field.children and not needed:
        return Annotated[dict[str, Any], Meta(min_length=1)]
    if not needed <= field.by_name.keys():
        return _NEVER
    members: list[Any] = []
    names = {}
    for number, child in enumerate(field.children):
        name = child.name if path == ("identityMap",) and child.name in ("id", "primary") else f"f{number}"
        below = primary[1:] if child.name in primary[:1] else ()
        of = _type(child, (*path, child.name), below) if not below or child.kind == "object" else _NEVER
        names[name] = child.name
        members.append((name, of) if child.name in needed else (name, of | UnsetType, UNSET))
    return msgspec.defstruct("Member", members, rename=names, forbid_unknown_fields=True, kw_only=True, gc=False)


def _array(field: Field, path: tuple[str, ...]) -> Any:
    items = Any if field.items is None else _type(field.items, path, ())
    most = MAX_ARRAY_ITEMS if field.max_items is None else min(field.max_items, MAX_ARRAY_ITEMS)
    if field.unique_items:  # several would have to be compared
        most = min(most, 1)
    return Annotated[list[items], Meta(min_length=max(1, field.min_items or 1), max_length=most)]  # type: ignore[valid-type]


def _map(field: Field, path: tuple[str, ...]) -> Any:
    if path == ("identityMap",) and not _holds_identities(field):
        return _NEVER
    values = Any if field.values is None else _type(field.values, path, ())
    lengths = Meta(min_length=max(1, field.min_properties or 1), max_length=field.max_properties)
    return Annotated[dict[str, values], lengths]  # type: ignore[valid-type]


def _holds_identities(field: Field) -> bool:
    item = field.values.items if field.values is not None else None
    members = item.by_name if item is not None else {}
    return [members[name].kind for name in ("id", "primary") if name in members] == ["string", "boolean"]


def _double(field: Field) -> Any:
    low, high, above, below = field.minimum, field.maximum, field.exclusive_minimum, field.exclusive_maximum
    twice = (low is not None and above is not None) or (high is not None and below is not None)
    if field.multiple_of is not None or twice:
        return _NEVER
    given: dict[str, Any] = {"ge": low, "le": high, "gt": above, "lt": below}
    limits = {key: float(value) for key, value in given.items() if value is not None}
    return Annotated[float, Meta(**limits)] if limits else float  # type: ignore[call-overload]


def _whole(field: Field) -> Any:
    if field.multiple_of is not None:
        return _NEVER
    low, high = field.range
    least, most = math.ceil(low or 0), math.floor(high or 0)
    if field.exclusive_minimum is not None:
        least = max(least, math.floor(field.exclusive_minimum) + 1)
    if field.exclusive_maximum is not None:
        most = min(most, math.ceil(field.exclusive_maximum) - 1)
    return Annotated[int, Meta(ge=least, le=most)]


def _text(field: Field, path: tuple[str, ...]) -> Any:
    pattern = field.pattern if field.kind == "string" else None
    form = {"date": "date", "date_time": "date-time"}.get(field.kind, field.format)
    if path == _STATE:
        # The schema's own pattern there is unanchored and lets every text pass.
        if pattern is not None and not formats.matches("", pattern):
            return _NEVER
        pattern = STATE_PROVINCE_PATTERN
    whole = _WHOLE_TEXTS.get(form or "")
    if pattern is not None and whole is not None:
        return _NEVER
    regex = None if whole is None else rf"(?a:\A(?:{whole})\Z)"
    if pattern is not None and formats.is_readable(pattern):
        regex = f"(?a:{formats.as_python(pattern)})"
        try:
            re.compile(regex)
        except re.error:
            return _NEVER
    least = max(1, field.min_length or 1)
    return Annotated[str, Meta(min_length=least, max_length=field.max_length, pattern=regex)]


def _choice(field: Field, path: tuple[str, ...]) -> Any:
    """The allowed values that break no other rule; choices other than texts are for the record validator."""
    allowed = field.enum or ()
    plain = field.kind == "string" and field.format is None and path != _STATE
    if not plain or not all(isinstance(one, str) for one in allowed):
        return _NEVER
    low, high = field.min_length or 1, field.max_length
    good = tuple(
        one
        for one in allowed
        if isinstance(one, str)
        and len(one) >= max(1, low)
        and (high is None or len(one) <= high)
        and (field.pattern is None or formats.matches(one, field.pattern))
    )
    return Literal[good] if good else _NEVER
