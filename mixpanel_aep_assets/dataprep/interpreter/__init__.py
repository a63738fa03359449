"""The meaning of the language, one record at a time in Python: what the columnar form must agree with."""
