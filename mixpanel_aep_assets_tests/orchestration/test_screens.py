"""Hostile events on a real screen: from the emulator through a run into Dagster's UI, in a real browser.

Whoever has the public token of a Mixpanel project can send any name and value. An operator who opens the pages of such a day
must see it as text: no request leaves the browser for anywhere but Dagster, and no link leads anywhere else.
"""

from __future__ import annotations

import contextlib
import http.server
import os
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import dagster as dg
import httpx
import pytest

from mixpanel_aep_assets.emulator import EmulatorThread
from mixpanel_aep_assets.orchestration import metadata
from mixpanel_aep_assets_tests.connections import DAY, event, lines, opened, provisioned, variables
from mixpanel_aep_assets_tests.orchestration.layer import default_definitions

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.timeout(900),
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine; `.ci/run` installs Debian's"),
]

BEFORE = "2026-03-09"
OTHER = "2026-03-11"
DAY_MS = 86_400_000
CHECKS = {"raw_events": "body_is_whole", "xdm_events": "conforms_to_xdm"}
WAIT = 150.0
"""Seconds that a server or a page may take."""


def attacks(canary: str) -> dict[str, str]:
    """Texts that would be a picture, a link or a script where they are taken for markup, by a name that finds them again."""
    return {
        "picture": f"![p]({canary}/picture.png)",
        "link": "[click](javascript:alert(1))",
        "outside": f"[click]({canary}/link)",
        "reference": f"![r][ref] [ref]: {canary}/ref.png",
        "image tag": f'<img src="{canary}/img.png">',
        "script": f"<script>fetch('{canary}/js')</script>",
        "autolink": f"{canary}/bare and www.evil.example and me@evil.example",
        "angle": f"<{canary}/angle>",
        "entities": f"&#33;&lbrack;e&rbrack;({canary}/entity.png) &lt;b&gt;",
        "ticks": f"a`b``c` ![t]({canary}/ticks.png) `",
        "pipe": f"a|b \\| ![q]({canary}/pipe.png)",
        "lines": f"one\ntwo ![l]({canary}/lines.png)",
        "json": f"```\n![f]({canary}/fence.png)",
    }


@dataclass
class Canary:
    """A server that nobody has a reason to ask; it keeps what it was asked for."""

    url: str
    asked: list[str] = field(default_factory=list)


@pytest.fixture
def canary() -> Iterator[Canary]:
    kept = Canary("")

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            kept.asked.append(self.path)
            self.send_response(204)
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        kept.url = f"http://127.0.0.1:{server.server_port}"
        httpx.get(f"{kept.url}/awake")
        assert kept.asked.pop() == "/awake"
        yield kept
        server.shutdown()


def hostile_day(texts: dict[str, str], shift: int = 0) -> list[dict[str, Any]]:
    """Events that have each text as a name of an event, name of a property, value, id, and as what a mapping cannot compute."""
    rows = []
    for number, text in enumerate(texts.values()):
        given = {
            f"{text} property": f"{text} value", "colour": text, "$screen_width": text, "distinct_id": text,
            "$device_id": text, "$user_id": text, "$insert_id": f"{text} {number}", "$browser": text, "$current_url": text,
        }  # fmt: skip
        rows.append(event(number, f"{text} event", **given))
        rows.append(event(100 + number, colour=text, time="![t](x)"))
    rows += [event(200 + number, colour="red") for number in range(40)]
    return rows


@dataclass(frozen=True)
class Screens:
    """A running webserver and the runs of the days before it, by partition."""

    url: str
    runs: dict[str, str]


@pytest.fixture
def screens(canary: Canary, tmp_path: Path) -> Iterator[Screens]:
    home = tmp_path / "dagster_home"
    home.mkdir()
    (home / "dagster.yaml").write_text("telemetry: {enabled: false}\nnux: {enabled: false}\n")
    texts = attacks(canary.url)
    with contextlib.ExitStack() as stack:
        emulator = stack.enter_context(EmulatorThread())
        patch = stack.enter_context(pytest.MonkeyPatch.context())
        settings = variables(emulator, tmp_path)
        for name, value in settings.items():
            patch.setenv(name, value)
        with opened(emulator, tmp_path) as connection:
            provisioned(connection)
        instance = stack.enter_context(dg.DagsterInstance.from_config(str(home)))
        runs = run_days(emulator, instance, texts)
        for asset in CHECKS:
            report(instance, dg.AssetKey(["default", asset]), texts)
        yield Screens(stack.enter_context(webserver(settings)), runs)


