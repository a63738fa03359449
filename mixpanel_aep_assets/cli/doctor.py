"""`mixpanel-aep doctor`: every credential, host, zone, dataset and limit, and how to fix what is wrong."""

from __future__ import annotations

import dataclasses
import datetime
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import click
from rich.console import Console

from mixpanel_aep_assets import network
from mixpanel_aep_assets.cli.connections import open_connection
from mixpanel_aep_assets.cli.options import connection_option
from mixpanel_aep_assets.connection import Connection
from mixpanel_aep_assets.errors import FAILED, ExplainedError
from mixpanel_aep_assets.mixpanel.client import MixpanelClient
from mixpanel_aep_assets.mixpanel.mixpanel_errors import (
    AuthenticationFailed,
    NotAllowed,
    NotFound,
    PlanLacksExport,
    WrongRegion,
)
from mixpanel_aep_assets.mixpanel.source_settings import API_HOSTS, EXPORT_HOSTS
from mixpanel_aep_assets.mixpanel.zones import zone

if TYPE_CHECKING:
    from mixpanel_aep_assets.connection.dataset_mapping import DatasetMapping

EXPIRY_WARNING = datetime.timedelta(days=30)


TRIES = 2
"""Of a call to the Platform. A run has more patience; here each check would wait for a host that is not there."""


SIGN_IN = "Adobe credentials"
NEED_A_TOKEN = frozenset({"dataset", "schema", "Platform limits"})
"""Checks that cannot be made where the check of the token fails."""


@dataclass(frozen=True)
class Diagnosis:
    name: str
    state: str
    """`ok`, `warning` or `wrong`."""
    text: str


@click.command()
@connection_option
def doctor(name: str) -> int:
    """Check every credential, host, region, time zone, dataset, schema and limit, and say how to fix each."""
    console = Console(highlight=False, soft_wrap=True)
    marks = {"ok": "[green]ok[/green]     ", "warning": "[yellow]warning[/yellow]", "wrong": "[red]wrong[/red]  "}
    worst = 0
    with dataclasses.replace(open_connection(name), tries=TRIES) as connection:
        for diagnosis in diagnoses(connection):
            console.print(f"{marks[diagnosis.state]} {diagnosis.name}: ", end="")
            console.print(diagnosis.text, markup=False)
            worst = max(worst, FAILED if diagnosis.state == "wrong" else 0)
    return worst


def diagnoses(connection: Connection) -> Iterator[Diagnosis]:
    """One after the other, each by itself: a wrong one does not hide the next, and is told once."""
    told: dict[str, str] = {}
    failed: set[str] = set()
    for name, look in CHECKS.items():
        if name in NEED_A_TOKEN and SIGN_IN in failed:
            yield Diagnosis(name, "wrong", f"not looked at, for the same reason as {SIGN_IN}")
            continue
        try:
            yield from look(connection, name)
        except Exception as error:
            if not isinstance(error, ExplainedError):
                raise
            failed.add(name)
            first = told.setdefault(str(error), name)
            text = str(error) if first == name else f"not looked at, for the same reason as {first}"
            yield Diagnosis(name, "wrong", text)


def _credentials(connection: Connection, name: str) -> Iterator[Diagnosis]:
    for text in connection.credentials.oddities(connection.settings, os.environ):
        yield Diagnosis(name, "warning", text)


def _network(connection: Connection, name: str) -> Iterator[Diagnosis]:
    """Proxies and certificate authorities; a proxy that cannot be used is wrong where a host is behind it."""
    from mixpanel_aep_assets.aep.platform_settings import IMS_URL, PLATFORM_URL

    network.trust().context()
    settings = connection.settings
    urls = [
        settings.export_url or EXPORT_HOSTS[settings.region],
        settings.api_url or API_HOSTS[settings.region],
        settings.ims_url or IMS_URL,
        settings.aep_url or PLATFORM_URL,
    ]
    behind = {network.shown(url): network.proxy_for(url) for url in urls if not network.url_problem(url)}
    for proxy in network.proxies():
        if problem := proxy.problem():
            needed = proxy in behind.values()
            text = f"{proxy}: {problem}" + ("" if needed else ". No host of this connection is behind it.")
            yield Diagnosis(name, "wrong" if needed else "warning", text)
    if "://" in settings.storage and (other := network.unknown_to_object_stores()):
        text = f"the object store's own client does not know {', '.join(other)} (docs/network.md)"
        yield Diagnosis(name, "warning", text)
    if not any(proxy and proxy.problem() for proxy in behind.values()):
        ways = ", ".join(f"{url} {f'through {proxy}' if proxy else 'directly'}" for url, proxy in behind.items())
        yield Diagnosis(name, "ok", f"{ways}; certificates are checked against {network.trust()}")


def _storage(connection: Connection, name: str) -> Iterator[Diagnosis]:
    probe = f"{connection.settings.name}/.doctor"
    connection.storage.write(probe, b"ok")
    connection.storage.delete([probe])
    yield Diagnosis(name, "ok", f"{connection.storage.url} can be written")


