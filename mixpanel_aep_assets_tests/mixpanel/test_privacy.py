"""Dropped, hashed and allowed properties: what is gone, what is alike, and that nothing else changes by a byte."""

from __future__ import annotations

import datetime
import hashlib
import hmac
import json
import logging
from collections.abc import Callable
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import SecretStr, ValidationError

from mixpanel_aep_assets.manifests import Exported
from mixpanel_aep_assets.mixpanel import dedup, events, export, line_parser, mixpanel_errors, window_export
from mixpanel_aep_assets.mixpanel.client import MixpanelClient
from mixpanel_aep_assets.mixpanel.identity import REFUSED, never_identifies
from mixpanel_aep_assets.mixpanel.privacy import CLOCK, IDENTITIES, Privacy, PrivacySettings
from mixpanel_aep_assets.storage import Day
from mixpanel_aep_assets_tests.mixpanel import samples
from mixpanel_aep_assets_tests.mixpanel.conftest import DAY, NO_WAIT, Scripted, answer, event, outside_of

SALT = "a salt of the tests, 0123456789"
SECRET = "S3CR3T"
"""Stands in every value that may not be found again; as a number, `NUMBER` does."""

NUMBER = "77310077"


def privacy(salt: str = SALT, /, **rules: Any) -> Privacy:
    return Privacy(PrivacySettings(**rules), SecretStr(salt))


def mac(text: str, salt: str = SALT) -> str:
    return hmac.new(salt.encode(), text.encode(), hashlib.sha256).hexdigest()


def after(rules: Privacy, properties: str) -> str:
    """The text of `properties` of a line after the rules."""
    line = rules.lines(b'{"event":"x","properties":' + properties.encode() + b"}")
    return line.decode().removeprefix('{"event":"x","properties":').removesuffix("}")


def test_a_dropped_property_is_gone_and_the_rest_stays_byte_for_byte() -> None:
    text = r'{ "time" : 1768024800,"a":1.0, "\u0065mail":"x@y" ,"ü":"\u00fc","n":1e400,"email":[1]}'
    assert after(privacy(drop=("email",)), text) == r'{ "time" : 1768024800,"a":1.0, "ü":"\u00fc","n":1e400}'


def test_lines_that_no_rule_concerns_are_not_touched() -> None:
    data = b"\n\n".join([*samples.DOCUMENTED, *samples.VARIED, samples.RAW_SEPARATORS, *samples.BROKEN, b""])
    assert privacy(drop=("not there",), hash=("neither",)).lines(data) == data


def test_a_hash_is_the_hmac_of_the_text_a_numbers_that_of_its_json() -> None:
    rules = privacy(hash=("s", "n", "l", "z", "e", "b", "o"))
    text = '{"time":1,"s":"ü","n":1.50,"l":["ü",1,null],"z":null,"e":"","b":true,"o":{"b":1,"a":2}}'
    assert json.loads(after(rules, text)) == {
        "time": 1,
        "s": mac("ü"),
        "n": mac("1.50"),
        "l": [mac("ü"), mac("1"), None],
        "z": None,
        "e": "",
        "b": mac("true"),
        "o": mac('{"a":2,"b":1}'),
    }


def test_a_list_of_allowed_properties_keeps_those_and_what_an_event_needs() -> None:
    needed = dict.fromkeys(line_parser.FIELDS.values(), "1") | {"time": 1}
    text = json.dumps(needed | {"plan": "x", "cart": {"total": 2, "card": 3}, "email": "e", "phone": 4})
    kept = json.loads(after(privacy(allow=("plan", "cart.total"), hash=("phone",)), text))
    assert kept == needed | {"plan": "x", "cart": {"total": 2}, "phone": mac("4")}


def test_paths_reach_into_objects_and_arrays_and_a_name_with_dots_is_found_too() -> None:
    rules = privacy(drop=("a.b.c", "items.sku"), hash=("who.mail",))
    text = '{"time":1,"a":{"b":{"c":1,"d":2}},"a.b.c":3,"a.b":{"c":4},"items":[{"sku":1,"n":1},[{"sku":2}],5],"who":{"mail":"m"}}'
    assert json.loads(after(rules, text)) == {
        "time": 1,
        "a": {"b": {"d": 2}},
        "a.b": {},
        "items": [{"n": 1}, [{}], 5],
        "who": {"mail": mac("m")},
    }


