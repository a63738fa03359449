"""A day's replay beside its main batch: each takes the right places, whatever came between. The books are the judge."""

from __future__ import annotations

import contextlib
import shutil
import tempfile
from collections import Counter
from typing import Any, ClassVar

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from mixpanel_aep_assets.aep import AepError, Platform, PlatformClient, catalog, receipts, registry
from mixpanel_aep_assets.aep.platform_errors import BatchRefused, DayChanged
from mixpanel_aep_assets.emulator import EmulatorThread
from mixpanel_aep_assets.storage import open_storage
from mixpanel_aep_assets_tests.aep.conftest import COMPLETE, CREATE, EXPERIENCE_EVENT, LOOK_UP, PUT, REVERT, Sandbox
from mixpanel_aep_assets_tests.aep.days import DAY, files, ids
from mixpanel_aep_assets_tests.aep.test_crash import kill


@pytest.fixture
def base(sandbox: Sandbox) -> str:
    """The main batch of a day of five events, live."""
    receipt = sandbox.send(files(ids(5, "main")), "v1")
    sandbox.control.settle()
    return receipt.batch_id or ""


def test_a_replay_stands_beside_the_main_batch(sandbox: Sandbox, base: str) -> None:
    receipt = sandbox.send(files(ids(2, "mended")), "r1", base=base)
    assert (receipt.action, receipt.predecessors) == ("uploaded", ())
    assert "-replay-" in (receipt.external_id or "")
    assert sandbox.live() == Counter(ids(5, "main") + ids(2, "mended"))
    assert sandbox.send(files(ids(2, "mended")), "r1", base=base).action == "unchanged"
    assert sandbox.send(files(ids(5, "main")), "v1").action == "unchanged"


def test_a_replay_takes_the_place_of_the_replay_before_it_only(sandbox: Sandbox, base: str) -> None:
    first = sandbox.send(files(ids(2, "mended")), "r1", base=base)
    second = sandbox.send(files(ids(3, "mended")), "r2", base=base)
    assert (second.action, second.predecessors) == ("replaced", (first.batch_id,))
    assert sandbox.live() == Counter(ids(5, "main") + ids(3, "mended"))


@pytest.mark.parametrize("count", [6, 0])
def test_a_new_main_batch_or_an_emptied_day_takes_the_place_of_both(sandbox: Sandbox, base: str, count: int) -> None:
    extra = sandbox.send(files(ids(2, "mended")), "r1", base=base)
    receipt = sandbox.send(files(ids(count, "main")) if count else [], "v2")
    assert set(receipt.predecessors) == {base, extra.batch_id}
    assert sandbox.live() == Counter(ids(count, "main"))


def test_a_replay_of_a_main_batch_that_is_no_more_is_not_sent(sandbox: Sandbox, base: str) -> None:
    sandbox.send(files(ids(6, "main")), "v2")
    with pytest.raises(DayChanged, match=base):
        sandbox.send(files(ids(2, "mended")), "r1", base=base)
    assert sandbox.live() == Counter(ids(6, "main"))


def test_without_the_receipts_a_replay_is_known_by_its_tags(sandbox: Sandbox, base: str) -> None:
    sandbox.send(files(ids(2, "mended")), "r1", base=base)
    sandbox.control.settle()
    assert sandbox.storage.root is not None
    shutil.rmtree(sandbox.storage.root)
    sandbox.storage = open_storage(sandbox.storage.url)
    assert sandbox.send(files(ids(5, "main")), "v1").action == "adopted"
    parts = [attempt.part for attempt in receipts.read(sandbox.storage, "default", DAY).attempts]
    assert sorted(parts) == [receipts.MAIN, receipts.REPLAY]
    assert sandbox.live() == Counter(ids(5, "main") + ids(2, "mended"))
    sandbox.send(files(ids(7, "main")), "v2")
    assert sandbox.live() == Counter(ids(7, "main"))


@pytest.mark.e2e
@pytest.mark.parametrize(
    ("step", "when", "then"),
    [
        (CREATE, "before", "main"),
        (CREATE, "after", "replay"),
        (COMPLETE, "before", "replay"),
        (COMPLETE, "after", "main"),
        (COMPLETE, "after", "replay"),
    ],
    ids=lambda value: value if isinstance(value, str) else value.get("query", {}).get("action", "CREATE").lower(),
)
def test_a_replay_killed_during_a_step_is_finished_or_replaced_by_what_runs_next(
    sandbox: Sandbox, base: str, step: dict[str, Any], when: str, then: str
) -> None:
    sandbox.control.fault("hold", match=step, count=1, when=when)
    process = sandbox.start("r1", 4, parts=2, base=base)
    sandbox.wait_until_held()
    kill(process)
    sandbox.control.clear_faults()
    sandbox.control.release()
    if then == "replay":
        sandbox.send(files(ids(4, "r1"), 2), "r1", base=base)
        assert sandbox.live() == Counter(ids(5, "main") + ids(4, "r1"))
    else:
        sandbox.send(files(ids(6, "main")), "v2")
        assert sandbox.live() == Counter(ids(6, "main"))


