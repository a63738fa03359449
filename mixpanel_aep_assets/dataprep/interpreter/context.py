"""What an evaluation may know besides the record: the clock and the source of random identifiers."""

from __future__ import annotations

import datetime as dt
import random
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field


def _utc_now() -> dt.datetime:
    return dt.datetime.now(dt.UTC)


@dataclass(frozen=True)
class EvaluationContext:
    """`clock` gives the zoned date-time of `now()` and `timestamp()`; `random`, seeded or not, feeds `uuid()`."""

    clock: Callable[[], dt.datetime] = _utc_now
    random: random.Random = field(default_factory=random.SystemRandom, repr=False)

    def uuid(self) -> str:
        return str(uuid.UUID(int=self.random.getrandbits(128), version=4))
