"""Rows of a day's quarantine that conform since a fix, sent as one more batch beside the day's own.

A day has at most one live replay. It holds every row of the day's quarantine that conforms now, so that a later replay
takes the place of an earlier one, and a new main batch the place of both (`aep.batch`). What may be replayed: events that
did not conform, and events that the Platform refused. Lines that are no events stay where they are: no mapping mends them.

The manifest of a day in the table `aep_replay`: `base_batch_id` and `base_version` (the main batch it stands beside),
`data_version`, `batch_id`, `action`, `rows`, `from_xdm` and `from_aep` (rows by the stage that had set them aside),
`remaining` (rows that do not conform now), the files `replayed` (line, id, stage) and `left` (the remaining rows, with their
reasons of now), and once the batch is final `outcome` and `quarantine`. What does not belong here: showing the quarantine
(`quarantine`), the day's books (`report`).
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import IO, Any, cast

import orjson
import polars as pl

from mixpanel_aep_assets.aep import batch
from mixpanel_aep_assets.connection import Opened
from mixpanel_aep_assets.errors import ExplainedError
from mixpanel_aep_assets.growth.strict_fields import with_refused
from mixpanel_aep_assets.pipeline import extract, load, rows, transform
from mixpanel_aep_assets.storage import Staging
from mixpanel_aep_assets.xdm.conformance import SeenIds, reasons
from mixpanel_aep_assets.xdm.identities import without_refused
from mixpanel_aep_assets.xdm.parquet import XdmWriter, shape

TABLE = "aep_replay"
KINDS = ("parts", "replayed", "left")
PART_NAME = "replay-{number:05}.parquet"
STAGED = [*transform.QUARANTINE_SCHEMA.names, "stage"]


class NotReplayable(ExplainedError):
    """The day has no live main batch that a replay could stand beside."""


class NotFinal(ExplainedError):
    """The day's batch is still in progress."""

    retryable = True
    wait = 60.0


class WouldTakeBack(ExplainedError):
    """Rows that an earlier replay made live do not conform now."""


def replay_day(
    opened: Opened,
    day: str,
    *,
    force: bool = False,
    dry_run: bool = False,
    log: Callable[[str], None] = lambda _: None,
) -> dict[str, Any]:
    """Sends the quarantined rows of the day that conform now; the manifest. Without such rows nothing is sent.

    Twice sends nothing twice; killed at any instant, the next call finishes. Rows that the Platform refused are tried
    again only after the mapping or the schema changed, or with `force`. `dry_run` sends and keeps nothing.
    Raises NotReplayable, NotFinal, WouldTakeBack, the errors of `dataprep` and of `aep.errors` (DayChanged when a run of
    the day came between), StorageError.
    """
    base = _base(opened, day)
    before = standing(opened, day)
    candidates = _candidates(opened, day, base, before, force=force)
    with opened.day(TABLE, day).stage() as staging:
        made = _transformed(opened, day, candidates, staging)
        _keep_what_is_live(opened, day, before, made)
        version = _version(opened, base, made)
        described = {
            "day": day,
            "base_batch_id": base["batch_id"],
            "base_version": base["data_version"],
            "data_version": version,
            "batch_id": None,
            "external_id": None,
            "action": "nothing",
            "rows": made.replayed.height,
            "from_xdm": made.count("xdm"),
            "from_aep": made.count("aep"),
            "remaining": made.left.height,
            "bytes": 0,
            "predecessors": [],
            "guardrails": [],
            "status": "nothing",
            "outcome": None,
            "parts": made.parts,
        }
        if dry_run or (before is None and candidates.is_empty()):
            return described
        if made.parts:
            receipt = batch.send_day(
                opened.platform,
                opened.storage,
                opened.settings.name,
                day,
                opened.dataset,
                version,
                load.files_to_send(opened, [staging.path(part["name"]) for part in made.parts], made.parts),
                opened.settings.partial_ingestion_percent,
                project=str(opened.settings.project_id or ""),
                force=force,
                base=base["batch_id"],
            )
            log(f"{day}: {receipt.action}, batch {receipt.batch_id}, {receipt.rows} rows")
            if before is not None and before["batch_id"] == receipt.batch_id:
                return before | {"action": receipt.action}
            described |= {
                "batch_id": receipt.batch_id,
                "external_id": receipt.external_id,
                "action": receipt.action,
                "bytes": receipt.bytes,
                "predecessors": list(receipt.predecessors),
                "guardrails": list(receipt.warnings),
                "status": receipt.status,
            }
        described["replayed"] = rows.write_quarantine(
            staging, made.replayed.select("line", "id", "stage"), "replayed.parquet"
        )
        described["left"] = rows.write_quarantine(staging, made.left, "left.parquet")
        return staging.commit(described)


