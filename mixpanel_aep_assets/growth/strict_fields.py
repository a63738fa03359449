"""Events set aside because a value does not fit its grown field: the policy `quarantine`.

Adobe's rule for a required field (data-prep.md#errors: an error makes it null, and the row is not ingested) is held for
the fields that a plan names, required or not.
"""

from __future__ import annotations

from collections.abc import Collection

import polars as pl

from mixpanel_aep_assets.xdm.conformance import VIOLATIONS, Findings

RULE = "mapping"
"""Keyword of these findings: the value did not become one of the field's type."""


def with_refused(found: Findings, errors: pl.DataFrame, destinations: Collection[str]) -> Findings:
    """`found` of the mapped frame, and a violation for each of its mapping errors at one of the destinations.

    `errors` has the columns `row`, `destination` and `exception` (`dataprep.columnar.compiled_mapping.ERRORS`).
    """
    strict = errors.filter(pl.col("destination").is_in(list(destinations))) if destinations else errors.clear()
    if strict.is_empty():
        return found
    violations = strict.select(
        pl.col("row").cast(pl.UInt32),
        (pl.lit("/") + pl.col("destination").str.replace_all(".", "/", literal=True)).alias("pointer"),
        pl.lit(RULE).alias("keyword"),
        pl.lit("").alias("value"),
        pl.col("exception").alias("message"),
    ).cast(VIOLATIONS)
    bad = found.bad.clone().scatter(violations["row"].unique().sort(), values=True)
    return Findings(bad, pl.concat([found.findings, violations]).sort("row", maintain_order=True), found.severities)
