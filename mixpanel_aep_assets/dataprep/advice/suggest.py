"""Recommended mappings: the properties seen, against the fields of a schema. What `mapping suggest` prints.

Known first: the rows of a mapping set that is given (the standard mapping), where their sources were seen and their
destinations exist. Then names: each property that is left goes to the most similar field that its values fit, as they are
or through a conversion function. Every suggestion was tried on values that were seen; none is made that fails on them.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from mixpanel_aep_assets.dataprep.advice.name_similarity import likeness
from mixpanel_aep_assets.dataprep.advice.property_samples import Names, PropertySamples
from mixpanel_aep_assets.dataprep.interpreter.context import EvaluationContext
from mixpanel_aep_assets.dataprep.interpreter.expressions import compile_closure, run
from mixpanel_aep_assets.dataprep.interpreter.functions.strings import WHITE_SPACE
from mixpanel_aep_assets.dataprep.interpreter.schema_targets import fitted, target_type
from mixpanel_aep_assets.dataprep.interpreter.targets import convert
from mixpanel_aep_assets.dataprep.language.ast import Call, Expression, Path, Step
from mixpanel_aep_assets.dataprep.language.mapping_errors import EvaluationError
from mixpanel_aep_assets.dataprep.language.mapping_set import Mapping, MappingSet, SourceType
from mixpanel_aep_assets.dataprep.language.parser import RESERVED, nodes, parse
from mixpanel_aep_assets.dataprep.language.paths import format_steps, parse_destination, parse_source
from mixpanel_aep_assets.xdm.schema import Field, Schema

LIKE_ENOUGH: Final = 0.75
"""The lowest likeness of names for which a mapping is suggested."""

DERIVED_FROM: Final = frozenset(
    {"time", "distinct_id", "$insert_id", "$device_id", "$user_id", "$distinct_id_before_identity"}
)
"""Properties that the derived attributes (`mixpanel.*`: id, time, identities) are made of, so that they want no mapping of their
own."""

_CONVERTED: Final = 0.95
_CUT: Final = 0.85
"""What a suggestion through a conversion keeps of its score: one that keeps the value, and one that shortens it."""

_ISO: Final = "yyyy-MM-dd'T'HH:mm:ss.SSS'Z'"
_CONVERSIONS: Final[tuple[tuple[str, str, str, float], ...]] = (
    ("date-time", f'iif({{0}} >= 100000000000, dformat({{0}}, "{_ISO}"), null)', "from epoch milliseconds", _CONVERTED),
    (
        "date-time",
        f'iif({{0}} >= 100000000 && {{0}} < 100000000000, dformat({{0}} * 1000, "{_ISO}"), null)',
        "from epoch seconds",
        _CONVERTED,
    ),
    ("boolean", "lower({0})", "the letter case does not count", _CONVERTED),
    ("boolean", "decode({0}, 1, true, 0, false)", "from 1 and 0", _CONVERTED),
    ("integer", "to_integer({0})", "the fraction is cut off", _CUT),
    ("string", 'join(",", {0})', "the elements joined by commas", _CONVERTED),
    ("array", "to_array(false, {0})", "one value as an array", _CONVERTED),
)
"""Type of the field, expression on the property, what it does, what it keeps of the score; the first that fits is taken."""

_IDENTIFIER: Final = re.compile(r"(?:[^\W\d]|\$)[\w$]*")


@dataclass(frozen=True)
class Suggestion:
    """A recommended mapping; `score` is from 0 to 1."""

    mapping: Mapping
    score: float
    reason: str

    def to_json(self) -> dict[str, Any]:
        """The mapping as a set has it, with Adobe's `matchScore`, and the reason as its description."""
        return {**self.mapping.to_json(), "description": self.reason, "matchScore": self.score}


@dataclass(frozen=True)
class Suggestions:
    """Known mappings in their order, then those by name, by destination. `unmatched`: sources without any, sorted."""

    made: tuple[Suggestion, ...]
    unmatched: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """A mapping set."""
        return {"name": "Suggested mappings", "version": 0, "mappings": [one.to_json() for one in self.made]}


