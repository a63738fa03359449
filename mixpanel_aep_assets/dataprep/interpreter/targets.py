"""Types of the target and the conversion of values to them (data-prep.md#target-types).

A target is a JSON Schema (`outputSchema.jsonSchema`), a `TargetType`, or any callable from a destination path to a
`TargetType`; the path `""` stands for the whole row. Conversion concerns types only: whether an enum, a pattern or a
range is met is decided by the XDM conformance of the row.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Literal, get_args

from mixpanel_aep_assets.dataprep.interpreter.date_formats import read_default, to_datetime
from mixpanel_aep_assets.dataprep.interpreter.values import Value, is_number, kind_of, number_of_text, shown, to_text
from mixpanel_aep_assets.dataprep.language.ast import Step
from mixpanel_aep_assets.dataprep.language.mapping_errors import EvaluationError
from mixpanel_aep_assets.dataprep.language.paths import parse_destination

TypeName = Literal["any", "string", "integer", "number", "boolean", "date", "date-time", "object", "array", "map"]

TRUE_TEXTS: Final = frozenset({"y", "yes", "Y", "YES", "on", "ON", "true", "TRUE"})
FALSE_TEXTS: Final = frozenset({"n", "N", "no", "NO", "off", "OFF", "false", "FALSE"})
"""What text is a boolean under a boolean field (data-prep.md#target-types). Mixed case such as "Yes" is none."""

_DEEPEST: Final = 100


@dataclass(frozen=True)
class TargetType:
    """The type of a destination. `fields` and `required` are of an object, `items` of an array or of a map's values."""

    name: TypeName = "any"
    fields: Mapping[str, TargetType] = field(default_factory=dict)
    items: TargetType | None = None
    required: frozenset[str] = frozenset()

    @classmethod
    def from_json_schema(cls, schema: Mapping[str, Any], depth: int = 0) -> TargetType:
        """The type that a JSON Schema of the Platform describes; what has no known type is `any`."""
        if depth > _DEEPEST:
            return cls()
        parts = [schema, *(part for part in schema.get("allOf") or () if isinstance(part, Mapping))]
        named: Any = next((part["type"] for part in parts if part.get("type") is not None), None)
        if isinstance(named, list):
            named = next((one for one in named if one != "null"), None)
        properties = {name: one for part in parts for name, one in (part.get("properties") or {}).items()}
        if properties and named in {None, "object"}:
            return cls(
                "object",
                {str(name): cls.from_json_schema(one, depth + 1) for name, one in properties.items()},
                required=frozenset(name for part in parts for name in part.get("required") or ()),
            )
        if named == "object":
            values = schema.get("additionalProperties")
            return cls("map", items=cls.from_json_schema(values, depth + 1)) if isinstance(values, Mapping) else cls()
        if named == "array":
            items = schema.get("items")
            return cls("array", items=cls.from_json_schema(items, depth + 1) if isinstance(items, Mapping) else cls())
        if named == "string" and schema.get("format") in {"date", "date-time"}:
            return cls(schema["format"])
        return cls(named) if named in get_args(TypeName) else cls()

    def at(self, steps: Sequence[Step]) -> TargetType | None:
        """The type below this one, or None when there is no such field."""
        here: TargetType | None = self
        for step in steps:
            if here is None or here.name == "any":
                return here
            if step.name is None:
                here = here.items if here.name == "array" else None
            elif here.name == "map":
                here = here.items
            else:
                here = here.fields.get(step.name)
        return here


TypeOf = Callable[[str], TargetType | None]
Target = TargetType | Mapping[str, Any] | TypeOf


def type_of(target: Target | None) -> TypeOf | None:
    """One form for every way to name a target; None when there is none, and then nothing is converted
    (data-prep.md#target-types)."""
    if target is None or (callable(target) and not isinstance(target, TargetType)):
        return target
    root = target if isinstance(target, TargetType) else TargetType.from_json_schema(target)
    return lambda path: root.at(parse_destination(path)) if path else root


def convert(value: Value, target: TargetType) -> Value:
    """The value as the target's type. Null stays null; raises EvaluationError when it does not convert."""
    if value is None:
        return None
    match target.name:
        case "any":
            return value
        case "string":
            return to_text(value)
        case "boolean":
            return _boolean(value)
        case "integer":
            return _integer(value)
        case "number":
            return _number(value, "a number")
        case "date-time":
            return _date_time(value)
        case "date":
            return value if type(value) is dt.date else _date_time(value).date()
        case "array":
            if not isinstance(value, list):
                raise EvaluationError(f"expected an array, found {kind_of(value)}")
            return [convert(item, target.items or TargetType()) for item in value]
        case "map":
            return {key: convert(item, target.items or TargetType()) for key, item in _entries(value).items()}
        case "object":
            known = ((key, item) for key, item in _entries(value).items() if key in target.fields)
            return {key: convert(item, target.fields[key]) for key, item in known}


def convert_nested(value: Value, target: TargetType, nested: int) -> Value:
    """The same under a destination with `nested` times `[*]`: arrays, once per `[*]`, of what the target describes."""
    if nested == 0 or value is None:
        return convert(value, target)
    if not isinstance(value, list):
        raise EvaluationError(f"the destination iterates with [*], which takes an array, found {kind_of(value)}")
    return [convert_nested(item, target, nested - 1) for item in value]


def _entries(value: Value) -> dict[str, Value]:
    if isinstance(value, dict):
        return value
    raise EvaluationError(f"expected an object, found {kind_of(value)}")


def _boolean(value: Value) -> bool:
    if isinstance(value, bool):
        return value
    if isinstance(value, str):
        if value in TRUE_TEXTS:
            return True
        if value in FALSE_TEXTS:
            return False
        raise EvaluationError(f"the text {shown(value)} is none of the texts for true and false")
    raise EvaluationError(f"expected a boolean, found {kind_of(value)}")


def _number(value: Value, wanted: str) -> int | float:
    if is_number(value):
        return value  # type: ignore[no-any-return]
    number = number_of_text(value) if isinstance(value, str) else None
    if number is None:
        found = shown(value) if isinstance(value, str) else kind_of(value)
        raise EvaluationError(f"expected {wanted}, found {found}")
    return number


def _integer(value: Value) -> int:
    number = _number(value, "an integer")
    if isinstance(number, float):
        if not number.is_integer():
            raise EvaluationError(f"expected an integer, found {shown(value)}")
        return int(number)
    return number


def _date_time(value: Value) -> dt.datetime:
    return read_default(value) if isinstance(value, str) else to_datetime(value)
