"""A connection's secrets as they are sent: which way into Mixpanel they give, and what is said when one is missing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from pydantic import SecretStr

from mixpanel_aep_assets import credential_text
from mixpanel_aep_assets.connection.settings import (
    IDS,
    SECRET_VARIABLES,
    VARIABLES,
    WAYS_INTO_MIXPANEL,
    Secrets,
    Settings,
)
from mixpanel_aep_assets.errors import SettingsError
from mixpanel_aep_assets.mixpanel.source_settings import Credentials


@dataclass(frozen=True)
class GivenCredentials:
    """The secrets of the connection `name`, and the variable that each is read from."""

    name: str
    secrets: Secrets
    variables: Mapping[str, str]

    def mixpanel(self) -> Credentials:
        """The first way into Mixpanel of which something is there. Raises SettingsError."""
        for way in WAYS_INTO_MIXPANEL:
            given = {key.removeprefix("mixpanel_"): self._sent(key) for key in way}
            if any(given.values()):
                self._require(*way)
                username = given.pop("username", None)
                return Credentials(username=username.get_secret_value() if username else None, **given)
        self._require(*(key for key in WAYS_INTO_MIXPANEL[0] if key in self.variables))
        raise SettingsError(f"No way into Mixpanel is set (connection {self.name!r}).")

    def adobe(self) -> tuple[SecretStr, SecretStr]:
        """The client's id and secret. Raises SettingsError."""
        client_id, client_secret = self._sent("adobe_client_id"), self._sent("adobe_client_secret")
        self._require("adobe_client_id", "adobe_client_secret")
        assert client_id is not None
        assert client_secret is not None
        return client_id, client_secret

    def oddities(self, settings: Settings, environment: Mapping[str, str]) -> list[str]:
        """A sentence for each secret and id that something stands around, which is left out where it is used."""
        given = {self._variable(key): value.get_secret_value() for key, value in self.secrets if value is not None}
        salt = given.pop(self._variable("privacy_salt"), "")
        for key in IDS:
            text = environment.get(VARIABLES[key], "")
            if credential_text.trimmed(text) == str(getattr(settings, key)):
                given[VARIABLES[key]] = text
        return credential_text.oddities(given, salt)

    def _require(self, *keys: str) -> None:
        """Raises SettingsError naming the variables of secrets that are missing."""
        missing = [self._variable(key) for key in keys if self._sent(key) is None]
        if missing:
            other = " (or one of the other ways into Mixpanel)" if keys == WAYS_INTO_MIXPANEL[0] else ""
            raise SettingsError(f"Not set: {', '.join(missing)}{other}, connection {self.name!r}. Export the variable.")

    def _sent(self, key: str) -> SecretStr | None:
        """A secret as it is sent: without what stands around it. Raises SettingsError for what no such value holds."""
        given: SecretStr | None = getattr(self.secrets, key)
        text = credential_text.trimmed(given.get_secret_value()) if given is not None else ""
        kind: credential_text.CredentialKind = "name" if key == "mixpanel_username" else "token"
        if problem := credential_text.problem(self._variable(key), text, kind):
            raise SettingsError(problem)
        return SecretStr(text) if text else None

    def _variable(self, key: str) -> str:
        """The variable of a secret."""
        return self.variables.get(key, SECRET_VARIABLES[key])
