"""Values of single mappings for single rows, by the plain evaluator: for what has no columns, and for rows that escape.

A value depends on the mapping's sources alone, so rows whose sources are alike are evaluated once.
"""

from __future__ import annotations

from collections.abc import Mapping as Mapped
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import polars as pl

from mixpanel_aep_assets.dataprep.columnar.json_columns import Layout
from mixpanel_aep_assets.dataprep.interpreter.context import EvaluationContext
from mixpanel_aep_assets.dataprep.interpreter.expressions import Closure, compile_closure, path_closure, run
from mixpanel_aep_assets.dataprep.interpreter.records import decode_object, flattened
from mixpanel_aep_assets.dataprep.interpreter.schema_targets import fitted
from mixpanel_aep_assets.dataprep.interpreter.targets import TargetType, convert_nested
from mixpanel_aep_assets.dataprep.interpreter.values import to_json
from mixpanel_aep_assets.dataprep.language.ast import Expression, Path
from mixpanel_aep_assets.dataprep.language.mapping_errors import EvaluationError


class Records:
    """The records of a batch, decoded when they are asked for. `derived` maps a path of names to its column."""

    def __init__(self, frame: pl.DataFrame, layout: Layout, derived: Mapped[str, str], *, flat: bool) -> None:
        self._frame = frame
        self._layout = layout
        self._derived = derived
        self._flat = flat
        self._known: dict[int, dict[str, Any]] = {}

    def __getitem__(self, row: int) -> dict[str, Any]:
        if row not in self._known:
            self._known[row] = self._record(row)
        return self._known[row]

    def _record(self, row: int) -> dict[str, Any]:
        if self._layout == "record":
            return decode_object(self._frame.item(row, "record"))
        event, properties = self._frame.item(row, "event"), decode_object(self._frame.item(row, "properties"))
        record: dict[str, Any] = {"event": event, "properties": properties}
        if self._flat:
            record["data"] = flattened(event, properties)
        for path, column in self._derived.items():
            *parents, name = path.split(".")
            holder = record
            for parent in parents:
                holder = holder.setdefault(parent, {})
            value = self._frame.item(row, column)
            holder[name] = value.to_list() if isinstance(value, pl.Series) else value
        return record


@dataclass(frozen=True)
class RowMapping:
    """One mapping for the plain evaluator. Under `nested` times `[*]` the target is that of the innermost elements.

    `repeatable` tells that equal sources give equal values: neither random, nor dependent on the rest of the record.
    """

    tree: Expression
    is_attribute: bool
    target: TargetType | None
    dtype: pl.DataType | None
    nested: int = 0
    repeatable: bool = True

    def values(
        self, records: Records, rows: Sequence[int], keys: pl.DataFrame, context: EvaluationContext
    ) -> tuple[list[Any], dict[int, str]]:
        """The values of these rows, as the column takes them, and the errors by row. `keys` tells sources apart."""
        closure = self._closure()
        known: dict[Any, Any] = {}
        values: list[Any] = []
        errors: dict[int, str] = {}
        for row, key in zip(rows, _keys(keys, len(rows)) if self.repeatable else rows, strict=True):
            if key not in known:
                known[key] = self._value(closure, records[row], context)
            found = known[key]
            if isinstance(found, EvaluationError):
                errors[row] = str(found)
                found = None
            values.append(found)
        return values, errors

    def _closure(self) -> Closure:
        if self.is_attribute and isinstance(self.tree, Path):
            return path_closure(self.tree.steps, in_variable=False)
        return compile_closure(self.tree)

    def _value(self, closure: Closure, record: dict[str, Any], context: EvaluationContext) -> Any:
        try:
            value = run(closure, record, context)
            if self.target is None or self.dtype is None:
                return to_json(value)
            # What no text of JSON can hold is refused, though the column takes the value itself.
            to_json(value := convert_nested(value, self.target, self.nested))
            return fitted(value, self.dtype)
        except EvaluationError as error:
            return error
        except RecursionError:
            return EvaluationError("the value is nested too deeply")


def _keys(frame: pl.DataFrame, count: int) -> list[tuple[Any, ...]]:
    """Hashable rows. Decimals as text, in which the two zeros differ; lists as they are printed."""
    columns = [
        pl.col(name).cast(pl.String) if dtype.is_float() else pl.col(name) for name, dtype in frame.schema.items()
    ]
    rows = frame.select(columns).rows() if columns else [()] * count
    if any(dtype.is_nested() or dtype == pl.Binary for dtype in frame.dtypes):
        return [(repr(row),) for row in rows]
    return rows
