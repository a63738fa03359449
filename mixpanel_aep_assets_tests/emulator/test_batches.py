"""Batch ingestion: protocols, states, replay (platform.md#batch-ingestion and platform.md#batch-states)."""

from __future__ import annotations

import httpx
import pytest

from mixpanel_aep_assets_tests.emulator.conftest import Platform, events, parquet, wait_until

OCTETS = {"Content-Type": "application/octet-stream"}


def test_a_batch_starts_loading_with_a_ulid_and_its_external_id(platform: Platform) -> None:
    body = platform.create(externalId="mine", tags={"k": ["v"]}, enableErrorDiagnostics=True).json()
    assert (len(body["id"]), body["status"], body["externalId"]) == (26, "loading", "mine")
    assert body["tags"] == {"k": ["v"], "acp_enableErrorDiagnostics": True}


def test_creating_is_not_idempotent_and_external_ids_can_be_looked_up(platform: Platform) -> None:
    made = {platform.batch(externalId="mine") for _ in range(2)}
    found = platform.http.get("/data/foundation/catalog/batches", params={"externalId": "mine"}).json()
    assert set(found) == made
    platform.control.settings(unique_external_ids=True)
    assert platform.create(externalId="mine").status_code == 409


@pytest.mark.parametrize(
    "body", [{"datasetId": None}, {"inputFormat": {"format": "avro"}}, {"partialIngestionPercent": 0}]
)
def test_a_bad_batch_is_refused(platform: Platform, body: dict[str, object]) -> None:
    assert platform.create(**body).status_code == 400


def test_an_unknown_dataset_is_404(platform: Platform) -> None:
    assert platform.create(datasetId="5c8c3c555033b814b69f947f").status_code == 404


def test_a_small_file_may_be_sent_again(platform: Platform) -> None:
    batch = platform.batch()
    assert platform.put(batch, b"first").status_code == 201
    assert platform.put(batch, parquet(events(2))).status_code == 200
    platform.act(batch, "COMPLETE")
    platform.control.settle()
    assert platform.status(batch)["metrics"]["inputRecordCount"] == 2


def test_only_raw_bytes_are_taken(platform: Platform) -> None:
    batch = platform.batch()
    assert platform.http.put(platform.path(batch), files={"file": b"x"}).status_code == 415
    assert platform.http.put(platform.path(batch), json={}).status_code == 415


def test_a_large_file_comes_in_chunks_and_its_gaps_are_found_at_the_end(platform: Platform) -> None:
    content, batch = parquet(events(500)), platform.batch()
    path, half = platform.path(batch, "day/part.parquet"), len(parquet(events(500))) // 2
    assert platform.http.post(path, params={"action": "INITIALIZE"}).status_code == 201

    def send(start: int, end: int, total: str) -> httpx.Response:
        headers = OCTETS | {"Content-Range": f"bytes {start}-{end}{total}"}
        return platform.http.patch(path, content=content[start : end + 1], headers=headers)

    assert send(half, len(content) - 1, f"/{len(content)}").status_code == 200
    assert platform.http.post(path, params={"action": "COMPLETE"}).status_code == 400
    assert send(0, half - 1, "").status_code == 200
    assert send(0, half - 1, "").status_code == 200  # a chunk sent again is no overlap
    assert platform.http.head(path).headers["range"] == f"bytes=0-{len(content) - 1}"
    assert platform.http.post(path, params={"action": "complete"}).status_code == 201
    platform.act(batch, "COMPLETE")
    platform.control.settle()
    assert platform.status(batch)["metrics"]["inputRecordCount"] == 500


def test_overlapping_chunks_are_refused_at_the_end_and_a_new_start_mends_it(platform: Platform) -> None:
    batch = platform.batch()
    path = platform.path(batch)
    for _ in range(2):
        platform.http.post(path, params={"action": "INITIALIZE"})
        for start, end in ((0, 9), (5, 14)):
            headers = OCTETS | {"Content-Range": f"bytes {start}-{end}"}
            assert platform.http.patch(path, content=b"x" * 10, headers=headers).status_code == 200
        assert "overlapping" in platform.http.post(path, params={"action": "COMPLETE"}).json()["detail"]


def test_states_advance_with_the_clock_and_complete_may_be_repeated(platform: Platform) -> None:
    platform.control.settings(batch_seconds=30)
    platform.control.clock(freeze=True)
    batch = platform.batch()
    platform.put(batch, parquet(events()))
    seen = [platform.status(batch)["status"]]
    for _ in range(2):
        assert platform.act(batch, "COMPLETE").status_code == 200
    for _ in range(3):
        seen.append(platform.status(batch)["status"])
        platform.control.clock(step=10)
    wait_until(lambda: platform.status(batch)["status"] == "success")
    assert seen[:3] == ["loading", "loaded", "staging"]
    assert platform.act(batch, "COMPLETE").status_code == 200


def test_abort_only_before_complete_and_revert_only_after_success(platform: Platform) -> None:
    aborted = platform.batch()
    assert platform.act(aborted, "REVERT").status_code == 400
    assert platform.act(aborted, "ABORT").status_code == 200
    assert platform.act(aborted, "COMPLETE").status_code == 400
    assert platform.put(aborted, b"x").status_code == 400
    done = platform.ingest(parquet(events(4)))["id"]
    assert platform.act(done, "ABORT").status_code == 400
    assert platform.control.books()["live"]["rows"] == 4
    assert platform.act(done, "REVERT").status_code == 200
    assert platform.status(done)["status"] == "inactive"
    assert platform.control.books()["live"]["rows"] == 0
    platform.control.clock(step=7200)
    assert platform.status(done)["status"] == "deleted"


