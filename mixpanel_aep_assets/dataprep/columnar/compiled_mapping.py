"""A mapping set compiled for dataframes: JSON text of events in, columns of the target out, and the errors by row.

The way of a batch: `json_columns.py` makes columns of the fields that the set reads; `compile.py` makes expressions for
the kinds that are there (kept for the next batch of the same kinds); all mappings are computed in one query; rows that
escaped, and mappings that have no columnar form, go through the plain evaluator (`row_values.py`), which is the law;
`row_assembly.py` builds the row. Required fields are not looked at here: that is the conformance of the target.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import msgspec
import polars as pl

from mixpanel_aep_assets.dataprep.columnar.columns import (
    ARRAYS,
    NULL,
    SCALARS,
    NotNativeError,
    Vector,
    either,
    iso,
    others,
    unbounded,
)
from mixpanel_aep_assets.dataprep.columnar.compile import ExpressionCompiler, Step
from mixpanel_aep_assets.dataprep.columnar.compile_targets import column_type, converted
from mixpanel_aep_assets.dataprep.columnar.json_columns import (
    DTYPES,
    KINDS,
    ColumnDecoder,
    JsonKind,
    Layout,
    column_name,
)
from mixpanel_aep_assets.dataprep.columnar.memoization import ROW, Shared, by_combination, sharing
from mixpanel_aep_assets.dataprep.columnar.python_fallbacks import Extent, Fallback, Note, likely_kinds, notes_of
from mixpanel_aep_assets.dataprep.columnar.row_assembly import Placed, fold
from mixpanel_aep_assets.dataprep.columnar.row_values import Records, RowMapping
from mixpanel_aep_assets.dataprep.interpreter.context import EvaluationContext
from mixpanel_aep_assets.dataprep.interpreter.functions import FUNCTIONS, Style
from mixpanel_aep_assets.dataprep.interpreter.records import columns_of
from mixpanel_aep_assets.dataprep.interpreter.schema_targets import fitted, target_type
from mixpanel_aep_assets.dataprep.interpreter.targets import TargetType, convert
from mixpanel_aep_assets.dataprep.interpreter.validation import validate
from mixpanel_aep_assets.dataprep.language.ast import Call, Expression, Lambda, Path, Value
from mixpanel_aep_assets.dataprep.language.mapping_errors import EvaluationError, MappingSetError
from mixpanel_aep_assets.dataprep.language.mapping_set import Mapping as MappingOfSet
from mixpanel_aep_assets.dataprep.language.mapping_set import MappingSet, SourceType
from mixpanel_aep_assets.dataprep.language.parser import children, nodes, parse
from mixpanel_aep_assets.dataprep.language.paths import Steps, format_steps, iterations, parse_destination, parse_source
from mixpanel_aep_assets.xdm.schema import Field, Schema

Kinds = tuple[tuple[JsonKind, ...], ...]
"""The kinds that each source has in a batch."""

ERRORS: Final = pl.Schema(
    {
        "row": pl.UInt32,
        "mapping": pl.UInt32,
        "destination": pl.String,
        "source": pl.String,
        "source_type": pl.String,
        "exception": pl.String,
    }
)
"""Errors of a batch: the row in it (from 0), the mapping in the set (from 0), and Adobe's fields of an error."""

_TOLD: Final = 10
"""Problems of a refused set that its error tells."""

_MOST_STEPS: Final = 24
"""Steps of one mapping, each of which keeps columns of a whole batch until the mapping is computed."""

_LARGE: Final = 7
"""Functions in a mapping's source from which it is computed for each combination of values (`distinct`)."""

_PLANS: Final = 32
"""Combinations of kinds for which expressions are made. Batches of yet others use one plan for all the kinds seen."""


@dataclass(frozen=True)
class MappedFrame:
    """The mapped rows, in order, and what failed (`ERRORS`).

    `frame` has one column per root of the destinations. Without a target type a root may hold values of several types:
    the columns in `json_columns` hold JSON texts then.
    """

    frame: pl.DataFrame
    errors: pl.DataFrame
    json_columns: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Mapping:
    index: int
    mapping: MappingOfSet
    tree: Expression
    steps: Steps
    sources: tuple[Steps, ...]
    rows: RowMapping

    @property
    def is_typed(self) -> bool:
        return self.rows.target is not None and self.rows.dtype is not None


