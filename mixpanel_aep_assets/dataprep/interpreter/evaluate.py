"""The plain evaluator: one record at a time, in Python. It defines what a mapping set means; the compiled form agrees.

Expressions become closures in `expressions.py`; values are written into the row by `destinations.py`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from mixpanel_aep_assets.dataprep.interpreter.context import EvaluationContext
from mixpanel_aep_assets.dataprep.interpreter.destinations import put
from mixpanel_aep_assets.dataprep.interpreter.expressions import Closure, Record, compile_closure, path_closure, run
from mixpanel_aep_assets.dataprep.interpreter.targets import Target, TargetType, convert, convert_nested, type_of
from mixpanel_aep_assets.dataprep.interpreter.validation import checked, validate
from mixpanel_aep_assets.dataprep.interpreter.values import Value, to_json
from mixpanel_aep_assets.dataprep.language.ast import Expression
from mixpanel_aep_assets.dataprep.language.mapping_errors import EvaluationError, MappingSetError
from mixpanel_aep_assets.dataprep.language.mapping_set import Mapping, MappingSet, SourceType
from mixpanel_aep_assets.dataprep.language.parser import parse
from mixpanel_aep_assets.dataprep.language.paths import Steps, escape, iterations, parse_destination, parse_source


def evaluate_expression(
    expression: str | Expression,
    record: Record | None = None,
    *,
    context: EvaluationContext | None = None,
    target: TargetType | None = None,
) -> Value:
    """The value of one expression for one record, converted to `target` if given; dates are date-time objects.

    Raises ExpressionError when the expression is refused and EvaluationError when the value cannot be computed.
    """
    tree = checked(expression) if isinstance(expression, str) else expression
    value = run(compile_closure(tree), record or {}, context or EvaluationContext())
    return value if target is None else convert(value, target)


@dataclass(frozen=True)
class MappingFailure:
    """An attribute that could not be computed for a row; `source` is null for a required field that stayed empty."""

    source: str | None
    destination: str
    source_type: str | None
    exception: str
    column_name: str | None = None

    def to_json(self) -> dict[str, Any]:
        """Adobe's shape of an error (data-prep.md#mapping-sets)."""
        return {
            "source": self.source,
            "destination": self.destination,
            "sourceType": self.source_type,
            "columnName": self.column_name,
            "exception": self.exception,
        }


@dataclass(frozen=True)
class Mapped:
    """A mapped row: JSON values, dates as ISO 8601 text. `missing` are required fields that ended up null."""

    data: dict[str, Any]
    errors: list[MappingFailure] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)

    @property
    def accepted(self) -> bool:
        """Whether the row may be ingested: no required field is missing."""
        return not self.missing

    def to_json(self) -> dict[str, Any]:
        """The shape of the preview call."""
        return {"data": self.data, "errors": [error.to_json() for error in self.errors] or None}


@dataclass(frozen=True)
class _Prepared:
    index: int
    mapping: Mapping
    source: Closure
    steps: Steps
    target: TargetType | None
    nested: int


class Evaluator:
    """Applies a mapping set to records, one by one. Safe to share between threads.

    `target` names the types of the destinations (`targets.Target`); without it the schema that the set carries is used,
    and without that nothing is converted. Raises MappingSetError, with every problem, for a set that is not valid.
    """

    def __init__(
        self, mapping_set: MappingSet, target: Target | None = None, context: EvaluationContext | None = None
    ) -> None:
        validation = validate(mapping_set, target)
        if not validation.ok:
            raise MappingSetError("the mapping set is refused:\n" + "\n".join(map(str, validation)))
        types = type_of(mapping_set.output_schema if target is None else target)
        self._context = context or EvaluationContext()
        self._keep_nulls = mapping_set.allow_null_values
        self._row_type = types("") if types else None
        prepared = []
        for index, mapping in enumerate(mapping_set.mappings):
            steps = parse_destination(mapping.destination)
            at = types(mapping.destination) if types else None
            prepared.append(_Prepared(index, mapping, _source(mapping), steps, at, iterations(steps)))
        # Outer destinations first, so that a specific mapping overrides what a copy of its parent wrote
        # (data-prep.md#object-copy).
        self._mappings = sorted(prepared, key=lambda one: len(one.steps))

    def row(self, record: Record) -> Mapped:
        """The mapped row of one record. Never raises for what the record holds: failures are in the result."""
        data: dict[str, Any] = {}
        failed: list[tuple[int, MappingFailure]] = []
        for one in self._mappings:
            value = None
            try:
                value = self._value(one, record)
            except EvaluationError as error:
                failed.append((one.index, failure(one.mapping, str(error))))
            try:
                # What failed is null (data-prep.md#errors), and written as such where nulls are kept.
                put(data, one.steps, value, keep_nulls=self._keep_nulls)
            except EvaluationError as error:
                failed.append((one.index, failure(one.mapping, str(error))))
        errors = [error for _, error in sorted(failed, key=lambda one: one[0])]
        missing = list(missing_fields(data, self._row_type)) if self._row_type else []
        errors += [MappingFailure(None, path, None, "a required field is null") for path in missing]
        return Mapped(data, errors, missing)

    def rows(self, records: Iterable[Record]) -> Iterator[Mapped]:
        return map(self.row, records)

    def _value(self, one: _Prepared, record: Record) -> Value:
        value = run(one.source, record, self._context)
        try:
            if one.target is not None:
                value = convert_nested(value, one.target, one.nested)
            return to_json(value)
        except RecursionError:
            raise EvaluationError("the value is nested too deeply") from None


def _source(mapping: Mapping) -> Closure:
    match mapping.source_type:
        case SourceType.ATTRIBUTE:
            return path_closure(parse_source(mapping.source), in_variable=False)
        case SourceType.STATIC:
            constant = mapping.source
            return lambda _: constant
        case SourceType.EXPRESSION:
            return compile_closure(parse(mapping.source))


def failure(mapping: Mapping, exception: str) -> MappingFailure:
    """The error of a mapping. Adobe's `columnName` is the column read, which an expression has not."""
    column = mapping.source if mapping.source_type is SourceType.ATTRIBUTE else None
    return MappingFailure(mapping.source, mapping.destination, mapping.source_type.value, exception, column)


def missing_fields(data: Value, target: TargetType, path: str = "") -> Iterator[str]:
    """Paths of required fields that are missing or null in a row; below an absent object none is required."""
    if target.name == "array" and target.items is not None and isinstance(data, list):
        for index, item in enumerate(data):
            yield from missing_fields(item, target.items, f"{path}[{index}]")
    if target.name != "object" or not isinstance(data, dict):
        return
    for name in sorted(target.required):
        if data.get(name) is None:
            yield _below(path, name)
    for name, item in data.items():
        if name in target.fields:
            yield from missing_fields(item, target.fields[name], _below(path, name))


def _below(path: str, name: str) -> str:
    return f"{path}.{escape(name)}" if path else escape(name)
