"""What the Platform remembers: credentials, tokens and the collections of all its services, apart by sandbox.

Ids are made here, of the shapes of platform.md#emulator, and never reused.
"""

from __future__ import annotations

import secrets
from pathlib import Path
from typing import Any

from mixpanel_aep_assets.emulator.clock import Clock
from mixpanel_aep_assets.emulator.settings import Settings
from mixpanel_aep_assets.emulator.store import Document, Store

ORG = "0123456789ABCDEF01234567@AdobeOrg"
CLIENT_ID = "demo-client"
CLIENT_SECRET = "demo-client-secret"  # noqa: S105 - the emulator's published default
TENANT = "demotenant"
SANDBOXES = ["prod", "dev"]
_CROCKFORD = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"


class Platform:
    """The state of one Adobe organisation. Makes the default client in an empty memory."""

    def __init__(self, store: Store, clock: Clock, settings: Settings) -> None:
        self.store, self.clock, self.settings = store, clock, settings
        self.clients = store.collection("platform.client")
        self.tokens = store.collection("platform.token")
        self.datasets = store.collection("platform.dataset")
        self.batches = store.collection("platform.batch")
        self.files = store.collection("platform.file")
        self.resources = store.collection("platform.resource")
        self.descriptors = store.collection("platform.descriptor")
        self.namespaces = store.collection("platform.namespace")
        self.mapping_sets = store.collection("platform.mapping_set")
        if not self.clients.values():
            self.put_client({})

    def put_client(self, changes: dict[str, Any]) -> Document:
        """Make an OAuth client, or change the named members of an existing one.

        Members: id, secrets (up to two at once), org, tenant, sandboxes, entitled (whether it has a product profile).
        """
        number = changes.get("id", CLIENT_ID)
        base = self.clients.get(number) or {
            "secrets": [CLIENT_SECRET], "org": ORG, "tenant": TENANT, "sandboxes": SANDBOXES, "entitled": True,
        }  # fmt: skip
        client = {**base, **changes, "id": number}
        self.clients.put(number, client)
        return client

    def tenant(self, org: str) -> str:
        """The tenant id of the organisation, without the leading underscore."""
        return next((str(client["tenant"]) for client in self.clients.values() if client["org"] == org), TENANT)

    def folder(self, batch: str) -> Path:
        """Where the batch's bytes lie."""
        path = self.store.folder / "batches" / batch
        path.mkdir(parents=True, exist_ok=True)
        return path

    def ulid(self) -> str:
        """A batch id: 26 characters, time first."""
        number = (self.clock.now_ms() << 80) | secrets.randbits(80)
        return "".join(_CROCKFORD[(number >> shift) & 31] for shift in range(125, -1, -5))

    def dataset_id(self) -> str:
        """24 hex characters."""
        return secrets.token_hex(12)

    def schema_hash(self) -> str:
        """48 hex characters."""
        return secrets.token_hex(24)

    def mapping_set_id(self) -> str:
        """32 hex characters."""
        return secrets.token_hex(16)
