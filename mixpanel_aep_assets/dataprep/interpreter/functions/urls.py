"""URL functions. Parts are given as they are written: no case folding, no decoding."""

from __future__ import annotations

import re
from typing import Any, Final
from urllib.parse import SplitResult, quote, unquote, urlsplit

from mixpanel_aep_assets.dataprep.interpreter.functions.function_registry import Kind, function
from mixpanel_aep_assets.dataprep.interpreter.values import parts_of, shown
from mixpanel_aep_assets.dataprep.language.mapping_errors import EvaluationError

_DEFAULT_PORTS: Final = {"http": 80, "https": 443, "ftp": 21, "ftps": 990, "sftp": 22, "ssh": 22, "ws": 80, "wss": 443}
_NOT_IN_A_URL: Final = re.compile(r"[\s\x00-\x1f<>\"{}|\\^`]")
_ANCHORS: Final = ("retain", "remove", "append")
_PORT: Final = re.compile(r":(\d*)$")


def _parts(url: str) -> SplitResult | None:
    """The parts of an absolute URL, or None for anything else."""
    if _NOT_IN_A_URL.search(url):
        return None
    try:
        parts = urlsplit(url)
    except ValueError:
        return None
    return parts if parts.scheme and (parts.netloc or parts.path) else None


def _host_and_port(parts: SplitResult) -> tuple[str | None, int | None]:
    authority = parts.netloc.rpartition("@")[2]
    found = _PORT.search(authority)
    if found is None:
        return authority or None, None
    host = authority[: found.start()]
    port = int(found[1]) if found[1] and len(found[1]) <= len("65535") else None
    return host or None, port if port is not None and port < 1 << 16 else None


@function("get_url_protocol", category="url", takes=(Kind.TEXT,), gives=Kind.TEXT, null_in=(0,))
def get_url_protocol(url: str) -> str | None:
    parts = _parts(url)
    return None if parts is None else url.partition(":")[0]


@function("get_url_host", category="url", takes=(Kind.TEXT,), gives=Kind.TEXT, null_in=(0,))
def get_url_host(url: str) -> str | None:
    parts = _parts(url)
    return None if parts is None else _host_and_port(parts)[0]


@function("get_url_port", category="url", takes=(Kind.TEXT,), gives=Kind.INTEGER, null_in=(0,))
def get_url_port(url: str) -> int | None:
    """The written port, else the default port of the scheme, else null."""
    parts = _parts(url)
    if parts is None:
        return None
    port = _host_and_port(parts)[1]
    return _DEFAULT_PORTS.get(parts.scheme) if port is None else port


@function("get_url_path", category="url", takes=(Kind.TEXT, Kind.BOOLEAN), gives=Kind.TEXT, required=1, null_in=(0,))
def get_url_path(url: str, full: bool | None = True) -> str | None:
    """The path with its slashes; when `full` is false only what follows the last slash. Null for no URL."""
    parts = _parts(url)
    if parts is None:
        return None
    return parts.path.rpartition("/")[2] if full is False else parts.path


def check_anchor(anchor: Any) -> None:
    """Raises EvaluationError for a constant that is no way to treat the anchor."""
    if anchor not in _ANCHORS:
        raise EvaluationError(f"the anchor option is {' or '.join(_ANCHORS)}, found {shown(anchor)}")


@function(
    "get_url_query_str",
    category="url",
    takes=(Kind.TEXT, Kind.TEXT),
    gives=Kind.OBJECT,
    null_in=(0, 1),
    constants={1: check_anchor},
)
def get_url_query_str(url: str, anchor: str) -> dict[str, str]:
    """The parameters as written; of a repeated name the last value stays. Without a query an empty map."""
    check_anchor(anchor)
    before, mark, fragment = url.partition("#")
    pairs = [pair.partition("=") for pair in parts_of(before.partition("?")[2], "&") if pair]
    parameters = {name: value for name, _, value in pairs}
    if mark and anchor == "retain" and pairs:
        parameters[pairs[-1][0]] += mark + fragment
    if mark and anchor == "append":
        parameters["_anchor_"] = fragment
    return parameters


@function("get_url_encoded", category="url", takes=(Kind.TEXT,), gives=Kind.TEXT, null_in=(0,))
def get_url_encoded(text: str) -> str:
    """Percent-encodes everything but letters, digits, `-`, `_` and `.`; the space is %20."""
    return quote(text, safe="").replace("~", "%7E")


@function("get_url_decoded", category="url", takes=(Kind.TEXT,), gives=Kind.TEXT, null_in=(0,))
def get_url_decoded(text: str) -> str:
    """Undoes percent-encoding (UTF-8). A plus sign stays, since encoding never makes one."""
    return unquote(text)
