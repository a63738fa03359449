#!/usr/bin/env python3
"""Export, XDM, conformance, upload of one day: bench/end_to_end.py --base-url URL --date DAY --out DIR

Reads URL/api/2.0/export with any credentials, uploads to an emulator that it starts itself, leaves everything under DIR,
and prints as its last line JSON with "records" and a wall time per stage.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

from connection import arguments, opened

from mixpanel_aep_assets.emulator import EmulatorProcess

if TYPE_CHECKING:
    from mixpanel_aep_assets.connection import Opened


def main() -> None:
    args = arguments(__doc__).parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    seconds: dict[str, float] = {}
    manifests = {}
    with ExitStack() as stack, ThreadPoolExecutor(1) as starter:
        # The emulator stands for a service that is always there: it starts beside the export, which does not need it.
        starting = starter.submit(stack.enter_context, EmulatorProcess(state=args.out / "emulator.sqlite"))
        from mixpanel_aep_assets.aep import provision
        from mixpanel_aep_assets.pipeline import extract, load, transform, workers

        stack.enter_context(workers.kept())

        def run(name: str, step: Callable[[Opened, str], dict[str, Any]], connection: Opened) -> None:
            began = time.perf_counter()
            manifests[name] = step(connection, args.date)
            seconds[name] = round(time.perf_counter() - began, 3)

        run("export", extract.extract_day, stack.enter_context(opened(args.base_url, args.out)))
        connection = stack.enter_context(opened(args.base_url, args.out, starting.result().url))
        provision.apply(connection.platform, provision.plan(connection.platform, connection.wanted()))
        run("xdm", transform.transform_day, connection)
        run("upload", load.load_day, connection)
        starting.result().kill()
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
