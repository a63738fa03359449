"""The Schema Registry, Catalog's datasets, namespaces and mapping sets (platform.md#datasets and platform.md#schema-registry)."""

from __future__ import annotations

from typing import Any

import pytest

from mixpanel_aep_assets_tests.emulator.conftest import EXPERIENCE_EVENT, Platform

REGISTRY = "/data/foundation/schemaregistry"
XED, FULL = "application/vnd.adobe.xed+json; version=1", "application/vnd.adobe.xed-full+json; version=1"
IDENTITIES = "/data/core/idnamespace/identities"


def test_stats_tell_the_tenant_without_underscore(platform: Platform) -> None:
    assert platform.http.get(f"{REGISTRY}/stats").json()["tenantId"] == "demotenant"


@pytest.mark.parametrize(
    ("accept", "status", "code"),
    [
        (XED, 200, None),
        ("application/vnd.adobe.xed-full-notext+json;version=1", 200, None),
        ("*/*", 406, None),
        ("application/vnd.adobe.xed-full+json", 400, "XDM-1007-400"),
        ("application/vnd.adobe.xed-id+json", 400, "XDM-1007-400"),
        ("application/vnd.adobe.xdm+json; version=1", 200, None),
        ("application/vnd.adobe.xdm-full+json", 400, "XDM-1007-400"),
        ("application/vnd.adobe.xdm-v2+json; version=1", 400, "XDM-1007-400"),
        ("application/vnd.adobe.xed-full-flat+json; version=1", 400, "XDM-1007-400"),
        ("application/vnd.adobe.xed+json; version=2", 400, "XDM-1007-400"),
    ],
)
def test_a_look_up_needs_an_exact_accept_header(platform: Platform, accept: str, status: int, code: str | None) -> None:
    answer = platform.get_resource("classes", EXPERIENCE_EVENT, accept, "global")
    assert answer.status_code == status
    assert code is None or answer.json()["type"].endswith(code)


def test_a_custom_field_may_refer_to_a_data_type_of_adobe(platform: Platform) -> None:
    own = {"who": {"$ref": "https://ns.adobe.com/xdm/context/identityitem"}}
    group = platform.field_group(own).json()["$id"]
    full = platform.get_resource("fieldgroups", group, FULL).json()
    assert full["properties"]["_demotenant"]["properties"]["who"]["properties"]["primary"]["type"] == "boolean"


def test_a_list_has_its_own_accept_rule(platform: Platform) -> None:
    path = f"{REGISTRY}/global/fieldgroups"
    answer = platform.http.get(path, headers={"Accept": "application/vnd.adobe.xed-id+json"}).json()["results"]
    assert f"{EXPERIENCE_EVENT}-web" in {one["$id"] for one in answer}
    assert platform.http.get(path, headers={"Accept": FULL + "x"}).json()["type"].endswith("XDM-1006-400")


@pytest.mark.parametrize("path", ["stats", "tenant/schemas", "global/fieldgroups", "tenant/descriptors"])
def test_an_address_of_the_registry_may_end_with_a_slash(platform: Platform, path: str) -> None:
    accept = {"Accept": f"application/vnd.adobe.{'xdm' if 'descriptors' in path else 'xed'}+json"}
    plain = platform.http.get(f"{REGISTRY}/{path}", headers=accept)
    slashed = platform.http.get(f"{REGISTRY}/{path}/", headers=accept)
    assert (slashed.status_code, slashed.json()) == (200, plain.json())


def test_the_xdm_forms_show_standard_names(platform: Platform) -> None:
    group = platform.field_group().json()
    schema = platform.schema(group["$id"]).json()["$id"]
    full = platform.get_resource("schemas", schema, "application/vnd.adobe.xdm-full+json; version=1").json()
    assert full["required"] == ["@id", "xdm:timestamp"]
    assert {"@id", "xdm:timestamp", "xdm:identityMap", "demotenant:mixpanel"} <= set(full["properties"])
    assert set(full["properties"]["demotenant:mixpanel"]["properties"]) == {"demotenant:insertId"}
    geo = full["properties"]["xdm:placeContext"]["properties"]["xdm:geo"]["properties"]
    assert geo["schema:latitude"]["maximum"] == 90
    item = full["properties"]["xdm:identityMap"]["additionalProperties"]["items"]["properties"]
    assert set(item) == {"xdm:id", "xdm:authenticatedState", "xdm:primary"}


