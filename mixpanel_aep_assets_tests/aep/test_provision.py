"""Provisioning: a plan that only adds, that is empty the second time, and that says what stands in its way."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from mixpanel_aep_assets.aep import Platform, PlatformClient, catalog, provision, registry
from mixpanel_aep_assets.aep.errors import BadRequest, Conflict, DatasetNotFound, PermissionMissing
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
        ("namespace", "create"), ("namespace", "create"), ("field group", "create"), ("schema", "create"),
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
    with pytest.raises(Conflict, match="choose another"):
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
    assert actions(plan) == [("schema", "create"), ("dataset", "create")]
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
