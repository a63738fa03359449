"""Date functions on vectors. Columns hold moments in UTC; a date with another offset escapes, since its clock reads differently.

What is read and written is decided by `date_formats.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

import polars as pl

from mixpanel_aep_assets.dataprep.columnar.columns import NotNativeError, Vector, either, nulls, others, present
from mixpanel_aep_assets.dataprep.columnar.json_columns import DTYPES
from mixpanel_aep_assets.dataprep.interpreter.date_formats import pattern_pieces

_ISO_TEXT: Final = r"^[1-9]\d{3}-[01]\d-[0-3]\d(?:[T ][0-2]\d:[0-5]\d:[0-5]\d(?:\.\d{1,6})?Z?)?$".replace(
    r"\d", "[0-9]"
)
_ISO_FORM: Final = "%Y-%m-%dT%H:%M:%S%.f"
_WRITTEN: Final = {
    "yyyy": "%Y",
    "yy": "%y",
    "M": "%-m",
    "MM": "%m",
    "MMM": "%b",
    "MMMM": "%B",
    "d": "%-d",
    "dd": "%d",
    "DDD": "%j",
    "H": "%-H",
    "HH": "%H",
    "h": "%-I",
    "hh": "%I",
    "m": "%-M",
    "mm": "%M",
    "s": "%-S",
    "ss": "%S",
    "SSS": "%3f",
    "SSSSSS": "%6f",
    "a": "%p",
    "E": "%a",
    "EEE": "%a",
    "EEEE": "%A",
    "Z": "+0000",
    "X": "Z",
    "XX": "Z",
    "XXX": "Z",
}
"""Runs of pattern letters as strftime codes, for moments in UTC."""

_READ: Final = {
    "yyyy": "[0-9]{4}",
    "MM": "[0-9]{2}",
    "dd": "[0-9]{2}",
    "HH": "[0-9]{2}",
    "mm": "[0-9]{2}",
    "ss": "[0-9]{2}",
}
_DIGITS: Final = {"S": 1, "SS": 2, "SSS": 3}
_EXACT_CODES: Final = frozenset({"%Y-%m-%dT%H:%M:%S.%3fZ"})
"""Codes that write moments of milliseconds so that they are read back as they were."""

_EPOCH_LIMIT: Final = 10**14
"""Milliseconds; the years 1 to 5138 lie within."""


def read_default(vector: Vector) -> Vector:
    """Moments, and texts in ISO form without offset; everything else is the evaluator's."""
    if vector.moments is not None:
        return Vector({"moment": vector.moments}, vector.escape)
    columns: list[pl.Expr] = []
    if "moment" in vector.columns:
        columns.append(vector.columns["moment"])
    mask = others(vector, "moment", "text")
    if "text" in vector.columns:
        column = vector.columns["text"]
        moments = moment_of_iso(pl.when(column.str.contains(_ISO_TEXT)).then(column))
        columns.append(moments)
        mask = either(mask, column.is_not_null() & moments.is_null())
    return Vector({"moment": pl.coalesce(columns)} if columns else {}, either(vector.escape, mask))


def moment_of_iso(column: pl.Expr) -> pl.Expr:
    """The moments of texts `yyyy-MM-dd` with or without a time; null for a day or time that does not exist."""
    whole = pl.when(column.str.len_bytes() == len("yyyy-MM-dd")).then(column + "T00:00:00").otherwise(column)
    plain = whole.str.strip_suffix("Z").str.replace(" ", "T", literal=True)
    return plain.str.to_datetime(_ISO_FORM, time_unit="us", strict=False).dt.replace_time_zone("UTC")


def _format_code(pattern: str) -> str:
    codes: list[str] = []
    for piece, literal in pattern_pieces(pattern):
        if not literal and piece not in _WRITTEN:
            raise NotNativeError(f"{piece} of a date pattern has no code in Polars")
        codes.append(piece.replace("%", "%%") if literal else _WRITTEN[piece])
    return "".join(codes)


def _pattern(arguments: Sequence[Vector], index: int) -> str:
    pattern = arguments[index].constant
    if not isinstance(pattern, str):
        raise NotNativeError("a date pattern that is not a constant")
    return pattern


def _format(arguments: Sequence[Vector]) -> Vector:
    code = _format_code(_pattern(arguments, 1))
    return Vector({"text": arguments[0].columns.get("moment", nulls("moment")).dt.strftime(code)})


def _dformat(arguments: Sequence[Vector]) -> Vector:
    code = _format_code(_pattern(arguments, 1))
    milliseconds = arguments[0].columns.get("integer", nulls("integer"))
    far = ((milliseconds >= _EPOCH_LIMIT) | (milliseconds < -62_000_000_000_000)).fill_null(value=False)
    moments = pl.when(~far).then(milliseconds).cast(pl.Datetime("ms", "UTC"))
    exact = moments.cast(DTYPES["moment"]) if code in _EXACT_CODES else None
    return Vector({"text": moments.dt.strftime(code)}, far, moments=exact)


