"""How a batch comes from `loading` to a final state (platform.md#batch-states).

Files are parsed and validated by one worker thread, started by COMPLETE; the state that a reader sees follows from the
clock, the worker's result and the fault, and is worked out when somebody looks. A batch becomes active and its replay's
predecessors inactive in one transaction.

The fault kind `batch`, matched by the COMPLETE request: `outcome` "retrying" or "stalled" for `seconds` (stalled without
seconds: for ever), then on as usual; "failed" with `errors`; "slow" adds `seconds` of staging.
"""

from __future__ import annotations

import logging
import queue
import threading
from typing import TYPE_CHECKING, Any

from mixpanel_aep_assets.emulator.faults import Fault
from mixpanel_aep_assets.emulator.platform import uploads
from mixpanel_aep_assets.emulator.platform.gateway import bad_request
from mixpanel_aep_assets.emulator.platform.ingest import Ingest, Limits
from mixpanel_aep_assets.emulator.store import Document

if TYPE_CHECKING:
    from mixpanel_aep_assets.emulator.platform.state import Platform

LIVE = frozenset({"active", "success"})
IN_PROGRESS = frozenset({"loaded", "staging", "staged", "retrying", "stalled", "processing", "queued"})
COMPLETED = IN_PROGRESS | LIVE | {"failed", "failure"}
LIMITS = {"2023": Limits(files=1_500, size=100 << 30), "2026": Limits(files=25_000, size=1 << 40)}

logger = logging.getLogger(__name__)


