"""Reconciliation: compares each number of a day with the next one in the pipeline, and explains every difference.

    Mixpanel's own count - exported - uploaded - ingested - live by the Catalog

The numbers of the other sides are asked for now, the rest is read from the manifests. An explanation is given only where
numbers prove it: name by name where there are names, and so that it is the whole difference. A difference that nothing
explains is what a person must look at. What belongs here: comparing and explaining. What does not: the books
themselves (`report`).
"""

from __future__ import annotations

import datetime
import logging
import tempfile
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import NotRequired, TypedDict
from zoneinfo import ZoneInfo

import polars as pl

from mixpanel_aep_assets import manifests
from mixpanel_aep_assets.aep import batch, follow, receipts
from mixpanel_aep_assets.aep.platform_errors import AepError
from mixpanel_aep_assets.connection import Connection
from mixpanel_aep_assets.manifests import RawManifest, XdmManifest
from mixpanel_aep_assets.mixpanel import changes, lexicon
from mixpanel_aep_assets.mixpanel.dedup import MIXPANELS_KEY
from mixpanel_aep_assets.mixpanel.line_parser import HOT_SHARD, HOT_SHARD_EVENT
from mixpanel_aep_assets.mixpanel.lines_of_other_days import OTHER_DAY, Request
from mixpanel_aep_assets.mixpanel.mixpanel_errors import MixpanelError, PlanLacksExport
from mixpanel_aep_assets.pipeline.books import quarantine, report
from mixpanel_aep_assets.pipeline.books.report import Status
from mixpanel_aep_assets.pipeline.steps import export_requests, extract, load, replay, source_rows, transform
from mixpanel_aep_assets.pipeline.steps.source_rows import Stage
from mixpanel_aep_assets.storage import PASSING, open_storage

log = logging.getLogger(__name__)

AROUND = 3
"""Days before and after a day whose event names it may have, too."""

NAMED = 5
"""Event names that an explanation lists."""


class NotComparable(Exception):
    """Mixpanel's count is of other hours than the stored day; the text says what lacks to compare them."""


class Difference(TypedDict):
    """Between two neighbouring numbers of a day, `count` being the first less the second; None: nothing explains it."""

    between: list[str]
    count: int
    explanation: str | None


class OtherSides(TypedDict):
    """What the other sides say of a day: numbers that cannot be had are None, then `…_error` says why.

    `unanswered` names the sides that were asked and failed to answer: nothing is proven then.
    """

    mixpanel: int | None
    live: int | None
    differences: list[Difference]
    unanswered: list[str]
    mixpanel_error: NotRequired[str]
    live_error: NotRequired[str]


class Row(report.Row, OtherSides):
    """A day of the reconciliation."""


class Reconciliation(TypedDict):
    """`report.Report` with the other sides of each day."""

    days: list[Row]
    requests: list[export_requests.Beside]
    totals: dict[str, int | None]


def report_of(connection: Connection, days: Iterable[str], *, reread: bool = False) -> Reconciliation:
    """The report of `report.report` with what the other sides say of each day, and their totals.

    With `reread` a day whose count is not Mixpanel's is exported once more, to a passing folder, to see whether it has changed
    since.
    """
    found = report.report(connection, days)
    rows: list[Row] = [{**row, **of_day(connection, row["day"], row, reread=reread)} for row in found["days"]]
    totals: dict[str, int | None] = {**found["totals"]}
    totals["mixpanel"] = _total(row["mixpanel"] for row in rows)
    totals["live"] = _total(row["live"] for row in rows)
    return {"days": rows, "requests": found["requests"], "totals": totals}


def _total(counts: Iterable[int | None]) -> int | None:
    """None where one of them is not known."""
    total = 0
    for count in counts:
        if count is None:
            return None
        total += count
    return total


def unexplained(row: OtherSides) -> list[Difference]:
    """The differences of a day that need a person."""
    return [difference for difference in row["differences"] if difference["explanation"] is None]


