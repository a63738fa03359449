"""Data that is not ours and so not in the repository: where the tests look for it, and what to say where it is absent."""

from __future__ import annotations

import os
from pathlib import Path

_BESIDE = Path(__file__).resolve().parents[2] / "shared"

XDM = Path(os.environ.get("MIXPANEL_AEP_XDM") or _BESIDE / "xdm")
"""A checkout of Adobe's schema files and examples."""

NO_XDM = f"no XDM files at {XDM}: clone github.com/adobe/xdm at commit 4a4fc5f8 and set MIXPANEL_AEP_XDM to the folder (CONTRIBUTING.md)"

DATAPREP = Path(os.environ.get("MIXPANEL_AEP_DATAPREP") or _BESIDE / "dataprep")
"""Examples of Adobe's mapping language, as its documentation prints them: `cases.json`, `mapping_examples.json`, `functions.json`."""

NO_DATAPREP = (
    f"no printed examples at {DATAPREP} (MIXPANEL_AEP_DATAPREP); the cases written for this repository, in dataprep/test_functions.py, "
    "run everywhere"
)

EVENTS = Path(os.environ.get("MIXPANEL_AEP_EVENTS") or _BESIDE / "data")
"""Sample events that other projects publish."""

NO_EVENTS = f"no sample events at {EVENTS} (MIXPANEL_AEP_EVENTS)"

CASES = Path(os.environ.get("MIXPANEL_AEP_CASES") or _BESIDE / "cases")
"""Small inputs on which earlier versions failed, as they were reported."""

NO_CASES = f"no reported inputs at {CASES} (MIXPANEL_AEP_CASES); the same kinds, in our own words, run everywhere"
