"""The way out of this machine: the one place that builds the HTTP clients of both worlds.

It reads the usual variables (docs/network.md): HTTPS_PROXY, HTTP_PROXY, ALL_PROXY and NO_PROXY in either case, and for
the certificate authorities to trust the first that is set of SSL_CERT_FILE, SSL_CERT_DIR and REQUESTS_CA_BUNDLE. What
is wrong with one of them is said in a sentence that names it, never with the credentials of a proxy. What belongs here
too: what a failed connection means, where the reason is a proxy or a certificate. What does not: which answers are
errors (the clients), and the object store's own client (`storage`).
"""

from __future__ import annotations

import contextlib
import datetime
import functools
import ipaddress
import os
import re
import ssl
from collections.abc import Iterator
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit
from urllib.request import getproxies

import httpcore
import httpx

from mixpanel_aep_assets.credential_text import trimmed
from mixpanel_aep_assets.errors import SettingsError

E = TypeVar("E", bound=BaseException)

TRUST_VARIABLES = ("SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE")
PROXY_SCHEMES = ("http", "https", "socks5", "socks5h")
INSTALL_SOCKS = "pip install 'mixpanel-aep-assets[socks]'"

SOCKS_TIMEOUT = 30.0
"""Seconds that a SOCKS proxy may take for each step of the greeting."""

_PROXY = "mixpanel_aep_assets.proxy"
"""Key of a request's extensions: the proxy that it goes through."""

_HASHED = re.compile(r"[0-9a-f]{8}\.\d+")
"""Names by which OpenSSL finds a certificate in a folder."""

# Codes of OpenSSL (x509_vfy.h): expired or not valid yet, another host or address.
_EXPIRED, _NOT_YET, _OTHER_HOST = 10, 9, frozenset({62, 64})


class NetworkSettingsWrong(SettingsError):
    """A variable of the network cannot be used as it is set. The text names it and what to set."""


@dataclass(frozen=True)
class Proxy:
    """A proxy as the environment names it: for `scheme` http, https or all."""

    scheme: str
    variable: str
    url: str = field(repr=False)

    def __str__(self) -> str:
        return f"{self.variable}={shown(self.url)}"

    @property
    def full_url(self) -> str:
        """With its scheme; a bare `host:port` is an HTTP proxy."""
        return self.url if "://" in self.url else f"http://{self.url}"

    def problem(self) -> str:
        """Why it cannot be used and what to do; empty where it can."""
        scheme = self.full_url.partition("://")[0].lower()
        if scheme not in PROXY_SCHEMES:
            return f"its scheme is none of {', '.join(PROXY_SCHEMES)}. Write it as http://host:port or socks5h://host:port."
        if reason := _malformed(self.full_url):
            return (
                f"{reason}. Write it as {scheme}://host:port, with special characters of a password as %XX (@ as %40)."
            )
        if scheme.startswith("socks") and not _socks_installed():
            return f"SOCKS proxies need one more package. Install it: {INSTALL_SOCKS}"
        return ""


@dataclass(frozen=True)
class Trust:
    """Where the trusted certificate authorities are read from; `variable` is None for those of the package certifi."""

    variable: str | None
    path: str

    def __str__(self) -> str:
        if self.variable is not None:
            return f"{self.variable}={self.path}"
        return f"the public authorities of the package certifi (none of {', '.join(TRUST_VARIABLES)} is set)"

    def context(self) -> ssl.SSLContext:
        """For clients. Raises NetworkSettingsWrong where the path holds no certificates that can be read."""
        folder = self.variable == "SSL_CERT_DIR" or (self.variable == "REQUESTS_CA_BUNDLE" and Path(self.path).is_dir())
        if folder:
            self._require_hashed_folder()
            return ssl.create_default_context(capath=self.path)
        try:
            with Path(self.path).open("rb") as file:
                state = os.fstat(file.fileno())
            return _context_of_file(self.path, (state.st_mtime_ns, state.st_size))
        except ssl.SSLError as error:
            raise self._wrong("holds no certificate in PEM form") from error
        except (OSError, ValueError) as error:
            raise self._wrong(f"cannot be read: {getattr(error, 'strerror', None) or error}") from error

    def _require_hashed_folder(self) -> None:
        """OpenSSL takes a list of folders and passes over what is not there; then every certificate is refused."""
        try:
            names = [name for path in self.path.split(os.pathsep) if Path(path).is_dir() for name in os.listdir(path)]  # noqa: PTH208
        except (OSError, ValueError) as error:
            raise self._wrong(f"cannot be read: {getattr(error, 'strerror', None) or error}") from error
        if not any(_HASHED.fullmatch(name) for name in names):
            exists = any(Path(path).is_dir() for path in self.path.split(os.pathsep))
            reason = "holds no certificate under its hash (`openssl rehash FOLDER` makes the links)"
            raise self._wrong(reason if exists else "is not a folder")

    def _wrong(self, reason: str) -> NetworkSettingsWrong:
        return NetworkSettingsWrong(
            f"{self.variable or 'certifi'}={self.path!r} {reason}. Set SSL_CERT_FILE to a PEM file of the certificate "
            f"authorities to trust, or unset {self.variable} to trust the public ones."
        )


