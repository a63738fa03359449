"""The way out: proxies and certificates as the environment names them, and a sentence for each that cannot be used."""

from __future__ import annotations

import socket
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mixpanel_aep_assets import network
from mixpanel_aep_assets.aep import Platform, PlatformClient
from mixpanel_aep_assets.aep import platform_errors as aep_errors
from mixpanel_aep_assets.emulator import EmulatorThread
from mixpanel_aep_assets.mixpanel import mixpanel_errors as mixpanel_errors
from mixpanel_aep_assets.mixpanel.client import MixpanelClient, project_zone
from mixpanel_aep_assets_tests.aep.scripted import SECRET, serving
from mixpanel_aep_assets_tests.aep.test_http import ok
from mixpanel_aep_assets_tests.mixpanel.conftest import Unlimited, source
from mixpanel_aep_assets_tests.ways import (
    HAS_OPENSSL,
    NETWORK_VARIABLES,
    Certificates,
    closed_port,
    http_proxy,
    listening,
    make_certificates,
    socks_proxy,
    tls_front,
)

needs_openssl = pytest.mark.skipif(not HAS_OPENSSL, reason="the command openssl makes the certificates")
PASSWORD = "hunter2-of-the-proxy"


@pytest.fixture(autouse=True)
def no_network_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in NETWORK_VARIABLES:
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return make_certificates(tmp_path_factory.mktemp("certificates"))


@pytest.fixture(scope="module")
def here() -> Iterator[str]:
    with EmulatorThread() as running:
        yield running.url


def asked(url: str) -> httpx.Response:
    with network.client(limits=httpx.Limits(), timeout=10) as client:
        return client.get(url + "/_emulator/health")


def platform_of(url: str) -> Platform:
    return Platform(client_id="c", client_secret=SECRET, org_id="X@AdobeOrg", ims_url=url, url=url, tries=1)


def refusals(url: str) -> tuple[mixpanel_errors.MixpanelError, aep_errors.AepError]:
    """What both clients say of a server that cannot be reached."""
    with MixpanelClient(source(url), budget=Unlimited()) as client, pytest.raises(mixpanel_errors.MixpanelError) as one:
        client.projects()
    with PlatformClient(platform_of(url)) as platform, pytest.raises(aep_errors.AepError) as two:
        platform.sign_in()
    return one.value, two.value


URLS = {
    "http://user:hunter2@proxy:3128/path?q": "http://***@proxy:3128",
    "user:hunter2@proxy:3128": "***@proxy:3128",
    "http://user:hun@ter/2@proxy:3128": "http://***@proxy:3128",
    "http://user:hunter2": "http://user:…",
    "socks5://user:hunter2@[::1]:9": "socks5://***@[::1]:9",
    "https://host/hunter2": "https://host",
    "platform.adobe.io": "platform.adobe.io",
}


@pytest.mark.parametrize(("url", "text"), URLS.items(), ids=URLS.values())
def test_a_url_is_shown_without_credentials_and_path(url: str, text: str) -> None:
    assert network.shown(url) == text


@given(st.text(), st.text(min_size=8), st.text())
def test_whatever_stands_before_an_at_sign_is_not_shown(before: str, password: str, host: str) -> None:
    password = password.replace("*", "x")
    assert password not in network.shown(f"http://{before}:{password}@proxy{host.replace(password, '')}:1")


UNUSABLE = {
    "unknown scheme": ("gopher://{password}@127.0.0.1:1", "its scheme is none of http, https, socks5, socks5h"),
    "socks4": ("socks4://127.0.0.1:1", "its scheme is none of"),
    "no host": ("http://", "it names no host"),
    "port that is no number": (f"http://user:{PASSWORD}", "its port is not a number"),
    "port too high": ("http://127.0.0.1:99999", "its port is not a number up to 65535"),
    "slash in the password": (f"http://user:1/{PASSWORD}@127.0.0.1:3128", "it has an @ behind its host"),
    "open bracket": ("http://[::1", "it is not a URL"),
    "blank in the host": ("http://my proxy:3128", "it has a blank in its host"),
}


@pytest.mark.parametrize("variable", ["ALL_PROXY", "http_proxy"])
@pytest.mark.parametrize(("url", "said"), UNUSABLE.values(), ids=UNUSABLE)
def test_a_proxy_that_cannot_be_used_is_named_with_the_reason(
    here: str, monkeypatch: pytest.MonkeyPatch, variable: str, url: str, said: str
) -> None:
    monkeypatch.setenv(variable, url.format(password=f"user:{PASSWORD}"))
    with pytest.raises(network.NetworkSettingsWrong) as caught:
        asked(here)
    text = str(caught.value)
    assert text.startswith(f"{variable}={network.shown(url.format(password='x'))}: {said}") or said in text
    assert PASSWORD not in text


