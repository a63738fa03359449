"""Our numbers and tables in the names that the Dagster UI reads (`dagster/row_count`, `dagster/column_schema`, …).

What belongs here: turning manifests and frames into metadata values. What does not: reading or computing them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import dagster as dg
import orjson
import pyarrow as pa

CELL = 80
"""Characters of one cell in a preview table; the UI wraps beyond it."""

TEXT = 6_000
"""Characters of one JSON text in a preview."""


def table(
    rows: Iterable[Mapping[str, Any]], columns: list[str] | None = None, caption: str = ""
) -> dg.MarkdownMetadataValue:
    """Rows as a Markdown table, long cells cut, in the order of `columns` (or of the first row), below a caption."""
    rows = list(rows)
    above = f"{caption}\n\n" if caption else ""
    if not rows:
        return dg.MetadataValue.md(f"{above}(no rows)")
    columns = columns or list(rows[0])
    lines = ["| " + " | ".join(map(_cell, columns)) + " |", "|" + " --- |" * len(columns)]
    lines += ["| " + " | ".join(_cell(row.get(column)) for column in columns) + " |" for row in rows]
    return dg.MetadataValue.md(above + "\n".join(lines))


def texts(entries: Iterable[tuple[str, str]]) -> dg.MarkdownMetadataValue:
    """JSON texts below their titles, indented, long ones cut."""
    return dg.MetadataValue.md("\n\n".join(f"{title}\n\n```json\n{_indented(text)}\n```" for title, text in entries))


def _indented(text: str) -> str:
    shown = orjson.dumps(orjson.loads(text), option=orjson.OPT_INDENT_2).decode()
    return shown if len(shown) <= TEXT else f"{shown[:TEXT]}\n…"


def _cell(value: Any) -> str:
    text = "" if value is None else str(value)
    text = text if len(text) <= CELL else text[: CELL - 1] + "…"
    return text.replace("\\", "\\\\").replace("|", "\\|").replace("\n", "⏎").replace("`", "\\`")


def column_schema(schema: pa.Schema, descriptions: Mapping[str, str] | None = None) -> dg.TableSchema:
    """An Arrow schema as the UI's Columns table, nested fields as dotted paths below their parent."""
    descriptions = descriptions or {}
    return dg.TableSchema(
        columns=[
            dg.TableColumn(name=path, type=type_name, description=descriptions.get(path))
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
            column: [dg.TableColumnDep(asset_key=upstream, column_name=source) for source in sorted(set(names))]
            for column, names in sources.items()
        }
    )


def rate(rows: int, seconds: float) -> float:
    """Rows a second, for the plot over partitions; 0 where nothing was timed."""
    return round(rows / seconds, 1) if seconds > 0 else 0.0
