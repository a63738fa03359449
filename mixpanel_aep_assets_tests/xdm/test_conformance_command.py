"""`conformance --schema FILE DATA` as a script sees it."""

from __future__ import annotations

import datetime
import json
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner, Result

from mixpanel_aep_assets.cli.conformance_commands import conformance
from mixpanel_aep_assets.xdm.rules import OWN
from mixpanel_aep_assets.xdm.schema import Schema
from mixpanel_aep_assets_tests.xdm.events import apply, valid_event
from mixpanel_aep_assets_tests.xdm.registry import full_form


@pytest.fixture(scope="module")
def schema_file(event_schema: Schema, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("schema") / "schema.json"
    path.write_text(json.dumps(full_form(event_schema)))
    return path


def run(schema: Path, data: Path, *options: str) -> Result:
    return CliRunner().invoke(conformance, ["--schema", str(schema), str(data), *options])


def ndjson(path: Path, records: list[Any]) -> Path:
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    return path


def lines(result: Result) -> list[dict[str, Any]]:
    return [json.loads(line) for line in result.stdout.splitlines()]


def bad_events() -> list[dict[str, Any]]:
    return [
        valid_event(),
        apply(apply(valid_event(), "/_id", "b"), "/environment/type", "desktop"),
        apply(apply(valid_event(), "/_id", "c"), "/productListItems/1/SKU", ""),
        valid_event(),
    ]


EXPECTED = [
    (1, "/environment/type", "enum", "desktop"),
    (2, "/productListItems/1/SKU", "notEmpty", ""),
    (3, "/_id", "uniqueId", "a1b2c3d4-0001"),
]


def told(result: Result) -> list[tuple[Any, ...]]:
    return [(line["row"], line["pointer"], line["keyword"], line["value"]) for line in lines(result)]


def test_rows_that_conform_give_no_line_and_exit_code_zero(schema_file: Path, tmp_path: Path) -> None:
    result = run(schema_file, ndjson(tmp_path / "d.ndjson", [valid_event()]))
    assert (result.exit_code, result.stdout) == (0, "")
    assert "1 rows, all conform" in result.stderr


def test_violations_in_ndjson_are_lines_on_standard_output(schema_file: Path, tmp_path: Path) -> None:
    result = run(schema_file, ndjson(tmp_path / "d.ndjson", bad_events()))
    assert result.exit_code == 1
    assert told(result) == EXPECTED
    assert set(lines(result)[0]) == {"row", "pointer", "keyword", "value", "message"}
    assert "4 rows, 3 violate" in result.stderr


def test_violations_in_parquet_are_the_same(schema_file: Path, tmp_path: Path) -> None:
    pl.DataFrame(bad_events()).write_parquet(tmp_path / "d.parquet")
    result = run(schema_file, tmp_path / "d.parquet")
    assert result.exit_code == 1
    assert told(result) == EXPECTED


def test_broken_lines_are_rows_too(schema_file: Path, tmp_path: Path) -> None:
    text = json.dumps(valid_event()) + '\n{"_id": \n\n[]\n' + json.dumps(apply(valid_event(), "/_id", "z"))
    (tmp_path / "d.ndjson").write_text(text)
    result = run(schema_file, tmp_path / "d.ndjson")
    assert [(line["row"], line["pointer"], line["keyword"]) for line in lines(result)] == [
        (1, "", "json"),
        (2, "", "type"),
    ]
    assert "4 rows" in result.stderr


def test_values_that_json_lacks_are_told_where_they_stand(schema_file: Path, tmp_path: Path) -> None:
    event = apply(valid_event(), "/commerce/order/priceTotal", float("nan"))
    event = apply(event, "/device/screenWidth", 10**30)
    result = run(schema_file, ndjson(tmp_path / "d.ndjson", [event]))
    assert [(line["pointer"], line["keyword"]) for line in lines(result)] == [
        ("/device/screenWidth", "maximum"),
        ("/commerce/order/priceTotal", "finite"),
    ]


def test_the_instant_of_judgement_can_be_given(schema_file: Path, tmp_path: Path) -> None:
    result = run(schema_file, ndjson(tmp_path / "d.ndjson", [valid_event()]), "--now", "2026-01-01T00:00:00Z")
    assert [line["keyword"] for line in lines(result)] == ["notFuture"]


NO_SCHEMA = [
    "{}",
    "not json",
    "[]",
    '{"title": "x"}',
    '{"properties": []}',
    '{"properties": {"a": {"type": "text"}}}',
    '{"properties": {"a": {"type": "string", "maxLength": "3"}}}',
    '{"properties": {"a": {"type": "string", "enum": "x"}}}',
    '{"allOf": [{"$ref": "https://ns.adobe.com/xdm/context/experienceevent"}]}',
]


@pytest.mark.parametrize("text", NO_SCHEMA)
def test_a_file_that_is_no_schema_is_one_clear_message(text: str, tmp_path: Path) -> None:
    (tmp_path / "s.json").write_text(text)
    result = run(tmp_path / "s.json", ndjson(tmp_path / "d.ndjson", [valid_event()]))
    assert result.exit_code == 2
    assert "cannot be used as a schema" in result.stderr


def test_a_broken_parquet_file_is_one_clear_message(schema_file: Path, tmp_path: Path) -> None:
    (tmp_path / "d.parquet").write_bytes(b"PAR1 and no more")
    result = run(schema_file, tmp_path / "d.parquet")
    assert result.exit_code == 2
    assert "cannot be read as Parquet" in result.stderr


def test_the_help_lists_every_rule_of_our_own() -> None:
    text = CliRunner().invoke(conformance, ["--help"]).output
    assert all(name in text for name in OWN)


def test_a_month_of_rows_in_several_batches_keeps_its_row_numbers(
    schema_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mixpanel_aep_assets.cli.conformance_commands._BATCH_ROWS", 2)
    pl.DataFrame(bad_events()).write_parquet(tmp_path / "d.parquet")
    assert told(run(schema_file, tmp_path / "d.parquet")) == EXPECTED


def test_a_schema_with_references_left_is_told_how_to_be_asked_for(tmp_path: Path) -> None:
    raw = {"properties": {"a": {"type": "array", "items": {"$ref": "https://ns.adobe.com/xdm/data/measure"}}}}
    (tmp_path / "s.json").write_text(json.dumps(raw))
    result = run(tmp_path / "s.json", ndjson(tmp_path / "d.ndjson", [{}]))
    assert result.exit_code == 2
    assert "a $ref to 'https://ns.adobe.com/xdm/data/measure' is left in it" in result.stderr
    assert "application/vnd.adobe.xed-full+json" in result.stderr


def test_what_the_model_cannot_check_is_told(tmp_path: Path) -> None:
    document = {"properties": {"a": {"not": {"type": "string"}}, "b": {"type": "string", "pattern": "("}}}
    (tmp_path / "s.json").write_text(json.dumps(document))
    result = run(tmp_path / "s.json", ndjson(tmp_path / "d.ndjson", [{"a": "x", "b": "y"}]))
    assert result.exit_code == 0
    assert "not checked: not, pattern '('" in result.stderr


def test_a_rule_that_is_ignored_gives_no_line_and_no_exit_code(schema_file: Path, tmp_path: Path) -> None:
    data = ndjson(tmp_path / "d.ndjson", [apply(valid_event(), "/productListItems/1/SKU", "")])
    assert run(schema_file, data).exit_code == 1
    result = run(schema_file, data, "--ignore", "notEmpty")
    assert (result.exit_code, result.stdout) == (0, "")


def test_a_rule_that_only_warns_makes_the_exit_code_one_as_the_help_says(schema_file: Path, tmp_path: Path) -> None:
    event = apply(valid_event(), "/web/webPageDetails/URL", "x" * 11_000)
    result = run(schema_file, ndjson(tmp_path / "d.ndjson", [event]))
    assert (result.exit_code, [line["keyword"] for line in lines(result)]) == (1, ["eventSize"])
    help_text = " ".join(CliRunner().invoke(conformance, ["--help"]).output.split())
    assert "eventSize warn" in help_text
    assert "makes the exit code 1" in help_text


def test_a_byte_order_mark_and_windows_line_ends_are_no_violations(schema_file: Path, tmp_path: Path) -> None:
    (tmp_path / "d.ndjson").write_bytes(b"\xef\xbb\xbf" + json.dumps(valid_event()).encode() + b"\r\n\r\n")
    result = run(schema_file, tmp_path / "d.ndjson")
    assert (result.exit_code, result.stdout) == (0, "")
    assert "1 rows" in result.stderr


def test_half_a_surrogate_pair_is_told_as_json(schema_file: Path, tmp_path: Path) -> None:
    (tmp_path / "d.ndjson").write_text(json.dumps(apply(valid_event(), "/_id", "\ud800")) + "\n")
    (line,) = lines(run(schema_file, tmp_path / "d.ndjson"))
    assert (line["pointer"], line["keyword"], line["value"]) == ("/_id", "format", "\ud800")


@pytest.mark.parametrize("depth", [300, 985, 5_000, 200_000])
@pytest.mark.parametrize("name", ["x", "_id"])
def test_a_line_of_whatever_depth_is_told(depth: int, name: str, schema_file: Path, tmp_path: Path) -> None:
    deep = "[" * depth + "]" * depth
    (tmp_path / "d.ndjson").write_text(f'{{"{name}": {deep}, "timestamp": "2026-01-10T06:00:00Z"}}\n' + "{}\n")
    result = run(schema_file, tmp_path / "d.ndjson")
    assert {line["row"] for line in lines(result)} == {0, 1}
    assert result.exit_code == 1


def test_a_gzip_file_is_one_clear_message(schema_file: Path, tmp_path: Path) -> None:
    (tmp_path / "d.gz").write_bytes(b"\x1f\x8b\x08")
    result = run(schema_file, tmp_path / "d.gz")
    assert result.exit_code == 2
    assert "unpack it first" in result.stderr


def parquet(path: Path, table: pa.Table) -> Path:
    pq.write_table(table, path, row_group_size=2)
    return path


def typed_table(**columns: pa.Array) -> pa.Table:
    """Three events in the Platform's own types, with other columns in place of some."""
    moment = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)
    base = {"_id": pa.array(["a", "b", "c"]), "timestamp": pa.array([moment] * 3, pa.timestamp("ms", "UTC"))}
    return pa.table({name: column for name, column in (base | columns).items() if column is not None})


ITEM = pa.struct([("id", pa.int64()), ("primary", pa.bool_())])
IDENTITIES = pa.map_(pa.string(), pa.list_(ITEM))
DAY = datetime.datetime(2026, 1, 1)


@pytest.mark.parametrize(
    ("columns", "expected"),
    [
        ({}, []),
        ({"timestamp": pa.array([DAY] * 3, pa.timestamp("ms", "Europe/Berlin"))}, []),
        ({"timestamp": pa.array([DAY] * 3, pa.timestamp("us", "Europe/Berlin"))}, [(None, "/timestamp", "columnType")]),
        ({"timestamp": pa.array([DAY] * 3, pa.timestamp("ms"))},
         [(None, "/timestamp", "columnType"), *((row, "/timestamp", "format") for row in range(3))]),
        ({"timestamp": pa.array([1, 2, 3])}, [(row, "/timestamp", "type") for row in range(3)]),
        ({"timestamp": None}, [(row, "", "required") for row in range(3)]),
        ({"device": pa.array([{"screenWidth": 2**31}, {"screenWidth": 1}, None])}, [(0, "/device/screenWidth", "maximum")]),
        ({"device": pa.array([{"screenWidth": "1"}, None, None])}, [(0, "/device/screenWidth", "type")]),
        ({"extra": pa.array([None, None, "x"])}, [(2, "", "additionalProperties")]),
        ({"productListItems": pa.array([[{"SKU": None}], None, [None]])},
         [(None, "/productListItems/*/SKU", "columnType"), (0, "/productListItems/0", "required"), (0, "/productListItems/0", "notEmpty"), (2, "/productListItems/0", "type")]),
        ({"identityMap": pa.array([[("Email", [{"id": 5, "primary": True}])], None, None], IDENTITIES)},
         [(0, "/identityMap/Email/0/id", "type")]),
        ({"environment": pa.array([{"type": "browser"}, {"type": "x"}, None]).cast(
            pa.struct([("type", pa.dictionary(pa.int32(), pa.string()))]))}, [(1, "/environment/type", "enum")]),
    ],
)  # fmt: skip
def test_the_type_of_a_parquet_column_decides(
    columns: dict[str, Any], expected: list[Any], schema_file: Path, tmp_path: Path
) -> None:
    result = run(schema_file, parquet(tmp_path / "d.parquet", typed_table(**columns)))
    assert [(line["row"], line["pointer"], line["keyword"]) for line in lines(result)] == expected
    assert result.exit_code == bool(expected)


def test_the_size_of_an_event_counts_what_stands_in_lists_and_maps(schema_file: Path, tmp_path: Path) -> None:
    items = pa.array([[{"SKU": "x" * 11_000}], [{"SKU": "x"}], None])
    result = run(schema_file, parquet(tmp_path / "d.parquet", typed_table(productListItems=items)))
    assert [(line["row"], line["keyword"]) for line in lines(result)] == [(0, "eventSize")]


@pytest.mark.parametrize("by_type", [False, True], ids=["list", "lists by type"])
def test_a_primary_identity_that_a_descriptor_names_is_mandatory(by_type: bool, tmp_path: Path) -> None:
    text, identity = {"type": "string"}, {"type": "array", "items": {"type": "object", "properties": {
        "id": {"type": "string"}, "primary": {"type": "boolean"}}}}  # fmt: skip
    schema: dict[str, Any] = {
        "properties": {
            "_acme": {"type": "object", "properties": {"crm/Id": text, "b": text}},
            "identityMap": {"type": "object", "meta:xdmType": "map", "additionalProperties": identity},
        },
    }
    one = {"@type": "xdm:descriptorIdentity", "xdm:sourceProperty": "/_acme/crm~1Id", "xdm:isPrimary": True}
    schema["meta:descriptors"] = {one["@type"]: [one]} if by_type else [one]
    (tmp_path / "s.json").write_text(json.dumps(schema))
    rows = [{"_acme": {"crm/Id": "1"}, "identityMap": {"ECID": [{"id": "1" * 38}]}}, {"_acme": {"b": "x"}}]
    expected = [(1, "/_acme/crm~1Id", "identityPrimary")]
    assert [line[:3] for line in told(run(tmp_path / "s.json", ndjson(tmp_path / "d", rows)))] == expected
    pl.DataFrame(rows).write_parquet(tmp_path / "d.parquet")
    assert [line[:3] for line in told(run(tmp_path / "s.json", tmp_path / "d.parquet"))] == expected