def of_day(connection: Connection, day: str, row: report.Row | None = None, *, reread: bool = False) -> OtherSides:
    """What the other sides say of one day whose books are `row`, read again without it; differences of zero are left out."""
    row = report.counts_of(connection, day) if row is None else row
    raw = extract.stored(connection, day)
    xdm = transform.stored(connection, day)
    told: OtherSides = {"mixpanel": None, "live": None, "differences": [], "unanswered": []}
    differences = told["differences"]

    def differ(first: str, second: str, count: int, explanation: str | None) -> None:
        if count:
            differences.append({"between": [first, second], "count": count, "explanation": explanation})

    if raw is not None and xdm is not None and row["status"] != Status.MISSING:
        try:
            count, why = _mixpanel(connection, day, raw, xdm, reread=reread)
        except MixpanelError as error:
            count, why = None, str(error)
            told["unanswered"].append("mixpanel")
        told["mixpanel"] = count
        if count is None:
            told["mixpanel_error"] = why or ""
        else:
            differ("mixpanel", "exported", count - row["exported"], why)
    differ("exported", "uploaded", row["exported"] - row["uploaded"], _not_uploaded(connection, day, row))
    differ("uploaded", "ingested", row["uploaded"] - row["ingested"], _not_ingested(connection, day, row))
    if row["status"] not in (Status.MISSING, Status.IN_PROGRESS):
        try:
            count, why = _live(connection, day, row)
        except AepError as error:
            count, why = None, str(error)
            told["unanswered"].append("live")
        told["live"] = count
        if count is None:
            told["live_error"] = why or ""
        else:
            differ("ingested", "live", row["ingested"] - count, why)
    return told


def _not_uploaded(connection: Connection, day: str, row: report.Row) -> str | None:
    if row["status"] == Status.MISSING or row["exported"] - row["uploaded"] != row["duplicates"] + row["quarantined"]:
        return None
    texts = [_events(row["duplicates"], "duplicate")] if row["duplicates"] else []
    found = {stage: reasons for stage, reasons in quarantine.summary(connection, day).items() if stage is not Stage.AEP}
    if sum(sum(reasons.values()) for reasons in found.values()) != row["quarantined"]:
        return None
    for stage, reasons in found.items():
        told = ", ".join(f"{reason} {count:,}" for reason, count in reasons.items())
        texts.append(f"{sum(reasons.values()):,} in quarantine, stage {stage} ({told})")
    return "; ".join(texts)


def _not_ingested(connection: Connection, day: str, row: report.Row) -> str | None:
    if row["status"] == Status.IN_PROGRESS:
        return "the Platform is still at work on it"
    if row["uploaded"] - row["ingested"] != row["rejected"]:
        return None
    if row["status"] == Status.FAILED:
        batch = load.stored(connection, day)
        errors = batch.outcome.errors if batch is not None and batch.outcome is not None else ()
        reasons = "; ".join(f"{error.code}: {error.description}" for error in errors[:3])
        return f"the Platform refused the batch: {reasons or 'it gave no reason'}"
    codes = quarantine.summary(connection, day).get(Stage.AEP, {})
    told = ", ".join(f"{code} {count:,}" for code, count in codes.items()) or "no diagnostics could be read"
    return f"{_events(row['rejected'], 'row')} rejected by the Platform ({told})"


def _live(connection: Connection, day: str, row: report.Row) -> tuple[int | None, str | None]:
    """Rows of the day's live batches by the Catalog, and why they are not what the books say; or why there are none."""
    partition = batch.partition_name(str(connection.settings.project_id or ""), connection.settings.name, day)
    found = follow.live(connection.platform, connection.dataset, partition)
    if any(outcome.ingested is None for outcome in found):
        return None, "the Catalog has no counts for a batch of the day"
    count = sum(outcome.ingested or 0 for outcome in found)
    if count == row["ingested"]:
        return count, None
    again = replay.standing(connection, day)
    known = {row["batch_id"], again.batch_id if again is not None else None}
    state = receipts.read(connection.storage, connection.settings.name, day)
    parts = {attempt.batch_id: attempt.part for attempt in state.attempts}
    beside = {outcome.batch_id: outcome.ingested or 0 for outcome in found if outcome.batch_id not in known}
    new = [batch_id for batch_id in beside if batch_id in parts]
    if sum(beside[batch_id] for batch_id in new) != count - row["ingested"]:
        return count, None
    if new and all(parts.get(batch_id) == receipts.REPLAY for batch_id in new):
        return count, "a replay was stopped before it was written down: `mixpanel-aep quarantine replay` finishes it"
    if new and row["status"] == Status.FAILED:
        return count, f"the day's earlier batch {', '.join(new)} is live, because the refused one did not replace it"
    return count, None


