"""The connections that commands work on: those of the definitions, read as the UI reads them."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import click

import mixpanel_aep_assets
from mixpanel_aep_assets.connection import Connection, blocks
from mixpanel_aep_assets.errors import ExplainedError

DEFINITIONS = Path(mixpanel_aep_assets.__file__).parent / "defs"


def open_connection(name: str, definitions: Any = None) -> Connection:
    """The connection of that name, from its YAML block; from `definitions`, or loading them, where only Dagster can read it.

    Raises UsageError where there is none, SettingsError for what is wrong in its block.
    """
    block = blocks.find(name, DEFINITIONS, os.environ)
    if block is None:
        block = _resolved(name, definitions or load_definitions())
    return block.open(os.environ)


def no_connection(name: str) -> click.UsageError:
    known = ", ".join(blocks.names(DEFINITIONS)) or "none"
    return click.UsageError(f"There is no connection {name!r} in {DEFINITIONS}. Known: {known}.")


def load_definitions() -> Any:
    """All connections' definitions. What a wrong setting says comes without the loader's traceback."""
    from mixpanel_aep_assets.definitions import load

    try:
        return load()
    except Exception as error:
        cause: BaseException | None = error
        while cause is not None:
            if isinstance(cause, ExplainedError):
                raise cause from error
            cause = cause.__cause__ or cause.__context__
        raise


def _resolved(name: str, definitions: Any) -> blocks.Block:
    """The block as Dagster resolved it."""
    resource = (definitions.resources or {}).get(f"{name}_connection")
    if resource is None:
        raise no_connection(name)
    held = {key: getattr(resource, key, None) for key in blocks.SECRETS}
    variables = {key: value.env_var_name for key, value in held.items() if value is not None}
    return blocks.Block(resource.settings, variables)
