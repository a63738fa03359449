"""The YAML surface: one block is one Mixpanel project into one Platform dataset.

What belongs here: the settings with their descriptions, and the wiring of the Dagster layer. A setting that is not here
cannot be set by a user.
"""

from __future__ import annotations

import datetime
import os
from functools import partial
from pathlib import Path
from typing import Literal

import dagster as dg
from pydantic import Field

from mixpanel_aep_assets.connection import DEFAULT_NAME, SECRET_VARIABLES, Connection, Secrets, Settings, remembered
from mixpanel_aep_assets.connection.blocks import Block, block_of
from mixpanel_aep_assets.orchestration import assets, automation, checks, property_drift
from mixpanel_aep_assets.orchestration.resources import ConnectionResource
from mixpanel_aep_assets.pipeline.steps import time_modes
from mixpanel_aep_assets.storage import StorageError, uri_of


class MixpanelSettings(dg.Model, dg.Resolvable):
    """The Mixpanel project. What is left out is read from the environment (`MIXPANEL_…`)."""

    project_id: int | None = Field(None, description="Project id; required except for the connection `default`.")
    region: Literal["US", "EU", "IN"] | None = Field(None, description="Data residency of the project.")
    timezone: str | None = Field(None, description="The project's zone, IANA or Windows name, e.g. `US/Pacific`.")
    time_mode: Literal["auto", "utc", "project"] | None = Field(
        None,
        description="How `time` is written: `utc`, in the project's wall clock (`project`), or detect it (`auto`).",
    )
    username_env: str = Field(SECRET_VARIABLES["mixpanel_username"], description="Variable: service account name.")
    secret_env: str = Field(SECRET_VARIABLES["mixpanel_secret"], description="Variable: service account secret.")
    project_secret_env: str | None = Field(None, description="Variable: project secret (retires 3 March 2027).")
    bearer_token_env: str | None = Field(None, description="Variable: OAuth bearer token.")
    export_url: str | None = Field(None, description="Base URL of the export host, for a proxy or an emulator.")
    api_url: str | None = Field(None, description="Base URL of the App and Query API.")
    events: list[str] | None = Field(None, description="Export only these events, by raw name.")
    where: str | None = Field(
        None, description="An expression in Mixpanel's filter language; only matching events are exported."
    )
    budget_share: float | None = Field(
        None, description="Our share of the project's 60 export requests an hour; other tools use them too. 0.9."
    )
    window_megabytes: int | None = Field(
        None, description="Megabytes that one request of a backfill should carry; several days share a request. 1000."
    )
    window_days: int | None = Field(None, description="Maximum days per request, 1 to 31 (1: each day alone). 31.")


class PlatformSettings(dg.Model, dg.Resolvable):
    """The Platform side. What is left out is read from the environment (`ADOBE_…`, `AEP_…`)."""

    org_id: str | None = Field(None, description="Organisation id, `…@AdobeOrg`.")
    sandbox: str | None = Field(None, description="Sandbox name. `prod`.")
    dataset_id: str | None = Field(None, description="Target dataset by id …")
    dataset_name: str | None = Field(None, description="… or by name; `mixpanel-aep provision` creates it.")
    schema_title: str | None = Field(
        None, description="Title of the schema that `provision` creates or extends. `Mixpanel events`."
    )
    field_group_title: str | None = Field(
        None, description="Title of the field group that `provision` creates or extends. `Mixpanel event details`."
    )
    profile: bool | None = Field(
        None, description="Let `provision` also enable schema and dataset for Profile, which cannot be undone. false."
    )
    client_id_env: str = Field(SECRET_VARIABLES["adobe_client_id"], description="Variable: OAuth client id.")
    client_secret_env: str = Field(SECRET_VARIABLES["adobe_client_secret"], description="Variable: client secret.")
    scopes: str | None = Field(None, description="OAuth scopes, separated by commas.")
    ims_url: str | None = Field(None, description="Token host.")
    url: str | None = Field(None, description="Platform gateway.")
    partial_ingestion_percent: float | None = Field(
        None, description="Percentage of rows that the Platform may reject before it fails the batch (5 in Adobe's UI)."
    )


class PrivacyBlock(dg.Model, dg.Resolvable):
    """Properties that are dropped, hashed or allowed by list (docs/privacy.md). A name is as Mixpanel exports it."""

    drop: list[str] | None = Field(None, description="Properties to remove, by name or dotted path (`address.street`).")
    hash: list[str] | None = Field(
        None, description="Properties to replace by HMAC-SHA-256 with the salt; hashing one id hashes all ids."
    )
    allow: list[str] | None = Field(None, description="Keep only these, and what is needed to place an event.")
    stage: Literal["raw", "xdm"] | None = Field(
        None,
        description="`raw` (default): apply the rules before anything is stored. `xdm`: raw files keep everything, XDM does not.",
    )
    salt_env: str = Field(SECRET_VARIABLES["privacy_salt"], description="Variable: the salt of the hashes.")


class ScheduleSettings(dg.Model, dg.Resolvable):
    """When the daily job runs, in the partitions' zone."""

    hour: int = Field(5, ge=0, le=23)
    minute: int = Field(0, ge=0, le=59)
    delay_hours: float = Field(3.0, ge=0, description="Hours after its end when a day counts as closed.")
    look_back_days: int = Field(5, ge=0, le=90, description="Number of past days to read again for late events.")
    running: bool = Field(
        False,
        description="Start the schedule and the drift sensor without a click in the UI. The sensors that follow batches "
        "and relaunch waiting runs start anyway once the secrets are set.",
    )


