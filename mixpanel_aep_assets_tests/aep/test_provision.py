"""Provisioning: a plan that only adds, that is empty the second time, and that says what stands in its way."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from mixpanel_aep_assets.aep import Platform, PlatformClient, catalog, provision, registry
from mixpanel_aep_assets.aep.platform_errors import BadRequest, Conflict, DatasetNotFound, PermissionMissing
from mixpanel_aep_assets.aep.provision import Wanted
from mixpanel_aep_assets.xdm import standard
from mixpanel_aep_assets.xdm.composition import registry_schema


@pytest.fixture
def client(emulator: Any) -> Iterator[PlatformClient]:
    with open_client(emulator) as client:
        yield client


def open_client(emulator: Any, **changes: Any) -> PlatformClient:
    given = {
        "client_id": "demo-client", "client_secret": "demo-client-secret", "org_id": "0123456789ABCDEF01234567@AdobeOrg",
        "ims_url": emulator.url, "url": emulator.url, "backoff": 0.005,
    }  # fmt: skip
    return PlatformClient(Platform(**{**given, **changes}))


def actions(plan: provision.Plan) -> list[tuple[str, str]]:
    return [(step.what, step.action) for step in plan.changes]


def test_an_empty_sandbox_gets_everything_in_order(client: PlatformClient) -> None:
    plan = provision.plan(client)
    assert actions(plan) == [
        ("field group", "create"), ("schema", "create"), ("namespace", "create"), ("namespace", "create"),
        ("dataset", "create"),
    ]  # fmt: skip
    made = provision.apply(client, plan)
    assert catalog.dataset_id_of(client, "Mixpanel events") == made.dataset_id
    assert catalog.dataset(client, made.dataset_id)["enableErrorDiagnostics"] is True


def test_planning_changes_nothing(client: PlatformClient, emulator: Any) -> None:
    provision.plan(client)
    methods = {r["method"] for r in emulator.control.requests() if r["path"].startswith("/data/")}
    assert methods == {"GET"}


def test_the_second_time_there_is_nothing_to_do(client: PlatformClient, emulator: Any) -> None:
    made = provision.apply(client, provision.plan(client, Wanted(profile=True)))
    emulator.control.reset_counters()
    again = provision.plan(client, Wanted(profile=True))
    assert again.changes == ()
    assert again.lines()[-1] == "Nothing to change."
    assert provision.apply(client, again) == made
    methods = {r["method"] for r in emulator.control.requests() if r["path"].startswith("/data/")}
    assert methods == {"GET"}


def test_the_provisioned_schema_reads_as_a_schema_with_the_tenants_fields(client: PlatformClient) -> None:
    made = provision.apply(client, provision.plan(client))
    schema = registry_schema(registry.schema_document(client, made.schema_id))
    names = {child.name for child in schema.root.children}
    assert {"_id", "timestamp", "identityMap", f"_{made.tenant}"} <= names


def test_profile_is_enabled_later_on_what_is_there(client: PlatformClient) -> None:
    made = provision.apply(client, provision.plan(client))
    plan = provision.plan(client, Wanted(profile=True))
    assert actions(plan) == [("schema", "enable"), ("dataset", "extend")]
    assert any("cannot be undone" in line for line in plan.lines())
    provision.apply(client, plan)
    assert catalog.dataset(client, made.dataset_id)["tags"]["unifiedProfile"] == ["enabled:true"]


def test_without_profile_wanted_an_enabled_one_stays_enabled(client: PlatformClient) -> None:
    provision.apply(client, provision.plan(client, Wanted(profile=True)))
    assert provision.plan(client).changes == ()


def test_a_field_group_that_lacks_fields_gets_only_those(client: PlatformClient) -> None:
    tenant = registry.tenant_id(client)
    body = standard.field_group(tenant)
    fields = body["definitions"]["customFields"]["properties"][f"_{tenant}"]["properties"]["mixpanel"]["properties"]
    fields = {name: fields[name] for name in list(fields)[:5]}
    fields["ofSomebodyElse"] = {"type": "string", "title": "keep me"}
    holder = body["definitions"]["customFields"]["properties"][f"_{tenant}"]["properties"]
    holder["mixpanel"] = {**holder["mixpanel"], "properties": fields}
    registry.create(client, "fieldgroups", body)
    plan = provision.plan(client)
    assert ("field group", "extend") in actions(plan)
    made = provision.apply(client, plan)
    document = json.dumps(registry.resource(client, "fieldgroups", made.field_group_id))
    assert "ofSomebodyElse" in document
    assert "koClickId" in document
    assert provision.plan(client).changes == ()


def test_grown_fields_are_made_with_the_group_and_later_ones_are_added_to_it(client: PlatformClient) -> None:
    plan = {"title": "Plan Type", "type": "string"}
    made = provision.apply(client, provision.plan(client, Wanted(grown={"planType": plan})))
    assert provision.plan(client, Wanted(grown={"planType": plan})).changes == ()
    more = Wanted(grown={"planType": plan, "seats": {"title": "seats", "type": "number"}})
    (step,) = provision.plan(client, more).changes
    assert (step.what, step.action, step.detail) == ("field group", "extend", "1 new field: seats")
    provision.apply(client, provision.plan(client, more))
    schema = registry_schema(registry.schema_document(client, made.schema_id))
    home = schema.field("_demotenant.mixpanel.custom")
    assert home is not None
    assert {child.name: (child.kind, child.title) for child in home.children} == {
        "planType": ("string", "Plan Type"),
        "seats": ("double", "seats"),
    }
    assert provision.plan(client).changes == ()


def test_a_schema_that_lacks_field_groups_gets_only_those(client: PlatformClient) -> None:
    body = standard.schema_request()
    registry.create(client, "schemas", {**body, "allOf": body["allOf"][:2]})
    plan = provision.plan(client)
    assert ("schema", "extend") in actions(plan)
    provision.apply(client, plan)
    assert provision.plan(client).changes == ()


def test_a_field_of_another_type_is_a_conflict_before_anything_is_changed(
    client: PlatformClient, emulator: Any
) -> None:
    tenant = registry.tenant_id(client)
    body = standard.field_group(tenant)
    fields = body["definitions"]["customFields"]["properties"][f"_{tenant}"]["properties"]["mixpanel"]["properties"]
    fields["insertId"] = {"type": "integer", "title": "x"}
    registry.create(client, "fieldgroups", body)
    with pytest.raises(Conflict, match=r"mixpanel\.insertId .* integer, wanted is string"):
        provision.plan(client)


def test_a_title_that_another_kind_of_resource_has_is_a_conflict(client: PlatformClient) -> None:
    tenant = registry.tenant_id(client)
    registry.create(client, "fieldgroups", standard.field_group(tenant, "Mixpanel events"))
    with pytest.raises(Conflict, match="Choose another"):
        provision.plan(client)


def test_a_dataset_of_that_name_with_another_schema_is_a_conflict(client: PlatformClient) -> None:
    provision.apply(client, provision.plan(client))
    with pytest.raises(Conflict, match="AEP_DATASET_NAME"):
        provision.plan(client, Wanted(schema_title="Another schema", field_group_title="Another group"))


def test_an_enabled_dataset_without_diagnostics_gets_them(client: PlatformClient) -> None:
    made = provision.apply(client, provision.plan(client))
    catalog.patch_dataset(client, made.dataset_id, [{"op": "add", "path": "/enableErrorDiagnostics", "value": False}])
    assert actions(provision.plan(client)) == [("dataset", "extend")]


def test_a_credential_without_permission_is_told_what_it_needs(emulator: Any) -> None:
    emulator.control.adobe_client(entitled=False)
    with open_client(emulator) as client, pytest.raises(PermissionMissing, match="product profile"):
        provision.plan(client)


def test_an_unknown_sandbox_is_told(emulator: Any) -> None:
    with open_client(emulator, sandbox="nowhere") as client, pytest.raises(PermissionMissing, match="AEP_SANDBOX"):
        provision.plan(client)


@pytest.mark.parametrize("path", ["*/fieldgroups", "*/schemas", "*/dataSets", "*/identities"])
def test_a_lost_answer_makes_nothing_twice(client: PlatformClient, emulator: Any, path: str) -> None:
    plan = provision.plan(client)
    emulator.control.fault("lost_response", match={"method": "POST", "path": path}, count=1)
    provision.apply(client, plan)
    assert provision.plan(client).changes == ()


def test_a_failure_in_the_middle_is_mended_by_the_next_run(client: PlatformClient, emulator: Any) -> None:
    emulator.control.fault("status", match={"method": "POST", "path": "*/schemas"}, count=1, status=400)
    with pytest.raises(BadRequest, match="may be run again"):
        provision.apply(client, provision.plan(client))
    plan = provision.plan(client)
    assert ("schema", "create") in actions(plan)
    assert ("field group", "create") not in actions(plan)
    provision.apply(client, plan)
    assert provision.plan(client).changes == ()


def test_the_plan_as_json_holds_the_request_bodies(client: PlatformClient) -> None:
    told = json.loads(json.dumps(provision.plan(client).as_json()))
    assert told["tenant"] == "demotenant"
    assert [step["what"] for step in told["steps"]][-1] == "dataset"
    assert told["steps"][-1]["body"]["schemaRef"]["id"] == "{SCHEMA_ID}"


def test_a_dataset_name_that_nobody_has_is_told(client: PlatformClient) -> None:
    with pytest.raises(DatasetNotFound, match="provision --apply"):
        catalog.dataset_id_of(client, "No such")


def mixpanel_fields(body: dict[str, Any]) -> dict[str, Any]:
    """The tenant's object of a standard field group, with `mixpanel` in it."""
    fields: dict[str, Any] = body["definitions"]["customFields"]["properties"]["_demotenant"]["properties"]
    return fields


