"""What is shown of a day in Dagster: whatever it is, it can be stored, served and read, and none of it fails the day."""

from __future__ import annotations

import asyncio
import datetime
import decimal
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import httpx
import polars as pl
import pyarrow as pa
import pytest
from click.testing import CliRunner
from dagster._core.workspace.context import WorkspaceProcessContext
from dagster._core.workspace.load_target import EmptyWorkspaceTarget
from dagster_shared.serdes import deserialize_value, serialize_value
from dagster_webserver.webserver import DagsterWebserver
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mixpanel_aep_assets.cli.preview import preview
from mixpanel_aep_assets.emulator import EmulatorThread
from mixpanel_aep_assets.orchestration import assets, metadata
from mixpanel_aep_assets.orchestration.checks import result
from mixpanel_aep_assets.pipeline.books import verify
from mixpanel_aep_assets.pipeline.insight import previews
from mixpanel_aep_assets.pipeline.steps import load, transform
from mixpanel_aep_assets_tests.connections import DAY, event, opened, provisioned, variables
from mixpanel_aep_assets_tests.test_display import TEXTS

QUERY = """query ($key: AssetKeyInput!) { assetOrError(assetKey: $key) { ... on Asset { assetMaterializations {
  metadataEntries { label __typename
    ... on TextMetadataEntry { text } ... on MarkdownMetadataEntry { mdStr } ... on UrlMetadataEntry { url }
    ... on IntMetadataEntry { intValue intRepr } ... on FloatMetadataEntry { floatValue floatRepr }
    ... on BoolMetadataEntry { boolValue }
    ... on TableSchemaMetadataEntry { schema { columns { name type description } } }
    ... on TableColumnLineageMetadataEntry { lineage { columnName columnDeps { columnName } } } } } } } }"""

VALUES = st.one_of(
    st.none(), st.booleans(), st.integers(), st.integers(min_value=2**60), st.just(10**5000), st.floats(),
    TEXTS, st.binary(), st.datetimes(), st.decimals(), st.just("x" * 100_000), st.just(object()),
    st.recursive(st.floats() | TEXTS, lambda inner: st.lists(inner) | st.dictionaries(TEXTS, inner), max_leaves=5),
)  # fmt: skip
ROWS = st.lists(st.dictionaries(TEXTS, VALUES, min_size=1, max_size=4), max_size=3)


def described(value: Any, rows: list[dict[str, Any]], text: str) -> dict[str, Any]:
    """One entry of each sort, made of this."""
    arrow = pa.schema([("a", pa.int64()), ("b", pa.struct([("c", pa.string())]))])
    return metadata.shown(
        lambda: {
            "value": value,
            "rows": rows,
            "made later": lambda: metadata.table(rows, caption=text),
            "json": lambda: metadata.texts([("**Event**", text), ("**Event**", f'{{"a": {text}')]),
            "address": lambda: metadata.url(text),
            "dagster/column_schema": lambda: metadata.column_schema(arrow, {"a": text, "b.c": text}),
            "dagster/column_lineage": lambda: metadata.column_lineage(dg.AssetKey("up"), {text: ["event"]}),
        },
        print,
    )


Ask = Callable[[dict[str, Any]], httpx.Response]


