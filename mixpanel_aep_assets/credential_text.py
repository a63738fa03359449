"""What a credential or an id may be written with, by one rule for all of them.

A value comes from a `.env` file, a secret store or a web page, and brings along what is not part of it: the carriage
return of a Windows line, blanks, quotes, invisible characters. What stands around the value is certainly not part of it
and is left out (`trimmed`; `ends` says what it was). What stands within it (`within`) may stand for anything, so such a
value is refused by whoever reads it. No text of this module holds a value.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping
from typing import Literal

CredentialKind = Literal["token", "list", "name", "organisation"]
"""`token`: printable ASCII. `list`: that and blanks. `name`: chosen by a person, any script, but no colon, which ends
it in the header. `organisation`: a token that ends in `@AdobeOrg`."""

ORGANISATION = "@AdobeOrg"

QUOTES = {'"': '"', "'": "'", "`": "`", "“": "”", "„": "“", "‘": "’", "«": "»"}
"""Opening quote -> the closing one."""

_ALL_QUOTES = frozenset(QUOTES) | frozenset(QUOTES.values())
_INVISIBLE = frozenset({"Cc", "Cf", "Zs", "Zl", "Zp"})
"""Unicode categories: control and format characters, blanks, line and paragraph separators."""

_SAID = {"\r": "a carriage return", "\n": "a line feed", "\t": "a tab", " ": "a blank", "\ufeff": "a byte order mark"}


def trimmed(text: str) -> str:
    """The value without what stands around it: invisible characters, and quotes that belong together."""
    while True:
        start, end = _bounds(text)
        inner = text[start:end]
        if len(inner) > 1 and QUOTES.get(inner[0]) == inner[-1]:
            inner = inner[1:-1]
        if inner == text:
            return inner
        text = inner


def ends(text: str) -> str:
    """What `trimmed` leaves out, in words, e.g. "a carriage return at its end"; empty where nothing is."""
    start, end = _bounds(text)
    found = []
    if start and start < len(text):
        found.append(f"{_named(text[0])} before it")
    if end < len(text):
        found.append(f"{_named(text[-1])} at its end" if end > start else "nothing but invisible characters")
    inner = text[start:end]
    if len(inner) > 1 and QUOTES.get(inner[0]) == inner[-1]:
        found.append("quotes around it")
        if (deeper := ends(inner[1:-1])) and deeper not in found:
            found.append(f"{deeper} within the quotes")
    return " and ".join(found)


def problem(variable: str, value: str, kind: CredentialKind = "token") -> str:
    """A sentence on a trimmed value that cannot be right: the variable and what is odd, never a secret; else empty."""
    if odd := within(value, kind):
        return f"{variable} holds {odd}, which no such value has. Copy it again from where it was made."
    if kind == "organisation" and value and not (value.endswith(ORGANISATION) and len(value) > len(ORGANISATION)):
        whole = f"{value.partition('@')[0] or '…'}{ORGANISATION}"
        return (
            f"{variable}={value!r} does not end in {ORGANISATION}, as every organisation id does. Set {variable}={whole} "
            "if the rest is right (Adobe Developer Console: the credential's page shows the organisation id)."
        )
    return ""


def oddities(given: Mapping[str, str], salt: str = "") -> list[str]:
    """A sentence for each variable whose value has something around it. The salt is used as it stands, since it is ours
    and another one makes other hashes; so what stands around it is only named."""
    found = [
        f"{variable} has {odd}, which is left out. Take it away where the value is kept."
        for variable, text in given.items()
        if (odd := ends(text))
    ]
    if odd := ends(salt):
        found.append(f"MIXPANEL_AEP_PRIVACY_SALT has {odd}, which counts as a part of the salt.")
    return found


def within(text: str, kind: CredentialKind = "token") -> str:
    """The first thing within a trimmed value that no value of the kind holds, in words; empty where there is none."""
    for position, character in enumerate(text, start=1):
        quote = character in _ALL_QUOTES and position in (1, len(text))
        plain = "!" <= character <= "~" or (character == " " and kind in ("list", "name"))
        plain |= kind == "name" and character.isprintable() and not character.isspace()
        if quote or not plain or (character == ":" and kind == "name"):
            return f"{_named(character)} at position {position}"
    return ""


def _bounds(text: str) -> tuple[int, int]:
    """Where the visible part begins and ends."""
    visible = [n for n, character in enumerate(text) if unicodedata.category(character) not in _INVISIBLE]
    return (visible[0], visible[-1] + 1) if visible else (0, 0)


def _named(character: str) -> str:
    """A character in words. Only what cannot be part of a value is named."""
    if character in _SAID:
        return _SAID[character]
    if character in _ALL_QUOTES:
        return "a single quote" if character in "'‘’" else "a quote"
    if character == ":":
        return "a colon"
    kind = "the control character" if unicodedata.category(character) == "Cc" else "the character"
    return f"{kind} U+{ord(character):04X}"
