"""What users of the Dagster layer rely on, each broken once to see its test fail: blocking, requeues, unknown counts, keys."""

from __future__ import annotations

import ast
import inspect
import re
from pathlib import Path
from types import ModuleType
from typing import Any

import dagster as dg
import pytest

from mixpanel_aep_assets.components import MixpanelToAep
from mixpanel_aep_assets.components.mixpanel_to_aep import build_connection
from mixpanel_aep_assets.connection import Settings
from mixpanel_aep_assets.emulator import EmulatorThread
from mixpanel_aep_assets.orchestration import assets, automation, failures, property_drift
from mixpanel_aep_assets.orchestration.resources import ConnectionResource
from mixpanel_aep_assets.pipeline.books import verify
from mixpanel_aep_assets.storage import uri_of
from mixpanel_aep_assets_tests.connections import DAY, events, lines, opened, provisioned
from mixpanel_aep_assets_tests.orchestration.layer import described

NOUNS = ("raw_events", "xdm_events", "aep_batch")
BATCH = dg.AssetKey(["default", "aep_batch"])
KEY = re.compile(r"(dagster/)?[a-z]+(_[a-z]+)*")


def build(**attributes: Any) -> dg.Definitions:
    block = MixpanelToAep(**attributes)
    return build_connection(block, block.block())