@pytest.fixture(scope="module")
def instance(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.local_temp(str(tmp_path_factory.mktemp("instance"))) as instance:
        yield instance


@pytest.fixture(scope="module")
def ask(instance: dg.DagsterInstance) -> Iterator[Ask]:
    """Asks Dagster's webserver on the instance, which has no code location, over GraphQL."""
    with WorkspaceProcessContext(instance, EmptyWorkspaceTarget()) as context:
        transport = httpx.ASGITransport(DagsterWebserver(context).create_asgi_app())

        async def post(question: dict[str, Any]) -> httpx.Response:
            async with httpx.AsyncClient(transport=transport, base_url="http://dagster") as client:
                return await client.post("/graphql", json=question)

        yield lambda question: asyncio.run(post(question))


@settings(max_examples=40, suppress_health_check=list(HealthCheck))
@given(VALUES, ROWS, TEXTS)
def test_whatever_events_hold_dagster_stores_it_and_its_server_answers_with_it(
    instance: dg.DagsterInstance, ask: Ask, value: Any, rows: list[dict[str, Any]], text: str
) -> None:
    entries = described(value, rows, text)
    assert "not shown" not in str(entries)
    made = dg.AssetMaterialization("any", metadata=entries, description=metadata.description(text))
    assert deserialize_value(serialize_value(made), dg.AssetMaterialization) == made
    instance.report_runless_asset_event(made)
    answer = ask({"query": QUERY, "variables": {"key": {"path": ["any"]}}})
    assert answer.status_code == 200, answer.text
    assert "errors" not in answer.json(), answer.text[:500]
    newest = answer.json()["data"]["assetOrError"]["assetMaterializations"][0]
    assert {entry["label"] for entry in newest["metadataEntries"]} == set(entries)
    instance.wipe_assets([dg.AssetKey("any")])


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (float("nan"), "nan"),
        (float("-inf"), "-inf"),
        (2**53 + 1, "9007199254740993"),
        (decimal.Decimal("1.50"), "1.50"),
        (datetime.date(2026, 3, 10), "2026-03-10"),
        (b"a\x00\xff", "a\\u0000\\xff"),
        ("caf\ud83d", "caf\\ud83d"),
    ],
)
def test_a_value_that_dagster_or_a_browser_cannot_hold_is_text(value: Any, shown: str) -> None:
    assert metadata.shown(lambda: {"a": value}, print) == {"a": shown}


@pytest.mark.parametrize("value", [None, True, 0, 2**53, 0.5, "text"])
def test_other_values_stay_what_they_are(value: Any) -> None:
    (shown,) = metadata.shown(lambda: {"a": value}, print).values()
    assert (shown, type(shown)) == (value, type(value))


def test_an_address_that_a_browser_should_not_follow_is_text() -> None:
    assert metadata.url("javascript:alert(1)") == "javascript:alert(1)"
    assert metadata.url("https://experience.adobe.com/x") == dg.MetadataValue.url("https://experience.adobe.com/x")


def recursing(depth: int = 0) -> int:
    return recursing(depth + 1)


def missing() -> str:
    return dict[str, str]()["secret"]


def panicking() -> pl.Series:
    return pl.Series([1]).map_elements(lambda _: (_ for _ in ()).throw(pl.exceptions.PanicException("secret")))


@pytest.mark.parametrize(
    ("make", "name"),
    [
        (lambda: json.loads("{secret"), "JSONDecodeError"),
        (missing, "KeyError"),
        (recursing, "RecursionError"),
        (panicking, "PanicException"),
    ],
)
def test_an_entry_that_cannot_be_made_says_so_and_the_others_are_shown(make: Any, name: str) -> None:
    logged: list[str] = []
    shown = metadata.shown(lambda: {"a": 1, "dagster/column_schema": make, "b": 2}, logged.append)
    assert shown == {"a": 1, "column_schema": f"(not shown: {name})", "b": 2}
    (line,) = logged
    assert name in line
    assert "secret" not in line


def test_entries_that_cannot_be_listed_are_one_entry_that_says_so() -> None:
    assert metadata.shown(lambda: {"a": missing()}, print) == {"metadata": "(not shown: KeyError)"}


def test_what_ends_a_run_is_not_held_up() -> None:
    def interrupted() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        metadata.shown(lambda: {"a": interrupted}, print)


def test_a_check_whose_numbers_cannot_be_shown_keeps_its_verdict() -> None:
    finding = verify.Finding(
        False, "![x](http://evil.example/)", numbers={"rows": [1, 2], "nan": float("nan"), "ok": 1}
    )
    made = result([finding], print)
    assert not made.passed
    assert made.description == r"\!\[x\](http<!-- -->://evil.example/)"
    shown = {name: value.value for name, value in made.metadata.items()}
    assert shown == {"rows": "(not shown: TypeError)", "nan": "nan", "ok": 1}


