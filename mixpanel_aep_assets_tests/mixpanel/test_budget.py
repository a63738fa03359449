"""The project's 60 requests an hour and 3 a second, shared by threads and processes."""

from __future__ import annotations

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from mixpanel_aep_assets.mixpanel.budget import Budget, open_budget
from mixpanel_aep_assets.mixpanel.budget_stores import pause_length
from mixpanel_aep_assets.mixpanel.mixpanel_errors import BudgetExhausted, SettingsWrong


class Clock:
    """Time that passes only by sleeping."""

    def __init__(self) -> None:
        self.now = 1_800_000_000.0
        self.slept: list[float] = []

    def time(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds


@pytest.fixture
def clock() -> Clock:
    return Clock()


def opened(tmp_path: Path, clock: Clock, key: str = "project", share: float = 1.0) -> Budget:
    return open_budget(key, share, str(tmp_path / "b.sqlite"), clock=clock.time, sleep=clock.sleep, jitter=(0, 0))


def spend(budget: Budget, clock: Clock, requests: int) -> None:
    for _ in range(requests):
        budget.acquire()
        clock.now += 1


def test_three_begin_in_a_second_and_the_fourth_waits_a_moment(tmp_path: Path, clock: Clock) -> None:
    budget = opened(tmp_path, clock)
    for _ in range(3):
        budget.acquire()
    assert clock.slept == []
    budget.acquire()
    assert 0.9 <= sum(clock.slept) <= 1.1


def test_the_sixty_first_in_an_hour_is_refused_with_the_time_to_wait(tmp_path: Path, clock: Clock) -> None:
    budget = opened(tmp_path, clock)
    spend(budget, clock, 60)
    with pytest.raises(BudgetExhausted) as caught:
        budget.acquire()
    assert caught.value.retryable
    assert caught.value.wait == pytest.approx(3600 - 60, abs=2)
    assert clock.slept == []
    clock.now += (caught.value.wait or 0) + 0.1
    budget.acquire()


def test_a_share_of_the_budget_leaves_the_rest_to_others(tmp_path: Path, clock: Clock) -> None:
    budget = opened(tmp_path, clock, share=0.5)
    spend(budget, clock, 30)
    with pytest.raises(BudgetExhausted):
        budget.acquire()


def test_a_wait_of_some_seconds_is_waited_for(tmp_path: Path, clock: Clock) -> None:
    budget = opened(tmp_path, clock)
    spend(budget, clock, 60)
    clock.now += 3600 - 60 - 5
    budget.acquire()
    assert 4 <= sum(clock.slept) <= 6


def test_projects_have_budgets_of_their_own(tmp_path: Path, clock: Clock) -> None:
    spend(opened(tmp_path, clock, "one"), clock, 60)
    opened(tmp_path, clock, "two").acquire()


def test_a_pause_holds_for_every_holder_of_the_budget(tmp_path: Path, clock: Clock) -> None:
    one, other = opened(tmp_path, clock), opened(tmp_path, clock)
    assert one.pause(120) == pytest.approx(120, abs=0.01)
    with pytest.raises(BudgetExhausted) as caught:
        other.acquire()
    assert caught.value.wait == pytest.approx(120, abs=1)


def test_pauses_that_mixpanel_gives_no_length_for_double_to_a_quarter_of_an_hour(tmp_path: Path, clock: Clock) -> None:
    budget = opened(tmp_path, clock)
    lengths = []
    for _ in range(6):
        lengths.append(budget.pause(None))
        clock.now += lengths[-1] + 1
    assert lengths == [60, 120, 240, 480, 900, 900]
    budget.went_well()
    assert budget.pause(None) == 60


def test_where_others_filled_the_hour_one_begins_as_one_of_ours_leaves_it(tmp_path: Path, clock: Clock) -> None:
    budget = opened(tmp_path, clock)
    spend(budget, clock, 10)
    assert budget.hour_is_full() == pytest.approx(3600 - 10, abs=0.1)
    clock.now += 3590.1
    budget.acquire()
    budget.acquire()
    assert clock.slept == [pytest.approx(0.9, abs=0.01)], "the second of ours left a second after the first"


def test_of_several_that_ran_into_one_limit_one_counts(tmp_path: Path, clock: Clock) -> None:
    budget = opened(tmp_path, clock)
    assert [budget.pause(None) for _ in range(5)] == [60] * 5


def test_a_pause_is_as_long_as_mixpanel_says_up_to_the_window_of_an_hour(tmp_path: Path, clock: Clock) -> None:
    assert opened(tmp_path, clock, "one").pause(3500) == pytest.approx(3500)
    assert opened(tmp_path, clock, "two").pause(10**9) == pytest.approx(3600)


def test_a_pause_is_some_seconds_longer_than_mixpanel_says(tmp_path: Path, clock: Clock) -> None:
    budget = open_budget("project", 1.0, str(tmp_path / "b.sqlite"), clock=clock.time, sleep=clock.sleep)
    assert 121 <= budget.pause(120) <= 125


def test_a_pause_of_which_nothing_is_said_is_never_longer_than_a_quarter_of_an_hour() -> None:
    assert [pause_length(n) for n in (1, 2, 5, 50)] == [60, 120, 900, 900]


def test_threads_together_keep_the_limit(tmp_path: Path) -> None:
    clock = Clock()
    budget = opened(tmp_path, clock, share=0.05)

    def ask(_: int) -> bool:
        try:
            budget.acquire()
        except BudgetExhausted:
            return False
        return True

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(ask, range(40))) == 3