@dataclass(frozen=True)
class _Output:
    """Where a computed mapping stands in the query's result: its value by kind (one without kind when typed)."""

    columns: tuple[tuple[JsonKind | None, str], ...]
    escape: str | None


@dataclass(frozen=True)
class _Plan:
    """How batches of certain kinds are computed."""

    expressions: tuple[pl.Expr, ...]
    shared: tuple[Shared, ...]
    diverse: set[Shared]
    """Of `shared`, what had too many combinations in a batch, and is computed with the rest from then on."""
    staged: tuple[tuple[tuple[Step, ...], tuple[pl.Expr, ...]], ...]
    """Mappings that need steps before their expressions, each on its own, so that its columns go when it is done."""
    outputs: Mapping[int, _Output]
    notes: Mapping[int, tuple[Note, ...]]

    def without_steps(self, batch: pl.DataFrame) -> pl.DataFrame:
        """The columns of the mappings that need no steps, and the numbers of the rows."""
        apart: list[pl.Series] = []
        together = list(self.expressions)
        for one in self.shared:
            found = None if one in self.diverse else by_combination(batch, one)
            if found is None:
                self.diverse.add(one)
                together += one.expressions
            else:
                apart += found.get_columns()
        return batch.lazy().select(pl.col(ROW), *together).collect().hstack(apart)


def compile_mapping(
    mapping_set: MappingSet,
    target: Schema | None = None,
    derived: Mapping[str, str] | None = None,
    *,
    layout: Layout = "event",
    context: EvaluationContext | None = None,
) -> CompiledMapping:
    """Compiles a mapping set. Raises MappingSetError, with the first problems, for a set that is not valid.

    `target` types the result; without it the JSON Schema that the set carries is used, and without that nothing is
    converted. `derived` maps source paths such as `mixpanel.id` to columns of the input frame.
    """
    root = target.root if target is not None else None
    types = target_type(root) if root is not None else None
    if types is None and mapping_set.output_schema is not None:
        types = TargetType.from_json_schema(mapping_set.output_schema)
    problems = validate(mapping_set, types)
    if not problems.ok:
        told = [str(problem) for problem in problems]
        rest = [f"… and {len(told) - _TOLD} more"] if len(told) > _TOLD else []
        raise MappingSetError("the mapping set is refused:\n" + "\n".join(told[:_TOLD] + rest))
    prepared = [_prepared(index, mapping, types, root) for index, mapping in enumerate(mapping_set.mappings)]
    # Outer destinations first, so that a specific mapping overrides what a copy of its parent wrote (data-prep.md#object-copy).
    prepared.sort(key=lambda one: len(one.steps))
    return CompiledMapping(tuple(prepared), dict(derived or {}), layout, context, mapping_set.allow_null_values)


