"""Mixpanel's side of the way: settings, the Export API, the proof of its body, time, identity, duplicates.

Knows nothing of the Platform, of mapping or of Dagster. Facts about the API come from mixpanel.md;
section numbers in this room mean that page.
"""
