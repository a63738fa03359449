"""What one step leaves for the next: the manifest of a day, one frozen type per table.

A manifest is the JSON object that commits a day (`storage`). This module is where its fields are written down, and the only
place that turns stored JSON into them. Each manifest carries the number of its format::

    1   no number stored: versions up to November 2026 (`Stored.from_format_1`)
    2   this version

Fields that a type does not know are skipped, so that an older version reads what a newer one of the same format has added.
A format that is not known here is an error, for its fields may mean something else (`NewerFormat`).

What belongs here: fields, formats, reading and committing. What does not: what the numbers mean for a day
(`pipeline.books.report`).
"""

from __future__ import annotations

import functools
import logging
from enum import StrEnum
from typing import Any, Literal, TypeVar

import msgspec

from mixpanel_aep_assets.storage import MANIFEST, Day, Staging, StorageError

logger = logging.getLogger(__name__)

FORMAT = 2
"""Of the manifests that are written."""


class NewerFormat(StorageError):
    """A newer version of this project has written the manifest."""


class UnreadableManifest(StorageError):
    """The manifest is JSON, but not what its table holds."""


class Part(msgspec.Struct, frozen=True, omit_defaults=True):
    """A committed file: its name in the generation's folder, its rows, its size in bytes.

    `hash`: of its content, 64 bits as 16 hexadecimal digits; None where it is not known, as in format 1.
    """

    name: str
    rows: int
    bytes: int
    hash: str | None = None


class Stored(msgspec.Struct, frozen=True, kw_only=True):
    """What is stored as one JSON object with the number of its format. `format` is that of the file it was read from."""

    format: int = 1

    @classmethod
    def from_format_1(cls, stored: dict[str, object]) -> dict[str, object]:
        """The fields of an object without a number in the terms of format 2; those that are missing take their defaults."""
        return stored


class Manifest(Stored, frozen=True, kw_only=True):
    """What every manifest has. `generation` (the folder of the files) and `committed_at` are set by `commit`."""

    generation: str = ""
    committed_at: str = ""

    def names(self, kind: str) -> list[str]:
        """Names of the files of a kind: a field that lists parts."""
        return [part.name for part in getattr(self, kind)]


class _Numbered(msgspec.Struct, frozen=True):
    format: int = 1


M = TypeVar("M", bound=Manifest)
S = TypeVar("S", bound=Stored)


def read(day: Day, kind: type[M]) -> M | None:
    """What was committed last; None where nothing was, or where a power failure left no readable manifest.

    Raises StorageError, NewerFormat, UnreadableManifest.
    """
    path = f"{day.path}/{MANIFEST}"
    data = day.storage.read(path)
    return None if data is None else decoded(data, kind, day.storage.location(path))


def decoded(data: bytes, kind: type[S], where: str) -> S | None:
    """A stored object; None where it is cut, which is logged. `where` is named in errors.

    Raises NewerFormat, and UnreadableManifest for JSON that is something else.
    """
    try:
        number = msgspec.json.decode(data, type=_Numbered).format
        if number > FORMAT:
            raise NewerFormat(
                f"{where} has format {number}, this version reads formats up to {FORMAT}. Update mixpanel-aep-assets here."
            )
        if number == FORMAT:
            found: S = _decoder(kind).decode(data)
            return found
        return msgspec.convert(kind.from_format_1(msgspec.json.decode(data)), kind)
    except msgspec.ValidationError as error:
        raise UnreadableManifest(
            f"{where} does not hold what belongs there: {error}. Restore the file, or remove it and run the day again."
        ) from None
    except (msgspec.DecodeError, UnicodeDecodeError):
        logger.warning("%s cannot be read; it counts as never written.", where)
        return None


def encoded(value: Stored) -> bytes:
    """A stored object as its file holds it."""
    return msgspec.json.encode(msgspec.structs.replace(value, format=FORMAT))


def commit(staging: Staging, manifest: M) -> M:
    """Makes the staged files the day's content; the manifest as stored. Raises StorageError."""
    written = staging.commit(msgspec.to_builtins(manifest) | {"format": FORMAT})
    return msgspec.structs.replace(
        manifest, generation=written["generation"], committed_at=written["committed_at"], format=FORMAT
    )


def as_json(value: Any) -> Any:
    """A manifest, or pieces of one, as they are stored: for metadata and reports."""
    if isinstance(value, tuple):
        return [msgspec.to_builtins(one) for one in value]
    return msgspec.to_builtins(value)


