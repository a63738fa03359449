"""JSON Patch (RFC 6902), as Catalog and the Schema Registry take it."""

from __future__ import annotations

import copy
from typing import Any


class PatchError(Exception):
    """The patch cannot be applied; nothing was changed."""


def apply(document: Any, operations: Any) -> Any:
    """A copy of the document with the operations carried out in turn."""
    if not isinstance(operations, list):
        raise PatchError("A JSON Patch is an array of operations")
    changed = copy.deepcopy(document)
    for operation in operations:
        try:
            _apply(changed, operation)
        except (KeyError, IndexError, TypeError, ValueError) as error:
            raise PatchError(f"The operation {operation} cannot be applied: {error!r}") from None
    return changed


def _apply(document: Any, operation: dict[str, Any]) -> None:
    *parents, last = _tokens(operation["path"])
    target = _walk(document, parents, make=operation["op"] == "add")
    match operation["op"]:
        case "add" if isinstance(target, list):
            target.insert(len(target) if last == "-" else int(last), operation["value"])
        case "add":
            target[last] = operation["value"]
        case "replace":
            target[_key(target, last)]  # it must be there
            target[_key(target, last)] = operation["value"]
        case "remove":
            del target[_key(target, last)]
        case "test":
            if target[_key(target, last)] != operation["value"]:
                raise PatchError(f"The test of {operation['path']} failed")
        case "copy" | "move":
            *source_parents, source_last = _tokens(operation["from"])
            source = _walk(document, source_parents)
            value = copy.deepcopy(source[_key(source, source_last)])
            if operation["op"] == "move":
                del source[_key(source, source_last)]
            target[_key(target, last)] = value
        case other:
            raise PatchError(f"The operation {other!r} does not exist")


def _tokens(pointer: str) -> list[str]:
    if not pointer.startswith("/"):
        raise PatchError(f"The path {pointer!r} does not start with /")
    return [token.replace("~1", "/").replace("~0", "~") for token in pointer[1:].split("/")]


def _walk(document: Any, tokens: list[str], *, make: bool = False) -> Any:
    for index, token in enumerate(tokens):
        if make and isinstance(document, dict) and token not in document:
            # Adobe's own samples add to lists and objects that are not there yet.
            document[token] = [] if tokens[index + 1 : index + 2] == [] and token.startswith("meta:") else {}
        document = document[_key(document, token)]
    return document


def _key(target: Any, token: str) -> Any:
    return int(token) if isinstance(target, list) else token
