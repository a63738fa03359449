"""`python -m mixpanel_aep_assets.emulator`: the emulator as a process of its own.

The first line of standard output is the base URL.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from mixpanel_aep_assets.emulator.server import serve


def main() -> None:
    """Parse the arguments and serve until interrupted."""
    parser = argparse.ArgumentParser(prog="python -m mixpanel_aep_assets.emulator", description=__doc__)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=0, help="0 picks a free port")
    parser.add_argument("--state", type=Path, help="SQLite file to keep the state in; default: memory")
    parser.add_argument("--faults", type=Path, help="JSON file with fault rules to apply at start")
    parser.add_argument("--settings", type=Path, help="JSON file with settings")
    arguments = parser.parse_args()
    rules = json.loads(arguments.faults.read_text(encoding="utf-8")) if arguments.faults else []
    settings = json.loads(arguments.settings.read_text(encoding="utf-8")) if arguments.settings else {}
    try:
        serve(arguments.host, arguments.port, arguments.state, faults=rules, settings=settings)
    except (OSError, ValueError) as error:
        sys.exit(f"The emulator cannot start: {error}")


if __name__ == "__main__":
    main()
