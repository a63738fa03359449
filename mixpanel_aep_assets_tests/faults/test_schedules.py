"""Random schedules over the whole way: faults, kills, full disks, runs side by side, a day that changes between them.

Whatever happened, one more plain run leaves every event of the day's last state live exactly once.
"""

from __future__ import annotations

import random
import threading
from collections.abc import Callable

import pytest

from mixpanel_aep_assets_tests.faults import requests
from mixpanel_aep_assets_tests.faults.conftest import SCHEDULE
from mixpanel_aep_assets_tests.faults.points import FullDisk, watched
from mixpanel_aep_assets_tests.faults.test_matrix import RULES, require_explained
from mixpanel_aep_assets_tests.faults.world import World

pytestmark = pytest.mark.e2e
Record = Callable[[str, object], None]

SEEDS = range(210)
SHORT_SEEDS = range(8)


class Schedule:
    """A seeded sequence of things that happen to a day."""

    def __init__(self, world: World, seed: int) -> None:
        self.world, self.chance = world, random.Random(seed)

    def happen(self, actions: int) -> None:
        self._change()
        for _ in range(actions):
            if self.chance.random() < 0.4:
                self._change()
            self._break()
            kinds = [self._run, self._run_killed, self._run_twice_at_once, self._run_on_a_full_disk]
            self.chance.choices(kinds, [5, 3, 2, 2])[0]()
            self.world.calm()
            if self.chance.random() < 0.5:
                self.world.control.settle()

    def _change(self) -> None:
        """Another day at Mixpanel: other events, some, or none."""
        count = self.chance.choice([0, 1, 8, 15, 25, 25])
        self.world.change(self.chance.randrange(20), count, doubled=self.chance.randrange(3), broken=count > 8)

    def _break(self) -> None:
        """Up to three faults at requests, each met once or by chance."""
        for _ in range(self.chance.randrange(4)):
            step = self.chance.choice([*requests.MIXPANEL, *requests.PLATFORM])
            gateway = step in requests.PLATFORM and step != "token"
            names = [name for name in RULES if name != "token lost" or gateway]
            rule = RULES[self.chance.choice(names)]
            if step == "export" and self.chance.random() < 0.5:
                rule = self.chance.choice(list(requests.TORN.values()))
            once = self.chance.random() < 0.5
            self.world.control.fault(
                match=requests.STEPS[step],
                count=1 if once else None,
                probability=None if once else 0.5,
                seed=self.chance.randrange(1000),
                **rule,
            )

    def _run(self) -> None:
        require_explained(self.world.run())

    def _run_killed(self) -> None:
        """kill -9 at a change of the storage or while a request is held; it may end before."""
        if self.chance.random() < 0.6:
            with self.world.start(stop_at=self.chance.randrange(1, 58)) as child:
                said = child.said()
            if said[0] != "here":
                require_explained(said)
            return
        step = self.chance.choice([*requests.MIXPANEL, *requests.PLATFORM])
        when = self.chance.choice(["before", "after"])
        self.world.control.fault("hold", match=requests.STEPS[step], count=1, when=when)
        with self.world.start() as child:
            while not self.world.control.held(0.1) and not child.ended():
                pass

    def _run_twice_at_once(self) -> None:
        """The same day in two connections side by side."""
        said: list[tuple[str, str]] = []
        runs = [threading.Thread(target=lambda: said.append(self.world.run())) for _ in range(2)]
        for run in runs:
            run.start()
        for run in runs:
            run.join()
        for one in said:
            require_explained(one)

    def _run_on_a_full_disk(self) -> None:
        with watched(self.world.root, FullDisk(self.chance.randrange(1, 18))):
            require_explained(self.world.run())


@pytest.mark.parametrize(
    "seed", [pytest.param(seed, marks=[] if seed in SHORT_SEEDS else [pytest.mark.long]) for seed in SEEDS]
)
def test_after_a_random_schedule_every_event_is_live_exactly_once(
    world: World, seed: int, record_property: Record
) -> None:
    Schedule(world, seed).happen(2 if seed in SHORT_SEEDS else 3)
    world.require_whole()
    world.finish()
    record_property(SCHEDULE, 1)
