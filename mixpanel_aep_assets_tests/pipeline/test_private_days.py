"""Privacy rules over a whole day through Dagster: nothing of what they name is in any file, message or number."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import dagster as dg
import polars as pl
import pytest
from pydantic import SecretStr

from mixpanel_aep_assets.components import MixpanelToAep
from mixpanel_aep_assets.components.mixpanel_to_aep import build_connection
from mixpanel_aep_assets.connection import Connection, Secrets, Settings
from mixpanel_aep_assets.emulator import EmulatorThread
from mixpanel_aep_assets.errors import SettingsError
from mixpanel_aep_assets.mixpanel.mixpanel_errors import SettingsWrong
from mixpanel_aep_assets.pipeline.books import quarantine
from mixpanel_aep_assets.pipeline.steps import extract, transform
from mixpanel_aep_assets.pipeline.steps.redaction import OtherPrivacyRules
from mixpanel_aep_assets_tests.connections import DAY, NOON, event, events, lines, opened, provisioned
from mixpanel_aep_assets_tests.orchestration.layer import described

SALT = "a salt of the tests, 0123456789"
RULES: dict[str, Any] = {"drop": ["email", "cart.card"], "hash": ["phone", "distinct_id"]}
SECRETS = ("dropped-mail", "hashed-phone", "dropped-card", "hashed-user", "hashed-device")


def rows() -> list[dict[str, Any]]:
    """Events with secrets everywhere, some without insert id that differ in a dropped property only, one of another day."""
    person = {"distinct_id": "hashed-user", "$user_id": "hashed-user", "$device_id": "hashed-device"}
    hidden = {"email": "dropped-mail", "phone": "hashed-phone", "cart": {"card": "dropped-card", "total": 2}}
    alike = {"$insert_id": None, "time": NOON} | person | hidden
    return [
        *events(20, **person, **hidden, **{"$distinct_id_before_identity": "$device:hashed-device"}),
        event(50, **alike | {"email": "dropped-mail 1"}),
        event(50, **alike | {"email": "dropped-mail 2"}),
        event(99, **person | hidden | {"time": NOON + 20 * 365 * 86_400_000}),
    ]


def connection(emulator: EmulatorThread, folder: Path, salt: str = SALT, **rules: Any) -> Connection:
    plain = opened(emulator, folder, privacy=rules)
    return Connection(plain.settings, plain.secrets.model_copy(update={"privacy_salt": SecretStr(salt)}))


def contents(folder: Path) -> str:
    """All values of all files below a folder as text, Parquet read."""
    texts = []
    for path in folder.rglob("*"):
        if path.suffix == ".parquet":
            texts.append(json.dumps(pl.read_parquet(path).to_dicts(), default=str, ensure_ascii=False))
        elif path.is_file():
            texts.append(path.read_bytes().decode("utf-8", "replace"))
    return "".join(texts)


@pytest.mark.parametrize("stage", ["raw", "xdm"])
def test_no_secret_value_is_in_any_file_log_or_metadata(
    emulator: EmulatorThread, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stage: str
) -> None:
    emulator.control.seed_day(DAY, lines(rows()) + b'{"event":"x","properties":{"email":"dropped-mail"}}\n')
    described(monkeypatch, emulator, tmp_path, SALT_OF_THE_SHOP=SALT)
    with connection(emulator, tmp_path) as plain:
        provisioned(plain)
    rules = RULES | {"stage": stage, "salt_env": "SALT_OF_THE_SHOP"}
    block = MixpanelToAep.model_validate({"privacy": rules})
    definitions = dg.Definitions.merge(
        build_connection(block, block.block()), dg.Definitions(executor=dg.in_process_executor)
    )
    with dg.DagsterInstance.ephemeral() as instance:
        result = definitions.resolve_job_def("default_daily").execute_in_process(
            instance=instance, partition_key=DAY, raise_on_error=False
        )
        assert result.success
        logged = "".join(str(entry) for entry in instance.all_logs(result.run_id))
    data = tmp_path / "data"
    stored = contents(data) if stage == "raw" else contents(data / "default" / "xdm_events")
    assert len(stored) > 5_000
    assert "Page Viewed" in logged, "the metadata is among what is logged"
    for secret in (*SECRETS, SALT):
        assert secret not in stored
        assert secret not in logged


def xdm(connection: Connection) -> pl.DataFrame:
    return pl.concat(pl.read_parquet(path) for path in connection.day(transform.TABLE, DAY).locations()).sort("_id")


def test_the_events_are_the_same_at_which_stage_the_rules_are_applied(emulator: EmulatorThread, tmp_path: Path) -> None:
    emulator.control.seed_day(DAY, lines(rows()))
    made = {}
    for stage in ("raw", "xdm"):
        with connection(emulator, tmp_path / stage, **RULES, stage=stage) as one:
            provisioned(one)
            extract.extract_day(one, DAY)
            manifest = transform.transform_day(one, DAY)
            assert (manifest.rows, manifest.quarantined) == (22, 0)
            (astray,) = quarantine.show(one, DAY)
            assert (astray["stage"], astray["reason"]) == ("request", "other_day")
            assert not [secret for secret in SECRETS if secret in str(astray["source"])]
            made[stage] = xdm(one)
    assert made["raw"]["_id"].n_unique() == 22
    assert made["raw"].equals(made["xdm"])


def test_a_day_stored_before_there_were_rules_goes_through_them_and_other_rules_need_a_new_export(
    emulator: EmulatorThread, tmp_path: Path
) -> None:
    emulator.control.seed_day(DAY, lines(rows()))
    with opened(emulator, tmp_path) as plain:
        provisioned(plain)
        extract.extract_day(plain, DAY)
        before = transform.transform_day(plain, DAY)
        assert all(secret in contents(tmp_path / "data" / "default" / "xdm_events") for secret in SECRETS)
    with connection(emulator, tmp_path, **RULES) as ruled:
        assert "dropped-mail" not in str(extract.preview(ruled, DAY, 30))
        after = transform.transform_day(ruled, DAY)
        assert after.data_version != before.data_version
        assert not [secret for secret in SECRETS if secret in contents(tmp_path / "data" / "default" / "xdm_events")]
        digests = {extract.extract_day(ruled, DAY).manifest.digest}
    for salt, rules in ((SALT + "x", RULES), (SALT, {"drop": ["email"]})):
        with connection(emulator, tmp_path, salt, **rules) as other:
            with pytest.raises(OtherPrivacyRules, match="Materialize raw_events"):
                transform.transform_day(other, DAY)
            digests.add(extract.extract_day(other, DAY).manifest.digest)
            transform.transform_day(other, DAY)
    assert len(digests) == 3


def test_the_environment_names_the_rules_and_the_yaml_comes_first() -> None:
    environment = {
        "MIXPANEL_AEP_PRIVACY_DROP": "email, phone number",
        "MIXPANEL_AEP_PRIVACY_HASH": '["a, b"]',
        "MIXPANEL_AEP_PRIVACY_STAGE": "XDM",
    }
    read = Settings.read(environment, privacy={"hash": ["c"], "allow": None}).privacy
    assert (read.drop, read.hash, read.allow, read.stage) == (("email", "phone number"), ("c",), None, "xdm")
    assert Settings.read(environment).privacy.hash == ("a, b",)
    assert not Settings.read({}).privacy.active


def test_a_wrong_rule_is_told_in_a_sentence() -> None:
    with pytest.raises(SettingsError, match="`time` can be neither dropped nor hashed"):
        Settings.read({"MIXPANEL_AEP_PRIVACY_DROP": "time"})
    with pytest.raises(SettingsError, match="MIXPANEL_AEP_PRIVACY_HASH"):
        Settings.read({"MIXPANEL_AEP_PRIVACY_HASH": "[oops"})


def test_without_its_salt_a_connection_that_hashes_does_nothing() -> None:
    settings = Settings(project_id=1, privacy={"hash": ("phone",)})
    secrets = Secrets(mixpanel_username=SecretStr("a"), mixpanel_secret=SecretStr("b"))
    with Connection(settings, secrets) as one, pytest.raises(SettingsWrong, match="MIXPANEL_AEP_PRIVACY_SALT"):
        _ = one.source
