"""The operators of the language on values (data-prep.md#expressions). Short-circuit ones (`&&`, `||`, `?:`) are the evaluator's.

Every function takes two values and gives one, or raises EvaluationError. Null in arithmetic is an error
(data-prep.md#our-answers).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Final

from mixpanel_aep_assets.dataprep.interpreter import regular_expressions
from mixpanel_aep_assets.dataprep.interpreter.values import (
    Value,
    bounded,
    equal,
    is_number,
    kind_of,
    less,
    same,
    to_integer,
    to_number,
    to_text,
)
from mixpanel_aep_assets.dataprep.language import bounds
from mixpanel_aep_assets.dataprep.language.mapping_errors import EvaluationError


def add(left: Value, right: Value) -> Value:
    """Numbers add; if either side is text, the texts are joined."""
    if is_number(left) and is_number(right):
        return _bounded(left + right)
    if (isinstance(left, str) or isinstance(right, str)) and left is not None and right is not None:
        return bounded(to_text(left) + to_text(right))
    raise EvaluationError(f"{kind_of(left)} and {kind_of(right)} cannot be added")


def subtract(left: Value, right: Value) -> Value:
    return _bounded(to_number(left) - to_number(right))


def multiply(left: Value, right: Value) -> Value:
    return _bounded(to_number(left) * to_number(right))


def divide(left: Value, right: Value) -> Value:
    """Two integers divide with truncation, as in Java; division by zero is an error."""
    dividend, divisor = to_number(left), to_number(right)
    if divisor == 0:
        raise EvaluationError("division by zero")
    if isinstance(dividend, int) and isinstance(divisor, int):
        quotient = abs(dividend) // abs(divisor)
        return quotient if (dividend < 0) == (divisor < 0) else -quotient
    return _bounded(dividend / divisor)


def remainder(left: Value, right: Value) -> Value:
    """The remainder has the sign of the dividend, as in Java."""
    dividend, divisor = to_number(left), to_number(right)
    if divisor == 0:
        raise EvaluationError("division by zero")
    result = abs(dividend) % abs(divisor)
    return -result if dividend < 0 else result


def negate(value: Value) -> Value:
    return -to_number(value)


def complement(value: Value) -> Value:
    return ~to_integer(value)


def matches(left: Value, right: Value) -> bool:
    """`=~`: the whole text matches a regular expression, or the value is in an array or among an object's keys."""
    if left is None or right is None:
        return left is right
    if isinstance(right, list):
        return any(same(left, item) for item in right)
    if isinstance(right, dict):
        return left in right if isinstance(left, str) else False
    return regular_expressions.full_match(to_text(left), to_text(right))


def starts_with(left: Value, right: Value) -> bool:
    return left is right if left is None or right is None else to_text(left).startswith(to_text(right))


def ends_with(left: Value, right: Value) -> bool:
    return left is right if left is None or right is None else to_text(left).endswith(to_text(right))


def _less(left: Value, right: Value) -> bool:
    return left is not None and right is not None and less(left, right)


def _at_most(left: Value, right: Value) -> bool:
    return left is not None and right is not None and not less(right, left)


def _bounded(number: int | float) -> int | float:
    if isinstance(number, int):
        if number.bit_length() > bounds.INTEGER_BITS:
            raise EvaluationError(f"the integer has more than {bounds.INTEGER_BITS} bits")
        return number
    if number - number != 0:
        raise EvaluationError("the result is too large for a number")
    return number


BINARY: Final[Mapping[str, Callable[[Value, Value], Value]]] = MappingProxyType(
    {
        "+": add,
        "-": subtract,
        "*": multiply,
        "/": divide,
        "%": remainder,
        "==": equal,
        "!=": lambda left, right: not equal(left, right),
        "<": _less,
        "<=": _at_most,
        ">": lambda left, right: _less(right, left),
        ">=": lambda left, right: _at_most(right, left),
        "=~": matches,
        "!~": lambda left, right: not matches(left, right),
        "=^": starts_with,
        "!^": lambda left, right: not starts_with(left, right),
        "=$": ends_with,
        "!$": lambda left, right: not ends_with(left, right),
        "|": lambda left, right: to_integer(left) | to_integer(right),
        "^": lambda left, right: to_integer(left) ^ to_integer(right),
        "&": lambda left, right: to_integer(left) & to_integer(right),
    }
)
"""Every binary operator that always evaluates both sides, by its symbol."""
