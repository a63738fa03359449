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

from mixpanel_aep_assets.xdm.rules import OWN, SCHEMA_KEYWORDS, Violation, severity

if TYPE_CHECKING:
    from mixpanel_aep_assets.xdm.conformance import Conformance
    from mixpanel_aep_assets.xdm.schema import Schema

_PARQUET = b"PAR1"
_BATCH_ROWS = 65_536
_SHOWN_BYTES = 200

_GZIP = b"\x1f\x8b"
_BOM = b"\xef\xbb\xbf"

_HELP_RULES = "\n".join(f"  {name:<18} {severity(name):<11} {meaning}" for name, meaning in OWN.items())
_HELP = f"""\b
Schema rules, named as in JSON Schema draft-06. The schema is closed: no undeclared names.
  {", ".join(SCHEMA_KEYWORDS[:9])},
  {", ".join(SCHEMA_KEYWORDS[9:15])},
  {", ".join(SCHEMA_KEYWORDS[15:])}
required and additionalProperties point to the object. A columnType finding is about a
column of the file: its row is null, and * in its pointer stands for the items of a list
and the entries of a map.

\b
Our own rules, with their effect in a run (block: the day stops; quarantine: the row is
quarantined; warn: a warning only). Schema rules quarantine, except for
additionalProperties, which blocks.
{_HELP_RULES}

\b
Every violation, even of a rule that only warns, makes the exit code 1. --ignore skips
a rule.
"""


class _Counted:
    """Rows seen, rows that violate, and columns that do whatever their rows hold, for the summary."""

    def __init__(self) -> None:
        self.rows = 0
        self.offending = 0
        self.columns = 0
        self.rules: Counter[str] = Counter()
        self._last = -1

    def add(self, row: int | None, keyword: str) -> None:
        """Findings come by row, those of columns first."""
        self.rules[keyword] += 1
        if row is None:
            self.columns += 1
            return
        self.offending += row != self._last
        self._last = row


@click.command(epilog=_HELP)
@click.argument("data", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option(
    "--schema",
    "schema_file",
    required=True,
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="A schema in the Registry's full form (application/vnd.adobe.xed-full+json).",
)
@click.option("--now", type=click.DateTime(["%Y-%m-%dT%H:%M:%SZ"]), help="Check timestamps as of this instant, in UTC.")
@click.option(
    "--ignore",
    multiple=True,
    metavar="RULE",
    type=click.Choice([*SCHEMA_KEYWORDS, *OWN]),
    help="Skip a rule, by its name below. May be repeated.",
)
def conformance(data: Path, schema_file: Path, now: datetime.datetime | None, ignore: tuple[str, ...]) -> None:
    """Check DATA (Parquet or NDJSON with Platform names) against a schema.

    Prints one JSON line per violation to standard output, {"row", "pointer", "keyword", "value", "message"} with rows
    counted from 0 (null for a column of the file), and a summary to standard error. Exit codes: 0 all columns and rows
    conform, 1 at least one violates, 2 the input cannot be read. Empty lines are skipped; null in a Parquet column means
    that the field is absent.
    """
    from mixpanel_aep_assets.xdm.conformance import Conformance

    schema = _schema(schema_file)
    instant = now.replace(tzinfo=datetime.UTC) if now is not None else datetime.datetime.now(datetime.UTC)
    rules = Conformance(schema, now=instant)
    counted = _Counted()
    found = _in_parquet(data, rules, counted) if _starts_with(data, _PARQUET) else _in_lines(data, rules, counted)
    out = sys.stdout.buffer
    for row, violation in found:
        if violation.keyword not in ignore:
            counted.add(row, violation.keyword)
            out.write(_json_line(row, violation))
    out.flush()
    click.echo(_summary(data, counted), err=True)
    if counted.rules:
        sys.exit(1)


def _schema(path: Path) -> Schema:
    import orjson

    from mixpanel_aep_assets.xdm.composition import registry_schema
    from mixpanel_aep_assets.xdm.schema import SchemaError

    try:
        schema = registry_schema(orjson.loads(path.read_bytes().removeprefix(_BOM)))
    except (SchemaError, orjson.JSONDecodeError) as error:
        raise click.UsageError(f"{path} cannot be used as a schema: {error}") from error
    if schema.unchecked:
        click.echo(f"{path.name}: not checked: {', '.join(schema.unchecked)}", err=True)
    if not schema.root.children:
        click.echo(f"{path.name}: declares no field, so that any object conforms to it", err=True)
    return schema


def _starts_with(path: Path, magic: bytes) -> bool:
    with path.open("rb") as file:
        return file.read(len(magic)) == magic


def _in_parquet(path: Path, rules: Conformance, counted: _Counted) -> Iterator[tuple[int | None, Violation]]:
    """The columns, then the rows batch by batch, so that memory does not grow with the file."""
    import polars as pl
    import pyarrow as pa
    import pyarrow.parquet as pq

    from mixpanel_aep_assets.xdm.conformance import SeenIds

    seen = SeenIds()
    try:
        file = pq.ParquetFile(path)
        for violation in rules.columns(file.schema):
            yield None, violation
        groups = ([group] for group in range(file.num_row_groups))
        for batch in (b for group in groups for b in file.iter_batches(_BATCH_ROWS, row_groups=group)):
            frame = pl.DataFrame(pl.from_arrow(pa.Table.from_batches([batch])))
            for row, violation in rules.find(frame, seen):
                yield counted.rows + row, violation
            counted.rows += frame.height
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError, OSError) as error:
        raise click.UsageError(f"{path} cannot be read as Parquet: {error}") from error


