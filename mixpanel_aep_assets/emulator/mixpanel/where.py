"""The expressions of `where` and `on`: grammar and semantics of mixpanel.md#expressions.

`compile_where` turns the text into a predicate over an event. Values are None (null), bool, float, int, str, list, or
`UNDEFINED`, which is what comparisons of unlike kinds, absent properties and impossible arithmetic give.
"""

from __future__ import annotations

import datetime
import functools
import json
import math
import operator
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lark import Lark, Token, Tree

GRAMMAR = r"""
?start: disjunction
?disjunction: conjunction ("or" conjunction)*
?conjunction: negation ("and" negation)*
?negation: "not" negation -> not_ | comparison
?comparison: sum (COMPARE sum)?
?sum: product (SIGN product)*
?product: unary (FACTOR unary)*
?unary: "-" unary -> minus | atom
?atom: SOURCE "[" STRING "]" -> property
     | NUMBER -> number
     | STRING -> string
     | "true" -> true
     | "false" -> false
     | "[" [disjunction ("," disjunction)*] "]" -> list
     | FUNCTION "(" disjunction ")" -> call
     | "(" disjunction ")"
SOURCE.2: "properties" | "event" | "user"
FUNCTION.2: "floor" | "round" | "ceil" | "boolean" | "number" | "string" | "defined" | "datetime"
COMPARE.2: "==" | "!=" | ">=" | "<=" | ">" | "<" | /in\b/
SIGN: "+" | "-"
FACTOR: "*" | "/" | "%"
NUMBER: /\d+(\.\d+)?([eE][+-]?\d+)?/
STRING: /"(\\.|[^"\\])*"/
%ignore /\s+/
"""


class WhereError(Exception):
    """The text is no expression; the message says where it stops to be one."""


class Undefined:
    """The kind of what is not there."""

    def __repr__(self) -> str:
        return "undefined"


UNDEFINED = Undefined()
Event = dict[str, Any]
Evaluate = Callable[[Event], Any]


def compile_where(text: str) -> Callable[[Event], bool]:
    """A predicate over `{"event", "properties"}`. Raises `WhereError`."""
    from lark.exceptions import LarkError

    try:
        tree = _parser().parse(text)
    except LarkError as error:
        raise WhereError(str(error).splitlines()[0]) from None
    evaluate = _compile(tree)
    return lambda event: _truth(evaluate(event))


@functools.cache
def _parser() -> Lark:
    from lark import Lark

    return Lark(GRAMMAR, parser="lalr", maybe_placeholders=False)


def _compile(node: Tree[Token]) -> Evaluate:
    children: list[Any] = node.children
    match node.data:
        case "disjunction":
            return _logical([_compile(child) for child in children], stop=True)
        case "conjunction":
            return _logical([_compile(child) for child in children], stop=False)
        case "not_":
            inner = _compile(children[0])
            return lambda event: not _truth(inner(event))
        case "comparison":
            return _compare(str(children[1]), _compile(children[0]), _compile(children[2]))
        case "sum" | "product":
            return _chain(children)
        case "minus":
            inner = _compile(children[0])
            return lambda event: -value if _is_number(value := inner(event)) else UNDEFINED
        case "property":
            return _property(str(children[0]), json.loads(children[1], strict=False))
        case "number":
            number = float(children[0])
            return lambda _: number
        case "string":
            text = json.loads(children[0], strict=False)
            return lambda _: text
        case "true" | "false":
            value = node.data == "true"
            return lambda _: value
        case "list":
            items = [_compile(child) for child in children]
            return lambda event: [item(event) for item in items]
        case _:
            return _call(str(children[0]), _compile(children[1]))


def _property(source: str, name: str) -> Evaluate:
    if source == "user":
        return lambda _: UNDEFINED  # profiles are joined at query time only
    aliases = {"$time": "time", "$distinct_id": "distinct_id"}
    name = aliases.get(name, name)
    if name == "$event_name":
        return lambda event: event["event"]
    return lambda event: event["properties"].get(name, UNDEFINED)


