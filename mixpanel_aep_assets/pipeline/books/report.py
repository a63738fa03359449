"""The completeness report: for each day what was exported, and where every event of it went."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from enum import StrEnum
from typing import Literal, NotRequired, TypedDict

from mixpanel_aep_assets.connection import Connection
from mixpanel_aep_assets.manifests import Verdict
from mixpanel_aep_assets.mixpanel import doubt
from mixpanel_aep_assets.pipeline.steps import export_requests, extract, load, replay, transform

Count = Literal["exported", "duplicates", "quarantined", "uploaded", "ingested", "rejected"]
COUNTS: tuple[Count, ...] = ("exported", "duplicates", "quarantined", "uploaded", "ingested", "rejected")

SAID_LATER = ("ingested", "rejected")
"""Counts that only a final batch has."""


class Status(StrEnum):
    """How a day stands.

    `failed`: the Platform refused the batch, or the day's run failed. `unbalanced`: a sum does not add up. `doubted`: the day
    would be in, but Mixpanel's last answer lacks many of its events, and nothing confirms that. `missing`: the day as it
    is now was not handed over.
    """

    INGESTED = "ingested"
    EMPTY = "empty"
    IN_PROGRESS = "in_progress"
    FAILED = "failed"
    UNBALANCED = "unbalanced"
    DOUBTED = "doubted"
    MISSING = "missing"


IN = {Status.INGESTED, Status.EMPTY}
"""Statuses of a day that is in the Platform, whole."""

BAD = {Status.FAILED, Status.MISSING, Status.UNBALANCED, Status.DOUBTED}
"""Statuses that need a person."""


class Row(TypedDict):
    """A day of the report. `batch_id` is the main batch, `reason` that of a failed run."""

    day: str
    exported: int
    duplicates: int
    quarantined: int
    uploaded: int
    ingested: int
    rejected: int
    batch_id: str | None
    status: Status
    reason: NotRequired[str]


class Report(TypedDict):
    """The report over some days. `requests` are those for several days that brought lines of no day that they asked for; the
    totals include them."""

    days: list[Row]
    requests: list[export_requests.Beside]
    totals: dict[str, int]


def counts_of(connection: Connection, day: str) -> Row:
    """The day's row of the report, from its manifests.

    `quarantined` counts lines that are no events and events that cannot conform, and, as `exported` does, the lines outside
    the day where it was asked for alone (`export_requests`). A replayed row counts as uploaded and
    no longer as quarantined or rejected, unless the Platform refused the replay.
    """
    raw = extract.stored(connection, day)
    xdm, batch = transform.stored(connection, day), load.stored(connection, day)
    row: Row = {
        "day": day,
        "exported": 0,
        "duplicates": 0,
        "quarantined": 0,
        "uploaded": 0,
        "ingested": 0,
        "rejected": 0,
        "batch_id": None,
        "status": Status.MISSING,
    }
    if raw is None:
        return row
    others = export_requests.alone(connection, day)
    outside = 0 if others is None else others.count
    row["exported"] = raw.exported + outside
    row["quarantined"] = raw.quarantined + outside
    if xdm is None or xdm.raw_digest != raw.digest:
        return row
    row["duplicates"] = xdm.duplicates
    row["quarantined"] += xdm.quarantined
    if batch is None or batch.data_version != xdm.data_version:
        return row
    row["uploaded"] = batch.rows
    row["batch_id"] = batch.batch_id
    outcomes = [batch.outcome]
    again = replay.standing(connection, day)
    if again is not None and again.batch_id and not replay.refused(again):
        row["quarantined"] -= again.from_xdm
        row["uploaded"] += again.from_xdm
        row["rejected"] -= again.from_aep
        outcomes.append(again.outcome)
    known = [outcome for outcome in outcomes if outcome is not None]
    row["ingested"] += sum(outcome.ingested for outcome in known)
    row["rejected"] += sum(outcome.rejected for outcome in known)
    final = len(known) == len(outcomes) and all(outcome.final for outcome in known)
    row["status"] = _status(row, batch.outcome, final=final)
    if row["status"] in IN and doubt.read(connection.day(extract.TABLE, day)) is not None:
        row["status"] = Status.DOUBTED
    return row


def known(row: Row) -> dict[str, object]:
    """The row of `counts_of` as it may be shown: None for counts that the Platform has not said yet, which are no zeros."""
    return {**row, **dict.fromkeys(SAID_LATER)} if row["status"] == Status.IN_PROGRESS else {**row}


def reason_rows(reasons: Mapping[str, int]) -> list[dict[str, object]]:
    """Lines in quarantine by reason, for a table."""
    return [{"reason": reason, "lines": lines} for reason, lines in reasons.items()]


def _status(row: Row, outcome: Verdict | None, *, final: bool) -> Status:
    if row["exported"] != row["duplicates"] + row["quarantined"] + row["uploaded"]:
        return Status.UNBALANCED
    if not row["batch_id"]:
        return Status.EMPTY
    if not final or outcome is None:
        return Status.IN_PROGRESS
    if not outcome.ok:
        return Status.FAILED
    return Status.INGESTED if row["uploaded"] == row["ingested"] + row["rejected"] else Status.UNBALANCED


def report(connection: Connection, days: Iterable[str], *, failed: Mapping[str, str] | None = None) -> Report:
    """The report; `failed` maps days whose run failed to the reason.

    Such a day has a `reason`, and the status `failed` unless it is `doubted`, which says what to do about it.
    """
    days = list(days)
    rows = []
    for day in days:
        row = counts_of(connection, day)
        if failed and day in failed:
            row["reason"] = failed[day]
            if row["status"] != Status.DOUBTED:
                row["status"] = Status.FAILED
        rows.append(row)
    beside = [
        export_requests.as_json(one) for one in export_requests.of_days(connection, days) if one.first != one.last
    ]
    totals: dict[str, int] = {count: sum(row[count] for row in rows) for count in COUNTS}
    for count in ("exported", "quarantined"):
        totals[count] += sum(one["quarantined"] for one in beside)
    return {"days": rows, "requests": beside, "totals": totals}
