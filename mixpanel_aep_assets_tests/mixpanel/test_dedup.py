"""Which rows are the same event, which of them stays, and under what id (mixpanel.md#duplicates)."""

from __future__ import annotations

import random
from pathlib import Path

import polars as pl
import pyarrow.parquet as pq
import pytest

from mixpanel_aep_assets.manifests import Changes
from mixpanel_aep_assets.mixpanel import changes, dedup, events, hash_partitions
from mixpanel_aep_assets_tests.mixpanel import samples
from mixpanel_aep_assets_tests.mixpanel.conftest import event


def part(tmp_path: Path, lines: list[bytes], name: str = "part-0") -> str:
    path = tmp_path / f"{name}.parquet"
    parsed = events.parse(b"".join(lines))
    assert parsed.broken == []
    import pyarrow as pa

    pq.write_table(pa.Table.from_batches([parsed.events]), path)
    return str(path)


def kept(paths: list[str]) -> pl.DataFrame:
    found = dedup.find(paths)
    frames = [found.keep(number, 0, pl.read_parquet(path, glob=False)) for number, path in enumerate(paths)]
    return pl.concat(frames).with_columns(id=dedup.stable_id(pl.col("ordinal")))


def row(number: int, **more: object) -> bytes:
    return event(number, **{"$mp_api_timestamp_ms": 5, **more})


def test_of_equal_keys_the_row_received_last_stays(tmp_path: Path) -> None:
    lines = [
        row(1, v="old"),
        row(2, v="other"),
        row(1, v="new", **{"$mp_api_timestamp_ms": 9}),
        row(1, v="older", **{"$mp_api_timestamp_ms": 3}),
    ]
    rows = kept([part(tmp_path, lines)])
    assert rows["properties"].str.json_path_match("$.v").to_list() == ["other", "new"]


def test_later_processing_decides_equal_receipts_and_the_content_decides_the_rest(tmp_path: Path) -> None:
    lines = [
        row(1, v="a", mp_processing_time_ms=7),
        row(1, v="b", mp_processing_time_ms=8),
        row(1, v="c", mp_processing_time_ms=8),
        row(1, v="d"),
    ]
    winners = set()
    for order in range(12):
        random.Random(order).shuffle(lines)
        halves = [part(tmp_path, lines[:2], f"{order}-0"), part(tmp_path, lines[2:], f"{order}-1")]
        winners |= {tuple(kept(halves)["properties"].str.json_path_match("$.v"))}
    assert winners in ({("b",)}, {("c",)})


@pytest.mark.parametrize("stored", [False, True])
def test_the_hash_of_the_content_is_the_stored_one_or_made_where_files_lack_it(tmp_path: Path, stored: bool) -> None:
    path = part(tmp_path, [row(1, v="a"), row(1, v="b")])
    frame = pl.read_parquet(path).with_columns(dedup.content_hash().alias(dedup.CONTENT))
    less = frame[dedup.CONTENT].arg_min()
    if stored:  # the other way round, to be told from those of the texts
        frame.with_columns(pl.col(dedup.CONTENT).reverse()).write_parquet(path)
    (lost,) = dedup.find([path]).losers[0]
    assert (lost == less) is not stored


def test_of_rows_that_are_the_same_in_everything_one_stays(tmp_path: Path) -> None:
    paths = [part(tmp_path, [row(number % 5) for number in range(30)], name) for name in "ab"]
    rows = kept(paths)
    assert sorted(rows["distinct_id"]) == [f"U{number}" for number in range(5)]
    assert dedup.find(paths).duplicates == 55


def test_a_folder_may_be_named_with_the_signs_of_a_pattern(tmp_path: Path) -> None:
    folder = tmp_path / "day [1] *"
    folder.mkdir()
    assert len(kept([part(folder, [row(1), row(1), row(2)])])) == 2


def test_the_examples_with_the_same_key_are_one_event_of_the_later_processing(tmp_path: Path) -> None:
    (row,) = kept([part(tmp_path, [line + b"\n" for line in samples.VARIED[13:15]])]).to_dicts()
    assert '"price":12' in row["properties"]


def test_one_insert_id_on_several_events_is_several_events__adobe_sample(tmp_path: Path) -> None:
    lines = [event(number, **{"$insert_id": "same"}) for number in range(5)]
    lines.append(event(1, "Another name", **{"$insert_id": "same"}))
    rows = kept([part(tmp_path, lines)])
    assert rows.height == 6
    assert rows["id"].n_unique() == 6


def test_a_merge_of_identities_does_not_make_a_second_event(tmp_path: Path) -> None:
    before = event(1, distinct_id="$device:D1")
    after = event(1, distinct_id="U1", **{"$distinct_id_before_identity": "$device:D1", "$mp_api_timestamp_ms": 5})
    rows = kept([part(tmp_path, [before, after])])
    assert rows["distinct_id"].to_list() == ["U1"]
    assert rows["id"].to_list() == kept([part(tmp_path, [before], "first")])["id"].to_list()


