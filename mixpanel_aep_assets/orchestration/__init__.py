"""The Dagster layer: assets, checks, jobs, schedules, sensors, resources and metadata over `pipeline`."""
