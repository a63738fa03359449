#!/usr/bin/env python3
"""The Export API on 127.0.0.1, from days that events.py made: bench/server.py --data DIR

The first line of standard output is the base URL; runs until it is ended. The files are compressed beforehand and sent
with sendfile, so that the server takes next to no CPU. Beside the export: the daily counts of the Query API, and empty
answers for what peers ask before they export. Unlike Mixpanel: no TLS, no rate limit, no filters.
"""

from __future__ import annotations

import argparse
import contextlib
import datetime
import json
import os
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

CHUNK = 64 << 10


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    data: Path

    def do_GET(self) -> None:
        url = urlsplit(self.path)
        query = {name: values[-1] for name, values in parse_qs(url.query).items()}
        if "Authorization" not in self.headers:
            return self.answer({"error": "Unable to authenticate request"}, 401)
        try:
            if url.path == "/api/2.0/export":
                return self.export(days(query))
            if url.path == "/api/query/events":
                return self.answer({"data": {"values": self.counts(days(query))}})
        except (KeyError, ValueError):
            return self.answer({"error": "from_date and to_date are needed"}, 400)
        return self.answer({"results": [], "status": "ok"})

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.do_GET()

    def export(self, days: list[str]) -> None:
        """The days' files one behind the other, each of whole gzip members."""
        self.send_response(200)
        self.send_header("Content-Type", "text/plain; charset=utf-8")
        self.send_header("Transfer-Encoding", "chunked")
        suffix = ".ndjson"
        if "gzip" in self.headers.get("Accept-Encoding", ""):
            self.send_header("Content-Encoding", "gzip")
            suffix = ".ndjson.gz"
        self.end_headers()
        for day in days:
            path = self.data / f"{day}{suffix}"
            if path.exists():
                self.send_chunks(path)
        self.wfile.write(b"0\r\n\r\n")

    def send_chunks(self, path: Path) -> None:
        with path.open("rb") as file:
            size, sent = path.stat().st_size, 0
            while sent < size:
                end = min(sent + CHUNK, size)
                self.wfile.write(b"%x\r\n" % (end - sent))
                while sent < end:
                    sent += os.sendfile(self.connection.fileno(), file.fileno(), sent, end - sent)
                self.wfile.write(b"\r\n")

    def counts(self, days: list[str]) -> dict[str, dict[str, int]]:
        found: dict[str, dict[str, int]] = {}
        for day in days:
            about = self.data / f"{day}.json"
            names = json.loads(about.read_text())["names"] if about.exists() else {}
            for name, events in names.items():
                found.setdefault(name, {})[day] = events
        return found

    def answer(self, value: Any, status: int = 200) -> None:
        body = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class's name
        pass


class Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that was ended in the middle of an answer is no news."""


def days(query: dict[str, str]) -> list[str]:
    first, last = (datetime.date.fromisoformat(query[name]) for name in ("from_date", "to_date"))
    return [(first + datetime.timedelta(number)).isoformat() for number in range((last - first).days + 1)]


def listen(data: Path, port: int = 0) -> Server:
    """A server that is ready but does not serve yet; its URL is `url(server)`."""
    handler = type("Handler", (Handler,), {"data": data})
    return Server(("127.0.0.1", port), handler)


def url(server: Server) -> str:
    return f"http://127.0.0.1:{server.server_port}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True, type=Path)
    parser.add_argument("--port", type=int, default=0, help="0 takes a free port")
    args = parser.parse_args()
    with listen(args.data, args.port) as server, contextlib.suppress(KeyboardInterrupt):
        print(url(server), flush=True)
        server.serve_forever()


if __name__ == "__main__":
    main()
