"""The plan of tenant fields for properties that no mapping covers: proposed, reviewed by a person, kept once accepted.

A plan is a YAML file with one entry a property. A person may change `include`, `type`, `on_conflict`, `field` and
`description`; the next proposal keeps these, so that names and types stay whatever comes later. What follows from a plan
on the Platform is `schema_fields`, what follows for the mapping is in `mappings`.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal

import orjson
import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from mixpanel_aep_assets.errors import ExplainedError
from mixpanel_aep_assets.growth import field_names, field_types, labels
from mixpanel_aep_assets.growth.field_types import Type
from mixpanel_aep_assets.growth.properties import NO_VALUE, Property
from mixpanel_aep_assets.mixpanel.lexicon import Declared
from mixpanel_aep_assets.xdm.schema import Field as SchemaField

ROW_FIELDS: Final = 10_000
"""Fields that a row may have in batch ingestion (xdm.md#custom-fields)."""

Conflict = Literal["widen", "quarantine"]

BOOKKEEPING: Final = frozenset(
    {
        "token",
        "$mp_api_endpoint",
        "$import",
        "$mp_event_size",
        "$bucket",
        "$ignore",
        "$is_reshuffled",
        "$mp_is_forwarded",
    }
)
"""What Mixpanel writes for itself and no analysis wants (xdm.md#standard-mapping); `$warehouse_*` too."""

_LOADER: Final = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
"""The one in C where PyYAML has it: a plan may have thousands of entries."""


class _Dumper(yaml.SafeDumper):
    """Writes texts with line breaks of any kind in double quotes: the other styles of PyYAML lose some of them."""


_Dumper.add_representer(
    str,
    lambda dumper, text: dumper.represent_scalar("tag:yaml.org,2002:str", text, None if text.isprintable() else '"'),
)

_HEADER: Final = """\
# Tenant fields for Mixpanel properties that the mapping does not cover yet. Review, then:
#   mixpanel-aep provision --plan FILE --apply
# You may change: include, type, on_conflict, field, description. Once created, a field keeps its name and type.
# on_conflict: widen       what does not fit the type goes to text_field, where there is one; else it is a mapping error
#              quarantine  an event with a value that does not fit the type is quarantined
"""


class PlanError(ExplainedError):
    """A plan file cannot be read or used. The text names the place and what to do."""


class PlannedField(BaseModel):
    """One property and the field it goes to. `text_field` takes what does not fit a typed field under `widen`."""

    model_config = ConfigDict(frozen=True, extra="forbid", validate_by_name=True, validate_by_alias=True)

    name: str = Field(min_length=1, alias="property")
    field: str = Field(max_length=field_names.LONGEST, pattern=rf"^{field_names.VALID.pattern}$")
    type: Type
    include: bool = True
    on_conflict: Conflict = "widen"
    text_field: str | None = Field(None, max_length=field_names.LONGEST, pattern=rf"^{field_names.VALID.pattern}$")
    reason: str = ""
    description: str = ""
    labels: tuple[str, ...] = ()
    examples: tuple[str, ...] = ()

    @property
    def text(self) -> str | None:
        """The text column that this field really has."""
        return self.text_field if self.type != "string" and self.on_conflict == "widen" else None


class SchemaPlan(BaseModel):
    """A whole plan. `days`, `events` and `lexicon` tell what it was made from."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    version: Literal[1] = 1
    days: str = ""
    events: int = 0
    lexicon: str = ""
    fields: tuple[PlannedField, ...] = ()

    @model_validator(mode="after")
    def _unique(self) -> SchemaPlan:
        properties: set[str] = set()
        owners: dict[str, str] = {}
        for one in self.fields:
            if one.name in properties:
                raise ValueError(f"the property {one.name!r} is listed twice")
            properties.add(one.name)
            for name in filter(None, (one.field, one.text_field)):
                if (other := owners.get(name.lower())) is not None:
                    raise ValueError(
                        f"the field {name!r} of {one.name!r} is that of {other!r} too (case does not count)"
                    )
                owners[name.lower()] = one.name
        return self

    @property
    def included(self) -> tuple[PlannedField, ...]:
        return tuple(one for one in self.fields if one.include)

    def of(self, name: str) -> PlannedField | None:
        """The entry of a property."""
        return next((one for one in self.fields if one.name == name), None)

    def to_yaml(self) -> str:
        """The file for a person; `read_plan` reads it back to an equal plan."""
        document = self.model_dump(mode="json", by_alias=True)
        document["fields"] = [
            {key: value for key, value in one.items() if value not in ("", [], None)} for one in document["fields"]
        ]
        return _HEADER + yaml.dump(document, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=120)


@dataclass(frozen=True)
class Ground:
    """What a proposal stands on beside the properties seen.

    `covered`: properties that a mapping reads already. `existing`: the fields below `HOME` that the schema has, by name.
    `previous`: the accepted plan or the reviewed file. `labels`: field -> labels on the Platform. `room`: columns that the
    schema may still get.
    """

    covered: Collection[str] = ()
    existing: Mapping[str, SchemaField] = field(default_factory=dict)
    previous: SchemaPlan | None = None
    declared: Mapping[str, Declared] = field(default_factory=dict)
    labels: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    room: int = ROW_FIELDS


def read_plan(text: str, name: str = "the plan") -> SchemaPlan:
    """A plan from its YAML (or JSON) text. Raises PlanError that names `name`, the entry and the wrong value."""
    try:
        document = orjson.loads(text) if text.startswith("{") else yaml.load(text, Loader=_LOADER)  # noqa: S506 - a safe loader
    except (yaml.YAMLError, orjson.JSONDecodeError, RecursionError) as error:
        raise PlanError(f"{name} is not YAML: {' '.join(str(error).split())}") from error
    if not isinstance(document, dict):
        raise PlanError(f"{name} is not a schema plan; `mixpanel-aep provision --from-data --plan FILE` writes one.")
    try:
        return SchemaPlan.model_validate(document)
    except ValidationError as error:
        entries = document.get("fields")
        told = [
            f"{_place(entries, one['loc'])}{one['msg'].removeprefix('Value error, ')}"
            for one in error.errors(include_url=False)
        ]
        raise PlanError(f"{name}: " + "; ".join(told)) from error


def _place(entries: Any, location: tuple[int | str, ...]) -> str:
    if len(location) > 1 and isinstance(location[1], int) and isinstance(entries, list):
        entry = entries[location[1]]
        named = entry.get("property") if isinstance(entry, dict) else None
        return f"entry {location[1] + 1} ({named!r}), {'.'.join(map(str, location[2:]))}: "
    return f"{'.'.join(map(str, location))}: " if location else ""


def propose(seen: Iterable[Property], ground: Ground) -> tuple[PlannedField, ...]:
    """An entry for each property that has values and no mapping, and for each one of the previous plan, by property.

    The same for the same properties in whatever order they come.
    """
    before = {one.name: one for one in ground.previous.fields} if ground.previous is not None else {}
    known = {one.name: one for one in seen if one.count}
    wanted = sorted((known.keys() - set(ground.covered) - {""}) | before.keys())
    held = _held(before, ground.existing)
    taken = {*held.values(), *ground.existing, *(one.text_field for one in before.values() if one.text_field)}
    named = held | field_names.field_names((name for name in wanted if name not in held), taken)
    used = {*taken, *named.values()}
    room = ground.room
    entries: list[PlannedField] = []
    # The most frequent first, so that these are in where there is no room for all.
    for name in sorted(wanted, key=lambda one: (-known[one].count if one in known else 0, one)):
        entry = _entry(name, named[name], known.get(name), before.get(name), ground, used)
        new = sum(column not in ground.existing for column in (entry.field, entry.text) if column)
        if entry.include and new > room:
            entry = entry.model_copy(
                update={"include": False, "reason": f"{entry.reason}; no room: a row has {ROW_FIELDS:,} fields"}
            )
        room -= new if entry.include else 0
        used |= {entry.text_field} if entry.text_field else set()
        entries.append(entry)
    return tuple(sorted(entries, key=lambda one: one.name))


def _held(before: Mapping[str, PlannedField], existing: Mapping[str, SchemaField]) -> dict[str, str]:
    """Names that are settled: those of the previous plan, and of fields whose title says whose they are."""
    chosen = {name: one.field for name, one in before.items()}
    lower = {name.lower() for name in chosen.values()}
    return {
        one.title: name
        for name, one in sorted(existing.items())
        if one.title and field_types.type_of(one) and name.lower() not in lower
    } | chosen


def _entry(
    name: str, column: str, seen: Property | None, before: PlannedField | None, ground: Ground, used: Collection[str]
) -> PlannedField:
    declared = ground.declared.get(name)
    if seen is None:
        assert before is not None
        return before.model_copy(update={"reason": "not seen in these days"})
    there = ground.existing.get(column)
    if there is not None and (kept := field_types.type_of(there)) is not None:
        decision = field_types.settled(seen, kept, "the field exists")
    elif before is not None and before.include:
        decision = field_types.settled(seen, before.type, "as reviewed")
    else:
        decision = field_types.decide(seen, declared)
    suspicion = labels.suspect(seen)
    against = list(_against(seen, declared, suspicion))
    include = before.include if before is not None else not against
    reason = decision.reason
    if against:
        reason += f"; {'included on review' if include else 'left out'}: {', '.join(against)}"
    text = before.text_field if before is not None else None
    if text is None and decision.misfits and decision.type != "string":
        made = sorted(other for other, one in ground.existing.items() if one.title == _text_title(name))
        text = made[0] if made else field_names.beside(column, used)
    if decision.misfits:
        reason += f"; {decision.misfits:,} of {seen.count:,} do not fit {decision.type}"
    there_labels = ground.labels.get(column, ())
    if there_labels:
        reason += f"; labelled {', '.join(there_labels)}"
    if suspicion is not None:
        reason += f"; {suspicion.label} proposed, as {suspicion.reason}"
    return PlannedField(
        name=name,
        field=column,
        type=decision.type,
        include=include,
        on_conflict=before.on_conflict if before is not None else "widen",
        text_field=text,
        reason=reason,
        description=(before.description if before is not None else "")
        or ((declared.description if declared else None) or ""),
        labels=(*there_labels, *((f"proposed: {suspicion.label}",) if suspicion else ())),
        examples=() if suspicion is not None else _examples(seen),
    )


def _against(seen: Property, declared: Declared | None, suspicion: labels.Suspicion | None) -> Iterable[str]:
    """What speaks for leaving a property out until a person decides."""
    if seen.name in BOOKKEEPING or seen.name.startswith("$warehouse_"):
        yield "Mixpanel's own bookkeeping"
    if declared is not None and declared.hidden:
        yield "hidden in Lexicon"
    if suspicion is not None:
        yield "personal data is opt-in"
    if seen.kinds.keys() & {"object", "objects"}:
        yield "objects would become JSON text, which _{TENANT_ID}.mixpanel.properties has already"


def _examples(seen: Property) -> tuple[str, ...]:
    """A few values of each kind, the most frequent kind first."""
    return tuple(text for kind in seen.kinds if kind not in NO_VALUE for text in list(seen.examples.get(kind, ()))[:2])


def _text_title(name: str) -> str:
    return f"{name} (as text)"


def schema_fields(plan: SchemaPlan) -> dict[str, dict[str, Any]]:
    """The included fields as a field group states them, by name. The title is the property's own name."""
    fields: dict[str, dict[str, Any]] = {}
    for one in plan.included:
        about = {"description": one.description} if one.description else {}
        fields[one.field] = {"title": one.name, **about, **field_types.json_type(one.type)}
        if one.text is not None:
            fields[one.text] = {"title": _text_title(one.name), **field_types.json_type("string")}
    return dict(sorted(fields.items()))