def _mixpanel(
    connection: Connection, day: str, raw: RawManifest, xdm: XdmManifest, *, reread: bool
) -> tuple[int | None, str | None]:
    """Mixpanel's own count of the day, and why it is not the number exported; without a count, why there is none."""
    if connection.settings.events or connection.settings.where:
        return None, "only some events are exported, so that the project's counts say nothing about them"
    try:
        counts = _counts(connection, day)
    except PlanLacksExport as error:
        return None, str(error)
    theirs, ours = sum(counts.values()), raw.rows - xdm.duplicates
    others = export_requests.alone(connection, day)
    strays = 0 if others is None else others.reasons.get(OTHER_DAY, 0)
    broken = raw.quarantined + (0 if others is None else others.count - strays)
    texts = [_events(broken, "line") + " without an event"] if broken else []
    if xdm.duplicates:
        texts.append(f"{_events(xdm.duplicates, 'duplicate')}, which Mixpanel's numbers leave out")
    if others is not None and strays and theirs == ours + (distinct := _distinct(others)):
        if strays > distinct:
            texts.append(f"{_events(strays - distinct, 'duplicate')} among the events of other days")
        return theirs, "; ".join(texts)
    if strays:
        texts.append(f"{_events(strays, 'event')} of other days, which are not in Mixpanel's count of this one")
    if theirs != ours:
        try:
            why = explain_count(connection, day, raw, counts, reread=reread)
        except NotComparable as reason:
            return None, str(reason)
        except MixpanelError as error:
            log.warning("%s: why Mixpanel's count differs cannot be found out: %s", day, error)
            why = None
        if why is None:
            return theirs, None
        texts.append(why)
    return theirs, "; ".join(texts)


def _distinct(request: Request) -> int:
    """The events of other days that came with a request, each once."""
    found = pl.concat(frame.filter(reason=OTHER_DAY).select("key", "repeats") for frame in request.rows())
    return found.filter("repeats")["key"].n_unique() + found.filter(~pl.col("repeats")).height


def explain_count(
    connection: Connection, day: str, raw: RawManifest, counts: Mapping[str, int], *, reread: bool
) -> str | None:
    """What makes Mixpanel's counts of the day (by name) differ from the rows exported, duplicates left out.

    None where nothing does; see `report_of` for `reread`. Raises NotComparable, the errors of `mixpanel.mixpanel_errors`,
    StorageError.
    """
    own, merged = _by_name(source_rows.source_rows(connection, day), counts)
    differing = {name for name in own | Counter(counts) if own[name] != counts.get(name, 0)}
    silent = {name for name in differing if not counts.get(name)}
    once = {name for name in differing - silent if counts.get(name) == merged[name]}
    if differing and silent | once == differing and (not silent or silent <= _hidden(connection)):
        texts = []
        if silent:
            total, named = sum(own[name] for name in silent), ", ".join(sorted(silent)[:NAMED])
            texts.append(f"Mixpanel's numbers leave out {_events(total, 'event')} named {named}, hidden in Lexicon")
        if once:
            text = "Mixpanel counts events of equal event, distinct_id, time and insert id once; ids were merged since"
            texts.append(text)
        return "; ".join(texts)
    zone = connection.mixpanel.source.timezone or "UTC"
    in_zone = raw.time_mode == "utc" and zone != "UTC"
    if in_zone and (why := _in_zone(connection, day, ZoneInfo(zone), counts)) is not None:
        return why
    return _changed(connection, day, raw, counts) if reread else None


