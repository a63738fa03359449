"""Provisioning: what the sandbox needs to take the events, as a plan, and then made.

The tenant's field group, the ExperienceEvent schema, namespaces, descriptors, the dataset with diagnostics, and on
request the Profile tags. A plan only ever adds: nothing is removed, renamed, retyped or narrowed, and what
contradicts is an error before anything was changed. What can be refused is made first, what can never be undone after
it. Planning again after applying gives a plan without changes.

What does not belong here: the wanted shapes (`xdm.standard`), fields against fields (`fields`), the calls (`registry`,
`catalog`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal

from mixpanel_aep_assets.aep import catalog, fields, registry
from mixpanel_aep_assets.aep.http import PlatformClient
from mixpanel_aep_assets.aep.platform_errors import BadRequest, Conflict
from mixpanel_aep_assets.aep.references import References
from mixpanel_aep_assets.xdm import standard

What = Literal["namespace", "field group", "schema", "descriptor", "dataset"]
Action = Literal["keep", "create", "extend", "enable"]

FIELD_GROUP_ID = "{FIELD_GROUP_ID}"
SCHEMA_ID = "{SCHEMA_ID}"
"""Stand in the plan's bodies for ids that only exist once an earlier step is done."""

CONTENT_TYPE = "application/vnd.adobe.xed+json;version=1"
ENABLED = ["enabled:true"]
PROFILE_TAGS = ("unifiedProfile", "unifiedIdentity")

_OTHER_TITLE = "Choose another title: "
_OPTIONS = {
    "schemas": "--schema-title or MIXPANEL_AEP_SCHEMA_TITLE",
    "fieldgroups": "--field-group-title or MIXPANEL_AEP_FIELD_GROUP_TITLE",
}
_OTHER_NAME: Mapping[str, str] = {
    "schema": f"A title may be taken since the plan was made: set another with {_OPTIONS['schemas']}. ",
    "field group": f"A title may be taken since the plan was made: set another with {_OPTIONS['fieldgroups']}. ",
    "dataset": "Set another name with AEP_DATASET_NAME if the name is not allowed. ",
}

Titles = Mapping[str, list[registry.Resource]]
"""The tenant's resources by kind, each with its title."""

SIGNS: Mapping[Action, str] = {"keep": " ", "create": "+", "extend": "~", "enable": "!"}


@dataclass(frozen=True)
class Wanted:
    """What a connection wants. Titles must be unique in the organisation's tenant; empty ones are the standard's.

    `grown`: fields as JSON Schema by name, to stand below `_{TENANT_ID}.mixpanel.custom` (`growth.schema_plan`).
    """

    dataset_name: str = "Mixpanel events"
    schema_title: str = ""
    field_group_title: str = ""
    profile: bool = False
    grown: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)


@dataclass(frozen=True)
class Step:
    """One thing and what is done about it. `body` is the request's; ids of earlier steps stand as placeholders."""

    what: What
    action: Action
    name: str
    detail: str = ""
    body: Any = None
    id: str | None = None

    @property
    def changes(self) -> bool:
        return self.action != "keep"

    def line(self) -> str:
        return f"{SIGNS[self.action]} {self.action:7} {self.what:11} {self.name}" + (
            f"  ({self.detail})" if self.detail else ""
        )


@dataclass(frozen=True)
class Plan:
    """All steps, in the order in which they must be done."""

    sandbox: str
    tenant: str
    steps: tuple[Step, ...]

    @property
    def changes(self) -> tuple[Step, ...]:
        return tuple(step for step in self.steps if step.changes)

    def lines(self) -> list[str]:
        """For a person: one line a step, then the sum."""
        count = len(self.changes)
        total = f"{count} change{'' if count == 1 else 's'}." if count else "Nothing to change."
        return [f"Sandbox {self.sandbox}, tenant {self.tenant}", *(step.line() for step in self.steps), total]

    def as_json(self) -> dict[str, Any]:
        """For a script: the same with the request bodies."""
        return {"sandbox": self.sandbox, "tenant": self.tenant, "steps": [asdict(step) for step in self.steps]}


@dataclass(frozen=True)
class Provisioned:
    tenant: str
    field_group_id: str
    schema_id: str
    dataset_id: str


