"""Step one for many days: the first run reads a window of days by one request, the others find their day there.

Runs that belong together (a backfill, a command, a night's re-reads) share a `run_groups.Pass`. What belongs here: which run
reads which days, in windows, halves and slices. What does not: their sizes (`mixpanel.windows`), how one is read
(`mixpanel.window_export`, `mixpanel.slices`), how the runs know of each other (`passes`).
"""

from __future__ import annotations

import datetime
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial

from mixpanel_aep_assets.connection import Connection
from mixpanel_aep_assets.manifests import Exported, RawManifest
from mixpanel_aep_assets.mixpanel import export, slices
from mixpanel_aep_assets.mixpanel.doubt import Judge
from mixpanel_aep_assets.mixpanel.export_retry import Retry
from mixpanel_aep_assets.mixpanel.mixpanel_errors import ExportIncomplete, ServerFault
from mixpanel_aep_assets.mixpanel.request_windows import Limits, Size, Sizes, Window, halves, parts, window_of
from mixpanel_aep_assets.mixpanel.window_export import Scattered, export_window
from mixpanel_aep_assets.pipeline.steps import evidence, export_requests, extract, time_modes
from mixpanel_aep_assets.pipeline.steps.run_groups import Notes, Pass
from mixpanel_aep_assets.storage import EntryExists

TRIES = 3
"""Times that a body may fail before its days are asked for in smaller parts (mixpanel.md#retry)."""

TIMED_OUT = (200, 400, 504)
"""Statuses of a time-out of the server; the first two with a text that says so (mixpanel.md#failures)."""

KNOWN_DAYS = 60
"""Committed days nearest to a day that tell how large it may be; a manifest each is read."""

NAMED_DAYS = 5
"""Committed days nearest to a day that tell the names of its events."""

REACH = datetime.timedelta(days=120)
"""How far from its own day a run plans."""

Say = Callable[[str], None]


def extract_day(
    connection: Connection,
    day: str,
    *,
    together: Pass | None = None,
    force: bool = False,
    log: Say = lambda _: None,
    retry: Retry | None = None,
) -> Exported:
    """The day as of `extract.extract_day`, read with the days of `together` around it.

    A day that the pass has read already is not asked for again; one that another run of the pass is reading is waited
    for. Raises the errors of `extract.extract_day`; days that were committed before an error stay read.
    """
    if together is None or len(together.days) < 2 or connection.settings.window_days == 1:
        return extract.extract_day(connection, day, force=force, log=log, retry=retry)
    extract.require_closed(connection, day, connection.time_mode())
    notes = Notes(connection.storage, connection.settings.name, together.id)
    while (found := _found(connection, day, notes)) is None:
        claims = notes.claims()
        living = [claim for claim in claims if notes.lives(claim)]
        holder = next((claim for claim in living if day in claim.days), None)
        if holder is not None:
            log(f"{day} is being read by another run, with {len(holder.days) - 1} other days; waiting for it")
            notes.wait(holder, day)
            continue
        taken = notes.days_read().union(*(claim.days for claim in living))
        window = _window(connection, day, set(together.days) - taken)
        try:
            with notes.claimed(len(claims) + 1, [date.isoformat() for date in window.days]):
                _read(connection, window, notes, log, retry or Retry(tries=TRIES), force=force)
        except EntryExists:
            continue
    log(f"{day}: {found.manifest.rows} events; the day was read with others of the same backfill")
    return found


def limits(connection: Connection) -> Limits:
    """What one request of this connection may carry."""
    settings = connection.settings
    return Limits(target_bytes=settings.window_megabytes * 10**6, most_days=settings.window_days)


def sizes(connection: Connection, around: datetime.date | None = None) -> Sizes:
    """Sizes of the committed days that are nearest to a day, or of all."""
    return sizes_of(committed(connection, around, KNOWN_DAYS if around else None))


def sizes_of(stored: Mapping[datetime.date, RawManifest]) -> Sizes:
    return Sizes({day: Size(raw.body.bytes, raw.exported) for day, raw in stored.items()})


def committed(
    connection: Connection, around: datetime.date | None = None, most: int | None = None
) -> dict[datetime.date, RawManifest]:
    """Manifests of the `most` days that are nearest to a day, of those that are committed; of all without `most`."""
    stored = {day: extract.stored(connection, day.isoformat()) for day in _days(connection, around)[:most]}
    return {day: manifest for day, manifest in stored.items() if manifest is not None}


