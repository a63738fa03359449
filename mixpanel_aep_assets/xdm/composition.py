"""From JSON Schema documents to one closed field tree: `allOf`, `$ref`, renaming, type inference.

Both notations of XDM come through here: the Registry's full form, whose names are the Platform's already, and the
official repository's files (draft-06, JSON-LD names), which are renamed on the way (xdm.md#names and xdm.md#closed-schemas).
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import orjson

from mixpanel_aep_assets.xdm import formats
from mixpanel_aep_assets.xdm.names import platform_path
from mixpanel_aep_assets.xdm.schema import INTEGER_RANGES, Field, FieldKind, Schema, SchemaError

Document = Mapping[str, Any]

_CONTEXT = "/definitions/@context"
"""The JSON-LD extensibility fragment: it lets any prefixed name pass and declares no field."""

_XDM_TYPES: Mapping[str, FieldKind] = {
    "string": "string",
    "number": "double",
    "double": "double",
    "long": "long",
    "int": "int",
    "integer": "int",
    "short": "short",
    "byte": "byte",
    "boolean": "boolean",
    "date": "date",
    "date-time": "date_time",
    "object": "object",
    "array": "array",
    "map": "map",
}

_CONSTRAINTS = {
    "pattern": "pattern",
    "minimum": "minimum",
    "maximum": "maximum",
    "exclusiveMinimum": "exclusive_minimum",
    "exclusiveMaximum": "exclusive_maximum",
    "minLength": "min_length",
    "maxLength": "max_length",
    "minItems": "min_items",
    "maxItems": "max_items",
    "minProperties": "min_properties",
    "maxProperties": "max_properties",
    "multipleOf": "multiple_of",
}

_UNCHECKED = (
    "not",
    "contains",
    "dependencies",
    "propertyNames",
    "additionalItems",
    "anyOf",
    "oneOf",
    "patternProperties",
)
"""Keywords of draft-06 that the closed model has no place for; XDM itself does not use them for data."""

FULL_FORM = "application/vnd.adobe.xed-full+json; version=1"
_ASK = f"Ask the Registry for the schema with the header Accept: {FULL_FORM}."


@dataclass(frozen=True)
class _Place:
    """A schema node and the document that its local references point into."""

    node: Document
    document: Document


def registry_schema(document: Document, descriptors: Sequence[Document] = ()) -> Schema:
    """The schema of the Registry's full form (`application/vnd.adobe.xed-full+json`). Raises SchemaError.

    The model of a document, which holds its version, is made once in a process.
    """
    try:
        text = orjson.dumps([document, list(descriptors)])
    except TypeError as error:
        raise SchemaError(f"This is not a schema: {error}.") from error
    return _registry_schema(text)


@functools.lru_cache(maxsize=16)
def _registry_schema(text: bytes) -> Schema:
    document, descriptors = orjson.loads(text)
    _demand_full_form(document)
    composer = _Composer({}, rename=lambda name: (name,))
    try:
        root = composer.field("", [_Place(document, document)], ())
        return Schema(
            root=dataclasses.replace(root, kind="object", title=None, description=None),
            id=str(document.get("$id", "")),
            title=str(document.get("title", "")),
            version=str(document.get("version", "")),
            class_id=str(document.get("meta:class", "")),
            extends=tuple(str(uri) for uri in document.get("meta:extends", ())),
            descriptors=tuple(dict(one) for one in (*_descriptors(document), *descriptors)),
            union="union" in document.get("meta:immutableTags", ()),
            unchecked=composer.unchecked,
        )
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise SchemaError(f"This is not a well-formed JSON Schema: {error}. {_ASK}") from error


def _descriptors(document: Document) -> Iterator[Document]:
    """Those in the document (`xed-full-desc`): a list, or lists by `@type` as `GET …/descriptors` answers."""
    found = document.get("meta:descriptors") or document.get("descriptors") or ()
    for entry in found.values() if isinstance(found, Mapping) else [found]:
        yield from entry


def _demand_full_form(document: Any) -> None:
    if not isinstance(document, Mapping) or not (
        {"properties", "allOf", "$ref"} & document.keys() or document.get("type") == "object"
    ):
        raise SchemaError(
            f"This is not a schema in the Registry's full form: it has neither properties nor allOf. {_ASK}"
        )
    outside = next((uri for uri in _references(document) if not uri.startswith("#")), None)
    if outside is not None:
        raise SchemaError(f"This is not the Registry's full form: a $ref to {outside!r} is left in it. {_ASK}")


def _references(node: Any) -> Iterator[str]:
    """Every `$ref` below; a property may be called so as well."""
    if isinstance(node, Mapping):
        for key, inner in node.items():
            if key == "$ref" and isinstance(inner, str):
                yield inner
            elif key not in ("enum", "const", "default", "examples", "meta:enum"):
                yield from _references(inner)
    elif isinstance(node, list):
        for inner in node:
            yield from _references(inner)


def repository_schema(
    files: Iterable[Document] | Mapping[str, Document],
    class_id: str,
    field_groups: Iterable[str] = (),
    *,
    title: str = "",
) -> Schema:
    """The schema of the official repository's `*.schema.json` documents: one class (or any schema) and field groups, by `$id`.

    Names become Platform names. Raises SchemaError, also for a `$ref` that no file answers.
    """
    field_groups = tuple(field_groups)
    documents = list(files.values() if isinstance(files, Mapping) else files)
    composer = _Composer({str(file["$id"]): file for file in documents if "$id" in file}, rename=platform_path)
    places = [composer.lookup(uri, None) for uri in (class_id, *field_groups)]
    root = composer.field("", places, ())
    return Schema(
        root=dataclasses.replace(root, kind="object", title=None, description=None),
        id=class_id if not field_groups else "",
        title=title or str(places[0].node.get("title", "")),
        class_id=class_id,
        extends=(class_id, *field_groups),
        unchecked=composer.unchecked,
    )


class _Composer:
    def __init__(self, documents: Mapping[str, Document], rename: Callable[[str], tuple[str, ...]]) -> None:
        self._documents = documents
        self._rename = rename
        self._unchecked: set[str] = set()

    @property
    def unchecked(self) -> tuple[str, ...]:
        """What the schema demands and the model has no place for, in words."""
        return tuple(sorted(self._unchecked))

    def lookup(self, reference: str, base: Document | None) -> _Place:
        uri, _, pointer = reference.partition("#")
        document = self._documents.get(uri) if uri else base
        if document is None and base is not None and uri == base.get("$id"):
            document = base
        if document is None:
            raise SchemaError(f"$ref {reference!r} leads nowhere: no schema with the $id {uri!r} was given.")
        node: Any = document
        for step in pointer.split("/")[1:]:
            node = node.get(step.replace("~1", "/").replace("~0", "~")) if isinstance(node, Mapping) else None
        if not isinstance(node, Mapping):
            raise SchemaError(f"$ref {reference!r} leads nowhere: {uri or 'the schema'} has no {pointer!r}.")
        return _Place(node, document)

    def field(self, name: str, places: Sequence[_Place], trail: tuple[int, ...], origin: str | None = None) -> Field:
        """One field from all the places that describe it; `trail` holds the nodes on the way, to stop at a
        recursion."""
        parts: list[_Place] = []
        for place in places:
            self._flatten(place, parts, frozenset(trail))
        trail = (*trail, *(id(part.node) for part in parts))
        keywords = _merge(parts)
        children = self._children(parts, trail)
        items = [_Place(p.node["items"], p.document) for p in parts if isinstance(p.node.get("items"), Mapping)]
        extra = [_Place(node, part.document) for part in parts for node in _map_values(part.node)]
        kind = _kind(keywords, has_children=bool(children), has_items=bool(items), has_values=bool(extra))
        self._note_unchecked(parts, keywords)
        low, high = keywords.get("minimum"), keywords.get("maximum")
        constraints = {ours: keywords[theirs] for theirs, ours in _CONSTRAINTS.items() if theirs in keywords}
        if kind in INTEGER_RANGES:
            smallest, largest = INTEGER_RANGES[kind]
            constraints["minimum"] = None if low is None or low <= smallest else low
            constraints["maximum"] = None if high is None or high >= largest else high
        constant = "const" in keywords
        enum = [keywords["const"]] if constant else keywords.get("enum")
        text_format = keywords.get("format")
        # Titles beside a $ref have no force in draft-06, but they are what a reader sees.
        outer = places[0].node
        return Field(
            name=name,
            kind=kind,
            required=self._required(parts, children) if kind == "object" else (),
            children=children if kind == "object" else (),
            items=self.field("", items, trail) if kind == "array" and items else None,
            values=self.field("", extra, trail) if kind == "map" and extra else None,
            enum=tuple(enum) if enum is not None else None,
            constant=constant,
            suggested=tuple(str(value) for value in keywords.get("meta:enum", ())) if enum is None else (),
            format=text_format if kind == "string" else None,
            unique_items=keywords.get("uniqueItems") is True,
            closed=kind == "object" and not children and keywords.get("additionalProperties") is False,
            title=outer.get("title") or keywords.get("title"),
            description=outer.get("description") or keywords.get("description"),
            origin=keywords.get("meta:xdmField") or origin,
            **constraints,
        )

    def _flatten(self, place: _Place, parts: list[_Place], trail: frozenset[int]) -> None:
        """The node itself and all that it refers to or combines."""
        node = place.node
        reference = node.get("$ref")
        if isinstance(reference, str):  # draft-06: keywords beside a $ref have no effect
            if not reference.endswith(_CONTEXT):
                self._flatten(self.lookup(reference, place.document), parts, trail)
            return
        if id(node) in trail:
            return
        parts.append(place)
        for part in node.get("allOf", ()):
            self._flatten(_Place(part, place.document), parts, trail)
        for key in ("oneOf", "anyOf"):
            # Alternatives declare fields too; what only one of them requires is not required of all.
            alternatives: list[_Place] = []
            for part in node.get(key, ()):
                self._flatten(_Place(part, place.document), alternatives, trail)
            kinds = {alternative.node.get("type") for alternative in alternatives} - {None}
            if len(kinds) > 1:
                parts.append(_Place({"type": sorted(map(str, kinds))}, place.document))
            else:
                parts += [
                    _Place({k: v for k, v in a.node.items() if k != "required"}, a.document) for a in alternatives
                ]

    def _children(self, parts: Sequence[_Place], trail: tuple[int, ...]) -> tuple[Field, ...]:
        """Declared members, grouped by the first step of their Platform path."""
        tree = _Branch()
        for part in parts:
            for name, node in part.node.get("properties", {}).items():
                if name == "@context" or not isinstance(node, Mapping | bool) or node is False:
                    continue
                branch = tree
                for step in self._rename(str(name)):
                    branch = branch.members.setdefault(step, _Branch())
                branch.places.append(_Place({} if node is True else node, part.document))
                branch.origin = str(name)
        return tuple(self._branch(name, branch, trail) for name, branch in tree.members.items())

    def _branch(self, name: str, branch: _Branch, trail: tuple[int, ...]) -> Field:
        nested = tuple(self._branch(step, inner, trail) for step, inner in branch.members.items())
        if not branch.places:  # a namespace: an object that exists only to hold prefixed names
            return Field(name=name, kind="object", children=nested)
        field = self.field(name, branch.places, trail, branch.origin if branch.origin != name else None)
        return dataclasses.replace(field, children=(*field.children, *nested)) if nested else field

    def _required(self, parts: Sequence[_Place], children: Sequence[Field]) -> tuple[str, ...]:
        """Required members that are direct children. A prefixed name lies deeper and has no such case upstream, where
        a name may also be required that only another schema declares."""
        known = {child.name for child in children}
        paths = (self._rename(str(name)) for part in parts for name in part.node.get("required", ()))
        single = (path[0] for path in paths if len(path) == 1)
        return tuple(dict.fromkeys(name for name in single if name in known or not self._documents))

    def _note_unchecked(self, parts: Sequence[_Place], keywords: Document) -> None:
        pattern = keywords.get("pattern")
        if pattern is not None and not formats.is_readable(pattern):
            self._unchecked.add(f"pattern {pattern!r}")
        for part in parts:
            self._unchecked.update(key for key in _UNCHECKED if key in part.node)
            if isinstance(part.node.get("items"), list):
                self._unchecked.add("items as a list")


class _Branch:
    """Places that describe one field, and fields below it, while names are being nested."""

    def __init__(self) -> None:
        self.places: list[_Place] = []
        self.members: dict[str, _Branch] = {}
        self.origin: str | None = None


def _merge(parts: Sequence[_Place]) -> dict[str, Any]:
    """Keywords of all parts; where two parts speak, the first keeps its say, but for limits, of which the tighter
    holds."""
    merged: dict[str, Any] = {}
    for part in parts:
        for key, value in part.node.items():
            _demand_type(key, value, part.node)
            if key not in merged:
                merged[key] = value
            elif key in ("minimum", "minLength", "minItems", "minProperties", "exclusiveMinimum"):
                merged[key] = max(merged[key], value)
            elif key in ("maximum", "maxLength", "maxItems", "maxProperties", "exclusiveMaximum"):
                merged[key] = min(merged[key], value)
    return merged


def _demand_type(key: str, value: object, node: Document) -> None:
    """Of keywords whose value is used as it stands."""
    if key in ("pattern", "format"):
        right = isinstance(value, str)
    elif key in _CONSTRAINTS:
        right = isinstance(value, int | float) and not isinstance(value, bool)
    else:
        right = isinstance(value, list) or key not in ("enum", "required", "allOf", "anyOf", "oneOf")
    if not right:
        raise SchemaError(
            f"{key} is {value!r} in the schema ({node.get('title', 'untitled field')!r}): not as in draft-06."
        )


def _map_values(node: Document) -> list[Any]:
    """Schemas of the values of a map. A lone pattern for names, without declared members, makes a map as well."""
    if isinstance(node.get("additionalProperties"), Mapping):
        return [node["additionalProperties"]]
    patterns = node.get("patternProperties")
    if isinstance(patterns, Mapping) and not node.get("properties"):
        return [schema for schema in patterns.values() if isinstance(schema, Mapping)]
    return []


def _kind(keywords: Document, *, has_children: bool, has_items: bool, has_values: bool) -> FieldKind:
    json_type = keywords.get("type")
    stated = _XDM_TYPES.get(str(keywords.get("meta:xdmType")))
    if isinstance(json_type, list):
        named = [name for name in json_type if name != "null"]
        json_type = named[0] if len(named) == 1 else "any"
    if json_type == "any":
        return "any"
    if stated == "map" or (has_values and not has_children):
        return "map"
    if json_type is None:
        if has_children:
            return "object"
        if has_items:
            return "array"
        allowed = keywords.get("enum", [keywords["const"]] if "const" in keywords else [])
        speaks = {"enum", "const", "format", "pattern", "meta:enum"} & keywords.keys()
        if stated is None and (not speaks or not all(isinstance(one, str) for one in allowed)):
            return "any"
        json_type = "string" if stated is None else None
    if json_type == "integer":
        return _integer(keywords.get("minimum"), keywords.get("maximum"), stated)
    if json_type == "string":
        text_format = keywords.get("format")
        if text_format == "date-time" or stated == "date_time":
            return "date_time"
        return "date" if text_format == "date" or stated == "date" else "string"
    if json_type == "null":
        return "any"
    kind = _XDM_TYPES.get(str(json_type)) if json_type is not None else stated
    if kind is None:
        raise SchemaError(f"Unknown type {json_type!r} in the schema ({keywords.get('title', 'untitled field')!r}).")
    return kind


def _integer(low: Any, high: Any, stated: FieldKind | None) -> FieldKind:
    """The smallest integer type that holds the range; int where the schema gives no upper limit (xdm.md#types)."""
    if stated in INTEGER_RANGES:
        return cast("FieldKind", stated)
    if high is None:
        return "long" if low is not None and low < INTEGER_RANGES["int"][0] else "int"
    if low is None:
        return "long" if high > INTEGER_RANGES["int"][1] + 1 else "int"
    for kind, (smallest, largest) in INTEGER_RANGES.items():
        if low >= smallest and high <= largest + 1:  # + 1: Adobe prints some limits one too high
            return cast("FieldKind", kind)
    return "long"
