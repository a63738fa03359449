"""Time zones by the names that users have for them."""

from __future__ import annotations

import zoneinfo

from mixpanel_aep_assets.mixpanel.microsoft_time_zones import WINDOWS_ZONES
from mixpanel_aep_assets.mixpanel.mixpanel_errors import SettingsWrong


def zone(name: str) -> zoneinfo.ZoneInfo:
    """The zone of an IANA name, or of a Windows name as in Adobe's form (`Pacific Standard Time`).

    Raises SettingsWrong for a name that is neither.
    """
    iana = _WINDOWS.get(name.strip().casefold(), name.strip())
    try:
        return zoneinfo.ZoneInfo(iana)
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise SettingsWrong(
            f"MIXPANEL_TIMEZONE={name!r} is not a known time zone",
            fix="Use the name in Mixpanel's Project Settings (`America/Los_Angeles`), or a Windows name "
            "(`Pacific Standard Time`).",
        ) from error


_WINDOWS = {name.casefold(): iana for name, iana in WINDOWS_ZONES.items()}
