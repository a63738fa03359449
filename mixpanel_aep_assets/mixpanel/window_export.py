"""Several days in one export request: the body goes into the days that its lines belong to (`dealing`).

The body as a whole is proven by `export.receive`, then each day is committed by itself, with the manifest that a request
for that day alone would have given. What does not belong here: which days go together (`request_windows`).
"""

from __future__ import annotations

import datetime
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import ExitStack

import polars as pl
from msgspec.structs import replace

from mixpanel_aep_assets.manifests import Exported, Window
from mixpanel_aep_assets.mixpanel import lines_of_other_days, time_evidence, time_mode
from mixpanel_aep_assets.mixpanel.client import MixpanelClient
from mixpanel_aep_assets.mixpanel.doubt import Judge
from mixpanel_aep_assets.mixpanel.export import Progress, commit, is_believed, manifest_of, receive
from mixpanel_aep_assets.mixpanel.export_retry import Retry
from mixpanel_aep_assets.mixpanel.lines_by_day import Dealer, Share
from mixpanel_aep_assets.mixpanel.parts import PartWriter, one_thread
from mixpanel_aep_assets.storage import Day, now

TooMany = Callable[[Mapping[datetime.date, int], pl.DataFrame], bool]
"""Whether lines outside a window (the columns of `lines_of_other_days.staged`) are too many beside its days' numbers of lines."""


class Scattered(Exception):
    """So many lines of a window's body lie outside its days that whose they are must be found out: ask for less."""


def export_window(
    client: MixpanelClient,
    days: Mapping[datetime.date, Day],
    *,
    mode: time_mode.Decision | None = None,
    others: time_evidence.Evidence | None = None,
    too_many: TooMany | None = None,
    retry: Retry | None = None,
    progress: Progress | None = None,
    log: Callable[[str], None] = lambda _: None,
    judge: Judge | None = None,
    only: Collection[datetime.date] | None = None,
) -> dict[datetime.date, Exported]:
    """Exports consecutive days by one request and commits each; what came of each.

    With `only`, just these of the days are committed and returned; the others stay as they are, and so does what earlier
    requests left.

    Each manifest has its `window`. `line` counts the lines of the window's body. `wire_bytes` and
    `seconds` are the day's part by its bytes. Lines of no day of the window are kept with the request (`outside`).
    Retries, errors and unchanged days as in `export.export_day`; a body that is not whole commits no day. Raises Scattered,
    with no day committed, where `too_many` says so.
    """
    dates = sorted(days)
    first, last = dates[0], dates[-1]
    known = mode or time_mode.configured(client.source.time_mode, client.source.timezone)

    def attempt() -> dict[datetime.date, Exported]:
        request, asked_at = lines_of_other_days.request_of(days[first], first, last), now()
        with ExitStack() as stack:
            stagings = {date: stack.enter_context(days[date].stage()) for date in dates}
            beside = stack.enter_context(request.stage())
            with ExitStack() as writing:
                pool = writing.enter_context(one_thread())
                shares = [
                    Share(writing.enter_context(PartWriter(stagings[date], client.source.privacy, pool=pool)))
                    for date in dates
                ]
                astray = writing.enter_context(
                    lines_of_other_days.OutsideWriter(beside, client.source.privacy, f"{first} to {last}")
                )
                dealer = Dealer(first, shares, astray)
                received = receive(client, first, last, dealer.take, progress=progress)
                dealer.deal()
                files = [share.writer.close() for share in shares]
                astray.close()
            if astray.count and too_many is not None:
                lines = {date: share.content.lines for date, share in zip(dates, shares, strict=True)}
                if too_many(lines, lines_of_other_days.staged(beside, astray)):
                    raise Scattered(f"{astray.count:,} lines lie outside these days")
            decision = known or _lasting(client, shares, others)
            committed = {}
            for date, share, (parts, aside) in reversed(list(zip(dates, shares, files, strict=True))):
                if only is not None and date not in only:
                    continue
                part = share.content.body_bytes / max(1, received.body_bytes)
                share.content.wire_bytes = round(received.wire_bytes * part)
                share.content.seconds = received.seconds * part
                manifest = manifest_of(client, date, share.content, decision)
                window = Window(first.isoformat(), last.isoformat())
                manifest = replace(manifest, window=window, parts=parts, quarantine=aside)
                committed[date] = commit(days[date], stagings[date], manifest, log, judge)
            if only is None and is_believed(judge):
                alone = [date for date in dates if committed[date].doubt is not None]
                privacy = client.source.privacy
                lines_of_other_days.finish(request, beside, first, last, asked_at, [astray], privacy, left_alone=alone)
            return committed

    return (retry or Retry()).call(attempt, log)


def _lasting(
    client: MixpanelClient, shares: Sequence[Share], others: time_evidence.Evidence | None
) -> time_mode.Decision | None:
    """The decision that holds for all of these days; None: each day is judged alone."""
    return time_evidence.decide(others, [share.content.weighed(client.source.timezone) for share in reversed(shares)])
