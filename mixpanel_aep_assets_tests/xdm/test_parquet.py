"""The Parquet layout and the writer of parts."""

from __future__ import annotations

import datetime
import io
import random
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mixpanel_aep_assets.xdm.composition import registry_schema
from mixpanel_aep_assets.xdm.parquet import XdmWriter, arrow_schema, shape, to_arrow
from mixpanel_aep_assets.xdm.schema import Schema, SchemaError
from mixpanel_aep_assets_tests.xdm.conftest import NOW

TYPES = registry_schema(
    {
        "title": "Types",
        "properties": {
            "text": {"type": "string"},
            "double": {"type": "number"},
            "long": {"type": "integer", "meta:xdmType": "long"},
            "int": {"type": "integer"},
            "short": {"type": "integer", "minimum": -32768, "maximum": 32767},
            "byte": {"type": "integer", "minimum": -128, "maximum": 127},
            "flag": {"type": "boolean"},
            "day": {"type": "string", "format": "date"},
            "at": {"type": "string", "format": "date-time"},
            "list": {"type": "array", "items": {"type": "object", "properties": {"SKU": {"type": "string"}}}},
            "map": {"type": "object", "meta:xdmType": "map", "additionalProperties": {"type": "string"}},
            "object": {"type": "object", "properties": {"a": {"type": "string"}, "b": {"type": "string"}}},
        },
    }
)

LAYOUT = {
    "text": ("BYTE_ARRAY", "UTF8"),
    "double": ("DOUBLE", "NONE"),
    "long": ("INT64", "NONE"),
    "int": ("INT32", "NONE"),
    "short": ("INT32", "INT_16"),
    "byte": ("INT32", "INT_8"),
    "flag": ("BOOLEAN", "NONE"),
    "day": ("INT32", "DATE"),
    "at": ("INT64", "TIMESTAMP_MILLIS"),
    "list.list.element.SKU": ("BYTE_ARRAY", "UTF8"),
    "map.key_value.key": ("BYTE_ARRAY", "UTF8"),
    "map.key_value.value": ("BYTE_ARRAY", "UTF8"),
    "object.a": ("BYTE_ARRAY", "UTF8"),
    "object.b": ("BYTE_ARRAY", "UTF8"),
}


def whole_frame() -> pl.DataFrame:
    return pl.DataFrame(
        {
            "text": ["a", ""],
            "double": [1.5, None],
            "long": [2**53 - 1, None],
            "int": [1, None],
            "short": [1, None],
            "byte": [1, None],
            "flag": [True, None],
            "day": [datetime.date(2026, 1, 1), None],
            "at": pl.Series([NOW, None]).cast(pl.Datetime("us", "UTC")),
            "list": [[{"SKU": "s"}], []],
            "map": [[{"key": "k", "value": "v"}], []],
            "object": [{"a": "x", "b": None}, {"a": None, "b": ""}],
        }
    )


