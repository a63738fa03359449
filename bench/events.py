#!/usr/bin/env python3
"""Days of Mixpanel raw events, made up but lifelike and the same every time: bench/events.py --out DIR DAY:EVENTS …

Writes DIR/DAY.ndjson.gz, DIR/DAY.json (events, distinct events, bytes, counts by name) and, with --plain, DIR/DAY.ndjson.
An event has some 38 properties and 1.1 kB, in the form of the Export API: one JSON object a line, `time` in seconds.

What makes real days hard is in: properties whose JSON type differs between events, integers above 2^53, 2^63 and of 25
digits, long decimals, names that differ in case alone, nulls, nested objects and lists of mixed types, text raw and
escaped, U+2028 inside strings, and 1 % of events sent twice, processed later the second time.

A day is made in blocks, each from its own seed and a gzip member of its own, so that both cores share the work and no
day is held in memory. Text that does not differ from event to event is rendered once.
"""

from __future__ import annotations

import argparse
import datetime
import json
import multiprocessing
import os
import random
import sys
import uuid
import zlib
from collections import Counter
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

SEED = 1
BLOCK = 20_000
"""Events that one process makes at a time: 22 MB."""

LEARNERS = 5_000
VARIANTS = 64
"""Renderings of the properties that belong to one event name."""

SENT_TWICE = 100
"""One event in so many comes once more."""

GZIP_LEVEL = 6
SECONDS_A_DAY = 86_400

LINE = (
    b'{"event":"%b","properties":{"time":%d,"distinct_id":%b,"$insert_id":"%b",%b,"mp_processing_time_ms":%d,'
    b'"$mp_api_timestamp_ms":%d,"$current_url":"https://learn.example.org/%b?s=%b","session":"%b",%b}}\n'
)

Draw = random.Random
Properties = dict[str, Any]

PLACES = [
    ("Köln", "Nordrhein-Westfalen", "DE"), ("Lyon", "Auvergne-Rhône-Alpes", "FR"), ("大阪市", "Osaka", "JP"),
    ("Łódź", "Łódzkie", "PL"), ("Curitiba", "Paraná", "BR"), ("Leeds", "England", "GB"), ("Denver", "Colorado", "US"),
    ("תל אביב", "Tel Aviv", "IL"), ("Malmö", "Skåne", "SE"), ("Αθήνα", "Attica", "GR"),
]  # fmt: skip
CLIENTS: list[tuple[str, str, Properties]] = [
    ("web", "2.56.0", {"$browser": "Chrome", "$browser_version": 131, "$os": "Windows"}),
    ("web", "2.56.0", {"$browser": "Safari", "$browser_version": "18.1.1", "$os": "Mac OS X"}),
    ("web", "2.55.1", {"$browser": "Firefox", "$browser_version": 132, "$os": "Linux"}),
    ("swift", "4.3.0", {"$model": "iPhone16,2", "$os": "iOS", "$os_version": "18.1", "$wifi": True}),
    ("android", "7.5.2", {"$brand": "samsung", "$model": "SM-S926B", "$os": "Android", "$os_version": 14}),
]
TOPICS = ["Grundlagen der Statistik", "Écrire en français", "線形代数", "Knots & Sailing", "Chess “openings”", "Zażółć"]
PATHS = [f"{area}/{unit}".encode() for area in ("course", "lesson", "quiz", "forum", "account") for unit in range(200)]


class Kind(NamedTuple):
    """An event name, its share of a day, and what its own properties are."""

    name: str
    weight: float
    properties: Callable[[Draw], Properties]


def course(draw: Draw) -> Properties:
    number = draw.randrange(1_000, 9_999)
    return {
        "course_id": draw.choice([number, str(number), f"C-{number}"]),
        "course_title": f"{draw.choice(TOPICS)} {draw.randrange(1, 9)}",
        "course.level": draw.choice(["A1", "B2", 3, None]),
        "tags": draw.choice([["new", "video"], "video", [], ["größe", 2, None], None]),
    }


