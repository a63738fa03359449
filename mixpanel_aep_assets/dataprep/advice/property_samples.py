"""The properties seen in records: their names, and values to try a mapping on. Independent of the records' order.

Which values and records are kept is decided by a hash of their JSON, so that a stream of any length needs bounded memory
and the same events in another order give the same.
"""

from __future__ import annotations

import hashlib
import heapq
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

Names = tuple[str, ...]
"""A path of names, from the record's root."""

VALUES: Final = 200
RECORDS: Final = 500
_LONGEST: Final = 4096
"""Values with longer JSON count, but are not kept."""


class _Sample:
    """The items whose JSON has the smallest hashes, each once."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._kept: dict[int, Any] = {}
        self._largest: list[int] = []

    def add(self, item: Any) -> None:
        text = json.dumps(item, sort_keys=True).encode()
        if len(text) > _LONGEST:
            return
        rank = int.from_bytes(hashlib.blake2b(text, digest_size=8).digest())
        if rank in self._kept or (len(self._kept) == self._size and rank > -self._largest[0]):
            return
        self._kept[rank] = item
        heapq.heappush(self._largest, -rank)
        if len(self._kept) > self._size:
            del self._kept[-heapq.heappop(self._largest)]

    def items(self) -> list[Any]:
        return [self._kept[rank] for rank in sorted(self._kept)]


@dataclass
class Property:
    """A property: in how many records it has a value, and some of its distinct values."""

    records: int = 0
    values: _Sample = field(default_factory=lambda: _Sample(VALUES))


class PropertySamples:
    """What records hold. `properties` by path of names: below `properties`, below `data`, or of the record itself."""

    def __init__(self, records: Iterable[Mapping[str, Any]] = ()) -> None:
        self.records = 0
        self.properties: dict[Names, Property] = {}
        self._sample = _Sample(RECORDS)
        for record in records:
            self.add(record)

    def add(self, record: Mapping[str, Any]) -> None:
        self.records += 1
        self._sample.add(record)
        for name in ("properties", "data"):
            if isinstance(record.get(name), Mapping):
                self._add(record[name], (name,))
                return
        self._add(record, ())

    def sample(self) -> list[Mapping[str, Any]]:
        """Some of the records."""
        return self._sample.items()

    def _add(self, members: Mapping[str, Any], path: Names) -> None:
        for name, value in members.items():
            if value is None:
                continue
            here = self.properties.setdefault((*path, name), Property())
            here.records += 1
            here.values.add(value)
            # One level of objects, such as a cart; what lies deeper is rarely a field of its own.
            if isinstance(value, Mapping) and len(path) < 2:
                self._add(value, (*path, name))
