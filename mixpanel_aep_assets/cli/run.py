"""`mixpanel-aep run`: materializes partitions on the Dagster instance without the UI, and reports."""

from __future__ import annotations

import datetime
import json
import logging
import os
import sys
import time
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from mixpanel_aep_assets import display
from mixpanel_aep_assets.cli import NOT_YET, killed, plain
from mixpanel_aep_assets.cli.connections import load_definitions, no_connection, open_connection
from mixpanel_aep_assets.cli.options import connection_option, day_range, days_between, report_option, wide_console
from mixpanel_aep_assets.connection import VARIABLES, Connection, Settings, remembered
from mixpanel_aep_assets.errors import FAILED
from mixpanel_aep_assets.storage import StorageError

WAIT_MINUTES = 120
LONG_WAIT = 30.0
"""Seconds from which a wait is announced."""
QUIET = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}


@click.command()
@day_range
@connection_option
@click.option(
    "--force",
    is_flag=True,
    help="Send the days again even if their data is unchanged, for example after a rejected batch, and accept an export that "
    "lost events even if nothing confirms it.",
)
@click.option("--wait", is_flag=True, help="Wait until the batches are final.")
@click.option("--wait-minutes", default=WAIT_MINUTES, show_default=True, help="Maximum time that --wait waits.")
@report_option
def run(
    first: datetime.datetime,
    last: datetime.datetime,
    name: str,
    force: bool,
    wait: bool,
    wait_minutes: int,
    report_file: Path | None,
) -> int:
    """Materialize the days from first to last, newest first: export, XDM, conformance, upload.

    Several days share an export request; `plan` shows how many requests it takes.

    Exit codes: 0 every day is in the Platform, 1 a day failed, 3 batches are still in progress.
    """
    from mixpanel_aep_assets.orchestration import failures
    from mixpanel_aep_assets.runtime import workers

    days = days_between(first, last)
    console = Console(stderr=True, highlight=False, soft_wrap=True)
    with dagster_instance() as instance:
        with reaching_back_to(first.date()) as reached:
            runner = Runner(name, instance, console)
            with runner.open() as connection:
                connection.check_settings()
                if (
                    reached and connection.settings.start_date == first.date()
                ):  # the UI and the sensors know these days too
                    remembered.reach_back(connection.storage, name, first.date())
        with Progress(
            TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), console=console
        ) as progress:
            task = progress.add_task("days", total=len(days))
            with runner.together(days) as tags, workers.kept():
                if force:
                    tags |= {failures.FORCE_TAG: "true"}
                for day in reversed(days):
                    progress.update(task, description=day)
                    problems = runner.materialize(day, tags)
                    if day not in runner.unsure:
                        runner.tell(day, problems)
                    progress.advance(task)
                for day, problems in runner.materialize_unsure(tags):
                    runner.tell(day, problems)
            if wait:
                handed_over = [day for day in days if day not in runner.failed]
                for day, problem in runner.wait(handed_over, wait_minutes * 60, progress):
                    console.print(f"[red]{day}[/red] {plain(problem)}", markup=True)
        with runner.open() as connection:
            from mixpanel_aep_assets.cli.completeness_table import completeness_table
            from mixpanel_aep_assets.pipeline.books import report as reports

            report = reports.report(connection, days, failed=runner.failed)
    wide_console().print(completeness_table(report))
    if report_file is not None:
        report_file.write_text(json.dumps(report, indent=2) + "\n")
    statuses = {row["status"] for row in report["days"]}
    if runner.failed or statuses & reports.BAD:
        return FAILED
    return 0 if statuses <= reports.IN else NOT_YET


