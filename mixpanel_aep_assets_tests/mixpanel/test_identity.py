"""Known and anonymous ids, and the identityMap (mixpanel.md#identity)."""

from __future__ import annotations

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mixpanel_aep_assets.mixpanel import identity
from mixpanel_aep_assets.mixpanel.line_parser import identifier
from mixpanel_aep_assets.xdm.rules import REFUSED_IDS, takes_id

COLUMNS = ["distinct_id", "distinct_id_before_identity", "device_id", "user_id"]


def frame(*rows: tuple[str | None, ...]) -> pl.DataFrame:
    return pl.DataFrame(
        [dict(zip(COLUMNS, row, strict=True)) for row in rows], schema=dict.fromkeys(COLUMNS, pl.String)
    )


def ids(*row: str | None) -> tuple[str | None, str | None]:
    found = frame(row).select(identity.known_id().alias("k"), identity.anonymous_id().alias("a")).row(0)
    return found[0], found[1]


@pytest.mark.parametrize(
    ("distinct", "before", "device", "user", "known", "anonymous"),
    [
        ("U1", None, "D1", "U1", "U1", "D1"),
        ("$device:D1", None, "D1", None, None, "D1"),
        ("$device:D1", None, None, None, None, "D1"),
        ("U9", "$device:D9", None, None, "U9", "D9"),
        ("D1", None, "D1", None, None, "D1"),
        ("D1", None, "$device:D1", None, None, "D1"),
        ("U1", None, None, None, "U1", None),
        ("U1", None, None, "U2", "U2", None),
        ("$device:D1", None, "D1", "$device:D1", None, "D1"),
        (None, None, None, None, None, None),
        ("", None, "", "", None, None),
        ("üser-ñ", None, None, None, "üser-ñ", None),
    ],
)
def test_who_an_event_is_about(
    distinct: str | None,
    before: str | None,
    device: str | None,
    user: str | None,
    known: str | None,
    anonymous: str | None,
) -> None:
    assert ids(distinct, before, device, user) == (known, anonymous)


@pytest.mark.parametrize("refused", [*identity.REFUSED, "NULL", " Anonymous ", "$device:", "$device:undefined"])
def test_an_id_that_stands_for_nobody_is_no_identity(refused: str) -> None:
    assert ids(refused, refused, refused, refused) == (None, None)
    assert ids("U1", None, refused, refused) == ("U1", None)


@pytest.mark.parametrize(
    "refused",
    [
        "Invalid", " INVALID\t", "$device:invalid", "\x1cnull", "x" * 1025, "ü" * 1025, "[object Object]", "[object Undefined]",
        '["u1"]', '["u1","u2"]', "['u1']", "[1,2]", "[-1]", "[[]]", "[null]", "[true]", "[ ]", '{"id":"u1"}', "{'id': 'u1'}",
        '{"id":{"a":1}}', "{ }", '$device:{"id":"u1"}',
    ],
    ids=lambda text: text[:20],
)  # fmt: skip
def test_an_id_that_adobe_refuses_and_a_list_or_an_object_are_no_identity(refused: str) -> None:
    assert identity.never_identifies(refused)
    assert ids(refused, refused, refused, refused) == (None, None)
    assert ids("U1", None, refused, refused) == ("U1", None)
    assert ids(refused, None, "D1", None) == (None, "D1")


@pytest.mark.parametrize(
    "taken", ["x" * 1024, "ü" * 1024, "invalid user", "[abc]", "{6F9619FF-8B86}", "nullable", "u [1]"]
)
def test_an_id_that_only_looks_like_those_is_an_identity(taken: str) -> None:
    assert not identity.never_identifies(taken)
    assert ids(taken, None, None, None) == (taken, None)
    assert ids("$device:" + taken, None, None, None) == (None, taken)
    assert ids(None, None, taken, None) == (None, taken)


def test_the_list_of_identities_holds_all_that_the_rules_refuse() -> None:
    assert set(REFUSED_IDS) <= set(identity.REFUSED)


def test_the_map_has_the_known_id_as_primary_and_the_device_beside_it() -> None:
    (entry,) = frame(("U1", None, "D1", "U1")).select(m=identity.identity_map())["m"].to_list()
    assert entry == [
        {"key": "mixpanelUserId", "value": [{"id": "U1", "authenticatedState": "authenticated", "primary": True}]},
        {"key": "mixpanelDeviceId", "value": [{"id": "D1", "authenticatedState": "ambiguous", "primary": False}]},
    ]


def test_a_device_alone_is_primary_and_nobody_has_no_map() -> None:
    alone, nobody = frame(("$device:D1", None, None, None), ("null", None, None, None)).select(
        m=identity.identity_map(known="K", anonymous="A")
    )["m"].to_list()  # fmt: skip
    assert alone == [{"key": "A", "value": [{"id": "D1", "authenticatedState": "ambiguous", "primary": True}]}]
    assert nobody is None


def test_the_map_of_no_rows_has_its_type() -> None:
    assert frame().select(m=identity.identity_map()).schema["m"] == identity.IDENTITY_MAP


some_text = st.text(max_size=5) | st.sampled_from(["null", "anonymous", "invalid", "", " ", "\x1c"]).flatmap(
    lambda word: st.builds(
        lambda a, b: a + word + b, st.text(" \t\x1c\x85\u2028", max_size=2), st.text(" \n\x1f", max_size=2)
    )
)


@given(some_text)
def test_no_id_that_becomes_an_identity_is_refused_by_the_rules(text: str) -> None:
    for found in ids(text, text, text, text):
        assert found is None or takes_id(found)


@given(st.text(max_size=8) | st.recursive(st.integers() | st.text(max_size=3), st.lists, max_leaves=4).map(identifier))
def test_texts_and_columns_know_the_same_ids_for_none(text: str) -> None:
    bare = text.removeprefix(identity.DEVICE_PREFIX)
    assert (ids(None, None, text, None)[1] is None) == identity.never_identifies(bare)


some_id = st.none() | st.sampled_from(["U1", "D1", "$device:D1", "null", "", "0", "$device:"]) | st.text(max_size=5)


@given(st.lists(st.tuples(some_id, some_id, some_id, some_id), max_size=20))
def test_every_map_has_exactly_one_primary_and_no_refused_id(rows: list[tuple[str | None, ...]]) -> None:
    made = frame(*rows).select(m=identity.identity_map(), k=identity.known_id(), a=identity.anonymous_id())
    for entries, known, anonymous in made.iter_rows():
        if entries is None:
            assert (known, anonymous) == (None, None)
            continue
        items = [item for entry in entries for item in entry["value"]]
        assert [item["primary"] for item in items].count(True) == 1
        assert len({entry["key"] for entry in entries}) == len(entries) == len(items)
        assert len({item["id"] for item in items}) == len(items)
        assert not {item["id"].strip(" ").lower() for item in items} & set(identity.REFUSED)
