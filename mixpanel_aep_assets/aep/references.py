"""Where `$ref` and `allOf` lead in the Registry's documents: every place that describes a field.

A field may be described by several places: in a field group itself, in a data type behind a `$ref`, in the parts of an
`allOf`. Only places of the document that was started from have a pointer, so only they can be patched.
What does not belong here: which fields are wanted (`fields`), what they mean (`xdm.composition`).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mixpanel_aep_assets.aep.platform_errors import NotFound, UnexpectedAnswer

Node = Mapping[str, Any]
LookUp = Callable[[str, str, str], Node]
"""Container, kind and `$id` -> the resource. Raises NotFound."""

_KINDS = {"datatypes": "datatypes", "mixins": "fieldgroups", "fieldgroups": "fieldgroups", "classes": "classes"}
_TENANTS = re.compile(r"https://ns\.adobe\.com/(?!xdm/)[^/]+/(datatypes|mixins|fieldgroups|classes)/[^/]+")
_DEPTH = 64
"""References that follow one another; more is a circle."""


@dataclass(frozen=True)
class Place:
    """A node, the document that its local references point into, and where in the first document it stands.

    `pointer` is a JSON pointer, None for a node of another document.
    """

    node: Node
    document: Node
    pointer: str | None


class References:
    """Follows references in the Registry. Each resource is asked for once."""

    def __init__(self, look_up: LookUp) -> None:
        self._look_up = look_up
        self._known: dict[str, Node] = {}

    def places(self, document: Node) -> tuple[Place, ...]:
        """All places that describe the document's root object."""
        return self.flat([Place(document, document, "")])

    def flat(self, places: Iterable[Place]) -> tuple[Place, ...]:
        """The places with their `$ref`s followed and their `allOf`s taken apart. Raises UnexpectedAnswer for a
        reference that leads nowhere or in a circle."""
        return tuple(found for place in places for found in self._flat(place, 0))

    def members(self, places: Sequence[Place]) -> dict[str, list[Place]]:
        """The fields of an object by name, each with the places that describe it; not followed yet."""
        found: dict[str, list[Place]] = {}
        for place in places:
            for name, node in (place.node.get("properties") or {}).items():
                if isinstance(node, Mapping):
                    pointer = None if place.pointer is None else f"{place.pointer}/properties/{escaped(name)}"
                    found.setdefault(name, []).append(Place(node, place.document, pointer))
        return found

    def resolved(self, document: dict[str, Any]) -> dict[str, Any]:
        """The document with references to others replaced by what they lead to; the same one where there are none."""
        if not any(not reference.startswith("#") for reference in _references(document)):
            return document
        made: dict[str, Any] = self._inlined(document, document, document, 0)
        return made

    def _flat(self, place: Place, depth: int) -> Iterator[Place]:
        reference = place.node.get("$ref")
        if isinstance(reference, str):  # keywords beside a $ref have no force
            yield from self._flat(self._target(reference, place.document, place.pointer, depth), depth + 1)
            return
        yield place
        for number, part in enumerate(place.node.get("allOf") or ()):
            if isinstance(part, Mapping):
                pointer = None if place.pointer is None else f"{place.pointer}/allOf/{number}"
                yield from self._flat(Place(part, place.document, pointer), depth + 1)

    def _target(self, reference: str, base: Node, origin: str | None, depth: int) -> Place:
        uri, _, fragment = reference.partition("#")
        if depth > _DEPTH:
            raise UnexpectedAnswer(f"The $ref {reference!r} leads in a circle", where="Schema Registry")
        document = self._document(uri) if uri else base
        node: Any = document
        for step in fragment.split("/")[1:]:
            name = step.replace("~1", "/").replace("~0", "~")
            node = node.get(name) if isinstance(node, Mapping) else None
        if not isinstance(node, Mapping):
            raise UnexpectedAnswer(f"The $ref {reference!r} leads nowhere", where="Schema Registry")
        return Place(node, document, fragment if not uri and origin is not None else None)

    def _document(self, uri: str) -> Node:
        """The resource of that `$id`, its own references resolved as far as the Registry does it."""
        if uri not in self._known:
            for container, kind in _homes(uri):
                try:
                    self._known[uri] = self._look_up(container, kind, uri)
                    break
                except NotFound:
                    continue
            else:
                raise UnexpectedAnswer(
                    f"The $ref {uri!r} leads to no resource of the Registry", where="Schema Registry"
                )
        return self._known[uri]

    def _inlined(self, node: Any, document: Node, root: Node, depth: int) -> Any:
        if isinstance(node, list):
            return [self._inlined(part, document, root, depth) for part in node]
        if not isinstance(node, Mapping):
            return node
        reference = node.get("$ref")
        if isinstance(reference, str) and not (reference.startswith("#") and document is root):
            place = self._target(reference, document, None, depth)
            target = self._inlined(place.node, place.document, root, depth + 1)
            return {**target, **{key: node[key] for key in ("title", "description") if key in node}}
        return {key: self._inlined(part, document, root, depth) for key, part in node.items()}


def escaped(name: str) -> str:
    """A name as a step of a JSON pointer."""
    return name.replace("~", "~0").replace("/", "~1")


def _homes(uri: str) -> Iterator[tuple[str, str]]:
    """Containers and kinds under which the resource may stand, the likely one first."""
    own = _TENANTS.fullmatch(uri)
    if own is not None:
        yield "tenant", _KINDS[own[1]]
    for kind in ("datatypes", "fieldgroups", "classes"):
        yield "global", kind


def _references(node: Any) -> Iterator[str]:
    """Every `$ref` below; a property may be called so as well."""
    if isinstance(node, Mapping):
        for key, inner in node.items():
            if key == "$ref" and isinstance(inner, str):
                yield inner
            else:
                yield from _references(inner)
    elif isinstance(node, list):
        for inner in node:
            yield from _references(inner)
