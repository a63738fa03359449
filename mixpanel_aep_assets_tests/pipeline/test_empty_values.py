"""Events whose lists hold null and empty elements: every event is live, without those elements."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from mixpanel_aep_assets.connection import Connection
from mixpanel_aep_assets.emulator import EmulatorThread
from mixpanel_aep_assets.pipeline.books import verify
from mixpanel_aep_assets.pipeline.insight import schema_growth
from mixpanel_aep_assets.pipeline.steps import extract, replay, transform
from mixpanel_aep_assets_tests.connections import DAY, event, lines, opened, provisioned, reopened, run_day, settled
from mixpanel_aep_assets_tests.outside import CASES, NO_CASES

CASE = CASES / "null-list-elements"

TAGS = [["a", None, "b"], [None], ["a", ""], [], None, ["", None], ["a", "b"], [None, "c"], "", ["x"]]
LEFT = [["a", "b"], None, ["a"], None, None, None, ["a", "b"], ["c"], None, ["x"]]
CSV = {"a,,b": ["a", "b"], ",": None, "": None, "a,b,": ["a", "b"], "x": ["x"]}


@pytest.fixture
def connection(emulator: EmulatorThread, tmp_path: Path) -> Iterator[Connection]:
    with opened(emulator, tmp_path, time_mode="utc") as connection:
        yield provisioned(connection)


def grown(connection: Connection, day: str = DAY) -> Connection:
    """The connection with the fields that the day's data propose, accepted."""
    plan = schema_growth.plan_from_data(connection, [day])
    schema_growth.apply(connection, plan, schema_growth.steps(connection, plan))
    return reopened(connection)


def column(connection: Connection, field: str, day: str = DAY) -> list[Any]:
    """A grown column of the day's XDM files, in the order of the events."""
    frame = pl.read_parquet(connection.day(transform.TABLE, day).locations()).sort("timestamp")
    custom = pl.col(f"_{connection.tenant}").struct.field("mixpanel").struct.field("custom")
    return frame.select(custom.struct.field(field)).to_series().to_list()


def own_set(folder: Path, *mappings: tuple[str, str, str]) -> str:
    file = folder / "mapping.json"
    rows = [{"source": source, "sourceType": kind, "destination": to} for source, kind, to in mappings]
    file.write_text(json.dumps({"mappings": rows}))
    return str(file)


def test_a_plan_that_we_proposed_sets_no_event_aside(emulator: EmulatorThread, connection: Connection) -> None:
    emulator.control.seed_day(DAY, lines([event(number, tags=tags) for number, tags in enumerate(TAGS)]))
    extract.extract_day(connection, DAY)
    connection = grown(connection)
    manifest = run_day(connection)
    settled(connection)
    assert manifest.rows == len(TAGS)
    assert column(connection, "tags") == LEFT
    assert verify.conforms_to_xdm(connection, DAY).passed
    assert verify.mapping_has_no_errors(connection, DAY).passed
    assert emulator.control.books(connection.dataset)["live"]["rows"] == len(TAGS)


def test_empty_parts_of_an_exploded_text_are_left_out(
    emulator: EmulatorThread, connection: Connection, tmp_path: Path
) -> None:
    emulator.control.seed_day(DAY, lines([event(0, tags=["a"])]))
    extract.extract_day(connection, DAY)
    connection = grown(connection)
    to = f"_{connection.tenant}.mixpanel.custom.tags"
    mapping = own_set(tmp_path, ('explode(properties.csv, ",")', "EXPRESSION", to))
    emulator.control.seed_day(DAY, lines([event(number, csv=csv) for number, csv in enumerate(CSV)]))
    with opened(emulator, tmp_path, time_mode="utc", mapping=mapping) as own:
        assert run_day(own).rows == len(CSV)
        assert column(own, "tags") == list(CSV.values())


def test_a_list_of_objects_that_is_passed_whole_loses_its_empty_objects(
    emulator: EmulatorThread, connection: Connection, tmp_path: Path
) -> None:
    carts = [
        [{"SKU": "1", "quantity": None}, None],
        [None, {"SKU": ""}],
        [{"SKU": "2", "name": "", "quantity": 1}, {}],
    ]
    left = [[{"SKU": "1"}], None, [{"SKU": "2", "quantity": 1}]]
    emulator.control.seed_day(DAY, lines([event(number, cart=cart) for number, cart in enumerate(carts)]))
    mapping = own_set(tmp_path, ("properties.cart", "ATTRIBUTE", "productListItems"))
    with opened(emulator, tmp_path, time_mode="utc", mapping=mapping) as own:
        assert run_day(own).rows == len(carts)
        frame = pl.read_parquet(own.day(transform.TABLE, DAY).locations()).sort("timestamp")
        assert [transform.without_nulls(items) for items in frame["productListItems"].to_list()] == left


def test_a_replay_leaves_them_out_as_the_day_does(
    emulator: EmulatorThread, connection: Connection, tmp_path: Path
) -> None:
    rows = [event(0), event(1, **{"$current_url": "no url", "cart": [{"SKU": "1"}, None, {"SKU": ""}]})]
    emulator.control.seed_day(DAY, lines(rows))
    broken = ("properties.$current_url", "ATTRIBUTE", "implementationDetails.name")
    cart = ("properties.cart", "ATTRIBUTE", "productListItems")
    with opened(emulator, tmp_path, time_mode="utc", mapping=own_set(tmp_path, broken, cart)) as own:
        assert run_day(own).rows == 1
        settled(own)
    with opened(emulator, tmp_path, time_mode="utc", mapping=own_set(tmp_path, cart)) as own:
        manifest = replay.replay_day(own, DAY)
        assert (manifest.rows, manifest.remaining) == (1, 0)
        (file,) = own.day(replay.TABLE, DAY).locations(manifest)
        (items,) = pl.read_parquet(file)["productListItems"].to_list()
        assert transform.without_nulls(items) == [{"SKU": "1"}]


@pytest.mark.skipif(not CASE.is_dir(), reason=NO_CASES)
def test_the_shared_case_uploads_every_event(emulator: EmulatorThread, connection: Connection, tmp_path: Path) -> None:
    for day in ("2025-01-10", "2025-01-11"):
        emulator.control.seed_day(day, (CASE / f"{day}.ndjson").read_bytes())
    assert run_day(connection, "2025-01-10").rows == 40
    connection = grown(connection, "2025-01-10")
    assert run_day(connection, "2025-01-10").rows == 40
    exploded = (CASE / "explode.json").read_text().replace("_oracletenant", f"_{connection.tenant}")
    (tmp_path / "explode.json").write_text(exploded)
    with opened(emulator, tmp_path, time_mode="utc", mapping=str(tmp_path / "explode.json")) as own:
        sent = run_day(own, "2025-01-11").rows
        assert sent == len((CASE / "2025-01-11.ndjson").read_text().splitlines())
        assert column(own, "tags", "2025-01-11")[:2] == [["a", "b"], ["a", "b"]]
