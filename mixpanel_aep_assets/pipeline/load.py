"""Step three: a day of `xdm_events` as one Platform batch, and what became of it (`aep_batch`)."""

from __future__ import annotations

import dataclasses
import functools
import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from mixpanel_aep_assets.aep import batch, follow
from mixpanel_aep_assets.aep.errors import AepError, BatchVanished
from mixpanel_aep_assets.aep.follow import Outcome
from mixpanel_aep_assets.aep.ingest import FileToSend
from mixpanel_aep_assets.connection import Opened
from mixpanel_aep_assets.pipeline import rows, transform
from mixpanel_aep_assets.storage import Day, Staging

logger = logging.getLogger(__name__)

TABLE = "aep_batch"
VERSION = "1"

UNKNOWN = "unknown"

COPIED = 1 << 20
"""Bytes at a time."""


class NotTransformed(Exception):
    """The day has no XDM files yet."""

    retryable = False


def load_day(
    opened: Opened, day: str, *, force: bool = False, log: Callable[[str], None] = lambda _: None
) -> dict[str, Any]:
    """Hands the day over as one batch and commits the receipt as the day's manifest.

    A batch that the Platform refused is sent again only when the data changed, or with `force`. The manifest:
    `batch_id`, `external_id`, `action` (see `aep.batch.Receipt`), `rows`, `bytes`, `seconds`, `predecessors`, `status`,
    `data_version`, `fingerprint` (of mapping and schema), `guardrails` (warnings before the upload), and once the batch is
    final `outcome` and `quarantine` (rows that the Platform refused). Raises the errors of `aep.errors`.
    """
    source = opened.day(transform.TABLE, day)
    manifest = source.manifest()
    if manifest is None:
        raise NotTransformed(f"{opened.settings.name} {day}: no XDM files; materialize xdm_events of the day first.")
    receipt = batch.send_day(
        opened.platform,
        opened.storage,
        opened.settings.name,
        day,
        opened.dataset,
        manifest["data_version"],
        files_to_send(opened, source.files(manifest), manifest["parts"]),
        opened.settings.partial_ingestion_percent,
        project=str(opened.settings.project_id or ""),
        force=force,
    )
    log(f"{day}: {receipt.action}, batch {receipt.batch_id}, {receipt.rows} rows")
    guardrails = list(receipt.warnings)
    if manifest["oversized"]:
        guardrails.append(f"{manifest['oversized']:,} events are over 10 kB: the lake keeps them, Profile drops them.")
    for warning in guardrails:
        log(f"{day}: {warning}")
    target = opened.day(TABLE, day)
    before = target.manifest() or {}
    if receipt.action == "unchanged" and before.get("batch_id") == receipt.batch_id and before.get("outcome"):
        guardrails = before.get("guardrails") or guardrails
    described = {
        "day": day,
        "data_version": manifest["data_version"],
        "fingerprint": opened.fingerprint,
        "batch_id": receipt.batch_id,
        "external_id": receipt.external_id,
        "action": receipt.action,
        "rows": manifest["rows"],
        "bytes": receipt.bytes,
        "seconds": receipt.seconds,
        "predecessors": list(receipt.predecessors),
        "status": receipt.status or "nothing",
        "guardrails": guardrails,
        "outcome": None,
    }
    with target.stage() as staging:
        if before.get("batch_id") == receipt.batch_id:
            kept = carry(staging, target, before, ["quarantine"])
            described |= kept | {"outcome": before.get("outcome"), "fingerprint": before.get("fingerprint")}
        committed = staging.commit(described)
    if (committed["outcome"] or {}).get("problem"):
        return confirm_day(opened, day) or committed
    return committed


def files_to_send(opened: Opened, paths: Sequence[str], parts: Sequence[Mapping[str, Any]]) -> list[FileToSend]:
    """Parquet files of storage as the Platform's client takes them."""
    return [
        FileToSend(
            name=part["name"],
            open=functools.partial(opened.storage.open_read, path),
            size=part["bytes"],
            rows=part["rows"],
        )
        for part, path in zip(parts, paths, strict=True)
    ]


def status(opened: Opened, batch_id: str) -> tuple[str, bool]:
    """The batch's state in the Platform's own word, and whether it is final; `missing` where it is not in the sandbox.

    While the Platform cannot be asked the state is UNKNOWN.
    """
    try:
        outcome = follow.status(opened.platform, batch_id)
    except BatchVanished:
        return "missing", True
    except AepError as error:
        if not error.retryable:
            raise
        logger.warning("%s", error)
        return UNKNOWN, False
    return outcome.status, outcome.final


def confirm_day(opened: Opened, day: str) -> dict[str, Any] | None:
    """Asks what became of the day's batch, until that is final, and writes the final outcome into the day's manifest.

    Diagnostics that could not be read are read when it is asked again. None where the day was never handed over. The rows
    that the Platform refused are kept beside it as `quarantine`.
    """
    return confirm(opened, opened.day(TABLE, day), day)


def confirm(opened: Opened, target: Day, day: str, kinds: Sequence[str] = ()) -> dict[str, Any] | None:
    """The same for any table whose manifest tells of one batch; `kinds` are the files that stay with it."""
    manifest = target.manifest()
    known = (manifest or {}).get("outcome") or {}
    if manifest is None or not manifest["batch_id"] or (known.get("final") and not known.get("problem")):
        return manifest
    outcome = follow.status(opened.platform, manifest["batch_id"], uploaded=manifest["rows"], with_diagnostics=True)
    if not outcome.final:
        return {**manifest, "status": outcome.status}
    refused = outcome.diagnostics.errors if outcome.diagnostics else ()
    with target.stage() as staging:
        kept = {**manifest, "status": outcome.status, "outcome": _described(outcome)}
        kept |= carry(staging, target, manifest, kinds)
        kept["quarantine"] = rows.write_quarantine(staging, rows.rejected_rows(opened, day, refused)) if refused else []
        now = target.manifest()
        if now is not None and now["generation"] != manifest["generation"]:
            return now  # another run has handed the day over anew meanwhile
        return staging.commit(kept)


def _described(outcome: Outcome) -> dict[str, Any]:
    """`truncated`: the Platform refused more rows than its diagnostics could be read for; `problem`: why none could."""
    found = outcome.diagnostics
    return {
        "final": True,
        "ok": outcome.ok,
        "ingested": outcome.ingested or 0,
        "rejected": outcome.rejected or 0,
        "errors": [dataclasses.asdict(error) for error in outcome.errors],
        "reasons": found.by_code() if found else {},
        "truncated": bool(found and found.truncated),
        "problem": found.problem if found else None,
    }


def carry(staging: Staging, day: Day, manifest: Mapping[str, Any], kinds: Sequence[str]) -> dict[str, Any]:
    """Copies committed files of some kinds into a new generation; the manifest's entries for them."""
    for kind in kinds:
        for path in day.files(manifest, kind):
            with day.storage.open_read(path) as source, staging.open(path.rsplit("/", 1)[-1]) as copy:
                while data := source.read(COPIED):
                    copy.write(bytes(data))
    return {kind: manifest.get(kind, []) for kind in kinds}


def batch_url(opened: Opened, batch_id: str) -> str:
    """Where a person looks at the batch in Adobe's own interface."""
    organisation = (opened.settings.org_id or "").split("@")[0]
    return (
        f"https://experience.adobe.com/#/@{organisation}/sname:{opened.settings.sandbox}"
        f"/platform/dataset/browse/{opened.dataset}/batches/{batch_id}"
    )
