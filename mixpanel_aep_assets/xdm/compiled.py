"""The rules as Polars expressions: one boolean per row, true where `record_validation` may find something.

Compiled from a schema and the types that a frame really has: a column of the schema's own type needs few checks, one of
another type is suspect wherever it holds a value. The mask never misses a violation; the few rows that it marks in vain
(a size near the limit) are cleared by the record validator.
"""

from __future__ import annotations

import datetime
from collections.abc import Iterable, Sequence
from typing import cast

import polars as pl

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
)
from mixpanel_aep_assets.xdm.schema import INTEGER_RANGES, Field, Schema

BLANK = r"[\s\x1c-\x1f]*"
"""What Python strips: here `\\s` lacks four controls of it."""
_REFUSED = rf"(?i)^{BLANK}(?:{'|'.join(REFUSED_IDS)})?{BLANK}$"

_INTEGER_LIMITS: dict[type[pl.DataType], tuple[int, int]] = {
    pl.Int8: (-(2**7), 2**7 - 1),
    pl.Int16: (-(2**15), 2**15 - 1),
    pl.Int32: (-(2**31), 2**31 - 1),
    pl.Int64: (-(2**63), 2**63 - 1),
    pl.UInt8: (0, 2**8 - 1),
    pl.UInt16: (0, 2**16 - 1),
    pl.UInt32: (0, 2**32 - 1),
    pl.UInt64: (0, 2**64 - 1),
}

_LIST_BYTES = 400
"""Allowance for the names and punctuation of one list item when a size is estimated."""


def suspects(schema: Schema, frame: pl.Schema, now: datetime.datetime) -> list[pl.Expr]:
    """Boolean expressions over a frame of these columns; a row that any of them marks goes to the record validator."""
    root = schema.root
    checks: list[pl.Expr] = []
    for name, dtype in frame.items():
        child = root.child(name)
        value = pl.col(name)
        checks += [value.is_not_null()] if child is None else _value(child, dtype, value)
    checks += [pl.col(name).is_null() if name in frame else pl.lit(value=True) for name in root.required]
    if root.child("timestamp") is not None and "timestamp" in frame:
        checks += _future(pl.col("timestamp"), frame["timestamp"], now)
    identities = root.child("identityMap")
    if identities is not None and identities.kind == "map" and "identityMap" in frame:
        fewest = 1 if schema.primary is None else 0
        checks += _identities(pl.col("identityMap"), frame["identityMap"], fewest)
    if schema.primary is not None:
        primary, _ = _at(frame, schema.primary)
        checks.append(pl.lit(value=True) if primary is None else primary.is_null())
    checks += _state_province(frame)
    checks += _size(frame)
    return [check.fill_null(value=False) for check in checks]


def _value(field: Field, dtype: pl.DataType, value: pl.Expr) -> list[pl.Expr]:
    kind = field.kind
    if dtype == pl.Null() or (kind == "any" and field.enum is None):
        return []
    if isinstance(dtype, pl.Categorical | pl.Enum):
        dtype, value = pl.String(), value.cast(pl.String)
    checks: list[pl.Expr] = []
    if field.enum is not None:
        checks.append(_not_allowed(field.enum, dtype, value))
    if kind == "any":
        return checks
    if kind == "object":
        return checks + _object(field, dtype, value)
    if kind == "array":
        return checks + _array(field, dtype, value)
    if kind == "map":
        return checks + _map(field, dtype, value)
    if kind == "boolean":
        return checks if dtype == pl.Boolean() else [value.is_not_null()]
    if kind == "double" or kind in INTEGER_RANGES:
        return checks + _number(field, dtype, value)
    if dtype == pl.String():
        if kind == "string":
            return checks + _text(field, value)
        return [*checks, formats.lacks_format(value, "date-time" if kind == "date_time" else "date")]
    if kind == "date_time" and isinstance(dtype, pl.Datetime) and dtype.time_zone is not None:
        return checks
    return checks if kind == "date" and dtype == pl.Date() else [value.is_not_null()]


def _not_allowed(allowed: Iterable[object], dtype: pl.DataType, value: pl.Expr) -> pl.Expr:
    if dtype == pl.String():
        return ~value.is_in([one for one in allowed if isinstance(one, str)])
    if dtype.is_integer():
        return ~value.cast(pl.Int64, strict=False).is_in([one for one in allowed if type(one) is int])
    return value.is_not_null()


def _text(field: Field, value: pl.Expr) -> list[pl.Expr]:
    checks = [value == ""]
    if field.pattern is not None:
        checks.append(formats.lacks_pattern(value, field.pattern))
    if field.format is not None:
        checks.append(formats.lacks_format(value, field.format))
    if field.min_length is not None:
        checks.append(value.str.len_chars() < field.min_length)
    if field.max_length is not None:
        checks.append(value.str.len_chars() > field.max_length)
    return checks


