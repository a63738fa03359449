"""Whether what must hold for a day holds, read from what was committed and from the other side; with the numbers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import pyarrow.parquet as pq

from mixpanel_aep_assets import manifests
from mixpanel_aep_assets.aep import limits
from mixpanel_aep_assets.connection import Connection
from mixpanel_aep_assets.mixpanel import doubt
from mixpanel_aep_assets.mixpanel.lines_of_other_days import Request
from mixpanel_aep_assets.pipeline.books import quarantine, reconcile, report
from mixpanel_aep_assets.pipeline.insight import drift
from mixpanel_aep_assets.pipeline.steps import export_requests, extract, load, replay, time_modes, transform
from mixpanel_aep_assets.pipeline.steps.allowance import is_more_than_a_trifle
from mixpanel_aep_assets.pipeline.steps.source_rows import Stage

EXAMPLES = 10
MOST_FREQUENT = 3
"""Violations that the text of a red check names."""

REFUSED = 20
"""Rows that the Platform refused, of a check's table."""


@dataclass(frozen=True)
class Finding:
    """One truth about one day.

    `severe`: going on would put wrong data into the lake, or data is missing there. `waits`: it only lacks what other days
    will tell.
    """

    passed: bool
    text: str
    severe: bool = True
    numbers: Mapping[str, object] = field(default_factory=dict)
    waits: bool = False


def body_is_whole(connection: Connection, day: str) -> Finding:
    """The committed files still hold the rows that the whole body had."""
    table, manifest = connection.day(extract.TABLE, day), extract.stored(connection, day)
    if manifest is None:
        return Finding(passed=False, text="The day was never exported.")
    stored = _rows(connection, table.files(manifest))
    aside = _rows(connection, table.files(manifest, "quarantine"))
    numbers: dict[str, object] = {
        "exported": manifest.exported,
        "rows_in_files": stored,
        "quarantined": aside,
        "body_bytes": manifest.body.bytes,
        "quarantine_reasons": report.reason_rows(manifest.reasons),
    }
    if manifest.changes is not None:
        numbers["changes_since_last_export"] = [manifests.as_json(manifest.changes)]
        numbers["last_changed"] = manifest.committed_at
    if stored + aside != manifest.exported or stored != manifest.rows:
        return Finding(False, f"The files hold {stored:,} + {aside:,} rows of {manifest.exported:,}.", numbers=numbers)
    if manifest.slices is not None and not manifest.slices.complete:
        text = (
            f"{stored:,} events by {manifest.slices.requests} requests for event names, and none by the one for "
            "all other names: that the day has no others is not proven."
        )
        return Finding(False, text, severe=False, numbers=numbers)
    if aside:
        text = f"Complete; {aside:,} of {manifest.exported:,} lines are not events and are in quarantine."
        return Finding(False, text, severe=False, numbers=numbers)
    return Finding(True, f"Whole: {stored:,} events.", numbers=numbers)


def lines_belong_to_day(connection: Connection, day: str) -> Finding:
    """Of the lines that came with a request for the day, alone or with others, few belong to no day that it asked for."""
    manifest = extract.stored(connection, day)
    if manifest is None:
        return Finding(passed=False, text="The day was never exported.")
    settings = connection.settings
    found = export_requests.of_day(connection, day)
    numbers: dict[str, object] = {
        "lines_of_day": manifest.exported,
        "lines_outside": sum(one.count for one in found),
        "allowed_percent": settings.max_nonconforming_percent,
        "allowed_rows": settings.max_nonconforming_rows,
    }
    if not found:
        return Finding(True, f"All {manifest.exported:,} lines belong to the day.", numbers=numbers)
    numbers["requests"] = export_requests.reason_rows(found)
    told = "; ".join(_outside(one) for one in found)
    bad = [one for one in found if export_requests.stops(one, manifest.exported, settings)]
    if not bad:
        return Finding(True, f"{manifest.exported:,} lines belong to the day. Quarantined: {told}.", numbers=numbers)
    count, total = bad[0].count, bad[0].count + manifest.exported
    text = (
        f"{count:,} of {total:,} lines ({100 * count / total:.1f} %) do not belong to the day; the connection allows "
        f"{settings.max_nonconforming_percent:g} % or {settings.max_nonconforming_rows} lines, and never all of them: {told}. "
        f"Nothing was sent. See `mixpanel-aep quarantine show --day {day} --stage request`: fix wrong clocks where the events "
        "are sent, and wrong day boundaries with MIXPANEL_TIME_MODE and MIXPANEL_TIMEZONE (or allow more: "
        "max_nonconforming_percent, max_nonconforming_rows); then run the day again."
    )
    return Finding(False, text, numbers=numbers)


