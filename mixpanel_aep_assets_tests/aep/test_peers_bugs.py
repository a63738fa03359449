"""Bugs that other clients of the Platform have or had; each test is named after the client (peers.md#bugs)."""

from __future__ import annotations

from collections import Counter

from mixpanel_aep_assets_tests.aep.conftest import Sandbox
from mixpanel_aep_assets_tests.aep.days import files, ids


def test_parquet_goes_out_as_its_bytes_and_not_through_json__aepp(sandbox: Sandbox) -> None:
    (file,) = files(ids(10))
    with file.open() as reader:
        assert not reader.read().isascii(), "bytes that JSON could carry would prove nothing"
    sandbox.send([file], "v1")
    (put,) = [request for request in sandbox.control.requests() if request["method"] == "PUT"]
    assert put["received"] == file.size
    assert sandbox.live() == Counter(ids(10))