def _by_name(frames: Iterable[pl.DataFrame], counts: Mapping[str, int]) -> tuple[Counter[str], Counter[str]]:
    """Rows by the name that Mixpanel counts them under: all, and those of equal key in Mixpanel's sense once."""
    name = pl.col("event")
    if counts.get(HOT_SHARD):  # counted under the name that Mixpanel gave them, not the one that was restored
        renamed = pl.col("properties").str.contains(f'"{HOT_SHARD_EVENT}"', literal=True)
        name = pl.when(renamed).then(pl.lit(HOT_SHARD)).otherwise(name)
    seen = [pl.DataFrame(schema={"name": pl.String, "key": pl.UInt64})]
    seen += [frame.select(name.alias("name"), pl.struct(MIXPANELS_KEY).hash().alias("key")) for frame in frames]
    found = pl.concat(seen).group_by("name").agg(pl.len().alias("all"), pl.col("key").n_unique().alias("once"))
    return tuple(Counter(dict(found.select("name", column).iter_rows())) for column in ("all", "once"))  # type: ignore[return-value]


def _hidden(connection: Connection) -> frozenset[str]:
    """Names of events that the project's Lexicon hides from reports; none where it may not be read."""
    try:
        return lexicon.hidden_events(connection.mixpanel.lexicon())
    except MixpanelError as error:
        log.info("Whether events are hidden in Lexicon cannot be found out: %s", error)
        return frozenset()


def _in_zone(connection: Connection, day: str, zone: ZoneInfo, counts: Mapping[str, int]) -> str | None:
    """In UTC mode the export's day is that of UTC, while the Query API counts the day of the project's zone."""
    date = datetime.date.fromisoformat(day)
    start, end = (datetime.datetime.combine(date + datetime.timedelta(n), datetime.time(), zone) for n in (0, 1))
    first, last = (
        moment.astimezone(datetime.UTC).date() for moment in (start, end - datetime.timedelta(microseconds=1))
    )
    days = [(first + datetime.timedelta(n)).isoformat() for n in range((last - first).days + 1)]
    missing = [one for one in days if extract.stored(connection, one) is None]
    if missing:
        raise NotComparable(
            f"Mixpanel counts the day in {zone.key}, the export's is UTC; to compare them, {', '.join(missing)} is missing"
        )
    begins, ends = (pl.lit(moment.astimezone(datetime.UTC), pl.Datetime("ms", "UTC")) for moment in (start, end))
    inside = pl.col("mixpanel.timestamp").is_between(begins, ends, closed="left")
    frames = (frame.filter(inside) for one in days for frame in source_rows.source_rows(connection, one))
    ours, _ = _by_name(frames, counts)
    if ours != +Counter(counts):
        return None
    return (
        f"Mixpanel counts the day in {zone.key}, the export's is UTC; counted in that zone, both have "
        f"{_events(ours.total(), 'event')}"
    )


def _changed(connection: Connection, day: str, raw: RawManifest, counts: Mapping[str, int]) -> str | None:
    """Exports the day again, to a passing folder, and compares."""
    stored = connection.day(extract.TABLE, day).locations(raw)
    with (
        tempfile.TemporaryDirectory(prefix=PASSING) as folder,
        connection.with_storage(open_storage(folder)) as again,
    ):
        now = extract.extract_day(again, day).manifest
        if now.digest == raw.digest or _by_name(source_rows.source_rows(again, day), counts)[0] != +Counter(counts):
            return None
        found = changes.compare(stored, again.day(extract.TABLE, day).locations(now))
    told = ", ".join(f"{count:,} {what}" for what, count in manifests.as_json(found).items() if count)
    return f"the day has changed since it was exported at {raw.committed_at[:16]} UTC ({told}); run it again"


def _counts(connection: Connection, day: str) -> Counter[str]:
    """Mixpanel's own number of events of the day by name (Query API). Raises the errors of that room.

    Names must be asked for: those of the stored day, those of the days around it, which late events may have, and that
    of hot-shard rows, which are stored under their restored name.
    """
    date = datetime.date.fromisoformat(day)
    names = {HOT_SHARD}
    for frame in source_rows.read_groups(
        connection.day(extract.TABLE, day), extract.stored(connection, day), "parts", ["event"]
    ):
        names.update(frame["event"].unique().to_list())
    for number in range(-AROUND, AROUND + 1):
        near = extract.stored(connection, (date + datetime.timedelta(number)).isoformat())
        names.update(near.events if near else ())
    counts = connection.mixpanel.daily_counts(date, date, sorted(names))
    return Counter({name: days.get(date, 0) for name, days in counts.items()})


def _events(count: int, what: str) -> str:
    return f"{count:,} {what}" if count == 1 else f"{count:,} {what}s"
