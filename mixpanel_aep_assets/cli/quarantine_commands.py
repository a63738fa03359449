"""`mixpanel-aep quarantine`: what was set aside, why, and sending it again after a fix."""

from __future__ import annotations

import base64
import datetime
import json
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import click
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from mixpanel_aep_assets.cli import NOT_YET
from mixpanel_aep_assets.cli.connections import open_connection
from mixpanel_aep_assets.cli.options import connection_option, days_between, wide_console
from mixpanel_aep_assets.connection import Connection
from mixpanel_aep_assets.errors import FAILED, ExplainedError

if TYPE_CHECKING:
    from mixpanel_aep_assets.manifests import ReplayManifest

WIDTH = 400
"""Characters of a source text that `show` prints; `--json` prints all."""

_DATE = click.DateTime(["%Y-%m-%d"])


@click.group()
def quarantine() -> None:
    """List, show and replay quarantined rows.

    Stages: lines of a request that belong to none of its days (request), lines that are not events (raw), events that do
    not conform to the schema (xdm), events that the Platform rejected (aep).
    """


def _some_days(function: Callable[..., Any]) -> Callable[..., Any]:
    """`--day D`, or `--from D --to D`."""
    for name, variable, text in (
        ("--to", "last", "Last day."),
        ("--from", "first", "First day."),
        ("--day", "day", "One day."),
    ):
        function = click.option(name, variable, type=_DATE, help=text)(function)
    return function


def _days(
    connection: Connection,
    day: datetime.datetime | None,
    first: datetime.datetime | None,
    last: datetime.datetime | None,
) -> list[str]:
    """The days asked for; without any, all that are stored."""
    from mixpanel_aep_assets.pipeline.steps import extract

    if day is not None and first is None and last is None:
        return [day.strftime("%Y-%m-%d")]
    if day is None and first is not None and last is not None:
        return days_between(first, last)
    if day is None and first is None and last is None:
        return connection.storage.days(connection.settings.name, extract.TABLE)
    raise click.UsageError("Give --day, or --from and --to.")


@quarantine.command("list")
@_some_days
@connection_option
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of a table.")
def list_(
    day: datetime.datetime | None,
    first: datetime.datetime | None,
    last: datetime.datetime | None,
    name: str,
    as_json: bool,
) -> int:
    """Count the rows in quarantine by day, stage and reason; for all stored days by default.

    Lines of a request for several days are listed under its first and last day.
    """
    from mixpanel_aep_assets.pipeline.books import quarantine as rows
    from mixpanel_aep_assets.pipeline.steps import export_requests

    with open_connection(name) as connection:
        days = _days(connection, day, first, last)
        found = [
            {"day": one, "stage": stage, "rows": sum(reasons.values()), "reasons": reasons}
            for one in days
            for stage, reasons in rows.summary(connection, one).items()
        ]
        found += [
            {"day": one.name, "stage": rows.Stage.REQUEST, "rows": one.count, "reasons": dict(one.reasons)}
            for one in export_requests.of_days(connection, days)
            if one.first != one.last
        ]
    if as_json:
        click.echo(json.dumps(found, indent=2))
        return 0
    table = Table()
    for name in ("day", "stage", "rows", "reasons"):
        table.add_column(name, justify="right" if name == "rows" else "left")
    for entry in found:
        reasons: dict[str, int] = entry["reasons"]  # type: ignore[assignment]
        told = ", ".join(f"{reason} {count:,}" for reason, count in reasons.items())
        table.add_row(str(entry["day"]), str(entry["stage"]), f"{entry['rows']:,}", escape(_printable(told)))
    wide_console().print(table if found else "Nothing is in quarantine.")
    return 0


@quarantine.command()
@click.option("--day", type=_DATE, required=True, help="The day to show.")
@click.option("--stage", type=click.Choice(["request", "raw", "xdm", "aep"]), help="Only this stage.")
@click.option("--reason", help="Only rows with this reason, as shown by `list`.")
@click.option("--limit", default=20, show_default=True, type=click.IntRange(1), help="Number of rows to show.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object per row, with the whole source.")
@connection_option
def show(day: datetime.datetime, stage: str | None, reason: str | None, limit: int, as_json: bool, name: str) -> int:
    """Show the rows: reason, line of the export, place, explanation, and the source as Mixpanel sent it.

    Stage request: rows of each request that included the day, alone or with others.
    """
    from mixpanel_aep_assets.pipeline.books import quarantine as rows

    console = Console(highlight=False, soft_wrap=True)
    with open_connection(name) as connection:
        shown = 0
        only = None if stage is None else rows.Stage(stage)
        for row in rows.show(connection, day.strftime("%Y-%m-%d"), stage=only, reason=reason, limit=limit):
            shown += 1
            source = row["source"]
            if as_json:
                click.echo(json.dumps({**row, **_as_json(source)}))
                continue
            place = f" {row['pointer']}" if row["pointer"] else ""
            line = "unknown line" if row["line"] is None else f"line {row['line']:,}"
            stage = f"{row['stage']} {row['request']}" if "request" in row else row["stage"]
            console.print(f"{stage}, {line}: {row['reason']}{place}: {_printable(row['detail'])}", markup=False)
            event = f"{row['event']} " if row["event"] is not None else ""
            console.print(f"    {_cut(_printable(event + _text(source)))}", markup=False)
    if not shown and not as_json:
        console.print("Nothing of that is in quarantine.")
    return 0


