"""Adobe's open client `aepp` against the emulator, over HTTP.

Its hosts are fixed in its code, so its base addresses are set to the emulator's; nothing of HTTP is replaced. What it
reads is held against what bare HTTP says that the emulator holds, what it writes against the books.
"""

from __future__ import annotations

import copy
import io
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from mixpanel_aep_assets.aep import provision, registry
from mixpanel_aep_assets.aep.provision import Wanted
from mixpanel_aep_assets.emulator import EmulatorThread
from mixpanel_aep_assets.xdm import standard
from mixpanel_aep_assets.xdm.composition import registry_schema
from mixpanel_aep_assets_tests.aep.test_provision import open_client
from mixpanel_aep_assets_tests.emulator.conftest import (
    EXPERIENCE_EVENT,
    ORG,
    Platform,
    events,
    parquet,
)

aepp = pytest.importorskip("aepp", reason="aepp (Adobe's open client) is not installed")

from aepp import catalog, config, dataaccess, identity, ingestion, schema  # noqa: E402

REGISTRY = "/data/foundation/schemaregistry"


@dataclass
class Adobe:
    """The services of `aepp`, signed in at the emulator."""

    registry: Any
    catalog: Any
    identity: Any
    ingestion: Any
    access: Any


@pytest.fixture
def adobe(emulator: EmulatorThread, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Adobe]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    shared = (config.config_object, config.header, config.endpoints)
    before = [copy.deepcopy(one) for one in shared]
    aepp.configure(
        org_id=ORG,
        client_id="demo-client",
        secret="demo-client-secret",
        scopes="openid,session",
        retry=0,
    )
    config.endpoints["global"] = emulator.url
    config.config_object["oauthTokenEndpointV2"] = f"{emulator.url}/ims/token/v3"
    made = Adobe(
        schema.Schema(), catalog.Catalog(), identity.Identity(), ingestion.DataIngestion(), dataaccess.DataAccess()
    )
    made.identity.endpoint = emulator.url + config.endpoints["identity"]
    yield made
    for service in vars(made).values():
        service.connector.session.close()
    for one, old in zip(shared, before, strict=True):
        one.clear()
        one.update(old)
    assert list(tmp_path.iterdir()) == []


def listed(platform: Platform, path: str, accept: str = "xed") -> list[dict[str, Any]]:
    answer = platform.http.get(f"{REGISTRY}/{path}", headers={"Accept": f"application/vnd.adobe.{accept}+json"})
    found: list[dict[str, Any]] = answer.json()["results"]
    return found


