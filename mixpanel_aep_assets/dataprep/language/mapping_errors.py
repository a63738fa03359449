"""What can go wrong: before a mapping set runs (`ExpressionError`, `MappingSetError`), on a row (`EvaluationError`).

The shape in which errors are reported to a user lives with the reporters: `validation.py` and `evaluate.py`.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable

from mixpanel_aep_assets.dataprep.language.ast import NOWHERE, Position
from mixpanel_aep_assets.errors import ExplainedError


class ExpressionError(ExplainedError, ValueError):
    """An expression or a path that cannot be accepted: where it fails, why, and what may have been meant."""

    def __init__(self, message: str, line: int = 1, column: int = 1, suggestion: str | None = None) -> None:
        self.message = message
        self.line = line
        self.column = column
        self.suggestion = suggestion
        hint = f" ({suggestion})" if suggestion else ""
        super().__init__(f"line {line}, column {column}: {message}{hint}")

    @classmethod
    def at(cls, position: Position, message: str, suggestion: str | None = None) -> ExpressionError:
        return cls(message, position.line, position.column, suggestion)

    def moved(self, origin: Position) -> ExpressionError:
        """The same error of a one-line text that begins at `origin` of a larger one."""
        if origin == NOWHERE:
            return self
        return ExpressionError(self.message, origin.line, origin.column + self.column - 1, self.suggestion)


class MappingSetError(ExplainedError, ValueError):
    """A document that is no mapping set: wrong shape, wrong types, too many mappings, or a file that cannot be read."""


class EvaluationError(Exception):
    """A value that cannot be computed for one record. The attribute becomes null, the row goes on (data-prep.md#errors)."""


_LONGEST_WORD = 100
"""Of a word that is compared with others: the work grows with its length."""


def nearest(word: str, known: Iterable[str]) -> str | None:
    """The known word that `word` most likely stands for, or None when none comes close."""
    if len(word) > _LONGEST_WORD:
        return None
    candidates = list(known)
    by_folded = {name.casefold().replace("_", ""): name for name in candidates}
    folded = word.casefold().replace("_", "")
    if folded in by_folded:
        return by_folded[folded]
    found = difflib.get_close_matches(word, candidates, n=1, cutoff=0.6)
    return found[0] if found else None