def plan(client: PlatformClient, wanted: Wanted = Wanted()) -> Plan:
    """Compares what is wanted with what there is. Reads only.

    Raises Conflict where what is there contradicts, PermissionMissing where the credential may not look.
    """
    tenant = registry.tenant_id(client)
    references = registry.references(client)
    titles = {kind: registry.resources(client, kind) for kind in registry.KINDS}
    body = _with_grown(standard.field_group(tenant, wanted.field_group_title), tenant, wanted.grown)
    group = _field_group(client, references, tenant, body, titles)
    schema, *enable = _schema(client, references, wanted, body, group.id or FIELD_GROUP_ID, titles)
    steps = [
        group,
        schema,
        *_namespaces(client),
        *_descriptors(client, schema.id),
        *enable,
        *_dataset(client, wanted, schema.id, titles),
    ]
    return Plan(client.platform.sandbox, tenant, tuple(steps))


def apply(client: PlatformClient, planned: Plan, done: Callable[[Step], None] | None = None) -> Provisioned:
    """Makes the plan's changes, in order; `done` is called after each step. After a failure, plan and apply anew."""
    ids: dict[str, str] = {}
    dataset_id = ""
    for step in planned.steps:
        made = _applied(client, replace(step, body=_filled(step.body, ids), id=_filled(step.id, ids)))
        if step.what == "field group":
            ids[FIELD_GROUP_ID] = made
        elif step.what == "schema":
            ids[SCHEMA_ID] = made
        elif step.what == "dataset":
            dataset_id = made
        if done is not None:
            done(step)
    return Provisioned(planned.tenant, ids[FIELD_GROUP_ID], ids[SCHEMA_ID], dataset_id)


def _applied(client: PlatformClient, step: Step) -> str:
    """Does one step; returns the id of the thing."""
    try:
        match step.what, step.action:
            case _, "keep":
                pass
            case "namespace", _:
                registry.create_namespace(client, step.body)
            case "field group", "create":
                return str(registry.create(client, "fieldgroups", step.body)["$id"])
            case "field group", _:
                registry.patch(client, "fieldgroups", step.id or "", step.body)
            case "schema", "create":
                return str(registry.create(client, "schemas", step.body)["$id"])
            case "schema", _:
                registry.patch(client, "schemas", step.id or "", step.body)
            case "descriptor", _:
                registry.create_descriptor(client, step.body)
            case "dataset", "create":
                return catalog.create_dataset(client, step.body)
            case _:
                catalog.patch_dataset(client, step.id or "", step.body)
    except BadRequest as error:
        raise type(error)(
            f"The {step.what} {step.name!r} was not made: {error.what}",
            where=error.where,
            fix=_OTHER_NAME.get(step.what, "") + "Steps before this one are done; the command may be run again.",
            status=error.status,
            code=error.code,
            request_id=error.request_id,
        ) from error
    return step.id or ""


def _namespaces(client: PlatformClient) -> Iterator[Step]:
    there = registry.namespaces(client)
    spelled = {code.casefold(): code for code in there}
    for wanted in standard.namespaces():
        body = {
            "name": wanted.name,
            "code": wanted.code,
            "idType": wanted.id_type,
            **({"description": wanted.description} if wanted.description else {}),
        }
        existing = there.get(wanted.code)
        if existing is None:
            other = spelled.get(wanted.code.casefold())
            if other is not None:
                raise Conflict(
                    f"The identity namespace {other!r} exists, ours is {wanted.code!r}: codes that differ in case alone are "
                    "mistaken for each other, and neither could ever be deleted",
                    fix="Keep that namespace and write it in a mapping of your own (MIXPANEL_AEP_MAPPING), into a dataset of "
                    "your own (AEP_DATASET_ID); or provision another sandbox.",
                )
            yield Step("namespace", "create", wanted.code, f"{wanted.id_type}, can never be deleted", body)
            continue
        if str(existing.get("idType", "")).upper() != wanted.id_type.upper():
            raise Conflict(
                f"The identity namespace {wanted.code!r} exists with type {existing.get('idType')!r}, not "
                f"{wanted.id_type!r}",
                fix="A namespace's type cannot be changed: use a mapping of your own with another namespace code.",
            )
        yield Step("namespace", "keep", wanted.code, id=str(existing.get("id") or ""))


