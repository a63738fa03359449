"""The code location: every connection below `defs/`, and the in-process executor. Nothing else."""

from __future__ import annotations

import functools
import os
from pathlib import Path

import dagster as dg
from dagster.components import load_defs

import mixpanel_aep_assets.defs


@dg.definitions
def defs() -> dg.Definitions:
    return _loaded(frozenset(os.environ.items()))


@functools.lru_cache(maxsize=1)
def _loaded(_environment: frozenset[tuple[str, str]]) -> dg.Definitions:
    """Made once for an environment: a run's process asks for them five times, at a fifth of a second each."""
    return dg.Definitions.merge(
        load_defs(mixpanel_aep_assets.defs, project_root=Path(__file__).parent.parent),
        dg.Definitions(executor=dg.in_process_executor),
    )