def by_id(found: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    return {one["$id"]: one for one in found}


def test_aepp_lists_the_resources_that_the_registry_holds(adobe: Adobe, platform: Platform) -> None:
    group = platform.field_group().json()["$id"]
    platform.schema(group)
    assert adobe.registry.getTenantId() == "demotenant"
    assert adobe.registry.getSchemas() == listed(platform, "tenant/schemas", "xed-id")
    assert adobe.registry.getFieldGroups() == listed(platform, "tenant/fieldgroups")
    assert by_id(adobe.registry.getFieldGroupsGlobal()) == by_id(listed(platform, "global/fieldgroups"))
    assert by_id(adobe.registry.getClassesGlobal()) == by_id(listed(platform, "global/classes", "xed-id"))
    assert by_id(adobe.registry.getDataTypesGlobal()) == by_id(listed(platform, "global/datatypes", "xed-id"))


def test_aepp_lists_every_page(adobe: Adobe, platform: Platform) -> None:
    for number in range(5):
        platform.schema(title=f"Schema {number}")
        platform.field_group(title=f"Group {number}")
    platform.control.settings(registry_page=2)
    assert [one["title"] for one in adobe.registry.getSchemas()] == [f"Schema {number}" for number in range(5)]
    assert [one["title"] for one in adobe.registry.getFieldGroups()] == [f"Group {number}" for number in range(5)]


def test_aepp_filters_schemas_by_their_class(adobe: Adobe, platform: Platform) -> None:
    platform.schema()
    assert len(adobe.registry.getSchemas(classFilter=EXPERIENCE_EVENT)) == 1
    assert adobe.registry.getSchemas(classFilter="https://ns.adobe.com/xdm/context/profile")["results"] == []


def test_aepp_reads_a_schema_in_both_notations(adobe: Adobe, platform: Platform) -> None:
    created = platform.schema(platform.field_group().json()["$id"]).json()["$id"]
    held = platform.get_resource("schemas", created, "application/vnd.adobe.xed-full+json; version=1").json()
    assert adobe.registry.getSchema(created, schema_type="xed") == held
    standard = adobe.registry.getSchema(created)
    assert {"@id", "xdm:timestamp", "demotenant:mixpanel"} <= set(standard["properties"])
    assert adobe.registry.getSchema(held["meta:altId"], schema_type="xed") == held


def test_aepp_reads_namespaces(adobe: Adobe, platform: Platform) -> None:
    path = "/data/core/idnamespace/identities"
    platform.http.post(path, json={"name": "Shop id", "code": "shopId", "idType": "CROSS_DEVICE"})
    assert adobe.identity.getIdentities() == platform.http.get(path).json()
    (own,) = adobe.identity.getIdentities(only_custom=True)
    assert adobe.identity.getIdentityDetail(str(own["id"])) == own


def test_aepp_reads_datasets_with_the_behaviour_of_their_schemas(adobe: Adobe, platform: Platform) -> None:
    held = platform.http.get(f"/data/foundation/catalog/dataSets/{platform.dataset}").json()
    assert adobe.catalog.getDataSet(platform.dataset) == held
    assert adobe.catalog.getDataSets() == held
    assert adobe.catalog.data.ids == {"Mixpanel events": platform.dataset}
    (row,) = adobe.catalog.getDatasetsInfos().to_dict("records")
    assert (row["dataBehavior"], row["profileEnabled"]) == ("time-series", False)
    assert row["qs_table"] == held[platform.dataset]["tags"]["adobe/pqs/table"][0]


def test_aepp_reads_batches_and_the_bytes_that_were_sent(adobe: Adobe, platform: Platform) -> None:
    sent = parquet(events(3))
    batch = platform.ingest(sent)["id"]
    other = platform.ingest(parquet(events(2)))["id"]
    held = platform.http.get("/data/foundation/catalog/batches").json()
    assert adobe.catalog.getBatches(dataSet=platform.dataset) == held
    assert set(adobe.catalog.getBatches(limit=1, n_results="inf")) == {batch, other}
    assert adobe.catalog.getBatch(batch) == {batch: held[batch]}
    assert adobe.catalog.getLastBatches(platform.dataset)[platform.dataset]["lastSuccessfulBatchId"] == other
    (file,) = adobe.access.getBatchFiles(batch)
    (part,) = adobe.access.getFiles(file["dataSetFileId"])["data"]
    content = adobe.access.getResource(part["_links"]["self"]["href"], format="raw").content
    assert content == sent
    assert pq.read_table(io.BytesIO(content)).num_rows == platform.status(batch)["metrics"]["outputRecordCount"]


def test_aepp_reads_why_a_batch_failed(adobe: Adobe, platform: Platform) -> None:
    batch = platform.ingest(b"no parquet", enableErrorDiagnostics=True)["id"]
    (row,) = adobe.catalog.getFailedBatchesDF().to_dict("records")
    errors = platform.status(batch)["errors"]
    assert row["errorCode"] == [one["code"] for one in errors]
    assert (row["dataSetId"], row["sandbox"]) == (platform.dataset, platform.status(batch)["sandboxId"])


def made_with_aepp(adobe: Adobe) -> tuple[str, str, str]:
    """Field group, schema and dataset, by aepp's own methods."""
    custom = {"_demotenant": {"type": "object", "properties": {"plan": {"type": "string", "title": "Plan"}}}}
    group = adobe.registry.createFieldGroup(
        {
            "title": "Shop details",
            "type": "object",
            "meta:intendedToExtend": [EXPERIENCE_EVENT],
            "definitions": {"customFields": {"type": "object", "properties": custom}},
            "allOf": [{"$ref": "#/definitions/customFields"}],
        }
    )["$id"]
    created = adobe.registry.createExperienceEventSchema("Shop events", fieldGroupIds=[group], description="d")["$id"]
    (dataset,) = adobe.catalog.createDataSet(name="Shop", schemaId=created)
    return group, created, dataset.rsplit("/", 1)[-1]


def test_what_aepp_creates_the_emulator_holds(adobe: Adobe, platform: Platform) -> None:
    group, created, dataset = made_with_aepp(adobe)
    full = platform.get_resource("schemas", created, "application/vnd.adobe.xed-full+json; version=1").json()
    assert full["meta:extends"] == [EXPERIENCE_EVENT, group]
    assert full["properties"]["_demotenant"]["properties"]["plan"]["type"] == "string"
    held = platform.http.get(f"/data/foundation/catalog/dataSets/{dataset}").json()[dataset]
    assert (held["name"], held["schemaRef"]["id"]) == ("Shop", created)
    addition = "/definitions/customFields/properties/_demotenant/properties/seats"
    adobe.registry.patchFieldGroup(group, [{"op": "add", "path": addition, "value": {"type": "integer"}}])
    full = platform.get_resource("fieldgroups", group, "application/vnd.adobe.xed-full+json; version=1").json()
    assert set(full["properties"]["_demotenant"]["properties"]) == {"plan", "seats"}


def test_aepp_makes_a_namespace_and_a_descriptor_and_finds_it_again(adobe: Adobe, platform: Platform) -> None:
    _, created, _ = made_with_aepp(adobe)
    adobe.identity.createIdentity(name="Plan id", code="planId", idType="CROSS_DEVICE")
    wanted = adobe.registry.createDescriptorOperation(
        created, "xdm:descriptorIdentity", "_demotenant.plan", identityNSCode="planId"
    )
    made = adobe.registry.createDescriptor(wanted)
    held = listed(platform, "tenant/descriptors", "xdm-v2")
    assert held == [made]
    assert adobe.registry.getDescriptors() == held
    assert (
        adobe.registry.getDescriptors(type_desc="xdm:descriptorIdentity", prop=f"xdm:sourceSchema=={created}") == held
    )
    assert adobe.registry.getDescriptors(type_desc="xdm:descriptorLabel") == []
    assert adobe.registry.getDescriptors(id_desc=True) == [made["@id"]]
    assert adobe.registry.getDescriptors(link_desc=True) == [f"/tenant/descriptors/{made['@id']}"]
    assert adobe.registry.getDescriptor(made["@id"]) == made


def test_aepp_reads_what_we_provisioned(adobe: Adobe, emulator: EmulatorThread) -> None:
    with open_client(emulator) as client:
        made = provision.apply(client, provision.plan(client, Wanted(profile=True)))
        ours = registry_schema(registry.schema_document(client, made.schema_id))
    theirs = registry_schema(adobe.registry.getSchema(made.schema_id, schema_type="xed"))
    assert theirs.root == ours.root
    (title,) = [one["title"] for one in adobe.registry.getSchemas()]
    assert (title, adobe.catalog.getDataSet(made.dataset_id)[made.dataset_id]["name"]) == ("Mixpanel events",) * 2
    codes = {one["code"] for one in adobe.identity.getIdentities(only_custom=True)}
    assert codes == {"mixpanelUserId", "mixpanelDeviceId"}
    (row,) = adobe.catalog.getDatasetsInfos().to_dict("records")
    assert (row["profileEnabled"], row["identityEnabled"]) == (True, True)


def test_we_find_the_fields_that_aepp_put_into_a_data_type(adobe: Adobe, emulator: EmulatorThread) -> None:
    body = standard.field_group("demotenant")
    fields = body["definitions"]["customFields"]["properties"]["_demotenant"]["properties"]
    kind = {
        "title": "Mixpanel",
        "type": "object",
        "definitions": {"customFields": {"type": "object", **fields["mixpanel"]}},
        "allOf": [{"$ref": "#/definitions/customFields"}],
    }
    fields["mixpanel"] = {"$ref": adobe.registry.createDataType(kind)["$id"]}
    adobe.registry.createFieldGroup(body)
    with open_client(emulator) as client:
        assert "field group" not in {step.what for step in provision.plan(client).changes}


def test_aepp_enables_schema_and_dataset_for_profile(adobe: Adobe, platform: Platform) -> None:
    _, created, dataset = made_with_aepp(adobe)
    adobe.registry.enableSchemaForRealTime(created)
    adobe.catalog.enableDatasetProfile(dataset)
    raw = platform.get_resource("schemas", created, "application/vnd.adobe.xed+json; version=1").json()
    assert raw["meta:immutableTags"] == ["union"]
    held = platform.http.get(f"/data/foundation/catalog/dataSets/{dataset}").json()[dataset]
    assert held["tags"]["unifiedProfile"] == ["enabled:true"]


def test_a_batch_that_aepp_uploads_is_live_once(adobe: Adobe, platform: Platform) -> None:
    _, _, dataset = made_with_aepp(adobe)
    rows = [
        {"_id": f"e{number}", "timestamp": "2026-01-10T12:00:00Z", "_demotenant": {"plan": "pro"}}
        for number in range(3)
    ]
    batch = adobe.ingestion.createBatch(dataset, format="json", multiline=True)["id"]
    adobe.ingestion.uploadSmallFile(batch, dataset, "events.json", rows)
    adobe.ingestion.uploadSmallFileFinish(batch)
    platform.control.settle()
    assert adobe.catalog.getBatch(batch)[batch]["status"] == "success"
    books = platform.control.books(dataset, ids=True)
    assert books["ids"] == {"e0": 1, "e1": 1, "e2": 1}
    assert json.loads(adobe.access.getFiles(f"{batch}-1", path="events.json")) == rows
    adobe.ingestion.deleteBatch(batch)
    assert platform.control.books(dataset)["live"]["rows"] == 0