STEPS = [LOOK_UP, CREATE, PUT, COMPLETE, REVERT]
HITS = st.none() | st.tuples(st.sampled_from(STEPS), st.sampled_from(["drop", "lost_response"]))


class Parts(RuleBasedStateMachine):
    """Runs and replays of one day in any order, hit at any step and run again, some refused by the Platform.

    The model is what must be live; `refused` are versions that are not sent again.
    """

    emulator: ClassVar[EmulatorThread]
    platform: ClassVar[Platform]
    schema_id: ClassVar[str]

    @initialize()
    def begin(self) -> None:
        self.folder = tempfile.mkdtemp()
        content_type = "application/vnd.adobe.xed+json;version=1"
        body = {"name": "Events", "schemaRef": {"id": self.schema_id, "contentType": content_type}}
        with PlatformClient(self.platform) as client:
            dataset_id = catalog.create_dataset(client, body)
        self.sandbox = Sandbox(self.emulator.control, self.platform, open_storage(self.folder), dataset_id)
        self.main: tuple[str, str, int] | None = None  # version, batch, events
        self.replay = 0
        self.refused: set[str] = set()

    def teardown(self) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)

    def send(self, version: str, prefix: str, count: int, hit: Any, fails: bool, **given: Any) -> Any:
        """The receipt of a call after one that was hit; None where the Platform refuses, now or earlier."""
        control = self.sandbox.control
        day = files(ids(count, prefix), 2) if count else []
        try:
            if fails:
                control.fault("batch", match=COMPLETE, outcome="failed")
            if hit is not None:
                control.fault(hit[1], match=hit[0], count=1)
                with contextlib.suppress(AepError):
                    self.sandbox.send(day, version, settings={"tries": 1}, **given)
            receipt = self.sandbox.send(day, version, **given)
            control.settle()
            if receipt.batch_id is not None and self.status(receipt.batch_id) == "failed":
                self.refused.add(version)
                return None
        except BatchRefused:
            self.refused.add(version)
            return None
        finally:
            control.clear_faults()
        self.refused.discard(version)
        return receipt

    def status(self, batch_id: str) -> str:
        return next(str(b["status"]) for b in self.sandbox.batches() if b["id"] == batch_id)

    @rule(count=st.integers(0, 3), hit=HITS, fails=st.booleans())
    def run_the_day(self, count: int, hit: Any, fails: bool) -> None:
        version = f"v{count}"
        receipt = self.send(version, "main", count, hit, fails)
        if receipt is None:
            assert fails or version in self.refused
        elif receipt.batch_id is None:
            self.main, self.replay = None, 0
        elif self.main is None or receipt.batch_id != self.main[1]:
            self.main, self.replay = (version, receipt.batch_id, count), 0

    @rule(count=st.integers(1, 3), hit=HITS, fails=st.booleans())
    def replay_the_day(self, count: int, hit: Any, fails: bool) -> None:
        base = self.main[1] if self.main is not None else "gone"
        version = f"r{count} of {base}"
        try:
            receipt = self.send(version, "replay", count, hit, fails, base=base)
        except DayChanged:
            assert self.main is None
            return
        assert self.main is not None
        if receipt is None:
            assert fails or version in self.refused
        else:
            self.replay = count

    @invariant()
    def each_event_is_live_once(self) -> None:
        if hasattr(self, "sandbox"):
            main = ids(self.main[2], "main") if self.main is not None else []
            assert self.sandbox.live() == Counter(main + ids(self.replay, "replay"))


def test_runs_and_replays_in_any_order_leave_each_event_live_once(emulator: EmulatorThread) -> None:
    Parts.emulator, url = emulator, emulator.url
    Parts.platform = Platform(
        client_id="demo-client", client_secret="demo-client-secret", ims_url=url, url=url,
        org_id="0123456789ABCDEF01234567@AdobeOrg", backoff=0.005, backoff_cap=0.05,
    )  # fmt: skip
    with PlatformClient(Parts.platform) as client:
        schema = {
            "title": "Events", "description": "Only the class", "type": "object",
            "allOf": [{"$ref": EXPERIENCE_EVENT}],
        }  # fmt: skip
        Parts.schema_id = registry.create(client, "schemas", schema)["$id"]
    run_state_machine_as_test(
        Parts,
        settings=settings(
            max_examples=6, stateful_step_count=8, deadline=None, derandomize=True,
            suppress_health_check=[HealthCheck.too_slow],
        ),
    )  # fmt: skip