@pytest.mark.parametrize("compact", [True, False])
def test_both_ways_of_reading_a_line_end_alike(compact: bool) -> None:
    rules = privacy(
        drop=("$browser", "クエリ"), hash=("distinct_id", "price", "order_id", "genres"), allow=("price", "sep", "s")
    )
    for line in samples.VARIED:
        sent = json.loads(line)
        one = json.dumps(sent, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace")
        other = json.dumps(json.loads(one), ensure_ascii=False, separators=(" , ", " : ")).encode()
        assert json.loads(rules.lines(one)) == json.loads(rules.lines(other))


def test_all_ids_are_hashed_alike_so_that_they_still_join() -> None:
    rules = privacy(hash=("$user_id",))
    text = (
        '{"time":1,"distinct_id":"$device:D9","$device_id":"D9","$user_id":4,"$identified_id":"4",'
        '"$distinct_id_before_identity":"4","mp_original_distinct_id":4.0,"$distinct_ids":["4","$device:D9"],"alias":"4"}'
    )
    four, device = mac("4"), mac("D9")
    assert json.loads(after(rules, text)) == {
        "time": 1,
        "distinct_id": f"$device:{device}",
        "$device_id": device,
        "$user_id": four,
        "$identified_id": four,
        "$distinct_id_before_identity": four,
        "mp_original_distinct_id": four,
        "$distinct_ids": [four, f"$device:{device}"],
        "alias": four,
    }


@pytest.mark.parametrize("nobody", [*REFUSED, "$device:", " NULL ", 0, -1, None, False])
def test_an_id_that_stands_for_nobody_does_not_become_a_person(nobody: Any) -> None:
    rules = privacy(hash=("distinct_id",))
    (row,) = events.parse(rules.lines(event(1, distinct_id=nobody))).events.to_pylist()
    (plain,) = events.parse(event(1, distinct_id=nobody)).events.to_pylist()
    assert row["distinct_id"] == plain["distinct_id"]


@pytest.mark.parametrize(
    "text", [["a@b.example"], {"id": "a@b.example"}, '["a@b.example"]', "a@b.example" * 100], ids=str
)
def test_a_list_an_object_and_an_id_too_long_are_hashed_and_are_no_person_either(text: Any) -> None:
    rules = privacy(hash=("distinct_id",))
    (row,) = events.parse(rules.lines(event(1, distinct_id=text))).events.to_pylist()
    assert "a@b.example" not in str(row)
    assert never_identifies(row["distinct_id"])
    (other,) = events.parse(rules.lines(event(1, distinct_id=[text]))).events.to_pylist()
    assert row["distinct_id"] != other["distinct_id"]


@pytest.mark.parametrize("name", sorted(CLOCK))
def test_what_places_an_event_can_be_neither_dropped_nor_hashed(name: str) -> None:
    for rule in ("drop", "hash"):
        with pytest.raises(ValidationError, match="neither dropped nor hashed"):
            PrivacySettings(**{rule: (name,)})


def test_dropping_an_id_is_refused_while_its_value_stays_elsewhere() -> None:
    with pytest.raises(ValidationError, match="hash it instead"):
        PrivacySettings(drop=("distinct_id",), hash=("distinct_id2",))
    with pytest.raises(ValidationError, match="hash `distinct_id`"):
        PrivacySettings(drop=("$user_id",))
    with pytest.raises(ValidationError, match="one of the lists"):
        PrivacySettings(drop=("a",), hash=("a",))
    rules = privacy(drop=("$user_id",), hash=("distinct_id",))
    assert json.loads(after(rules, '{"time":1,"distinct_id":"a","$user_id":"a"}')) == {
        "time": 1,
        "distinct_id": mac("a"),
    }


def test_hashing_needs_a_salt_that_cannot_be_guessed_and_no_message_shows_it() -> None:
    with pytest.raises(mixpanel_errors.SettingsWrong, match="MIXPANEL_AEP_PRIVACY_SALT"):
        Privacy(PrivacySettings(hash=("a",)))
    with pytest.raises(mixpanel_errors.SettingsWrong, match="fewer than 16") as caught:
        privacy("short one", hash=("a",))
    assert "short one" not in str(caught.value)
    assert SALT not in repr(privacy(hash=("a",))) + str(vars(privacy(hash=("a",)).settings))
    Privacy(PrivacySettings(drop=("a",)))


def test_other_rules_or_another_salt_have_another_fingerprint_but_another_stage_has_not() -> None:
    prints = [
        privacy(hash=("a",)).fingerprint,
        privacy(hash=("b",)).fingerprint,
        privacy(drop=("a",)).fingerprint,
        privacy(SALT + "x", hash=("a",)).fingerprint,
    ]
    assert len(set(prints)) == 4
    assert privacy(hash=("a",), stage="xdm").fingerprint == prints[0]


SCALARS = st.one_of(
    st.sampled_from(
        [f'"{SECRET}"', f'"x {SECRET} ü"', f'"\\u0053{SECRET}\\n"', NUMBER, f"{NUMBER}.50", f"-{NUMBER}e1"]
    ),
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3).map(lambda items: "[" + " , ".join(items) + "]"),
        st.lists(st.tuples(st.sampled_from(["k", "email", "ü"]), inner), max_size=3).map(
            lambda pairs: "{" + ",".join(f'"{name}" :{value}' for name, value in pairs) + "}"
        ),
    ),
    max_leaves=6,
)
SECRET_NAMES = [
    '"email"',
    r'"\u0065mail"',
    '"phone"',
    '"クエリ"',
    '"$user_id"',
    '"distinct_id"',
    '"$device_id"',
    '"alias"',
]
SECRET_NAMES += [
    '"$distinct_id_before_identity"',
    '"mp_original_distinct_id"',
    '"$distinct_ids"',
    '"$insert_id"',
    '"other"',
]
MEMBERS = st.lists(
    st.one_of(
        st.tuples(st.sampled_from(SECRET_NAMES), VALUES),
        st.tuples(st.just('"in"'), VALUES.map(lambda value: f'{{"x":1,"secret":{value},"secret":{value}}}')),
        st.tuples(st.sampled_from(['"plan"', '"p\\"q"', '"in"']), st.sampled_from(["1", '"é"', "[1, 2]", '{"x" : 1}'])),
    ),
    max_size=8,
)
RULES = {
    "drop": ("email", "クエリ", "in.secret"),
    "hash": ("phone", "$insert_id", "distinct_id"),
    "allow": ("plan", "in", 'p"q'),
}


