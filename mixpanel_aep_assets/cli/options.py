"""Options that several commands share."""

from __future__ import annotations

import datetime
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
from rich.console import Console

from mixpanel_aep_assets.connection import DEFAULT_NAME


def day_range(function: Callable[..., Any]) -> Callable[..., Any]:
    """`--from D --to D`, both included."""
    function = click.option("--to", "last", type=click.DateTime(["%Y-%m-%d"]), required=True, help="Last day.")(
        function
    )
    return click.option("--from", "first", type=click.DateTime(["%Y-%m-%d"]), required=True, help="First day.")(
        function
    )


def days_between(first: datetime.datetime, last: datetime.datetime) -> list[str]:
    """Every day from first to last as `YYYY-MM-DD`. Raises UsageError when they are the wrong way round."""
    if last < first:
        raise click.UsageError(f"--to {last:%Y-%m-%d} lies before --from {first:%Y-%m-%d}.")
    return [(first + datetime.timedelta(n)).strftime("%Y-%m-%d") for n in range((last - first).days + 1)]


def wide_console(width: int = 140) -> Console:
    """For tables: as wide as the terminal, and wide enough for every column (`width`) where there is none."""
    return Console(highlight=False, width=None if sys.stdout.isatty() else width)


def _writable(context: click.Context, parameter: click.Parameter, value: Path | None) -> Path | None:  # noqa: ARG001
    """Refuses a file that could not be written before the work for it is done; makes its folder."""
    if value is not None:
        try:
            value.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise click.BadParameter(f"the folder of {value} cannot be made: {error.strerror}.") from error
        if not os.access(value if value.exists() else value.parent, os.W_OK):
            raise click.BadParameter(f"{value} cannot be written.")
    return value


report_option = click.option(
    "--report",
    "report_file",
    type=click.Path(dir_okay=False, path_type=Path),
    callback=_writable,
    help="Write the report to a file, as JSON.",
)

connection_option = click.option(
    "--connection", "name", default=DEFAULT_NAME, show_default=True, help="The connection to use."
)
