"""String functions. Null rules are those of Apache commons-lang, whose wording Adobe's page has: null in, null out."""

from __future__ import annotations

from typing import Final

from mixpanel_aep_assets.dataprep.interpreter import regular_expressions
from mixpanel_aep_assets.dataprep.interpreter.functions.function_registry import Kind, function
from mixpanel_aep_assets.dataprep.interpreter.values import Value, bounded, joined_text, parts_of
from mixpanel_aep_assets.dataprep.language import bounds
from mixpanel_aep_assets.dataprep.language.mapping_errors import EvaluationError

_ANY, _TEXT, _INTEGER, _ARRAY = Kind.ANY, Kind.TEXT, Kind.INTEGER, Kind.ARRAY

WHITE_SPACE: Final = (
    "\t\n\x0b\x0c\r \x85\xa0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a\u2028\u2029\u202f"
    "\u205f\u3000"
)
"""What trimming removes: the characters with Unicode's property White_Space, as Polars has it too."""


def too_long() -> EvaluationError:
    return EvaluationError(f"the result would have more than {bounds.TEXT_CHARACTERS} characters")


@function("concat", category="string", takes=(_ANY,), gives=_TEXT, variadic=True)
def concat(*parts: Value) -> str:
    """Null counts as empty text (data-prep.md#our-answers)."""
    return bounded("".join(map(joined_text, parts)))


@function(
    "explode",
    category="string",
    takes=(_TEXT, _TEXT),
    gives=_ARRAY,
    required=1,
    null_in=(0,),
    constants={1: regular_expressions.check},
)
def explode(text: str, separator: str | None = None) -> list[str]:
    """Splits on a regular expression as Java's `String.split` does: inner empty parts stay, trailing ones vanish."""
    parts: list[str] = []
    start = 0
    for match in regular_expressions.compiled("," if separator is None else separator).finditer(text):
        if len(parts) >= bounds.ARRAY_ITEMS:
            raise EvaluationError(f"the text has more than {bounds.ARRAY_ITEMS} parts")
        if match.end() == 0:
            continue
        if match.start() == match.end() == len(text):
            break
        parts.append(text[start : match.start()])
        start = match.end()
    if not parts:
        return [text]
    parts.append(text[start:])
    while parts and parts[-1] == "":
        parts.pop()
    return parts


@function(
    "instr",
    category="string",
    takes=(_TEXT, _TEXT, _INTEGER, _INTEGER),
    gives=_INTEGER,
    required=2,
    null_in=(0, 1),
)
def instr(text: str, part: str, start: int | None = None, occurrence: int | None = None) -> int:
    """Index from 0 of the wanted occurrence at or after `start`; -1 when there is none (data-prep.md#our-answers)."""
    wanted = 1 if occurrence is None else occurrence
    if wanted < 1:
        raise EvaluationError(f"the occurrence is counted from 1, found {wanted}")
    at = max(start or 0, 0) - 1
    for _ in range(min(wanted, len(text) + 2)):
        at = text.find(part, at + 1)
        if at < 0:
            break
    return at


@function("replacestr", category="string", takes=(_TEXT, _TEXT, _TEXT), gives=_TEXT, null_in=(0,))
def replacestr(text: str, find: str | None, replacement: str | None) -> str:
    """Every occurrence, literally. Nothing to find, or null to put in, changes nothing."""
    if not find or replacement is None:
        return text
    growth = len(replacement) - len(find)
    if growth > 0 and len(text) + growth * text.count(find) > max(bounds.TEXT_CHARACTERS, len(text)):
        raise too_long()
    return text.replace(find, replacement)


@function("substr", category="string", takes=(_TEXT, _INTEGER, _INTEGER), gives=_TEXT, null_in=(0, 1, 2))
def substr(text: str, start: int, length: int) -> str:
    """From a start counted from 0; a start outside the text gives the empty text."""
    if start < 0 or length < 0:
        raise EvaluationError("start and length of substr cannot be negative")
    return text[start : start + length]


@function("lower", "lcase", category="string", takes=(_TEXT,), gives=_TEXT, null_in=(0,))
def lower(text: str) -> str:
    return text.lower()


@function("upper", "ucase", category="string", takes=(_TEXT,), gives=_TEXT, null_in=(0,))
def upper(text: str) -> str:
    return text.upper()


@function("split", category="string", takes=(_TEXT, _TEXT), gives=_ARRAY, null_in=(0,))
def split(text: str, separators: str | None) -> list[str]:
    """Splits on any character of `separators` and drops empty parts; no separators means white space."""
    characters = separators or WHITE_SPACE
    if len(characters) > 1:
        text = text.translate(dict.fromkeys(map(ord, characters), characters[0]))
    return [part for part in parts_of(text, characters[0]) if part]


@function("join", category="string", takes=(_TEXT, _ARRAY), gives=_TEXT, null_in=(1,))
def join(separator: str | None, items: list[Value]) -> str:
    """The separator comes first; null elements count as empty text."""
    return joined(separator or "", items)


def joined(separator: str, items: list[Value]) -> str:
    if len(separator) * len(items) > bounds.TEXT_CHARACTERS:
        raise too_long()
    return bounded(separator.join(map(joined_text, items)))


def _padding(text: str, size: int, padding: str | None) -> str:
    if size > bounds.TEXT_CHARACTERS:
        raise too_long()
    missing = max(size - len(text), 0)
    unit = padding or " "
    return (unit * (missing // len(unit) + 1))[:missing]


@function("lpad", category="string", takes=(_TEXT, _INTEGER, _TEXT), gives=_TEXT, null_in=(0, 1))
def lpad(text: str, size: int, padding: str | None) -> str:
    return _padding(text, size, padding) + text


@function("rpad", category="string", takes=(_TEXT, _INTEGER, _TEXT), gives=_TEXT, null_in=(0, 1))
def rpad(text: str, size: int, padding: str | None) -> str:
    return text + _padding(text, size, padding)


@function("left", category="string", takes=(_TEXT, _INTEGER), gives=_TEXT, null_in=(0, 1))
def left(text: str, count: int) -> str:
    return text[: max(count, 0)]


@function("right", category="string", takes=(_TEXT, _INTEGER), gives=_TEXT, null_in=(0, 1))
def right(text: str, count: int) -> str:
    return text[max(len(text) - max(count, 0), 0) :]


@function("ltrim", category="string", takes=(_TEXT,), gives=_TEXT, null_in=(0,))
def ltrim(text: str) -> str:
    return text.lstrip(WHITE_SPACE)


@function("rtrim", category="string", takes=(_TEXT,), gives=_TEXT, null_in=(0,))
def rtrim(text: str) -> str:
    return text.rstrip(WHITE_SPACE)


@function("trim", category="string", takes=(_TEXT,), gives=_TEXT, null_in=(0,))
def trim(text: str) -> str:
    return text.strip(WHITE_SPACE)
