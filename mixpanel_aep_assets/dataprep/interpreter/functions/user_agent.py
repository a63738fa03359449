"""User agent functions: ua-parser reads the text, this module says it in the names of Yauaa, which Adobe uses.

The translation covers what the reference names; device classes follow the families and systems that ua-parser knows and
are therefore coarser than Yauaa's own analysis.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable
from typing import Final, NamedTuple

from mixpanel_aep_assets.dataprep.interpreter.functions.function_registry import Kind, function

_Body = Callable[[str], str]

_UNKNOWN: Final = "Unknown"
_NO_VERSION: Final = "??"
_LONGEST: Final = 2048
"""A longer user agent is cut: its first words decide, and the work per row stays bounded."""

_AGENTS: Final = {
    "Mobile Safari": "Safari",
    "Mobile Safari UI/WKWebView": "Safari",
    "Chrome Mobile": "Chrome",
    "Chrome Mobile iOS": "Chrome",
    "Chrome Mobile WebView": "Chrome Webview",
    "Firefox Mobile": "Firefox",
    "Firefox iOS": "Firefox",
    "Edge Mobile": "Edge",
    "Opera Mobile": "Opera",
    "Samsung Internet": "SamsungBrowser",
    "IE": "Internet Explorer",
    "IE Mobile": "Internet Explorer",
    "Other": _UNKNOWN,
}
_SYSTEMS: Final = {"Windows": "Windows NT", "Mac OS X": "Mac OS", "Chrome OS": "Chrome OS", "Other": _UNKNOWN}
_WINDOWS_NT: Final = re.compile(r"Windows NT (\d+(?:\.\d+)*)")
"""Yauaa tells the version of the kernel: Windows 7 is Windows NT 6.1."""
_DESKTOPS: Final = frozenset(
    {"Windows", "Mac OS X", "Linux", "Ubuntu", "Debian", "Fedora", "Red Hat", "SUSE", "Chrome OS", "FreeBSD", "OpenBSD"}
)
_CLASSES: Final = tuple(
    (re.compile(pattern, re.IGNORECASE), name)
    for pattern, name in (
        (r"Nintendo (?:Switch|3DS|DS)|PlayStation (?:Vita|Portable)|PSP", "Handheld Game Console"),
        (r"PlayStation|Xbox|Nintendo|Wii", "Game Console"),
        (r"Apple ?TV|AFT[A-Z]|Roku|Chromecast|CrKey", "Set-top box"),
        (r"Smart-?TV|HbbTV|GoogleTV|Android TV|BRAVIA|NetCast|Web0S|Tizen.+TV|\bTV\b", "TV"),
        (r"Watch|Wear OS", "Watch"),
        (r"Oculus|Quest \d", "Virtual Reality"),
        (r"Kindle/|NOOK|Kobo", "eReader"),
        (r"Echo|Alexa|GoogleHome", "Voice"),
        (r"Tesla|CarPlay|Android Automotive", "Car"),
        (r"iPad|Tablet|Kindle|Silk/(?!.*Mobile)|PlayBook", "Tablet"),
        (r"iPhone|iPod|Windows Phone|BlackBerry|BB10", "Phone"),
        (r"Android(?=.*Mobile)", "Phone"),
        (r"Android", "Tablet"),
    )
)


class _Agent(NamedTuple):
    name: str
    version: str
    major: str
    system: str
    system_version: str
    system_major: str
    device_class: str


def _read(text: str) -> _Agent:
    return _analysed(text[:_LONGEST])


@functools.lru_cache(maxsize=8192)
def _analysed(text: str) -> _Agent:
    # Imported on first use: it compiles thousands of patterns.
    from ua_parser import parse

    result = parse(text)
    agent, system, device = result.user_agent, result.os, result.device
    name = agent.family if agent else "Other"
    system_name = system.family if system else "Other"
    system_version = _version(system.major, system.minor, system.patch, system.patch_minor) if system else _NO_VERSION
    kernel = _WINDOWS_NT.search(text) if system_name == "Windows" else None
    if kernel is not None:
        system_version = kernel[1]
    return _Agent(
        name=_AGENTS.get(name, name),
        version=_version(agent.major, agent.minor, agent.patch, agent.patch_minor) if agent else _NO_VERSION,
        major=(agent.major if agent else None) or _NO_VERSION,
        system=_SYSTEMS.get(system_name, system_name),
        system_version=system_version,
        system_major=system_version.partition(".")[0],
        device_class=_device_class(text, system_name, device.family if device else "Other"),
    )


def _version(*parts: str | None) -> str:
    return ".".join(part for part in parts if part) or _NO_VERSION


def _device_class(text: str, system: str, device: str) -> str:
    if device == "Spider" or re.search(r"\b\w*(?:bot|crawler|spider)\b", text, re.IGNORECASE):
        return "Robot Mobile" if re.search(r"Mobile|iPhone|Android", text) else "Robot"
    for pattern, name in _CLASSES:
        if pattern.search(text):
            return name
    if system in _DESKTOPS:
        return "Desktop"
    return "Mobile" if "Mobile" in text else _UNKNOWN


def _user_agent(name: str) -> Callable[[_Body], _Body]:
    return function(name, category="user_agent", takes=(Kind.TEXT,), gives=Kind.TEXT, null_in=(0,))


@_user_agent("ua_os_name")
def ua_os_name(text: str) -> str:
    return _read(text).system


@_user_agent("ua_os_version")
def ua_os_version(text: str) -> str:
    return _read(text).system_version


@_user_agent("ua_os_version_major")
def ua_os_version_major(text: str) -> str:
    """Name and major version together, as Adobe's sample has it."""
    agent = _read(text)
    return f"{agent.system} {agent.system_major}"


@_user_agent("ua_os_name_version")
def ua_os_name_version(text: str) -> str:
    agent = _read(text)
    return f"{agent.system} {agent.system_version}"


@_user_agent("ua_agent_name")
def ua_agent_name(text: str) -> str:
    return _read(text).name


@_user_agent("ua_agent_version")
def ua_agent_version(text: str) -> str:
    return _read(text).version


@_user_agent("ua_agent_version_major")
def ua_agent_version_major(text: str) -> str:
    """Name and major version together, as Adobe's sample has it."""
    agent = _read(text)
    return f"{agent.name} {agent.major}"


@_user_agent("ua_device_class")
def ua_device_class(text: str) -> str:
    return _read(text).device_class