def test_a_list_comes_in_pages_of_what_the_filters_leave(platform: Platform) -> None:
    for number in range(5):
        platform.field_group(title=f"Group {number}, and more")
    platform.schema(title="A schema")
    path, accept = f"{REGISTRY}/tenant/fieldgroups", {"Accept": "application/vnd.adobe.xed-id+json"}

    def titles(**query: Any) -> tuple[list[str], str | None]:
        body = platform.http.get(path, params=query, headers=accept).json()
        return [one["title"][6] for one in body["results"]], body["_page"]["next"]

    assert titles(orderby="title", limit=2) == (["0", "1"], "Group 1, and more")
    assert titles(orderby="title", limit=3, start="Group 1, and more") == (["2", "3", "4"], None)
    assert titles(orderby="-title", limit=2, start="Group 3, and more") == (["2", "1"], "Group 1, and more")
    assert titles(property="title==Group 2, and more")[0] == ["2"]
    assert titles(property="title!=Group 2, and more,title~^Group [0-3]")[0] == ["0", "1", "3"]
    assert titles(property=["title>=Group 3", "meta:intendedToExtend==" + EXPERIENCE_EVENT])[0] == ["3", "4"]
    platform.control.settings(registry_page=4)
    assert titles() == (["0", "1", "2", "3"], "Group 3, and more")


def test_a_missing_resource_is_xdm_1012(platform: Platform) -> None:
    answer = platform.get_resource("schemas", "https://ns.adobe.com/demotenant/schemas/0", XED)
    assert (answer.status_code, answer.json()["type"]) == (404, "http://ns.adobe.com/aep/errors/XDM-1012-404")


def test_the_resolved_form_is_one_closed_tree_with_platform_names(platform: Platform) -> None:
    group = platform.field_group().json()
    schema = platform.schema(group["$id"]).json()
    assert (schema["meta:class"], schema["version"]) == (EXPERIENCE_EVENT, "1.0")
    full = platform.get_resource("schemas", schema["$id"], FULL).json()
    assert full["required"] == ["_id", "timestamp"]
    assert full["properties"]["timestamp"]["format"] == "date-time"
    assert full["properties"]["timestamp"]["meta:xdmType"] == "date-time"
    assert full["properties"]["identityMap"]["meta:xdmType"] == "map"
    latitude = full["properties"]["placeContext"]["properties"]["geo"]["properties"]["_schema"]["properties"][
        "latitude"
    ]
    assert (latitude["minimum"], latitude["maximum"], latitude["meta:xdmType"]) == (-90, 90, "double")
    assert full["properties"]["device"]["properties"]["screenWidth"]["meta:xdmType"] == "int"
    assert full["properties"]["_demotenant"]["properties"]["mixpanel"]["properties"]["insertId"]["type"] == "string"
    assert platform.get_resource("schemas", schema["meta:altId"], FULL).json() == full


@pytest.mark.parametrize(
    "own",
    [
        {"mixpanel": {"type": "object", "properties": {"_x": {"type": "string"}}}},
        {"mixpanel": {"type": "object", "properties": {"$x": {"type": "string"}}}},
        {"mixpanel": {"type": "object", "properties": {"a": {"type": "string"}, "A": {"type": "string"}}}},
        {"bag": {"type": "object", "meta:xdmType": "map", "additionalProperties": {"type": "number"}}},
        {"x": {"type": "text"}},
    ],
)
def test_bad_field_names_and_types_are_refused(platform: Platform, own: dict[str, Any]) -> None:
    assert platform.field_group(own).status_code == 400


