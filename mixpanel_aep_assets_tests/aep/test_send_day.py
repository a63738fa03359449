"""One day, one live batch: what `send_day` does with each history. The emulator's books are the judge."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from mixpanel_aep_assets.aep import follow_batch, receipts
from mixpanel_aep_assets.aep.batch import external_id
from mixpanel_aep_assets.aep.ingest import NewBatch, abort, complete, create, revert, upload
from mixpanel_aep_assets.aep.platform_errors import (
    BatchInProgress,
    BatchRefused,
    BatchVanished,
    DatasetNotFound,
    LimitExceeded,
    PartitionBusy,
    RateLimited,
    ServerFault,
)
from mixpanel_aep_assets.aep.recovery import PARTITION_TAG, VERSION_TAG
from mixpanel_aep_assets.storage import open_storage
from mixpanel_aep_assets_tests.aep.conftest import COMPLETE, CREATE, LOOK_UP, PUT, REVERT, TOKEN, Sandbox
from mixpanel_aep_assets_tests.aep.days import DAY, files, ids


def test_a_new_day_becomes_one_live_batch(sandbox: Sandbox) -> None:
    receipt = sandbox.send(files(ids(10), 3), "v1")
    assert (receipt.action, receipt.rows, receipt.status) == ("uploaded", 10, "loaded")
    assert sandbox.live() == Counter(ids(10))
    (batch,) = sandbox.batches()
    assert (batch["id"], batch["externalId"]) == (receipt.batch_id, receipt.external_id)


def test_the_same_day_again_uploads_nothing(sandbox: Sandbox) -> None:
    first = sandbox.send(files(ids(10)), "v1")
    again = sandbox.send(files(ids(10)), "v1")
    assert (again.action, again.batch_id, again.rows) == ("unchanged", first.batch_id, 10)
    assert sandbox.uploads() == 1
    assert len(sandbox.batches()) == 1


def test_a_changed_day_replaces_its_batch(sandbox: Sandbox) -> None:
    first = sandbox.send(files(ids(10)), "v1")
    sandbox.control.settle()
    changed = sandbox.send(files(ids(12)), "v2")
    assert (changed.action, changed.predecessors) == ("replaced", (first.batch_id,))
    assert sandbox.live() == Counter(ids(12))
    assert [b["status"] for b in sandbox.batches()] == ["inactive", "success"]


def test_a_day_that_changes_while_its_batch_is_still_processed_replaces_it_when_it_is_final(sandbox: Sandbox) -> None:
    sent = [sandbox.send(files(ids(number)), f"v{number}") for number in range(1, 5)]
    assert sandbox.live() == Counter(ids(4))
    assert [r.predecessors for r in sent[1:]] == [(r.batch_id,) for r in sent[:-1]]


def test_a_day_that_changes_back_is_sent_under_another_external_id(sandbox: Sandbox) -> None:
    receipts_ = [sandbox.send(files(ids(n)), f"v{n}") for n in (1, 2, 1, 2)]
    assert sandbox.live() == Counter(ids(2))
    assert len({r.external_id for r in receipts_}) == 4
    assert receipts_[2].external_id == f"{receipts_[0].external_id}-a2"


def test_an_emptied_day_takes_its_batch_back(sandbox: Sandbox) -> None:
    first = sandbox.send(files(ids(10)), "v1")
    emptied = sandbox.send([], "v0")
    assert (emptied.action, emptied.predecessors, emptied.batch_id) == ("reverted", (first.batch_id,), None)
    assert sandbox.live() == Counter()


def test_a_day_that_was_emptied_and_filled_again_is_live_again(sandbox: Sandbox) -> None:
    sandbox.send(files(ids(10)), "v1")
    sandbox.send([], "v0")
    assert sandbox.send(files(ids(10)), "v1").action == "uploaded"
    assert sandbox.live() == Counter(ids(10))


def test_a_day_that_is_and_was_empty_does_nothing(sandbox: Sandbox) -> None:
    receipt = sandbox.send([], "v0")
    assert (receipt.action, receipt.batch_id) == ("nothing", None)
    assert sandbox.batches() == []


def test_days_do_not_touch_each_other(sandbox: Sandbox) -> None:
    sandbox.send(files(ids(3, "a")), "v1", day="2026-01-30")
    sandbox.send(files(ids(3, "b")), "v1", day="2026-01-31")
    sandbox.send([], "v0", day="2026-01-30")
    assert sandbox.live() == Counter(ids(3, "b"))


def test_two_connections_that_fill_one_dataset_do_not_touch_each_other(sandbox: Sandbox) -> None:
    sandbox.send(files(ids(3, "a")), "v1", project="111")
    sandbox.send(files(ids(3, "b")), "v2", project="222", storage=open_storage(sandbox.storage.url + "2"))
    assert sandbox.live() == Counter(ids(3, "a") + ids(3, "b"))


def test_a_refused_batch_is_not_sent_again_until_something_changes(sandbox: Sandbox) -> None:
    sandbox.send(files([None, *ids(3)]), "v1")
    sandbox.control.settle()
    with pytest.raises(BatchRefused, match="force it") as refused:
        sandbox.send(files([None, *ids(3)]), "v1")
    assert not refused.value.retryable
    assert len(sandbox.batches()) == 1
    sandbox.send(files(ids(3)), "v2")
    assert sandbox.live() == Counter(ids(3))


def test_a_refused_batch_is_sent_again_with_another_threshold(sandbox: Sandbox) -> None:
    events = [None, *ids(3)]
    sandbox.send(files(events), "v1")
    sandbox.control.settle()
    sandbox.send(files(events), "v1", partial_ingestion_percent=50)
    assert sandbox.live() == Counter(ids(3))


def test_a_refused_batch_is_sent_again_when_forced(sandbox: Sandbox) -> None:
    sandbox.control.fault("batch", match=COMPLETE, count=1, outcome="failed")
    sandbox.send(files(ids(3)), "v1")
    sandbox.control.settle()
    assert sandbox.send(files(ids(3)), "v1", force=True).action == "uploaded"
    assert sandbox.live() == Counter(ids(3))


def test_when_the_replacement_is_refused_the_earlier_batch_stays_live(sandbox: Sandbox) -> None:
    sandbox.send(files(ids(3)), "v1")
    sandbox.control.settle()
    sandbox.send(files([None, *ids(9)]), "v2")
    assert sandbox.live() == Counter(ids(3))
    with pytest.raises(BatchRefused):
        sandbox.send(files([None, *ids(9)]), "v2")
    assert sandbox.send(files(ids(3)), "v1").action == "unchanged"
    assert sandbox.live() == Counter(ids(3))


def test_force_sends_a_live_day_anew_and_replaces_it(sandbox: Sandbox) -> None:
    sandbox.send(files(ids(3)), "v1")
    assert sandbox.send(files(ids(3)), "v1", force=True).action == "replaced"
    assert sandbox.live() == Counter(ids(3))


def test_an_aborted_batch_is_sent_again_under_another_external_id(sandbox: Sandbox) -> None:
    sandbox.control.fault("status", match=PUT, status=500)
    with pytest.raises(ServerFault):
        sandbox.send(files(ids(3)), "v1")
    sandbox.control.clear_faults()
    with sandbox.client() as client:
        abort(client, sandbox.batches()[0]["id"])
    receipt = sandbox.send(files(ids(3)), "v1")
    assert receipt.external_id is not None
    assert receipt.external_id.endswith("-a2")
    assert sandbox.live() == Counter(ids(3))


def test_a_batch_that_somebody_reverted_by_hand_is_not_brought_back_unless_forced(sandbox: Sandbox) -> None:
    first = sandbox.send(files(ids(3)), "v1")
    sandbox.control.settle()
    with sandbox.client() as client:
        revert(client, first.batch_id or "")
    again = sandbox.send(files(ids(3)), "v1")
    assert (again.action, again.status) == ("unchanged", "inactive")
    sandbox.send(files(ids(3)), "v1", force=True)
    assert sandbox.live() == Counter(ids(3))


def test_a_lost_create_answer_makes_no_second_batch(sandbox: Sandbox) -> None:
    sandbox.control.fault("lost_response", match=CREATE, count=1)
    sandbox.send(files(ids(5)), "v1")
    assert sandbox.live() == Counter(ids(5))
    assert len(sandbox.batches()) == 1


def test_a_lost_create_answer_is_adopted_by_the_next_run(sandbox: Sandbox) -> None:
    sandbox.control.fault("lost_response", match=CREATE, count=1)
    sandbox.control.fault("status", match={**LOOK_UP, "from_nth": 3}, status=500)
    with pytest.raises(ServerFault):
        sandbox.send(files(ids(5)), "v1")
    sandbox.control.clear_faults()
    sandbox.send(files(ids(5)), "v1")
    assert sandbox.live() == Counter(ids(5))
    assert len(sandbox.batches()) == 1


def test_a_lost_complete_answer_is_repeated(sandbox: Sandbox) -> None:
    sandbox.control.fault("lost_response", match=COMPLETE, count=2)
    assert sandbox.send(files(ids(5)), "v1").action == "uploaded"
    assert sandbox.live() == Counter(ids(5))


def test_a_batch_whose_complete_answer_never_came_is_adopted_by_the_next_run(sandbox: Sandbox) -> None:
    sandbox.control.fault("lost_response", match=COMPLETE)
    with pytest.raises(Exception, match="connection was cut"):
        sandbox.send(files(ids(5)), "v1")
    sandbox.control.clear_faults()
    before = sandbox.uploads()
    assert sandbox.send(files(ids(5)), "v1").action == "adopted"
    assert sandbox.uploads() == before
    assert sandbox.live() == Counter(ids(5))


def test_a_batch_that_was_filled_and_not_completed_is_completed_by_the_next_run(sandbox: Sandbox) -> None:
    sandbox.control.fault("drop", match=COMPLETE)
    with pytest.raises(Exception, match="connection was cut"):
        sandbox.send(files(ids(5)), "v1")
    sandbox.control.clear_faults()
    assert sandbox.send(files(ids(5)), "v1").action == "adopted"
    assert sandbox.live() == Counter(ids(5))
    assert len(sandbox.batches()) == 1


def test_an_upload_that_broke_off_is_resumed_in_the_same_batch(sandbox: Sandbox) -> None:
    sandbox.control.fault("cut_upload", match={**PUT, "from_nth": 2}, after_bytes=100)
    with pytest.raises(Exception, match="connection was cut"):
        sandbox.send(files(ids(9), 3), "v1", settings={"uploads_at_once": 1, "tries": 2})
    sandbox.control.clear_faults()
    sandbox.send(files(ids(9), 3), "v1")
    assert sandbox.live() == Counter(ids(9))
    assert len(sandbox.batches()) == 1


def test_an_upload_that_broke_off_before_the_day_was_split_otherwise_is_aborted(sandbox: Sandbox) -> None:
    sandbox.control.fault("status", match={**PUT, "from_nth": 3}, status=500)
    with pytest.raises(ServerFault):
        sandbox.send(files(ids(9), 3), "v1", settings={"uploads_at_once": 1, "tries": 2})
    sandbox.control.clear_faults()
    sandbox.send(files(ids(9), 2), "v1")
    assert sandbox.live() == Counter(ids(9))
    assert [b["status"] for b in sandbox.batches()] == ["aborted", "success"]


def test_an_upload_that_broke_off_before_the_day_changed_is_aborted(sandbox: Sandbox) -> None:
    sandbox.control.fault("status", match=PUT, status=500)
    with pytest.raises(ServerFault):
        sandbox.send(files(ids(9)), "v1")
    sandbox.control.clear_faults()
    sandbox.send(files(ids(4)), "v2")
    assert sandbox.live() == Counter(ids(4))
    assert [b["status"] for b in sandbox.batches()] == ["aborted", "success"]


def test_a_token_that_is_refused_during_the_upload_is_renewed(sandbox: Sandbox) -> None:
    sandbox.control.fault("expired_token", match={**PUT, "nth": [2, 4]})
    sandbox.send(files(ids(10), 5), "v1")
    assert sandbox.live() == Counter(ids(10))


def test_a_request_to_slow_down_is_followed(sandbox: Sandbox) -> None:
    sandbox.control.fault("status", match=PUT, count=2, status=429, retry_after=0)
    sandbox.control.fault("status", match=CREATE, count=1, status=429, retry_after={"date_in": 1})
    sandbox.control.fault("status", match=TOKEN, count=1, status=429)
    sandbox.send(files(ids(4), 2), "v1")
    assert sandbox.live() == Counter(ids(4))


def test_a_long_wait_lets_go_of_the_partition_and_tells_how_long(sandbox: Sandbox) -> None:
    sandbox.control.fault("status", match=PUT, status=429, retry_after=900)
    with pytest.raises(RateLimited) as limited:
        sandbox.send(files(ids(4)), "v1")
    assert limited.value.wait == 900
    assert receipts.read(sandbox.storage, "default", DAY).claim is None
    sandbox.control.clear_faults()
    sandbox.send(files(ids(4)), "v1")
    assert sandbox.live() == Counter(ids(4))


def test_a_storm_of_500_ends_in_one_live_batch(sandbox: Sandbox) -> None:
    sandbox.control.fault("status", match={"path": "/data/*"}, probability=0.4, seed=3, status=500)
    for _ in range(20):
        try:
            sandbox.send(files(ids(8), 4), "v1")
            break
        except Exception as error:
            assert getattr(error, "retryable", False), error  # noqa: PT017 - an error may come or not
    sandbox.control.clear_faults()
    sandbox.send(files(ids(8), 4), "v1")
    assert sandbox.live() == Counter(ids(8))


@pytest.mark.parametrize("kind", ["lost_response", "drop"])
def test_a_revert_whose_answer_is_lost_takes_the_day_back_all_the_same(sandbox: Sandbox, kind: str) -> None:
    sandbox.send(files(ids(3)), "v1")
    sandbox.control.settle()
    sandbox.control.fault(kind, match=REVERT)
    with pytest.raises(Exception, match="connection was cut"):
        sandbox.send([], "v0", settings={"tries": 2})
    sandbox.control.clear_faults()
    sandbox.send([], "v0")
    assert sandbox.live() == Counter()


def test_a_stalled_batch_does_not_hinder_the_changed_day(sandbox: Sandbox) -> None:
    sandbox.control.fault("batch", match=COMPLETE, count=1, outcome="stalled")
    sandbox.send(files(ids(3)), "v1")
    sandbox.send(files(ids(5)), "v2")
    assert sandbox.live() == Counter(ids(5))


def test_a_batch_in_progress_that_takes_long_is_not_replaced_before_its_end(sandbox: Sandbox) -> None:
    sandbox.control.fault("batch", match=COMPLETE, count=1, outcome="retrying", seconds=3600)
    sandbox.send(files(ids(3)), "v1")
    with pytest.raises(BatchInProgress) as busy:
        sandbox.send(files(ids(5)), "v2", settings={"settle_seconds": 0.3})
    assert busy.value.retryable
    assert busy.value.wait
    assert len(sandbox.batches()) == 1


def test_lost_receipts_do_not_make_a_second_copy_of_the_day(sandbox: Sandbox, tmp_path: Path) -> None:
    sandbox.send(files(ids(3)), "v1")
    empty = open_storage(str(tmp_path / "another"))
    assert sandbox.send(files(ids(3)), "v1", storage=empty).action == "adopted"
    assert sandbox.send(files(ids(6)), "v2", storage=empty).action == "replaced"
    assert sandbox.live() == Counter(ids(6))


def test_lost_receipts_do_not_make_a_second_copy_where_no_tags_are_kept(sandbox: Sandbox) -> None:
    with sandbox.client() as client:
        name = external_id(f"default_{DAY}", "v1", sandbox.dataset_id, client)
        before = create(client, NewBatch(sandbox.dataset_id, name, {}))
        upload(client, before, sandbox.dataset_id, files(ids(3))[0])
        complete(client, before)
    receipt = sandbox.send(files(ids(3)), "v1")
    assert (receipt.action, receipt.batch_id) == ("adopted", before)
    assert sandbox.live() == Counter(ids(3))


def test_an_orphan_in_loading_that_no_receipt_knows_is_cancelled(sandbox: Sandbox) -> None:
    with sandbox.client() as client:
        tags = {PARTITION_TAG: [f"default_{DAY}"], VERSION_TAG: ["v1"]}
        orphan = create(client, NewBatch(sandbox.dataset_id, "mp-orphan", tags))
        upload(client, orphan, sandbox.dataset_id, files(ids(3))[0])
    sandbox.send(files(ids(3)), "v1")
    assert sandbox.live() == Counter(ids(3))
    assert [b["status"] for b in sandbox.batches()] == ["aborted", "success"]


def test_a_large_file_goes_in_chunks_and_survives_a_cut_one(sandbox: Sandbox) -> None:
    sandbox.control.fault("cut_upload", match={"method": "PATCH", "nth": [2, 5]}, after_bytes=50)
    sandbox.control.fault("lost_response", match={"method": "PATCH", "nth": 4})
    sandbox.send(files(ids(50)), "v1", settings={"small_upload_bytes": 100, "chunk_bytes": 300})
    assert sandbox.live() == Counter(ids(50))


def test_a_broken_off_large_upload_is_begun_anew_in_another_batch(sandbox: Sandbox) -> None:
    small = {"small_upload_bytes": 100, "chunk_bytes": 300, "tries": 2}
    sandbox.control.fault("drop", match={"method": "PATCH", "from_nth": 3})
    with pytest.raises(Exception, match="connection was cut"):
        sandbox.send(files(ids(50)), "v1", settings=small)
    sandbox.control.clear_faults()
    sandbox.send(files(ids(50)), "v1", settings=small)
    assert sandbox.live() == Counter(ids(50))
    assert [b["status"] for b in sandbox.batches()] == ["aborted", "success"]


def test_where_external_ids_must_be_unique_the_way_is_the_same(sandbox: Sandbox) -> None:
    sandbox.control.settings(unique_external_ids=True)
    sandbox.control.fault("lost_response", match=CREATE, count=1)
    for number in (3, 4, 3):
        sandbox.send(files(ids(number)), f"v{number}")
    assert sandbox.live() == Counter(ids(3))


def test_a_partition_that_another_process_works_on_is_busy(sandbox: Sandbox) -> None:
    with (
        receipts.claimed(sandbox.storage, "default", DAY, claim_seconds=60, clock_skew=0),
        pytest.raises(PartitionBusy) as busy,
    ):
        sandbox.send(files(ids(3)), "v1")
    assert busy.value.wait
    assert sandbox.batches() == []


def test_a_batch_that_the_sandbox_does_not_know_is_told_and_forced_over(
    sandbox: Sandbox, make_sandbox: Callable[..., Sandbox]
) -> None:
    sandbox.send(files(ids(3)), "v1")
    log = sandbox.storage.log("default", receipts.LOG, DAY)
    entries = log.entries()
    other = open_storage(sandbox.storage.url + "2")
    for entry in entries:
        changed = {k: "01GONE" if k == "batch_id" else v for k, v in entry.items() if k not in ("number", "at")}
        other.log("default", receipts.LOG, DAY).append(entry["number"], changed)
    with sandbox.client() as client:
        sandbox.control.settle()
        revert(client, sandbox.batches()[0]["id"])
    with pytest.raises(BatchVanished, match="another sandbox"):
        sandbox.send(files(ids(3)), "v1", storage=other)
    sandbox.send(files(ids(3)), "v1", storage=other, force=True)
    assert sandbox.live() == Counter(ids(3))


def test_a_dataset_that_does_not_exist_is_named(sandbox: Sandbox) -> None:
    sandbox.dataset_id = "0" * 24
    with pytest.raises(DatasetNotFound, match="AEP_DATASET_ID"):
        sandbox.send(files(ids(3)), "v1")


def test_more_files_than_a_batch_may_have_are_refused_before_anything_is_sent(sandbox: Sandbox) -> None:
    with pytest.raises(LimitExceeded):
        sandbox.send(files(ids(2)) * 2, "v1")
    assert sandbox.batches() == []


def test_progress_counts_the_bytes_that_went_out(sandbox: Sandbox) -> None:
    sent: list[int] = []
    receipt = sandbox.send(files(ids(30), 3), "v1", progress=sent.append)
    assert sum(sent) == receipt.bytes


def test_the_refused_rows_of_a_partly_ingested_batch_come_back_by_id_or_content(sandbox: Sandbox) -> None:
    receipt = sandbox.send(files([None, *ids(9)]), "v1", partial_ingestion_percent=20)
    with sandbox.client() as client:
        outcome = follow_batch(client, receipt.batch_id or "", first_pause=0.02, uploaded=receipt.rows)
    assert (outcome.ok, outcome.ingested, outcome.rejected) == (True, 9, 1)
    assert outcome.diagnostics is not None
    assert len(outcome.diagnostics.errors) == 1
    assert "1555" in outcome.diagnostics.errors[0].code


def test_a_failed_batch_tells_its_reasons(sandbox: Sandbox) -> None:
    receipt = sandbox.send(files([None, *ids(9)]), "v1")
    with sandbox.client() as client:
        outcome = follow_batch(client, receipt.batch_id or "", first_pause=0.02, uploaded=receipt.rows)
    assert (outcome.ok, outcome.final, outcome.ingested, outcome.rejected) == (False, True, 0, 10)
    assert outcome.errors


def test_nothing_secret_is_stored_in_the_receipts(sandbox: Sandbox) -> None:
    sandbox.send(files(ids(3)), "v1")
    stored = b"".join(p.read_bytes() for p in Path(sandbox.storage.url).rglob("*.json"))
    assert stored
    assert b"demo-client-secret" not in stored
    assert b"Bearer" not in stored