class Lifecycle:
    """The states of all batches. Reads go through `advance` or `advance_all` first."""

    def __init__(self, platform: Platform) -> None:
        self._platform = platform
        self._jobs: queue.Queue[str | None] = queue.Queue()
        self._worker: threading.Thread | None = None

    def resume(self) -> None:
        """After a restart: take up the batches whose files were not read to the end."""
        for batch in self._platform.batches.values():
            if batch["status"] in IN_PROGRESS and "result" not in batch:
                self._submit(batch["id"])

    def stop(self) -> None:
        """End the worker after the batch that it has in hand."""
        if self._worker is not None:
            self._jobs.put(None)
            self._worker.join(timeout=30)
            self._worker = None

    def complete(self, batch: Document, faults: list[Fault]) -> None:
        """Hand the batch over. Repeating it changes nothing; refused for batches that ended otherwise."""
        with self._platform.store.lock:
            if batch["status"] in COMPLETED and "handed_over" in batch:
                return
            if batch["status"] != "loading":
                raise bad_request(f"The batch {batch['id']} cannot be completed: it is {batch['status']}")
            now = self._platform.clock.now_ms()
            batch.update(status="loaded", handed_over=now, started=now, updated=now)
            if faults:
                batch["fault"] = faults[-1]
            self._platform.batches.put(batch["id"], batch)
        self._submit(batch["id"])

    def abort(self, batch: Document) -> None:
        """Cancel a batch that is not on its way: only from `loading`, `retrying` or `stalled`."""
        with self._platform.store.lock:
            if batch["status"] not in ("loading", "retrying", "stalled"):
                raise bad_request(f"The batch {batch['id']} cannot be aborted: it is {batch['status']}")
            self._set(batch, "aborted")

    def revert(self, batch: Document) -> None:
        """Take an active batch out of the dataset."""
        with self._platform.store.lock:
            if batch["status"] not in LIVE | {"inactive"}:
                raise bad_request(f"The batch {batch['id']} cannot be reverted: it is {batch['status']}")
            if batch["status"] in LIVE:
                self._set(batch, "inactive", inactive_since=self._platform.clock.now_ms())

    def fail(self, batch: Document) -> None:
        """Give up a batch that is still loading."""
        with self._platform.store.lock:
            if batch["status"] != "loading":
                raise bad_request(f"The batch {batch['id']} cannot be failed: it is {batch['status']}")
            self._set(batch, "failed")

    def recover(self, batch: Document) -> None:
        """The Platform mends a stalled batch (only the control API calls this)."""
        with self._platform.store.lock:
            batch.pop("fault", None)
            self._platform.batches.put(batch["id"], batch)

    def advance_all(self, *, at_once: bool = False) -> None:
        """Bring every batch to the state of this moment; `at_once` waits for the worker and skips the delays."""
        if at_once:
            self._jobs.join()
        for batch in self._platform.batches.values():
            self.advance(batch, at_once=at_once)

    def advance(self, batch: Document, *, at_once: bool = False) -> None:
        """Bring the batch to the state of this moment."""
        settings, now = self._platform.settings, self._platform.clock.now_ms()
        with self._platform.store.lock:
            status = batch["status"]
            if status == "loading" and now - batch["created"] > settings.loading_seconds * 1000:
                self._set(batch, "abandoned")
            elif status == "inactive" and now - batch["inactive_since"] > settings.deleted_seconds * 1000:
                self._set(batch, "deleted")
            elif status in IN_PROGRESS:
                due = "final" if at_once and "result" in batch else self._due(batch, now)
                if due == "final":
                    self._finalize(batch)
                elif due != status:
                    self._set(batch, due)

    def _due(self, batch: Document, now: int) -> str:
        """The state that the clock and the worker's result call for."""
        fault: Fault = batch.get("fault", {})
        passed, whole = (now - batch["handed_over"]) / 1000, self._platform.settings.batch_seconds
        outcome, seconds = fault.get("outcome"), fault.get("seconds")
        if outcome == "slow":
            whole += float(seconds or 0)
        if passed < whole / 3:
            return "loaded"
        if passed < whole * 2 / 3:
            return "staging"
        if passed < whole:
            return "staged" if "result" in batch else "staging"
        if outcome in ("retrying", "stalled") and passed < whole + float("inf" if seconds is None else seconds):
            return str(outcome)
        return "final" if "result" in batch else "staging"

    def _finalize(self, batch: Document) -> None:
        result, now = dict(batch["result"]), self._platform.clock.now_ms()
        fault: Fault = batch.get("fault", {})
        if fault.get("outcome") == "failed":
            default = [{"code": "INGEST-9999-500", "description": "Ingestion failed for an unexpected reason."}]
            result = {"status": "failed", "errors": fault.get("errors", default)}
        with self._platform.store.transaction():
            batch.update({name: result[name] for name in ("metrics", "errors") if name in result})
            self._set(batch, result["status"], completed=now)
            dataset = self._platform.datasets.get(batch["dataset"])
            if dataset is not None:
                succeeded = result["status"] == "success"
                dataset.update(lastBatchId=batch["id"], lastBatchStatus=result["status"])
                dataset["lastSuccessfulBatch" if succeeded else "lastFailedBatch"] = batch["id"]
                self._platform.datasets.put(dataset["id"], dataset)
            if result["status"] == "success":
                for predecessor in batch.get("replay", {}).get("predecessors", []):
                    earlier = self._platform.batches.get(predecessor)
                    if earlier is not None and earlier["status"] in LIVE:
                        self._set(earlier, "inactive", inactive_since=now)

    def _set(self, batch: Document, status: str, **more: Any) -> None:
        major, minor, patch = batch["version"].split(".")
        version = f"{major}.{minor}.{int(patch) + 1}"
        batch.update(status=status, updated=self._platform.clock.now_ms(), version=version, **more)
        self._platform.batches.put(batch["id"], batch)

    def _submit(self, batch: str) -> None:
        with self._platform.store.lock:
            if self._worker is None:
                self._worker = threading.Thread(target=self._work, name="ingestion", daemon=True)
                self._worker.start()
        self._jobs.put(batch)

    def _work(self) -> None:
        while (batch_id := self._jobs.get()) is not None:
            try:
                self._read(batch_id)
            finally:
                self._jobs.task_done()
        self._jobs.task_done()

    def _read(self, batch_id: str) -> None:
        """Parse and validate the batch's files, and keep the result with the batch."""
        platform = self._platform
        batch = platform.batches.get(batch_id)
        if batch is None:
            return
        try:
            result = self._ingest(batch).run()
        except Exception as error:
            logger.exception("the emulator's own ingestion of batch %s broke", batch_id)
            errors = [{"code": "INGEST-9999-500", "description": f"The emulator could not read the batch: {error!r}"}]
            result = {"status": "failed", "errors": errors}
        with platform.store.lock:
            batch["result"] = result
            platform.batches.put(batch_id, batch)

    def _ingest(self, batch: Document) -> Ingest:
        from mixpanel_aep_assets.emulator.platform.composition import Registry

        platform, settings = self._platform, self._platform.settings
        dataset = platform.datasets.get(batch["dataset"])
        if dataset is None:
            raise ValueError("the dataset is gone")
        registry = Registry(platform, batch["sandbox"], platform.tenant(batch["imsOrg"]))
        files = [
            (one["path"], uploads.location(platform, batch["id"], one))
            for one in uploads.of_batch(platform, batch["id"])
        ]
        return Ingest(
            files=files,
            folder=platform.folder(batch["id"]),
            schema=registry.tree(dataset["schemaRef"]["id"]),
            input_format=batch["inputFormat"],
            diagnostics=bool(batch["tags"].get("acp_enableErrorDiagnostics")),
            percent=batch["tags"].get("acp_partialIngestionPercent"),
            limits=LIMITS[settings.limits],
            drop_unknown=settings.unknown_json_field == "drop",
            latest_ms=platform.clock.now_ms() if settings.future_timestamp == "error" else None,
        )
