"""Each row of the failure table (mixpanel.md#failures): what it is taken for, and whether it is asked again."""

from __future__ import annotations

import datetime

import pytest

from mixpanel_aep_assets.mixpanel import export, mixpanel_errors
from mixpanel_aep_assets.mixpanel.client import MixpanelClient
from mixpanel_aep_assets.network import retry_after
from mixpanel_aep_assets.storage import Day
from mixpanel_aep_assets_tests.mixpanel import samples
from mixpanel_aep_assets_tests.mixpanel.conftest import DAY, NO_WAIT, Scripted, answer, event, source
from mixpanel_aep_assets_tests.outside import CASES, NO_CASES

ANSWERS = CASES / "answers"
GOOD = [line + b"\n" for line in samples.VARIED[:4]]
BODY = b"".join(GOOD)


def failure(server: Scripted, client: MixpanelClient, day: Day, *answers: bytes) -> mixpanel_errors.MixpanelError:
    server.answers = list(answers)
    with pytest.raises(mixpanel_errors.MixpanelError) as caught:
        export.export_day(client, day, DAY, retry=NO_WAIT)
    assert day.manifest() is None
    assert "hunter2" not in str(caught.value)
    return caught.value


TORN = {
    "terminated early": answer(BODY + b"terminated early\n"),
    "terminated early without newline": answer(BODY + b"terminated early"),
    "export terminated early": answer(BODY + b"export terminated early\n", packed=True),
    "terminated early alone": answer(b"terminated early\n"),
    "terminated early with spaces": answer(BODY + b"  terminated early \r\n"),
    "terminated early in the middle": answer(BODY + b"terminated early\n" + BODY),
    "no newline at the end": answer(BODY[:-1]),
    "half of the only line": answer(BODY[:50]),
    "half of the only line and a newline": answer(BODY[:50] + b"\n"),
    "half a line": answer(BODY[:-40]),
    "half a line and a newline": answer(BODY[:-40] + b"\n"),
    "half a gzip stream": answer(BODY, packed=True, cut=100),
    "gzip without its trailer": answer(BODY, packed=True, cut=-8),
    "no last chunk": answer(BODY, last_chunk=False),
    "gzip and no last chunk": answer(BODY, packed=True, last_chunk=False),
    "an error object at the end": answer(BODY + b'{"error":"internal"}\n'),
    "cut in a character": answer((GOOD[0] + '{"event":"ü'.encode())[:-1]),
    "neither length nor chunks": b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n" + BODY,
    "shorter than its length": b"HTTP/1.1 200 OK\r\nContent-Length: 99999\r\nConnection: close\r\n\r\n" + BODY,
    "gzip that is none": answer(BODY, headers={"Content-Encoding": "gzip"}),
}


@pytest.mark.parametrize("torn", TORN.values(), ids=TORN)
def test_a_body_that_is_not_proven_whole_is_a_failed_window_and_asked_again(
    server: Scripted, client: MixpanelClient, day: Day, torn: bytes
) -> None:
    error = failure(server, client, day, torn)
    assert isinstance(error, mixpanel_errors.ExportIncomplete)
    assert error.retryable
    assert len(server.requests) == NO_WAIT.tries


@pytest.mark.parametrize("torn", TORN.values(), ids=TORN)
def test_a_whole_body_after_a_torn_one_is_the_day(
    server: Scripted, client: MixpanelClient, day: Day, torn: bytes
) -> None:
    server.answers = [torn, answer(BODY)]
    assert export.export_day(client, day, DAY, retry=NO_WAIT).manifest.rows == len(GOOD)


def test_text_in_an_event_that_says_terminated_early_is_an_event(
    server: Scripted, client: MixpanelClient, day: Day
) -> None:
    server.answers = [answer(BODY + event(9, "export terminated early", note="terminated early"))]
    assert export.export_day(client, day, DAY, retry=NO_WAIT).manifest.rows == len(GOOD) + 1