@quarantine.command("replay")
@_some_days
@connection_option
@click.option(
    "--force", is_flag=True, help="Include rows that the Platform rejected under the same mapping and schema."
)
@click.option("--dry-run", is_flag=True, help="Only report how many rows conform now; send nothing.")
@click.option("--wait", is_flag=True, help="Wait until the batches are final.")
@click.option("--wait-minutes", default=120, show_default=True, help="Maximum time that --wait waits.")
def replay_(
    day: datetime.datetime | None,
    first: datetime.datetime | None,
    last: datetime.datetime | None,
    name: str,
    force: bool,
    dry_run: bool,
    wait: bool,
    wait_minutes: int,
) -> int:
    """Send the rows that conform after a fix of the mapping or the schema, as one more batch of their day.

    Exit codes: 0 every day's rows are ingested (or none conforms), 1 a day failed, 3 batches are still in progress.
    """
    if day is None and first is None:
        raise click.UsageError("Give --day, or --from and --to.")
    console = Console(highlight=False, soft_wrap=True)
    with open_connection(name) as connection:
        codes = {
            one: _replay(connection, one, console, force=force, dry_run=dry_run)
            for one in _days(connection, day, first, last)
        }
        sent = [one for one, code in codes.items() if code is None]
        codes |= _verdicts(connection, sent, console, wait_minutes * 60 if wait else 0)
    return FAILED if FAILED in codes.values() else NOT_YET if NOT_YET in codes.values() else 0


def _replay(connection: Connection, day: str, console: Console, *, force: bool, dry_run: bool) -> int | None:
    """The day's exit code; None where a batch is to be asked for."""
    from mixpanel_aep_assets.pipeline.steps import replay

    try:
        manifest = replay.replay_day(connection, day, force=force, dry_run=dry_run)
    except Exception as error:
        if not isinstance(error, ExplainedError):
            raise
        console.print(f"{day}: {error}", markup=False)
        return NOT_YET if isinstance(error, replay.NotFinal) else FAILED
    if dry_run:
        told = f"{manifest.rows:,} would be sent, {manifest.remaining:,} would stay in quarantine."
        console.print(f"{day}: {told}", markup=False)
        return 0
    for text in (_told(manifest), *manifest.guardrails):
        console.print(f"{day}: {text}", markup=False)
    return None if manifest.batch_id else 0


def _told(manifest: ReplayManifest) -> str:
    rest = f"left in quarantine, because they do not conform: {manifest.remaining:,}"
    if not manifest.rows:
        return f"nothing was sent; {rest}."
    if manifest.action == "unchanged":
        return f"nothing was sent, batch {manifest.batch_id} has the {manifest.rows:,} that conform; {rest}."
    return f"{manifest.rows:,} sent as batch {manifest.batch_id}; {rest}."


def _verdicts(connection: Connection, days: list[str], console: Console, seconds: float) -> dict[str, int | None]:
    """Asks for the days' batches until they are final or the time is up; the days' exit codes."""
    from mixpanel_aep_assets.pipeline.steps import replay

    deadline, pause = time.monotonic() + seconds, 0.2
    while True:
        found = {day: replay.confirm_day(connection, day) for day in days}
        waiting = [day for day, manifest in found.items() if manifest is not None and not manifest.outcome]
        left = deadline - time.monotonic()
        if not waiting or left <= 0:
            break
        time.sleep(min(pause, left))
        pause = min(pause * 1.5, 60.0)
    for day in waiting:
        console.print(f"{day}: not final yet; `mixpanel-aep reconcile` asks again.", markup=False)
    refused = [day for day, manifest in found.items() if replay.refused(manifest)]
    for day in refused:
        console.print(f"{day}: the Platform refused the replay; its rows stay in quarantine.", markup=False)
    return {day: FAILED if day in refused else NOT_YET if day in waiting else 0 for day in days}


def _text(source: str | bytes | None) -> str:
    if isinstance(source, bytes):
        return source.decode("utf-8", "backslashreplace")
    return source or ""


def _as_json(source: str | bytes | None) -> dict[str, str | None]:
    if isinstance(source, bytes):
        return {"source": _text(source), "base64": base64.b64encode(source).decode()}
    return {"source": source}


def _printable(text: str) -> str:
    """Without anything that a terminal would obey."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def _cut(text: str) -> str:
    return text if len(text) <= WIDTH else text[: WIDTH - 1] + "…"
