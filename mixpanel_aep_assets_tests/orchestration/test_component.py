"""One YAML block is one Mixpanel project into one dataset: what it makes, and what is said of a wrong one."""

from __future__ import annotations

import datetime
import warnings
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from mixpanel_aep_assets import definitions
from mixpanel_aep_assets.cli.connections import load_definitions
from mixpanel_aep_assets.components import MixpanelToAep
from mixpanel_aep_assets.components.mixpanel_to_aep import build_connection, partitions
from mixpanel_aep_assets.connection import Settings
from mixpanel_aep_assets.orchestration import automation, checks


def build(**attributes: Any) -> dg.Definitions:
    block = MixpanelToAep(**attributes)
    return build_connection(block, block.block())


@pytest.fixture(autouse=True)
def _no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("MIXPANEL_PROJECT_ID", "MIXPANEL_AEP_START_DATE", "MIXPANEL_TIMEZONE", "MIXPANEL_USERNAME"):
        monkeypatch.delenv(name, raising=False)


def shop(**more: Any) -> dict[str, Any]:
    return {"name": "shop", "start_date": "2026-01-01", "mixpanel": {"project_id": 7}, **more}


def test_a_block_makes_four_assets_their_checks_two_jobs_a_schedule_and_two_sensors() -> None:
    definitions = build(**shop())
    repository = definitions.get_repository_def()
    assert {key.path[-1] for key in definitions.resolve_all_asset_keys()} == {
        "raw_events",
        "xdm_events",
        "aep_batch",
        "property_drift",
    }
    checks = {key.name for key in repository.asset_graph.asset_check_keys}
    assert checks == {
        "body_is_whole",
        "lines_belong_to_day",
        "time_mode_is_sure",
        "loss_is_proven",
        "conforms_to_xdm",
        "mapping_has_no_errors",
        "counts_add_up",
        "within_guardrails",
        "ingested_by_aep",
        "reconciles_with_mixpanel",
        "properties_have_not_drifted",
    }
    assert {"shop_daily", "shop_confirm"} <= {job.name for job in repository.get_all_jobs()}
    assert [schedule.name for schedule in repository.schedule_defs] == ["shop_daily"]
    assert {sensor.name for sensor in repository.sensor_defs} >= {"shop_batch_status", "shop_requeue"}


def test_the_daily_job_leaves_the_platforms_verdict_to_the_sensor() -> None:
    job = build(**shop()).resolve_job_def("shop_daily")
    named = {key.name for key in job.asset_layer.asset_graph.asset_check_keys}
    assert {"conforms_to_xdm", "counts_add_up"} <= named
    assert checks.INGESTED not in named


def test_two_blocks_live_side_by_side_with_zones_of_their_own() -> None:
    other = shop(name="app", mixpanel={"project_id": 8, "timezone": "Asia/Tokyo", "time_mode": "project"})
    merged = dg.Definitions.merge(build(**shop()), build(**other))
    assert len(merged.resolve_all_asset_keys()) == 8
    dg.Definitions.validate_loadable(merged)


def test_days_are_the_projects_in_project_time_and_utc_in_utc_mode() -> None:
    given = {"project_id": 7, "timezone": "US/Pacific", "start_date": datetime.date(2026, 1, 1)}
    assert partitions(Settings(**given, time_mode="project")).timezone == "US/Pacific"
    assert partitions(Settings(**given, time_mode="utc")).timezone == "UTC"


def test_the_schedule_asks_for_the_last_closed_day_and_reads_the_days_before_again() -> None:
    definitions = build(**shop(schedule={"hour": 5, "delay_hours": 3, "look_back_days": 2}))
    schedule = definitions.resolve_schedule_def("shop_daily")
    tuesday = datetime.datetime(2026, 3, 10, 5, tzinfo=datetime.UTC)
    with dg.build_schedule_context(
        scheduled_execution_time=tuesday, repository_def=definitions.get_repository_def()
    ) as context:
        requests = schedule.evaluate_tick(context).run_requests
    assert requests is not None
    assert [request.partition_key for request in requests] == ["2026-03-09", "2026-03-08", "2026-03-07"]
    assert [automation.REREAD_TAG in request.tags for request in requests] == [False, True, True]


