"""The Dagster layer run in process against the emulator: metadata, blocking checks, failures, sensors."""

from __future__ import annotations

import datetime
import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import dagster as dg
import pytest

from mixpanel_aep_assets.aep.platform_errors import BatchRefused, PartitionBusy, ServerFault
from mixpanel_aep_assets.emulator import EmulatorThread
from mixpanel_aep_assets.orchestration import automation, failures
from mixpanel_aep_assets.pipeline.steps import load, transform
from mixpanel_aep_assets.storage import DayReplaced
from mixpanel_aep_assets_tests.connections import (
    DAY,
    NOON,
    NOWHERE,
    event,
    events,
    lines,
    strict_mapping,
)
from mixpanel_aep_assets_tests.orchestration.layer import default_definitions

if TYPE_CHECKING:
    from dagster._core.definitions.sensor_definition import SensorExecutionData  # not among Dagster's public names

RAW, XDM, BATCH = (dg.AssetKey(["default", noun]) for noun in ("raw_events", "xdm_events", "aep_batch"))


def run(definitions: dg.Definitions, instance: dg.DagsterInstance, job: str = "default_daily") -> Any:
    return definitions.resolve_job_def(job).execute_in_process(
        instance=instance, partition_key=DAY, raise_on_error=False
    )


def tags_of(instance: dg.DagsterInstance, run_id: str) -> Mapping[str, str]:
    found = instance.get_run_by_id(run_id)
    assert found is not None
    return found.tags


def reason(failure: dg.DagsterEvent) -> str:
    """What a person reads of a failed step."""
    data = failure.step_failure_data.user_failure_data
    assert data is not None
    return data.description or ""


def numbers(result: Any, key: dg.AssetKey) -> dict[str, Any]:
    (made,) = [e for e in result.get_asset_materialization_events() if e.asset_key == key]
    return {name: value.value for name, value in made.materialization.metadata.items()}


def test_a_day_shows_its_numbers_schema_preview_and_lineage(
    emulator: EmulatorThread, definitions: dg.Definitions, instance: dg.DagsterInstance
) -> None:
    emulator.control.seed_day(DAY, lines(events(40) + events(4)))
    result = run(definitions, instance)
    assert result.success
    raw, xdm, batch = (numbers(result, key) for key in (RAW, XDM, BATCH))
    assert (raw["dagster/partition_row_count"], raw["exported"], raw["quarantined"]) == (44, 44, 0)
    assert (xdm["dagster/partition_row_count"], xdm["duplicates"]) == (40, 4)
    assert (batch["dagster/partition_row_count"], batch["action"]) == (40, "uploaded")
    assert raw["dagster/size_bytes"] > 0
    assert "Page Viewed" in raw["preview"]
    described = {column.name: column.description for column in xdm["dagster/column_schema"].columns}
    assert described.keys() >= {"_id", "timestamp", "identityMap"}
    assert "mixpanel.timestamp" in (described["timestamp"] or "")
    deps = xdm["dagster/column_lineage"].deps_by_column
    assert {dep.column_name for dep in deps["timestamp"]} == {"time_ms"}
    assert "experience.adobe.com" in batch["batch_url"]


def test_a_day_that_is_read_again_shows_what_appeared_changed_and_vanished_since(
    emulator: EmulatorThread, definitions: dg.Definitions, instance: dg.DagsterInstance
) -> None:
    shown = []
    later = [event(0, colour="red"), *events(42)[2:]]
    for rows in (events(40), later, later):
        emulator.control.seed_day(DAY, lines(rows))
        raw = numbers(run(definitions, instance), RAW)
        emulator.control.settle()
        shown.append([raw.get(f"events_{what}") for what in ("appeared", "changed", "vanished")])
    assert shown == [[None] * 3, [2, 1, 1], [0, 0, 0]]


def test_every_check_has_its_day(
    emulator: EmulatorThread, definitions: dg.Definitions, instance: dg.DagsterInstance
) -> None:
    emulator.control.seed_day(DAY, lines(events(40)))
    evaluations = run(definitions, instance).get_asset_check_evaluations()
    assert {e.check_name for e in evaluations} >= {
        "body_is_whole",
        "time_mode_is_sure",
        "conforms_to_xdm",
        "counts_add_up",
    }
    assert all(e.passed and e.partition == DAY for e in evaluations)


