"""The code location: every connection below `defs/`, and the in-process executor. Nothing else."""

from __future__ import annotations

import functools
from pathlib import Path

import dagster as dg

import mixpanel_aep_assets.defs


def load() -> dg.Definitions:
    """The definitions as YAML and environment are now."""
    # `dg.load_from_defs_folder` looks for a pyproject.toml, which an installed wheel does not have above it.
    tree = dg.ComponentTree.from_module(defs_module=mixpanel_aep_assets.defs, project_root=Path(__file__).parent.parent)
    return dg.Definitions.merge(tree.build_defs(), dg.Definitions(executor=dg.in_process_executor))


@dg.definitions
@functools.cache
def defs() -> dg.Definitions:
    """Made once a process, of which a run's asks five times, at a fifth of a second each.

    A reload in the UI starts a new process, which reads YAML and environment again.
    """
    return load()
