"""The exact Parquet layout that the Platform takes for XDM, and a writer that streams parts of bounded size.

Layout by platform.md#parquet-types: INT32 with INT_8/INT_16 annotations, TIMESTAMP_MILLIS in UTC, DATE, MAP
groups, three-level LIST groups, everything optional but map keys, Snappy. Whether values conform is not decided here.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator
from types import TracebackType
from typing import IO, cast

import polars as pl
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from mixpanel_aep_assets.manifests import Part
from mixpanel_aep_assets.xdm.empty import without_empty
from mixpanel_aep_assets.xdm.schema import Field, Schema, SchemaError

PART_LIMIT = 256 * 10**6
"""Largest part, in bytes: above this the Platform asks for the large-file protocol."""

ROW_GROUP_ROWS = 131_072

_ROLL_AT = 0.9
"""A part ends when the next row group might take it past this share of the limit; sizes are foretold from the last
group."""

_SAMPLE_ROWS = 4096

_LEAF_TYPES: dict[str, pa.DataType] = {
    "string": pa.string(),
    "double": pa.float64(),
    "long": pa.int64(),
    "int": pa.int32(),
    "short": pa.int16(),
    "byte": pa.int8(),
    "boolean": pa.bool_(),
    "date": pa.date32(),
    "date_time": pa.timestamp("ms", tz="UTC"),
}

Columns = Iterable[str] | pl.Schema | None
"""Which columns of a schema a frame has: names (each taken whole), a frame's schema (nested members pruned too), or
all."""


def arrow_schema(schema: Schema, columns: Columns = None) -> pa.Schema:
    """The Arrow schema whose Parquet form is the Platform's, in the XDM schema's order. Raises SchemaError."""
    target = column_types(schema, columns)
    return pa.schema([pa.field(name, _arrow_type(_column(schema, name), target[name])) for name in target])


def column_types(schema: Schema, columns: Columns = None) -> pl.Schema:
    """The Polars types of the chosen columns, in the XDM schema's order; SchemaError for a name that the schema
    lacks."""
    if columns is None:
        return schema.polars_schema()
    wanted = columns if isinstance(columns, pl.Schema) else dict.fromkeys(columns)
    target: dict[str, pl.DataType] = {}
    for child in schema.root.children:
        if child.name in wanted:
            actual = wanted[child.name]
            dtype = child.polars_type() if actual is None else _prune(child, actual, child.name)
            if dtype is not None:
                target[child.name] = dtype
    unknown = [name for name in wanted if name not in target and wanted[name] != pl.Null()]
    if unknown:
        raise SchemaError(
            f"The schema {schema.title or schema.id!r} has no column {', '.join(map(repr, unknown))}. "
            "Add the field to the schema, or take it out of the mapping."
        )
    return pl.Schema(target)


def shape(frame: pl.DataFrame, schema: Schema, columns: Columns = None) -> pl.DataFrame:
    """The frame with exactly the schema's types and order, and without empty values.

    Missing columns become null, and so does what is empty, at whatever depth; empty items of lists and entries of maps
    are left out (`empty`). `identityMap` and other maps may come as a Polars Map or as a list of `{key, value}`. Values
    that do not fit their type raise SchemaError.
    """
    actual = frame.schema
    target = column_types(schema, actual if columns is None else columns)
    stages = _Stages()
    roots = {
        name: stages.place(pl.col(name), frame.get_column(name) if name in actual else None, dtype)
        for name, dtype in target.items()
    }
    try:
        return stages.run(frame).select(pl.col(placed).alias(name) for name, (placed, _) in roots.items())
    except pl.exceptions.PolarsError as error:
        first = str(error).strip().splitlines()[0]
        raise SchemaError(f"A column does not convert to its type in {schema.title or schema.id!r}: {first}") from error


def to_arrow(frame: pl.DataFrame, schema: Schema, columns: Columns = None, *, shaped: bool = False) -> pa.Table:
    """An Arrow table of exactly `arrow_schema`'s types. `shaped` says that the frame comes from `shape` with
    `columns`."""
    columns = frame.schema if columns is None else columns
    whole = frame if shaped else shape(frame, schema, columns)
    return whole.to_arrow(compat_level=pl.CompatLevel.oldest()).cast(arrow_schema(schema, columns))


class XdmWriter:
    """Writes frames as Parquet parts of at most `part_limit` bytes; memory holds one row group.

    `open_part` makes the file of a name (`Staging.open` of storage does). All parts have one layout: that of `columns`
    if it is a Polars schema, else that of the first frame and all of `columns`. Later frames may lack members, and get
    nulls; one with further members raises SchemaError. Use as a context manager, or call `close`.
    """

    def __init__(
        self,
        open_part: Callable[[str], IO[bytes]],
        schema: Schema,
        columns: Columns = None,
        *,
        part_limit: int = PART_LIMIT,
        row_group_rows: int = ROW_GROUP_ROWS,
        name: str = "part-{number:05}.parquet",
    ) -> None:
        self.parts: list[Part] = []
        self._open_part = open_part
        self._schema = schema
        self._wanted = columns
        self._columns: pl.Schema | None = column_types(schema, columns) if isinstance(columns, pl.Schema) else None
        self._limit = part_limit
        self._row_group_rows = row_group_rows
        self._name = name
        self._file: IO[bytes] | None = None
        self._sink: pa.PythonFile | None = None
        self._writer: pq.ParquetWriter | None = None
        self._rows = 0
        self._bytes_per_row = 0.0

    def write(self, frame: pl.DataFrame, *, shaped: bool = False) -> None:
        """Appends rows. `shaped` says that the frame comes from `shape` with this writer's columns. Raises
        SchemaError."""
        columns = self._layout(frame.schema)
        for chunk in frame.iter_slices(self._row_group_rows):
            table = to_arrow(chunk, self._schema, columns, shaped=shaped and frame.schema == columns)
            expected = max(self._bytes_per_row * table.num_rows, 1.0)
            if self._writer is not None and self._position() + expected > self._limit * _ROLL_AT:
                self._finish()
            if self._writer is None:
                self._start(table)
            before = self._position()
            cast("pq.ParquetWriter", self._writer).write_table(table, row_group_size=self._row_group_rows)
            self._rows += table.num_rows
            self._bytes_per_row = (self._position() - before) / max(table.num_rows, 1)

    def close(self) -> list[Part]:
        """Ends the last part. An empty input leaves no part."""
        if self._writer is not None:
            self._finish()
        return self.parts

    def __enter__(self) -> XdmWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self.close()
        elif self._writer is not None:
            with contextlib.suppress(Exception):  # the file is worth nothing; the first error is the one to see
                self._finish()

    def _layout(self, frame: pl.Schema) -> pl.Schema:
        """The columns of all parts, fixed by the first frame."""
        if self._columns is None:
            wanted = [name for name in (self._wanted or ()) if name not in frame]
            missing = column_types(self._schema, wanted) if wanted else {}
            self._columns = column_types(self._schema, pl.Schema({**frame, **missing}))
        elif frame != self._columns:
            _refuse_growth(column_types(self._schema, frame), self._columns, "")
        return self._columns

    def _start(self, table: pa.Table) -> None:
        self._file = self._open_part(self._name.format(number=len(self.parts)))
        self._sink = pa.PythonFile(self._file, mode="w")
        self._writer = pq.ParquetWriter(
            self._sink,
            table.schema,
            compression="snappy",
            use_dictionary=_repetitive(table),
            version="2.6",
            use_compliant_nested_type=True,
            store_schema=False,
        )

    def _finish(self) -> None:
        cast("pq.ParquetWriter", self._writer).close()
        size = self._position()
        cast("IO[bytes]", self._file).close()
        self.parts.append(Part(self._name.format(number=len(self.parts)), self._rows, size))
        self._writer = self._sink = self._file = None
        self._rows = 0

    def _position(self) -> int:
        return int(self._sink.tell()) if self._sink is not None else 0


def _repetitive(table: pa.Table) -> list[str]:
    """Paths of the leaves that are worth a dictionary: all but those whose values hardly repeat in the first rows.

    Without this the writer builds a dictionary of every id, URL and JSON text, only to throw it away.
    """
    sample = table.slice(0, _SAMPLE_ROWS)
    return [
        path
        for name in table.schema.names
        for path, values in _leaf_values(name, sample.column(name).combine_chunks())
        if pc.count_distinct(values).as_py() * 2 <= max(len(values) - values.null_count, 2)
    ]


def _leaf_values(path: str, values: pa.Array) -> Iterator[tuple[str, pa.Array]]:
    """The leaves below a column by their Parquet path, with their values."""
    if pa.types.is_struct(values.type):
        for member, inner in zip(values.type, values.flatten(), strict=True):
            yield from _leaf_values(f"{path}.{member.name}", inner)
    elif pa.types.is_map(values.type):
        yield from _leaf_values(f"{path}.key_value.key", values.keys)
        yield from _leaf_values(f"{path}.key_value.value", values.items)
    elif pa.types.is_list(values.type):
        yield from _leaf_values(f"{path}.list.element", values.flatten())
    else:
        yield path, values


def _refuse_growth(frame: pl.Schema, layout: pl.Schema, path: str) -> None:
    """A member that the first frame had not would be lost: say so instead."""
    for name, dtype in frame.items():
        here = f"{path}{name}"
        if name not in layout:
            raise SchemaError(f"The column {here} was not in the first frame; give XdmWriter all columns at the start.")
        known = layout[name]
        while isinstance(dtype, pl.List) and isinstance(known, pl.List):
            dtype, known = cast("pl.DataType", dtype.inner), cast("pl.DataType", known.inner)
        if isinstance(dtype, pl.Struct) and isinstance(known, pl.Struct):
            _refuse_growth(_members(dtype), _members(known), here + ".")


def _members(dtype: pl.Struct) -> pl.Schema:
    return pl.Schema({member.name: cast("pl.DataType", member.dtype) for member in dtype.fields})


def _column(schema: Schema, name: str) -> Field:
    return schema.root.by_name[name]


def _prune(field: Field, actual: pl.DataType, path: str) -> pl.DataType | None:
    """The schema's type of a field, without the members that the actual type lacks."""
    if actual == pl.Null():
        return None
    if field.kind == "object" and isinstance(actual, pl.Struct):
        known = {member.name: member.dtype for member in actual.fields}
        unknown = [f"{path}.{name}" for name in known if field.child(name) is None]
        if unknown:
            raise SchemaError(f"The schema has no field {', '.join(unknown)}. Add it, or take it out of the mapping.")
        members = {
            child.name: _prune(child, cast("pl.DataType", known[child.name]), f"{path}.{child.name}")
            for child in field.children
            if child.name in known
        }
        kept = {name: dtype for name, dtype in members.items() if dtype is not None}
        return pl.Struct(kept) if kept else None
    if field.kind == "array" and field.items is not None and isinstance(actual, pl.List):
        inner = _prune(field.items, cast("pl.DataType", actual.inner), path + "[]")
        return None if inner is None else pl.List(inner)
    return field.polars_type()


