"""Whether and when to try again (mixpanel.md#retry): what may pass by itself, a bounded number of times, with growing waits."""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

import tenacity

from mixpanel_aep_assets.mixpanel.budget import SHORT_WAIT
from mixpanel_aep_assets.mixpanel.mixpanel_errors import BudgetExhausted, MixpanelError, RateLimited

logger = logging.getLogger(__name__)

T = TypeVar("T")


@dataclass(frozen=True)
class Retry:
    """`tries` in all; seconds `first`, doubling to `longest`, plus a random part within `jitter`."""

    tries: int = 5
    first: float = 2.0
    longest: float = 60.0
    jitter: tuple[float, float] = (1.0, 5.0)
    sleep: Callable[[float], None] = time.sleep

    def call(self, attempt: Callable[[], T], log: Callable[[str], None] = lambda _: None) -> T:
        """The attempt's result. A wait that Mixpanel or the budget names is kept if short, else left to the caller."""

        def wait(state: tenacity.RetryCallState) -> float:
            error = state.outcome.exception() if state.outcome is not None else None
            if isinstance(error, RateLimited) and error.wait is not None:
                return error.wait
            return min(self.longest, self.first * 2.0 ** (state.attempt_number - 1)) + random.uniform(*self.jitter)  # noqa: S311

        def tell(state: tenacity.RetryCallState) -> None:
            error = state.outcome.exception() if state.outcome is not None else None
            pause = state.next_action.sleep if state.next_action is not None else 0.0
            text = f"try {state.attempt_number} of {self.tries} failed, next in {pause:.1f} s: {error}"
            logger.warning(text)
            log(text)

        retrying = tenacity.Retrying(
            stop=tenacity.stop_after_attempt(self.tries),
            wait=wait,
            retry=tenacity.retry_if_exception(_worth_it),
            before_sleep=tell,
            sleep=self.sleep,
            reraise=True,
        )
        return retrying(attempt)


def _worth_it(error: BaseException) -> bool:
    if isinstance(error, BudgetExhausted) or not isinstance(error, MixpanelError):
        return False
    if isinstance(error, RateLimited):
        return error.wait is not None and error.wait <= SHORT_WAIT
    return error.retryable
