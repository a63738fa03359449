"""Our numbers and tables in the names that the Dagster UI reads (`dagster/partition_row_count`, `dagster/column_schema`, …).

What belongs here: turning manifests and frames into metadata values, so that none fails a day and none is more than it says.
What does not: reading or computing them.

The UI renders as Markdown (with GitHub's extensions, raw HTML dropped): Markdown values, and the descriptions of check results,
assets and columns. Text values, table cells of other kinds, log lines and errors are plain text there.
"""

from __future__ import annotations

import math
import traceback
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any

import dagster as dg
import pyarrow as pa

from mixpanel_aep_assets import display

CELL = 80
"""Characters of one cell in a preview table; the UI wraps beyond it."""

TEXT = 6_000
"""Characters of one JSON text in a preview."""

LINE = 2_000
"""Characters of a value that is shown as plain text, and of the description of a check's result."""

EXACT = 2**53
"""Whole numbers up to this one are exact in a browser; larger ones are shown as text."""


def shown(build: Callable[[], Mapping[str, Any]], log: Callable[[str], None]) -> dict[str, Any]:
    """What is shown of a day, by name: the values that `build` returns, called where they are functions.

    The one guard around all that is only shown, because nothing of it may fail a day. What Dagster cannot hold (`nan`, a number
    of 400 digits, half a surrogate pair) becomes text; an entry that cannot be made becomes a text that names the exception's
    class, and `log` gets it with its place in the code, without its message, which may quote an event.
    """
    entries = _guarded("metadata", build, log)
    if not isinstance(entries, Mapping):
        return {"metadata": entries}
    made: dict[str, Any] = {}
    for name, entry in entries.items():
        value = _guarded(name, partial(_value, entry), log)
        # Dagster reads the names below `dagster/` itself and wants values of certain types there.
        made[name.removeprefix("dagster/") if isinstance(value, _NotShown) else name] = value
    return {name: str(value) if isinstance(value, _NotShown) else value for name, value in made.items()}


def plainly(log: Callable[[str], None]) -> Callable[[str], None]:
    """The log for lines that may quote what events hold."""
    return lambda line: log(display.text(line, LINE))


class _NotShown(str):
    """Stands for an entry that could not be made."""

    __slots__ = ()


def _guarded(name: str, make: Callable[[], Any], log: Callable[[str], None]) -> Any:
    try:
        return make()
    except BaseException as error:
        # A panic in Polars is no Exception. What is none besides ends the process or the run: it goes on.
        if not isinstance(error, Exception) and type(error).__name__ != "PanicException":
            raise
        place = traceback.extract_tb(error.__traceback__)[-1]
        log(f"{name} is not shown: {type(error).__name__} in {place.name}, line {place.lineno} of {place.filename}")
        return _NotShown(f"(not shown: {type(error).__name__})")


def _value(entry: Any) -> Any:
    """A value as Dagster's metadata takes it, and its serialization, GraphQL and the browser after it."""
    value = entry() if callable(entry) else entry
    if value is None or isinstance(value, (bool, dg.MetadataValue, dg.TableSchema, dg.TableColumnLineage)):
        return value
    if isinstance(value, int) and abs(value) <= EXACT:
        return value
    if isinstance(value, float) and math.isfinite(value):
        return value
    if isinstance(value, (list, tuple)):
        return table(value)
    return display.text(value, LINE)


def table(
    rows: Iterable[Mapping[str, Any]], columns: list[str] | None = None, caption: str = ""
) -> dg.MarkdownMetadataValue:
    """Rows as a Markdown table, long cells cut, in the order of `columns` (or of the first row), below a caption."""
    rows = list(rows)
    above = f"{display.prose(caption, LINE)}\n\n" if caption else ""
    if not rows:
        return dg.MetadataValue.md(f"{above}(no rows)")
    columns = columns or list(rows[0])
    lines = ["| " + " | ".join(map(_cell, columns)) + " |", "|" + " --- |" * len(columns)]
    lines += ["| " + " | ".join(_cell(row.get(column)) for column in columns) + " |" for row in rows]
    return dg.MetadataValue.md(above + "\n".join(lines))


def texts(entries: Iterable[tuple[str, str]]) -> dg.MarkdownMetadataValue:
    """JSON texts below their titles, indented, long ones cut. Titles are Markdown of ours."""
    return dg.MetadataValue.md(
        "\n\n".join(
            f"{title}\n\n{display.fenced(display.indented_json(text, TEXT), 'json')}" for title, text in entries
        )
    )


def _cell(value: Any) -> str:
    return "" if value is None else display.inline(value, CELL)


def description(text: str) -> str:
    """The sentence of a check's result, which may quote what events hold."""
    return display.prose(text, LINE)


def url(address: str) -> Any:
    """An address of ours as a link; as text where it is none that a browser should follow."""
    plain = display.text(address, LINE)
    return dg.MetadataValue.url(plain) if plain.startswith(("https://", "http://")) else plain


def column_schema(schema: pa.Schema, descriptions: Mapping[str, str] | None = None) -> dg.TableSchema:
    """An Arrow schema as the UI's Columns table, nested fields as dotted paths below their parent."""
    descriptions = descriptions or {}
    return dg.TableSchema(
        columns=[
            dg.TableColumn(
                name=display.text(path),
                type=type_name,
                description=display.prose(descriptions[path]) if path in descriptions else None,
            )
            for field in schema
            for path, type_name in _paths(field.name, field.type)
        ]
    )


def _paths(path: str, kind: pa.DataType) -> Iterable[tuple[str, str]]:
    if pa.types.is_struct(kind):
        yield path, "object"
        for child in kind:
            yield from _paths(f"{path}.{child.name}", child.type)
    elif pa.types.is_map(kind):
        yield path, "map"
    elif pa.types.is_list(kind):
        yield path, "array"
        if pa.types.is_struct(kind.value_type):
            for child in kind.value_type:
                yield from _paths(f"{path}[*].{child.name}", child.type)
    else:
        yield path, str(kind)


def column_lineage(upstream: dg.AssetKey, sources: Mapping[str, Iterable[str]]) -> dg.TableColumnLineage:
    """`sources` names, for each column of this asset, the columns of the upstream asset that it is made from."""
    return dg.TableColumnLineage(
        deps_by_column={
            display.text(column): [
                dg.TableColumnDep(asset_key=upstream, column_name=source) for source in sorted(set(names))
            ]
            for column, names in sources.items()
        }
    )


def rate(rows: int, seconds: float) -> float:
    """Rows a second, for the plot over partitions; 0 where nothing was timed."""
    return round(rows / seconds, 1) if seconds > 0 else 0.0
