"""Step three: a day of `xdm_events` as one Platform batch, and what became of it (`aep_batch`)."""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable, Sequence
from typing import TypeVar

from msgspec.structs import replace

from mixpanel_aep_assets import manifests
from mixpanel_aep_assets.aep import batch, follow
from mixpanel_aep_assets.aep.follow import Outcome
from mixpanel_aep_assets.aep.ingest import FileToSend
from mixpanel_aep_assets.aep.platform_errors import AepError, BatchVanished
from mixpanel_aep_assets.aep.states import MISSING
from mixpanel_aep_assets.connection import Connection
from mixpanel_aep_assets.errors import ExplainedError
from mixpanel_aep_assets.manifests import Action, BatchManifest, Part, SentManifest, Verdict
from mixpanel_aep_assets.pipeline.steps import source_rows, transform
from mixpanel_aep_assets.storage import Committed, Day, Staging

logger = logging.getLogger(__name__)

TABLE = "aep_batch"
VERSION = "1"

UNKNOWN = "unknown"
"""Status of a batch that the Platform cannot be asked about now."""

NO_BATCH = "nothing"
"""Status of a day that was never handed over, because it has no rows."""

Sent = TypeVar("Sent", bound=SentManifest)

COPIED = 1 << 20
"""Bytes at a time."""


class NotTransformed(ExplainedError):
    """The day has no XDM files yet."""


def load_day(
    connection: Connection, day: str, *, force: bool = False, log: Callable[[str], None] = lambda _: None
) -> BatchManifest:
    """Hands the day over as one batch and commits the receipt as the day's manifest.

    A batch that the Platform refused is sent again only when the data changed, or with `force`. Raises the errors of
    `aep.platform_errors`.
    """
    source = connection.day(transform.TABLE, day)
    manifest = transform.stored(connection, day)
    if manifest is None:
        raise NotTransformed(
            f"{connection.settings.name} {day}: no XDM files; materialize xdm_events of the day first."
        )
    receipt = batch.send_day(
        connection.platform,
        connection.storage,
        connection.settings.name,
        day,
        connection.dataset,
        manifest.data_version,
        files_to_send(connection, source.files(manifest), manifest.parts),
        connection.settings.partial_ingestion_percent,
        project=str(connection.settings.project_id or ""),
        force=force,
    )
    log(f"{day}: {receipt.action}, batch {receipt.batch_id}, {receipt.rows} rows")
    guardrails = list(receipt.warnings)
    if manifest.oversized:
        guardrails.append(f"{manifest.oversized:,} events are over 10 kB: the lake keeps them, Profile drops them.")
    for warning in guardrails:
        log(f"{day}: {warning}")
    target = connection.day(TABLE, day)
    before = stored(connection, day)
    same = before is not None and before.batch_id == receipt.batch_id
    if before is not None and same and receipt.action == Action.UNCHANGED and before.outcome is not None:
        guardrails = list(before.guardrails) or guardrails
    described = BatchManifest(
        day=day,
        data_version=manifest.data_version,
        fingerprint=connection.mapping.fingerprint,
        batch_id=receipt.batch_id,
        external_id=receipt.external_id,
        action=receipt.action,
        rows=manifest.rows,
        bytes=receipt.bytes,
        seconds=receipt.seconds,
        predecessors=receipt.predecessors,
        status=receipt.status or NO_BATCH,
        guardrails=tuple(guardrails),
    )
    with target.stage() as staging:
        if before is not None and same:
            carry(staging, target, before, ["quarantine"])
            described = replace(
                described, outcome=before.outcome, fingerprint=before.fingerprint, quarantine=before.quarantine
            )
        committed = manifests.commit(staging, described)
    if committed.outcome is not None and committed.outcome.problem:
        return confirm_day(connection, day) or committed
    return committed


def stored(connection: Connection, day: str) -> BatchManifest | None:
    """The manifest of the handed-over day, None where there is none. Raises StorageError."""
    return manifests.read(connection.day(TABLE, day), BatchManifest)


def files_to_send(connection: Connection, paths: Sequence[str], parts: Sequence[Part]) -> list[FileToSend]:
    """Parquet files of storage as the Platform's client takes them."""
    return [
        FileToSend(
            name=part.name,
            open=functools.partial(connection.storage.open_read, path),
            size=part.bytes,
            rows=part.rows,
        )
        for part, path in zip(parts, paths, strict=True)
    ]


def status(connection: Connection, batch_id: str) -> tuple[str, bool]:
    """The batch's state in the Platform's own word, and whether it is final; `missing` where it is not in the sandbox.

    While the Platform cannot be asked the state is UNKNOWN.
    """
    try:
        outcome = follow.status(connection.platform, batch_id)
    except BatchVanished:
        return MISSING, True
    except AepError as error:
        if not error.retryable:
            raise
        logger.warning("%s", error)
        return UNKNOWN, False
    return outcome.status, outcome.final


def confirm_day(connection: Connection, day: str) -> BatchManifest | None:
    """Asks what became of the day's batch, until that is final, and writes the final outcome into the day's manifest.

    Diagnostics that could not be read are read when it is asked again. None where the day was never handed over. The rows
    that the Platform refused are kept beside it as `quarantine`.
    """
    return confirm(connection, connection.day(TABLE, day), day, BatchManifest)


def confirm(connection: Connection, target: Day, day: str, kind: type[Sent], kinds: Sequence[str] = ()) -> Sent | None:
    """The same for any table whose manifest tells of one batch; `kinds` are the files that stay with it."""
    manifest = manifests.read(target, kind)
    if manifest is None or not manifest.batch_id or manifest.settled:
        return manifest
    outcome = follow.status(connection.platform, manifest.batch_id, uploaded=manifest.rows, with_diagnostics=True)
    if not outcome.final:
        return replace(manifest, status=outcome.status)
    refused = outcome.diagnostics.errors if outcome.diagnostics else ()
    with target.stage() as staging:
        carry(staging, target, manifest, kinds)
        aside = (
            source_rows.write_quarantine(staging, source_rows.rejected_rows(connection, day, refused))
            if refused
            else ()
        )
        now = manifests.read(target, kind)
        if now is not None and now.generation != manifest.generation:
            return now  # another run has handed the day over anew meanwhile
        kept = replace(manifest, status=outcome.status, outcome=_verdict(outcome), quarantine=aside)
        return manifests.commit(staging, kept)


def _verdict(outcome: Outcome) -> Verdict:
    found = outcome.diagnostics
    return Verdict(
        final=True,
        ok=outcome.ok,
        ingested=outcome.ingested or 0,
        rejected=outcome.rejected or 0,
        errors=outcome.errors,
        reasons=dict(found.by_code()) if found else {},
        truncated=bool(found and found.truncated),
        problem=found.problem if found else None,
    )


def carry(staging: Staging, day: Day, manifest: Committed, kinds: Sequence[str]) -> None:
    """Copies committed files of some kinds into a new generation, under their names."""
    for kind in kinds:
        for path in day.files(manifest, kind):
            with day.storage.open_read(path) as source, staging.open(path.rsplit("/", 1)[-1]) as copy:
                while data := source.read(COPIED):
                    copy.write(bytes(data))


def batch_url(connection: Connection, batch_id: str) -> str:
    """Where a person looks at the batch in Adobe's own interface."""
    organisation = (connection.settings.org_id or "").split("@")[0]
    return (
        f"https://experience.adobe.com/#/@{organisation}/sname:{connection.settings.sandbox}"
        f"/platform/dataset/browse/{connection.dataset}/batches/{batch_id}"
    )
