"""`mixpanel-aep doctor`: every credential, host, zone, dataset and limit, and how to mend what is wrong."""

from __future__ import annotations

import datetime
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import click
from rich.console import Console

from mixpanel_aep_assets.cli import FAILED, explains_itself
from mixpanel_aep_assets.cli.options import connection_option, open_connection
from mixpanel_aep_assets.connection import Opened
from mixpanel_aep_assets.mixpanel.errors import AuthenticationFailed
from mixpanel_aep_assets.mixpanel.zones import zone

EXPIRY_WARNING = datetime.timedelta(days=30)


@dataclass(frozen=True)
class Diagnosis:
    name: str
    state: str
    """`ok`, `warning` or `wrong`."""
    text: str


@click.command()
@connection_option
def doctor(connection: str) -> int:
    """Check every credential, host, region, time zone, dataset, schema and limit; say how to mend each."""
    console = Console(highlight=False, soft_wrap=True)
    marks = {"ok": "[green]ok[/green]     ", "warning": "[yellow]warning[/yellow]", "wrong": "[red]wrong[/red]  "}
    worst = 0
    with open_connection(connection) as opened:
        for diagnosis in diagnoses(opened):
            console.print(f"{marks[diagnosis.state]} {diagnosis.name}: ", end="")
            console.print(diagnosis.text, markup=False)
            worst = max(worst, FAILED if diagnosis.state == "wrong" else 0)
    return worst


def diagnoses(opened: Opened) -> Iterator[Diagnosis]:
    """One after the other, each by itself: a wrong one does not hide the next, and is told once."""
    told: dict[str, str] = {}
    for name, look in CHECKS.items():
        try:
            yield from look(opened, name)
        except Exception as error:
            if not explains_itself(error):
                raise
            first = told.setdefault(str(error), name)
            text = str(error) if first == name else f"not looked at, for the same reason as {first}"
            yield Diagnosis(name, "wrong", text)


def _storage(opened: Opened, name: str) -> Iterator[Diagnosis]:
    probe = f"{opened.settings.name}/.doctor"
    opened.storage.write(probe, b"ok")
    opened.storage.delete([probe])
    yield Diagnosis(name, "ok", f"{opened.storage.url} can be written")


def _project(opened: Opened, name: str) -> Iterator[Diagnosis]:
    if opened.source.credentials.kind == "project secret":
        zone_told = opened.settings.timezone or "not set: MIXPANEL_TIMEZONE is needed unless the project counts in UTC"
        text = f"a project secret may not ask for its project, only an export shows whether it holds; time zone {zone_told}"
        yield Diagnosis(name, "warning", text)
        return
    try:
        project = opened.mixpanel.project()
    except AuthenticationFailed as error:
        region = opened.mixpanel.other_region()
        known = f" These credentials are known in the region {region}: set MIXPANEL_REGION={region}." if region else ""
        yield Diagnosis(name, "wrong", f"{error}{known}")
        return
    told = project.timezone or "(not told)"
    yield Diagnosis(name, "ok", f"{project.name or opened.settings.project_id}, time zone {told}")
    given = opened.settings.timezone
    if given and project.timezone and zone(given) != zone(project.timezone):
        text = f"MIXPANEL_TIMEZONE={given}, but the project is set to {project.timezone}. Set it to the project's zone."
        yield Diagnosis("time zone", "wrong", text)


def _account(opened: Opened, name: str) -> Iterator[Diagnosis]:
    if opened.mixpanel.source.credentials.kind == "project secret":
        yield Diagnosis(name, "warning", "Project secrets retire on 3 March 2027: use a service account.")
        return
    if opened.mixpanel.source.credentials.kind != "service account":
        yield Diagnosis(
            name, "warning", "A bearer token sees only its owner's data view and expires: use a service account."
        )
        return
    username = opened.mixpanel.source.credentials.username
    for account in opened.mixpanel.service_accounts():
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


def _time_mode(opened: Opened, name: str) -> Iterator[Diagnosis]:
    mode = opened.settings.time_mode
    if mode != "auto":
        yield Diagnosis(name, "ok", f"set to {mode}")
        return
    found = opened.time_mode()
    text = f"{found.mode}, {found.evidence}" if found else "is found out from the receipt times of the exported days"
    yield Diagnosis(name, "ok", text)


def _token(opened: Opened, name: str) -> Iterator[Diagnosis]:
    opened.platform.sign_in()
    yield Diagnosis(name, "ok", f"token received for {opened.settings.org_id}")


def _dataset(opened: Opened, name: str) -> Iterator[Diagnosis]:
    yield Diagnosis(name, "ok", f"{opened.dataset} in sandbox {opened.settings.sandbox}")


def _schema(opened: Opened, name: str) -> Iterator[Diagnosis]:
    schema = opened.schema
    yield Diagnosis(name, "ok", f"{schema.title} ({schema.id})")
    missing = opened.unmapped_destinations()
    if opened.left_out:
        kept = "all properties are kept as text" if opened.keeps_properties else "its properties stay in raw_events"
        text = (
            f"the schema lacks {len(opened.left_out)} fields of the standard mapping ({', '.join(opened.left_out[:4])}, …); "
            f"they are left out, and {kept}. A dataset that `mixpanel-aep provision` makes has them all."
        )
        yield Diagnosis("mapping", "warning", text)
    elif missing:
        text = f"the mapping sets fields that the schema lacks: {', '.join(missing[:8])}. Run `mixpanel-aep provision`."
        yield Diagnosis("mapping", "wrong", text)
    elif problems := _problems(opened):
        text = f"{problems[0]}. `mixpanel-aep mapping validate FILE` names all problems ({len(problems)})."
        yield Diagnosis("mapping", "wrong", text)
    else:
        yield Diagnosis("mapping", "ok", opened.mapping_name)


def _problems(opened: Opened) -> list[str]:
    from mixpanel_aep_assets.dataprep.compile_targets import target_type
    from mixpanel_aep_assets.dataprep.validation import validate

    return [str(problem) for problem in validate(opened.mapping_set, target_type(opened.schema.root))]


def _limits(opened: Opened, name: str) -> Iterator[Diagnosis]:
    from mixpanel_aep_assets.aep import limits

    used = limits.usage(opened.platform)
    state = "ok" if used.batches_today < limits.NEAR * limits.BATCHES_A_DAY else "warning"
    yield Diagnosis(name, state, f"{used.batches_today} of {limits.BATCHES_A_DAY} event batches used today (UTC)")


CHECKS: dict[str, Callable[[Opened, str], Iterator[Diagnosis]]] = {
    "storage": _storage,
    "Mixpanel project": _project,
    "service account": _account,
    "time mode": _time_mode,
    "Adobe credentials": _token,
    "dataset": _dataset,
    "schema": _schema,
    "Platform limits": _limits,
}
