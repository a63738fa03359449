"""An open connection: one Mixpanel project into one Platform dataset, with the clients that its settings describe.

What belongs here: building the clients. What does not: reading settings (`settings`, `blocks`), what the clients do.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Self

from mixpanel_aep_assets import credential_text, network
from mixpanel_aep_assets.connection import remembered
from mixpanel_aep_assets.connection.credentials import GivenCredentials
from mixpanel_aep_assets.connection.settings import IDS, SECRET_VARIABLES, VARIABLES, Secrets, Settings
from mixpanel_aep_assets.errors import SettingsError
from mixpanel_aep_assets.mixpanel.client import MixpanelClient, project_zone
from mixpanel_aep_assets.mixpanel.privacy import Privacy
from mixpanel_aep_assets.mixpanel.source_settings import MixpanelSource
from mixpanel_aep_assets.mixpanel.time_mode import Decision
from mixpanel_aep_assets.storage import Day, Storage, open_storage

if TYPE_CHECKING:  # the other rooms are imported when they are first used: an export alone starts twice as fast
    from mixpanel_aep_assets.aep.http import PlatformClient
    from mixpanel_aep_assets.aep.provision import Wanted
    from mixpanel_aep_assets.connection.dataset_mapping import DatasetMapping
    from mixpanel_aep_assets.growth.schema_plan import SchemaPlan
    from mixpanel_aep_assets.xdm.schema import Schema


@dataclasses.dataclass(frozen=True)
class Settled:
    """What a connection takes along to another storage."""

    plan: SchemaPlan | None
    time_mode: Decision | None


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class Connection:
    """An open connection: its storage, its clients, the dataset and the mapping; each made when first used.

    Nothing of it changes: with another storage, other settings or a plan accepted since it is another connection
    (`with_storage`, `dataclasses.replace`). Use it as a context manager; leaving closes the clients.
    """

    settings: Settings
    secrets: Secrets
    given_storage: Storage | None = None
    variables: Mapping[str, str] = dataclasses.field(default_factory=lambda: SECRET_VARIABLES)
    tries: int | None = None
    """Of a call to the Platform, where they are to be other than its settings say."""
    settled: Settled | None = None
    """What was settled on another storage and holds here; None: what this one remembers holds."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for client in ("mixpanel", "platform"):
            if client in self.__dict__:
                self.__dict__.pop(client).close()

    def __repr__(self) -> str:
        return f"Connection({self.settings.name!r})"

    @cached_property
    def credentials(self) -> GivenCredentials:
        return GivenCredentials(self.settings.name, self.secrets, self.variables)

    @cached_property
    def storage(self) -> Storage:
        return self.given_storage or open_storage(self.settings.storage)

    @cached_property
    def mixpanel(self) -> MixpanelClient:
        """The export client; the project's zone is asked of Mixpanel where it is needed and not set."""
        source = self.source
        if source.timezone is None and source.time_mode != "utc":
            source = dataclasses.replace(source, timezone=project_zone(source))
        return MixpanelClient(source)

    @cached_property
    def source(self) -> MixpanelSource:
        """The Mixpanel side. Raises SettingsError for what is missing, SettingsWrong for what is wrong."""
        settings = self.settings
        return MixpanelSource(
            credentials=self.credentials.mixpanel(),
            project_id=settings.project_id,
            region=settings.region,
            export_url=settings.export_url,
            api_url=settings.api_url,
            timezone=settings.timezone,
            time_mode=settings.time_mode,
            events=settings.events,
            where=settings.where,
            budget_share=settings.budget_share,
            budget_location=settings.budget_location,
            privacy=self.privacy if settings.privacy.stage == "raw" else None,
        )

    @cached_property
    def privacy(self) -> Privacy | None:
        """The rules for properties with their salt, None without rules. Raises SettingsWrong where the salt lacks."""
        settings = self.settings.privacy
        return Privacy(settings, self.secrets.privacy_salt) if settings.active else None

    def check_settings(self) -> None:
        """Raises SettingsError, SettingsWrong or StorageError for what is missing or wrong here; asks nobody."""
        _ = self.source, self.platform, self.storage
        if self.settings.mapping is not None and not Path(self.settings.mapping).is_file():
            raise SettingsError(
                f"MIXPANEL_AEP_MAPPING={self.settings.mapping!r} is not a file. Set it to a mapping set (JSON, YAML or CSV)."
            )

    @cached_property
    def platform(self) -> PlatformClient:
        from mixpanel_aep_assets.aep.http import PlatformClient
        from mixpanel_aep_assets.aep.platform_settings import IMS_URL, PLATFORM_URL, Platform

        settings = self.settings
        settings.require("org_id")
        client_id, client_secret = self.credentials.adobe()
        assert settings.org_id is not None
        for key, kind in IDS.items():
            if problem := credential_text.problem(VARIABLES[key], str(getattr(settings, key) or ""), kind):
                raise SettingsError(problem)
        for key in ("ims_url", "aep_url"):
            if problem := network.url_problem(url := getattr(settings, key) or PLATFORM_URL):
                shown = network.shown(url)
                raise SettingsError(f"{VARIABLES[key]}={shown!r} {problem}; it should look like {PLATFORM_URL}")
        tries = {} if self.tries is None else {"tries": self.tries}
        return PlatformClient(
            Platform(
                client_id=client_id,
                client_secret=client_secret,
                org_id=settings.org_id,
                scopes=settings.scopes,
                ims_url=settings.ims_url or IMS_URL,
                url=settings.aep_url or PLATFORM_URL,
                sandbox=settings.sandbox,
                **tries,
            )
        )

    def day(self, table: str, day: str) -> Day:
        return self.storage.day(self.settings.name, table, day)

    @cached_property
    def dataset(self) -> str:
        """The dataset's id, looked up by name where none is set. Raises DatasetNotFound."""
        from mixpanel_aep_assets.aep import catalog

        return self.settings.dataset_id or catalog.dataset_id_of(self.platform, self.settings.dataset_name)

    @cached_property
    def schema(self) -> Schema:
        """The dataset's schema, closed, with Platform names, and the primary identity that a descriptor names."""
        from mixpanel_aep_assets.aep import catalog, registry
        from mixpanel_aep_assets.xdm.composition import registry_schema

        reference = catalog.dataset(self.platform, self.dataset).get("schemaRef") or {}
        if not reference.get("id"):
            raise SettingsError(f"The dataset {self.dataset} has no schema; choose one that has (AEP_DATASET_ID).")
        document = registry.schema_document(self.platform, str(reference["id"]))
        return registry_schema(document, registry.primary_identities(self.platform, str(reference["id"])))

    @cached_property
    def tenant(self) -> str:
        """The organisation's tenant id, without the underscore; that of the dataset's schema where it may not be asked."""
        from mixpanel_aep_assets.aep import registry
        from mixpanel_aep_assets.aep.platform_errors import NotFound, PermissionMissing

        try:
            return registry.tenant_id(self.platform)
        except (NotFound, PermissionMissing):
            owner = re.match(r"https://ns\.adobe\.com/(?!xdm/)([^/]+)/schemas/", self.schema.id)
            if owner is None:
                raise
            return owner[1]

    @cached_property
    def accepted_plan(self) -> SchemaPlan | None:
        """The plan of grown fields that was applied last (`pipeline.insight.schema_growth`), None where there is none. Raises
        PlanError."""
        return remembered.plan(self.storage, self.settings.name) if self.settled is None else self.settled.plan

    @cached_property
    def mapping(self) -> DatasetMapping:
        """The mapping to run. Raises the errors of `dataprep` and of `aep.platform_errors`."""
        from mixpanel_aep_assets.connection.dataset_mapping import dataset_mapping

        tenant = self.tenant
        return dataset_mapping(self.settings, self.schema, tenant, self.accepted_plan)

    def wanted(self) -> Wanted:
        """What the Platform must have for this connection."""
        return self.wanted_with(self.accepted_plan)

    def wanted_with(self, plan: SchemaPlan | None) -> Wanted:
        """The same with the fields of a plan that is not accepted yet."""
        from mixpanel_aep_assets.aep.provision import Wanted
        from mixpanel_aep_assets.growth.schema_plan import schema_fields

        grown = schema_fields(plan) if plan is not None else {}
        return Wanted(
            dataset_name=self.settings.dataset_name,
            schema_title=self.settings.schema_title or "",
            field_group_title=self.settings.field_group_title or "",
            profile=self.settings.profile,
            grown=grown,
        )

    def time_mode(self) -> Decision | None:
        """The time mode that was decided for this project before; None before the first sure day, or where one is set."""
        if self.settings.time_mode != "auto":
            return None
        elsewhere = self.settled.time_mode if self.settled is not None else None
        return elsewhere or remembered.time_mode(self.storage, self.settings.name)

    def remember_time_mode(self, decision: Decision, day: str) -> None:
        """Keeps the first decision that lasts; later days are held against it."""
        if self.settings.time_mode == "auto" and decision.sure and decision.lasting:
            remembered.keep_time_mode(self.storage, self.settings.name, decision, day)

    def with_storage(self, storage: Storage) -> Connection:
        """The same connection on another storage, with the plan and the time mode that were settled on this one."""
        settled = Settled(self.accepted_plan, self.time_mode())
        return dataclasses.replace(self, given_storage=storage, tries=None, settled=settled)
