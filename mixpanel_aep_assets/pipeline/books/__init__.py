"""What became of every event: counts, reconciliation, checks, quarantine. Numbers only; nothing is changed."""
