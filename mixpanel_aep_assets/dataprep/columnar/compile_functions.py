"""Functions of the language on vectors, where Polars computes exactly what the bodies in `functions/` do.

A function receives its arguments converted to the kinds that its registration names. It may mark rows to escape, and raises
NotNativeError for arguments that it has no column form for; then `compile.py` looks for another way.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any, Final, cast

import polars as pl
import polars_hash as plh

from mixpanel_aep_assets.dataprep.columnar.columns import (
    ARRAY_OF,
    ARRAYS,
    EXACT,
    NULL,
    Escape,
    NotNativeError,
    Vector,
    any_of,
    booleans,
    choose,
    constant,
    doubles,
    either,
    first_present,
    nulls,
    number,
    others,
    present,
    text,
    truth,
    unbounded,
    united,
    within,
)
from mixpanel_aep_assets.dataprep.columnar.compile_dates import DATE_FUNCTIONS
from mixpanel_aep_assets.dataprep.columnar.compile_operators import BINARY
from mixpanel_aep_assets.dataprep.columnar.compile_patterns import matching
from mixpanel_aep_assets.dataprep.columnar.json_columns import JsonKind
from mixpanel_aep_assets.dataprep.interpreter.functions.strings import WHITE_SPACE
from mixpanel_aep_assets.dataprep.language import bounds

Native = Callable[[Sequence[Vector]], Vector]

UNUSUAL_LETTERS: Final = (
    "[^\\x00-\\u017f\\u0370-\\u03a2\\u03a4-\\u1c7f\\u2000-\\u2bff\\u3000-\\ua63f\\uac00-\\ud7ff\\x{1f000}-\\x{1faff}]"
)
"""What may change case differently in Python and in Polars: letters that newer versions of Unicode gave a case, and the sigma,
whose lower case depends on its neighbours."""

_SPECIAL: Final = re.compile(r"[\\.+*?()|\[\]{}^$&~#-]")


def _escaped(characters: str) -> str:
    return _SPECIAL.sub(r"\\\g<0>", characters)


def _text_of(vector: Vector) -> pl.Expr:
    return vector.columns.get("text", nulls("text"))


def _constant(arguments: Sequence[Vector], index: int, of: type, default: Any = None) -> Any:
    """A constant argument of a type. Raises NotNativeError for a column."""
    if index >= len(arguments) or arguments[index].constant is None:
        return default
    value = arguments[index].constant
    if not isinstance(value, of):
        raise NotNativeError(f"argument {index + 1} is not a constant")
    return value


def too_long(values: pl.Expr) -> pl.Expr:
    """Where a text may be longer than a function is allowed to make it."""
    return (values.str.len_bytes() > bounds.TEXT_CHARACTERS).fill_null(value=False)


def _textual(change: Callable[[pl.Expr], pl.Expr], mask: Callable[[pl.Expr], pl.Expr] | None = None) -> Native:
    """A function of one text; `mask` marks texts that escape."""

    def native(arguments: Sequence[Vector]) -> Vector:
        column = _text_of(arguments[0])
        escape = None if mask is None else mask(column).fill_null(value=False)
        return Vector({"text": change(column)}, escape)

    return native


def _unusual(column: pl.Expr) -> pl.Expr:
    return column.str.contains(UNUSUAL_LETTERS)


def _concat(arguments: Sequence[Vector]) -> Vector:
    parts = [text(argument) for argument in arguments]
    columns = [part.columns["text"].fill_null("") for part in parts if part.columns]
    if not columns:
        return Vector({"text": pl.lit("")}, either(*(part.escape for part in parts)))
    joined = columns[0] if len(columns) == 1 else pl.concat_str(columns)
    return Vector({"text": joined}, either(too_long(joined), *(part.escape for part in parts)))


def _left(arguments: Sequence[Vector]) -> Vector:
    return Vector({"text": _text_of(arguments[0]).str.slice(0, max(_constant(arguments, 1, int), 0))})


def _right(arguments: Sequence[Vector]) -> Vector:
    return Vector({"text": _text_of(arguments[0]).str.tail(max(_constant(arguments, 1, int), 0))})


def _substr(arguments: Sequence[Vector]) -> Vector:
    start, length = _constant(arguments, 1, int), _constant(arguments, 2, int)
    if start < 0 or length < 0:
        raise NotNativeError("start and length of substr cannot be negative")
    return Vector({"text": _text_of(arguments[0]).str.slice(start, length)})


def _pad(*, at_start: bool) -> Native:
    def native(arguments: Sequence[Vector]) -> Vector:
        column, size, padding = (
            _text_of(arguments[0]),
            _constant(arguments, 1, int),
            _constant(arguments, 2, str) or " ",
        )
        if len(padding) != 1 or size > bounds.TEXT_CHARACTERS:
            raise NotNativeError("the padding has several characters")
        size = max(size, 0)
        return Vector({"text": column.str.pad_start(size, padding) if at_start else column.str.pad_end(size, padding)})

    return native


def _replacestr(arguments: Sequence[Vector]) -> Vector:
    find, replacement = _constant(arguments, 1, str), _constant(arguments, 2, str)
    column = _text_of(arguments[0])
    if not find or replacement is None:
        return Vector({"text": column})
    replaced = column.str.replace_all(find, replacement, literal=True)
    return Vector({"text": replaced}, too_long(replaced) if len(replacement) > len(find) else None)


def _instr(arguments: Sequence[Vector]) -> Vector:
    if len(arguments) > 2:
        raise NotNativeError("instr with a start or an occurrence")
    part = _constant(arguments, 1, str)
    column = _text_of(arguments[0])
    found = column.str.find(part, literal=True).cast(pl.Int64)
    wide = (column.str.len_bytes() != column.str.len_chars()).fill_null(value=False)
    return Vector({"integer": pl.when(column.is_not_null()).then(found.fill_null(-1))}, wide)


def _many(column: pl.Expr) -> pl.Expr:
    """Where a text may have more parts than an array may have elements."""
    return (column.str.len_bytes() >= bounds.ARRAY_ITEMS).fill_null(value=False)


def _split(arguments: Sequence[Vector]) -> Vector:
    separators = _constant(arguments, 1, str) or WHITE_SPACE
    column = _text_of(arguments[0])
    if len(separators) > 1:
        column = column.str.replace_all(f"[{_escaped(separators)}]", separators[0].replace("$", "$$"))
    parts = column.str.split(separators[0])
    return Vector({"texts": parts.list.eval(pl.element().filter(pl.element() != ""))}, _many(column))


def _explode(arguments: Sequence[Vector]) -> Vector:
    pattern = _constant(arguments, 1, str, ",")
    separator = pattern[1] if re.fullmatch(r"\\[^\w\s]", pattern) else pattern
    if len(separator) != 1 or (len(pattern) == 1 and _SPECIAL.match(pattern) and pattern not in "-&~#"):
        raise NotNativeError("explode on a regular expression")
    column = _text_of(arguments[0])
    parts = column.str.strip_chars_end(separator).str.split(separator)
    # A text of nothing but separators has no parts, an empty text one.
    nothing = (column.str.strip_chars_end(separator) == "") & (column != "")
    return Vector({"texts": parts}, either(nothing.fill_null(value=False), _many(column)))


def _join(arguments: Sequence[Vector]) -> Vector:
    separator = _constant(arguments, 0, str, "")
    texts = arguments[1].columns.get("texts")
    if texts is None:
        return Vector({"text": nulls("text")}, others(arguments[1]))
    joined = texts.list.eval(pl.element().fill_null("")).list.join(separator)
    return Vector({"text": joined}, either(others(arguments[1], "texts"), too_long(joined)))


def _matches_regex(arguments: Sequence[Vector]) -> Vector:
    return Vector({"boolean": matching(_text_of(arguments[0]), _constant(arguments, 1, str))})


def _hashed(change: Callable[[plh.HExpr], pl.Expr]) -> Native:
    def native(arguments: Sequence[Vector]) -> Vector:
        if len(arguments) > 1 and _constant(arguments, 1, str, "UTF-8").upper() not in ("UTF-8", "UTF8"):
            raise NotNativeError("a hash of another character set than UTF-8")
        return Vector({"text": change(cast("plh.HExpr", plh.HExpr._from_pyexpr(_text_of(arguments[0])._pyexpr)))})

    return native


def _coalesce(arguments: Sequence[Vector]) -> Vector:
    if len(arguments) != 1:
        return first_present(arguments)
    return _of_array(arguments[0], lambda column: column.list.drop_nulls().list.first())


def _end(*, last: bool) -> Native:
    def native(arguments: Sequence[Vector]) -> Vector:
        if len(arguments) == 1:
            return _of_array(arguments[0], lambda column: column.list.last() if last else column.list.first())
        return arguments[-1 if last else 0].escaping(*(argument.escape for argument in arguments))

    return native


def _of_array(vector: Vector, item: Callable[[pl.Expr], pl.Expr]) -> Vector:
    """An element of arrays; a value that is no array stands for itself."""
    if len(vector.columns) != 1:
        return NULL if not vector.columns else Vector({}, present(vector))
    ((kind, column),) = vector.columns.items()
    if kind in ARRAYS:
        return Vector({ARRAYS[kind]: item(column)})
    return Vector({}, column.is_not_null()) if kind == "json" else vector


def _array_kind(vectors: Sequence[Vector]) -> JsonKind:
    kinds = {kind for vector in vectors for kind in vector.columns}
    if len(kinds) != 1:
        raise NotNativeError("an array of elements of several types")
    return kinds.pop()


def array(items: Sequence[Vector], *, nulls_too: bool = True) -> Vector:
    """An array of one element per vector."""
    kind = _array_kind(items)
    if kind not in ARRAY_OF:
        raise NotNativeError("an array of arrays, objects or dates")
    columns = [item.columns.get(kind, nulls(kind)) for item in items]
    joined = pl.concat_list(columns)
    masks = [item.escape for item in items]
    return Vector({ARRAY_OF[kind]: joined if nulls_too else joined.list.drop_nulls()}, either(*masks))


def _to_array(arguments: Sequence[Vector]) -> Vector:
    include = _constant(arguments, 0, bool, default=False)
    if len(arguments) == 1:
        raise NotNativeError("an empty array")
    return array(arguments[1:], nulls_too=include)


def _arrays(vectors: Sequence[Vector], joined: list[pl.Expr], kind: JsonKind) -> Vector:
    return Vector({kind: pl.concat_list(joined)}, either(*(others(vector, kind) for vector in vectors)))


def _join_arrays(arguments: Sequence[Vector]) -> Vector:
    kind = _array_kind(arguments)
    if kind not in ARRAYS:
        raise NotNativeError("arrays of several types")
    empty = constant([]).columns["texts"] if kind == "texts" else None
    if empty is None:
        raise NotNativeError("arrays that are not of text")
    return _arrays(arguments, [one.columns.get(kind, nulls(kind)).fill_null(empty) for one in arguments], kind)


def _add_to_array(arguments: Sequence[Vector]) -> Vector:
    return _join_arrays([arguments[0], *(array([item]) for item in arguments[1:])])


def _size_of(arguments: Sequence[Vector]) -> Vector:
    sizes: list[pl.Expr] = []
    for kind, column in arguments[0].columns.items():
        if kind == "text":
            sizes.append(column.str.len_chars().cast(pl.Int64))
        elif kind in ARRAYS:
            sizes.append(column.list.len().cast(pl.Int64))
    return Vector({"integer": pl.coalesce([*sizes, pl.lit(0, dtype=pl.Int64)])}, others(arguments[0], "text", *ARRAYS))


def _is_empty(arguments: Sequence[Vector]) -> Vector:
    (value,) = arguments
    empty: list[pl.Expr] = [~present(value)]
    for kind, column in value.columns.items():
        if kind == "text":
            empty.append((column == "").fill_null(value=False))
        elif kind in ARRAYS:
            empty.append((column.list.len() == 0).fill_null(value=False))
        elif kind == "json":
            empty.append(column.is_in(["{}", "[]"]).fill_null(value=False))
    return booleans(any_of(empty))


def _extreme(operator: str) -> Native:
    def native(arguments: Sequence[Vector]) -> Vector:
        if len(arguments) == 1:
            kinds = set(arguments[0].columns)
            if not kinds <= {"integers", "decimals"}:
                raise NotNativeError("the extreme of an array of text")
            masks: list[Escape] = []
            if "decimals" in kinds:
                masks.append(arguments[0].columns["decimals"].list.eval(pl.element().is_finite().not_()).list.any())
            return Vector(
                {
                    ARRAYS[kind]: column.list.min() if operator == "<" else column.list.max()
                    for kind, column in arguments[0].columns.items()
                },
                either(*(mask.fill_null(value=False) for mask in masks if mask is not None)),
            )
        best = arguments[0]
        for value in arguments[1:]:
            better = BINARY[operator](value, best)
            rows = present(value) & (~present(best) | truth(better))
            best = choose(rows, value, best).escaping(better.escape)
        return best

    return native


def _to_integer(arguments: Sequence[Vector]) -> Vector:
    columns: list[pl.Expr] = []
    masks: list[Escape] = []
    for kind, column in arguments[0].columns.items():
        match kind:
            case "integer":
                columns.append(column)
            case "decimal":
                fits = column.abs() <= EXACT
                columns.append(pl.when(fits).then(column).cast(pl.Int64, strict=False))
                masks.append((~fits).fill_null(value=False) | unbounded(column))
            case "text":
                digits = column.str.extract(r"^(-?[0-9]{1,18})(?:\.[0-9]{1,15})?$", 1).cast(pl.Int64, strict=False)
                columns.append(digits)
                masks.append(column.is_not_null() & digits.is_null())
            case _:
                masks.append(column.is_not_null())
    return Vector({"integer": united(columns, "integer")}, either(*masks))


def _to_decimal(arguments: Sequence[Vector]) -> Vector:
    return doubles(number(arguments[0]))


def _get_url_protocol(arguments: Sequence[Vector]) -> Vector:
    column = _text_of(arguments[0])
    usual = column.str.contains(_USUAL_URL)
    return Vector({"text": column.str.extract(_USUAL_URL, 1)}, (~usual).fill_null(value=False))


def _get_url_host(arguments: Sequence[Vector]) -> Vector:
    column = _text_of(arguments[0])
    usual = column.str.contains(_USUAL_URL)
    return Vector({"text": column.str.extract(_USUAL_URL, 2)}, (~usual).fill_null(value=False))


_USUAL_URL: Final = r"^(https?)://([A-Za-z0-9.-]+)(?:/[A-Za-z0-9\-._~%!$&'()*+,;=:@/]*)?(?:[?#][!#-;=?-\[\]_a-z~]*)?$"
"""Web addresses without user, port and unusual characters; others are the evaluator's."""

