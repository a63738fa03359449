"""Formats and patterns of text values, once as regular expressions that Python's `re` and Polars both understand.

Formats by RFC 3339 (dates) and RFC 3986 (URIs), as JSON Schema names them. Patterns of schemas are ECMA-262:
unanchored, `$` only at the very end, `\\w` and `\\d` ASCII. Without look-around, so that both engines can run them.
"""

from __future__ import annotations

import datetime
import functools
import re

import polars as pl

_PCT = "%[0-9A-Fa-f]{2}"
_UNRESERVED_SUB = r"A-Za-z0-9\-._~!$&'()*+,;="
_PCHAR = rf"(?:[{_UNRESERVED_SUB}:@]|{_PCT})"
_SEGMENT_NC = rf"(?:[{_UNRESERVED_SUB}@]|{_PCT})+"
_TAIL = rf"(?:\?(?:{_PCHAR}|[/?])*)?(?:#(?:{_PCHAR}|[/?])*)?"

_H16 = "[0-9A-Fa-f]{1,4}"
_OCTET = "(?:25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])"
_IPV4 = rf"(?:{_OCTET}\.){{3}}{_OCTET}"
_LS32 = f"(?:{_H16}:{_H16}|{_IPV4})"
_IPV6 = "(?:" + "|".join(
    [f"(?:{_H16}:){{6}}{_LS32}", f"::(?:{_H16}:){{5}}{_LS32}"]
    + [f"(?:(?:{_H16}:){{0,{left}}}{_H16})?::(?:{_H16}:){{{4 - left}}}{_LS32}" for left in range(5)]
    + [f"(?:(?:{_H16}:){{0,5}}{_H16})?::{_H16}", f"(?:(?:{_H16}:){{0,6}}{_H16})?::"]
) + ")"  # fmt: skip

_AUTHORITY = (
    rf"(?:(?:[{_UNRESERVED_SUB}:]|{_PCT})*@)?"
    rf"(?:\[(?:{_IPV6}|v[0-9A-Fa-f]+\.[{_UNRESERVED_SUB}:]+)\]|(?:[{_UNRESERVED_SUB}]|{_PCT})*)(?::[0-9]*)?"
)
_SLASHED = rf"(?://{_AUTHORITY}(?:/{_PCHAR}*)*|/(?:{_PCHAR}+(?:/{_PCHAR}*)*)?)"
_SCHEME = r"[A-Za-z][A-Za-z0-9+.\-]*:"
_URI = rf"{_SCHEME}(?:{_SLASHED}|{_PCHAR}+(?:/{_PCHAR}*)*)?{_TAIL}"
_RELATIVE = rf"(?:{_SLASHED}|{_SEGMENT_NC}(?:/{_PCHAR}*)*)?{_TAIL}"

_DATE = r"[0-9]{4}-(?:0[1-9]|1[0-2])-(?:0[1-9]|[12][0-9]|3[01])"
_TIME = r"(?:[01][0-9]|2[0-3]):[0-5][0-9]:(?:[0-5][0-9]|60)(?:\.[0-9]+)?(?:[Zz]|[+\-](?:[01][0-9]|2[0-3]):[0-5][0-9])"
_LABEL = "[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
_ATOM = r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~\-]+"

FORMATS: dict[str, str] = {
    "date": _DATE,
    "date-time": f"{_DATE}[Tt]{_TIME}",
    "uri": _URI,
    "uri-reference": f"(?:{_URI}|{_RELATIVE})",
    "email": rf"(?:{_ATOM}(?:\.{_ATOM})*|\"[ !#-\[\]-~]+\")@(?:{_LABEL}(?:\.{_LABEL})*|\[[0-9A-Fa-f:.IPv]+\])",
    "ipv4": _IPV4,
    "ipv6": _IPV6,
    "hostname": rf"{_LABEL}(?:\.{_LABEL})*",
    "json-pointer": "(?:/(?:[^~/]|~[01])*)*",
    "time": _TIME,
}
"""Formats that are checked: those of XDM's own schemas and others of JSON Schema. Any other name is an annotation."""


@functools.cache
def _whole(name: str) -> re.Pattern[str]:
    return re.compile(rf"(?:{FORMATS[name]})\Z", re.ASCII)


def is_format(text: str, name: str) -> bool:
    """Whether a text has the format. A date must be a day of the calendar."""
    if name not in FORMATS:
        return True
    if _whole(name).match(text) is None:
        return False
    return not name.startswith("date") or _is_day(text[:10])


def _is_day(text: str) -> bool:
    try:
        datetime.date.fromisoformat(text)
    except ValueError:
        return False
    return True


def lacks_format(value: pl.Expr, name: str) -> pl.Expr:
    """True where a text is there and has not the format."""
    if name not in FORMATS:
        return pl.lit(value=False)
    wrong = ~value.str.contains(f"^(?:{FORMATS[name]})$")
    if name.startswith("date"):
        day = value.str.slice(0, 10)
        wrong = wrong | day.str.to_date("%Y-%m-%d", strict=False).is_null() | day.str.starts_with("0000")
    return value.is_not_null() & wrong


@functools.cache
def _ecma(pattern: str) -> re.Pattern[str]:
    return re.compile(as_python(pattern), re.ASCII)


def as_python(pattern: str) -> str:
    """An ECMA-262 pattern in Python's spelling, for the flag ASCII: Python's `$` also matches before a final newline, and
    named groups are written otherwise."""
    return re.sub(r"\(\?<(?![=!])", "(?P<", _ascii_end(pattern))


def _ascii_end(pattern: str) -> str:
    """`$` as `\\Z`, outside of classes and escapes."""
    out, in_class, at = [], False, 0
    while at < len(pattern):
        char = pattern[at]
        if char == "\\":
            out.append(pattern[at : at + 2])
            at += 2
            continue
        in_class = (char == "[" or in_class) and not (char == "]" and in_class)
        out.append(r"\Z" if char == "$" and not in_class else char)
        at += 1
    return "".join(out)


def is_readable(pattern: str) -> bool:
    """Whether the pattern can be checked here."""
    try:
        _ecma(pattern)
    except re.error:
        return False
    return True


def matches(text: str, pattern: str) -> bool:
    """Whether an ECMA-262 pattern of a schema is found in the text. An unreadable pattern matches all."""
    try:
        return _ecma(pattern).search(text) is not None
    except re.error:
        return True


def lacks_pattern(value: pl.Expr, pattern: str) -> pl.Expr:
    """True where a text is there and the pattern is not found in it."""
    rust = re.sub(r"(\\[wWdDsS])", r"(?-u:\1)", pattern) if _has_no_class_escape(pattern) else None
    if rust is not None and _polars_reads(rust):
        return value.is_not_null() & ~value.str.contains(rust)
    return value.is_not_null() & value.map_elements(
        lambda text: not matches(text, pattern), return_dtype=pl.Boolean, skip_nulls=True
    )


def _has_no_class_escape(pattern: str) -> bool:
    """Whether `\\w` and its like stand only outside of `[...]`, where they can be made ASCII alone."""
    return not re.search(r"\[[^\]]*\\[wWdDsS]", pattern)


@functools.cache
def _polars_reads(pattern: str) -> bool:
    try:
        pl.Series([""]).str.contains(pattern)
    except pl.exceptions.PolarsError:
        return False
    return True
