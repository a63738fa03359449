"""Frames of whatever column types: the compiled mask misses no violation that the record validator finds, and nothing fails."""

from __future__ import annotations

import datetime
import decimal
import random
from typing import Any

import polars as pl
import pyarrow as pa
import pytest

from mixpanel_aep_assets.xdm.composition import registry_schema
from mixpanel_aep_assets.xdm.conformance import Conformance
from mixpanel_aep_assets.xdm.record_validation import RecordValidator
from mixpanel_aep_assets.xdm.schema import Schema
from mixpanel_aep_assets_tests.xdm.conftest import NOW
from mixpanel_aep_assets_tests.xdm.test_written_schemas import FLAG, WRITTEN, by_key, document, group, listed, text

ROWS, FRAMES = 12, 30
GROUPS = ("types", "depths", "patterns")
"""Without rules that the mask leaves to the record validator for every row, which would hide that it misses others."""

LEAVES = [
    pa.int8(), pa.int32(), pa.int64(), pa.uint64(), pa.float32(), pa.float64(), pa.string(), pa.large_string(), pa.bool_(),
    pa.binary(), pa.date32(), pa.timestamp("ms", "UTC"), pa.timestamp("us"), pa.timestamp("us", "Europe/Berlin"),
    pa.time64("us"), pa.decimal128(10, 2), pa.null(), pa.dictionary(pa.int32(), pa.string()),
]  # fmt: skip
TEXTS = [
    "", "abc", " ", "null", "\x1c", "2026-01-01", "2026-01-01T00:00:00Z", "2999-01-01T00:00:00Z", "a@b.de", "1.2.3.4", "::1",
    "http://a.b", "x" * 30, "x" * 11_000, "ambiguous", "1" * 38, "é\n", "12",
]  # fmt: skip


@pytest.fixture(scope="module")
def schema() -> Schema:
    whole = document(group(**{name: WRITTEN[name][0] for name in GROUPS}))
    identity = group(id=text(), authenticatedState=text(enum=["ambiguous", "authenticated", "loggedOut"]), primary=FLAG)
    whole["properties"]["identityMap"] = by_key(listed(identity))
    return registry_schema(whole)


def any_type(chance: random.Random, depth: int = 0) -> pa.DataType:
    if depth < 3 and chance.random() < 0.3:
        inner = any_type(chance, depth + 1)
        entry = pa.struct([("key", pa.string()), ("value", inner)])
        member = pa.struct([(chance.choice(["id", "primary", "a", "s", "x"]), inner)])
        return chance.choice(
            [pa.list_(inner), pa.list_(inner, 2), pa.map_(pa.string(), inner), pa.list_(entry), member]
        )
    return chance.choice(LEAVES)


def fields(dtype: object) -> list[pl.Field]:
    """The members of a struct."""
    assert isinstance(dtype, pl.Struct)
    return dtype.fields


def own_type(dtype: Any, chance: random.Random | None = None) -> pa.DataType:
    """The Platform's own type; by `chance` with members left out or of another type here and there."""
    if chance is not None and chance.random() < 0.1:
        return any_type(chance)
    if isinstance(dtype, pl.Struct):
        kept = [member for member in dtype.fields if chance is None or chance.random() < 0.7] or dtype.fields[:1]
        return pa.struct([(member.name, own_type(member.dtype, chance)) for member in kept])
    if isinstance(dtype, pl.List):
        return pa.list_(own_type(dtype.inner, chance))
    if isinstance(dtype, pl.Map):
        return pa.map_(pa.string(), own_type(dtype.value, chance))
    return pl.Series([], dtype=dtype).to_arrow().type


def own_value(value: Any, dtype: Any) -> Any:
    """A JSON value as the type holds it."""
    if value is None:
        return None
    if isinstance(dtype, pl.Struct):
        return {member.name: own_value(value.get(member.name), member.dtype) for member in dtype.fields}
    if isinstance(dtype, pl.List):
        return [own_value(item, dtype.inner) for item in value]
    if isinstance(dtype, pl.Map):
        return [(key, own_value(item, dtype.value)) for key, item in value.items()]
    if isinstance(dtype, pl.Datetime):
        return datetime.datetime.fromisoformat(value)
    return datetime.date.fromisoformat(value) if dtype == pl.Date() else value