def _number(field: Field, dtype: pl.DataType, value: pl.Expr) -> list[pl.Expr]:
    if not dtype.is_numeric():
        return [value.is_not_null()]
    low, high = field.range
    limits = _INTEGER_LIMITS.get(type(dtype))
    checks: list[pl.Expr] = []
    if limits is None:
        value = value.cast(pl.Float64)
        checks.append(~value.is_finite())
        if field.kind != "double":
            checks.append(value != value.floor())
    if low is not None and (limits is None or low > limits[0]):
        checks.append(value < low)
    if high is not None and (limits is None or high < limits[1]):
        checks.append(value > high)
    if field.exclusive_minimum is not None:
        checks.append(value <= field.exclusive_minimum)
    if field.exclusive_maximum is not None:
        checks.append(value >= field.exclusive_maximum)
    if field.multiple_of is not None:
        checks.append(value.is_not_null())
    return checks


def _object(field: Field, dtype: pl.DataType, value: pl.Expr) -> list[pl.Expr]:
    if not isinstance(dtype, pl.Struct):
        return [value.is_not_null()]
    members = {member.name: cast("pl.DataType", member.dtype) for member in dtype.fields}
    checks: list[pl.Expr] = []
    for name, inner in members.items():
        child = field.child(name)
        member = value.struct.field(name)
        if child is not None:
            checks += _value(child, inner, member)
        elif field.children or field.closed:
            checks.append(member.is_not_null())
    # Without a required member, or without any: the object is there, but all (or one) of its members are null.
    alone = [value.struct.field(name).is_null() for name in members]
    checks.append(value.is_not_null() & pl.all_horizontal(alone) if alone else value.is_not_null())
    for name in field.required:
        missing = value.struct.field(name).is_null() if name in members else pl.lit(value=True)
        checks.append(value.is_not_null() & missing)
    return checks + _counted(field, value)


def _counted(field: Field, value: pl.Expr) -> list[pl.Expr]:
    """The number of members is left to the record validator."""
    return [] if field.min_properties is None and field.max_properties is None else [value.is_not_null()]


def _array(field: Field, dtype: pl.DataType, value: pl.Expr) -> list[pl.Expr]:
    if isinstance(dtype, pl.Array):
        dtype, value = pl.List(cast("pl.DataType", dtype.inner)), value.arr.to_list()
    if not isinstance(dtype, pl.List):
        return [value.is_not_null()]
    length = value.list.len()
    at_least, at_most = max(field.min_items or 1, 1), min(field.max_items or MAX_ARRAY_ITEMS, MAX_ARRAY_ITEMS)
    checks = [length < at_least, length > at_most]
    if field.unique_items:
        checks.append(length > 1)
    if field.items is not None and field.items.kind != "any":
        inner = [pl.element().is_null(), *_value(field.items, cast("pl.DataType", dtype.inner), pl.element())]
        checks.append(_any_item(value, inner))
    return checks


def _map(field: Field, dtype: pl.DataType, value: pl.Expr) -> list[pl.Expr]:
    if isinstance(dtype, pl.Struct):  # inferred from JSON: every key that occurs became a member
        checks = [
            check
            for member in dtype.fields
            if field.values is not None
            for check in _value(field.values, cast("pl.DataType", member.dtype), value.struct.field(member.name))
        ]
        empty = [value.struct.field(member.name).is_null() for member in dtype.fields]
        if not empty:
            return [value.is_not_null()]
        return [*checks, *_counted(field, value), value.is_not_null() & pl.all_horizontal(empty)]
    entries, inner = map_entries(dtype, value)
    if entries is None or inner is None:
        return [value.is_not_null()]
    checks = [entries.list.len() == 0, *_counted(field, value)]
    if field.values is not None:
        item = pl.element().struct.field("value")
        checks.append(_any_item(entries, [item.is_null(), *_value(field.values, inner, item)]))
    return checks


def map_entries(dtype: pl.DataType, value: pl.Expr) -> tuple[pl.Expr | None, pl.DataType | None]:
    """A map as a list of `{key, value}`, and the type of its values; None where the column is no map."""
    if isinstance(dtype, pl.Map):
        inner = cast("pl.DataType", dtype.value)
        return value.cast(pl.List(pl.Struct({"key": pl.String(), "value": inner}))), inner
    return None, None


def _any_item(listed: pl.Expr, checks: Iterable[pl.Expr]) -> pl.Expr:
    bad = pl.any_horizontal([check.fill_null(value=False) for check in checks])
    return listed.list.eval(bad).list.any()


def _future(value: pl.Expr, dtype: pl.DataType, now: datetime.datetime) -> list[pl.Expr]:
    if isinstance(dtype, pl.Datetime) and dtype.time_zone is not None:
        return [(value if dtype.time_zone == "UTC" else value.dt.convert_time_zone("UTC")) > pl.lit(now)]
    if dtype == pl.String():
        # By the calendar day, two days of room for offsets: the record validator decides.
        horizon = (now - datetime.timedelta(days=2)).strftime("%Y-%m-%d")
        return [value.str.slice(0, 10) >= horizon]
    return []


def refused_id(item_id: pl.Expr) -> pl.Expr:
    """Whether an id is missing or refused: `rules.takes_id` for columns."""
    return item_id.is_null() | item_id.str.contains(_REFUSED) | (item_id.str.len_chars() > MAX_IDENTITY_LENGTH)


