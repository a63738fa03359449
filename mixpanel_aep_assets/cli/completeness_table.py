"""The completeness report as a table for a terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich.markup import escape
from rich.table import Table

from mixpanel_aep_assets.pipeline.books.report import COUNTS


def completeness_table(report: Mapping[str, Any], title: str | None = None, counts: Sequence[str] = COUNTS) -> Table:
    """The report for a terminal, with these counts; one that is not known shows as a dash."""
    shown = Table(title=title)
    shown.add_column("day")
    for count in counts:
        shown.add_column(count, justify="right")
    shown.add_column("batch", overflow="fold")
    shown.add_column("status")
    colours = {"ingested": "green", "empty": "green", "in_progress": "yellow"}
    for row in report["days"]:
        status = row["status"]
        shown.add_row(
            row["day"],
            *(_number(row[count]) for count in counts),
            row["batch_id"] or "",
            f"[{colours.get(status, 'red')}]{status}[/]",
        )
    for request in report["requests"]:
        reasons = ", ".join(f"{reason} {number:,}" for reason, number in request["reasons"].items())
        known = {"exported": request["quarantined"], "quarantined": request["quarantined"]}
        shown.add_row(
            f"{request['from']}\nto {request['to']}",
            *(f"{known[count]:,}" if count in known else "" for count in counts),
            "",
            f"quarantined:\n{escape(reasons)}",
        )
    shown.add_section()
    shown.add_row("total", *(_number(report["totals"][count]) for count in counts), "", "")
    return shown


def _number(count: int | None) -> str:
    return "-" if count is None else f"{count:,}"