@functools.lru_cache(maxsize=8)
def _context_of_file(path: str, state: tuple[int, int]) -> ssl.SSLContext:  # noqa: ARG001 - a changed file is read again
    """Shared by all clients of the process: reading the public authorities takes 60 ms."""
    return ssl.create_default_context(cafile=path)


@dataclass(frozen=True)
class Fault:
    """A failed connection whose reason is a proxy or a certificate. `passing`: another try may help."""

    what: str
    fix: str
    passing: bool


def client(*, transport: httpx.BaseTransport | None = None, limits: httpx.Limits, **given: Any) -> httpx.Client:
    """An HTTP client that goes the way the environment says; `given` are further options of httpx.Client.

    A proxy that cannot be used fails the requests that would go through it, not those to hosts that NO_PROXY names.
    Raises NetworkSettingsWrong for certificates that cannot be read and for a NO_PROXY that cannot be understood.
    """
    if transport is not None:
        return httpx.Client(transport=transport, limits=limits, trust_env=False, **given)
    context = trust().context()
    ways: dict[str, httpx.BaseTransport | None] = {}
    for proxy in proxies():
        problem = proxy.problem()
        ways[f"{proxy.scheme}://"] = _NoWay(f"{proxy}: {problem}") if problem else _Way(context, limits, proxy)
    if ways:
        ways |= dict.fromkeys(_direct(), None)
    return httpx.Client(transport=_Way(context, limits), mounts=ways, trust_env=False, **given)


def trust() -> Trust:
    """Where the certificate authorities come from."""
    for variable in TRUST_VARIABLES:
        if path := os.environ.get(variable):
            return Trust(variable, path)
    import certifi

    return Trust(None, certifi.where())


def proxies() -> list[Proxy]:
    """The proxies in force; none where NO_PROXY holds `*`."""
    found = getproxies()
    if "*" in _entries(found.get("no", "")):
        return []
    given = {scheme: trimmed(found.get(scheme, "")) for scheme in ("https", "http", "all")}
    return [Proxy(scheme, _variable(scheme), url) for scheme, url in given.items() if url]


def proxy_for(url: str) -> Proxy | None:
    """The proxy that requests to this address go through, None for the direct way."""
    with httpx.Client(trust_env=False, transport=_NoWay(""), mounts=_marks()) as asked:
        request = httpx.Request("GET", url)
        with contextlib.suppress(NetworkSettingsWrong):
            asked.send(request)
        return request.extensions.get(_PROXY)


def fault_of(error: httpx.TransportError) -> Fault | None:
    """What a failed connection means where a proxy or a certificate is the reason; None for every other reason."""
    request = _request(error)
    host = request.url.host if request is not None else "the server"
    proxy: Proxy | None = request.extensions.get(_PROXY) if request is not None else None
    if refused := _cause(error, ssl.SSLCertVerificationError):
        return _certificate_fault(refused, host, proxy)
    if proxy is None:
        return None
    reason = str(error).split("\n", 1)[0] or type(error).__name__
    if isinstance(error, httpx.ProxyError):
        return _proxy_fault(reason, host, proxy)
    if isinstance(error, httpx.ConnectError | httpx.ConnectTimeout) and not _cause(error, ssl.SSLError):
        why = "no answer in time" if isinstance(error, httpx.ConnectTimeout) else reason
        what = f"No connection to the proxy {proxy}: {why}"
        return Fault(what, f"Check {proxy.variable}; hosts that need no proxy belong into NO_PROXY.", passing=True)
    return None


def through(error: httpx.TransportError) -> str:
    """` through the proxy …` for an error of a request that went through one."""
    request = _request(error)
    proxy = request.extensions.get(_PROXY) if request is not None else None
    return f" through the proxy {proxy}" if proxy is not None else ""


def unknown_to_object_stores() -> list[str]:
    """What is set here and the object store's own client (`storage`, obstore) does not go by: SOCKS, another bundle."""
    found = [str(proxy) for proxy in proxies() if proxy.full_url.lower().startswith("socks")]
    source = trust()
    return [*found, str(source)] if source.variable == "REQUESTS_CA_BUNDLE" else found


