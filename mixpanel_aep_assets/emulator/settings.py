"""What can be switched while the emulator runs, with its defaults: strict where the references say documented.

`PATCH /_emulator/settings` sets these by name. Faults, which hit single requests, are in `faults`.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any, Literal


@dataclass
class Settings:
    """One flat list of switches. Limits that are None are counted but never enforced."""

    export_per_hour: int | None = None
    """Mixpanel's documented value is 60 for each project, in a trailing window (mixpanel.md#limits)."""
    export_per_second: int | None = None
    """Documented: 3."""
    export_concurrent: int | None = None
    """Documented: 100."""
    query_per_hour: int | None = None
    """Documented: 60, an account of its own."""
    query_concurrent: int | None = None
    """Documented: 5."""
    retry_after: Literal["absent", "seconds"] = "absent"
    """Whether the limits' own 429 carries Retry-After; Mixpanel does not document it."""
    auth_before_limits: bool = False
    error_format: Literal["text", "json"] = "text"
    """The body of Mixpanel's 400s."""
    region: Literal["US", "EU", "IN"] | None = None
    """The region that this server is when the Host header tells none; None answers for every project."""
    wrong_region: Literal["unauthorized", "empty", "cluster"] = "unauthorized"
    """What a project of another region gets: 401, an empty 200, or the 400 that was seen in 2025 (`invalid project id for
    cluster`, dragonkhoi/mixpanel-mcp issue 5)."""
    classified: Literal["hide", "refuse"] = "hide"
    """What an account without access to classified data gets: the properties left out, or 403."""
    gzip_member_bytes: int | None = None
    """Begin a new gzip member after so many plain bytes; None sends one member."""
    shuffle: bool = True
    """Whether export lines come in a seeded random order."""
    seed: int = 7
    missing_project_status: int = 400
    """For a service account that names no project: 400 or 401, Mixpanel does not document which."""

    token_seconds: int = 86_399
    tokens_per_minute: int | None = None
    sandbox_header_required: bool = True
    registry_page: int = 300
    """Resources or descriptors of a Registry list that names no limit."""
    data_types: Literal["resolved", "referred"] = "resolved"
    """Whether full forms hold the fields of data types (documented) or still refer to them."""
    batch_seconds: float = 0.2
    """From COMPLETE to the earliest final state; `loaded`, `staging` and `staged` share it."""
    loading_seconds: float = 86_400.0
    """A batch that is not completed by then is `abandoned`."""
    deleted_seconds: float = 3_600.0
    """From `inactive` to `deleted`."""
    limits: Literal["2023", "2026"] = "2026"
    """Which edition of the guardrails counts (platform.md#limits)."""
    unknown_json_field: Literal["error", "drop"] = "error"
    future_timestamp: Literal["accept", "error"] = "accept"
    unique_external_ids: bool = False
    event_batches_per_day: int = 90
    """Soft limit for a sandbox: passing it only adds a warning."""

    def update(self, changes: dict[str, Any]) -> None:
        """Set the named switches. ValueError names those that do not exist; nothing is changed then."""
        known = {field.name for field in dataclasses.fields(self)}
        if unknown := sorted(set(changes) - known):
            raise ValueError(f"no such setting: {', '.join(unknown)}; there are {', '.join(sorted(known))}")
        for name, value in changes.items():
            setattr(self, name, value)

    def reset(self) -> None:
        """All defaults again."""
        for field in dataclasses.fields(self):
            setattr(self, field.name, field.default)

    def to_json(self) -> dict[str, Any]:
        """All switches by name."""
        return dataclasses.asdict(self)
