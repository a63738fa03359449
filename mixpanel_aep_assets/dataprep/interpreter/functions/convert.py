"""Type conversion and JSON functions."""

from __future__ import annotations

import math
import struct
from decimal import Decimal

from mixpanel_aep_assets.dataprep.interpreter.functions.function_registry import Kind, function
from mixpanel_aep_assets.dataprep.interpreter.records import NoJsonError, read_json
from mixpanel_aep_assets.dataprep.interpreter.values import Value, shown, to_json, to_number, to_text
from mixpanel_aep_assets.dataprep.language.mapping_errors import EvaluationError


@function("to_bigint", "to_integer", category="type_conversion", takes=(Kind.ANY,), gives=Kind.INTEGER, null_in=(0,))
def to_integer(value: Value) -> int:
    """A number, or text that reads as one; its fraction is cut off (data-prep.md#our-answers). Integers are of any size
    in both functions."""
    number = to_number(value)
    if isinstance(number, int):
        return number
    if isinstance(value, str):
        # Digits beyond the precision of a double count in text such as "9007199254740993.5".
        return int(Decimal(value))
    return math.trunc(number)


@function("to_decimal", category="type_conversion", takes=(Kind.ANY,), gives=Kind.NUMBER, null_in=(0,))
def to_decimal(value: Value) -> float:
    """A double."""
    return float(to_number(value))


@function("to_float", category="type_conversion", takes=(Kind.ANY,), gives=Kind.NUMBER, null_in=(0,))
def to_float(value: Value) -> float:
    """A number in single precision, given by its shortest decimal form, as Java prints it."""
    number = float(to_number(value))
    try:
        single = struct.unpack("<f", struct.pack("<f", number))[0]
    except OverflowError:
        raise EvaluationError(f"{shown(value)} is too large for a float") from None
    for digits in range(6, 10):
        text = f"{number:.{digits}g}"
        if struct.unpack("<f", struct.pack("<f", float(text)))[0] == single:
            return float(text)
    return float(single)


@function("json_to_object", category="json", takes=(Kind.ANY,), gives=Kind.ANY, null_in=(0,))
def json_to_object(text: Value) -> Value:
    """The value of a JSON text, of any kind. An object or an array is it already, as in the documentation's sample."""
    if isinstance(text, dict | list):
        return text
    try:
        value = read_json(to_text(text, "a JSON text"))
        to_json(value)
    except NoJsonError as error:
        raise EvaluationError(f"no JSON: {error}") from None
    except RecursionError:
        raise EvaluationError("no JSON: the value is nested too deeply") from None
    return value