def _outside(request: Request) -> str:
    reasons = ", ".join(f"{reason} {count:,}" for reason, count in request.reasons.items())
    return f"{request.count:,} lines of the request for {request.name} ({reasons})"


def _rows(connection: Connection, files: list[str]) -> int:
    rows = 0
    for path in files:
        with connection.storage.open_read(path) as file:
            rows += pq.ParquetFile(file).metadata.num_rows
    return rows


def time_mode_is_sure(connection: Connection, day: str) -> Finding:
    """The mode is decided, and the receipt times of this day do not speak for the other one.

    A day that was exported while the mode was not known takes the one that is known by now.
    """
    time_modes.settle_day(connection, day)
    manifest = extract.stored(connection, day)
    if manifest is None:
        return Finding(passed=False, text="The day was never exported.")
    mode, evidence = manifest.time_mode, manifest.time_evidence
    numbers = {
        "mode": mode if evidence.sure else "not known yet",
        "time_zone": manifest.timezone,
        "because": evidence.text,
        "evidence_of_day": evidence.observed_text,
    }
    if manifest.rows == 0:
        return Finding(True, "The day has no events.", numbers=numbers)
    if not evidence.sure:
        text = (
            f"What `time` means is not known yet: {evidence.text}. Once other days provide the evidence, the sensor "
            f"{connection.settings.name}_requeue runs this day again, without another export. Or set MIXPANEL_TIME_MODE to utc "
            "or project (projects made before 2023 mostly use project) and run it again."
        )
        return Finding(False, text, numbers=numbers, waits=True)
    decided = connection.time_mode()
    if evidence.lasting and decided is not None and decided.mode != mode:
        text = (
            f"The day was exported under the mode {mode}, but {decided.mode} was {decided.evidence}. Export the day again; "
            "if that is wrong, set MIXPANEL_TIME_MODE."
        )
        return Finding(False, text, numbers=numbers)
    if evidence.observed == "neither":
        text = f"The mode is {mode}, but {evidence.observed_text}: was the project's zone changed?"
        found_out = connection.settings.time_mode == "auto" and decided is not None
        if found_out:
            text += " Set MIXPANEL_TIMEZONE and MIXPANEL_TIME_MODE to what holds for this day and export it again."
        return Finding(False, text, severe=found_out, numbers=numbers)
    if evidence.observed in ("utc", "project") and evidence.observed != mode:
        return Finding(
            False,
            f"The mode is {mode}, but {evidence.observed_text}: was the project's zone changed? "
            "Check MIXPANEL_TIME_MODE and MIXPANEL_TIMEZONE.",
            numbers=numbers,
        )
    meaning = "UTC" if mode == "utc" else f"the wall clock of {manifest.timezone}"
    return Finding(True, f"`time` is {meaning}.", numbers=numbers)


