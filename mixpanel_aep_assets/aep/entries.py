"""The entries of a partition's receipts, one frozen type per kind, and the only place that turns stored JSON into them.

Each entry carries the number of its format: 1, where none is stored (versions up to November 2026), or 2. A log may hold both.
Fields that a type does not know are skipped. What belongs here: fields and formats. What does not: what entries add up to
(`receipts`).
"""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from enum import StrEnum
from typing import Annotated

import msgspec

from mixpanel_aep_assets.aep.platform_errors import ReceiptsDamaged
from mixpanel_aep_assets.manifests import NewerFormat
from mixpanel_aep_assets.runtime.owner import Owner

FORMAT = 2
"""Of the entries that are written."""

MAIN = "main"
"""The part of a day that holds its XDM files."""

REPLAY = "replay"
"""The part that holds rows which conform only since a fix; it stands beside the main batch until the day is remade."""


class Kind(StrEnum):
    """See `receipts`. From `created` on they are steps of a batch that was intended."""

    CLAIM = "claim"
    RENEW = "renew"
    RELEASE = "release"
    INTEND = "intend"
    CREATED = "created"
    COMPLETING = "completing"
    COMPLETED = "completed"
    ABORTING = "aborting"
    ABORTED = "aborted"
    REVERTING = "reverting"
    REVERTED = "reverted"
    ENDED = "ended"
    VOID = "void"


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """What every entry has. `number` (from 1) is set when it is written, `mark` tells a repeated write from another's."""

    kind: Kind
    number: int | None = None
    token: str = ""
    mark: str | None = None
    format: int = FORMAT

    def as_json(self) -> dict[str, object]:
        """As it is stored."""
        return {name: value for name, value in msgspec.to_builtins(self).items() if value is not None}


class Claimed(Entry, frozen=True, kw_only=True):
    kind: Kind = Kind.CLAIM
    owner: Owner
    expires_at: datetime.datetime


class Renewed(Entry, frozen=True, kw_only=True):
    kind: Kind = Kind.RENEW
    expires_at: datetime.datetime


class Released(Entry, frozen=True, kw_only=True):
    kind: Kind = Kind.RELEASE


class Intended(Entry, frozen=True, kw_only=True):
    """`files` is a fingerprint of names and sizes, `predecessors` are ids of batches, `part` is MAIN or REPLAY."""

    kind: Kind = Kind.INTEND
    external_id: str
    target: str
    dataset_id: str
    data_version: str
    files: str
    rows: int
    bytes: int
    predecessors: tuple[str, ...]
    part: str = MAIN


class Stepped(Entry, frozen=True, kw_only=True):
    """`status` is the Platform's word; `found`: the state was found and not brought about."""

    attempt: Annotated[int, msgspec.Meta(ge=1)]
    batch_id: str | None = None
    status: str | None = None
    found: bool | None = None


_TYPES: Mapping[str, type[Entry]] = {
    Kind.CLAIM: Claimed,
    Kind.RENEW: Renewed,
    Kind.RELEASE: Released,
    Kind.INTEND: Intended,
}


def entry_of(stored: Mapping[str, object]) -> Entry:
    """A stored entry. Raises NewerFormat, and ReceiptsDamaged for one that cannot be."""
    number, kind = stored.get("number"), stored.get("kind")
    written = stored.get("format", 1)
    if isinstance(written, int) and written > FORMAT:
        raise NewerFormat(
            f"Receipt {number} has format {written}, this version reads formats up to {FORMAT}",
            fix="Update mixpanel-aep-assets here.",
        )
    if kind not in set(Kind):
        raise ReceiptsDamaged(f"Receipt {number} has the unknown kind {kind!r}; a newer version may have written it")
    try:
        entry = msgspec.convert(_from_format_1(stored) if written == 1 else stored, _TYPES.get(str(kind), Stepped))
    except msgspec.ValidationError as error:
        raise ReceiptsDamaged(f"Receipt {number} cannot be read: {error}") from None
    if entry.number is None:
        raise ReceiptsDamaged("A receipt has no number")
    return entry


def _from_format_1(stored: Mapping[str, object]) -> dict[str, object]:
    """The same fields; a day had no parts but the main one at first, and empty words stood for none."""
    return {
        name: value for name, value in stored.items() if value is not None and not (name == "part" and not value)
    } | {"format": 1}
