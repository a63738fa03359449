"""Targets as an XDM schema gives them: the type that a field's values convert to, and what its column can hold."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from typing import Any, Final

import polars as pl

from mixpanel_aep_assets.dataprep.interpreter.targets import TargetType, TypeName
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