@functools.cache
def _decoder(kind: type[S]) -> msgspec.json.Decoder[S]:
    return msgspec.json.Decoder(kind)


class TimeEvidence(msgspec.Struct, frozen=True):
    """The grounds of a day's time mode.

    `sure`: false where the mode is a guess · `lasting`: it holds for other days too · `observed`: what the day's own events
    say, whatever was set · `counts`: their evidence in `zone`, which counts for other days; None in format 1.
    """

    sure: bool
    lasting: bool
    text: str
    observed: str
    observed_text: str
    zone: str | None = None
    counts: dict[str, int] | None = None


class Body(msgspec.Struct, frozen=True):
    """The answer to the export request, or the day's part of it: `bytes` are decompressed, `wire_bytes` as received."""

    bytes: int
    wire_bytes: int
    seconds: float


class Window(msgspec.Struct, frozen=True):
    """The first and the last day of the request that brought the day."""

    first: str = msgspec.field(name="from")
    last: str = msgspec.field(name="to")


class Slices(msgspec.Struct, frozen=True):
    """How a day was asked for by several requests. `complete`: false where the rest, after all names, was empty."""

    by: Literal["event", "time"]
    requests: int
    complete: bool


class Changes(msgspec.Struct, frozen=True):
    """Events that differ from the reading before."""

    appeared: int = 0
    changed: int = 0
    vanished: int = 0


class RawManifest(Manifest, frozen=True, kw_only=True):
    """A day of `raw_events`.

    `exported` = `rows` + `quarantined`. `request` is the request that asks for this day alone, `project` whom it asks
    (`MixpanelSource.project_name`; None in format 1: not known). `privacy` is the fingerprint of the rules that were applied.
    `changes` is of a day that replaced another reading, `window` of one that came with others, `slices` of one that took
    several requests. No secret, and no value of a filter beside the request's own.
    """

    day: str
    exported: int
    rows: int
    quarantined: int
    reasons: dict[str, int]
    digest: str
    privacy: str | None = None
    max_processing_ms: int | None
    first_ms: int | None
    last_ms: int | None
    events: dict[str, int]
    time_mode: Literal["utc", "project"]
    timezone: str
    time_evidence: TimeEvidence
    request: dict[str, str]
    project: str | None = None
    body: Body
    window: Window | None = None
    slices: Slices | None = None
    changes: Changes | None = None
    parts: tuple[Part, ...] = ()
    quarantine: tuple[Part, ...] = ()


class Exported(msgspec.Struct, frozen=True):
    """What came of an export of a day.

    `unchanged`: the committed day stays as it is. `doubt`: why what Mixpanel says now is not believed, in words; where nothing
    was committed before, `manifest` is then that of the reading, and has no generation.
    """

    manifest: RawManifest
    unchanged: bool = False
    doubt: str | None = None


class RequestManifest(Manifest, frozen=True, kw_only=True):
    """Lines of an export request that belong to none of the days asked for, from `first` to `last`.

    `lines` and `reasons` are of all that are stored. `events_only`: lines that are no events could not come with the request.
    `left_alone`: days asked for that were not committed. `answered`: days that newer requests answer for.
    """

    first: str = msgspec.field(name="from")
    last: str = msgspec.field(name="to")
    asked_at: str
    events_only: bool
    left_alone: tuple[str, ...] = ()
    answered: tuple[str, ...] = ()
    lines: int
    reasons: dict[str, int]
    privacy: str | None = None
    quarantine: tuple[Part, ...] = ()


class Violations(msgspec.Struct, frozen=True):
    """Rows of a day that break a rule of the schema at a place."""

    pointer: str
    rule: str
    rows: int


class RowSetAside(msgspec.Struct, frozen=True):
    """A row that does not conform, with all its reasons; its properties lie in the quarantine files."""

    line: int | None
    id: str | None
    reason: str | None
    pointer: str | None
    detail: str | None
    event: str | None