NATIVE: Final[dict[str, Native]] = {
    "concat": _concat,
    "lower": _textual(lambda column: column.str.to_lowercase(), _unusual),
    "upper": _textual(lambda column: column.str.to_uppercase(), _unusual),
    "trim": _textual(lambda column: column.str.strip_chars()),
    "ltrim": _textual(lambda column: column.str.strip_chars_start()),
    "rtrim": _textual(lambda column: column.str.strip_chars_end()),
    "left": _left,
    "right": _right,
    "substr": _substr,
    "lpad": _pad(at_start=True),
    "rpad": _pad(at_start=False),
    "replacestr": _replacestr,
    "instr": _instr,
    "split": _split,
    "explode": _explode,
    "join": _join,
    "matches_regex": _matches_regex,
    "md5": _hashed(lambda column: column.nchash.md5()),
    "sha1": _hashed(lambda column: column.nchash.sha1()),
    "sha256": _hashed(lambda column: column.chash.sha2_256()),
    "sha512": _hashed(lambda column: column.chash.sha2_512()),
    "get_url_protocol": _get_url_protocol,
    "get_url_host": _get_url_host,
    "coalesce": _coalesce,
    "first": _end(last=False),
    "last": _end(last=True),
    "to_array": _to_array,
    "join_arrays": _join_arrays,
    "add_to_array": _add_to_array,
    "size_of": _size_of,
    "is_empty": _is_empty,
    "nullify": lambda _: NULL,
    "min": _extreme("<"),
    "max": _extreme(">"),
    "to_bigint": _to_integer,
    "to_decimal": _to_decimal,
    **DATE_FUNCTIONS,
}
"""By the first name of a function; aliases find theirs through the registry."""


