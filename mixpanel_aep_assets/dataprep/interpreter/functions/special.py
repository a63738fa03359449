"""Identifiers: random ones, and the one whose algorithm Adobe keeps to itself."""

from __future__ import annotations

from mixpanel_aep_assets.dataprep.interpreter.context import EvaluationContext
from mixpanel_aep_assets.dataprep.interpreter.functions.function_registry import Kind, Style, function, refuse


@function("uuid", "guid", category="special", gives=Kind.TEXT, style=Style.CONTEXT)
def random_identifier(context: EvaluationContext) -> str:
    """A random identifier in UUID form (version 4)."""
    return context.uuid()


refuse(
    "fpid_to_ecid",
    "special",
    (Kind.TEXT,),
    Kind.TEXT,
    "Adobe does not publish its algorithm",
    "map the FPID itself under an identity namespace of its own",
)
