"""The Python face of the control routes, for tests and the demo."""

from __future__ import annotations

import ssl
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType
from typing import Any, cast

import httpx

from mixpanel_aep_assets.emulator.mixpanel.selection import dump

Json = dict[str, Any]
TIMEOUT = 120.0

NO_AUTHORITIES = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
"""The emulator speaks plain HTTP; reading the public certificate authorities takes 60 ms a client."""


class ControlError(Exception):
    """The emulator refused a control call; the text is its reason."""


class Control:
    """Seed, break, steer and read an emulator at `url`."""

    def __init__(self, url: str) -> None:
        self.url = url.rstrip("/")
        self._http = httpx.Client(
            base_url=f"{self.url}/_emulator/", timeout=TIMEOUT, trust_env=False, verify=NO_AUTHORITIES
        )

    def __enter__(self) -> Control:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def health(self) -> Json:
        """Raises httpx.TransportError while the server is not there."""
        return cast("Json", self._call("GET", "health"))

    def reset(self) -> None:
        """Back to the first moment."""
        self._call("POST", "reset")

    def settings(self, **changes: Any) -> Json:
        """Set the named switches (see `settings.Settings`); returns all."""
        return cast("Json", self._call("PATCH", "settings", json=changes))

    def fault(self, kind: str, *, match: Json | None = None, count: int | None = None, probability: float | None = None,
              seed: int = 0, **details: Any) -> None:  # fmt: skip
        """Put one fault rule in force: `control.fault("status", match={"path": "*/export", "nth": 1}, status=500)`."""
        rule: Json = {"match": match or {}, "fault": {"kind": kind, **details}, "seed": seed}
        if count is not None:
            rule["count"] = count
        if probability is not None:
            rule["probability"] = probability
        self._call("POST", "faults", json=rule)

    def faults(self) -> list[Json]:
        """The rules in force, each with `seen` and `fired`."""
        return cast("list[Json]", self._call("GET", "faults"))

    def clear_faults(self) -> None:
        """Lift all faults."""
        self._call("DELETE", "faults")

    def counters(self) -> Json:
        """The tallies: requests, statuses, peak_concurrency, refused_429, bytes_sent, bytes_received, peaks, faults."""
        return cast("Json", self._call("GET", "counters"))

    def reset_counters(self) -> None:
        """All tallies to nought."""
        self._call("DELETE", "counters")

    def requests(self, after: int = 0) -> list[Json]:
        """The last requests: number, endpoint, method, path, query, status, time, sent, received, faults."""
        return cast("list[Json]", self._call("GET", "requests", params={"after": after}))

    def clock(self, **steps: Any) -> Json:
        """Read the clock, or steer it: `set=`, `freeze=` (True or a moment), `step=` seconds, `run=True`."""
        return cast("Json", self._call("POST", "clock", json=steps) if steps else self._call("GET", "clock"))

    def project(self, **members: Any) -> Json:
        """Make or change a project: id, region, secret, timezone, mode ("utc" or "legacy"), plan, classified, merges."""
        return cast("Json", self._call("POST", "mixpanel/projects", json=members))

    def account(self, **members: Any) -> Json:
        """Make or change a service account: username, secret, expires, projects {id: role}, sensitive, user_details."""
        return cast("Json", self._call("POST", "mixpanel/accounts", json=members))

    def bearer(self, **members: Any) -> Json:
        """Make a bearer token: token, projects."""
        return cast("Json", self._call("POST", "mixpanel/bearers", json=members))

    def seed_events(self, events: Iterable[Json], project: int = 12345) -> int:
        """Ingest model events; `properties.time` is true UTC in s or ms. Returns how many."""
        answer = self._call("POST", "mixpanel/events", params={"project": project}, json=list(events))
        return int(cast("Json", answer)["stored"])

    def seed_day(
        self, day: str, lines: bytes | str | Path | Iterable[Json], project: int = 12345, *, append: bool = False
    ) -> Json:
        """Make the lines the verbatim body of the request day: bytes or text as they are, a file in place, or events."""
        params: dict[str, Any] = {"project": project, "day": day, "append": str(append).lower()}
        if isinstance(lines, Path):
            return cast("Json", self._call("POST", "mixpanel/days", params={**params, "path": str(lines.resolve())}))
        if isinstance(lines, str):
            content = lines.encode()
        elif isinstance(lines, bytes):
            content = lines
        else:
            content = b"".join(map(dump, lines))
        return cast("Json", self._call("POST", "mixpanel/days", params=params, content=content))

    def clear_events(self, day: str | None = None, project: int = 12345) -> None:
        """Forget the project's events, or those of one day."""
        self._call("DELETE", "mixpanel/events", params={"project": project} | ({"day": day} if day else {}))

    def adobe_client(self, **members: Any) -> Json:
        """Make or change an OAuth client: id, secrets, org, tenant, sandboxes, entitled."""
        return cast("Json", self._call("POST", "platform/clients", json=members))

    def expire_tokens(self) -> None:
        """All access tokens are void from now on."""
        self._call("POST", "platform/tokens/expire")

    def settle(self) -> None:
        """Bring all completed batches to their final state now."""
        self._call("POST", "platform/settle")

    def recover(self, batch: str) -> None:
        """Mend a stalled batch."""
        self._call("POST", f"platform/recover/{batch}")

    def books(self, dataset: str | None = None, *, ids: bool = False) -> Json:
        """What is live in the dataset (see `platform.books`)."""
        params = {"ids": str(ids).lower()} | ({"dataset": dataset} if dataset else {})
        return cast("Json", self._call("GET", "books", params=params))

    def held(self, wait: float = 0) -> int:
        """How many requests a `hold` fault holds; waits up to `wait` seconds for the first."""
        return int(cast("Json", self._call("GET", "held", params={"wait": wait}))["held"])

    def release(self) -> None:
        """Let all held requests go on."""
        self._call("POST", "release")

    def _call(self, method: str, path: str, **arguments: Any) -> Any:
        response = self._http.request(method, path, **arguments)
        if response.is_error:
            raise ControlError(f"{method} {path}: {response.status_code} {response.text}")
        return response.json() if response.content else None
