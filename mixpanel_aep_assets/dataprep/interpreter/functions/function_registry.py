"""The register of functions: what each is called, takes and gives. Validation, both evaluators and the help read it.

Functions register with the decorator `function`; the modules of this package are grouped as Adobe's page is.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final, TypeVar

from mixpanel_aep_assets.dataprep.interpreter import values
from mixpanel_aep_assets.dataprep.interpreter.values import Value, kind_of
from mixpanel_aep_assets.dataprep.language.mapping_errors import EvaluationError

Body = Callable[..., Value]
_F = TypeVar("_F", bound=Body)


class Kind(StrEnum):
    """What an argument is read as and what a result is. Kinds of scalars convert, null passes."""

    ANY = "any value"
    TEXT = "a string"
    INTEGER = "an integer"
    NUMBER = "a number"
    BOOLEAN = "a boolean"
    DATE = "a date"
    ARRAY = "an array"
    OBJECT = "an object"
    LAMBDA = "a lambda"
    NULL = "null"

    @property
    def bare(self) -> str:
        """Without the article."""
        return self.value.removeprefix("an ").removeprefix("a ")


class Style(StrEnum):
    """How a body is called: with values; with the context and values; with the scope and unevaluated arguments."""

    PLAIN = "plain"
    CONTEXT = "context"
    LAZY = "lazy"


@dataclass(frozen=True)
class Function:
    """One function of the language.

    `takes` are the kinds of its parameters, of which the first `required` must be given; a `variadic` function repeats
    its last kind. Null in a parameter of `null_in` makes the result null before the body runs. `constants` check
    literal arguments at validation. `refusal` says why a function is known and yet not offered, `instead` what may be done.
    """

    name: str
    category: str
    takes: tuple[Kind, ...]
    gives: Kind
    body: Body = field(repr=False, compare=False)
    required: int
    variadic: bool = False
    null_in: tuple[int, ...] = ()
    style: Style = Style.PLAIN
    pairs_from: int | None = None
    constants: Mapping[int, Callable[[Any], None]] = field(default_factory=dict, repr=False, compare=False)
    alias_of: str | None = None
    deprecated: bool = False
    refusal: str | None = None
    instead: str | None = None

    @property
    def signature(self) -> str:
        names = [kind.bare for kind in self.takes]
        shown = [name if n < self.required else f"[{name}]" for n, name in enumerate(names)]
        return f"{self.name}({', '.join(shown)}{', ...' if self.variadic else ''})"

    def kind_at(self, index: int) -> Kind:
        return self.takes[min(index, len(self.takes) - 1)]

    def count_problem(self, count: int) -> str | None:
        """Why this number of arguments is wrong, or None."""
        if count < self.required or (not self.variadic and count > len(self.takes)):
            most = "or more" if self.variadic else f"to {len(self.takes)}" if len(self.takes) > self.required else ""
            wanted = " ".join(filter(None, [str(self.required), most]))
            return f"{self.name} takes {wanted} argument{'' if wanted == '1' else 's'}, {count} given"
        if self.pairs_from is not None and (count - self.pairs_from) % 2:
            return f"{self.name} takes pairs of key and value, the last key has no value"
        return None

    def invoke(self, *arguments: Value) -> Value:
        """The result of a PLAIN function for evaluated arguments. Raises EvaluationError."""
        return self.bound(len(arguments))(arguments)

    def bound(self, count: int) -> Callable[[Sequence[Value]], Value]:
        """A PLAIN function prepared for calls with `count` arguments: null rule, conversion of arguments, body."""
        nulls = tuple(index for index in self.null_in if index < count)
        converters = [_CONVERT[self.kind_at(index)] for index in range(count)]
        body = self.body

        def call(arguments: Sequence[Value]) -> Value:
            for index in nulls:
                if arguments[index] is None:
                    return None
            return body(
                *[
                    value if value is None else convert(value)
                    for convert, value in zip(converters, arguments, strict=True)
                ]
            )

        return call


def _array(value: Value) -> list[Value]:
    if isinstance(value, list):
        return value
    raise EvaluationError(f"expected an array, found {kind_of(value)}")


def _object(value: Value) -> dict[str, Value]:
    if isinstance(value, dict):
        return value
    raise EvaluationError(f"expected an object, found {kind_of(value)}")


def _date(value: Value) -> Value:
    from mixpanel_aep_assets.dataprep.interpreter.date_formats import to_datetime

    return to_datetime(value)


def _same(value: Value) -> Value:
    return value


_CONVERT: Final[Mapping[Kind, Callable[[Value], Value]]] = {
    Kind.ANY: _same,
    Kind.TEXT: values.to_text,
    Kind.INTEGER: values.to_integer,
    Kind.NUMBER: values.to_number,
    Kind.BOOLEAN: values.truth,
    Kind.DATE: _date,
    Kind.ARRAY: _array,
    Kind.OBJECT: _object,
    Kind.LAMBDA: _same,
    Kind.NULL: _same,
}

REGISTER: Final[dict[str, Function]] = {}


def function(
    *names: str,
    category: str,
    takes: tuple[Kind, ...] = (),
    gives: Kind,
    required: int | None = None,
    variadic: bool = False,
    null_in: tuple[int, ...] = (),
    style: Style = Style.PLAIN,
    pairs_from: int | None = None,
    constants: Mapping[int, Callable[[Any], None]] | None = None,
    deprecated: tuple[str, ...] = (),
) -> Callable[[_F], _F]:
    """Registers the decorated body under its first name, and under the others as aliases."""

    def register(body: _F) -> _F:
        for name in names:
            REGISTER[name] = Function(
                name=name,
                category=category,
                takes=takes,
                gives=gives,
                body=body,
                required=len(takes) if required is None else required,
                variadic=variadic,
                null_in=null_in,
                style=style,
                pairs_from=pairs_from,
                constants=constants or {},
                alias_of=None if name == names[0] else names[0],
                deprecated=name in deprecated,
            )
        return body

    return register


def refuse(name: str, category: str, takes: tuple[Kind, ...], gives: Kind, reason: str, instead: str) -> None:
    """Registers a function that Adobe names and this project does not offer; validation shows the reason."""

    def body(*_: Value) -> Value:
        raise EvaluationError(f"{name} is not supported: {reason}")

    REGISTER[name] = Function(name, category, takes, gives, body, len(takes), refusal=reason, instead=instead)
