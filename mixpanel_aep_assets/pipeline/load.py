"""Step three: a day of `xdm_events` as one Platform batch, and what became of it (`aep_batch`)."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import orjson

from mixpanel_aep_assets.aep import batch, follow
from mixpanel_aep_assets.aep.ingest import FileToSend
from mixpanel_aep_assets.connection import Opened
from mixpanel_aep_assets.pipeline import transform

TABLE = "aep_batch"
VERSION = "1"


class NotTransformed(Exception):
    """The day has no XDM files yet."""

    retryable = False


def load_day(opened: Opened, day: str, *, log: Callable[[str], None] = lambda _: None) -> dict[str, Any]:
    """Hands the day over as one batch and commits the receipt as the day's manifest.

    The manifest: `batch_id`, `external_id`, `action` (see `aep.batch.Receipt`), `rows`, `bytes`, `seconds`,
    `predecessors`, `status`, `data_version`, and `outcome` once the batch is final.
    Raises the errors of `aep.errors`.
    """
    source = opened.day(transform.TABLE, day)
    manifest = source.manifest()
    if manifest is None:
        raise NotTransformed(f"{opened.settings.name} {day}: no XDM files; materialize xdm_events of the day first.")
    files = [
        FileToSend(
            name=part["name"],
            open=functools.partial(opened.storage.open_read, path),
            size=part["bytes"],
            rows=part["rows"],
        )
        for part, path in zip(manifest["parts"], source.files(manifest), strict=True)
    ]
    receipt = batch.send_day(
        opened.platform,
        opened.storage,
        opened.settings.name,
        day,
        opened.dataset,
        manifest["data_version"],
        files,
        opened.settings.partial_ingestion_percent,
        project=str(opened.settings.project_id or ""),
    )
    log(f"{day}: {receipt.action}, batch {receipt.batch_id}, {receipt.rows} rows")
    target = opened.day(TABLE, day)
    before = target.manifest() or {}
    outcome = before.get("outcome") if before.get("batch_id") == receipt.batch_id else None
    with target.stage() as staging:
        return staging.commit(
            {
                "day": day,
                "data_version": manifest["data_version"],
                "batch_id": receipt.batch_id,
                "external_id": receipt.external_id,
                "action": receipt.action,
                "rows": manifest["rows"],
                "bytes": receipt.bytes,
                "seconds": receipt.seconds,
                "predecessors": list(receipt.predecessors),
                "status": receipt.status or "nothing",
                "outcome": outcome,
            }
        )


def status(opened: Opened, batch_id: str) -> tuple[str, bool]:
    """The batch's state in the Platform's own word, and whether it is final."""
    outcome = follow.status(opened.platform, batch_id)
    return outcome.status, outcome.final


def confirm_day(opened: Opened, day: str) -> dict[str, Any] | None:
    """Asks what became of the day's batch, once, and writes a final outcome into the day's manifest.

    None where the day was never handed over. The diagnostics of rejected rows are kept in a file beside the manifest.
    """
    target = opened.day(TABLE, day)
    manifest = target.manifest()
    if manifest is None or not manifest["batch_id"] or (manifest["outcome"] or {}).get("final"):
        return manifest
    outcome = follow.status(opened.platform, manifest["batch_id"], uploaded=manifest["rows"], with_diagnostics=True)
    if not outcome.final:
        return {**manifest, "status": outcome.status}
    described = {
        "final": True,
        "ok": outcome.ok,
        "ingested": outcome.ingested or 0,
        "rejected": outcome.rejected or 0,
        "errors": [dataclasses.asdict(error) for error in outcome.errors],
        "reasons": outcome.diagnostics.by_code() if outcome.diagnostics else {},
    }
    with target.stage() as staging:
        kept = {**manifest, "status": outcome.status, "outcome": described}
        if outcome.diagnostics and outcome.diagnostics.errors:
            with staging.open("rejected.ndjson") as file:
                for error in outcome.diagnostics.errors:
                    file.write(orjson.dumps(dataclasses.asdict(error), default=str) + b"\n")
            kept["rejected"] = [
                {"name": "rejected.ndjson", "rows": len(outcome.diagnostics.errors), "bytes": file.size}
            ]
        return staging.commit(kept)


def counts(opened: Opened, day: str) -> dict[str, Any]:
    from mixpanel_aep_assets.pipeline import report

    return report.counts_of(opened, day)


def batch_url(opened: Opened, batch_id: str) -> str:
    """Where a person looks at the batch in Adobe's own interface."""
    organisation = (opened.settings.org_id or "").split("@")[0]
    return (
        f"https://experience.adobe.com/#/@{organisation}/sname:{opened.settings.sandbox}"
        f"/platform/dataset/browse/{opened.dataset}/batches/{batch_id}"
    )
