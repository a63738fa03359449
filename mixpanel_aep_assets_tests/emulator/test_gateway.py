"""Tokens, the four headers and sandboxes (platform.md#gateway-errors)."""

from __future__ import annotations

import pytest

from mixpanel_aep_assets_tests.emulator.conftest import Platform

STATS = "/data/foundation/schemaregistry/stats"


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"client_secret": "x"}, "invalid_client"),
        ({"client_id": "x"}, "invalid_client"),
        ({"scope": "everything"}, "invalid_scope"),
        ({"grant_type": "password"}, "unsupported_grant_type"),
    ],
)
def test_a_bad_token_request_is_named(platform: Platform, changes: dict[str, str], error: str) -> None:
    body = {"grant_type": "client_credentials", "client_id": "demo-client", "client_secret": "demo-client-secret",
            "scope": "openid"} | changes  # fmt: skip
    answer = platform.http.post("/ims/token/v3", data=body)
    assert (answer.status_code, answer.json()["error"]) == (400, error)


def test_a_token_lives_its_seconds_and_two_secrets_may_be_valid(platform: Platform) -> None:
    platform.control.adobe_client(secrets=["old", "new"])
    platform.control.clock(freeze="2026-06-01T00:00:00Z")
    body = {"grant_type": "client_credentials", "client_id": "demo-client", "client_secret": "new", "scope": "openid"}
    answer = platform.http.post("/ims/token/v3", data=body).json()
    assert answer["expires_in"] == 86_399
    headers = {"Authorization": f"Bearer {answer['access_token']}"}
    assert platform.http.get(STATS, headers=headers).status_code == 200
    platform.control.clock(step=86_400)
    assert platform.http.get(STATS, headers=headers).json()["error_code"] == "401013"


def test_too_many_tokens_are_throttled(platform: Platform) -> None:
    platform.control.settings(tokens_per_minute=1)
    body = {"grant_type": "client_credentials", "client_id": "demo-client", "client_secret": "demo-client-secret",
            "scope": "openid"}  # fmt: skip
    answer = platform.http.post("/ims/token/v3", data=body)
    assert (answer.status_code, "retry-after" in answer.headers) == (429, True)


@pytest.mark.parametrize(
    ("header", "value", "code"),
    [
        ("Authorization", "", "403010"),
        ("Authorization", "Bearer nonsense", "401013"),
        ("x-api-key", "", "403000"),
        ("x-api-key", "other", "403003"),
        ("x-gw-ims-org-id", "", "400003"),
        ("x-gw-ims-org-id", "nonsense", "403027"),
        ("x-gw-ims-org-id", "A" * 24 + "@AdobeOrg", "403025"),
    ],
)
def test_each_bad_header_has_its_gateway_code(platform: Platform, header: str, value: str, code: str) -> None:
    if value:
        platform.http.headers[header] = value
    else:
        del platform.http.headers[header]
    answer = platform.http.get(STATS)
    assert (answer.json()["error_code"], str(answer.status_code)) == (code, code[:3])


def test_a_credential_without_product_profile_has_no_region(platform: Platform) -> None:
    platform.control.adobe_client(entitled=False)
    assert platform.http.get(STATS).json()["error_code"] == "403027"


def test_the_sandbox_header_is_required_unless_lenient(platform: Platform) -> None:
    del platform.http.headers["x-sandbox-name"]
    assert platform.http.get(STATS).status_code == 400
    platform.control.settings(sandbox_header_required=False)
    assert platform.http.get(STATS).json()["tenantId"] == "demotenant"


def test_sandboxes_share_nothing(platform: Platform) -> None:
    dataset, batch = platform.dataset, platform.batch()
    platform.http.headers["x-sandbox-name"] = "dev"
    assert platform.http.get("/data/foundation/catalog/dataSets").json() == {}
    assert platform.http.get(f"/data/foundation/catalog/dataSets/{dataset}").status_code == 404
    assert platform.http.get(f"/data/foundation/catalog/batches/{batch}").status_code == 404
    assert platform.create(datasetId=dataset).status_code == 404
    platform.http.headers["x-sandbox-name"] = "absent"
    assert platform.http.get(STATS).status_code == 403


def test_a_fault_can_void_the_token_on_the_way(platform: Platform) -> None:
    platform.control.fault("expired_token", match={"path": "*/stats", "nth": 2})
    assert [platform.http.get(STATS).status_code for _ in range(3)] == [200, 401, 401]
    platform.login()
    assert platform.http.get(STATS).status_code == 200


def test_a_url_above_2000_characters_is_refused(platform: Platform) -> None:
    assert platform.http.get(STATS, params={"x": "y" * 2000}).status_code == 414