@given(
    st.lists(
        st.tuples(MEMBERS, st.sampled_from([",", " , "]), st.sampled_from(["", "}", " x", '"more":1}'])), max_size=4
    )
)
@settings(max_examples=150, deadline=None)
def test_no_dropped_or_hashed_value_is_in_anything_that_is_kept(
    lines: list[tuple[list[tuple[str, str]], str, str]],
) -> None:
    sent = b"\n".join(
        (
            '{"event":"E","properties":{'
            + between.join(['"time":1768024800', *(f"{n}:{v}" for n, v in members)])
            + "}"
            + end
        ).encode()
        for members, between, end in lines
    )
    rules = privacy(**RULES)
    parsed = events.parse(rules.lines(sent))
    kept = str(parsed.events.to_pylist()) + str(events.quarantine(rules.withheld(parsed.broken)).to_pylist())
    assert SECRET not in kept
    assert NUMBER not in kept
    before = events.parse(sent)
    assert [line.reason for line in parsed.broken] == [line.reason for line in before.broken]
    assert parsed.events["line"] == before.events["line"]
    stored = pl.DataFrame(pl.from_arrow(before.events)).with_columns(dedup.content_hash().alias(dedup.CONTENT))
    assert rules.frame(stored).to_dicts() == parsed.events.to_pylist()


@given(
    st.lists(st.tuples(st.sampled_from(["a", "email", "ü", "b.c"]), st.sampled_from(["1", '"x"', "{}", "[ 1 ]"]))),
    st.sampled_from([",", ", "]),
)
@settings(max_examples=100, deadline=None)
def test_the_text_without_the_dropped_members_is_what_stays(members: list[tuple[str, str]], comma: str) -> None:
    def text(kept: list[tuple[str, str]]) -> str:
        return "{" + comma.join(['"time":1', *(f'"{name}": {value}' for name, value in kept)]) + "}"

    rules = privacy(drop=("email", "ü"))
    assert after(rules, text(members)) == text([m for m in members if m[0] not in ("email", "ü")])


def test_depth_beyond_reason_is_left_out_rather_than_let_through() -> None:
    rules = privacy(drop=("deep.secret",))
    deep = "[" * 700 + f'{{"secret":"{SECRET}"}}' + "]" * 700
    parsed = events.parse(rules.lines(f'{{"event":"x","properties":{{"time":1,"deep":{deep},"a":1}}}}'.encode()))
    assert SECRET not in str(parsed.events.to_pylist())