def _arrow_type(field: Field, dtype: pl.DataType) -> pa.DataType:
    if isinstance(dtype, pl.Struct):
        return pa.struct(
            [
                pa.field(member.name, _arrow_type(field.by_name[member.name], cast("pl.DataType", member.dtype)))
                for member in dtype.fields
            ]
        )
    if field.kind == "array":
        inner = _arrow_type(cast("Field", field.items), cast("pl.DataType", cast("pl.List", dtype).inner))
        return pa.list_(pa.field("element", inner))
    if field.kind == "map":
        values = cast("Field", field.values)
        return pa.map_(pa.string(), _arrow_type(values, cast("pl.DataType", values.polars_type())))
    return _LEAF_TYPES[field.kind]


class _Stages:
    """Columns made from the leaves up, the objects of each level from columns that are there.

    As one expression, an object would name each of its leaves once more for every level above them.
    """

    def __init__(self) -> None:
        self._levels: list[list[pl.Expr]] = [[]]
        self._lists: list[str] = []
        """Columns of lists and maps, whose items only the values tell."""

    def place(self, value: pl.Expr, column: pl.Series | None, target: pl.DataType) -> tuple[str, int]:
        """`value`, which gives `column`, as the target type, empty values as null: its column, and the level that makes it."""
        if column is None or column.null_count() == len(column):
            return self._add(0, pl.lit(None).cast(target))
        if not (isinstance(target, pl.Struct) and isinstance(column.dtype, pl.Struct)):
            made = self._add(0, value if _is_shaped(column, target) else _shaped(value, column.dtype, target))
            if isinstance(target, pl.List | pl.Map):
                self._lists.append(made[0])
            return made
        known = {member.name: member for member in column.struct.unnest()}
        members = {
            member.name: self.place(
                value.struct.field(member.name), known.get(member.name), cast("pl.DataType", member.dtype)
            )
            for member in target.fields
        }
        placed = {name: pl.col(made) for name, (made, _) in members.items()}
        return self._add(1 + max(level for _, level in members.values()), _object(placed))

    def run(self, frame: pl.DataFrame) -> pl.DataFrame:
        """The frame with all placed columns."""
        leaves, *objects = self._levels
        frame = frame.with_columns(leaves)
        frame = frame.with_columns([without_empty(frame.get_column(name)) for name in self._lists])
        for level in objects:
            frame = frame.with_columns(level)
        return frame

    def _add(self, level: int, expression: pl.Expr) -> tuple[str, int]:
        while len(self._levels) <= level:
            self._levels.append([])
        name = f"{level}.{len(self._levels[level])}"
        self._levels[level].append(expression.alias(name))
        return name, level