ASK = """
import sys, time
from mixpanel_aep_assets.mixpanel.budget import open_budget
from mixpanel_aep_assets.mixpanel.mixpanel_errors import BudgetExhausted
faster = 100  # all processes share the machine's monotonic clock
budget = open_budget("project", 0.2, sys.argv[1], clock=lambda: 1.8e9 + time.monotonic() * faster,
                     sleep=lambda seconds: time.sleep(seconds / faster))
taken = 0
while taken < 20:
    try:
        budget.acquire()
    except BudgetExhausted:
        break
    taken += 1
print(taken)
"""


def test_processes_together_keep_the_limit(tmp_path: Path) -> None:
    path = str(tmp_path / "b.sqlite")
    running = [subprocess.Popen([sys.executable, "-c", ASK, path], stdout=subprocess.PIPE, text=True) for _ in range(3)]
    assert sum(int(process.communicate(timeout=60)[0]) for process in running) == 12


SPEND = """
from mixpanel_aep_assets.mixpanel.budget import open_budget
budget = open_budget("project", 0.05)
for _ in range(2):
    budget.acquire()
"""


def test_without_a_place_all_processes_of_a_user_share_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    subprocess.run([sys.executable, "-c", SPEND], check=True, timeout=60)
    budget = open_budget("project", 0.05)
    budget.acquire()
    with pytest.raises(BudgetExhausted):
        budget.acquire()
    budget.close()


def test_a_damaged_file_is_named_with_what_to_do(tmp_path: Path, clock: Clock) -> None:
    (tmp_path / "b.sqlite").write_bytes(b"no database " * 100)
    with pytest.raises(SettingsWrong, match=r"b\.sqlite.*remove it"):
        opened(tmp_path, clock)


def test_a_clock_that_is_set_back_holds_nobody_longer_than_the_window(tmp_path: Path, clock: Clock) -> None:
    budget = opened(tmp_path, clock)
    spend(budget, clock, 60)
    budget.pause(900)
    clock.now -= 86_400
    with pytest.raises(BudgetExhausted) as caught:
        budget.acquire()
    assert 3000 < (caught.value.wait or 0) <= 3600
    clock.now += 3601
    budget.acquire()


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(SettingsWrong, match="file"):
        open_budget("project", 1.0, str(tmp_path / "file" / "b.sqlite"))


def test_a_server_whose_package_is_missing_is_named_without_its_password() -> None:
    with pytest.raises(SettingsWrong) as caught:
        open_budget("project", 1.0, "redis://:hunter2@127.0.0.1:1/0")
    assert "hunter2" not in str(caught.value)
