"""The client: token, headers, tries by kind of call, typed errors, and silence about secrets."""

from __future__ import annotations

import datetime
import io
import logging
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from pydantic import ValidationError

from mixpanel_aep_assets.aep import Platform, PlatformClient, ingest, platform_errors
from mixpanel_aep_assets.aep.http import Call
from mixpanel_aep_assets.aep.ingest import FileToSend, NewBatch
from mixpanel_aep_assets.network import retry_after
from mixpanel_aep_assets_tests.aep.scripted import SECRET, TOKEN, Asked, Reply, Script, serving

CATALOG = "/data/foundation/catalog/batches"


def ok(asked: Asked) -> Reply:
    return Reply(body={})


def settings(url: str, **changes: Any) -> Platform:
    given = {
        "client_id": "the-client", "client_secret": SECRET, "org_id": "0123456789ABCDEF01234567@AdobeOrg",
        "ims_url": url, "url": url, "backoff": 0.001, "backoff_cap": 0.01, "tries": 3, "longest_wait": 2.0,
    }  # fmt: skip
    return Platform(**{**given, **changes})


Connection = Callable[..., tuple[Script, PlatformClient]]


@pytest.fixture
def opened() -> Iterator[Connection]:
    from contextlib import ExitStack

    with ExitStack() as stack:

        def make(answer: Callable[[Asked], Reply] = ok, **changes: Any) -> tuple[Script, PlatformClient]:
            script = stack.enter_context(serving(answer))
            return script, stack.enter_context(PlatformClient(settings(script.url, **changes)))

        yield make


def in_turn(*replies: Reply) -> Callable[[Asked], Reply]:
    """One reply after the other, the last one again and again."""
    left = list(replies)

    def answer(asked: Asked) -> Reply:
        return left.pop(0) if len(left) > 1 else left[0]

    return answer


def test_every_call_carries_the_four_headers(opened: Connection) -> None:
    script, client = opened()
    client.request("GET", CATALOG)
    headers = script.calls()[0].headers
    assert headers["authorization"] == f"Bearer {TOKEN}1"
    assert headers["x-api-key"] == "the-client"
    assert headers["x-gw-ims-org-id"] == "0123456789ABCDEF01234567@AdobeOrg"
    assert headers["x-sandbox-name"] == "prod"


def test_the_secret_travels_in_the_body_of_the_token_request_and_not_in_its_address(opened: Connection) -> None:
    script, client = opened()
    client.sign_in()
    assert script.asked[0].path == "/ims/token/v3"
    assert SECRET.encode() in script.asked[0].body


def test_one_token_serves_many_calls(opened: Connection) -> None:
    script, client = opened()
    for _ in range(5):
        client.request("GET", CATALOG)
    assert script.tokens == 1


def test_one_token_serves_all_clients_of_a_credential(opened: Connection) -> None:
    script, client = opened()
    with PlatformClient(client.platform) as another:
        client.request("GET", CATALOG)
        another.request("GET", CATALOG)
    assert script.tokens == 1


def test_signing_in_proves_the_credential_although_a_token_is_held(opened: Connection) -> None:
    script, client = opened()
    client.request("GET", CATALOG)
    script.token_answers = [Reply(400, {"error": "invalid_client"})]
    with pytest.raises(platform_errors.CredentialsRejected):
        client.sign_in()


def test_a_token_near_its_end_is_renewed_before_the_call(opened: Connection) -> None:
    script, client = opened()
    script.expires_in = 0
    client.request("GET", CATALOG)
    client.request("GET", CATALOG)
    assert script.tokens == 2


def test_a_token_of_short_life_is_not_renewed_for_every_call(opened: Connection) -> None:
    script, client = opened()
    script.expires_in = 200
    client.request("GET", CATALOG)
    client.request("GET", CATALOG)
    assert script.tokens == 1


