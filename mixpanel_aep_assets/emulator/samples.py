"""Sample days of a shop, for the demo and for tests: repeatable, plausible, and as odd as real projects are.

A week has what mixpanel.md#example-lines shows: resent events, anonymous visitors who sign up, rewritten identities, hot
shards, values whose type changes, text in many scripts, late imports, rows without an insert id, and on one day lines that are
no events. The day before the week has events with wrong clocks, and values of which a mapping makes nothing.
"""

from __future__ import annotations

import datetime
import json
import random
import uuid
from dataclasses import asdict, dataclass
from typing import Any

from mixpanel_aep_assets.emulator.client import Control
from mixpanel_aep_assets.emulator.mixpanel.selection import BAD_LINES, dump

Json = dict[str, Any]
SEED = 20260
SHAPE = (940, 1310, 420, 2280, 2950, 1720, 680)
"""Events of the days, in turn."""
BROKEN_DAY = 3
BROKEN = ("utf8", "null", "nan", "list")
VIOLATION_EVENTS = 300
WRONG_CLOCKS = 24
"""Events of the violation day, beside one more, whose clock was years ahead: more than the 5 % and the 20 lines outside a day
that a connection allows by default. Mixpanel sends them for the day all the same."""
_DAY_MS = 86_400_000

PLACES = (
    ("Hamburg", "Hamburg", "DE", 53.55, 9.99), ("Köln", "North Rhine-Westphalia", "DE", 50.94, 6.96),
    ("Zürich", "Zurich", "CH", 47.37, 8.54), ("Austin", "Texas", "US", 30.27, -97.74),
    ("Portland", "Oregon", "US", 45.52, -122.68), ("Kraków", "Lesser Poland", "PL", 50.06, 19.94),
    ("京都市", "Kyoto", "JP", 35.01, 135.77), ("São Paulo", "São Paulo", "BR", -23.55, -46.63),
    ("Leeds", "England", "gb", 53.8, -1.55),
)  # fmt: skip
BROWSERS = (
    ("Chrome", 141, "Windows", 1920, 1080), ("Chrome", "141.0.7390.65", "Mac OS X", 1728, 1117),
    ("Safari", 19.1, "Mac OS X", 1512, 982), ("Firefox", 143, "Linux", 2560, 1440),
    ("Mobile Safari", "19.0", "iOS", 393, 852),
)  # fmt: skip
PHONES = (
    ("swift", "iOS", "19.1", "Apple", None, "iPhone17,1", 402, 874),
    ("android", "Android", "16", "Google", "google", "Pixel 10", 1080, 2424),
    ("android", "Android", "15", None, "samsung", "SM-S931B", 1080, 2340),
)
CAMPAIGNS = (
    ("google", "cpc", "brand-autumn", "trail shoes"), ("newsletter", "email", "2026-w46 Neuheiten", None),
    ("partner-größe", "affiliate", "Öko Woche", None), ("tiktok", "paid_social", "creators", None),
)  # fmt: skip
REFERRERS = ("$direct", "https://www.google.com/", "https://duckduckgo.com/", "https://news.shop.example/de/")
PRODUCTS = (
    ("SKU-1001", "Trail Shoe “Föhn”", 119.0), ("SKU-1002", "Regenjacke Grün", 89.95), ("SKU-2001", "Water bottle 0.7 l", 19.5),
    ("SKU-2002", "帽子", 24.0), ("SKU-3001", "Headlamp 400 lm", 39.9), ("SKU-3002", "Socks (3 pairs)", 12.99),
)  # fmt: skip
SEARCHES = ("jacket", "größe 42", '"wool" socks', "schuhe 👟", "50% off", "帽子", "line\u2028break")
NAMES = (
    ("$mp_web_page_view", 38), ("Product Viewed", 24), ("Products Searched", 9), ("Product Added", 10),
    ("Checkout Started", 5), ("Order Completed", 4), ("Newsletter Joined", 2), ("Error Shown", 1),
)  # fmt: skip
APP_NAMES = (("$ae_session", 20), ("Product Viewed", 34), ("Product Added", 12), ("Order Completed", 4),
             ("$ae_updated", 2), ("$ae_first_open", 2))  # fmt: skip


@dataclass
class Day:
    """What one seeded day holds: `lines` = `events` + `broken`; `duplicates` of the events repeat another one."""

    day: str
    lines: int = 0
    events: int = 0
    duplicates: int = 0
    broken: int = 0
    violations: int = 0


