"""kill -9 at each request and at each change of the storage: nothing half done is visible, the next run finishes."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable

import pytest

from mixpanel_aep_assets_tests.faults import requests
from mixpanel_aep_assets_tests.faults.conftest import COMBINATION
from mixpanel_aep_assets_tests.faults.points import Moments, watched
from mixpanel_aep_assets_tests.faults.test_matrix import cases
from mixpanel_aep_assets_tests.faults.world import World

pytestmark = pytest.mark.e2e
Record = Callable[[str, object], None]

HELD = [(step, when) for step in requests.STEPS for when in ("before", "after")]

MOMENTS = range(1, 66)
"""Before, in the midst of, and after each change of the storage by a run that replaces a day; some to spare."""

SHORT_MOMENTS = {8, 24}


@pytest.mark.parametrize(("step", "when"), cases(HELD, {("create", "after"), ("complete", "before")}))
def test_a_run_killed_at_a_request_leaves_a_day_that_the_next_run_finishes(
    make_world: Callable[..., World], step: str, when: str, record_property: Record
) -> None:
    world = make_world(in_chunks=step in requests.IN_CHUNKS)
    world.change(0, 20)
    match = dict(requests.STEPS[step])
    if "from_nth" in match:
        match["nth"] = match.pop("from_nth")
    world.control.fault("hold", match=match, count=1, when=when)
    with world.start() as child:
        child.kill_while_held(world.control.held)
    world.calm()
    world.require_whole()
    world.finish()
    record_property(COMBINATION, 1)


@pytest.mark.long
def test_a_run_killed_in_the_middle_of_the_export_leaves_a_day_that_the_next_run_finishes(
    world: World, record_property: Record
) -> None:
    world.change(0, 600)
    world.control.fault("slow", match=requests.STEPS["export"], between_chunks=60)
    with world.start() as child:
        deadline = time.monotonic() + 60
        while not any(r["path"].endswith("/export") and r["sent"] for r in world.control.requests()):
            assert time.monotonic() < deadline, "nothing of the export was sent"
            time.sleep(0.02)
        assert not child.ended()
        child.kill()
        assert child.process.exitcode == -signal.SIGKILL
    assert list(world.manifests()) == []
    world.finish()
    world.require_swept()
    record_property(COMBINATION, 1)


@pytest.mark.parametrize(
    "moment", [pytest.param(n, marks=[] if n in SHORT_MOMENTS else [pytest.mark.long]) for n in MOMENTS]
)
def test_a_run_killed_while_it_changes_the_storage_leaves_nothing_half_done(
    world: World, moment: int, record_property: Record
) -> None:
    world.change(0, 20)
    world.finish()
    old = world.expected()
    world.change(5, 30)
    with world.start(stop_at=moment) as child:
        said, where = child.said()
        child.kill()
    if said != "here":
        assert (said, where) == ("done", "")  # a moment to spare
        return
    world.require_whole()
    assert world.live() in (old, world.expected())
    world.finish()
    world.require_swept()
    record_property(COMBINATION, 1)


@pytest.mark.long
def test_every_moment_of_a_run_has_its_kill(world: World) -> None:
    world.change(0, 20)
    world.finish()
    world.change(5, 30)
    moments = Moments()
    with watched(world.root, moments):
        assert world.run() == ("done", "")
    assert len(moments.seen) <= len(MOMENTS)