def run_days(emulator: EmulatorThread, instance: dg.DagsterInstance, texts: dict[str, str]) -> dict[str, str]:
    """A day before, the hostile day, and a day that Mixpanel refuses in hostile words; the run of each."""
    definitions = default_definitions()
    emulator.control.seed_day(
        BEFORE, lines([event(n, time=event(n)["properties"]["time"] - DAY_MS) for n in range(40)])
    )
    emulator.control.seed_day(DAY, lines(hostile_day(texts)))
    words = " ".join(texts.values())
    emulator.control.fault("status", match={"day": OTHER, "path": "*/export"}, status=400, body=words)
    job = definitions.resolve_implicit_global_asset_job_def()
    runs = {}
    for day in (BEFORE, DAY, OTHER):
        done = job.execute_in_process(instance=instance, partition_key=day, raise_on_error=False)
        emulator.control.settle()
        runs[day] = done.run_id
    return runs


def report(instance: dg.DagsterInstance, asset: dg.AssetKey, texts: dict[str, str]) -> None:
    """A check's result that quotes each text in its description and its table, as one of ours would."""
    rows = [{"text": text} for text in texts.values()]
    instance.report_runless_asset_event(
        dg.AssetCheckEvaluation(
            asset_key=asset,
            check_name=CHECKS[asset.path[-1]],
            passed=False,
            severity=dg.AssetCheckSeverity.WARN,
            description=metadata.description("Seen: " + "; ".join(texts.values())),
            metadata=metadata.shown(lambda: {"found": rows, "first": rows[0]["text"]}, print),
            partition=DAY,
        )
    )


@contextlib.contextmanager
def webserver(settings: dict[str, str]) -> Iterator[str]:
    """Dagster's webserver on our definitions, in an environment of these settings. Its address."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "dagster_webserver", "-m", "mixpanel_aep_assets.definitions", "-h", "127.0.0.1"]
    process = subprocess.Popen(
        [*command, "-p", str(port)],
        env=os.environ | settings | {"PYTHONWARNINGS": "ignore"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    url = f"http://127.0.0.1:{port}"
    try:
        deadline = time.monotonic() + WAIT
        while True:
            with contextlib.suppress(httpx.TransportError):
                if httpx.get(f"{url}/server_info").is_success:
                    break
            assert process.poll() is None, "the webserver ended"
            assert time.monotonic() < deadline, "the webserver does not answer"
            time.sleep(0.2)
        yield url
    finally:
        process.terminate()
        process.wait(30)


class Browser:
    """A page in Chromium, which keeps the address of every request that it makes."""

    def __init__(self, page: Any, url: str, canary: str) -> None:
        self.page, self.url, self.canary = page, url, canary
        self.requests: list[str] = []
        self.dialogs: list[str] = []
        page.set_default_timeout(WAIT * 1000)
        page.on("request", lambda request: self.requests.append(request.url))
        page.on("dialog", self._dismiss)

    def _dismiss(self, dialog: Any) -> None:
        self.dialogs.append(dialog.message)
        dialog.dismiss()

    def open(self, path: str, until: str) -> str:
        """The text of a page of Dagster's once it shows `until`."""
        self.page.goto(self.url + path)
        self.page.get_by_text(until).first.wait_for()
        return self.text("body")

    def text(self, where: str) -> str:
        return " ".join(self.page.locator(where).last.inner_text().split())

    def entries(self) -> dict[str, str]:
        """The Markdown entries of an opened page by name, each opened as a reader does, with its links and pictures tried."""
        found = {}
        for link in self.page.get_by_text("[Show Markdown]").all():
            link.click()
            dialog = self.page.locator(".bp5-dialog").last
            dialog.locator(".dagster-markdown").wait_for()
            title, _, shown = self.text(".bp5-dialog").partition(" ")
            self.nothing_leads_away()
            found[title] = shown
            self.page.keyboard.press("Escape")
            dialog.wait_for(state="detached")
        return found

    def nothing_leads_away(self) -> None:
        """No link goes where a hostile text says, and Markdown has made nothing but text, tables and code."""
        links = self.page.locator("a[href], img[src]").evaluate_all("all => all.map(one => one.href || one.src)")
        assert not [
            link for link in links if link.startswith((self.canary, "javascript:", "mailto:")) or "evil" in link
        ]
        made = self.page.locator(".dagster-markdown").locator("a, img, script, iframe, h1, ul, ol, blockquote, del, hr")
        assert made.count() == 0, made.first.evaluate("one => one.outerHTML")


