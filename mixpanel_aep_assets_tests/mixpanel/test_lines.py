"""A line of the export as a row, or as a broken line with its reason (mixpanel.md#example-lines)."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mixpanel_aep_assets.mixpanel import events, line_parser
from mixpanel_aep_assets_tests.mixpanel import samples

MANY_DIGITS = b'{"event":"x","properties":{"time":1,"n":' + b"9" * 5000 + b"}}"
ALL_GOOD = [*samples.DOCUMENTED, *samples.VARIED, samples.RAW_SEPARATORS, MANY_DIGITS]


def properties_text(line: bytes) -> str:
    return line[line.index(b'"properties":') + 13 : -1].decode()


@pytest.mark.parametrize("line", ALL_GOOD, ids=range(len(ALL_GOOD)))
def test_an_example_line_is_a_row_with_its_properties_byte_for_byte(line: bytes) -> None:
    parsed = events.parse(line + b"\n")
    assert parsed.broken == []
    (row,) = parsed.events.to_pylist()
    assert row["properties"] == properties_text(line)
    assert row["line"] == 1


@pytest.mark.parametrize("line", ALL_GOOD, ids=range(len(ALL_GOOD)))
def test_the_fast_way_and_the_patient_way_give_the_same_row(line: bytes) -> None:
    (fast,) = events.parse(line + b"\n").events.to_pylist()
    patient = line_parser.read_line(line, 1)
    assert isinstance(patient, line_parser.Row)
    assert fast == patient._asdict()


@pytest.mark.parametrize(("line", "reason"), samples.BROKEN.items(), ids=range(len(samples.BROKEN)))
def test_a_broken_line_is_kept_whole_with_its_reason_beside_good_ones(line: bytes, reason: str) -> None:
    parsed = events.parse(samples.VARIED[0] + b"\n" + line + b"\n" + samples.VARIED[1] + b"\n", first_line=11)
    assert parsed.events["line"].to_pylist() == [11, 13]
    (broken,) = parsed.broken
    assert (broken.line, broken.reason, broken.bytes) == (12, reason, line)
    assert broken.detail
    assert parsed.lines == 3


@pytest.mark.parametrize(
    "line",
    [
        rb'{"event":"x","properties":{"time":1,"a":{}},"properties":{"time":2}}',
        rb'{"event":"x","properties":{"time":1} , "properties":{"time":2}}',
        rb'{"event":"x","properties":{"time":1},"\u0070ropertie\u0073":{"time":2}}',
        rb'{"event":"x","properties":{"time":1},"event":"a longer name","properties":{"time":2}}',
        rb'{"event":"x","event":"y","properties":{"time":2}}',
        rb'{"event" : "x", "properties" : {"time":2}}',
        rb'{"event":"caf\u00e9 \"x\"","properties":{"time":2}}',
        rb'{"event":"properties","properties":{"properties":{"properties":{}},"time":2}}',
        rb'{"event":"x","properties":{"a":{"event":"y"},"event":"z","time":2}}',
    ],
)
def test_whatever_members_a_line_has_its_properties_are_the_last_of_that_name(line: bytes) -> None:
    neighbours = [samples.VARIED[0], line, samples.VARIED[1]]
    row = events.parse(b"\n".join(neighbours) + b"\n").events.to_pylist()[1]
    patient = line_parser.read_line(line, 2)
    assert isinstance(patient, line_parser.Row)
    assert row == patient._asdict()
    assert row["time_ms"] == 2000


def test_empty_lines_are_numbered_but_not_counted() -> None:
    parsed = events.parse(b"\n" + samples.VARIED[0] + b"\n\n\n" + samples.VARIED[1] + b"\n")
    assert parsed.events["line"].to_pylist() == [2, 5]
    assert (parsed.lines, parsed.numbered, parsed.broken) == (2, 5, [])


def test_nothing_at_all_is_no_line() -> None:
    parsed = events.parse(b"")
    assert (parsed.lines, parsed.numbered, parsed.events.num_rows) == (0, 0, 0)


def test_a_line_longer_than_any_event_is_set_aside() -> None:
    line = b'{"event":"x","properties":{"time":1,"a":"' + b"x" * line_parser.EVENT_LIMIT + b'"}}'
    assert [broken.reason for broken in events.parse(line + b"\n").broken] == ["too_long"]


def test_a_megabyte_line_is_an_event() -> None:
    line = b'{"event":"x","properties":{"time":1,"a":"' + b"x" * (1 << 20) + b'"}}'
    (row,) = events.parse(line + b"\n").events.to_pylist()
    assert row["properties"] == properties_text(line)


def test_control_characters_that_stand_raw_in_strings_become_escapes_of_the_same_value() -> None:
    (row,) = events.parse(samples.RAW_CONTROLS + b"\n").events.to_pylist()
    assert json.loads(row["properties"])["sep"] == "vt\x0bff\x0cfs\x1c"


@pytest.mark.parametrize(
    ("text", "milliseconds"),
    [
        ("1768024801", 1768024801000),
        ("1768024801123", 1768024801123),
        ("1768024801.5", 1768024801500),
        ('"1768024801"', 1768024801000),
        ('"1768024801123"', 1768024801123),
        ('"2026-01-10T06:00:13"', 1768024813000),
        ('"2026-01-10T06:00:13.250Z"', 1768024813250),
        ('"2026-01-10 07:00:13+01:00"', 1768024813000),
        ("10000000000", 10000000000000),
        ("10000000001", 10000000001),
        ("0", 0),
        ("-5", -5000),
    ],
)
def test_time_may_be_seconds_milliseconds_text_or_iso(text: str, milliseconds: int) -> None:
    line = b'{"event":"x","properties":{"time":' + text.encode() + b"}}\n"
    assert events.parse(line).events["time_ms"].to_pylist() == [milliseconds]


@pytest.mark.parametrize(
    ("text", "stored"),
    [
        ("4", "4"), ("4.0", "4"), ("4.5", "4.5"), ("12345678901234567890123", "12345678901234567890123"),
        ("true", "true"), ("null", None), ('""', ""), ('["a",1]', '["a",1]'), (r'"\ud83d"', r"\ud83d"),
    ],
)  # fmt: skip
def test_an_id_of_any_kind_is_kept_as_text(text: str, stored: str | None) -> None:
    line = b'{"event":"x","properties":{"time":1,"distinct_id":' + text.encode() + b"}}\n"
    assert events.parse(line).events["distinct_id"].to_pylist() == [stored]


def test_hot_shard_rows_get_their_own_name_and_id_back() -> None:
    (row,) = events.parse(samples.VARIED[12] + b"\n").events.to_pylist()
    assert (row["event"], row["distinct_id"]) == ("Ping", "bot-1")
    assert '"mp_original_event_name"' in row["properties"]


def test_an_odd_time_stamp_of_receipt_is_no_reason_to_refuse_an_event() -> None:
    line = b'{"event":"x","properties":{"time":1,"$mp_api_timestamp_ms":"soon","mp_processing_time_ms":"17","$import":"true"}}\n'
    (row,) = events.parse(line).events.to_pylist()
    assert (row["received_ms"], row["processing_ms"], row["imported"]) == (None, 17, True)


@pytest.mark.parametrize(
    "line",
    [
        b'{"properties":{"time":1,"a":{}},"event":"x"}',
        b'{ "event" : "x" , "properties" : {"time": 1} }',
        b'{"event":"x","properties":{"time":1}}\r',
        b'{"event": "x", "properties": {"time": 1}}',
        b'{"event":"\\u0078","properties":{"time":1}}',
        b'{"event":"x","properties":{"time":1,"properties":{"time":2}}}',
        b'{"event":"properties","properties":{"time":1}}',
        b'{"event":"\\"properties\\":{","properties":{"time":1}}',
    ],
)
def test_other_spellings_of_the_same_shape_are_events(line: bytes) -> None:
    (row,) = events.parse(line + b"\n").events.to_pylist()
    assert row["time_ms"] == 1000
    assert row["properties"].encode() in line
    assert json.loads(row["properties"]) == json.loads(line)["properties"]


@pytest.mark.parametrize(
    "line",
    [
        b'{"event":"x","properties":{"time":1},"properties":{"time":2}}',
        b'{"event":"x","properties":{"time":1},"properties" :{"time":2}}',
        b'{"event":"x","properties":{"time":1},"propert\\u0069es":{"time":2}}',
        b'{"event":"x","properties":{"time":1},"\\u0070roperties":{"time":2}}',
        b'{"event":"x","properties":{"time":1},"event":{}}',
        b'{"event":"a","properties":{"time":1},"event":"x"}',
    ],
)
def test_a_key_given_twice_never_gives_properties_that_are_no_json(line: bytes) -> None:
    parsed = events.parse(line + b"\n")
    assert parsed.lines == 1
    for text in parsed.events["properties"].to_pylist():
        assert isinstance(json.loads(text), dict)


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b'{"event":"x","properties":{"time":99999999999999999999}}', "bad_time"),
        (b'{"event":"x","properties":{"time":1,"mp_processing_time_ms":99999999999999999999}}', None),
        (b'{"event":"x","properties":{"time":1,"$mp_api_timestamp_ms":-99999999999999999999}}', None),
    ],
)
def test_a_number_too_large_for_its_column_fails_no_batch(line: bytes, reason: str | None) -> None:
    parsed = events.parse(samples.VARIED[0] + b"\n" + line + b"\n")
    assert [broken.reason for broken in parsed.broken] == ([reason] if reason else [])
    assert parsed.events.num_rows + len(parsed.broken) == 2


def test_unusual_lines_among_plain_ones_keep_their_place() -> None:
    plain = [b'{"event":"e%d","properties":{"time":%d,"a":"\xc3\xa9"}}' % (n, n) for n in range(12)]
    unusual = [*samples.VARIED, *samples.BROKEN, b'{"event":"x","properties":{"time":1,"distinct_id":4}}', b"\xff\xfe"]
    lines = [line for pair in zip(plain * 5, unusual, strict=False) for line in pair]
    together = events.parse(b"\n".join(lines) + b"\n")
    alone = [events.parse(line, number) for number, line in enumerate(lines, start=1)]
    assert together.events.to_pylist() == [row for one in alone for row in one.events.to_pylist()]
    assert together.broken == [broken for one in alone for broken in one.broken]
    assert together.digest == sum(one.digest for one in alone) % (1 << 128)


def test_the_digest_does_not_depend_on_order_or_batches_but_on_every_byte() -> None:
    lines = [line + b"\n" for line in ALL_GOOD]
    forward = events.parse(b"".join(lines)).digest
    assert events.parse(b"".join(reversed(lines))).digest == forward
    halves = events.parse(b"".join(lines[:7])).digest + events.parse(b"\n" + b"".join(lines[7:])).digest
    assert halves % (1 << 128) == forward
    assert events.parse(b"".join(lines).replace(b"depth3", b"depth4")).digest != forward
    assert events.parse(b"".join(lines) + lines[0]).digest != forward


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
names = st.sampled_from([*line_parser.FIELDS.values(), "properties", "event"]) | st.text(max_size=8)


@given(
    st.lists(
        st.tuples(st.text(max_size=12), st.dictionaries(names, json_values, max_size=6), st.booleans()), max_size=5
    )
)
def test_both_ways_agree_on_any_json(drawn: list[tuple[str, dict[str, object], bool]]) -> None:
    lines = [
        json.dumps({"event": name, "properties": values}, separators=(",", ":"), ensure_ascii=escaped).encode(
            "utf-8", "surrogatepass"
        )
        for name, values, escaped in drawn
    ]
    parsed = events.parse(b"".join(line + b"\n" for line in lines))
    expected = [line_parser.read_line(line, number) for number, line in enumerate(lines, 1)]
    assert parsed.events.to_pylist() == [read._asdict() for read in expected if isinstance(read, line_parser.Row)]
    assert parsed.broken == [read for read in expected if isinstance(read, line_parser.Broken)]
