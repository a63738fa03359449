"""`POST /import`, so that a test project can be filled through Mixpanel's own API (mixpanel.md#import)."""

from __future__ import annotations

import gzip
import json
from typing import Any

from starlette.responses import Response
from starlette.routing import Route

from mixpanel_aep_assets.emulator.http import Call, Refusal, endpoint, reply
from mixpanel_aep_assets.emulator.mixpanel.accounts import Unauthenticated
from mixpanel_aep_assets.emulator.mixpanel.events import epoch_ms

MAXIMUM_EVENTS = 2000
MAXIMUM_BYTES = 10_485_760
_INVALID_TIME = "'properties.time' is invalid: must be specified as seconds since epoch"


def import_events(call: Call) -> Response:
    """Take up to 2000 events; in strict mode the bad ones are named and the good ones kept."""
    try:
        who = call.world.accounts.caller(call.header("authorization"), call.world.clock.utc())
    except Unauthenticated:
        raise Refusal(_answer(401, "Invalid credentials", "Unauthorized")) from None
    number = call.query.get("project_id") or str(who.project or "")
    project = call.world.accounts.project(number)
    if project is None or number not in who.projects:
        raise Refusal(_answer(401, "Invalid credentials", "Unauthorized"))
    events = _events(call)
    received = call.world.clock.now_ms()
    good: list[dict[str, Any]] = []
    failed: list[dict[str, Any]] = []
    for index, event in enumerate(events):
        properties = event.get("properties") if isinstance(event, dict) else None
        try:
            if not isinstance(properties, dict):
                raise ValueError("no properties")  # noqa: TRY004 - one kind of refusal
            epoch_ms(properties.get("time"))
        except ValueError:
            known = properties.get("$insert_id") if isinstance(properties, dict) else None
            failed.append({"index": index, "insert_id": known, "field": "properties.time", "message": _INVALID_TIME})
            continue
        properties = {name: value for name, value in properties.items() if name not in ("token", "ip", "$ignore")}
        stamps = {"$import": True, "$mp_api_timestamp_ms": received, "mp_processing_time_ms": received}
        good.append({"event": event.get("event", ""), "properties": {**properties, **stamps}})
    stored = call.world.events.add(project, good)
    if failed and call.query.get("strict", "1") == "1":
        body = {"code": 400, "num_records_imported": stored, "status": "Bad Request", "failed_records": failed}
        return reply(body, 400)
    return reply({"code": 200, "num_records_imported": stored, "status": "OK"})


def _events(call: Call) -> list[Any]:
    body = call.body
    if (call.header("content-encoding") or "") == "gzip":
        body = gzip.decompress(body)
    if len(body) > MAXIMUM_BYTES:
        raise Refusal(_answer(413, f"request exceeds max limit of {MAXIMUM_BYTES} bytes", "Request Entity Too Large"))
    try:
        if "ndjson" in (call.header("content-type") or ""):
            events = [json.loads(line) for line in body.split(b"\n") if line.strip()]
        else:
            events = json.loads(body)
    except ValueError:
        raise Refusal(_answer(400, "invalid JSON", "Bad Request")) from None
    if not isinstance(events, list) or len(events) > MAXIMUM_EVENTS:
        raise Refusal(_answer(400, f"expected an array of at most {MAXIMUM_EVENTS} events", "Bad Request"))
    return events


def _answer(code: int, error: str, status: str) -> Response:
    return reply({"code": code, "error": error, "status": status}, code)


ROUTES = [Route("/import", endpoint(import_events), methods=["POST"])]