def standing(opened: Opened, day: str) -> dict[str, Any] | None:
    """The replay that belongs to the day's main batch of now; None where there is none, or a later run replaced it."""
    manifest = opened.day(TABLE, day).manifest()
    if manifest is None:
        return None
    base = opened.day(load.TABLE, day).manifest() or {}
    xdm = opened.day(transform.TABLE, day).manifest() or {}
    stands = manifest["base_batch_id"] == base.get("batch_id")
    return manifest if stands and manifest["base_version"] == xdm.get("data_version") else None


def refused(manifest: Mapping[str, Any] | None) -> bool:
    """Whether the Platform has refused the replay's batch, so that its rows are in the quarantine as before."""
    return manifest is not None and not (manifest["outcome"] or {}).get("ok", True)


def confirm_day(opened: Opened, day: str) -> dict[str, Any] | None:
    """Asks what became of the replay's batch; the manifest of the one that stands, None where none does."""
    return None if standing(opened, day) is None else load.confirm(opened, opened.day(TABLE, day), day, KINDS)


def _base(opened: Opened, day: str) -> dict[str, Any]:
    """The manifest of the main batch. Raises NotReplayable where it is not live, NotFinal where that is not known."""
    where = f"{opened.settings.name} {day}"
    raw = opened.day(extract.TABLE, day).manifest()
    xdm = opened.day(transform.TABLE, day).manifest()
    if raw is None or xdm is None:
        raise NotReplayable(f"{where}: the day was never transformed; run it first.")
    base = load.confirm_day(opened, day)
    if base is None or xdm["raw_digest"] != raw["digest"] or base["data_version"] != xdm["data_version"]:
        raise NotReplayable(f"{where}: the day as it is now was not handed over; run it, which sends it whole.")
    if not base["batch_id"]:
        raise NotReplayable(f"{where}: no event of the day conformed, so there is no batch to add to; run the day.")
    if not base["outcome"]:
        raise NotFinal(f"{where}: batch {base['batch_id']} is {base['status']}; replay the day when it is final.")
    if not base["outcome"]["ok"]:
        raise NotReplayable(f"{where}: the Platform refused the day's batch as a whole; mend that and run the day.")
    return base


@dataclass
class _Made:
    """What came of the candidates: `replayed` and `left` have the columns STAGED."""

    parts: list[dict[str, Any]] = field(default_factory=list)
    replayed: pl.DataFrame = field(default_factory=pl.DataFrame)
    left: pl.DataFrame = field(default_factory=pl.DataFrame)

    def count(self, stage: str) -> int:
        return 0 if self.replayed.is_empty() else int((self.replayed["stage"] == stage).sum())


def _candidates(
    opened: Opened, day: str, base: Mapping[str, Any], before: Mapping[str, Any] | None, *, force: bool
) -> pl.DataFrame:
    """The rows to try, with their `stage`. Of the Platform's, only what may fare better this time."""
    refused = _staged(rows.read_groups(opened.day(load.TABLE, day), base), "aep").filter(pl.col("line").is_not_null())
    if base.get("fingerprint") == opened.fingerprint and not force:
        again = _replayed(opened, day, before)
        refused = refused.filter(pl.col("id").is_in(again.implode()))
    return pl.concat([_staged(rows.read_groups(opened.day(transform.TABLE, day)), "xdm"), refused])


def _staged(frames: Iterable[pl.DataFrame], stage: str) -> pl.DataFrame:
    none = pl.DataFrame(schema=dict.fromkeys(STAGED, pl.String) | {"line": pl.Int64()})
    return pl.concat([none, *(frame.with_columns(pl.lit(stage).alias("stage")).select(STAGED) for frame in frames)])


def _replayed(opened: Opened, day: str, manifest: Mapping[str, Any] | None) -> pl.Series:
    """The ids of the rows that a replay sent."""
    none = pl.Series("id", [], dtype=pl.String)
    files = rows.read_groups(opened.day(TABLE, day), manifest, "replayed", ["id"]) if manifest is not None else ()
    return pl.concat([none, *(frame["id"] for frame in files)])


