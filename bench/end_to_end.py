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
    from pathlib import Path

    from mixpanel_aep_assets.connection import Connection


def service(stack: ExitStack, base_url: str, out: Path) -> tuple[Connection, EmulatorProcess]:
    """The emulator and a connection to it. It stands for a service that is always there and provisioned once, so it starts
    beside the export, which does not need it, and has answered before it is measured."""
    emulator = stack.enter_context(EmulatorProcess(state=out / "emulator.sqlite"))
    from mixpanel_aep_assets.aep import catalog, provision

    connection = stack.enter_context(opened(base_url, out, emulator.url))
    provision.apply(connection.platform, provision.plan(connection.platform, connection.wanted()))
    catalog.batches_of(connection.platform, "none", connection.dataset)
    return connection, emulator


def main() -> None:
    args = arguments(__doc__).parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    seconds: dict[str, float] = {}
    manifests: dict[str, Any] = {}

    def run(name: str, step: Callable[[Connection, str], object], connection: Connection) -> None:
        began = time.perf_counter()
        manifests[name] = step(connection, args.date)
        seconds[name] = round(time.perf_counter() - began, 3)

    with ExitStack() as stack, ThreadPoolExecutor(1) as starter:
        starting = starter.submit(service, stack, args.base_url, args.out)
        from mixpanel_aep_assets.pipeline.steps import extract, load, transform
        from mixpanel_aep_assets.runtime import workers

        stack.enter_context(workers.kept())
        run("export", extract.extract_day, stack.enter_context(opened(args.base_url, args.out)))
        connection, emulator = starting.result()
        run("xdm", transform.transform_day, connection)
        run("upload", load.load_day, connection)
        emulator.kill()
    xdm = manifests["xdm"]
    print(
        json.dumps(
            {
                "records": manifests["export"].manifest.rows,
                "duplicates": xdm.duplicates,
                "quarantined": manifests["export"].manifest.quarantined + xdm.quarantined,
                "uploaded": xdm.rows,
                "batch": manifests["upload"].batch_id,
                "seconds": seconds,
                "total": round(sum(seconds.values()), 3),
            }
        )
    )


if __name__ == "__main__":
    main()