def any_value(dtype: pa.DataType, chance: random.Random) -> Any:
    if pa.types.is_null(dtype) or chance.random() < 0.25:
        return None
    if pa.types.is_struct(dtype):
        return {member.name: any_value(member.type, chance) for member in dtype}
    if pa.types.is_map(dtype):
        keys = chance.sample(["k", "a/b", "", "ECID", "Email"], chance.randint(0, 2))
        return [(key, any_value(dtype.item_type, chance)) for key in keys]
    if pa.types.is_fixed_size_list(dtype):
        return [any_value(dtype.value_type, chance) for _ in range(2)]
    if pa.types.is_list(dtype) or pa.types.is_large_list(dtype):
        return [any_value(dtype.value_type, chance) for _ in range(chance.choice([0, 1, 2, 2, 12]))]
    if pa.types.is_boolean(dtype):
        return chance.random() < 0.5
    if pa.types.is_integer(dtype):
        width = dtype.bit_width
        low, high = (0, 2**width - 1) if dtype == pa.uint64() else (-(2 ** (width - 1)), 2 ** (width - 1) - 1)
        return chance.choice([low, high, 3, min(high, 2**31), min(high, 2**53)])
    if pa.types.is_floating(dtype):
        return chance.choice([0.0, 1.5, float("nan"), float("inf"), -1e30, 3.0, 10.0, 2.0**31])
    if pa.types.is_decimal(dtype):
        return chance.choice([decimal.Decimal("1.00"), decimal.Decimal("1.50")])
    if pa.types.is_binary(dtype):
        return b"ab"
    if pa.types.is_date(dtype):
        return datetime.date(2026, 1, 1)
    if pa.types.is_timestamp(dtype):
        return datetime.datetime(chance.choice([2026, 2999]), 1, 1, tzinfo=datetime.UTC if dtype.tz else None)
    return datetime.time(1) if pa.types.is_time(dtype) else chance.choice(TEXTS)


VALID = {
    "_id": "a",
    "timestamp": "2026-01-01T00:00:00Z",
    "_acme": {name: WRITTEN[name][1] for name in GROUPS},
    "identityMap": {"Email": [{"id": "a@b.de", "primary": True, "authenticatedState": "ambiguous"}]},
}


def with_one_column_of_any_type(schema: Schema, chance: random.Random) -> pa.Table:
    """Rows that conform but for one column or member, of which type and values are taken by chance."""
    columns = dict(schema.polars_schema())
    row = {name: own_value(VALID[name], dtype) for name, dtype in columns.items()}
    types = {name: own_type(dtype) for name, dtype in columns.items()}
    rows = []
    name = chance.choice(["_id", "timestamp", "identityMap", "extra", *["_acme"] * 8])
    if name != "_acme":
        types[name] = own_type(columns[name], chance) if name in columns else any_type(chance)
        rows = [{**row, name: any_value(types[name], chance)} for _ in range(ROWS)]
    else:
        groups = {group.name: group for group in fields(columns["_acme"])}
        picked = groups[chance.choice(list(groups))]
        member = chance.choice(fields(picked.dtype))
        dtype = own_type(member.dtype, chance) if chance.random() < 0.7 else any_type(chance)
        members = {one.name: own_type(one.dtype) for one in fields(picked.dtype)} | {member.name: dtype}
        types["_acme"] = pa.struct(
            [
                (one, pa.struct(list(members.items())) if one == picked.name else own_type(groups[one].dtype))
                for one in groups
            ]
        )
        for _ in range(ROWS):
            changed = {**row["_acme"][picked.name], member.name: any_value(dtype, chance)}
            rows.append({**row, "_acme": {**row["_acme"], picked.name: changed}})
    return pa.Table.from_pylist(rows, schema=pa.schema(list(types.items())))


@pytest.mark.parametrize("seed", range(5))
def test_the_mask_misses_nothing_that_the_walker_finds(seed: int, schema: Schema) -> None:
    chance = random.Random(seed)
    rules, walker = Conformance(schema, now=NOW, unique=False), RecordValidator(schema, typed=True)
    clean = offending = unmarked = 0
    for _ in range(FRAMES):
        table = with_one_column_of_any_type(schema, chance)
        frame = pl.DataFrame(pl.from_arrow(table))
        expected = [
            (row, violation)
            for row, record in enumerate(frame.iter_rows(named=True))
            for violation in walker.violations(record, NOW)
        ]
        found = list(rules.find(frame))
        assert [(row, one.pointer, one.keyword) for row, one in found] == [
            (row, one.pointer, one.keyword) for row, one in expected
        ], table.schema
        unmarked += ROWS - int(rules.suspects(frame, NOW).sum())
        offending += len({row for row, _ in expected})
        clean += ROWS - len({row for row, _ in expected})
    assert min(clean, offending, unmarked) > FRAMES