def test_a_body_of_known_length_is_whole(server: Scripted, client: MixpanelClient, day: Day) -> None:
    head = f"HTTP/1.1 200 OK\r\nContent-Length: {len(BODY)}\r\nConnection: close\r\n\r\n".encode()
    server.answers = [head + BODY]
    assert export.export_day(client, day, DAY, retry=NO_WAIT).manifest.rows == len(GOOD)


PLAN = b"Your plan does not support raw data export. Visit mixpanel.com/pricing to upgrade."
TOO_LATE = b"Invalid request: to_date cannot be later than today"
LIMIT_HIT = (
    b'{"request":"/api/2.0/export?...","error":"Query rate limit exceeded for project_id: 2526451. 1/5 queries '
    b'running concurrently and 61/60 queries running in the last hour."}'
)

CLUSTER = b'{"request": "/api/2.0/export?...", "error": "request failed with error: invalid project id for cluster."}'
FRONT_END = (
    b"<!doctype html><title>403</title>403 Forbidden<p>Your client does not have permission to get URL "
    b"<code>/api/2.0/export</code> from this server."
)

REFUSALS = {
    "plan sentence in a 200": (answer(PLAN), mixpanel_errors.PlanLacksExport),
    "plan sentence in a 402": (answer(PLAN, "402 Payment Required"), mixpanel_errors.PlanLacksExport),
    "402 json": (answer(b'{"error":"no"}', "402 Payment Required"), mixpanel_errors.PlanLacksExport),
    "error object in a 200": (
        answer(b'{"error":"Unable to authenticate request"}\n'),
        mixpanel_errors.AuthenticationFailed,
    ),
    "other error object in a 200": (answer(b'{"error":"bad where"}'), mixpanel_errors.BadRequest),
    "day not begun": (answer(TOO_LATE, "400 Bad Request"), mixpanel_errors.DateTooLate),
    "400 credentials": (
        answer(b"Unable to authenticate request", "400 Bad Request"),
        mixpanel_errors.AuthenticationFailed,
    ),
    "400 credentials as json": (
        answer(b'{"request":"/api/2.0/export","error":"Unable to authenticate request"}', "400 Bad Request"),
        mixpanel_errors.AuthenticationFailed,
    ),
    "400 date": (answer(b"Error in from_date: invalid date, bad year", "400 Bad Request"), mixpanel_errors.BadRequest),
    "400 where": (answer(b"parse error in where", "400 Bad Request"), mixpanel_errors.BadRequest),
    "400 empty": (answer(b"", "400 Bad Request"), mixpanel_errors.BadRequest),
    "401": (answer(b'{"error":"x","status":"error"}', "401 Unauthorized"), mixpanel_errors.AuthenticationFailed),
    "403": (answer(b'{"error":"x","status":"error"}', "403 Forbidden"), mixpanel_errors.NotAllowed),
    "400 wrong region": (answer(CLUSTER, "400 Bad Request"), mixpanel_errors.WrongRegion),
    "403 page of a front end": (answer(FRONT_END, "403 Forbidden"), mixpanel_errors.Blocked),
    "401 page of a proxy": (answer(b"\n<html>log in</html>", "401 Unauthorized"), mixpanel_errors.Blocked),
    "407": (answer(b"", "407 Proxy Authentication Required"), mixpanel_errors.Blocked),
    "413": (answer(b"<html>too large</html>", "413 Content Too Large"), mixpanel_errors.RequestTooLong),
    "431": (answer(b"", "431 Request Header Fields Too Large"), mixpanel_errors.RequestTooLong),
    "404": (answer(b"<html><title>Not Found</title></html>", "404 Not Found"), mixpanel_errors.NotFound),
    "414": (answer(b"<html>too long</html>", "414 URI Too Long"), mixpanel_errors.RequestTooLong),
    "redirect": (
        answer(b"", "302 Found", headers={"Location": "https://login.example/x?y"}),
        mixpanel_errors.UnexpectedAnswer,
    ),
    "a page in a 200": (answer(b"<html>\n<body>\nlog in\n</body>\n</html>\n"), mixpanel_errors.UnexpectedAnswer),
    "one line of a page": (answer(b"<html>log in</html>\n"), mixpanel_errors.UnexpectedAnswer),
    "a coding that was not offered": (
        answer(BODY, headers={"Content-Encoding": "br"}),
        mixpanel_errors.UnexpectedAnswer,
    ),
    "long 429": (answer(LIMIT_HIT, "429 Too Many Requests"), mixpanel_errors.RateLimited),
}