class CompiledMapping:
    """A mapping set ready for batches. Holds no state of a run; can be sent to a worker process.

    Made by `compile_mapping`. Batches of some 32,000 rows are a good size: what is made per batch is spread over them.
    """

    def __init__(
        self,
        mappings: tuple[_Mapping, ...],
        derived: Mapping[str, str],
        layout: Layout,
        context: EvaluationContext | None,
        keep_nulls: bool,
    ) -> None:
        self._mappings = mappings
        self._derived = derived
        self._layout = layout
        self._context = context
        self._keep_nulls = keep_nulls
        self._decoder = ColumnDecoder((path for one in mappings for path in one.sources), derived, layout)
        self._flat = any(path[0].name == "data" for path in self._decoder.paths) or any(
            not one.rows.repeatable for one in mappings
        )
        self._plans: dict[Kinds, _Plan] = {}
        self._widest: Kinds = ()

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_plans": {}}

    @property
    def sources(self) -> tuple[Steps, ...]:
        """The source paths that the set reads, each once."""
        return self._decoder.paths

    @property
    def lineage(self) -> dict[str, frozenset[str]]:
        """Root of the destinations -> the columns of the input frame that its mappings read; no root of constants alone."""
        read: dict[str, frozenset[str]] = {}
        for one in self._mappings:
            columns = [columns_of(path, self._derived, self._layout) for path in one.sources]
            root = one.steps[0].name or ""
            read[root] = read.get(root, frozenset()).union(*columns)
        return {root: columns for root, columns in read.items() if columns}

    @property
    def fallbacks(self) -> tuple[Fallback, ...]:
        """What of the mappings runs in Python for ordinary values, in the set's order."""
        trees = [one.tree for one in self._mappings]
        notes = self._plan(likely_kinds(self.sources, trees)).notes
        return tuple(
            Fallback(one.index, one.mapping.source, one.mapping.destination, note.extent, note.reason)
            for one in sorted(self._mappings, key=lambda one: one.index)
            for note in notes.get(one.index, ())
        )

    def apply(self, frame: pl.DataFrame) -> MappedFrame:
        """Maps a batch. `frame` has `event` and `properties` (layout `event`) or `record`, and the derived columns."""
        decoded = self._decoder.decode(frame)
        plan, missing = self._plan_for(decoded.kinds)
        rows = pl.DataFrame({ROW: pl.int_range(len(frame), dtype=pl.UInt32, eager=True)})
        batch = rows.hstack(decoded.frame).with_columns(missing)
        context = self._context or EvaluationContext()
        computed = plan.without_steps(batch)
        for steps, expressions in plan.staged:
            stage = batch
            for step in steps:
                stage = step.run(stage, context)
            computed = computed.hstack(stage.lazy().select(pl.col(ROW), *expressions).collect().drop(ROW))
        records = Records(frame, self._layout, self._derived, flat=self._flat)
        failures: list[tuple[int, int, str]] = []
        placed: list[Placed] = []
        columns: list[pl.Series] = []
        for one in self._mappings:
            column, is_json = self._column(one, plan, computed, batch, records, context, failures)
            columns.append(column)
            placed.append(Placed(one.index, one.steps, column.name, column.dtype, is_json))
        folded = fold(pl.DataFrame(columns) if columns else rows, placed, keep_nulls=self._keep_nulls)
        failures.extend(folded.errors)
        return MappedFrame(folded.frame, self._errors(failures), folded.json_roots)

    def _column(
        self,
        one: _Mapping,
        plan: _Plan,
        computed: pl.DataFrame,
        batch: pl.DataFrame,
        records: Records,
        context: EvaluationContext,
        failures: list[tuple[int, int, str]],
    ) -> tuple[pl.Series, bool]:
        """The values of a mapping in all rows, and whether they are JSON texts."""
        output = plan.outputs.get(one.index)
        if output is None:
            escaped = list(range(len(batch)))
        elif output.escape is not None:
            escaped = computed.get_column(output.escape).arg_true().to_list()
        else:
            escaped = []
        values: list[Any] = []
        if escaped:
            slots = [self.sources.index(path) for path in one.sources]
            names = [name for name in batch.columns if name.partition(".")[0] in set(map(str, slots))]
            keys = batch.select(names)[escaped] if names else pl.DataFrame()
            values, errors = one.rows.values(records, escaped, keys, context)
            failures.extend((one.index, row, text) for row, text in errors.items())
        name = f"m{one.index}"
        if one.is_typed:
            computed_column = computed.get_column(output.columns[0][1]) if output is not None else None
            return _merged(name, computed_column, escaped, values, one.rows.dtype), False
        by_kind = {kind: computed.get_column(column) for kind, column in output.columns} if output is not None else {}
        return _untyped(name, by_kind, escaped, values, len(batch))

    def _errors(self, failures: Sequence[tuple[int, int, str]]) -> pl.DataFrame:
        known = {one.index: one.mapping for one in self._mappings}
        rows = [
            (row, index, known[index].destination, known[index].source, known[index].source_type.value, text)
            for index, row, text in failures
        ]
        return pl.DataFrame(rows, schema=ERRORS, orient="row").sort("row", "mapping")

    def _plan(self, kinds: Kinds) -> _Plan:
        plan = self._plans.get(kinds)
        if plan is None:
            plan = self._plans[kinds] = self._planned(kinds)
        return plan

    def _plan_for(self, kinds: Kinds) -> tuple[_Plan, list[pl.Expr]]:
        """The plan for a batch, and the columns of nulls that it wants besides: for an unusual batch the widest plan."""
        if kinds in self._plans or len(self._plans) < _PLANS:
            return self._plan(kinds), []
        known = self._widest or tuple(() for _ in kinds)
        self._widest = tuple(
            tuple(kind for kind in KINDS if kind in here or (kind in seen and kind != "native"))
            for seen, here in zip(known, kinds, strict=True)
        )
        missing = [
            pl.lit(None, dtype=DTYPES[kind]).alias(column_name(slot, kind))
            for slot, (all_kinds, here) in enumerate(zip(self._widest, kinds, strict=True))
            for kind in all_kinds
            if kind not in here
        ]
        if len(self._plans) >= 2 * _PLANS:
            self._plans.clear()
        return self._plan(self._widest), missing

    def _planned(self, kinds: Kinds) -> _Plan:
        sources = {
            path: Vector({kind: pl.col(column_name(slot, kind)) for kind in present}) if present else NULL
            for slot, (path, present) in enumerate(zip(self.sources, kinds, strict=True))
        }
        compiler = ExpressionCompiler(sources)
        expressions: list[pl.Expr] = []
        large: list[pl.Expr] = []
        staged: list[tuple[tuple[Step, ...], tuple[pl.Expr, ...]]] = []
        outputs: dict[int, _Output] = {}
        notes: dict[int, tuple[Note, ...]] = {}
        for one in self._mappings:
            compiler.notes = []
            first = len(compiler.steps)
            try:
                vector = self._vector(one, compiler)
                columns, escape = _computed(one, vector)
                steps = tuple(compiler.steps[first:])
                if len(steps) > _MOST_STEPS:
                    raise NotNativeError("an expression of very many parts")
            except NotNativeError as error:
                notes[one.index] = (Note(Extent.MAPPING, str(error)),)
                continue
            is_derived = any(format_steps(path) in self._derived for path in one.sources)
            found = [*compiler.notes, *([] if is_derived else notes_of(one.tree, one.rows.target))]
            notes[one.index] = tuple(dict.fromkeys(found))
            own = [expression.alias(name) for _, name, expression in columns]
            if escape is not None:
                own.append(escape.alias(f"e{one.index}"))
            if steps:
                staged.append((steps, tuple(own)))
            elif sum(isinstance(node, Call) for node in nodes(one.tree)) >= _LARGE:
                large += own
            else:
                expressions += own
            outputs[one.index] = _Output(
                tuple((kind, name) for kind, name, _ in columns), None if escape is None else f"e{one.index}"
            )
        shared, rest = sharing(large, expressions)
        return _Plan(tuple(rest), tuple(shared), set(), tuple(staged), outputs, notes)

    def _vector(self, one: _Mapping, compiler: ExpressionCompiler) -> Vector:
        for path in one.sources:
            if not self._decoder.supports(path):
                raise NotNativeError(f"{format_steps(path)} is only known to the record as a whole")
        return compiler.compile(one.tree)


