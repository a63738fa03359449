"""The names that users write in YAML."""

from mixpanel_aep_assets.components.mixpanel_to_aep import MixpanelToAep

__all__ = ["MixpanelToAep"]
