"""Whether the time mode of a connection is known, from all of its days together; days that had to wait for it.

The evidence of a day is in its manifest, so that days exported side by side lose none of it, and a day that is replaced
counts once. What belongs here: pooling it, and giving a stored day the mode that was decided since. What does not: what
counts as evidence (`mixpanel.time_evidence`), where a decision is kept (`remembered`).
"""

from __future__ import annotations

import datetime
import shutil
from collections.abc import Callable, Collection, Iterator

from msgspec.structs import replace

from mixpanel_aep_assets import manifests
from mixpanel_aep_assets.connection import Connection
from mixpanel_aep_assets.manifests import RawManifest
from mixpanel_aep_assets.mixpanel import time_evidence
from mixpanel_aep_assets.mixpanel.time_evidence import Evidence
from mixpanel_aep_assets.mixpanel.time_mode import Decision, configured

TABLE = "raw_events"

POOL_DAYS = 60
"""Exported days whose evidence counts, those nearest to the day in question; a manifest each is read, until it is decided."""

COPY_BYTES = 8 << 20


def pool(connection: Connection, days: Collection[datetime.date]) -> Evidence | None:
    """The evidence of the days around `days`, not of these; None where the mode is known, or there is none."""
    source = connection.mixpanel.source
    if connection.time_mode() is not None or configured(source.time_mode, source.timezone) is not None or not days:
        return None
    found = [one for _, one in _evidence(connection, max(days), without=days) if one.timezone == source.timezone]
    return time_evidence.combined(source.timezone, found) if found else None


def decide(connection: Connection) -> Decision | None:
    """The mode as set, as decided before, or as the exported days decide it now, which is then remembered."""
    settings = connection.settings
    known = connection.time_mode() or configured(settings.time_mode, settings.timezone)
    if known is not None:
        return known
    seen = list(_evidence(connection, None))
    if not seen:
        return None
    newest, first = seen[0]
    decision = time_evidence.decide(None, [one for _, one in seen if one.timezone == first.timezone])
    if decision is None:
        return None
    connection.remember_time_mode(decision, newest.isoformat())
    return connection.time_mode()


def remember(connection: Connection, manifest: RawManifest) -> None:
    """Keeps the decision that a day was exported under, if its events made it and it lasts."""
    grounds = manifest.time_evidence
    decision = Decision(manifest.time_mode, manifest.timezone, grounds.text, grounds.lasting)
    if grounds.sure and connection.time_mode() is None:
        connection.remember_time_mode(decision, manifest.day)


def settle_day(connection: Connection, day: str, *, log: Callable[[str], None] = lambda _: None) -> RawManifest | None:
    """Gives a day that was exported before the mode was known the mode known now; its manifest.

    None where the day does not wait, or the mode is still not known. No request: the raw events are as sent in either mode.
    The files are copied to a generation of their own, because a manifest written in place could name files that another
    run is just replacing.
    """
    table = connection.day(TABLE, day)
    before = manifests.read(table, RawManifest)
    if before is None or before.time_evidence.sure:
        return None
    zone = connection.settings.timezone or before.timezone
    set_now = configured(connection.settings.time_mode, zone) if connection.settings.time_mode != "auto" else None
    decision = set_now or decide(connection)
    if decision is None:
        return None
    grounds = replace(before.time_evidence, sure=True, lasting=decision.lasting, text=decision.evidence)
    settled = replace(before, time_mode=decision.required(), timezone=decision.timezone, time_evidence=grounds)
    with table.stage() as staging:
        for kind in ("parts", "quarantine"):
            for path, name in zip(table.files(before, kind), before.names(kind), strict=True):
                with connection.storage.open_read(path) as stored, staging.open(name) as copy:
                    shutil.copyfileobj(stored, copy, COPY_BYTES)
        settled = manifests.commit(staging, settled)
    log(f"{day}: `time` is {_meaning(decision)}, {decision.evidence}; the day is not exported again for that")
    return settled


def _meaning(decision: Decision) -> str:
    return "UTC" if decision.mode == "utc" else f"the wall clock of {decision.timezone}"


def _evidence(
    connection: Connection, around: datetime.date | None, without: Collection[datetime.date] = ()
) -> Iterator[tuple[datetime.date, Evidence]]:
    """Of the `POOL_DAYS` exported days nearest to a day, or newest, those that have evidence; nearest, or newest, first."""
    days = []
    for name in connection.storage.folders(connection.settings.name, TABLE):
        try:
            days.append(datetime.date.fromisoformat(name))
        except ValueError:
            continue
    near = around or datetime.date.max
    days = sorted(set(days) - set(without), key=lambda day: abs(day - near))
    for day in days[:POOL_DAYS]:
        manifest = manifests.read(connection.day(TABLE, day.isoformat()), RawManifest)
        kept = None if manifest is None else time_evidence.kept(manifest)
        if kept is not None:
            yield day, kept