def data_type(client: PlatformClient, title: str, fields: dict[str, Any]) -> str:
    """A data type of the tenant as the schema editor makes one."""
    body = {
        "title": title,
        "type": "object",
        "definitions": {"customFields": {"type": "object", "properties": fields}},
        "allOf": [{"$ref": "#/definitions/customFields"}],
    }
    return str(registry.create(client, "datatypes", body)["$id"])


def leaves(client: PlatformClient, made: provision.Provisioned) -> set[str]:
    schema = registry_schema(registry.schema_document(client, made.schema_id))
    return {path for path, _ in schema.leaves() if path.startswith("_demotenant")}


@pytest.mark.parametrize("form", ["resolved", "referred"])
def test_fields_behind_data_types_are_there(client: PlatformClient, emulator: Any, form: str) -> None:
    emulator.control.settings(data_types=form)
    wanted = leaves(client, provision.apply(client, provision.plan(client)))
    with_types = Wanted("Other", "Other events", "Other details")
    body = standard.field_group("demotenant", "Other details")
    fields = mixpanel_fields(body)
    every = fields["mixpanel"]["properties"]
    half = dict(list(every.items())[:20])
    inner = data_type(client, "Half of them", half)
    outer = {
        "title": "All of them",
        "type": "object",
        "properties": {name: field for name, field in every.items() if name not in half},
        "allOf": [{"$ref": inner}],
    }
    fields["mixpanel"] = {"$ref": registry.create(client, "datatypes", outer)["$id"]}
    registry.create(client, "fieldgroups", body)
    plan = provision.plan(client, with_types)
    assert actions(plan) == [("schema", "create"), ("dataset", "create")]
    assert leaves(client, provision.apply(client, plan)) == wanted
    assert provision.plan(client, with_types).changes == ()


