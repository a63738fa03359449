"""The mapping of a connection's events into its dataset, as one value made of the settings, the dataset's schema, the tenant
and the accepted plan.

What belongs here: which mapping set runs, against which schema, under which fingerprint. What does not: asking the Platform
or the storage for what it is made of (`clients`), running it (`pipeline`).
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import re
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson

from mixpanel_aep_assets.connection.derived import DERIVED
from mixpanel_aep_assets.connection.settings import Settings
from mixpanel_aep_assets.dataprep.language.mapping_set import Mapping, MappingSet, load_mapping_set
from mixpanel_aep_assets.errors import SettingsError
from mixpanel_aep_assets.xdm import standard

if TYPE_CHECKING:  # the engine is imported where events are mapped or checked
    from mixpanel_aep_assets.dataprep.columnar.compiled_mapping import CompiledMapping
    from mixpanel_aep_assets.growth.schema_plan import SchemaPlan
    from mixpanel_aep_assets.xdm.conformance import Conformance
    from mixpanel_aep_assets.xdm.schema import Schema


@dataclass(frozen=True, eq=False)
class DatasetMapping:
    """The mapping to run. What takes time to make (`compiled`, `conformance`, `fingerprint`) is made when first used."""

    name: str
    """For a person: the file of the mapping set, and how many fields are grown."""
    schema: Schema
    tenant: str
    mapping_set: MappingSet
    """The user's set, or the standard one fitted to the schema, and the mappings that fill the plan's fields."""
    left_out: tuple[str, ...] = ()
    """Destinations of the standard mapping that the dataset's schema lacks; none of a user's mapping set is left out."""
    strict_destinations: frozenset[str] = frozenset()
    """Destinations whose mapping errors set an event aside: grown fields with the policy `quarantine`."""

    @property
    def keeps_properties(self) -> bool:
        """Whether a field of the schema takes all properties of an event as JSON text, mapped or not."""
        return any(mapping.source == "mixpanel.properties" for mapping in self.mapping_set.mappings)

    @cached_property
    def compiled(self) -> CompiledMapping:
        """The mapping set compiled against the schema, reading the attributes that `transform` derives."""
        from mixpanel_aep_assets.dataprep.columnar.compiled_mapping import compile_mapping

        return compile_mapping(self.mapping_set, self.schema, derived=DERIVED)

    @cached_property
    def conformance(self) -> Conformance:
        from mixpanel_aep_assets.xdm.conformance import Conformance

        return Conformance(self.schema)

    @cached_property
    def fingerprint(self) -> str:
        """Of the mapping set and the schema: XDM files made with another are made anew."""
        text = orjson.dumps(self.mapping_set.to_json(), option=orjson.OPT_SORT_KEYS) + self.schema.to_json()
        if self.strict_destinations:
            text += orjson.dumps(sorted(self.strict_destinations))
        return hashlib.sha256(text).hexdigest()[:32]

    def unmapped_destinations(self) -> list[str]:
        """Destinations of the mapping set that the dataset's schema lacks."""
        paths = (re.sub(r"\[[^]]*\]", "", mapping.destination) for mapping in self.mapping_set.mappings)
        return sorted({path for path in paths if self.schema.field(path) is None})


def dataset_mapping(settings: Settings, schema: Schema, tenant: str, plan: SchemaPlan | None) -> DatasetMapping:
    """The mapping that runs under these settings into a dataset of this schema, with the plan's grown fields.

    Raises SettingsError for a mapping set that cannot be read, and the errors of `dataprep` for what is wrong in it.
    """
    own = own_mapping_set(settings, tenant)
    left_out: tuple[str, ...] = ()
    if settings.mapping is None:
        from mixpanel_aep_assets.dataprep.advice.fitting import fitted
        from mixpanel_aep_assets.xdm.standard import HOME

        fit = fitted(own, schema, tenant, reserved=[f"_{tenant}.mixpanel.{HOME}"])
        own, left_out = fit.mapping_set, fit.left_out
    name = settings.mapping or "the standard mapping"
    if plan is None:
        return DatasetMapping(name, schema, tenant, own, left_out)
    from mixpanel_aep_assets.growth import mappings as growth

    grown = (Mapping.from_json(row) for row in growth.mappings(plan, tenant))
    return DatasetMapping(
        name=f"{name} and {len(plan.included)} grown fields" if plan.included else name,
        schema=schema,
        tenant=tenant,
        mapping_set=dataclasses.replace(own, mappings=(*own.mappings, *grown)),
        left_out=left_out,
        strict_destinations=growth.strict(plan, tenant),
    )


def own_mapping_set(settings: Settings, tenant: str) -> MappingSet:
    """The user's mapping set, else the standard one; `{TENANT_ID}` stands for the tenant id in both.

    `_id`, `timestamp` and `identityMap` are added where the user's set leaves them out.
    """
    if settings.mapping is None:
        return MappingSet.from_json(standard.standard_mapping(tenant))
    given = _given_mapping_set(settings.mapping, tenant)
    # Adobe's own tutorial sets neither `_id` nor `timestamp` nor identities, which every ExperienceEvent needs.
    roots = {re.split(r"[.\[]", str(row["destination"]), maxsplit=1)[0] for row in given["mappings"]}
    given["mappings"] += [
        {"sourceType": "ATTRIBUTE", "source": f"mixpanel.{name}", "destination": root}
        for root, name in (("_id", "id"), ("timestamp", "timestamp"), ("identityMap", "identityMap"))
        if root not in roots
    ]
    return MappingSet.from_json(given)


def _given_mapping_set(file: str, tenant: str) -> dict[str, Any]:
    """The user's mapping set in the newer JSON form."""
    try:
        loaded = load_mapping_set(Path(file))
    except OSError as error:
        raise SettingsError(f"MIXPANEL_AEP_MAPPING={file!r} cannot be read: {error.strerror}.") from None
    document: dict[str, Any] = json.loads(json.dumps(loaded.to_json()).replace(standard.TENANT, tenant))
    return document
