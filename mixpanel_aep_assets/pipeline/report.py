"""The completeness report: for each day what was exported, and where every event of it went."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from mixpanel_aep_assets.connection import Opened
from mixpanel_aep_assets.mixpanel import doubt
from mixpanel_aep_assets.pipeline import export_requests, extract, load, replay, transform

COUNTS = ("exported", "duplicates", "quarantined", "uploaded", "ingested", "rejected")

SAID_LATER = ("ingested", "rejected")
"""Counts that only a final batch has."""

IN = {"ingested", "empty"}
"""Statuses of a day that is in the Platform, whole."""

DOUBTED = "doubted"
"""Status of a day that would be in, but Mixpanel's last answer is without many of its events, and nothing bears that out."""

BAD = {"failed", "missing", "unbalanced", DOUBTED}
"""Statuses that need a person."""


def counts_of(opened: Opened, day: str) -> dict[str, Any]:
    """The day's row of the report, from its manifests.

    `quarantined` counts lines that are no events and events that cannot conform, and, as `exported` does, the lines outside
    the day where it was asked for alone (`export_requests`). A replayed row counts as uploaded and
    no longer as quarantined or rejected, unless the Platform refused the replay. `batch_id` is the main batch. `status`
    is `ingested`, `empty`, `in_progress`, `failed` (the Platform refused the batch), `unbalanced` (a sum does not add up),
    `doubted` or `missing`.
    """
    table = opened.day(extract.TABLE, day)
    raw = table.manifest()
    xdm = opened.day(transform.TABLE, day).manifest()
    batch = opened.day(load.TABLE, day).manifest()
    row: dict[str, Any] = {"day": day, **dict.fromkeys(COUNTS, 0), "batch_id": None, "status": "missing"}
    if raw is None:
        return row
    others = export_requests.alone(opened, day)
    outside = 0 if others is None else others.count
    row["exported"] = raw["exported"] + outside
    row["quarantined"] = raw["quarantined"] + outside
    if xdm is None or xdm["raw_digest"] != raw["digest"]:
        return row
    row["duplicates"] = xdm["duplicates"]
    row["quarantined"] += xdm["quarantined"]
    if batch is None or batch["data_version"] != xdm["data_version"]:
        return row
    outcome = batch.get("outcome") or {}
    row["uploaded"] = batch["rows"]
    row["ingested"] = outcome.get("ingested", 0)
    row["rejected"] = outcome.get("rejected", 0)
    row["batch_id"] = batch["batch_id"]
    final = bool(outcome.get("final"))
    again = replay.standing(opened, day)
    if again is not None and again["batch_id"] and not replay.refused(again):
        came = again["outcome"] or {}
        row["quarantined"] -= again["from_xdm"]
        row["uploaded"] += again["from_xdm"]
        row["ingested"] += came.get("ingested", 0)
        row["rejected"] += came.get("rejected", 0) - again["from_aep"]
        final = final and bool(came.get("final"))
    row["status"] = _status(row, outcome, final=final)
    if row["status"] in IN and doubt.read(table) is not None:
        row["status"] = DOUBTED
    return row


def known(row: Mapping[str, Any]) -> dict[str, Any]:
    """The row of `counts_of` as it may be shown: None for counts that the Platform has not said yet, which are no zeros."""
    return {**row, **dict.fromkeys(SAID_LATER)} if row["status"] == "in_progress" else dict(row)


def reason_rows(reasons: Mapping[str, int]) -> list[dict[str, Any]]:
    """Lines in quarantine by reason, for a table."""
    return [{"reason": reason, "lines": lines} for reason, lines in reasons.items()]


def _status(row: Mapping[str, Any], outcome: Mapping[str, Any], *, final: bool) -> str:
    if row["exported"] != row["duplicates"] + row["quarantined"] + row["uploaded"]:
        return "unbalanced"
    if not row["batch_id"]:
        return "empty"
    if not final:
        return "in_progress"
    if not outcome["ok"]:
        return "failed"
    return "ingested" if row["uploaded"] == row["ingested"] + row["rejected"] else "unbalanced"


def report(opened: Opened, days: Iterable[str], *, failed: Mapping[str, str] | None = None) -> dict[str, Any]:
    """`{"days": [row, …], "requests": […], "totals": {…}}`; `failed` are days whose run failed, with the reason.

    `requests` are those for several days, any of these among them, that brought lines of no day that they asked for:
    `{from, to, quarantined, reasons}`. The totals include them.
    """
    days = list(days)
    rows = []
    for day in days:
        row = counts_of(opened, day)
        if failed and day in failed:
            row["status"], row["reason"] = "failed", failed[day]
        rows.append(row)
    beside = [export_requests.as_json(one) for one in export_requests.of_days(opened, days) if one.first != one.last]
    totals = {count: sum(row[count] for row in rows) for count in COUNTS}
    for count in ("exported", "quarantined"):
        totals[count] += sum(one["quarantined"] for one in beside)
    return {"days": rows, "requests": beside, "totals": totals}