def _prepared(index: int, mapping: MappingOfSet, types: TargetType | None, root: Field | None) -> _Mapping:
    steps = parse_destination(mapping.destination)
    match mapping.source_type:
        case SourceType.ATTRIBUTE:
            tree: Expression = Path(parse_source(mapping.source))
        case SourceType.EXPRESSION:
            tree = parse(mapping.source)
        case SourceType.STATIC:
            tree = Value(mapping.source)
    target = types.at(steps) if types is not None else None
    dtype = column_type(target, _field(root, steps) if root is not None else None) if target is not None else None
    nested = iterations(steps)
    for _ in range(nested if dtype is not None else 0):
        dtype = pl.List(dtype) if dtype is not None else None
    rows = RowMapping(
        tree=tree,
        is_attribute=mapping.source_type is SourceType.ATTRIBUTE,
        target=target,
        dtype=dtype,
        nested=nested,
        repeatable=all(_is_repeatable(node) for node in nodes(tree)),
    )
    paths = tuple(dict.fromkeys(_paths(tree, frozenset())))
    return _Mapping(index, mapping, tree, steps, paths, rows)


def _field(root: Field, steps: Steps) -> Field | None:
    at: Field | None = root
    for step in steps:
        if at is None:
            return None
        if step.name is None:
            at = at.items
        else:
            at = at.values if at.kind == "map" else at.child(step.name)
    return at


