"""Where a day lives: paths, whole-day replace, manifests, append-only logs, locks' ground.

One library (obstore) speaks to the local disk and to `s3://`, `gs://`, `abfss://`. Nobody else in the project builds a
path. What belongs here: how bytes become visible, all at once or not at all. What does not: what the bytes mean.

Layout below the storage URL::

    <connection>/<table>/<day>/manifest.json             the commit: written last, replaced whole
    <connection>/<table>/<day>/<generation>/<file>       the files that the manifest names
    <connection>/<log>/<day>/<000001>.json               an append-only log, one create-only object an entry

A table of requests instead of days has `<first day>_<last day>` in the place of `<day>`.

A generation is the output of one attempt. It becomes visible when a manifest names it; one that no manifest names is a
leftover of a killed run, and is swept by a later attempt once it is older than `LEFTOVER_AGE`. So are the part files
(`<name>#<number>`) in which obstore puts an object together on the local disk, and which no listing shows.
"""

from __future__ import annotations

from mixpanel_aep_assets.storage.days import LEFTOVER_AGE, MANIFEST, Committed, Day, Log, Staging, now
from mixpanel_aep_assets.storage.files import REMOTE_BUFFER, WRITE_BUFFER, RemoteFile, StagedFile
from mixpanel_aep_assets.storage.storage_errors import (
    DayReplaced,
    EntryExists,
    StorageError,
    WrongStorage,
    reading,
)
from mixpanel_aep_assets.storage.tree import PASSING, Storage, Stored, open_storage, uri_of

__all__ = [
    "LEFTOVER_AGE", "MANIFEST", "PASSING", "REMOTE_BUFFER", "WRITE_BUFFER", "Committed", "Day", "DayReplaced", "EntryExists",
    "Log", "RemoteFile", "StagedFile", "Staging", "Storage", "StorageError", "Stored", "WrongStorage", "now", "open_storage",
    "reading", "uri_of",
]  # fmt: skip
