"""When rows that were set aside are more than a trifle: the one rule for everything that may stop a day over them."""

from __future__ import annotations

from mixpanel_aep_assets.connection import Settings


def is_more_than_a_trifle(aside: int, total: int, settings: Settings) -> bool:
    """Whether `aside` of `total` rows (those set aside included) are too many to go on.

    They are where nothing else is left, or where they are more than the connection's share and more than its number of
    rows: a share alone says nothing about a handful.
    """
    if aside == 0:
        return False
    return aside >= total or is_past_allowance(aside, total, settings)


def is_past_allowance(aside: int, total: int, settings: Settings) -> bool:
    """Whether they are more than the share and more than the number."""
    return 100 * aside > settings.max_nonconforming_percent * total and aside > settings.max_nonconforming_rows
