"""Properties that are not to be stored or sent as they are: dropped, hashed, or left out because no list allows them.

What belongs here: what the rules are, and a line or a row after them. Nothing else of the text changes by a byte. What
does not: when they are applied (`export` before anything is stored, `pipeline` on the way to XDM), reading settings.
"""

from __future__ import annotations

import enum
import hmac
import json
from collections.abc import Iterable, Iterator
from functools import lru_cache
from typing import Any, Literal, NamedTuple

import msgspec
import polars as pl
from pydantic import BaseModel, ConfigDict, SecretStr, model_validator

from mixpanel_aep_assets.mixpanel import line_parser
from mixpanel_aep_assets.mixpanel.dedup import CONTENT
from mixpanel_aep_assets.mixpanel.identity import DEVICE_PREFIX, is_placeholder, never_identifies
from mixpanel_aep_assets.mixpanel.line_parser import FIELDS, HOT_SHARD_EVENT, HOT_SHARD_ID, Broken
from mixpanel_aep_assets.mixpanel.mixpanel_errors import SettingsWrong

IDENTITIES = frozenset(
    {"distinct_id", "$distinct_id", "$distinct_id_before_identity", "$preshuffle_distinct_id", "$user_id", "$device_id",
     "$identified_id", "$anon_id", "$anon_distinct_id", "alias", "$distinct_ids", HOT_SHARD_ID}
)  # fmt: skip
"""Properties that hold the same ids as `distinct_id` (mixpanel.md#identity and mixpanel.md#platform-properties):
hashing one of them hashes all."""

STABLE = frozenset({"distinct_id", "$distinct_id_before_identity", HOT_SHARD_ID, "$insert_id"})
"""Needed to tell events and people apart: may be hashed, never dropped."""

CLOCK = frozenset({"time", "$mp_api_timestamp_ms", "mp_processing_time_ms", "$import", HOT_SHARD_EVENT})
"""Needed as they are: when an event happened and was received, and what it is."""

SHORTEST_SALT = 16
"""Characters; whoever has the files and guesses a shorter salt can find out hashed values by trying."""

WITHHELD = "withheld by the privacy settings"

_NAMES_KEPT = 4_096
_IDENTITY_COLUMNS = ("distinct_id", "distinct_id_before_identity", "device_id", "user_id")
_COLUMN_PROPERTIES = frozenset(FIELDS.values())
_IDENTITY_TEXTS = IDENTITIES & (_COLUMN_PROPERTIES | {HOT_SHARD_ID})
"""Those that become text whatever they are; other ids keep their shape, lists element by element."""


