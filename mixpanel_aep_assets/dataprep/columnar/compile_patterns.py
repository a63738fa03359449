"""Regular expressions for Polars' engine (Rust's `regex`) that mean what they mean to the plain evaluator's (RE2)."""

from __future__ import annotations

import polars as pl

from mixpanel_aep_assets.dataprep.columnar.columns import NotNativeError
from mixpanel_aep_assets.dataprep.interpreter import regular_expressions


def rust_pattern(pattern: str) -> str:
    """The pattern for Polars' engine with the meaning that it has in RE2. Raises NotNativeError where they differ."""
    regular_expressions.compiled(pattern)
    classes = {"d": "0-9", "w": "0-9A-Za-z_", "s": "\\t\\n\\f\\r "}
    out: list[str] = []
    inside = False
    at = 0
    while at < len(pattern):
        one = pattern[at]
        if one == "\\":
            escape = pattern[at + 1]
            if escape in classes:
                out.append(classes[escape] if inside else f"[{classes[escape]}]")
            elif not escape.isalnum() and escape.isascii():
                out.append(pattern[at : at + 2])
            else:
                raise NotNativeError(f"\\{escape} may mean something else to Polars")
            at += 2
            continue
        if inside and one in "[&~-" and pattern[at + 1 : at + 2] in (one, ":"):
            raise NotNativeError("a set operation in a character class")
        if inside and one == "[":
            raise NotNativeError("a bracket in a character class")
        if one == "(" and pattern[at + 1 : at + 2] == "?" and pattern[at + 2 : at + 3] != ":":
            raise NotNativeError("flags or names in a group")
        inside = (one == "[") or (inside and one != "]")
        out.append(one)
        at += 1
    return "".join(out)


def matching(column: pl.Expr, pattern: str) -> pl.Expr:
    """Whether the whole text matches; null stays null."""
    return column.str.contains(rf"\A(?:{rust_pattern(pattern)})\z")