def _method_text(target: Vector) -> tuple[pl.Expr, Escape]:
    return _text_of(target), others(target, "text")


def _affixed(test: Callable[[pl.Expr, pl.Expr], pl.Expr]) -> Native:
    def native(arguments: Sequence[Vector]) -> Vector:
        column, mask = _method_text(arguments[0])
        part = text(arguments[1])
        value = _text_of(part)
        known = column.is_not_null()
        return Vector(
            {"boolean": pl.when(known).then(test(column, value))},
            either(mask, within(known, either(part.escape, ~present(arguments[1])))),
        )

    return native


def _equals_ignore_case(arguments: Sequence[Vector]) -> Vector:
    column, mask = _method_text(arguments[0])
    other = _text_of(arguments[1])
    same = column.str.to_uppercase().str.to_lowercase() == other.str.to_uppercase().str.to_lowercase()
    unusual = either(_unusual(column).fill_null(value=False), _unusual(other).fill_null(value=False))
    return Vector({"boolean": pl.when(column.is_not_null()).then(same.fill_null(value=False))}, either(mask, unusual))


def _method_textual(change: Callable[[pl.Expr], pl.Expr], kind: JsonKind, *, cased: bool) -> Native:
    def native(arguments: Sequence[Vector]) -> Vector:
        column, mask = _method_text(arguments[0])
        unusual = _unusual(column).fill_null(value=False) if cased else None
        return Vector({kind: change(column)}, either(mask, unusual))

    return native


METHODS: Final[dict[str, Native]] = {
    "equalsIgnoreCase": _equals_ignore_case,
    "length": _method_textual(lambda column: column.str.len_chars().cast(pl.Int64), "integer", cased=False),
    "toUpperCase": _method_textual(lambda column: column.str.to_uppercase(), "text", cased=True),
    "toLowerCase": _method_textual(lambda column: column.str.to_lowercase(), "text", cased=True),
    "contains": _affixed(lambda column, part: column.str.contains(part, literal=True)),
    "startsWith": _affixed(lambda column, part: column.str.starts_with(part)),
    "endsWith": _affixed(lambda column, part: column.str.ends_with(part)),
}
"""Methods, the target being the first argument; `equals` is an operator, `get` has no column form."""
