"""Checks of a mapping set before it runs (data-prep.md#errors): every problem with mapping, line, column and perhaps a
suggestion.

`check_expression` looks at one tree: functions, methods, numbers and kinds of arguments, constants such as patterns.
`validate` looks at a whole set: source and destination paths, and the target's fields where a target is known.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from mixpanel_aep_assets.dataprep.interpreter.date_formats import read_default
from mixpanel_aep_assets.dataprep.interpreter.functions import FUNCTIONS, Function, Kind
from mixpanel_aep_assets.dataprep.interpreter.methods import METHODS
from mixpanel_aep_assets.dataprep.interpreter.targets import Target, TargetType, TypeOf, convert, type_of
from mixpanel_aep_assets.dataprep.interpreter.values import number_of_text, shown
from mixpanel_aep_assets.dataprep.language.ast import (
    Array,
    Binary,
    Call,
    Conditional,
    Expression,
    Index,
    Lambda,
    Map,
    Member,
    Method,
    Path,
    Position,
    Unary,
    Value,
)
from mixpanel_aep_assets.dataprep.language.mapping_errors import EvaluationError, ExpressionError, nearest
from mixpanel_aep_assets.dataprep.language.mapping_set import Mapping, MappingSet, SourceType
from mixpanel_aep_assets.dataprep.language.parser import parse
from mixpanel_aep_assets.dataprep.language.paths import Steps, format_steps, iterations, parse_destination, parse_source

_CONTAINERS: Final = frozenset({Kind.ARRAY, Kind.OBJECT})
_UNREADABLE: Final = {
    Kind.ANY: frozenset(),
    Kind.BOOLEAN: frozenset(),
    Kind.NULL: frozenset(),
    Kind.LAMBDA: frozenset(),
    Kind.TEXT: _CONTAINERS,
    Kind.INTEGER: _CONTAINERS | {Kind.BOOLEAN, Kind.DATE},
    Kind.NUMBER: _CONTAINERS | {Kind.BOOLEAN, Kind.DATE},
    Kind.DATE: _CONTAINERS | {Kind.BOOLEAN, Kind.INTEGER, Kind.NUMBER},
    Kind.ARRAY: frozenset(Kind) - {Kind.ARRAY, Kind.ANY, Kind.NULL},
    Kind.OBJECT: frozenset(Kind) - {Kind.OBJECT, Kind.ANY, Kind.NULL},
}
"""For each kind of parameter, the kinds of argument that can never be read as it."""

_ARITHMETIC: Final = frozenset("-*/%|^&")
_COMPARISONS: Final = frozenset({"==", "!=", "<", "<=", ">", ">=", "=~", "!~", "=^", "!^", "=$", "!$", "&&", "||"})


def check_expression(tree: Expression) -> list[ExpressionError]:
    """All problems of an expression, in the order of its text. An empty list means that it can run."""
    checker = _Checker()
    checker.kind(tree, frozenset())
    return sorted(checker.problems, key=lambda problem: (problem.line, problem.column))


def checked(text: str) -> Expression:
    """The tree of an expression that can run. Raises the first ExpressionError otherwise."""
    tree = parse(text)
    for problem in check_expression(tree):
        raise problem
    return tree


class _Checker:
    """Walks a tree, collects problems, and infers the kind of every node as far as it is certain."""

    def __init__(self) -> None:
        self.problems: list[ExpressionError] = []

    def refuse(self, at: Position, message: str, suggestion: str | None = None) -> None:
        self.problems.append(ExpressionError.at(at, message, suggestion))

    def kind(self, node: Expression, variables: frozenset[str]) -> Kind:
        match node:
            case Value(value=value):
                return _literal_kind(value)
            case Path():
                return Kind.ANY
            case Member(target=target):
                self.kind(target, variables)
                return Kind.ANY
            case Index(target=target, index=index):
                self.kind(target, variables)
                self.kind(index, variables)
                return Kind.ANY
            case Call():
                return self.call(node, variables)
            case Method():
                return self.method(node, variables)
            case Unary(operator=operator, operand=operand):
                found = self.kind(operand, variables)
                if operator != "!":
                    self.operand(operand, found)
                return Kind.BOOLEAN if operator == "!" else Kind.NUMBER if operator == "-" else Kind.INTEGER
            case Binary():
                return self.binary(node, variables)
            case Conditional(test=test, then=then, otherwise=otherwise):
                kinds = {self.kind(test if then is None else then, variables), self.kind(otherwise, variables)}
                if then is not None:
                    self.kind(test, variables)
                return kinds.pop() if len(kinds) == 1 else Kind.ANY
            case Array(items=items):
                for item in items:
                    self.kind(item, variables)
                return Kind.ARRAY
            case Map(entries=entries):
                for key, item in entries:
                    if self.kind(key, variables) in _UNREADABLE[Kind.TEXT] | {Kind.NULL}:
                        self.refuse(key.at, "a key is a string or another scalar", "as in {'name': value}")
                    self.kind(item, variables)
                return Kind.OBJECT
            case Lambda():
                problem = "a lambda is allowed only as an argument of filterArray or transformArray"
                self.refuse(node.at, problem, "as in filterArray(items, x -> x.price > 0)")
                return Kind.LAMBDA

    def operand(self, node: Expression, kind: Kind) -> None:
        if kind in _CONTAINERS or kind is Kind.NULL:
            hint = "put a value in its place, as in coalesce(field, 0)" if kind is Kind.NULL else "take one value of it"
            self.refuse(node.at, f"{kind.value} cannot be calculated with", hint)

    def binary(self, node: Binary, variables: frozenset[str]) -> Kind:
        left, right = self.kind(node.left, variables), self.kind(node.right, variables)
        if node.operator in _COMPARISONS:
            return Kind.BOOLEAN
        self.operand(node.left, left)
        self.operand(node.right, right)
        if node.operator == "+":
            return Kind.TEXT if Kind.TEXT in {left, right} else Kind.ANY
        for side, kind in ((node.left, left), (node.right, right)):
            if isinstance(side, Value) and isinstance(side.value, str) and number_of_text(side.value) is None:
                problem = f"{node.operator} takes numbers, {shown(side.value)} does not read as one"
                self.refuse(side.at, problem, "texts are joined with + or concat")
            elif kind in {Kind.BOOLEAN, Kind.DATE}:
                hint = (
                    "use iif(condition, 1, 0), or brackets"
                    if kind is Kind.BOOLEAN
                    else "use date_part or set_date_part"
                )
                self.refuse(side.at, f"{node.operator} takes numbers, this is {kind.value}", hint)
        return Kind.NUMBER

    def call(self, node: Call, variables: frozenset[str]) -> Kind:
        function = FUNCTIONS.get(node.name)
        if function is None:
            self.refuse(node.at, f"there is no function {node.name}", _suggest_function(node.name))
        elif function.refusal is not None:
            self.refuse(node.at, f"{node.name} is not supported: {function.refusal}", function.instead)
        elif problem := function.count_problem(len(node.arguments)):
            self.refuse(node.at, problem, f"its form is {function.signature}")
            function = None
        for index, argument in enumerate(node.arguments):
            self.argument(node, function, index, argument, variables)
        return Kind.ANY if function is None else function.gives

    def argument(
        self, node: Call, function: Function | None, index: int, argument: Expression, variables: frozenset[str]
    ) -> None:
        wanted = Kind.ANY if function is None else function.kind_at(index)
        if isinstance(argument, Lambda) and (function is None or wanted is Kind.LAMBDA):
            self.kind(argument.body, variables | {argument.parameter})
            return
        if wanted is Kind.LAMBDA:
            self.refuse(argument.at, f"argument {index + 1} of {node.name} is a lambda", "for example x -> x > 0")
        found = self.kind(argument, variables)
        if found in _UNREADABLE[wanted]:
            problem = f"argument {index + 1} of {node.name} is {wanted.value}, this is {found.value}"
            self.refuse(argument.at, problem, None if function is None else f"its form is {function.signature}")
        elif isinstance(argument, Value) and function is not None:
            wrong = _constant_problem(function, index, argument.value)
            if wrong:
                self.refuse(argument.at, wrong, f"its form is {function.signature}")

    def method(self, node: Method, variables: frozenset[str]) -> Kind:
        receiver = self.kind(node.target, variables)
        for argument in node.arguments:
            self.kind(argument, variables)
        method = METHODS.get(node.name)
        if method is None:
            close = nearest(node.name, METHODS)
            known = ", ".join(METHODS)
            self.refuse(
                node.at, f"there is no method {node.name}", f"did you mean {close}?" if close else f"there are {known}"
            )
            return Kind.ANY
        if len(node.arguments) != method.arguments:
            noun = "argument" if method.arguments == 1 else "arguments"
            form = f"its form is value.{node.name}({', '.join(['value'] * method.arguments)})"
            self.refuse(node.at, f".{node.name}() takes {method.arguments} {noun}, {len(node.arguments)} given", form)
        if method.on is Kind.TEXT and receiver not in {Kind.TEXT, Kind.ANY, Kind.NULL}:
            problem = f".{node.name}() is a method of texts, this is {receiver.value}"
            self.refuse(node.at, problem, "convert it to a string, as in concat(value)")
        return method.gives


def _literal_kind(value: Any) -> Kind:
    if value is None:
        return Kind.NULL
    if isinstance(value, bool):
        return Kind.BOOLEAN
    if isinstance(value, str):
        return Kind.TEXT
    return Kind.INTEGER if isinstance(value, int) else Kind.NUMBER


def _suggest_function(name: str) -> str:
    if name in METHODS:
        return f"{name} is a method: write value.{name}(...)"
    close = nearest(name, (known for known, function in FUNCTIONS.items() if function.refusal is None))
    return f"did you mean {close}?" if close else "`mixpanel-aep mapping functions` lists what there is"


def _constant_problem(function: Function, index: int, value: Any) -> str | None:
    """What is wrong with a literal argument, found by reading it now as it would be read on every row."""
    wanted = function.kind_at(index)
    try:
        if wanted in {Kind.INTEGER, Kind.NUMBER} and isinstance(value, str) and number_of_text(value) is None:
            return f"argument {index + 1} of {function.name} is {wanted.value}, {shown(value)} does not read as one"
        if wanted is Kind.INTEGER and isinstance(value, float) and not value.is_integer():
            return f"argument {index + 1} of {function.name} is an integer, found {value}"
        if wanted is Kind.DATE and isinstance(value, str):
            read_default(value)
        if index in function.constants and value is not None:
            function.constants[index](value)
    except EvaluationError as error:
        return str(error)
    return None


@dataclass(frozen=True)
class Problem:
    """One problem of a mapping. `part` is `source` or `destination`; line and column count within that part, from 1."""

    number: int
    mapping: Mapping
    part: str
    error: ExpressionError

    def to_json(self) -> dict[str, Any]:
        """Adobe's shape of an error, with the place and the suggestion added."""
        return {
            "source": self.mapping.source,
            "destination": self.mapping.destination,
            "sourceType": self.mapping.source_type.value,
            "columnName": None,
            "exception": self.error.message,
            "part": self.part,
            "line": self.error.line,
            "column": self.error.column,
            "suggestion": self.error.suggestion,
        }

    def __str__(self) -> str:
        return f"mapping {self.number} ({self.mapping.destination}), {self.part}, {self.error}"