def _transformed(opened: Opened, day: str, candidates: pl.DataFrame, staging: Staging) -> _Made:
    """Maps and checks the candidates as `transform` does; those that conform become XDM files in `staging`."""
    if candidates.is_empty():
        return _Made(replayed=candidates, left=candidates)
    taken = _taken(opened, day, candidates)
    good, bad = [], []
    with XdmWriter(lambda name: cast("IO[bytes]", staging.open(name)), opened.schema, None, name=PART_NAME) as writer:
        for frame in rows.source_rows(opened, day, candidates["id"]):
            mapped = opened.mapping.apply(frame)
            typed = without_refused(shape(mapped.frame, opened.schema))
            found = with_refused(opened.conformance.check(typed), mapped.errors, opened.strict_destinations)
            twice = taken.repeated(typed["_id"]) & ~found.bad
            fit = ~(found.bad | twice)
            if fit.any():
                writer.write(typed.filter(fit), shaped=True)
            good.append(frame.filter(fit)["mixpanel.id"])
            bad += [_reasons(frame, found.violations), _reasons(frame, _repeated(twice))]
        parts = [dict(part) for part in writer.close()]
    conforming = pl.concat(good) if good else pl.Series([], dtype=pl.String)
    replayed = candidates.filter(pl.col("id").is_in(conforming.implode()))
    of_now = pl.concat(bad) if bad else pl.DataFrame(schema=dict.fromkeys(("id", *_REASON), pl.String))
    left = (
        candidates.filter(~pl.col("id").is_in(conforming.implode()))
        .join(of_now, on="id", how="left", suffix="_now", maintain_order="left")
        .with_columns(pl.coalesce(f"{column}_now", column).alias(column) for column in _REASON)
        .select(STAGED)
    )
    return _Made(parts, replayed, left)


_REASON = ("reason", "pointer", "detail")


def _taken(opened: Opened, day: str, candidates: pl.DataFrame) -> SeenIds:
    """The `_id`s of the rows that the main batch brought in: it sent those that the Platform refused, too."""
    refused = candidates.filter(pl.col("stage") == "aep")["id"]
    free = pl.Series([], dtype=pl.String)
    if len(refused):
        frames = rows.with_platform_id(opened, rows.source_rows(opened, day, refused))
        free = pl.concat([free, *(frame["_id"] for frame in frames)])
    taken = SeenIds()
    for frame in rows.read_groups(opened.day(transform.TABLE, day), kind="parts", columns=["_id"]):
        taken.repeated(frame["_id"].filter(~frame["_id"].is_in(free.implode())))
    return taken


def _repeated(twice: pl.Series) -> pl.DataFrame:
    """The violations of rows whose `_id` is live already."""
    return pl.DataFrame({"row": twice.arg_true()}).with_columns(
        pl.lit("uniqueId").alias("keyword"),
        pl.lit("/_id").alias("pointer"),
        pl.lit("an event with the same _id is in the Platform").alias("message"),
    )


def _reasons(frame: pl.DataFrame, violations: pl.DataFrame) -> pl.DataFrame:
    """The violations of each row, joined: id, reason, pointer, detail."""
    ids = frame.select(pl.col("mixpanel.id").alias("id")).with_row_index("row")
    return ids.join(reasons(violations), on="row").select("id", *_REASON)


def _keep_what_is_live(opened: Opened, day: str, before: Mapping[str, Any] | None, made: _Made) -> None:
    if before is None or not before["batch_id"] or refused(before):
        return
    live = _replayed(opened, day, before)
    lost = live.filter(~live.is_in(made.replayed["id"].implode()))
    if len(lost):
        raise WouldTakeBack(
            f"{opened.settings.name} {day}: {len(lost):,} events that an earlier replay made live do not conform with "
            "the mapping and schema of now; nothing was sent. Mend the mapping, or run the day, which makes it anew as "
            "a whole."
        )


def _version(opened: Opened, base: Mapping[str, Any], made: _Made) -> str:
    """Of everything that the replay's files are a function of."""
    ids = sorted(made.replayed["id"].to_list())
    parts = [base["batch_id"], base["data_version"], opened.fingerprint, ids]
    return hashlib.sha256(orjson.dumps(parts)).hexdigest()[:32]
