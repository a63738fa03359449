"""Parquet types of columns: those of Adobe's table conform, all others are a finding whatever the rows hold."""

from __future__ import annotations

import datetime
import decimal
import json
import struct
import uuid
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner, Result

from mixpanel_aep_assets.cli.conformance_commands import conformance
from mixpanel_aep_assets.xdm.composition import registry_schema
from mixpanel_aep_assets.xdm.parquet import XdmWriter
from mixpanel_aep_assets_tests.outside import CASES, NO_CASES

CASE = CASES / "parquet-physical-types"
MOMENT = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)
DAY = MOMENT.date()

TEXT = {"type": "string"}
LEAVES: dict[str, dict[str, Any]] = {
    "text": TEXT,
    "double": {"type": "number"},
    "long": {"type": "integer", "meta:xdmType": "long"},
    "int": {"type": "integer"},
    "short": {"type": "integer", "meta:xdmType": "short"},
    "byte": {"type": "integer", "meta:xdmType": "byte"},
    "flag": {"type": "boolean"},
    "day": {"type": "string", "format": "date"},
    "at": {"type": "string", "format": "date-time"},
}
DOCUMENT = {
    "title": "Columns",
    "properties": {
        **LEAVES,
        "list": {"type": "array", "items": {"type": "object", "properties": LEAVES}},
        "map": {"type": "object", "meta:xdmType": "map", "additionalProperties": TEXT},
        "lists": {"type": "object", "meta:xdmType": "map", "additionalProperties": {"type": "array", "items": TEXT}},
        "object": {"type": "object", "properties": {"a.b": TEXT, "grid": {"type": "array", "items": {"type": "array", "items": TEXT}}}},
    },
}  # fmt: skip


def check(folder: Path, data: pa.Table | bytes, **options: Any) -> Result:
    (folder / "schema.json").write_text(json.dumps(DOCUMENT))
    file = folder / "data.parquet"
    if isinstance(data, bytes):
        file.write_bytes(data)
    else:
        pq.write_table(data, file, **options)
    return CliRunner().invoke(conformance, ["--schema", str(folder / "schema.json"), str(file)])


def findings(result: Result) -> list[tuple[Any, str, str]]:
    """Row, pointer and value of the findings about columns."""
    lines = [json.loads(line) for line in result.stdout.splitlines()]
    return [(line["row"], line["pointer"], line["value"]) for line in lines if line["keyword"] == "columnType"]


GOOD: list[tuple[str, pa.Array]] = [
    ("text", pa.array(["a"])),
    ("text", pa.array(["a"], pa.large_string())),
    ("text", pa.array(["a"], pa.string_view())),
    ("text", pa.array(["a"]).dictionary_encode()),
    ("double", pa.array([1.5])),
    ("long", pa.array([1])),
    ("int", pa.array([1], pa.int32())),
    ("short", pa.array([1], pa.int16())),
    ("byte", pa.array([1], pa.int8())),
    ("flag", pa.array([True])),
    ("day", pa.array([DAY])),
    ("day", pa.array([DAY], pa.date64())),
    ("at", pa.array([MOMENT], pa.timestamp("ms", "UTC"))),
    ("at", pa.array([MOMENT], pa.timestamp("ms", "Europe/Berlin"))),
    ("at", pa.array([MOMENT], pa.timestamp("s", "UTC"))),
    # Of another type of the table, which the Platform converts; whether the values fit is said row by row.
    ("int", pa.array([1], pa.int64())),
    ("int", pa.array([1], pa.int8())),
    ("int", pa.array([1.0])),
    ("double", pa.array([1])),
    ("at", pa.array(["2026-01-01T00:00:00Z"])),
    ("day", pa.array(["2026-01-01"])),
    ("map", pa.array([[("k", "v")]], pa.map_(pa.string(), pa.string()))),
    ("map", pa.array([{"k": "v"}])),
    ("object", pa.array([{"a.b": "x", "grid": [["y"]]}])),
]


