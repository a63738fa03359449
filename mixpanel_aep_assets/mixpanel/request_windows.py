"""How many days one export request should carry: windows of small days, slices of huge ones.

A project has 60 export requests an hour (mixpanel.md#limits), so a request should carry as much as it safely can.
Only arithmetic on days and sizes lives here; reading a window lives in `history`.
"""

from __future__ import annotations

import bisect
import datetime
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice

DAY_MS = 86_400_000
ONE_DAY = datetime.timedelta(days=1)
NEAR_WEEKS = 8
"""Weeks within which a day of the same weekday says more than the days beside it."""

WEEKDAYS, NEIGHBOURS = 4, 14
"""Days that an estimate is the mean of: of the same weekday; else whichever are nearest."""

GROWTH = 4
"""A window has at most so many times the days that were seen before: the first day may be a quiet one."""


@dataclass(frozen=True)
class Size:
    """Decompressed bytes of body and events, of a day or of several."""

    bytes: float
    events: float

    def __add__(self, other: Size) -> Size:
        return Size(self.bytes + other.bytes, self.events + other.events)


@dataclass(frozen=True)
class Limits:
    """What one request may carry.

    `target_bytes` of body: a cut body costs a whole request again, and at 1 GB that is a minute or two. `most_events` is
    the lower end of what Mixpanel's own tool advises for one request (1 to 2 million), `most_days` the length of range to
    keep to (mixpanel.md#limits). A day above `most_bytes` is asked for in slices at once; a smaller one only after it failed.
    """

    target_bytes: int = 10**9
    most_events: int = 1_500_000
    most_days: int = 31
    most_bytes: int = 20 * 10**9

    def hold(self, size: Size) -> bool:
        return size.bytes <= self.target_bytes and size.events <= self.most_events

    def longest(self, seen: int) -> int:
        """Days of a window when so many days were seen before."""
        return min(self.most_days, max(1, GROWTH * seen))


@dataclass(frozen=True)
class Window:
    """Days from `first` to `last` for one request, or one day for `requests` of them. `size` is None where nothing is known."""

    first: datetime.date
    last: datetime.date
    size: Size | None
    requests: int = 1

    @property
    def days(self) -> list[datetime.date]:
        """Newest first."""
        return [self.last - ONE_DAY * n for n in range((self.last - self.first).days + 1)]


class Sizes:
    """Sizes of days seen so far, and what they say of others."""

    def __init__(self, known: Mapping[datetime.date, Size]) -> None:
        self._known = {day.toordinal(): size for day, size in known.items()}
        self._ordered = sorted(self._known)

    def __len__(self) -> int:
        return len(self._known)

    def of(self, day: datetime.date) -> Size | None:
        """A known day's own size; else the mean of the nearest days of its weekday, else of its nearest neighbours."""
        wanted = day.toordinal()
        if wanted in self._known:
            return self._known[wanted]
        same = (n for n in self._nearest(wanted, NEAR_WEEKS * 7) if (n - wanted) % 7 == 0)
        chosen = list(islice(same, WEEKDAYS))
        if len(chosen) < 2:
            chosen = list(islice(self._nearest(wanted), NEIGHBOURS))
        if not chosen:
            return None
        sizes = [self._known[number] for number in chosen]
        return Size(sum(s.bytes for s in sizes) / len(sizes), sum(s.events for s in sizes) / len(sizes))

    def _nearest(self, wanted: int, reach: int | None = None) -> Iterator[int]:
        """Known days by distance, of two at the same distance the newer one first."""
        ordered = self._ordered
        right = bisect.bisect(ordered, wanted)
        left = right - 1
        while left >= 0 or right < len(ordered):
            newer = left < 0 or (right < len(ordered) and ordered[right] - wanted <= wanted - ordered[left])
            number = ordered[right] if newer else ordered[left]
            if reach is not None and abs(number - wanted) > reach:
                return
            yield number
            if newer:
                right += 1
            else:
                left -= 1


