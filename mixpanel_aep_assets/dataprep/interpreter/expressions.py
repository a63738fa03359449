"""A tree turned once into nested Python closures, so that a row costs calls and no dispatch.

Rules of values are in `values.py`, of operators in `operators.py`, of functions in `functions/`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from mixpanel_aep_assets.dataprep.interpreter.context import EvaluationContext
from mixpanel_aep_assets.dataprep.interpreter.functions import FUNCTIONS, Style
from mixpanel_aep_assets.dataprep.interpreter.methods import METHODS
from mixpanel_aep_assets.dataprep.interpreter.operators import BINARY, complement, negate
from mixpanel_aep_assets.dataprep.interpreter.records import value_at
from mixpanel_aep_assets.dataprep.interpreter.values import Value, size, to_integer, to_text, truth
from mixpanel_aep_assets.dataprep.language import bounds
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
    Step,
    Unary,
)
from mixpanel_aep_assets.dataprep.language.ast import Value as Literal
from mixpanel_aep_assets.dataprep.language.mapping_errors import EvaluationError

Record = Mapping[str, Any]
_UNFORESEEN: Final = (ArithmeticError, AttributeError, LookupError, TypeError, ValueError)


class Scope:
    """What a closure sees of one record: the record, the context, lambda parameters, and the work that is left."""

    __slots__ = ("context", "record", "remaining", "root", "variables")

    def __init__(self, record: Record, context: EvaluationContext, root: Scope | None = None) -> None:
        self.record = record
        self.context = context
        self.root = root or self
        self.variables: dict[str, Value] = {}
        self.remaining = bounds.LAMBDA_WORK

    def with_variable(self, name: str, value: Value) -> Scope:
        inner = Scope(self.record, self.context, self.root)
        inner.variables = {**self.variables, name: value}
        return inner

    def charge(self, value: Value) -> None:
        """Takes what a lambda has made from the work that one expression may do on one record."""
        self.root.remaining -= size(value, self.root.remaining)
        if self.root.remaining <= 0:
            raise EvaluationError(f"the lambdas of this expression make more than {bounds.LAMBDA_WORK} values")


Closure = Callable[[Scope], Value]


def compile_closure(tree: Expression, variables: frozenset[str] = frozenset()) -> Closure:
    """The closure of a checked tree (`validation.checked`)."""
    match tree:
        case Literal(value=value):
            return lambda _: value
        case Path(steps=steps):
            return path_closure(steps, in_variable=steps[0].name in variables)
        case Member(target=target, name=name):
            return _member(compile_closure(target, variables), name)
        case Index(target=target, index=index):
            return _index(compile_closure(target, variables), compile_closure(index, variables))
        case Call():
            return _call(tree, variables)
        case Method():
            return _method(tree, variables)
        case Unary(operator=operator, operand=operand):
            return _unary(operator, compile_closure(operand, variables))
        case Binary(operator=operator, left=left, right=right):
            return _binary(operator, compile_closure(left, variables), compile_closure(right, variables))
        case Conditional():
            return _conditional(tree, variables)
        case Array(items=items):
            closures = [compile_closure(item, variables) for item in items]
            return lambda scope: [item(scope) for item in closures]
        case Map(entries=entries):
            return _map([(compile_closure(key, variables), compile_closure(item, variables)) for key, item in entries])
        case Lambda(parameter=parameter, body=body):
            return _lambda(parameter, compile_closure(body, variables | {parameter}))


def path_closure(steps: Sequence[Step], *, in_variable: bool) -> Closure:
    """Reads a path of the record, or of the lambda parameter that its first step names."""
    if in_variable:
        variable, rest = steps[0].name or "", steps[1:]
        return lambda scope: value_at(scope.variables[variable], rest)
    if all(step.name is not None for step in steps):
        names = [step.name for step in steps]

        def by_names(scope: Scope) -> Value:
            value: Any = scope.record
            for name in names:
                if not isinstance(value, dict):
                    return None
                value = value.get(name)
            return value

        return by_names
    return lambda scope: value_at(scope.record, steps)


def _member(target: Closure, name: str) -> Closure:
    def member(scope: Scope) -> Value:
        value = target(scope)
        return value.get(name) if isinstance(value, dict) else None

    return member


def _index(target: Closure, index: Closure) -> Closure:
    """An element by number, or a field by name; null when there is none."""

    def element(scope: Scope) -> Value:
        value, key = target(scope), index(scope)
        if key is None:
            return None
        if isinstance(value, dict):
            return value.get(to_text(key, "a key"))
        if isinstance(value, list):
            at = to_integer(key, "an index")
            return value[at] if 0 <= at < len(value) else None
        return None

    return element


def _call(tree: Call, variables: frozenset[str]) -> Closure:
    function = FUNCTIONS[tree.name]
    arguments = tree.arguments
    if tree.name == "object_to_map" and len(arguments) == 2:
        return _object_to_map(arguments, variables)
    closures = [compile_closure(argument, variables) for argument in arguments]
    body = function.body
    if function.style is Style.LAZY:
        return lambda scope: body(scope, *closures)
    if function.style is Style.CONTEXT:
        return lambda scope: body(scope.context)
    bound = function.bound(len(closures))
    return lambda scope: bound([argument(scope) for argument in closures])


def _object_to_map(arguments: Sequence[Expression], variables: frozenset[str]) -> Closure:
    """With an array as the first argument, a bare name as the second is the name itself and not a field
    (data-prep.md#our-answers)."""
    bound = FUNCTIONS["object_to_map"].bound(2)
    first, second = (compile_closure(argument, variables) for argument in arguments)
    name = arguments[1]
    if not (isinstance(name, Path) and len(name.steps) == 1):
        return lambda scope: bound([first(scope), second(scope)])
    bare = name.steps[0].name

    def by_name(scope: Scope) -> Value:
        value = first(scope)
        return bound([value, bare if isinstance(value, list) else second(scope)])

    return by_name


def _method(tree: Method, variables: frozenset[str]) -> Closure:
    target = compile_closure(tree.target, variables)
    arguments = [compile_closure(argument, variables) for argument in tree.arguments]
    body = METHODS[tree.name].body

    def call(scope: Scope) -> Value:
        value = target(scope)
        return None if value is None else body(value, *[argument(scope) for argument in arguments])

    return call


def _unary(operator: str, operand: Closure) -> Closure:
    if operator == "!":
        return lambda scope: not truth(operand(scope))
    change = negate if operator == "-" else complement
    return lambda scope: change(operand(scope))


def _binary(operator: str, left: Closure, right: Closure) -> Closure:
    if operator == "&&":
        return lambda scope: truth(left(scope)) and truth(right(scope))
    if operator == "||":
        return lambda scope: truth(left(scope)) or truth(right(scope))
    apply = BINARY[operator]
    return lambda scope: apply(left(scope), right(scope))


def _conditional(tree: Conditional, variables: frozenset[str]) -> Closure:
    test = compile_closure(tree.test, variables)
    otherwise = compile_closure(tree.otherwise, variables)
    if tree.then is not None:
        then = compile_closure(tree.then, variables)
        return lambda scope: then(scope) if truth(test(scope)) else otherwise(scope)

    def elvis(scope: Scope) -> Value:
        value = test(scope)
        return otherwise(scope) if value is None or value is False else value

    return elvis


def _map(entries: Sequence[tuple[Closure, Closure]]) -> Closure:
    return lambda scope: {to_text(key(scope), "a key"): value(scope) for key, value in entries}


def _lambda(parameter: str, body: Closure) -> Closure:
    def bind(scope: Scope) -> Value:
        def call(value: Value) -> Value:
            result = body(scope.with_variable(parameter, value))
            scope.charge(result)
            return result

        return call

    return bind


def run(closure: Closure, record: Record, context: EvaluationContext) -> Value:
    """The value for one record. Raises EvaluationError, and nothing else for whatever the record holds."""
    try:
        return closure(Scope(record, context))
    except RecursionError:
        raise EvaluationError("the value is nested too deeply") from None
    except OverflowError:
        raise EvaluationError("a number is too large for this calculation") from None
    except _UNFORESEEN as error:
        raise EvaluationError(f"cannot be computed: {type(error).__name__}: {error}") from error
