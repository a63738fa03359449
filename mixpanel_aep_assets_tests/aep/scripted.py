"""A real HTTP server on loopback that answers by a script, for what no sane server does on demand."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

SECRET = "s3cr3t-of-the-client"
TOKEN = "eyJ.token-number-"


@dataclass
class Asked:
    """One request as it came in."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes


@dataclass
class Reply:
    """What is answered; `cut` closes the connection instead."""

    status: int = 200
    body: Any = None
    headers: dict[str, str] = field(default_factory=dict)
    cut: bool = False


@dataclass
class Script:
    """`answer` is asked for each Platform call; tokens are given out by themselves."""

    url: str
    answer: Callable[[Asked], Reply]
    asked: list[Asked] = field(default_factory=list)
    tokens: int = 0
    token_answers: list[Reply] = field(default_factory=list)
    expires_in: float = 86_399
    lock: threading.Lock = field(default_factory=threading.Lock)

    def calls(self, method: str | None = None) -> list[Asked]:
        return [a for a in self.asked if a.path != "/ims/token/v3" and method in (None, a.method)]

    def reply(self, asked: Asked) -> Reply:
        with self.lock:
            self.asked.append(asked)
            if asked.path == "/ims/token/v3":
                if self.token_answers:
                    return self.token_answers.pop(0)
                self.tokens += 1
                return Reply(body={"access_token": f"{TOKEN}{self.tokens}", "expires_in": self.expires_in})
        return self.answer(asked)


@contextmanager
def serving(answer: Callable[[Asked], Reply]) -> Iterator[Script]:
    """A running server with this script."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def handle_one_request(self) -> None:
            try:
                super().handle_one_request()
            except (ConnectionError, ValueError):
                self.close_connection = True

        def _any(self) -> None:
            body = self.rfile.read(int(self.headers.get("content-length") or 0))
            headers = {k.lower(): v for k, v in self.headers.items()}
            reply = script.reply(Asked(self.command, self.path, headers, body))
            if reply.cut:
                self.close_connection = True
                self.connection.close()
                return
            data = reply.body if isinstance(reply.body, bytes) else b""
            if reply.body is not None and not isinstance(reply.body, bytes):
                data = json.dumps(reply.body).encode()
            self.send_response(reply.status)
            for name, value in {"Content-Length": str(len(data)), **reply.headers}.items():
                self.send_header(name, value)
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(data)

        do_GET = do_POST = do_PUT = do_PATCH = do_HEAD = _any  # noqa: N815

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
            return

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    script = Script(f"http://127.0.0.1:{server.server_port}", answer)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield script
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
