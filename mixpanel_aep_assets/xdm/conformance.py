"""Conformance of rows to a schema: what the Platform would refuse, found before the upload, with row, place and reason.

A frame goes through the compiled expressions first (`compiled`), and only rows that they mark through the record validator
(`record_validation`), which tells what is wrong. Frames should come from `parquet.shape`: it leaves out what is empty, which
would be a violation here. Rules and severities are listed in `rules`.
"""

from __future__ import annotations

import datetime
import json
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import orjson
import polars as pl
import pyarrow.parquet as pq

from mixpanel_aep_assets.xdm import compiled
from mixpanel_aep_assets.xdm.line_screening import LineScreening
from mixpanel_aep_assets.xdm.physical import column_findings
from mixpanel_aep_assets.xdm.record_validation import RecordValidator
from mixpanel_aep_assets.xdm.rules import Severity, Violation, severity
from mixpanel_aep_assets.xdm.schema import Schema

VIOLATIONS = pl.Schema(
    {"row": pl.UInt32(), "pointer": pl.String(), "keyword": pl.String(), "value": pl.String(), "message": pl.String()}
)
"""Columns of findings: row from 0, JSON Pointer, rule, the value as JSON text (cut after 200 characters), a
sentence."""

_VALUE_CHARS = 200
_WALK_ROWS = 2048
"""Suspect rows that are Python objects at one time."""


@dataclass(frozen=True)
class Findings:
    """What a frame's check found. `bad` marks the rows to set aside; `findings` holds warnings too."""

    bad: pl.Series
    findings: pl.DataFrame
    severities: Mapping[str, Severity]

    def _of(self, *wanted: Severity) -> pl.DataFrame:
        names = [name for name in self.findings["keyword"].unique() if severity(name, self.severities) in wanted]
        return self.findings.filter(pl.col("keyword").is_in(names))

    @cached_property
    def violations(self) -> pl.DataFrame:
        """Findings that set a row aside (`block` and `quarantine`)."""
        return self._of("block", "quarantine")

    @cached_property
    def blocking(self) -> pl.DataFrame:
        """Findings after which the partition should not go on: the batch would fail whole."""
        return self._of("block")

    @cached_property
    def warnings(self) -> pl.DataFrame:
        """Findings that are only told."""
        return self._of("warn")

    @property
    def oversized(self) -> int:
        """Events over 10 KB: the lake keeps them, Profile drops them."""
        return self.findings.filter(pl.col("keyword") == "eventSize").height

    def summary(self) -> dict[tuple[str, str], int]:
        """Rows per (place, rule); a place is a pointer with `*` for the index of a list and the key of a map item."""
        pairs = self.findings.select("row", pl.col("pointer").str.replace_all(r"/\d+", "/*"), "keyword").unique()
        return dict(Counter((place, rule) for _, place, rule in pairs.iter_rows()))


def reasons(violations: pl.DataFrame) -> pl.DataFrame:
    """The violations of each row, joined, as quarantine keeps them: row, reason (rules), pointer, detail (sentences)."""
    return violations.group_by("row", maintain_order=True).agg(
        pl.col("keyword").str.join(",").alias("reason"),
        pl.col("pointer").str.join(",").alias("pointer"),
        pl.col("message").str.join("; ").alias("detail"),
    )


