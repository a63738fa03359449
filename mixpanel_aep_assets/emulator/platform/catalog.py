"""Catalog: batches, datasets and their files (platform.md#catalog)."""

from __future__ import annotations

import copy
import re
import uuid
from collections.abc import Callable
from typing import Any

from starlette.responses import Response
from starlette.routing import Route

from mixpanel_aep_assets.emulator.http import endpoint, reply
from mixpanel_aep_assets.emulator.platform import patches
from mixpanel_aep_assets.emulator.platform.composition import Registry, Unresolved
from mixpanel_aep_assets.emulator.platform.filters import listed
from mixpanel_aep_assets.emulator.platform.gateway import PlatformCall, bad_request, not_found, refuse, through
from mixpanel_aep_assets.emulator.store import Document

BASE = "/data/foundation/catalog"
_BATCH_FILTERS: dict[str, Callable[[dict[str, Any]], Any]] = {
    "dataSet": lambda batch: batch["relatedObjects"][0]["id"],
    "batch": lambda batch: batch["id"],
    **{
        name: (lambda batch, name=name: batch.get(name))  # type: ignore[misc]
        for name in ("externalId", "status", "created", "updated", "started", "completed", "createdClient",
                     "createdUser", "updatedUser", "version")
    },
}  # fmt: skip
_DATASET_FILTERS: dict[str, Callable[[dict[str, Any]], Any]] = {
    name: (lambda dataset, name=name: dataset.get(name))  # type: ignore[misc]
    for name in ("name", "id", "created", "updated", "state", "createdUser", "createdClient")
}
_WRITABLE = frozenset(
    {"name", "description", "schemaRef", "tags", "enableErrorDiagnostics", "fileDescription", "extensions", "state"}
)


def batch(call: PlatformCall) -> Response:
    """One batch, keyed by its id."""
    found = call.platform.batches.get(call.path("batch"))
    if found is None or found["sandbox"] != call.sandbox:
        raise not_found(f"The batch {call.path('batch')} was not found")
    call.world.lifecycle.advance(found)
    return reply({found["id"]: shown_batch(found)})


def batches(call: PlatformCall) -> Response:
    """Batches by the filters of the query."""
    call.world.lifecycle.advance_all()
    known = [shown_batch(one) for one in call.platform.batches.values() if one["sandbox"] == call.sandbox]
    return reply(listed(known, call.query, _BATCH_FILTERS))


def last_batches(call: PlatformCall) -> Response:
    """The last batch of each named dataset."""
    call.world.lifecycle.advance_all()
    answer = {}
    for identifier in call.query.get("dataSetId", "").split(","):
        dataset = call.platform.datasets.get(identifier)
        if dataset is not None and dataset["sandbox"] == call.sandbox:
            answer[identifier] = {
                "lastBatchId": dataset.get("lastBatchId"), "lastBatchStatus": dataset.get("lastBatchStatus"),
                "lastSuccessfulBatchId": dataset.get("lastSuccessfulBatch"),
                "lastFailedBatchId": dataset.get("lastFailedBatch"), "sandboxId": sandbox_id(call.sandbox),
                "created": dataset["created"], "updated": dataset["updated"],
            }  # fmt: skip
    return reply(answer)


def datasets(call: PlatformCall) -> Response:
    """Datasets by the filters of the query."""
    known = [shown_dataset(call, one) for one in call.platform.datasets.values() if one["sandbox"] == call.sandbox]
    return reply(listed(known, call.query, _DATASET_FILTERS))


def dataset(call: PlatformCall) -> Response:
    """One dataset, keyed by its id, with its version as E-Tag."""
    found = _dataset(call)
    return reply({found["id"]: shown_dataset(call, found)}, headers={"E-Tag": found["version"]})


