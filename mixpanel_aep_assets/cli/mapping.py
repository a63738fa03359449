"""`mixpanel-aep mapping` on the connections: the room of the mapping language, given what it asks of them.

Everything heavy is imported when a command asks for it, so that `mapping --help` and `mapping eval` stay quick.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import click

from mixpanel_aep_assets.cli.mapping_commands import mapping_group

if TYPE_CHECKING:
    from mixpanel_aep_assets.xdm.schema import Schema

MAPPING_SETS = "/data/foundation/conversion/mappingSets"
"""The service of mapping sets (platform.md#mapping-sets)."""


class _Connections:
    """See `cli.mapping_commands.Connections`."""

    def mapping_set(self, name: str, identifier: str) -> Any:
        from mixpanel_aep_assets.cli.connections import open_connection

        path = f"{MAPPING_SETS}/{quote(identifier, safe='')}"
        with open_connection(name) as connection:
            return connection.platform.json("GET", path, params={"expandSchema": "true"})

    def schema(self, name: str) -> Schema:
        from mixpanel_aep_assets.cli.connections import open_connection

        with open_connection(name) as connection:
            return connection.schema

    def records(self, name: str, day: str | None) -> Iterator[Mapping[str, Any]]:
        import polars as pl

        from mixpanel_aep_assets.cli.connections import open_connection
        from mixpanel_aep_assets.dataprep.interpreter.records import decode_object
        from mixpanel_aep_assets.pipeline.steps import extract, redaction

        with open_connection(name) as connection:
            days = connection.storage.days(connection.settings.name, extract.TABLE)
            chosen = day or max(days, default=None)
            if chosen is None or chosen not in days:
                stored = f"stored are {min(days)} to {max(days)}" if days else "no day is stored yet"
                raise click.UsageError(f"no raw events of {chosen or 'any day'}: {stored}; or give --input FILE")
            table = connection.day(extract.TABLE, chosen)
            manifest = extract.stored(connection, chosen)
            assert manifest is not None
            for location in table.locations(manifest):
                for frame in pl.scan_parquet(location, glob=False).select("event", "properties").collect_batches():
                    for event, properties in redaction.redacted(connection, manifest, frame).iter_rows():
                        yield {"event": event, "properties": decode_object(properties)}

    def derived(self) -> Iterable[str]:
        from mixpanel_aep_assets.connection import DERIVED

        return DERIVED


mapping = mapping_group(_Connections())
"""The group `mixpanel-aep mapping`."""
