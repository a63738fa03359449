"""Text of an expression to its tree (`ast.py`). The grammar is `expression.lark`.

Refuses what needs no knowledge of functions: wrong form, length, depth, size of numbers, reserved words. Whether
functions exist and are called rightly is `validation.py`.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator
from typing import Any, Final, cast

from lark import Lark, Token, Transformer
from lark.exceptions import UnexpectedCharacters, UnexpectedEOF, UnexpectedInput, UnexpectedToken, VisitError

from mixpanel_aep_assets.dataprep.language import bounds
from mixpanel_aep_assets.dataprep.language.ast import (
    NOWHERE,
    Array,
    Binary,
    Call,
    Conditional,
    Expression,
    Index,
    Lambda,
    Map,
    Member,
    Method,
    Path,
    Position,
    Step,
    Unary,
    Value,
)
from mixpanel_aep_assets.dataprep.language.mapping_errors import ExpressionError
from mixpanel_aep_assets.dataprep.language.paths import parse_steps, unescape

RESERVED: Final = frozenset(
    re.findall(
        r"\w+",
        "new mod or break var lt for false while eq gt div not null continue else and ne true le "
        "if ge return _errors do function empty size",
    )
)
"""Words that name a field only inside `${...}` or after a dot. Names of functions are free (data-prep.md#reserved-words)."""

_SYMBOLS: Final = {
    "or": "||",
    "and": "&&",
    "eq": "==",
    "ne": "!=",
    "lt": "<",
    "le": "<=",
    "gt": ">",
    "ge": ">=",
    "div": "/",
    "mod": "%",
    "not": "!",
}
_CONSTANTS: Final = {"true": True, "false": False, "null": None}
_ESCAPE: Final = re.compile(r"\\(?:([\\\"'])|u([0-9a-fA-F]{4}))")
_TERMINALS: Final = {
    "LPAR": "'('",
    "RPAR": "')'",
    "LSQB": "'['",
    "RSQB": "']'",
    "LBRACE": "'{'",
    "RBRACE": "'}'",
    "COMMA": "','",
    "COLON": "':'",
    "NAME": "a name",
    "IDENT": "a name",
    "FIELD": "a field",
    "NUMBER": "a number",
    "STRING": "a string",
    "$END": "the end",
}


def _position(token: Token) -> Position:
    return Position(token.line or 1, token.column or 1)


class _TreeBuilder(Transformer[Token, Expression]):
    """Makes the nodes while the parser reduces, so that no second, recursive walk is needed."""

    def lambda_(self, children: list[Any]) -> Expression:
        parameter, body = children
        _refuse_reserved(parameter)
        return Lambda(unescape(str(parameter)), body, _position(parameter))

    def conditional(self, children: list[Any]) -> Expression:
        test, then, otherwise = children
        return Conditional(test, then, otherwise, test.at)

    def elvis(self, children: list[Any]) -> Expression:
        test, otherwise = children
        return Conditional(test, None, otherwise, test.at)

    def binary(self, children: list[Any]) -> Expression:
        left, operator, right = children
        return Binary(_SYMBOLS.get(str(operator), str(operator)), left, right, _position(operator))

    def unary(self, children: list[Any]) -> Expression:
        operator, operand = children
        return Unary(cast("Any", _SYMBOLS.get(str(operator), str(operator))), operand, _position(operator))

    def method(self, children: list[Any]) -> Expression:
        target, name, arguments = children
        return Method(target, unescape(str(name)), tuple(arguments or ()), _position(name))

    def member(self, children: list[Any]) -> Expression:
        target, name = children
        if isinstance(target, Path):
            return Path((*target.steps, Step(name=unescape(str(name)))), target.at)
        return Member(target, unescape(str(name)), _position(name))

    def every(self, children: list[Any]) -> Expression:
        target, star = children
        if not isinstance(target, Path):
            raise ExpressionError.at(_position(star), "[*] follows a field only", "for example items[*].name")
        return Path((*target.steps, Step(every=True)), target.at)

    def index(self, children: list[Any]) -> Expression:
        target, index = children
        if isinstance(target, Path) and isinstance(index, Value) and type(index.value) is int:
            return Path((*target.steps, Step(index=index.value)), target.at)
        return Index(target, index, target.at)

    def call(self, children: list[Any]) -> Expression:
        name, arguments = children
        return Call(str(name), tuple(arguments or ()), _position(name))

    def wrapped(self, children: list[Any]) -> Expression:
        (field,) = children
        at = _position(field)
        try:
            return Path(parse_steps(str(field)[2:-1], column=3), at)
        except ExpressionError as error:
            raise error.moved(at) from None

    def identifier(self, children: list[Any]) -> Expression:
        (name,) = children
        _refuse_reserved(name)
        return Path((Step(name=unescape(str(name))),), _position(name))

    def number(self, children: list[Any]) -> Expression:
        (token,) = children
        return Value(_number(token), _position(token))

    def string(self, children: list[Any]) -> Expression:
        (token,) = children
        return Value(_text(str(token)[1:-1], _position(token)), _position(token))

    def constant(self, children: list[Any]) -> Expression:
        (token,) = children
        return Value(_CONSTANTS[str(token)], _position(token))

    def array(self, children: list[Any]) -> Expression:
        bracket, items = children
        return Array(tuple(items or ()), _position(bracket))

    def map_(self, children: list[Any]) -> Expression:
        brace, *entries = children
        return Map(tuple(entries), _position(brace))

    def pair(self, children: list[Any]) -> tuple[Expression, Expression]:
        key, value = children
        return key, value

    def name(self, children: list[Any]) -> Token:
        return cast("Token", children[0])

    def arguments(self, children: list[Any]) -> list[Expression]:
        return children


def _refuse_reserved(name: Token) -> None:
    if str(name) in RESERVED:
        raise ExpressionError.at(
            _position(name), f"{name} is a reserved word", f"for a field of this name write ${{{name}}}"
        )


def _number(token: Token) -> int | float:
    if len(token) > bounds.NUMBER_LITERAL:
        problem = f"a number has at most {bounds.NUMBER_LITERAL} characters"
        raise ExpressionError.at(_position(token), problem, "read it from a string, as in to_bigint('123')")
    text = str(token).lower()
    if text.startswith("0x"):
        return int(text.rstrip("lh"), 16)
    digits = text.rstrip("lhdfb")
    if text[-1] in "lh" and not digits.isdecimal():
        problem = f"{token} is not an integer, as its suffix requires"
        raise ExpressionError.at(_position(token), problem, "leave the suffix out")
    if text[-1] not in "dfb" and digits.isdecimal():
        return int(digits)
    value = float(digits)
    if value == float("inf"):
        raise ExpressionError.at(_position(token), "the number is too large", "decimals go up to 1.7e308")
    return value


def _text(body: str, at: Position) -> str:
    if "\\" not in body:
        return body
    value = _ESCAPE.sub(lambda found: found[1] or chr(int(found[2], 16)), body)
    # Two escapes of a surrogate pair are one character; half a pair is no text at all.
    try:
        return value.encode("utf-16", "surrogatepass").decode("utf-16")
    except UnicodeDecodeError:
        problem = "the text holds half of a surrogate pair"
        raise ExpressionError.at(
            at, problem, r"write both halves, as in \ud83d\ude00, or the character itself"
        ) from None


@functools.cache
def _lark() -> Lark:
    return Lark.open(
        "expression.lark",
        rel_to=__file__,
        parser="lalr",
        lexer="contextual",
        transformer=_TreeBuilder(),
        maybe_placeholders=True,
    )


@functools.lru_cache(maxsize=4096)
def parse(text: str) -> Expression:
    """The tree of an expression. Raises ExpressionError with line, column and, where one is at hand, a suggestion."""
    if len(text) > bounds.EXPRESSION_CHARACTERS:
        raise ExpressionError(
            f"the expression has {len(text)} characters, at most {bounds.EXPRESSION_CHARACTERS} are allowed",
            suggestion="split it into several mappings",
        )
    if not text.strip():
        raise ExpressionError("the expression is empty", suggestion="for no value write nullify()")
    try:
        tree = cast("Expression", _lark().parse(text))
    except UnexpectedInput as error:
        raise _refusal(error, text) from None
    except VisitError as error:
        if isinstance(error.orig_exc, ExpressionError):
            raise error.orig_exc from None
        raise
    _refuse_depth(tree)
    return tree


def _refusal(error: UnexpectedInput, text: str) -> ExpressionError:
    last_line = text.split("\n")[-1]
    line, column = error.line, error.column
    if isinstance(error, UnexpectedEOF) or (isinstance(error, UnexpectedToken) and error.token.type == "$END"):
        return ExpressionError(
            "the expression ends too early", text.count("\n") + 1, len(last_line) + 1, _expected(error)
        )
    before = text.split("\n")[line - 1][: column - 1]
    if isinstance(error, UnexpectedToken):
        found = str(error.token)
        return ExpressionError(f"unexpected {found!r}", line, column, _hint(found, before) or _expected(error))
    character = getattr(error, "char", "") if isinstance(error, UnexpectedCharacters) else ""
    hint = "write a lambda as x -> x.name" if text.split("\n")[line - 1][column - 1 :].startswith("=>") else None
    hint = hint or _CHARACTERS.get(character, "wrap a field name with special characters in ${...}")
    return ExpressionError(f"unexpected character {character!r}", line, column, hint)


_CHARACTERS: Final = {
    '"': "the text is not closed",
    "'": "the text is not closed",
    "=": "compare with ==",
    "$": "a wrapped field ends with '}'",
    ";": "an expression has one value, and no statements",
}


def _hint(found: str, before: str) -> str | None:
    """What may have been meant where `found` does not fit behind `before`, from slips that other languages teach."""
    if found in RESERVED:
        return f"for a field of this name write ${{{found}}}"
    word = next((one for one in (found, before.split()[-1] if before.split() else "") if one.lower() in _SYMBOLS), None)
    if word is not None and word.lower() != word:
        return f"operators are in lower case: {word.lower()}"
    match before[-1:], found:
        case "$", "{":
            return "a wrapped field ends with '}'"
        case "<", ">":
            return "unequal is !="
        case _, "." if not before.strip():
            return "a number begins with a digit, as in 0.5"
    return None


def _expected(error: UnexpectedInput) -> str:
    names = set(getattr(error, "accepts", None) or getattr(error, "expected", None) or ())
    # A value begins in many ways, of which the number stands for all.
    shown = {"a value"} if "NUMBER" in names else {_TERMINALS[name] for name in names if name in _TERMINALS}
    if "PLUS" in names or not shown:
        shown.add("an operator")
    return "expected " + " or ".join(sorted(shown))


def children(node: Expression) -> Iterator[Expression]:
    """The direct parts of a node, in the order of the text."""
    match node:
        case Value() | Path():
            return
        case Member(target=target):
            yield target
        case Index(target=target, index=index):
            yield target
            yield index
        case Call(arguments=arguments):
            yield from arguments
        case Method(target=target, arguments=arguments):
            yield target
            yield from arguments
        case Unary(operand=operand):
            yield operand
        case Binary(left=left, right=right):
            yield left
            yield right
        case Conditional(test=test, then=then, otherwise=otherwise):
            yield test
            if then is not None:
                yield then
            yield otherwise
        case Array(items=items):
            yield from items
        case Map(entries=entries):
            for key, value in entries:
                yield key
                yield value
        case Lambda(body=body):
            yield body


def nodes(tree: Expression) -> Iterator[Expression]:
    """The tree's nodes, itself included."""
    pending = [tree]
    while pending:
        node = pending.pop()
        yield node
        pending.extend(children(node))


def _refuse_depth(tree: Expression) -> None:
    level = [tree]
    for _ in range(bounds.EXPRESSION_DEPTH):
        level = [child for node in level for child in children(node)]
        if not level:
            return
    at = getattr(level[0], "at", NOWHERE)
    problem = f"the expression is nested deeper than {bounds.EXPRESSION_DEPTH} levels"
    raise ExpressionError.at(at, problem, "split it into several mappings, or use decode for a long list of cases")
