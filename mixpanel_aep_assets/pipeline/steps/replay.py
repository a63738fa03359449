"""Rows of a day's quarantine that conform since a fix, sent as an additional batch of the day.

A day has at most one live replay. It holds every row of the day's quarantine that conforms now, so that a later replay
takes the place of an earlier one, and a new main batch the place of both (`aep.batch`). What may be replayed: events that
did not conform, and events that the Platform refused. Lines that are not events stay where they are: no mapping fixes them.

What does not belong here: showing the quarantine (`quarantine`), the day's books (`report`).
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import IO, cast

import orjson
import polars as pl
from msgspec.structs import replace

from mixpanel_aep_assets import manifests
from mixpanel_aep_assets.aep import batch
from mixpanel_aep_assets.connection import Connection
from mixpanel_aep_assets.connection.dataset_mapping import DatasetMapping
from mixpanel_aep_assets.errors import ExplainedError
from mixpanel_aep_assets.manifests import Action, BatchManifest, Part, ReplayManifest
from mixpanel_aep_assets.pipeline.steps import extract, load, source_rows, transform
from mixpanel_aep_assets.pipeline.steps.rows_to_xdm import RowsToXdm
from mixpanel_aep_assets.pipeline.steps.source_rows import Stage
from mixpanel_aep_assets.storage import Staging
from mixpanel_aep_assets.xdm.conformance import SeenIds, reasons
from mixpanel_aep_assets.xdm.parquet import XdmWriter

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
    connection: Connection,
    day: str,
    *,
    force: bool = False,
    dry_run: bool = False,
    log: Callable[[str], None] = lambda _: None,
) -> ReplayManifest:
    """Sends the quarantined rows of the day that conform now; the manifest. Without such rows nothing is sent.

    Twice sends nothing twice; killed at any instant, the next call finishes. Rows that the Platform refused are tried
    again only after the mapping or the schema changed, or with `force`. `dry_run` sends and keeps nothing.
    Raises NotReplayable, NotFinal, WouldTakeBack, the errors of `dataprep` and of `aep.platform_errors` (DayChanged when a run of
    the day came between), StorageError.
    """
    base = _base(connection, day)
    before = standing(connection, day)
    candidates = _candidates(connection, day, base, before, force=force)
    with connection.day(TABLE, day).stage() as staging:
        made = _transformed(connection, connection.mapping, day, candidates, staging)
        _keep_what_is_live(connection, day, before, made)
        version = _version(connection, base, made)
        described = ReplayManifest(
            day=day,
            base_batch_id=base.batch_id or "",
            base_version=base.data_version,
            data_version=version,
            batch_id=None,
            external_id=None,
            action=Action.NOTHING,
            rows=made.replayed.height,
            from_xdm=made.count(Stage.XDM),
            from_aep=made.count(Stage.AEP),
            remaining=made.left.height,
            bytes=0,
            status=load.NO_BATCH,
            parts=made.parts,
        )
        if dry_run or (before is None and candidates.is_empty()):
            return described
        if made.parts:
            receipt = batch.send_day(
                connection.platform,
                connection.storage,
                connection.settings.name,
                day,
                connection.dataset,
                version,
                load.files_to_send(connection, [staging.path(part.name) for part in made.parts], made.parts),
                connection.settings.partial_ingestion_percent,
                project=str(connection.settings.project_id or ""),
                force=force,
                base=base.batch_id,
            )
            log(f"{day}: {receipt.action}, batch {receipt.batch_id}, {receipt.rows} rows")
            if before is not None and before.batch_id == receipt.batch_id:
                return replace(before, action=receipt.action)
            described = replace(
                described,
                batch_id=receipt.batch_id,
                external_id=receipt.external_id,
                action=receipt.action,
                bytes=receipt.bytes,
                predecessors=receipt.predecessors,
                guardrails=receipt.warnings,
                status=receipt.status or load.NO_BATCH,
            )
        sent = source_rows.write_quarantine(staging, made.replayed.select("line", "id", "stage"), "replayed.parquet")
        left = source_rows.write_quarantine(staging, made.left, "left.parquet")
        return manifests.commit(staging, replace(described, replayed=sent, left=left))


def standing(connection: Connection, day: str) -> ReplayManifest | None:
    """The replay that belongs to the day's main batch of now; None where there is none, or a later run replaced it."""
    manifest = manifests.read(connection.day(TABLE, day), ReplayManifest)
    base, xdm = load.stored(connection, day), transform.stored(connection, day)
    if manifest is None or base is None or xdm is None:
        return None
    stands = (manifest.base_batch_id, manifest.base_version) == (base.batch_id, xdm.data_version)
    return manifest if stands else None


def refused(manifest: ReplayManifest | None) -> bool:
    """Whether the Platform has refused the replay's batch, so that its rows are in the quarantine as before."""
    return manifest is not None and manifest.outcome is not None and not manifest.outcome.ok


def confirm_day(connection: Connection, day: str) -> ReplayManifest | None:
    """Asks what became of the replay's batch; the manifest of the one that stands, None where none does."""
    if standing(connection, day) is None:
        return None
    return load.confirm(connection, connection.day(TABLE, day), day, ReplayManifest, KINDS)


