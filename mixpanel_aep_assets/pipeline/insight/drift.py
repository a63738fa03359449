"""Whether a day's properties are those that were known: new ones, ones with other types, ones that vanished.

Held against the last accepted schema plan; while there is none, against the exported days before. The finding is the table
`property_drift`: a manifest and no files. It judges names and kinds of values only, never stops a day, and is made from the
profiles of the days (`profile`), which are after the privacy rules.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import orjson

from mixpanel_aep_assets import manifests
from mixpanel_aep_assets.connection import Connection
from mixpanel_aep_assets.growth import field_types
from mixpanel_aep_assets.growth.field_types import Type
from mixpanel_aep_assets.growth.properties import NO_VALUE, Property
from mixpanel_aep_assets.manifests import Drifted, DriftManifest
from mixpanel_aep_assets.pipeline.insight import previews, property_statistics, schema_growth
from mixpanel_aep_assets.pipeline.steps import redaction
from mixpanel_aep_assets.storage import StorageError

TABLE = "property_drift"
VERSION = "2"

DAYS_BEFORE = 7
"""Exported days that a day is held against: a week, since weekdays differ."""

HISTORY = 30
"""Days in the table of the days before."""

FINDINGS = ("new", "changed", "vanished")

_UNPLANNED = ("", property_statistics.OTHER)
"""Names for which there can be no field, so that no plan ever knows them."""

LISTED = 200
"""Properties of a kind that a manifest names; the counts are of all."""

_FAMILIES: Mapping[str, str] = {
    "integer": "number",
    "date": "date",
    "date_time": "date",
    "numeral": "string",
}
"""Kinds that take each other's place without a word; dates also where texts were seen before."""


@dataclass(frozen=True)
class Known:
    """What a day is held against: `text` says it in words.

    A property that is none of `names` is new. One with a planned type (`types`) and no text column for the rest changed if
    values do not fit it, another one if values are of no family seen before (`families`). Of `expected`, those without a
    value vanished.
    """

    text: str
    names: frozenset[str]
    families: Mapping[str, frozenset[str]]
    types: Mapping[str, Type]
    expected: frozenset[str]


def drift_day(connection: Connection, day: str, *, log: Callable[[str], None] = lambda _: None) -> DriftManifest:
    """Finds the day's drift and commits it; made anew only where the day's profile or what it is held against changed.

    The manifest lists the first `LISTED` of each finding. Raises extract.NotExported, OtherPrivacyRules, StorageError.
    """
    seen = _profile(connection, day)
    known = _known(connection, day)
    version = _version(_source(connection, day), known)
    table = connection.day(TABLE, day)
    current = stored(connection, day)
    if current is not None and current.data_version == version:
        log(f"{day}: the properties and what they are held against are unchanged")
        return current
    found = _found(seen, known) if known is not None and seen.rows else {kind: [] for kind in FINDINGS}
    valued = [one for one in seen.properties.values() if one.count]
    made = DriftManifest(
        day=day,
        rows=seen.rows,
        against=known.text if known else "",
        properties=len(valued),
        conflicts=sum(one.is_conflict for one in valued),
        new=len(found["new"]),
        changed=len(found["changed"]),
        vanished=len(found["vanished"]),
        found=tuple(row for rows in found.values() for row in rows[:LISTED]),
        data_version=version,
    )
    log(f"{day}: {len(valued)} properties, " + ", ".join(f"{len(rows)} {finding}" for finding, rows in found.items()))
    with table.stage() as staging:
        return manifests.commit(staging, made)


def stored(connection: Connection, day: str) -> DriftManifest | None:
    """The manifest of the judged day, None where there is none. Raises StorageError."""
    return manifests.read(connection.day(TABLE, day), DriftManifest)


def _version(source: list[str | None], known: Known | None) -> str:
    """Of the day's profile and what it is held against."""
    held = None
    if known is not None:
        families = {name: sorted(names) for name, names in known.families.items()}
        held = [known.text, sorted(known.names), families, dict(known.types), sorted(known.expected)]
    text = orjson.dumps([VERSION, source, held], option=orjson.OPT_SORT_KEYS)
    return hashlib.sha256(text).hexdigest()[:32]


def history(connection: Connection, day: str) -> previews.Rows:
    """The numbers of the day and of the days before it that were judged, newest first."""
    days = [one for one in connection.storage.days(connection.settings.name, TABLE) if one <= day][-HISTORY:]
    judged = (stored(connection, one) for one in reversed(days))
    columns = ("day", "rows", "properties", "new", "changed", "vanished", "conflicts")
    return [{column: getattr(manifest, column) for column in columns} for manifest in judged if manifest is not None]