def suggest(
    seen: PropertySamples, schema: Schema, known: MappingSet | None = None, derived: Iterable[str] = ()
) -> Suggestions:
    """Suggestions for what was seen. `derived` are sources that every record has besides its own (`mixpanel.id`)."""
    made = list(_known(seen, schema, known, frozenset(derived))) if known is not None else []
    used = {path for one in made for path in _paths(_tree(one.mapping))} | {
        ("properties", name) for name in DERIVED_FROM
    }
    taken = {one.mapping.destination for one in made}
    targets = {destination: field for destination, field in _targets(schema) if destination not in taken}
    left = [path for path in sorted(seen.properties) if path not in used]
    pairs = sorted(
        (-score, destination.count("."), path, destination)
        for path in left
        for destination in targets
        if (score := _likeness(path[-1], destination)) >= LIKE_ENOUGH
    )
    by_name: dict[Names, Suggestion] = {}
    for score, _, path, destination in pairs:
        if path not in by_name and destination not in taken:
            found = _fitting(path, seen.properties[path].values.items(), destination, targets[destination], -score)
            if found is not None:
                by_name[path] = found
                taken.add(destination)
    mapped = used | by_name.keys()
    inner = {path[:length] for path in seen.properties for length in range(1, len(path))}
    unmatched = [
        path for path in left if path not in mapped | inner and not any(path[:n] in mapped for n in range(len(path)))
    ]
    ordered = sorted(by_name.values(), key=lambda one: one.mapping.destination)
    return Suggestions((*made, *ordered), tuple(_source(path) for path in unmatched))


def flat(known: MappingSet) -> MappingSet:
    """The same for the flat records of Adobe's connector (`data.browser`): the mappings that take an attribute as it is."""
    rows = []
    for mapping in known.mappings:
        taken = _taken(mapping)
        if taken is not None and taken.startswith("properties."):
            source = "data." + taken.removeprefix("properties.").removeprefix("$")
            rows.append(replace(mapping, source=source, source_type=SourceType.ATTRIBUTE))
        elif taken == "event":
            rows.append(replace(mapping, source="data.event_name"))
        elif mapping.source_type is SourceType.STATIC or mapping.source.startswith("mixpanel."):
            rows.append(mapping)
    return replace(known, mappings=tuple(rows))


def _taken(mapping: Mapping) -> str | None:
    """The attribute that a mapping takes as it is, but for blanks around it and for the empty text."""
    match _tree(mapping):
        case Path() as path:
            return format_steps(path.steps)
        case Call(name="trim", arguments=(Path() as path,)):
            return format_steps(path.steps)
        case Call(
            name="iif",
            arguments=(Call(name="is_empty", arguments=(Path() as tested,)), Call(name="nullify"), Path() as path),
        ) if tested == path:
            return format_steps(path.steps)
    return None


def _simplest(mapping: Mapping, seen: PropertySamples) -> Mapping:
    """The mapping as an attribute alone, where no value that was seen has anything to trim."""
    taken = _taken(mapping)
    if taken is None or mapping.source_type is not SourceType.EXPRESSION:
        return mapping
    property_ = seen.properties.get(tuple(step.name or "" for step in parse_source(taken)))
    values = property_.values.items() if property_ is not None else ()
    if any(isinstance(value, str) and value != value.strip(WHITE_SPACE) for value in values):
        return mapping
    return replace(mapping, source=taken, source_type=SourceType.ATTRIBUTE)


def _targets(schema: Schema) -> Iterator[tuple[str, Field]]:
    """Fields that one property can fill: scalars below objects, and arrays of scalars."""
    for path, field in schema.leaves():
        destination = path.removesuffix("[]")
        if "[" not in destination and "{" not in destination and field.kind not in {"object", "any"}:
            yield destination, schema.field(destination) or field


def _likeness(name: str, destination: str) -> float:
    steps = [step.name or "" for step in parse_destination(destination)]
    if len(steps) > 1 and steps[0].startswith("_"):
        # The tenant's own object says nothing about a field, and what is below it was made for this data.
        return max(likeness(name, steps[1:]), 0.85 * likeness(name, steps[-1:]))
    return likeness(name, steps)


