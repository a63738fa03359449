"""Writing values into the row under construction, by destination path (data-prep.md#source-paths)."""

from __future__ import annotations

from typing import Any

from mixpanel_aep_assets.dataprep.interpreter.values import kind_of
from mixpanel_aep_assets.dataprep.language.mapping_errors import EvaluationError
from mixpanel_aep_assets.dataprep.language.paths import Steps


def put(row: dict[str, Any], steps: Steps, value: Any, *, keep_nulls: bool = False) -> None:
    """Writes `value`, which the row may keep, at a path; missing objects and array elements on the way are made.

    Null leaves nothing behind unless `keep_nulls` (data-prep.md#null-attributes). Under `[*]` the value is an array,
    whose elements go to the
    elements of the same position (data-prep.md#iteration). Raises EvaluationError when the path crosses a value of another kind.
    """
    if value is not None or keep_nulls:
        _placed(row, steps, value, keep_nulls)


def _placed(holder: Any, steps: Steps, value: Any, keep_nulls: bool) -> Any:
    """What stands at a place after writing below it; `holder` is what stood there before."""
    if not steps:
        return value
    step, rest = steps[0], steps[1:]
    if step.name is not None:
        fields = _expected(holder, {})
        inner = _placed(fields.get(step.name), rest, value, keep_nulls)
        if inner is not None or keep_nulls:
            fields[step.name] = inner
        return fields
    items = _expected(holder, [])
    if step.index is not None:
        _extend(items, step.index + 1)
        items[step.index] = _placed(items[step.index], rest, value, keep_nulls)
        return items
    if value is None:
        return holder
    if not isinstance(value, list):
        raise EvaluationError(f"the destination iterates with [*], which takes an array, found {kind_of(value)}")
    _extend(items, len(value))
    for position, item in enumerate(value):
        items[position] = _placed(items[position], rest, item, keep_nulls)
    return items


def _expected(holder: Any, empty: Any) -> Any:
    if holder is None:
        return empty
    if type(holder) is not type(empty):
        raise EvaluationError(f"the destination needs {kind_of(empty)} where another mapping wrote {kind_of(holder)}")
    return holder


def _extend(items: list[Any], length: int) -> None:
    items.extend([None] * (length - len(items)))