class Runner:
    """Runs a connection's jobs in this process, recorded on the Dagster instance."""

    def __init__(self, name: str, instance: Any, console: Console) -> None:
        quiet()
        self.instance = instance
        self.console = console
        self.definitions = load_definitions()
        self.connection = name
        self.failed: dict[str, str] = {}
        self.unsure: dict[str, str] = {}
        """Days that only lack the time mode, and their runs; in the order in which they were run."""
        self.tags = killed.tags()
        killed.end(instance)
        try:
            self.daily = self.definitions.resolve_job_def(f"{name}_daily")
            self.confirm = self.definitions.resolve_job_def(f"{name}_confirm")
        except Exception as error:
            raise no_connection(name) from error

    def open(self) -> Connection:
        return open_connection(self.connection, self.definitions)

    @contextmanager
    def together(self, days: list[str]) -> Iterator[dict[str, str]]:
        """Tags of runs that read these days together. A command that is stopped is taken up by the next one like it.

        Raises UsageError, before anything is read, for a day that is no partition, and SettingsError for a secret that
        is not set.
        """
        from mixpanel_aep_assets.orchestration import backfill
        from mixpanel_aep_assets.pipeline.steps import run_groups

        self._require_partitions(days)
        with self.open() as connection:
            if len(days) == 1:
                yield {}
                return
            together = run_groups.begin(connection.storage, self.connection, days)
            yield backfill.tags(together)
            run_groups.finish(connection.storage, self.connection, together)

    def materialize(self, day: str, tags: Mapping[str, str] | None = None) -> list[str]:
        """Runs the day's job; the texts of what went wrong. A wait that the budget asks for is waited for here."""
        from mixpanel_aep_assets.orchestration import failures

        while True:
            result = self.daily.execute_in_process(
                partition_key=day,
                instance=self.instance,
                tags={**self.tags, **(tags or {})},
                raise_on_error=False,
                run_config=QUIET,
            )
            self.unsure.pop(day, None)
            if result.success:
                self.failed.pop(day, None)
                return red_checks(result)
            run = self.instance.get_run_by_id(result.run_id)
            if run is not None and run.tags.get(failures.WAITING_TAG) == failures.TIME_MODE:
                self.unsure[day] = run.run_id
            retry_at = run.tags.get(failures.RETRY_AT_TAG) if run else None
            problems = failed_steps(result) or red_checks(result) or ["The run failed; see its log in the UI."]
            problems = [self._told(day, problem) for problem in problems]
            waiting = run is not None and run.tags.get(failures.WAITING_TAG) == "true"
            if retry_at is None or not waiting:
                self.failed[day] = problems[0]
                return problems
            self.instance.add_run_tags(run.run_id, {failures.REQUEUE_TAG: "done"})  # by us, not by the sensor
            left = datetime.datetime.fromisoformat(retry_at).timestamp() - time.time()
            if left > LONG_WAIT:
                self.console.print(f"{day} waits until {retry_at[11:19]} UTC: {problems[0]}", markup=False)
            time.sleep(max(0.0, left))

    def materialize_unsure(self, tags: Mapping[str, str]) -> Iterator[tuple[str, list[str]]]:
        """Runs the days that only lacked the time mode again, if others have told it by now; what went wrong, by day.

        Those that still lack it are left to the sensor.
        """
        from mixpanel_aep_assets.orchestration import failures
        from mixpanel_aep_assets.pipeline.steps import time_modes

        waiting = dict(self.unsure)
        with self.open() as connection:
            known = bool(waiting) and time_modes.decide(connection) is not None
        for day, run_id in waiting.items():
            if known:
                self.instance.add_run_tags(run_id, {failures.REQUEUE_TAG: "done"})  # by us, not by the sensor
                again = {failures.UNSURE_TAG: "1"}  # the day is stored, so that it needs no export
                yield day, self.materialize(day, {**tags, **again})
            else:
                yield day, [self.failed[day]]

    def tell(self, day: str, problems: list[str]) -> None:
        for problem in problems:
            self.console.print(f"[red]{day}[/red] {plain(problem)}", markup=True)

    def _told(self, day: str, problem: str) -> str:
        """The failure's text for somebody who knows the day, and has no sensor on a passing instance."""
        from mixpanel_aep_assets.orchestration import failures

        problem = problem.removeprefix(f"{day}: ")
        text, requeued, _ = problem.partition(f" {failures.RELEASES_WORKER}")
        return f"{text} Run the command again later." if requeued and self.instance.is_ephemeral else problem

    def _require_partitions(self, days: list[str]) -> None:
        keys = self.daily.partitions_def.get_partition_keys() if self.daily.partitions_def else []
        others = sorted(set(days) - set(keys))
        if others:
            raise click.UsageError(
                f"{others[0]} is not a partition of {self.connection!r}, whose partitions go from "
                f"{keys[0] if keys else '(none)'} to {keys[-1] if keys else '(none)'}. For earlier days move "
                "MIXPANEL_AEP_START_DATE (or `start_date` in the connection's YAML) back; today is not over yet."
            )

    def wait(self, days: list[str], seconds: float, progress: Progress) -> Iterator[tuple[str, str]]:
        """Follows the days' batches to their final state and records the verdict as the asset check of each day.

        Gives day and text of each verdict that is not plainly good.
        """
        from mixpanel_aep_assets.pipeline.steps import load

        task = progress.add_task("batches", total=len(days))
        deadline = time.monotonic() + seconds
        waiting, pause = list(days), 0.2
        with self.open() as connection:
            while waiting and time.monotonic() < deadline:
                for day in list(waiting):
                    batch = load.stored(connection, day)
                    if batch is None or not batch.batch_id or load.status(connection, batch.batch_id)[1]:
                        waiting.remove(day)
                        progress.advance(task)
                if waiting:
                    time.sleep(min(pause, max(0.0, deadline - time.monotonic())))
                    pause = min(pause * 1.5, 60.0)
        for day in days:
            if day not in waiting:
                result = self.confirm.execute_in_process(
                    instance=self.instance,
                    tags={**self.tags, "dagster/partition": day},
                    raise_on_error=False,
                    run_config=QUIET,
                )
                yield from ((day, text) for text in (*failed_steps(result), *red_checks(result)))


