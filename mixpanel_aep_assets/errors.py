"""The root of all errors that explain themselves: what happened, where, what to do, and whether a later try can help.

Each room has a family of its own below it. Such an error is a sentence for the person who gets it, and never holds a secret
or an event; its cause, where there is one, is for the log (`raise … from error`). Everything else that is raised is a bug.
"""

from __future__ import annotations

from typing import ClassVar

FAILED, WRONG_USE = 1, 2
"""Exit codes of a command that such an error ends."""

_CAUSES = 5
_CAUSE_CHARS = 300


class ExplainedError(Exception):
    """Base of all errors of this project that a person may see.

    `retryable`: the same may succeed later without anybody changing anything; `wait`: after so many seconds, where that is
    known. `exit_code` is that of a command.
    """

    retryable: bool = False
    exit_code: ClassVar[int] = FAILED
    fix: str = ""
    wait: float | None = None

    def __init__(self, what: str, *, where: str = "", fix: str = "", wait: float | None = None) -> None:
        super().__init__(what)
        self.what = what
        self.where = where
        if fix:
            self.fix = fix
        if wait is not None:
            self.wait = wait

    @property
    def marks(self) -> list[str]:
        """What identifies the place: an address, a status, a request."""
        return [self.where] if self.where else []

    def __str__(self) -> str:
        if not self.marks and not self.fix:
            return self.what
        marks = f" ({', '.join(self.marks)})" if self.marks else ""
        return f"{self.what.rstrip('. ')}{marks}. {self.fix}".rstrip()


def causes(error: BaseException) -> str:
    """What lies behind an error that explains itself, for the log: the first line of each cause; empty where none is named.

    Only what was raised `from` something counts. What may hold a secret or an event is raised `from None`, and ends the chain.
    """
    found: list[str] = []
    cause = error.__cause__
    while cause is not None and len(found) < _CAUSES:
        line = str(cause).strip().split("\n", 1)[0][:_CAUSE_CHARS]
        found.append(f"{type(cause).__name__}: {line}" if line else type(cause).__name__)
        cause = cause.__cause__
    return "; ".join(found)


class SettingsError(ExplainedError):
    """A setting is missing or wrong; the text names the variable or the key, and what it should be."""

    exit_code = WRONG_USE


class ServiceError(ExplainedError):
    """Base of what goes wrong with a service of the outside world. `status` is HTTP's, `code` and `request_id` the service's."""

    def __init__(
        self,
        what: str,
        *,
        where: str = "",
        fix: str = "",
        wait: float | None = None,
        status: int | None = None,
        code: str | None = None,
        request_id: str | None = None,
    ) -> None:
        super().__init__(what, where=where, fix=fix, wait=wait)
        self.status = status
        self.code = code
        self.request_id = request_id

    @property
    def marks(self) -> list[str]:
        marks = super().marks
        if self.status is not None:
            marks.append(f"HTTP {self.status}")
        if self.code:
            marks.append(f"code {self.code}")
        if self.request_id:
            marks.append(f"request {self.request_id}")
        return marks

    def __str__(self) -> str:
        text = super().__str__()
        return text if text.endswith((".", "!", "?")) else f"{text}."
