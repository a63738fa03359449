"""Whether what must hold for a day holds, read from what was committed and from the other side; with the numbers."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import polars as pl
import pyarrow.parquet as pq

from mixpanel_aep_assets.aep import limits
from mixpanel_aep_assets.connection import Opened
from mixpanel_aep_assets.mixpanel.errors import MixpanelError
from mixpanel_aep_assets.mixpanel.odd import HOT_SHARD
from mixpanel_aep_assets.pipeline import extract, load, report, transform

EXAMPLES = 10


@dataclass(frozen=True)
class Finding:
    """One truth about one day. `severe`: going on would put wrong data into the lake, or data is missing there."""

    passed: bool
    text: str
    severe: bool = True
    numbers: dict[str, Any] = field(default_factory=dict)


def body_is_whole(opened: Opened, day: str) -> Finding:
    """The committed files still hold the rows that the whole body had."""
    table = opened.day(extract.TABLE, day)
    manifest = table.manifest()
    if manifest is None:
        return Finding(passed=False, text="The day was never exported.")
    stored = _rows(opened, table.files(manifest))
    aside = _rows(opened, table.files(manifest, "quarantine"))
    numbers: dict[str, Any] = {
        "exported": manifest["exported"],
        "rows in files": stored,
        "quarantined": aside,
        "body bytes": manifest["body"]["bytes"],
        "quarantine reasons": [{"reason": k, "lines": v} for k, v in manifest["reasons"].items()],
    }
    if stored + aside != manifest["exported"] or stored != manifest["rows"]:
        return Finding(
            False, f"The files hold {stored:,} + {aside:,} rows of {manifest['exported']:,}.", numbers=numbers
        )
    if aside:
        text = f"Whole; {aside:,} of {manifest['exported']:,} lines are no events and lie in quarantine."
        return Finding(False, text, severe=False, numbers=numbers)
    return Finding(True, f"Whole: {stored:,} events.", numbers=numbers)


def manifest_names(opened: Opened, day: str) -> list[str]:
    """Names of the day's events as Mixpanel counts them: hot-shard rows under their own name, not the restored one."""
    files = opened.day(extract.TABLE, day).locations()
    if not files:
        return []
    names = pl.scan_parquet(files).select(pl.col("event").unique().sort()).collect(engine="streaming")
    return [*names["event"].to_list(), HOT_SHARD]


def _rows(opened: Opened, files: list[str]) -> int:
    rows = 0
    for path in files:
        with opened.storage.open_read(path) as file:
            rows += pq.ParquetFile(file).metadata.num_rows
    return rows


def time_mode_is_sure(opened: Opened, day: str) -> Finding:
    """The mode is decided, and the receipt times of this day do not speak for the other one."""
    manifest = opened.day(extract.TABLE, day).manifest()
    if manifest is None:
        return Finding(passed=False, text="The day was never exported.")
    mode, evidence = manifest["time_mode"], manifest["time_evidence"]
    numbers = {
        "mode": mode,
        "time zone": manifest["timezone"],
        "because": evidence["text"],
        "this day's events": evidence["observed_text"],
    }
    if manifest["rows"] == 0:
        return Finding(True, "The day has no events.", numbers=numbers)
    if not evidence["sure"]:
        return Finding(
            False,
            f"{evidence['text']}. Set MIXPANEL_TIME_MODE to utc or project (projects made before 2023 mostly use "
            "project) and export the day again.",
            numbers=numbers,
        )
    if evidence["observed"] not in ("unsure", mode):
        return Finding(
            False,
            f"The mode is {mode}, but {evidence['observed_text']}: was the project's zone changed? "
            "Check MIXPANEL_TIME_MODE and MIXPANEL_TIMEZONE.",
            numbers=numbers,
        )
    meaning = "UTC" if mode == "utc" else f"the wall clock of {manifest['timezone']}"
    return Finding(True, f"`time` is {meaning}.", numbers=numbers)


def conforms_to_xdm(opened: Opened, day: str) -> Finding:
    """Reads the committed XDM files back and checks every row of them; tells what was set aside before."""
    table = opened.day(transform.TABLE, day)
    manifest = table.manifest()
    if manifest is None:
        return Finding(passed=False, text="The day was never transformed.")
    left = transform.violations_left(opened, day)
    aside, total = manifest["quarantined"], manifest["rows"] + manifest["quarantined"]
    percent = 100 * aside / total if total else 0.0
    allowed = opened.settings.max_nonconforming_percent
    numbers: dict[str, Any] = {
        "conforming": manifest["rows"],
        "set aside": aside,
        "set aside percent": round(percent, 3),
        "allowed percent": allowed,
        "events over 10 kB": manifest["oversized"],
        "violations": manifest["violations"],
        "warnings": manifest["warnings"],
        "first offending rows": manifest["examples"][:EXAMPLES],
    }
    if left:
        return Finding(False, f"{left:,} rows in the committed XDM files do not conform.", numbers=numbers)
    if percent > allowed:
        text = f"{aside:,} of {total:,} events ({percent:.1f} %) cannot conform; the connection allows {allowed:g} %."
        return Finding(False, text, numbers=numbers)
    if aside:
        return Finding(
            False, f"{manifest['rows']:,} events conform; {aside:,} were set aside.", severe=False, numbers=numbers
        )
    return Finding(True, f"All {manifest['rows']:,} events conform.", numbers=numbers)