def _known(seen: PropertySamples, schema: Schema, known: MappingSet, derived: frozenset[str]) -> Iterator[Suggestion]:
    name = str(known.document.get("name") or "the given mapping set")
    sample = seen.sample()
    for mapping in known.mappings:
        field = schema.field(re.sub(r"\[[^]]*\]", "", mapping.destination))
        if field is None:
            continue
        tree = _tree(mapping)
        sources = list(_paths(tree))
        if tree is None or any(".".join(path) in derived for path in sources):
            yield Suggestion(mapping, 1.0, f"{name}: {mapping.description or 'holds for every event'}")
        elif any(path in seen.properties or path == ("event",) for path in sources) and _holds(tree, sample, field):
            reason = f"{name}: {mapping.description or 'a default property of Mixpanel'}"
            yield Suggestion(_simplest(mapping, seen), 1.0, reason)


def _holds(tree: Expression, sample: Sequence[Any], field: Field) -> bool:
    """Whether the values convert in every record of the sample."""
    try:
        list(_converted(tree, sample, field))
    except EvaluationError:
        return False
    return True


def _fitting(path: Names, values: Sequence[Any], destination: str, field: Field, score: float) -> Suggestion | None:
    """The mapping of a property to a field that all its values fit."""
    records = [_record(path, value) for value in values]
    said = f"names alike ({score:.2f})"
    if records and _holds(Path(tuple(Step(name=name) for name in path)), records, field):
        return Suggestion(Mapping(_source(path), destination), score, f"{said}, every value fits")
    target = target_type(field)
    for name, form, does, kept in _CONVERSIONS:
        if name != target.name:
            continue
        source = form.format(_reference(path))
        try:
            fits = all(value is not None for value in _converted(parse(source), records, field))
        except EvaluationError:
            continue
        if fits and records:
            return Suggestion(
                Mapping(source, destination, SourceType.EXPRESSION), round(score * kept, 2), f"{said}, {does}"
            )
    return None


def _converted(tree: Expression, records: Sequence[Any], field: Field) -> Iterator[Any]:
    """The values as the field takes them. Raises EvaluationError for one that it does not take."""
    closure, context, target, dtype = (
        compile_closure(tree),
        EvaluationContext(),
        target_type(field),
        field.polars_type(),
    )
    for record in records:
        value = run(closure, record, context)
        if dtype is not None:
            value = fitted(convert(value, target), dtype)
        if value is not None and not _allowed(value, field):
            raise EvaluationError("the schema does not allow this value")
        yield value


def _allowed(value: Any, field: Field) -> bool:
    low, high = field.range
    if isinstance(value, int | float) and not isinstance(value, bool):
        return (low is None or value >= low) and (high is None or value <= high)
    if isinstance(value, str) and field.pattern is not None and re.search(field.pattern, value) is None:
        return False
    return field.enum is None or value in field.enum


def _tree(mapping: Mapping) -> Expression | None:
    """What a mapping computes from a record; None for a constant."""
    match mapping.source_type:
        case SourceType.ATTRIBUTE:
            return Path(parse_source(mapping.source))
        case SourceType.EXPRESSION:
            return parse(mapping.source)
        case SourceType.STATIC:
            return None


def _paths(tree: Expression | None) -> Iterator[Names]:
    """The paths of names that an expression reads, each up to its first `[n]`."""
    for node in nodes(tree) if tree is not None else ():
        if isinstance(node, Path):
            names = [step.name for step in node.steps]
            yield tuple(
                name for name in names[: names.index(None) if None in names else len(names)] if name is not None
            )


def _record(path: Names, value: Any) -> dict[str, Any]:
    for name in reversed(path):
        value = {name: value}
    return value  # type: ignore[no-any-return]


def _source(path: Names) -> str:
    return format_steps(tuple(Step(name=name) for name in path))


def _reference(path: Names) -> str:
    """A field inside an expression: bare where it can be, otherwise wrapped."""
    plain = all(_IDENTIFIER.fullmatch(name) for name in path) and path[0] not in RESERVED
    source = _source(path)
    return source if plain else "${" + source.replace("}", "\\}") + "}"
