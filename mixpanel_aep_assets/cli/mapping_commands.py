"""The command group `mapping`: check, try and convert mapping sets from the shell.

Results go to standard output, one JSON value a line where a program may read them; remarks go to standard error. Exit
codes: 0 for success, 1 for a mapping set, an expression or an input that is refused, 2 for wrong usage.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from textwrap import shorten
from typing import TYPE_CHECKING, Any, BinaryIO, NoReturn, Protocol

import click

if TYPE_CHECKING:
    from mixpanel_aep_assets.dataprep.advice.suggest import Suggestions
    from mixpanel_aep_assets.dataprep.columnar.python_fallbacks import Fallback
    from mixpanel_aep_assets.dataprep.interpreter.targets import TargetType
    from mixpanel_aep_assets.dataprep.language.mapping_set import MappingSet
    from mixpanel_aep_assets.xdm.schema import Schema


class Connections(Protocol):
    """What the commands ask of a connection, by its name. This room does not know how one is opened."""

    def mapping_set(self, connection: str, identifier: str) -> Any:
        """The JSON of a mapping set of the Platform."""

    def schema(self, connection: str) -> Schema:
        """The schema of the connection's dataset."""

    def records(self, connection: str, day: str | None) -> Iterable[Mapping[str, Any]]:
        """The stored raw events of a day, of the newest by default: `{"event": ..., "properties": {...}}`."""

    def derived(self) -> Iterable[str]:
        """The source paths that a connection derives from every event, such as `mixpanel.id`."""


_CELL = 46
"""Longest text in a cell of a table."""

_FORM, _CATEGORY = 52, 16
"""Widths of the columns of `functions`."""

_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)


def mapping_group(connections: Connections | None = None) -> click.Group:
    """The group. Without `connections` all commands work on files alone."""
    group = click.Group("mapping", help="Validate, preview and convert mapping sets in Adobe's Data Prep language.")
    group.add_command(_validate_command(connections))
    for command in (_preview, _eval, _functions, _export):
        group.add_command(command)
    group.add_command(_coverage_command(connections))
    group.add_command(_import_command(connections))
    group.add_command(_suggest_command(connections))
    return group


_connection = click.option("--connection", default="default", show_default=True, help="The connection to use.")
_dataset_of = click.option("--connection", help="Use the schema of this connection's dataset.")


def _validate_command(connections: Connections | None) -> click.Command:
    @click.command("validate")
    @click.argument("file", type=_FILE)
    @click.option(
        "--json", "as_json", is_flag=True, help="Print one entry per mapping, as the Platform's validate call does."
    )
    @_dataset_of
    def validate_(file: Path, connection: str | None, *, as_json: bool) -> None:
        """Validate every mapping in FILE (JSON, YAML or the CSV template), and say which ones run in Python and why."""
        from mixpanel_aep_assets.dataprep.interpreter.validation import validate

        mapping_set = _load(file)
        schema = _dataset_schema(connections, connection)
        mapping_set = mapping_set if schema is None else _of_tenant(mapping_set, schema)
        validation = validate(mapping_set, None if schema is None else _target(schema))
        fallbacks = _fallbacks(mapping_set, schema, connections) if validation.ok else ()
        if as_json:
            entries = validation.to_json()
            for fallback in fallbacks:
                entries[fallback.mapping].setdefault("fallbacks", []).append(fallback.to_json())
            _print(entries)
        else:
            for remark in (*validation, *fallbacks):
                click.echo(f"{file}: {remark}")
            count = sum(1 for problems in validation.problems if problems)
            slow = len({fallback.mapping for fallback in fallbacks})
            told = f", {slow} wholly or in part in plain Python" if slow else ""
            many = "mapping" if len(mapping_set.mappings) == 1 else "mappings"
            click.echo(f"{len(mapping_set.mappings)} {many}, {count} refused{told}", err=bool(count))
        sys.exit(0 if validation.ok else 1)

    return validate_


