"""The definitions of a connection as a page to read: what a change of the Dagster layer changes for its users.

`UPDATE_SNAPSHOTS=1 make test ARGS="-k definitions"` writes the pages again; review the difference like code.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from mixpanel_aep_assets.components import MixpanelToAep
from mixpanel_aep_assets.components.mixpanel_to_aep import build_connection
from mixpanel_aep_assets.emulator import EmulatorThread
from mixpanel_aep_assets_tests.connections import DAY, events, lines, opened, provisioned
from mixpanel_aep_assets_tests.orchestration.layer import default_definitions, described

SNAPSHOTS = Path(__file__).with_name("snapshots")


def require_same(name: str, found: list[str]) -> None:
    page = SNAPSHOTS / name
    text = "\n".join(found) + "\n"
    if os.environ.get("UPDATE_SNAPSHOTS"):
        page.parent.mkdir(exist_ok=True)
        page.write_text(text)
    assert text == page.read_text(), f"{page.name} is another; see the docstring of this module"


def shop() -> dg.Definitions:
    block = MixpanelToAep(
        name="shop",
        start_date="2026-01-01",
        storage="/data/shop",
        mixpanel={"project_id": 7, "timezone": "US/Pacific", "username_env": "SHOP_USER", "secret_env": "SHOP_SECRET"},
    )
    return build_connection(block, block.block())


def test_definitions_of_a_connection_are_as_on_the_page(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith(("MIXPANEL_", "ADOBE_", "AEP_"))]:
        monkeypatch.delenv(name)
    definitions = shop()
    require_same(
        "definitions.txt",
        [
            *assets(definitions),
            *checks(definitions),
            *jobs(definitions),
            *automation(definitions),
            *resources(definitions),
        ],
    )


def test_metadata_keys_of_a_day_are_as_on_the_page(
    emulator: EmulatorThread, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    described(monkeypatch, emulator, tmp_path)
    with opened(emulator, tmp_path) as connection:
        provisioned(connection)
    emulator.control.seed_day(DAY, lines(events(40)))
    definitions = default_definitions()
    with dg.DagsterInstance.ephemeral() as instance:
        result = definitions.resolve_job_def("default_daily").execute_in_process(instance=instance, partition_key=DAY)
    require_same("metadata_keys.txt", list(metadata_keys(result)))


def assets(definitions: dg.Definitions) -> Iterator[str]:
    made = [one for one in definitions.assets or [] if isinstance(one, dg.AssetsDefinition)]
    assert len(made) == len(list(definitions.assets or []))
    for asset in sorted(made, key=lambda one: one.key):
        (spec,) = asset.specs
        days = spec.partitions_def
        assert isinstance(days, dg.TimeWindowPartitionsDefinition)
        yield f"asset {spec.key.to_user_string()}"
        yield f"  group {spec.group_name}, owners {', '.join(spec.owners) or 'none'}, code version {spec.code_version}"
        yield f"  kinds {', '.join(sorted(spec.kinds))}"
        yield f"  partitions {days.fmt} from {days.start:%Y-%m-%d} in {days.timezone}"
        yield f"  after {', '.join(sorted(dep.asset_key.to_user_string() for dep in spec.deps)) or 'nothing'}"
        yield f"  pools {asset.op.pool or 'none'}"
        yield f"  retries {retries(asset)}"
        yield from (
            f"  {name} = {value}"
            for name, value in sorted(spec.metadata.items())
            if name in ("dagster/uri", "dagster/table_name")
        )
        yield f"  automation {spec.automation_condition.get_label() if spec.automation_condition else 'none'}"


def retries(asset: dg.AssetsDefinition) -> str:
    policy = asset.op.retry_policy
    return "none" if policy is None else f"{policy.max_retries}"


def checks(definitions: dg.Definitions) -> Iterator[str]:
    made = list(definitions.asset_checks or [])
    for spec in [spec for one in made if isinstance(one, dg.AssetChecksDefinition) for spec in one.check_specs]:
        yield f"check {spec.asset_key.to_user_string()}: {spec.name}"
        yield f"  {'blocks' if spec.blocking else 'warns'}, {'by day' if spec.partitions_def else 'for all days'}"


def jobs(definitions: dg.Definitions) -> Iterator[str]:
    for job in sorted(definitions.jobs or [], key=lambda one: one.name):
        resolved = definitions.resolve_job_def(job.name)
        graph = resolved.asset_layer
        yield f"job {job.name}: {job.description}"
        yield from (f"  runs {key.to_user_string()}" for key in sorted(graph.selected_asset_keys))
        yield from (f"  checks {key.to_user_string()}" for key in sorted(graph.asset_graph.asset_check_keys, key=str))


def automation(definitions: dg.Definitions) -> Iterator[str]:
    for schedule in definitions.schedules or []:
        assert isinstance(schedule, dg.ScheduleDefinition)
        yield f"schedule {schedule.name}: {schedule.cron_schedule} in {schedule.execution_timezone}"
        yield f"  {schedule.default_status.value}, job {schedule.job_name}"
    for sensor in sorted(definitions.sensors or [], key=lambda one: one.name):
        targets = ", ".join(target.job_name for target in sensor.targets) if sensor.targets else "assets"
        yield f"sensor {sensor.name} ({sensor.sensor_type.value}): {sensor.description}"
        yield f"  {sensor.default_status.value}, every {sensor.minimum_interval_seconds} s at most, {targets}"


def resources(definitions: dg.Definitions) -> Iterator[str]:
    for key, resource in sorted((definitions.resources or {}).items()):
        yield f"resource {key} ({type(resource).__name__})"
        assert isinstance(resource, dg.ConfigurableResource)
        for name in type(resource).model_fields:
            value = getattr(resource, name)
            if isinstance(value, dg.EnvVar):
                yield f"  {name} from {value.env_var_name}"


def metadata_keys(result: Any) -> Iterator[str]:
    for made in result.get_asset_materialization_events():
        yield f"asset {made.asset_key.to_user_string()}"
        found = made.materialization.metadata
        yield from (f"  {name} ({type(value).__name__})" for name, value in sorted(found.items()))
    for check in sorted(result.get_asset_check_evaluations(), key=lambda one: (str(one.asset_key), one.check_name)):
        yield f"check {check.asset_key.to_user_string()}: {check.check_name}"
        yield from (f"  {name} ({type(value).__name__})" for name, value in sorted(check.metadata.items()))