class Conformance:
    """The rules of one schema, ready to check frames and records.

    `now` is the instant that no event may lie after, the time of each call if it is not given. `severities`
    overrides the defaults of `rules` by rule name. With `unique`, an `_id` that occurred earlier in the same frame
    is a violation.
    """

    def __init__(
        self,
        schema: Schema,
        *,
        now: datetime.datetime | None = None,
        severities: Mapping[str, Severity] | None = None,
        unique: bool = True,
    ) -> None:
        self._schema = schema
        self._now = now
        self._severities = dict(severities or {})
        self._unique = unique and schema.root.child("_id") is not None
        self._rows = RecordValidator(schema, typed=True)
        self._records = RecordValidator(schema)

    def check(self, frame: pl.DataFrame) -> Findings:
        """All rows against all rules. Time is a fraction of a second per million clean rows, more for offending
        ones."""
        rows: dict[str, list[Any]] = {name: [] for name in VIOLATIONS}
        bad: set[int] = set()
        for row, violation in self.find(frame):
            if severity(violation.keyword, self._severities) != "warn":
                bad.add(row)
            rows["row"].append(row)
            rows["pointer"].append(violation.pointer)
            rows["keyword"].append(violation.keyword)
            rows["value"].append(json_text(violation.value)[:_VALUE_CHARS])
            rows["message"].append(violation.message)
        mask = _false(frame.height)
        if bad:
            mask = mask.scatter(sorted(bad), values=True)
        return Findings(mask, pl.DataFrame(rows, schema=VIOLATIONS), self._severities)

    def violations(self, frame: pl.DataFrame) -> pl.DataFrame:
        """Every finding of a frame, warnings included, with the columns of `VIOLATIONS`, by row."""
        return self.check(frame).findings

    def find(self, frame: pl.DataFrame, seen: SeenIds | None = None) -> Iterator[tuple[int, Violation]]:
        """Every finding of a frame with its row, by row, one at a time.

        `seen` carries the ids of earlier frames of the same data; without it, ids are unique within the frame.
        """
        now = self._instant()
        suspect = self.suspects(frame, now)
        repeated = self._repeated(frame, seen or SeenIds())
        numbers = (suspect | repeated).arg_true()
        # An empty column says nothing, and a wide schema has many; one must be there, or there would be no rows.
        filled = frame.select([column for column in frame if column.null_count() < frame.height] or frame.columns[:1])
        for chunk in range(0, len(numbers), _WALK_ROWS):
            part = numbers.slice(chunk, _WALK_ROWS)
            for row, record in zip(part, filled[part].iter_rows(named=True), strict=True):
                for violation in self._rows.violations(record, now):
                    yield row, violation
                if repeated[row]:
                    yield row, repeated_id(record["_id"])

    def columns(self, file: pq.ParquetSchema) -> list[Violation]:
        """Findings of a Parquet file's columns, whatever its rows: types that the Platform does not take."""
        return column_findings(file, self._schema)

    def record(self, record: Any) -> list[Violation]:
        """Findings of one JSON record as parsed (null is a value here). `uniqueId` is the caller's to watch."""
        return self._records.violations(record, self._instant())

    def screen(self) -> LineScreening:
        """Finds the JSON lines for which `record` would find nothing, as of now."""
        return LineScreening(self._schema, self._instant())

    def suspects(self, frame: pl.DataFrame, now: datetime.datetime | None = None) -> pl.Series:
        """The compiled mask: false only for rows that conform."""
        checks = compiled.suspects(self._schema, _held(frame), now or self._instant())
        if not checks or frame.is_empty():
            return _false(frame.height)
        # Each on its own: in one expression of all, the search for common parts would take longer than it saves.
        found = frame.select(check.alias(str(number)) for number, check in enumerate(checks))
        mask = found.select(suspect=pl.any_horizontal(pl.all()))["suspect"]
        return mask if len(mask) == frame.height else mask.new_from_index(0, frame.height)

    def _repeated(self, frame: pl.DataFrame, seen: SeenIds) -> pl.Series:
        if not self._unique or "_id" not in frame.columns:
            return _false(frame.height)
        return seen.repeated(frame["_id"])

    def _instant(self) -> datetime.datetime:
        return self._now or datetime.datetime.now(datetime.UTC)


class SeenIds:
    """The ids of the rows so far, as 64-bit hashes: eight bytes each."""

    def __init__(self) -> None:
        self._hashes = pl.Series("hash", [], dtype=pl.UInt64)

    def repeated(self, ids: pl.Series) -> pl.Series:
        """True for each id that an earlier row has, in this series or one before; remembers the others."""
        hashes = ids.hash()
        known = ~hashes.is_first_distinct()
        if len(self._hashes):
            known = known | hashes.is_in(self._hashes.implode())
        self._hashes = self._hashes.append(hashes.filter(~known))
        return known & ids.is_not_null()


def _held(frame: pl.DataFrame) -> pl.Schema:
    """The frame's types without columns and members that are null in all rows: of these only the absence counts."""
    return pl.Schema({column.name: dtype for column in frame if (dtype := _held_type(column)) is not None})


def _held_type(column: pl.Series) -> pl.DataType | None:
    if column.null_count() == len(column):
        return None
    if not isinstance(column.dtype, pl.Struct):
        return column.dtype
    members = column.struct.unnest()
    return pl.Struct({member.name: dtype for member in members if (dtype := _held_type(member)) is not None})


def _false(rows: int) -> pl.Series:
    return pl.Series([False], dtype=pl.Boolean).new_from_index(0, rows)


def repeated_id(value: object) -> Violation:
    """The finding for an `_id` that an earlier row has."""
    return Violation("/_id", "uniqueId", value, "an earlier row has the same _id")


def json_text(value: object) -> str:
    """A value as JSON text, whatever it is."""
    try:
        return orjson.dumps(value, default=str, option=orjson.OPT_NON_STR_KEYS | orjson.OPT_UTC_Z).decode()
    except orjson.JSONEncodeError:  # an integer beyond 64 bits, half a surrogate pair, or too deep
        try:
            return json.dumps(value, default=str)
        except RecursionError:
            return '"nested too deeply to be shown"'
