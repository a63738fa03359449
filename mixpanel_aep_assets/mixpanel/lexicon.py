"""The project's Lexicon: what people declared of events' properties (mixpanel.md#lexicon).

Schemas are declared per event; a property means the same in all of them here, so that what they say is taken together.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Declared:
    """What the project's Lexicon says of a property: a JSON type, a text for people, whether it is hidden."""

    type: str | None = None
    description: str | None = None
    hidden: bool = False


def declared(schemas: Iterable[Any]) -> dict[str, Declared]:
    """What the entries of `GET /projects/{pid}/schemas/event` say of each property, by name.

    A type counts where all events declare the same, a description is the first in the order of events, and a property is
    hidden where it is hidden, or dropped, in every event. Entries of an unknown shape are passed over.
    """
    entries: defaultdict[str, list[tuple[str, Mapping[str, Any]]]] = defaultdict(list)
    for schema in schemas:
        body = _object(_object(schema).get("schemaJson"))
        for name, about in _object(body.get("properties")).items():
            entries[str(name)].append((str(_object(schema).get("name")), _object(about)))
    return {name: _together(sorted(found, key=lambda entry: entry[0])) for name, found in sorted(entries.items())}


def hidden_events(schemas: Iterable[Any]) -> frozenset[str]:
    """Names of events that are hidden or dropped, which Mixpanel's reports leave out."""
    bodies = {str(_object(schema).get("name")): _object(_object(schema).get("schemaJson")) for schema in schemas}
    return frozenset(name for name, body in bodies.items() if _is_hidden(body))


def _is_hidden(about: Mapping[str, Any]) -> bool:
    mark = _object(_object(about.get("metadata")).get("com.mixpanel"))
    return mark.get("hidden") is True or mark.get("dropped") is True


def _together(found: list[tuple[str, Mapping[str, Any]]]) -> Declared:
    types = {about["type"] for _, about in found if isinstance(about.get("type"), str)}
    texts = [text for _, about in found if isinstance(text := about.get("description"), str) and text.strip()]
    return Declared(
        type=types.pop() if len(types) == 1 else None,
        description=" ".join(texts[0].split()) if texts else None,
        hidden=all(_is_hidden(about) for _, about in found),
    )


def _object(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}
