"""What a backfill will take, before it is begun: requests, time, bytes, batches, and what these numbers assume."""

from __future__ import annotations

import datetime
import math
from collections.abc import Mapping, Sequence
from typing import TypedDict

from mixpanel_aep_assets.aep import limits
from mixpanel_aep_assets.connection import Connection
from mixpanel_aep_assets.manifests import RawManifest
from mixpanel_aep_assets.mixpanel import request_windows
from mixpanel_aep_assets.mixpanel.source_settings import REQUESTS_AN_HOUR
from mixpanel_aep_assets.pipeline.steps import day_exports, load, run_groups

SAMPLED_BATCHES = 60
"""Newest committed days whose batches tell how large an event is when it is uploaded."""


class Hours(TypedDict):
    """`budget`: until the last request may begin, `receiving`: what the bodies take, `uploading`: what the Platform's hourly
    guardrail takes; None where unknown."""

    budget: float
    receiving: float | None
    uploading: float | None


WindowForecast = TypedDict(
    "WindowForecast",
    {"from": str, "to": str, "days": int, "requests": int, "bytes": int | None, "events": int | None},
)

Forecast = TypedDict(
    "Forecast",
    {
        "from": str,
        "to": str,
        "days": int,
        "read_already": int,
        "requests": int,
        "requests_by_day": int,
        "requests_an_hour": int,
        "hours": Hours,
        "bytes": int | None,
        "events": int | None,
        "upload_bytes": int | None,
        "batches": int,
        "batches_a_day": int,
        "days_of_batches": int,
        "windows": list[WindowForecast],
        "assumptions": list[str],
    },
)
"""`read_already`: days that a stopped command has read · `requests_by_day`: what runs of one day each would take · `windows`:
newest first · `assumptions`: sentences. Sizes are None where unknown."""


def forecast(connection: Connection, days: Sequence[str]) -> Forecast:
    """Reads what is committed and asks nobody. `days` are consecutive, oldest first."""
    settings = connection.settings
    known = day_exports.committed(connection)
    sizes = day_exports.sizes_of(known)
    stopped = run_groups.unfinished(connection.storage, settings.name, days)
    read = run_groups.Notes(connection.storage, settings.name, stopped.id).days_read() if stopped else set()
    waiting = [datetime.date.fromisoformat(day) for day in days if day not in read]
    made = request_windows.plan(waiting, sizes, day_exports.limits(connection))
    hourly = max(1, int(REQUESTS_AN_HOUR * settings.budget_share))
    rate = _rate(known)
    found = request_windows.forecast(made, hourly, rate)
    upload = _upload_bytes_an_event(connection, known)
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
        "bytes": None if found.size is None else round(found.size.bytes),
        "events": None if found.size is None else round(found.size.events),
        "upload_bytes": None if upload_bytes is None else round(upload_bytes),
        "batches": len(days),
        "batches_a_day": limits.BATCHES_A_DAY,
        "days_of_batches": math.ceil(len(days) / limits.BATCHES_A_DAY),
        "windows": [
            {
                "from": window.first.isoformat(),
                "to": window.last.isoformat(),
                "days": len(window.days),
                "requests": window.requests,
                "bytes": None if window.size is None else round(window.size.bytes),
                "events": None if window.size is None else round(window.size.events),
            }
            for window in made
        ],
        "assumptions": _assumptions(connection, known, waiting, rate, hourly),
    }


def _rate(known: Mapping[datetime.date, RawManifest]) -> float | None:
    """Bytes a second at which the committed days' bodies were received and parsed."""
    seconds = sum(raw.body.seconds for raw in known.values())
    return sum(raw.body.bytes for raw in known.values()) / seconds if seconds else None


def _upload_bytes_an_event(connection: Connection, known: Mapping[datetime.date, RawManifest]) -> float | None:
    size = events = 0
    for day in sorted(known, reverse=True)[:SAMPLED_BATCHES]:
        batch = load.stored(connection, day.isoformat())
        if batch is not None:
            size += batch.bytes
            events += known[day].exported
    return size / events if events else None


def _assumptions(
    connection: Connection,
    known: Mapping[datetime.date, RawManifest],
    waiting: Sequence[datetime.date],
    rate: float | None,
    hourly: int,
) -> list[str]:
    carried = day_exports.limits(connection)
    seen = sum(day in known for day in waiting)
    texts = [
        (
            f"A request carries at most {carried.target_bytes / 1e6:,.0f} MB of body, {carried.most_events:,} events and "
            f"{carried.most_days} days, by what is known before it; the plan is updated after each one."
        ),
        (
            f"{hourly} of Mixpanel's {REQUESTS_AN_HOUR} requests an hour are ours (budget share "
            f"{connection.settings.budget_share:g}), none is used yet, other tools stay within their share, and no request "
            "fails."
        ),
    ]
    if not known:
        texts.append(
            "No day is committed yet, so no size is known: the requests are the minimum. Run one day "
            "first to plan with its size."
        )
    else:
        texts.append(
            f"{seen} of the {len(waiting)} days have the size they had when committed, the others that of "
            "the committed days nearest to them, of the same weekday where there are two."
        )
    if rate:
        texts.append(f"Bodies are received at {rate / 1e6:.1f} MB/s, as those of the committed days were.")
    texts.append(
        f"Each day with events is one batch. Adobe recommends at most {limits.BATCHES_A_DAY} event batches a day and "
        f"sandbox, and {limits.BYTES_AN_HOUR / 1e9:.0f} GB an hour; batches from other sources are not counted here."
    )
    return texts


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 3)
