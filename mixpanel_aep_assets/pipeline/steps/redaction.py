"""Raw events as others may see them: after the connection's privacy rules, wherever the rules were applied first.

Days that were exported under the rules need nothing. Days stored in full (`privacy.stage: xdm`, or exported before there
were rules) go through the rules when they are read.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager

import polars as pl
import pyarrow.parquet as pq

from mixpanel_aep_assets.connection import Connection
from mixpanel_aep_assets.errors import ExplainedError
from mixpanel_aep_assets.manifests import RawManifest
from mixpanel_aep_assets.mixpanel.events import RAW_SCHEMA
from mixpanel_aep_assets.mixpanel.lines_of_other_days import OTHER_DAY, Request
from mixpanel_aep_assets.mixpanel.parts import ROW_GROUP
from mixpanel_aep_assets.mixpanel.privacy import Privacy
from mixpanel_aep_assets.storage import PASSING, Day, Storage, open_storage


class OtherPrivacyRules(ExplainedError):
    """The day was stored under other rules than the connection has now."""


def pending(connection: Connection, applied: str | None, name: str) -> Privacy | None:
    """The rules that raw files have yet to go through, None where there are none to apply.

    `applied` is the fingerprint of the rules that they were stored under, `name` the day's or the request's. Raises
    OtherPrivacyRules where the files went through others: hashed values would be hashed again.
    """
    privacy = connection.privacy
    if privacy is None or applied == privacy.fingerprint:
        return None
    if applied is not None:
        raise OtherPrivacyRules(
            f"{connection.settings.name} {name}: the raw events were stored under other privacy rules, or another "
            "salt, than the connection has now. Materialize raw_events of the day again."
        )
    return privacy


def redacted(connection: Connection, manifest: RawManifest, frame: pl.DataFrame) -> pl.DataFrame:
    """Rows of a day's raw files (`properties` among the columns) after the rules. Raises OtherPrivacyRules."""
    privacy = pending(connection, manifest.privacy, manifest.day)
    return frame if privacy is None else privacy.frame(frame)


def redacted_lines(connection: Connection, request: Request, frame: pl.DataFrame) -> pl.DataFrame:
    """Lines of a request (`outside.SCHEMA`) after the rules: of lines that are no events nothing is left.

    Raises OtherPrivacyRules.
    """
    privacy = pending(connection, request.manifest.privacy, request.name)
    if privacy is None:
        return frame
    shown = [
        privacy.lines(line) if reason == OTHER_DAY else b""
        for line, reason in frame.select("bytes", "reason").iter_rows()
    ]
    return frame.with_columns(bytes=pl.Series(shown, dtype=pl.Binary))


@contextmanager
def readable(connection: Connection, day: Day, manifest: RawManifest) -> Iterator[tuple[Storage, list[str]]]:
    """The day's raw parts after the rules: a storage and paths in it.

    Where rules are still to be applied, the parts are a copy in a passing folder, so that all that is computed from them
    (which rows are duplicates, ids) is what it would be had the rules been applied before they were stored.
    """
    files = day.files(manifest)
    privacy = pending(connection, manifest.privacy, manifest.day)
    if privacy is None:
        yield day.storage, files
        return
    with tempfile.TemporaryDirectory(prefix=PASSING) as folder:
        passing = open_storage(folder)
        copies = [f"{number:05d}.parquet" for number in range(len(files))]
        for path, copy in zip(files, copies, strict=True):
            with (
                day.storage.open_read(path) as file,
                pq.ParquetWriter(passing.location(copy), RAW_SCHEMA, compression="zstd", compression_level=1) as writer,
            ):
                parquet = pq.ParquetFile(file)
                for group in range(parquet.num_row_groups):
                    frame = privacy.frame(pl.DataFrame(pl.from_arrow(parquet.read_row_group(group))))
                    writer.write_table(frame.to_arrow().cast(RAW_SCHEMA), row_group_size=ROW_GROUP)
        yield passing, copies