def _source(connection: Connection, day: str) -> list[str | None]:
    manifest = property_statistics.stored(connection, day)
    return [None, None] if manifest is None else [manifest.raw_digest, manifest.version]


def _known(connection: Connection, day: str) -> Known | None:
    """The accepted plan and what the mapping set reads; without a plan the days before; None where there are none."""
    each = _days_before(connection, day)
    per_day = [_families(one) for one in each]
    families = {
        name: frozenset[str]().union(*(of_day.get(name, ()) for of_day in per_day)) for name in set().union(*per_day)
    }
    plan = connection.accepted_plan
    if plan is not None:
        planned = {one.name: one.type for one in plan.included if one.text is None}
        included = frozenset(one.name for one in plan.included)
        names = frozenset(one.name for one in plan.fields) | schema_growth.covered(connection)
        text = f"the accepted schema plan ({plan.days})"
        # A rare property may be away for some days; it is missed once a week has none.
        return Known(text, names, families, planned, included - families.keys())
    if not each:
        return None
    steady = frozenset.intersection(*(frozenset(of_day) for of_day in per_day))
    days = f"{each[0].days[0]} to {each[-1].days[0]}" if len(each) > 1 else each[0].days[0]
    text = f"the {len(each)} exported days before ({days})" if len(each) > 1 else f"the exported day before ({days})"
    return Known(text, frozenset(families), families, {}, steady)


def _days_before(connection: Connection, day: str) -> list[property_statistics.Profile]:
    """Profiles of the exported days before that have events; a day stored under other privacy rules says nothing."""
    found = []
    for one in [one for one in property_statistics.exported_days(connection) if one < day][-DAYS_BEFORE:]:
        with contextlib.suppress(redaction.OtherPrivacyRules):
            found.append(_profile(connection, one))
    return [one for one in found if one.rows]


def _profile(connection: Connection, day: str) -> property_statistics.Profile:
    """The day's profile, made if need be."""
    try:
        return property_statistics.profile_days(connection, [day])
    except StorageError:  # the run of another day may have replaced it while it was read
        return property_statistics.profile_days(connection, [day])


def _families(seen: property_statistics.Profile) -> dict[str, frozenset[str]]:
    """The families of each property that has a value."""
    return {name: _families_of(found) for name, found in seen.properties.items() if found.count}


def _families_of(found: Property) -> frozenset[str]:
    return frozenset(_FAMILIES.get(kind, kind) for kind in found.kinds if kind not in NO_VALUE)


def _found(seen: property_statistics.Profile, known: Known) -> dict[str, list[Drifted]]:
    """The rows of each finding, those of the most events first."""
    valued = sorted((one for one in seen.properties.values() if one.count), key=lambda one: (-one.count, one.name))
    missing = sorted(known.expected - {one.name for one in valued})
    return {
        "new": [_row("new", one.name, "", one) for one in valued if one.name not in {*known.names, *_UNPLANNED}],
        "changed": [
            _row("changed", one.name, before, one) for one in valued if (before := _other_type(one, known)) is not None
        ],
        "vanished": [_row("vanished", name, _before(name, known), None) for name in missing],
    }


def _other_type(now: Property, known: Known) -> str | None:
    """What a known property was, if it has values that are none of that."""
    if now.name not in known.names:
        return None
    planned = known.types.get(now.name)
    if planned is not None:
        return _before(now.name, known) if field_types.misfits(now, planned) else None
    before = known.families.get(now.name)
    other = before is not None and _families_of(now) - before - ({"date"} if "string" in before else set())
    return _before(now.name, known) if other else None


def _before(name: str, known: Known) -> str:
    planned = known.types.get(name)
    return f"planned as {planned}" if planned is not None else ", ".join(sorted(known.families.get(name, ())))


def _row(finding: str, name: str, before: str, now: Property | None) -> Drifted:
    shown = now.examples if now is not None else {}
    return Drifted(
        finding=finding,
        property=name,
        before=before,
        now=", ".join(f"{kind} {count:,}" for kind, count in now.kinds.items()) if now is not None else "",
        events=", ".join(list(now.events)[: previews.EXAMPLES]) if now is not None else "",
        examples=" · ".join(texts[0] for texts in shown.values() if texts),
    )