@pytest.mark.parametrize(("given", "kind"), REFUSALS.values(), ids=REFUSALS)
def test_a_refusal_is_named_with_its_fix_and_not_repeated(
    server: Scripted, client: MixpanelClient, day: Day, given: bytes, kind: type[mixpanel_errors.MixpanelError]
) -> None:
    error = failure(server, client, day, given)
    assert type(error) is kind
    assert error.fix
    assert error.fix in str(error)
    assert len(server.requests) == 1


def test_a_project_of_another_region_names_the_region_as_the_first_thing_to_check(
    server: Scripted, client: MixpanelClient, day: Day
) -> None:
    error = failure(server, client, day, answer(CLUSTER, "400 Bad Request"))
    variables = [word.strip(",.") for word in error.fix.split() if word.startswith("MIXPANEL_")]
    assert variables[0] == "MIXPANEL_REGION"


def test_a_page_of_a_front_end_names_the_network_and_no_role(
    server: Scripted, client: MixpanelClient, day: Day
) -> None:
    text = str(failure(server, client, day, answer(FRONT_END, "403 Forbidden")))
    assert "This is the network, not a role" in text
    assert "Organization Settings" not in text


@pytest.mark.skipif(not ANSWERS.is_dir(), reason=NO_CASES)
@pytest.mark.parametrize(
    ("file", "kind"),
    [("wrong-region-400.txt", mixpanel_errors.WrongRegion), ("front-end-403.txt", mixpanel_errors.Blocked)],
)
def test_answers_as_they_were_seen_are_taken_for_what_they_are(
    server: Scripted, client: MixpanelClient, day: Day, file: str, kind: type[mixpanel_errors.MixpanelError]
) -> None:
    head, _, body = (ANSWERS / file).read_bytes().replace(b"\r\n", b"\n").partition(b"\n\n")
    error = failure(server, client, day, head.replace(b"\n", b"\r\n") + b"\r\nConnection: close\r\n\r\n" + body)
    assert type(error) is kind


def test_a_refusal_that_repeats_the_secret_is_told_without_it(
    server: Scripted, client: MixpanelClient, day: Day
) -> None:
    header = client.source.credentials.header()
    said = f"no such account: user:hunter2-secret ({header})".encode()
    text = str(failure(server, client, day, answer(said, "401 Unauthorized")))
    assert "no such account: user:***" in text
    assert header.removeprefix("Basic ") not in text


PASSING = {
    "500": answer(b"oops", "500 Internal Server Error"),
    "502 page": answer(b"<html><title>Bad Gateway</title></html>", "502 Bad Gateway"),
    "503": answer(b"", "503 Service Unavailable"),
    "504": answer(b"", "504 Gateway Timeout"),
    "400 time-out": answer(b'{"request":"/api/2.0/export","error":"Timeout Error."}', "400 Bad Request"),
    "no answer at all": b"",
    "half a head": b"HTTP/1.1 200 OK\r\nContent-",
    "no HTTP": b"SSH-2.0-OpenSSH_9.6\r\n",
    "short 429": answer(b"too many export requests in progress", "429 Too Many", headers={"Retry-After": "2"}),
}