@dataclass(frozen=True)
class Validation:
    """The outcome for a set: the problems of each mapping, in order."""

    problems: tuple[tuple[Problem, ...], ...] = field(repr=False)

    @property
    def ok(self) -> bool:
        return not any(self.problems)

    def __iter__(self) -> Iterator[Problem]:
        return (problem for problems in self.problems for problem in problems)

    def to_json(self) -> list[dict[str, Any]]:
        """One entry per mapping, as the Platform's validate call answers."""
        return [
            {"status": "FAILED", "errors": [problem.to_json() for problem in problems]}
            if problems
            else {"status": "SUCCESS", "errors": None}
            for problems in self.problems
        ]


def validate(mapping_set: MappingSet, target: Target | None = None) -> Validation:
    """Checks every mapping. Without `target` the schema that the set itself carries is used, if it carries one."""
    types = type_of(mapping_set.output_schema if target is None else target)
    return Validation(
        tuple(
            tuple(Problem(number, mapping, part, error) for part, error in _mapping_problems(mapping, types))
            for number, mapping in enumerate(mapping_set.mappings, start=1)
        )
    )


def _mapping_problems(mapping: Mapping, types: TypeOf | None) -> list[tuple[str, ExpressionError]]:
    problems: list[tuple[str, ExpressionError]] = []
    try:
        match mapping.source_type:
            case SourceType.ATTRIBUTE:
                parse_source(mapping.source)
            case SourceType.EXPRESSION:
                problems += [("source", error) for error in check_expression(parse(mapping.source))]
            case SourceType.STATIC:
                pass
    except ExpressionError as error:
        problems.append(("source", error))
    try:
        steps = parse_destination(mapping.destination)
        if mapping.source_type is SourceType.STATIC and iterations(steps):
            problem = "a constant has no elements to iterate over with [*]"
            problems.append(("destination", ExpressionError(problem, suggestion="name one element, as in [0]")))
        if types is not None:
            problems += _target_problems(mapping, steps, types)
    except ExpressionError as error:
        problems.append(("destination", error))
    return problems


