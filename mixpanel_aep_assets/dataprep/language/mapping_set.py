"""The mapping set as data: both JSON shapes of Adobe (data-prep.md#mapping-sets), YAML and the CSV template, and back.

Only the shape is checked here. Whether the expressions and paths are right is `validation.py`.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable
from collections.abc import Mapping as Mapped
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any, Final, Self

import orjson
import yaml

from mixpanel_aep_assets.dataprep.language import bounds
from mixpanel_aep_assets.dataprep.language.mapping_errors import MappingSetError, nearest


class SourceType(StrEnum):
    ATTRIBUTE = "ATTRIBUTE"
    EXPRESSION = "EXPRESSION"
    STATIC = "STATIC"


_MEDIA_TYPES: Final = {
    "text/x.schema-path": SourceType.ATTRIBUTE,
    "text/x.aep-xl": SourceType.EXPRESSION,
    "text/plain": SourceType.STATIC,
}
_OLDER_NAMES: Final = {"source": "sourceAttribute", "destination": "destinationXdmPath", "sourceType": "sourceType"}
_CSV_COLUMNS: Final = ("sourceType", "source", "destination", "name", "description")
_CSV_HEADERS: Final = {
    "sourcetype": "sourceType",
    "sourcedatatype": "sourceType",
    "type": "sourceType",
    "source": "source",
    "sourcefield": "source",
    "sourcepath": "source",
    "sourcedata": "source",
    "sourceattribute": "source",
    "destination": "destination",
    "destinationpath": "destination",
    "destinationxdmpath": "destination",
    "target": "destination",
    "targetfield": "destination",
    "targetpath": "destination",
    "name": "name",
    "description": "description",
}
"""Spellings of a CSV header, letters and digits only, in lower case."""


@dataclass(frozen=True)
class Mapping:
    """One source tied to one destination path. `extra` keeps what has no effect on the value, for the way back."""

    source: str
    destination: str
    source_type: SourceType = SourceType.ATTRIBUTE
    name: str | None = None
    description: str | None = None
    extra: Mapped[str, Any] = field(default_factory=dict, compare=False, repr=False)

    @classmethod
    def from_json(cls, document: Any, where: str = "mapping") -> Self:
        """From either form of a mapping. Raises MappingSetError that names `where`."""
        if not isinstance(document, Mapped):
            raise MappingSetError(f"{where} is {_kind(document)}, expected an object with source and destination")
        source = _either(document, "source")
        destination = _either(document, "destination")
        if source is None or destination is None:
            missing = "source" if source is None else "destination"
            known = ("source", "destination", "sourceType", "sourceAttribute", "destinationXdmPath")
            close = next((name for name in map(str, document) if name not in known and nearest(name, known)), None)
            raise MappingSetError(f"{where} has no {missing}" + (f" (is {close!r} a slip?)" if close else ""))
        if isinstance(source, bool | int | float):
            source = orjson.dumps(source).decode()
        if not isinstance(source, str) or not isinstance(destination, str):
            wrong = "source" if not isinstance(source, str) else "destination"
            raise MappingSetError(f"{where}: {wrong} is {_kind(document.get(wrong))}, expected a string")
        used = {"source", "destination", "sourceType", "name", "description"} | set(_OLDER_NAMES.values())
        return cls(
            source=source,
            destination=destination,
            source_type=_source_type(document.get("sourceType"), where),
            name=_optional_text(document, "name", where),
            description=_optional_text(document, "description", where),
            extra={str(key): value for key, value in document.items() if key not in used},
        )

    def to_json(self) -> dict[str, Any]:
        """The newer form, with what came along."""
        document: dict[str, Any] = {
            "sourceType": self.source_type.value,
            "source": self.source,
            "destination": self.destination,
        }
        if self.name is not None:
            document["name"] = self.name
        if self.description is not None:
            document["description"] = self.description
        return {**document, **self.extra}


@dataclass(frozen=True)
class MappingSet:
    """The mappings of one dataflow, in the order of the document.

    `output_schema` is the expanded JSON Schema of the target when the document carries one
    (`outputSchema.jsonSchema`), else None: then nothing is converted (data-prep.md#target-types). `document` keeps the
    other members.
    """

    mappings: tuple[Mapping, ...]
    allow_null_values: bool = False
    output_schema: Mapped[str, Any] | None = field(default=None, repr=False)
    document: Mapped[str, Any] = field(default_factory=dict, compare=False, repr=False)

    @classmethod
    def from_json(cls, document: Any) -> Self:
        """From the JSON of the Platform, of either form, or from a bare list of mappings. Raises MappingSetError."""
        if isinstance(document, list):
            document = {"mappings": document}
        if not isinstance(document, Mapped):
            raise MappingSetError(f"a mapping set is an object with a list of mappings, this is {_kind(document)}")
        mappings = document.get("mappings")
        if not isinstance(mappings, list):
            raise MappingSetError("the mapping set has no list named mappings")
        if len(mappings) > bounds.MAPPINGS:
            raise MappingSetError(f"{len(mappings)} mappings, at most {bounds.MAPPINGS} are allowed")
        rows = tuple(Mapping.from_json(one, f"mapping {n}") for n, one in enumerate(mappings, start=1))
        written = sum(len(one.source) for one in rows if one.source_type is SourceType.EXPRESSION)
        if written > bounds.SOURCE_CHARACTERS:
            raise MappingSetError(
                f"the expressions have {written} characters together, at most {bounds.SOURCE_CHARACTERS} are allowed"
            )
        allow = document.get("allowNullValues", False)
        if allow is not None and not isinstance(allow, bool):
            raise MappingSetError(f"allowNullValues is {_kind(allow)}, expected true or false")
        return cls(
            mappings=rows,
            allow_null_values=bool(allow),
            output_schema=_json_schema(document),
            document={str(key): value for key, value in document.items() if key != "mappings"},
        )

    def to_json(self) -> dict[str, Any]:
        """The newer form; `MappingSet.from_json` reads it back to an equal set."""
        return {"version": 0, **self.document, "mappings": [mapping.to_json() for mapping in self.mappings]}

    def to_csv(self) -> str:
        """The CSV template: one mapping a row. What concerns the whole set does not fit into it."""
        out = io.StringIO(newline="")
        writer = csv.writer(out, lineterminator="\n")
        writer.writerow(_CSV_COLUMNS)
        for mapping in self.mappings:
            row = mapping.to_json()
            writer.writerow([row.get(column) or "" for column in _CSV_COLUMNS])
        return out.getvalue()


def load_mapping_set(path: Path) -> MappingSet:
    """The mapping set of a `.json`, `.yaml`/`.yml` or `.csv` file. Raises MappingSetError that names the file."""
    try:
        size = path.stat().st_size
        if size > bounds.FILE_BYTES:
            raise MappingSetError(f"{path} has {size} bytes, at most {bounds.FILE_BYTES} are read")
        content = path.read_bytes()
    except OSError as error:
        raise MappingSetError(f"{path} cannot be read: {error.strerror or error}") from error
    try:
        return read_mapping_set(content, path.suffix)
    except MappingSetError as error:
        raise MappingSetError(f"{path}: {error}") from error


def read_mapping_set(content: bytes, suffix: str) -> MappingSet:
    """A mapping set from the bytes of a file with this suffix. Raises MappingSetError."""
    try:
        match suffix.lower():
            case ".json":
                return MappingSet.from_json(orjson.loads(content.removeprefix(b"\xef\xbb\xbf")))
            case ".yaml" | ".yml":
                if len(content) > bounds.YAML_BYTES:
                    raise MappingSetError(
                        f"{len(content)} bytes of YAML, at most {bounds.YAML_BYTES} are read; use JSON"
                    )
                return MappingSet.from_json(yaml.load(content, Loader=_YamlLoader))  # noqa: S506 - a safe loader
            case ".csv":
                return MappingSet.from_json(list(_csv_mappings(content.decode("utf-8-sig"))))
    except orjson.JSONDecodeError as error:
        raise MappingSetError(f"no JSON: line {error.lineno}, column {error.colno}: {error.msg}") from error
    except yaml.YAMLError as error:
        raise MappingSetError(f"no YAML: {' '.join(str(error).split())}") from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise MappingSetError(f"no CSV in UTF-8: {error}") from error
    except RecursionError as error:
        raise MappingSetError("the document is nested too deeply") from error
    raise MappingSetError(
        f"a mapping set is a .json, .yaml, .yml or .csv file, not {suffix or 'a file without suffix'}"
    )


class _YamlLoader(yaml.SafeLoader):
    """Safe, and without aliases: a few lines of them can stand for gigabytes."""

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        if self.check_event(yaml.AliasEvent):
            raise yaml.YAMLError("aliases are not supported in a mapping set")
        return super().compose_node(parent, index)


def _csv_mappings(text: str) -> Iterable[dict[str, str]]:
    rows = csv.reader(io.StringIO(text, newline=""), strict=True)
    header = next(rows, None)
    if header is None:
        raise MappingSetError("the file is empty, expected a header such as sourceType,source,destination")
    columns = [_CSV_HEADERS.get("".join(filter(str.isalnum, name.lower()))) for name in header]
    for required in ("source", "destination"):
        if required not in columns:
            raise MappingSetError(f"the header {','.join(header)!r} has no column for the {required}")
    for row in rows:
        if not any(cell.strip() for cell in row):
            continue
        if len(row) > len(columns):
            raise MappingSetError(
                f"line {rows.line_num} has {len(row)} cells under {len(columns)} columns; quote commas"
            )
        yield {
            column: cell
            for column, cell in zip(columns, row, strict=False)
            if column is not None and (cell or column in {"source", "destination"})
        }


def _json_schema(document: Mapped[str, Any]) -> Mapped[str, Any] | None:
    output = document.get("outputSchema")
    schema = output.get("jsonSchema") if isinstance(output, Mapped) else None
    if isinstance(schema, str | bytes):
        try:
            schema = orjson.loads(schema)
        except orjson.JSONDecodeError as error:
            raise MappingSetError(f"outputSchema.jsonSchema is a string that is not JSON: {error.msg}") from error
    if schema is not None and not isinstance(schema, Mapped):
        raise MappingSetError(f"outputSchema.jsonSchema is {_kind(schema)}, expected an object")
    return schema


def _source_type(name: Any, where: str) -> SourceType:
    if name is None:
        return SourceType.ATTRIBUTE
    if isinstance(name, str):
        if name.lower() in _MEDIA_TYPES:
            return _MEDIA_TYPES[name.lower()]
        if name.upper() in SourceType.__members__:
            return SourceType(name.upper())
    names = ", ".join([*SourceType, *_MEDIA_TYPES])
    raise MappingSetError(f"{where}: sourceType {name!r} is unknown, expected one of {names}")


def _either(document: Mapped[str, Any], name: str) -> Any:
    value = document.get(name)
    return document.get(_OLDER_NAMES[name]) if value is None else value


def _optional_text(document: Mapped[str, Any], name: str, where: str) -> str | None:
    value = document.get(name)
    if value is not None and not isinstance(value, str):
        raise MappingSetError(f"{where}: {name} is {_kind(value)}, expected a string")
    return value


def _kind(value: Any) -> str:
    kinds = {dict: "an object", list: "a list", str: "a string", bool: "a boolean", int: "a number", float: "a number"}
    return "null" if value is None else kinds.get(type(value), f"a {type(value).__name__}")