def lesson(draw: Draw) -> Properties:
    return {
        **course(draw),
        "lesson": {"number": draw.randrange(40), "kind": draw.choice(["video", "text"]), "captions": ["de", "en"]},
        "watched_seconds": round(draw.expovariate(1 / 240), 3),
        "playback_rate": draw.choice([1, 1.25, "1.5x", 2.0]),
        "note": draw.choice(
            ["first\nsecond", "tab\there", 'says "hi"', "line\u2028separator", "\u0085next", "back\\slash"]
        ),
    }


def quiz(draw: Draw) -> Properties:
    return {
        **course(draw),
        "score": draw.choice([draw.randrange(101), draw.random(), f"{draw.randrange(101)} %", None]),
        "answers": [{"question": n, "given": draw.choice(["a", 2, [1, 3], None])} for n in range(draw.randrange(1, 6))],
        "attempt": draw.randrange(1, 5),
        "passed": draw.choice([True, False, "true", 1]),
    }


def purchase(draw: Draw) -> Properties:
    return {
        **course(draw),
        "amount": draw.choice([draw.randrange(999, 99_999) / 100, draw.randrange(9, 999), "19.90"]),
        "currency": draw.choice(["EUR", "JPY", "PLN"]),
        "Currency": draw.choice(["eur", "jpy"]),
        "order number": 2**53 + draw.getrandbits(30),
        "ledger": 2**63 + draw.getrandbits(62),
        "wallet": 10**24 + draw.getrandbits(70),
        "coupon": draw.choice([None, "AUTUMN", {"code": "AUTUMN", "percent": 10, "limits": [{"per": "user", "n": 1}]}]),
        "items": [
            {"sku": f"S{draw.randrange(99)}", "price": f"{draw.random():.2f}"} for _ in range(draw.randrange(1, 4))
        ],
    }


def search(draw: Draw) -> Properties:
    return {
        "query": draw.choice(["statistik", "größe", "ピアノ", "chess 👑", "c++ & <b>", "naïve bayes", 42]),
        "results": draw.choice([draw.randrange(400), str(draw.randrange(400)), "many"]),
        "filters": draw.choice([{}, {"level": ["A1", 2]}, {"price": {"min": 0, "max": None}, "free": True}]),
        "ms": round(draw.lognormvariate(5, 0.6), 3),
    }


def visit(draw: Draw) -> Properties:
    return {
        "page_title": f"{draw.choice(TOPICS)} – learn.example.org 🎓",
        "page_kind": draw.choice(["home", "catalogue", "course"]),
        "load_ms": draw.choice([draw.randrange(3_000), round(draw.lognormvariate(6, 0.5), 3)]),
        "scrolled": draw.randrange(101),
        "experiments": draw.choice([["hero-b", "price-a"], ["control"], []]),
        "viewport": {"width": draw.choice([390, 1440]), "height": 900, "ratio": draw.choice([1, 1.5, 2])},
    }


def account(draw: Draw) -> Properties:
    return {
        "method": draw.choice(["password", "sso", None]),
        "consent": {"analytics": True, "marketing": draw.random() < 0.5, "partners": [3, 17, "x"]},
        "click_id": draw.choice([None, draw.getrandbits(62), 2**63 + draw.getrandbits(60)]),
        "sessions": draw.randrange(1, 500),
        "weight": draw.choice([1e-9, 1.7976931348623157e308, 0.1, 5]),
    }


KINDS = [
    Kind("Page Viewed", 30, visit), Kind("Course Viewed", 12, course), Kind("Lesson Started", 11, lesson),
    Kind("Lesson Finished", 9, lesson), Kind("Search", 7, search), Kind("Quiz Answered", 8, quiz),
    Kind("Quiz Finished", 3, quiz), Kind("Session Start", 6, account), Kind("Login", 3, account),
    Kind("Sign Up", 0.7, account), Kind("Course Bought", 1.3, purchase), Kind("Checkout Started", 2, purchase),
    Kind("Forum Post Read", 4, visit), Kind("Note Saved", 2, lesson), Kind("$mp_web_page_view", 1, visit),
]  # fmt: skip


