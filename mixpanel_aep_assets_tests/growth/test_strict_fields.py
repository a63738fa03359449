"""The policy `quarantine`: a mapping error at a strict destination is a violation of its row."""

from __future__ import annotations

import polars as pl

from mixpanel_aep_assets.growth.strict_fields import with_refused
from mixpanel_aep_assets.xdm.conformance import VIOLATIONS, Findings


def test_errors_at_strict_destinations_set_their_rows_aside_and_others_do_not() -> None:
    found = Findings(pl.Series([False, False, True]), pl.DataFrame(schema=VIOLATIONS), {})
    errors = pl.DataFrame(
        {
            "row": [0, 1],
            "destination": ["_t.mixpanel.custom.total", "_t.mixpanel.custom.other"],
            "exception": ["no", "no"],
        },
        schema={"row": pl.UInt32, "destination": pl.String, "exception": pl.String},
    )
    after = with_refused(found, errors, {"_t.mixpanel.custom.total"})
    assert after.bad.to_list() == [True, False, True]
    assert found.bad.to_list() == [False, False, True]
    (violation,) = after.violations.to_dicts()
    assert (violation["row"], violation["pointer"], violation["keyword"]) == (0, "/_t/mixpanel/custom/total", "mapping")
    assert violation["message"] == "no"
    assert with_refused(found, errors, frozenset()) is found
