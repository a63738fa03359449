"""The requests of a day's whole way, by step, and what can go wrong with one."""

from __future__ import annotations

from typing import Any

Rule = dict[str, Any]

_IMPORT = "/data/foundation/import/batches"
_CATALOG = "/data/foundation/catalog"

MIXPANEL: dict[str, Rule] = {
    "project": {"path": "/api/app/me"},
    "export": {"path": "/api/2.0/export"},
}
PLATFORM: dict[str, Rule] = {
    "token": {"path": "/ims/token/v3"},
    "tenant": {"path": "*/schemaregistry/stats"},
    "datasets": {"path": f"{_CATALOG}/dataSets"},
    "dataset": {"path": f"{_CATALOG}/dataSets/*"},
    "schema": {"path": "*/tenant/schemas/*"},
    "look-up of the partition": {"path": f"{_CATALOG}/batches", "from_nth": 1},
    "look-up of the external id": {"path": f"{_CATALOG}/batches", "from_nth": 2},
    "look-up of the day's batches": {"path": f"{_CATALOG}/batches", "from_nth": 3},
    "create": {"path": _IMPORT, "method": "POST"},
    "file": {"path": f"{_IMPORT}/*/files/*", "method": "PUT"},
    "complete": {"path": f"{_IMPORT}/*", "query": {"action": "COMPLETE"}},
    "batch status": {"path": f"{_CATALOG}/batches/*"},
}
IN_CHUNKS: dict[str, Rule] = {
    "begin of a large file": {"path": "*/files/*", "query": {"action": "INITIALIZE"}},
    "first chunk": {"path": "*/files/*", "method": "PATCH", "from_nth": 1},
    "second chunk": {"path": "*/files/*", "method": "PATCH", "from_nth": 2},
    "end of a large file": {"path": "*/files/*", "query": {"action": "COMPLETE"}},
}
"""With `way.IN_CHUNKS` only."""

STEPS = MIXPANEL | PLATFORM | IN_CHUNKS

FAULTS: dict[str, Rule] = {
    "500": {"kind": "status", "status": 500},
    "503": {"kind": "status", "status": 503, "retry_after": 0},
    "429": {"kind": "status", "status": 429, "retry_after": 0},
    "a proxy's page": {"kind": "html"},
    "drop": {"kind": "drop"},
    "lost answer": {"kind": "lost_response"},
    "cut answer": {"kind": "cut_response", "after_bytes": 40},
}
"""What any request can meet."""

TOKEN_LOST: Rule = {"kind": "expired_token"}
"""What any request to the Platform's gateway can meet."""

TORN: dict[str, Rule] = {
    "terminated early": {"kind": "early", "after_lines": 5},
    "export terminated early without newline": {
        "kind": "early", "after_lines": 7, "text": "export terminated early", "newline": False,
    },
    "cut on the wire": {"kind": "cut", "after_bytes": 300},
    "cut before the last chunk": {"kind": "cut"},
    "clean end in a line": {"kind": "clean_cut", "after_bytes": 700},
    "clean end in gzip": {"kind": "clean_cut", "wire_bytes": 200},
}  # fmt: skip
"""Bodies of the export that are not whole."""

REFUSALS: dict[str, Rule] = {
    "refused credentials": {"kind": "auth400"},
    "an expired account": {"kind": "expired"},
}
"""How the export refuses an account."""

OTHER_DAYS: dict[str, Rule] = {
    "nothing": {"kind": "empty"},
    "doubled rows": {"kind": "dups", "every": 3},
    "rows that come late": {"kind": "late", "share": 0.4},
    "rows that vanish": {"kind": "vanish", "share": 0.6},
    "merged identities": {"kind": "merge", "ids": {"u1": "u2", "u3": "u4"}},
    "broken lines": {"kind": "badline", "lines": ["half", "null", "utf8", "nan"], "at": 4},
    "a line of a megabyte": {"kind": "bigline", "bytes": 1_000_000},
    "times as text": {"kind": "iso_time"},
}
"""Whole bodies that are not the day as it will be."""

WORSE: dict[str, Rule] = {
    "empty answer": {"kind": "empty"},
    "short answer": {"kind": "short", "after_lines": 8},
}
"""Whole bodies that lack events which the day still has."""

NO_COUNT: Rule = {"kind": "status", "status": 402}
"""What a plan without the Query API answers to it."""

BATCHES: dict[str, Rule] = {
    "retrying": {"kind": "batch", "outcome": "retrying", "seconds": 0.2},
    "stalled": {"kind": "batch", "outcome": "stalled", "seconds": 0.2},
    "slow": {"kind": "batch", "outcome": "slow", "seconds": 0.2},
}
"""What the Platform can do with a batch that it has taken."""