def fragment(properties: Properties, *, escape: bool = False) -> bytes:
    """The members of a JSON object without its braces."""
    return json.dumps(properties, ensure_ascii=escape, separators=(",", ":")).encode()[1:-1]


def learner(draw: Draw) -> tuple[bytes, bytes]:
    """A person at a device: `distinct_id` as JSON, and the properties that all of their events have."""
    device = str(uuid.UUID(int=draw.getrandbits(128)))
    user = f"learner-{draw.getrandbits(40):012d}" if draw.random() < 0.5 else None
    library, version, client = draw.choice(CLIENTS)
    city, region, country = draw.choice(PLACES)
    referrer = draw.choice(["https://www.google.com/", "https://duckduckgo.com/", "$direct"])
    properties = {
        "$device_id": device, "$user_id": user, **client,
        "$city": city, "$region": region, "mp_country_code": country,
        "$screen_width": draw.choice([390, 1440, 1920]), "$screen_height": draw.choice([844, 900, 1080]),
        "mp_lib": library, "$lib_version": version,
        "$initial_referrer": referrer, "$initial_referring_domain": referrer.split("/")[2] if "/" in referrer else referrer,
        "$referrer": "https://learn.example.org/catalogue", "language": draw.choice(["de-DE", "en-GB", "ja-JP", "pl"]),
        "release": f"2026.{draw.randrange(12)}.{draw.randrange(30)}", "plan": draw.choice(["free", "pro", 0, None]),
        "cohort": draw.choice([draw.randrange(99), f"cohort {draw.randrange(99)}"]),
        "school": draw.choice([None, "Universität zu Köln", "Politechnika Łódzka", "Leeds College"]),
        "streak_days": draw.randrange(300), "dark_mode": draw.choice([True, False]),
        "$mp_api_endpoint": "api-eu.mixpanel.com",
    }  # fmt: skip
    if draw.random() < 0.4:
        properties |= {"utm_source": "newsletter", "utm_medium": "email", "utm_campaign": "winter-größer-2026"}
    return json.dumps(user or f"$device:{device}").encode(), fragment(properties, escape=draw.random() < 0.2)


def rendering(kind: Kind, draw: Draw) -> bytes:
    text = fragment(kind.properties(draw), escape=draw.random() < 0.3)
    if draw.random() < 0.02:
        text += b',"rate":1.%020d' % draw.getrandbits(62)  # a decimal that no double holds
    return text


class Cast(NamedTuple):
    """What is rendered once: the learners, and of each kind its name and variants."""

    learners: Sequence[tuple[bytes, bytes]]
    names: Sequence[bytes]
    variants: Sequence[Sequence[bytes]]


@cache
def cast(seed: int) -> Cast:
    draw = random.Random(f"{seed}")  # noqa: S311 - nothing secret is drawn
    return Cast(
        [learner(draw) for _ in range(LEARNERS)],
        [kind.name.encode() for kind in KINDS],
        [[rendering(kind, draw) for _ in range(VARIANTS)] for kind in KINDS],
    )


class Job(NamedTuple):
    seed: int
    day: datetime.date
    events: int
    first: int
    """Number of the block's first event in the day."""
    plain: bool
    """Whether the text is wanted beside the gzip member."""


class Block(NamedTuple):
    size: int
    packed: bytes
    text: bytes
    counts: Counter[str]
    """Distinct events by name."""
    again: int
    """Lines that repeat an event of the block."""


