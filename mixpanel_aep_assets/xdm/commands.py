"""`mixpanel-aep conformance`: a file of records against a schema, one JSON line per violation.

Heavy imports wait until the command runs, so that `mixpanel-aep --help` stays quick.
"""

from __future__ import annotations

import datetime
import json
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mixpanel_aep_assets.xdm.rules import OWN, SCHEMA_KEYWORDS, Violation

if TYPE_CHECKING:
    from mixpanel_aep_assets.xdm.conformance import Conformance

_PARQUET = b"PAR1"
_BATCH_ROWS = 65_536
_SHOWN_BYTES = 200

_HELP_RULES = "\n".join(f"  {name:<18} {meaning}" for name, meaning in OWN.items())


class _Counted:
    """Rows seen and rows that violate, for the summary."""

    def __init__(self) -> None:
        self.rows = 0
        self.offending = 0
        self.rules: Counter[str] = Counter()
        self._last = -1

    def add(self, row: int, keyword: str) -> None:
        """Findings come by row."""
        self.rules[keyword] += 1
        self.offending += row != self._last
        self._last = row


@click.command(
    epilog=f"\b\nRules named as in JSON Schema:\n  {', '.join(SCHEMA_KEYWORDS[:8])},\n"
    f"  {', '.join(SCHEMA_KEYWORDS[8:])}\n\n\b\nRules of our own:\n{_HELP_RULES}"
)
@click.argument("data", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option(
    "--schema",
    "schema_file",
    required=True,
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="A schema in the Registry's full form (application/vnd.adobe.xed-full+json).",
)
@click.option("--now", type=click.DateTime(["%Y-%m-%dT%H:%M:%SZ"]), help="Judge timestamps as of this instant, in UTC.")
def conformance(data: Path, schema_file: Path, now: datetime.datetime | None) -> None:
    """Checks DATA (Parquet or NDJSON with Platform names) against a schema.

    Writes one JSON line per violation to standard output, {"row", "pointer", "keyword", "value", "message"} with rows
    from 0, and a summary to standard error. Exit code 0: every row conforms; 1: some row violates; 2: the input cannot
    be read.
    """
    import orjson

    from mixpanel_aep_assets.xdm.conformance import Conformance
    from mixpanel_aep_assets.xdm.schema import Schema, SchemaError

    try:
        schema = Schema.from_registry(orjson.loads(schema_file.read_bytes()))
    except (SchemaError, orjson.JSONDecodeError) as error:
        raise click.UsageError(f"{schema_file} cannot be used as a schema: {error}") from None
    instant = now.replace(tzinfo=datetime.UTC) if now is not None else datetime.datetime.now(datetime.UTC)
    rules = Conformance(schema, now=instant)
    counted = _Counted()
    find = _in_parquet if _is_parquet(data) else _in_lines
    for row, violation in find(data, rules, counted):
        counted.add(row, violation.keyword)
        sys.stdout.write(_json_line(row, violation))
    sys.stdout.flush()
    click.echo(_summary(data, counted), err=True)
    if counted.offending:
        sys.exit(1)


def _is_parquet(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(len(_PARQUET)) == _PARQUET


def _in_parquet(path: Path, rules: Conformance, counted: _Counted) -> Iterator[tuple[int, Violation]]:
    """Batch by batch, so that memory does not grow with the file."""
    import polars as pl
    import pyarrow as pa
    import pyarrow.parquet as pq

    from mixpanel_aep_assets.xdm.conformance import SeenIds

    seen = SeenIds()
    try:
        for batch in pq.ParquetFile(path).iter_batches(batch_size=_BATCH_ROWS):
            frame = pl.DataFrame(pl.from_arrow(pa.Table.from_batches([batch])))
            for row, violation in rules.find(frame, seen):
                yield counted.rows + row, violation
            counted.rows += frame.height
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError, OSError) as error:
        raise click.UsageError(f"{path} cannot be read as Parquet: {error}") from None


def _in_lines(path: Path, rules: Conformance, counted: _Counted) -> Iterator[tuple[int, Violation]]:
    """Line by line; empty lines are no rows."""
    from mixpanel_aep_assets.xdm.conformance import repeated_id

    seen: set[str] = set()
    with path.open("rb") as file:
        for line in file:
            if not line.strip():
                continue
            row = counted.rows
            counted.rows += 1
            try:
                record = _parse(line)
            except ValueError as error:
                shown = line[:_SHOWN_BYTES].decode(errors="replace").strip()
                yield row, Violation("", "json", shown, f"the line is not JSON: {error}")
                continue
            if not isinstance(record, dict):
                yield row, Violation("", "json", record, "the line is JSON, but no object")
                continue
            for violation in rules.record(record):
                yield row, violation
            record_id = record.get("_id")
            if isinstance(record_id, str) and record_id:
                if record_id in seen:
                    yield row, repeated_id(record_id)
                seen.add(record_id)


def _parse(line: bytes) -> Any:
    """JSON as Python reads it: NaN and Infinity come through, to be reported where they stand; integers keep their
    digits.

    Raises ValueError.
    """
    import orjson

    try:
        return orjson.loads(line)
    except orjson.JSONDecodeError:
        return json.loads(line)


def _json_line(row: int, violation: Violation) -> str:
    from mixpanel_aep_assets.xdm.conformance import json_text

    head = json.dumps({"row": row, "pointer": violation.pointer, "keyword": violation.keyword}, ensure_ascii=False)
    message = json.dumps(violation.message, ensure_ascii=False)
    return f'{head[:-1]}, "value": {json_text(violation.value)}, "message": {message}}}\n'


def _summary(path: Path, counted: _Counted) -> str:
    if not counted.offending:
        return f"{path.name}: {counted.rows} rows, all conform"
    rules = ", ".join(f"{keyword} {count}" for keyword, count in counted.rules.most_common())
    return f"{path.name}: {counted.rows} rows, {counted.offending} violate: {rules}"
