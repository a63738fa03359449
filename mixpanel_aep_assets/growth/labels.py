"""Data usage labels that a property seems to need: personal data is named, with what speaks for it.

The labels are Adobe's core ones: I1 data that identifies a person directly, I2 together with other data, S1 precise
places. They are shown to the person who reviews the plan; nothing here sets a label on the Platform.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from mixpanel_aep_assets.growth.properties import Property

_WORDS = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+")

_NAMES: Final[Mapping[str, tuple[frozenset[str], ...]]] = {
    "I1": tuple(
        frozenset(words.split())
        for words in ("email", "e mail", "phone", "telephone", "msisdn", "first name", "last name", "full name", "ssn")
    ),
    "I2": tuple(
        frozenset(words.split())
        for words in (
            "ip",
            "idfa",
            "gaid",
            "imei",
            "mac address",
            "birthday",
            "birth date",
            "date of birth",
            "postcode",
        )
    ),
    "S1": tuple(frozenset(words.split()) for words in ("latitude", "longitude", "lat", "lng")),
}
"""Label -> words of which all stand in the name."""

_VALUES: Final[Mapping[str, tuple[str, re.Pattern[str]]]] = {
    "e-mail addresses": ("I1", re.compile(r"[^@\s]+@[^@\s]+\.[A-Za-z]{2,}")),
    "phone numbers": ("I1", re.compile(r"\+[0-9][0-9 ()./-]{6,20}[0-9]")),
    "IPv4 addresses": ("I2", re.compile(r"([0-9]{1,3}\.){3}[0-9]{1,3}")),
    "IPv6 addresses": ("I2", re.compile(r"[0-9A-Fa-f]{1,4}(::?[0-9A-Fa-f]{1,4}){3,7}")),
}


@dataclass(frozen=True)
class Suspicion:
    """A label and why: a short clause for the plan's reason."""

    label: str
    reason: str


def suspect(seen: Property) -> Suspicion | None:
    """The label that the property's name or at least half of its kept texts speak for, None where nothing does."""
    texts = [text for text, _ in seen.top] + [text for kind in ("string",) for text in seen.examples.get(kind, ())]
    for what, (label, pattern) in _VALUES.items():
        if texts and 2 * sum(bool(pattern.fullmatch(text)) for text in texts) >= len(texts):
            return Suspicion(label, f"its values look like {what}")
    words = {word.lower() for word in _WORDS.findall(seen.name)}
    for label, names in _NAMES.items():
        if any(name <= words for name in names):
            return Suspicion(label, "its name says so")
    return None
