#!/usr/bin/env python3
"""Export, XDM, conformance, upload of one day: bench/end_to_end.py --base-url URL --date DAY --out DIR

Reads URL/api/2.0/export with any credentials, uploads to an emulator that it starts itself, leaves everything under DIR,
and prints as its last line JSON with "records" and a wall time per stage.
"""

from __future__ import annotations

import json
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

from connection import arguments, opened

from mixpanel_aep_assets.emulator import EmulatorProcess


def main() -> None:
    args = arguments(__doc__).parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    seconds: dict[str, float] = {}
    manifests = {}
    with ExitStack() as stack, ThreadPoolExecutor(1) as starter:
        # The emulator, which stands for a service that is always there, starts while the tool's own modules load.
        starting = starter.submit(stack.enter_context, EmulatorProcess(state=args.out / "emulator.sqlite"))
        from mixpanel_aep_assets.aep import provision
        from mixpanel_aep_assets.pipeline import extract, load, transform

        connection = stack.enter_context(opened(args.base_url, args.out, starting.result().url))
        provision.apply(connection.platform, provision.plan(connection.platform, connection.wanted()))
        steps = {"export": extract.extract_day, "xdm": transform.transform_day, "upload": load.load_day}
        for name, step in steps.items():
            began = time.perf_counter()
            manifests[name] = step(connection, args.date)
            seconds[name] = round(time.perf_counter() - began, 3)
    xdm = manifests["xdm"]
    print(
        json.dumps(
            {
                "records": manifests["export"]["rows"],
                "duplicates": xdm["duplicates"],
                "quarantined": manifests["export"]["quarantined"] + xdm["quarantined"],
                "uploaded": xdm["rows"],
                "batch": manifests["upload"]["batch_id"],
                "seconds": seconds,
                "total": round(sum(seconds.values()), 3),
            }
        )
    )


if __name__ == "__main__":
    main()