def create_dataset(call: PlatformCall) -> Response:
    """A new dataset; its schema must exist."""
    body = call.object()
    if not body.get("name"):
        raise bad_request("name is required")
    now, platform = call.world.clock.now_ms(), call.platform
    identifier = platform.dataset_id()
    made: Document = {
        **{name: value for name, value in body.items() if name in _WRITABLE},
        "id": identifier, "imsOrg": call.org, "sandbox": call.sandbox, "version": "1.0.0", "created": now, "updated": now,
        "createdClient": call.client, "createdUser": f"{call.client}@techacct.adobe.com",
        "updatedUser": f"{call.client}@techacct.adobe.com", "state": "DRAFT", "viewId": platform.dataset_id(),
    }  # fmt: skip
    made["tags"] = dict(body.get("tags") or {})
    made.setdefault("enableErrorDiagnostics", False)
    _check(call, made)
    if call.header("pragma") != "validate-only":
        platform.datasets.put(identifier, made)
    return reply([f"@/dataSets/{identifier}"], 201, {"Location": f"{BASE}/dataSets/{identifier}"})


def patch_dataset(call: PlatformCall) -> Response:
    """Change a dataset: a merge of the listed fields, or a JSON Patch."""
    found = _matched(call)
    changed = copy.deepcopy(found)
    if "json-patch" in (call.header("content-type") or ""):
        try:
            changed = patches.apply(changed, call.json())
        except (patches.PatchError, ValueError) as error:
            raise bad_request(str(error)) from None
    else:
        body = call.object()
        deep = call.request.url.path.startswith(f"{BASE}/v2/")
        for name, value in body.items():
            if name in _WRITABLE:
                changed[name] = _merged(changed.get(name), value) if deep else value
    return _saved(call, found, changed)


def put_dataset(call: PlatformCall) -> Response:
    """Replace what of a dataset can be written."""
    found = _matched(call)
    kept = {name: value for name, value in found.items() if name not in _WRITABLE}
    changed = {**kept, "tags": {}, **{name: value for name, value in call.object().items() if name in _WRITABLE}}
    own = _system_tags(found)  # a client that sends back what it read sends these too
    changed["tags"] = {name: value for name, value in changed["tags"].items() if own.get(name) != value}
    return _saved(call, found, changed)


def delete_dataset(call: PlatformCall) -> Response:
    """Remove a dataset."""
    found = _matched(call)
    call.platform.datasets.delete(found["id"])
    return reply([f"@/dataSets/{found['id']}"])


def dataset_files(call: PlatformCall) -> Response:
    """The files of a dataset: one for each batch that is live."""
    call.world.lifecycle.advance_all()
    wanted = call.request.path_params.get("dataset") or call.query.get("dataSetId", "")
    answer = {
        f"{one['id']}-1": {
            "id": f"{one['id']}-1", "batchId": one["id"], "dataSetViewId": wanted, "imsOrg": one["imsOrg"],
            "created": one["created"], "updated": one["updated"], "isValid": True,
        }
        for one in call.platform.batches.values()
        if one["dataset"] == wanted and one["sandbox"] == call.sandbox and one["status"] in ("active", "success")
    }  # fmt: skip
    return reply(answer)


def shown_batch(found: Document) -> dict[str, Any]:
    """A batch as Catalog shows it. Copies first: the ingestion worker may be writing to the document."""
    hidden = ("dataset", "sandbox", "result", "fault", "handed_over", "inactive_since")
    shown = {name: value for name, value in dict(found).items() if name not in hidden}
    return {**shown, "sandboxId": sandbox_id(found["sandbox"])}


def sandbox_id(name: str) -> str:
    """The id that the Platform has for a sandbox beside its name."""
    return str(uuid.uuid5(uuid.NAMESPACE_DNS, name))


def shown_dataset(call: PlatformCall, found: Document) -> dict[str, Any]:
    """A dataset as Catalog shows it: with the behaviour of its schema's class and the system's own tags."""
    shown = {name: value for name, value in found.items() if name != "sandbox"}
    registry = Registry(call.platform, call.sandbox, call.platform.tenant(call.org))
    schema = registry.find(str(found["schemaRef"]["id"])) or {}
    return {
        **shown,
        "sandboxId": sandbox_id(found["sandbox"]),
        "files": f"@/dataSets/{found['id']}/views/{found['viewId']}/files",
        "tags": {**_system_tags(found), **found["tags"]},
        "classification": {"dataBehavior": registry.behaviour(schema), "managedBy": "CUSTOMER"},
    }


