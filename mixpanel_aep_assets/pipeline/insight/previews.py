"""What a person looks at first in a day: its properties, their most frequent values, filled XDM fields, rows before and after.

Tables as lists of rows, bounded in size, and cheap enough for every run: raw events are looked at in a sample from the
day's beginning, XDM fields are counted in the footers of the files. Raw values are shown after the privacy rules.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import islice

import orjson
import polars as pl
import pyarrow.parquet as pq

from mixpanel_aep_assets.connection import Connection
from mixpanel_aep_assets.growth.properties import Property
from mixpanel_aep_assets.manifests import RawManifest, XdmManifest
from mixpanel_aep_assets.mixpanel import dedup
from mixpanel_aep_assets.pipeline.insight import property_statistics
from mixpanel_aep_assets.pipeline.steps import extract, redaction, transform
from mixpanel_aep_assets.storage import Committed, Day

SAMPLE_ROWS = 2_000
"""Raw events that are looked at: some 0.2 s."""

PROPERTIES = 50
COMMON = 12
"""Properties whose most frequent values are shown."""

VALUES = 5
EXAMPLES = 3
FIELDS = 200

PAIRS = 3
SEARCHED = 200
"""XDM rows among which those of the first raw events are looked for; duplicates and refused rows shift them a little."""

_MAP_KEY = ".key_value.key"

Rows = list[dict[str, object]]


@dataclass(frozen=True)
class RawPreview:
    """Of the first `looked_at` of `rows` events: the most frequent properties, and values of the most telling ones."""

    looked_at: int
    rows: int
    properties: Rows
    values: Rows


def of_raw_events(connection: Connection, manifest: RawManifest) -> RawPreview:
    """The preview of a committed raw day. Raises StorageError, OtherPrivacyRules."""
    frame = _first(connection.day(extract.TABLE, manifest.day), manifest, SAMPLE_ROWS, ["event", "properties"])
    if frame is None:
        return RawPreview(0, 0, [], [])
    seen = property_statistics.profile_frames([redaction.redacted(connection, manifest, frame)])
    return RawPreview(frame.height, manifest.rows, property_rows(seen), value_rows(seen))


def property_rows(seen: property_statistics.Profile) -> Rows:
    """A row for each of the most frequent properties: kinds of values, share of events that have one, distinct, examples."""
    return [
        {
            "property": found.name,
            "types": ", ".join(
                f"{kind} {count:,}" if len(found.kinds) > 1 else kind for kind, count in found.kinds.items()
            ),
            "filled %": _percent(found.count, seen.rows),
            "distinct": found.distinct,
            "events": len(found.events),
            "conflict": "yes" if found.is_conflict else "",
            "examples": " · ".join(islice((text for texts in found.examples.values() for text in texts), EXAMPLES)),
        }
        for found in _most_common(seen)[:PROPERTIES]
    ]


def value_rows(seen: property_statistics.Profile) -> Rows:
    """A row for each of the most frequent properties whose values repeat: the most frequent values, with their share."""
    telling = (found for found in _most_common(seen) if 0 < found.distinct <= max(found.count // 4, 1))
    return [
        {
            "property": found.name,
            "distinct": found.distinct,
            "most frequent values": ", ".join(
                f"{text} {_percent(count, found.count):g} %" for text, count in found.top[:VALUES]
            ),
        }
        for found in islice(telling, COMMON)
    ]


def _most_common(seen: property_statistics.Profile) -> list[Property]:
    return sorted(seen.properties.values(), key=lambda found: (-found.count, found.name))


def field_rows(connection: Connection, manifest: XdmManifest) -> Rows:
    """A row for each XDM field that has a value or a violation: values in the day's files, share of events, violations.

    Counted in the Parquet footers. The share is left out below arrays and maps, which have several values an event.
    """
    filled: dict[str, int] = {}
    for path in connection.day(transform.TABLE, manifest.day).files(manifest):
        with connection.storage.open_read(path) as file:
            footer = pq.read_metadata(file)
        for group in map(footer.row_group, range(footer.num_row_groups)):
            for column in map(group.column, range(group.num_columns)):
                if column.is_stats_set and not column.path_in_schema.endswith(_MAP_KEY):
                    field = _field(column.path_in_schema)
                    filled[field] = filled.get(field, 0) + column.num_values - column.statistics.null_count
    broken: dict[str, list[str]] = {}
    for violation in (*manifest.violations, *manifest.warnings):
        told = f"{violation.rule} {violation.rows:,}"
        broken.setdefault(_field_of_pointer(violation.pointer), []).append(told)
    names = [name for name, count in filled.items() if count or name in broken]
    names += [name for name in broken if name not in filled]
    rows = manifest.rows
    return [
        {
            "field": name,
            "values": filled.get(name, 0),
            "filled %": None if "*" in name else _percent(filled.get(name, 0), rows),
            "violations": ", ".join(broken.get(name, [])),
        }
        for name in sorted(names, key=lambda name: (name not in broken, names.index(name)))[:FIELDS]
    ]


def _field(path: str) -> str:
    """A field's dotted path of a Parquet column's: `[*]` for the elements of an array, `*` for the values of a map."""
    return path.replace(".list.element", "[*]").replace(".key_value.value", ".*")


def _field_of_pointer(pointer: str) -> str:
    return re.sub(r"\.(\d+|\*)(?=\.|$)", "[*]", pointer.strip("/").replace("/", ".")) or "(the event)"


def before_and_after(connection: Connection, manifest: XdmManifest) -> list[tuple[str, str]]:
    """The first events of a committed XDM day: as stored raw and as they will be uploaded, both as JSON text."""
    raw = extract.stored(connection, manifest.day)
    made = _first(connection.day(transform.TABLE, manifest.day), manifest, SEARCHED)
    if raw is None or made is None:
        return []
    source = _first(connection.day(extract.TABLE, raw.day), raw, SEARCHED)
    if source is None:
        return []
    source = redaction.redacted(connection, raw, source).with_columns(dedup.stable_id().alias("_id"))
    found = source.unique("_id", keep="first", maintain_order=True).filter(pl.col("_id").is_in(made["_id"].implode()))
    by_id = {row["_id"]: row for row in made.filter(pl.col("_id").is_in(found["_id"].implode())).to_dicts()}
    return [
        (
            orjson.dumps({"event": row["event"], "properties": orjson.Fragment(row["properties"])}).decode(),
            orjson.dumps(transform.without_nulls(by_id[row["_id"]]), default=str).decode(),
        )
        for row in found.head(PAIRS).to_dicts()
    ]


def _first(day: Day, manifest: Committed, rows: int, columns: Iterable[str] | None = None) -> pl.DataFrame | None:
    """The first rows of a day's files, None where it has none. Reads no more of the first file than it must."""
    files = day.files(manifest)
    if not files:
        return None
    with day.storage.open_read(files[0]) as file:
        batch = next(pq.ParquetFile(file).iter_batches(rows, columns=list(columns) if columns else None), None)
    return None if batch is None else pl.DataFrame(pl.from_arrow(batch))


def _percent(part: int, whole: int) -> float:
    return round(100 * part / whole, 1) if whole else 0.0