@pytest.fixture
def browser(screens: Screens, canary: Canary) -> Iterator[Browser]:
    """Fails a test whose page asked anyone but Dagster, or showed a script's dialog."""
    api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    with api.sync_playwright() as playwright, contextlib.closing(
        playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
    ) as chromium:  # fmt: skip
        browser = Browser(chromium.new_page(viewport={"width": 1600, "height": 1200}), screens.url, canary.url)
        yield browser
        browser.page.wait_for_timeout(500)
    elsewhere = [url for url in browser.requests if not url.startswith((screens.url, "data:", "blob:"))]
    assert (elsewhere, canary.asked, browser.dialogs) == ([], [], [])
    assert browser.requests


def literal(text: str) -> str:
    return " ".join(text.replace("\n", "⏎").split())


def partition(asset: str, day: str = DAY) -> str:
    return f"/assets/default/{asset}?view=partitions&partition={day}"


def test_the_pages_of_a_hostile_day_show_text_and_ask_nobody_but_dagster(
    browser: Browser, screens: Screens, canary: Canary
) -> None:
    texts = list(attacks(canary.url).values())
    names_and_values_stand_in_the_tables_as_they_are(browser, texts)
    events_before_and_after_and_errors_that_quote_them_are_text(browser, texts)
    drift_names_new_properties_as_they_are(browser, texts)
    checks_say_what_they_quote(browser, texts)
    logs_of_runs_are_text(browser, screens)


def names_and_values_stand_in_the_tables_as_they_are(browser: Browser, texts: list[str]) -> None:
    browser.open(partition("raw_events"), "[Show Markdown]")
    entries = browser.entries()
    for text in texts:
        assert literal(f"{text} property") in entries["properties"]
    for text in texts[:10]:
        assert literal(f"{text} event") in entries["preview"]


def events_before_and_after_and_errors_that_quote_them_are_text(browser: Browser, texts: list[str]) -> None:
    browser.open(partition("xdm_events"), "[Show Markdown]")
    assert f"{texts[0]} property" in str(browser.entries())
    assert f"expected a number, the text '{texts[0]}'" in browser.text("body"), (
        "a short table stands in the page itself"
    )
    browser.open("/assets/default/xdm_events?view=overview", "Column name")
    browser.nothing_leads_away()


def drift_names_new_properties_as_they_are(browser: Browser, texts: list[str]) -> None:
    browser.open(partition("property_drift"), "[Show Markdown]")
    found = browser.entries()["found"]
    for text in texts:
        assert literal(f"{text} property") in found


def checks_say_what_they_quote(browser: Browser, texts: list[str]) -> None:
    for asset, check in CHECKS.items():
        browser.open(f"/assets/default/{asset}?view=checks&checkDetail={check}", "Seen:")
        shown = browser.text("body").replace("`", "")
        for text in texts:
            assert " ".join(text.replace("`", "").split()) in shown
        browser.nothing_leads_away()


def logs_of_runs_are_text(browser: Browser, screens: Screens) -> None:
    for day, end in ((DAY, "RUN_SUCCESS"), (OTHER, "RUN_FAILURE")):
        browser.open(f"/runs/{screens.runs[day]}", end)
        browser.page.mouse.move(800, 1000)
        for _ in range(8):  # the log holds what is in view only
            browser.page.mouse.wheel(0, -600)
            browser.page.wait_for_timeout(200)
            browser.nothing_leads_away()
