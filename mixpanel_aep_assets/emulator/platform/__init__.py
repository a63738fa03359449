"""The Platform side: tokens, batches, Catalog, Schema Registry, diagnostics (docs/reference/platform.md)."""