def url_problem(url: str) -> str:
    """Why this cannot be the base URL of a service; empty where it can."""
    if not re.match(r"https?://", url) or _malformed(url):
        return "is not a URL"
    return "holds credentials, which have variables of their own" if urlsplit(url).username is not None else ""


def shown(url: str) -> str:
    """A URL as it may be printed: scheme, host and port; nothing of credentials, nor of what may be some."""
    written = re.match(r"([A-Za-z][A-Za-z0-9+.-]*)://", url)
    hidden, at, place = url[written.end() if written else 0 :].rpartition("@")
    place = re.split(r"[/?#]", place, maxsplit=1)[0]
    host, colon, port = place.rpartition(":")
    if colon and not port.isdigit() and not place.endswith("]"):  # of `http://name:password` the @ may be forgotten
        place = f"{host}:…"
    return f"{written[0] if written else ''}{'***@' if hidden or at else ''}{place}"


def without(text: str, *secrets: str) -> str:
    """The other side's text with the secrets that it may repeat left out."""
    for secret in secrets:
        if secret:
            text = text.replace(secret, "***")
    return text


def retry_after(value: str | None, longest: float, now: datetime.datetime | None = None) -> float | None:
    """Seconds that a `Retry-After` names, in either of its forms, `longest` at most; None where it says nothing usable."""
    value = (value or "").strip()
    if re.fullmatch(r"[0-9]+(\.[0-9]+)?", value):
        return min(float(value), longest)
    try:
        moment = parsedate_to_datetime(value)
    except (ValueError, TypeError, OverflowError):
        return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=datetime.UTC)
    seconds = (moment - (now or datetime.datetime.now(datetime.UTC))).total_seconds()
    return min(max(0.0, seconds), longest)


def is_page(text: str) -> bool:
    """Whether an answer is a page for people, which the APIs of both worlds never send: a front end or proxy answered."""
    return text.lstrip("\ufeff \t\r\n").startswith("<")


class _Stream(httpcore.NetworkStream):
    """A connection to a SOCKS proxy, whose greeting httpcore reads and writes without a time-out."""

    def __init__(self, inner: httpcore.NetworkStream) -> None:
        self._inner = inner

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        return self._inner.read(max_bytes, SOCKS_TIMEOUT if timeout is None else timeout)

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        self._inner.write(buffer, SOCKS_TIMEOUT if timeout is None else timeout)

    def close(self) -> None:
        self._inner.close()

    def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore.NetworkStream:
        return self._inner.start_tls(ssl_context, server_hostname, timeout)

    def get_extra_info(self, info: str) -> Any:
        return self._inner.get_extra_info(info)


class _Bounded(httpcore.SyncBackend):
    def connect_tcp(self, *given: Any, **named: Any) -> httpcore.NetworkStream:
        return _Stream(super().connect_tcp(*given, **named))


class _Way(httpx.HTTPTransport):
    """Connections straight or through one proxy. Only httpx's own errors come out of it."""

    def __init__(self, context: ssl.SSLContext, limits: httpx.Limits, proxy: Proxy | None = None) -> None:
        self._proxy = proxy
        inner = None
        if proxy is not None:
            over_tls = proxy.full_url.lower().startswith("https://")
            inner = httpx.Proxy(proxy.full_url, ssl_context=context if over_tls else None)
        super().__init__(verify=context, limits=limits, proxy=inner, trust_env=False)
        if isinstance(self._pool, httpcore.SOCKSProxy):  # httpx has no option for it
            self._pool._network_backend = _Bounded()

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        if self._proxy is not None:
            request.extensions[_PROXY] = self._proxy
        try:
            return super().handle_request(request)
        except UnicodeError as error:  # a label of the host name that is empty or longer than 63 characters
            raise httpx.ConnectError("The host name cannot be looked up", request=request) from error
        except httpx.HTTPError:
            raise
        except Exception as error:
            if self._proxy is None or not type(error).__module__.startswith("socksio"):
                raise
            raise httpx.ProxyError("What answers there is not a SOCKS proxy", request=request) from error


class _NoWay(httpx.BaseTransport):
    """In the place of a proxy that cannot be used."""

    def __init__(self, problem: str, proxy: Proxy | None = None) -> None:
        self._problem, self._proxy = problem, proxy

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        request.extensions[_PROXY] = self._proxy
        raise NetworkSettingsWrong(self._problem)


def _marks() -> dict[str, httpx.BaseTransport | None]:
    """The routes of `client`, which only name their proxy."""
    ways: dict[str, httpx.BaseTransport | None] = {f"{proxy.scheme}://": _NoWay("", proxy) for proxy in proxies()}
    return ways | dict.fromkeys(_direct(), None) if ways else {}