def _is_shaped(column: pl.Series, target: pl.DataType) -> bool:
    """Whether a text column has no empty value, as most have none: then its values need not be chosen row by row."""
    return target == pl.String() and column.dtype == pl.String() and not (column == "").any()


def _object(members: dict[str, pl.Expr]) -> pl.Expr:
    """A struct, null where all of its members are."""
    present = pl.any_horizontal([member.is_not_null() for member in members.values()])
    return pl.when(present).then(pl.struct([member.alias(name) for name, member in members.items()]))


def _shaped(value: pl.Expr, actual: pl.DataType, target: pl.DataType) -> pl.Expr:
    """`value` of the actual type as the target type, empty texts and objects as null."""
    if actual == pl.Null():
        return value.cast(target)
    if isinstance(target, pl.Struct) and isinstance(actual, pl.Struct):
        known = {member.name: cast("pl.DataType", member.dtype) for member in actual.fields}
        return _object(
            {
                member.name: _shaped(
                    value.struct.field(member.name), known[member.name], cast("pl.DataType", member.dtype)
                )
                if member.name in known
                else pl.lit(None, dtype=member.dtype)
                for member in target.fields
            }
        )
    if isinstance(target, pl.Map) and isinstance(actual, pl.Struct):  # each entry has a destination of its own
        of = cast("pl.DataType", target.value)
        entries = [
            pl.struct(
                pl.lit(member.name).alias("key"),
                _shaped(value.struct.field(member.name), cast("pl.DataType", member.dtype), of).alias("value"),
            )
            for member in actual.fields
        ]
        return pl.concat_list(entries).cast(target)
    if isinstance(target, pl.List) and isinstance(actual, pl.List) and actual != target:
        inner = _shaped(pl.element(), cast("pl.DataType", actual.inner), cast("pl.DataType", target.inner))
        return value.list.eval(inner)
    if target == pl.String():
        text = value if actual == pl.String() else value.cast(pl.String)
        return pl.when(text != "").then(text)
    return value if actual == target else value.cast(target)
