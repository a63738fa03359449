"""`mixpanel-aep preview`: a few events of a day, raw and mapped, and what would be refused."""

from __future__ import annotations

import contextlib
import datetime
import tempfile

import click
import orjson
from rich.console import Console

from mixpanel_aep_assets.cli.connections import open_connection
from mixpanel_aep_assets.cli.options import connection_option


@click.command()
@click.option("--day", type=click.DateTime(["%Y-%m-%d"]), required=True, help="The day to show.")
@click.option("--rows", default=3, show_default=True, help="Number of events to show.")
@connection_option
def preview(day: datetime.datetime, rows: int, name: str) -> int:
    """Show a few events of a day, raw and as XDM, and what would be refused. Uploads and stores nothing.

    A stored day is read from storage; any other is exported to a temporary folder (one request of the 60 an hour).
    """
    from mixpanel_aep_assets.pipeline.steps import extract, transform
    from mixpanel_aep_assets.storage import open_storage

    console = Console(highlight=False, soft_wrap=True)
    key = day.strftime("%Y-%m-%d")
    with contextlib.ExitStack() as open_now:
        folder = open_now.enter_context(tempfile.TemporaryDirectory())
        connection = open_now.enter_context(open_connection(name))
        if extract.stored(connection, key) is None:
            connection = open_now.enter_context(connection.with_storage(open_storage(folder)))
            extract.extract_day(connection, key)
        raw = extract.preview(connection, key, rows)
        stored = extract.stored(connection, key)
        unsure = None if stored is None or stored.time_evidence.sure else stored.time_evidence.text
        manifest = transform.transform_day(connection, key, target=open_storage(folder))
        made = open_now.enter_context(connection.with_storage(open_storage(folder)))
        mapped = transform.preview(made, key, rows)
    for title, events in (
        ("as Mixpanel sent them" if connection.privacy is None else "after the privacy rules", raw),
        ("as XDM, without duplicates", mapped),
    ):
        console.rule(f"first {len(events)} events, {title}")
        for event in events:
            console.print_json(orjson.dumps(event, default=str).decode())
    console.rule("the day")
    console.print(
        f"{manifest.rows:,} events conform, {manifest.duplicates:,} duplicates, "
        f"{manifest.quarantined:,} would be quarantined."
    )
    if unsure is not None:
        console.print(f"Times are shown as if they were UTC, which is not known yet: {unsure}", markup=False)
    for violation in manifest.violations:
        console.print(f"  {violation.rows:,} x {violation.pointer}: {violation.rule}", markup=False)
    for error in manifest.mapping_errors:
        console.print(f"  {error.rows:,} x {error.destination}: {error.exception}", markup=False)
    return 0
