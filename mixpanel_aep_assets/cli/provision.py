"""`mixpanel-aep provision`: the plan of what the Platform needs, and its making."""

from __future__ import annotations

import json

import click
from rich.console import Console

from mixpanel_aep_assets.cli.options import connection_option, open_connection


@click.command()
@click.option("--apply", "apply_plan", is_flag=True, help="Make what the plan says.")
@click.option("--json", "as_json", is_flag=True, help="Print the plan as JSON.")
@connection_option
def provision(apply_plan: bool, as_json: bool, connection: str) -> int:
    """Plan the namespaces, field group, schema, descriptors and dataset; make them with --apply.

    Twice changes nothing; nothing is ever removed or narrowed.
    """
    from mixpanel_aep_assets.aep import provision as provisioning

    console = Console(highlight=False, soft_wrap=True)
    with open_connection(connection) as opened:
        plan = provisioning.plan(opened.platform, opened.wanted())
        if as_json:
            click.echo(json.dumps(plan.as_json(), indent=2))
        else:
            for line in plan.lines():
                console.print(line, markup=False)
        if apply_plan:
            made = provisioning.apply(
                opened.platform,
                plan,
                lambda step: console.print(step.line(), markup=False, style="green") if step.changes else None,
            )
            console.print(f"Dataset {made.dataset_id}", markup=False)
        elif plan.changes:
            console.print("Nothing was changed; --apply makes it.")
    return 0
