"""The Schema Registry's routes (platform.md#schema-registry): look-ups with their Accept rules, and the tenant's resources."""

from __future__ import annotations

import datetime
import re
import uuid
from typing import Any

from starlette.convertors import Convertor, register_url_convertor
from starlette.responses import Response
from starlette.routing import Route

from mixpanel_aep_assets.emulator.http import Refusal, endpoint, reply
from mixpanel_aep_assets.emulator.platform import listing, patches
from mixpanel_aep_assets.emulator.platform.composition import Registry, Schema, Unresolved, alt_id, global_resources
from mixpanel_aep_assets.emulator.platform.gateway import PlatformCall, bad_request, problem, refuse, through
from mixpanel_aep_assets.emulator.platform.notation import standard
from mixpanel_aep_assets.emulator.platform.rules import check_field_group, check_schema, repeated, tenant_class
from mixpanel_aep_assets.emulator.platform.tree import narrowed, node
from mixpanel_aep_assets.emulator.store import Document

BASE = "/data/foundation/schemaregistry"
KINDS = {"schemas": "schemas", "fieldgroups": "fieldgroups", "mixins": "fieldgroups", "classes": "classes",
         "datatypes": "datatypes"}  # fmt: skip
_LIST = frozenset({"-id", "", "-full", "-notext"})
_LOOKUP = frozenset({"", "-full", "-notext", "-full-notext", "-full-desc", "-deprecatefield"})
_ACCEPT = re.compile(r"application/vnd\.adobe\.(xed|xdm)([a-z-]*)\+json\s*(?:;\s*version\s*=\s*(\d+))?\s*")
_TEXTS = frozenset({"title", "description", "meta:enum"})


def xdm_problem(code: str, title: str, detail: str) -> Refusal:
    """An error in the Registry's newer form; the last part of the code is the status."""
    report = {
        "registryRequestId": str(uuid.uuid4()),
        "timestamp": datetime.datetime.now(datetime.UTC).strftime("%m-%d-%Y %H:%M:%S"),
        "detailed-message": detail,
        "sub-errors": [],
    }
    status = int(code.rsplit("-", 1)[-1])
    return Refusal(problem(status, title, detail, type_=f"http://ns.adobe.com/aep/errors/{code}", report=report))


def accepted(call: PlatformCall, *, lookup: bool) -> tuple[str, bool]:
    """The form that the Accept header asks for, and whether it wants standard names. Refuses by the rules of
    platform.md#accept-headers.

    The pages name the `xed` forms only. Adobe's open client asks with `xdm`, the notation that they call standard XDM.
    """
    header = call.header("accept") or ""
    if header in ("", "*/*"):
        raise refuse(406, "NotAcceptableError", "Accept header parameter is required")
    found = _ACCEPT.fullmatch(header.partition(",")[0].strip())
    notation, form, version = found.groups() if found else (None, None, None)
    code = "XDM-1007-400" if lookup else "XDM-1006-400"
    if form is None or form not in (_LOOKUP if lookup else _LIST):
        raise xdm_problem(code, "Invalid Accept header", f"The Accept header {header} is not supported here")
    if lookup and version != "1":
        raise xdm_problem(
            code, "Invalid Accept header", "version must be supplied in the accept header, and is always 1"
        )
    return form, notation == "xdm"


def stats(call: PlatformCall) -> Response:
    """The tenant id and how much there is."""
    own = _registry(call).tenants()
    counts = {kind: sum(one["kind"] == kind for one in own) for kind in set(KINDS.values())}
    return reply({
        "imsOrg": call.org, "tenantId": call.platform.tenant(call.org), "counts": counts,
        "recentlyCreatedResources": [], "recentlyUpdatedResources": [], "classUsage": {},
    })  # fmt: skip


def resources(call: PlatformCall) -> Response:
    """A list of one kind of one container."""
    form, _ = accepted(call, lookup=False)
    kind, registry = _kind(call), _registry(call)
    if call.path("container") == "global":
        known = [one for one in global_resources().values() if one["meta:resourceType"] in (kind, _told(kind))]
    else:
        known = registry.tenants(kind)
    found, page = listing.page(call, known, "title")
    names = ("$id", "meta:altId", "version", "title")
    shown = [{name: one[name] for name in names} if form == "-id" else _raw(one) for one in found]
    return reply({"results": shown, "_page": page, "_links": {}})


