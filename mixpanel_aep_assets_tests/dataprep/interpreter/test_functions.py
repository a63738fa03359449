"""Rules of functions that the reference suite has no case for."""

from __future__ import annotations

from typing import Any

import pytest

from mixpanel_aep_assets.dataprep.interpreter.evaluate import evaluate_expression
from mixpanel_aep_assets.dataprep.interpreter.functions import FUNCTIONS
from mixpanel_aep_assets.dataprep.interpreter.values import to_json
from mixpanel_aep_assets.dataprep.language.mapping_errors import EvaluationError

_WEBKIT = "AppleWebKit/537.36 (KHTML, like Gecko)"
CHROME = f"Mozilla/5.0 (Windows NT 10.0; Win64; x64) {_WEBKIT} Chrome/120.0.0.0 Safari/537.36"
PIXEL = f"Mozilla/5.0 (Linux; Android 13; Pixel 7) {_WEBKIT} Chrome/116.0.0.0 Mobile Safari/537.36"
TABLET = f"Mozilla/5.0 (Linux; Android 12; SM-T870) {_WEBKIT} Chrome/116.0.0.0 Safari/537.36"
IPAD = f"Mozilla/5.0 (iPad; CPU OS 15_5 like Mac OS X) {_WEBKIT} Version/15.5 Mobile/15E148 Safari/604.1"
GOOGLEBOT = "Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)"


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("concat('a', null, 1, true, 2.0, 2.5)", "a1true22.5"),
        ("concat(1e18, ' ', 0.00001, ' ', 1e21, ' ', 2.5e-7)", "1000000000000000000 0.00001 1e+21 2.5e-7"),
        ("concat(date('2020-01-02'), '!')", "2020-01-02T00:00:00Z!"),
        ("concat(date('2020-01-02 03:04:05.678'))", "2020-01-02T03:04:05.678Z"),
        ("explode('a,,b,,')", ["a", "", "b"]),
        ("explode(',a')", ["", "a"]),
        ("explode('')", [""]),
        ("explode('abc', '')", ["a", "b", "c"]),
        ("explode('aéb', 'é')", ["a", "b"]),
        ("split('a,,b,', ',')", ["a", "b"]),
        ("split('a b\tc', null)", ["a", "b", "c"]),
        ("instr('abc', 'x')", -1),
        ("instr('aaa', 'a', 0, 4)", -1),
        ("instr('abcabc', 'b', 2)", 4),
        ("instr(null, 'x')", None),
        ("replacestr('aaa', 'a', 'b')", "bbb"),
        ("replacestr('a.c', '.', '')", "ac"),
        ("replacestr('abc', '', 'x')", "abc"),
        ("substr('abc', 1, 100)", "bc"),
        ("substr('abc', 9, 1)", ""),
        ("left('abc', 9)", "abc"),
        ("right('abc', 0)", ""),
        ("trim('\\u00a0 a \\u3000')", "a"),
        ("lpad('bat', 2, 'x')", "bat"),
        ("lpad(null, 5, 'x')", None),
        ("join(',', [1, null, 'a', [2, {'k': 'v'}]])", '1,,a,[2,{"k":"v"}]'),
        ("lower(5)", "5"),
        ("upper('straße')", "STRASSE"),
        ("extract_regex('abc', 'x')", []),
        ("extract_regex('ab', '(a)|(b)')", ["a", "a", None]),
        ("matches_regex('abc', 'b')", False),
        ("matches_regex('aB1', '\\p{Lower}[\\p{Upper}x]\\P{Alpha}')", True),
        ("matches_regex(null, 'b')", None),
        ("matches_regex('a.b', '\\\\Qa.b\\\\E')", True),
        ("matches_regex('[', '[\\\\[x]')", True),
        ("json_to_object({'info': {'name': 'John'}}).info.name", "John"),
        ("json_to_object('[1' + '0' + '00000000000000000000000]')[0] == to_bigint('1000000000000000000000000')", True),
        ("make_date_time(2019, 3, 10, 2, 30, 0, 0, 'America/Los_Angeles')", "2019-03-10T03:30:00-07:00"),
        ("set_date_part('hour', 2, make_date_time(2019, 3, 10, 1, 0, 0, 0, 'PST'))", "2019-03-10T03:00:00-07:00"),
        ("format(date('2019-10-23T11:24:35+05:30'), 'HH:mm z')", "11:24 +05:30"),
        ("format(date('2019-10-23T11:24:35Z'), 'HH:mm z')", "11:24 UTC"),
        ("sha256('é', 'ISO-8859-1')", "de2e331d891ae267a7009cb45b4e8830f170e0c937288ea2731a1941c7a53b0d"),
        ("hash('SHA-256', '') == sha256('')", True),
        ("md5('a', 'UTF-16')", "4b936244fb81c0500598b1938266f69a"),
        ("get_url_host('https://user:pw@Example.com:8080/p')", "Example.com"),
        ("get_url_host('https://[::1]:80/')", "[::1]"),
        ("get_url_port('https://example.com')", 443),
        ("get_url_port('foo://example.com')", None),
        ("get_url_port('http://example.com:99999/')", 80),
        ("get_url_protocol('HTTPS://example.com')", "HTTPS"),
        ("get_url_path('not a url')", None),
        ("get_url_path('https://e.com/a/b', false)", "b"),
        ("get_url_query_str('/p', 'retain')", {}),
        ("get_url_query_str('/p?a=1&a=2&b#x', 'retain')", {"a": "2", "b": "#x"}),
        ("get_url_encoded('a b~é|')", "a%20b%7E%C3%A9%7C"),
        ("get_url_decoded('a+b%20c%zz')", "a+b c%zz"),
        ("date('2020-02-30')", EvaluationError),
        ("date('20-20-2020')", EvaluationError),
        ("date(null, 'yyyy', date('2020-01-01'))", "2020-01-01T00:00:00Z"),
        ("date('x', 'yyyy', date('2020-01-01'))", EvaluationError),
        ("date('5.7.20', 'd.M.yy')", "2020-07-05T00:00:00Z"),
        ("date('Fri, 03 JAN 2020 1 pm', 'EEE, dd MMM yyyy hh a')", EvaluationError),
        ("date('Fri, 03 JAN 2020 11 pm', 'EEE, dd MMM yyyy hh a')", "2020-01-03T23:00:00Z"),
        ("date('2020-06-01 10:00 PST', 'yyyy-MM-dd HH:mm z')", "2020-06-01T10:00:00-07:00"),
        ("date('2020 060', 'yyyy DDD')", "2020-02-29T00:00:00Z"),
        ("date(\"o'clock 2020\", \"'o''clock' yyyy\")", "2020-01-01T00:00:00Z"),
        ("format('2020-02-09T13:04:05.678Z', 'yy/M/d h:mm a SSS')", "20/2/9 1:04 PM 678"),
        ("format('2020-02-09', 'EEE EEEE MMM MMMM D X Z k')", "Sun Sunday Feb February 40 Z +0000 24"),
        ("format(zone_date_to_zone('2020-02-09', 'Asia/Kolkata'), 'XXX Z X')", "+05:30 +0530 +0530"),
        ("format(zone_date_to_zone('2020-02-09', 'Asia/Kolkata'), 'VV O QQQ')", "Asia/Kolkata GMT+5:30 Q1"),
        ("date_part('weekday', '2024-01-07')", 1),
        ("date_part('w', '2024-12-31')", 1),
        ("date_part('yy', '2024-12-31')", 2024),
        ("date_part('hh12', '2024-12-31 00:10')", 12),
        ("set_date_part('month', 2, '2024-01-31')", "2024-02-29T00:00:00Z"),
        ("set_date_part('day', 31, '2024-02-01')", EvaluationError),
        ("make_date_time(2019, 10, 17, 11, 55, 12, 123456789, 'Asia/Tokyo')", "2019-10-17T11:55:12.123456+09:00"),
        ("make_date_time(2019, 13, 17, 11, 55, 12, 0, 'UTC')", EvaluationError),
        ("is_empty(null)", True),
        ("is_empty({})", True),
        ("is_empty(0)", False),
        ("arrays_to_objects('a', [1, 2], 'b', [3])", [{"a": 1, "b": 3}, {"a": 2, "b": None}]),
        ("arrays_to_objects('a', 1)", EvaluationError),
        ("str_to_object('a:1:2,b, :3')", {"a": "1:2"}),
        ("map_get_values({'a': 1, 'b': 2}, ['a', 'x'])", {"a": 1}),
        ("map_has_keys({'1': 1}, [0, 1])", True),
        ("add_to_map({'a': 1}, null, {'a': 2, 'b': 3})", {"a": 1, "b": 3}),
        ("object_to_map([{'t': 'x', 'v': 1}, {'v': 2}], t)", {"x": {"t": "x", "v": 1}}),
        ("object_to_map([{'t': 'x'}], 't')", {"x": {"t": "x"}}),
        ("to_map(null, 1)", None),
        ("coalesce(null, [1])", [1]),
        ("first(null)", None),
        ("last([])", None),
        ("last(1, 2)", 2),
        ("add_to_array(null, 1)", [1]),
        ("size_of(null)", 0),
        ("size_of({'a': 1})", 1),
        ("decode('x', 'a', 1)", None),
        ("min([3, null, '2'])", "2"),
        ("max(date('2020-01-01'), date('2021-01-01'))", "2021-01-01T00:00:00Z"),
        ("max('a', true)", EvaluationError),
        ("to_integer('12.9')", 12),
        ("to_integer('-12.9')", -12),
        ("to_bigint('123456789012345678901234567890.9')", 123456789012345678901234567890),
        ("to_integer('x')", EvaluationError),
        ("to_integer('')", EvaluationError),
        ("to_integer(' 1')", EvaluationError),
        ("to_float('12.3456')", 12.3456),
        ("to_float('1e39')", EvaluationError),
        ("to_decimal('5')", 5.0),
        ("json_to_object('[1, {\"a\": null}]')", [1, {"a": None}]),
        ("json_to_object('{')", EvaluationError),
        ("aa_get_event_value('a,b:7', 'b')", "1"),
        ("aa_get_event_id('a,b:7', 'b')", "7"),
        ("aa_get_event_value('a', 'x')", None),
        ("aa_get_product_prices('c;n;1;2.50,;m')", ["2.50", None]),
        (f"ua_agent_name('{CHROME}')", "Chrome"),
        (f"ua_agent_version('{CHROME}')", "120.0.0.0"),
        (f"ua_os_name_version('{CHROME}')", "Windows NT 10.0"),
        (f"ua_device_class('{CHROME}')", "Desktop"),
        (f"ua_agent_name('{PIXEL}')", "Chrome"),
        (f"ua_device_class('{PIXEL}')", "Phone"),
        (f"ua_device_class('{TABLET}')", "Tablet"),
        (f"ua_device_class('{IPAD}')", "Tablet"),
        (f"ua_os_version_major('{IPAD}')", "iOS 15"),
        (f"ua_device_class('{GOOGLEBOT}')", "Robot"),
        ("ua_agent_name('')", "Unknown"),
        ("ua_os_version(null)", None),
    ],
)  # fmt: skip
def test_a_call_gives_this_value(text: str, value: Any) -> None:
    if isinstance(value, type):
        with pytest.raises(value):
            evaluate_expression(text)
    else:
        found = to_json(evaluate_expression(text))
        assert found == value
        assert type(found) is type(value)


def test_a_pattern_from_a_field_is_bounded_in_time_and_refused_when_unsupported() -> None:
    assert evaluate_expression("matches_regex(t, p)", {"t": "a" * 50_000 + "!", "p": "(a*)*(a|a)*b"}) is False
    with pytest.raises(EvaluationError, match="look-around"):
        evaluate_expression("matches_regex(t, p)", {"t": "a", "p": "(?<!x)a"})


def test_an_unknown_zone_from_a_field_is_an_error() -> None:
    with pytest.raises(EvaluationError, match="unknown"):
        evaluate_expression("zone_date_to_zone(d, z)", {"d": "2020-01-01", "z": "../etc/passwd"})


def test_aliases_share_one_body() -> None:
    assert FUNCTIONS["lcase"].body is FUNCTIONS["lower"].body
    assert FUNCTIONS["lcase"].alias_of == "lower"
    assert FUNCTIONS["is_set"].deprecated


def test_every_function_shows_its_form() -> None:
    assert FUNCTIONS["explode"].signature == "explode(string, [string])"
    assert FUNCTIONS["coalesce"].signature == "coalesce(any value, ...)"
    assert all(function.signature.startswith(name) for name, function in FUNCTIONS.items())
