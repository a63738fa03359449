"""Fits the standard mapping to a schema that was not made for it: a dataset of the user's own.

What belongs here: which mappings such a schema can take, and which properties its own tenant fields ask for by name. What
does not: a mapping set that the user wrote; that one means what it says and is refused where the schema contradicts.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass, replace

from mixpanel_aep_assets.dataprep.interpreter.schema_targets import target_type
from mixpanel_aep_assets.dataprep.interpreter.validation import validate
from mixpanel_aep_assets.dataprep.language.mapping_set import Mapping, MappingSet
from mixpanel_aep_assets.xdm.schema import Field, Schema

NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]*")
"""Names of tenant fields that are looked for among the properties; others would need an escape in a path."""


@dataclass(frozen=True)
class Fitted:
    """`left_out`: destinations of the set that the schema lacks, or that cannot hold what the mapping gives."""

    mapping_set: MappingSet
    left_out: tuple[str, ...]


def fitted(mapping_set: MappingSet, schema: Schema, tenant: str, reserved: Collection[str] = ()) -> Fitted:
    """The set without what the schema cannot take, and with the schema's own tenant fields.

    A tenant field of a plain type that no mapping fills takes the property of its name, with or without Mixpanel's `$`
    (typed tenant fields where the schema has them); `event_name` takes the event's name, as with Adobe's connector.
    `reserved` are tenant objects that are filled otherwise, as dotted paths.
    """
    problems = validate(mapping_set, target_type(schema.root)).problems
    pairs = list(zip(mapping_set.mappings, problems, strict=True))
    kept = [mapping for mapping, wrong in pairs if not wrong]
    taken = {mapping.destination for mapping in kept}
    home = schema.root.child(f"_{tenant}")
    own = [
        Mapping(f"data.{name}", path)
        for path, name in (_plain(home, home.name) if home is not None else ())
        if path not in taken and not any(path.startswith(f"{one}.") for one in reserved)
    ]
    left_out = tuple(mapping.destination for mapping, wrong in pairs if wrong)
    return Fitted(replace(mapping_set, mappings=(*kept, *own)), left_out)


def _plain(field: Field, path: str) -> list[tuple[str, str]]:
    """Path and name of every field below that holds one value."""
    found = []
    for child in field.children:
        below = f"{path}.{child.name}"
        if child.kind == "object":
            found += _plain(child, below)
        elif child.kind not in ("array", "map", "any") and NAME.fullmatch(child.name):
            found.append((below, child.name))
    return found
