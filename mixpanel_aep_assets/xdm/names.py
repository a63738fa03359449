"""Repository names of XDM fields (`xdm:timestamp`, `@id`) turned into Platform names (`timestamp`, `_id`).

Rules: xdm.md#names. Only the official repository files need them; everything that the Platform sends or
takes has Platform names already.
"""

from __future__ import annotations

import re
from typing import Any

from mixpanel_aep_assets.xdm.schema import Field

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


def platform_record(record: Any, field: Field | None) -> Any:
    """A record with repository names as the Platform has it, for the object that `field` describes.

    Keys of maps are data and stay; `@context` is JSON-LD and is left out; names that the field lacks are converted too.
    """
    if isinstance(record, list):
        items = field.items if field is not None else None
        return [platform_record(item, items) for item in record]
    if not isinstance(record, dict):
        return record
    if field is not None and field.kind in ("map", "any"):
        return {key: platform_record(value, field.values) for key, value in record.items()}
    converted: dict[str, Any] = {}
    for name, value in record.items():
        if name == "@context":
            continue
        at, inner = converted, field
        *parents, last = platform_path(name)
        for step in parents:
            at = at.setdefault(step, {})
            inner = inner.child(step) if inner is not None else None
        inner = inner.child(last) if inner is not None else None
        member = platform_record(value, inner)
        at[last] = {**at[last], **member} if isinstance(at.get(last), dict) and isinstance(member, dict) else member
    return converted