class MappingError(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """A mapping that could not be computed in some rows: Adobe's shape of the error, and the rows."""

    source: str | None
    destination: str
    source_type: str | None
    column_name: str | None = None
    exception: str
    rows: int


class XdmManifest(Manifest, frozen=True, kw_only=True):
    """A day of `xdm_events`.

    `rows` are those to upload. `warnings` are violations that the Platform takes. `oversized`: events that Profile drops.
    `raw_digest` is of the raw day, `data_version` of everything that the files are a function of, `mapping` a name.
    """

    day: str
    rows: int
    duplicates: int
    quarantined: int
    violations: tuple[Violations, ...] = ()
    warnings: tuple[Violations, ...] = ()
    examples: tuple[RowSetAside, ...] = ()
    mapping_errors: tuple[MappingError, ...] = ()
    oversized: int = 0
    raw_digest: str
    data_version: str
    schema: str
    mapping: str
    seconds: float
    parts: tuple[Part, ...] = ()
    quarantine: tuple[Part, ...] = ()


class BatchError(msgspec.Struct, frozen=True):
    """An error of a whole batch; `rows` is how many rows it hit, where the Platform says so."""

    code: str
    description: str
    rows: int | None = None


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """What became of a batch in the end.

    `ok`: its rows are live · `reasons`: refused rows by code · `truncated`: the Platform refused more rows than its diagnostics
    could be read for · `problem`: why none could.
    """

    final: bool
    ok: bool
    ingested: int
    rejected: int
    errors: tuple[BatchError, ...] = ()
    reasons: dict[str, int] = {}
    truncated: bool = False
    problem: str | None = None


class Action(StrEnum):
    """What was done with a day's data (`aep.batch.Receipt`)."""

    UPLOADED = "uploaded"
    ADOPTED = "adopted"
    UNCHANGED = "unchanged"
    REPLACED = "replaced"
    REVERTED = "reverted"
    NOTHING = "nothing"


class SentManifest(Manifest, frozen=True, kw_only=True):
    """What any hand-over leaves: the batch (None where there were no rows) and, once it is final, its `outcome`.

    `status` is the Platform's word when it was last asked, NOTHING without a batch. `guardrails` are warnings before the
    upload; `quarantine` holds the rows that the Platform refused.
    """

    day: str
    data_version: str
    batch_id: str | None
    external_id: str | None
    action: Action
    rows: int
    bytes: int
    predecessors: tuple[str, ...] = ()
    status: str
    guardrails: tuple[str, ...] = ()
    outcome: Verdict | None = None
    quarantine: tuple[Part, ...] = ()

    @property
    def settled(self) -> bool:
        """Whether nothing is left to ask: the batch is final and its diagnostics were read."""
        return self.outcome is not None and self.outcome.final and not self.outcome.problem


class BatchManifest(SentManifest, frozen=True, kw_only=True):
    """A day of `aep_batch`. `fingerprint` is of mapping and schema (None: not known)."""

    fingerprint: str | None = None
    seconds: float = 0.0


class ReplayManifest(SentManifest, frozen=True, kw_only=True):
    """A day of `aep_replay`.

    It stands beside the main batch `base_batch_id` of the data `base_version`. `from_xdm` and `from_aep` are rows by the stage
    that had set them aside, `remaining` those that still do not conform. Files: `replayed` (line, id, stage) and `left` (the
    remaining rows with their reasons of now).
    """

    base_batch_id: str
    base_version: str
    from_xdm: int
    from_aep: int
    remaining: int
    parts: tuple[Part, ...] = ()
    replayed: tuple[Part, ...] = ()
    left: tuple[Part, ...] = ()


class Conflict(msgspec.Struct, frozen=True):
    """A property whose kinds of values share no type, with the values of each kind."""

    property: str
    kinds: dict[str, int]


class ProfileManifest(Manifest, frozen=True, kw_only=True):
    """A day of `property_profile`: `properties` is their number, `events` rows by name. Files: cells (`parts`) and `values`."""

    day: str
    rows: int
    events: dict[str, int]
    properties: int
    conflicts: tuple[Conflict, ...] = ()
    raw_digest: str
    version: str
    parts: tuple[Part, ...]
    values: tuple[Part, ...]


class Drifted(msgspec.Struct, frozen=True):
    """A property that is new, changed or vanished (`finding`): what it was and is, in words, for a person."""

    finding: str
    property: str
    before: str
    now: str
    events: str
    examples: str


class DriftManifest(Manifest, frozen=True, kw_only=True):
    """A day of `property_drift`. `against`: what the day was held against, in words, empty where nothing was known.

    `found` are the first of each finding; the counts are of all.
    """

    day: str
    rows: int
    against: str
    properties: int
    conflicts: int
    new: int
    changed: int
    vanished: int
    found: tuple[Drifted, ...] = ()
    data_version: str
