"""Text from outside on a person's screen: all of it visible, none of it markup, whatever it holds."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from markdown_it.token import Token

from mixpanel_aep_assets import display

HOSTILE = [
    "![x](http://127.0.0.1:9/pixel.png)",
    "[click](javascript:alert(1))",
    "[click][here]\n\n[here]: http://evil.example/",
    '<img src="http://evil.example/p.png">',
    "<script>alert(1)</script>",
    "<!-- --><b>x</b>",
    "<http://evil.example>",
    "http://evil.example/a?b=c&d=e",
    "HTTPS://evil.example",
    "www.evil.example",
    "someone@evil.example",
    "&#33;&lbrack;x](http://evil.example)",
    "`code` ``more`` `",
    "a\\`b`c",
    "a | b \\| c",
    "a\nb\r\nc",
    "# title\n---\n===\n> quote\n- item\n+ item\n1. one\n2) two\n    code\n~~~\n```\n:--|--:",
    "_em_ __strong__ *em* **strong** ~~gone~~ snake_case",
    "caf\ud83d\x00\x1b[31m\u202eevil",
    "[^1] [ ] [x] \\",
]
TEXTS = st.one_of(
    st.text(),
    st.text(st.sampled_from("`*_[]()<>!|\\&#~-+=:.@/ \n1aw\t\ud83d\x00\u202e")),
    st.lists(st.one_of(st.sampled_from(HOSTILE), st.text(max_size=5))).map("".join),
)
LINK = re.compile(r"https?://|www(?=\.)|[-.\w+]+@[-\w]+\.[-\w]+", re.IGNORECASE)
"""What GitHub's Markdown makes a link of in any single stretch of text."""

RENDERER = MarkdownIt("commonmark").enable(["table", "strikethrough"])


def hostile(test: Any) -> Any:
    for text in HOSTILE:
        test = example(text)(test)
    return given(TEXTS)(test)


def seen(tokens: list[Token] | None) -> str:
    """What a reader sees of a line; fails for anything but text, code and the comments that part links."""
    shown = ""
    for token in tokens or []:
        assert token.type in ("text", "text_special", "code_inline", "softbreak", "hardbreak", "html_inline"), token
        if token.type == "html_inline":
            assert token.content == "<!-- -->"
        elif token.type == "text":
            assert not LINK.search(token.content), token.content
        shown += "\n" if token.type.endswith("break") else token.content if token.type != "html_inline" else ""
    return shown


def words(text: str) -> str:
    """Without the white space that Markdown does not keep."""
    return " ".join(text.split())


@hostile
def test_a_text_can_be_stored_sent_and_seen(text: str) -> None:
    shown = display.text(text)
    assert json.loads(json.dumps(shown, ensure_ascii=False).encode()) == shown
    assert all(character.isprintable() or character.isspace() for character in shown if character <= "\x9f")
    if text.isascii() and text.isprintable():
        assert shown == text


@given(st.one_of(TEXTS, st.binary(), st.integers(), st.floats(), st.none(), st.just(10**5000)), st.integers(1, 50))
def test_a_text_of_any_value_is_as_short_as_asked(value: Any, limit: int) -> None:
    assert len(display.text(value, limit)) <= limit


def test_a_value_that_refuses_to_be_written_is_named() -> None:
    class Mute:
        def __str__(self) -> str:
            raise KeyError("no")

    assert display.text(Mute()) == "(Mute that cannot be written: KeyError)"


@hostile
def test_a_cell_of_a_table_shows_its_text_and_nothing_else(text: str) -> None:
    cell = display.inline(text)
    tokens = RENDERER.parse(f"| a | b |\n| --- | --- |\n| {cell} | end |")
    lines = [token for token in tokens if token.type == "inline"]
    assert len(lines) == 4, "two cells of the head, two of one row"
    assert words(seen(lines[2].children)) == words(display.text(text).replace("\n", "⏎"))


@hostile
def test_prose_shows_its_text_and_no_markup_but_code(text: str) -> None:
    tokens = RENDERER.parse(display.prose(text))
    assert {token.type for token in tokens} <= {"paragraph_open", "inline", "paragraph_close"}
    shown = "\n".join(seen(token.children) for token in tokens if token.type == "inline")
    assert words(shown.replace("`", "")) == words(display.text(text).replace("`", ""))


def test_commands_and_names_in_our_sentences_stay_code() -> None:
    (_, line, _) = RENDERER.parse(display.prose("See `mixpanel-aep quarantine show` for *x*."))
    assert [token.content for token in line.children or [] if token.type == "code_inline"] == [
        "mixpanel-aep quarantine show"
    ]


@hostile
def test_a_terminal_gets_back_what_prose_was_made_of(text: str) -> None:
    assert display.plain(display.prose(text)) == re.sub(r"(?m)^[ \t]+", "", display.text(text))


@hostile
def test_a_code_block_holds_whatever_it_is_given(text: str) -> None:
    (token,) = RENDERER.parse(display.fenced(text, "json"))
    assert (token.type, token.content.rstrip("\n")) == ("fence", display.text(text).rstrip("\n"))


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


@given(JSON, st.booleans())
def test_indented_json_says_the_same(value: Any, is_ascii: bool) -> None:
    text = json.dumps(value, ensure_ascii=is_ascii)
    assert json.loads(display.indented_json(text, 10**6)) == value


def test_indented_json_has_a_line_for_each_member() -> None:
    shown = display.indented_json('{"a":[1,{"b":{}}],"c":"caf\\u00e9", "d" : []}', 1000)
    assert shown == '{\n  "a": [\n    1,\n    {\n      "b": {}\n    }\n  ],\n  "c": "café",\n  "d": []\n}'


@pytest.mark.parametrize("value", [r'"caf\u00e9 \ud83d"', "1e999", "9" * 400, "[" * 400 + "]" * 400, '"', "[{,:", ""])
def test_what_no_parser_takes_is_shown_as_it_was_sent(value: str) -> None:
    shown = display.indented_json(f'{{"a":{value}}}', 10**6)
    assert "".join(shown.split()) == "".join(f'{{"a":{value}}}'.split())


@given(st.text(), st.integers(1, 200))
def test_indented_json_of_any_text_is_bounded(text: str, limit: int) -> None:
    assert len(display.indented_json(text * 50, limit)) <= limit + 2