def _found(connection: Connection, day: str, notes: Notes) -> Exported | None:
    note = notes.read(day)
    manifest = extract.stored(connection, day) if note is not None else None
    if note is None or manifest is None:
        return None
    return Exported(manifest, unchanged=note.unchanged)


def _days(connection: Connection, around: datetime.date | None) -> list[datetime.date]:
    """Days that were exported, or begun to be; nearest first."""
    days = []
    for name in connection.storage.folders(connection.settings.name, extract.TABLE):
        try:
            days.append(datetime.date.fromisoformat(name))
        except ValueError:
            continue
    return sorted(days, key=lambda day: abs(day - around)) if around else days


def _window(connection: Connection, day: str, unread: Iterable[str]) -> Window:
    """The window that carries the day, of those over the days that nobody reads."""
    wanted = datetime.date.fromisoformat(day)
    last, _ = extract.last_closed_day(connection, connection.time_mode())
    dates = map(datetime.date.fromisoformat, unread)
    near = {date for date in dates if date <= last and abs(date - wanted) <= REACH}
    return window_of(wanted, near, sizes(connection, wanted), limits(connection))


def _read(connection: Connection, window: Window, notes: Notes, log: Say, retry: Retry, *, force: bool) -> None:
    """Reads and commits the window's days; what one request cannot carry, in halves; a single day, in slices.

    In halves, too, where so many lines of the body lie outside its days that they would stop one of them, until they lie
    with a request for one day: so a bad day neither holds its neighbours nor hides among them.
    """
    waiting: list[Sequence[datetime.date]] = [window.days]
    while waiting:
        days = waiting.pop(0)
        try:
            read = _believed(connection, days, window.requests, log, retry, force=force)
        except (ExportIncomplete, ServerFault) as error:
            if len(days) == 1 or not _too_much(error):
                raise
            log(f"{days[-1]} to {days[0]}: one request cannot carry these days ({error.what}); in two")
            waiting = [*halves(days), *waiting]
            continue
        except Scattered as error:
            log(f"{days[-1]} to {days[0]}: {error}, enough to stop a day of them; in two, to see whose they are")
            waiting = [*halves(days), *waiting]
            continue
        for day in days:
            made = read[day]
            time_modes.remember(connection, made.manifest)
            notes.mark_read(day.isoformat(), made.manifest.generation, unchanged=made.unchanged)


def _believed(
    connection: Connection, days: Sequence[datetime.date], requests: int, log: Say, retry: Retry, *, force: bool
) -> evidence.Days:
    """The days, read with what it takes to believe them."""

    def request(judge: Judge) -> evidence.Days:
        return _requested(connection, days, requests, log, retry, judge)

    return evidence.read(connection, extract.TABLE, days, request, force=force, log=log, retry=retry)


def _requested(
    connection: Connection, days: Sequence[datetime.date], count: int, log: Say, retry: Retry, judge: Judge
) -> evidence.Days:
    """The days: several by one request, one by as many as it needs."""
    mode, others = connection.time_mode(), time_modes.pool(connection, days)
    tables = {day: connection.day(extract.TABLE, day.isoformat()) for day in days}
    if len(days) > 1:
        log(f"{days[-1]} to {days[0]}: {len(days)} days by one request")
        too_many = export_requests.too_many(connection)
        return export_window(
            connection.mixpanel, tables, mode=mode, others=others, too_many=too_many, retry=retry, log=log, judge=judge
        )
    (day,) = days
    by_one = partial(export.export_day, mode=mode, others=others, retry=retry, log=log, judge=judge)
    by_slices = partial(slices.export_slices, mode=mode, others=others, retry=retry, log=log, judge=judge)
    if count == 1:
        try:
            return {day: by_one(connection.mixpanel, tables[day], day)}
        except (ExportIncomplete, ServerFault) as error:
            if not _too_much(error):
                raise
            size = sizes(connection, day).of(day)
            count = parts(size.bytes if size else 0, limits(connection))
            log(f"{day}: one request cannot carry it ({error.what}); in {count}")
    names = _names(connection, day)
    return {day: by_slices(connection.mixpanel, tables[day], day, names, count)}


def _too_much(error: ExportIncomplete | ServerFault) -> bool:
    """Whether smaller requests may help: not where Mixpanel is down, which shows before a body begins."""
    return isinstance(error, ExportIncomplete) or error.status in TIMED_OUT


def _names(connection: Connection, day: datetime.date) -> Mapping[str, int]:
    """Numbers of events by name in the committed days nearest to a day."""
    names: Counter[str] = Counter()
    for manifest in committed(connection, day, NAMED_DAYS).values():
        names.update(manifest.events)
    return names