def _base(connection: Connection, day: str) -> BatchManifest:
    """The manifest of the main batch. Raises NotReplayable where it is not live, NotFinal where that is not known."""
    where = f"{connection.settings.name} {day}"
    raw = extract.stored(connection, day)
    xdm = transform.stored(connection, day)
    if raw is None or xdm is None:
        raise NotReplayable(f"{where}: the day was never transformed; run it first.")
    base = load.confirm_day(connection, day)
    if base is None or xdm.raw_digest != raw.digest or base.data_version != xdm.data_version:
        raise NotReplayable(f"{where}: the day's current data was not handed over; run the day, which sends all of it.")
    if not base.batch_id:
        raise NotReplayable(f"{where}: no event of the day conformed, so there is no batch to add to; run the day.")
    if base.outcome is None:
        raise NotFinal(f"{where}: batch {base.batch_id} is {base.status}; replay the day when it is final.")
    if not base.outcome.ok:
        raise NotReplayable(f"{where}: the Platform rejected the day's whole batch; fix the cause and run the day.")
    return base


@dataclass
class _Made:
    """What came of the candidates: `replayed` and `left` have the columns STAGED."""

    parts: tuple[Part, ...] = ()
    replayed: pl.DataFrame = field(default_factory=pl.DataFrame)
    left: pl.DataFrame = field(default_factory=pl.DataFrame)

    def count(self, stage: Stage) -> int:
        return 0 if self.replayed.is_empty() else int((self.replayed["stage"] == stage.value).sum())


def _candidates(
    connection: Connection, day: str, base: BatchManifest, before: ReplayManifest | None, *, force: bool
) -> pl.DataFrame:
    """The rows to try, with their `stage`. Of the Platform's, only what may fare better this time."""
    refused = _staged(source_rows.read_groups(connection.day(load.TABLE, day), base), Stage.AEP).filter(
        pl.col("line").is_not_null()
    )
    if base.fingerprint == connection.mapping.fingerprint and not force:
        again = _replayed(connection, day, before)
        refused = refused.filter(pl.col("id").is_in(again.implode()))
    events = source_rows.read_groups(connection.day(transform.TABLE, day), transform.stored(connection, day))
    return pl.concat([_staged(events, Stage.XDM), refused])


def _staged(frames: Iterable[pl.DataFrame], stage: Stage) -> pl.DataFrame:
    none = pl.DataFrame(schema=dict.fromkeys(STAGED, pl.String) | {"line": pl.Int64()})
    return pl.concat(
        [none, *(frame.with_columns(pl.lit(stage.value).alias("stage")).select(STAGED) for frame in frames)]
    )


def _replayed(connection: Connection, day: str, manifest: ReplayManifest | None) -> pl.Series:
    """The ids of the rows that a replay sent."""
    none = pl.Series("id", [], dtype=pl.String)
    files = (
        source_rows.read_groups(connection.day(TABLE, day), manifest, "replayed", ["id"])
        if manifest is not None
        else ()
    )
    return pl.concat([none, *(frame["id"] for frame in files)])


def _transformed(
    connection: Connection, mapping: DatasetMapping, day: str, candidates: pl.DataFrame, staging: Staging
) -> _Made:
    """Maps and checks the candidates as `transform` does; those that conform become XDM files in `staging`."""
    if candidates.is_empty():
        return _Made(replayed=candidates, left=candidates)
    taken = _taken(connection, mapping, day, candidates)
    to_xdm = RowsToXdm.of(mapping)
    good, bad = [], []
    with XdmWriter(lambda name: cast("IO[bytes]", staging.open(name)), mapping.schema, None, name=PART_NAME) as writer:
        for frame in source_rows.source_rows(connection, day, candidates["id"]):
            shaped = to_xdm.shape(frame)
            typed, found = shaped.frame, shaped.found
            twice = taken.repeated(typed["_id"]) & ~found.bad
            fit = ~(found.bad | twice)
            if fit.any():
                writer.write(typed.filter(fit), shaped=True)
            good.append(frame.filter(fit)["mixpanel.id"])
            bad += [_reasons(frame, found.violations), _reasons(frame, _repeated(twice))]
        parts = tuple(writer.close())
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


def _taken(connection: Connection, mapping: DatasetMapping, day: str, candidates: pl.DataFrame) -> SeenIds:
    """The `_id`s of the rows that the main batch brought in: it sent those that the Platform refused, too."""
    refused = candidates.filter(pl.col("stage") == Stage.AEP.value)["id"]
    free = pl.Series([], dtype=pl.String)
    if len(refused):
        frames = source_rows.with_platform_id(mapping, source_rows.source_rows(connection, day, refused))
        free = pl.concat([free, *(frame["_id"] for frame in frames)])
    taken = SeenIds()
    for frame in source_rows.read_groups(
        connection.day(transform.TABLE, day), transform.stored(connection, day), "parts", ["_id"]
    ):
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


def _keep_what_is_live(connection: Connection, day: str, before: ReplayManifest | None, made: _Made) -> None:
    if before is None or not before.batch_id or refused(before):
        return
    live = _replayed(connection, day, before)
    lost = live.filter(~live.is_in(made.replayed["id"].implode()))
    if len(lost):
        raise WouldTakeBack(
            f"{connection.settings.name} {day}: {len(lost):,} events that an earlier replay made live do not conform with "
            "the current mapping and schema; nothing was sent. Fix the mapping, or run the day, which sends it again as "
            "a whole."
        )


def _version(connection: Connection, base: BatchManifest, made: _Made) -> str:
    """Of everything that the replay's files are a function of."""
    ids = sorted(made.replayed["id"].to_list())
    parts = [base.batch_id, base.data_version, connection.mapping.fingerprint, ids]
    return hashlib.sha256(orjson.dumps(parts)).hexdigest()[:32]
