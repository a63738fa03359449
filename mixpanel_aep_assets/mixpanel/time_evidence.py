"""What the receipt times of events say about the time mode (mixpanel.md#detecting-the-mode).

An event that was sent at once was received a little after it happened. So each mode is a hypothesis: under it, an event
was received at once or not. Only events that the modes place at different instants tell them apart; on a day on which
the zone has no offset there are none, and either mode is right. What does not belong here: what a mode means (`time_mode`).
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from mixpanel_aep_assets.manifests import RawManifest
from mixpanel_aep_assets.mixpanel import time_mode
from mixpanel_aep_assets.mixpanel.time_mode import QUARTER, Decision
from mixpanel_aep_assets.mixpanel.zones import zone

EARLY, LATE = -30_000, 5 * 60_000
"""How far before and after an event's instant the receipt of one that was sent at once lies, in milliseconds."""

ENOUGH = 20
"""Events received at once that decide although some speak for the other mode, up to `OTHERS`."""

HANDFUL = 5
"""Events that decide where none speaks for the other mode and they came in `OCCASIONS` quarter hours: a queue that was held
back by just the zone's offset is sent in one go."""

OCCASIONS = 2

SHARE = 0.25
"""Part of the telling events that must have been received at once. Offline queues and wrong clocks spread over the rest."""

OTHERS = 0.25
"""Events for the other mode at most, per event for this one."""

SHIFTS = (-120, -60, -30, 30, 60, 120)
"""Minutes by which clocks change. Where the zone is not known, events that are so far off speak against UTC."""

FEW_SHIFTED = 0.01
"""Events at such a shift at most, per event for UTC. An hour of a day in London is more than that."""

SENSIBLE = 4_000_000_000_000
"""Milliseconds: `time` from 1970 to 2096 is looked at."""


@dataclass(frozen=True)
class Evidence:
    """Counts over events with a receipt time that were not imported; of a day, or of several (`together`).

    `telling`: the modes place the event at different instants. `utc`, `project`: of these, received at once in that mode
    alone, in so many different quarter hours. `agree`: the zone has no offset on the day, so that no event can tell.
    `elsewhere`: what many events say that fits neither mode, as a sentence.
    """

    timezone: str | None
    looked: int = 0
    telling: int = 0
    utc: int = 0
    project: int = 0
    utc_quarters: int = 0
    project_quarters: int = 0
    agree: bool = False
    elsewhere: str = ""

    def counts(self) -> dict[str, int]:
        """What is kept of it."""
        return {name: getattr(self, name) for name in _COUNTS}

    @classmethod
    def of(cls, timezone: str | None, counts: object) -> Evidence | None:
        """What was kept; None where it cannot be read."""
        if not isinstance(counts, Mapping) or not all(type(counts.get(name)) is int for name in _COUNTS):
            return None
        return cls(timezone, *(counts[name] for name in _COUNTS))

    @property
    def observed(self) -> Literal["utc", "project", "unsure", "both", "neither"]:
        """What the day by itself says, whatever is known of the mode."""
        if self.elsewhere:
            return "neither"
        return "both" if self.agree else judge(self).mode


_COUNTS = ("looked", "telling", "utc", "project", "utc_quarters", "project_quarters")


def weigh(
    times: npt.NDArray[np.int64], receipts: npt.NDArray[np.int64], timezone: str | None, *, agrees: bool = False
) -> Evidence:
    """The evidence of events by `time` as sent and receipt, both in milliseconds.

    `agrees`: `time_mode.agree` of all events of the day, of which these may be a part.
    """
    name = zone(timezone).key if timezone else None
    sensible = (times >= 0) & (times < SENSIBLE)
    times, receipts = times[sensible], receipts[sensible]
    as_utc = _prompt(receipts - times)
    if name is None:
        shifted = [_prompt(receipts - times + minutes * 60_000) for minutes in SHIFTS]
        others = max(shifted, key=lambda one: int(one.sum()))
        telling = np.ones(len(times), bool)
        fits = as_utc
    else:
        first, second = time_mode.readings(times, name)
        others = _prompt(receipts - first) | _prompt(receipts - second)
        telling = ((first != times) | (second != times)) & ~(as_utc & others)
        fits = as_utc | others
    only_utc, only_project = telling & as_utc & ~others, telling & others & ~as_utc
    return Evidence(
        timezone=name,
        looked=len(times),
        telling=int(telling.sum()),
        utc=int(only_utc.sum()),
        project=int(only_project.sum()),
        utc_quarters=_quarters(receipts[only_utc]),
        project_quarters=_quarters(receipts[only_project]),
        agree=agrees,
        elsewhere=_elsewhere(times, receipts, fits, name),
    )


def combined(timezone: str | None, some: Iterable[Evidence]) -> Evidence:
    """The evidence of several days in one zone."""
    counts: Counter[str] = Counter()
    for one in some:
        counts.update(one.counts())
    return Evidence(timezone, **{name: counts[name] for name in _COUNTS})  # type: ignore[arg-type]