@pytest.mark.parametrize(("name", "column"), GOOD, ids=lambda one: str(getattr(one, "type", one)))
def test_types_of_the_table_conform(name: str, column: pa.Array, tmp_path: Path) -> None:
    result = check(tmp_path, pa.table({name: column}))
    assert (result.exit_code, result.stdout) == (0, "")


BAD: list[tuple[str, pa.Array, str]] = [
    ("at", pa.array([MOMENT], pa.timestamp("us", "UTC")), "INT64 (Timestamp microseconds UTC)"),
    ("at", pa.array([MOMENT], pa.timestamp("ns", "UTC")), "INT64 (Timestamp nanoseconds UTC)"),
    ("at", pa.array([MOMENT.replace(tzinfo=None)], pa.timestamp("ms")), "INT64 (Timestamp milliseconds without UTC)"),
    ("at", pa.array([datetime.time(1)], pa.time32("ms")), "INT32 (Time milliseconds without UTC)"),
    ("at", pa.array([datetime.time(1)], pa.time64("us")), "INT64 (Time microseconds without UTC)"),
    ("double", pa.array([decimal.Decimal("1.50")]), "FIXED_LEN_BYTE_ARRAY (Decimal 3, 2)"),
    ("double", pa.array([1.5], pa.float32()), "FLOAT"),
    ("double", pa.array([1.5], pa.float16()), "FIXED_LEN_BYTE_ARRAY (Float16)"),
    ("byte", pa.array([1], pa.uint8()), "INT32 (unsigned Int 8)"),
    ("short", pa.array([1], pa.uint16()), "INT32 (unsigned Int 16)"),
    ("int", pa.array([1], pa.uint32()), "INT32 (unsigned Int 32)"),
    ("long", pa.array([1], pa.uint64()), "INT64 (unsigned Int 64)"),
    ("text", pa.array([b"a"]), "BYTE_ARRAY"),
    ("text", pa.array([b"abcd"], pa.binary(4)), "FIXED_LEN_BYTE_ARRAY"),
    ("text", pa.array([uuid.uuid4().bytes], pa.uuid()), "FIXED_LEN_BYTE_ARRAY (UUID)"),
    ("text", pa.array(["{}"], pa.json_()), "BYTE_ARRAY (JSON)"),
    *((name, pa.nulls(1), "INT32 (Null)") for name in DOCUMENT["properties"]),
    # Types of the table that the Platform converts to nothing that the field is, also where no row has a value.
    ("text", pa.array([None], pa.bool_()), "BOOLEAN"),
    ("flag", pa.array([None], pa.string()), "BYTE_ARRAY (String)"),
    ("flag", pa.array([None], pa.int32()), "INT32"),
    ("day", pa.array([None], pa.timestamp("ms", "UTC")), "INT64 (Timestamp milliseconds UTC)"),
    ("at", pa.array([None], pa.date32()), "INT32 (Date)"),
    ("at", pa.array([None], pa.float64()), "DOUBLE"),
    ("text", pa.array([None], pa.list_(pa.string())), "a LIST group of three levels"),
    ("list", pa.array([None], pa.string()), "BYTE_ARRAY (String)"),
    ("object", pa.array([None], pa.int64()), "INT64"),
    ("map", pa.array([None], pa.list_(pa.string())), "a LIST group of three levels"),
    ("map", pa.array([[(1, "v")]], pa.map_(pa.int32(), pa.string())), "keys of int32"),
    ("map", pa.array([[(b"k", "v")]], pa.map_(pa.binary(), pa.string())), "BYTE_ARRAY"),
]


@pytest.mark.parametrize(("name", "column", "shown"), BAD, ids=lambda one: str(getattr(one, "type", one)))
def test_other_types_are_a_finding_about_the_column(name: str, column: pa.Array, shown: str, tmp_path: Path) -> None:
    result = check(tmp_path, pa.table({name: column}))
    assert findings(result) == [(None, f"/{name}", shown)]
    assert result.exit_code == 1
    assert "1 columns have a wrong type" in result.stderr