def test_custom_fields_must_stand_under_the_tenant(platform: Platform) -> None:
    body = {"title": "x", "type": "object", "meta:intendedToExtend": [EXPERIENCE_EVENT],
            "properties": {"mixpanel": {"type": "string"}}}  # fmt: skip
    answer = platform.http.post(f"{REGISTRY}/tenant/fieldgroups", json=body)
    assert answer.json()["type"].endswith("XDM-1020-400")
    del body["meta:intendedToExtend"]
    assert "intendedToExtend" in platform.http.post(f"{REGISTRY}/tenant/fieldgroups", json=body).json()["detail"]


def test_titles_are_unique_across_kinds(platform: Platform) -> None:
    platform.field_group(title="One")
    assert "unique" in platform.schema(title="one").json()["detail"]


def test_a_schema_needs_one_class_and_groups_that_exist(platform: Platform) -> None:
    assert platform.schema("https://ns.adobe.com/demotenant/mixins/none").status_code == 400
    assert platform.schema("https://ns.adobe.com/xdm/context/experienceevent").status_code == 400


def patch_group(platform: Platform, identifier: str, *operations: dict[str, Any]) -> Any:
    from urllib.parse import quote

    path = f"{REGISTRY}/tenant/fieldgroups/{quote(identifier, safe='')}"
    return platform.http.patch(path, json=list(operations))


def test_only_additions_once_a_dataset_uses_the_schema(platform: Platform) -> None:
    group = platform.field_group().json()["$id"]
    schema = platform.schema(group).json()["$id"]
    fields = "/definitions/own/properties/_demotenant/properties/mixpanel/properties"
    narrow = {"op": "add", "path": f"{fields}/insertId/enum", "value": ["a"]}
    assert patch_group(platform, group, narrow).status_code == 200
    platform.create_dataset(schema)
    addition = {"op": "add", "path": f"{fields}/lib", "value": {"type": "string"}}
    assert patch_group(platform, group, addition).json()["version"] == "1.2"
    for breaking in (
        {"op": "remove", "path": f"{fields}/insertId"},
        {"op": "replace", "path": f"{fields}/insertId/type", "value": "integer"},
        {"op": "add", "path": f"{fields}/lib/maxLength", "value": 3},
    ):
        answer = patch_group(platform, group, breaking)
        assert (answer.status_code, "Only additions" in answer.json()["detail"]) == (400, True)
    full = platform.get_resource("schemas", schema, FULL).json()
    assert set(full["properties"]["_demotenant"]["properties"]["mixpanel"]["properties"]) == {"insertId", "lib"}


def test_profile_needs_the_union_tag_on_the_schema_first(platform: Platform) -> None:
    schema = platform.schema(platform.field_group().json()["$id"]).json()
    tags = {"unifiedProfile": ["enabled:true"]}
    assert platform.create_dataset(schema["$id"], tags=tags).status_code == 400
    answer = platform.http.patch(
        f"{REGISTRY}/tenant/schemas/{schema['meta:altId']}",
        json=[{"op": "add", "path": "/meta:immutableTags", "value": ["union"]}],
    )
    assert answer.status_code == 200
    assert platform.create_dataset(schema["$id"], tags=tags).status_code == 201


def test_datasets_are_found_changed_and_guarded_by_their_version(platform: Platform) -> None:
    path = f"/data/foundation/catalog/dataSets/{platform.dataset}"
    found = platform.http.get("/data/foundation/catalog/dataSets", params={"name": "Mixpanel events"}).json()
    assert list(found) == [platform.dataset]
    tag = platform.http.get(path).headers["e-tag"]
    assert platform.http.patch(path, json={"description": "new"}, headers={"If-Match": tag}).status_code == 200
    assert platform.http.patch(path, json={"description": "x"}, headers={"If-Match": tag}).status_code == 412
    patch = [{"op": "add", "path": "/tags/team", "value": ["data"]}]
    patched = platform.http.patch(path, json=patch, headers={"Content-Type": "application/json-patch+json"})
    assert patched.json() == [f"@/dataSets/{platform.dataset}"]
    shown = platform.http.get(path).json()[platform.dataset]
    assert (shown["description"], shown["tags"]["team"]) == ("new", ["data"])
    assert (
        platform.http.put(path, json=shown).status_code == 200
    )  # the system's own tags, sent back, are no tags of ours
    assert platform.http.get(path).json()[platform.dataset]["tags"] == shown["tags"]


