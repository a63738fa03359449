"""Random mapping sets on random records: rows and errors of the compiled form are those of the plain evaluator.

With and without a target schema, with nulls kept and left out; objects copied and overridden, elements by number, `[*]`,
maps, and mappings that contradict each other.
"""

from __future__ import annotations

import json
from typing import Any

import polars as pl
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from mixpanel_aep_assets.dataprep.columnar.compiled_mapping import compile_mapping
from mixpanel_aep_assets.dataprep.interpreter.evaluate import Evaluator
from mixpanel_aep_assets.dataprep.interpreter.records import decode_object
from mixpanel_aep_assets.dataprep.interpreter.validation import validate
from mixpanel_aep_assets.dataprep.language.mapping_set import MappingSet
from mixpanel_aep_assets_tests.dataprep.columnar.test_compiled_mapping import rows_of, tidy

SCALARS = (
    st.none() | st.booleans() | st.integers(-3, 300)
    | st.sampled_from([1.5, 2.0, 2**40, "", "x", "5", "yes", "2026-01-02", "2026-01-02T03:04:05Z", "7/08/2020", "1.50"])
)  # fmt: skip
OBJECTS = st.fixed_dictionaries(
    {}, optional={"k": SCALARS, "j": SCALARS, "in": st.fixed_dictionaries({}, optional={"z": SCALARS})}
)
RECORDS = st.fixed_dictionaries(
    {},
    optional={
        "a": st.lists(OBJECTS | st.none(), max_size=3) | SCALARS,
        "b": SCALARS,
        "c": SCALARS,
        "l": st.lists(SCALARS, max_size=3) | SCALARS,
        "o": OBJECTS | SCALARS,
        "aa": st.lists(st.fixed_dictionaries({}, optional={"b": st.lists(OBJECTS, max_size=2) | SCALARS}), max_size=2),
    },
)
ATTRIBUTES = ["a", "b", "c", "l", "o", "o.k", "o.in", "a[0]", "a[0].k", "l[1]", "a[*].k", "a[*].in.z", "a[*]", "l[*]",
              "aa[*].b[*].k", "aa[*].b", "missing"]  # fmt: skip
EXPRESSIONS = ["b + 1", "upper(c)", "coalesce(b, c)", "to_object('k', b)", "[b, c]", "transformArray(a, e -> e.k)",
               "to_integer(b)", "date(c)", "nullify()", "iif(b == 'x', c, nullify())"]  # fmt: skip
SOURCES = st.sampled_from(
    [(one, "ATTRIBUTE") for one in ATTRIBUTES]
    + [(one, "EXPRESSION") for one in EXPRESSIONS]
    + [("5", "STATIC"), ("x", "STATIC")]
)
DESTINATIONS = st.sampled_from(
    ["r", "s.t", "s.u", "s.u.v", "p", "p.k", "p.in", "p.in.z", "q[0]", "q[1]", "q[1].k", "q[*]", "q[*].k", "q[*].in.z",
     "m.n", "m.o", "w[*].y[*].k", "w[0].y[0].k", "w[*].y", "i", "d", "f", "g"]
)  # fmt: skip


def an_object(**properties: Any) -> dict[str, Any]:
    return {"type": "object", "properties": properties}


def an_array(items: dict[str, Any]) -> dict[str, Any]:
    return {"type": "array", "items": items}


TEXT, INTEGER = {"type": "string"}, {"type": "integer"}
ITEM = an_object(k=TEXT, j=INTEGER, **{"in": an_object(z={"type": "number"})})
SCHEMA = an_object(
    r=TEXT,
    s=an_object(t=TEXT, u=an_object(v=INTEGER)),
    p=ITEM,
    q=an_array(ITEM),
    m={"type": "object", "additionalProperties": TEXT},
    w=an_array(an_object(y=an_array(ITEM))),
    i=INTEGER,
    d={"type": "string", "format": "date-time"},
    f={"type": "boolean"},
    g=an_array(TEXT),
)


@settings(max_examples=400, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    st.lists(st.tuples(SOURCES, DESTINATIONS), min_size=1, max_size=5),
    st.lists(RECORDS, min_size=1, max_size=4),
    st.booleans(),
    st.booleans(),
)
def test_a_random_set_agrees_on_random_records(
    mappings: list[tuple[tuple[str, str], str]], records: list[dict[str, Any]], typed: bool, nulls: bool
) -> None:
    rows = [{"source": one, "sourceType": kind, "destination": place} for (one, kind), place in mappings]
    more = {"outputSchema": {"jsonSchema": SCHEMA}} if typed else {}
    chosen = MappingSet.from_json({"mappings": rows, "allowNullValues": nulls, **more})
    assume(validate(chosen).ok)
    texts = [json.dumps(record) for record in records]
    found = compile_mapping(chosen, layout="record").apply(pl.DataFrame({"record": texts}))
    wanted = [Evaluator(chosen).row(decode_object(text)) for text in texts]
    assert rows_of(found) == [tidy(one.data) for one in wanted]
    assert sorted(found.errors.select("row", "destination", "exception").rows()) == sorted(
        (row, error.destination, error.exception) for row, one in enumerate(wanted) for error in one.errors
    )
