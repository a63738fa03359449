"""A day's way through the house: extract, transform, load, and the proofs and reports over them.

The steps join the rooms below (`mixpanel`, `dataprep`, `xdm`, `aep`, `storage`), which know nothing of each other, and
know nothing of Dagster, so that the command line, the tests and the assets run the same code.
"""
