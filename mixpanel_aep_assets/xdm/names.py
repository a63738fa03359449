"""Repository names of XDM fields (`xdm:timestamp`, `@id`) turned into Platform names (`timestamp`, `_id`).

Rules: reference xdm.md section 2. Only the official repository files need them; everything that the Platform sends or
takes has Platform names already.
"""

from __future__ import annotations

import re

_KEBAB = re.compile(r"-+([A-Za-z0-9])")
_BASES = ("ns.adobe.com/xdm/data/metrics/", "ns.adobe.com/xdm/", "ns.adobe.com/")


def platform_path(name: str) -> tuple[str, ...]:
    """The Platform path of one repository property name, outermost name first: `schema:latitude` is `_schema.latitude`.

    A name without prefix is returned as it is: standard XDM has none, tenant schemas have only such.
    """
    name = _KEBAB.sub(lambda match: match[1].upper(), name)
    if name.startswith("xdm:"):
        return (name[len("xdm:") :],)
    if name.startswith("@"):
        return ("_" + name[1:],)
    if "://" in name:
        rest = name.split("://", 1)[1]
        base = next((base for base in _BASES if rest.startswith(base)), None)
        rest = rest.removeprefix(base) if base is not None else rest.partition("/")[2] or rest
        first, *others = [part for part in rest.split("/") if part]
        return ("_" + first, *others)
    prefix, colon, rest = name.partition(":")
    return ("_" + prefix, rest) if colon else (name,)


def platform_uri_alias(uri: str) -> str:
    """The dotted form of a resource's `$id`, as the Registry's `meta:altId` has it: `_xdm.context.profile`."""
    rest = uri.split("://", 1)[-1].removeprefix("ns.adobe.com/")
    return "_" + rest.replace("/", ".")
