"""A connection: one Mixpanel project into one Platform dataset.

`settings` (what describes it), `blocks` (its YAML), `clients` (what it opens), `remembered` (what its storage keeps of it).
"""

from mixpanel_aep_assets.connection.clients import DERIVED, Opened
from mixpanel_aep_assets.connection.settings import (
    DEFAULT_NAME,
    PRIVACY_VARIABLES,
    SECRET_VARIABLES,
    VARIABLES,
    Secrets,
    Settings,
)

__all__ = [
    "DEFAULT_NAME",
    "DERIVED",
    "PRIVACY_VARIABLES",
    "SECRET_VARIABLES",
    "VARIABLES",
    "Opened",
    "Secrets",
    "Settings",
]
