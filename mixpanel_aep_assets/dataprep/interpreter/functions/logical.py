"""Logical functions, whose unchosen branches are never evaluated (data-prep.md#our-answers), and the aggregates min and max."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from mixpanel_aep_assets.dataprep.interpreter.functions.arrays import arguments_or_array
from mixpanel_aep_assets.dataprep.interpreter.functions.function_registry import Kind, Style, function
from mixpanel_aep_assets.dataprep.interpreter.values import Value, equal, less, truth

_Argument = Callable[[Any], Value]


@function(
    "iif",
    category="logical",
    takes=(Kind.BOOLEAN, Kind.ANY, Kind.ANY),
    gives=Kind.ANY,
    style=Style.LAZY,
)
def iif(scope: Any, test: _Argument, then: _Argument, otherwise: _Argument) -> Value:
    return then(scope) if truth(test(scope)) else otherwise(scope)


@function("decode", category="logical", takes=(Kind.ANY,), gives=Kind.ANY, required=2, variadic=True, style=Style.LAZY)
def decode(scope: Any, key: _Argument, *options: _Argument) -> Value:
    """The value after the first option that equals the key as `==` has it; a last single option is the default."""
    wanted = key(scope)
    for at in range(0, len(options) - 1, 2):
        if equal(wanted, options[at](scope)):
            return options[at + 1](scope)
    return options[-1](scope) if len(options) % 2 else None


def _extreme(arguments: tuple[Value, ...], better: Callable[[Value, Value], bool]) -> Value:
    given = [value for value in arguments_or_array(arguments) if value is not None]
    return functools.reduce(lambda best, value: value if better(value, best) else best, given) if given else None


@function("min", category="aggregation", takes=(Kind.ANY,), gives=Kind.ANY, variadic=True)
def minimum(*arguments: Value) -> Value:
    """The smallest of the arguments or of one array, nulls left out; null when nothing is left."""
    return _extreme(arguments, less)


@function("max", category="aggregation", takes=(Kind.ANY,), gives=Kind.ANY, variadic=True)
def maximum(*arguments: Value) -> Value:
    """The largest of the arguments or of one array, nulls left out; null when nothing is left."""
    return _extreme(arguments, lambda value, best: less(best, value))