def _target_problems(mapping: Mapping, steps: Steps, types: TypeOf) -> list[tuple[str, ExpressionError]]:
    target = types(mapping.destination)
    if target is None:
        return [("destination", _unknown_destination(steps, types))]
    if mapping.source_type is SourceType.STATIC:
        try:
            convert(mapping.source, target)
        except EvaluationError as error:
            problem = f"the constant does not fit the {target.name} field: {error}"
            hint = _CONSTANTS.get(target.name, "use an expression, or a field of the input")
            return [("source", ExpressionError(problem, suggestion=hint))]
    return []


_CONSTANTS: Final = {
    "boolean": "write true or false",
    "integer": "write digits alone",
    "number": "write digits, with a point before decimals",
    "date": "write it as 2026-01-31",
    "date-time": "write it as 2026-01-31T10:00:00Z",
}
_SHOWN_FIELDS: Final = 8


def _unknown_destination(steps: Sequence[Any], types: TypeOf) -> ExpressionError:
    """Names the first step that the target lacks, and the field it may stand for."""
    for length in range(1, len(steps) + 1):
        path = format_steps(tuple(steps[:length]))
        if types(path) is None:
            parent_path = format_steps(tuple(steps[: length - 1]))
            parent = types(parent_path)
            name = steps[length - 1].name
            close = nearest(name, parent.fields) if parent is not None and name is not None else None
            return ExpressionError(
                f"the target schema has no field {path}",
                1,
                len(parent_path) + 1,
                f"did you mean {close}?" if close else _fields_there(parent, name),
            )
    return ExpressionError("the target schema has no such field", suggestion="see `mixpanel-aep mapping coverage`")


def _fields_there(parent: TargetType | None, name: str | None) -> str:
    """What may stand below a place of the target."""
    if parent is None or (name is None) != (parent.name == "array"):
        kind = "no field" if parent is None else "an array, write [0] or [*]" if parent.name == "array" else parent.name
        return f"this place is {kind}"
    fields = sorted(parent.fields)
    more = ", ..." if len(fields) > _SHOWN_FIELDS else ""
    return (
        f"the fields here are {', '.join(fields[:_SHOWN_FIELDS])}{more}" if fields else f"this place is {parent.name}"
    )
