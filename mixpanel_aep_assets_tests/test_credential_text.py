"""What stands around a credential is left out, what stands within it is refused, and no text shows a value."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mixpanel_aep_assets.connection import VARIABLES, Connection, Secrets, Settings
from mixpanel_aep_assets.credential_text import CredentialKind, ends, oddities, problem, trimmed, within
from mixpanel_aep_assets.errors import SettingsError

TOKENS = st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E, exclude_characters="\"'`"), min_size=1)
AROUND = st.text(st.sampled_from(" \t\r\n\u00a0\u200b\ufeff\x00"), max_size=4)
PAIRS = st.sampled_from([("", ""), ('"', '"'), ("'", "'"), ("“", "”")])


@given(TOKENS, AROUND, AROUND, AROUND, AROUND, PAIRS)
def test_what_stands_around_a_token_is_left_out_and_named_without_it(
    token: str, a: str, b: str, c: str, d: str, pair: tuple[str, str]
) -> None:
    text = f"{a}{pair[0]}{b}{token}{c}{pair[1]}{d}"
    assert trimmed(text) == token
    assert within(token) == ""
    assert bool(ends(text)) == (text != token)
    assert len(token) < 4 or token not in ends(text)


@given(st.text())
def test_trimming_twice_changes_nothing(text: str) -> None:
    assert trimmed(trimmed(text)) == trimmed(text)
    assert ends(trimmed(text)) == ""


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("abc\r", "a carriage return at its end"),
        ("abc\n", "a line feed at its end"),
        (" abc", "a blank before it"),
        ('"abc"', "quotes around it"),
        ("\ufeffabc", "a byte order mark before it"),
        ("\r\n", "nothing but invisible characters"),
    ],
)
def test_what_is_left_out_is_named(text: str, said: str) -> None:
    assert ends(text) == said
    assert oddities({"ADOBE_CLIENT_SECRET": text})[0].startswith(f"ADOBE_CLIENT_SECRET has {said}")


@pytest.mark.parametrize(
    ("text", "kind", "said"),
    [
        ("ab cd", "token", "a blank at position 3"),
        ("ab\ncd", "token", "a line feed at position 3"),
        ("ab\x07cd", "token", "the control character U+0007 at position 3"),
        ("ab\u200bcd", "token", "the character U+200B at position 3"),
        ("abcdé", "token", "the character U+00E9 at position 5"),
        ('"abcd', "token", "a quote at position 1"),
        ("who:secret", "name", "a colon at position 4"),
        ("who\rever", "name", "a carriage return at position 4"),
    ],
)
def test_what_stands_within_a_value_is_refused_by_name_and_place(text: str, kind: CredentialKind, said: str) -> None:
    told = problem("MIXPANEL_SECRET", text, kind)
    assert told.startswith(f"MIXPANEL_SECRET holds {said}")
    assert text not in told


@pytest.mark.parametrize(
    ("text", "kind"),
    [("Jürgen's export.7b1d2f.mp-service-account", "name"), ("openid, session", "list"), ("p8e-_x.y:z=", "token")],
)
def test_what_a_value_may_hold_is_taken(text: str, kind: CredentialKind) -> None:
    assert problem("X", text, kind) == ""


@pytest.mark.parametrize("given", ["0123456789ABCDEF01234567", "0123456789ABCDEF01234567@adobeorg", "@AdobeOrg"])
def test_an_organisation_id_without_its_end_is_named_with_what_to_set(given: str) -> None:
    with Connection(Settings(org_id=given), Secrets(adobe_client_id="a", adobe_client_secret="b")) as opened:
        with pytest.raises(SettingsError) as caught:
            _ = opened.platform
    whole = "0123456789ABCDEF01234567@AdobeOrg" if given[0] == "0" else "…@AdobeOrg"
    assert f"ADOBE_ORG_ID={whole}" in str(caught.value)


SECRETS = {
    "mixpanel_username": "user",
    "mixpanel_secret": "mixpanel-secret-1",
    "adobe_client_id": "client-id-1",
    "adobe_client_secret": "client-secret-1",
}
IDS = {"project_id": 7, "org_id": "X@AdobeOrg", "sandbox": "prod", "dataset_id": "5f", "scopes": "openid"}


@pytest.mark.parametrize("around", ["{}\r", " {}\n", '"{}"', "'{}' ", "\ufeff{}", '"{}"\r\n'])
def test_every_secret_and_id_is_used_without_what_stands_around_it(around: str) -> None:
    settings = Settings(**{key: around.format(value) for key, value in IDS.items()})
    secrets = Secrets(**{key: around.format(value) for key, value in SECRETS.items()})
    with Connection(settings, secrets) as opened:
        credentials, platform = opened.source.credentials, opened.platform.platform
        assert (opened.source.project_id, credentials.username) == (7, "user")
        assert credentials.secret is not None
        assert credentials.secret.get_secret_value() == SECRETS["mixpanel_secret"]
        assert platform.client_id.get_secret_value() == SECRETS["adobe_client_id"]
        assert platform.client_secret.get_secret_value() == SECRETS["adobe_client_secret"]
        assert (platform.org_id, platform.sandbox, platform.scopes) == ("X@AdobeOrg", "prod", "openid")
        assert opened.settings.dataset_id == "5f"
        named = " ".join(opened.credentials.oddities(opened.settings, {}))
    for variable in ("MIXPANEL_USERNAME", "MIXPANEL_SECRET", "ADOBE_CLIENT_ID", "ADOBE_CLIENT_SECRET"):
        assert f"{variable} has" in named
    assert not any(value in named for value in SECRETS.values())


@pytest.mark.parametrize("key", ["mixpanel_username", *list(SECRETS)[1:], "sandbox", "org_id", "dataset_id"])
def test_every_secret_and_id_with_a_line_break_within_is_refused_by_its_variable(key: str) -> None:
    settings = {name: value for name, value in IDS.items() if name != "project_id"}
    secrets: dict[str, str] = dict(SECRETS)
    (settings if key in settings else secrets)[key] = "first\nsecond"
    with Connection(Settings(project_id=7, **settings), Secrets(**secrets)) as opened:
        with pytest.raises(SettingsError, match="holds a line feed at position 6") as caught:
            _ = opened.source, opened.platform
    assert "second" not in str(caught.value)


def test_a_secret_of_blanks_alone_is_not_set() -> None:
    with Connection(Settings(org_id="X@AdobeOrg"), Secrets(adobe_client_id="\r\n", adobe_client_secret="a")) as opened:
        with pytest.raises(SettingsError, match="Not set: ADOBE_CLIENT_ID"):
            _ = opened.platform


@pytest.mark.parametrize("key", ["org_id", "sandbox", "dataset_id", "scopes"])
def test_an_id_of_quotes_alone_is_not_set(key: str) -> None:
    variable = VARIABLES[key]
    settings = Settings.read({"ADOBE_ORG_ID": "X@AdobeOrg", "MIXPANEL_PROJECT_ID": "7"} | {variable: '""\r'})
    assert getattr(settings, key) == Settings.model_fields[key].default


def test_only_ids_that_the_connection_uses_are_named() -> None:
    environment = {"ADOBE_ORG_ID": "X@AdobeOrg\r", "AEP_SANDBOX": "dev "}
    with Connection(Settings(org_id="X@AdobeOrg", sandbox="prod"), Secrets()) as opened:
        (told,) = opened.credentials.oddities(opened.settings, environment)
    assert told.startswith("ADOBE_ORG_ID has a carriage return")


def test_the_salt_is_used_as_it_stands_and_only_named() -> None:
    salt = "0123456789abcdef0123456789abcdef\r"
    settings = Settings.read({"MIXPANEL_AEP_PRIVACY_HASH": "email"})
    with Connection(settings, Secrets(privacy_salt=salt)) as opened:
        plain = Connection(settings, Secrets(privacy_salt=salt.strip()))
        assert opened.privacy is not None
        assert plain.privacy is not None
        assert opened.privacy.fingerprint != plain.privacy.fingerprint
        (told,) = opened.credentials.oddities(opened.settings, {})
    assert told.startswith("MIXPANEL_AEP_PRIVACY_SALT has a carriage return at its end")
