"""Wanted fields against those that a field group or schema has: what is missing, and what contradicts.

Fields are looked for wherever the document describes them, behind references too (`references`). Nothing here writes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mixpanel_aep_assets.aep.platform_errors import Conflict
from mixpanel_aep_assets.aep.references import Node, Place, References, escaped

ADDITIONS = "mixpanelAepFields"
"""The definition of a field group that takes fields whose object is a data type of its own: the data type stays as it is,
since others may use it."""


@dataclass(frozen=True)
class Missing:
    """A field that is not there. `beside` is the pointer of the object in the document that can take it, if one can."""

    path: tuple[str, ...]
    body: Node
    beside: str | None

    def leaves(self) -> list[str]:
        return leaf_names(self.path[-1], self.body)


def missing(references: References, document: Node, wanted: Node, owner: str) -> list[Missing]:
    """The fields of the object `wanted` that the document lacks, the outermost of each branch.

    `owner` names the document in errors. Raises Conflict for a field of another type, and for a field whose name differs
    from one that is there in case alone, which Adobe takes for the same name (xdm.md#custom-fields).
    """
    return list(_missing(references, references.places(document), wanted, (), owner))


def operations(document: Node, found: Sequence[Missing]) -> list[dict[str, Any]]:
    """The JSON Patch that adds the missing fields to a field group."""
    made: list[dict[str, Any]] = []
    apart: dict[str, Any] = {}
    for one in found:
        if one.beside is not None:
            path = f"{one.beside}/properties/{escaped(one.path[-1])}"
            made.append({"op": "add", "path": path, "value": one.body})
        else:
            _put(apart, one)
    if apart:
        taken = document.get("definitions") or {}
        name = next(name for name in (ADDITIONS, *(f"{ADDITIONS}{n}" for n in range(2, 1000))) if name not in taken)
        reference = {"$ref": f"#/definitions/{name}"}
        made.append({"op": "add", "path": f"/definitions/{name}", "value": apart})
        if "allOf" in document:
            made.append({"op": "add", "path": "/allOf/-", "value": reference})
        else:
            made.append({"op": "add", "path": "/allOf", "value": [reference]})
    return made


def leaf_names(name: str, body: Node) -> list[str]:
    """The names of the fields that hold values: the field itself, or those in the object that it is."""
    inner = body.get("properties")
    return [leaf for child, part in inner.items() for leaf in leaf_names(child, part)] if inner else [name]


def _missing(
    references: References, places: Sequence[Place], wanted: Node, path: tuple[str, ...], owner: str
) -> Iterator[Missing]:
    there = references.members(places)
    spelled = {name.casefold(): name for name in there}
    beside = next((one.pointer for one in places if one.pointer is not None and "properties" in one.node), None)
    for name, body in (wanted.get("properties") or {}).items():
        here = (*path, name)
        if name not in there:
            other = spelled.get(name.casefold())
            if other is not None:
                raise Conflict(
                    f"{owner} has the field {'.'.join((*path, other))}, wanted is {'.'.join(here)}: names that differ in "
                    "case alone are the same to Adobe",
                    fix="Rename the field in the plan file, or choose another schema and field group "
                    "(--schema-title, --field-group-title).",
                )
            yield Missing(here, body, beside)
            continue
        found = references.flat(there[name])
        ours, theirs = _type([body]), _type([one.node for one in found])
        if ours != theirs:
            raise Conflict(
                f"The field {'.'.join(here)} of {owner} has the type {theirs}, wanted is {ours}",
                fix="A field's type can never be changed: choose another schema and field group (--schema-title, "
                "--field-group-title), or another name for a field of the plan file.",
            )
        if body.get("properties"):
            yield from _missing(references, found, body, here, owner)


def _type(nodes: Sequence[Node]) -> str:
    """Type and format of a field, for a list those of its elements too."""
    kind = next((one["type"] for one in nodes if one.get("type")), None)
    if kind is None:
        kind = "object" if any("properties" in one for one in nodes) else "unknown"
    marks = [str(kind), *(str(one["format"]) for one in nodes if one.get("format"))]
    items = next((one["items"] for one in nodes if isinstance(one.get("items"), Mapping)), None)
    if kind == "array" and items is not None and items.get("type"):
        marks.append(f"of {_type([items])}")
    return "/".join(dict.fromkeys(marks))


def _put(tree: dict[str, Any], one: Missing) -> None:
    """Puts the field into the tree of objects, under its whole path."""
    *parents, last = one.path
    tree.setdefault("type", "object")
    for name in parents:
        tree = tree.setdefault("properties", {}).setdefault(name, {"type": "object"})
    tree.setdefault("properties", {})[last] = one.body
