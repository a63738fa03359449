"""Trees of expressions to vectors: one typed Polars expression per node, for the kinds that a batch's sources have.

Three ways for a function: columns (`compile_functions.py`); its own body once per distinct combination of arguments (a
`ByValue` step, run before the expressions); or none, and then the plain evaluator runs the whole mapping
(NotNativeError). How a mapping set is put together from vectors is `compiled_mapping.py`.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import polars as pl

from mixpanel_aep_assets.dataprep.columnar.columns import (
    ARRAY_OF,
    ARRAYS,
    NULL,
    SCALARS,
    TRUE,
    NotNativeError,
    Vector,
    booleans,
    choose,
    constant,
    either,
    integer,
    number,
    only,
    present,
    text,
    truth,
    within,
)
from mixpanel_aep_assets.dataprep.columnar.compile_dates import read_default
from mixpanel_aep_assets.dataprep.columnar.compile_functions import METHODS, NATIVE, array
from mixpanel_aep_assets.dataprep.columnar.compile_operators import BINARY, complement, equals, negate, negation, same
from mixpanel_aep_assets.dataprep.columnar.compile_patterns import matching
from mixpanel_aep_assets.dataprep.columnar.json_columns import DTYPES, JsonKind, Steps
from mixpanel_aep_assets.dataprep.columnar.python_fallbacks import Note, note_of
from mixpanel_aep_assets.dataprep.interpreter import operators, values
from mixpanel_aep_assets.dataprep.interpreter.context import EvaluationContext
from mixpanel_aep_assets.dataprep.interpreter.functions import FUNCTIONS, Function, Style
from mixpanel_aep_assets.dataprep.interpreter.functions import Kind as Parameter
from mixpanel_aep_assets.dataprep.interpreter.methods import METHODS as METHOD_BODIES
from mixpanel_aep_assets.dataprep.language.ast import (
    Array,
    Binary,
    Call,
    Conditional,
    Expression,
    Index,
    Lambda,
    Member,
    Method,
    Path,
    Unary,
    Value,
)
from mixpanel_aep_assets.dataprep.language.mapping_errors import EvaluationError

_CONVERT: Final[Mapping[Parameter, Callable[[Vector], Vector]]] = {
    Parameter.TEXT: text,
    Parameter.INTEGER: integer,
    Parameter.NUMBER: number,
    Parameter.BOOLEAN: lambda vector: booleans(truth(vector), vector.escape),
    Parameter.DATE: read_default,
    Parameter.ARRAY: lambda vector: only(vector, *ARRAYS),
}
_LOOK_UP_FROM: Final = 3
_LARGE: Final = 8000
"""Characters of a printed expression from which on it is computed as columns of its own."""
_MOST_PARTS: Final = 50
"""Arguments of a native function, elements of an array: Polars recurses over them."""

_RESULTS: Final[Mapping[Parameter, tuple[JsonKind, ...]]] = {
    Parameter.TEXT: ("text",),
    Parameter.INTEGER: ("integer",),
    Parameter.NUMBER: ("integer", "decimal"),
    Parameter.BOOLEAN: ("boolean",),
    Parameter.DATE: ("moment",),
    Parameter.ARRAY: ("texts",),
}
_PYTHON_TYPES: Final[Mapping[JsonKind, type]] = {
    "text": str,
    "integer": int,
    "decimal": float,
    "boolean": bool,
    "moment": dt.datetime,
}


@dataclass(frozen=True)
class ByValue:
    """A call that runs its own Python body, once for each distinct combination of argument values in a batch.

    `arguments` are columns by argument and kind. The results go to columns `name.kind`; `name.escape` marks rows whose result is
    an error, or of a kind that is not in `kinds`. Without arguments the body is called once per batch (`now()`).
    """

    name: str
    function: Function
    count: int
    arguments: tuple[tuple[int, JsonKind, pl.Expr], ...]
    constants: tuple[tuple[int, Any], ...]
    kinds: tuple[JsonKind, ...]

    def run(self, frame: pl.DataFrame, context: EvaluationContext) -> pl.DataFrame:
        """The frame with the result columns."""
        columns = [expression.alias(f"{index}.{kind}") for index, kind, expression in self.arguments]
        rows = frame.lazy().select("row", *columns).drop("row").collect().rows() if columns else [()]
        found: dict[tuple[Any, ...], Any] = {}
        for row in rows:
            if row not in found:
                found[row] = self._result(row, context)
        results = [found[row] for row in rows]
        series: list[pl.Series] = []
        taken = [self._kind_of(value) for value in results]
        for kind in self.kinds:
            values = [value if one == kind else None for value, one in zip(results, taken, strict=True)]
            series.append(pl.Series(f"{self.name}.{kind}", values, dtype=DTYPES[kind]))
        escape = [value is not None and one is None for value, one in zip(results, taken, strict=True)]
        series.append(pl.Series(f"{self.name}.escape", escape, dtype=pl.Boolean))
        if columns:
            return frame.with_columns(series)
        return frame.with_columns([pl.lit(one).first().alias(one.name) for one in series])

    def _result(self, row: tuple[Any, ...], context: EvaluationContext) -> Any:
        arguments: list[Any] = [None] * self.count
        for (index, _, _), value in zip(self.arguments, row, strict=True):
            if value is not None:
                arguments[index] = value
        for index, value in self.constants:
            arguments[index] = value
        try:
            if self.function.style is Style.CONTEXT:
                return self.function.body(context)
            return self.function.bound(self.count)(arguments)
        except (EvaluationError, ArithmeticError, LookupError, TypeError, ValueError) as error:
            return error

    def _kind_of(self, value: Any) -> JsonKind | None:
        for kind in self.kinds:
            if kind == "texts":
                fits = isinstance(value, list) and all(item is None or type(item) is str for item in value)
            else:
                fits = type(value) is _PYTHON_TYPES[kind]
            if fits and kind == "integer":
                fits = -(2**63) <= value < 2**63
            if fits and kind == "moment":
                fits = value.tzinfo is dt.UTC
            if fits:
                return kind
        return None

    def vector(self) -> Vector:
        columns = {kind: pl.col(f"{self.name}.{kind}") for kind in self.kinds}
        return Vector(columns, pl.col(f"{self.name}.escape"))


@dataclass(frozen=True)
class Computed:
    """A vector that is computed as columns of the batch, so that what is built on it refers to them.

    Expressions are trees: without this, one that uses its parts several times, again and again, would grow beyond measure.
    """

    name: str
    source: Vector

    def run(self, frame: pl.DataFrame, _context: EvaluationContext) -> pl.DataFrame:
        """The frame with the columns."""
        columns = [column.alias(f"{self.name}.{kind}") for kind, column in self.source.columns.items()]
        if self.source.escape is not None:
            columns.append(self.source.escape.alias(f"{self.name}.escape"))
        if self.source.moments is not None:
            columns.append(self.source.moments.alias(f"{self.name}.moments"))
        return frame.with_columns(columns)

    def vector(self) -> Vector:
        columns = {kind: pl.col(f"{self.name}.{kind}") for kind in self.source.columns}
        return Vector(
            columns,
            None if self.source.escape is None else pl.col(f"{self.name}.escape"),
            moments=None if self.source.moments is None else pl.col(f"{self.name}.moments"),
        )


Step = ByValue | Computed
"""What adds columns to a batch before the expressions run."""


class ExpressionCompiler:
    """Compiles expressions over sources of known kinds.

    `sources` has a vector for each path. `steps` collects what must run before the expressions, in order; `notes` what of
    them runs in Python, until the caller empties it.
    """

    def __init__(self, sources: Mapping[Steps, Vector]) -> None:
        self._sources = sources
        self._variables: dict[str, Vector] = {}
        self.steps: list[Step] = []
        self.notes: list[Note] = []

    def compile(self, node: Expression) -> Vector:
        """The node's vector. Raises NotNativeError with the reason when it has none."""
        return self._bounded(self._compiled(node))

    def _bounded(self, vector: Vector) -> Vector:
        """The vector, as columns of its own when its expressions have become large."""
        if vector.is_constant:
            return vector
        parts = [*vector.columns.values(), vector.escape, vector.moments]
        if sum(len(str(part)) for part in parts if part is not None) <= _LARGE:
            return vector
        if self._variables:
            raise NotNativeError("a lambda whose body is a large expression")
        step = Computed(f"v{len(self.steps)}", vector)
        self.steps.append(step)
        return step.vector()

    def _compiled(self, node: Expression) -> Vector:
        match node:
            case Value(value=value):
                return constant(value)
            case Path(steps=steps):
                return self._path(steps)
            case Unary(operator=operator, operand=operand):
                return self._unary(operator, self.compile(operand))
            case Binary(operator=operator, left=left, right=right):
                return self._binary(operator, self.compile(left), self.compile(right))
            case Conditional(test=test, then=then, otherwise=otherwise):
                if then is None:
                    return _elvis(self.compile(test), self.compile(otherwise))
                return _conditional(self.compile(test), self.compile(then), self.compile(otherwise))
            case Array(items=items):
                return self._array([self.compile(item) for item in items])
            case Call():
                return self._call(node)
            case Method(target=target, name=name, arguments=arguments):
                return self._method(self.compile(target), name, [self.compile(one) for one in arguments])
            case Index(target=target, index=index):
                return self._index(self.compile(target), self.compile(index))
            case Member():
                raise NotNativeError(f"the member {node.name!r} of a computed object")
            case _:
                raise NotNativeError("an object literal" if not isinstance(node, Lambda) else "a lambda")

    def _path(self, steps: Steps) -> Vector:
        name = steps[0].name or ""
        if self._variables:
            # Inside list.eval only the element can be seen.
            if name in self._variables and len(steps) == 1:
                return self._variables[name]
            raise NotNativeError("a lambda that reads more than the element itself")
        return self._sources[steps]

    def _unary(self, operator: str, operand: Vector) -> Vector:
        if operator == "!":
            return constant(not values.truth(operand.constant)) if operand.is_constant else negation(operand)
        if operand.is_constant:
            change = operators.negate if operator == "-" else operators.complement
            return _folded(lambda: change(operand.constant))
        return negate(operand) if operator == "-" else complement(operand)

    def _binary(self, operator: str, left: Vector, right: Vector) -> Vector:
        if operator in ("&&", "||"):
            if left.is_constant:
                decided = values.truth(left.constant) != (operator == "&&")
                return constant(operator == "||") if decided else booleans(truth(right), right.escape)
            known, other = truth(left), truth(right)
            decisive = known if operator == "&&" else ~known
            value = known & other if operator == "&&" else known | other
            return booleans(value, left.escape, within(decisive, right.escape))
        if left.is_constant and right.is_constant:
            return _folded(lambda: operators.BINARY[operator](left.constant, right.constant))
        if operator in ("=~", "!~") and isinstance(right.constant, str):
            whole = text(left)
            found = matching(whole.columns["text"], right.constant) if whole.columns else pl.lit(None, pl.Boolean)
            result = booleans(found.fill_null(value=False), whole.escape)
            return negation(result) if operator == "!~" else result
        return BINARY[operator](left, right)

    def _array(self, items: Sequence[Vector]) -> Vector:
        if all(item.is_constant for item in items):
            return constant([item.constant for item in items])
        if len(items) > _MOST_PARTS:
            raise NotNativeError(f"an array of more than {_MOST_PARTS} elements")
        return array(items)

    def _index(self, target: Vector, index: Vector) -> Vector:
        at = index.constant
        if type(at) is not int or at < 0:
            raise NotNativeError("an index that is computed")
        kinds = [kind for kind in target.columns if kind in ARRAYS]
        columns = {ARRAYS[kind]: target.columns[kind].list.get(at, null_on_oob=True) for kind in kinds}
        unknown = [target.columns[kind].is_not_null() for kind in ("json", "native") if kind in target.columns]
        return Vector(columns, either(target.escape, *unknown))

    def _call(self, node: Call) -> Vector:
        function = FUNCTIONS[node.name]
        name = function.alias_of or function.name
        if name == "iif":
            return _conditional(*(self.compile(one) for one in node.arguments))
        if name == "decode":
            return self._decode([self.compile(one) for one in node.arguments])
        if name in ("filterArray", "transformArray"):
            return self._over_elements(name, node.arguments)
        if function.style is Style.LAZY or name == "object_to_map":
            raise NotNativeError(f"{node.name} needs the whole record")
        if function.style is Style.CONTEXT and name not in ("now", "timestamp"):
            raise NotNativeError(f"{node.name} gives another value in each row")
        arguments = [self.compile(one) for one in node.arguments]
        if name == "nullify":
            return NULL
        if all(one.is_constant for one in arguments) and function.style is Style.PLAIN:
            return _folded(lambda: function.bound(len(arguments))([one.constant for one in arguments]))
        if any(arguments[at].constant is None for at in function.null_in if at < len(arguments)):
            return NULL.escaping(*(one.escape for one in arguments))
        try:
            if name in ("min", "max") and len(arguments) > 2:
                return self._pairwise(name, function, arguments)
            return self._native(name, function, arguments)
        except NotNativeError as error:
            return self._by_value(function, arguments, error)

    def _pairwise(self, name: str, function: Function, arguments: Sequence[Vector]) -> Vector:
        best = arguments[0]
        for value in arguments[1:]:
            best = self._bounded(self._native(name, function, [best, value]))
        return best

    def _native(self, name: str, function: Function, arguments: Sequence[Vector]) -> Vector:
        if name not in NATIVE:
            raise NotNativeError(f"{name} has no column form")
        if len(arguments) > _MOST_PARTS:
            raise NotNativeError(f"{name} with more than {_MOST_PARTS} arguments")
        if any("native" in one.columns for one in arguments):
            raise NotNativeError("a derived structure can only be mapped as it is")
        converted = [
            _converted(one, function.kind_at(index)) if function.takes else one for index, one in enumerate(arguments)
        ]
        result = NATIVE[name](converted)
        return result.escaping(*(one.escape for one in arguments), *(one.escape for one in converted))

    def _by_value(self, function: Function, arguments: Sequence[Vector], reason: NotNativeError) -> Vector:
        """The body once per distinct arguments. The kinds of its results are those that its registration names."""
        kinds = _RESULTS.get(function.gives)
        if kinds is None or self._variables:
            raise reason
        if arguments:
            self.notes.append(note_of(function, str(reason)))
        masks = [one.escape for one in arguments]
        masks += [only(one, *SCALARS).escape for one in arguments if not one.is_constant]
        given: list[tuple[int, JsonKind, pl.Expr]] = []
        constants: list[tuple[int, Any]] = []
        for index, one in enumerate(arguments):
            if one.is_constant:
                constants.append((index, one.constant))
            else:
                given += [(index, kind, column) for kind, column in one.columns.items() if kind in SCALARS]
        step = ByValue(f"v{len(self.steps)}", function, len(arguments), tuple(given), tuple(constants), kinds)
        self.steps.append(step)
        return step.vector().escaping(*masks)

    def _decode(self, arguments: Sequence[Vector]) -> Vector:
        wanted, *options = arguments
        looked_up = _looked_up(wanted, options)
        if looked_up is not None:
            return looked_up
        result = options[-1] if len(options) % 2 else NULL
        for at in range(len(options) // 2 * 2 - 2, -1, -2):
            found = equals(wanted, options[at])
            result = self._bounded(choose(truth(found), options[at + 1], result).escaping(found.escape))
        return result.escaping(wanted.escape)

    def _over_elements(self, name: str, arguments: Sequence[Expression]) -> Vector:
        source, function = self.compile(arguments[0]), arguments[1]
        if not isinstance(function, Lambda) or self._variables:
            raise NotNativeError("a lambda within a lambda")
        columns: dict[JsonKind, pl.Expr] = {}
        masks = [source.escape, only(source, *ARRAYS).escape]
        for kind, column in only(source, *ARRAYS).columns.items():
            self._variables = {function.parameter: Vector({ARRAYS[kind]: pl.element()})}
            try:
                body = self.compile(function.body)
            finally:
                self._variables = {}
            if body.escape is not None:
                masks.append(column.list.eval(body.escape).list.any().fill_null(value=False))
            if name == "filterArray":
                columns[kind] = column.list.eval(pl.element().filter(truth(body)))
                continue
            if len(body.columns) != 1 or not body.columns.keys() <= ARRAY_OF.keys():
                raise NotNativeError("a lambda whose results are of several types")
            ((result, changed),) = body.columns.items()
            if ARRAY_OF[result] in columns:
                raise NotNativeError("a lambda whose results are of several types")
            columns[ARRAY_OF[result]] = column.list.eval(changed)
        return Vector(columns, either(*masks))

    def _method(self, target: Vector, name: str, arguments: Sequence[Vector]) -> Vector:
        if target.is_constant and target.constant is None:
            return NULL
        if target.is_constant and all(one.is_constant for one in arguments):
            return _folded(lambda: METHOD_BODIES[name].body(target.constant, *(one.constant for one in arguments)))
        known = present(target)
        if name == "equals":
            found = same(target, arguments[0])
            rows = pl.when(known).then(found.columns["boolean"])
            return Vector({"boolean": rows}, either(target.escape, within(known, found.escape)))
        if name not in METHODS:
            raise NotNativeError(f".{name}() of a computed object")
        result = METHODS[name]([target, *arguments])
        masks = [within(known, one.escape) for one in arguments]
        return result.escaping(target.escape, *masks)


def _converted(vector: Vector, kind: Parameter) -> Vector:
    if vector.is_constant:
        value = vector.constant
        if value is None or kind is Parameter.ANY:
            return vector
    convert = _CONVERT.get(kind)
    if convert is None:
        if kind is Parameter.ANY:
            return vector
        raise NotNativeError(f"an argument that is {kind.value}")
    result = convert(vector)
    if vector.is_constant and result.escape is None and kind in (Parameter.TEXT, Parameter.ARRAY):
        return vector if isinstance(vector.constant, str | list) else result
    if type(vector.constant) is int and kind in (Parameter.INTEGER, Parameter.NUMBER):
        return vector
    if type(vector.constant) is bool and kind is Parameter.BOOLEAN:
        return vector
    return result


def _folded(evaluate: Callable[[], Any]) -> Vector:
    """A constant expression, evaluated now."""
    try:
        return constant(evaluate())
    except EvaluationError:
        # An error in every row that comes here; the evaluator words it.
        return Vector({}, TRUE)


def _conditional(test: Vector, then: Vector, otherwise: Vector) -> Vector:
    if test.is_constant and test.escape is None:
        return then if values.truth(test.constant) else otherwise
    return choose(truth(test), then, otherwise).escaping(test.escape)


def _looked_up(wanted: Vector, options: Sequence[Vector]) -> Vector | None:
    """`decode` of texts over constant texts, as one look-up however many options there are."""
    pairs = [(options[at].constant, options[at + 1].constant) for at in range(0, len(options) - 1, 2)]
    default = options[-1] if len(options) % 2 else NULL
    if len(pairs) < _LOOK_UP_FROM or not default.columns.keys() <= {"text"} or "text" not in wanted.columns:
        return None
    if not all(isinstance(key, str) and isinstance(value, str) for key, value in pairs):
        return None
    first = dict(reversed(pairs))
    column = wanted.columns["text"]
    found = column.replace_strict(
        list(first), list(first.values()), default=default.columns.get("text", pl.lit(None)), return_dtype=pl.String
    )
    # A null matches no text; a number or a boolean may, after a conversion that is the evaluator's.
    return Vector({"text": found}, either(wanted.escape, default.escape, only(wanted, "text").escape))


def _elvis(value: Vector, otherwise: Vector) -> Vector:
    """The value, unless it is null or false."""
    taken = present(value)
    if "boolean" in value.columns:
        taken = taken & value.columns["boolean"].fill_null(value=True)
    return choose(taken, replace(value, escape=None), otherwise).escaping(value.escape)
