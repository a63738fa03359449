"""`mixpanel-aep reconcile`: the completeness report of days that were run."""

from __future__ import annotations

import datetime
import json
from pathlib import Path

import click

from mixpanel_aep_assets.cli import FAILED, NOT_YET
from mixpanel_aep_assets.cli.options import connection_option, day_range, days_between, open_connection, wide_console


@click.command()
@day_range
@connection_option
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of a table.")
@click.option(
    "--report", "report_file", type=click.Path(dir_okay=False, path_type=Path), help="Write the JSON to a file."
)
def reconcile(
    first: datetime.datetime, last: datetime.datetime, connection: str, as_json: bool, report_file: Path | None
) -> int:
    """Where every event of the days went: Mixpanel's own count, exported, duplicates, quarantined, uploaded, ingested.

    Exits with 0 if every sum adds up, 1 if one does not, 3 if batches are still in progress.
    """
    from mixpanel_aep_assets.mixpanel.errors import MixpanelError
    from mixpanel_aep_assets.pipeline import load, verify
    from mixpanel_aep_assets.pipeline import report as reports

    with open_connection(connection) as opened:
        days = days_between(first, last)
        for day in days:
            load.confirm_day(opened, day)
        report = reports.report(opened, days)
        for row in report["days"]:
            try:
                row["mixpanel"] = opened.mixpanel_count(row["day"], verify.manifest_names(opened, row["day"]))
            except MixpanelError as error:
                row["mixpanel"], row["mixpanel_error"] = None, str(error)
    text = json.dumps(report, indent=2)
    if report_file is not None:
        report_file.write_text(text + "\n")
    if as_json:
        click.echo(text)
    else:
        wide_console().print(reports.table(report))
    statuses = {row["status"] for row in report["days"]}
    if statuses & reports.BAD:
        return FAILED
    return 0 if statuses <= reports.IN else NOT_YET
