"""Identity namespaces (platform.md#namespaces)."""

from __future__ import annotations

import re
from typing import Any

from starlette.responses import Response
from starlette.routing import Route

from mixpanel_aep_assets.emulator.http import endpoint, reply
from mixpanel_aep_assets.emulator.platform.gateway import PlatformCall, bad_request, not_found, refuse, through
from mixpanel_aep_assets.emulator.platform.state import Platform

BASE = "/data/core/idnamespace/identities"
TYPES = frozenset({"cookie", "cross_device", "device", "email", "mobile", "non_people", "phone"})
STANDARD = [
    {"id": 0, "code": "CORE", "name": "CORE", "idType": "COOKIE"},
    {"id": 4, "code": "ECID", "name": "ECID", "idType": "COOKIE"},
    {"id": 6, "code": "Email", "name": "Email", "idType": "Email"},
    {"id": 7, "code": "Phone", "name": "Phone", "idType": "Phone"},
    {"id": 11, "code": "Email_LC_SHA256", "name": "Emails (SHA256, lowercased)", "idType": "Email"},
    {"id": 411, "code": "AdCloud", "name": "AdCloud", "idType": "COOKIE"},
]
"""Adobe's own, as far as the references confirm their codes."""
_FIRST_OWN = 10_000_001


def known(platform: Platform, sandbox: str) -> list[dict[str, Any]]:
    """Adobe's namespaces and the sandbox's own."""
    standard = [
        {**one, "status": "ACTIVE", "custom": False, "description": "", "createTime": 0, "updateTime": 0}
        for one in STANDARD
    ]
    return standard + [one["body"] for one in platform.namespaces.values() if one["sandbox"] == sandbox]


def namespaces(call: PlatformCall) -> Response:
    """All of them, as an array."""
    return reply(known(call.platform, call.sandbox))


def namespace(call: PlatformCall) -> Response:
    """One by its number or code."""
    for one in known(call.platform, call.sandbox):
        if call.path("id") in (str(one["id"]), one["code"]):
            return reply(one)
    raise not_found(f"The namespace {call.path('id')} was not found")


def create(call: PlatformCall) -> Response:
    """A new one; its code and type can never be changed afterwards."""
    body = call.object()
    code = body.get("code")
    if not isinstance(code, str) or not re.fullmatch(r"[A-Za-z0-9]+", code):
        raise bad_request("code may hold only letters and digits")
    if not body.get("name"):
        raise bad_request("name is required")
    if str(body.get("idType", "")).lower() not in TYPES:
        raise bad_request("idType must be one of DEVICE, COOKIE, CROSS_DEVICE, PHONE, EMAIL")
    with call.platform.store.lock:
        # Not documented for codes that differ in case alone; two such would be told apart by `identityMap` keys only.
        if any(one["code"].lower() == code.lower() for one in known(call.platform, call.sandbox)):
            report = {"code": "INTEGRATION_CODE_EXISTS", "message": f"The code {code} exists"}
            raise refuse(
                409, "NAMESPACE_CODE_CONFLICT", f"A namespace with the code {code} exists already", report=report
            )
        now = call.world.clock.now_ms()
        made = {
            "id": _FIRST_OWN + len(call.platform.namespaces), "code": code, "name": body["name"], "idType": body["idType"],
            "status": "ACTIVE", "custom": True, "description": body.get("description", ""), "createTime": now,
            "updateTime": now,
        }  # fmt: skip
        call.platform.namespaces.put(f"{call.sandbox}|{code}", {"sandbox": call.sandbox, "body": made})
    return reply(made)


ROUTES = [
    Route(BASE, endpoint(through(namespaces)), methods=["GET"]),
    Route(BASE, endpoint(through(create)), methods=["POST"]),
    Route(f"{BASE}/{{id}}", endpoint(through(namespace)), methods=["GET"]),
]
