"""What can go wrong with storage, and what a library's own error means: which of ours it is, and what a person can do."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import polars as pl

from mixpanel_aep_assets.errors import ExplainedError, SettingsError

DISK_FULL = ("No space left", "quota exceeded", "File too large")
"""What the system says when a disk, a quota or the limit of a file is used up, in Python and in obstore."""


UNREACHED = {
    "InvalidCertificate": "Its certificate is not trusted: set SSL_CERT_FILE to a PEM file of its authority "
    "(REQUESTS_CA_BUNDLE is not read here; docs/network.md).",
    "No CA certificates": "No certificate authority could be read: check SSL_CERT_FILE and SSL_CERT_DIR.",
    "unsupported scheme": "The object store's client knows no SOCKS proxy: set HTTPS_PROXY to an HTTP proxy, or name the "
    "store's host in NO_PROXY (docs/network.md).",
}
"""What obstore says of the way to an object store, and what to do (seen with obstore 0.12)."""


class StorageError(ExplainedError):
    """Storage cannot be read or written: disk full, no permission, unreachable. The text names the path and the fix."""


class WrongStorage(StorageError, SettingsError):
    """MIXPANEL_AEP_STORAGE names no place that can be opened."""


class DayReplaced(StorageError):
    """A committed file was gone when it was to be read: another run has replaced the day meanwhile."""

    retryable = True
    wait = 1.0
    """Seconds: the files of now are there already."""


class EntryExists(Exception):
    """Another writer has already written this entry of the log."""


def failed(location: str, what: str, error: Exception) -> StorageError:
    """The error for an object that cannot be `what` (read, written, deleted)."""
    text = str(error)
    hint = "Check the path, the permissions and the credentials of the storage."
    if any(said in text for said in DISK_FULL):
        hint = "The disk is full: free space and run the day again; what was committed before is untouched."
    hint = next((text for sign, text in UNREACHED.items() if sign in str(error)), hint)
    return StorageError(f"{location} cannot be {what}: {first_line(error)}. {hint}")


def is_missing(error: Exception) -> bool:
    """Whether an object is gone, in the words of obstore and of Polars."""
    text = str(error).lower()
    return isinstance(error, FileNotFoundError) or "not found" in text or "nosuchkey" in text


@contextlib.contextmanager
def reading() -> Iterator[None]:
    """For readers outside the storage (Polars, PyArrow): raises DayReplaced where a file of the day is gone."""
    try:
        yield
    except (OSError, pl.exceptions.ComputeError) as error:
        if not is_missing(error):
            raise
        raise replaced(first_line(error)) from error


def replaced(what: str) -> DayReplaced:
    return DayReplaced(
        f"A file of the day is gone: {what}. Another run has replaced the day meanwhile, or it was removed by hand. "
        "No harm done: run the day again."
    )


def first_line(error: Exception) -> str:
    return str(error).strip().split("\n", 1)[0][:300]