def _project(connection: Connection, name: str) -> Iterator[Diagnosis]:
    if connection.source.credentials.kind == "project secret":
        zone_told = (
            connection.settings.timezone or "not set: MIXPANEL_TIMEZONE is needed unless the project counts in UTC"
        )
        text = f"a project secret may not ask for its project, only an export shows whether it holds; time zone {zone_told}"
        yield Diagnosis(name, "warning", text)
        return
    with MixpanelClient(connection.source) as client:
        try:
            project = client.project()
        except (AuthenticationFailed, WrongRegion, NotAllowed) as error:
            region = client.other_region()
            known = f" The project is known in the region {region}: set MIXPANEL_REGION={region}." if region else ""
            yield Diagnosis(name, "wrong", f"{error}{known}")
            return
    told = project.timezone or "(not reported)"
    yield Diagnosis(name, "ok", f"{project.name or connection.settings.project_id}, time zone {told}")
    host = project.domain and f"https://{project.domain}"
    home = next((region for region, api in API_HOSTS.items() if api == host), None)
    if home not in (None, connection.source.region) and connection.source.export_url is None:
        text = f"MIXPANEL_REGION={connection.source.region}, but the project is at {project.domain}: set MIXPANEL_REGION={home}."
        yield Diagnosis("region", "wrong", text)
    given = connection.settings.timezone
    if given and project.timezone and zone(given) != zone(project.timezone):
        text = f"MIXPANEL_TIMEZONE={given}, but the project is set to {project.timezone}. Set it to the project's zone."
        yield Diagnosis("time zone", "wrong", text)


def _account(connection: Connection, name: str) -> Iterator[Diagnosis]:
    credentials = connection.source.credentials
    if credentials.kind == "project secret":
        yield Diagnosis(name, "warning", "Project secrets retire on 3 March 2027: use a service account.")
        return
    if credentials.kind != "service account":
        yield Diagnosis(
            name, "warning", "A bearer token sees only its owner's data view and expires: use a service account."
        )
        return
    username = credentials.username
    unknown = f"Whether {username} expires is not known"
    look = "Look under Organization Settings, Service Accounts."
    with MixpanelClient(connection.source) as client:
        try:
            accounts = client.service_accounts()
        except (NotAllowed, NotFound, PlanLacksExport) as error:
            why = f"it may not list the project's service accounts (HTTP {error.status}), which exports do not need"
            yield Diagnosis(name, "warning", f"{unknown}: {why}. {look}")
            return
    if username not in {account.username for account in accounts}:
        yield Diagnosis(name, "warning", f"{unknown}: the project's list of service accounts does not hold it. {look}")
    for account in accounts:
        if account.username != username:
            continue
        if account.expires is None:
            yield Diagnosis(name, "ok", f"{username} does not expire")
        else:
            left = account.expires - datetime.datetime.now(datetime.UTC)
            state = "ok" if left > EXPIRY_WARNING else "warning" if left.total_seconds() > 0 else "wrong"
            text = f"{username} expires on {account.expires:%Y-%m-%d}. Adobe and we advise one that does not expire."
            yield Diagnosis(name, state, text)
        if account.sensitive is False:
            text = (
                "has no access to classified data; if the project has classified properties, give it a role that has."
            )
            yield Diagnosis("classified data", "warning", f"{username} {text}")


def _time_mode(connection: Connection, name: str) -> Iterator[Diagnosis]:
    mode = connection.settings.time_mode
    if mode != "auto":
        yield Diagnosis(name, "ok", f"set to {mode}")
        return
    found = connection.time_mode()
    text = f"{found.mode}, {found.evidence}" if found else "is found out from the receipt times of the exported days"
    yield Diagnosis(name, "ok", text)


def _token(connection: Connection, name: str) -> Iterator[Diagnosis]:
    connection.platform.sign_in()
    yield Diagnosis(name, "ok", f"token received for {connection.settings.org_id}")


def _dataset(connection: Connection, name: str) -> Iterator[Diagnosis]:
    yield Diagnosis(name, "ok", f"{connection.dataset} in sandbox {connection.settings.sandbox}")


def _schema(connection: Connection, name: str) -> Iterator[Diagnosis]:
    schema = connection.schema
    yield Diagnosis(name, "ok", f"{schema.title} ({schema.id})")
    mapping = connection.mapping
    missing = mapping.unmapped_destinations()
    if mapping.left_out:
        kept = "all properties are kept as text" if mapping.keeps_properties else "its properties stay in raw_events"
        text = (
            f"the schema lacks {len(mapping.left_out)} fields of the standard mapping ({', '.join(mapping.left_out[:4])}, …); "
            f"they are left out, and {kept}. A dataset that `mixpanel-aep provision` makes has them all."
        )
        yield Diagnosis("mapping", "warning", text)
    elif missing:
        text = f"the mapping sets fields that the schema lacks: {', '.join(missing[:8])}. Run `mixpanel-aep provision`."
        yield Diagnosis("mapping", "wrong", text)
    elif problems := _problems(mapping):
        text = f"{problems[0]}. `mixpanel-aep mapping validate FILE` names all problems ({len(problems)})."
        yield Diagnosis("mapping", "wrong", text)
    else:
        yield Diagnosis("mapping", "ok", mapping.name)


def _problems(mapping: DatasetMapping) -> list[str]:
    from mixpanel_aep_assets.dataprep.interpreter.schema_targets import target_type
    from mixpanel_aep_assets.dataprep.interpreter.validation import validate

    return [str(problem) for problem in validate(mapping.mapping_set, target_type(mapping.schema.root))]


def _limits(connection: Connection, name: str) -> Iterator[Diagnosis]:
    from mixpanel_aep_assets.aep import limits

    used = limits.usage(connection.platform)
    state = "ok" if used.batches_today < limits.NEAR * limits.BATCHES_A_DAY else "warning"
    yield Diagnosis(name, state, f"{used.batches_today} of {limits.BATCHES_A_DAY} event batches used today (UTC)")


CHECKS: dict[str, Callable[[Connection, str], Iterator[Diagnosis]]] = {
    "credentials": _credentials,
    "network": _network,
    "storage": _storage,
    "Mixpanel project": _project,
    "service account": _account,
    "time mode": _time_mode,
    SIGN_IN: _token,
    "dataset": _dataset,
    "schema": _schema,
    "Platform limits": _limits,
}