def _system_tags(found: Document) -> dict[str, list[str]]:
    """Tags that the Platform itself sets: the table's name in Query Service and the lake's format."""
    name = re.sub(r"\W+", "_", found["name"].lower(), flags=re.ASCII)
    return {"adobe/pqs/table": [f"{name}_{found['id'][-6:]}"], "adobe/siphon/table/format": ["delta"]}


def _dataset(call: PlatformCall) -> Document:
    found = call.platform.datasets.get(call.path("dataset"))
    if found is None or found["sandbox"] != call.sandbox:
        raise not_found(f"The dataset {call.path('dataset')} was not found")
    return found


def _matched(call: PlatformCall) -> Document:
    found = _dataset(call)
    wanted = (call.header("if-match") or "").strip('"')
    if wanted and wanted not in ("*", found["version"]):
        raise refuse(412, "PreconditionFailed", f"The version is {found['version']}, not {wanted}")
    return found


def _saved(call: PlatformCall, found: Document, changed: Document) -> Response:
    _check(call, changed)
    major, minor, patch = found["version"].split(".")
    changed.update(version=f"{major}.{minor}.{int(patch) + 1}", updated=call.world.clock.now_ms(), id=found["id"])
    if call.header("pragma") != "validate-only":
        call.platform.datasets.put(found["id"], changed)
    return reply([f"@/dataSets/{found['id']}"], headers={"E-Tag": changed["version"]})


def _check(call: PlatformCall, made: Document) -> None:
    """The rules of a dataset: an existing schema, tags as documented, Profile only with a union schema."""
    reference = made.get("schemaRef") or {}
    registry = Registry(call.platform, call.sandbox, call.platform.tenant(call.org))
    schema = registry.find(str(reference.get("id")))
    try:
        if schema is None:
            raise Unresolved(f"The schema {reference.get('id')} was not found")
        registry.resolved(schema)
    except Unresolved as error:
        raise bad_request(f"schemaRef is not valid: {error}") from None
    if "version=1" not in str(reference.get("contentType", "")).replace(" ", ""):
        raise bad_request("schemaRef.contentType must name version=1")
    tags = made.get("tags") or {}
    if reserved := [name for name in tags if name.startswith("adobe")]:
        raise bad_request(f"The tag names {', '.join(reserved)} are reserved")
    for name in ("unifiedProfile", "unifiedIdentity"):
        if name in tags and not set(tags[name]) <= {"enabled:true", "enabled:false", "isUpsert:true"}:
            raise bad_request(f'The tag {name} must be ["enabled:true"]')
    if "enabled:true" in tags.get("unifiedProfile", []) and "union" not in schema.get("meta:immutableTags", []):
        raise bad_request("To enable profile datasets the schema should be valid")


def _merged(old: Any, new: Any) -> Any:
    if isinstance(old, dict) and isinstance(new, dict):
        return {**old, **{name: _merged(old.get(name), value) for name, value in new.items()}}
    return new


ROUTES = [
    Route(f"{BASE}/batches", endpoint(through(batches))),
    Route(f"{BASE}/batches/{{batch}}", endpoint(through(batch))),
    Route(f"{BASE}/lastBatches", endpoint(through(last_batches))),
    Route(f"{BASE}/dataSets", endpoint(through(datasets)), methods=["GET"]),
    Route(f"{BASE}/dataSets", endpoint(through(create_dataset)), methods=["POST"]),
    Route(f"{BASE}/dataSets/{{dataset}}", endpoint(through(dataset)), methods=["GET"]),
    Route(f"{BASE}/dataSets/{{dataset}}", endpoint(through(patch_dataset)), methods=["PATCH"]),
    Route(f"{BASE}/v2/dataSets/{{dataset}}", endpoint(through(patch_dataset)), methods=["PATCH"]),
    Route(f"{BASE}/dataSets/{{dataset}}", endpoint(through(put_dataset)), methods=["PUT"]),
    Route(f"{BASE}/dataSets/{{dataset}}", endpoint(through(delete_dataset)), methods=["DELETE"]),
    Route(f"{BASE}/dataSets/{{dataset}}/views/{{view}}/files", endpoint(through(dataset_files))),
    Route(f"{BASE}/dataSetFiles", endpoint(through(dataset_files))),
]