def loss_is_proven(connection: Connection, day: str) -> Finding:
    """No answer of Mixpanel that the committed day contradicts waits for evidence."""
    table, manifest = connection.day(extract.TABLE, day), extract.stored(connection, day)
    if manifest is None:
        return Finding(passed=False, text="The day was never exported.")
    note = doubt.read(table)
    if note is None:
        return Finding(True, "What is committed is what Mixpanel said last.")
    numbers: dict[str, object] = {
        "events_committed": note.had,
        "events_missing": note.lost,
        "mixpanel_count": note.why if note.counted is None else note.counted,
        "answers": [{"at": one.at[:19], "events": one.events, "digest": one.digest} for one in note.readings],
    }
    text = (
        f"{note.text} Run the day again later, which asks again; if the events really are gone, "
        f"`mixpanel-aep run --from {day} --to {day} --force` (or the run tag mixpanel_aep/force: true) takes them back."
    )
    return Finding(False, text, numbers=numbers)


def conforms_to_xdm(connection: Connection, day: str) -> Finding:
    """Reads the committed XDM files back and checks every row of them; tells what was set aside before."""
    manifest = transform.stored(connection, day)
    if manifest is None:
        return Finding(passed=False, text="The day was never transformed.")
    left = transform.violations_left(connection, day)
    aside, total = manifest.quarantined, manifest.rows + manifest.quarantined
    percent = 100 * aside / total if total else 0.0
    settings = connection.settings
    numbers: dict[str, object] = {
        "conforming": manifest.rows,
        "set_aside": aside,
        "set_aside_percent": round(percent, 3),
        "allowed_percent": settings.max_nonconforming_percent,
        "allowed_rows": settings.max_nonconforming_rows,
        "oversized_events": manifest.oversized,
        "violations": manifests.as_json(manifest.violations),
        "warnings": manifests.as_json(manifest.warnings),
        "first_offending_rows": manifests.as_json(manifest.examples[:EXAMPLES]),
    }
    if left:
        text = f"{left:,} rows in the committed XDM files do not conform, or have an `_id` that an earlier row has."
        return Finding(False, text, numbers=numbers)
    if is_more_than_a_trifle(aside, total, settings):
        most = sorted(manifest.violations, key=lambda one: -one.rows)[:MOST_FREQUENT]
        told = ", ".join(f"{one.pointer or 'the event'} ({one.rule}, {one.rows:,} events)" for one in most)
        text = (
            f"{aside:,} of {total:,} events ({percent:.1f} %) cannot conform; the connection allows "
            f"{settings.max_nonconforming_percent:g} % or {settings.max_nonconforming_rows:,} events, and never all of them: "
            f"{told}. Nothing was sent. See `mixpanel-aep quarantine show --day {day} --stage xdm`, fix the mapping or the "
            "schema (or allow more: max_nonconforming_percent, max_nonconforming_rows), and run the day again."
        )
        return Finding(False, text, numbers=numbers)
    if aside:
        text = (
            f"{manifest.rows:,} events conform; {aside:,} of {total:,} ({percent:.1f} %) cannot and were quarantined: see "
            f"`mixpanel-aep quarantine show --day {day} --stage xdm`."
        )
        return Finding(False, text, severe=False, numbers=numbers)
    return Finding(True, f"All {manifest.rows:,} events conform.", numbers=numbers)


def mapping_has_no_errors(connection: Connection, day: str) -> Finding:
    manifest = transform.stored(connection, day)
    if manifest is None:
        return Finding(passed=False, text="The day was never transformed.")
    errors = manifest.mapping_errors
    rows = sum(error.rows for error in errors)
    mapping = connection.mapping
    numbers: dict[str, object] = {"fields_missing_in_schema": len(mapping.left_out)} if mapping.left_out else {}
    if not errors and mapping.left_out and not mapping.keeps_properties:
        text = (
            f"The dataset's schema lacks {len(mapping.left_out)} fields of the standard mapping, also the one that keeps "
            "all properties as text: properties without a field of their own stay in raw_events. Name a mapping set "
            "(MIXPANEL_AEP_MAPPING), or take a dataset that `mixpanel-aep provision` makes."
        )
        return Finding(False, text, severe=False, numbers=numbers)
    if not errors:
        return Finding(True, "No attribute was lost.", severe=False, numbers=numbers)
    return Finding(
        False,
        f"{rows:,} attributes could not be computed and are left out; the source text stays in "
        + ("`properties`." if mapping.keeps_properties else "raw_events."),
        severe=False,
        numbers=numbers | {"errors": manifests.as_json(errors)},
    )


