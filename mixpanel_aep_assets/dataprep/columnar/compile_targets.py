"""Conversion of vectors to the types of a target: `targets.convert` on whole columns, and its values put into columns.

A target column has the Polars type that the XDM schema gives its field; without a target nothing is converted.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from typing import Any, Final

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
from mixpanel_aep_assets.dataprep.interpreter.values import shown
from mixpanel_aep_assets.dataprep.language.mapping_errors import EvaluationError
from mixpanel_aep_assets.xdm.schema import Field

_NAMES: Final[Mapping[str, TypeName]] = {
    "string": "string",
    "double": "number",
    "long": "integer",
    "int": "integer",
    "short": "integer",
    "byte": "integer",
    "boolean": "boolean",
    "date": "date",
    "date_time": "date-time",
    "array": "array",
    "map": "map",
}


def target_type(field: Field, *, required: bool = False) -> TargetType:
    """What the plain evaluator converts to, for a field of an XDM schema.

    Required fields are the conformance's matter; `required` keeps them for those who only look.
    """
    if field.kind == "object":
        if not field.children:
            return TargetType()
        children = {child.name: target_type(child, required=required) for child in field.children}
        return TargetType("object", children, required=frozenset(field.required if required else ()))
    inner = field.items if field.kind == "array" else field.values if field.kind == "map" else None
    items = target_type(inner, required=required) if inner is not None else None
    return TargetType(_NAMES.get(field.kind, "any"), items=items)


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


_BITS: Final = {"Int8": 7, "Int16": 15, "Int32": 31}


def fitted(value: Any, dtype: pl.DataType) -> Any:
    """A converted value as a column of `dtype` takes it. Raises EvaluationError for one that does not fit."""
    if value is None:
        return None
    if isinstance(dtype, pl.Struct):
        return {field.name: fitted(value.get(field.name), _instance(field.dtype)) for field in dtype.fields}
    if isinstance(dtype, pl.List):
        return [fitted(item, _instance(dtype.inner)) for item in value]
    if isinstance(dtype, pl.Map):
        return {key: fitted(item, _instance(dtype.value)) for key, item in value.items()}
    if dtype.is_integer():
        bits = _BITS.get(str(dtype), 63)
        if not -(2**bits) <= value < 2**bits:
            raise EvaluationError(f"{shown(value)} is out of the range of an integer of {bits + 1} bits")
    elif dtype.is_float():
        try:
            return float(value)
        except OverflowError:
            raise EvaluationError(f"{shown(value)} is too large for a number") from None
    elif isinstance(value, dt.datetime):
        try:
            utc = value.astimezone(dt.UTC)
        except OverflowError:
            raise EvaluationError(f"{shown(value)} lies outside the years 1 to 9999 in UTC") from None
        return utc.replace(microsecond=utc.microsecond // 1000 * 1000)
    return value


def _instance(dtype: Any) -> pl.DataType:
    return dtype if isinstance(dtype, pl.DataType) else dtype()