class Parts:
    """Opens files of a folder, as Staging does."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def open(self, name: str) -> Any:
        return (self.folder / name).open("wb")


def test_every_type_has_the_physical_type_and_annotation_of_the_platform(tmp_path: Path) -> None:
    with XdmWriter(Parts(tmp_path).open, TYPES) as writer:
        writer.write(whole_frame())
    file = pq.ParquetFile(tmp_path / writer.parts[0].name)
    columns = [file.schema.column(index) for index in range(len(file.schema.names))]
    found = {column.path: (column.physical_type, column.converted_type) for column in columns}
    assert found == LAYOUT
    assert all(column.max_definition_level > 0 for column in columns)
    assert file.metadata.row_group(0).column(0).compression == "SNAPPY"


def test_identities_are_a_map_group_of_lists(event_schema: Schema, tmp_path: Path) -> None:
    frame = pl.DataFrame({"identityMap": [[{"key": "A", "value": [{"id": "1", "primary": True}]}]]})
    column = frame.select(
        pl.col("identityMap").cast(
            pl.List(
                pl.Struct(
                    {
                        "key": pl.String,
                        "value": pl.List(
                            pl.Struct({"id": pl.String, "authenticatedState": pl.String, "primary": pl.Boolean})
                        ),
                    }
                )
            ),
            strict=False,
        )
    )
    with XdmWriter(Parts(tmp_path).open, event_schema) as writer:
        writer.write(column)
    text = str(pq.ParquetFile(tmp_path / "part-00000.parquet").schema)
    lines = [
        line.split("field_id")[0].strip() + " " + line.split("field_id=-1 ")[1] for line in text.splitlines()[2:11]
    ]
    assert [" ".join(line.split()) for line in lines] == [
        "optional group identityMap (Map) {",
        "repeated group key_value {",
        "required binary key (String);",
        "optional group value (List) {",
        "repeated group list {",
        "optional group element {",
        "optional binary id (String);",
        "optional binary authenticatedState (String);",
        "optional boolean primary;",
    ]


def test_what_is_empty_is_left_out() -> None:
    row = to_arrow(whole_frame(), TYPES).to_pylist()[1]
    assert set(row.values()) == {None}


def test_an_arrow_table_has_exactly_the_schema(event_schema: Schema) -> None:
    frame = pl.DataFrame({"_id": ["a"], "timestamp": [NOW], "device": [{"screenWidth": 1}]})
    table = to_arrow(frame, event_schema)
    assert table.schema == arrow_schema(event_schema, frame.schema)
    assert table.schema.field("device").type == pa.struct([pa.field("screenWidth", pa.int32())])


def test_a_map_may_come_as_a_polars_map() -> None:
    frame = whole_frame().select(pl.col("map").cast(pl.Map(pl.String(), pl.String())))
    assert to_arrow(frame, TYPES).to_pylist() == [{"map": [("k", "v")]}, {"map": None}]


@pytest.mark.parametrize("column", ["nothing", "object"])
def test_a_column_that_the_schema_lacks_is_named(column: str) -> None:
    frame = pl.DataFrame({column: [{"c": "x"}]})
    with pytest.raises(SchemaError, match=r"nothing|object\.c"):
        shape(frame, TYPES)


def test_a_value_that_does_not_fit_is_an_error_not_a_null() -> None:
    with pytest.raises(SchemaError, match="does not convert"):
        shape(pl.DataFrame({"int": [2**40]}), TYPES)


def test_shaping_twice_changes_nothing() -> None:
    once = shape(whole_frame(), TYPES)
    assert shape(once, TYPES).equals(once)


def test_parts_stay_below_the_limit_and_hold_every_row_in_order(tmp_path: Path) -> None:
    words = [random.Random(n).randbytes(100).hex() for n in range(2000)]
    limit = 60_000
    with XdmWriter(Parts(tmp_path).open, TYPES, part_limit=limit, row_group_rows=50) as writer:
        for start in range(0, 2000, 170):
            writer.write(pl.DataFrame({"text": words[start : start + 170]}))
    assert len(writer.parts) > 3
    assert all(part.bytes <= limit for part in writer.parts)
    assert all((tmp_path / part.name).stat().st_size == part.bytes for part in writer.parts)
    read = [word for part in writer.parts for word in pl.read_parquet(tmp_path / part.name)["text"]]
    assert read == words


def test_no_rows_make_no_part(tmp_path: Path) -> None:
    with XdmWriter(Parts(tmp_path).open, TYPES) as writer:
        writer.write(whole_frame().clear())
    assert writer.parts == []


def test_frames_that_lack_members_get_nulls_and_further_ones_are_refused(tmp_path: Path) -> None:
    writer = XdmWriter(Parts(tmp_path).open, TYPES)
    writer.write(pl.DataFrame({"text": ["a"], "object": [{"a": "x", "b": "y"}]}))
    writer.write(pl.DataFrame({"object": [{"a": "z"}]}))
    with pytest.raises(SchemaError, match="int"):
        writer.write(pl.DataFrame({"int": [1]}))
    parts = writer.close()
    assert pl.read_parquet(tmp_path / parts[0].name).rows() == [
        ("a", {"a": "x", "b": "y"}),
        (None, {"a": "z", "b": None}),
    ]


def test_a_failed_write_closes_its_file() -> None:
    files: list[io.BytesIO] = []

    def open_part(_: str) -> io.BytesIO:
        files.append(io.BytesIO())
        return files[-1]

    def fail() -> None:
        with XdmWriter(open_part, TYPES) as writer:
            writer.write(pl.DataFrame({"text": ["a"]}))
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert files[0].closed
