"""The Platform side: tokens, batches, Catalog, Schema Registry, diagnostics (reference aep-api.md)."""
