"""How alike two names are: those of properties and those of fields. Words decide, not letters."""

from __future__ import annotations

import difflib
import functools
import re
from collections.abc import Sequence
from typing import Final

_WORD: Final = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[^\W\dA-Z_]+|\d+")
_OWN_MARK: Final = re.compile(r"^(?:\$|mp_|\$?ae_)+")
_MEANS: Final = {
    "app": "application",
    "os": "operating system",
    "lang": "language",
    "lat": "latitude",
    "lon": "longitude",
    "lng": "longitude",
    "qty": "quantity",
    "num": "number",
    "desc": "description",
    "zip": "postal code",
    "zipcode": "postal code",
    "uri": "url",
    "referer": "referrer",
    "ts": "timestamp",
    "img": "image",
    "org": "organization",
}

_LONG: Final = 6
_NEAR: Final = 0.87


@functools.lru_cache(maxsize=4096)
def words(name: str) -> tuple[str, ...]:
    """The words of a name in small letters, without Mixpanel's own marks: `$initialReferrer_url` is initial referrer url."""
    found = (word.casefold() for word in _WORD.findall(_OWN_MARK.sub("", name)))
    return tuple(one for word in found for one in _MEANS.get(word, word).split())


def likeness(name: str, path: Sequence[str]) -> float:
    """From 0 to 1: a name against the names on the way to a field, of which the last counts most.

    The same words as the field's: 1.0 at the top, 0.9 below objects, and 0.7 for a single word there, such as `name`, which
    says little. The field's words and those of the objects around it: 0.95. Otherwise by the share of words in common.
    """
    own, leaf = words(name), words(path[-1])
    if not own or not leaf:
        return 0.0
    if "".join(own) == "".join(leaf):
        return 1.0 if len(path) == 1 else 0.9 if len(leaf) > 1 else 0.7
    around = [word for step in path[:-1] for word in words(step)]
    rest = [word for word in own if not _is_among(word, leaf)]
    common = len(own) - len(rest)
    if common == len(leaf) and all(_is_among(word, around) for word in rest):
        return 0.95 if rest else 0.9 if len(leaf) > 1 else 0.7
    return round(0.9 * 2 * common / (len(own) + len(leaf)), 2)


def _is_among(word: str, others: Sequence[str]) -> bool:
    return any(_is_near(word, other) for other in others)


@functools.lru_cache(maxsize=65536)
def _is_near(word: str, other: str) -> bool:
    """Whether two words are the same but for singular and plural, or a slip in a long one."""
    if word.removesuffix("s") == other.removesuffix("s"):
        return True
    if min(len(word), len(other)) < _LONG or word[0] != other[0]:
        return False
    return difflib.SequenceMatcher(None, word, other, autojunk=False).ratio() >= _NEAR
