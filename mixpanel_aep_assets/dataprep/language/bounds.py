"""Bounds that keep a hostile mapping set or record from taking the process down; both evaluators share them.

The length of an expression is Adobe's own rule (data-prep.md#vocabulary); the others are far above what a real mapping needs.
"""

from __future__ import annotations

from typing import Final

EXPRESSION_CHARACTERS: Final = 4096
"""Longest calculated field."""

EXPRESSION_DEPTH: Final = 200
"""Deepest tree of one expression. Evaluators recurse once or twice per level, well below Python's limit of 1000."""

NUMBER_LITERAL: Final = 40
"""Longest numeric literal, in characters."""

NUMBER_TEXT: Final = 400
"""Longest text of a record that is read as a number, in characters."""

INTEGER_BITS: Final = 4096
"""Largest integer that arithmetic may make."""

PATH_STEPS: Final = 100
PATH_CHARACTERS: Final = 4096
DESTINATION_STEPS: Final = 30
"""Polars takes seconds to plan much deeper structs; schemas of the Platform have a dozen levels at most."""

DESTINATION_INDEX: Final = 1000
"""Highest `[n]` in a destination: elements before it are filled with null, so that the index is also a size."""

MAPPINGS: Final = 10_000
SOURCE_CHARACTERS: Final = 1_000_000
"""Expressions of one set together. Reading takes some 30 µs a character."""

FILE_BYTES: Final = 16 * 1024 * 1024
YAML_BYTES: Final = 1024 * 1024
"""YAML is read a hundred times slower than JSON."""

TEXT_CHARACTERS: Final = 65_536
"""Longest text that a function may grow (padding, joining, replacing). Texts of the record itself may be longer."""

ARRAY_ITEMS: Final = 100_000
"""Longest array that a function may build."""

LAMBDA_WORK: Final = 1_000_000
"""Values that all lambda calls of one expression on one record may produce, counted with their nested parts."""

PATTERN_CHARACTERS: Final = 1000
PATTERN_MEMORY: Final = 4 * 1024 * 1024
"""Memory of one compiled regular expression (RE2), in bytes."""
