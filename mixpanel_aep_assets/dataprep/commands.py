"""The command group `mapping`: check, try and convert mapping sets from the shell.

Results go to standard output, one JSON value a line where a program may read them; remarks go to standard error. Exit
codes: 0 for success, 1 for a mapping set, an expression or an input that is refused, 2 for wrong usage.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, NoReturn

import click

if TYPE_CHECKING:
    from mixpanel_aep_assets.dataprep.mapping_set import MappingSet

Fetch = Callable[[str], Any]
"""Gets the JSON of a mapping set from the Platform by its id."""

_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)


def mapping_group(fetch: Fetch | None = None) -> click.Group:
    """The group. With `fetch`, `import` also takes the id of a mapping set of the Platform."""
    group = click.Group("mapping", help="Check, try and convert mapping sets in Adobe's Data Prep language.")
    for command in (_validate, _preview, _eval, _export, _coverage):
        group.add_command(command)
    group.add_command(_import_command(fetch))
    return group


@click.command("validate")
@click.argument("file", type=_FILE)
@click.option(
    "--json", "as_json", is_flag=True, help="Print one entry per mapping, as the Platform's validate call does."
)
def _validate(file: Path, *, as_json: bool) -> None:
    """Check every mapping of FILE (JSON, YAML or the CSV template)."""
    from mixpanel_aep_assets.dataprep.validation import validate

    mapping_set = _load(file)
    validation = validate(mapping_set)
    if as_json:
        _print(validation.to_json())
    else:
        for problem in validation:
            click.echo(f"{file}: {problem}")
        count = sum(1 for problems in validation.problems if problems)
        click.echo(f"{len(mapping_set.mappings)} mappings, {count} refused", err=bool(count))
    sys.exit(0 if validation.ok else 1)


@click.command("preview")
@click.argument("file", type=_FILE)
@click.option(
    "--input", "source", type=click.File("rb"), required=True, help="Records, one JSON object a line; - is stdin."
)
def _preview(file: Path, source: BinaryIO) -> None:
    """Map records with FILE and print a line for each: {"data": {...}, "errors": [...] | null}."""
    from mixpanel_aep_assets.dataprep.errors import MappingSetError
    from mixpanel_aep_assets.dataprep.evaluate import Evaluator

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
@click.option("--input", "source", default=None, help="The record as JSON text; - is stdin. Default: an empty record.")
@click.option("--batch", type=_FILE, help='A JSON array of {"id", "expression", "input"}.')
def _eval(expression: str | None, source: str | None, batch: Path | None) -> None:
    """Print the value of EXPRESSION as JSON, or {"error": ...} with exit code 1.

    With --batch print one line per element: {"id", "value"} or {"id", "error"}; the exit code is 0 when all were tried.
    """
    if (expression is None) == (batch is None):
        raise click.UsageError("give either an EXPRESSION or --batch FILE")
    if batch is not None:
        if source is not None:
            raise click.UsageError("--input belongs to a single EXPRESSION; a batch carries its inputs")
        for outcome in _batch(batch):
            _print(outcome)
        return
    record = _json("--input", sys.stdin.buffer.read() if source == "-" else (source or "{}").encode())
    outcome = _outcome(expression, record)
    _print(outcome.get("value") if "error" not in outcome else outcome)
    sys.exit(1 if "error" in outcome else 0)


def _batch(path: Path) -> Iterator[dict[str, Any]]:
    elements = _json(str(path), path.read_bytes())
    if not isinstance(elements, list) or not all(isinstance(element, dict) for element in elements):
        _fail(f'{path}: expected a JSON array of objects with "id", "expression" and "input"')
    for element in elements:
        yield {"id": element.get("id"), **_outcome(element.get("expression"), element.get("input"))}


def _outcome(expression: Any, record: Any) -> dict[str, Any]:
    """`{"value": ...}` or `{"error": {...}}`."""
    from mixpanel_aep_assets.dataprep.errors import EvaluationError, ExpressionError
    from mixpanel_aep_assets.dataprep.evaluate import evaluate_expression
    from mixpanel_aep_assets.dataprep.values import to_json

    if not isinstance(expression, str):
        return {"error": {"message": "the expression is no text"}}
    if record is not None and not isinstance(record, dict):
        return {"error": {"message": "the input is no JSON object"}}
    try:
        return {"value": to_json(evaluate_expression(expression, record))}
    except ExpressionError as error:
        place = {"line": error.line, "column": error.column, "suggestion": error.suggestion}
        return {"error": {"message": error.message, **place}}
    except EvaluationError as error:
        return {"error": {"message": str(error)}}
    except RecursionError:
        return {"error": {"message": "the value is nested too deeply"}}


def _import_command(fetch: Fetch | None) -> click.Command:
    @click.command("import")
    @click.argument("source")
    @click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
    @click.option("--force", is_flag=True, help="Overwrite FILE.")
    def import_(source: str, file: Path, *, force: bool) -> None:
        """Write the mapping set SOURCE to FILE (.json, .yaml or .csv).

        SOURCE is a JSON, YAML or CSV file, or the id of a mapping set of the Platform.
        """
        from mixpanel_aep_assets.dataprep.errors import MappingSetError
        from mixpanel_aep_assets.dataprep.mapping_set import MappingSet

        if file.exists() and not force:
            _fail(f"{file} exists; add --force to overwrite it")
        if Path(source).is_file():
            mapping_set = _load(Path(source))
        elif fetch is None or Path(source).suffix:
            _fail(f"there is no file {source}")
        else:
            try:
                mapping_set = MappingSet.from_json(fetch(source))
            except MappingSetError as error:
                _fail(f"the Platform's mapping set {source}: {error}")
        text = _written(mapping_set, file.suffix.lower().removeprefix("."))
        file.write_text(text, encoding="utf-8")
        click.echo(f"{len(mapping_set.mappings)} mappings written to {file}", err=True)

    return import_


@click.command("export")
@click.argument("file", type=_FILE)
@click.option("--format", "form", type=click.Choice(["json", "yaml", "csv"]), default="json", show_default=True)
def _export(file: Path, form: str) -> None:
    """Print the mapping set of FILE in the newer JSON form, as YAML, or as the CSV template."""
    click.echo(_written(_load(file), form), nl=False)


@click.command("coverage")
@click.argument("file", type=_FILE)
@click.option("--schema", type=_FILE, help="JSON Schema of the target; default: the one that FILE carries.")
@click.option("--input", "source", type=click.File("rb"), help="Records (NDJSON) whose attributes are to be mapped.")
def _coverage(file: Path, schema: Path | None, source: BinaryIO | None) -> None:
    """Print as JSON what FILE maps: mapped, required and identity fields, and what is left unmapped."""
    from mixpanel_aep_assets.dataprep.coverage import coverage

    target = None if schema is None else _json(str(schema), schema.read_bytes())
    if target is not None and not isinstance(target, dict):
        _fail(f"{schema}: expected a JSON Schema, which is an object")
    records = (record for _, record in _records(source) if isinstance(record, dict)) if source else ()
    _print(coverage(_load(file), target, records).to_json())


def _written(mapping_set: MappingSet, form: str) -> str:
    if form == "json":
        return json.dumps(mapping_set.to_json(), indent=2, ensure_ascii=False) + "\n"
    if form in {"yaml", "yml"}:
        import yaml

        return yaml.safe_dump(mapping_set.to_json(), sort_keys=False, allow_unicode=True)
    if form == "csv":
        return mapping_set.to_csv()
    return _fail(f"a mapping set is written as .json, .yaml or .csv, not {form or 'without suffix'}")


def _load(path: Path) -> MappingSet:
    from mixpanel_aep_assets.dataprep.errors import MappingSetError
    from mixpanel_aep_assets.dataprep.mapping_set import load_mapping_set

    try:
        return load_mapping_set(path)
    except MappingSetError as error:
        _fail(str(error))


def _records(source: BinaryIO) -> Iterator[tuple[int, dict[str, Any] | str]]:
    """Line number and record, or what is wrong with the line; empty lines are skipped."""
    import orjson

    for number, line in enumerate(source, start=1):
        if not line.strip():
            continue
        try:
            record = orjson.loads(line)
        except orjson.JSONDecodeError as error:
            yield number, f"no JSON: {error.msg}"
            continue
        yield number, record if isinstance(record, dict) else "a record is a JSON object"


def _json(name: str, content: bytes) -> Any:
    import orjson

    try:
        return orjson.loads(content)
    except orjson.JSONDecodeError as error:
        _fail(f"{name} is no JSON: line {error.lineno}, column {error.colno}: {error.msg}")


def _print(value: Any) -> None:
    click.echo(json.dumps(value, ensure_ascii=False))


def _fail(message: str) -> NoReturn:
    raise click.ClickException(message)


mapping = mapping_group()
"""The group without access to the Platform."""
