"""Broken proxies, certificates and credentials, alone and together: the commands end in sentences.

Each case is a process of the real command against an emulator behind TLS. All combinations run with `make faults`;
otherwise each broken thing alone and a few together.
"""

from __future__ import annotations

import itertools
import os
import random
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass

import pytest

from mixpanel_aep_assets.cli.doctor import CHECKS
from mixpanel_aep_assets.emulator import EmulatorThread
from mixpanel_aep_assets_tests.connections import DAY, events, lines, opened, provisioned, variables
from mixpanel_aep_assets_tests.ways import (
    HAS_OPENSSL,
    Certificates,
    closed_port,
    http_proxy,
    make_certificates,
    socks_proxy,
    tls_front,
    without_network_settings,
)

pytestmark = [pytest.mark.e2e, pytest.mark.skipif(not HAS_OPENSSL, reason="the command openssl makes the certificates")]

PASSWORD = "hunter2-of-the-proxy"
SECRETS = ("demo-secret", "demo-client-secret", PASSWORD, "mistyped-one", "mistyped-two")


@dataclass(frozen=True)
class Broken:
    """Variables of one broken thing; `said` is what the output says of it, `harmless` ones do not fail a check."""

    said: str = ""
    harmless: bool = False
    front: str = "good"
    """The certificate of the server."""


PROXIES = {
    "no proxy": Broken(harmless=True),
    "a proxy that works": Broken("through ALL_PROXY=http://", harmless=True),
    "SOCKS without its package": Broken("pip install 'mixpanel-aep-assets[socks]'"),
    "SOCKS without its package, not needed": Broken("No host of this connection is behind it", harmless=True),
    "unknown scheme": Broken("its scheme is none of http, https, socks5, socks5h"),
    "unknown scheme, not needed": Broken("No host of this connection is behind it", harmless=True),
    "no port": Broken("HTTPS_PROXY=http://user:…: its port is not a number"),
    "nobody listens": Broken("No connection to the proxy HTTPS_PROXY=http://***@127.0.0.1:"),
    "wants a password": Broken("The proxy wants a name and password: set HTTPS_PROXY"),
    "forbids the host": Broken("The proxy HTTPS_PROXY=http://127.0.0.1"),
    "a SOCKS proxy that refuses": Broken("The proxy https_proxy=socks5://127.0.0.1"),
    "NO_PROXY is odd": Broken("NO_PROXY has an entry that is not a host"),
}
CERTIFICATES = {
    "trusted": Broken(harmless=True),
    "private authority": Broken("is not trusted: unable to get local issuer"),
    "self-signed": Broken("is not trusted: self", front="self-signed"),
    "expired": Broken("has expired", front="expired"),
    "another host's": Broken("is made out to another host", front="other-host"),
    "no such file": Broken("SSL_CERT_FILE='/no/such/file' cannot be read: No such file or directory"),
    "empty file": Broken("holds no certificate in PEM form"),
    "no such folder": Broken("SSL_CERT_DIR='/no/such/folder' is not a folder"),
    "no such bundle": Broken("REQUESTS_CA_BUNDLE='/no/such/file' cannot be read"),
}
CREDENTIALS: dict[str, tuple[dict[str, str], Broken]] = {
    "right": ({}, Broken(harmless=True)),
    "line ends and quotes": (
        {"MIXPANEL_SECRET": "demo-secret\r", "ADOBE_CLIENT_SECRET": '"demo-client-secret"'},
        Broken("MIXPANEL_SECRET has a carriage return at its end", harmless=True),
    ),
    "a blank within": ({"MIXPANEL_SECRET": "mistyped-one two"}, Broken("MIXPANEL_SECRET holds a blank at position 13")),
    "a control character within": (
        {"ADOBE_CLIENT_ID": "mistyped-one\x07x"},
        Broken("ADOBE_CLIENT_ID holds the control character U+0007 at position 13"),
    ),
    "no ASCII": ({"ADOBE_CLIENT_SECRET": "mistyped-twö"}, Broken("ADOBE_CLIENT_SECRET holds the character U+00F6")),
    "wrong secrets": ({"MIXPANEL_SECRET": "mistyped-one", "ADOBE_CLIENT_SECRET": "mistyped-two"}, Broken()),
    "no secret": ({"ADOBE_CLIENT_SECRET": ""}, Broken("Not set: ADOBE_CLIENT_SECRET")),
    "no @AdobeOrg": (
        {"ADOBE_ORG_ID": "0123456789ABCDEF01234567"},
        Broken("Set ADOBE_ORG_ID=0123456789ABCDEF01234567@A"),
    ),
}


