"""Faults on demand: rules that pick requests, and what is to be done to those.

A rule is JSON: `{"match": {...}, "fault": {"kind": ..., ...}, "count"?, "probability"?, "seed"?}`. Its `match` may hold

    path      shell pattern over the path, e.g. "/api/2.0/export" or "*/batches/*" (`*` also matches slashes)
    method    GET, PUT, ...
    day       a day that from_date..to_date of the request contains
    query     {"action": "COMPLETE"}: parameters with exactly these values
    nth       the request's number among those that match path, method, day and query (1 is the first), or a list
    from_nth  that request and all later ones
    every     each n-th of them

What a kind does is decided where it acts: the kinds that any request can meet in `gate`, those of an export body in
`mixpanel.body` and `mixpanel.selection`, those of a batch in `platform.lifecycle`.
"""

from __future__ import annotations

import fnmatch
import random
import threading
from dataclasses import dataclass, field
from typing import Any

KINDS = frozenset(
    {
        "status", "html", "blocked", "slow", "drop", "lost_response", "cut_response", "cut_upload", "hold",
        "auth400", "expired", "early", "cut", "clean_cut", "empty", "short", "dups", "late", "merge", "vanish",
        "badline", "bigline", "bigday", "iso_time", "ms",
        "expired_token", "batch",
    }
)  # fmt: skip
_MATCH = frozenset({"path", "method", "day", "query", "nth", "from_nth", "every"})
_RULE = frozenset({"match", "fault", "count", "probability", "seed"})

Fault = dict[str, Any]


class Cut(Exception):
    """Raised inside a response's body: close the connection now, without an end of body."""


@dataclass
class Rule:
    """One rule and how often it was seen and fired. ValueError for a rule that could never mean anything."""

    match: dict[str, Any]
    fault: Fault
    count: int | None = None
    probability: float | None = None
    seed: int = 0
    seen: int = 0
    fired: int = 0
    _random: random.Random = field(init=False, repr=False)

    def __post_init__(self) -> None:
        if self.fault.get("kind") not in KINDS:
            raise ValueError(f"fault kind {self.fault.get('kind')!r} is none of {', '.join(sorted(KINDS))}")
        if unknown := set(self.match) - _MATCH:
            raise ValueError(f"match has unknown members: {', '.join(sorted(unknown))}")
        self._random = random.Random(self.seed)  # noqa: S311 - repeatable, not secret

    @classmethod
    def from_json(cls, body: dict[str, Any]) -> Rule:
        """A rule from the control API's JSON."""
        if unknown := set(body) - _RULE:
            raise ValueError(f"a rule has unknown members: {', '.join(sorted(unknown))}")
        return cls(
            dict(body.get("match", {})), dict(body["fault"]), body.get("count"), body.get("probability"),
            int(body.get("seed", 0)),
        )  # fmt: skip

    def to_json(self) -> dict[str, Any]:
        """The rule with its tallies."""
        return {
            "match": self.match, "fault": self.fault, "count": self.count, "probability": self.probability,
            "seed": self.seed, "seen": self.seen, "fired": self.fired,
        }  # fmt: skip

    def fires(self, method: str, path: str, query: dict[str, str]) -> bool:
        """Count the request if it is one of ours, and say whether the fault is to happen to it."""
        if not self._concerns(method, path, query):
            return False
        self.seen += 1
        nth, from_nth, every = (self.match.get(name) for name in ("nth", "from_nth", "every"))
        if nth is not None and self.seen not in (nth if isinstance(nth, list) else [nth]):
            return False
        if from_nth is not None and self.seen < from_nth:
            return False
        if every is not None and self.seen % every:
            return False
        if self.count is not None and self.fired >= self.count:
            return False
        if self.probability is not None and self._random.random() >= self.probability:
            return False
        self.fired += 1
        return True

    def _concerns(self, method: str, path: str, query: dict[str, str]) -> bool:
        match = self.match
        if "method" in match and match["method"].upper() != method:
            return False
        if "path" in match and not fnmatch.fnmatchcase(path, match["path"]):
            return False
        if "day" in match and not query.get("from_date", "~") <= match["day"] <= query.get("to_date", ""):
            return False
        return all(query.get(name) == value for name, value in match.get("query", {}).items())


class Faults:
    """The rules in force. A request asks once; several rules may fire for it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._rules: list[Rule] = []

    def add(self, rule: Rule) -> None:
        """Put a rule in force."""
        with self._lock:
            self._rules.append(rule)

    def clear(self) -> None:
        """No more faults."""
        with self._lock:
            self._rules.clear()

    def rules(self) -> list[dict[str, Any]]:
        """All rules with their tallies."""
        with self._lock:
            return [rule.to_json() for rule in self._rules]

    def of(self, method: str, path: str, query: dict[str, str]) -> list[Fault]:
        """The faults that this request meets, in the order in which the rules were added."""
        with self._lock:
            return [rule.fault for rule in self._rules if rule.fires(method, path, query)]


def pick(faults: list[Fault], *kinds: str) -> list[Fault]:
    """Those faults that are of one of the kinds."""
    return [fault for fault in faults if fault["kind"] in kinds]
