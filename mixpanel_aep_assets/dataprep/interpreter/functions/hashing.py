"""Hash functions: lower-case hexadecimal of a string in a character set."""

from __future__ import annotations

import codecs
import hashlib
import zlib
from collections.abc import Callable
from typing import Any, Final

from mixpanel_aep_assets.dataprep.interpreter.functions.function_registry import Kind, function
from mixpanel_aep_assets.dataprep.interpreter.values import kind_of, shown
from mixpanel_aep_assets.dataprep.language.mapping_errors import EvaluationError, nearest

_CHARSETS: Final = {
    "UTF-8": "utf-8",
    "UTF8": "utf-8",
    "UTF-16": "utf-16-be",
    "UTF-16BE": "utf-16-be",
    "UTF-16LE": "utf-16-le",
    "ISO-8859-1": "latin-1",
    "LATIN1": "latin-1",
    "US-ASCII": "ascii",
    "ASCII": "ascii",
}


def _bytes(text: str, charset: str | None) -> bytes:
    """As Java's `getBytes`: UTF-16 is big-endian with a mark, a character outside the set becomes `?`."""
    name = (charset or "UTF-8").upper()
    if name not in _CHARSETS:
        raise EvaluationError(
            f"the character set {shown(charset)} is unknown, expected UTF-8, UTF-16, ISO-8859-1 or US-ASCII"
        )
    data = text.encode(_CHARSETS[name], errors="replace")
    return codecs.BOM_UTF16_BE + data if name == "UTF-16" else data


def _crc32(data: bytes) -> str:
    """The four bytes in little-endian order, reversed against the usual notation (data-prep.md#functions)."""
    return zlib.crc32(data).to_bytes(4, "little").hex()


_ALGORITHMS: Final[dict[str, Callable[[bytes], str]]] = {
    "sha1": lambda data: hashlib.sha1(data, usedforsecurity=False).hexdigest(),
    "sha256": lambda data: hashlib.sha256(data).hexdigest(),
    "sha512": lambda data: hashlib.sha512(data).hexdigest(),
    "md5": lambda data: hashlib.md5(data, usedforsecurity=False).hexdigest(),
    "crc32": _crc32,
}


def check_charset(charset: Any) -> None:
    """Raises EvaluationError for a constant that names no character set."""
    if charset is not None:
        _bytes("", charset if isinstance(charset, str) else kind_of(charset))


def _algorithm(name: str) -> Callable[[bytes], str]:
    found = _ALGORITHMS.get(name.lower().replace("-", ""))
    if found is None:
        close = nearest(name, _ALGORITHMS)
        raise EvaluationError(
            f"the hash algorithm {shown(name)} is unknown" + (f", did you mean {close}?" if close else "")
        )
    return found


def check_algorithm(name: Any) -> None:
    """Raises EvaluationError for a constant that names no algorithm."""
    if name is not None:
        _algorithm(name if isinstance(name, str) else kind_of(name))


def _register(name: str, digest: Callable[[bytes], str]) -> None:
    def body(text: str, charset: str | None = None) -> str:
        return digest(_bytes(text, charset))

    function(
        name,
        category="hashing",
        takes=(Kind.TEXT, Kind.TEXT),
        gives=Kind.TEXT,
        required=1,
        null_in=(0,),
        constants={1: check_charset},
    )(body)


for _name, _digest in _ALGORITHMS.items():
    _register(_name, _digest)


@function(
    "hash",
    category="hashing",
    takes=(Kind.TEXT, Kind.TEXT, Kind.TEXT),
    gives=Kind.TEXT,
    required=2,
    null_in=(0, 1),
    constants={0: check_algorithm, 2: check_charset},
)
def hash_by_name(algorithm: str, text: str, charset: str | None = None) -> str:
    return _algorithm(algorithm)(_bytes(text, charset))
