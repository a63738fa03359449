"""The mappings that fill grown fields, in Adobe's language, so that the engine and the Platform need nothing new.

A value fits a typed field if its text form matches `field_types.FITTING`. Under `widen` the typed field and the text field share
the values by that test. Without a text field, and under `quarantine`, the conversion to the field's type is left to fail,
which is a mapping error that names the destination and the value; the destinations in `strict` set the event aside then.
"""

from __future__ import annotations

import re
from typing import Any, Final

from mixpanel_aep_assets.growth.field_types import FITTING
from mixpanel_aep_assets.growth.schema_plan import PlannedField, SchemaPlan
from mixpanel_aep_assets.xdm.standard import HOME

_SPECIAL: Final = re.compile(r"[.\[\]\\{}]")
LONGEST: Final = 4096
"""Characters of an expression (data-prep.md#vocabulary)."""


def mappings(plan: SchemaPlan, tenant: str) -> list[dict[str, str]]:
    """Rows of a mapping set for the included fields, by field."""
    rows = []
    for one in sorted(plan.included, key=lambda one: one.field):
        rows.append(_row(_value(one), one.field, tenant, one.name))
        if one.text is not None:
            rows.append(_row(_misfit(one), one.text, tenant, f"{one.name}, where it is not {one.type}"))
    return rows


def strict(plan: SchemaPlan, tenant: str) -> frozenset[str]:
    """Destinations whose mapping errors set the event aside."""
    chosen = (one.field for one in plan.included if one.on_conflict == "quarantine" and one.type != "string")
    return frozenset(destination(name, tenant) for name in chosen)


def destination(name: str, tenant: str) -> str:
    return f"_{tenant}.mixpanel.{HOME}.{name}"


def reference(name: str) -> str:
    """A property in an expression, whatever characters its name has."""
    return "${properties." + _SPECIAL.sub(r"\\\g<0>", name) + "}"


def _row(source: str, name: str, tenant: str, about: str) -> dict[str, Any]:
    return {
        "sourceType": "EXPRESSION",
        "source": source,
        "destination": destination(name, tenant),
        "description": about,
    }


def _value(one: PlannedField) -> str:
    value = reference(one.name)
    if one.type == "string":
        return f'concat({value}, "")'
    if one.text is not None:
        return f"iif({_fits(one)}, {value}, nullify())"
    # Read as a date only: a date-time would lose its time without a word.
    converted = f'date({value}, "yyyy-MM-dd")' if one.type == "date" else value
    return f'iif(matches_regex(concat({value}, ""), ""), nullify(), {converted})'


def _misfit(one: PlannedField) -> str:
    return f'iif({_fits(one)}, nullify(), concat({reference(one.name)}, ""))'


def _fits(one: PlannedField) -> str:
    pattern = FITTING[one.type].replace("\\", "\\\\")
    return f'matches_regex(concat({reference(one.name)}, ""), "{pattern}")'
