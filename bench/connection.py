"""The connections that the benchmarks open: any server that speaks the Export API, and an emulator's Platform."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mixpanel_aep_assets.connection import Connection


def arguments(description: str | None) -> argparse.ArgumentParser:
    """The parser that all commands share."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--base-url", required=True, help="where /api/2.0/export is")
    parser.add_argument("--date", required=True)
    parser.add_argument("--out", required=True, type=Path)
    return parser


def opened(base_url: str, out: Path, platform_url: str | None = None) -> Connection:
    """A UTC project at the URL; the budget counts in the output folder, so that nobody else's is spent."""
    from pydantic import SecretStr

    from mixpanel_aep_assets.cli.demo import CREDENTIALS
    from mixpanel_aep_assets.connection import Connection, Secrets, Settings

    settings = Settings(
        project_id=1,
        timezone="UTC",
        time_mode="utc",
        export_url=base_url,
        api_url=base_url,
        ims_url=platform_url,
        aep_url=platform_url,
        org_id=CREDENTIALS["ADOBE_ORG_ID"],
        storage=str(out / "data"),
        budget_location=str(out / "budget"),
    )
    secrets = Secrets(
        mixpanel_username=SecretStr("bench"),
        mixpanel_secret=SecretStr("bench"),
        adobe_client_id=SecretStr(CREDENTIALS["ADOBE_CLIENT_ID"]),
        adobe_client_secret=SecretStr(CREDENTIALS["ADOBE_CLIENT_SECRET"]),
    )
    return Connection(settings, secrets)
