"""`mixpanel-aep demo` and `mixpanel-aep emulator`: Mixpanel and the Platform on this machine, and the pipeline between them.

The only module that imports both the emulator and the clients; they talk over HTTP here too.
"""

from __future__ import annotations

import datetime
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click
from rich.console import Console

from mixpanel_aep_assets.cli import STOPPED
from mixpanel_aep_assets.errors import FAILED

DAYS = 7
INSTANCE_FILE = Path(__file__).parent.parent.parent / "dagster.yaml"
UI_PORT = 3000

GRACE_SECONDS = 3.0
"""Time that a child process has to end by itself once the demo is stopped; then it is killed."""

CREDENTIALS = {
    "MIXPANEL_PROJECT_ID": "12345",
    "MIXPANEL_USERNAME": "demo.abc123.mp-service-account",
    "MIXPANEL_SECRET": "demo-secret",
    "ADOBE_CLIENT_ID": "demo-client",
    "ADOBE_CLIENT_SECRET": "demo-client-secret",
    "ADOBE_ORG_ID": "0123456789ABCDEF01234567@AdobeOrg",
}
"""What a fresh emulator knows; worthless anywhere else."""


@click.command()
@click.option("--headless", is_flag=True, help="Run a week end to end, print the report and exit.")
@click.option("--folder", type=click.Path(file_okay=False, path_type=Path), default=Path(".demo"), show_default=True)
@click.option("--fresh", is_flag=True, help="Start over: delete what an earlier demo left in the folder.")
@click.option("--port", default=UI_PORT, show_default=True, help="Port of the Dagster UI.")
def demo(headless: bool, folder: Path, fresh: bool, port: int) -> int:
    """Start the Dagster UI on sample data, with emulators of Mixpanel and the Platform and a provisioned dataset.

    Needs no account. Everything is kept in the folder, so you can stop the demo and continue later.
    """
    from mixpanel_aep_assets.emulator import EmulatorProcess, samples

    console = Console(highlight=False, soft_wrap=True)
    signal.signal(
        signal.SIGINT, signal.default_int_handler
    )  # also if a shell started us in the background, with it ignored
    if fresh:
        shutil.rmtree(folder, ignore_errors=True)
    folder = folder.resolve()
    home = folder / "dagster_home"
    home.mkdir(parents=True, exist_ok=True)
    if INSTANCE_FILE.exists() and not (home / "dagster.yaml").exists():
        shutil.copy(INSTANCE_FILE, home / "dagster.yaml")
    marker = folder / "demo.json"
    with EmulatorProcess(state=folder / "emulator.sqlite") as emulator:
        if marker.exists():
            last_day = datetime.date.fromisoformat(json.loads(marker.read_text())["last_day"])
        else:
            last_day = datetime.datetime.now(datetime.UTC).date() - datetime.timedelta(days=1)
            console.print("Making a week of sample events …")
            samples.seed_demo(emulator.url, days=DAYS, last_day=last_day)
            marker.write_text(json.dumps({"last_day": last_day.isoformat()}))
        first = last_day - datetime.timedelta(days=DAYS - 1)
        os.environ.update(environment(emulator.url, folder, home, first - datetime.timedelta(days=1)))
        console.print("Provisioning the dataset …")
        if code := _call(["provision", "--apply"]):
            return code
        if headless:
            return _headless(console, first, last_day, folder)
        return _ui(console, home, port, first, last_day)


def environment(url: str, folder: Path, home: Path, start: datetime.date) -> dict[str, str]:
    """The variables of README "Settings" for the emulator at `url`."""
    return CREDENTIALS | {
        "MIXPANEL_EXPORT_URL": url,
        "MIXPANEL_API_URL": url,
        "MIXPANEL_AEP_BUDGET": str(folder / "budget"),
        "ADOBE_IMS_URL": url,
        "AEP_URL": url,
        "AEP_SANDBOX": "prod",
        "MIXPANEL_AEP_STORAGE": str(folder / "data"),
        "MIXPANEL_AEP_START_DATE": start.isoformat(),
        "DAGSTER_HOME": str(home),
    }


def _call(arguments: list[str]) -> int:
    """Run another command of this program in a process of its own; its exit code.

    A command that has said that it was stopped ends this one too.
    """
    try:
        with _child([sys.executable, "-P", "-m", "mixpanel_aep_assets", *arguments]) as process:
            return process.wait()
    except KeyboardInterrupt:
        if process.returncode == STOPPED:
            raise click.exceptions.Exit(STOPPED) from None
        raise


@contextmanager
def _child(command: list[str], **options: Any) -> Iterator[subprocess.Popen[bytes]]:
    """A process that ends with the block, with all processes that it started: a session of its own is their group."""
    process = subprocess.Popen(command, start_new_session=True, **options)  # noqa: S603
    try:
        yield process
    finally:
        # A second Ctrl-C would leave the children behind.
        held = {sign: signal.signal(sign, signal.SIG_IGN) for sign in (signal.SIGINT, signal.SIGTERM)}
        for sign in (signal.SIGTERM, signal.SIGKILL):
            try:
                os.killpg(process.pid, sign)
                process.wait(GRACE_SECONDS)
            except (ProcessLookupError, subprocess.TimeoutExpired):
                continue
        for sign, handler in held.items():
            signal.signal(sign, handler)


def _headless(console: Console, first: datetime.date, last: datetime.date, folder: Path) -> int:
    report = folder / "report.json"
    code = _call(["run", "--from", first.isoformat(), "--to", last.isoformat(), "--wait", "--report", str(report)])
    days = json.loads(report.read_text())["days"] if report.exists() else []
    unbalanced = [
        day["day"]
        for day in days
        if day["exported"] != day["duplicates"] + day["quarantined"] + day["uploaded"]
        or day["uploaded"] != day["ingested"] + day["rejected"]
    ]
    if unbalanced or len(days) != DAYS:
        console.print(f"[red]The counts do not add up: {', '.join(unbalanced) or 'days are missing'}[/red]")
        return FAILED
    console.print(f"Every count of the {DAYS} days adds up. Report: {report}")
    console.print("`make demo` opens the Dagster UI on the same data.")
    return code


def _ui(console: Console, home: Path, port: int, first: datetime.date, last: datetime.date) -> int:
    port = port if _free(port) else 0
    if port == 0:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
    command = [sys.executable, "-m", "dagster", "dev", "-m", "mixpanel_aep_assets.definitions", "-h", "127.0.0.1"]
    # Dagster's warnings about its own previews would push the address off the screen.
    quiet = os.environ | {"PYTHONWARNINGS": "ignore"}
    try:
        with _child([*command, "-p", str(port)], cwd=home, env=quiet) as process:
            console.print(f"\n[bold]Dagster UI: http://127.0.0.1:{port}[/bold]  (Ctrl-C ends the demo)")
            planted = first - datetime.timedelta(days=1)
            console.print(f"Sample days: {first} to {last}; {planted} has a planted violation.\n")
            return process.wait()
    except KeyboardInterrupt:
        console.print("Stopped; `make demo` continues with the same data.")
        return 0


def _free(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) != 0


@click.command()
@click.option("--host", default="127.0.0.1", show_default=True)
@click.option("--port", default=8321, show_default=True, help="0 picks a free port.")
@click.option("--state", type=click.Path(dir_okay=False, path_type=Path), help="SQLite file to keep the state in.")
def emulator(host: str, port: int, state: Path | None) -> int:
    """Start only the emulator: Mixpanel and the Platform over HTTP. The first line of output is its base URL."""
    from mixpanel_aep_assets.emulator.server import serve

    serve(host=host, port=port, state=state)
    return 0