def _field_group(
    client: PlatformClient, references: References, tenant: str, body: Mapping[str, Any], titles: Titles
) -> Step:
    title = str(body["title"])
    wanted = body["definitions"]["customFields"]
    existing = _one(titles, "fieldgroups", title)
    if existing is None:
        count = len(fields.leaf_names("", wanted))
        return Step("field group", "create", title, f"{count} fields under _{tenant}", body)
    group_id = str(existing["$id"])
    document = registry.resource(client, "fieldgroups", group_id)
    if f"_{tenant}" not in references.members(references.places(document)):
        raise Conflict(
            f"The field group {title!r} exists without the root _{tenant}, so it is not ours to extend",
            fix=f"{_OTHER_TITLE}{_OPTIONS['fieldgroups']}.",
        )
    missing = fields.missing(references, document, wanted, f"the field group {title!r}")
    if not missing:
        return Step("field group", "keep", title, id=group_id)
    names = [name for one in missing for name in one.leaves()]
    count_told = f"{len(names)} new field{'' if len(names) == 1 else 's'}"
    detail = f"{count_told}: {', '.join(names[:5])}{', …' if len(names) > 5 else ''}"
    return Step("field group", "extend", title, detail, fields.operations(document, missing), group_id)


def _with_grown(body: dict[str, Any], tenant: str, grown: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """The field group with the grown fields in an object of their own."""
    if grown:
        properties = {"type": "object", "title": "Mixpanel properties", "properties": dict(grown)}
        body["definitions"]["customFields"]["properties"][f"_{tenant}"]["properties"]["mixpanel"]["properties"][
            standard.HOME
        ] = properties
    return body


def _schema(
    client: PlatformClient,
    references: References,
    wanted: Wanted,
    group: Mapping[str, Any],
    group_id: str,
    titles: Titles,
) -> list[Step]:
    """The schema's own step first, then the one that enables it for Profile."""
    body = standard.schema_request(wanted.schema_title, (group_id,))
    title = str(body["title"])
    if _normal(title) == _normal(str(group["title"])):
        raise Conflict(
            f"The schema and the field group would both be titled {title!r}",
            fix=f"Titles are unique across all resources of the organisation. {_OTHER_TITLE}{_OPTIONS['fieldgroups']}.",
        )
    parts = [part["$ref"] for part in body["allOf"]]
    existing = _one(titles, "schemas", title)
    union = {"op": "add", "path": "/meta:immutableTags", "value": ["union"]}
    enable = Step("schema", "enable", title, "for Profile; cannot be undone", [union], SCHEMA_ID)
    if existing is None:
        make = Step("schema", "create", title, f"ExperienceEvent with {len(parts) - 1} field groups", body)
        return [make, enable] if wanted.profile else [make]
    schema_id = str(existing["$id"])
    document = registry.resource(client, "schemas", schema_id)
    class_id = document.get("meta:class") or next(iter(_references(document)), "")
    if class_id != standard.CLASS_ID:
        raise Conflict(
            f"The schema {title!r} exists and is of the class {class_id}, not XDM ExperienceEvent",
            fix=f"{_OTHER_TITLE}{_OPTIONS['schemas']}.",
        )
    # Fields of its other field groups must not contradict ours.
    everything = registry.schema_document(client, schema_id)
    fields.missing(references, everything, group["definitions"]["customFields"], f"the schema {title!r}")
    there = set(_references(document)) | set(document.get("meta:extends") or ())
    missing = [uri for uri in parts if uri not in there]
    steps = [Step("schema", "keep", title, id=schema_id)]
    if missing:
        operations: list[Mapping[str, Any]] = []
        for uri in missing:
            operations.append({"op": "add", "path": "/meta:extends/-", "value": uri})
            operations.append({"op": "add", "path": "/allOf/-", "value": {"$ref": uri}})
        steps = [Step("schema", "extend", title, f"{len(missing)} more field groups", operations, schema_id)]
    if wanted.profile and "union" not in (document.get("meta:immutableTags") or ()):
        steps.append(replace(enable, id=schema_id))
    return steps


def _descriptors(client: PlatformClient, schema_id: str | None) -> Iterator[Step]:
    there = registry.descriptors(client, schema_id) if schema_id else []
    marks = ("@type", "xdm:sourceProperty", "xdm:namespace")
    for wanted in standard.descriptors(schema_id or SCHEMA_ID):
        name = f"{wanted.get('xdm:namespace', wanted['@type'])} at {wanted['xdm:sourceProperty']}"
        same = [d for d in there if all(d.get(mark) == wanted.get(mark) for mark in marks)]
        if not same:
            yield Step("descriptor", "create", name, body=wanted)
            continue
        primary = bool(wanted.get("xdm:isPrimary"))
        if bool(same[0].get("xdm:isPrimary")) != primary:
            raise Conflict(
                f"The descriptor {name} exists with xdm:isPrimary={not primary}",
                fix="Whether an identity is primary is yours to change, in the schema editor; or take another schema.",
            )
        yield Step("descriptor", "keep", name, id=str(same[0].get("@id") or ""))


def _dataset(client: PlatformClient, wanted: Wanted, schema_id: str | None, titles: Titles) -> list[Step]:
    name = wanted.dataset_name
    alike = catalog.datasets_like(client, name)
    found = {key: body for key, body in alike.items() if body.get("name") == name}
    if not found and alike:
        other, body = next(iter(alike.items()))
        raise Conflict(
            f"The dataset {body.get('name')!r} ({other}) exists; its name differs from {name!r} in case or blanks alone",
            fix="Set AEP_DATASET_NAME to exactly that name if it is meant, or to a name that cannot be mistaken for it.",
        )
    if not found:
        body = {
            "name": name,
            "description": "Raw events of a Mixpanel project, brought by mixpanel-aep",
            "schemaRef": {"id": schema_id or SCHEMA_ID, "contentType": CONTENT_TYPE},
            "enableErrorDiagnostics": True,
            "tags": dict.fromkeys(PROFILE_TAGS, ENABLED) if wanted.profile else {},
        }
        detail = "error diagnostics on" + (", enabled for Profile" if wanted.profile else "")
        return [Step("dataset", "create", name, detail, body)]
    if len(found) > 1:
        raise Conflict(
            f"There are {len(found)} datasets named {name!r}: {', '.join(sorted(found))}",
            fix="Set AEP_DATASET_ID to the one that is meant, or AEP_DATASET_NAME to a new name.",
        )
    dataset_id, there = next(iter(found.items()))
    reference = (there.get("schemaRef") or {}).get("id")
    if schema_id is None or reference != schema_id:
        own = next((str(one["title"]) for one in titles["schemas"] if one.get("$id") == reference), None)
        extend = f"to add what is missing to its schema, set {_OPTIONS['schemas']} to {own!r}; or " if own else ""
        raise Conflict(
            f"The dataset {name!r} ({dataset_id}) exists with the schema {reference}, not with ours",
            fix=f"Set AEP_DATASET_NAME to a new name; or {extend}keep this dataset, skip provisioning, set AEP_DATASET_ID "
            "and give a mapping of your own (MIXPANEL_AEP_MAPPING).",
        )
    operations: list[Mapping[str, Any]] = []
    details = []
    if not there.get("enableErrorDiagnostics"):
        operations.append({"op": "add", "path": "/enableErrorDiagnostics", "value": True})
        details.append("error diagnostics on")
    tags = there.get("tags") or {}
    missing = [tag for tag in PROFILE_TAGS if wanted.profile and "enabled:true" not in (tags.get(tag) or ())]
    if missing:
        if not isinstance(there.get("tags"), Mapping):
            operations.append({"op": "add", "path": "/tags", "value": {}})
        operations += [{"op": "add", "path": f"/tags/{tag}", "value": ENABLED} for tag in missing]
        details.append("enabled for Profile")
    if not operations:
        return [Step("dataset", "keep", name, id=dataset_id)]
    return [Step("dataset", "extend", name, ", ".join(details), operations, dataset_id)]


def _one(titles: Titles, kind: str, title: str) -> registry.Resource | None:
    """The resource of that title and kind. Raises Conflict when another has the title, also in other case."""
    for other, resources in titles.items():
        for resource in resources:
            there = str(resource.get("title") or "")
            if _normal(there) != _normal(title):
                continue
            if (other, there) == (kind, title):
                return resource
            spelled = "" if there == title else f" as {there!r} (case and blanks do not count)"
            raise Conflict(
                f"The title {title!r} is taken{spelled} by one of the tenant's {other} ({resource.get('$id')})",
                fix=f"Titles are unique across all resources of the organisation. {_OTHER_TITLE}{_OPTIONS[kind]}"
                + (f"; exactly {there!r} extends that one." if other == kind else "."),
            )
    return None


def _normal(title: str) -> str:
    return " ".join(title.split()).casefold()


def _references(document: registry.Resource) -> list[str]:
    return [str(part["$ref"]) for part in document.get("allOf") or () if isinstance(part, Mapping) and "$ref" in part]


def _filled(value: Any, ids: Mapping[str, str]) -> Any:
    """The value with the placeholders replaced by the ids known now."""
    if isinstance(value, str):
        return ids.get(value, value)
    if isinstance(value, Mapping):
        return {key: _filled(inner, ids) for key, inner in value.items()}
    if isinstance(value, list):
        return [_filled(inner, ids) for inner in value]
    return value
