"""Conversion of vectors to the types of a target: `targets.convert` on whole columns, and its values put into columns.

A target column has the Polars type that the XDM schema gives its field; without a target nothing is converted.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import polars as pl

from mixpanel_aep_assets.dataprep.columnar.columns import (
    ARRAYS,
    FALSE,
    TRUE,
    Escape,
    NotNativeError,
    Vector,
    either,
    integer,
    number,
    others,
    text,
    unbounded,
    united,
)
from mixpanel_aep_assets.dataprep.columnar.compile_dates import read_default
from mixpanel_aep_assets.dataprep.interpreter.targets import FALSE_TEXTS, TRUE_TEXTS, TargetType, TypeName
from mixpanel_aep_assets.xdm.schema import Field

_DTYPES: Final[Mapping[TypeName, pl.DataType]] = {
    "string": pl.String(),
    "integer": pl.Int64(),
    "number": pl.Float64(),
    "boolean": pl.Boolean(),
    "date": pl.Date(),
    "date-time": pl.Datetime("ms", "UTC"),
}


def column_type(target: TargetType, field: Field | None = None) -> pl.DataType | None:
    """The type of a destination's column: that of the XDM field, if there is one. None for values of any type."""
    if field is not None:
        return field.polars_type()
    inner = column_type(target.items) if target.items is not None else None
    match target.name:
        case "object":
            members = {name: column_type(one) for name, one in target.fields.items()}
            known = {name: dtype for name, dtype in members.items() if dtype is not None}
            return pl.Struct(known) if known and len(known) == len(members) else None
        case "array":
            return None if inner is None else pl.List(inner)
        case "map":
            return None if inner is None else pl.Map(pl.String(), inner)
        case name:
            return _DTYPES.get(name)


def converted(vector: Vector, target: TargetType, dtype: pl.DataType) -> tuple[pl.Expr, Escape]:
    """The column of `dtype`, and the rows whose value the plain evaluator has to convert or to refuse."""
    native = vector.columns.get("native")
    if native is not None:
        # A derived structure comes in the shape of its field; the layout of the target is given to it when it is written.
        return native, vector.escape
    match target.name:
        case "string":
            values = text(vector)
            return values.columns.get("text", pl.lit(None, dtype=pl.String)), values.escape
        case "boolean":
            return _boolean(vector)
        case "integer":
            return _integer(vector, dtype)
        case "number":
            numbers = number(vector)
            columns = [column.cast(dtype) for column in numbers.columns.values()]
            infinite = numbers.columns.get("decimal")
            return united(columns, "decimal"), either(numbers.escape, None if infinite is None else unbounded(infinite))
        case "date-time":
            moments = read_default(vector)
            return moments.columns.get("moment", pl.lit(None)).cast(dtype), moments.escape
        case "date":
            moments = read_default(vector)
            return moments.columns.get("moment", pl.lit(None)).cast(pl.Date), moments.escape
        case "array":
            return _array(vector, target.items or TargetType(), dtype)
        case _:
            return pl.lit(None, dtype=dtype), either(vector.escape, others(vector))


def _boolean(vector: Vector) -> tuple[pl.Expr, Escape]:
    columns: list[pl.Expr] = []
    mask: Escape = None
    if "boolean" in vector.columns:
        columns.append(vector.columns["boolean"])
    if "text" in vector.columns:
        column = vector.columns["text"]
        known = pl.when(column.is_in(sorted(TRUE_TEXTS))).then(TRUE).when(column.is_in(sorted(FALSE_TEXTS))).then(FALSE)
        columns.append(known)
        mask = column.is_not_null() & known.is_null()
    return united(columns, "boolean"), either(vector.escape, mask, others(vector, "boolean", "text"))


def _integer(vector: Vector, dtype: pl.DataType) -> tuple[pl.Expr, Escape]:
    whole = integer(vector)
    column = whole.columns.get("integer", pl.lit(None, dtype=pl.Int64))
    if dtype == pl.Int64:
        return column, whole.escape
    fitting = column.cast(dtype, strict=False)
    return fitting, either(whole.escape, column.is_not_null() & fitting.is_null())


def _array(vector: Vector, items: TargetType, dtype: pl.DataType) -> tuple[pl.Expr, Escape]:
    if not isinstance(dtype, pl.List):
        raise NotNativeError("an array without a column type")
    inner = dtype.inner
    if not isinstance(inner, pl.DataType):
        inner = inner()
    columns: list[pl.Expr] = []
    masks: list[Escape] = [vector.escape, others(vector, *ARRAYS)]
    for kind, column in vector.columns.items():
        if kind in ARRAYS:
            values, mask = converted(Vector({ARRAYS[kind]: pl.element()}), items, inner)
            columns.append(column.list.eval(values))
            if mask is not None:
                masks.append(column.list.eval(mask).list.any().fill_null(value=False))
    return pl.coalesce(columns) if columns else pl.lit(None, dtype=dtype), either(*masks)