@pytest.mark.parametrize(("url", "said"), UNUSABLE.values(), ids=UNUSABLE)
def test_hosts_that_no_proxy_names_do_not_need_the_proxy(
    here: str, monkeypatch: pytest.MonkeyPatch, url: str, said: str
) -> None:
    monkeypatch.setenv("ALL_PROXY", url)
    for covers in ("127.0.0.1", "*", f"elsewhere, {here.removeprefix('http://')}", "http://127.0.0.1"):
        monkeypatch.setenv("NO_PROXY", covers)
        assert asked(here).status_code == 200


@pytest.mark.parametrize("entry", [".example.com", "*.example.com", "example.com", "a.example.com:443"])
def test_a_name_in_no_proxy_covers_its_subdomains(monkeypatch: pytest.MonkeyPatch, entry: str) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:1")
    monkeypatch.setenv("NO_PROXY", entry)
    assert network.proxy_for("https://a.example.com:443") is None
    assert str(network.proxy_for("https://an-example.com")) == "HTTPS_PROXY=http://127.0.0.1:1"
    assert network.proxy_for("http://an-example.com") is None


def test_a_no_proxy_that_cannot_be_understood_is_named(here: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALL_PROXY", "http://127.0.0.1:1")
    monkeypatch.setenv("NO_PROXY", "good.example, bad:port")
    with pytest.raises(network.NetworkSettingsWrong, match=r"NO_PROXY has an entry that is not a host: 'bad:…'"):
        asked(here)


def test_a_proxy_without_scheme_and_with_a_line_end_is_an_http_proxy(
    here: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with http_proxy() as proxy:
        monkeypatch.setenv("ALL_PROXY", f' "{proxy}"\r')
        assert asked(here).status_code == 200


def test_http_goes_through_an_http_proxy_with_its_password(here: str, monkeypatch: pytest.MonkeyPatch) -> None:
    heads: list[bytes] = []
    with http_proxy(asked=heads) as proxy:
        monkeypatch.setenv("HTTP_PROXY", f"http://user:{PASSWORD}@{proxy}")
        assert asked(here).status_code == 200
    assert b"Proxy-Authorization: Basic " in heads[0]


@pytest.mark.parametrize("scheme", ["socks5", "socks5h"])
def test_http_goes_through_a_socks_proxy(here: str, monkeypatch: pytest.MonkeyPatch, scheme: str) -> None:
    pytest.importorskip("socksio")
    requests: list[bytes] = []
    with socks_proxy(asked=requests) as proxy:
        monkeypatch.setenv("ALL_PROXY", f"{scheme}://{proxy}")
        assert asked(here).status_code == 200
    assert len(requests) == 1


def test_a_socks_proxy_without_the_package_says_what_to_install(here: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "socksio", None)
    monkeypatch.setenv("ALL_PROXY", f"socks5://user:{PASSWORD}@127.0.0.1:1080")
    with pytest.raises(network.NetworkSettingsWrong) as caught:
        asked(here)
    assert str(caught.value) == (
        "ALL_PROXY=socks5://***@127.0.0.1:1080: SOCKS proxies need one more package. Install it: "
        "pip install 'mixpanel-aep-assets[socks]'"
    )
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    assert asked(here).status_code == 200


REFUSING = {
    "wants a password": (
        b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n",
        "name and password",
    ),
    "forbids the host": (b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n", "to let localhost pass"),
}


@needs_openssl
@pytest.mark.parametrize(("answer", "said"), REFUSING.values(), ids=REFUSING)
def test_a_proxy_that_refuses_is_named_by_both_clients_and_not_asked_again(
    here: str, monkeypatch: pytest.MonkeyPatch, certificates: Certificates, answer: bytes, said: str
) -> None:
    with tls_front(certificates.of("good"), here) as url, http_proxy(answer) as proxy:
        monkeypatch.setenv("HTTPS_PROXY", f"http://user:{PASSWORD}@{proxy}")
        for error in refusals(url):
            assert f"The proxy HTTPS_PROXY=http://***@{proxy} does not connect to localhost" in str(error)
            assert said in str(error)
            assert not error.retryable
            assert PASSWORD not in str(error)


@needs_openssl
def test_a_zone_behind_a_proxy_that_refuses_is_an_error_and_no_zone(
    here: str, monkeypatch: pytest.MonkeyPatch, certificates: Certificates, tmp_path: Path
) -> None:
    with tls_front(certificates.of("good"), here) as url, http_proxy(b"HTTP/1.1 403 Forbidden\r\n\r\n") as proxy:
        monkeypatch.setenv("HTTPS_PROXY", proxy)
        with pytest.raises(mixpanel_errors.CannotConnect, match="With MIXPANEL_TIMEZONE set it is not asked"):
            project_zone(source(url, budget_location=str(tmp_path / "budget")))


BROKEN_SOCKS = {
    "refuses": (2, 0),
    "wants another sign-in": (0, 255),
    "speaks something else": (0, 9),
}
"""The reply and the sign-in method of each, as `socks_proxy` takes them."""


@pytest.mark.parametrize(("reply", "method"), BROKEN_SOCKS.values(), ids=BROKEN_SOCKS)
def test_a_socks_proxy_that_does_not_connect_is_named_by_both_clients(
    here: str, monkeypatch: pytest.MonkeyPatch, reply: int, method: int
) -> None:
    pytest.importorskip("socksio")
    with socks_proxy(reply, method) as proxy:
        monkeypatch.setenv("ALL_PROXY", f"socks5://{proxy}")
        for error in refusals(here):
            assert f"The proxy ALL_PROXY=socks5://{proxy} does not connect to 127.0.0.1" in str(error)


@pytest.mark.parametrize("answer", [b"HTTP/1.1 400 Bad Request\r\n\r\n", b"", None], ids=["HTTP", "nothing", "silence"])
def test_what_is_no_socks_proxy_is_named_by_both_clients_in_a_bounded_time(
    here: str, monkeypatch: pytest.MonkeyPatch, answer: bytes | None
) -> None:
    pytest.importorskip("socksio")
    monkeypatch.setattr(network, "SOCKS_TIMEOUT", 0.2)

    def serve(connection: socket.socket) -> None:
        connection.recv(10)
        if answer is None:
            connection.recv(1)
        connection.sendall(answer or b"")

    with listening(serve) as port:
        monkeypatch.setenv("ALL_PROXY", f"socks5://127.0.0.1:{port}")
        for error in refusals(here):
            assert f"ALL_PROXY=socks5://127.0.0.1:{port}" in str(error)


def test_a_proxy_on_which_nothing_listens_is_named_and_may_be_asked_again(
    here: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ALL_PROXY", f"http://{closed_port()}")
    for error in refusals(here):
        assert "No connection to the proxy ALL_PROXY=http://127.0.0.1" in str(error)
        assert error.retryable


@needs_openssl
@pytest.mark.parametrize("variable", ["SSL_CERT_FILE", "REQUESTS_CA_BUNDLE"])
def test_a_private_authority_is_trusted_by_a_file(
    here: str, monkeypatch: pytest.MonkeyPatch, certificates: Certificates, variable: str
) -> None:
    monkeypatch.setenv(variable, str(certificates.authority))
    with tls_front(certificates.of("good"), here) as url:
        assert asked(url).status_code == 200


@needs_openssl
@pytest.mark.parametrize("variable", ["SSL_CERT_DIR", "REQUESTS_CA_BUNDLE"])
def test_a_private_authority_is_trusted_by_a_folder(
    here: str, monkeypatch: pytest.MonkeyPatch, certificates: Certificates, tmp_path: Path, variable: str
) -> None:
    import subprocess

    name = subprocess.run(
        ["openssl", "x509", "-hash", "-noout", "-in", certificates.authority],
        capture_output=True,
        text=True,
        check=True,
    )
    (tmp_path / f"{name.stdout.strip()}.0").symlink_to(certificates.authority)
    monkeypatch.setenv(variable, str(tmp_path))
    with tls_front(certificates.of("good"), here) as url:
        assert asked(url).status_code == 200


@needs_openssl
def test_ssl_cert_file_goes_before_the_other_variables(
    here: str, monkeypatch: pytest.MonkeyPatch, certificates: Certificates
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(certificates.authority))
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", "/no/such/file")
    with tls_front(certificates.of("good"), here) as url:
        assert asked(url).status_code == 200


@needs_openssl
def test_a_private_authority_is_trusted_behind_proxies_too(
    here: str, monkeypatch: pytest.MonkeyPatch, certificates: Certificates
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(certificates.authority))
    with tls_front(certificates.of("good"), here) as url, http_proxy() as plain:
        monkeypatch.setenv("HTTPS_PROXY", f"http://{plain}")
        assert asked(url).status_code == 200
        with tls_front(certificates.of("good"), f"http://{plain}") as over_tls:
            monkeypatch.setenv("HTTPS_PROXY", over_tls)
            assert asked(url).status_code == 200


UNTRUSTED = {
    "good": "The certificate of localhost is not trusted: unable to get local issuer certificate",
    "self-signed": "The certificate of localhost is not trusted: self-signed certificate",
    "expired": "The certificate of localhost has expired",
    "other-host": "The certificate of localhost is made out to another host",
}


@needs_openssl
@pytest.mark.parametrize(("name", "said"), UNTRUSTED.items(), ids=UNTRUSTED)
def test_a_certificate_that_is_not_accepted_is_named_by_both_clients_with_what_to_do(
    here: str, monkeypatch: pytest.MonkeyPatch, certificates: Certificates, name: str, said: str
) -> None:
    if name in ("expired", "other-host"):
        monkeypatch.setenv("SSL_CERT_FILE", str(certificates.authority))
    with tls_front(certificates.of(name), here) as url:
        for error in refusals(url):
            text = str(error).replace("self signed", "self-signed")  # OpenSSL 1.1 writes it without the hyphen
            assert said in text
            assert "SSL_CERT_FILE" in text
            assert not error.retryable


def unreadable(folder: Path) -> dict[str, tuple[str, str, str]]:
    (folder / "empty.pem").write_bytes(b"")
    (folder / "page.pem").write_text("<html>log in</html>")
    (folder / "empty").mkdir()
    return {
        "missing file": ("SSL_CERT_FILE", str(folder / "none.pem"), "cannot be read: No such file or directory"),
        "empty file": ("SSL_CERT_FILE", str(folder / "empty.pem"), "holds no certificate in PEM form"),
        "something else": ("SSL_CERT_FILE", str(folder / "page.pem"), "holds no certificate in PEM form"),
        "folder for a file": ("SSL_CERT_FILE", str(folder), "cannot be read: Is a directory"),
        "line end": ("SSL_CERT_FILE", str(folder / "empty.pem") + "\r", "cannot be read: No such file or directory"),
        "missing folder": ("SSL_CERT_DIR", str(folder / "none"), "is not a folder"),
        "file for a folder": ("SSL_CERT_DIR", str(folder / "empty.pem"), "is not a folder"),
        "empty folder": ("SSL_CERT_DIR", str(folder / "empty"), "holds no certificate under its hash"),
        "missing bundle": ("REQUESTS_CA_BUNDLE", str(folder / "none"), "cannot be read: No such file or directory"),
    }


NAMES = ["missing file", "empty file", "something else", "folder for a file", "line end", "missing folder",
         "file for a folder", "empty folder", "missing bundle"]  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
def test_certificates_that_cannot_be_read_are_named_with_what_to_do(
    here: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str
) -> None:
    variable, path, said = unreadable(tmp_path)[name]
    monkeypatch.setenv(variable, path)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for make in (
            lambda: asked(here),
            lambda: MixpanelClient(source(here), budget=Unlimited()),
            lambda: PlatformClient(platform_of(here)),
        ):
            with pytest.raises(network.NetworkSettingsWrong) as caught:
                make()
            assert str(caught.value).startswith(f"{variable}={path!r} {said}")
            assert "SSL_CERT_FILE" in str(caught.value)


def test_a_host_name_that_no_name_server_takes_is_unreachable() -> None:
    for error in refusals(f"http://{'a' * 70}.example"):
        assert error.retryable


@pytest.mark.parametrize(
    "url", ["https://user:hunter2@host", "https://", "https://[::1", "https://h:99999", "ftp://h", "h"]
)
def test_a_base_url_that_cannot_be_one_is_refused_without_its_credentials(url: str) -> None:
    assert network.url_problem(url)
    with pytest.raises(mixpanel_errors.SettingsWrong) as caught:
        source("http://h", export_url=url)
    assert "MIXPANEL_EXPORT_URL=" in str(caught.value)
    assert "hunter2" not in str(caught.value)


def test_an_answer_in_another_coding_than_it_names_is_told_as_such() -> None:
    from mixpanel_aep_assets_tests.aep.scripted import Reply

    page = Reply(200, b"log in first", {"Content-Encoding": "gzip"})
    with serving(lambda asked: page) as script:
        with MixpanelClient(source(script.url), budget=Unlimited()) as client:
            with pytest.raises(mixpanel_errors.UnexpectedAnswer, match="coding"):
                client.projects()
        with PlatformClient(platform_of(script.url)) as platform:
            with pytest.raises(aep_errors.UnexpectedAnswer, match="coding"):
                platform.json("GET", "/data/foundation/catalog/dataSets")


def test_without_any_setting_the_way_is_direct_and_the_public_authorities_are_trusted() -> None:
    assert network.proxies() == []
    assert network.proxy_for("https://platform.adobe.io") is None
    assert "certifi" in str(network.trust())
    with serving(ok) as script, PlatformClient(platform_of(script.url)) as platform:
        platform.sign_in()