def test_a_dataset_tells_the_behaviour_of_its_class_and_its_table(platform: Platform) -> None:
    shown = platform.http.get(f"/data/foundation/catalog/dataSets/{platform.dataset}").json()[platform.dataset]
    assert shown["classification"] == {"dataBehavior": "time-series", "managedBy": "CUSTOMER"}
    assert shown["tags"]["adobe/pqs/table"] == [f"mixpanel_events_{platform.dataset[-6:]}"]


@pytest.mark.parametrize(
    "more", [{"name": ""}, {"schemaRef": {"id": "x", "contentType": "version=1"}}, {"tags": {"adobe/x": ["1"]}}]
)
def test_a_bad_dataset_is_refused(platform: Platform, more: dict[str, Any]) -> None:
    schema = platform.schema().json()["$id"]
    assert platform.create_dataset(schema, **more).status_code == 400


def test_identity_descriptors_name_a_field_and_a_namespace_that_exist(platform: Platform) -> None:
    schema = platform.schema(platform.field_group().json()["$id"]).json()["$id"]
    body = {
        "@type": "xdm:descriptorIdentity", "xdm:sourceSchema": schema, "xdm:sourceVersion": 1, "xdm:namespace": "ECID",
        "xdm:sourceProperty": "/_demotenant/mixpanel/insertId", "xdm:property": "xdm:code", "xdm:isPrimary": True,
    }  # fmt: skip
    path = f"{REGISTRY}/tenant/descriptors"
    made = platform.http.post(path, json=body)
    assert made.status_code == 201
    for change in (
        {"xdm:namespace": "none"}, {"xdm:sourceProperty": "/_id"}, {"xdm:sourceProperty": "/none"},
        {"xdm:sourceProperty": "/eventType"}, {"xdm:sourceProperty": "eventType"},
    ):  # fmt: skip
        assert platform.http.post(path, json=body | change).status_code == 400
    listed = platform.http.get(path, headers={"Accept": "application/vnd.adobe.xdm+json"}).json()
    assert [one["@id"] for one in listed["xdm:descriptorIdentity"]] == [made.json()["@id"]]
    assert platform.http.get(path).json()["type"].endswith("XDM-1008-400")
    assert platform.http.delete(f"{path}/{made.json()['@id']}").status_code == 204


def test_descriptors_come_in_pages_only_in_the_v2_form(platform: Platform) -> None:
    schema = platform.schema(platform.field_group().json()["$id"]).json()["$id"]
    path = f"{REGISTRY}/tenant/descriptors"
    body = {"xdm:sourceSchema": schema, "xdm:sourceVersion": 1, "xdm:sourceProperty": "/_demotenant/mixpanel/insertId"}
    types = ["xdm:alternateDisplayInfo"] * 3 + ["xdm:descriptorLabel"] * 2
    made = [platform.http.post(path, json=body | {"@type": kind}).json()["@id"] for kind in types]
    platform.control.settings(registry_page=2)

    def page(form: str, **query: Any) -> Any:
        return platform.http.get(path, params=query, headers={"Accept": f"application/vnd.adobe.{form}+json"}).json()

    assert {kind: len(found) for kind, found in page("xdm").items()} == {
        "xdm:alternateDisplayInfo": 3,
        "xdm:descriptorLabel": 2,
    }
    first = page("xdm-v2-id")
    rest = page("xdm-v2-id", orderby="@id", start=first["_page"]["next"], limit=500)
    assert (len(first["results"]), rest["_page"]["next"]) == (2, None)
    assert sorted(first["results"] + rest["results"]) == sorted(made)
    labels = page("xdm-v2", property="@type==xdm:descriptorLabel,xdm:sourceSchema==" + schema)["results"]
    assert {one["@id"] for one in labels} == set(made[3:])
    assert page("xdm-v2-link")["results"][0].startswith("/tenant/descriptors/")


