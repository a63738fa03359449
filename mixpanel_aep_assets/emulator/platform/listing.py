"""The Registry's list parameters: `property`, `orderby`, `limit`, `start`, and the page that answers
(platform.md#accept-headers)."""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Sequence
from typing import Any

from mixpanel_aep_assets.emulator.platform.gateway import PlatformCall, bad_request

MAXIMUM_LIMIT = 500
_COMPARE: dict[str, Callable[[str, str], bool]] = {
    "==": operator.eq, "!=": operator.ne, "<=": operator.le, ">=": operator.ge, "<": operator.lt, ">": operator.gt,
    "~": lambda value, pattern: re.search(pattern, value) is not None,
}  # fmt: skip
_FILTER = re.compile(r"(?P<name>[\w:$@]+)(?P<symbol>==|!=|<=|>=|<|>|~)(?P<value>.*)")
_BETWEEN = re.compile(r",(?=[\w:$@]+(?:[=!<>]=|[<>~]))")
"""A comma between two filters; values may hold commas too."""

Object = dict[str, Any]


def page(call: PlatformCall, known: Sequence[Object], order: str) -> tuple[list[Object], Object]:
    """The objects of the page that the query asks for, and the `_page` that tells how to go on.

    `order` is the attribute to order by when the query names none. `start` is the value after which the page begins.
    """
    order = call.query.get("orderby", order)
    name = order.removeprefix("-")
    backwards = order.startswith("-")
    chosen = sorted(
        (one for one in known if _passes(call, one)), key=lambda one: str(one.get(name, "")), reverse=backwards
    )
    limit = call.query.get("limit", str(call.world.settings.registry_page))
    if not limit.isdigit() or int(limit) > MAXIMUM_LIMIT:
        raise bad_request(f"limit must be from 0 to {MAXIMUM_LIMIT}")
    if start := call.query.get("start"):
        after = operator.lt if backwards else operator.gt
        chosen = [one for one in chosen if after(str(one.get(name, "")), start)]
    shown = chosen[: int(limit)]
    following = str(shown[-1].get(name, "")) if len(chosen) > len(shown) and shown else None
    return shown, {"orderby": order, "next": following, "count": len(shown)}


def _passes(call: PlatformCall, one: Object) -> bool:
    """By every `property` of the query; several stand in one with commas, or in several."""
    wanted = [part for text in call.request.query_params.getlist("property") for part in _BETWEEN.split(text)]
    return all(_holds(one, part) for part in wanted)


def _holds(one: Object, wanted: str) -> bool:
    found = _FILTER.fullmatch(wanted)
    if found is None:
        return wanted in one
    value, compare = one.get(found["name"]), _COMPARE[found["symbol"]]
    if found["symbol"] == "!=":
        return not _holds(one, f"{found['name']}=={found['value']}")
    values = value if isinstance(value, list) else [] if value is None else [value]
    return any(compare(str(each), found["value"]) for each in values)
