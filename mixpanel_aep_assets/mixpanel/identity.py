"""Whom an event is about: known id, anonymous id, and both as XDM's identityMap (mixpanel.md#identity, xdm.md#identities).

All as Polars expressions over the columns of `raw_events`; namespaces are the caller's.
"""

from __future__ import annotations

import re

import numpy as np
import polars as pl
import pyarrow as pa
import re2

from mixpanel_aep_assets.xdm.compiled import BLANK
from mixpanel_aep_assets.xdm.rules import MAX_IDENTITY_LENGTH, REFUSED_IDS

DEVICE_PREFIX = "$device:"

NOBODY = (
    "00000000-0000-0000-0000-000000000000", "anon", "anonymous", "nil", "none", "null", "n/a", "na", "undefined",
    "unknown", "<nil>", "0", "-1", "true", "false", "[]", "{}", "",
)  # fmt: skip
"""Ids that stand for nobody, by Mixpanel: as an identity, each would join strangers into one person (mixpanel.md#refused-ids)."""

REFUSED = tuple(dict.fromkeys((*NOBODY, *REFUSED_IDS)))
"""The same and what Adobe's Identity Service refuses. As an identity, the latter would cost the event, too."""

_CONTAINER = "|".join(
    (r"\[\s*\]", r"""\[\s*["'\[{\d-].*\]""", r"\[\s*(?:true|false|null|none)\b.*\]", r"\{\s*\}", r"""\{\s*["'].*\}""")
)
"""Lists and objects in place of an id, as JSON and Python write them."""

_OBJECT = r"\[object \w+\]"
"""What JavaScript makes of an object where a text is wanted."""


def _pattern(*kinds: str) -> str:
    """In any case, with or without prefix and blanks around it. One search makes no text, where stripping makes three a row."""
    return rf"(?is)\A(?:{re.escape(DEVICE_PREFIX)})?{BLANK}(?:{'|'.join(kinds)}){BLANK}\z"


_WORDS = "|".join(map(re.escape, REFUSED))
_REFUSED = _pattern(_WORDS, _OBJECT, _CONTAINER)
_SINCE_VERSION_1 = _pattern("invalid", _OBJECT, _CONTAINER)
_is_placeholder = re2.compile(_pattern(_WORDS, _OBJECT)).search
_is_container = re2.compile(_pattern(_CONTAINER)).search

KNOWN_NAMESPACE = "mixpanelUserId"
ANONYMOUS_NAMESPACE = "mixpanelDeviceId"

ITEM = pl.Struct({"id": pl.String, "authenticatedState": pl.String, "primary": pl.Boolean})
IDENTITY_MAP = pl.List(pl.Struct({"key": pl.String, "value": pl.List(ITEM)}))


def known_id() -> pl.Expr:
    """The id of a person that logged in: `$user_id`, else `distinct_id` where it is no device's; null if there is none."""
    distinct = _usable("distinct_id")
    device = pl.col("device_id").str.strip_prefix(DEVICE_PREFIX)
    own = pl.when(~distinct.str.starts_with(DEVICE_PREFIX) & distinct.ne_missing(device)).then(distinct)
    user = _usable("user_id")
    return pl.coalesce(pl.when(~user.str.starts_with(DEVICE_PREFIX)).then(user), own)


def anonymous_id() -> pl.Expr:
    """The device's id without prefix: `$device_id`, else a `distinct_id`, now or before merging, that has the prefix."""
    return pl.coalesce(
        _usable("device_id", strip=True),
        _prefixed("distinct_id"),
        _prefixed("distinct_id_before_identity"),
        _prefixed("user_id"),
    )


def identity_map(known: str = KNOWN_NAMESPACE, anonymous: str = ANONYMOUS_NAMESPACE) -> pl.Expr:
    """The identityMap as `IDENTITY_MAP` (the entries of a map); null where the event has no usable id.

    The known id is `authenticated` and primary; the anonymous one `ambiguous`, primary only where it is alone. An id
    that is both appears once, as known.
    """

    def build(ids: pl.Series) -> pl.Series:
        return _maps(ids, known, anonymous)

    return pl.struct(known_id().alias("known"), anonymous_id().alias("anonymous")).map_batches(
        build, return_dtype=IDENTITY_MAP, is_elementwise=True
    )


def _maps(ids: pl.Series, known: str, anonymous: str) -> pl.Series:
    """The maps of a whole column at once: Polars' own expressions copy nested lists row by row, a hundred times slower."""
    columns = who, device = ids.struct.field("known"), ids.struct.field("anonymous")
    there = np.stack([who.is_not_null().to_numpy(), (device.is_not_null() & who.ne_missing(device)).to_numpy()], axis=1)
    taken = np.flatnonzero(there)  # entry 2 * row + (0 known, 1 anonymous)
    second = taken % 2 == 1
    alone = ~there[taken // 2, 0]
    texts = pa.chunked_array([column.to_arrow(compat_level=pl.CompatLevel.oldest()) for column in columns])
    items = pa.StructArray.from_arrays(
        [
            texts.take(pa.array(taken // 2 + second * len(ids))).combine_chunks(),
            pa.array(["authenticated", "ambiguous"]).take(pa.array(second.astype(np.int8))),
            pa.array(~second | alone),
        ],
        names=[field.name for field in ITEM.fields],
    )
    singles = pa.LargeListArray.from_arrays(np.arange(len(taken) + 1), items)
    keys = pa.array([known, anonymous]).take(pa.array(second.astype(np.int8)))
    entries = pa.StructArray.from_arrays([keys, singles], names=["key", "value"])
    counts = there.sum(axis=1)
    offsets = np.concatenate(([0], np.cumsum(counts)))
    lists = pa.LargeListArray.from_arrays(offsets, entries, mask=pa.array(counts == 0))
    return pl.Series(ids.name, pl.from_arrow(lists), dtype=IDENTITY_MAP)


def refused_since_version_1() -> pl.Expr:
    """Rows with an id that version 1 of the XDM files (`pipeline.steps.transform`) took for an identity."""
    columns = (pl.col(name) for name in ("distinct_id", "distinct_id_before_identity", "device_id", "user_id"))
    return pl.any_horizontal(
        text.str.contains(_SINCE_VERSION_1) | (text.str.len_chars() > MAX_IDENTITY_LENGTH) for text in columns
    )


def is_placeholder(text: str) -> bool:
    """Whether an id stands for nobody and says nothing: a word of `REFUSED`, or `[object Object]`."""
    return _is_placeholder(text) is not None


def never_identifies(text: str) -> bool:
    """Whether an id is left out of every identityMap: a placeholder, a list or an object, or longer than Adobe takes."""
    return is_placeholder(text) or _is_container(text) is not None or len(text) > MAX_IDENTITY_LENGTH


def _usable(column: str, *, strip: bool = False, longest: int = MAX_IDENTITY_LENGTH) -> pl.Expr:
    text = pl.col(column)
    if strip:
        text = text.str.strip_prefix(DEVICE_PREFIX)
    return pl.when(~text.str.contains(_REFUSED) & (text.str.len_chars() <= longest)).then(text)


def _prefixed(column: str) -> pl.Expr:
    text = _usable(column, longest=MAX_IDENTITY_LENGTH + len(DEVICE_PREFIX))
    return pl.when(text.str.starts_with(DEVICE_PREFIX)).then(text.str.strip_prefix(DEVICE_PREFIX))
