"""Field names for property names: valid, free of collisions, and the same in whatever order properties come.

The Platform's rules (xdm.md#custom-fields): letters, digits, `-`, `_`; no leading `_`; names that differ only in case are
one; camelCase preferred; a name can never change once used. So a name depends only on the set of properties and on the
names that are taken, and a suffix, where one is needed, on the hash of the property's own name.
"""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from typing import Final

LONGEST: Final = 64
"""Characters of a field name; Adobe names no limit, Query Service columns and people want one."""

VALID: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*")

_SEPARATORS = re.compile(r"[^A-Za-z0-9]+")
_FIRST_CAPITALS = re.compile(r"[A-Z]+(?![a-z])|[A-Z]")
_NAMELESS: Final = "property"
_SUFFIXES: Final = range(6, 33, 2)
"""Hexadecimal digits of a suffix: the fewest that make names differ."""


def field_names(properties: Iterable[str], taken: Collection[str] = ()) -> dict[str, str]:
    """A field name for each property; `taken` are names that exist already beside them.

    `Plan Type` becomes `planType`, `$ae_total` `aeTotal`, `3d` `p3d`. A property gets a suffix (`currency_4f2c9a`) if
    its plain name is taken, or is that of another property too (the one that is spelled exactly like the field is
    spared), or if letters had to be left out or the name to be cut.
    """
    plain = {name: _plain(name) for name in set(properties)}
    used = {name.lower() for name in taken}
    groups = Counter(stem.lower() for stem, _ in plain.values())
    exact = Counter(stem.lower() for name, (stem, _) in plain.items() if name == stem)
    named: dict[str, str] = {}
    for name, (stem, lossy) in plain.items():
        key = stem.lower()
        alone = groups[key] == 1 or (name == stem and exact[key] == 1)
        if alone and not lossy and key not in used:
            named[name] = stem
    return dict(sorted((named | _suffixed(plain, named, used)).items()))


def _suffixed(plain: Mapping[str, tuple[str, bool]], named: Mapping[str, str], used: Collection[str]) -> dict[str, str]:
    """Names for the properties that are not named yet. Plain names have no `_`, so suffixes meet suffixes only."""
    found: dict[str, str] = {}
    left = {name: stem for name, (stem, _) in plain.items() if name not in named}
    for digits in _SUFFIXES:
        tried = {name: _with_suffix(name, stem, digits) for name, stem in left.items()}
        busy = Counter(one.lower() for one in (*tried.values(), *found.values(), *used))
        found |= {name: one for name, one in tried.items() if busy[one.lower()] == 1}
        left = {name: stem for name, stem in left.items() if name not in found}
        if not left:
            return found
    raise AssertionError("two names share 128 bits of SHA-256")


def _with_suffix(name: str, stem: str, digits: int) -> str:
    mark = hashlib.sha256(name.encode("utf-8", "surrogatepass")).hexdigest()[:digits]
    return f"{stem[: LONGEST - digits - 1]}_{mark}"


def beside(name: str, taken: Collection[str]) -> str:
    """The name of the text column beside a typed column: `totalText` for `total`, with a suffix where that is taken."""
    used = {one.lower() for one in taken}
    stem = name[: LONGEST - len("Text")] + "Text"
    if stem.lower() not in used and len(name) + len("Text") <= LONGEST:
        return stem
    return next(one for digits in _SUFFIXES if (one := _with_suffix(name, stem, digits)).lower() not in used)


def _plain(name: str) -> tuple[str, bool]:
    """The name in camelCase, and whether letters or digits were lost on the way."""
    bare = name.removeprefix("$").removeprefix("mp_")
    # é is e and a mark: the letter stays, the mark goes.
    spread = unicodedata.normalize("NFKD", bare)
    lossy = any(not character.isascii() and character.isalnum() for character in spread)
    words = [word for word in _SEPARATORS.split("".join(c for c in spread if not unicodedata.combining(c))) if word]
    if not words:
        return _NAMELESS, True
    first, *others = words
    stem = _FIRST_CAPITALS.sub(lambda found: found[0].lower(), first, count=1) if first[0].isupper() else first
    stem += "".join(word[0].upper() + word[1:] for word in others)
    if stem[0].isdigit():
        stem = "p" + stem
    return stem[:LONGEST], lossy or len(stem) > LONGEST
