"""Files parsed for real: types, rows, thresholds, diagnostics (platform.md#diagnostics and platform.md#parquet-types)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from mixpanel_aep_assets.emulator.platform.ingest import Ingest, Limits
from mixpanel_aep_assets.emulator.platform.tree import Node
from mixpanel_aep_assets_tests.emulator.conftest import MS_UTC, Platform, events, parquet

ITEM = pa.struct([("id", pa.string()), ("authenticatedState", pa.string()), ("primary", pa.bool_())])
IDENTITY_MAP = pa.map_(pa.string(), pa.list_(ITEM))


def column(values: list[Any], type_: Any = None) -> Any:
    return pa.array(values, type_)


def test_a_conforming_file_is_ingested_with_metrics(platform: Platform) -> None:
    identity = column([[("ECID", [{"id": "1", "authenticatedState": "ambiguous", "primary": True}])]], IDENTITY_MAP)
    place = column([{"geo": {"_schema": {"latitude": 1.5}, "countryCode": "DE"}}])
    item = [{"SKU": "a", "quantity": 2}]
    items = column([item], pa.list_(pa.struct([("SKU", pa.string()), ("quantity", pa.int32())])))
    tenant = column([{"mixpanel": {"insertId": "i"}}])
    table = events(1, identityMap=identity, placeContext=place, productListItems=items, _demotenant=tenant)
    found = platform.ingest(parquet(table), parquet(events(2)))
    assert (found["status"], found["errors"]) == ("success", [])
    assert found["metrics"] | {"inputByteSize": 0, "outputByteSize": 0} == {
        "inputByteSize": 0, "outputByteSize": 0, "inputFileCount": 2, "outputFileCount": 1, "inputRecordCount": 3,
        "outputRecordCount": 3, "failedRecordCount": 0,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("columns", "code", "text"),
    [
        ({"foo": [1]}, "200", "foo does not exist"),
        ({"web": [{"webPageDetails": {"nope": "x"}}]}, "200", "web.webPageDetails.nope"),
        ({"eventType": [True]}, "TypeCompatibilityException", "boolean"),
        ({"eventType": [["a"]]}, "TypeCompatibilityException", "array"),
        ({"device": ["phone"]}, "TypeCompatibilityException", "device"),
        ({"timestamp": column([1], pa.timestamp("us", tz="UTC"))}, "TypeCompatibilityException", "timestamp[us"),
        ({"timestamp": column([1], pa.timestamp("ms"))}, "TypeCompatibilityException", "timestamp[ms]"),
        ({"timestamp": column([1], pa.int32())}, "TypeCompatibilityException", "int"),
        ({"identityMap": [{"ECID": "x"}]}, "TypeCompatibilityException", "identityMap"),
        ({"eventType": column([b"x"], pa.binary())}, "TypeCompatibilityException", "binary"),
    ],
)
def test_a_column_that_cannot_fit_fails_the_batch(platform: Platform, columns: Any, code: str, text: str) -> None:
    columns = {name: column(value) if isinstance(value, list) else value for name, value in columns.items()}
    found = platform.ingest(parquet(events(1, **columns)), partialIngestionPercent=100)
    assert found["status"] == "failed"
    assert (found["errors"][0]["code"], text in found["errors"][0]["description"]) == (code, True)
    assert "metrics" not in found


@pytest.mark.parametrize(
    ("columns", "code", "path"),
    [
        ({"_id": column([None], pa.string())}, "1555", "_id"),
        ({"timestamp": column([None], MS_UTC)}, "1555", "timestamp"),
        ({"timestamp": None}, "1555", "timestamp"),
        ({"dataSource": column([{"code": "mixpanel"}])}, "1555", "dataSource._id"),
        ({"_id": ["42:abc"]}, "1556", "_id"),
        ({"_id": ["a b"]}, "1556", "_id"),
        ({"placeContext": [{"geo": {"_schema": {"latitude": 91.0}}}]}, "1556", "placeContext.geo._schema.latitude"),
        ({"placeContext": [{"geo": {"countryCode": "USA"}}]}, "1556", "placeContext.geo.countryCode"),
        ({"environment": [{"type": "desktop"}]}, "1556", "environment.type"),
        ({"environment": [{"ipV4": "999.1.1.1"}]}, "1556", "environment.ipV4"),
        ({"device": [{"screenWidth": 2**31}]}, "1556", "device.screenWidth"),
        ({"device": [{"screenWidth": "wide"}]}, "1404", "device.screenWidth"),
        ({"device": [{"screenWidth": 1.5}]}, "1404", "device.screenWidth"),
        ({"timestamp": ["2026-01-10"]}, "1404", "timestamp"),
        ({"implementationDetails": [{"name": "web"}]}, "1556", "implementationDetails.name"),
        ({"commerce": [{"order": {"priceTotal": float("nan")}}]}, "1404", "commerce.order.priceTotal"),
    ],
)
def test_a_bad_value_is_a_row_error_of_its_column(platform: Platform, columns: Any, code: str, path: str) -> None:
    columns = {name: column(value) if isinstance(value, list) else value for name, value in columns.items()}
    found = platform.ingest(parquet(events(1, **columns)), enableErrorDiagnostics=True, partialIngestionPercent=100)
    rows = failed_rows(platform, found["id"])
    assert (found["status"], found["metrics"]["failedRecordCount"]) == ("success", 1)
    assert [(error["code"], error["column"]) for error in rows[0]["_errors"]] == [(code, path)]


@pytest.mark.parametrize(
    "columns",
    [
        {"eventType": ["anything goes"]},
        {"_id": ["user:1"]},
        {"eventType": column([7])},
        {"device": [{"screenWidth": "390"}]},
        {"device": [{"screenWidth": 390.0}]},
        {"timestamp": column([1768024800000])},
        {"timestamp": ["2026-01-10T06:00:00+01:00"]},
        {"timestamp": column([4102444800000], MS_UTC)},
        {"productListItems": [[{"name": "an item without SKU: nothing inside an array is looked at"}]]},
        {"environment": column([None], pa.struct([("type", pa.string())]))},
        {"eventType": column([None], pa.null())},
        {"eventType": column(["a"]).dictionary_encode()},
    ],
)
def test_what_converts_or_is_not_constrained_passes(platform: Platform, columns: Any) -> None:
    columns = {name: column(value) if isinstance(value, list) else value for name, value in columns.items()}
    assert platform.ingest(parquet(events(1, **columns)))["status"] == "success"


def failed_rows(platform: Platform, batch: str) -> list[dict[str, Any]]:
    answer = platform.http.get(f"/data/foundation/export/batches/{batch}/failed", params={"path": "part-00000.json"})
    return [json.loads(line) for line in answer.content.splitlines()]


@pytest.mark.parametrize(("percent", "status"), [(None, "failed"), (49, "failed"), (50, "success"), (100, "success")])
def test_the_threshold_is_inclusive(platform: Platform, percent: float | None, status: str) -> None:
    table = events(4, _id=column(["a", "b", "c c", "d d"]))
    body = {} if percent is None else {"partialIngestionPercent": percent}
    found = platform.ingest(parquet(table), **body)
    assert found["status"] == status
    assert found["errors"][0]["code"] == "INGEST-1211-400"
    assert platform.control.books()["live"]["rows"] == (2 if status == "success" else 0)


def test_diagnostics_name_rows_and_columns_only_when_asked_for(platform: Platform) -> None:
    content = parquet(events(3, _id=column(["good", "b b", None])))
    silent = platform.ingest(content, partialIngestionPercent=99)
    assert failed_listing(platform, silent["id"]) == []
    found = platform.ingest(content, partialIngestionPercent=99, enableErrorDiagnostics=True)
    assert [error["code"] for error in found["errors"]] == ["INGEST-1212-400", "INGEST-1555-400", "INGEST-1556-400"]
    assert [error.get("recordCount") for error in found["errors"]] == [None, 1, 1]
    assert failed_listing(platform, found["id"]) == ["_SUCCESS", "part-00000.json"]
    meta = f"/data/foundation/export/batches/{found['id']}/meta"
    listing = platform.http.get(meta, params={"path": "row_errors"}).json()["data"]
    content = platform.http.get(listing[0]["_links"]["self"]["href"]).content
    rows = [json.loads(line) for line in content.splitlines()]
    assert [row["_filename"] for row in rows] == ["part-0", "part-0"]
    assert platform.http.get(meta, params={"path": "row_errors_sample.json"}).status_code == 200
    assert platform.http.get(meta, params={"path": "input_files/input_files_0.json"}).json() == {"path": "part-0"}
    assert platform.http.get(meta, params={"path": "../../../x"}).status_code in (400, 404)


def test_a_row_that_breaks_two_rules_of_one_class_counts_once(platform: Platform) -> None:
    table = events(1, _id=column(["a b"]), environment=column([{"type": "desktop", "ipV4": "x"}]))
    found = platform.ingest(parquet(table), partialIngestionPercent=100, enableErrorDiagnostics=True)
    assert found["errors"][1]["recordCount"] == found["metrics"]["failedRecordCount"] == 1
    assert len(failed_rows(platform, found["id"])[0]["_errors"]) == 3


def failed_listing(platform: Platform, batch: str) -> list[str]:
    return [one["name"] for one in platform.http.get(f"/data/foundation/export/batches/{batch}/failed").json()["data"]]


def test_an_empty_batch_and_an_empty_file_are_code_106(platform: Platform) -> None:
    for contents in ((), (b"",), (parquet(events(0)),)):
        assert platform.ingest(*contents)["errors"][0]["code"] == "106"


def test_a_file_that_is_no_parquet_is_code_200(platform: Platform) -> None:
    for content in (b"a,b\n1,2\n", parquet(events())[:-2] + b"xx", b"PAR1 nonsense PAR1"):
        assert platform.ingest(content)["errors"][0]["code"] == "200"


def test_a_batch_with_more_files_than_the_guardrail_fails(tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(b"x")
    ingest = Ingest(
        [("f", tmp_path / "f")] * 3, tmp_path, Node("object"), {"format": "parquet"}, False, None, Limits(2, 99)
    )
    assert ingest.run()["errors"][0]["description"] == (
        "Batch ingestion guardrails hit: 3 files (over the 2 threshold); 3 bytes (over the 99 threshold)"
    )


def test_json_lines_are_checked_record_by_record(platform: Platform) -> None:
    lines = [
        {"_id": "a", "timestamp": "2026-01-10T06:00:00Z", "device": {"screenWidth": "390"}},
        {"_id": "b", "timestamp": 1768024800000},
        {"_id": "c"},
        {"_id": "d", "timestamp": "2026-01-10"},
        {"_id": "e", "timestamp": "2026-01-10T06:00:00Z", "nope": 1},
        {"_id": "f", "timestamp": "2026-01-10T06:00:00Z", "placeContext": {"geo": {"countryCode": "US\n"}}},
    ]
    body = b"\n".join(json.dumps(line).encode() for line in lines) + b"\n{broken\n"
    found = platform.ingest(
        body, inputFormat={"format": "JSON"}, partialIngestionPercent=99, enableErrorDiagnostics=True
    )
    assert (found["metrics"]["inputRecordCount"], found["metrics"]["failedRecordCount"]) == (7, 5)
    codes = [row["_errors"][0]["code"] for row in failed_rows(platform, found["id"])]
    assert codes == ["1555", "1404", "1557", "1556", "1401"]


def test_a_json_array_needs_the_multi_line_flag(platform: Platform) -> None:
    body = json.dumps([{"_id": "a", "timestamp": "2026-01-10T06:00:00Z"}]).encode()
    assert platform.ingest(body, inputFormat={"format": "json"})["status"] == "failed"
    assert platform.ingest(body, inputFormat={"format": "json", "isMultiLineJson": True})["status"] == "success"


def test_unknown_json_fields_can_be_dropped_and_the_future_refused(platform: Platform) -> None:
    platform.control.settings(unknown_json_field="drop", future_timestamp="error")
    record = {"_id": "a", "timestamp": "2026-01-10T06:00:00Z", "nope": 1}
    assert platform.ingest(json.dumps(record).encode(), inputFormat={"format": "json"})["status"] == "success"
    future = column([4102444800000] * 3, MS_UTC)
    assert platform.ingest(parquet(events(3, timestamp=future)))["status"] == "failed"


def test_the_books_count_ids_days_and_the_profile_view(platform: Platform) -> None:
    big = column([{"mixpanel": {"insertId": "x" * 11_000}}])
    platform.ingest(parquet(events(2, _id=column(["a", "b"]))))
    platform.ingest(parquet(events(2, _id=column(["b", "c"]), timestamp=column([0, 86_400_000], MS_UTC))))
    platform.ingest(parquet(events(1, _id=column(["d"]), _demotenant=big)))
    books = platform.control.books(platform.dataset, ids=True)
    assert books["live"] == {
        "rows": 5, "distinct_ids": 4, "duplicates": 1, "repeated": {"b": 2},
        "by_day": {"1970-01-01": 1, "1970-01-02": 1, "2026-01-10": 3},
    }  # fmt: skip
    assert books["ids"] == {"a": 1, "b": 2, "c": 1, "d": 1}
    assert books["profile"] == {"events": 3, "dropped_too_large": 1, "dropped_repeated": 1}
    assert [batch["live_rows"] for batch in books["batches"]] == [2, 2, 1]


def test_a_big_list_makes_its_own_row_big_and_no_other(platform: Platform) -> None:
    items = [[{"SKU": "s" * 100}] * 120, [{"SKU": "s"}]]
    platform.ingest(parquet(events(2, productListItems=column(items))))
    assert platform.control.books()["profile"]["dropped_too_large"] == 1


def test_an_ingested_file_can_be_read_back_in_ranges(platform: Platform) -> None:
    content = parquet(events())
    batch = platform.ingest(content)["id"]
    file = platform.http.get(f"/data/foundation/export/batches/{batch}/files").json()["data"][0]["dataSetFileId"]
    assert platform.http.get(f"/data/foundation/export/files/{file}").json()["data"][0]["length"] == str(len(content))
    answer = platform.http.get(
        f"/data/foundation/export/files/{file}", params={"path": "part-0"}, headers={"Range": "bytes=0-3"}
    )
    assert (answer.status_code, answer.content) == (206, b"PAR1")
