"""`mixpanel-aep demo` and `mixpanel-aep emulator`: a Mixpanel and a Platform here, and the way between.

The only room that knows both the emulator and the clients; they meet here over HTTP.
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
from pathlib import Path

import click
from rich.console import Console

from mixpanel_aep_assets.errors import FAILED

DAYS = 7
INSTANCE_FILE = Path(__file__).parent.parent.parent / "dagster.yaml"
UI_PORT = 3000

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
@click.option("--headless", is_flag=True, help="Run a week end to end, print the report, exit.")
@click.option("--folder", type=click.Path(file_okay=False, path_type=Path), default=Path(".demo"), show_default=True)
@click.option("--fresh", is_flag=True, help="Begin anew: remove what an earlier demo left in the folder.")
@click.option("--port", default=UI_PORT, show_default=True, help="Port of the Dagster UI.")
def demo(headless: bool, folder: Path, fresh: bool, port: int) -> int:
    """Sample data, emulators of Mixpanel and the Platform, the provisioned dataset, and the Dagster UI on it.

    Needs no account. What it makes stays in the folder, so that it can be stopped and taken up again.
    """
    from mixpanel_aep_assets.emulator import EmulatorProcess, samples

    console = Console(highlight=False, soft_wrap=True)
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
    """Another command of this program, in a process of its own."""
    return subprocess.run([sys.executable, "-P", "-m", "mixpanel_aep_assets", *arguments], check=False).returncode  # noqa: S603


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
    quiet = os.environ | {
        "PYTHONWARNINGS": "ignore"
    }  # the library's own remarks on its previews would hide the address
    process = subprocess.Popen([*command, "-p", str(port)], start_new_session=True, cwd=home, env=quiet)  # noqa: S603
    console.print(f"\n[bold]Dagster UI: http://127.0.0.1:{port}[/bold]  (Ctrl-C ends the demo)")
    console.print(f"Sample days: {first} to {last}; {first - datetime.timedelta(days=1)} has a planted violation.\n")
    for sign in (signal.SIGINT, signal.SIGTERM):  # also where a shell started us with SIGINT ignored
        signal.signal(sign, signal.default_int_handler)
    try:
        return process.wait()
    except KeyboardInterrupt:
        return 0
    finally:
        for sign in (signal.SIGTERM, signal.SIGKILL):
            try:
                os.killpg(process.pid, sign)
                process.wait(10)
            except (ProcessLookupError, subprocess.TimeoutExpired):
                continue


def _free(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) != 0


@click.command()
@click.option("--host", default="127.0.0.1", show_default=True)
@click.option("--port", default=8321, show_default=True, help="0 takes any free port.")
@click.option("--state", type=click.Path(dir_okay=False, path_type=Path), help="SQLite file to keep the state in.")
def emulator(host: str, port: int, state: Path | None) -> int:
    """The emulator alone: a Mixpanel and a Platform over HTTP. Its first line is its base URL."""
    from mixpanel_aep_assets.emulator.server import serve

    serve(host=host, port=port, state=state)
    return 0