def test_a_batch_that_is_never_completed_is_abandoned(platform: Platform) -> None:
    platform.control.settings(loading_seconds=600)
    batch = platform.batch()
    platform.control.clock(step=601)
    assert platform.status(batch)["status"] == "abandoned"


def test_replay_replaces_its_predecessors_when_it_succeeds(platform: Platform) -> None:
    first = platform.ingest(parquet(events(3)), externalId="day-1")["id"]
    replay = {"predecessors": [f"${{{first}}}"], "reason": "replace"}
    second = platform.ingest(parquet(events(2)), replay=replay)
    assert second["replay"]["predecessors"] == [first]
    assert platform.status(first)["status"] == "inactive"
    assert platform.control.books()["live"]["rows"] == 2


def test_a_failed_replay_leaves_its_predecessors_active(platform: Platform) -> None:
    first = platform.ingest(parquet(events(3)))["id"]
    assert platform.ingest(b"rubbish", replay={"predecessors": [first]})["status"] == "failed"
    assert platform.status(first)["status"] == "success"


def test_predecessors_can_be_named_by_external_id_and_must_exist(platform: Platform) -> None:
    first = platform.ingest(parquet(events(3)), externalId="day-1")["id"]
    platform.ingest(parquet(events(1)), replay={"predecessorsByExternalId": ["day-1"]})
    assert platform.status(first)["status"] == "inactive"
    assert platform.create(replay={"predecessors": ["nobody"]}).status_code == 400


@pytest.mark.parametrize("outcome", ["retrying", "stalled"])
def test_transient_trouble_passes(platform: Platform, outcome: str) -> None:
    platform.control.clock(freeze=True)
    platform.control.fault("batch", match={"query": {"action": "COMPLETE"}}, outcome=outcome, seconds=60)
    batch = platform.batch()
    platform.put(batch, parquet(events()))
    platform.act(batch, "COMPLETE")
    platform.control.clock(step=30)
    assert platform.status(batch)["status"] == outcome
    platform.control.clock(step=60)
    wait_until(lambda: platform.status(batch)["status"] == "success")


def test_a_stalled_batch_stays_so_until_it_is_mended(platform: Platform) -> None:
    platform.control.fault("batch", count=1, match={"query": {"action": "COMPLETE"}}, outcome="stalled")
    batch = platform.batch()
    platform.put(batch, parquet(events()))
    platform.act(batch, "COMPLETE")
    platform.control.clock(step=86_000)
    wait_until(lambda: platform.status(batch)["status"] == "stalled")
    platform.control.recover(batch)
    wait_until(lambda: platform.status(batch)["status"] == "success")


def test_a_batch_can_be_made_to_fail(platform: Platform) -> None:
    errors = [{"code": "INGEST-7-500", "description": "no"}]
    platform.control.fault("batch", match={"query": {"action": "COMPLETE"}}, outcome="failed", errors=errors)
    found = platform.ingest(parquet(events()))
    assert (found["status"], found["errors"]) == ("failed", errors)


def test_a_lost_complete_was_carried_out(platform: Platform) -> None:
    batch = platform.batch()
    platform.put(batch, parquet(events()))
    platform.control.fault("lost_response", match={"query": {"action": "COMPLETE"}}, count=1)
    with pytest.raises(httpx.RemoteProtocolError):
        platform.act(batch, "COMPLETE")
    platform.control.settle()
    assert platform.status(batch)["status"] == "success"


def test_an_upload_cut_on_the_way_leaves_no_file(platform: Platform) -> None:
    batch = platform.batch()
    platform.control.fault("cut_upload", match={"method": "PUT"}, count=1, after_bytes=100)
    with pytest.raises(httpx.TransportError):
        platform.put(batch, b"x" * 3_000_000)
    platform.act(batch, "COMPLETE")
    platform.control.settle()
    assert platform.status(batch)["errors"][0]["code"] == "106"


def test_more_than_90_batches_a_day_only_warn(platform: Platform) -> None:
    platform.control.settings(event_batches_per_day=2)
    for _ in range(3):
        platform.batch()
    assert "3 batches in sandbox prod" in platform.control.books()["warnings"][0]


def test_batch_lists_obey_the_filter_language(platform: Platform) -> None:
    made = [platform.batch(externalId=f"x{number}", tags={"day": [f"2026-01-0{number}"]}) for number in range(5)]
    platform.act(made[0], "ABORT")

    def found(**query: str | int) -> list[str]:
        answer = platform.http.get("/data/foundation/catalog/batches", params=query)
        assert answer.status_code == 200, answer.text
        return list(answer.json())

    assert found(status="aborted") == [made[0]]
    assert set(found(status="!aborted")) == set(made[1:])
    assert found(externalId="x1,x2", orderBy="desc:externalId") == [made[2], made[1]]
    assert found(tags="day:2026-01-0[34]", orderBy="externalId", limit=1, start=1) == [made[4]]
    assert found(property="externalId~^x4$") == [made[4]]
    assert set(found(dataSet=platform.dataset)) == set(made)
    assert found(createdAfter=10**14) == []
    for limit in (0, 101):
        assert platform.http.get("/data/foundation/catalog/batches", params={"limit": limit}).status_code == 400