class PrivacySettings(BaseModel):
    """What to do with which properties, by raw name or dotted path (`address.street`, through arrays too).

    `drop` wins over `hash`, both over `allow`. With `allow` (None: no such list) only listed properties are kept, beside
    hashed ones and those that `FIELDS` needs. `stage`: `raw` before anything is stored, `xdm` before the XDM events are
    made, the raw files keeping all.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    drop: tuple[str, ...] = ()
    hash: tuple[str, ...] = ()
    allow: tuple[str, ...] | None = None
    stage: Literal["raw", "xdm"] = "raw"

    @property
    def active(self) -> bool:
        return bool(self.drop or self.hash) or self.allow is not None

    @model_validator(mode="after")
    def _can_be(self) -> PrivacySettings:
        if both := sorted(set(self.drop) & set(self.hash)):
            raise ValueError(f"`{both[0]}` is to be dropped and to be hashed: keep it in one of the lists")
        if never := sorted(CLOCK & {*self.drop, *self.hash}):
            raise ValueError(f"`{never[0]}` can be neither dropped nor hashed: no event can be placed without it")
        if needed := sorted(STABLE & set(self.drop)):
            raise ValueError(
                f"`{needed[0]}` cannot be dropped because it distinguishes events or people: hash it instead"
            )
        if not IDENTITIES & set(self.hash) and (copied := sorted(IDENTITIES & set(self.drop))):
            raise ValueError(
                f"`{copied[0]}` cannot be dropped while `distinct_id` keeps the same ids: hash `distinct_id`, which "
                f"hashes all ids alike, and `{copied[0]}` may then be dropped"
            )
        return self


class _Verdict(enum.Enum):
    KEEP = enum.auto()
    DROP = enum.auto()
    HASH = enum.auto()
    INSIDE = enum.auto()
    """The rules name members of it."""


class _Rules(NamedTuple):
    """Names and dotted paths as seen from one object."""

    drop: frozenset[str]
    hash: frozenset[str]
    allow: frozenset[str] | None


@lru_cache(_NAMES_KEPT)
def _verdict(rules: _Rules, name: str) -> _Verdict:
    if name in rules.drop:
        return _Verdict.DROP
    if name in rules.hash:
        return _Verdict.HASH
    inside = _inside(rules, name)
    if inside.allow is not None and not inside.allow:
        return _Verdict.DROP
    return _Verdict.INSIDE if inside != _NO_RULES else _Verdict.KEEP


@lru_cache(_NAMES_KEPT)
def _inside(rules: _Rules, name: str) -> _Rules:
    """The rules as seen from an object that is the member `name` of the one that `rules` are for."""
    before = f"{name}."

    def below(names: frozenset[str]) -> frozenset[str]:
        return frozenset(path.removeprefix(before) for path in names if path.startswith(before))

    # What is allowed as a whole has no list inside.
    allow = None if rules.allow is None or name in rules.allow else below(rules.allow) | below(rules.hash)
    return _Rules(below(rules.drop), below(rules.hash), allow)


_NO_RULES = _Rules(frozenset(), frozenset(), None)


class _Line(msgspec.Struct, forbid_unknown_fields=True):
    event: msgspec.Raw
    properties: dict[str, msgspec.Raw]


_decode_line = msgspec.json.Decoder(_Line).decode
_decode_object = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_encode = msgspec.json.encode


class _Patient(Exception):
    """The text is not for the fast way."""


class Edit(NamedTuple):
    start: int
    end: int
    text: str


class Privacy:
    """The rules of a connection with their salt, ready for lines and frames.

    Raises SettingsWrong where something is to be hashed and there is no salt, or a short one. Hashes are HMAC-SHA-256
    in hex, the salt being the key, equal for equal values whatever the property. Null and the empty text stay. So do ids
    that stand for nobody (`identity.REFUSED`): hashed, they would look like a person. Lists, objects and ids that are too
    long become a list of the one hash, which is no identity either.
    """

    def __init__(self, settings: PrivacySettings, salt: SecretStr | None = None) -> None:
        key = salt.get_secret_value() if salt is not None else ""
        if settings.hash and len(key) < SHORTEST_SALT:
            what = "there is no salt" if not key else f"the salt has fewer than {SHORTEST_SALT} characters"
            raise SettingsWrong(
                f"Properties are to be hashed, but {what}",
                fix="Set MIXPANEL_AEP_PRIVACY_SALT (or the variable that `privacy.salt_env` names) to a long random "
                "text, e.g. of `openssl rand -hex 32`, and keep it: another salt gives other hashes.",
            )
        self.settings = settings
        self._key = key.encode()
        self._identities = bool(IDENTITIES & set(settings.hash))
        drop = frozenset(settings.drop)
        hashed = frozenset(settings.hash) | (IDENTITIES - drop if self._identities else frozenset())
        allow = None
        if settings.allow is not None:
            allow = frozenset(settings.allow) | _COLUMN_PROPERTIES | CLOCK | STABLE
        self._rules = _Rules(drop, hashed, allow)

    @property
    def fingerprint(self) -> str:
        """32 hex digits of the settings and the salt: days made with others are made anew."""
        text = self.settings.model_dump_json(exclude={"stage"})
        return hmac.digest(self._key, f"privacy:{text}".encode(), "sha256").hex()[:32]

    def hides(self, name: str) -> bool:
        """Whether values of a property may not be shown as they came."""
        return _verdict(self._rules, name) is not _Verdict.KEEP

    def lines(self, data: bytes) -> bytes:
        """A batch of lines after the rules; what is no event stays as it is, for the parser to say so."""
        fast = data.isascii() or _is_utf8(data)
        return b"\n".join(self._line(line, fast=fast) if line else line for line in data.split(b"\n"))

    def withheld(self, broken: Iterable[Broken]) -> list[Broken]:
        """Lines that are no events, which no rule can be applied to, without anything of their content."""
        return [Broken(line.line, line.reason, f"{len(line.bytes)} bytes, {WITHHELD}", b"") for line in broken]

    def mark(self, line: bytes) -> int:
        """64 bits by which a withheld line is known again, and that say nothing of it without the salt."""
        return int.from_bytes(hmac.digest(self._key, line, "sha256")[:8], "big")

    def frame(self, frame: pl.DataFrame) -> pl.DataFrame:
        """Rows of `raw_events` that were stored without the rules, after them; without the hash of what they held before."""
        columns = [frame["properties"].map_elements(self.properties, pl.String)]
        if self._identities:
            columns += [
                frame[name].map_elements(self._identity, pl.String) for name in _IDENTITY_COLUMNS if name in frame
            ]
        if _verdict(self._rules, "$insert_id") is _Verdict.HASH and "insert_id" in frame:
            columns.append(frame["insert_id"].map_elements(self._digest, pl.String))
        dropped = [name for name in _IDENTITY_COLUMNS if _verdict(self._rules, FIELDS[name]) is _Verdict.DROP]
        changed = frame.drop(CONTENT, strict=False).with_columns(columns)
        return changed.with_columns(pl.lit(None, pl.String).alias(name) for name in dropped if name in frame.columns)

    def properties(self, text: str) -> str:
        """The JSON text of an event's `properties` after the rules."""
        try:
            data = text.encode()
            members = _decode_object(data)
            kept = self._members(members)
            if kept is members:
                return text
            if _encode(members) != data:
                raise _Patient
            return _encode(kept).decode()
        except (_Patient, msgspec.MsgspecError, ValueError, RecursionError):
            return _edited(text, self._object(text, line_parser.skip(text, 0), self._rules))

    def _line(self, line: bytes, *, fast: bool) -> bytes:
        """One line. The fast way writes the members anew, so it is taken only where that gives back the very line."""
        try:
            if not fast:
                raise _Patient
            read = _decode_line(line)
            kept = self._members(read.properties)
            if kept is read.properties:
                return line
            if _encode(read) != line:
                raise _Patient
            read.properties = kept
            return _encode(read)
        except (_Patient, msgspec.MsgspecError, ValueError, RecursionError):
            return self._patiently(line)

    def _patiently(self, line: bytes) -> bytes:
        if isinstance(line_parser.read_line(line, 0), Broken):
            return line
        text = line.decode()
        members, _ = line_parser.members(text, line_parser.skip(text, 0))
        edits: list[Edit] = []
        for member in members:
            if member.name == "properties" and isinstance(member.value, dict):
                edits += self._object(text, member.begin, self._rules)
        return _edited(text, edits).encode()

    def _members(self, members: dict[str, msgspec.Raw]) -> dict[str, msgspec.Raw]:
        """The members after the rules; the same dict where no rule concerns any of them."""
        verdicts = [
            (name, verdict) for name in members if (verdict := _verdict(self._rules, name)) is not _Verdict.KEEP
        ]
        if not verdicts:
            return members
        kept = dict(members)
        for name, verdict in verdicts:
            if verdict is _Verdict.DROP:
                del kept[name]
                continue
            text = bytes(kept[name]).decode()
            value = line_parser.decode(text)
            if verdict is _Verdict.HASH:
                kept[name] = msgspec.Raw(self._hashed(name, value, text).encode())
            elif (edits := self._within(text, 0, value, _inside(self._rules, name))) is None:
                del kept[name]
            else:
                kept[name] = msgspec.Raw(_edited(text, edits).encode())
        return kept

    def _object(self, text: str, start: int, rules: _Rules) -> list[Edit]:
        """What the rules change in the object that begins at `start`. Every one of equal names is treated alike."""
        members, _ = line_parser.members(text, start)
        edits: list[Edit] = []
        dropped: list[bool] = []
        for member in members:
            verdict = _verdict(rules, member.name)
            inner: list[Edit] | None = []
            if verdict is _Verdict.HASH:
                source = text[member.begin : member.end]
                inner = [Edit(member.begin, member.end, self._hashed(member.name, member.value, source))]
            elif verdict is _Verdict.INSIDE:
                inner = self._within(text, member.begin, member.value, _inside(rules, member.name))
            edits += inner or []
            dropped.append(verdict is _Verdict.DROP or inner is None)
        return edits + list(_removals(members, dropped))

    def _within(self, text: str, begin: int, value: Any, rules: _Rules) -> list[Edit] | None:
        """The same for a value whose members the rules name; None where it has none and no list allows it."""
        try:
            if isinstance(value, dict):
                return self._object(text, begin, rules)
            if isinstance(value, list):
                found = [
                    self._within(text, element.begin, element.value, rules)
                    for element in line_parser.elements(text, begin)
                ]
                return None if None in found else [edit for edits in found for edit in edits or []]
        except RecursionError:
            return None
        return [] if rules.allow is None else None

    def _hashed(self, name: str, value: Any, text: str) -> str:
        """The JSON text that takes the place of the JSON text `text`, which reads as `value`."""
        if value is None:
            return text
        if name in _IDENTITY_TEXTS:
            return json.dumps(self._identity(line_parser.identifier(value) or ""))
        if name in _COLUMN_PROPERTIES:
            return json.dumps(self._digest(line_parser.identifier(value) or ""))
        if isinstance(value, list):
            return json.dumps([self._leaf(name, item) for item in value], separators=(",", ":"))
        if isinstance(value, (int, float)) and not isinstance(value, bool) and name not in IDENTITIES:
            return json.dumps(self._digest(text))
        return json.dumps(self._leaf(name, value))

    def _leaf(self, name: str, value: Any) -> str | None:
        if value is None:
            return None
        if name in IDENTITIES:
            return self._identity(line_parser.identifier(value) or "")
        if isinstance(value, str):
            return self._digest(value)
        return self._digest(json.dumps(value, sort_keys=True, ensure_ascii=False, separators=(",", ":")))

    def _identity(self, text: str) -> str:
        """An id; a device's keeps the prefix, so that it still joins with the bare one in `$device_id`."""
        bare = text.removeprefix(DEVICE_PREFIX)
        if is_placeholder(bare):
            return text
        hashed = self._digest(bare)
        return text[: len(text) - len(bare)] + (f'["{hashed}"]' if never_identifies(bare) else hashed)

    def _digest(self, text: str) -> str:
        if not text:
            return text
        return hmac.digest(self._key, text.encode("utf-8", "backslashreplace"), "sha256").hex()


def _is_utf8(data: bytes) -> bool:
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True


def _removals(members: list[line_parser.Member], dropped: list[bool]) -> Iterator[Edit]:
    """Each dropped member with one comma: the one behind it, or before it where only dropped ones follow."""
    last_kept = max((index for index, gone in enumerate(dropped) if not gone), default=-1)
    for index, gone in enumerate(dropped[:last_kept] if last_kept >= 0 else []):
        if gone:
            yield Edit(members[index].start, members[index + 1].start, "")
    if members and last_kept < len(members) - 1:
        start = members[last_kept].end if last_kept >= 0 else members[0].start
        yield Edit(start, members[-1].end, "")


def _edited(text: str, edits: list[Edit]) -> str:
    """The text after edits that do not overlap, but for those within a removed span, which vanish with it."""
    parts: list[str] = []
    position = 0
    for edit in sorted(edits, key=lambda edit: (edit.start, -edit.end)):
        if edit.start < position:
            continue
        parts += (text[position : edit.start], edit.text)
        position = edit.end
    return "".join([*parts, text[position:]])
