"""A connection: one Mixpanel project into one Platform dataset.

`settings` (what describes it), `blocks` (its YAML), `credentials` (its secrets as they are sent), `clients` (what it opens),
`mapping` (the mapping of its events into its dataset), `remembered` (what its storage keeps of it).
"""

from mixpanel_aep_assets.connection.clients import Connection
from mixpanel_aep_assets.connection.derived import DERIVED
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
    "Connection",
    "Secrets",
    "Settings",
]