def _dataset_schema(connections: Connections | None, connection: str | None) -> Schema | None:
    if connection is None:
        return None
    if connections is None:
        raise click.UsageError("no connection is available here")
    return connections.schema(connection)


def _tenant(schema: Schema) -> str:
    """The tenant id that the schema's own fields stand below; empty where it has none."""
    return next((one.name[1:] for one in schema.root.children if one.name[0] == "_" and one.kind == "object"), "")


def _of_tenant(mapping_set: MappingSet, schema: Schema) -> MappingSet:
    """The set with the tenant id in place of `{TENANT_ID}`, as a connection reads it."""
    tenant = _tenant(schema)
    mappings = (
        replace(one, destination=one.destination.replace("{TENANT_ID}", tenant)) for one in mapping_set.mappings
    )
    return replace(mapping_set, mappings=tuple(mappings))


def _target(schema: Schema) -> TargetType:
    from mixpanel_aep_assets.dataprep.interpreter.schema_targets import target_type

    return target_type(schema.root, required=True)


def _fallbacks(mapping_set: MappingSet, schema: Schema | None, connections: Connections | None) -> tuple[Fallback, ...]:
    """What of a valid set runs in Python, on events as they are stored, or on the records that its sources suppose."""
    from mixpanel_aep_assets.dataprep.columnar.compiled_mapping import compile_mapping

    derived = {source: source for source in connections.derived()} if connections else {}
    compiled = compile_mapping(mapping_set, schema, derived)
    if not {steps[0].name for steps in compiled.sources} & {"event", "properties", "data", "mixpanel"}:
        compiled = compile_mapping(mapping_set, schema, layout="record")
    return compiled.fallbacks


@click.command("preview")
@click.argument("file", type=_FILE)
@click.option(
    "--input", "source", type=click.File("rb"), required=True, help="Records, one JSON object per line; - is stdin."
)
def _preview(file: Path, source: BinaryIO) -> None:
    """Map records with FILE and print one line for each: {"data": {...}, "errors": [...] | null}."""
    from mixpanel_aep_assets.dataprep.interpreter.evaluate import Evaluator
    from mixpanel_aep_assets.dataprep.language.mapping_errors import MappingSetError

    try:
        evaluator = Evaluator(_load(file))
    except MappingSetError as error:
        _fail(f"{file}: {error}")
    readable = True
    for number, record in _records(source):
        if isinstance(record, str):
            readable = False
            exception = {"source": None, "destination": None, "sourceType": None, "columnName": None}
            _print({"data": None, "errors": [{**exception, "exception": f"line {number}: {record}"}]})
        else:
            _print(evaluator.row(record).to_json())
    sys.exit(0 if readable else 1)


# An expression may begin with a minus, which is no option then.
@click.command("eval", context_settings={"ignore_unknown_options": True})
@click.argument("expression", required=False)
@click.option("--input", "source", default=None, help="The record as JSON; - is stdin. Default: an empty record.")
@click.option(
    "--batch",
    type=click.Path(exists=True, dir_okay=False, allow_dash=True, path_type=Path),
    help='A JSON array of {"id", "expression", "input"}; - is stdin.',
)
def _eval(expression: str | None, source: str | None, batch: Path | None) -> None:
    """Print the value of EXPRESSION as JSON, or {"error": ...} with exit code 1.

    With --batch, print one line per element: {"id", "value"} or {"id", "error"}; the exit code is 0 once all are evaluated.
    """
    if (expression is None) == (batch is None):
        raise click.UsageError("give either an EXPRESSION or --batch FILE")
    if batch is not None:
        if source is not None:
            raise click.UsageError("--input belongs to a single EXPRESSION; a batch carries its inputs")
        for outcome in _batch(batch):
            _print(outcome)
        return
    outcome = _outcome_of_text(
        expression, sys.stdin.buffer.read() if source == "-" else "{}" if source is None else source
    )
    _print(outcome.get("value") if "error" not in outcome else outcome)
    sys.exit(1 if "error" in outcome else 0)


