"""Adobe's mapping language (Data Prep): `language`, `interpreter`, `columnar` and `advice`.

`language` is read first: syntax tree, parser, mapping sets. `interpreter` says what they mean; `columnar` computes the same on
whole columns, and asks the interpreter wherever columns do not decide; `advice` is for people who write mappings.
"""