def resource(call: PlatformCall) -> Response:
    """One resource, raw or resolved as the Accept header asks."""
    found, (form, is_standard) = _found(call), accepted(call, lookup=True)
    registry = _registry(call)
    if form in ("", "-notext"):
        shown = _raw(found)
    else:
        try:
            whole = found["meta:resourceType"] == "datatypes" or call.world.settings.data_types == "resolved"
            shown = registry.resolved(found, data_types=whole)
        except Unresolved as error:
            raise bad_request(str(error)) from None
        if is_standard:
            shown = standard(shown, registry.tenant)
    if form.endswith("notext"):
        shown = _without_text(shown)
    if form == "-full-desc":
        shown["meta:descriptors"] = [
            one for one in call.platform.descriptors.values() if one["body"].get("xdm:sourceSchema") == found["$id"]
        ]
    return reply(shown)


def create(call: PlatformCall) -> Response:
    """A new resource of the tenant."""
    if call.path("container") != "tenant":
        raise refuse(403, "ForbiddenError", "The global container is read only")
    body, kind, registry = call.object(), _kind(call), _registry(call)
    tenant = registry.tenant
    identifier = (
        f"https://ns.adobe.com/{tenant}/{'mixins' if kind == 'fieldgroups' else kind}/{call.platform.schema_hash()}"
    )
    document = _document(call, kind, identifier, body)
    with call.platform.store.lock:
        _check(registry, document)
        call.platform.resources.put(registry.key(identifier), document)
    return reply(_raw(document), 201)


def replace(call: PlatformCall) -> Response:
    """PUT: the whole resource anew; only additions once a dataset uses it."""
    found = _own(call)
    return _updated(call, found, call.object())


def patch(call: PlatformCall) -> Response:
    """PATCH: a JSON Patch; only additions once a dataset uses the resource."""
    found = _own(call)
    try:
        changed = patches.apply(found["body"], call.json())
    except (patches.PatchError, ValueError) as error:
        raise bad_request(str(error)) from None
    return _updated(call, found, changed)


def delete(call: PlatformCall) -> Response:
    """Remove a resource that nothing uses."""
    found, registry = _own(call), _registry(call)
    if any(one["schemaRef"]["id"] in _users(registry, found) for one in _datasets(call)):
        raise bad_request(f"{found['$id']} is used by a dataset and cannot be deleted")
    call.platform.resources.delete(registry.key(found["$id"]))
    return Response(status_code=204)


def _updated(call: PlatformCall, found: Document, body: dict[str, Any]) -> Response:
    registry, platform = _registry(call), call.platform
    with platform.store.lock:
        before = {user: node(registry.resolved(_known(registry, user))) for user in _used(call, found)}
        document = _document(call, found["kind"], found["$id"], body)
        document["version"] = f"1.{int(found['version'].partition('.')[2] or 0) + 1}"
        _check(registry, document, earlier=found)
        platform.resources.put(registry.key(found["$id"]), document)
        for user, tree in before.items():
            now = registry.resolved(_known(registry, user))
            reason = narrowed(tree, node(now)) or repeated(now, f"_{registry.tenant}")
            if reason:
                platform.resources.put(registry.key(found["$id"]), found)
                detail = f"Only additions are allowed once a dataset uses the schema: {reason}"
                raise xdm_problem("XDM-1650-400", "Breaking change", detail)
    return reply(_raw(document))


def _check(registry: Registry, document: Document, *, earlier: Document | None = None) -> None:
    if any(
        one["title"].lower() == document["title"].lower() and one["$id"] != document["$id"]
        for one in registry.tenants()
    ):
        raise bad_request("Title must be unique. An object already exists with the title " + document["title"])
    if document["kind"] == "schemas":
        check_schema(registry, document, earlier)
    elif document["kind"] == "fieldgroups":
        check_field_group(registry, document)
    try:
        registry.resolved(document)
    except Unresolved as error:
        raise bad_request(str(error)) from None


