"""A connection's YAML block, read the same way by the component and, without loading Dagster, by every command.

Precedence, of settings: the block, then the environment (`settings.VARIABLES`), then the default. Of Mixpanel's credentials:
the service account, then the project secret, then the bearer token; the first whose variables are set is used, and the
others are not read. Which variable holds a secret is said by the block (`…_env`), else by `settings.SECRET_VARIABLES`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from mixpanel_aep_assets.connection.clients import Connection
from mixpanel_aep_assets.connection.settings import (
    DEFAULT_NAME,
    SECRET_VARIABLES,
    WAYS_INTO_MIXPANEL,
    Secrets,
    Settings,
)
from mixpanel_aep_assets.errors import SettingsError

TYPE = "mixpanel_aep_assets.components.MixpanelToAep"
TEMPLATE = "{{"
"""Marks a value that only Dagster resolves."""

SECRETS = {
    "mixpanel_username": ("mixpanel", "username_env"),
    "mixpanel_secret": ("mixpanel", "secret_env"),
    "mixpanel_project_secret": ("mixpanel", "project_secret_env"),
    "mixpanel_bearer_token": ("mixpanel", "bearer_token_env"),
    "adobe_client_id": ("platform", "client_id_env"),
    "adobe_client_secret": ("platform", "client_secret_env"),
    "privacy_salt": ("privacy", "salt_env"),
}
"""Secret -> where a block names its variable."""

_FOR_DAGSTER = ("schedule", "owners")
"""Keys of a block that are no settings of a connection."""


@dataclass(frozen=True)
class Block:
    """One connection's settings, and the variables that its secrets are read from (`variables`: secret -> variable)."""

    settings: Settings
    variables: Mapping[str, str]

    def open(self, environment: Mapping[str, str]) -> Connection:
        """The open connection; a secret whose variable is not set is missing when it is needed."""
        return Connection(self.settings, Secrets.read(environment, self.variables), variables=self.variables)


def block_of(attributes: Mapping[str, Any], file: Path | None, environment: Mapping[str, str]) -> Block:
    """The block of a component's attributes. `file`: the YAML file or its folder, which a mapping's path is relative to.

    Raises SettingsError.
    """
    settings = settings_of(attributes, file, environment)
    return Block(settings, _variables(attributes, environment, hashes=bool(settings.privacy.hash)))


def settings_of(attributes: Mapping[str, Any], file: Path | None, environment: Mapping[str, str]) -> Settings:
    """The block's values over the environment's. Raises SettingsError, also for a key that no setting has."""
    given = {key: value for key, value in attributes.items() if key not in _FOR_DAGSTER}
    mixpanel, platform, privacy = (_section(given, name) for name in ("mixpanel", "platform", "privacy"))
    if (mapping := given.get("mapping")) is not None and file is not None:
        base = file if file.is_dir() else file.parent
        given["mapping"] = str((base / mapping).resolve())
    if "url" in platform:
        platform["aep_url"] = platform.pop("url")
    return Settings.read(environment, **given, **mixpanel, **platform, privacy=privacy)


def _section(given: dict[str, Any], name: str) -> dict[str, Any]:
    """A section of a block without the names of variables."""
    section = given.pop(name, None) or {}
    if not isinstance(section, Mapping):
        raise SettingsError(
            f"`{name}` of a connection's YAML is {type(section).__name__}; it should be keys and values."
        )
    return {key: value for key, value in section.items() if not key.endswith("_env")}


def _variables(attributes: Mapping[str, Any], environment: Mapping[str, str], *, hashes: bool) -> dict[str, str]:
    named = {key: _named(attributes, *place) or SECRET_VARIABLES[key] for key, place in SECRETS.items()}
    chosen = next((way for way in WAYS_INTO_MIXPANEL if environment.get(named[way[0]])), None)
    if chosen is None:  # what is missing is said by the names that the block gives, else by those of a service account
        chosen = next((way for way in reversed(WAYS_INTO_MIXPANEL) if _named(attributes, *SECRETS[way[0]])), None)
    keys = [*(chosen or WAYS_INTO_MIXPANEL[0]), "adobe_client_id", "adobe_client_secret"]
    return {key: named[key] for key in (*keys, *(["privacy_salt"] if hashes else []))}


def _named(attributes: Mapping[str, Any], section: str, key: str) -> str | None:
    name = (attributes.get(section) or {}).get(key)
    return None if name is None else str(name)


def find(name: str, folder: Path, environment: Mapping[str, str]) -> Block | None:
    """The block of that name below a folder of definitions; None where there is none, or only Dagster can read it.

    Raises SettingsError, naming the file, for YAML that cannot be read and for what is wrong in the block.
    """
    for file, text, document in _documents(folder):
        attributes = document.get("attributes") or {}
        if attributes.get("name", DEFAULT_NAME) != name:
            continue
        if TEMPLATE in text:
            return None
        try:
            return block_of(attributes, file, environment)
        except SettingsError as error:
            raise SettingsError(f"{file}: {error}") from error
    return None


def names(folder: Path) -> list[str]:
    """The connections of a folder of definitions, in the order of their files."""
    return [str((document.get("attributes") or {}).get("name", DEFAULT_NAME)) for _, _, document in _documents(folder)]


def _documents(folder: Path) -> Iterator[tuple[Path, str, dict[str, Any]]]:
    for file in sorted(folder.rglob("defs.yaml")):
        text = file.read_text(encoding="utf-8")
        try:
            documents = list(yaml.safe_load_all(text))
        except yaml.YAMLError as error:
            raise SettingsError(f"{file} cannot be read as YAML: {error}") from error
        yield from ((file, text, one) for one in documents if isinstance(one, dict) and one.get("type") == TYPE)
