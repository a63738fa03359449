"""What the emulator's tests talk to it with: bare HTTP, none of the project's own clients."""

from __future__ import annotations

import io
import itertools
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

import httpx
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mixpanel_aep_assets.emulator import Control, EmulatorThread
from mixpanel_aep_assets.emulator.client import NO_AUTHORITIES

ACCOUNT = ("demo.abc123.mp-service-account", "demo-secret")
ORG = "0123456789ABCDEF01234567@AdobeOrg"
EXPERIENCE_EVENT = "https://ns.adobe.com/xdm/context/experienceevent"
GROUPS = ("environment-details", "commerce", "web", "technical-details", "implementation-details")
MS_UTC = pa.timestamp("ms", tz="UTC")
_numbers = itertools.count()


@dataclass
class Mixpanel:
    """The Mixpanel half of an emulator."""

    url: str
    control: Control
    http: httpx.Client = field(init=False)

    def __post_init__(self) -> None:
        self.http = httpx.Client(base_url=self.url, auth=ACCOUNT, trust_env=False, timeout=30, verify=NO_AUTHORITIES)

    def export(self, first: str = "2026-01-10", last: str | None = None, **more: Any) -> httpx.Response:
        headers = more.pop("headers", None)
        auth = more.pop("auth", httpx.USE_CLIENT_DEFAULT)
        query = {"project_id": 12345, "from_date": first, "to_date": last or first, "time_in_ms": "true"} | more
        query = {name: value for name, value in query.items() if value is not None}
        return self.http.get("/api/2.0/export", params=query, headers=headers, auth=auth)

    def lines(self, *arguments: Any, **more: Any) -> list[bytes]:
        response = self.export(*arguments, **more)
        assert response.status_code == 200, response.text
        return response.content.splitlines(keepends=True)


@dataclass
class Platform:
    """The Platform half, with a token."""

    url: str
    control: Control
    http: httpx.Client = field(init=False)
    _dataset: str | None = None

    def __post_init__(self) -> None:
        self.http = httpx.Client(base_url=self.url, trust_env=False, timeout=30, verify=NO_AUTHORITIES)
        self.login()

    def login(self) -> None:
        body = {"grant_type": "client_credentials", "client_id": "demo-client", "client_secret": "demo-client-secret",
                "scope": "openid,session"}  # fmt: skip
        token = self.http.post("/ims/token/v3", data=body).json()["access_token"]
        self.http.headers.update({
            "Authorization": f"Bearer {token}", "x-api-key": "demo-client", "x-gw-ims-org-id": ORG,
            "x-sandbox-name": "prod",
        })  # fmt: skip

    def field_group(self, properties: dict[str, Any] | None = None, title: str = "Mixpanel details") -> httpx.Response:
        own = properties or {"mixpanel": {"type": "object", "properties": {"insertId": {"type": "string"}}}}
        body = {
            "title": title, "type": "object", "meta:intendedToExtend": [EXPERIENCE_EVENT],
            "definitions": {
                "own": {"type": "object", "properties": {"_demotenant": {"type": "object", "properties": own}}}
            },
            "allOf": [{"$ref": "#/definitions/own"}],
        }  # fmt: skip
        return self.http.post("/data/foundation/schemaregistry/tenant/fieldgroups", json=body)

    def schema(self, *references: str, title: str = "Mixpanel events") -> httpx.Response:
        groups = [f"{EXPERIENCE_EVENT}-{name}" for name in GROUPS]
        body = {"title": title, "description": "d", "type": "object",
                "allOf": [{"$ref": one} for one in (EXPERIENCE_EVENT, *groups, *references)]}  # fmt: skip
        return self.http.post("/data/foundation/schemaregistry/tenant/schemas", json=body)

    def create_dataset(self, schema: str, **more: Any) -> httpx.Response:
        reference = {"id": schema, "contentType": "application/vnd.adobe.xed+json;version=1"}
        return self.http.post(
            "/data/foundation/catalog/dataSets", json={"name": "Mixpanel events", "schemaRef": reference} | more
        )

    @property
    def dataset(self) -> str:
        if self._dataset is None:
            schema = self.schema(self.field_group().json()["$id"]).json()["$id"]
            self._dataset = self.create_dataset(schema).json()[0].rsplit("/", 1)[-1]
        return self._dataset

    def get_resource(self, kind: str, identifier: str, accept: str, container: str = "tenant") -> httpx.Response:
        path = f"/data/foundation/schemaregistry/{container}/{kind}/{quote(identifier, safe='')}"
        return self.http.get(path, headers={"Accept": accept})

    def create(self, **body: Any) -> httpx.Response:
        told = {"datasetId": self.dataset, "inputFormat": {"format": "parquet"}} | body
        return self.http.post("/data/foundation/import/batches", json=told)

    def batch(self, **body: Any) -> str:
        response = self.create(**body)
        assert response.status_code == 201, response.text
        return str(response.json()["id"])

    def path(self, batch: str, name: str = "part-0.parquet") -> str:
        return f"/data/foundation/import/batches/{batch}/datasets/{self.dataset}/files/{name}"

    def put(self, batch: str, content: bytes, name: str = "part-0.parquet") -> httpx.Response:
        return self.http.put(
            self.path(batch, name), content=content, headers={"Content-Type": "application/octet-stream"}
        )

    def act(self, batch: str, action: str) -> httpx.Response:
        return self.http.post(f"/data/foundation/import/batches/{batch}", params={"action": action})

    def status(self, batch: str) -> dict[str, Any]:
        found: dict[str, Any] = self.http.get(f"/data/foundation/catalog/batches/{batch}").json()[batch]
        return found

    def ingest(self, *contents: bytes, **body: Any) -> dict[str, Any]:
        """A whole batch of files, followed to its final state."""
        batch = self.batch(**body)
        for number, content in enumerate(contents):
            assert self.put(batch, content, f"part-{number}").is_success
        assert self.act(batch, "COMPLETE").status_code == 200
        self.control.settle()
        return self.status(batch)


def parquet(table: Any) -> bytes:
    out = io.BytesIO()
    pq.write_table(table, out, compression="snappy")
    return out.getvalue()


def events(count: int = 3, **columns: Any) -> Any:
    """A conforming table of `count` events; `columns` are added, or taken away by None."""
    base = next(_numbers)
    made: dict[str, Any] = {
        "_id": pa.array([f"e{base}-{number}" for number in range(count)]),
        "timestamp": pa.array([1768024800000 + number for number in range(count)], MS_UTC),
    } | columns
    return pa.table({name: column for name, column in made.items() if column is not None})


def wait_until(condition: Any, seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "the condition never came true"
        time.sleep(0.01)


@pytest.fixture
def mixpanel(emulator: EmulatorThread) -> Iterator[Mixpanel]:
    half = Mixpanel(emulator.url, emulator.control)
    yield half
    half.http.close()


@pytest.fixture
def platform(emulator: EmulatorThread) -> Iterator[Platform]:
    half = Platform(emulator.url, emulator.control)
    yield half
    half.http.close()