def _outcome_of_text(expression: Any, record: str | bytes) -> dict[str, Any]:
    from mixpanel_aep_assets.dataprep.interpreter.records import NoJsonError, read_json

    try:
        return _outcome(expression, read_json(record))
    except NoJsonError as error:
        return {"error": {"message": f"the input is not JSON: {error}"}}


def _batch(path: Path) -> Iterator[dict[str, Any]]:
    elements = _json(str(path), sys.stdin.buffer.read() if str(path) == "-" else path.read_bytes())
    if not isinstance(elements, list) or not all(isinstance(element, dict) for element in elements):
        _fail(f'{path}: expected a JSON array of objects with "id", "expression" and "input"')
    for element in elements:
        yield {"id": element.get("id"), **_outcome(element.get("expression"), element.get("input"))}


def _outcome(expression: Any, record: Any) -> dict[str, Any]:
    """`{"value": ...}` or `{"error": {...}}`."""
    from mixpanel_aep_assets.dataprep.interpreter.evaluate import evaluate_expression
    from mixpanel_aep_assets.dataprep.interpreter.values import to_json
    from mixpanel_aep_assets.dataprep.language.mapping_errors import EvaluationError, ExpressionError

    if not isinstance(expression, str):
        return {"error": {"message": "the expression is not a string"}}
    if record is not None and not isinstance(record, dict):
        return {"error": {"message": "the input is not a JSON object"}}
    try:
        return {"value": to_json(evaluate_expression(expression, record))}
    except ExpressionError as error:
        place = {"line": error.line, "column": error.column, "suggestion": error.suggestion}
        return {"error": {"message": error.message, **place}}
    except EvaluationError as error:
        return {"error": {"message": str(error)}}
    except RecursionError:
        return {"error": {"message": "the value is nested too deeply"}}


@click.command("functions")
def _functions() -> None:
    """List the functions and methods of the language: signature, category, and why one is refused."""
    from mixpanel_aep_assets.dataprep.interpreter.functions import FUNCTIONS
    from mixpanel_aep_assets.dataprep.interpreter.methods import METHODS

    for function in sorted(FUNCTIONS.values(), key=lambda one: (one.category, one.name)):
        said = (
            f"like {function.alias_of}"
            if function.alias_of
            else f"refused: {function.refusal}"
            if function.refusal
            else ""
        )
        click.echo(f"{function.signature:{_FORM}} {function.category:{_CATEGORY}} {said}".rstrip())
    for method in METHODS.values():
        form = f"{method.on.bare}.{method.name}({', '.join(['value'] * method.arguments)})"
        click.echo(f"{form:{_FORM}} method")


def _import_command(connections: Connections | None) -> click.Command:
    @click.command("import")
    @click.argument("source")
    @click.argument("file", type=click.Path(dir_okay=False, path_type=Path), required=False)
    @click.option("--force", is_flag=True, help="Overwrite FILE.")
    @_connection
    def import_(source: str, file: Path | None, connection: str, *, force: bool) -> None:
        """Write the mapping set SOURCE to FILE (.json, .yaml or .csv), or print it as JSON.

        SOURCE is a JSON, YAML or CSV file, or the id of a mapping set in the Platform.
        """
        from mixpanel_aep_assets.dataprep.language.mapping_errors import MappingSetError
        from mixpanel_aep_assets.dataprep.language.mapping_set import MappingSet

        if file is not None and file.exists() and not force:
            _fail(f"{file} exists; add --force to overwrite it")
        if Path(source).is_file():
            mapping_set = _load(Path(source))
        elif connections is None or Path(source).suffix or "/" in source:
            _fail(f"there is no file {source}")
        else:
            try:
                mapping_set = MappingSet.from_json(connections.mapping_set(connection, source))
            except MappingSetError as error:
                _fail(f"the Platform's mapping set {source}: {error}")
        text = _written(mapping_set, "json" if file is None else file.suffix.lower().removeprefix("."))
        if file is None:
            click.echo(text, nl=False)
            return
        try:
            file.write_text(text, encoding="utf-8")
        except OSError as error:
            _fail(f"{file} cannot be written: {error.strerror or error}")
        click.echo(f"{len(mapping_set.mappings)} mappings written to {file}", err=True)

    return import_


