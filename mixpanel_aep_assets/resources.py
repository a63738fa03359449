"""The connection as a Dagster resource: settings as plain config, secrets as `EnvVar`, clients opened once a run.

What does not belong here: reading settings (`connection`) and what the clients do.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import dagster as dg
from pydantic import PrivateAttr, SecretStr

from mixpanel_aep_assets.connection import Opened, Secrets, Settings


class ConnectionResource(dg.ConfigurableResource[Any]):
    """What the assets, checks and sensors of one connection work with.

    `settings` is `Settings` as JSON. A secret whose variable is not set fails the run that needs it, naming the
    variable, and nothing else.
    """

    settings: str
    mixpanel_username: str | None = None
    mixpanel_secret: str | None = None
    mixpanel_project_secret: str | None = None
    mixpanel_bearer_token: str | None = None
    adobe_client_id: str | None = None
    adobe_client_secret: str | None = None
    privacy_salt: str | None = None

    _opened: Opened | None = PrivateAttr(default=None)

    @contextmanager
    def yield_for_execution(self, context: dg.InitResourceContext) -> Iterator[ConnectionResource]:  # noqa: ARG002
        secrets = {key: getattr(self, key) for key in Secrets.model_fields}
        with Opened(
            Settings.model_validate_json(self.settings),
            Secrets(**{key: SecretStr(value) for key, value in secrets.items() if value}),
        ) as opened:
            self._opened = opened
            try:
                yield self
            finally:
                self._opened = None

    @property
    def opened(self) -> Opened:
        if self._opened is None:
            raise RuntimeError("The connection is open only while a run uses it.")
        return self._opened
