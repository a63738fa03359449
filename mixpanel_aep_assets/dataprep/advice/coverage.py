"""What a mapping set covers: the numbers of the dashboard above Adobe's mapping screen, and what is left unmapped."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from mixpanel_aep_assets.dataprep.interpreter.targets import TargetType
from mixpanel_aep_assets.dataprep.interpreter.validation import validate
from mixpanel_aep_assets.dataprep.language.ast import Expression, Path, Step
from mixpanel_aep_assets.dataprep.language.mapping_errors import ExpressionError
from mixpanel_aep_assets.dataprep.language.mapping_set import Mapping as OneMapping
from mixpanel_aep_assets.dataprep.language.mapping_set import MappingSet, SourceType
from mixpanel_aep_assets.dataprep.language.parser import nodes, parse
from mixpanel_aep_assets.dataprep.language.paths import Steps, format_steps, parse_destination, parse_source

_DEEPEST_TARGET = 30


@dataclass(frozen=True)
class Coverage:
    """Paths, sorted, without the marks of arrays.

    `required` are the fields that the target requires, at its root or in an object that is mapped; `missing` those of them
    that no mapping fills. `identity` are destinations that are marked as identities or lie in the identity map;
    `unmapped` the target's fields, and `unmapped_sources` the attributes of the records, that no mapping names.
    """

    mapped: list[str]
    required: list[str]
    missing: list[str]
    identity: list[str]
    refused: list[str]
    unmapped: list[str]
    unmapped_sources: list[str]

    def to_json(self) -> dict[str, Any]:
        return {
            "mapped": self.mapped,
            "required": self.required,
            "missing": self.missing,
            "identity": self.identity,
            "refused": self.refused,
            "unmapped": self.unmapped,
            "unmappedSources": self.unmapped_sources,
        }


def coverage(
    mapping_set: MappingSet,
    target: TargetType | Mapping[str, Any] | None = None,
    records: Iterable[Mapping[str, Any]] = (),
) -> Coverage:
    """Coverage against a type or a JSON Schema (default: the set's own) and the attributes seen in `records`."""
    schema = mapping_set.output_schema if target is None else target
    root = TargetType() if schema is None else schema
    root = root if isinstance(root, TargetType) else TargetType.from_json_schema(root)
    validation = validate(mapping_set, schema)
    destinations = {_names(parse_destination(one.destination)) for one in _readable(mapping_set)}
    sources = {_names(steps) for one in mapping_set.mappings for steps in _source_paths(one)}
    seen = {path for record in records for path in _leaves(record)}
    reached = {path[:length] for path in destinations for length in range(1, len(path))}
    leaves = dict(_target_leaves(root, (), reached))
    required = {path for path, is_required in leaves.items() if is_required}
    return Coverage(
        mapped=_texts(destinations),
        required=_texts(required),
        missing=_texts(path for path in required if not _covered(path, destinations)),
        identity=sorted(one.destination for one in mapping_set.mappings if _is_identity(one)),
        refused=sorted({problem.mapping.destination for problem in validation}),
        unmapped=_texts(path for path in leaves if not _covered(path, destinations)),
        unmapped_sources=_texts(path for path in seen if not _covered(path, sources)),
    )


_Names = tuple[str, ...]


def _names(steps: Steps) -> _Names:
    return tuple(step.name for step in steps if step.name is not None)


def _texts(paths: Iterable[_Names]) -> list[str]:
    return sorted(format_steps(tuple(Step(name=name) for name in path)) for path in paths)


def _covered(path: _Names, by: set[_Names]) -> bool:
    """A path is covered by itself and by every object above it that is mapped whole."""
    return any(path[:length] in by for length in range(1, len(path) + 1))


def _is_identity(mapping: OneMapping) -> bool:
    marked = mapping.extra.get("identity") or mapping.extra.get("primaryIdentity")
    return bool(marked) or re.match(r"identityMap(?![^.\[])", mapping.destination) is not None


def _readable(mapping_set: MappingSet) -> Iterator[OneMapping]:
    for mapping in mapping_set.mappings:
        try:
            parse_destination(mapping.destination)
        except ExpressionError:
            continue
        yield mapping


def _source_paths(mapping: OneMapping) -> Iterator[Steps]:
    try:
        if mapping.source_type is SourceType.ATTRIBUTE:
            yield parse_source(mapping.source)
        elif mapping.source_type is SourceType.EXPRESSION:
            yield from _fields(parse(mapping.source))
    except ExpressionError:
        return


def _fields(tree: Expression) -> Iterator[Steps]:
    for node in nodes(tree):
        if isinstance(node, Path):
            yield node.steps


def _leaves(value: Any, path: _Names = ()) -> Iterator[_Names]:
    if isinstance(value, list) and any(isinstance(item, Mapping | list) for item in value):
        for item in value:
            yield from _leaves(item, path)
    elif isinstance(value, Mapping) and value and len(path) < _DEEPEST_TARGET:
        for name, item in value.items():
            yield from _leaves(item, (*path, name))
    elif path:
        yield path


def _target_leaves(
    target: TargetType, path: _Names, reached: set[_Names], *, required: bool = False
) -> Iterator[tuple[_Names, bool]]:
    """Leaves of the target and whether they are required: themselves, in objects that are required or `reached`."""
    while target.name == "array" and target.items is not None:
        target = target.items
    if target.name != "object" or len(path) >= _DEEPEST_TARGET:
        if path:
            yield path, required
        return
    for name, child in target.fields.items():
        below = name in target.required and (required or not path or path in reached)
        yield from _target_leaves(child, (*path, name), reached, required=below)
