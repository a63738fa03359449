"""Reading a batch's state, counts and refused rows, in all the shapes that the Platform's documents show."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from mixpanel_aep_assets.aep import PlatformClient, diagnostics, follow_batch, platform_errors, status
from mixpanel_aep_assets_tests.aep.scripted import Asked, Reply, Script, serving
from mixpanel_aep_assets_tests.aep.test_http import settings

Served = Callable[[Callable[[Asked], Reply]], tuple[Script, PlatformClient]]


@pytest.fixture
def served() -> Iterator[Served]:
    with ExitStack() as stack:

        def make(answer: Callable[[Asked], Reply]) -> tuple[Script, PlatformClient]:
            script = stack.enter_context(serving(answer))
            return script, stack.enter_context(PlatformClient(settings(script.url)))

        yield make


def batch(**body: Any) -> Callable[[Asked], Reply]:
    return lambda asked: Reply(body={"B": {"id": "B", "status": "success", **body}})


def test_a_successful_batch_with_refused_rows_tells_both_counts(served: Served) -> None:
    metrics = {"inputRecordCount": 519, "outputRecordCount": 514, "failedRecordCount": 5}
    reasons = [{"code": "INGEST-1555-400", "description": "missing", "recordCount": 3}]
    _, client = served(batch(metrics=metrics, errors=reasons))
    outcome = status(client, "B")
    assert (outcome.ok, outcome.final) == (True, True)
    assert (outcome.received, outcome.ingested, outcome.rejected) == (519, 514, 5)
    assert outcome.errors[0].rows == 3


@pytest.mark.parametrize(
    "metrics",
    [{"recordsRead": 9, "recordsWritten": 7, "recordsFailed": 2}, {"inputRecordCount": 9, "outputRecordCount": 7}],
)
def test_older_or_missing_metrics_still_add_up(served: Served, metrics: dict[str, int]) -> None:
    _, client = served(batch(metrics=metrics))
    outcome = status(client, "B")
    assert (outcome.ingested, outcome.rejected) == (7, 2)


def test_a_failed_batch_has_ingested_nothing(served: Served) -> None:
    _, client = served(batch(status="failed", errors=[{"code": "200", "description": "not a Parquet file"}]))
    outcome = status(client, "B", uploaded=12)
    assert (outcome.ok, outcome.final, outcome.ingested, outcome.rejected) == (False, True, 0, 12)
    assert "not a Parquet file" in outcome.text()


@pytest.mark.parametrize(
    ("name", "final", "ok"),
    [
        ("loading", False, False), ("loaded", False, False), ("staging", False, False), ("retrying", False, False),
        ("stalled", False, False), ("something-new", False, False), ("active", True, True), ("Success", True, True),
        ("failure", True, False), ("aborted", True, False), ("abandoned", True, False), ("inactive", True, False),
        ("deleted", True, False),
    ],
)  # fmt: skip
def test_each_state_means_what_the_reference_says(served: Served, name: str, final: bool, ok: bool) -> None:
    _, client = served(batch(status=name))
    outcome = status(client, "B")
    assert (outcome.final, outcome.ok) == (final, ok)


def test_a_stalled_batch_is_said_so_with_what_to_do(served: Served) -> None:
    _, client = served(batch(status="stalled"))
    outcome = status(client, "B")
    assert outcome.stalled
    assert "support case" in outcome.text()


def test_following_ends_at_the_final_state_and_tells_each_new_one(served: Served) -> None:
    states = ["loaded", "staging", "staging", "retrying", "staged", "success"]

    def answer(asked: Asked) -> Reply:
        return Reply(body={"B": {"status": states.pop(0) if len(states) > 1 else states[0]}})

    _, client = served(answer)
    seen: list[str] = []
    outcome = follow_batch(client, "B", first_pause=0.001, seen=lambda o: seen.append(o.status))
    assert outcome.ok
    assert seen == ["loaded", "staging", "retrying", "staged", "success"]


def test_when_the_time_is_up_the_batch_is_left_alone(served: Served) -> None:
    script, client = served(batch(status="staging"))
    outcome = follow_batch(client, "B", timeout=0.05, first_pause=0.01)
    assert not outcome.final
    assert not script.calls("POST")


def test_a_batch_that_the_sandbox_does_not_have_is_told(served: Served) -> None:
    _, client = served(lambda asked: Reply(404, {"title": "NotFoundError", "detail": "no such batch"}))
    with pytest.raises(platform_errors.BatchVanished, match="sandbox"):
        status(client, "B")


def export(files: dict[str, list[dict[str, Any]] | bytes]) -> Callable[[Asked], Reply]:
    """Answers of Data Access for files like `row_errors/a.json`, `failed/part.json`."""

    def answer(asked: Asked) -> Reply:
        url = urlsplit(asked.path)
        query = {name: values[0] for name, values in parse_qs(url.query).items()}
        folder = url.path.rsplit("/", 1)[-1]
        path = query.get("path", "") if folder == "meta" else f"failed/{query['path']}" if "path" in query else "failed"
        if path in files:
            content = files[path]
            text = content if isinstance(content, bytes) else b"\n".join(json.dumps(r).encode() for r in content)
            return Reply(body=text)
        names = sorted(name.partition("/")[2] for name in files if name.startswith(f"{path}/"))
        if not names:
            return Reply(404, {"detail": "not found"})
        start = int(query.get("start", 0))
        data = [{"name": name, "length": "0" if name == "_SUCCESS" else "9"} for name in names[start : start + 100]]
        return Reply(body={"data": data, "_page": {"limit": 100, "count": len(data)}})

    return answer


def test_refused_rows_come_with_id_code_message_and_column(served: Served) -> None:
    row = {"_id": "e1", "timestamp": "x", "_errors": [{"code": "1555", "message": "missing", "column": "a.b"}]}
    _, client = served(export({"row_errors/conversion_errors_0.json": [row], "row_errors/_SUCCESS": b""}))
    found = diagnostics.download(client, "B")
    (error,) = found.errors
    assert (error.id, error.code, error.message, error.column) == ("e1", "1555", "missing", "a.b")
    assert found.ids() == {"e1"}


def test_a_corrupt_row_without_an_id_is_kept(served: Served) -> None:
    row = {"_corrupt_record": "{oops", "_errors": [{"code": "1401", "message": "corrupted"}]}
    _, client = served(export({"row_errors/parsing_errors_0.json": [row]}))
    (error,) = diagnostics.download(client, "B").errors
    assert error.id is None
    assert error.record == {"_corrupt_record": "{oops"}


def test_without_row_errors_the_failed_rows_are_read(served: Served) -> None:
    row = {
        "_id": "e2",
        "_validationErrors": [{"keyword": "format", "message": "bad", "pointerToViolation": "#/timestamp"}],
    }
    _, client = served(export({"failed/part-00000.json": [row]}))
    (error,) = diagnostics.download(client, "B").errors
    assert (error.id, error.code, error.column) == ("e2", "format", "#/timestamp")


def test_lines_that_are_no_json_are_kept_as_unreadable(served: Served) -> None:
    _, client = served(export({"row_errors/a.json": b'not json\n[1]\n\n{"_id":"e3"}\n'}))
    assert [e.code for e in diagnostics.download(client, "B").errors] == ["unreadable", "unreadable", "unknown"]


def test_the_download_stops_at_its_bounds_and_says_so(served: Served) -> None:
    rows = [{"_id": str(n), "_errors": [{"code": "1"}]} for n in range(500)]
    _, client = served(export({"row_errors/a.json": rows, "row_errors/b.json": rows}))
    found = diagnostics.download(client, "B", most_rows=600)
    assert len(found.errors) == 600
    assert found.truncated
    assert found.by_code() == {"1": 600}


def test_files_of_several_pages_are_all_read(served: Served) -> None:
    files: dict[str, Any] = {f"row_errors/{n:03}.json": [{"_id": str(n)}] for n in range(240)}
    _, client = served(export(files))
    found = diagnostics.download(client, "B")
    assert not found.truncated
    assert found.ids() == {str(n) for n in range(240)}


def test_more_files_than_are_read_of_a_batch_are_told(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(diagnostics, "MOST_FILES", 150)
    files: dict[str, Any] = {f"row_errors/{n:03}.json": [{"_id": str(n)}] for n in range(240)}
    _, client = served(export(files))
    found = diagnostics.download(client, "B")
    assert found.truncated
    assert len(found.errors) == 150


def test_a_batch_without_diagnostics_has_none(served: Served) -> None:
    _, client = served(export({}))
    assert diagnostics.download(client, "B") == diagnostics.Diagnostics(())


def test_diagnostics_that_cannot_be_read_do_not_stop_the_work(served: Served) -> None:
    _, client = served(lambda asked: Reply(500))
    found = diagnostics.download(client, "B")
    assert found.errors == ()
    assert "500" in (found.problem or "")