@dataclass(frozen=True)
class World:
    """An emulator with a provisioned dataset, behind TLS with each certificate; proxies of each kind."""

    variables: dict[str, str]
    fronts: dict[str, str]
    proxies: dict[str, dict[str, str]]
    authorities: dict[str, dict[str, str]]

    def environment(self, proxy: str, certificate: str, credentials: str) -> dict[str, str]:
        url = self.fronts[CERTIFICATES[certificate].front]
        urls = dict.fromkeys(("MIXPANEL_EXPORT_URL", "MIXPANEL_API_URL", "ADOBE_IMS_URL", "AEP_URL"), url)
        changes = self.proxies[proxy] | self.authorities[certificate] | CREDENTIALS[credentials][0]
        return self.variables | urls | changes


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    folder = tmp_path_factory.mktemp("world")
    made: Certificates = make_certificates(folder)
    (folder / "empty.pem").write_bytes(b"")
    (folder / "shim").mkdir()
    (folder / "shim" / "socksio.py").write_text("raise ImportError('not installed')\n")
    path = os.pathsep.join([str(folder / "shim"), *sys.path])
    with ExitStack() as stack:
        emulator = stack.enter_context(EmulatorThread())
        with opened(emulator, folder) as connection:
            provisioned(connection)
        emulator.control.seed_day(DAY, lines(events(8)))
        fronts = {
            name: stack.enter_context(tls_front(made.of(name), emulator.url))
            for name in ("good", "self-signed", "expired", "other-host")
        }
        working = stack.enter_context(http_proxy())
        wants = stack.enter_context(http_proxy(b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n"))
        forbids = stack.enter_context(http_proxy(b"HTTP/1.1 403 Forbidden\r\n\r\n"))
        refuses = stack.enter_context(socks_proxy(reply=2))
        socks = {"ALL_PROXY": f"socks5://user:{PASSWORD}@127.0.0.1:1", "PYTHONPATH": path}
        unknown = {"ALL_PROXY": f"gopher://user:{PASSWORD}@127.0.0.1:1"}
        proxies = {
            "no proxy": {},
            "a proxy that works": {"ALL_PROXY": f"http://user:{PASSWORD}@{working}"},
            "SOCKS without its package": socks,
            "SOCKS without its package, not needed": socks | {"NO_PROXY": "localhost"},
            "unknown scheme": unknown,
            "unknown scheme, not needed": unknown | {"no_proxy": "localhost"},
            "no port": {"HTTPS_PROXY": f"http://user:{PASSWORD}"},
            "nobody listens": {"HTTPS_PROXY": f"http://user:{PASSWORD}@{closed_port()}"},
            "wants a password": {"HTTPS_PROXY": f"http://{wants}"},
            "forbids the host": {"HTTPS_PROXY": f"http://{forbids}"},
            "a SOCKS proxy that refuses": {"https_proxy": f"socks5://{refuses}"},
            "NO_PROXY is odd": {"HTTPS_PROXY": f"http://{working}", "NO_PROXY": "one.example, two:three"},
        }
        trusting = {"SSL_CERT_FILE": str(made.authority)}
        authorities = {
            "trusted": trusting,
            "private authority": {},
            "self-signed": trusting,
            "expired": trusting,
            "another host's": trusting,
            "no such file": {"SSL_CERT_FILE": "/no/such/file"},
            "empty file": {"SSL_CERT_FILE": str(folder / "empty.pem")},
            "no such folder": {"SSL_CERT_DIR": "/no/such/folder"},
            "no such bundle": {"REQUESTS_CA_BUNDLE": "/no/such/file"},
        }
        yield World(variables(emulator, folder), fronts, proxies, authorities)


def command(environment: dict[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:
    ours = ("MIXPANEL", "ADOBE", "AEP", "DAGSTER")
    clean = {k: v for k, v in without_network_settings(dict(os.environ)).items() if not k.startswith(ours)}
    return subprocess.run(
        [sys.executable, "-m", "mixpanel_aep_assets", *arguments],
        env=clean | environment, capture_output=True, text=True, timeout=280, check=False,
    )  # fmt: skip


def require_sentences(done: subprocess.CompletedProcess[str]) -> str:
    """No traceback, no secret; gives the output without the ends of its lines."""
    text = done.stdout + done.stderr
    assert "Traceback" not in text, text
    assert 'File "' not in text, text
    assert not [secret for secret in SECRETS if secret in text], text
    return text


Case = tuple[str, str, str]

ALL: list[Case] = list(itertools.product(PROXIES, CERTIFICATES, CREDENTIALS))
ALONE: list[Case] = [
    case for case in ALL if [*case].count("no proxy") + [*case].count("trusted") + [*case].count("right") >= 2
]
TOGETHER: list[Case] = random.Random(12).sample([case for case in ALL if case not in ALONE], 8)


def ids(cases: list[Case]) -> list[str]:
    return [" - ".join(case) for case in cases]


def doctor_ends_in_sentences(world: World, proxy: str, certificate: str, credentials: str) -> None:
    done = command(world.environment(proxy, certificate, credentials), "doctor")
    text = require_sentences(done)
    parts = (PROXIES[proxy], CERTIFICATES[certificate], CREDENTIALS[credentials][1])
    assert done.returncode == (0 if all(part.harmless for part in parts) else 1), text
    for name in CHECKS:
        if name != "credentials":
            assert f" {name}: " in text
    for n, part in enumerate(parts):
        others = [other for m, other in enumerate(parts) if m != n]
        if part.said and all(other.harmless for other in others):
            assert part.said in text


@pytest.mark.parametrize(("proxy", "certificate", "credentials"), ALONE, ids=ids(ALONE))
def test_doctor_names_each_broken_thing_and_looks_at_everything_else(
    world: World, proxy: str, certificate: str, credentials: str
) -> None:
    doctor_ends_in_sentences(world, proxy, certificate, credentials)


@pytest.mark.parametrize(("proxy", "certificate", "credentials"), TOGETHER, ids=ids(TOGETHER))
def test_doctor_ends_in_sentences_where_several_things_are_broken(
    world: World, proxy: str, certificate: str, credentials: str
) -> None:
    doctor_ends_in_sentences(world, proxy, certificate, credentials)


@pytest.mark.long
@pytest.mark.parametrize("proxy", PROXIES)
@pytest.mark.parametrize("certificate", CERTIFICATES)
@pytest.mark.parametrize("credentials", CREDENTIALS)
def test_doctor_ends_in_sentences_for_every_combination(
    world: World, proxy: str, certificate: str, credentials: str
) -> None:
    doctor_ends_in_sentences(world, proxy, certificate, credentials)


COMMANDS = {
    "run": ("run", "--from", DAY, "--to", DAY),
    "preview": ("preview", "--day", DAY),
    "provision": ("provision",),
    "plan": ("plan", "--from", DAY, "--to", DAY),
}
SAMPLE: list[Case] = [
    ("SOCKS without its package", "trusted", "right"),
    ("wants a password", "trusted", "right"),
    ("no proxy", "private authority", "right"),
    ("no proxy", "no such file", "right"),
    ("no proxy", "trusted", "a blank within"),
]


@pytest.mark.parametrize("name", COMMANDS)
@pytest.mark.parametrize(("proxy", "certificate", "credentials"), SAMPLE, ids=ids(SAMPLE))
def test_the_other_commands_end_in_the_same_sentences(
    world: World, name: str, proxy: str, certificate: str, credentials: str
) -> None:
    done = command(world.environment(proxy, certificate, credentials), *COMMANDS[name])
    text = require_sentences(done)
    parts = (PROXIES[proxy], CERTIFICATES[certificate], CREDENTIALS[credentials][1])
    said = next(part.said for part in parts if part.said)
    if done.returncode == 0:  # a plan asks nobody, and to provision needs nothing of Mixpanel
        assert name == "plan" or (name, credentials) == ("provision", "a blank within")
        return
    assert done.returncode in (1, 2)
    assert said in text
