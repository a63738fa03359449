"""The command group `mapping`, as a shell sees it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from mixpanel_aep_assets.cli.mapping_commands import mapping_group

SET = {
    "mappings": [
        {"sourceType": "EXPRESSION", "source": "upper(data.event_name)", "destination": "eventType"},
        {"sourceType": "ATTRIBUTE", "source": "data.n", "destination": "_t.n", "identity": True},
    ],
    "outputSchema": {
        "jsonSchema": {
            "type": "object",
            "required": ["eventType", "_id"],
            "properties": {
                "_id": {"type": "string"},
                "eventType": {"type": "string"},
                "_t": {"type": "object", "properties": {"n": {"type": "integer"}, "m": {"type": "string"}}},
            },
        }
    },
}


def run(*arguments: str, stdin: str | None = None) -> Result:
    return CliRunner().invoke(mapping_group(), list(arguments), input=stdin)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "set.json"
    path.write_text(json.dumps(SET))
    return path


@pytest.fixture
def bad(tmp_path: Path) -> Path:
    path = tmp_path / "bad.json"
    path.write_text(json.dumps([{"sourceType": "EXPRESSION", "source": "uper(a)", "destination": "b"}]))
    return path


def test_validate_accepts_a_good_set(file: Path) -> None:
    result = run("validate", str(file))
    assert (result.exit_code, result.stdout) == (0, "2 mappings, 0 refused\n")


def test_validate_names_the_place_and_exits_with_1(bad: Path) -> None:
    result = run("validate", str(bad))
    assert result.exit_code == 1
    assert "mapping 1 (b), source, line 1, column 1: there is no function uper (did you mean upper?)" in result.stdout


def test_validate_prints_json_for_programs(bad: Path) -> None:
    result = run("validate", str(bad), "--json")
    assert result.exit_code == 1
    assert json.loads(result.stdout)[0]["status"] == "FAILED"


def test_validate_names_what_runs_in_python_and_why(tmp_path: Path) -> None:
    sources = ["lower(a)", "contains_key('a')", "array_to_string(',', a)", "ua_os_name(b)", "now()"]
    rows = [{"sourceType": "EXPRESSION", "source": one, "destination": f"d{n}"} for n, one in enumerate(sources)]
    (tmp_path / "x.json").write_text(json.dumps(rows))
    result = run("validate", str(tmp_path / "x.json"))
    assert result.exit_code == 0
    assert [line.split(": ", 1)[1] for line in result.stdout.splitlines()[:-1]] == [
        "mapping 2 (d1), in plain Python: contains_key needs the whole record",
        "mapping 3 (d2), in plain Python for arrays and objects: array_to_string reads arrays and objects row by row",
        "mapping 4 (d3), in part in Python, once per distinct value: ua_os_name has no column form",
    ]
    assert result.stdout.splitlines()[-1] == "5 mappings, 0 refused, 3 wholly or in part in plain Python"
    entries = json.loads(run("validate", str(tmp_path / "x.json"), "--json").stdout)
    assert entries[0] == {"status": "SUCCESS", "errors": None}
    assert entries[1]["fallbacks"] == [{"extent": "mapping", "reason": "contains_key needs the whole record"}]


def test_a_file_that_is_no_mapping_set_is_refused_without_a_traceback(tmp_path: Path) -> None:
    (tmp_path / "x.json").write_text("{")
    result = run("validate", str(tmp_path / "x.json"))
    assert result.exit_code == 1
    assert "no JSON" in result.stderr


def test_preview_prints_one_object_per_record(file: Path) -> None:
    records = '{"data": {"event_name": "a", "n": "5"}}\n\n{"data": {"event_name": "b", "n": "x"}}\n'
    result = run("preview", str(file), "--input", "-", stdin=records)
    first, second = map(json.loads, result.stdout.splitlines())
    assert result.exit_code == 0
    assert first["data"] == {"eventType": "A", "_t": {"n": 5}}
    assert second["data"] == {"eventType": "B"}
    assert second["errors"][0]["destination"] == "_t.n"


def test_preview_reports_a_line_that_is_no_record_and_goes_on(file: Path) -> None:
    result = run("preview", str(file), "--input", "-", stdin='nonsense\n{"data": {"event_name": "a"}}\n')
    first, second = map(json.loads, result.stdout.splitlines())
    assert result.exit_code == 1
    assert first["data"] is None
    assert "line 1: no JSON" in first["errors"][0]["exception"]
    assert second["data"] == {"eventType": "A"}


def test_preview_of_a_refused_set_exits_with_1(bad: Path) -> None:
    result = run("preview", str(bad), "--input", "-", stdin="{}\n")
    assert (result.exit_code, result.stdout) == (1, "")
    assert "uper" in result.stderr


@pytest.mark.parametrize(
    ("expression", "record", "output"),
    [
        ("concat(a, 'é')", '{"a": 1}', '"1é"'),
        ("-12", "{}", "-12"),
        ("nullify()", "{}", "null"),
        ("date('2020-01-01')", "{}", '"2020-01-01T00:00:00Z"'),
        ("99999999999 * 99999999999", "{}", "9999999999800000000001"),
    ],
)
def test_eval_prints_the_value_as_json(expression: str, record: str, output: str) -> None:
    result = run("eval", expression, "--input", record)
    assert (result.exit_code, result.stdout) == (0, output + "\n")


def test_eval_prints_an_error_object_and_exits_with_1() -> None:
    refused = run("eval", "uper(a)", "--input", "{}")
    failed = run("eval", "1 / 0")
    assert refused.exit_code == failed.exit_code == 1
    assert json.loads(refused.stdout)["error"] == {
        "message": "there is no function uper",
        "line": 1,
        "column": 1,
        "suggestion": "did you mean upper?",
    }
    assert json.loads(failed.stdout) == {"error": {"message": "division by zero"}}


def test_eval_of_a_batch_prints_one_line_per_element(tmp_path: Path) -> None:
    batch = [
        {"id": "one", "expression": "a + 1", "input": {"a": 1}},
        {"id": "two", "expression": "a +"},
        {"id": 3, "expression": "1 / 0", "input": None},
        {"id": 4, "expression": "1", "input": [1]},
        {"id": 5},
    ]
    (tmp_path / "batch.json").write_text(json.dumps(batch))
    result = run("eval", "--batch", str(tmp_path / "batch.json"))
    lines = [json.loads(line) for line in result.stdout.splitlines()]
    assert result.exit_code == 0
    assert lines[0] == {"id": "one", "value": 2}
    assert [line["id"] for line in lines] == ["one", "two", 3, 4, 5]
    assert all("error" in line for line in lines[1:])


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ('{"a": 123456789012345678901234567890}', 123456789012345678901234567890),
        ('{"a": 1' + "0" * 400 + "}", 10**400),
        ('{"a": "\\ud83d"}', "\ufffd"),
        ('{"a": 1, "a": 2}', 2),
    ],
)
def test_eval_reads_its_input_as_the_pipeline_reads_events(text: str, value: Any) -> None:
    assert json.loads(run("eval", "a", "--input", text).stdout) == value


@pytest.mark.parametrize("text", ["nonsense", "[1]", '{"a": NaN}', '{"a": 1e400}', '{"a": ' + "[" * 9000, "", "5"])
def test_eval_of_an_unreadable_input_prints_an_error_object(text: str) -> None:
    result = run("eval", "a", "--input", "-", stdin=text)
    assert result.exit_code == 1
    assert json.loads(result.stdout)["error"]["message"]


@pytest.mark.parametrize("arguments", [[], ["1", "--batch", __file__], ["--batch", __file__, "--input", "{}"]])
def test_eval_wants_either_an_expression_or_a_batch(arguments: list[str]) -> None:
    assert run("eval", *arguments).exit_code == 2


def test_import_converts_between_templates(file: Path, tmp_path: Path) -> None:
    assert run("import", str(file), str(tmp_path / "out.csv")).exit_code == 0
    assert (tmp_path / "out.csv").read_text().startswith("sourceType,source,destination")
    assert run("import", str(tmp_path / "out.csv"), str(tmp_path / "again.yaml")).exit_code == 0
    assert run("validate", str(tmp_path / "again.yaml")).exit_code == 0


def test_import_prints_json_where_no_file_is_named(file: Path) -> None:
    assert json.loads(run("import", str(file)).stdout)["mappings"][0]["destination"] == "eventType"


def test_export_without_a_file_is_the_standard_mapping(tmp_path: Path) -> None:
    (tmp_path / "standard.json").write_text(run("export").stdout)
    assert "{TENANT_ID}" in (tmp_path / "standard.json").read_text()
    assert run("validate", str(tmp_path / "standard.json")).exit_code == 0


def test_what_the_csv_template_cannot_hold_is_told(file: Path) -> None:
    assert "left out: outputSchema" in run("export", str(file), "--format", "csv").stderr


def test_import_never_overwrites_unasked(file: Path, tmp_path: Path) -> None:
    refused = run("import", str(file), str(file))
    assert refused.exit_code == 1
    assert "--force" in refused.stderr
    assert run("import", str(file), str(file), "--force").exit_code == 0


def test_import_of_what_is_no_file_is_refused(tmp_path: Path) -> None:
    result = run("import", "3f2a", str(tmp_path / "other.json"))
    assert (result.exit_code, list(tmp_path.iterdir())) == (1, [])
    assert "there is no file 3f2a" in result.stderr


def test_export_prints_each_format(file: Path) -> None:
    assert json.loads(run("export", str(file)).stdout)["mappings"][1]["identity"] is True
    assert run("export", str(file), "--format", "csv").stdout.count("\n") == 3
    assert "destination: eventType" in run("export", str(file), "--format", "yaml").stdout


def test_coverage_tells_what_is_mapped_and_what_is_not(file: Path) -> None:
    result = run("coverage", str(file), "--input", "-", stdin='{"data": {"event_name": "a", "city": "x"}}\n')
    assert json.loads(result.stdout) == {
        "mapped": ["_t.n", "eventType"],
        "required": ["_id", "eventType"],
        "missing": ["_id"],
        "identity": ["_t.n"],
        "refused": [],
        "unmapped": ["_id", "_t.m"],
        "unmappedSources": ["data.city"],
    }


def test_coverage_counts_elements_of_arrays_and_what_a_mapped_object_requires(tmp_path: Path) -> None:
    item = {
        "type": "object",
        "required": ["sku"],
        "properties": {"sku": {"type": "string"}, "name": {"type": "string"}},
    }
    schema = {
        "type": "object",
        "properties": {"items": {"type": "array", "items": item}, "identityMap": {"type": "object"}},
    }
    (tmp_path / "set.json").write_text(
        json.dumps(
            {
                "mappings": [
                    {"source": "cart[*].n", "destination": "items[*].name"},
                    {"source": "ids", "destination": "identityMap"},
                ],
                "outputSchema": {"jsonSchema": schema},
            }
        )
    )
    record = '{"cart": [{"n": "a"}, {"n": "b", "q": 1}], "ids": {}}\n'
    found = json.loads(run("coverage", str(tmp_path / "set.json"), "--input", "-", stdin=record).stdout)
    assert found["missing"] == ["items.sku"]
    assert found["identity"] == ["identityMap"]
    assert found["unmappedSources"] == ["cart.q"]


def test_functions_lists_every_form_and_why_one_is_refused() -> None:
    lines = run("functions").stdout.splitlines()
    assert any(line.startswith("substr(string, integer, integer) ") for line in lines)
    assert any(line.startswith("fpid_to_ecid(string)") and "refused: Adobe does not publish" in line for line in lines)
    assert any(line.startswith("string.equalsIgnoreCase(value)") for line in lines)


SCHEMA = {
    "$id": "https://ns.adobe.com/acme/schemas/1",
    "title": "Events",
    "type": "object",
    "properties": {
        "_id": {"type": "string", "meta:xdmType": "string"},
        "_acme": {
            "type": "object",
            "meta:xdmType": "object",
            "properties": {"signupSource": {"type": "string", "meta:xdmType": "string"}},
        },
    },
}


def test_suggest_prints_a_mapping_set_that_validates_and_a_table(tmp_path: Path) -> None:
    (tmp_path / "schema.json").write_text(json.dumps(SCHEMA))
    events = '{"event": "e", "properties": {"signup_source": "ad", "rest": 1}}\nnonsense\n'
    result = run("suggest", "--input", "-", "--schema", str(tmp_path / "schema.json"), stdin=events)
    assert result.exit_code == 0
    (tmp_path / "set.json").write_text(result.stdout)
    assert run("validate", str(tmp_path / "set.json")).exit_code == 0
    found = {one["destination"]: one["source"] for one in json.loads(result.stdout)["mappings"]}
    assert found["_acme.signupSource"] == "properties.signup_source"
    assert "line 2 is left out" in result.stderr
    assert "Without a field that suits: properties.rest" in result.stderr


def test_suggest_without_a_connection_wants_both_files(tmp_path: Path) -> None:
    assert run("suggest", "--input", "-", stdin="{}").exit_code == 2
    (tmp_path / "bad.json").write_text("[]")
    assert run("suggest", "--input", "-", "--schema", str(tmp_path / "bad.json"), stdin="{}").exit_code == 1


def test_importing_the_commands_loads_no_engine() -> None:
    heavy = "lark, polars, ua_parser, re2, yaml, pydantic, httpx, dagster"
    code = "import sys, mixpanel_aep_assets.cli.mapping\n"
    code += f"print([m for m in '{heavy}'.split(', ') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