@pytest.mark.parametrize(
    ("column", "pointer"),
    [
        ({"list": pa.array([[{"int": 1}]], pa.list_(pa.struct([("int", pa.uint32())])))}, "/list/*/int"),
        ({"lists": pa.array([[("k", [b"x"])]], pa.map_(pa.string(), pa.list_(pa.binary())))}, "/lists/*/*"),
        ({"object": pa.array([{"a.b": b"x"}])}, "/object/a.b"),
        ({"object": pa.array([{"grid": [[b"x"]]}])}, "/object/grid/*/*"),
        ({"map": pa.array([{"k": b"v", "l": "v"}])}, "/map/k"),
        ({"unknown/field": pa.array([{"x": [1.5]}], pa.struct([("x", pa.list_(pa.float32()))]))}, "/unknown~1field/x/*"),
    ],
)  # fmt: skip
def test_a_column_is_named_by_its_place_at_whatever_depth(
    column: dict[str, pa.Array], pointer: str, tmp_path: Path
) -> None:
    result = check(tmp_path, pa.table(column))
    assert [place for _, place, _ in findings(result)] == [pointer]
    assert result.exit_code == 1


def test_each_wrong_column_is_one_finding_however_many_rows_there_are(tmp_path: Path) -> None:
    rows = 500
    columns = {"at": pa.array([MOMENT] * rows, pa.timestamp("us", "UTC")), "long": pa.array([1] * rows, pa.uint64())}
    assert [place for _, place, _ in findings(check(tmp_path, pa.table(columns)))] == ["/at", "/long"]


def test_int96_timestamps_are_a_finding(tmp_path: Path) -> None:
    table = pa.table({"at": pa.array([MOMENT], pa.timestamp("ns", "UTC"))})
    assert findings(check(tmp_path, table, use_deprecated_int96_timestamps=True)) == [(None, "/at", "INT96")]


def test_decimals_stored_as_integers_are_a_finding(tmp_path: Path) -> None:
    table = pa.table({"double": pa.array([decimal.Decimal("1.50")])})
    assert findings(check(tmp_path, table, store_decimal_as_integer=True)) == [
        (None, "/double", "INT32 (Decimal 3, 2)")
    ]


def test_a_list_may_name_its_items_as_it_likes(tmp_path: Path) -> None:
    table = pa.table({"list": pa.array([[{"text": "a"}]])})
    assert check(tmp_path, table, use_compliant_nested_type=False).exit_code == 0


def test_a_rule_about_columns_can_be_ignored(tmp_path: Path) -> None:
    check(tmp_path, pa.table({"long": pa.array([1], pa.uint64())}))
    arguments = ["--schema", str(tmp_path / "schema.json"), str(tmp_path / "data.parquet"), "--ignore", "columnType"]
    assert CliRunner().invoke(conformance, arguments).exit_code == 0


REQUIRED, OPTIONAL, REPEATED = 0, 1, 2
UTF8, MAP, LIST, ENUM, INTERVAL, BSON = 0, 1, 3, 4, 21, 20
BYTES, FIXED = 6, 7


def varint(number: int) -> bytes:
    out = b""
    while number > 0x7F:
        out += bytes([number & 0x7F | 0x80])
        number >>= 7
    return out + bytes([number])


def record(fields: Iterable[tuple[int, int, bytes]]) -> bytes:
    """A struct of Thrift's compact protocol: field ids, types, and values as they are encoded."""
    out, last = b"", 0
    for number, kind, value in fields:
        out += bytes([(number - last) << 4 | kind]) + value
        last = number
    return out + b"\0"


def node(
    name: str,
    *,
    repetition: int | None = OPTIONAL,
    type_: int | None = None,
    converted: int | None = None,
    children: int = 0,
) -> bytes:
    """A SchemaElement; integers are zigzag."""
    length = 12 if type_ == FIXED else None
    numbers = {1: type_, 2: length, 3: repetition, 5: children or None, 6: converted}
    fields = [(key, 5, varint(value * 2)) for key, value in numbers.items() if value is not None]
    return record(sorted([*fields, (4, 8, varint(len(name)) + name.encode())]))