def _suggest_command(connections: Connections | None) -> click.Command:
    @click.command("suggest")
    @click.option(
        "--input", "source", type=click.File("rb"), help="Records (NDJSON); default: the connection's raw events."
    )
    @click.option(
        "--schema", type=_FILE, help="Schema in the Registry's full form; default: that of the connection's dataset."
    )
    @click.option("--day", type=click.DateTime(["%Y-%m-%d"]), help="Day of the raw events; default: the latest stored.")
    @_connection
    def suggest_(source: BinaryIO | None, schema: Path | None, day: Any, connection: str) -> None:
        """Suggest mappings for the properties in the data: a mapping set on standard output, a table on standard error.

        First the standard mapping, where its sources occur and its fields exist; then the field with the most similar name
        that every value fits, through a conversion function if necessary.
        """
        from mixpanel_aep_assets.dataprep.advice.property_samples import PropertySamples
        from mixpanel_aep_assets.dataprep.advice.suggest import flat, suggest
        from mixpanel_aep_assets.dataprep.language.mapping_set import MappingSet
        from mixpanel_aep_assets.xdm.standard import standard_mapping

        if connections is None and (source is None or schema is None):
            raise click.UsageError("give --input and --schema; no connection is available here")
        fields = _schema(schema) if schema is not None or connections is None else connections.schema(connection)
        if source is not None or connections is None:
            records: Iterable[Mapping[str, Any]] = _readable(source)
        else:
            records = connections.records(connection, None if day is None else day.strftime("%Y-%m-%d"))
        seen = PropertySamples(records)
        known = MappingSet.from_json(standard_mapping(_tenant(fields)))
        is_flat = not any(path[0] == "properties" for path in seen.properties)
        found = suggest(seen, fields, flat(known) if is_flat else known, connections.derived() if connections else ())
        click.echo(json.dumps(found.to_json(), indent=2, ensure_ascii=False))
        _table(found, seen.records)

    return suggest_


def _readable(source: BinaryIO | None) -> Iterator[dict[str, Any]]:
    """The records of a file; a line that is none is told on standard error and left out."""
    for number, record in _records(source) if source is not None else ():
        if isinstance(record, dict):
            yield record
        else:
            click.echo(f"line {number} is left out: {record}", err=True)


def _schema(file: Path | None) -> Schema:
    from mixpanel_aep_assets.xdm.composition import registry_schema
    from mixpanel_aep_assets.xdm.schema import SchemaError

    assert file is not None
    document = _json(str(file), file.read_bytes())
    try:
        return registry_schema(document if isinstance(document, dict) else {})
    except SchemaError as error:
        _fail(f"{file} cannot be used as a schema: {error}")


def _table(found: Suggestions, records: int) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console(stderr=True, highlight=False, width=None if sys.stderr.isatty() else 160)
    table = Table("source", "destination", "score", "reason")
    for one in found.made:
        cells = (one.mapping.source, one.mapping.destination, f"{one.score:.2f}", one.reason)
        table.add_row(*(Text(shorten(cell, _CELL, placeholder="…")) for cell in cells))
    console.print(table)
    console.print(f"{len(found.made)} mappings suggested from {records:,} records.")
    if found.unmatched:
        console.print(f"Without a field that suits: {', '.join(found.unmatched)}", markup=False)


