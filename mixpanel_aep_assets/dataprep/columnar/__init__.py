"""The language on whole columns: JSON decoded to typed columns, mapping sets compiled to Polars expressions."""