def _direct() -> Iterator[str]:
    """What NO_PROXY names, as patterns of httpx. A name covers its subdomains; networks (CIDR) are not known."""
    for entry in _entries(getproxies().get("no", "")):
        host = entry.removeprefix("*")
        if "://" in entry:
            pattern = entry
        elif port := re.search(r"[^:\]]:(80|443)$", host):  # httpx forgets the port that goes without saying
            pattern = f"{'http' if port[1] == '80' else 'https'}://*{host}"
        elif host.lower() == "localhost" or _is_address(host.partition("/")[0]):
            pattern = f"all://[{host}]" if ":" in host else f"all://{host}"
        else:
            pattern = f"all://*{host}"
        try:
            httpx.URL(pattern)
        except httpx.InvalidURL:
            raise NetworkSettingsWrong(
                f"{_variable('no')} has an entry that is not a host: {shown(entry)!r}. Write host names, addresses or "
                "host:port with commas between, or `*` for no proxy at all."
            ) from None
        yield pattern


def _entries(listed: str) -> list[str]:
    return [entry.strip() for entry in listed.split(",") if entry.strip()]


def _variable(scheme: str) -> str:
    """The variable that `getproxies` took the proxy from: lower case goes before upper case."""
    names = (f"{scheme}_proxy", f"{scheme}_proxy".upper())
    return next((name for name in names if os.environ.get(name)), "the system's proxy settings")


def _malformed(url: str) -> str:
    """What is wrong with a URL that begins with a scheme, in words that hold nothing of it."""
    try:
        parts = urlsplit(url)
        port = parts.port
        host = parts.hostname
    except ValueError as error:
        return "its port is not a number up to 65535" if "ort" in str(error) else "it is not a URL"
    if "@" in parts.path + parts.query + parts.fragment:
        return "it has an @ behind its host"
    if not host or port == 0:
        return "it names no host" if not host else "its port is 0"
    try:
        httpx.URL(url)
    except httpx.InvalidURL:
        return "it is not a URL"
    return "" if not re.search(r"[\s\x00-\x1f]", host) else "it has a blank in its host"


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def _socks_installed() -> bool:
    try:
        import socksio  # noqa: F401
    except ImportError:
        return False
    return True


def _request(error: httpx.TransportError) -> httpx.Request | None:
    try:
        return error.request
    except RuntimeError:
        return None


def _cause(error: BaseException | None, kind: type[E]) -> E | None:
    while error is not None:
        if isinstance(error, kind):
            return error
        error = error.__cause__ or error.__context__
    return None


def _certificate_fault(error: ssl.SSLCertVerificationError, host: str, proxy: Proxy | None) -> Fault:
    code, said = getattr(error, "verify_code", 0), getattr(error, "verify_message", "") or str(error)
    whose = f"The certificate of {host}" + (f", reached through the proxy {proxy}," if proxy is not None else "")
    against = f"Certificates are checked against {trust()}."
    if code in (_EXPIRED, _NOT_YET):
        what = f"{whose} has expired" if code == _EXPIRED else f"{whose} is not valid yet"
        fix = f"Whoever runs the host, or a proxy that opens TLS, must renew it; check this machine's clock too. {against}"
    elif code in _OTHER_HOST:
        what = f"{whose} is made out to another host: {said}"
        fix = (
            "Check the address: a wrong URL, name server or proxy leads to another server. No setting of SSL_CERT_FILE "
            f"helps here. {against}"
        )
    else:
        what = f"{whose} is not trusted: {said}"
        fix = (
            "Where a company's proxy opens TLS, or the host has a private authority, set SSL_CERT_FILE to a PEM file with "
            f"that authority's certificate (and the public ones, where they are needed too; docs/network.md). {against}"
        )
    return Fault(what, fix, passing=False)


def _proxy_fault(reason: str, host: str, proxy: Proxy) -> Fault:
    status = re.match(r"(\d{3})\b", reason)
    what = f"The proxy {proxy} does not connect to {host}: {reason}"
    if (status and status[1] == "407") or "auth" in reason.lower() or "password" in reason.lower():
        scheme = proxy.full_url.partition("://")[0]
        fix = f"The proxy wants a name and password: set {proxy.variable} to {scheme}://name:password@host:port."
        return Fault(what, fix, passing=False)
    fix = f"Ask whoever runs the proxy to let {host} pass, or name the host in NO_PROXY if it needs no proxy."
    return Fault(what, fix, passing=not (status and status[1].startswith("4")))
