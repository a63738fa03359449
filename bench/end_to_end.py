#!/usr/bin/env python3
"""Export, XDM, conformance, upload of one day: bench/end_to_end.py --base-url URL --date DAY --out DIR

Reads URL/api/2.0/export with any credentials, uploads to an emulator that it starts itself, leaves everything under DIR,
and prints as its last line JSON with "records" and a wall time per stage.
"""

from __future__ import annotations

import json
import time

from extract import arguments, source
from pydantic import SecretStr

from mixpanel_aep_assets.aep import provision
from mixpanel_aep_assets.cli.demo import CREDENTIALS
from mixpanel_aep_assets.connection import Opened, Secrets
from mixpanel_aep_assets.emulator import EmulatorProcess
from mixpanel_aep_assets.pipeline import extract, load, transform


def main() -> None:
    args = arguments(__doc__)
    args.out.mkdir(parents=True, exist_ok=True)
    seconds: dict[str, float] = {}
    with EmulatorProcess(state=args.out / "emulator.sqlite") as emulator:
        settings = source(args.base_url, args.out).model_copy(
            update={"ims_url": emulator.url, "aep_url": emulator.url, "org_id": CREDENTIALS["ADOBE_ORG_ID"]}
        )
        secrets = Secrets(
            mixpanel_username=SecretStr("bench"),
            mixpanel_secret=SecretStr("bench"),
            adobe_client_id=SecretStr(CREDENTIALS["ADOBE_CLIENT_ID"]),
            adobe_client_secret=SecretStr(CREDENTIALS["ADOBE_CLIENT_SECRET"]),
        )
        with Opened(settings, secrets) as opened:
            provision.apply(opened.platform, provision.plan(opened.platform, opened.wanted()))
            steps = {"export": extract.extract_day, "xdm": transform.transform_day, "upload": load.load_day}
            manifests = {}
            for name, step in steps.items():
                began = time.perf_counter()
                manifests[name] = step(opened, args.date)
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
