"""What one step leaves for the next: the manifest of a day, one frozen type per table.

A manifest is the JSON object that commits a day (`storage`). This module is where its fields are written down, and the only
place that turns stored JSON into them. Each manifest carries the number of its format::

    1   no number stored: versions up to November 2026. Fields that came later take their defaults (`Manifest.migrated`).
    2   this version

Fields that a type does not know are skipped, so that an older version reads what a newer one of the same format has added.
A format that is not known here is an error, for its fields may mean something else (`NewerFormat`).

What belongs here: fields, formats, reading and committing. What does not: what the numbers mean for a day (`pipeline.report`).
"""

from __future__ import annotations

import functools
import logging
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


class Part(msgspec.Struct, frozen=True):
    """A committed file: its name in the generation's folder, its rows and bytes."""

    name: str
    rows: int
    bytes: int


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """What every manifest has. `generation` (the folder of the files) and `committed_at` are set by `commit`."""

    generation: str = ""
    committed_at: str = ""
    format: int = 1

    def names(self, kind: str) -> list[str]:
        """Names of the files of a kind: a field that lists parts."""
        return [part.name for part in getattr(self, kind)]

    def migrated(self) -> Manifest:
        """A manifest of format 1 in today's terms, its later fields at their defaults."""
        return self


M = TypeVar("M", bound=Manifest)


def read(day: Day, kind: type[M]) -> M | None:
    """What was committed last; None where nothing was, or where a power failure left no readable manifest.

    Raises StorageError, NewerFormat, UnreadableManifest.
    """
    path = f"{day.path}/{MANIFEST}"
    data = day.storage.read(path)
    return None if data is None else _decoded(data, kind, day.storage.location(path))


def _decoded(data: bytes, kind: type[M], where: str) -> M | None:
    try:
        found: M = _decoder(kind).decode(data)
    except msgspec.ValidationError as error:
        number = _format(data)
        if number > FORMAT:
            raise _newer(where, number) from None
        raise UnreadableManifest(
            f"{where} is not a manifest of its table: {error}. Restore the file, or remove it and run the day again."
        ) from None
    except msgspec.DecodeError:
        logger.warning("%s cannot be read; the day counts as not committed.", where)
        return None
    if found.format > FORMAT:
        raise _newer(where, found.format)
    return found if found.format == FORMAT else found.migrated()  # type: ignore[return-value]


def commit(staging: Staging, manifest: M) -> M:
    """Makes the staged files the day's content; the manifest as stored. Raises StorageError."""
    written = staging.commit(msgspec.to_builtins(manifest) | {"format": FORMAT})
    return msgspec.structs.replace(
        manifest, generation=written["generation"], committed_at=written["committed_at"], format=FORMAT
    )


def as_json(value: Any) -> Any:
    """A manifest, or a piece of one, as it is stored: for metadata and reports."""
    return msgspec.to_builtins(value)


@functools.cache
def _decoder(kind: type[M]) -> msgspec.json.Decoder[M]:
    return msgspec.json.Decoder(kind)


def _format(data: bytes) -> int:
    try:
        return msgspec.json.decode(data, type=Manifest).format
    except msgspec.MsgspecError:
        return 1


def _newer(where: str, number: int) -> NewerFormat:
    return NewerFormat(
        f"{where} has format {number}, this version reads formats up to {FORMAT}. Update mixpanel-aep-assets here."
    )


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
