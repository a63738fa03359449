"""`mixpanel-aep`: the same verbs as the Dagster UI, for a shell and for scripts.

What belongs here: the group, the way errors end a command, and nothing that loads Dagster before a command needs it.

Exit codes: 0 done · 1 something failed or does not hold · 2 wrong usage or settings · 3 handed over, not yet final ·
130 stopped by Ctrl-C or SIGTERM.
"""

from __future__ import annotations

import errno
import gc
import importlib
import logging
import os
import signal
import sqlite3
import sys
from typing import Any

import click
from rich.console import Console

from mixpanel_aep_assets import __version__
from mixpanel_aep_assets.errors import FAILED, WRONG_USE, ExplainedError, causes

logger = logging.getLogger(__name__)

NOT_YET = 3
STOPPED = 130

OBJECTS_PER_COLLECTION = 100_000
"""Between two runs of the garbage collector. At Python's 700 a fifth of the start goes to it: what is imported stays."""

COMMANDS = {
    "conformance": "mixpanel_aep_assets.cli.conformance_commands:conformance",
    "demo": "mixpanel_aep_assets.cli.demo:demo",
    "doctor": "mixpanel_aep_assets.cli.doctor:doctor",
    "emulator": "mixpanel_aep_assets.cli.demo:emulator",
    "mapping": "mixpanel_aep_assets.cli.mapping:mapping",
    "plan": "mixpanel_aep_assets.cli.plan:plan",
    "preview": "mixpanel_aep_assets.cli.preview:preview",
    "provision": "mixpanel_aep_assets.cli.provisioning:provision",
    "quarantine": "mixpanel_aep_assets.cli.quarantine_commands:quarantine",
    "reconcile": "mixpanel_aep_assets.cli.reconciliation:reconcile",
    "run": "mixpanel_aep_assets.cli.run:run",
}
"""Name -> `module:attribute`; imported when called, so that `--help` and light commands stay quick."""


class Commands(click.Group):
    """A group whose commands are imported when they are asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002
        return sorted(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        target = COMMANDS.get(cmd_name)
        if target is None:
            return None
        module, attribute = target.split(":")
        command = getattr(importlib.import_module(module), attribute)
        assert isinstance(command, click.Command)
        return command


@click.group(cls=Commands)
@click.version_option(__version__)
def cli() -> None:
    """Load Mixpanel's raw events into Adobe Experience Platform, day by day."""


def main(arguments: list[str] | None = None) -> None:
    """The console script. Domain errors end with their own sentence; a bug keeps its traceback."""
    gc.set_threshold(OBJECTS_PER_COLLECTION)
    signal.signal(
        signal.SIGTERM, signal.default_int_handler
    )  # ends a command as Ctrl-C does: children and files are tidied
    try:
        result: Any = cli.main(args=arguments, standalone_mode=False)
    except click.exceptions.Exit as stop:
        sys.exit(stop.exit_code)
    except click.ClickException as error:
        error.show()
        sys.exit(WRONG_USE if isinstance(error, click.UsageError) else FAILED)
    except (click.Abort, KeyboardInterrupt):
        Console(stderr=True).print("Stopped.")
        sys.exit(STOPPED)
    except Exception as error:
        text = str(error) if isinstance(error, ExplainedError) else full_disk(error)
        if text is None:
            raise
        if behind := causes(error):
            logger.debug("Caused by %s", behind)
        Console(stderr=True, highlight=False, soft_wrap=True).print(f"[red]Error:[/red] {plain(text)}")
        sys.exit(error.exit_code if isinstance(error, ExplainedError) else FAILED)
    sys.exit(result if isinstance(result, int) else 0)


def full_disk(error: BaseException) -> str | None:
    """What to tell where the cause is a disk that takes no more: the database of the Dagster instance, a report."""
    cause: BaseException | None = error
    while cause is not None:
        where = None
        if isinstance(cause, OSError) and cause.errno in (errno.ENOSPC, errno.EDQUOT):
            where = cause.filename or "A file"
        elif isinstance(cause, sqlite3.OperationalError) and "disk" in str(cause):
            where = f"The database in DAGSTER_HOME ({os.environ.get('DAGSTER_HOME', 'a temporary folder')})"
        if where is not None:
            return (
                f"{where} cannot be written: {cause}. The disk is full: free space and run the command again; what was "
                "committed before is untouched."
            )
        cause = cause.__cause__ or cause.__context__
    return None


def plain(text: str) -> str:
    """The text with rich's markup switched off."""
    return text.replace("[", "\\[")