@click.command("export")
@click.argument("file", type=_FILE, required=False)
@click.option("--format", "form", type=click.Choice(["json", "yaml", "csv"]), default="json", show_default=True)
def _export(file: Path | None, form: str) -> None:
    """Print the mapping set of FILE in the newer JSON form, as YAML, or as the CSV template.

    Without FILE: the standard mapping, with {TENANT_ID} in place of the organisation's tenant id.
    """
    if file is None:
        from mixpanel_aep_assets.dataprep.language.mapping_set import MappingSet
        from mixpanel_aep_assets.xdm.standard import TENANT, standard_mapping

        mapping_set = MappingSet.from_json(standard_mapping(TENANT))
    else:
        mapping_set = _load(file)
    click.echo(_written(mapping_set, form), nl=False)


def _coverage_command(connections: Connections | None) -> click.Command:
    @click.command("coverage")
    @click.argument("file", type=_FILE)
    @click.option("--schema", type=_FILE, help="JSON Schema of the target; default: the one in FILE.")
    @click.option(
        "--input", "source", type=click.File("rb"), help="Records (NDJSON) whose attributes should be mapped."
    )
    @_dataset_of
    def coverage_(file: Path, schema: Path | None, source: BinaryIO | None, connection: str | None) -> None:
        """Print, as JSON, which fields FILE maps, which are required or identities, and what is unmapped."""
        from mixpanel_aep_assets.dataprep.advice.coverage import coverage

        mapping_set = _load(file)
        target: Any = None if schema is None else _json(str(schema), schema.read_bytes())
        if target is not None and not isinstance(target, dict):
            _fail(f"{schema}: expected a JSON Schema, which is an object")
        dataset = _dataset_schema(connections, connection)
        if dataset is not None:
            mapping_set, target = _of_tenant(mapping_set, dataset), _target(dataset)
        _print(coverage(mapping_set, target, _readable(source)).to_json())

    return coverage_


def _written(mapping_set: MappingSet, form: str) -> str:
    if form == "json":
        return json.dumps(mapping_set.to_json(), indent=2, ensure_ascii=False) + "\n"
    if form in {"yaml", "yml"}:
        import yaml

        return yaml.safe_dump(mapping_set.to_json(), sort_keys=False, allow_unicode=True)
    if form == "csv":
        lost = [
            name
            for name in ("inputSchema", "outputSchema", "xdmSchema", "allowNullValues")
            if mapping_set.document.get(name)
        ]
        if lost:
            click.echo(f"The CSV template holds mappings alone; left out: {', '.join(lost)}", err=True)
        return mapping_set.to_csv()
    return _fail(f"a mapping set is written as .json, .yaml or .csv, not {form or 'without suffix'}")


def _load(path: Path) -> MappingSet:
    from mixpanel_aep_assets.dataprep.language.mapping_errors import MappingSetError
    from mixpanel_aep_assets.dataprep.language.mapping_set import load_mapping_set

    try:
        return load_mapping_set(path)
    except MappingSetError as error:
        _fail(str(error))


def _records(source: BinaryIO) -> Iterator[tuple[int, dict[str, Any] | str]]:
    """Line number and record, or what is wrong with the line; empty lines are skipped."""
    from mixpanel_aep_assets.dataprep.interpreter.records import NoJsonError, read_json

    for number, line in enumerate(source, start=1):
        if not line.strip():
            continue
        try:
            record = read_json(line)
        except NoJsonError as error:
            yield number, f"no JSON: {error}"
            continue
        yield number, record if isinstance(record, dict) else "a record is a JSON object"


def _json(name: str, content: bytes) -> Any:
    from mixpanel_aep_assets.dataprep.interpreter.records import NoJsonError, read_json

    try:
        return read_json(content)
    except NoJsonError as error:
        _fail(f"{name} is not JSON: {error}")


def _print(value: Any) -> None:
    click.echo(json.dumps(value, ensure_ascii=False))


def _fail(message: str) -> NoReturn:
    raise click.ClickException(message)
