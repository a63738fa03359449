"""The connection as a Dagster resource: each setting a field of it, secrets as `EnvVar`, clients opened once a run.

What does not belong here: reading settings (`connection`) and what the clients do.
"""

from __future__ import annotations

import types
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Literal, Union, get_args, get_origin

import dagster as dg
from pydantic import BaseModel, Field, PrivateAttr, SecretStr, create_model

from mixpanel_aep_assets.connection import Connection, Secrets, Settings


def _as_config(kind: Any) -> Any:
    """A setting's type in Dagster's config, which has numbers, text, truth values, lists and nothing finer."""
    if get_origin(kind) in (Union, types.UnionType):
        return Union[tuple(map(_as_config, get_args(kind)))]  # noqa: UP007
    if get_origin(kind) is tuple:
        return list[get_args(kind)[0]]  # type: ignore[misc]
    if get_origin(kind) is Literal:
        return str
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        return _config_model(kind, dg.Config)
    return kind if kind in (bool, int, float, type(None)) else str


def _config_model(model: type[BaseModel], base: type[Any]) -> Any:
    """A class of `base` with the fields of `model`: what a setting is, and which there are, is said there alone."""
    fields: dict[str, Any] = {
        name: (_as_config(field.annotation), Field(description=field.description))
        for name, field in model.model_fields.items()
    }
    return create_model(f"{model.__name__}Config", __base__=base, __module__=__name__, **fields)


if TYPE_CHECKING:
    _SettingsResource = dg.ConfigurableResource[Any]
else:
    _SettingsResource = _config_model(Settings, dg.ConfigurableResource)


class ConnectionResource(_SettingsResource):
    """What the assets, checks and sensors of one connection work with: the fields of `Settings`, and its secrets.

    A secret whose variable is not set fails the run that needs it, naming the variable, and nothing else.
    """

    mixpanel_username: str | None = None
    mixpanel_secret: str | None = None
    mixpanel_project_secret: str | None = None
    mixpanel_bearer_token: str | None = None
    adobe_client_id: str | None = None
    adobe_client_secret: str | None = None
    privacy_salt: str | None = None

    _connection: Connection | None = PrivateAttr(default=None)

    @classmethod
    def of(cls, settings: Settings, secrets: Mapping[str, dg.EnvVar]) -> ConnectionResource:
        """The resource of these settings; `secrets` names the variable of each."""
        return cls(**settings.model_dump(mode="json"), **secrets)

    @property
    def settings(self) -> Settings:
        """Raises SettingsError for what a person has written into a run's config."""
        held = {name: getattr(self, name) for name in Settings.model_fields}
        return Settings.read(
            {}, **{name: value.model_dump() if isinstance(value, dg.Config) else value for name, value in held.items()}
        )

    @contextmanager
    def yield_for_execution(self, context: dg.InitResourceContext) -> Iterator[ConnectionResource]:  # noqa: ARG002
        secrets = {key: getattr(self, key) for key in Secrets.model_fields}
        given = Secrets(**{key: SecretStr(value) for key, value in secrets.items() if value})
        with Connection(self.settings, given) as connection:
            self._connection = connection
            try:
                yield self
            finally:
                self._connection = None

    @property
    def connection(self) -> Connection:
        if self._connection is None:
            raise RuntimeError("The connection is open only while a run uses it.")
        return self._connection
