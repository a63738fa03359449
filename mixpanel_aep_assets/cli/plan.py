"""`mixpanel-aep plan`: the forecast of a backfill."""

from __future__ import annotations

import datetime
import json
from typing import TYPE_CHECKING

import click
from rich.table import Table

from mixpanel_aep_assets.cli.connections import open_connection
from mixpanel_aep_assets.cli.options import connection_option, day_range, days_between, wide_console

if TYPE_CHECKING:
    from mixpanel_aep_assets.pipeline.insight.forecast import Forecast


@click.command()
@day_range
@connection_option
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of tables.")
def plan(first: datetime.datetime, last: datetime.datetime, name: str, as_json: bool) -> int:
    """Estimate what a run over the days will take: requests, hours, bytes, batches. Makes no request.

    Sizes are estimated from committed days; run one day first if there is none.
    """
    from mixpanel_aep_assets.pipeline.insight.forecast import forecast

    with open_connection(name) as connection:
        found = forecast(connection, days_between(first, last))
    if as_json:
        click.echo(json.dumps(found, indent=2))
        return 0
    console = wide_console()
    console.print(_summary(found))
    console.print(_windows(found))
    for text in found["assumptions"]:
        console.print(f"- {text}", soft_wrap=True)
    return 0


def _summary(found: Forecast) -> Table:
    hours = found["hours"]
    table = Table(title=f"{found['days']} days, {found['from']} to {found['to']}", show_header=False)
    if found["read_already"]:
        table.add_row("read already", f"{found['read_already']} days, by a command that was stopped")
    table.add_row("export requests", f"{found['requests']} ({found['requests_by_day']} with one request per day)")
    wait = f"{hours['budget']:g} h" if hours["budget"] else "none"
    table.add_row("wait for the budget", f"{wait} ({found['requests_an_hour']} requests an hour)")
    table.add_row("events", _count(found["events"]))
    table.add_row("export", f"{_size(found['bytes'])}, {_hours(hours['receiving'])}")
    table.add_row("upload", f"{_size(found['upload_bytes'])}, {_hours(hours['uploading'])} by the hourly guardrail")
    spread = "" if found["days_of_batches"] == 1 else f": spread over {found['days_of_batches']} days"
    table.add_row("batches", f"{found['batches']} ({found['batches_a_day']} a day recommended{spread})")
    return table


def _windows(found: Forecast) -> Table:
    table = Table(title="Windows, newest first")
    for name in ("from", "to"):
        table.add_column(name)
    for name in ("days", "requests", "events", "bytes"):
        table.add_column(name, justify="right")
    for window in found["windows"]:
        table.add_row(
            window["from"],
            window["to"],
            str(window["days"]),
            str(window["requests"]),
            _count(window["events"]),
            _size(window["bytes"]),
        )
    return table


def _count(value: int | None) -> str:
    return "unknown" if value is None else f"{value:,}"


def _size(value: int | None) -> str:
    if value is None:
        return "unknown size"
    return f"{value / 1e9:,.2f} GB" if value >= 10**9 else f"{value / 1e6:,.1f} MB"


def _hours(value: float | None) -> str:
    if value is None:
        return "unknown time"
    return f"{value:.1f} h" if value >= 1 else f"{value * 60:.1f} min"