def stored(day: Day, kind: str = "parts") -> pl.DataFrame:
    return pl.concat(pl.read_parquet(path) for path in day.locations(kind=kind))


def test_a_day_is_stored_after_the_rules_and_its_quarantine_keeps_no_content(
    server: Scripted, make_client: Callable[..., MixpanelClient], day: Day, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    lines = [
        event(1, email=SECRET, phone=SECRET),
        b'{"event":"x","properties":{"email":"' + SECRET.encode() + b'"}}\n',
        event(2),
    ]
    server.answers = [answer(b"".join(lines), packed=True)]
    rules = privacy(drop=("email",), hash=("phone",))
    said: list[str] = []
    made = export.export_day(make_client(privacy=rules), day, DAY, retry=NO_WAIT, log=said.append)
    frame, aside = stored(day), outside_of(day)
    assert json.loads(frame["properties"][0])["phone"] == mac(SECRET)
    assert aside.select("line", "reason", "bytes").rows() == [(2, "no_time", b"")]
    assert aside["detail"].to_list() == ["29 bytes, withheld by the privacy settings"]
    assert (made.manifest.exported, made.manifest.rows, made.manifest.quarantined) == (2, 2, 0)
    assert SECRET not in str(frame.to_dicts()) + str(aside.to_dicts()) + str(made) + str(said) + caplog.text


def test_a_window_of_days_is_stored_after_the_rules_too(
    server: Scripted, make_client: Callable[..., MixpanelClient], day: Day
) -> None:
    first, second = (datetime.date(2026, 1, number) for number in (10, 11))
    later = 1768024800000 + 86_400_000
    broken = f'{{"event":"x","properties":{{"time":{later},"email":"{SECRET}"}},"more":1}}\n'
    lines = [event(1, email=SECRET), event(2, time=later, email=SECRET), broken.encode()]
    server.answers = [answer(b"".join(lines))]
    days = {date: day.storage.day("shop", "raw_events", date.isoformat()) for date in (first, second)}
    rules = privacy(drop=("email",))
    manifests = window_export.export_window(make_client(privacy=rules), days, retry=NO_WAIT)
    assert [manifests[date].manifest.quarantined for date in days] == [0, 1], "its time still tells its day"
    kept = [stored(days[second], kind).to_dicts() for kind in ("parts", "quarantine")] + stored(days[first]).to_dicts()
    assert SECRET not in str(kept) + str(manifests)
    assert {made.manifest.privacy for made in manifests.values()} == {rules.fingerprint}


def test_the_same_lines_under_other_rules_are_another_day(
    server: Scripted, make_client: Callable[..., MixpanelClient], day: Day
) -> None:
    server.answers = [answer(event(1))]

    def run(rules: Privacy | None) -> Exported:
        return export.export_day(make_client(privacy=rules), day, DAY, retry=NO_WAIT)

    plain, ruled = run(None), run(privacy(drop=("not there",)))
    assert plain.manifest.digest != ruled.manifest.digest
    assert run(privacy(drop=("not there",))).unchanged is True
    assert run(None).manifest.digest == plain.manifest.digest


@pytest.mark.parametrize(
    "body",
    [
        f'{{"email":"{SECRET}"}}\n',
        f"{SECRET} is no JSON\n{SECRET}\n",
        f'{{"event":"x","properties":{{"time":1}}}}\n{{"error":"{SECRET}"}}\n',
        f'{{"event":"x","properties":{{"time":1}}}}\n{{"email":"{SECRET}\n',
        f'{{"event":"x","properties":{{"time":1,"email":"{SECRET}',
    ],
)
def test_no_error_quotes_a_body_that_may_be_an_event(
    server: Scripted, make_client: Callable[..., MixpanelClient], day: Day, body: str
) -> None:
    server.answers = [answer(body.encode())]
    with pytest.raises(mixpanel_errors.MixpanelError) as caught:
        export.export_day(make_client(privacy=privacy(drop=("email",))), day, DAY, retry=NO_WAIT)
    assert SECRET not in str(caught.value)


def test_every_hidden_copy_of_an_id_is_known() -> None:
    assert {
        "$distinct_id_before_identity",
        "mp_original_distinct_id",
        "$identified_id",
        "$anon_id",
        "alias",
    } <= IDENTITIES