class MixpanelToAep(dg.Component, dg.Model, dg.Resolvable):
    """A Mixpanel project's events, day by day, into an Adobe Experience Platform dataset."""

    name: str = Field(DEFAULT_NAME, description="The connection's name; asset keys, jobs and folders start with it.")
    start_date: str | None = Field(
        None, description="First day, `YYYY-MM-DD`. By default, 30 days before the connection was first loaded."
    )
    storage: str | None = Field(None, description="Where days are stored: a path or `s3://`, `gs://`, `abfss://`.")
    mapping: str | None = Field(None, description="A mapping set (JSON, YAML), relative to this file.")
    max_nonconforming_percent: float | None = Field(
        None,
        description="Percentage of a day's events that may be quarantined for not conforming; more block the day, if they are "
        "also more than `max_nonconforming_rows`. 5.",
    )
    max_nonconforming_rows: int | None = Field(
        None, description="Events that may be quarantined whatever their percentage, unless no event conforms. 20."
    )
    shrink_percent: float | None = Field(
        None, description="A day that lost at least this percentage of its events is replaced only with evidence. 20."
    )
    shrink_floor: int | None = Field(
        None, description="Fewer missing events than this are accepted without evidence. 5."
    )
    empty_floor: int | None = Field(
        None,
        description="Request an empty day a second time if a neighbouring day has at least this many events. 1000.",
    )
    mixpanel: MixpanelSettings = MixpanelSettings()
    platform: PlatformSettings = PlatformSettings()
    privacy: PrivacyBlock = PrivacyBlock()
    schedule: ScheduleSettings = ScheduleSettings()
    owners: list[str] | None = Field(None, description="Owners shown in the UI: `team:…` or an e-mail address.")

    def build_defs(self, context: dg.ComponentLoadContext) -> dg.Definitions:
        return build_connection(self, self.block(Path(context.path)))

    def block(self, file: Path | None = None) -> Block:
        """The connection that these attributes describe, over the environment; a mapping path is relative to `file`."""
        return block_of(self.model_dump(exclude_none=True), file, os.environ)

    def settings(self, file: Path | None = None) -> Settings:
        return self.block(file).settings


def build_connection(component: MixpanelToAep, block: Block) -> dg.Definitions:
    """All definitions of a connection."""
    settings = block.settings
    name = settings.name
    opened_by = resource(block)
    able = secrets_are_set(opened_by)
    days = partitions(settings, remember=able or settings.project_id is not None)
    resource_key = f"{name}_connection"
    made = assets.build_assets(
        name, days, resource_key=resource_key, owners=component.owners, uri=uri_of(settings.storage)
    )
    drifted, drift_check = property_drift.build_drift(made[0], resource_key=resource_key, owners=component.owners)
    daily = automation.daily_job(name, made)
    confirm = automation.confirm_job(name, made[-1].key)
    when = component.schedule
    # What finishes that which runs began (following batches, coming back after a wait) needs no click, only credentials.
    finishing = when.running or able
    return dg.Definitions(
        assets=[*made, drifted],
        asset_checks=[*checks.build_checks(made, resource_key=resource_key), drift_check],
        jobs=[daily, confirm],
        schedules=[
            automation.daily_schedule(
                name,
                daily,
                days,
                hour=when.hour,
                minute=when.minute,
                delay=datetime.timedelta(hours=when.delay_hours),
                look_back=when.look_back_days,
                running=when.running,
            )
        ],
        sensors=[
            automation.follow_sensor(name, made[-1].key, confirm, resource_key, running=finishing),
            automation.requeue_sensor(name, [daily, confirm], partial(mode_is_known, settings), running=finishing),
            automation.drift_sensor(name, drifted, running=when.running),
        ],
        resources={resource_key: opened_by},
    )


def partitions(settings: Settings, *, remember: bool = True) -> dg.DailyPartitionsDefinition:
    """One partition a request day. In project time, and where the mode is still to be found out, days are the
    project zone's; the export itself refuses a day that is not over yet in the mode found.

    A start that is not set is the remembered one: counted back from today, days would fall out at midnight under queued runs.
    `remember` is false where nothing can run, so that looking at the definitions leaves nothing behind.
    """
    zone = settings.zone if settings.time_mode != "utc" else "UTC"
    start = settings.first_day(datetime.datetime.now(datetime.UTC).date())
    if settings.start_date is None and remember:
        start = remembered.start_date(settings.storage, settings.name, start)
    return dg.DailyPartitionsDefinition(start_date=start.isoformat(), timezone=zone)


def mode_is_known(settings: Settings) -> bool:
    """Whether days that wait for the time mode can go on. False while the storage cannot be read."""
    if settings.time_mode != "auto":
        return True
    try:
        return time_modes.decide(Connection(settings, Secrets())) is not None
    except StorageError:
        return False


def resource(block: Block) -> ConnectionResource:
    """The connection's resource; each secret is an `EnvVar` of the variable that the block names."""
    secrets = {key: dg.EnvVar(variable) for key, variable in block.variables.items()}
    return ConnectionResource.of(block.settings, secrets)


def secrets_are_set(made: ConnectionResource) -> bool:
    """Whether every variable that the resource reads a secret from is set here; without one no sensor can work."""
    read = (getattr(made, key, None) for key in Secrets.model_fields)
    return all(os.environ.get(value.env_var_name) for value in read if isinstance(value, dg.EnvVar))
