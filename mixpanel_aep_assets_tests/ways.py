"""What stands between a client and a server: proxies that let pass or refuse, a front that speaks TLS, certificates."""

from __future__ import annotations

import contextlib
import shutil
import socket
import ssl
import subprocess
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

NETWORK_VARIABLES = frozenset(
    {"HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY", "SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE"}
)


def without_network_settings(environment: dict[str, str]) -> dict[str, str]:
    """The environment without what a test machine may set of proxies and certificates."""
    return {name: value for name, value in environment.items() if name.upper() not in NETWORK_VARIABLES}


@contextlib.contextmanager
def listening(serve: Callable[[socket.socket], None]) -> Iterator[int]:
    """A server on a free port of loopback, whose connections are served in threads; gives the port."""

    def accept() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            threading.Thread(target=guarded, args=(connection,), daemon=True).start()

    def guarded(connection: socket.socket) -> None:
        with connection, contextlib.suppress(OSError):
            serve(connection)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=accept, daemon=True)
        thread.start()
        try:
            yield listener.getsockname()[1]
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            thread.join()


def relay(one: socket.socket, other: socket.socket) -> None:
    """Carries bytes both ways until either side ends."""

    def carry(source: socket.socket, target: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                target.sendall(data)
        for end in (source, target):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    back = threading.Thread(target=carry, args=(other, one), daemon=True)
    back.start()
    carry(one, other)
    back.join()


def _head(connection: socket.socket) -> bytes:
    head = b""
    while b"\r\n\r\n" not in head and (data := connection.recv(65536)):
        head += data
    return head


@contextlib.contextmanager
def http_proxy(answer: bytes | None = None, asked: list[bytes] | None = None) -> Iterator[str]:
    """An HTTP proxy, CONNECT and plain; it gives `answer` to everything where that is given. `asked` takes the heads."""

    def serve(connection: socket.socket) -> None:
        head = _head(connection)
        if asked is not None:
            asked.append(head)
        if answer is not None:
            connection.sendall(answer)
            return
        method, target, _ = head.split(b" ", 2)
        if method == b"CONNECT":
            host, _, port = target.decode().rpartition(":")
            with socket.create_connection((host, int(port))) as other:
                connection.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
                relay(connection, other)
            return
        place = urlsplit(target.decode())
        with socket.create_connection((place.hostname or "", place.port or 80)) as other:
            other.sendall(head)
            relay(connection, other)

    with listening(serve) as port:
        yield f"127.0.0.1:{port}"


@contextlib.contextmanager
def socks_proxy(reply: int = 0, method: int = 0, asked: list[bytes] | None = None) -> Iterator[str]:
    """A SOCKS 5 proxy that takes the sign-in `method` (0: none) and answers CONNECT with `reply` (0: connected)."""

    def serve(connection: socket.socket) -> None:
        connection.recv(262)
        connection.sendall(bytes((5, method)))
        request = connection.recv(262)
        if asked is not None:
            asked.append(request)
        if len(request) < 7:
            return
        kind, rest = request[3], request[4:]
        host = socket.inet_ntoa(rest[:4]) if kind == 1 else rest[1 : 1 + rest[0]].decode()
        connection.sendall(bytes((5, reply, 0, 1, 0, 0, 0, 0, 0, 0)))
        if reply == 0:
            with socket.create_connection((host, int.from_bytes(request[-2:], "big"))) as other:
                relay(connection, other)

    with listening(serve) as port:
        yield f"127.0.0.1:{port}"


def closed_port() -> str:
    """An address on which nothing listens."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return f"127.0.0.1:{listener.getsockname()[1]}"


@dataclass(frozen=True)
class Certificates:
    """An authority and what it signed for localhost: one that holds, one that has expired, one for another host; and one
    that signed itself. Each is a file of certificate and key."""

    folder: Path

    @property
    def authority(self) -> Path:
        return self.folder / "authority.pem"

    def of(self, name: str) -> Path:
        return self.folder / f"{name}.both"


def make_certificates(folder: Path) -> Certificates:
    """By the command openssl."""
    key = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")
    here = "subjectAltName=DNS:localhost,IP:127.0.0.1\n"

    def openssl(*arguments: str) -> None:
        subprocess.run(["openssl", *arguments], cwd=folder, check=True, capture_output=True)

    openssl(
        "req", "-x509", *key, "-keyout", "authority.key", "-out", "authority.pem", "-days", "9", "-subj", "/CN=Ours"
    )
    for name, days, extension in (
        ("good", "9", here),
        ("expired", "-1", here),
        ("other-host", "9", "subjectAltName=DNS:elsewhere.example\n"),
    ):
        (folder / "extension").write_text(extension)
        openssl("req", *key, "-keyout", f"{name}.key", "-out", f"{name}.csr", "-subj", "/CN=localhost")
        openssl("x509", "-req", "-in", f"{name}.csr", "-CA", "authority.pem", "-CAkey", "authority.key",
                "-CAcreateserial", "-days", days, "-extfile", "extension", "-out", f"{name}.pem")  # fmt: skip
    openssl("req", "-x509", *key, "-keyout", "self-signed.key", "-out", "self-signed.pem", "-days", "9",
            "-subj", "/CN=localhost", "-addext", here.strip())  # fmt: skip
    for name in ("good", "expired", "other-host", "self-signed"):
        (folder / f"{name}.both").write_bytes(
            (folder / f"{name}.pem").read_bytes() + (folder / f"{name}.key").read_bytes()
        )
    return Certificates(folder)


HAS_OPENSSL = shutil.which("openssl") is not None


@contextlib.contextmanager
def tls_front(certificate: Path, url: str) -> Iterator[str]:
    """An address with https:// that carries everything to the server at `url`."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    place = urlsplit(url)

    def serve(connection: socket.socket) -> None:
        try:
            inner = context.wrap_socket(connection, server_side=True)
        except (ssl.SSLError, OSError):
            return
        with inner, socket.create_connection((place.hostname or "", place.port or 80)) as other:
            relay(inner, other)

    with listening(serve) as port:
        yield f"https://localhost:{port}"