def _logical(parts: list[Evaluate], *, stop: bool) -> Evaluate:
    def evaluate(event: Event) -> bool:
        return next((stop for part in parts if _truth(part(event)) is stop), not stop)

    return evaluate


def _truth(value: Any) -> bool:
    if value is UNDEFINED or value is None:
        return False
    if isinstance(value, bool):
        return value
    raise WhereError(f"{value!r} is not a boolean")


def _compare(symbol: str, left: Evaluate, right: Evaluate) -> Evaluate:
    ordering = {">": operator.gt, ">=": operator.ge, "<": operator.lt, "<=": operator.le}

    def evaluate(event: Event) -> Any:
        a, b = left(event), right(event)
        match symbol:
            case "==":
                return _equal(a, b)
            case "!=":
                return not _equal(a, b)
            case "in":
                if isinstance(b, list):
                    return any(_equal(a, item) for item in b)
                return a in b if isinstance(a, str) and isinstance(b, str) else UNDEFINED
        a, b = _moment(a, b), _moment(b, a)
        return ordering[symbol](a, b) if _is_number(a) and _is_number(b) else UNDEFINED

    return evaluate


class _Moment(float):
    """A datetime literal: seconds since the epoch, comparable with `time`, which is seconds or milliseconds."""


def _moment(value: Any, other: Any) -> Any:
    if isinstance(other, _Moment) and not isinstance(value, _Moment) and _is_number(value) and value > 1e10:
        return value / 1000
    return value


def _equal(a: Any, b: Any) -> bool:
    if _is_number(a) and _is_number(b):
        return bool(a == b)
    return type(a) is type(b) and bool(a == b)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _chain(children: list[Any]) -> Evaluate:
    first = _compile(children[0])
    rest = [(str(symbol), _compile(operand)) for symbol, operand in zip(children[1::2], children[2::2], strict=True)]

    def evaluate(event: Event) -> Any:
        value = first(event)
        for symbol, operand in rest:
            value = _arithmetic(symbol, value, operand(event))
        return value

    return evaluate


def _arithmetic(symbol: str, a: Any, b: Any) -> Any:
    if symbol == "+" and isinstance(a, str) and isinstance(b, str):
        return a + b
    if not (_is_number(a) and _is_number(b)):
        return UNDEFINED
    match symbol:
        case "+":
            return a + b
        case "-":
            return a - b
        case "*":
            return a * b
    if b == 0:
        return UNDEFINED
    return a / b if symbol == "/" else math.fmod(a, b)


def _call(name: str, inner: Evaluate) -> Evaluate:
    rounding: dict[str, Callable[[float], int]] = {"floor": math.floor, "ceil": math.ceil, "round": round}

    def evaluate(event: Event) -> Any:
        value = inner(event)
        match name:
            case "defined":
                return value is not UNDEFINED
            case "boolean":
                return value is not UNDEFINED and bool(value)
            case "number":
                return _to_number(value)
            case "string":
                return _to_string(value)
            case "datetime":
                return _to_moment(value)
        return rounding[name](value) if _is_number(value) else UNDEFINED

    return evaluate


def _to_number(value: Any) -> Any:
    if isinstance(value, bool):
        return int(value)
    if isinstance(value, str):
        try:
            return float(value)
        except ValueError:
            return UNDEFINED
    return value if _is_number(value) else UNDEFINED


def _to_string(value: Any) -> Any:
    if value is UNDEFINED or isinstance(value, str):
        return value
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return json.dumps(value)


def _to_moment(value: Any) -> Any:
    if _is_number(value):
        return _Moment(value)
    try:
        return _Moment(datetime.datetime.fromisoformat(value).replace(tzinfo=datetime.UTC).timestamp())
    except (TypeError, ValueError):
        return UNDEFINED