@pytest.fixture
def ready(emulator: EmulatorThread, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> EmulatorThread:
    """An emulator with a small day, which the environment describes as the connection `default`."""
    described(monkeypatch, emulator, tmp_path)
    with opened(emulator, tmp_path) as connection:
        provisioned(connection)
    emulator.control.seed_day(DAY, lines(events(5)))
    return emulator


def run(
    definitions: dg.Definitions, instance: dg.DagsterInstance, job: str = "default_daily", **tags: str
) -> dg.ExecuteInProcessResult:
    defined = dg.Definitions.merge(definitions, dg.Definitions(executor=dg.in_process_executor))
    return defined.resolve_job_def(job).execute_in_process(
        instance=instance, partition_key=DAY, tags=tags, raise_on_error=False
    )


def made(result: dg.ExecuteInProcessResult) -> list[str]:
    return [event.asset_key.path[-1] for event in result.get_asset_materialization_events() if event.asset_key]


@pytest.mark.parametrize(
    ("check", "on"),
    [
        ("body_is_whole", "raw_events"),
        ("lines_belong_to_day", "raw_events"),
        ("time_mode_is_sure", "raw_events"),
        ("loss_is_proven", "raw_events"),
        ("conforms_to_xdm", "xdm_events"),
        ("counts_add_up", "aep_batch"),
    ],
)
def test_a_red_check_keeps_what_is_downstream_from_running(
    ready: EmulatorThread, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch, check: str, on: str
) -> None:
    monkeypatch.setattr(verify, check, lambda *_: verify.Finding(False, "wrong"))
    result = run(build(), instance)
    assert not result.success
    assert made(result) == list(NOUNS[: NOUNS.index(on) + 1])


def test_a_check_that_only_warns_keeps_nothing_from_running(
    ready: EmulatorThread, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    for check in ("mapping_has_no_errors", "within_guardrails", "reconciles_with_mixpanel"):
        monkeypatch.setattr(verify, check, lambda *_: verify.Finding(False, "wrong"))
    result = run(build(), instance)
    assert result.success
    assert made(result) == list(NOUNS)


def test_counts_of_a_batch_in_progress_are_unknown_and_never_zero(
    ready: EmulatorThread, instance: dg.DagsterInstance
) -> None:
    result = run(build(), instance)
    (batch,) = [one for one in result.get_asset_materialization_events() if one.asset_key == BATCH]
    header, _, row = str(batch.materialization.metadata["counts"].value).splitlines()
    shown = dict(zip(cells(header), cells(row), strict=True))
    assert (shown["uploaded"], shown["ingested"], shown["rejected"]) == ("5", "not known yet", "not known yet")
    for check in result.get_asset_check_evaluations():
        assert not {"ingested", "rejected"} & check.metadata.keys(), check.check_name


def cells(line: str) -> list[str]:
    return [cell.strip().replace("\\", "") for cell in line.strip("|").split("|")]


def test_a_run_that_is_brought_back_is_still_forced(ready: EmulatorThread, instance: dg.DagsterInstance) -> None:
    ready.control.fault("status", match={"path": "*/export"}, status=429, retry_after=900, count=1)
    definitions = build()
    waiting = run(definitions, instance, **{failures.FORCE_TAG: "true"})
    instance.add_run_tags(waiting.run_id, {failures.RETRY_AT_TAG: "2026-01-01T00:00:00+00:00"})
    sensor = definitions.resolve_sensor_def("default_requeue")
    with dg.build_sensor_context(instance=instance, definitions=definitions) as context:
        (request,) = sensor.evaluate_tick(context).run_requests or []
    assert failures.is_forced(request.tags)


@pytest.mark.parametrize("launched", ["by the job", "for assets"])
def test_dagsters_own_run_retries_leave_a_failed_day_alone(
    ready: EmulatorThread, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, launched: str
) -> None:
    monkeypatch.setenv("MIXPANEL_SECRET", "wrong")
    retrying = {"run_retries": {"enabled": True, "max_retries": 3}}
    with dg.DagsterInstance.local_temp(str(tmp_path), overrides=retrying) as instance:
        if launched == "by the job":
            failed = run(build(), instance)
        else:
            job = build().resolve_implicit_global_asset_job_def()
            failed = job.execute_in_process(
                instance=instance, partition_key=DAY, asset_selection=[dg.AssetKey(["default", "raw_events"])],
                raise_on_error=False,
            )  # fmt: skip
        assert not failed.success
        tags = instance.get_runs()[0].tags
    assert tags.get("dagster/will_retry") == "false"


@pytest.mark.parametrize(
    ("metadata", "open_after"),
    [
        ({"batch_id": "01B"}, {DAY: "01B"}),
        ({"batch_id": None}, {}),
        ({"batch": "01A"}, {DAY: "01A"}),
        ({"batch": automation.NO_BATCH}, {}),
        ({}, {}),
    ],
)
def test_the_batch_sensor_reads_the_id_also_of_older_materializations(
    instance: dg.DagsterInstance, metadata: dict[str, Any], open_after: dict[str, str]
) -> None:
    instance.report_runless_asset_event(dg.AssetMaterialization(BATCH, partition=DAY, metadata=metadata))
    still_open, _ = automation.read_handed_over(instance, BATCH, {"after": None, "open": {}})
    assert still_open == open_after


@pytest.mark.parametrize("module", [assets, property_drift, verify])
def test_metadata_keys_are_names_that_code_can_address(module: ModuleType) -> None:
    tree = ast.parse(inspect.getsource(module))
    nodes = [key for one in ast.walk(tree) if isinstance(one, ast.Dict) for key in one.keys]
    nodes += [one.slice for one in ast.walk(tree) if isinstance(one, ast.Subscript)]
    keys = [node.value for node in nodes if isinstance(node, ast.Constant) and isinstance(node.value, str)]
    assert keys
    assert not [key for key in keys if not KEY.fullmatch(key)]


def test_rows_are_those_of_the_partition_and_never_called_those_of_the_table(
    ready: EmulatorThread, instance: dg.DagsterInstance
) -> None:
    for one in run(build(), instance).get_asset_materialization_events():
        assert one.materialization.metadata["dagster/partition_row_count"].value == 5
        assert "dagster/row_count" not in one.materialization.metadata


@pytest.mark.parametrize(
    ("storage", "uri"),
    [
        ("/data/a shop", "file:///data/a%20shop"),
        ("file:///data/shop", "file:///data/shop"),
        ("./data", (Path.cwd() / "data").as_uri()),
        ("s3://bucket/prefix/", "s3://bucket/prefix"),
        ("abfss://box@account.dfs.core.windows.net/x", "abfss://box@account.dfs.core.windows.net/x"),
    ],
)
def test_a_storage_has_a_uri_without_being_opened(storage: str, uri: str) -> None:
    assert uri_of(storage) == uri


@pytest.mark.parametrize("named", [None, ["team:data", "ada@example.com"]])
def test_assets_have_the_owners_that_the_yaml_names(named: list[str] | None) -> None:
    made = build(name="shop", start_date="2026-01-01", mixpanel={"project_id": 7}, owners=named)
    owners = [list(spec.owners) for spec in made.resolve_all_asset_specs()]
    assert owners == [named or []] * 4


def test_each_setting_is_a_field_of_the_resource_and_no_secret_is_in_its_config(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("MIXPANEL_SECRET", "secret-value")
    block = MixpanelToAep(
        name="shop",
        start_date="2026-01-01",
        mixpanel={"project_id": 7, "events": ["Buy"]},
        privacy={"drop": ["email"], "allow": ["plan"]},
    )
    made = build_connection(block, block.block())
    (resource,) = (made.resources or {}).values()
    assert resource.settings == block.settings()
    shown = made.get_repository_def().get_top_level_resources()["shop_connection"].config_schema.default_value
    assert shown.keys() >= Settings.model_fields.keys()
    assert (shown["project_id"], shown["events"], shown["privacy"]["drop"]) == (7, ["Buy"], ["email"])
    assert shown["mixpanel_secret"] == {"env": "MIXPANEL_SECRET"}
    assert "secret-value" not in str(shown)


def test_what_is_wrong_in_the_config_of_a_run_is_said_in_a_sentence() -> None:
    held = ConnectionResource.of(Settings(project_id=7), {}).model_copy(update={"budget_share": 7.0})
    with pytest.raises(Exception, match=r"MIXPANEL_AEP_BUDGET_SHARE=7\.0: .*less than or equal to 1"):
        _ = held.settings
