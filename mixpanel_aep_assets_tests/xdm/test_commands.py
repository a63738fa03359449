"""`conformance --schema FILE DATA` as a script sees it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from click.testing import CliRunner, Result

from mixpanel_aep_assets.xdm.commands import conformance
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
    assert [(line["row"], line["keyword"]) for line in lines(result)] == [(1, "json"), (2, "json")]
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


@pytest.mark.parametrize("text", ["{}", "not json", "[]", '{"title": "x"}'])
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
    monkeypatch.setattr("mixpanel_aep_assets.xdm.commands._BATCH_ROWS", 2)
    pl.DataFrame(bad_events()).write_parquet(tmp_path / "d.parquet")
    assert told(run(schema_file, tmp_path / "d.parquet")) == EXPECTED
