"""What a backfill will take, before it is begun: requests, time, bytes, batches, and what these numbers assume."""

from __future__ import annotations

import datetime
import math
from collections.abc import Sequence
from typing import Any

from mixpanel_aep_assets.aep import limits
from mixpanel_aep_assets.connection import Opened
from mixpanel_aep_assets.mixpanel import request_windows
from mixpanel_aep_assets.mixpanel.request_windows import Size, Sizes
from mixpanel_aep_assets.mixpanel.settings import REQUESTS_AN_HOUR
from mixpanel_aep_assets.pipeline import history, load, passes

SAMPLED_BATCHES = 60
"""Newest committed days whose batches tell how large an event is when it is uploaded."""


def forecast(opened: Opened, days: Sequence[str]) -> dict[str, Any]:
    """Reads what is committed and asks nobody. `days` are consecutive, oldest first.

    Keys: `from`, `to`, `days`, `read_already` (days that a stopped command has read), `requests`, `requests_by_day` (what
    runs of one day each would take), `requests_an_hour`, `hours` (`budget`: until the last request may begin, `receiving`:
    what the bodies take, `uploading`: what the Platform's hourly guardrail takes; None where unknown), `bytes`, `events`,
    `upload_bytes`, `batches`, `batches_a_day`, `days_of_batches`, `windows` (newest first), `assumptions` (sentences).
    """
    settings = opened.settings
    manifests = history.committed(opened)
    sizes = Sizes({day: Size(raw["body"]["bytes"], raw["exported"]) for day, raw in manifests.items()})
    stopped = passes.unfinished(opened.storage, settings.name, days)
    read = passes.Notes(opened.storage, settings.name, stopped.id).days_read() if stopped else set()
    waiting = [datetime.date.fromisoformat(day) for day in days if day not in read]
    made = request_windows.plan(waiting, sizes, history.limits(opened))
    hourly = max(1, int(REQUESTS_AN_HOUR * settings.budget_share))
    rate = _rate(manifests)
    found = request_windows.forecast(made, hourly, rate)
    upload = _upload_bytes_an_event(opened, manifests)
    upload_bytes = found.size.events * upload if found.size and upload else None
    return {
        "from": days[0],
        "to": days[-1],
        "days": len(days),
        "read_already": len(read),
        "requests": found.requests,
        "requests_by_day": len(waiting),
        "requests_an_hour": hourly,
        "hours": {
            "budget": found.waiting / 3600,
            "receiving": _rounded(found.receiving and found.receiving / 3600),
            "uploading": _rounded(upload_bytes and upload_bytes / limits.BYTES_AN_HOUR),
        },
        "bytes": found.size and round(found.size.bytes),
        "events": found.size and round(found.size.events),
        "upload_bytes": upload_bytes and round(upload_bytes),
        "batches": len(days),
        "batches_a_day": limits.BATCHES_A_DAY,
        "days_of_batches": math.ceil(len(days) / limits.BATCHES_A_DAY),
        "windows": [
            {
                "from": window.first.isoformat(),
                "to": window.last.isoformat(),
                "days": len(window.days),
                "requests": window.requests,
                "bytes": window.size and round(window.size.bytes),
                "events": window.size and round(window.size.events),
            }
            for window in made
        ],
        "assumptions": _assumptions(opened, manifests, waiting, rate, hourly),
    }


def _rate(manifests: dict[datetime.date, Any]) -> float | None:
    """Bytes a second at which the committed days' bodies were received and parsed."""
    seconds = sum(raw["body"]["seconds"] for raw in manifests.values())
    return sum(raw["body"]["bytes"] for raw in manifests.values()) / seconds if seconds else None


def _upload_bytes_an_event(opened: Opened, manifests: dict[datetime.date, Any]) -> float | None:
    size = events = 0
    for day in sorted(manifests, reverse=True)[:SAMPLED_BATCHES]:
        batch = opened.day(load.TABLE, day.isoformat()).manifest()
        if batch is not None:
            size += batch["bytes"]
            events += manifests[day]["exported"]
    return size / events if events else None


def _assumptions(
    opened: Opened,
    manifests: dict[datetime.date, Any],
    waiting: Sequence[datetime.date],
    rate: float | None,
    hourly: int,
) -> list[str]:
    carried = history.limits(opened)
    known = sum(day in manifests for day in waiting)
    texts = [
        (
            f"A request carries at most {carried.target_bytes / 1e6:,.0f} MB of body, {carried.most_events:,} events and "
            f"{carried.most_days} days, by what is known before it; it is planned anew after each one."
        ),
        (
            f"{hourly} of Mixpanel's {REQUESTS_AN_HOUR} requests an hour are ours (budget share "
            f"{opened.settings.budget_share:g}), none of them is used yet, nobody else takes more than the others, and no "
            "request fails."
        ),
    ]
    if not manifests:
        texts.append(
            "No day is committed yet, so no size is known: the requests are the fewest that there can be. Run one day "
            "first to plan with its size."
        )
    else:
        texts.append(
            f"{known} of the {len(waiting)} days have the size that they had when they were committed, the others that of "
            "the committed days nearest to them, of the same weekday where there are two."
        )
    if rate:
        texts.append(f"Bodies are received at {rate / 1e6:.1f} MB/s, as those of the committed days were.")
    texts.append(
        f"Each day with events is one batch. Adobe recommends at most {limits.BATCHES_A_DAY} event batches a day and "
        f"sandbox, and {limits.BYTES_AN_HOUR / 1e9:.0f} GB an hour; the batches that others send are not counted here."
    )
    return texts


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 3)