def test_what_a_data_type_lacks_is_added_beside_it_and_the_data_type_stays(client: PlatformClient) -> None:
    body = standard.field_group("demotenant")
    fields = mixpanel_fields(body)
    some = dict(list(fields["mixpanel"]["properties"].items())[:40])
    some["ofSomebodyElse"] = {"type": "string"}
    kind = data_type(client, "Some of them", some)
    fields["mixpanel"] = {"$ref": kind}
    registry.create(client, "fieldgroups", body)
    before = registry.resource(client, "datatypes", kind)
    plan = provision.plan(client)
    (step,) = [step for step in plan.changes if step.what == "field group"]
    assert step.detail.startswith("4 new fields: ")
    made = provision.apply(client, plan)
    assert {"_demotenant.mixpanel.ofSomebodyElse", "_demotenant.mixpanel.koClickId"} <= leaves(client, made)
    assert registry.resource(client, "datatypes", kind) == before
    assert provision.plan(client).changes == ()
    grown = Wanted(grown={"planType": {"type": "string"}})
    (step,) = provision.plan(client, grown).changes
    assert step.detail == "1 new field: planType"
    provision.apply(client, provision.plan(client, grown))
    assert "_demotenant.mixpanel.custom.planType" in leaves(client, made)
    assert provision.plan(client, grown).changes == ()


