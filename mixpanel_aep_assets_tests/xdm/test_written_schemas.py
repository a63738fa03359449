"""Schemas as the Registry sends them, written by hand, against an oracle that shares nothing with the model.

The oracle closes the document itself (xdm.md#closed-schemas) and hands it to jsonschema-rs.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest
from click.testing import CliRunner

from mixpanel_aep_assets.cli.conformance_commands import conformance
from mixpanel_aep_assets.xdm.rules import OWN

Node = dict[str, Any]

RANGES = {
    "byte": (-(2**7), 2**7 - 1),
    "short": (-(2**15), 2**15 - 1),
    "int": (-(2**31), 2**31 - 1),
    "long": (1 - 2**53, 2**53 - 1),
}


def text(**more: Any) -> Node:
    return {"type": "string", "meta:xdmType": "string", **more}


def whole(xdm: str, **more: Any) -> Node:
    low, high = RANGES[xdm]
    limits = {} if xdm == "int" else {"minimum": low, "maximum": high}
    return {"type": "integer", "meta:xdmType": xdm, **limits, **more}


def group(required: tuple[str, ...] = (), /, **properties: Node) -> Node:
    node = {"type": "object", "meta:xdmType": "object", "properties": properties}
    return {**node, "required": list(required)} if required else node


def listed(items: Node, **more: Any) -> Node:
    return {"type": "array", "meta:xdmType": "array", "items": items, **more}


def by_key(values: Node, **more: Any) -> Node:
    return {"type": "object", "meta:xdmType": "map", "additionalProperties": values, **more}


NUMBER, FLAG = {"type": "number", "meta:xdmType": "number"}, {"type": "boolean", "meta:xdmType": "boolean"}
MOMENT = {"type": "string", "format": "date-time", "meta:xdmType": "date-time"}

WRITTEN: dict[str, tuple[Node, Any]] = {
    "types": (
        group(("s", "n"), s=text(minLength=2, maxLength=5), n={**NUMBER, "minimum": -1.5, "maximum": 10}, i=whole("int"),
              l=whole("long"), h=whole("short"), b=whole("byte"), f=FLAG, d=text(format="date"), t=MOMENT,
              u=text(format="uri"), e=text(format="email"), p4=text(format="ipv4"), p6=text(format="ipv6"),
              r=text(format="uri-reference")),
        {"s": "abc", "n": 1.5, "i": 3, "l": 4, "h": 5, "b": 6, "f": True, "d": "2026-01-01", "e": "a@b.de", "p6": "::1",
         "t": "2026-01-01T00:00:00+02:00", "u": "https://a.b/c", "p4": "1.2.3.4", "r": "a/b"},
    ),
    "ranges": (
        group(a=whole("int", minimum=0), b=whole("long", minimum=0), c={"type": "integer"},
              d={"type": "integer", "minimum": 0}, e={**NUMBER, "exclusiveMinimum": 0, "exclusiveMaximum": 1},
              f={"type": "integer", "minimum": 1, "maximum": 5}, g={**NUMBER, "multipleOf": 0.5},
              h=whole("int", exclusiveMinimum=0, exclusiveMaximum=10)),
        {"a": 1, "b": 2, "c": 3, "d": 4, "e": 0.5, "f": 3, "g": 1.5, "h": 5},
    ),
    "choices": (
        group(a=text(enum=["x", "y"], **{"meta:enum": {"x": "X", "y": "Y"}}), b=whole("int", enum=[1, 2, 3]),
              c=listed(text(enum=["r", "g"])), d=by_key(text(enum=["on", "off"])), e=text(**{"meta:enum": {"q": "Q"}}),
              f={**NUMBER, "enum": [1.5, 2]}, g={**FLAG, "enum": [True]}, h=text(const="k"), i={"enum": [1, "z"]}),
        {"a": "x", "b": 2, "c": ["r"], "d": {"k/1": "on", "~": "off"}, "e": "zz", "f": 2, "g": True, "h": "k", "i": 1},
    ),
    "patterns": (
        group(a=text(pattern="^[A-Z]{2}$"), b=text(pattern="[0-9]+"), c=text(pattern="^\\d{3}-\\w+$"),
              d=text(pattern="^(?!foo).*$"), e=text(pattern="^a|b$"), f=text(pattern="^\\S+@\\S+$"),
              g=text(pattern="^[\\w.\\-]+$"), h=text(pattern="^(?<year>20)\\/"), i=listed(text(pattern="^t:"))),
        {"a": "DE", "b": "a1", "c": "123-x", "d": "bar", "e": "ab", "f": "a@b", "g": "a.b-c", "h": "20/", "i": ["t:1"]},
    ),
    "depths": (
        group(arr=listed(group(("sku",), sku=text(), qty=whole("int"), attrs=by_key(text()),
                               price=group(("amount",), amount=NUMBER, cur=text(pattern="^[A-Z]{3}$")))),
              aa=listed(listed(whole("int"))), mm=by_key(by_key(whole("long"))),
              ma=by_key(listed(group(("x",), x=MOMENT))), mo=by_key(group(("v",), v=whole("short")))),
        {"arr": [{"sku": "a", "qty": 1, "attrs": {"k/~": "v"}, "price": {"amount": 1.5, "cur": "EUR"}}, {"sku": "b"}],
         "aa": [[1, 2], [3]], "mm": {"a/b": {"c~d": 1}}, "ma": {"k": [{"x": "2026-01-01T00:00:00Z"}]},
         "mo": {"q": {"v": 1}}},
    ),
    "names": (
        group(("a/b", "m~n"), **{"a/b": text(), "m~n": whole("int"), "x y": group(**{"é": text(), "%25": text()}),
                                 "a.b": text(), "$ref": text()}),
        {"a/b": "x", "m~n": 1, "x y": {"é": "v", "%25": "z"}, "a.b": "r", "$ref": "q"},
    ),
    "counts": (
        group(a=listed(text(), minItems=2, maxItems=4), b=listed(text(), uniqueItems=True),
              c={**group(x=text(), y=text()), "minProperties": 1, "maxProperties": 1},
              d=by_key(text(), minProperties=1, maxProperties=2)),
        {"a": ["x", "y"], "b": ["a", "b"], "c": {"x": "q"}, "d": {"a": "b"}},
    ),
    "open": (
        group(a={"type": "object"}, b=by_key({}), c={"type": "object", "meta:xdmType": "map"},
              d={**group(), "additionalProperties": False}, e={}, f=by_key(text(format="email"))),
        {"a": {"x": {"y": 1}}, "b": {"a": 1}, "c": {"a": [1]}, "e": [None], "f": {"a": "a@b.de"}},
    ),
}  # fmt: skip
"""Name -> fields below the tenant, and a value that conforms."""

VALUES: tuple[Any, ...] = (
    None, True, 0, 1.5, -1, 2**31, -(2**31) - 1, 2**53, 390.0, 128, 32768, "x", " ", "US\n", "2026-13-01T00:00:00Z",
    "2026-01-10", "42:abc", "a b", "x" * 300, [], {}, ["x"], {"x": 1}, [None], {"x": None},
)  # fmt: skip
NAMES = ("foo", "xdm:foo", "a/b~c", "https://x.example/y", "S")


def document(fields: Node) -> Node:
    return {
        "$id": "https://ns.adobe.com/acme/schemas/1",
        "meta:altId": "_acme.schemas.1",
        "meta:resourceType": "schemas",
        "version": "1.0",
        "title": "Written",
        "type": "object",
        "meta:class": "https://ns.adobe.com/xdm/context/experienceevent",
        "meta:xdmType": "object",
        "required": ["_id", "timestamp"],
        "properties": {
            "_id": text(format="uri-reference", **{"meta:xdmField": "@id"}),
            "timestamp": {**MOMENT, "meta:xdmField": "xdm:timestamp"},
            "_acme": fields,
        },
    }


def closed(node: Node) -> Node:
    """The document as the Platform judges by it."""
    node = dict(node)
    if node.get("properties"):
        node["properties"] = {name: closed(inner) for name, inner in node["properties"].items()}
        node["additionalProperties"] = False
    elif isinstance(node.get("additionalProperties"), dict):
        node["additionalProperties"] = closed(node["additionalProperties"])
    if "items" in node:
        node["items"] = closed(node["items"])
    if node.get("type") == "integer":
        low, high = RANGES[node.get("meta:xdmType", "int" if "maximum" not in node else "long")]
        node["minimum"] = max(low, node.get("minimum", low))
        node["maximum"] = min(high, node.get("maximum", high))
    return node


def places(value: Any, at: tuple[Any, ...] = ()) -> Iterator[tuple[tuple[Any, ...], Any]]:
    yield at, value
    for step, inner in (
        value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    ):
        yield from places(inner, (*at, step))


def broken(record: Node) -> Iterator[Any]:
    """The record with each of `VALUES` at each place, without each member, with unknown ones, with longer lists."""
    for at, value in places(record):
        changes = list(VALUES) if at else [[], "x", None, 5]
        if isinstance(value, dict):
            changes += [{key: value[key] for key in value if key != gone} for gone in value]
            changes += [{**value, name: new} for name in NAMES for new in ("x", None, [{"id": 1}])]
        if isinstance(value, list):
            changes += [[*value, None], value * 5, value[:1]]
        for change in changes:
            changed = copy.deepcopy(record)
            inner: Any = changed
            for step in at[:-1]:
                inner = inner[step]
            if at:
                inner[at[-1]] = change
            else:
                changed = change
            yield changed


def foretold(oracle: jsonschema_rs.Draft6Validator, record: Any) -> set[tuple[str, str]]:
    def pointer(steps: Any) -> str:
        return "".join("/" + str(step).replace("~", "~0").replace("/", "~1") for step in steps)

    return {(pointer(error.instance_path), error.kind.name) for error in oracle.iter_errors(record)}


@pytest.mark.parametrize("name", WRITTEN)
def test_every_row_is_judged_as_by_an_oracle_of_its_own(name: str, tmp_path: Path) -> None:
    fields, value = WRITTEN[name]
    schema = document(fields)
    oracle = jsonschema_rs.Draft6Validator(closed(schema), validate_formats=True)
    base = {"_id": "a", "timestamp": "2026-01-01T00:00:00Z", "_acme": value}
    records = [base, *broken(base)]
    (tmp_path / "s.json").write_text(json.dumps(schema))
    (tmp_path / "d.ndjson").write_text("".join(json.dumps(record) + "\n" for record in records))
    result = CliRunner().invoke(conformance, ["--schema", str(tmp_path / "s.json"), str(tmp_path / "d.ndjson")])
    told: dict[int, set[tuple[str, str]]] = {}
    for line in map(json.loads, result.stdout.splitlines()):
        if line["keyword"] not in OWN:
            told.setdefault(line["row"], set()).add((line["pointer"], line["keyword"]))
    assert len(records) > 200
    assert 0 not in told
    for row, record in enumerate(records):
        assert told.get(row, set()) == foretold(oracle, record), json.dumps(record)
