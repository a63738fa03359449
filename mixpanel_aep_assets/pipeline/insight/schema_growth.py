"""Growing the schema: a plan of fields from what the days hold, and the accepted plan on the Platform.

The decisions are in `growth`; here its ground is gathered: profiles of raw days, the project's Lexicon, the
mapping set, the dataset's schema with its labels, the plan before.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from mixpanel_aep_assets.aep import provision, registry
from mixpanel_aep_assets.aep.platform_errors import DatasetNotFound
from mixpanel_aep_assets.connection import Connection, remembered
from mixpanel_aep_assets.connection.dataset_mapping import own_mapping_set
from mixpanel_aep_assets.dataprep.advice.suggest import DERIVED_FROM
from mixpanel_aep_assets.dataprep.columnar.compiled_mapping import compile_mapping
from mixpanel_aep_assets.growth import mappings
from mixpanel_aep_assets.growth.schema_plan import (
    ROW_FIELDS,
    Ground,
    PlanError,
    SchemaPlan,
    propose,
    schema_fields,
)
from mixpanel_aep_assets.mixpanel import lexicon
from mixpanel_aep_assets.mixpanel.lexicon import Declared
from mixpanel_aep_assets.mixpanel.mixpanel_errors import MixpanelError
from mixpanel_aep_assets.pipeline.insight import property_statistics
from mixpanel_aep_assets.xdm.schema import Field, Schema
from mixpanel_aep_assets.xdm.standard import HOME

_LABEL = "xdm:descriptorLabel"


def plan_from_data(connection: Connection, days: Iterable[str], reviewed: SchemaPlan | None = None) -> SchemaPlan:
    """A plan from the profiles of these exported days. What was `reviewed`, or accepted before, keeps its decisions.

    Raises PlanError where there is no exported day, and the errors of the rooms; a Lexicon that cannot be read is told in
    the plan and left out.
    """
    merged = property_statistics.profile_days(connection, days)
    if not merged.days:
        raise PlanError(
            f"No day of {connection.settings.name} is exported yet, so there is nothing to plan from: "
            "`mixpanel-aep run --from D --to D` brings days in."
        )
    declared, told = _lexicon(connection)
    schema = _schema(connection)
    ground = Ground(
        covered=covered(connection),
        existing=_grown(schema, connection.tenant),
        previous=reviewed or connection.accepted_plan,
        declared=declared,
        labels=_labels(connection, schema),
        room=ROW_FIELDS - sum(1 for _ in schema.leaves()) if schema is not None else ROW_FIELDS,
    )
    days = (
        merged.days[0] if len(merged.days) == 1 else f"{merged.days[0]} to {merged.days[-1]}, {len(merged.days)} days"
    )
    seen = [one for one in merged.properties.values() if one.name != property_statistics.OTHER]
    if len(seen) < len(merged.properties):
        days += f"; of more than {property_statistics.PROPERTIES_LIMIT:,} property names only so many are looked at"
    return SchemaPlan(days=days, events=merged.rows, lexicon=told, fields=propose(seen, ground))


def apply(
    connection: Connection,
    plan: SchemaPlan,
    planned: provision.Plan,
    done: Callable[[provision.Step], None] | None = None,
) -> provision.Provisioned:
    """Makes `steps`, which add the plan's fields to our field group, and keeps the plan as the accepted one.

    Connections connection from now on map by it; `connection` is as it was.
    """
    made = provision.apply(connection.platform, planned, done)
    remembered.keep_plan(connection.storage, connection.settings.name, plan)
    return made


def steps(connection: Connection, plan: SchemaPlan) -> provision.Plan:
    """What provisioning does for the plan's fields, and for all else that the connection wants. Reads only.

    Raises PlanError for a plan that the schema has no room for, Conflict for a field that has another type there.
    """
    check(connection, plan)
    return provision.plan(connection.platform, connection.wanted_with(plan))


def check(connection: Connection, plan: SchemaPlan) -> None:
    """Raises PlanError for fields that the schema has no room for, or whose mapping would be too long."""
    schema = _schema(connection)
    there = _grown(schema, connection.tenant)
    new = schema_fields(plan).keys() - there.keys()
    columns = sum(1 for _ in schema.leaves()) if schema is not None else 0
    if columns + len(new) > ROW_FIELDS:
        raise PlanError(
            f"The plan adds {len(new):,} fields to a schema of {columns:,}; a row may have {ROW_FIELDS:,}. "
            "Set include: false for some of them."
        )
    for row in mappings.mappings(plan, connection.tenant):
        if len(row["source"]) > mappings.LONGEST:
            raise PlanError(
                f"The property of {row['destination']} has a name too long for an expression. Set include: false for it."
            )


def covered(connection: Connection) -> frozenset[str]:
    """Properties that the connection's own mapping set reads, or the pipeline itself."""
    names = set(DERIVED_FROM)
    for path in compile_mapping(own_mapping_set(connection.settings, connection.tenant)).sources:
        if len(path) > 1 and path[1].name is not None:
            if path[0].name == "properties":
                names.add(path[1].name)
            elif path[0].name == "data":  # as Adobe's connector names them: without the $
                names |= {path[1].name, f"${path[1].name}"}
    return frozenset(names)


def _lexicon(connection: Connection) -> tuple[Mapping[str, Declared], str]:
    try:
        found = lexicon.declared(connection.mixpanel.lexicon())
    except MixpanelError as error:
        return {}, f"not read: {error}"
    return found, f"{len(found)} properties declared"


def _schema(connection: Connection) -> Schema | None:
    """The dataset's schema, None where there is no dataset yet."""
    try:
        return connection.schema
    except DatasetNotFound:
        return None


def _grown(schema: Schema | None, tenant: str) -> Mapping[str, Field]:
    home = schema.field(f"_{tenant}.mixpanel.{HOME}") if schema is not None else None
    return home.by_name if home is not None else {}


def _labels(connection: Connection, schema: Schema | None) -> dict[str, tuple[str, ...]]:
    """Data usage labels of grown fields on the Platform, by field. They are set on the schema or on one of its field groups."""
    if schema is None:
        return {}
    home = f"/_{connection.tenant}/mixpanel/{HOME}/"
    found: dict[str, tuple[str, ...]] = {}
    for one in registry.descriptors(connection.platform, schema.id, *schema.extends):
        place = str(one.get("xdm:sourceProperty"))
        if one.get("@type") == _LABEL and place.startswith(home):
            name = place.removeprefix(home)
            labels = (str(label) for label in one.get("xdm:labels") or ())
            found[name] = tuple(dict.fromkeys((*found.get(name, ()), *labels)))
    return found
