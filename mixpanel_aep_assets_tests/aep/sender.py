"""A process that sends a day, to be killed by the tests.

Arguments: storage, settings as JSON, dataset, version, number of events, number of files, for a replay its base.

Prints the action and the batch id, or the name of the error.
"""

from __future__ import annotations

import json
import sys

from mixpanel_aep_assets.aep import AepError, Platform, PlatformClient, send_day
from mixpanel_aep_assets.storage import open_storage
from mixpanel_aep_assets_tests.aep.days import DAY, files, ids


def main(storage: str, settings: str, dataset_id: str, version: str, count: str, parts: str, base: str = "") -> None:
    with PlatformClient(Platform(**json.loads(settings))) as client:
        try:
            day = files(ids(int(count), version), int(parts)) if int(count) else []
            stored = open_storage(storage)
            receipt = send_day(client, stored, "default", DAY, dataset_id, version, day, base=base or None)
        except AepError as error:
            print(type(error).__name__, flush=True)
        else:
            print(receipt.action, receipt.batch_id, flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