def test_a_field_group_that_extends_another_has_its_fields_too(client: PlatformClient) -> None:
    body = standard.field_group("demotenant", "Base")
    rest = mixpanel_fields(body)["mixpanel"]["properties"]
    first = {name: rest.pop(name) for name in list(rest)[:30]}
    base = str(registry.create(client, "fieldgroups", body)["$id"])
    body = standard.field_group("demotenant")
    mixpanel_fields(body)["mixpanel"]["properties"] = first
    body["allOf"].append({"$ref": base})
    registry.create(client, "fieldgroups", body)
    assert ("field group", "extend") not in actions(provision.plan(client))


def test_a_field_of_another_type_behind_a_data_type_is_a_conflict(client: PlatformClient) -> None:
    body = standard.field_group("demotenant")
    fields = mixpanel_fields(body)
    fields["mixpanel"] = {"$ref": data_type(client, "Wrong", {"insertId": {"type": "integer"}})}
    registry.create(client, "fieldgroups", body)
    with pytest.raises(Conflict, match=r"mixpanel\.insertId .* integer, wanted is string"):
        provision.plan(client)


def test_a_list_of_other_elements_is_a_conflict(client: PlatformClient) -> None:
    tags = {"type": "array", "items": {"type": "string"}}
    provision.apply(client, provision.plan(client, Wanted(grown={"tags": tags})))
    with pytest.raises(Conflict, match=r"array/of string, wanted is array/of integer"):
        provision.plan(client, Wanted(grown={"tags": {"type": "array", "items": {"type": "integer"}}}))


def untouched(emulator: Any) -> bool:
    """Whether planning wrote nothing and no namespace of ours was made."""
    writes = [r for r in emulator.control.requests() if r["path"].startswith("/data/") and r["method"] != "GET"]
    return not any("idnamespace" in r["path"] for r in writes)


@pytest.mark.parametrize("kind", ["schemas", "fieldgroups", "datatypes", "classes"])
def test_a_title_that_differs_in_case_alone_is_refused_in_the_plan(
    client: PlatformClient, emulator: Any, kind: str
) -> None:
    bodies = {
        "schemas": standard.schema_request("MIXPANEL  Events"),
        "fieldgroups": standard.field_group("demotenant", "MIXPANEL  Events"),
    }
    other = {"title": "MIXPANEL  Events", "type": "object", "properties": {}}
    registry.create(client, kind, bodies.get(kind, other))
    with pytest.raises(Conflict, match=r"'MIXPANEL  Events'.*--schema-title"):
        provision.plan(client)
    assert untouched(emulator)
    plan = provision.plan(client, Wanted(schema_title="Events of the shop"))
    provision.apply(client, plan)
    assert provision.plan(client, Wanted(schema_title="Events of the shop")).changes == ()


def test_a_field_group_title_that_differs_in_case_alone_names_its_option(client: PlatformClient) -> None:
    registry.create(client, "fieldgroups", standard.field_group("demotenant", "Mixpanel Event Details"))
    with pytest.raises(Conflict, match=r"--field-group-title or MIXPANEL_AEP_FIELD_GROUP_TITLE"):
        provision.plan(client)