def _in_lines(path: Path, rules: Conformance, counted: _Counted) -> Iterator[tuple[int | None, Violation]]:
    """Line by line; empty lines are no rows."""
    from mixpanel_aep_assets.xdm.conformance import repeated_id

    if _starts_with(path, _GZIP):
        raise click.UsageError(f"{path} is a gzip file; unpack it first.")
    seen: set[int] = set()
    screen = rules.screen()
    with path.open("rb") as file:
        if file.read(len(_BOM)) != _BOM:
            file.seek(0)
        for line in file:
            if not line.strip():
                continue
            row = counted.rows
            counted.rows += 1
            passed = screen.passed(line)
            if passed is not None:
                record_id = screen.member(passed, "_id")
            else:
                try:
                    record = _parse(line)
                    violations = rules.record(record)
                except (_NotJson, RecursionError) as error:
                    shown = line[:_SHOWN_BYTES].decode(errors="replace").strip()
                    yield row, Violation("", "json", shown, f"the line is not JSON: {error}")
                    continue
                for violation in violations:
                    yield row, violation
                record_id = record.get("_id") if isinstance(record, dict) else None
            if isinstance(record_id, str) and record_id:
                hashed = hash(record_id)  # the texts themselves would fill the memory
                if hashed in seen:
                    yield row, repeated_id(record_id)
                seen.add(hashed)


class _NotJson(Exception):
    """A line cannot be parsed."""


def _parse(line: bytes) -> Any:
    """JSON as Python reads it: NaN and Infinity come through, to be reported where they stand.

    Raises _NotJson, RecursionError.
    """
    import orjson

    try:
        return orjson.loads(line)
    except orjson.JSONDecodeError:
        try:
            return json.loads(line)
        except ValueError as error:  # also for thousands of digits
            raise _NotJson(str(error)) from error


def _json_line(row: int | None, violation: Violation) -> bytes:
    from mixpanel_aep_assets.xdm.conformance import json_text

    head = {"row": row, "pointer": violation.pointer, "keyword": violation.keyword}
    value = json_text(violation.value)

    def line(*, escaped: bool) -> bytes:
        start = json.dumps(head, ensure_ascii=escaped)
        message = json.dumps(violation.message, ensure_ascii=escaped)
        return f'{start[:-1]}, "value": {value}, "message": {message}}}\n'.encode()

    try:
        return line(escaped=False)
    except UnicodeEncodeError:  # half of a surrogate pair, which JSON may hold and UTF-8 may not
        return line(escaped=True)


def _summary(path: Path, counted: _Counted) -> str:
    if not counted.rules:
        return f"{path.name}: {counted.rows} rows, all conform"
    rules = ", ".join(f"{keyword} {count}" for keyword, count in counted.rules.most_common())
    columns = f", {counted.columns} columns have a wrong type" if counted.columns else ""
    return f"{path.name}: {counted.rows} rows, {counted.offending} violate{columns}: {rules}"
