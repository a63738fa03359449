"""`python -m mixpanel_aep_assets` is `mixpanel-aep`."""

from mixpanel_aep_assets.cli import main

main()