def mapping_has_no_errors(opened: Opened, day: str) -> Finding:
    manifest = opened.day(transform.TABLE, day).manifest()
    if manifest is None:
        return Finding(passed=False, text="The day was never transformed.")
    errors = manifest["mapping_errors"]
    rows = sum(error["rows"] for error in errors)
    if not errors:
        return Finding(True, "No attribute was lost.", severe=False)
    return Finding(
        False,
        f"{rows:,} attributes could not be computed and are left out; the source text stays in `properties`.",
        severe=False,
        numbers={"errors": errors},
    )


def counts_add_up(opened: Opened, day: str) -> Finding:
    row = report.counts_of(opened, day)
    numbers = {key: value for key, value in row.items() if value is not None}
    accounted = row["duplicates"] + row["quarantined"] + row["uploaded"]
    text = (
        f"{row['exported']:,} exported, {row['duplicates']:,} duplicates, {row['quarantined']:,} quarantined, "
        f"{row['uploaded']:,} uploaded."
    )
    return Finding(row["status"] != "missing" and row["exported"] == accounted, text, numbers=numbers)


def within_guardrails(opened: Opened, day: str) -> Finding:
    """Adobe's limits (aep-api.md 3.10), before they bite."""
    batch = opened.day(load.TABLE, day).manifest()
    xdm = opened.day(transform.TABLE, day).manifest()
    if batch is None or xdm is None:
        return Finding(False, "The day was never handed over.", severe=False)
    found = [finding.text for finding in limits.forecast(limits.usage(opened.platform), batches=0, size=0)]
    if xdm["oversized"]:
        found.append(f"{xdm['oversized']:,} events are over 10 kB: the lake keeps them, Profile drops them.")
    numbers = {"files": len(xdm["parts"]), "bytes": batch["bytes"], "events over 10 kB": xdm["oversized"]}
    return Finding(not found, " ".join(found) or "Within Adobe's limits.", severe=False, numbers=numbers)


def ingested_by_aep(opened: Opened, day: str) -> Finding:
    """Asks what became of the batch; a batch in progress is a calm warning."""
    manifest = load.confirm_day(opened, day)
    if manifest is None:
        return Finding(False, "The day was never handed over.", severe=False)
    if not manifest["batch_id"]:
        return Finding(True, "The day has no events.")
    outcome = manifest.get("outcome")
    numbers: dict[str, Any] = {
        "batch": manifest["batch_id"],
        "status": manifest["status"],
        "uploaded": manifest["rows"],
    }
    if not outcome:
        text = f"The Platform is still at work on it ({manifest['status']}); the sensor asks again."
        return Finding(False, text, severe=False, numbers=numbers)
    numbers |= {"ingested": outcome["ingested"], "rejected": outcome["rejected"], "errors": outcome["errors"]}
    if not outcome["ok"]:
        reasons = "; ".join(f"{e['code']}: {e['description']}" for e in outcome["errors"][:3]) or manifest["status"]
        return Finding(False, f"The Platform did not take the batch: {reasons}", numbers=numbers)
    if outcome["ingested"] + outcome["rejected"] != manifest["rows"]:
        return Finding(False, "uploaded ≠ ingested + rejected.", numbers=numbers)
    if outcome["rejected"]:
        return Finding(False, f"{outcome['rejected']:,} rows were rejected.", severe=False, numbers=numbers)
    return Finding(True, f"All {outcome['ingested']:,} events are ingested.", numbers=numbers)


def reconciles_with_mixpanel(opened: Opened, day: str) -> Finding:
    """Mixpanel's own deduplicated count of the day beside ours (Query API, where the plan has it)."""
    manifest = opened.day(extract.TABLE, day).manifest()
    xdm = opened.day(transform.TABLE, day).manifest()
    if manifest is None or xdm is None:
        return Finding(False, "The day was never transformed.", severe=False)
    if opened.settings.events or opened.settings.where:
        return Finding(True, "Only some events are exported, so the project's counts say nothing.", severe=False)
    try:
        theirs = opened.mixpanel_count(day, manifest_names(opened, day))
    except MixpanelError as error:
        return Finding(True, f"Mixpanel's counts cannot be had: {error}", severe=False)
    ours = manifest["rows"] - xdm["duplicates"]
    numbers = {"Mixpanel": theirs, "exported without duplicates": ours, "difference": ours - theirs}
    if ours == theirs:
        return Finding(True, f"Both count {ours:,} events.", severe=False, numbers=numbers)
    text = f"Mixpanel counts {theirs:,}, the export has {ours:,} without duplicates."
    return Finding(False, text, severe=False, numbers=numbers)
