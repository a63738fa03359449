"""Regular expressions in linear time and bounded memory (RE2), in place of Java's.

What RE2 lacks (look-around, back-references, possessive quantifiers, atomic groups) is refused with the reason; Java's
POSIX class names are translated. Functions that use them are in `functions/regex.py` and `functions/string.py`.
"""

from __future__ import annotations

import functools
import re
from typing import Any, Final

import re2

from mixpanel_aep_assets.dataprep.language import bounds
from mixpanel_aep_assets.dataprep.language.mapping_errors import EvaluationError

_UNSUPPORTED: Final = (
    (re.compile(r"\(\?<?[=!]"), "look-around is not supported: it has no linear-time form"),
    (re.compile(r"\(\?>"), "atomic groups are not supported: every match is linear in time here, so leave ?> out"),
    (re.compile(r"(?<!\\)(?:\\\\)*\\(?:[1-9]|k<)"), "back-references are not supported: they have no linear-time form"),
    (
        re.compile(r"\\[pP]\{(?:Is|In|java)"),
        "of Java's classes only scripts and categories of Unicode and POSIX names are known",
    ),
    (
        re.compile(r"(?:[*+?]|(?<!\\)\{\d+(?:,\d*)?\})\+"),
        "possessive quantifiers are not supported: leave the second + out",
    ),
    (re.compile(r"\{\d*,?\d+\}"), "a repetition goes to 1000 at most, nested ones multiplied"),
)
_IN_CLASS: Final = (
    "in a class Java reads [ as a class within it and && as a common part, which is not supported; escape them"
)
_POSIX: Final = {
    "Lower": "a-z",
    "Upper": "A-Z",
    "Alpha": "a-zA-Z",
    "Digit": "0-9",
    "Alnum": "a-zA-Z0-9",
    "XDigit": "0-9a-fA-F",
    "Space": r"\t-\r ",
    "Blank": r"\t ",
    "Cntrl": r"\x00-\x1f\x7f",
    "Punct": r"!-/:-@\[-`{-~",
    "Graph": "!-~",
    "Print": " -~",
    "ASCII": r"\x00-\x7f",
}
_TOKEN: Final = re.compile(r"\\([pP])\{(\w+)\}|\\.|\[\^?\]?|\]|&&|.", re.DOTALL)


def _translated(pattern: str) -> str:
    """Java's `\\p{Alpha}` and its kin as the ranges they stand for; everything else as it is.

    Raises EvaluationError for a class within a class, which RE2 would take for its characters.
    """
    out: list[str] = []
    in_class = quoted = False
    for found in _TOKEN.finditer(pattern):
        piece, ranges = found[0], _POSIX.get(found[2] or "")
        if quoted or piece == r"\Q":
            quoted = piece != r"\E"
        elif ranges is not None and not (in_class and found[1] == "P"):
            out.append(ranges if in_class else f"[{'^' if found[1] == 'P' else ''}{ranges}]")
            continue
        elif in_class and (piece.startswith("[") or piece == "&&"):
            raise EvaluationError(f"the regular expression {pattern!r} is refused: {_IN_CLASS}")
        elif piece.startswith("["):
            in_class = True
        elif piece == "]":
            in_class = False
        out.append(piece)
    return "".join(out)


@functools.lru_cache(maxsize=1024)
def compiled(pattern: str) -> Any:
    """The compiled form. Raises EvaluationError with the reason when RE2 cannot take the pattern."""
    if len(pattern) > bounds.PATTERN_CHARACTERS:
        raise EvaluationError(f"a regular expression has at most {bounds.PATTERN_CHARACTERS} characters")
    options = re2.Options()
    options.log_errors = False
    options.max_mem = bounds.PATTERN_MEMORY
    try:
        return re2.compile(_translated(pattern), options)
    except re2.error as error:
        for form, reason in _UNSUPPORTED:
            if form.search(pattern):
                raise EvaluationError(f"the regular expression {pattern!r} is refused: {reason}") from None
        detail = error.args[0] if error.args else error
        text = detail.decode(errors="replace") if isinstance(detail, bytes) else str(detail)
        raise EvaluationError(f"the regular expression {pattern!r} is wrong: {text}") from None


def full_match(text: str, pattern: str) -> bool:
    """Whether the pattern matches the whole text, as Java's `matches` does (data-prep.md#our-answers)."""
    return compiled(pattern).fullmatch(text) is not None


def check(pattern: Any) -> None:
    """Raises EvaluationError when a constant is no usable pattern; for validation."""
    if isinstance(pattern, str):
        compiled(pattern)
