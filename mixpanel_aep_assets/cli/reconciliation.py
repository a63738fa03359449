"""`mixpanel-aep reconcile`: the completeness report of days that were run."""

from __future__ import annotations

import datetime
import json
from pathlib import Path
from typing import TYPE_CHECKING

import click
from rich.console import Console

from mixpanel_aep_assets.cli import NOT_YET
from mixpanel_aep_assets.cli.connections import open_connection
from mixpanel_aep_assets.cli.options import (
    connection_option,
    day_range,
    days_between,
    report_option,
    wide_console,
)
from mixpanel_aep_assets.errors import FAILED

if TYPE_CHECKING:
    from mixpanel_aep_assets.pipeline.books.reconcile import Row


@click.command()
@day_range
@connection_option
@click.option("--reread/--no-reread", default=True, show_default=True, help="Export a day again if its count differs.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of a table.")
@report_option
def reconcile(
    first: datetime.datetime,
    last: datetime.datetime,
    name: str,
    reread: bool,
    as_json: bool,
    report_file: Path | None,
) -> int:
    """Account for every event of the days, from Mixpanel's own count to what is live in the Platform.

    Prints each difference between two numbers with its explanation. Queries Mixpanel's Query API (one request per day and
    group of event names) and the Catalog; `--reread` exports a day again if its count differs, without storing it.

    Exit codes: 0 every difference is explained, 1 one is not or a side does not answer, 3 batches are still in progress.
    """
    from mixpanel_aep_assets.cli.completeness_table import completeness_table
    from mixpanel_aep_assets.pipeline.books import reconcile
    from mixpanel_aep_assets.pipeline.books import report as reports
    from mixpanel_aep_assets.pipeline.steps import load, replay

    with open_connection(name) as connection:
        days = days_between(first, last)
        for day in days:
            load.confirm_day(connection, day)
            replay.confirm_day(connection, day)
        report = reconcile.report_of(connection, days, reread=reread)
    text = json.dumps(report, indent=2)
    if report_file is not None:
        report_file.write_text(text + "\n")
    if as_json:
        click.echo(text)
    else:
        wide_console(150).print(completeness_table(report, counts=("mixpanel", *reports.COUNTS, "live")))
        _print_differences(report["days"])
    statuses = {row["status"] for row in report["days"]}
    if statuses & reports.BAD or any(reconcile.unexplained(row) or row["unanswered"] for row in report["days"]):
        return FAILED
    return 0 if statuses <= reports.IN else NOT_YET


def _print_differences(rows: list[Row]) -> None:
    console = Console(highlight=False, soft_wrap=True)
    for row in rows:
        for error, name in ((row.get("mixpanel_error"), "Mixpanel's count"), (row.get("live_error"), "what is live")):
            if error:
                console.print(f"{row['day']}: {name} is not known: {error}", markup=False)
        for one in row["differences"]:
            told = f"{row['day']}: {one['between'][0]} - {one['between'][1]} = {one['count']:,}: "
            console.print(told + (one["explanation"] or "nothing explains it"), markup=False,
                          style=None if one["explanation"] else "red")  # fmt: skip
