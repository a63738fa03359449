"""Options that several commands share."""

from __future__ import annotations

import datetime
import os
import sys
from collections.abc import Callable
from typing import Any

import click
from rich.console import Console

from mixpanel_aep_assets.connection import DEFAULT_NAME, Opened, Secrets, Settings


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


connection_option = click.option(
    "--connection", default=DEFAULT_NAME, show_default=True, help="Which connection; `default` is the environment's."
)


def open_connection(name: str) -> Opened:
    """The connection of that name: from the environment, or from its block below `defs/`."""
    if name == DEFAULT_NAME:
        return Opened(Settings.read(os.environ), Secrets.read(os.environ))
    from mixpanel_aep_assets.cli.run import resource_of

    return resource_of(name)