AWKWARD = {
    "half of a surrogate pair": r'"caf\u00e9 \ud83d"',
    "an infinite number": "1e999",
    "400 digits": "9" * 400,
    "5,000 digits": "9" * 5_000,
    "400 levels": "[" * 400 + "]" * 400,
    "400 objects": '{"a":' * 400 + "1" + "}" * 400,
    "a NUL": r'"a\u0000b"',
    "half a pair in a name": r'{"a\ud83d": "\udc00"}',
}


def run(definitions: dg.Definitions) -> dict[str, dict[str, Any]]:
    """A day through all assets; the metadata of each."""
    job = definitions.resolve_implicit_global_asset_job_def()
    with dg.DagsterInstance.ephemeral() as instance:
        done = job.execute_in_process(instance=instance, partition_key=DAY, raise_on_error=False)
        assert done.success
        return {
            made.asset_key.path[-1]: {n: v.value for n, v in made.materialization.metadata.items()}
            for made in done.get_asset_materialization_events()
            if made.asset_key
        }


def test_awkward_events_at_the_beginning_of_a_day_fail_nothing_and_are_shown(
    emulator: EmulatorThread, definitions: dg.Definitions
) -> None:
    body = [json.dumps(event(number, odd="@@")).replace('"@@"', value) for number, value in enumerate(AWKWARD.values())]
    body += [json.dumps(event(number)) for number in range(len(AWKWARD), 30)]
    body[0] = (
        body[0].replace('"Page Viewed"', r'"Page \ud83d"').replace('"i-0"', r'"i-\udc00"').replace('"odd"', r'"\ud83d"')
    )
    emulator.control.seed_day(DAY, ("\n".join(body) + "\n").encode())
    shown = run(definitions)
    assert shown["aep_batch"]["dagster/partition_row_count"] == 30
    assert "not shown" not in str(shown)
    assert "1e999" in shown["xdm_events"]["before_and_after"]
    assert r"caf\u00e9 \ud83d" in shown["xdm_events"]["before_and_after"]


@pytest.mark.parametrize("value", AWKWARD.values(), ids=AWKWARD.keys())
def test_preview_shows_a_day_that_begins_with_an_awkward_event(
    emulator: EmulatorThread, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, value: str
) -> None:
    for name, setting in variables(emulator, tmp_path).items():
        monkeypatch.setenv(name, setting)
    with opened(emulator, tmp_path) as connection:
        provisioned(connection)
    body = [json.dumps(event(number, odd="@@")).replace('"@@"', value) for number in range(30)]
    emulator.control.seed_day(DAY, ("\n".join(body) + "\n").encode())
    done = CliRunner().invoke(preview, ["--day", DAY], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    assert "30 events conform" in done.output


def test_no_preview_or_table_that_fails_fails_a_day(
    emulator: EmulatorThread, definitions: dg.Definitions, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: Any, **__: Any) -> Any:
        raise pl.exceptions.PanicException("the text of an event")

    for place, name in [
        (previews, "of_raw_events"), (previews, "field_rows"), (previews, "before_and_after"),
        (transform, "preview"), (transform, "lineage"), (transform, "arrow_schema"),
        (load, "batch_url"), (assets, "_counts"), (metadata, "rate"),
    ]:  # fmt: skip
        monkeypatch.setattr(place, name, broken)
    emulator.control.seed_day(DAY, ("\n".join(json.dumps(event(number)) for number in range(30)) + "\n").encode())
    shown = run(definitions)
    assert shown.keys() == {"raw_events", "xdm_events", "aep_batch", "property_drift"}
    assert "the text of an event" not in str(shown)
    assert shown["raw_events"] == {"metadata": "(not shown: PanicException)"}, "its rate is computed with the others"