def plan(days: Iterable[datetime.date], sizes: Sizes, limits: Limits) -> list[Window]:
    """Windows over the days, newest first; each a run of days without a gap, within the limits by what is known.

    Where nothing is known the newest day goes alone, and windows then grow with the days behind them.
    """
    windows: list[Window] = []
    seen = len(sizes)
    run: list[datetime.date] = []
    total = Size(0, 0)

    def close() -> None:
        nonlocal seen, total
        if run:
            windows.append(Window(run[-1], run[0], total if len(sizes) else None))
            seen += len(run)
            run.clear()
            total = Size(0, 0)

    for day in sorted(set(days), reverse=True):
        size = sizes.of(day) or Size(0, 0)
        if size.bytes > limits.most_bytes:
            close()
            windows.append(Window(day, day, size, parts(size.bytes, limits)))
            seen += 1
            continue
        together = total + size
        full = len(run) >= limits.longest(seen) or not limits.hold(together)
        if run and (full or run[-1] - day != ONE_DAY):
            close()
            together = size
        run.append(day)
        total = together
    close()
    return windows


def window_of(day: datetime.date, days: Iterable[datetime.date], sizes: Sizes, limits: Limits) -> Window:
    """The window that carries `day`, over those of `days` that join it: older ones first, then newer ones.

    Days taken newest first give the windows of `plan`; oldest first, windows as full.
    """
    size = sizes.of(day)
    if size is not None and size.bytes > limits.most_bytes:
        return Window(day, day, size, parts(size.bytes, limits))
    joining = set(days)
    first = last = day
    total = size or Size(0, 0)
    most_days = limits.longest(len(sizes))
    for step in (-ONE_DAY, ONE_DAY):
        while (last - first).days + 1 < most_days:
            beside = (first if step == -ONE_DAY else last) + step
            together = total + (sizes.of(beside) or Size(0, 0))
            if beside not in joining or not limits.hold(together):
                break
            first, last, total = min(first, beside), max(last, beside), together
    return Window(first, last, total if size else None)


def halves(days: Sequence[datetime.date]) -> tuple[list[datetime.date], list[datetime.date]]:
    """Two parts of a window that one request could not carry (mixpanel.md#retry), the newer one first."""
    ordered = sorted(days, reverse=True)
    return ordered[: (len(ordered) + 1) // 2], ordered[(len(ordered) + 1) // 2 :]


def parts(size: float, limits: Limits) -> int:
    """Requests for a day of so many bytes that one request cannot carry: at least 2."""
    return max(2, -int(-size // (limits.most_bytes / 2)))


def name_lists(names: Mapping[str, int], count: int) -> list[tuple[str, ...]]:
    """At most `count` - 1 event lists of about equal weight; the rarest names are left to the request for the rest.

    Empty where lists cannot help: no two names, or one that makes up far more than its part of the day.
    """
    ordered = sorted(names, key=lambda name: (-names[name], name))
    total = sum(names.values())
    if count < 2 or len(ordered) < 2 or names[ordered[0]] * (count + 1) > 2 * total:
        return []
    lists: list[list[str]] = [[] for _ in range(count)]
    weights = [0] * count
    for name in ordered:
        lightest = weights.index(min(weights))
        lists[lightest].append(name)
        weights[lightest] += names[name]
    rest = next(index for index, names_in in enumerate(lists) if ordered[-1] in names_in)
    return [tuple(found) for index, found in enumerate(lists) if found and index != rest]


@dataclass(frozen=True)
class Forecast:
    """`waiting` seconds that the budget makes the last request wait, `receiving` those that the bodies take (if known)."""

    requests: int
    days: int
    size: Size | None
    waiting: float
    receiving: float | None


def forecast(windows: Sequence[Window], hourly: int, bytes_a_second: float | None) -> Forecast:
    """What the windows will cost where `hourly` requests may begin in any hour and none has begun yet."""
    requests = sum(window.requests for window in windows)
    sizes = [window.size for window in windows if window.size is not None]
    size = sum(sizes, Size(0, 0)) if sizes else None
    return Forecast(
        requests=requests,
        days=sum(len(window.days) for window in windows),
        size=size,
        waiting=3600.0 * (max(0, requests - 1) // hourly),
        receiving=size.bytes / bytes_a_second if size and bytes_a_second else None,
    )
