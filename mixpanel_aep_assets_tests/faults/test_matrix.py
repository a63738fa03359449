"""Each fault at each request of the whole way: the run ends with its reason, the next plain run finishes the day."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from mixpanel_aep_assets_tests.faults import requests
from mixpanel_aep_assets_tests.faults.conftest import COMBINATION
from mixpanel_aep_assets_tests.faults.world import PASSES, World

pytestmark = pytest.mark.e2e
Record = Callable[[str, object], None]

SHORT = {
    ("export", "500"), ("create", "lost answer"), ("file", "drop"), ("complete", "lost answer"), ("complete", "500"),
    ("second chunk", "cut answer"), ("file", "token lost"),
}  # fmt: skip
"""What the ordinary suite runs of the matrix."""

COMBINATIONS = [(step, fault) for step in requests.STEPS for fault in requests.FAULTS] + [
    (step, "token lost") for step in requests.PLATFORM | requests.IN_CHUNKS if step != "token"
]
RULES = requests.FAULTS | {"token lost": requests.TOKEN_LOST}


def cases(pairs: list[tuple[str, str]], short: set[tuple[str, str]]) -> list[Any]:
    """The pairs as parameters; those that are not in the short form only run by `make faults`."""
    return [
        pytest.param(*pair, id=", ".join(pair), marks=[] if pair in short else [pytest.mark.long]) for pair in pairs
    ]


def require_explained(said: tuple[str, str]) -> None:
    """A run that failed has said why and what to do, and nothing that a person would have to mend first."""
    assert said[0] in PASSES | {"done", "CredentialsRejected"}, said
    assert said[0] == "done" or said[1].count(". ") >= 1, said


@pytest.mark.parametrize(("step", "fault"), cases(COMBINATIONS, SHORT))
def test_a_fault_at_a_request_leaves_a_day_that_the_next_run_finishes(
    make_world: Callable[..., World], step: str, fault: str, record_property: Record
) -> None:
    world = make_world(in_chunks=step in requests.IN_CHUNKS)
    world.change(0, 20)
    world.control.fault(match=requests.STEPS[step], **RULES[fault])
    require_explained(world.run())
    (rule,) = world.control.faults()
    assert rule["fired"], "no request came to the fault"
    world.finish()
    record_property(COMBINATION, 1)


REPLACING = {
    ("look-up of the partition", "500"),
    ("create", "lost answer"),
    ("complete", "lost answer"),
    ("file", "drop"),
}


@pytest.mark.parametrize(("step", "fault"), cases(sorted(REPLACING), {("create", "lost answer")}))
def test_a_fault_while_a_day_is_replaced_leaves_the_old_or_the_new_day(
    world: World, step: str, fault: str, record_property: Record
) -> None:
    world.change(0, 20)
    world.finish()
    old = world.expected()
    world.change(10, 30)
    world.control.fault(match=requests.STEPS[step], **RULES[fault])
    require_explained(world.run())
    assert world.live() in (old, world.expected())
    world.finish()
    record_property(COMBINATION, 1)


@pytest.mark.parametrize(
    ("step", "fault"),
    cases([("export", body) for body in requests.TORN | requests.REFUSALS], {("export", "cut on the wire")}),
)
def test_a_body_that_is_not_whole_is_refused_and_nothing_of_it_kept(
    world: World, step: str, fault: str, record_property: Record
) -> None:
    world.change(0, 20)
    world.control.fault(match=requests.STEPS[step], **(requests.TORN | requests.REFUSALS)[fault])
    assert world.run()[0] == ("ExportIncomplete" if fault in requests.TORN else "AuthenticationFailed")
    assert list(world.manifests()) == []
    world.finish()
    record_property(COMBINATION, 1)


@pytest.mark.parametrize(
    ("step", "fault"), cases([("export", body) for body in requests.OTHER_DAYS], {("export", "rows that come late")})
)
def test_a_day_that_mixpanel_mends_later_is_replaced_by_the_next_run(
    world: World, step: str, fault: str, record_property: Record
) -> None:
    world.change(0, 20)
    world.control.fault(match=requests.STEPS[step], **requests.OTHER_DAYS[fault])
    assert world.run() == ("done", "")
    world.finish()
    record_property(COMBINATION, 1)


WORSE = [
    (answer, times, count) for answer in requests.WORSE for times in ("once", "each time") for count in ("", "no count")
]


@pytest.mark.parametrize(
    ("answer", "times", "count"),
    [pytest.param(*one, marks=[] if one[2] == "" else [pytest.mark.long]) for one in WORSE],
)
def test_a_live_day_that_mixpanel_answers_worse_for_stays_live(
    world: World, answer: str, times: str, count: str, record_property: Record
) -> None:
    world.change(0, 20)
    world.finish()
    world.control.fault(match=requests.STEPS["export"], count=1 if times == "once" else None, **requests.WORSE[answer])
    if count:
        world.control.fault(match={"path": "/api/query/*"}, **requests.NO_COUNT)
    require_explained(world.run())
    if times == "once" or not count:  # else a second request says the same, and nothing speaks against it
        assert world.live() == world.expected()
    world.finish()
    record_property(COMBINATION, 1)


@pytest.mark.parametrize(
    ("step", "fault"), cases([("batch", state) for state in requests.BATCHES], {("batch", "stalled")})
)
def test_a_batch_that_takes_its_time_is_followed_to_its_end(
    world: World, step: str, fault: str, record_property: Record
) -> None:
    world.change(0, 20)
    world.control.fault(match=requests.STEPS["complete"], **requests.BATCHES[fault])
    require_explained(world.run())
    world.change(5, 20)
    world.finish()
    record_property(COMBINATION, 1)


@pytest.mark.long
def test_a_batch_that_the_platform_refused_is_sent_again_only_when_the_day_changed(
    world: World, record_property: Record
) -> None:
    world.change(0, 20)
    world.control.fault("batch", match=requests.STEPS["complete"], outcome="failed")
    world.run()
    world.control.settle()
    world.calm()
    assert world.run()[0] == "BatchRefused"
    assert not world.live()
    world.change(0, 21)
    world.finish()
    record_property(COMBINATION, 1)
