#!/usr/bin/env python3
"""The standard mapping alone, compiled and row by row, on the same generated events: bench/mapping.py [--events 100000]

An emulator gives the dataset's schema and one day of bench/events.py; the time is that of stage `mapping` of
bench/stages.py on the day's raw rows. Prints a table; the last line is JSON.
"""

from __future__ import annotations

import argparse
import datetime
import json
import tempfile
from pathlib import Path

from events import write_day
from rich.console import Console
from rich.table import Table
from stages import mapping, provisioned

from mixpanel_aep_assets.cli.demo import environment
from mixpanel_aep_assets.connection import Connection, Secrets, Settings
from mixpanel_aep_assets.emulator import EmulatorThread
from mixpanel_aep_assets.pipeline.steps import extract

DAY = datetime.date(2026, 3, 10)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--events", type=int, default=100_000)
    events = parser.parse_args().events
    with tempfile.TemporaryDirectory() as name, EmulatorThread() as emulator:
        folder = Path(name)
        write_day(folder, DAY, events, plain=True)
        emulator.control.seed_day(DAY.isoformat(), folder / f"{DAY}.ndjson")
        variables = environment(emulator.url, folder, folder / "dagster", DAY)
        with Connection(Settings.read(variables), Secrets.read(variables)) as connection:
            provisioned(connection, "")
            extract.extract_day(connection, DAY.isoformat())
            report = mapping(connection, DAY.isoformat())
            mappings = len(connection.mapping.mapping_set.mappings)
    rates = {
        "compiled": report["records"] / report["compiled_seconds"],
        "plain evaluator": 1 / report["plain_seconds_per_row"],
    }
    table = Table("standard mapping", "rows", "rows/s", "µs/row", title=f"{mappings} mappings")
    for name, rate in rates.items():
        rows = report["records"] if name == "compiled" else report["plain_sample"]
        table.add_row(name, f"{rows:,}", f"{rate:,.0f}", f"{1e6 / rate:.1f}")
    Console().print(table)
    print(
        json.dumps(
            {
                "records": report["records"],
                "mappings": mappings,
                "compiled_rows_per_second": round(rates["compiled"]),
                "plain_rows_per_second": round(rates["plain evaluator"]),
            }
        )
    )


if __name__ == "__main__":
    main()
