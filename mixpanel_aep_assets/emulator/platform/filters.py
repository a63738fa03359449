"""The query language of Catalog lists: paging, order, projection and filters (platform.md#catalog-lists)."""

from __future__ import annotations

import fnmatch
import operator
import re
from collections.abc import Callable, Mapping
from typing import Any

from mixpanel_aep_assets.emulator.platform.gateway import bad_request

MAXIMUM_LIMIT, DEFAULT_LIMIT = 100, 20
_COMPARE: dict[str, Callable[[Any, Any], bool]] = {
    "==": operator.eq, "!=": operator.ne, "<=": operator.le, ">=": operator.ge, "<": operator.lt, ">": operator.gt,
}  # fmt: skip
_PROPERTY = re.compile(r"(?P<name>[\w:.$-]+)(?P<symbol>~|==|!=|<=|>=|<|>)(?P<value>.*)")

Object = dict[str, Any]


def listed(
    objects: list[Object], query: Mapping[str, str], filters: Mapping[str, Callable[[Object], Any]]
) -> dict[str, Object]:
    """The objects that the query asks for, keyed by id.

    `filters` says, for each simple filter's name, which value of an object it is compared with.
    """
    limit, start = _integer(query, "limit", DEFAULT_LIMIT), _integer(query, "start", 0)
    if not 1 <= limit <= MAXIMUM_LIMIT:
        raise bad_request(f"limit must be from 1 to {MAXIMUM_LIMIT}")
    chosen = [one for one in objects if _passes(one, query, filters)]
    for key in reversed((query.get("orderBy") or query.get("sort") or "").split(",")):
        if key:
            direction, _, name = key.rpartition(":")
            chosen.sort(key=lambda one, name=name: _sortable(one.get(name)), reverse=direction == "desc")  # type: ignore[misc]
    names = [name for name in query.get("properties", "").split(",") if name]
    page = chosen[start : start + limit]
    return {one["id"]: {name: one[name] for name in names if name in one} if names else one for one in page}


def _passes(one: Object, query: Mapping[str, str], filters: Mapping[str, Callable[[Object], Any]]) -> bool:
    for name, wanted in query.items():
        if name == "property" and not _property(one, wanted):
            return False
        if name == "tags" and not all(_tag(one, part) for part in wanted.split(",")):
            return False
        if name in ("createdAfter", "createdBefore"):
            after = name == "createdAfter"
            bound = _integer(query, name, 0)
            if not (one["created"] > bound if after else one["created"] < bound):
                return False
        if name in filters:
            refused = wanted.startswith("!")
            values = wanted.removeprefix("!").split(",")
            if (str(filters[name](one)) in values) is refused:
                return False
    return True


def _property(one: Object, wanted: str) -> bool:
    if (found := _PROPERTY.fullmatch(wanted)) is None:
        return wanted.removeprefix("!") not in one if wanted.startswith("!") else wanted in one
    value = one.get(found["name"])
    if value is None:
        return found["symbol"] == "!="
    if found["symbol"] == "~":
        return re.search(found["value"], str(value)) is not None
    if isinstance(value, int | float) and not isinstance(value, bool):
        try:
            return _COMPARE[found["symbol"]](value, float(found["value"]))
        except ValueError:
            return False
    return _COMPARE[found["symbol"]](str(value), found["value"])


def _tag(one: Object, wanted: str) -> bool:
    name, _, pattern = wanted.partition(":")
    values = one.get("tags", {}).get(name)
    if values is None:
        return False
    return any(fnmatch.fnmatchcase(str(value), pattern) for value in (values if isinstance(values, list) else [values]))


def _integer(query: Mapping[str, str], name: str, default: int) -> int:
    try:
        return int(query.get(name, default))
    except ValueError:
        raise bad_request(f"{name} must be an integer") from None


def _sortable(value: Any) -> tuple[bool, float, str]:
    if isinstance(value, int | float):
        return (value is not None, float(value), "")
    return (value is not None, 0.0, str(value))