def _read_pattern(pattern: str) -> tuple[str, str]:
    """A regular expression of the pattern's texts, and the replacement that makes ISO text of them."""
    groups: dict[str, str] = {}
    expression: list[str] = []
    for piece, literal in pattern_pieces(pattern):
        if literal:
            expression.append("".join(f"\\{one}" if not one.isalnum() and one.isascii() else one for one in piece))
            if any(one.isalpha() and one != "T" and one != "Z" for one in piece):
                raise NotNativeError("letters in a date pattern are read in any case")
            continue
        digits = _DIGITS.get(piece)
        if (piece not in _READ and digits is None) or piece in groups:
            raise NotNativeError(f"{piece} of a date pattern is not read by Polars")
        name = f"g{len(groups)}"
        groups[piece] = name
        expression.append(f"(?P<{name}>{_READ.get(piece) or f'[0-9]{{{digits}}}'})")
    fraction = next((groups[piece] for piece in _DIGITS if piece in groups), None)
    if not {"yyyy", "MM", "dd"} <= groups.keys() or len({"S", "SS", "SSS"} & groups.keys()) > 1:
        raise NotNativeError("a date pattern without year, month and day as numbers")
    day = "-".join("${" + groups[piece] + "}" for piece in ("yyyy", "MM", "dd"))
    time = ":".join("${" + groups[piece] + "}" if piece in groups else "00" for piece in ("HH", "mm", "ss"))
    return f"^{''.join(expression)}$", f"{day}T{time}" + (f".${{{fraction}}}" if fraction else "")


def _date(arguments: Sequence[Vector]) -> Vector:
    value = arguments[0]
    if len(arguments) == 1:
        return read_default(value)
    if arguments[1].constant is None:
        moments = read_default(value)
    else:
        expression, replacement = _read_pattern(_pattern(arguments, 1))
        column = value.columns.get("text", nulls("text"))
        iso = pl.when(column.str.contains(expression)).then(column.str.replace(expression, replacement))
        read = moment_of_iso(pl.when(iso.str.contains(_ISO_TEXT)).then(iso))
        columns = [read, value.columns["moment"]] if "moment" in value.columns else [read]
        escape = either(others(value, "moment", "text"), column.is_not_null() & read.is_null())
        moments = Vector({"moment": pl.coalesce(columns)}, escape)
    if len(arguments) < 3 or arguments[2].constant is None:
        return moments
    default = arguments[2].columns.get("moment", nulls("moment"))
    found = moments.columns.get("moment", nulls("moment"))
    filled = pl.when(present(value)).then(found).otherwise(default)
    return Vector({"moment": filled}, moments.escape)


_PARTS: Final[dict[str, Callable[[pl.Expr], pl.Expr]]] = {
    "year": lambda moment: moment.dt.year(),
    "quarter": lambda moment: moment.dt.quarter(),
    "month": lambda moment: moment.dt.month(),
    "dayofyear": lambda moment: moment.dt.ordinal_day(),
    "day": lambda moment: moment.dt.day(),
    "week": lambda moment: moment.dt.week(),
    "weekday": lambda moment: moment.dt.weekday() % 7 + 1,
    "hour": lambda moment: moment.dt.hour(),
    "hh12": lambda moment: (moment.dt.hour().cast(pl.Int64) + 11) % 12 + 1,
    "minute": lambda moment: moment.dt.minute(),
    "second": lambda moment: moment.dt.second(),
    "millisecond": lambda moment: moment.dt.millisecond(),
}
_NAMES: Final = {
    name: part
    for part, names in {
        "year": "year yyyy yy",
        "quarter": "quarter qq q",
        "month": "month mm m",
        "dayofyear": "dayofyear dy y",
        "day": "day dd d",
        "week": "week ww w",
        "weekday": "weekday dw",
        "hour": "hour hh hh24",
        "hh12": "hh12",
        "minute": "minute mi n",
        "second": "second ss s",
        "millisecond": "millisecond sss ms",
    }.items()
    for name in names.split()
}


def _date_part(arguments: Sequence[Vector]) -> Vector:
    name = arguments[0].constant
    part = _NAMES.get(name.lower()) if isinstance(name, str) else None
    if part is None:
        raise NotNativeError("a part of a date that is not a constant")
    moment = arguments[1].columns.get("moment", nulls("moment"))
    return Vector({"integer": _PARTS[part](moment).cast(pl.Int64)})


def _zone_date_to_utc(arguments: Sequence[Vector]) -> Vector:
    return Vector(arguments[0].columns)


DATE_FUNCTIONS: Final[dict[str, Callable[[Sequence[Vector]], Vector]]] = {
    "date": _date,
    "format": _format,
    "dformat": _dformat,
    "date_part": _date_part,
    "zone_date_to_utc": _zone_date_to_utc,
}