def failed_steps(result: Any) -> list[str]:
    """What the failed steps say, in their own words."""
    texts = []
    for event in result.get_step_failure_events():
        data = event.step_failure_data
        text = data.user_failure_data.description if data.user_failure_data else None
        if text is None and data.error is not None:
            cause = data.error.cause or data.error
            text = cause.message.strip()
        if text and "blocking" not in text.lower():
            texts.append(text)
    return texts


def red_checks(result: Any) -> list[str]:
    return [
        f"check {e.check_name}: {display.plain(e.description) if e.description else 'failed'}"
        for e in result.get_asset_check_evaluations()
        if not e.passed
    ]


@contextmanager
def reaching_back_to(day: datetime.date) -> Iterator[bool]:
    """Definitions loaded here have partitions from `day` on, if that is earlier than the default and no start is set.

    Gives whether it took effect. Who names a day before the 30 that are offered unless told otherwise, and has set no bound,
    wants that day.
    """
    variable = VARIABLES["start_date"]
    if os.environ.get(variable, "").strip() or day >= Settings().first_day(datetime.datetime.now(datetime.UTC).date()):
        yield False
        return
    os.environ[variable] = day.isoformat()
    try:
        yield True
    finally:
        del os.environ[variable]


@contextmanager
def dagster_instance() -> Iterator[Any]:
    """The instance of DAGSTER_HOME, or a temporary one if that is not set.

    Raises StorageError if it cannot be written, and KeyboardInterrupt for Dagster's own form of it.
    """
    import dagster as dg
    from sqlalchemy.exc import DBAPIError

    quiet()
    home = Path(os.environ.get("DAGSTER_HOME", ""))
    try:
        if not os.environ.get("DAGSTER_HOME"):
            with dg.DagsterInstance.ephemeral() as instance:
                yield instance
            return
        if not home.exists():
            home.mkdir(parents=True)
            (home / "dagster.yaml").write_text("telemetry: {enabled: false}\nnux: {enabled: false}\n")
        with dg.DagsterInstance.get() as instance:
            yield instance
    except dg.DagsterExecutionInterruptedError:
        raise KeyboardInterrupt from None
    except DBAPIError as error:
        raise StorageError(
            f"Dagster's instance in {home} (DAGSTER_HOME) cannot be written: {error.orig}. Fix that and run the days again; "
            "what was committed before is untouched."
        ) from error


def quiet() -> None:
    """Dagster's own log lines would drown the report; its event log keeps everything."""
    import dagster as dg

    os.environ.setdefault("DAGSTER_DISABLE_TELEMETRY", "yes")
    logging.getLogger("dagster").setLevel(logging.CRITICAL)
    warnings.filterwarnings("ignore", category=dg.PreviewWarning)
    warnings.filterwarnings("ignore", category=dg.BetaWarning)
    if not sys.warnoptions:
        warnings.filterwarnings("ignore", category=DeprecationWarning)
