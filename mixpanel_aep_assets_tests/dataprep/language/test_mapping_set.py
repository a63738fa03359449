"""Reading and writing mapping sets."""

from __future__ import annotations

from pathlib import Path

import orjson
import pytest

from mixpanel_aep_assets.dataprep.language import bounds
from mixpanel_aep_assets.dataprep.language.mapping_errors import MappingSetError
from mixpanel_aep_assets.dataprep.language.mapping_set import (
    Mapping,
    MappingSet,
    SourceType,
    load_mapping_set,
    read_mapping_set,
)

NEWER = {
    "id": "abc",
    "version": 3,
    "mappings": [
        {"sourceType": "EXPRESSION", "source": "lower(a)", "destination": "b", "name": "n", "matchScore": 1.0},
        {"sourceType": "text/plain", "source": "x", "destination": "c"},
    ],
}


def test_both_spellings_of_source_types_are_read() -> None:
    types = [
        Mapping.from_json({"sourceType": name, "source": "a", "destination": "b"}).source_type
        for name in ("text/x.schema-path", "text/x.aep-xl", "text/plain", "ATTRIBUTE", "EXPRESSION", "STATIC")
    ]
    assert types == [SourceType.ATTRIBUTE, SourceType.EXPRESSION, SourceType.STATIC] * 2


def test_the_older_names_are_read_and_mean_an_attribute() -> None:
    mapping = Mapping.from_json({"sourceAttribute": "Id", "destinationXdmPath": "_id", "identity": True})
    assert mapping == Mapping("Id", "_id", SourceType.ATTRIBUTE)
    assert mapping.extra == {"identity": True}


def test_a_service_answer_with_both_forms_keeps_its_source_type() -> None:
    mapping = Mapping.from_json(
        {
            "sourceType": "EXPRESSION",
            "source": "a",
            "sourceAttribute": "a",
            "destination": "b",
            "destinationXdmPath": "b",
        }
    )
    assert mapping == Mapping("a", "b", SourceType.EXPRESSION)


def test_a_set_is_written_in_the_newer_form_and_keeps_what_came_along() -> None:
    mapping_set = MappingSet.from_json(NEWER)
    document = mapping_set.to_json()
    assert document["id"] == "abc"
    assert document["mappings"][0]["matchScore"] == 1.0
    assert document["mappings"][1]["sourceType"] == "STATIC"
    assert MappingSet.from_json(document) == mapping_set


def test_the_schema_that_a_set_carries_is_found() -> None:
    schema = {"type": "object", "properties": {"a": {"type": "string"}}}
    mapping_set = MappingSet.from_json({"mappings": [], "outputSchema": {"jsonSchema": schema}})
    assert mapping_set.output_schema == schema


def test_csv_and_json_carry_the_same_mappings(tmp_path: Path) -> None:
    mapping_set = MappingSet.from_json(
        [
            {"sourceType": "EXPRESSION", "source": "concat(a, \",\", '\n')", "destination": "b"},
            {"source": "é", "destination": "c"},
        ]
    )
    (tmp_path / "set.csv").write_text(mapping_set.to_csv(), encoding="utf-8")
    (tmp_path / "set.json").write_bytes(orjson.dumps(mapping_set.to_json()))
    assert load_mapping_set(tmp_path / "set.csv").mappings == mapping_set.mappings
    assert load_mapping_set(tmp_path / "set.json") == mapping_set


@pytest.mark.parametrize(
    "header", ["source,destination", "Source data,Target field", "sourceAttribute,destinationXdmPath"]
)
def test_a_csv_template_may_name_its_columns_in_several_ways(header: str) -> None:
    assert read_mapping_set(f"{header}\na.b,c\n\n".encode(), ".csv").mappings == (Mapping("a.b", "c"),)


def test_a_constant_may_be_empty_in_the_csv_template() -> None:
    one = Mapping("", "c", SourceType.STATIC)
    assert read_mapping_set(MappingSet((one,)).to_csv().encode(), ".csv").mappings == (one,)


def test_yaml_is_read() -> None:
    text = b"mappings:\n  - {sourceType: STATIC, source: web, destination: channel}\n"
    assert read_mapping_set(text, ".yaml").mappings == (Mapping("web", "channel", SourceType.STATIC),)


@pytest.mark.parametrize(
    ("content", "suffix", "words"),
    [
        (b"[", ".json", "no JSON: line 1"),
        (b"3", ".json", "this is a number"),
        (b"{}", ".json", "no list named mappings"),
        (b'{"mappings": [1]}', ".json", "mapping 1 is a number"),
        (b'{"mappings": [{"source": "a", "destnation": "b"}]}', ".json", "'destnation' a slip"),
        (b'{"mappings": [{"source": "a", "destination": ["b"]}]}', ".json", "destination is a list"),
        (b'{"mappings": [{"source": "a", "destination": "b", "sourceType": "X"}]}', ".json", "'X' is unknown"),
        (b'{"mappings": [], "allowNullValues": "yes"}', ".json", "allowNullValues is a string"),
        (b"a: [", ".yaml", "no YAML"),
        (b"a: &x [1]\nb: *x\n", ".yaml", "aliases"),
        (b"", ".csv", "empty"),
        (b"a,b\n", ".csv", "no column for the source"),
        (b"source,destination\na,b,c\n", ".csv", "line 2 has 3 cells"),
        (b"\xff\xfe", ".csv", "UTF-8"),
        (b"", ".txt", ".txt"),
        (b"[" * 100_000, ".json", "no JSON"),
        (b"[" * 5_000, ".yaml", "YAML"),
    ],
)
def test_what_is_no_mapping_set_is_refused_with_the_reason(content: bytes, suffix: str, words: str) -> None:
    with pytest.raises(MappingSetError) as refusal:
        read_mapping_set(content, suffix)
    assert words in str(refusal.value) or "nested too deeply" in str(refusal.value)


def test_too_many_mappings_are_refused() -> None:
    with pytest.raises(MappingSetError, match="at most 10000"):
        MappingSet.from_json([{"source": "a", "destination": "b"}] * 10_001)


def test_an_unreadable_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(MappingSetError, match=r"none\.json cannot be read"):
        load_mapping_set(tmp_path / "none.json")


def test_a_set_whose_reading_would_take_minutes_is_refused() -> None:
    rows = [{"sourceType": "EXPRESSION", "source": "a" * 4000, "destination": f"b{n}"} for n in range(251)]
    with pytest.raises(MappingSetError, match="characters together"):
        MappingSet.from_json(rows)
    with pytest.raises(MappingSetError, match="use JSON"):
        read_mapping_set(b"#" * (bounds.YAML_BYTES + 1), ".yaml")
