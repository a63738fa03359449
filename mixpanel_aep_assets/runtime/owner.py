"""Who holds a claim, and whether that process is certainly dead.

A process is named by host, process id, start time and, where the kernel tells, the boot and the process namespace,
because containers share host names and process ids. What does not belong here: the claims (`receipts`).
"""

from __future__ import annotations

import functools
import os
import socket
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import psutil

START_TOLERANCE = 2.0
"""Seconds by which two readings of a process's start time may differ (the clock may be set between them)."""

_living: set[str] = set()
"""Tokens of the claims that this process holds."""


@dataclass(frozen=True)
class Owner:
    host: str
    pid: int
    started: float
    space: str = ""

    @classmethod
    def this(cls) -> Owner:
        return cls(socket.gethostname(), os.getpid(), psutil.Process().create_time(), _space())

    @classmethod
    def of(cls, body: Mapping[str, Any]) -> Owner:
        return cls(str(body["host"]), int(body["pid"]), float(body["started"]), str(body.get("space", "")))

    def as_json(self) -> dict[str, object]:
        return asdict(self)

    def is_dead(self, token: str) -> bool:
        """True only if this host can see that the claim's owner lives no more; never guessed for another host."""
        if self.host != socket.gethostname() or self.space != _space():
            return False
        if self.pid == os.getpid() and abs(self.started - psutil.Process().create_time()) <= START_TOLERANCE:
            return token not in _living
        try:
            process = psutil.Process(self.pid)
            another = abs(process.create_time() - self.started) > START_TOLERANCE
            return another or process.status() == psutil.STATUS_ZOMBIE
        except psutil.NoSuchProcess:
            return True
        except psutil.Error:
            return False

    @staticmethod
    def living(token: str) -> None:
        """This process holds the claim of that token from now on."""
        _living.add(token)

    @staticmethod
    def ended(token: str) -> None:
        """And from now on no more."""
        _living.discard(token)


@functools.cache
def _space() -> str:
    """What makes process ids comparable: the boot and the process namespace. Empty where the system has neither."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot}/{Path('/proc/self/ns/pid').readlink()}"
    except OSError:
        return ""
