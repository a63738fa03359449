"""Source and destination paths: text to steps and back. Field references inside expressions are the parser's.

A dot walks the hierarchy, `[n]` takes an element counted from 0, `[*]` iterates, a backslash makes the next character
part of the name; a source may be wrapped whole in `${...}` (data-prep.md#source-paths).
"""

from __future__ import annotations

import re

from mixpanel_aep_assets.dataprep.language import bounds
from mixpanel_aep_assets.dataprep.language.ast import Step
from mixpanel_aep_assets.dataprep.language.mapping_errors import ExpressionError

Steps = tuple[Step, ...]

_NAME = re.compile(r"(?:[^.\[\]\\]|\\.)+", re.DOTALL)
_SUBSCRIPT = re.compile(r"\[\s*(\d{1,9}|\*)\s*\]")
_ESCAPED = re.compile(r"\\(.)", re.DOTALL)
_SPECIAL = re.compile(r"[.\[\]\\]")

_SUBSCRIPTS = r"elements are counted from 0, as in items[0]; write \[ for a bracket in a name"
_SPECIALS = r"names are separated by single dots; in a name write \. for a dot, \[ for a bracket, \\ for a backslash"
_FURTHER_OUT = "map an object further out"


def parse_source(text: str) -> Steps:
    """The steps of an ATTRIBUTE source. Raises ExpressionError at the column that cannot be read."""
    if text.startswith("${") and text.endswith("}"):
        return parse_steps(text[2:-1], column=3)
    return parse_steps(text)


def parse_destination(text: str) -> Steps:
    """The steps of a destination, whose root is an object. Raises ExpressionError."""
    steps = parse_steps(text)
    if len(steps) > bounds.DESTINATION_STEPS:
        problem = f"the destination has more than {bounds.DESTINATION_STEPS} steps"
        raise ExpressionError(problem, suggestion="write a field further out, as an object")
    for step in steps:
        if step.index is not None and step.index > bounds.DESTINATION_INDEX:
            problem = f"element {step.index} is above the highest index, {bounds.DESTINATION_INDEX}"
            raise ExpressionError(problem, suggestion="elements are counted from 0; write [*] for all of them")
    return steps


def parse_steps(text: str, column: int = 1) -> Steps:
    """The steps of a bare path; `column` is where `text` begins, for error messages."""
    if not text.strip():
        raise ExpressionError("the path is empty", 1, column, "name a field, as in person.name")
    if len(text) > bounds.PATH_CHARACTERS:
        problem = f"the path has {len(text)} characters, at most {bounds.PATH_CHARACTERS} are allowed"
        raise ExpressionError(problem, 1, column, _FURTHER_OUT)
    steps: list[Step] = []
    at = 0
    while at < len(text):
        if text[at] == "[":
            found = _SUBSCRIPT.match(text, at)
            if found is None:
                raise ExpressionError("expected [n] or [*]", 1, column + at, _SUBSCRIPTS)
            steps.append(Step(every=True) if found[1] == "*" else Step(index=int(found[1])))
            at = found.end()
            if steps[0] is steps[-1]:
                raise ExpressionError("a path begins with a name", 1, column, "as in items[0].id")
            continue
        if steps:
            if text[at] != ".":
                wrong = _no_name(text, at) if text[at] == "\\" else f"expected '.' or '[', found {text[at]!r}"
                raise ExpressionError(wrong, 1, column + at, _SPECIALS)
            at += 1
        found = _NAME.match(text, at)
        if found is None:
            raise ExpressionError(_no_name(text, at), 1, column + at, _SPECIALS)
        steps.append(Step(name=unescape(found[0])))
        at = found.end()
    if len(steps) > bounds.PATH_STEPS:
        raise ExpressionError(f"the path has more than {bounds.PATH_STEPS} steps", 1, column, _FURTHER_OUT)
    return tuple(steps)


def _no_name(text: str, at: int) -> str:
    if at >= len(text):
        return "the path ends where a name is expected"
    if text[at] == "\\":
        return "a backslash at the end escapes nothing"
    return f"expected a name, found {text[at]!r}"


def unescape(name: str) -> str:
    return _ESCAPED.sub(r"\1", name) if "\\" in name else name


def escape(name: str) -> str:
    return _SPECIAL.sub(r"\\\g<0>", name)


def format_steps(steps: Steps) -> str:
    """The text of a path; the inverse of `parse_steps`."""
    out: list[str] = []
    for step in steps:
        if step.every:
            out.append("[*]")
        elif step.index is not None:
            out.append(f"[{step.index}]")
        else:
            out.append(("." if out else "") + escape(step.name or ""))
    return "".join(out)


def iterations(steps: Steps) -> int:
    """How many `[*]` a path holds."""
    return sum(step.every for step in steps)