def lines(job: Job) -> tuple[list[bytes], Counter[int], int]:
    """The lines of a block, the number of distinct events of each kind, and how many lines repeat one."""
    draw = random.Random(f"{job.seed}/{job.day}/{job.events}/{job.first}")  # noqa: S311
    people, names, variants = cast(job.seed)
    count = min(BLOCK, job.events - job.first)
    midnight = int(datetime.datetime.combine(job.day, datetime.time(), datetime.UTC).timestamp())
    ids = draw.randbytes(count * 10).hex().encode()
    kinds = draw.choices(range(len(KINDS)), [kind.weight for kind in KINDS], k=count)
    uniform = draw.random
    made: list[bytes] = []
    counted: Counter[int] = Counter()
    earlier: tuple[Any, ...] = ()
    for index, kind in enumerate(kinds):
        if earlier and index % SENT_TWICE == 0:
            name, second, who, insert, profile, processed, received, *rest = earlier
            made.append(LINE % (name, second, who, insert, profile, processed + 3_600_000, received, *rest))
            continue
        chance = uniform()
        insert = ids[20 * index : 20 * index + 20]
        second = midnight + (job.first + index) * SECONDS_A_DAY // job.events
        received = second * 1000 + int(chance * 30_000)
        who, profile = people[int(chance * chance * LEARNERS)]
        values = (
            names[kind], second, who, insert, profile, received + int(uniform() * 60_000), received,
            PATHS[index % len(PATHS)], insert[:6], insert[4:16], variants[kind][index % VARIANTS],
        )  # fmt: skip
        if index % SENT_TWICE == SENT_TWICE // 2:
            earlier = values
        made.append(LINE % values)
        counted[kind] += 1
    return made, counted, count - counted.total()


def block(job: Job) -> Block:
    made, counted, again = lines(job)
    text = b"".join(made)
    packed = zlib.compress(text, GZIP_LEVEL, 31)
    counts = Counter({KINDS[kind].name: n for kind, n in counted.items()})
    return Block(len(text), packed, text if job.plain else b"", counts, again)


def write_day(
    folder: Path, day: datetime.date, events: int, seed: int = SEED, *, plain: bool = False
) -> dict[str, Any]:
    """Makes the day's files unless they are there; what DAY.json says of them."""
    about = folder / f"{day}.json"
    wanted = {"day": day.isoformat(), "events": events, "seed": seed}
    if about.exists():
        known: dict[str, Any] = json.loads(about.read_text())
        if wanted.items() <= known.items() and (not plain or (folder / f"{day}.ndjson").exists()):
            return known
    folder.mkdir(parents=True, exist_ok=True)
    cast(seed)  # before the fork, so that the workers share it
    jobs = (Job(seed, day, events, first, plain) for first in range(0, events, BLOCK))
    size = packed_size = again = 0
    names: Counter[str] = Counter()
    with (
        multiprocessing.get_context("fork").Pool() as pool,
        (folder / f"{day}.ndjson.gz").open("wb") as packed,
        (folder / f"{day}.ndjson" if plain else Path(os.devnull)).open("wb") as text,
    ):
        for made in pool.imap(block, jobs):
            packed.write(made.packed)
            text.write(made.text)
            size, packed_size, again = size + made.size, packed_size + len(made.packed), again + made.again
            names += made.counts
    told = {
        **wanted,
        "distinct": events - again,
        "bytes": size,
        "gzip_bytes": packed_size,
        "names": dict(sorted(names.items())),
    }
    about.write_text(json.dumps(told, indent=1) + "\n")
    return told


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("days", nargs="+", metavar="DAY:EVENTS", help="for example 2026-09-14:200000")
    parser.add_argument("--out", required=True, type=Path)
    parser.add_argument("--seed", type=int, default=SEED)
    parser.add_argument("--plain", action="store_true", help="write the lines uncompressed too")
    args = parser.parse_args()
    for text in args.days:
        day, _, events = text.partition(":")
        if not events.isdigit():
            sys.exit(f"{text!r} is not DAY:EVENTS")
        print(
            json.dumps(write_day(args.out, datetime.date.fromisoformat(day), int(events), args.seed, plain=args.plain))
        )


if __name__ == "__main__":
    main()
