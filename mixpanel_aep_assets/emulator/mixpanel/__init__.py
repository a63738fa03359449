"""The Mixpanel side: raw export, the App and Query APIs, ingestion (reference mixpanel-api.md)."""
