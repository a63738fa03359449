"""The guardrails: hard ones stop before anything is sent, soft ones are warned of in time."""

from __future__ import annotations

import datetime
import io

import pytest

from mixpanel_aep_assets.aep import FileToSend, limits
from mixpanel_aep_assets.aep.limits import Usage
from mixpanel_aep_assets.aep.platform_errors import BadRequest, LimitExceeded
from mixpanel_aep_assets_tests.aep import days
from mixpanel_aep_assets_tests.aep.conftest import LOOK_UP, PUT, Sandbox


def files(count: int, size: int = 10) -> list[FileToSend]:
    return [FileToSend(f"part-{n:05}.parquet", io.BytesIO, size, 1) for n in range(count)]


def test_a_day_of_as_many_files_as_a_batch_may_have_passes() -> None:
    limits.check(files(limits.FILES_A_BATCH))


@pytest.mark.parametrize(
    ("wrong", "text"),
    [
        (files(limits.FILES_A_BATCH + 1), "1501 files"),
        (files(2, limits.BYTES_A_BATCH), "bytes"),
        (files(1) * 2, "same name"),
        (files(1, 0), "is empty"),
        ([FileToSend("x" * 2_000, io.BytesIO, 1, 1)], "2000 characters"),
    ],
)
def test_what_the_platform_would_refuse_is_refused_before(wrong: list[FileToSend], text: str) -> None:
    with pytest.raises(LimitExceeded, match=text):
        limits.check(wrong)


def test_few_batches_are_no_finding() -> None:
    assert limits.forecast(Usage(10, 0), batches=7, size=10**9) == []


def test_a_backfill_that_nears_the_daily_batches_is_warned_of() -> None:
    (finding,) = limits.forecast(Usage(60, 0), batches=20, size=0)
    assert not finding.over
    assert "80 event batches" in finding.text


def test_a_backfill_beyond_the_daily_batches_says_so() -> None:
    (finding,) = limits.forecast(Usage(1, 0), batches=120, size=0)
    assert finding.over


def test_too_many_bytes_within_an_hour_are_warned_of() -> None:
    (finding,) = limits.forecast(Usage(0, 19 * 10**9), batches=1, size=2 * 10**9)
    assert finding.over
    assert "upload pool" in finding.text


def test_the_sandboxs_batches_of_today_are_counted_across_datasets_without_the_aborted(sandbox: Sandbox) -> None:
    now = datetime.datetime.now(datetime.UTC).replace(hour=12, minute=0)
    sandbox.control.clock(freeze=now.isoformat())
    sandbox.send(days.files(days.ids(3)), "v1")
    sandbox.control.fault("status", match=PUT, status=400)
    with pytest.raises(BadRequest):
        sandbox.send(days.files(days.ids(3)), "v1", day="2026-01-30")
    sandbox.control.clock(step=7_200)
    with sandbox.client() as client:
        used = limits.usage(client, now + datetime.timedelta(hours=2))
        tomorrow = limits.usage(client, now + datetime.timedelta(days=1))
    assert used == Usage(batches_today=1, bytes_this_hour=0)
    assert tomorrow.batches_today == 0


def test_a_batch_of_many_files_is_warned_of_before_it_is_made_even_when_the_catalog_cannot_be_read(
    sandbox: Sandbox,
) -> None:
    sandbox.control.fault("status", match=LOOK_UP, status=403)
    with sandbox.client() as client:
        (text,) = limits.before(client, files(1_300))
    assert "1300 files" in text


def test_the_receipt_of_an_upload_tells_the_limits_it_comes_near_to(sandbox: Sandbox) -> None:
    sandbox.control.clock(step=86_400)  # so that no midnight falls between the batches and the count
    with sandbox.client() as client:
        for number in range(75):
            body = {"datasetId": sandbox.dataset_id, "externalId": f"{number}", "inputFormat": {"format": "parquet"}}
            client.request("POST", "/data/foundation/import/batches", json=body)
    receipt = sandbox.send(days.files(days.ids(3)), "v1")
    assert any("76 event batches today" in text for text in receipt.warnings)
    assert sandbox.send(days.files(days.ids(3)), "v1").warnings == ()
