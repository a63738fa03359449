"""`mixpanel-aep provision`: the plan of what the Platform needs, its making, and fields grown from the data."""

from __future__ import annotations

import dataclasses
import datetime
import json
from pathlib import Path
from typing import TYPE_CHECKING

import click
from rich.console import Console
from rich.table import Table

from mixpanel_aep_assets.cli.connections import open_connection
from mixpanel_aep_assets.cli.options import connection_option, wide_console

if TYPE_CHECKING:
    from mixpanel_aep_assets.aep.provision import Plan, Provisioned, Step
    from mixpanel_aep_assets.connection import Connection
    from mixpanel_aep_assets.growth.schema_plan import SchemaPlan

_DAY = click.DateTime(["%Y-%m-%d"])


def _title(_: click.Context, parameter: click.Parameter, value: str | None) -> str | None:
    if value is not None and not value.strip():
        raise click.BadParameter("a title has at least one letter.", param=parameter)
    return value.strip() if value is not None else None


@click.command()
@click.option("--apply", "apply_plan", is_flag=True, help="Apply the plan.")
@click.option("--json", "as_json", is_flag=True, help="Print the plan as JSON.")
@click.option("--from-data", is_flag=True, help="Propose fields for properties in exported days that no mapping reads.")
@click.option("--since", type=_DAY, help="With --from-data: first day to read (default: all exported days).")
@click.option("--until", type=_DAY, help="With --from-data: last day to read.")
@click.option(
    "--plan",
    "file",
    type=click.Path(dir_okay=False, path_type=Path),
    help="YAML file with the reviewed fields. With --from-data it is written, and your decisions in it are kept.",
)
@click.option(
    "--schema-title", callback=_title, help="Title of the schema to create or extend (MIXPANEL_AEP_SCHEMA_TITLE)."
)
@click.option(
    "--field-group-title",
    callback=_title,
    help="Title of the field group to create or extend (MIXPANEL_AEP_FIELD_GROUP_TITLE).",
)
@click.option(
    "--profile",
    is_flag=True,
    help="Also enable schema and dataset for Real-Time Customer Profile. This cannot be undone.",
)
@connection_option
def provision(
    apply_plan: bool,
    as_json: bool,
    from_data: bool,
    since: datetime.datetime | None,
    until: datetime.datetime | None,
    file: Path | None,
    schema_title: str | None,
    field_group_title: str | None,
    profile: bool,
    name: str,
) -> int:
    """Plan the namespaces, field group, schema, descriptors and dataset; create them with --apply.

    Applying twice changes nothing, and nothing is ever removed or narrowed. `--from-data --plan FILE` proposes fields for
    properties that are not mapped yet; `--plan FILE --apply` adds the fields in the reviewed file and maps them.
    """
    from mixpanel_aep_assets.aep import provision as provisioning
    from mixpanel_aep_assets.pipeline.insight import schema_growth

    if (since or until) and not from_data:
        raise click.UsageError("--since and --until belong to --from-data.")
    console = Console(highlight=False, soft_wrap=True)
    given = {"schema_title": schema_title, "field_group_title": field_group_title, "profile": profile or None}
    configured = open_connection(name)
    settings = configured.settings.model_copy(update={k: v for k, v in given.items() if v is not None})
    with dataclasses.replace(configured, settings=settings) as connection:
        fields = connection.accepted_plan
        if from_data:
            fields = _proposed(connection, since, until, file)
            if as_json:
                click.echo(json.dumps(fields.model_dump(mode="json", by_alias=True), indent=2))
            else:
                _show(fields)
            if file is not None:
                _write(file, fields)
                click.echo(f"Written to {file}.", err=True)
            if not apply_plan:
                if not as_json:
                    console.print(_next(file), markup=False)
                return 0
        elif file is not None:
            fields = _read(file)
        before = connection.accepted_plan
        plan = (
            schema_growth.steps(connection, fields)
            if fields
            else provisioning.plan(connection.platform, connection.wanted())
        )
        if as_json and not from_data:
            click.echo(json.dumps(plan.as_json(), indent=2))
        elif not as_json:
            for line in plan.lines():
                console.print(line, markup=False)
        if apply_plan:
            made = _applied(connection, plan, fields, console)
            if fields is not None and (before is None or fields.included != before.included):
                console.print(
                    f"The mapping fills {len(fields.included)} grown fields from now on; days made before get them when "
                    "xdm_events is materialized again.",
                    markup=False,
                )
            console.print(f"Dataset {made.dataset_id}", markup=False)
        elif plan.changes:
            console.print("Nothing was changed; --apply makes it.")
    return 0


def _applied(connection: Connection, plan: Plan, fields: SchemaPlan | None, console: Console) -> Provisioned:
    from mixpanel_aep_assets.aep import provision as provisioning
    from mixpanel_aep_assets.pipeline.insight import schema_growth

    def done(step: Step) -> None:
        if step.changes:
            console.print(step.line(), markup=False, style="green")

    if fields is None:
        return provisioning.apply(connection.platform, plan, done)
    return schema_growth.apply(connection, fields, plan, done)


def _proposed(
    connection: Connection, since: datetime.datetime | None, until: datetime.datetime | None, file: Path | None
) -> SchemaPlan:
    from mixpanel_aep_assets.pipeline.insight import property_statistics, schema_growth

    first = f"{since:%Y-%m-%d}" if since else ""
    last = f"{until:%Y-%m-%d}" if until else "9999"
    days = [day for day in property_statistics.exported_days(connection) if first <= day <= last]
    reviewed = _read(file) if file is not None and file.exists() else None
    return schema_growth.plan_from_data(connection, days, reviewed)


def _read(file: Path) -> SchemaPlan:
    from mixpanel_aep_assets.growth.schema_plan import PlanError, read_plan

    try:
        return read_plan(file.read_text(encoding="utf-8"), str(file))
    except (OSError, UnicodeDecodeError) as error:
        raise PlanError(
            f"{file} cannot be read: {error}. `mixpanel-aep provision --from-data --plan {file}` writes it."
        ) from error


def _write(file: Path, plan: SchemaPlan) -> None:
    from mixpanel_aep_assets.growth.schema_plan import PlanError

    try:
        file.write_text(plan.to_yaml(), encoding="utf-8")
    except OSError as error:
        raise PlanError(f"{file} cannot be written: {error.strerror}.") from error


def _show(plan: SchemaPlan) -> None:
    table = Table("", "property", "field", "type", "reason")
    for one in plan.fields:
        column = one.field if one.text is None else f"{one.field}\n{one.text}"
        table.add_row("+" if one.include else "-", one.name, column, one.type, one.reason)
    console = wide_console()
    console.print(table)
    console.print(
        f"{plan.events:,} events of {plan.days}; Lexicon: {plan.lexicon}. {len(plan.included)} of {len(plan.fields)} "
        "properties included (+).",
        markup=False,
    )


def _next(file: Path | None) -> str:
    if file is None:
        return "--plan FILE writes this for review; --apply adds the included fields."
    return f"Review it, then: mixpanel-aep provision --plan {file} --apply"