def without_rows(*nodes: bytes) -> bytes:
    """A Parquet file of these columns and no rows, as a writer other than ours may lay it out."""
    schema = [node("schema", repetition=None, children=1), *nodes]
    footer = record(
        [
            (1, 5, varint(2)),
            (2, 9, bytes([len(schema) << 4 | 12]) + b"".join(schema)),
            (3, 6, varint(0)),
            (4, 9, bytes([12])),
        ]
    )
    return b"PAR1" + footer + struct.pack("<I", len(footer)) + b"PAR1"


def leaf(name: str, repetition: int = OPTIONAL) -> bytes:
    return node(name, repetition=repetition, type_=BYTES, converted=UTF8)


THREE = [node("grid", converted=LIST, children=1), node("bag", repetition=REPEATED, children=1)]


@pytest.mark.parametrize(
    ("nodes", "found"),
    [
        pytest.param([leaf("text")], [], id="text"),
        pytest.param([node("list", converted=LIST, children=1), node("list", repetition=REPEATED, children=1),
                      node("element", children=1), leaf("text")], [], id="three levels"),
        pytest.param([node("object", children=1), *THREE, node("array_element", converted=LIST, children=1),
                      node("bag", repetition=REPEATED, children=1), leaf("array_element")], [], id="three levels twice"),
        pytest.param([node("object", children=1), *THREE, node("array_element", converted=LIST, children=1),
                      leaf("array", REPEATED)], ["/object/grid/*/*"], id="two levels in three"),
        pytest.param([node("list", converted=LIST, children=1), node("array", repetition=REPEATED, children=1),
                      leaf("text")], ["/list/*/text"], id="two levels"),
        pytest.param([node("list", repetition=REPEATED, children=1), leaf("text")], ["/list/*/text"], id="no annotation"),
        pytest.param([node("map", converted=MAP, children=1), node("map", repetition=REPEATED, children=2),
                      leaf("key", REQUIRED), leaf("value")], [], id="map"),
        pytest.param([node("text", type_=BYTES, converted=ENUM)], ["/text"], id="enum"),
        pytest.param([node("text", type_=BYTES, converted=BSON)], ["/text"], id="bson"),
        pytest.param([node("text", type_=FIXED, converted=INTERVAL)], ["/text"], id="interval"),
    ],
)  # fmt: skip
def test_the_layout_of_other_writers_is_judged_without_a_row(
    nodes: list[bytes], found: list[str], tmp_path: Path
) -> None:
    result = check(tmp_path, without_rows(*nodes))
    assert [place for _, place, _ in findings(result)] == found, result.output
    assert result.exit_code == bool(found)


def test_the_files_that_we_write_have_no_finding(tmp_path: Path) -> None:
    schema = registry_schema(DOCUMENT)
    frame = pl.DataFrame(
        {
            "text": ["a", None],
            "int": [1, None],
            "at": pl.Series([MOMENT, None]).cast(pl.Datetime("us", "UTC")),
            "list": [[{"text": "a", "short": 1}], []],
            "map": [[{"key": "k", "value": "v"}], None],
            "day": [None, None],
            "object": [{"grid": [["a"]]}, None],
        }
    )
    with XdmWriter(lambda name: (tmp_path / name).open("wb"), schema) as writer:
        writer.write(frame)
    assert check(tmp_path, (tmp_path / writer.parts[0].name).read_bytes()).exit_code == 0


@pytest.mark.skipif(not CASE.is_dir(), reason=NO_CASES)
@pytest.mark.parametrize("file", sorted(CASE.glob("*.parquet")), ids=lambda file: file.stem)
def test_the_shared_case_has_a_finding_for_each_file_but_the_good_one(file: Path) -> None:
    result = CliRunner().invoke(conformance, ["--schema", str(CASE / "schema.json"), str(file)])
    assert (result.exit_code, len(findings(result))) == ((0, 0) if file.stem == "good" else (1, 1))