def _document(call: PlatformCall, kind: str, identifier: str, body: dict[str, Any]) -> Document:
    if not isinstance(body.get("title"), str) or not body["title"].strip():
        raise bad_request("title is required")
    now = call.world.clock.now_ms()
    made: Document = {
        **body, "$id": identifier, "meta:altId": alt_id(identifier), "version": "1.0", "imsOrg": call.org,
        "meta:resourceType": _told(kind), "meta:containerId": "tenant", "meta:xdmType": "object",
        "meta:tenantNamespace": f"_{call.platform.tenant(call.org)}",
        "meta:registryMetadata": {"repo:createdDate": now, "repo:lastModifiedDate": now, "eTag": uuid.uuid4().hex},
        "kind": kind, "sandbox": call.sandbox, "body": body,
    }  # fmt: skip
    if kind == "schemas":
        made["meta:class"] = tenant_class(body)
        made["meta:extends"] = [part["$ref"] for part in body.get("allOf", []) if "$ref" in part]
    return made


def _raw(found: Schema) -> Schema:
    return {name: value for name, value in found.items() if name not in ("kind", "sandbox", "body")}


def _without_text(value: Any) -> Any:
    if isinstance(value, dict):
        return {
            name: _without_text(child) for name, child in value.items() if name not in _TEXTS or isinstance(child, dict)
        }
    return [_without_text(child) for child in value] if isinstance(value, list) else value


def _kind(call: PlatformCall) -> str:
    return KINDS[call.path("kind")]


def _told(kind: str) -> str:
    return "mixins" if kind == "fieldgroups" else kind


def _registry(call: PlatformCall) -> Registry:
    return Registry(call.platform, call.sandbox, call.platform.tenant(call.org))


def _known(registry: Registry, identifier: str) -> Document:
    return registry.find(identifier) or {}


def _found(call: PlatformCall) -> Document:
    identifier = call.path("id")
    found = _registry(call).find(identifier)
    if found is None or found["meta:containerId"] != call.path("container"):
        detail = f"Requested resource {identifier} with version 1 is not found"
        raise xdm_problem("XDM-1012-404", "Resource Not Found", detail)
    return found


def _own(call: PlatformCall) -> Document:
    if call.path("container") != "tenant":
        raise refuse(403, "ForbiddenError", "The global container is read only")
    return _found(call)


def _datasets(call: PlatformCall) -> list[Document]:
    return [one for one in call.platform.datasets.values() if one["sandbox"] == call.sandbox]


def _users(registry: Registry, found: Document) -> set[str]:
    """The schemas that the resource is part of, itself included."""
    return {one["$id"] for one in registry.tenants("schemas") if registry.uses(one, found["$id"])} | {found["$id"]}


def _used(call: PlatformCall, found: Document) -> set[str]:
    """Those of them that a dataset uses or Profile is enabled for."""
    registry = _registry(call)
    users = _users(registry, found)
    enabled = {one["$id"] for one in registry.tenants("schemas") if "union" in one.get("meta:immutableTags", [])}
    return users & ({one["schemaRef"]["id"] for one in _datasets(call)} | enabled)


def _routes() -> list[Route]:
    made = [Route(f"{BASE}/stats", endpoint(through(stats)))]
    one, many = (
        f"{BASE}/{{container:container}}/{{kind:kind}}/{{id:path}}",
        f"{BASE}/{{container:container}}/{{kind:kind}}",
    )
    made += [
        Route(many, endpoint(through(resources)), methods=["GET"]),
        Route(many, endpoint(through(create)), methods=["POST"]),
        Route(one, endpoint(through(resource)), methods=["GET"]),
        Route(one, endpoint(through(replace)), methods=["PUT"]),
        Route(one, endpoint(through(patch)), methods=["PATCH"]),
        Route(one, endpoint(through(delete)), methods=["DELETE"]),
    ]
    return made


class _Container(Convertor[str]):
    """Whose resources: the tenant's or Adobe's."""

    regex = "tenant|global"

    def convert(self, value: str) -> str:
        return value

    def to_string(self, value: str) -> str:
        return value


class _Kind(_Container):
    """Which of the resource types."""

    regex = "|".join(KINDS)


register_url_convertor("container", _Container())
register_url_convertor("kind", _Kind())
ROUTES = _routes()
