"""Raw rows as XDM: the one way of a row, for the days of `transform` and for what `replay` takes up again.

Derived attributes (`mixpanel.*`: id, true UTC time, identities) in, mapping set applied, shaped to the dataset's exact types,
conformance checked. What does not belong here: which rows (`shaping`, `source_rows`), and where the files go.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

import polars as pl

from mixpanel_aep_assets.growth.strict_fields import with_refused
from mixpanel_aep_assets.mixpanel import dedup, identity, time_mode
from mixpanel_aep_assets.xdm.identities import without_refused
from mixpanel_aep_assets.xdm.parquet import shape

if TYPE_CHECKING:
    from mixpanel_aep_assets.connection.dataset_mapping import DatasetMapping
    from mixpanel_aep_assets.dataprep.columnar.compiled_mapping import CompiledMapping
    from mixpanel_aep_assets.dataprep.language.mapping_set import MappingSet
    from mixpanel_aep_assets.xdm.conformance import Conformance, Findings
    from mixpanel_aep_assets.xdm.schema import Schema


@dataclass(frozen=True)
class Shaped:
    """Rows in the order of the source: `frame` has the schema's columns, also of rows that `found.bad` says do not conform."""

    frame: pl.DataFrame
    found: Findings
    errors: pl.DataFrame
    """Mapping errors: row, destination, exception."""


@dataclass(frozen=True)
class RowsToXdm:
    """What turns rows of one connection into XDM. Can be sent to another process.

    A mapping error at one of the `strict` destinations makes its event non-conforming. `own_identities`: the mapping set
    builds `identityMap` itself, so that it may hold ids that the Platform refuses.
    """

    schema: Schema
    mapping: CompiledMapping
    conformance: Conformance
    strict: frozenset[str] = frozenset()
    own_identities: bool = False

    @classmethod
    def of(cls, mapping: DatasetMapping) -> RowsToXdm:
        return cls(
            mapping.schema,
            mapping.compiled,
            mapping.conformance,
            mapping.strict_destinations,
            builds_identities(mapping.mapping_set),
        )

    def shape(self, rows: pl.DataFrame) -> Shaped:
        """The rows, which have the columns of `derived`, as XDM. Raises the errors of `dataprep` and `xdm`."""
        mapped = self.mapping.apply(rows)
        frame = shape(mapped.frame, self.schema)
        if self.own_identities:
            frame = without_refused(frame)
        return Shaped(frame, with_refused(self.conformance.check(frame), mapped.errors, self.strict), mapped.errors)


def derived(mode: time_mode.Mode, timezone: str) -> dict[str, pl.Expr]:
    """The attributes that are made of raw columns before a mapping set reads them, by the name of their column."""
    return {
        "mixpanel.timestamp": time_mode.to_utc(mode, timezone),
        "mixpanel.id": dedup.stable_id(pl.col("ordinal")),
        "mixpanel.identityMap": identity.identity_map(),
    }


def builds_identities(mapping_set: MappingSet) -> bool:
    """Whether a set makes `identityMap` of anything else than the one that we derive."""
    return any(
        re.match(r"identityMap(?![^.\[])", mapping.destination) and mapping.source != "mixpanel.identityMap"
        for mapping in mapping_set.mappings
    )