@pytest.mark.parametrize("refusal", [Reply(401), Reply(403, {"error_code": "401013", "message": "not valid"})])
def test_a_refused_token_is_renewed_and_the_call_replayed_once(opened: Connection, refusal: Reply) -> None:
    script, client = opened(in_turn(refusal, Reply(body={"a": 1})))
    assert client.json("GET", CATALOG) == {"a": 1}
    assert [c.headers["authorization"] for c in script.calls()] == [f"Bearer {TOKEN}1", f"Bearer {TOKEN}2"]


def test_a_fresh_token_that_is_refused_ends_as_rejected_credentials(opened: Connection) -> None:
    script, client = opened(lambda asked: Reply(401, {"error_code": "401013", "message": "Oauth token is not valid"}))
    with pytest.raises(platform_errors.CredentialsRejected, match="ADOBE_CLIENT_SECRET"):
        client.request("GET", CATALOG)
    assert len(script.calls()) == 2


def test_many_threads_whose_token_is_refused_fetch_one_new_one(opened: Connection) -> None:
    script, client = opened(lambda a: Reply(401) if a.headers["authorization"].endswith("-1") else Reply(body={}))
    client.sign_in()
    threads = [threading.Thread(target=client.request, args=("GET", CATALOG)) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert script.tokens == 2


def test_wrong_credentials_are_named_and_not_tried_again(opened: Connection) -> None:
    script, client = opened()
    script.token_answers = [Reply(400, {"error": "invalid_client", "error_description": f"bad {SECRET}"})] * 2
    with pytest.raises(platform_errors.CredentialsRejected, match="ADOBE_CLIENT_ID") as caught:
        client.sign_in()
    assert not caught.value.retryable
    assert SECRET not in str(caught.value)
    assert len(script.asked) == 1


def test_what_ims_says_of_a_refusal_is_shown_without_the_secret(opened: Connection) -> None:
    secret = "p8e-a/b c&ü"
    script, client = opened(client_secret=secret)
    said = f"invalid client_secret parameter {secret} or p8e-a%2Fb+c%26%C3%BC or p8e-a%2Fb%20c%26%C3%BC"
    script.token_answers = [Reply(400, {"error": "invalid_client", "error_description": said})]
    with pytest.raises(platform_errors.CredentialsRejected) as caught:
        client.sign_in()
    assert "“invalid client_secret parameter *** or *** or ***”" in str(caught.value)


def test_a_page_in_place_of_a_token_names_the_network(opened: Connection) -> None:
    script, client = opened()
    script.token_answers = [Reply(403, b"<html><title>Access denied</title></html>")]
    with pytest.raises(platform_errors.Blocked, match="“Access denied”"):
        client.sign_in()


def test_a_token_that_cannot_be_a_header_is_not_shown(opened: Connection) -> None:
    script, client = opened()
    script.token_answers = [Reply(200, {"access_token": "first\nsecond", "expires_in": 60})]
    with pytest.raises(platform_errors.UnexpectedAnswer, match="cannot be sent") as caught:
        client.request("GET", CATALOG)
    assert "second" not in str(caught.value)


def test_a_setting_that_cannot_be_a_header_is_told_without_its_value(opened: Connection) -> None:
    _, client = opened(client_id="first\nsecond")
    with pytest.raises(platform_errors.BadRequest, match="header") as caught:
        client.request("GET", CATALOG)
    assert "second" not in str(caught.value)


def test_a_refusal_that_repeats_the_token_is_told_without_it(opened: Connection) -> None:
    _, client = opened(lambda asked: Reply(400, {"detail": f"bad: {asked.headers['authorization']}"}))
    with pytest.raises(platform_errors.BadRequest, match=r"bad: Bearer \*\*\*") as caught:
        client.request("GET", CATALOG)
    assert TOKEN not in str(caught.value)


def test_a_throttled_token_request_is_tried_again(opened: Connection) -> None:
    script, client = opened()
    script.token_answers = [Reply(429, headers={"Retry-After": "0"}), Reply(503)]
    client.sign_in()
    assert len(script.asked) == 3


@pytest.mark.parametrize("fault", [Reply(500), Reply(503), Reply(429), Reply(408), Reply(cut=True)])
def test_a_read_is_tried_again_after_a_passing_fault(opened: Connection, fault: Reply) -> None:
    script, client = opened(in_turn(fault, Reply(body={"a": 1})))
    assert client.json("GET", CATALOG) == {"a": 1}
    assert len(script.calls()) == 2


def test_a_storm_of_500_ends_after_the_allowed_tries_as_a_retryable_error(opened: Connection) -> None:
    script, client = opened(lambda asked: Reply(500, headers={"x-request-id": "req-7"}))
    with pytest.raises(platform_errors.ServerFault, match="req-7") as caught:
        client.request("GET", CATALOG)
    assert caught.value.retryable
    assert len(script.calls()) == 3


def test_a_long_retry_after_is_handed_on_and_not_slept_through(opened: Connection) -> None:
    script, client = opened(lambda asked: Reply(429, headers={"Retry-After": "3600"}))
    with pytest.raises(platform_errors.RateLimited) as caught:
        client.request("GET", CATALOG)
    assert caught.value.wait == 3600
    assert len(script.calls()) == 1


def test_retry_after_is_understood_in_both_forms() -> None:
    now = datetime.datetime(2026, 1, 31, 12, 0, 0, tzinfo=datetime.UTC)
    assert retry_after("7", 3600, now) == 7
    assert retry_after("Sat, 31 Jan 2026 12:00:30 GMT", 3600, now) == 30
    assert retry_after("Sat, 31 Jan 2026 11:00:00 GMT", 3600, now) == 0
    assert retry_after(None, 3600, now) is None


@pytest.mark.parametrize("value", ["soon", "", "-5", "nan", "inf", "1e400", "Sat, 31 Jan 99999 12:00:30 GMT"])
def test_a_retry_after_that_makes_no_sense_is_as_if_absent(value: str) -> None:
    assert retry_after(value, 3600) is None


@pytest.mark.parametrize("value", ["99999999999999999999", "9" * 400, "Sat, 31 Jan 2999 12:00:30 GMT"])
def test_a_retry_after_beyond_all_measure_counts_as_an_hour(value: str) -> None:
    assert retry_after(value, 3600) == 3600


@pytest.mark.parametrize("fault", [Reply(500), Reply(cut=True)])
def test_a_create_whose_answer_is_lost_is_not_repeated(opened: Connection, fault: Reply) -> None:
    script, client = opened(in_turn(fault))
    with pytest.raises(platform_errors.AnswerLost):
        client.request("POST", "/data/foundation/import/batches", call=Call.CREATE, json={})
    assert len(script.calls()) == 1


def test_a_create_that_was_refused_for_its_rate_is_repeated(opened: Connection) -> None:
    script, client = opened(in_turn(Reply(429), Reply(201, {"id": "b"})))
    assert client.json("POST", "/data/foundation/import/batches", call=Call.CREATE, json={}) == {"id": "b"}
    assert len(script.calls()) == 2


def test_no_connection_is_a_retryable_error_that_names_the_firewall() -> None:
    with PlatformClient(settings("http://127.0.0.1:9", tries=2)) as client:
        with pytest.raises(platform_errors.Unreachable, match="firewall") as caught:
            client.request("GET", CATALOG)
        assert caught.value.retryable


@pytest.mark.parametrize(
    ("reply", "kind", "text"),
    [
        (
            Reply(403, {"error_code": "403003", "message": "Api Key is invalid"}),
            platform_errors.PermissionMissing,
            "403003",
        ),
        (
            Reply(403, {"error_code": "403027", "message": "User region is missing"}),
            platform_errors.PermissionMissing,
            "ADOBE_ORG",
        ),
        (Reply(400, {"status": 400, "title": "BadRequestError", "detail": "no"}), platform_errors.BadRequest, "no"),
        (
            Reply(404, {"type": "http://ns.adobe.com/aep/errors/XDM-1012-404", "title": "x"}),
            platform_errors.NotFound,
            "XDM-1012-404",
        ),
        (
            Reply(409, {"title": "C", "report": {"code": "INTEGRATION_CODE_EXISTS"}}),
            platform_errors.Conflict,
            "CODE_EXISTS",
        ),
        (Reply(413), platform_errors.TooLarge, "client_max_body_size"),
        (
            Reply(403, b"<html><title>Blocked</title></html>"),
            platform_errors.Blocked,
            "“Blocked”.*the network, not a role",
        ),
        (Reply(401, b"<!doctype html>log in"), platform_errors.Blocked, "HTTPS_PROXY"),
        (Reply(407), platform_errors.Blocked, "HTTPS_PROXY"),
        (Reply(418, b"<html>proxy</html>"), platform_errors.BadRequest, "418"),
        (Reply(302, headers={"Location": "http://login.example"}), platform_errors.UnexpectedAnswer, "302"),
    ],
)
def test_a_refusal_becomes_a_typed_error_and_is_not_tried_again(
    opened: Connection, reply: Reply, kind: type[platform_errors.AepError], text: str
) -> None:
    script, client = opened(lambda asked: reply)
    with pytest.raises(kind, match=text) as caught:
        client.request("GET", CATALOG)
    assert not caught.value.retryable
    assert len(script.calls()) == (2 if reply.status == 401 else 1)


def test_a_page_of_a_proxy_instead_of_json_is_told_as_such(opened: Connection) -> None:
    _, client = opened(lambda asked: Reply(200, b"<html>please log in</html>"))
    with pytest.raises(platform_errors.UnexpectedAnswer, match="AEP_URL"):
        client.json("GET", CATALOG)


def test_no_secret_and_no_token_is_in_any_repr_log_or_error(opened: Connection, caplog: Any) -> None:
    caplog.set_level(logging.DEBUG)
    script, client = opened(lambda asked: Reply(500))
    texts = [repr(client), repr(client.platform), str(client.platform), repr(client._tokens)]
    texts.append(client.platform.model_dump_json())
    with pytest.raises(platform_errors.ServerFault) as caught:
        client.request("GET", CATALOG)
    script.token_answers = [Reply(400, {"error": SECRET})]
    with PlatformClient(client.platform) as another, pytest.raises(platform_errors.CredentialsRejected) as rejected:
        another.sign_in()
    texts += [str(caught.value), repr(caught.value), caplog.text]
    for text in texts:
        assert SECRET not in text
        assert TOKEN not in text
    assert "the-client" not in caplog.text
    assert rejected.value.status == 400


def test_wrong_settings_are_refused_without_showing_the_secret() -> None:
    with pytest.raises(ValidationError) as caught:
        settings("platform.adobe.io")
    assert SECRET not in str(caught.value)


def payload(data: bytes, name: str = "part-00000.parquet", size: int | None = None) -> FileToSend:
    return FileToSend(name, lambda: io.BytesIO(data), len(data) if size is None else size, 1)


def test_a_small_file_goes_in_one_put_with_its_length(opened: Connection) -> None:
    script, client = opened()
    sent: list[int] = []
    ingest.upload(client, "b", "d", payload(b"x" * 3_000_000), sent.append)
    (put,) = script.calls()
    assert put.headers["content-length"] == "3000000"
    assert put.headers["content-type"] == "application/octet-stream"
    assert "transfer-encoding" not in put.headers
    assert sum(sent) == 3_000_000


def test_a_file_is_read_anew_when_its_upload_is_tried_again(opened: Connection) -> None:
    script, client = opened(in_turn(Reply(500), Reply(401), Reply(200)))
    ingest.upload(client, "b", "d", payload(b"abc"))
    assert [c.body for c in script.calls()] == [b"abc"] * 3


@pytest.mark.parametrize("announced", [2, 4])
def test_a_file_of_another_size_than_announced_is_told_and_not_tried_again(opened: Connection, announced: int) -> None:
    _, client = opened()
    with pytest.raises(platform_errors.SourceChanged, match=r"part-00000\.parquet"):
        ingest.upload(client, "b", "d", payload(b"abc", size=announced))


def chunks(script: Script) -> list[str]:
    return [c.headers["content-range"] for c in script.calls("PATCH")]


def test_a_large_file_goes_in_chunks_with_their_ranges(opened: Connection) -> None:
    script, client = opened(small_upload_bytes=4, chunk_bytes=4)
    ingest.upload(client, "b", "d", payload(b"0123456789"))
    assert chunks(script) == ["bytes 0-3/10", "bytes 4-7/10", "bytes 8-9/10"]
    assert [c.path.partition("?")[2] for c in script.calls("POST")] == ["action=INITIALIZE", "action=COMPLETE"]


@pytest.mark.parametrize("form", ["bytes=0-5", "bytes 0-5", "0-5"])
def test_after_a_cut_chunk_the_upload_goes_on_behind_what_has_arrived(opened: Connection, form: str) -> None:
    cut: list[str] = []

    def answer(asked: Asked) -> Reply:
        if asked.method == "PATCH" and asked.headers["content-range"].startswith("bytes 4-7") and not cut:
            cut.append("once")
            return Reply(cut=True)
        return Reply(headers={"Range": form} if asked.method == "HEAD" else {})

    script, client = opened(answer, small_upload_bytes=4, chunk_bytes=4)
    ingest.upload(client, "b", "d", payload(b"0123456789"))
    assert chunks(script) == ["bytes 0-3/10", "bytes 4-7/10", "bytes 6-9/10"]
    assert script.calls("PATCH")[-1].body == b"6789"


def test_a_large_file_that_does_not_fit_together_is_sent_anew_once(opened: Connection) -> None:
    refused: list[str] = []

    def answer(asked: Asked) -> Reply:
        if asked.path.endswith("action=COMPLETE") and not refused:
            refused.append("once")
            return Reply(400, {"detail": "Bytes 4-7 are missing"})
        return Reply()

    script, client = opened(answer, small_upload_bytes=4, chunk_bytes=100)
    ingest.upload(client, "b", "d", payload(b"0123456789"))
    assert len(chunks(script)) == 2


def test_one_failed_file_ends_the_upload_of_the_others(opened: Connection) -> None:
    script, client = opened(lambda asked: Reply(400 if "bad" in asked.path else 200), uploads_at_once=2)
    files = [payload(b"x", "bad.parquet"), *(payload(b"x" * 100, f"{n}.parquet") for n in range(50))]
    with pytest.raises(platform_errors.BadRequest):
        ingest.upload_all(client, "b", "d", files)
    assert len(script.calls()) < 51


NEW = NewBatch("d", "mp-1", {})


def test_a_batch_whose_create_answer_was_lost_is_found_by_its_external_id(opened: Connection) -> None:
    there = {"status": "loading", "externalId": "mp-1", "relatedObjects": [{"type": "dataSet", "id": "d"}]}

    def answer(asked: Asked) -> Reply:
        return Reply(cut=True) if asked.method == "POST" else Reply(body={"OLD": there, "NEW": there})

    script, client = opened(answer)
    assert ingest.create(client, NEW, frozenset({"OLD"})) == "NEW"
    assert len(script.calls("POST")) == 1


def test_a_create_that_left_nothing_is_repeated_after_looking(opened: Connection) -> None:
    posts = in_turn(Reply(500), Reply(201, {"id": "b"}))
    script, client = opened(lambda asked: posts(asked) if asked.method == "POST" else Reply(body={}))
    assert ingest.create(client, NEW) == "b"
    assert [c.method for c in script.calls()] == ["POST", "GET", "POST"]