def _is_repeatable(node: Expression) -> bool:
    if not isinstance(node, Call):
        return True
    function = FUNCTIONS[node.name]
    return function.style is Style.PLAIN or function.name in ("iif", "decode")


def _paths(node: Expression, variables: frozenset[str]) -> Iterator[Steps]:
    if isinstance(node, Path):
        if node.steps[0].name not in variables:
            yield node.steps
        return
    if isinstance(node, Lambda):
        variables |= {node.parameter}
    for child in children(node):
        yield from _paths(child, variables)


def _computed(one: _Mapping, vector: Vector) -> tuple[list[tuple[JsonKind | None, str, pl.Expr]], pl.Expr | None]:
    """What the query computes for a mapping: columns by kind with their names, and the mask of escaping rows."""
    name = f"m{one.index}"
    target, dtype = one.rows.target, one.rows.dtype
    if target is not None and dtype is not None:
        for _ in range(one.rows.nested):
            target = TargetType("array", items=target)
        if vector.is_constant:
            return [(None, name, _literal(vector.constant, target, dtype))], None
        column, escape = converted(vector, target, dtype)
        return [(None, name, column)], escape
    if one.rows.nested:
        raise NotNativeError("iteration without a target type")
    if vector.is_constant and not vector.columns:
        return [], vector.escape
    columns: list[tuple[JsonKind | None, str, pl.Expr]] = []
    masks = [vector.escape, others(vector, *SCALARS, "wide", "native", *ARRAYS)]
    for kind, column in vector.columns.items():
        if kind == "moment":
            columns.append(("text", f"{name}.moment", iso(column)))
        elif kind != "json":
            columns.append((kind, f"{name}.{kind}", column))
        if kind == "decimal":
            masks.append(unbounded(column))
        if kind == "decimals":
            masks.append(column.list.eval(unbounded(pl.element())).list.any().fill_null(value=False))
    if {"text", "moment"} <= vector.columns.keys():
        raise NotNativeError("dates and texts in one untyped column")
    return columns, either(*masks)


def _literal(value: Any, target: TargetType, dtype: pl.DataType) -> pl.Expr:
    try:
        fitting = fitted(convert(value, target), dtype)
    except EvaluationError as error:
        raise NotNativeError(f"in every row an error: {error}") from None
    if isinstance(dtype, pl.List):
        return pl.lit(pl.Series([fitting], dtype=dtype)).first()
    return pl.lit(fitting, dtype=dtype)


def _merged(
    name: str, column: pl.Series | None, rows: Sequence[int], values: Sequence[Any], dtype: pl.DataType | None
) -> pl.Series:
    """The computed column with the evaluated values put into their rows."""
    if column is None:
        return pl.Series(name, values, dtype=dtype)
    if not rows:
        return column.alias(name)
    evaluated = pl.Series(name, values, dtype=column.dtype)
    takes = pl.int_range(len(column), eager=True).scatter(rows, range(len(column), len(column) + len(rows)))
    return pl.concat([column, evaluated]).gather(takes).alias(name)


def _untyped(
    name: str, columns: Mapping[JsonKind | None, pl.Series], rows: Sequence[int], values: Sequence[Any], height: int
) -> tuple[pl.Series, bool]:
    """Values without a target type: one column where they are of one kind, otherwise JSON texts."""
    if len(columns) <= 1:
        ((kind, column),) = (
            columns.items() if columns else [("text", pl.repeat(None, height, dtype=pl.String, eager=True))]
        )
        if kind == "native" or (kind != "wide" and all(value is None for value in values)):
            return _merged(name, column, rows, values, None), False
    texts: list[str | None] = [None] * height
    for kind, column in columns.items():
        for row, value in enumerate(column.to_list()):
            if value is not None:
                texts[row] = value if kind == "wide" else _json(value)
    for row, value in zip(rows, values, strict=True):
        texts[row] = None if value is None else _json(value)
    return pl.Series(name, texts, dtype=pl.String), True


def _json(value: Any) -> str:
    return msgspec.json.encode(value).decode()