def _identities(value: pl.Expr, dtype: pl.DataType, fewest: int) -> list[pl.Expr]:
    """`fewest` primary identities are needed, one is allowed."""
    entries, inner = map_entries(dtype, value)
    members = (
        {member.name: member.dtype for member in inner.inner.fields}
        if isinstance(inner, pl.List) and isinstance(inner.inner, pl.Struct)
        else {}
    )
    if entries is None or (members.get("id"), members.get("primary")) != (pl.String(), pl.Boolean()):
        return [value.is_not_null()]
    key, items = pl.element().struct.field("key"), pl.element().struct.field("value")
    item_id = pl.element().struct.field("id")
    ids = items.list.eval(item_id)
    wrong_entry = (
        (key == "")
        | (items.list.len() > 1)
        | items.list.eval(refused_id(item_id)).list.any()
        | ((key == "ECID") & ids.list.eval(~pl.element().str.contains(ECID_PATTERN)).list.any())
    )
    primaries = entries.list.eval(items.list.eval(pl.element().struct.field("primary").cast(pl.UInt32)).list.sum())
    return [
        entries.list.eval(wrong_entry.fill_null(value=False)).list.any(),
        value.is_not_null() & ~primaries.list.sum().is_between(fewest, 1),
        entries.list.len() > MAX_IDENTITIES,
    ]


def _state_province(frame: pl.Schema) -> list[pl.Expr]:
    value, dtype = _at(frame, STATE_PROVINCE.split("."))
    return [~value.str.contains(STATE_PROVINCE_PATTERN)] if value is not None and dtype == pl.String() else []


def _at(frame: pl.Schema, path: Sequence[str]) -> tuple[pl.Expr | None, pl.DataType | None]:
    """The value at a path through structs, and its type; None where the frame has no such place."""
    first, *rest = path
    if first not in frame:
        return None, None
    value, dtype = pl.col(first), frame[first]
    for step in rest:
        inner = {m.name: cast("pl.DataType", m.dtype) for m in dtype.fields} if isinstance(dtype, pl.Struct) else {}
        if step not in inner:
            return None, None
        value, dtype = value.struct.field(step), inner[step]
    return value, dtype


def _size(frame: pl.Schema) -> list[pl.Expr]:
    """Rows that may be over the size limit: twice the text (quotes are escaped) and room for names and numbers."""
    texts: list[pl.Expr] = []
    leaves: list[tuple[pl.Expr, int]] = []
    room = sum(_estimate(name, dtype, pl.col(name), texts, leaves) for name, dtype in frame.items())
    if room > MAX_EVENT_BYTES // 2:  # a wide schema, of which a row fills little: room only for what is there
        texts += [value.is_not_null() * pl.lit(size // 2 + 1, pl.UInt32) for value, size in leaves]
        room = 0
    if not texts:
        return [pl.lit(value=room > MAX_EVENT_BYTES)]
    return [pl.sum_horizontal(texts) * 2 > MAX_EVENT_BYTES - min(room, MAX_EVENT_BYTES)]


def _estimate(
    name: str, dtype: pl.DataType, value: pl.Expr, texts: list[pl.Expr], leaves: list[tuple[pl.Expr, int]]
) -> int:
    """Adds the lengths that vary to `texts`; returns the bytes of names, numbers and punctuation, of which each value's
    own are told in `leaves`."""
    size = len(name.encode()) + (6 if dtype == pl.String() or isinstance(dtype, pl.Struct) else 36)
    leaves.append((value, size))
    if isinstance(dtype, pl.Struct):
        return size + sum(
            _estimate(m.name, cast("pl.DataType", m.dtype), value.struct.field(m.name), texts, leaves)
            for m in dtype.fields
        )
    if isinstance(dtype, pl.List):
        texts.append(value.list.len() * _LIST_BYTES)
    elif isinstance(dtype, pl.Map):
        texts.append(value.map.len() * _LIST_BYTES)
    inside = _text_bytes(dtype, value)
    if inside is not None:
        texts.append(inside)
    return size


def _text_bytes(dtype: pl.DataType, value: pl.Expr) -> pl.Expr | None:
    """Bytes of all texts in a value, None where it has none."""
    if dtype == pl.String():
        return value.str.len_bytes()
    if isinstance(dtype, pl.Struct):
        members = [_text_bytes(cast("pl.DataType", m.dtype), value.struct.field(m.name)) for m in dtype.fields]
        texts = [member for member in members if member is not None]
        return pl.sum_horizontal(texts) if texts else None
    if isinstance(dtype, pl.Map):
        entries, inner = map_entries(dtype, value)
        assert entries is not None
        assert inner is not None
        return _text_bytes(pl.List(pl.Struct({"key": pl.String(), "value": inner})), entries)
    if isinstance(dtype, pl.List):
        inner_bytes = _text_bytes(cast("pl.DataType", dtype.inner), pl.element())
        return None if inner_bytes is None else value.list.eval(inner_bytes).list.sum()
    return None
