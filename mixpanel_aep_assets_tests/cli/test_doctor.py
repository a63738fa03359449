"""`mixpanel-aep doctor` where credentials and answers are odd: each wrong thing named once, and everything else looked at."""

from __future__ import annotations

from pathlib import Path

import pytest

from mixpanel_aep_assets.emulator import EmulatorThread
from mixpanel_aep_assets_tests.cli.test_commands import call
from mixpanel_aep_assets_tests.connections import DAY, events, lines, opened, provisioned, variables

pytestmark = pytest.mark.e2e


@pytest.fixture
def ready(emulator: EmulatorThread, tmp_path: Path) -> dict[str, str]:
    """The environment of a provisioned connection with a day of 8 events."""
    with opened(emulator, tmp_path) as connection:
        provisioned(connection)
    emulator.control.seed_day(DAY, lines(events(8)))
    return variables(emulator, tmp_path)


def test_what_stands_around_credentials_is_named_and_does_not_matter(ready: dict[str, str]) -> None:
    around = {
        name: f'"{ready[name]}"\r'
        for name in ("MIXPANEL_USERNAME", "MIXPANEL_SECRET", "ADOBE_CLIENT_ID", "ADOBE_CLIENT_SECRET", "ADOBE_ORG_ID",
                     "MIXPANEL_PROJECT_ID", "AEP_SANDBOX")
    }  # fmt: skip
    done = call(ready | around, "doctor")
    assert done.returncode == 0, done.stdout + done.stderr
    for name in around:
        assert f"warning credentials: {name} has a carriage return at its end and quotes around it" in done.stdout
    assert "demo-secret" not in done.stdout
    preview = call(ready | around, "preview", "--day", DAY, "--rows", "1")
    assert preview.returncode == 0, preview.stderr


def test_an_account_that_may_not_list_accounts_is_no_broken_account(
    ready: dict[str, str], emulator: EmulatorThread
) -> None:
    emulator.control.fault("status", match={"path": "*/service-accounts"}, status=403, body={"error": "no"})
    done = call(ready, "doctor")
    assert done.returncode == 0, done.stdout
    assert "warning service account: Whether demo.abc123.mp-service-account expires is not known" in done.stdout


def test_an_account_that_is_not_in_the_list_is_a_warning(ready: dict[str, str], emulator: EmulatorThread) -> None:
    emulator.control.fault("status", match={"path": "*/service-accounts"}, status=200, body={"results": []})
    done = call(ready, "doctor")
    assert done.returncode == 0, done.stdout
    assert "the project's list of service accounts does not hold it" in done.stdout


def test_a_page_of_a_front_end_names_the_network_and_the_other_checks_go_on(
    ready: dict[str, str], emulator: EmulatorThread
) -> None:
    emulator.control.fault("blocked", match={"path": "/api/app/*"})
    done = call(ready, "doctor")
    assert done.returncode == 1
    assert "This is the network, not a role" in done.stdout
    assert "ok      dataset" in done.stdout


def test_a_project_of_another_region_is_told_with_the_region_to_set(
    ready: dict[str, str], emulator: EmulatorThread
) -> None:
    emulator.control.project(region="EU")
    done = call(ready | {"MIXPANEL_EXPORT_URL": ""}, "doctor")
    assert done.returncode == 1
    assert "MIXPANEL_REGION=US, but the project is at eu.mixpanel.com: set MIXPANEL_REGION=EU" in done.stdout
    assert call(ready, "doctor").returncode == 0


def test_an_export_from_the_wrong_region_names_the_region_first(
    ready: dict[str, str], emulator: EmulatorThread
) -> None:
    emulator.control.settings(region="EU", wrong_region="cluster")
    done = call(ready | {"MIXPANEL_TIMEZONE": "UTC"}, "preview", "--day", DAY)
    assert done.returncode == 1
    assert "Check MIXPANEL_REGION first" in done.stderr


def test_an_organisation_id_without_its_end_is_told_with_what_to_set(ready: dict[str, str]) -> None:
    change = {"ADOBE_ORG_ID": ready["ADOBE_ORG_ID"].removesuffix("@AdobeOrg")}
    done = call(ready | change, "doctor")
    assert done.returncode == 1
    assert f"Set ADOBE_ORG_ID={ready['ADOBE_ORG_ID']}" in done.stdout
    assert "ok      Mixpanel project" in done.stdout


def test_what_ims_says_is_shown(ready: dict[str, str]) -> None:
    done = call(ready | {"ADOBE_CLIENT_SECRET": "no-such-secret"}, "doctor")
    assert "“invalid client_secret parameter”" in done.stdout
    assert "no-such-secret" not in done.stdout