def test_names_of_one_level_differ_in_more_than_case_across_field_groups(platform: Platform) -> None:
    first = platform.field_group({"shop": {"type": "object", "properties": {"Total": {"type": "number"}}}}, "One")
    other = platform.field_group({"shop": {"type": "object", "properties": {"total": {"type": "number"}}}}, "Two")
    assert "shop.Total" in platform.schema(first.json()["$id"], other.json()["$id"]).json()["detail"]


def test_a_data_type_that_a_dataset_uses_takes_additions_only(platform: Platform) -> None:
    fields = {"properties": {"note": {"type": "string"}}, "type": "object"}
    body = {"title": "Details", "type": "object", "definitions": {"d": fields}, "allOf": [{"$ref": "#/definitions/d"}]}
    kind = platform.http.post(f"{REGISTRY}/tenant/datatypes", json=body).json()
    group = platform.field_group({"details": {"$ref": kind["$id"]}}).json()["$id"]
    platform.create_dataset(platform.schema(group).json()["$id"])
    path = f"{REGISTRY}/tenant/datatypes/{kind['meta:altId']}"
    note = {"path": "/definitions/d/properties/note", "value": {"type": "integer"}}
    assert platform.http.patch(path, json=[{"op": "replace", **note}]).status_code == 400
    more = {"op": "add", "path": "/definitions/d/properties/more", "value": {"type": "string"}}
    assert platform.http.patch(path, json=[more]).status_code == 200


def test_a_namespace_is_made_once(platform: Platform) -> None:
    body = {"name": "Mixpanel user", "code": "mixpanelUserId", "idType": "Cross_device"}
    made = platform.http.post(IDENTITIES, json=body)
    assert (made.status_code, made.json()["custom"]) == (200, True)
    again = platform.http.post(IDENTITIES, json=body)
    assert (again.status_code, again.json()["title"]) == (409, "NAMESPACE_CODE_CONFLICT")
    assert platform.http.post(IDENTITIES, json=body | {"code": "MIXPANELUSERID"}).status_code == 409
    assert platform.http.post(IDENTITIES, json=body | {"code": "Mixpanel_ID"}).status_code == 400
    assert platform.http.post(IDENTITIES, json=body | {"code": "x", "idType": "planet"}).status_code == 400
    assert {"ECID", "mixpanelUserId"} <= {one["code"] for one in platform.http.get(IDENTITIES).json()}


def test_mapping_sets_are_kept_as_they_were_sent(platform: Platform) -> None:
    path = "/data/foundation/conversion/mappingSets"
    body = {"name": "m", "xdmSchema": "https://x", "xdmVersion": "1.0", "mappings": [
        {"sourceType": "EXPRESSION", "source": "sha256(data.insert_id)", "destination": "_id"}]}  # fmt: skip
    made = platform.http.post(path, json=body).json()
    assert len(made["id"]) == 32
    assert platform.http.get(f"{path}/{made['id']}").json()["mappings"] == body["mappings"]
    assert platform.http.put(f"{path}/{made['id']}", json=body).json()["version"] == 1
    assert platform.http.get(path, params={"name": "m"}).json()["data"][0]["id"] == made["id"]
    bad = body | {"mappings": [{"sourceType": "MAGIC"}]}
    verdict = platform.http.post(f"{path}/validate", json=bad).json()["validationResponse"][0]
    assert verdict["status"] == "ERROR"
    assert platform.http.post(path, json=bad).status_code == 400
