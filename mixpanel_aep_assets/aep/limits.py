"""The Platform's limits: planned for before anything is sent, warned of before they bite (platform.md#limits).

Hard limits raise, soft ones are findings. What does not belong here: splitting a day into files (the transform).
"""

from __future__ import annotations

import datetime
import logging
from collections.abc import Sequence
from dataclasses import dataclass

from mixpanel_aep_assets.aep import catalog
from mixpanel_aep_assets.aep.http import PlatformClient
from mixpanel_aep_assets.aep.ingest import FileToSend
from mixpanel_aep_assets.aep.platform_errors import AepError, LimitExceeded

log = logging.getLogger(__name__)

FILES_A_BATCH = 1_500
"""The older of two documented limits (the newer is 25 000); below it both pages agree (platform.md#limits)."""
BYTES_A_BATCH = 1 << 40
BATCHES_A_DAY = 90
"""Profile and event batches per day and sandbox; soft."""
BYTES_AN_HOUR = 20 * 10**9
URL_LENGTH = 2_000
EVENT_BYTES = 10 * 1024
"""An event as uncompressed JSON; Profile drops larger ones, the lake keeps them."""
NEAR = 0.8
"""The share of a soft limit from which it is warned of."""


@dataclass(frozen=True)
class Usage:
    """What the sandbox has taken lately: batches made since midnight UTC, bytes of batches made within the hour."""

    batches_today: int
    bytes_this_hour: int


@dataclass(frozen=True)
class LimitWarning:
    """A soft limit that is near or passed. `over` tells which."""

    limit: str
    used: int
    allowed: int
    over: bool
    text: str


def usage(client: PlatformClient, at: datetime.datetime | None = None) -> Usage:
    """Counts the sandbox's batches of today by the Catalog, all datasets, those given up left out."""
    at = at or datetime.datetime.now(datetime.UTC)
    midnight = int(at.replace(hour=0, minute=0, second=0, microsecond=0).timestamp() * 1000)
    hour_ago = int(at.timestamp() * 1000) - 3_600_000
    count = size = 0
    for batch in catalog.batches(client, createdAfter=min(midnight, hour_ago) - 1):
        if batch.status in ("aborted", "abandoned"):
            continue
        count += batch.created >= midnight
        if batch.created >= hour_ago:
            size += int(batch.metrics.get("inputByteSize") or batch.raw.get("size") or 0)
    return Usage(count, size)


def forecast(used: Usage, batches: int, size: int) -> list[LimitWarning]:
    """What `batches` more batches of `size` bytes together would mean for the soft limits."""
    findings = []
    more = used.batches_today + batches
    if more > BATCHES_A_DAY * NEAR:
        findings.append(
            LimitWarning(
                "batches a day",
                more,
                BATCHES_A_DAY,
                more > BATCHES_A_DAY,
                f"{more} event batches today with these, {BATCHES_A_DAY} a day and sandbox are recommended: spread a "
                "backfill over several days.",
            )
        )
    total = used.bytes_this_hour + size
    if total > BYTES_AN_HOUR * NEAR:
        findings.append(
            LimitWarning(
                "bytes an hour",
                total,
                BYTES_AN_HOUR,
                total > BYTES_AN_HOUR,
                f"{total / 1e9:.1f} GB within the hour with these, {BYTES_AN_HOUR / 1e9:.0f} GB are recommended: "
                "lower the concurrency of the upload pool.",
            )
        )
    return findings


def before(client: PlatformClient, files: Sequence[FileToSend]) -> list[str]:
    """What a new batch of these files comes near to, asked before it is made. A warning never stops an upload."""
    texts = []
    if len(files) > FILES_A_BATCH * NEAR:
        texts.append(f"The batch has {len(files)} files of the {FILES_A_BATCH} that one may have: make larger parts.")
    try:
        used = usage(client)
    except AepError as error:
        log.warning("What the sandbox has taken today is not known: %s", error)
        return texts
    return texts + [finding.text for finding in forecast(used, batches=1, size=sum(file.size for file in files))]


def check(files: Sequence[FileToSend]) -> None:
    """Raises LimitExceeded if a batch of these files would be refused; nothing has been sent then."""
    if len(files) > FILES_A_BATCH:
        raise LimitExceeded(
            f"The day has {len(files)} files, a batch may have {FILES_A_BATCH}",
            fix="Make the parts larger (they may have up to 256 MB) and run xdm_events for this day again.",
        )
    size = sum(file.size for file in files)
    if size > BYTES_A_BATCH:
        raise LimitExceeded(
            f"The day has {size} bytes, a batch may have {BYTES_A_BATCH}",
            fix="Split the connection by event names into several, each with a dataset of its own.",
        )
    names = [file.name for file in files]
    if len(set(names)) < len(names):
        raise LimitExceeded("Two files of the day have the same name", fix="Give each part a name of its own.")
    empty = [file.name for file in files if file.size == 0]
    if empty:
        raise LimitExceeded(
            f"The file {empty[0]} is empty; the Platform fails a batch with an empty file", fix="Leave it out."
        )
    longest = max(names, key=len, default="")
    if len(longest) > URL_LENGTH - 300:
        what = f"The file name {longest[:60]}… makes a URL over {URL_LENGTH} characters"
        raise LimitExceeded(what, fix="Shorten it.")
