"""Mixpanel raw events into Adobe Experience Platform, as Dagster assets.

Imports nothing, so that the pure modules load without Dagster.
"""

__version__ = "0.1.0"
