"""What stands in a body in place of events: Mixpanel's words for a failure, an error object, a page of something else.

A line that has `event` or `properties` is a line, never an answer, whatever is wrong with it. No text from here holds an
event. What an answer means is decided by `client.classify`, whether a body is whole by `export`.
"""

from __future__ import annotations

import re
from typing import Any

from mixpanel_aep_assets.mixpanel import line_parser
from mixpanel_aep_assets.mixpanel.line_parser import Broken

GIVEN_UP = re.compile(r"(?:export )?terminated early|error completing (?:the )?export(?: request)?", re.IGNORECASE)
"""Mixpanel's words for giving an export up in a 200 (mixpanel.md#failures; the second: studentinsights pull request 1554)."""

MARGIN = 256
"""Bytes of a line within which it can be one of those; longer ones that are no JSON are just broken."""

QUOTED = 300
"""Characters of an answer that a message quotes."""

NOT_SHOWN = "text that may hold an event, not shown"

_OF_AN_EVENT = re.compile(r"""["'](?:event|properties|distinct_id|\$insert_id)["']?\s*[:=]""")


def word(line: Broken) -> str | None:
    """The text of a line that is an answer; None for a line that is, or may be a piece of, an event."""
    if line.reason not in ("not_json", "wrong_shape", "no_event", "not_utf8"):
        return None
    text = line.bytes.decode("utf-8", "replace").strip()
    if not text.startswith("{"):
        return text
    return None if error_object(line) is None else text


def error_object(line: Broken) -> dict[str, Any] | None:
    """A line that is a JSON object with neither `event` nor `properties`, as errors come in a 200 (mixpanel.md#failures)."""
    if line.reason != "no_event":
        return None
    try:
        found = line_parser.decode(line.bytes.decode().strip())
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) and not found.keys() & {"event", "properties"} else None


def given_up(line: Broken) -> str | None:
    """Mixpanel's words in a line that says that the export failed; None in every other."""
    if len(line.bytes) > MARGIN or (text := word(line)) is None:
        return None
    found = GIVEN_UP.search(text)
    return None if found is None else found[0]


def quoted(text: str, limit: int = QUOTED) -> str:
    """The first words of an answer for a message; never those of an event."""
    words = " ".join(text.split())
    if _OF_AN_EVENT.search(words):
        return f"({NOT_SHOWN})"
    return f"“{words[:limit]}”" if words else "(no text)"
