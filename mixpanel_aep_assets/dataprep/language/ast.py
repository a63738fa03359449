"""The typed tree of an expression of Adobe's mapping language. What the parser makes, and what all evaluators read.

Positions are 1-based line and column in the expression's text, for error messages.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal


@dataclass(frozen=True)
class Position:
    line: int = 1
    column: int = 1


NOWHERE = Position()


@dataclass(frozen=True)
class Value:
    """A literal: text, integer, decimal, true, false, null."""

    value: str | int | float | bool | None
    at: Position = field(default=NOWHERE, compare=False)


@dataclass(frozen=True)
class Step:
    """One step of a path: a member by name, an element by number, or every element (`[*]`)."""

    name: str | None = None
    index: int | None = None
    every: bool = False


@dataclass(frozen=True)
class Path:
    """A field of the input record, from its root. `steps` hold names without escapes."""

    steps: tuple[Step, ...]
    at: Position = field(default=NOWHERE, compare=False)


@dataclass(frozen=True)
class Member:
    """`target.name` where the target is no plain path."""

    target: Expression
    name: str
    at: Position = field(default=NOWHERE, compare=False)


@dataclass(frozen=True)
class Index:
    """`target[index]` where the index is computed or the target is no plain path."""

    target: Expression
    index: Expression
    at: Position = field(default=NOWHERE, compare=False)


@dataclass(frozen=True)
class Call:
    """`name(arguments…)`."""

    name: str
    arguments: tuple[Expression, ...]
    at: Position = field(default=NOWHERE, compare=False)


@dataclass(frozen=True)
class Method:
    """`target.name(arguments…)`."""

    target: Expression
    name: str
    arguments: tuple[Expression, ...]
    at: Position = field(default=NOWHERE, compare=False)


@dataclass(frozen=True)
class Unary:
    operator: Literal["-", "~", "!"]
    operand: Expression
    at: Position = field(default=NOWHERE, compare=False)


@dataclass(frozen=True)
class Binary:
    """`operator` is the symbol, also where the text had the word (`and` is `&&`, `eq` is `==`)."""

    operator: str
    left: Expression
    right: Expression
    at: Position = field(default=NOWHERE, compare=False)


@dataclass(frozen=True)
class Conditional:
    """`test ? then : otherwise`; the Elvis form `a ?: b` has `then` None and gives `a` unless it is null or false."""

    test: Expression
    then: Expression | None
    otherwise: Expression
    at: Position = field(default=NOWHERE, compare=False)


@dataclass(frozen=True)
class Array:
    items: tuple[Expression, ...]
    at: Position = field(default=NOWHERE, compare=False)


@dataclass(frozen=True)
class Map:
    entries: tuple[tuple[Expression, Expression], ...]
    at: Position = field(default=NOWHERE, compare=False)


@dataclass(frozen=True)
class Lambda:
    """`parameter -> body`, only as an argument of a function that takes one."""

    parameter: str
    body: Expression
    at: Position = field(default=NOWHERE, compare=False)


Expression = Value | Path | Member | Index | Call | Method | Unary | Binary | Conditional | Array | Map | Lambda
