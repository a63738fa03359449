"""Text from outside, made fit for a person's screen: a log, JSON over HTTP, Markdown.

Anyone who has the public token of a Mixpanel project can send names and values of their choice. What belongs here: how such
text becomes visible characters and nothing else. What does not: which text is shown where (`metadata`, `previews`).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, Final

import orjson

_HIDDEN: Final = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff\ud800-\udfff\ufffe\uffff]"
)
"""Control characters but tab and newline, marks that reorder what is read, and halves of surrogate pairs, which no UTF-8
can hold: one of them in one event's text and the Dagster webserver answers 500 for the whole page."""

_MARKUP: Final = re.compile(r"[\\`*\[\]<>&!~|#]|(?<![^\W_])_|_(?![^\W_])")
_BLOCK: Final = re.compile(r"^(\d{0,9})((?<=\d)[.)]|(?<!\d)[-+=:])", re.MULTILINE)
"""What begins a list, a heading or a table where it begins a line."""

_INDENT: Final = re.compile(r"^[ \t]+", re.MULTILINE)
_LINK: Final = re.compile(r"(?:https?|ftp)(?=:)|www(?=\.)|[-.\w+](?=@)", re.IGNORECASE)
_ENTITIES: Final = {"<": "&lt;", ">": "&gt;", "&": "&amp;"}
_NOTHING: Final = "<!-- -->"
"""Parts a URL or an address, so that it is not made a link. GitHub's Markdown, which the Dagster UI speaks, looks for them in
what is left after escapes are resolved, so that an escape does not help."""

_CHARACTERS: Final = {entity: character for character, entity in _ENTITIES.items()}
_MADE: Final = re.compile(r"\\(.)|(`[^`\n]+`)|&(?:lt|gt|amp);|" + _NOTHING)
_CODE: Final = re.compile(r"(`[^`\n]+`)")
_TOKEN: Final = re.compile(r'"(?:[^"\\]|\\.)*"?|[\[{]\s*[\]}]|[\[\]{},:]|[^\s\[\]{},:"]+', re.DOTALL)
_INDENT_MOST: Final = 40
"""Levels of nesting that are indented; deeper ones stand below one another."""


def text(value: Any, limit: int | None = None) -> str:
    """Any value as text that can be stored, sent and read; of more than `limit` characters the beginning.

    Characters that cannot be seen or sent stand as their escapes (`\\u0000`). Never raises.
    """
    if isinstance(value, str):
        whole: str = value
    elif isinstance(value, (bytes, bytearray, memoryview)):
        whole = bytes(value[: limit and limit * 4]).decode("utf-8", "backslashreplace")
    else:
        try:
            whole = str(value)
        except Exception as error:  # whatever a foreign `__str__` raises, or an integer of over 4,300 digits
            whole = f"({type(value).__name__} that cannot be written: {type(error).__name__})"
    shown = _HIDDEN.sub(_escape, whole if limit is None else whole[: limit + 1])
    return shown if limit is None or len(shown) <= limit else f"{shown[: limit - 1]}…"


def _escape(found: re.Match[str]) -> str:
    return f"\\u{ord(found[0]):04x}"


def inline(value: Any, limit: int | None = None) -> str:
    """Any value as Markdown within a line, such as a table's cell, that renders as its `text`: no link, picture or style."""
    return _inline(text(value, limit).replace("\n", "⏎"))


def prose(value: Any, limit: int | None = None) -> str:
    """Sentences of ours that may quote text from outside, as Markdown: code between backticks, else nothing but `text`.

    A quoted text with backticks of its own can make code of what is none, which is as literal.
    """
    parts = _CODE.split(_INDENT.sub("", text(value, limit)))
    made = "".join(part if number % 2 else _inline(part) for number, part in enumerate(parts))
    return _BLOCK.sub(r"\1\\\2", made)


def plain(value: str) -> str:
    """What `inline` or `prose` was made of, for a terminal."""
    return _MADE.sub(_meant, value)


def _inline(shown: str) -> str:
    parts: list[str] = []
    at = 0
    for link in _LINK.finditer(shown):
        parts.append(_MARKUP.sub(_literal, shown[at : link.end()]))
        at = link.end()
    parts.append(_MARKUP.sub(_literal, shown[at:]))
    return _NOTHING.join(parts)


def _literal(found: re.Match[str]) -> str:
    return _ENTITIES.get(found[0]) or f"\\{found[0]}"


def _meant(found: re.Match[str]) -> str:
    return found[1] or found[2] or _CHARACTERS.get(found[0], "")


def fenced(value: str, language: str = "") -> str:
    """Text as a Markdown code block, whatever it contains."""
    shown = text(value)
    fence = "`" * max(3, 1 + max(map(len, re.findall("`+", shown)), default=0))
    return f"{fence}{language}\n{shown}\n{fence}"


def indented_json(value: str, limit: int) -> str:
    """A JSON text with a line for each member; of more than `limit` characters the beginning.

    Numbers stay as they were sent, and so does a string that no parser takes. What is no JSON is shown too: the text is cut
    at its punctuation and not read, so that no depth, number or broken character can be in the way.
    """
    lines: list[str] = []
    size = 0
    for line in _lines(value[: limit * 4]):
        lines.append(line)
        size += len(line) + 1
        if size > limit:
            break
    shown = "\n".join(lines)
    return shown if len(shown) <= limit and len(value) <= limit * 4 else f"{shown[:limit]}\n…"


def _lines(value: str) -> Iterator[str]:
    line, depth = "", 0
    for found in _TOKEN.finditer(value):
        part = found[0]
        if part in "[{":
            yield line + part
            depth += 1
            line = _margin(depth)
        elif part in "]}":
            if line.strip():
                yield line
            depth = max(depth - 1, 0)
            line = _margin(depth) + part
        elif part == ",":
            yield line + part
            line = _margin(depth)
        elif part == ":":
            line += ": "
        elif part[0] == '"':
            line += _string(part)
        else:
            line += (" " if line[-1:].isalnum() else "") + "".join(part.split())
    yield line


def _margin(depth: int) -> str:
    return "  " * min(depth, _INDENT_MOST)


def _string(token: str) -> str:
    """A JSON string with the characters that its escapes stand for, where it has a form without them."""
    try:
        return orjson.dumps(orjson.loads(token)).decode()
    except (orjson.JSONDecodeError, orjson.JSONEncodeError):
        return token
