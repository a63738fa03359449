"""The Mixpanel side: raw export, the App and Query APIs, ingestion (docs/reference/mixpanel.md)."""