@pytest.mark.parametrize("given", PASSING.values(), ids=PASSING)
def test_a_failure_that_may_pass_is_asked_again_a_bounded_number_of_times(
    server: Scripted, client: MixpanelClient, day: Day, given: bytes
) -> None:
    error = failure(server, client, day, given)
    assert error.retryable
    assert len(server.requests) == NO_WAIT.tries


@pytest.mark.parametrize("given", PASSING.values(), ids=PASSING)
def test_a_failure_that_passed_costs_nothing(server: Scripted, client: MixpanelClient, day: Day, given: bytes) -> None:
    server.answers = [given, given, answer(BODY, packed=True)]
    assert export.export_day(client, day, DAY, retry=NO_WAIT).manifest.rows == len(GOOD)


def test_the_hint_of_refused_credentials_names_every_known_cause(
    server: Scripted, client: MixpanelClient, day: Day
) -> None:
    text = str(failure(server, client, day, answer(b"", "401 Unauthorized")))
    for cause in ("MIXPANEL_SECRET", "expired", "MIXPANEL_REGION", "MIXPANEL_PROJECT_ID", "member"):
        assert cause in text


def test_an_unreachable_host_is_named(day: Day) -> None:
    import socket

    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    from mixpanel_aep_assets_tests.mixpanel.conftest import Unlimited

    with (
        MixpanelClient(source(url), budget=Unlimited()) as client,
        pytest.raises(mixpanel_errors.Unreachable) as caught,
    ):
        export.export_day(client, day, DAY, retry=NO_WAIT)
    assert url.removeprefix("http://") in str(caught.value)


def test_a_server_that_speaks_no_tls_is_unreachable_and_not_trusted(server: Scripted, day: Day) -> None:
    from mixpanel_aep_assets_tests.mixpanel.conftest import Unlimited

    server.answers = [answer(BODY)]
    url = server.url.replace("http://", "https://")
    with MixpanelClient(source(url), budget=Unlimited()) as client, pytest.raises(mixpanel_errors.Unreachable):
        export.export_day(client, day, DAY, retry=NO_WAIT)


def test_a_silent_server_times_out(day: Day) -> None:
    import socket

    from mixpanel_aep_assets_tests.mixpanel.conftest import Unlimited

    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        given = source(url, read_timeout=0.1)
        with (
            MixpanelClient(given, budget=Unlimited()) as client,
            pytest.raises(mixpanel_errors.Unreachable, match="Timed out"),
        ):
            export.export_day(client, day, DAY, retry=NO_WAIT)


NOW = datetime.datetime(2026, 1, 10, 12, 0, tzinfo=datetime.UTC)


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        (None, None), ("30", 30.0), (" 30 ", 30.0), ("1.5", 1.5), ("Sat, 10 Jan 2026 12:01:00 GMT", 60.0),
        ("Sat, 10 Jan 2026 11:00:00 GMT", 0.0), ("soon", None), ("", None), ("-5", None), ("99999999999", 3600.0),
        ("Sat, 10 Jan 2032 12:01:00 GMT", 3600.0), ("Sat, 10 Jan 99999 12:01:00 GMT", None), ("nan", None), ("inf", None),
        ("9" * 400, 3600.0),
    ],
)  # fmt: skip
def test_retry_after_is_seconds_or_a_date_and_garbage_is_nothing(header: str | None, seconds: float | None) -> None:
    assert retry_after(header, 3600, NOW) == seconds


def test_a_huge_retry_after_is_bounded(server: Scripted, client: MixpanelClient, day: Day) -> None:
    error = failure(server, client, day, answer(b"", "429 Too Many", headers={"Retry-After": "99999999"}))
    assert error.wait == 3600.0


def test_a_long_wait_is_left_to_the_caller(server: Scripted, client: MixpanelClient, day: Day) -> None:
    error = failure(server, client, day, answer(b"", "429 Too Many"))
    assert isinstance(error, mixpanel_errors.RateLimited)
    assert error.wait == 60.0
    assert len(server.requests) == 1