def properties_have_not_drifted(connection: Connection, day: str) -> Finding:
    """What `drift` found, as a warning."""
    manifest = drift.stored(connection, day)
    if manifest is None:
        return Finding(False, "The day was never looked at.", severe=False)
    numbers = {
        "properties": manifest.properties,
        "new": manifest.new,
        "changed": manifest.changed,
        "vanished": manifest.vanished,
        "conflicts": manifest.conflicts,
        "found": manifests.as_json(manifest.found),
    }
    if not manifest.against:
        return Finding(True, "There is nothing to hold the day against yet.", severe=False, numbers=numbers)
    told = f"{manifest.new:,} new, {manifest.changed:,} changed, {manifest.vanished:,} vanished"
    drifted = manifest.new or manifest.changed or manifest.vanished
    text = f"{manifest.properties:,} properties, {told}, against {manifest.against}."
    return Finding(not drifted, text, severe=False, numbers=numbers)


def counts_add_up(connection: Connection, day: str) -> Finding:
    row = report.counts_of(connection, day)
    numbers = {key: value for key, value in report.known(row).items() if value is not None}
    accounted = row["duplicates"] + row["quarantined"] + row["uploaded"]
    text = (
        f"{row['exported']:,} exported, {row['duplicates']:,} duplicates, {row['quarantined']:,} quarantined, "
        f"{row['uploaded']:,} uploaded."
    )
    return Finding(row["status"] != report.Status.MISSING and row["exported"] == accounted, text, numbers=numbers)


def within_guardrails(connection: Connection, day: str) -> Finding:
    """Adobe's limits (platform.md#limits), before they bite: as warned of before the upload, and as they stand now."""
    batch, xdm = load.stored(connection, day), transform.stored(connection, day)
    if batch is None or xdm is None:
        return Finding(False, "The day was never handed over.", severe=False)
    used = limits.usage(connection.platform)
    found = [*batch.guardrails, *(finding.text for finding in limits.forecast(used, batches=0, size=0))]
    numbers = {
        "files": len(xdm.parts),
        "files_allowed": limits.FILES_A_BATCH,
        "bytes": batch.bytes,
        "batches_today": used.batches_today,
        "batches_a_day_recommended": limits.BATCHES_A_DAY,
        "bytes_this_hour": used.bytes_this_hour,
        "bytes_an_hour_recommended": limits.BYTES_AN_HOUR,
        "oversized_events": xdm.oversized,
    }
    return Finding(not found, " ".join(found) or "Within Adobe's limits.", severe=False, numbers=numbers)


