"""An open connection: one Mixpanel project into one Platform dataset, with the clients that its settings describe.

What belongs here: building the clients. What does not: reading settings (`settings`, `blocks`), what the clients do.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import re
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson
from pydantic import SecretStr

from mixpanel_aep_assets import credential_text, network
from mixpanel_aep_assets.connection import remembered
from mixpanel_aep_assets.connection.settings import (
    IDS,
    SECRET_VARIABLES,
    VARIABLES,
    WAYS_INTO_MIXPANEL,
    Secrets,
    Settings,
)
from mixpanel_aep_assets.errors import SettingsError
from mixpanel_aep_assets.mixpanel.client import MixpanelClient, project_zone
from mixpanel_aep_assets.mixpanel.privacy import Privacy
from mixpanel_aep_assets.mixpanel.settings import Credentials, MixpanelSource
from mixpanel_aep_assets.mixpanel.time_mode import Decision
from mixpanel_aep_assets.storage import Day, Storage, open_storage

if TYPE_CHECKING:  # the other rooms are imported when they are first used: an export alone starts twice as fast
    from mixpanel_aep_assets.aep.http import PlatformClient
    from mixpanel_aep_assets.aep.provision import Wanted
    from mixpanel_aep_assets.dataprep.advice.fitting import Fitted
    from mixpanel_aep_assets.dataprep.columnar.compiled_mapping import CompiledMapping
    from mixpanel_aep_assets.dataprep.language.mapping_set import MappingSet
    from mixpanel_aep_assets.growth.schema_plan import SchemaPlan
    from mixpanel_aep_assets.xdm.conformance import Conformance
    from mixpanel_aep_assets.xdm.schema import Schema

DERIVED = {
    "mixpanel.id": "mixpanel.id",
    "mixpanel.timestamp": "mixpanel.timestamp",
    "mixpanel.identityMap": "mixpanel.identityMap",
    "mixpanel.properties": "properties",
    "mixpanel.event": "event",
    "mixpanel.insertId": "insert_id",
    "mixpanel.distinctId": "distinct_id",
    "mixpanel.distinctIdBeforeIdentity": "distinct_id_before_identity",
    "mixpanel.deviceId": "device_id",
    "mixpanel.userId": "user_id",
}
"""Source path of a derived attribute -> column of the frame that the mapping reads."""


class Opened:
    """An open connection: storage, clients, the dataset's schema, the compiled mapping; each made when first used.

    Use it as a context manager; leaving closes the clients.
    """

    def __init__(
        self,
        settings: Settings,
        secrets: Secrets,
        storage: Storage | None = None,
        variables: Mapping[str, str] = SECRET_VARIABLES,
    ) -> None:
        self.settings = settings
        self._secrets = secrets
        self._storage = storage
        self._variables = variables
        self.tries: int | None = None
        """Of a call to the Platform, where they are to be other than its settings say."""
        self._time_mode_elsewhere: Decision | None = None

    def __enter__(self) -> Opened:
        return self

    def __exit__(self, *_: object) -> None:
        for client in ("mixpanel", "platform"):
            if client in self.__dict__:
                self.__dict__.pop(client).close()

    def __repr__(self) -> str:
        return f"Opened({self.settings.name!r})"

    @cached_property
    def storage(self) -> Storage:
        return self._storage or open_storage(self.settings.storage)

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
            credentials=self._credentials(),
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

    def _credentials(self) -> Credentials:
        """The first way into Mixpanel of which something is there."""
        for way in WAYS_INTO_MIXPANEL:
            given = {key.removeprefix("mixpanel_"): self._sent(key) for key in way}
            if any(given.values()):
                self._require_secrets(*way)
                username = given.pop("username", None)
                return Credentials(username=username.get_secret_value() if username else None, **given)
        self._require_secrets(*(key for key in WAYS_INTO_MIXPANEL[0] if key in self._variables))
        raise SettingsError(f"No way into Mixpanel is set (connection {self.settings.name!r}).")

    def _require_secrets(self, *keys: str) -> None:
        """Raises SettingsError naming the variables of secrets that are missing."""
        missing = [self._variables.get(key, SECRET_VARIABLES[key]) for key in keys if self._sent(key) is None]
        if missing:
            other = " (or one of the other ways into Mixpanel)" if keys == WAYS_INTO_MIXPANEL[0] else ""
            raise SettingsError(
                f"Not set: {', '.join(missing)}{other}, connection {self.settings.name!r}. Export the variable."
            )

    @cached_property
    def privacy(self) -> Privacy | None:
        """The rules for properties with their salt, None without rules. Raises SettingsWrong where the salt lacks."""
        settings = self.settings.privacy
        return Privacy(settings, self._secrets.privacy_salt) if settings.active else None

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
        from mixpanel_aep_assets.aep.settings import IMS_URL, PLATFORM_URL, Platform

        settings = self.settings
        settings.require("org_id")
        client_id, client_secret = self._sent("adobe_client_id"), self._sent("adobe_client_secret")
        self._require_secrets("adobe_client_id", "adobe_client_secret")
        assert settings.org_id is not None
        assert client_id is not None
        assert client_secret is not None
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

    def oddities(self, environment: Mapping[str, str]) -> list[str]:
        """A sentence for each secret and id that something stands around, which is left out where it is used."""
        given = {self._variable(key): value.get_secret_value() for key, value in self._secrets if value is not None}
        salt = given.pop(self._variable("privacy_salt"), "")
        for key in IDS:
            text = environment.get(VARIABLES[key], "")
            if credential_text.trimmed(text) == str(getattr(self.settings, key)):
                given[VARIABLES[key]] = text
        return credential_text.oddities(given, salt)

    def _sent(self, key: str) -> SecretStr | None:
        """A secret as it is sent: without what stands around it. Raises SettingsError for what no such value holds."""
        given: SecretStr | None = getattr(self._secrets, key)
        text = credential_text.trimmed(given.get_secret_value()) if given is not None else ""
        kind: credential_text.CredentialKind = "name" if key == "mixpanel_username" else "token"
        if problem := credential_text.problem(self._variable(key), text, kind):
            raise SettingsError(problem)
        return SecretStr(text) if text else None

    def _variable(self, key: str) -> str:
        """The variable of a secret."""
        return self._variables.get(key, SECRET_VARIABLES[key])

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
        from mixpanel_aep_assets.aep.errors import NotFound, PermissionMissing

        try:
            return registry.tenant_id(self.platform)
        except (NotFound, PermissionMissing):
            owner = re.match(r"https://ns\.adobe\.com/(?!xdm/)([^/]+)/schemas/", self.schema.id)
            if owner is None:
                raise
            return owner[1]

    @cached_property
    def mapping_set(self) -> MappingSet:
        """`own_mapping_set`, the standard one fitted to the schema, and the mappings that fill the accepted plan's fields."""
        from mixpanel_aep_assets.dataprep.language.mapping_set import Mapping as OneMapping
        from mixpanel_aep_assets.growth import mappings as growth

        own = self.own_mapping_set if self._fitted is None else self._fitted.mapping_set
        plan = self.accepted_plan
        if plan is None:
            return own
        grown = (OneMapping.from_json(row) for row in growth.mappings(plan, self.tenant))
        return dataclasses.replace(own, mappings=(*own.mappings, *grown))

    @cached_property
    def _fitted(self) -> Fitted | None:
        """The standard mapping as the dataset's schema can take it; None where the user has a mapping set."""
        from mixpanel_aep_assets.dataprep.advice.fitting import fitted
        from mixpanel_aep_assets.xdm.standard import HOME

        if self.settings.mapping is not None:
            return None
        return fitted(self.own_mapping_set, self.schema, self.tenant, reserved=[f"_{self.tenant}.mixpanel.{HOME}"])

    @property
    def left_out(self) -> tuple[str, ...]:
        """Destinations of the standard mapping that the dataset's schema lacks; none of a user's mapping set is left out."""
        return () if self._fitted is None else self._fitted.left_out

    @property
    def keeps_properties(self) -> bool:
        """Whether a field of the schema takes all properties of an event as JSON text, mapped or not."""
        return any(mapping.source == "mixpanel.properties" for mapping in self.mapping_set.mappings)

    @cached_property
    def accepted_plan(self) -> SchemaPlan | None:
        """The plan of grown fields that was applied last (`pipeline.grow`), None where there is none.

        It lies in storage and not in the Registry: it holds a person's decisions, policies and refusals too, and a title
        changed in the schema editor must not change the mapping. Raises PlanError for a damaged one.
        """
        from mixpanel_aep_assets.growth.schema_plan import read_plan

        data = self.storage.read(self._plan_path)
        return None if data is None else read_plan(data.decode(), self.storage.location(self._plan_path))

    def accept_plan(self, plan: SchemaPlan) -> None:
        """Keeps the plan. What was mapped before is mapped anew when its day is materialized again."""
        self.storage.write(self._plan_path, orjson.dumps(plan.model_dump(mode="json", by_alias=True)))
        for name in (
            "accepted_plan",
            "mapping_set",
            "_fitted",
            "mapping",
            "schema",
            "conformance",
            "fingerprint",
            "strict_destinations",
        ):
            self.__dict__.pop(name, None)

    @cached_property
    def strict_destinations(self) -> frozenset[str]:
        """Destinations whose mapping errors set an event aside: grown fields with the policy `quarantine`."""
        from mixpanel_aep_assets.growth import mappings as growth

        return growth.strict(self.accepted_plan, self.tenant) if self.accepted_plan is not None else frozenset()

    @property
    def _plan_path(self) -> str:
        return f"{self.settings.name}/schema_plan.json"

    @cached_property
    def own_mapping_set(self) -> MappingSet:
        """The user's mapping set, else the standard one; `{TENANT_ID}` stands for the tenant id in both.

        `_id`, `timestamp` and `identityMap` are added where the user's set leaves them out.
        """
        from mixpanel_aep_assets.dataprep.language.mapping_set import MappingSet
        from mixpanel_aep_assets.xdm import standard

        if self.settings.mapping is None:
            return MappingSet.from_json(standard.standard_mapping(self.tenant))
        given = self._given_mapping_set(self.settings.mapping)
        # Adobe's own tutorial sets neither `_id` nor `timestamp` nor identities, which every ExperienceEvent needs.
        roots = {re.split(r"[.\[]", str(row["destination"]), maxsplit=1)[0] for row in given["mappings"]}
        given["mappings"] += [
            {"sourceType": "ATTRIBUTE", "source": f"mixpanel.{name}", "destination": root}
            for root, name in (("_id", "id"), ("timestamp", "timestamp"), ("identityMap", "identityMap"))
            if root not in roots
        ]
        return MappingSet.from_json(given)

    def _given_mapping_set(self, file: str) -> dict[str, Any]:
        """The user's mapping set in the newer JSON form."""
        from mixpanel_aep_assets.dataprep.language.mapping_set import load_mapping_set
        from mixpanel_aep_assets.xdm import standard

        try:
            loaded = load_mapping_set(Path(file))
        except OSError as error:
            raise SettingsError(f"MIXPANEL_AEP_MAPPING={file!r} cannot be read: {error.strerror}.") from None
        document: dict[str, Any] = json.loads(json.dumps(loaded.to_json()).replace(standard.TENANT, self.tenant))
        return document

    @cached_property
    def mapping(self) -> CompiledMapping:
        """The mapping set compiled against the dataset's schema, reading the attributes that `transform` derives."""
        from mixpanel_aep_assets.dataprep.columnar.compiled_mapping import compile_mapping

        return compile_mapping(self.mapping_set, self.schema, derived=DERIVED)

    @property
    def mapping_name(self) -> str:
        name = self.settings.mapping or "the standard mapping"
        grown = len(self.accepted_plan.included) if self.accepted_plan is not None else 0
        return f"{name} and {grown} grown fields" if grown else name

    @cached_property
    def conformance(self) -> Conformance:
        from mixpanel_aep_assets.xdm.conformance import Conformance

        return Conformance(self.schema)

    @cached_property
    def fingerprint(self) -> str:
        """Of the mapping set and the schema: XDM files made with another are made anew."""
        text = orjson.dumps(self.mapping_set.to_json(), option=orjson.OPT_SORT_KEYS) + self.schema.to_json()
        if self.strict_destinations:
            text += orjson.dumps(sorted(self.strict_destinations))
        return hashlib.sha256(text).hexdigest()[:32]

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
        return self._time_mode_elsewhere or remembered.time_mode(self.storage, self.settings.name)

    def remember_time_mode(self, decision: Decision, day: str) -> None:
        """Keeps the first decision that lasts; later days are held against it."""
        if self.settings.time_mode == "auto" and decision.sure and decision.lasting:
            remembered.keep_time_mode(self.storage, self.settings.name, decision, day)

    def with_storage(self, storage: Storage) -> Opened:
        """The same connection on another storage, with the plan and the time mode that were settled on this one."""
        other = Opened(self.settings, self._secrets, storage, self._variables)
        other.accepted_plan = self.accepted_plan
        other._time_mode_elsewhere = self.time_mode()
        return other

    def unmapped_destinations(self) -> list[str]:
        """Destinations of the mapping set that the dataset's schema lacks."""
        paths = (re.sub(r"\[[^]]*\]", "", mapping.destination) for mapping in self.mapping_set.mappings)
        return sorted({path for path in paths if self.schema.field(path) is None})