def test_duplicates_are_found_across_parts_and_buckets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lines = [row(number % 700, v=number, **{"$mp_api_timestamp_ms": number}) for number in range(1000)]
    paths = [part(tmp_path, lines[at : at + 250], f"part-{at}") for at in range(0, 1000, 250)]
    whole = kept(paths)
    monkeypatch.setattr(hash_partitions, "PARTITION_ROWS", 60)
    spread = kept(paths)
    assert spread.equals(whole)
    assert whole.height == whole["id"].n_unique() == 700
    assert dedup.find(paths).duplicates == 300
    assert whole["received_ms"].to_list() == list(range(300, 1000))


@pytest.mark.parametrize("blank", ["", " ", "\t\n"])
def test_a_blank_insert_id_is_none_and_merges_nothing(tmp_path: Path, blank: str) -> None:
    lines = [row(1, item=item, **{"$insert_id": blank}) for item in "CDD"]
    lacking = [row(1, item=item, **{"$insert_id": None}) for item in "CDD"]
    rows = kept([part(tmp_path, lines)])
    assert rows["id"].n_unique() == 3
    assert rows["id"].to_list() == kept([part(tmp_path, lines, "again")])["id"].to_list()
    assert dedup.find([part(tmp_path, lacking, "lacking")]).duplicates == 0


@pytest.mark.parametrize("placeholder", ["undefined", "null", "0", "-", "false"])
def test_a_placeholder_is_an_insert_id_as_it_is_to_mixpanel(tmp_path: Path, placeholder: str) -> None:
    lines = [row(1, item=item, **{"$insert_id": placeholder}) for item in "CD"]
    assert len(kept([part(tmp_path, lines)])) == 1


def test_a_blank_insert_id_is_no_change_of_a_row_that_has_one(tmp_path: Path) -> None:
    path = part(tmp_path, [row(1), row(2, **{"$insert_id": ""}), row(3, **{"$insert_id": None})])
    assert pl.read_parquet(path).select(dedup.keyed_otherwise_in_version_1())["insert_id"].fill_null(False).to_list() == [
        False, True, False,
    ]  # fmt: skip


def test_rows_without_insert_id_are_all_kept_with_equal_ids_in_every_run__headless(tmp_path: Path) -> None:
    lines = [
        b'{"event":"x","properties":{"time":1768024801,"distinct_id":"U"}}\n',
        b'{"event":"x","properties":{"time":1768024801,"distinct_id":"U"}}\n',
        b'{"event":"x","properties":{"time":1768024801,"distinct_id":"U","a":1}}\n',
    ]
    first = kept([part(tmp_path, lines, "one")])
    again = kept([part(tmp_path, lines[2:], "two"), part(tmp_path, lines[:2], "three")])
    assert first["id"].n_unique() == 3
    assert set(again["id"]) == set(first["id"])


def test_the_id_is_a_uri_reference_without_colon_that_never_changes(tmp_path: Path) -> None:
    lines = [line + b"\n" for line in [*samples.DOCUMENTED, *samples.VARIED]]
    rows = kept([part(tmp_path, lines)])
    assert rows["id"].n_unique() == rows.height
    assert rows["id"].str.contains("^[0-9a-f]{64}$").all()
    known = rows.filter(pl.col("insert_id") == "a1b2c3d4-0001")["id"].item()
    import hashlib

    key = "\x1f".join(["8", "Purchase", "2", "U1", "1768024800123", "a1b2c3d4-0001"])
    assert known == hashlib.sha256(key.encode()).hexdigest()


def test_keys_whose_parts_run_together_stay_apart(tmp_path: Path) -> None:
    lines = [event(1, "a", distinct_id="b\x1f1\x1fc"), event(1, "a\x1f1\x1fb", distinct_id="c")]
    assert kept([part(tmp_path, lines)])["id"].n_unique() == 2


def test_a_day_without_rows_has_nothing_to_drop() -> None:
    assert dedup.losers([]) == {}


def test_a_slice_of_a_part_keeps_what_the_whole_part_keeps(tmp_path: Path) -> None:
    lines = [row(number % 7, v=number) for number in range(20)]
    path = part(tmp_path, lines)
    found = dedup.find([path])
    frame = pl.read_parquet(path)
    pieces = [found.keep(0, at, frame.slice(at, 6)) for at in range(0, 20, 6)]
    assert pl.concat(pieces).equals(found.keep(0, 0, frame))


@pytest.mark.parametrize("bucket_rows", [3, 1_000_000])
def test_changes_between_two_exports_are_counted_by_event(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, bucket_rows: int
) -> None:
    monkeypatch.setattr(hash_partitions, "PARTITION_ROWS", bucket_rows)
    before = [row(number, v=1) for number in range(10)] + [row(1, v="twice")]
    after = [row(1, v="twice")] + [row(number, v=2 if number in (4, 5) else 1) for number in range(1, 13)]
    old, new = part(tmp_path, before, "old"), part(tmp_path, after, "new")
    assert changes.compare([old], [new]) == Changes(3, 2, 1)
    assert changes.compare([old], []) == Changes(vanished=10)
    assert changes.compare([], []) == Changes()
