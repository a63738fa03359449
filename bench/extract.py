#!/usr/bin/env python3
"""Export one day to committed raw Parquet: bench/extract.py --base-url URL --date DAY --out DIR

Reads URL/api/2.0/export with any credentials, leaves the partition under DIR, and prints as its last line JSON with
"records" and a wall time per stage.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

from pydantic import SecretStr

from mixpanel_aep_assets.connection import Opened, Secrets, Settings
from mixpanel_aep_assets.pipeline import extract


def arguments(description: str | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--base-url", required=True, help="where /api/2.0/export is")
    parser.add_argument("--date", required=True)
    parser.add_argument("--out", required=True, type=Path)
    return parser.parse_args()


def source(base_url: str, out: Path) -> Settings:
    """A UTC project at the URL; the budget counts in the output folder, so that nobody else's is spent."""
    return Settings(
        project_id=1,
        timezone="UTC",
        time_mode="utc",
        export_url=base_url,
        api_url=base_url,
        storage=str(out / "data"),
        budget_location=str(out / "budget"),
    )


def main() -> None:
    args = arguments(__doc__)
    began = time.perf_counter()
    secrets = Secrets(mixpanel_username=SecretStr("bench"), mixpanel_secret=SecretStr("bench"))
    with Opened(source(args.base_url, args.out), secrets) as opened:
        manifest = extract.extract_day(opened, args.date)
    stages = {"export": round(time.perf_counter() - began, 3)}
    print(json.dumps({"records": manifest["rows"], "quarantined": manifest["quarantined"], "seconds": stages}))


if __name__ == "__main__":
    main()
