"""The mappings of grown fields, run by the engine that runs every mapping set."""

from __future__ import annotations

import json
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mixpanel_aep_assets.dataprep.columnar.compiled_mapping import MappedFrame, compile_mapping
from mixpanel_aep_assets.dataprep.language.mapping_set import MappingSet
from mixpanel_aep_assets.growth.mappings import mappings, strict
from mixpanel_aep_assets.growth.schema_plan import PlannedField, SchemaPlan, schema_fields
from mixpanel_aep_assets.xdm.composition import registry_schema

TENANT = "t"
MIXTURE: list[Any] = [
    1, 1.5, -0.25, "7", "007", "n/a", "a\nb", True, False, [1, "x"], ["x"], {"q": {"z": 1}}, 12345678901234567890,
    1e20, "2026-01-02", "2026-01-02T03:04:05", "2026-01-02 03:04:05.250+05:30", "2026-02-30", "true", "[not a list",
]  # fmt: skip


def mapped(plan: SchemaPlan, rows: list[dict[str, Any]]) -> MappedFrame:
    home = {"type": "object", "properties": schema_fields(plan)}
    for part in ("custom", "mixpanel", f"_{TENANT}"):
        home = {"type": "object", "properties": {part: home}}
    schema = registry_schema({"$id": "https://ns.adobe.com/t/schemas/x", "title": "x", **home})
    compiled = compile_mapping(MappingSet.from_json({"mappings": mappings(plan, TENANT)}), schema)
    assert compiled.fallbacks == ()
    texts = [json.dumps(row, ensure_ascii=False) for row in rows]
    return compiled.apply(pl.DataFrame({"event": ["e"] * len(rows), "properties": texts}))


def columns(frame: MappedFrame) -> pl.DataFrame:
    unnested = frame.frame
    for part in (f"_{TENANT}", "mixpanel", "custom"):
        unnested = unnested.unnest(part) if part in unnested.columns else unnested
    return unnested


@pytest.mark.parametrize("kind", ["double", "long", "int", "boolean", "date", "date_time"])
def test_widening_puts_every_value_into_exactly_one_of_the_two_columns(kind: Any) -> None:
    plan = SchemaPlan(fields=(PlannedField(name="p", field="p", type=kind, text_field="pText"),))
    done = mapped(plan, [{"p": value} for value in MIXTURE])
    for value, (typed, text) in zip(MIXTURE, columns(done).select("p", "pText").rows(), strict=True):
        if value == "2026-02-30" and kind in ("date", "date_time"):
            continue  # looks like a date and is none: an error of the mapping
        assert (typed is None) != (text is None), (value, typed, text)
    assert set(done.errors["row"]) <= {MIXTURE.index("2026-02-30")}


def test_what_is_empty_goes_nowhere_and_is_no_error() -> None:
    fields = [
        PlannedField(name="p", field=f"p{number}", type=kind, text_field=text and f"{text}{number}")
        for number, (kind, text) in enumerate([("double", "t"), ("double", None), ("boolean", None), ("date_time", None), ("date", None)])
    ]  # fmt: skip
    for field in fields:
        done = mapped(SchemaPlan(fields=(field,)), [{"p": ""}, {"p": None}, {}])
        assert done.errors.is_empty()
        assert set(columns(done).row(0)) <= {None, ""}


def test_a_number_keeps_its_digits_or_stays_text() -> None:
    plan = SchemaPlan(fields=(PlannedField(name="p", field="p", type="double", text_field="pText"),))
    rows = columns(
        mapped(plan, [{"p": value} for value in ("12.50", "007", 12345678901234567890, "1e5", 1700000000000001)])
    ).rows()
    assert rows == [
        (12.5, None),
        (None, "007"),
        (None, "12345678901234567890"),
        (100000.0, None),
        (1700000000000001.0, None),
    ]


def test_without_a_text_column_what_does_not_fit_is_a_mapping_error_with_the_value() -> None:
    plan = SchemaPlan(
        fields=(PlannedField(name="p", field="p", type="double", on_conflict="quarantine", text_field="pText"),)
    )
    done = mapped(plan, [{"p": 1}, {"p": "n/a"}])
    assert columns(done)["p"].to_list() == [1.0, None]
    (error,) = done.errors.to_dicts()
    assert (error["row"], error["destination"]) == (1, "_t.mixpanel.custom.p")
    assert "n/a" in error["exception"]
    assert strict(plan, TENANT) == {"_t.mixpanel.custom.p"}


def test_a_date_with_a_time_is_not_cut_to_a_date() -> None:
    plan = SchemaPlan(fields=(PlannedField(name="p", field="p", type="date"),))
    assert len(mapped(plan, [{"p": "2026-01-02T03:04:05"}]).errors) == 1


def test_a_text_column_takes_everything() -> None:
    plan = SchemaPlan(fields=(PlannedField(name="p", field="p", type="string"),))
    done = mapped(plan, [{"p": value} for value in MIXTURE])
    assert done.errors.is_empty()
    assert columns(done)["p"].null_count() == 0


def test_what_is_not_included_is_not_mapped() -> None:
    assert mappings(SchemaPlan(fields=(PlannedField(name="p", field="p", type="string", include=False),)), TENANT) == []


@settings(max_examples=15, deadline=None)
@given(st.lists(st.text(min_size=1, max_size=12), unique=True, min_size=1, max_size=6))
def test_a_property_of_any_name_is_found(properties: list[str]) -> None:
    fields = [PlannedField(name=name, field=f"f{number}", type="string") for number, name in enumerate(properties)]
    done = mapped(SchemaPlan(fields=tuple(fields)), [{name: f"v{number}" for number, name in enumerate(properties)}])
    assert columns(done).row(0) == tuple(f"v{number}" for number in range(len(properties)))