@pytest.fixture
def strict(definitions: dg.Definitions, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dg.Definitions:
    """The same with a mapping set by which events may not conform."""
    monkeypatch.setenv("MIXPANEL_AEP_MAPPING", strict_mapping(tmp_path))
    return default_definitions()


def test_a_day_with_too_many_lines_of_other_days_is_blocked_before_it_is_transformed(
    emulator: EmulatorThread, definitions: dg.Definitions, instance: dg.DagsterInstance
) -> None:
    future = NOON + 20 * 365 * 86_400_000
    emulator.control.seed_day(DAY, lines(events(25, time=future) + events(40)))
    result = run(definitions, instance)
    assert not result.success
    (check,) = [e for e in result.get_asset_check_evaluations() if e.check_name == "lines_belong_to_day"]
    assert not check.passed
    raw = numbers(result, RAW)
    assert (raw["exported"], raw["lines_outside_days"], raw["export_request"]) == (
        40,
        25,
        "the day alone",
    )
    assert not [e for e in result.get_asset_materialization_events() if e.asset_key == XDM]


def test_a_day_with_too_many_violations_is_blocked_before_the_upload(
    emulator: EmulatorThread, strict: dg.Definitions, instance: dg.DagsterInstance
) -> None:
    emulator.control.seed_day(DAY, lines(events(25, **NOWHERE) + [event(number) for number in range(25, 65)]))
    result = run(strict, instance)
    assert not result.success
    (check,) = [e for e in result.get_asset_check_evaluations() if e.check_name == "conforms_to_xdm"]
    assert not check.passed
    assert "/placeContext/geo/stateProvince" in check.metadata["violations"].value
    assert not [e for e in result.get_asset_materialization_events() if e.asset_key == BATCH]


def test_a_refused_login_is_one_clear_failure_without_a_retry(
    emulator: EmulatorThread, definitions: dg.Definitions, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MIXPANEL_SECRET", "wrong")
    result = run(definitions, instance)
    (failure,) = result.get_step_failure_events()
    text = reason(failure)
    assert "MIXPANEL_SECRET" in text
    assert "wrong" not in text
    assert failures.RETRY_AT_TAG not in tags_of(instance, result.run_id)


def requeue(
    definitions: dg.Definitions, instance: dg.DagsterInstance, cursor: str | None = None
) -> SensorExecutionData:
    sensor = definitions.resolve_sensor_def("default_requeue")
    with dg.build_sensor_context(instance=instance, definitions=definitions, cursor=cursor) as context:
        return sensor.evaluate_tick(context)


def let_go(definitions: dg.Definitions, instance: dg.DagsterInstance, **tags: str) -> str:
    """A run that had to wait, and whose time has come."""
    result = definitions.resolve_job_def("default_daily").execute_in_process(
        instance=instance, partition_key=DAY, tags=tags, raise_on_error=False
    )
    instance.add_run_tags(result.run_id, {failures.RETRY_AT_TAG: "2026-01-01T00:00:00+00:00"})
    return result.run_id


def test_a_long_wait_lets_go_of_the_worker_and_is_taken_up_by_the_sensor(
    emulator: EmulatorThread, definitions: dg.Definitions, instance: dg.DagsterInstance
) -> None:
    emulator.control.seed_day(DAY, lines(events(40)))
    emulator.control.fault("status", match={"path": "*/export"}, status=429, retry_after=900, count=1)
    result = run(definitions, instance)
    tags = tags_of(instance, result.run_id)
    assert not result.success
    assert tags[failures.WAITING_TAG] == "true"
    assert not requeue(definitions, instance).run_requests, "its time has not come"
    instance.add_run_tags(result.run_id, {failures.RETRY_AT_TAG: "2026-01-01T00:00:00+00:00"})
    (request,) = requeue(definitions, instance).run_requests or []
    assert request.tags["dagster/partition"] == DAY
    assert request.tags[failures.WAITS_TAG] == "1"


def test_a_run_that_was_brought_back_makes_room_for_those_behind_it(
    definitions: dg.Definitions, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(automation, "REQUEUE_LIMIT", 1)
    raising(monkeypatch, PartitionBusy("busy", wait=900))
    waiting = [let_go(definitions, instance) for _ in range(2)]
    asked, cursor = [], None
    for _ in range(3):
        tick = requeue(definitions, instance, cursor)
        asked.append([request.run_key for request in tick.run_requests or []])
        cursor = tick.cursor
    assert asked == [[f"after {waiting[0]}"], [f"after {waiting[1]}"], []]


def test_a_repetition_from_the_ui_that_failed_for_good_is_not_brought_back_by_its_parents_tags(
    definitions: dg.Definitions, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        raising(patch, PartitionBusy("busy", wait=900))
        tags = tags_of(instance, let_go(definitions, instance))
    cursor = requeue(definitions, instance).cursor
    raising(monkeypatch, BatchRefused("no"))
    let_go(definitions, instance, **tags)
    assert not requeue(definitions, instance, cursor).run_requests


def raising(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    """Every export ends so."""

    def extract_day(*_: Any, **__: Any) -> None:
        raise error

    monkeypatch.setattr("mixpanel_aep_assets.pipeline.steps.day_exports.extract_day", extract_day)


@pytest.mark.parametrize(
    ("error", "tag", "most"),
    [
        (PartitionBusy("busy", wait=900), failures.WAITS_TAG, failures.MAX_WAITS),
        (ServerFault("down"), failures.REQUEUES_TAG, failures.MAX_REQUEUES),
    ],
)
def test_waits_and_failures_are_counted_apart_and_end_in_a_person_who_must_look(
    definitions: dg.Definitions, instance: dg.DagsterInstance, error: Exception,
    tag: str, most: int, monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    raising(monkeypatch, error)
    others = {name: "1000" for name in (failures.WAITS_TAG, failures.REQUEUES_TAG) if name != tag}
    let_go(definitions, instance, **others, **{tag: str(most - 1)})
    (request,) = requeue(definitions, instance).run_requests or []
    assert request.tags[tag] == str(most)
    last = definitions.resolve_job_def("default_daily").execute_in_process(
        instance=instance, partition_key=DAY, tags=request.tags, raise_on_error=False
    )
    assert failures.RETRY_AT_TAG not in tags_of(instance, last.run_id)
    (failure,) = last.get_step_failure_events()
    assert f"{most} times" in reason(failure)


def test_a_wait_beyond_all_measure_is_a_wait_of_some_hours(
    definitions: dg.Definitions, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    raising(monkeypatch, PartitionBusy("busy", wait=1e300))
    tags = tags_of(instance, run(definitions, instance).run_id)
    again = datetime.datetime.fromisoformat(tags[failures.RETRY_AT_TAG]) - datetime.datetime.now(datetime.UTC)
    assert again <= datetime.timedelta(seconds=failures.LONGEST)


def test_a_day_replaced_by_another_run_meanwhile_is_read_again_by_the_step_itself(
    emulator: EmulatorThread, definitions: dg.Definitions, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    emulator.control.seed_day(DAY, lines(events(40)))
    violations_left, seen = transform.violations_left, []

    def once_gone(*given: Any) -> Any:
        seen.append(given)
        if len(seen) == 1:
            raise DayReplaced("A file of the day is gone")
        return violations_left(*given)

    monkeypatch.setattr(transform, "violations_left", once_gone)
    assert run(definitions, instance).success
    assert len(seen) == 2


def test_the_sensor_follows_a_batch_to_its_end_and_asks_for_the_check_once(
    emulator: EmulatorThread, definitions: dg.Definitions, instance: dg.DagsterInstance
) -> None:
    emulator.control.seed_day(DAY, lines(events(40)))
    run(definitions, instance)
    emulator.control.settle()
    sensor = definitions.resolve_sensor_def("default_batch_status")
    resources = definitions.resources or {}
    with dg.build_sensor_context(instance=instance, definitions=definitions, resources=resources) as context:
        tick = sensor.evaluate_tick(context)
    (request,) = tick.run_requests or []
    assert request.tags["dagster/partition"] == DAY
    with dg.build_sensor_context(
        instance=instance, definitions=definitions, resources=resources, cursor=tick.cursor
    ) as context:
        assert not sensor.evaluate_tick(context).run_requests
    confirmed = definitions.resolve_job_def("default_confirm").execute_in_process(
        instance=instance, tags={"dagster/partition": DAY}
    )
    (check,) = confirmed.get_asset_check_evaluations()
    assert check.passed
    assert check.partition == DAY


def test_a_refused_day_is_sent_again_only_by_a_run_that_forces_it(
    emulator: EmulatorThread, definitions: dg.Definitions, instance: dg.DagsterInstance
) -> None:
    emulator.control.seed_day(DAY, lines(events(30)))
    emulator.control.fault("batch", match={"query": {"action": "COMPLETE"}}, outcome="failed", count=1)
    run(definitions, instance)
    emulator.control.settle()
    (failure,) = run(definitions, instance).get_step_failure_events()
    assert "--force" in reason(failure)
    forced = definitions.resolve_job_def("default_daily").execute_in_process(
        instance=instance, partition_key=DAY, tags={failures.FORCE_TAG: "true"}
    )
    assert numbers(forced, BATCH)["action"] == "uploaded"


def follow(definitions: dg.Definitions, instance: dg.DagsterInstance, cursor: str | None = None) -> SensorExecutionData:
    sensor = definitions.resolve_sensor_def("default_batch_status")
    with dg.build_sensor_context(
        instance=instance, definitions=definitions, resources=definitions.resources or {}, cursor=cursor
    ) as context:
        return sensor.evaluate_tick(context)


def test_a_batch_that_is_gone_or_cannot_be_asked_for_keeps_the_sensor_from_no_other(
    emulator: EmulatorThread, definitions: dg.Definitions, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    emulator.control.seed_day(DAY, lines(events(40)))
    batch = numbers(run(definitions, instance), BATCH)["batch_id"]
    emulator.control.settle()
    after = json.loads(follow(definitions, instance).cursor or "{}")["after"]
    still = json.dumps({"after": after, "open": {"2026-03-08": "01M85VWQ5J7FV468BQG7ZM8PZ2", DAY: batch}})
    asked = follow(definitions, instance, still).run_requests or []
    assert {(r.tags["dagster/partition"], r.run_key) for r in asked} == {
        ("2026-03-08", "01M85VWQ5J7FV468BQG7ZM8PZ2:missing"), (DAY, f"{batch}:success"),
    }  # fmt: skip
    monkeypatch.setattr(automation, "FOLLOW_LIMIT", 1)
    with monkeypatch.context() as patch:
        patch.setattr(load, "status", lambda *_: (load.UNKNOWN, False))
        tick = follow(definitions, instance, still)
    assert not tick.run_requests
    (first,) = follow(definitions, instance, tick.cursor).run_requests or []
    assert first.tags["dagster/partition"] == DAY, "the one that was asked for before is behind it now"
