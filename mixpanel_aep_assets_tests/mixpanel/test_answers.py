"""What is an answer in place of events, and what is a line; no message shows an event (mixpanel.md#failures)."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mixpanel_aep_assets.mixpanel import answers, export, line_parser, mixpanel_errors
from mixpanel_aep_assets.mixpanel.body import MARK
from mixpanel_aep_assets.mixpanel.client import MixpanelClient, classify
from mixpanel_aep_assets.storage import Day
from mixpanel_aep_assets_tests.mixpanel.conftest import DAY, NO_WAIT, Scripted, answer, event, outside_of

BODY = b"".join(event(number) for number in range(5))
SECRET = "mail@example.com"
NUMBER = b'{"event":100,"properties":{"time":1768024800,"distinct_id":"mail@example.com","$insert_id":"n1"}}\n'

LINES = {
    "a number for the event's name": NUMBER,
    "with a property error": NUMBER.replace(b'"$insert_id"', b'"error":"not found","$insert_id"'),
    "with words of a refusal": NUMBER.replace(
        b'"$insert_id"', b'"error":"Unable to authenticate request","$insert_id"'
    ),
    "with words of giving up": NUMBER.replace(b'"n1"', b'"export terminated early"'),
    "null for the name": NUMBER.replace(b"100", b"null"),
    "no name": NUMBER.replace(b'"event":100,', b""),
    "no name and an error beside": NUMBER.replace(b'"event":100', b'"error":"timed out"'),
    "no properties": b'{"event":"authenticate","error":"mail@example.com"}\n',
    "a bad time": b'{"event":"Too many requests","properties":{"time":"soon","id":"mail@example.com"}}\n',
    "a time beyond": b'{"event":"does not support raw data export","properties":{"time":1741168800000000}}\n',
    "no time": b'{"event":"timed out","properties":{"error":"mail@example.com"}}\n',
    "more members": b'{"event":"x","properties":{"time":1},"error":"mail@example.com"}\n',
}


def failure(server: Scripted, client: MixpanelClient, day: Day, *given: bytes) -> mixpanel_errors.MixpanelError:
    server.answers = list(given)
    with pytest.raises(mixpanel_errors.MixpanelError) as caught:
        export.export_day(client, day, DAY, retry=NO_WAIT)
    assert day.manifest() is None
    assert SECRET not in str(caught.value)
    return caught.value


@pytest.mark.parametrize("before", [b"", event(0)], ids=["alone", "last"])
@pytest.mark.parametrize("line", LINES.values(), ids=LINES)
def test_a_line_with_event_or_properties_is_set_aside_and_never_an_answer(
    server: Scripted, client: MixpanelClient, day: Day, line: bytes, before: bytes
) -> None:
    server.answers = [answer(before + line)]
    made = export.export_day(client, day, DAY, retry=NO_WAIT)
    aside = made.manifest.quarantined + outside_of(day).height
    assert (made.manifest.rows, aside) == (len(before) > 0, 1)
    assert len(server.requests) == 1


def test_a_day_of_nothing_but_numbers_for_names_is_a_day_of_lines_set_aside(
    server: Scripted, client: MixpanelClient, day: Day
) -> None:
    server.answers = [answer(NUMBER + NUMBER.replace(b"100", b"101"))]
    made = export.export_day(client, day, DAY, retry=NO_WAIT)
    assert (made.manifest.rows, made.manifest.reasons) == (0, {"no_event": 2})


GIVEN_UP = {
    "alone": b"error completing export request\n",
    "alone without newline": b"error completing export request",
    "in capitals": b"Error completing export request.\n",
    "at the end": BODY + b"error completing export request\n",
    "in the middle": BODY + b"error completing export request\n" + BODY,
    "as an error object alone": b'{"error":"error completing export request"}\n',
    "as an error object in the middle": BODY + b'{"error":"export terminated early"}\n' + BODY,
    "as a JSON text": BODY + b'"export terminated early"\n',
    "behind a byte order mark": MARK + b"export terminated early\n",
}


@pytest.mark.parametrize("body", GIVEN_UP.values(), ids=GIVEN_UP)
def test_an_export_that_mixpanel_gave_up_is_asked_for_again(
    server: Scripted, client: MixpanelClient, day: Day, body: bytes
) -> None:
    error = failure(server, client, day, answer(body))
    assert isinstance(error, mixpanel_errors.ExportIncomplete)
    assert "gave the export up" in str(error)
    assert len(server.requests) == NO_WAIT.tries


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (b'{"code":429,"error":"Project exceeded rate limits. Please retry the request with exponential backoff."}', mixpanel_errors.RateLimited),
        (b"too many export requests in progress for this project", mixpanel_errors.RateLimited),
        (b'{"error":"Internal server error"}', mixpanel_errors.ServerFault),
        (b'{"request":"/api/2.0/export","error":"Timeout Error."}', mixpanel_errors.ServerFault),
    ],
)  # fmt: skip
def test_a_passing_failure_in_a_200_is_named_as_with_its_own_status(
    server: Scripted, client: MixpanelClient, day: Day, body: bytes, kind: type[mixpanel_errors.MixpanelError]
) -> None:
    error = failure(server, client, day, answer(body))
    assert type(error) is kind
    assert error.retryable


ARRAY = json.dumps([json.loads(event(number)) for number in range(3)]).encode()
ARRAYS = {
    "one line": ARRAY + b"\n",
    "without newline": ARRAY,
    "an event a line": b"[\n" + BODY.replace(b"}}\n", b"}},\n").rstrip(b",\n") + b"\n]\n",
    "opened in the first event's line": b"[" + BODY.replace(b"}}\n", b"}},\n").rstrip(b",\n") + b"]",
    "indented": json.dumps(json.loads(ARRAY), indent=2).encode(),
    "empty": b"[]\n",
    "cut": ARRAY[:-40],
    "with a byte order mark": MARK + b" " + ARRAY,
    "longer than an event": b"[" + b",".join([event(1, note="x" * 5000).strip()] * 2000) + b"]\n",
}


@pytest.mark.parametrize("body", ARRAYS.values(), ids=ARRAYS)
@pytest.mark.parametrize("packed", [False, True])
def test_a_body_that_is_one_json_array_is_refused_in_one_sentence_and_not_asked_for_again(
    server: Scripted, client: MixpanelClient, day: Day, body: bytes, packed: bool
) -> None:
    error = failure(server, client, day, answer(body, packed=packed))
    assert isinstance(error, mixpanel_errors.UnexpectedAnswer)
    assert error.what == "The answer is one JSON array, where an export is one event a line"
    assert len(server.requests) == 1


def test_a_line_that_is_an_array_before_events_is_set_aside(server: Scripted, client: MixpanelClient, day: Day) -> None:
    server.answers = [answer(b"[]\n" + BODY)]
    made = export.export_day(client, day, DAY, retry=NO_WAIT)
    assert (made.manifest.rows, outside_of(day)["reason"].to_list()) == (5, ["wrong_shape"])


@pytest.mark.parametrize("coding", ["gzip", "x-gzip", "X-GZIP", " gzip ", "identity, gzip"])
def test_the_old_name_of_gzip_is_gzip(server: Scripted, client: MixpanelClient, day: Day, coding: str) -> None:
    server.answers = [answer(gzip.compress(BODY), headers={"Content-Encoding": coding})]
    assert export.export_day(client, day, DAY, retry=NO_WAIT).manifest.rows == 5


@pytest.mark.parametrize("coding", ["br", "deflate", "gzip, gzip", "gzip, br", "aws-chunked"])
def test_a_coding_that_was_not_offered_is_named(
    server: Scripted, client: MixpanelClient, day: Day, coding: str
) -> None:
    error = failure(server, client, day, answer(BODY, headers={"Content-Encoding": coding}))
    assert isinstance(error, mixpanel_errors.UnexpectedAnswer)
    assert coding in str(error)


@pytest.mark.parametrize("chunk", [1, 2, 3, 4096])
@pytest.mark.parametrize("packed", [False, True])
def test_a_byte_order_mark_before_line_1_is_no_part_of_it(
    server: Scripted, client: MixpanelClient, day: Day, chunk: int, packed: bool
) -> None:
    server.answers = [answer(MARK + BODY, chunk=chunk, packed=packed), answer(BODY)]
    marked = export.export_day(client, day, DAY, retry=NO_WAIT)
    assert (marked.manifest.rows, marked.manifest.quarantined) == (5, 0)
    assert export.export_day(client, day, DAY, retry=NO_WAIT).unchanged


def test_a_byte_order_mark_alone_is_an_empty_day(server: Scripted, client: MixpanelClient, day: Day) -> None:
    server.answers = [answer(MARK)]
    assert export.export_day(client, day, DAY, retry=NO_WAIT).manifest.exported == 0


EVENT_TEXT = NUMBER.decode().strip()


@pytest.mark.parametrize("status", [200, 400, 401, 402, 403, 404, 429, 500])
@pytest.mark.parametrize(
    "text", [EVENT_TEXT, json.dumps({"error": f"bad line {EVENT_TEXT}"}), f"<title>{EVENT_TEXT}</title>"]
)
def test_no_refusal_quotes_an_event(status: int, text: str) -> None:
    assert SECRET not in str(classify(status, text))


def test_a_body_of_pieces_of_events_is_not_quoted(server: Scripted, client: MixpanelClient, day: Day) -> None:
    failure(server, client, day, answer(b"data: " + NUMBER + b"data: " + NUMBER))


values = st.none() | st.booleans() | st.integers() | st.text(max_size=20)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
@given(
    named=values | st.lists(values, max_size=2),
    properties=st.dictionaries(st.sampled_from(["error", "time", "status", "code", "event"]), values, max_size=4),
    both=st.sampled_from(["event", "properties", "both"]),
    more=st.dictionaries(st.sampled_from(["error", "status", "code"]), values, max_size=2),
)
def test_whatever_a_line_with_event_or_properties_holds_it_is_never_an_answer(
    named: object, properties: dict[str, object], both: str, more: dict[str, object]
) -> None:
    held = {"event": named, "properties": properties}
    members = (held if both == "both" else {both: held[both]}) | more
    read = line_parser.read_line(json.dumps(members).encode(), 1)
    if isinstance(read, line_parser.Broken):
        assert answers.word(read) is None
        assert answers.error_object(read) is None
        assert answers.given_up(read) is None


@pytest.mark.parametrize("make", ["drop"])
def test_under_privacy_rules_not_even_an_answer_is_quoted(
    server: Scripted, make_client: Callable[..., MixpanelClient], day: Day, make: str
) -> None:
    from mixpanel_aep_assets.mixpanel.privacy import Privacy, PrivacySettings

    client = make_client(privacy=Privacy(PrivacySettings(drop=["email"])))
    error = failure(server, client, day, answer(b'{"error":"mail of somebody"}\n'))
    assert "somebody" not in str(error)
