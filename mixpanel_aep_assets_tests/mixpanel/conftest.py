"""A server that sends byte-exact answers, good and bad, over real HTTP; a client for it that never waits long."""

from __future__ import annotations

import gzip
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import polars as pl
import pytest
from pydantic import SecretStr

from mixpanel_aep_assets.mixpanel import lines_of_other_days
from mixpanel_aep_assets.mixpanel.budget import Budget, open_budget
from mixpanel_aep_assets.mixpanel.client import MixpanelClient
from mixpanel_aep_assets.mixpanel.export_retry import Retry
from mixpanel_aep_assets.mixpanel.source_settings import Credentials, MixpanelSource
from mixpanel_aep_assets.storage import Day, open_storage

DAY = "2026-01-10"


def outside_of(day: Day, first: str = DAY, last: str = "") -> pl.DataFrame:
    """The lines that are kept with a request, of the connection that `day` is of."""
    request = day.beside(lines_of_other_days.TABLE, f"{first}_{last or first}")
    return pl.concat([_NOTHING, *(pl.read_parquet(path) for path in request.locations(kind="quarantine"))])


_NOTHING = pl.DataFrame(pl.from_arrow(lines_of_other_days.SCHEMA.empty_table()))


class Scripted:
    """Answers the n-th request with the n-th of `answers` (the last one for all further ones), then closes."""

    def __init__(self) -> None:
        self.answers: list[bytes] = []
        self.requests: list[str] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def query(self, index: int = -1) -> dict[str, str]:
        target = self.requests[index].split(" ")[1]
        return {name: values[-1] for name, values in parse_qs(urlsplit(target).query).items()}

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            with connection:
                head = b""
                while b"\r\n\r\n" not in head and (data := connection.recv(65536)):
                    head += data
                    if not head.startswith(b"G"):  # no HTTP: a TLS hello
                        break
                self.requests.append(head.decode("latin-1"))
                number = min(len(self.requests), len(self.answers)) - 1
                try:
                    connection.sendall(self.answers[number])
                    connection.shutdown(socket.SHUT_WR)
                    while connection.recv(65536):
                        pass
                except OSError:
                    pass


def answer(
    body: bytes,
    status: str = "200 OK",
    *,
    packed: bool = False,
    chunk: int = 4096,
    headers: dict[str, str] | None = None,
    last_chunk: bool = True,
    cut: int | None = None,
) -> bytes:
    """An HTTP answer in chunks; without the last chunk, or with only the first `cut` bytes of the coded body, it is torn."""
    coded = gzip.compress(body) if packed else body
    head = {"Content-Type": "text/plain", "Transfer-Encoding": "chunked", "Connection": "close", **(headers or {})}
    if packed:
        head["Content-Encoding"] = "gzip"
    if cut is not None:
        coded = coded[:cut]
    pieces = [coded[at : at + chunk] for at in range(0, len(coded), chunk)]
    sent = b"".join(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in pieces)
    lines = "".join(f"{name}: {value}\r\n" for name, value in head.items())
    return f"HTTP/1.1 {status}\r\n{lines}\r\n".encode() + sent + (b"0\r\n\r\n" if last_chunk else b"")


def event(number: int, name: str = "Purchase", /, **more: object) -> bytes:
    """A plain line; `more` are further properties."""
    import json

    properties = {"time": 1768024800000 + number, "distinct_id": f"U{number}", "$insert_id": f"id-{number}", **more}
    return (
        json.dumps({"event": name, "properties": properties}, separators=(",", ":"), ensure_ascii=False).encode()
        + b"\n"
    )


@pytest.fixture
def server() -> Iterator[Scripted]:
    scripted = Scripted()
    yield scripted
    scripted.close()


@pytest.fixture
def budget(tmp_path: Path) -> Budget:
    return open_budget("test", location=str(tmp_path / "budget.sqlite"), sleep=lambda _: None)


class Unlimited(Budget):
    """Counts pauses only, so that tests need not wait for the next second."""

    def __init__(self) -> None:
        self.pauses: list[float | None] = []

    def acquire(self) -> None:
        return

    def pause(self, seconds: float | None) -> float:
        self.pauses.append(seconds)
        return 60.0 if seconds is None else seconds

    def hour_is_full(self) -> float:
        return 3_600.0

    def went_well(self) -> None:
        return


NO_WAIT = Retry(tries=3, first=0.0, longest=0.0, jitter=(0.0, 0.0), sleep=lambda _: None)


def source(url: str, **more: Any) -> MixpanelSource:
    given: dict[str, Any] = {
        "credentials": Credentials("user", SecretStr("hunter2-secret")),
        "project_id": 7,
        "export_url": url,
        "api_url": url,
        "timezone": "UTC",
        **more,
    }
    return MixpanelSource(**given)


@pytest.fixture
def client(server: Scripted) -> Iterator[MixpanelClient]:
    with MixpanelClient(source(server.url), budget=Unlimited()) as made:
        yield made


@pytest.fixture
def day(tmp_path: Path) -> Day:
    return open_storage(str(tmp_path / "data")).day("shop", "raw_events", DAY)


@pytest.fixture
def make_client(server: Scripted) -> Iterator[Callable[..., MixpanelClient]]:
    made: list[MixpanelClient] = []

    def make(**more: object) -> MixpanelClient:
        made.append(MixpanelClient(source(server.url, **more), budget=Unlimited()))
        return made[-1]

    yield make
    for one in made:
        one.close()