def judge(evidence: Evidence) -> Decision:
    """The mode that the evidence leaves. It lasts where it rests on telling events of a known zone.

    `ENOUGH` events received at once decide, or a `HANDFUL` if none speaks for the other mode; in both cases they must be a
    good `SHARE` of the telling ones. That is safe since to look prompt in the wrong mode an event must be late, or its clock
    wrong, by the zone's offset to within minutes.
    """
    name = evidence.timezone or "UTC"
    if evidence.elsewhere:
        return Decision("unsure", name, evidence.elsewhere, lasting=False)
    if evidence.agree:
        return Decision("utc", name, f"the zone {name} has no offset on this day: both modes agree", lasting=False)
    mode: Literal["utc", "project"] = "utc" if evidence.utc >= evidence.project else "project"
    speak, others = max(evidence.utc, evidence.project), min(evidence.utc, evidence.project)
    quarters = evidence.utc_quarters if mode == "utc" else evidence.project_quarters
    if evidence.telling == 0:
        text = f"no event with a receipt time distinguishes UTC from the wall clock of {name}"
        return Decision("unsure", name, text, lasting=False)
    if speak < SHARE * evidence.telling:
        text = f"of {evidence.telling} events too few were received immediately to decide"
        return Decision("unsure", name, text, lasting=False)
    if evidence.timezone is None and (mode == "project" or others > FEW_SHIFTED * speak):
        text = "the project's zone is not known, and `time` is not UTC in all events (set MIXPANEL_TIMEZONE)"
        return Decision("unsure", name, text, lasting=False)
    if (speak >= ENOUGH and others > OTHERS * speak) or (HANDFUL <= speak < ENOUGH and others):
        text = f"{evidence.utc} events were received at once if `time` is UTC, {evidence.project} if it is not"
        return Decision("unsure", name, text, lasting=False)
    if speak < HANDFUL or (speak < ENOUGH and quarters < OCCASIONS):
        text = (
            f"only {speak} events distinguish UTC from the wall clock of {name}; {ENOUGH} are needed, or {HANDFUL} that were "
            "received at different times"
        )
        return Decision("unsure", name, text, lasting=False)
    meaning = "UTC" if mode == "utc" else f"the wall clock of {name}"
    share = f"{speak / evidence.telling:.0%} of {evidence.telling} events"
    text = f"{share} were received within minutes of `time` read as {meaning}"
    return Decision(mode, name, text, lasting=evidence.timezone is not None)


def decide(others: Evidence | None, days: Sequence[Evidence]) -> Decision | None:
    """The lasting decision of days that were read together, newest first, with the evidence of other days; else None.

    All of it counts together; where that is contradictory, the newest day that is clear by itself.
    """
    if not days or days[0].timezone is None:
        return None
    more_days = [others] if others is not None and others.timezone == days[0].timezone else []
    for some in ([*more_days, *days], *([day] for day in days)):
        decision = judge(combined(days[0].timezone, some))
        if decision.sure:
            more = " (of this day and others)" if len(some) > 1 else ""
            return dataclasses.replace(decision, evidence=decision.evidence + more)
    return None


def _prompt(lateness: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
    return (lateness >= EARLY) & (lateness <= LATE)


def _quarters(receipts: npt.NDArray[np.int64]) -> int:
    return len(np.unique(receipts // QUARTER))


def _elsewhere(
    times: npt.NDArray[np.int64], receipts: npt.NDArray[np.int64], fits: npt.NDArray[np.bool_], name: str | None
) -> str:
    """What the events say that were received at once at an offset which neither mode has, where they are many."""
    if name is None:
        return ""
    lateness = receipts - times
    steps = (lateness - EARLY) // QUARTER
    values, counts = np.unique(steps[(lateness - steps * QUARTER <= LATE) & ~fits], return_counts=True)
    if not len(values) or counts.max() < max(ENOUGH, SHARE * len(times), fits.sum()):
        return ""
    offset = -int(values[counts.argmax()]) * 15
    first, second = time_mode.readings(times, name)
    seen = np.unique(
        np.concatenate([times - first, times - second])[np.concatenate([first, second]) != time_mode.NEVER]
    )
    zones = ", ".join(_sign(int(one) // 60_000) for one in seen)
    share = f"{counts.max() / len(times):.0%} of {len(times)} events"
    return (
        f"{share} were received within minutes of `time` read at UTC{_sign(offset)}, but {name} has {zones} on this day"
    )


def _sign(minutes: int) -> str:
    return f"{'-' if minutes < 0 else '+'}{abs(minutes) // 60:02d}:{abs(minutes) % 60:02d}"


def kept(manifest: RawManifest) -> Evidence | None:
    """The evidence that a day's manifest holds; None for one without."""
    return Evidence.of(manifest.time_evidence.zone, manifest.time_evidence.counts)