@pytest.mark.parametrize(("look_back", "depth"), [(5, 30), (60, 60)])
def test_on_mondays_the_schedule_reads_deeper(look_back: int, depth: int) -> None:
    definitions = build(**shop(start_date="2025-12-01", schedule={"look_back_days": look_back}))
    schedule = definitions.resolve_schedule_def("shop_daily")
    monday = datetime.datetime(2026, 3, 9, 5, tzinfo=datetime.UTC)
    with dg.build_schedule_context(
        scheduled_execution_time=monday, repository_def=definitions.get_repository_def()
    ) as context:
        requests = schedule.evaluate_tick(context).run_requests or []
    days = [datetime.date(2026, 3, 8) - datetime.timedelta(days=back) for back in range(depth + 1)]
    assert [request.partition_key for request in requests] == [day.isoformat() for day in days]
    assert len({request.run_key for request in requests}) == len(requests)


def test_a_day_that_ended_within_the_delay_is_not_asked_for() -> None:
    days = partitions(Settings(project_id=7, time_mode="utc", start_date=datetime.date(2026, 1, 1)))
    at = datetime.datetime(2026, 3, 10, 2, tzinfo=datetime.UTC)
    assert automation.closed_days(days, at, datetime.timedelta(hours=3))[-1] == "2026-03-08"
    assert automation.closed_days(days, at, datetime.timedelta(hours=1))[-1] == "2026-03-09"


def test_secrets_are_held_as_names_of_variables_never_as_values(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SHOP_USER", "user-value")
    monkeypatch.setenv("SHOP_SECRET", "secret-value")
    named = {"project_id": 7, "username_env": "SHOP_USER", "secret_env": "SHOP_SECRET"}
    resource = (build(**shop(mixpanel=named)).resources or {})["shop_connection"]
    assert isinstance(resource.mixpanel_secret, dg.EnvVar)
    assert resource.mixpanel_secret.env_var_name == "SHOP_SECRET"
    assert "secret-value" not in repr(resource)


def test_a_process_makes_its_definitions_once() -> None:
    assert definitions.defs() is definitions.defs()


def test_a_command_reads_the_variables_of_now(monkeypatch: pytest.MonkeyPatch) -> None:
    starts = []
    for day in ("2026-01-01", "2026-02-01"):
        monkeypatch.setenv("MIXPANEL_AEP_START_DATE", day)
        job = load_definitions().resolve_job_def("default_daily")
        starts.append(job.partitions_def.get_first_partition_key())
    assert starts == ["2026-01-01", "2026-02-01"]


def test_loading_the_definitions_calls_nothing_of_dagsters_that_is_deprecated() -> None:
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        definitions.load()
    ours = [one for one in seen if Path(one.filename).is_relative_to(Path(definitions.__file__).parent)]
    assert not [one for one in ours if issubclass(one.category, DeprecationWarning)]


def test_a_block_names_the_titles_that_provision_makes_or_extends() -> None:
    titles = {"schema_title": "Shop events", "field_group_title": "Shop event details"}
    settings = MixpanelToAep(**shop(platform=titles)).settings()
    assert (settings.schema_title, settings.field_group_title) == tuple(titles.values())


def test_a_block_says_how_much_may_be_set_aside(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MIXPANEL_AEP_MAX_NONCONFORMING_PERCENT", "9")
    monkeypatch.setenv("MIXPANEL_AEP_MAX_NONCONFORMING_ROWS", "9")
    own = MixpanelToAep(**shop(max_nonconforming_percent=0.5, max_nonconforming_rows=3)).settings()
    assert (own.max_nonconforming_percent, own.max_nonconforming_rows) == (0.5, 3)
    theirs = MixpanelToAep(**shop()).settings()
    assert (theirs.max_nonconforming_percent, theirs.max_nonconforming_rows) == (9, 9)
