"""All functions of Adobe's mapping language, by category; `FUNCTIONS` holds them by name."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from mixpanel_aep_assets.dataprep.interpreter.functions import (
    analytics,
    arrays,
    convert,
    dates,
    hashing,
    logical,
    maps,
    objects,
    regex,
    special,
    strings,
    urls,
    user_agent,
)
from mixpanel_aep_assets.dataprep.interpreter.functions.function_registry import REGISTER, Function, Kind, Style

FUNCTIONS: Final[Mapping[str, Function]] = MappingProxyType(REGISTER)
"""Every function by name, aliases and refused ones included."""

CATEGORIES: Final = (
    strings,
    regex,
    hashing,
    urls,
    dates,
    objects,
    arrays,
    maps,
    logical,
    convert,
    special,
    user_agent,
    analytics,
)

__all__ = ["CATEGORIES", "FUNCTIONS", "Function", "Kind", "Style"]