@dataclass
class _Person:
    """A visitor: what their events have in common, and from when on they are known."""

    device: str
    user: str | None
    known_from_ms: int
    common: Json
    mobile: bool


def seed_demo(
    target: str | Control,
    *,
    days: int = 7,
    last_day: datetime.date | str,
    project: int = 12345,
    violation: bool = True,
    seed: int = SEED,
) -> list[Json]:
    """Fill the project with `days` sample days up to `last_day`, and the day before them with what makes it red.

    `target` is the emulator's base URL or its control. Returns one summary a day, in order (see `Day`).
    """
    last = datetime.date.fromisoformat(last_day) if isinstance(last_day, str) else last_day
    first = last - datetime.timedelta(days - 1)
    control = Control(target) if isinstance(target, str) else target
    summaries = []
    try:
        for number in range(-1 if violation else 0, days):
            day = first + datetime.timedelta(number)
            summary, lines = violation_day(day, seed) if number < 0 else sample_day(day, number, seed)
            control.seed_day(day.isoformat(), b"".join(lines), project)
            summaries.append(asdict(summary))
    finally:
        if isinstance(target, str):
            control.close()
    return summaries


def sample_day(day: datetime.date, number: int, seed: int = SEED) -> tuple[Day, list[bytes]]:
    """The lines of the sample week's day of that number (0 is the first)."""
    rng = random.Random(f"{seed}/{number}")  # noqa: S311 - repeatable, not secret
    events = _events(rng, day, SHAPE[number % len(SHAPE)])
    events += _identity_events(rng, day) + _hot_shards(rng, day) + _odd_events(rng, day)
    copies = [_resent(rng, event) for event in rng.sample(events, max(3, len(events) // 90))]
    lines = [dump(event) for event in events + copies]
    noon = str(_midnight(day) // 1000 + 43_200).encode()  # two of them show a time, by which they are of the day
    bad = [BAD_LINES[name].replace(b"1768024800", noon) + b"\n" for name in BROKEN]
    broken = bad if number == BROKEN_DAY else []
    summary = Day(day.isoformat(), len(lines) + len(broken), len(lines), len(copies), len(broken))
    lines += broken
    rng.shuffle(lines)
    return summary, lines


def violation_day(day: datetime.date, seed: int = SEED) -> tuple[Day, list[bytes]]:
    """An ordinary small day, with events whose time is of another one, and a few whose values XDM refuses."""
    rng = random.Random(f"{seed}/violation")  # noqa: S311 - repeatable, not secret
    events = _events(rng, day, VIOLATION_EVENTS)
    spoilt = (
        {"time": _midnight(day + datetime.timedelta(days=20 * 365)), "clock": "set by hand"},
        {"$latitude": 123.4, "$longitude": 9.9},
        {"$latitude": 53.5, "$longitude": 512.0},
        {"distinct_id": "u-" + "x" * 1100, "$user_id": "u-" + "x" * 1100},
        {"$screen_width": 99_999_999_999, "$screen_height": 1080},
        {"$latitude": -91, "$longitude": 0},
    )
    wrong_clock = [spoilt[0]] * WRONG_CLOCKS
    for index, changes in enumerate((*spoilt, *wrong_clock)):
        events[index * 7]["properties"] |= changes
    lines = [dump(event) for event in events]
    rng.shuffle(lines)
    return Day(day.isoformat(), len(lines), len(lines), violations=len(spoilt) + WRONG_CLOCKS), lines


def _midnight(day: datetime.date) -> int:
    return int(datetime.datetime(day.year, day.month, day.day, tzinfo=datetime.UTC).timestamp() * 1000)


def _identifier(rng: random.Random) -> str:
    return str(uuid.UUID(int=rng.getrandbits(128), version=4))


def _moment(rng: random.Random, day: datetime.date) -> int:
    """A time of the day: few at night, most in the evening."""
    hour = min(23.999, max(0.0, rng.gauss(17, 4.5) % 24))
    return _midnight(day) + min(_DAY_MS - 1, int(hour * 3_600_000))


def _events(rng: random.Random, day: datetime.date, count: int) -> list[Json]:
    people = [_person(rng, day) for _ in range(max(12, count // 9))]
    return [_event(rng, rng.choice(people), day) for _ in range(count)]


def _person(rng: random.Random, day: datetime.date) -> _Person:
    mobile = rng.random() < 0.3
    city, region, country, latitude, longitude = rng.choice(PLACES)
    common: Json = {"$city": city, "$region": region, "mp_country_code": country}
    if rng.random() < 0.2:
        common |= {"$latitude": latitude, "$longitude": longitude, "$geo_source": "reverse_geocoding"}
    common |= _phone(rng) if mobile else _browser(rng)
    user = f"cust-{rng.randrange(10_000, 99_999)}" if rng.random() < 0.45 else None
    # Some are known all day, some sign in on the way: their earlier events stay anonymous.
    known_from = _midnight(day) if rng.random() < 0.6 else _moment(rng, day)
    return _Person(_identifier(rng), user, known_from, common, mobile)


def _browser(rng: random.Random) -> Json:
    name, version, system, width, height = rng.choice(BROWSERS)
    referrer = rng.choice(REFERRERS)
    common: Json = {
        "$browser": name, "$browser_version": version, "$os": system, "$screen_width": width, "$screen_height": height,
        "mp_lib": "web", "$lib_version": "2.71.0", "$initial_referrer": referrer,
        "$initial_referring_domain": referrer.split("/")[2] if "/" in referrer else "$direct",
    }  # fmt: skip
    if rng.random() < 0.35:
        source, medium, campaign, term = rng.choice(CAMPAIGNS)
        common |= {"utm_source": source, "utm_medium": medium, "utm_campaign": campaign}
        common |= {"utm_term": term} if term else {}
    return common


def _phone(rng: random.Random) -> Json:
    lib, system, version, manufacturer, brand, model, width, height = rng.choice(PHONES)
    wifi = rng.random() < 0.6
    common: Json = {
        "$os": system, "$os_version": version, "$model": model, "$screen_width": width, "$screen_height": height,
        "mp_lib": lib, "$lib_version": "5.1.0", "$app_version_string": f"4.{rng.randrange(6)}.0",
        "$app_build_number": rng.choice(["412", 412]), "$wifi": wifi, "$carrier": rng.choice(["Telekom", "Orange", "T-Mobile"]),
    }  # fmt: skip
    common |= {"$manufacturer": manufacturer} if manufacturer else {}
    common |= {"$brand": brand} if brand else {}
    if not wifi:
        common["$radio"] = rng.choice(["LTE", "5G", "HSPA", "EDGE"])
    return common


def _event(rng: random.Random, person: _Person, day: datetime.date) -> Json:
    names, weights = zip(*(APP_NAMES if person.mobile else NAMES), strict=True)
    name, moment = rng.choices(names, weights)[0], _moment(rng, day)
    received = moment + rng.randrange(200, 4_000)
    if person.mobile and rng.random() < 0.1:
        received += rng.randrange(3_600_000, 2 * _DAY_MS)  # kept on the phone while it was offline
    properties: Json = {"time": moment, "distinct_id": f"$device:{person.device}", "$device_id": person.device}
    if person.user is not None:
        if moment >= person.known_from_ms:
            properties |= {"distinct_id": person.user, "$user_id": person.user}
        elif rng.random() < 0.8:  # the merge has rewritten most of what came before
            properties |= {
                "distinct_id": person.user,
                "$distinct_id_before_identity": f"$device:{person.device}",
                "$is_reshuffled": True,
            }
    properties |= {"$insert_id": f"{rng.getrandbits(64):016x}"} | person.common | _details(rng, name)
    properties |= {
        "$mp_api_endpoint": "api.mixpanel.com" if person.mobile else "api-js.mixpanel.com",
        "$mp_api_timestamp_ms": received,
        "mp_processing_time_ms": received + rng.randrange(40, 900),
    }
    return {"event": name, "properties": properties}


def _details(rng: random.Random, name: str) -> Json:
    sku, title, price = rng.choice(PRODUCTS)
    match name:
        case "$mp_web_page_view":
            path = rng.choice(["/", "/c/jackets", f"/p/{sku.lower()}", "/cart", "/blog/größen"])
            return {
                "$current_url": f"https://shop.example{path}", "current_page_title": f"{title} | Shop",
                "current_domain": "shop.example", "current_url_path": path, "current_url_protocol": "https:",
                "$referrer": rng.choice(REFERRERS),
            }  # fmt: skip
        case "Products Searched":
            return {
                "query": rng.choice(SEARCHES),
                "results": rng.choice([rng.randrange(90), str(rng.randrange(90)), None]),
            }
        case "Order Completed":
            items = [_item(rng) for _ in range(rng.randrange(1, 4))]
            return {
                "order_id": rng.choice([rng.randrange(10**6), 9_007_199_254_740_993 + rng.randrange(10**4)]),
                "revenue": round(sum(one["price"] * one["quantity"] for one in items), 2), "currency": "EUR",
                "items": items, "coupon": rng.choice([None, "", "AUTUMN10"]), "gift": rng.choice([True, False, "true"]),
            }  # fmt: skip
        case "$ae_session":
            return {"$ae_session_length": rng.choice([rng.randrange(5, 900), f"{rng.uniform(5, 900):.1f}"])}
        case "$ae_updated":
            return {"$ae_updated_version": "4.5.0"}
        case "$ae_first_open" | "Checkout Started" | "Newsletter Joined":
            return {"Cart Size (# of Items)": rng.randrange(1, 6), "Plan": "basic", "plan": "Basic"}
        case "Error Shown":
            return {
                "code": rng.choice([404, "404", None]),
                "ctx": {"page": {"id": rng.randrange(99), "tags": [1, "a", None]}},
            }
    return {"sku": sku, "name": title, "price": rng.choice([price, f"{price:.2f}"]), "list": [], "extra": {}}


def _item(rng: random.Random) -> Json:
    sku, title, price = rng.choice(PRODUCTS)
    return {"sku": sku, "name": title, "price": price, "quantity": rng.randrange(1, 4)}


def _resent(rng: random.Random, event: Json) -> Json:
    """The event again, as a client that lost the answer sends it: the same key, received later."""
    copy: Json = json.loads(json.dumps(event))
    later = rng.randrange(1_000, 600_000)
    for name in ("$mp_api_timestamp_ms", "mp_processing_time_ms"):
        if name in copy["properties"]:
            copy["properties"][name] += later
    return copy


def _plain(rng: random.Random, day: datetime.date, name: str, **properties: Any) -> Json:
    moment = _moment(rng, day)
    stamps = {"$mp_api_timestamp_ms": moment + 900, "mp_processing_time_ms": moment + 1_400}
    return {"event": name, "properties": {"time": moment, **properties, **stamps}}


def _identity_events(rng: random.Random, day: datetime.date) -> list[Json]:
    made = []
    for _ in range(4):
        user, device = f"cust-{rng.randrange(10_000, 99_999)}", _identifier(rng)
        ids = {"distinct_id": user, "$identified_id": user, "$anon_id": device, "$device_id": device, "$user_id": user}
        made.append(_plain(rng, day, "$identify", **ids, **{"$insert_id": f"id-{rng.getrandbits(40):x}"}))
    merged = {"distinct_id": "cust-10001", "$distinct_ids": ["cust-10001", "old-10001"]}
    made.append(_plain(rng, day, "$merge", **merged, **{"$insert_id": f"merge-{rng.getrandbits(40):x}"}))
    return made


def _hot_shards(rng: random.Random, day: datetime.date) -> list[Json]:
    """A busy bot's events, which Mixpanel renames."""
    original = {"distinct_id": "", "mp_original_event_name": "Stock Polled", "mp_original_distinct_id": "bot-7"}
    return [
        _plain(
            rng,
            day,
            "$hotshard_events",
            **original,
            **{"$insert_id": f"hs-{rng.getrandbits(40):x}", "mp_lib": "python"},
        )
        for _ in range(5)
    ]


def _odd_events(rng: random.Random, day: datetime.date) -> list[Json]:
    late = {"distinct_id": "cust-20002", "$user_id": "cust-20002", "$import": True, "mp_lib": "node"}
    return [
        _plain(rng, day, "Loyalty Points Booked", **late, **{"$insert_id": f"imp-{rng.getrandbits(40):x}", "points": 120}),
        _plain(rng, day, "Sent By Script", distinct_id=4, note="no insert id"),
        _plain(rng, day, "検索 🔍", distinct_id="üser-ñ", **{"$insert_id": f"uni-{rng.getrandbits(40):x}", "クエリ": "山靴"}),
        _plain(rng, day, "Odd names", distinct_id="cust-30003", **{
            "$insert_id": f"odd-{rng.getrandbits(40):x}", "": "empty name", "a.b.c": 1, "$plan": "x", "plan": "y", "50%": True,
            "new\nline": 1, "tiny": 1e-320, "account": 12345678901234567890,
        }),
        _plain(rng, day, "Lone surrogate", distinct_id="cust-30004", **{"$insert_id": "sur-1", "text": "\ud83d"}),
    ]  # fmt: skip
