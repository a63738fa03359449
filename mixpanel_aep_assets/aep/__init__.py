"""Adobe Experience Platform: token, registry, catalog, batches, receipts. One day becomes exactly one live batch.

The doors are `PlatformClient(Platform(...))`, `send_day`, `follow_batch` and `provision`. What does not belong here:
what an event looks like (`xdm`), where a day's files lie (`storage`), when a day is sent (the Dagster layer).
"""

from mixpanel_aep_assets.aep.batch import Receipt, send_day
from mixpanel_aep_assets.aep.follow import Outcome, follow_batch, status
from mixpanel_aep_assets.aep.http import PlatformClient
from mixpanel_aep_assets.aep.ingest import FileToSend
from mixpanel_aep_assets.aep.platform_errors import AepError
from mixpanel_aep_assets.aep.platform_settings import Platform

__all__ = [
    "AepError",
    "FileToSend",
    "Outcome",
    "Platform",
    "PlatformClient",
    "Receipt",
    "follow_batch",
    "send_day",
    "status",
]
