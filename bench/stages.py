#!/usr/bin/env python3
"""One stage of a day in a process of its own, on what the stages before left: bench/stages.py STAGE --base-url … --out DIR

`provision` makes the dataset; `transform`, `conformance` (the check that reads the files back) and `upload` are those of
a run; `whole` is the whole way with its checks, without Dagster. `oracle` and `mapping` hold the compiled conformance
check and the compiled standard mapping beside the same work done row by row. The last line is JSON with "records" and
"seconds".
"""

from __future__ import annotations

import itertools
import json
import time
from collections.abc import Callable, Iterator
from typing import Any

import polars as pl
import pyarrow.parquet as pq
from connection import arguments, opened

from mixpanel_aep_assets.aep import provision
from mixpanel_aep_assets.connection import Connection
from mixpanel_aep_assets.pipeline.books import verify
from mixpanel_aep_assets.pipeline.steps import extract, load, transform

A_MILLION = 1_000_000
"""Rows that the compiled conformance check gets, the day's again and again where it has fewer."""

SAMPLE = 2_000
"""Rows that the row-by-row evaluations get; their time for the whole day is extrapolated."""

CHECKS = (
    verify.body_is_whole, verify.time_mode_is_sure, verify.conforms_to_xdm, verify.mapping_has_no_errors,
    verify.counts_add_up, verify.within_guardrails, verify.ingested_by_aep, verify.reconciles_with_mixpanel,
)  # fmt: skip

Report = dict[str, Any]


def provisioned(connection: Connection, _: str) -> Report:
    provision.apply(connection.platform, provision.plan(connection.platform, connection.wanted()))
    return {"records": 0}


def transformed(connection: Connection, day: str) -> Report:
    manifest = transform.transform_day(connection, day)
    return {"records": manifest.rows + manifest.duplicates + manifest.quarantined}


def checked(connection: Connection, day: str) -> Report:
    manifest = transform.stored(connection, day)
    assert manifest is not None
    left = transform.violations_left(connection, day)
    return {"records": manifest.rows, "violations": left}


def uploaded(connection: Connection, day: str) -> Report:
    manifest = load.load_day(connection, day)
    return {"records": manifest.rows, "bytes": manifest.bytes}


def whole(connection: Connection, day: str) -> Report:
    extract.extract_day(connection, day)
    transform.transform_day(connection, day)
    manifest = load.load_day(connection, day)
    red = [check.__name__ for check in CHECKS if not check(connection, day).passed]
    return {"records": manifest.rows, "red": red}


def oracle(connection: Connection, day: str) -> Report:
    """The compiled check over a million rows, and jsonschema-rs over a sample that is Python objects already."""
    import jsonschema_rs

    from mixpanel_aep_assets.xdm.json_schema import closed_json_schema

    rows = bad = 0
    compiled = 0.0
    sample: list[Any] = []
    again = itertools.chain.from_iterable(row_groups(connection, transform.TABLE, day) for _ in itertools.count())
    while rows < A_MILLION:
        frame = next(again).head(A_MILLION - rows)
        compiled, findings = timed(connection.mapping.conformance.check, frame, compiled)
        rows, bad = rows + frame.height, bad + int(findings.bad.sum() or 0)
        if len(sample) < SAMPLE:
            records = frame.head(SAMPLE - len(sample)).iter_rows(named=True)
            sample += [json.loads(json.dumps(without_nulls(record), default=text)) for record in records]
    validator = jsonschema_rs.Draft6Validator(closed_json_schema(connection.schema), validate_formats=True)
    began = time.perf_counter()
    refused = sum(not validator.is_valid(record) for record in sample)
    by_row = (time.perf_counter() - began) / len(sample)
    return {
        "records": rows,
        "refused": bad,
        "compiled_seconds": compiled,
        "oracle_sample": len(sample),
        "oracle_refused": refused,
        "oracle_seconds_per_row": by_row,
    }


def mapping(connection: Connection, day: str) -> Report:
    """The compiled standard mapping over the day's rows, and the plain evaluator over a sample of them."""
    from mixpanel_aep_assets.connection import DERIVED
    from mixpanel_aep_assets.dataprep.columnar.row_values import Records
    from mixpanel_aep_assets.dataprep.interpreter.evaluate import Evaluator
    from mixpanel_aep_assets.dataprep.interpreter.schema_targets import target_type
    from mixpanel_aep_assets.mixpanel import dedup, identity

    derived = [
        pl.from_epoch("time_ms", time_unit="ms").dt.replace_time_zone("UTC").alias("mixpanel.timestamp"),
        dedup.stable_id().alias("mixpanel.id"),
        identity.identity_map().alias("mixpanel.identityMap"),
    ]
    rows, compiled = 0, 0.0
    sample: list[Any] = []
    for raw in row_groups(connection, extract.TABLE, day):
        frame = raw.with_columns(derived)
        compiled, _ = timed(connection.mapping.compiled.apply, frame, compiled)
        rows += frame.height
        if len(sample) < SAMPLE:
            head = frame.head(SAMPLE - len(sample))
            records = Records(head, "event", DERIVED, flat=False)
            sample += [records[row] for row in range(head.height)]
    evaluator = Evaluator(connection.mapping.mapping_set, target_type(connection.schema.root))
    began = time.perf_counter()
    for record in sample:
        evaluator.row(record)
    plain = (time.perf_counter() - began) / len(sample)
    return {
        "records": rows,
        "compiled_seconds": compiled,
        "plain_sample": len(sample),
        "plain_seconds_per_row": plain,
    }


def row_groups(connection: Connection, table: str, day: str) -> Iterator[pl.DataFrame]:
    for path in connection.day(table, day).files():
        with connection.storage.open_read(path) as file:
            parquet = pq.ParquetFile(file)
            for group in range(parquet.num_row_groups):
                yield pl.DataFrame(pl.from_arrow(parquet.read_row_group(group)))


def timed(work: Callable[[pl.DataFrame], Any], frame: pl.DataFrame, so_far: float) -> tuple[float, Any]:
    began = time.perf_counter()
    result = work(frame)
    return so_far + time.perf_counter() - began, result


def without_nulls(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: without_nulls(member) for key, member in value.items() if member is not None}
    return [without_nulls(item) for item in value] if isinstance(value, list) else value


def text(value: Any) -> str:
    """Dates and instants as JSON has them."""
    return str(value.isoformat())


STAGES: dict[str, Callable[[Connection, str], Report]] = {
    "provision": provisioned,
    "transform": transformed,
    "conformance": checked,
    "upload": uploaded,
    "whole": whole,
    "oracle": oracle,
    "mapping": mapping,
}


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("stage", choices=STAGES)
    parser.add_argument("--platform-url", required=True, help="an emulator")
    args = parser.parse_args()
    with opened(args.base_url, args.out, args.platform_url) as connection:
        began = time.perf_counter()
        report = STAGES[args.stage](connection, args.date)
        seconds = time.perf_counter() - began
    print(json.dumps({**report, "seconds": {args.stage: round(seconds, 3)}}))


if __name__ == "__main__":
    main()
