"""Which texts the formats and types take: the patterns that Parquet columns (RE2) and JSON records (re) share.

`$` means the end of the text, as in JSON Schema; `records` sees to that where Python's `re` means something else.
"""

from __future__ import annotations

_OCTET = r"(25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])"
_URI_CHARACTERS = r"([A-Za-z0-9\-._~:/?#\[\]@!$&'()*+,;=]|%[0-9A-Fa-f]{2})*"
_SCHEME = r"[A-Za-z][A-Za-z0-9+.\-]*:"
_DATE = r"[0-9]{4}-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])"

DATE_TIME = (
    rf"^{_DATE}T([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](\.[0-9]{{1,9}})?(Z|[+-]([01][0-9]|2[0-3]):?[0-5][0-9])$"
)
DATE = rf"^{_DATE}$"
INTEGER = r"^[+-]?[0-9]{1,18}$"
NUMBER = r"^[+-]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]{1,3})?$"
FORMATS: dict[str, tuple[str, ...]] = {
    # RFC 3986: a relative reference may not hold a colon in its first path segment, unless a scheme stands before it.
    "uri-reference": (rf"^{_URI_CHARACTERS}$", rf"^({_SCHEME}|[^:/?#]*([/?#]|$))"),
    "uri": (rf"^{_URI_CHARACTERS}$", rf"^{_SCHEME}."),
    "email": (r"^[^@\s]+@[^@\s]+$",),
    "ipv4": (rf"^{_OCTET}(\.{_OCTET}){{3}}$",),
    "ipv6": (r"^[0-9A-Fa-f:.]{2,45}$", r":.*:"),
    "date": (DATE,),
    "date-time": (DATE_TIME,),
}
"""For each format the patterns that a value must match, all of them."""

MESSAGES = {
    "1401": "Row is corrupted and cannot be read, please fix and resend.",
    "1555": "A required field is either missing or has a value of null.",
    "1404": "The value cannot be converted to the type of the field.",
    "1556": "The value violates a constraint of the field.",
    "1557": "The field does not exist in the schema.",
}
"""Row error codes. 1401 and 1555 are Adobe's; the others are not written down anywhere and are this emulator's."""


class TypeCompatibilityError(Exception):
    """A column's type cannot become the field's type for any value: the whole batch fails."""


class SchemaMismatchError(Exception):
    """A file holds a column that the schema lacks: the whole batch fails."""


class UnreadableError(Exception):
    """A file is not what the batch's input format says: the whole batch fails."""
