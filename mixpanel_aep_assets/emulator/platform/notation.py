"""Standard XDM: a resolved schema with JSON-LD names, as the `vnd.adobe.xdm` forms show it (xdm.md#names).

The emulator keeps Platform names (Compatibility Mode). This is the documented conversion read backwards: `timestamp` is
`xdm:timestamp`, `_id` is `@id`, `_schema.latitude` is `schema:latitude`, `_{tenant}.field` is `{tenant}:field`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

PREFIXES = frozenset({"repo", "dc", "schema"})
"""Namespaces that have a short prefix; those of vendors are written as URIs."""


def standard(schema: dict[str, Any], tenant: str, prefix: str = "xdm") -> dict[str, Any]:
    """The resolved schema with standard names. `prefix` is the namespace of the fields at this level."""
    made = dict(schema)
    if "properties" in schema:
        made["properties"] = dict(_members(schema["properties"], tenant, prefix))
    if "required" in schema:
        made["required"] = [
            "@" + name[1:] if name.startswith("_") else f"{prefix}:{name}" for name in schema["required"]
        ]
    for inside in ("items", "additionalProperties"):
        if isinstance(schema.get(inside), dict):
            made[inside] = standard(schema[inside], tenant, prefix)
    return made


def _members(properties: dict[str, Any], tenant: str, prefix: str) -> Iterator[tuple[str, Any]]:
    for name, child in properties.items():
        if not name.startswith("_"):
            yield f"{prefix}:{name}", standard(child, tenant, prefix)
        elif "properties" not in child:
            yield "@" + name[1:], child
        else:
            inner = tenant if name[1:] == tenant else "xdm"
            for member, field in child["properties"].items():
                yield _named(name[1:], member, tenant), standard(field, tenant, inner)


def _named(namespace: str, name: str, tenant: str) -> str:
    if namespace == tenant or namespace in PREFIXES:
        return f"{namespace}:{name}"
    base = "xdm/channels" if namespace == "channels" else namespace
    return f"https://ns.adobe.com/{base}/{name}"
