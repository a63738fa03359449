#!/usr/bin/env python3
"""Export one day to committed raw Parquet: bench/extract.py --base-url URL --date DAY --out DIR

Reads URL/api/2.0/export with any credentials, leaves the partition under DIR, and prints as its last line JSON with
"records" and a wall time per stage.
"""

from __future__ import annotations

import json
import time

from connection import arguments, opened

from mixpanel_aep_assets.pipeline.steps import extract


def main() -> None:
    args = arguments(__doc__).parse_args()
    began = time.perf_counter()
    with opened(args.base_url, args.out) as connection:
        manifest = extract.extract_day(connection, args.date).manifest
    stages = {"export": round(time.perf_counter() - began, 3)}
    print(json.dumps({"records": manifest.rows, "quarantined": manifest.quarantined, "seconds": stages}))


if __name__ == "__main__":
    main()