def test_schema_and_field_group_cannot_share_a_title(client: PlatformClient) -> None:
    with pytest.raises(Conflict, match="--field-group-title"):
        provision.plan(client, Wanted(schema_title="Events", field_group_title="events"))


def test_a_namespace_that_differs_in_case_alone_is_refused_in_the_plan(client: PlatformClient, emulator: Any) -> None:
    registry.create_namespace(client, {"name": "x", "code": "MIXPANELdeviceID", "idType": "COOKIE"})
    with pytest.raises(Conflict, match=r"'MIXPANELdeviceID' exists, ours is 'mixpanelDeviceId'"):
        provision.plan(client)
    assert "mixpanelUserId" not in registry.namespaces(client)


def test_a_dataset_that_differs_in_case_alone_is_refused_in_the_plan(client: PlatformClient) -> None:
    provision.apply(client, provision.plan(client))
    with pytest.raises(Conflict, match=r"'Mixpanel events' .* differs from 'mixpanel EVENTS'"):
        provision.plan(client, Wanted(dataset_name="mixpanel EVENTS"))


@pytest.mark.parametrize("wanted", ["plantype", "PLANTYPE", "planType"])
def test_a_grown_field_that_differs_in_case_alone_is_refused_in_the_plan(
    client: PlatformClient, emulator: Any, wanted: str
) -> None:
    body = standard.field_group("demotenant")
    custom = {"type": "object", "properties": {"PlanType": {"type": "string"}}}
    mixpanel_fields(body)["mixpanel"]["properties"]["custom"] = custom
    registry.create(client, "fieldgroups", body)
    with pytest.raises(Conflict, match=rf"has the field .*custom\.PlanType, wanted is .*custom\.{wanted}"):
        provision.plan(client, Wanted(grown={wanted: {"type": "string"}}))
    assert untouched(emulator)


def test_a_field_of_another_group_of_the_schema_that_differs_in_case_alone_is_refused_in_the_plan(
    client: PlatformClient, emulator: Any
) -> None:
    body = standard.field_group("demotenant", "Of somebody else")
    mixpanel_fields(body)["mixpanel"]["properties"] = {"INSERTID": {"type": "string"}}
    other = str(registry.create(client, "fieldgroups", body)["$id"])
    registry.create(client, "schemas", standard.schema_request("", (other,)))
    with pytest.raises(Conflict, match=r"the schema 'Mixpanel events' has the field _demotenant\.mixpanel\.INSERTID"):
        provision.plan(client)
    assert untouched(emulator)


def test_what_can_never_be_undone_is_made_after_what_can_be_refused(client: PlatformClient, emulator: Any) -> None:
    plan = provision.plan(client, Wanted(profile=True))
    kinds = [(step.what, step.action) for step in plan.steps]
    first = kinds.index(("namespace", "create"))
    assert {("field group", "create"), ("schema", "create")} <= set(kinds[:first])
    assert kinds.index(("schema", "enable")) > first
    for kind in ("fieldgroups", "schemas"):
        emulator.control.fault("status", match={"method": "POST", "path": f"*/{kind}"}, count=1, status=400)
        with pytest.raises(BadRequest, match="-title"):
            provision.apply(client, provision.plan(client))
        assert untouched(emulator)


def test_a_dataset_with_a_schema_of_another_title_says_how_to_extend_it(client: PlatformClient) -> None:
    provision.apply(client, provision.plan(client, Wanted(schema_title="Shop events")))
    with pytest.raises(Conflict, match="--schema-title or MIXPANEL_AEP_SCHEMA_TITLE to 'Shop events'"):
        provision.plan(client)


def test_descriptors_are_read_page_by_page(client: PlatformClient, emulator: Any) -> None:
    made = provision.apply(client, provision.plan(client))
    for number in range(7):
        body = {"@type": f"xdm:kind{number % 3}", "xdm:sourceSchema": made.schema_id, "xdm:sourceVersion": 1}
        registry.create_descriptor(client, body | {"xdm:sourceProperty": "/_demotenant/mixpanel/insertId"})
    emulator.control.settings(registry_page=2)
    assert len(registry.descriptors(client, made.schema_id)) == 7
