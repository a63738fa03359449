"""Errors that explain themselves: one root, one sentence, and the same after a way between processes."""

from __future__ import annotations

import importlib
import inspect
import pickle
import pkgutil
from collections.abc import Iterator

import dagster as dg
import pytest

import mixpanel_aep_assets
from mixpanel_aep_assets import cli
from mixpanel_aep_assets.aep.platform_errors import RateLimited
from mixpanel_aep_assets.errors import FAILED, WRONG_USE, ExplainedError, ServiceError, SettingsError, causes
from mixpanel_aep_assets.mixpanel.mixpanel_errors import SettingsWrong
from mixpanel_aep_assets.orchestration import failures


def test_the_sentence_says_what_where_and_what_to_do() -> None:
    error = ServiceError("No answer.", where="GET https://x", status=503, code="4", request_id="r", fix="Try again.")
    assert str(error) == "No answer (GET https://x, HTTP 503, code 4, request r). Try again."


def test_a_sentence_without_a_place_and_advice_stays_as_it_is() -> None:
    assert str(ExplainedError("Is it there?")) == "Is it there?"


@pytest.mark.parametrize("error", [RateLimited("Too many", wait=7.0, status=429), SettingsWrong("No zone")])
def test_an_error_of_another_process_says_the_same(error: ExplainedError) -> None:
    arrived = pickle.loads(pickle.dumps(error))
    assert (str(arrived), arrived.wait, arrived.retryable) == (str(error), error.wait, error.retryable)


def test_settings_end_a_command_with_the_code_of_wrong_use() -> None:
    assert (SettingsError("x").exit_code, SettingsWrong("x").exit_code, ExplainedError("x").exit_code) == (
        WRONG_USE,
        WRONG_USE,
        FAILED,
    )


@pytest.mark.parametrize("storage", ["zzz://x", "s4://bucket"])
def test_a_storage_that_cannot_be_is_wrong_use(
    storage: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MIXPANEL_AEP_STORAGE", storage)
    monkeypatch.setenv("MIXPANEL_PROJECT_ID", "7")
    with pytest.raises(SystemExit) as stopped:
        cli.main(["quarantine", "list", "--from", "2026-01-01", "--to", "2026-01-02"])
    assert stopped.value.code == WRONG_USE
    assert "MIXPANEL_AEP_STORAGE" in capsys.readouterr().err


def test_every_error_that_is_named_so_has_the_one_root() -> None:
    strays = [error.__qualname__ for error in _public_errors() if not issubclass(error, ExplainedError)]
    assert sorted(strays) == [
        "EntryExists",
        "EvaluationError",
        "NotComparable",
        "NotNativeError",
        "Refused",
        "Scattered",
    ], "signals inside a room, which nobody outside it sees"


def _public_errors() -> Iterator[type[Exception]]:
    for module in pkgutil.walk_packages(mixpanel_aep_assets.__path__, "mixpanel_aep_assets."):
        if ".emulator" in module.name or module.name.endswith("__main__"):
            continue
        for _, found in inspect.getmembers(importlib.import_module(module.name), inspect.isclass):
            if issubclass(found, Exception) and found.__module__ == module.name and not found.__name__.startswith("_"):
                yield found


def raised(secret: bool) -> ExplainedError:
    with pytest.raises(ExplainedError) as found:
        try:
            raise OSError("No route to host\nsecond line")
        except OSError as error:
            raise ExplainedError("The storage cannot be reached.") from (None if secret else error)
    return found.value


def test_the_cause_of_an_error_is_for_the_log_by_its_first_line() -> None:
    assert causes(raised(secret=False)) == "OSError: No route to host"
    assert str(raised(secret=False)) == "The storage cannot be reached."


def test_a_cause_that_may_hold_a_secret_is_in_no_log() -> None:
    assert causes(raised(secret=True)) == ""


def test_a_command_prints_the_sentence_and_logs_the_cause(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("MIXPANEL_AEP_STORAGE", "zzz://x")
    monkeypatch.setenv("MIXPANEL_PROJECT_ID", "7")
    with caplog.at_level("DEBUG", "mixpanel_aep_assets.cli"), pytest.raises(SystemExit):
        cli.main(["quarantine", "list", "--from", "2026-01-01", "--to", "2026-01-02"])
    assert "Caused by" in caplog.text
    printed = capsys.readouterr()
    assert "Caused by" not in printed.out + printed.err
    assert "Traceback" not in printed.out + printed.err


def test_a_failed_step_shows_the_sentence_and_logs_the_cause() -> None:
    @dg.asset
    def day() -> None:
        with failures.explained(dg.AssetExecutionContext.get(), "default", "2026-01-01"):
            raise raised(secret=False)

    with dg.DagsterInstance.ephemeral() as instance:
        result = dg.materialize([day], instance=instance, raise_on_error=False)
        logged = [entry.user_message for entry in instance.all_logs(result.run_id)]
    (failure,) = result.get_step_failure_events()
    assert failure.step_failure_data.user_failure_data is not None
    assert failure.step_failure_data.user_failure_data.description == "2026-01-01: The storage cannot be reached."
    assert "No route" not in str(failure.step_failure_data.error)
    assert "2026-01-01: caused by OSError: No route to host" in logged
