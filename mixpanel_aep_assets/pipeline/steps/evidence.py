"""A reading that Mixpanel's own count does not confirm is requested once more.

What belongs here: the one extra request, and what becomes of the days then. What does not: which readings are doubted and
what settles it (`mixpanel.doubt`).
"""

from __future__ import annotations

import datetime
from collections.abc import Callable, Sequence

from mixpanel_aep_assets import manifests
from mixpanel_aep_assets.connection import Connection
from mixpanel_aep_assets.manifests import BatchManifest, Exported
from mixpanel_aep_assets.mixpanel import doubt
from mixpanel_aep_assets.mixpanel.doubt import Judge
from mixpanel_aep_assets.mixpanel.export_retry import Retry
from mixpanel_aep_assets.mixpanel.mixpanel_errors import EvidenceMissing, MixpanelError
from mixpanel_aep_assets.mixpanel.window_export import export_window
from mixpanel_aep_assets.storage import Day

MOST_DAYS = 31
"""Days that the extra request asks for at most; Mixpanel takes more, but a body should stay of a size."""

HANDED_OVER = "aep_batch"
"""The table of `load`, which stands above this module."""

Say = Callable[[str], None]
Days = dict[datetime.date, Exported]


def read(
    connection: Connection,
    table: str,
    dates: Sequence[datetime.date],
    request: Callable[[Judge], Days],
    *,
    force: bool = False,
    log: Say = lambda _: None,
    retry: Retry | None = None,
) -> Days:
    """What `request` gives, which reads and commits these days; at most one request more where a reading is doubted.

    The days that are doubted even then stay as they are, with their `doubt`. Raises EvidenceMissing where the
    extra request fails, or where a first reading is empty and Mixpanel counts events; and what `request` raises.
    """

    def day(date: datetime.date) -> Day:
        return connection.day(table, date.isoformat())

    def live(date: datetime.date) -> int:
        batch = manifests.read(connection.day(HANDED_OVER, date.isoformat()), BatchManifest)
        return batch.rows if batch is not None and batch.batch_id else 0

    settings = connection.settings
    thresholds = doubt.Thresholds(settings.shrink_percent, settings.shrink_floor, settings.empty_floor)
    judge = Judge(connection.mixpanel, dates, day, thresholds, force=force, live=live, log=log)
    found = request(judge)
    doubted = dict(judge.held)
    if not doubted:
        return found
    again = judge.evidence(MOST_DAYS)
    log(f"{_span(sorted(doubted))}: {_first(doubted)} Asking once more, for {_span(again)}")
    judge.repeats(again)
    try:
        if len(again) == len(dates):
            second = request(judge)
        else:
            days = {date: day(date) for date in again}
            mode = connection.time_mode()
            second = export_window(
                connection.mixpanel, days, mode=mode, retry=retry, log=log, judge=judge, only=set(dates)
            )
    except MixpanelError as error:
        raise EvidenceMissing(f"{_first(doubted)} The request to confirm it failed: {error}", cause=error) from error
    for date, note in judge.held.items():
        if note.generation is None:
            raise EvidenceMissing(
                f"{date} would be the first export of the day. {note.text}",
                fix="Nothing is committed; run the day again later, or with --force if the day really has no events.",
            )
        log(f"{date}: {note.text}")
    # A day that was committed by the first request is not unchanged because the second one found it so.
    return {
        date: found[date] if made.unchanged and made.doubt is None and date not in doubted else made
        for date, made in second.items()
    }


def _first(doubted: dict[datetime.date, doubt.Doubt]) -> str:
    """The newest day's doubt in words, for the others."""
    return doubted[max(doubted)].text


def _span(dates: Sequence[datetime.date]) -> str:
    return f"{dates[0]}" if len(dates) == 1 else f"{dates[0]} to {dates[-1]}"