def ingested_by_aep(connection: Connection, day: str) -> Finding:
    """Asks what became of the day's batch, and of its replay; a batch in progress is a calm warning."""
    manifest = load.confirm_day(connection, day)
    if manifest is None:
        return Finding(False, "The day was never handed over.", severe=False)
    if not manifest.batch_id:
        return Finding(True, "The day has no events.")
    again = replay.confirm_day(connection, day)
    numbers: dict[str, object] = {
        "batch_id": manifest.batch_id,
        "status": manifest.status,
        "uploaded": manifest.rows,
    }
    if again is not None and again.batch_id:
        numbers |= {"replay_batch_id": again.batch_id, "replay_status": again.status, "replayed": again.rows}
    outcome = manifest.outcome
    if outcome is None:
        text = f"The Platform is still at work on it ({manifest.status}); the sensor asks again."
        return Finding(False, text, severe=False, numbers=numbers)
    numbers |= {"errors": manifests.as_json(outcome.errors)} | _refused(connection, day)
    if not outcome.ok:
        reasons = "; ".join(f"{error.code}: {error.description}" for error in outcome.errors[:3]) or manifest.status
        text = (
            f"The Platform rejected the batch {manifest.batch_id}, and nothing of it is live: {reasons.rstrip('. ')}. "
            f"See the rows with `mixpanel-aep quarantine show --day {day} --stage aep`, fix the mapping or the schema, and "
            "run the day again (`--force` if the fault was the Platform's and there is nothing to fix)."
        )
        return Finding(False, text, numbers=numbers)
    row = report.counts_of(connection, day)
    numbers |= {"uploaded": row["uploaded"], "ingested": row["ingested"], "rejected": row["rejected"]}
    if outcome.ingested + outcome.rejected != manifest.rows or row["status"] == report.Status.UNBALANCED:
        return Finding(False, "uploaded ≠ ingested + rejected.", numbers=numbers)
    if replay.refused(again):
        return Finding(False, "The Platform refused the replay; its rows stay in quarantine.", numbers=numbers)
    if row["status"] == report.Status.IN_PROGRESS:
        return Finding(False, "The Platform is still at work on the replay.", severe=False, numbers=numbers)
    if row["rejected"]:
        text = f"{row['rejected']:,} rows were rejected; `mixpanel-aep quarantine show --day {day} --stage aep`."
        if outcome.problem:
            text += f" Their diagnostics cannot be read yet, `mixpanel-aep reconcile` tries again: {outcome.problem}"
        if outcome.truncated:
            text += " They are more than are read of a batch: not all of them lie in quarantine."
        return Finding(False, text, severe=False, numbers=numbers)
    return Finding(True, f"All {row['ingested']:,} events are ingested.", numbers=numbers)


def _refused(connection: Connection, day: str) -> dict[str, object]:
    """The first rows that the Platform refused, for the check's table."""
    rows = list(quarantine.show(connection, day, stage=Stage.AEP, limit=REFUSED))
    shown = [
        {
            "line": row["line"],
            "event": row["event"],
            "reason": row["reason"],
            "pointer": row["pointer"],
            "detail": row["detail"],
            "source": row["source"],
        }
        for row in rows
    ]
    return {"first_refused_rows": shown} if shown else {}


def reconciles_with_mixpanel(connection: Connection, day: str) -> Finding:
    """Mixpanel's own count of the day (Query API, where the plan has it), ours, and what is live, difference by difference."""
    row = report.counts_of(connection, day)
    if row["status"] == report.Status.MISSING:
        return Finding(False, "The day as it is now was never handed over.", severe=False)
    found = reconcile.of_day(connection, day, row)
    numbers: dict[str, object] = {
        "mixpanel": found["mixpanel"]
        if found["mixpanel"] is not None
        else f"not known: {found.get('mixpanel_error', '')}",
        **{key: value for key in report.COUNTS if (value := report.known(row)[key]) is not None},
        "live": found["live"] if found["live"] is not None else "not known yet",
        "differences": [{**one, "between": " and ".join(one["between"])} for one in found["differences"]],
    }
    left = reconcile.unexplained(found)
    if left:
        text = "; ".join(f"{one['between'][0]} - {one['between'][1]} = {one['count']:,}" for one in left)
        text = f"Nothing explains: {text}. `mixpanel-aep reconcile` looks whether the day has changed."
        return Finding(False, text, severe=False, numbers=numbers)
    if found["unanswered"]:
        errors = {"mixpanel": found.get("mixpanel_error", ""), "live": found.get("live_error", "")}
        text = "Not known: " + "; ".join(errors[side] for side in found["unanswered"])
        return Finding(False, text, severe=False, numbers=numbers)
    theirs = "Mixpanel's count is not known" if found["mixpanel"] is None else f"Mixpanel counts {found['mixpanel']:,}"
    return Finding(True, f"{theirs}; every difference is explained.", severe=False, numbers=numbers)
