"""Reading a completed batch's files: parse, validate, count, write what Data Access and the books will be asked for.

Memory stays bounded: Parquet is read in slices of `SLICE` rows, JSON line by line. Into the batch's folder go

    rows.parquet             `id`, `timestamp` (ms), `bytes` (about the size as JSON) of each row that passed
    meta/...                 input_files, row_errors/<class>_errors_0.json, row_errors_sample.json
    failed/...               the rejected rows and `_SUCCESS`
"""

from __future__ import annotations

import base64
import datetime
import functools
import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from mixpanel_aep_assets.emulator.platform.columns import RowErrors, check_rows, check_types
from mixpanel_aep_assets.emulator.platform.records import check_record
from mixpanel_aep_assets.emulator.platform.sizes import json_bytes
from mixpanel_aep_assets.emulator.platform.tree import Node
from mixpanel_aep_assets.emulator.platform.values import (
    MESSAGES,
    SchemaMismatchError,
    TypeCompatibilityError,
    UnreadableError,
)

SLICE = 32_768
SAMPLE = 20
ROWS = pa.schema([("id", pa.string()), ("timestamp", pa.int64()), ("bytes", pa.int32())])
_FILES = {"1401": "parsing_errors_0.json", "1404": "conversion_errors_0.json"}
_VALIDATION = "validation_errors_0.json"
_EMPTY = "Dataset file is empty. Please ensure that the file has data before ingesting."


@dataclass(frozen=True)
class Limits:
    """Guardrails of a batch: files and bytes."""

    files: int
    size: int


@dataclass
class Ingest:
    """One batch's ingestion. `run` gives `{"status", "metrics"?, "errors"}`."""

    files: list[tuple[str, Path]]
    folder: Path
    schema: Node
    input_format: dict[str, Any]
    diagnostics: bool
    percent: float | None
    limits: Limits
    drop_unknown: bool = False
    latest_ms: int | None = None
    _rows: int = 0
    _failed: int = 0
    _codes: Counter[str] = field(default_factory=Counter)
    _sample: list[dict[str, Any]] = field(default_factory=list)

    def run(self) -> dict[str, Any]:
        """Read all files; says what becomes of the batch."""
        size = sum(path.stat().st_size for _, path in self.files)
        if len(self.files) > self.limits.files or size > self.limits.size:
            text = (
                f"Batch ingestion guardrails hit: {len(self.files)} files (over the {self.limits.files} threshold); "
                f"{size} bytes (over the {self.limits.size} threshold)"
            )
            return _failure("INGEST-1300-400", text)
        if not self.files or any(path.stat().st_size == 0 for _, path in self.files):
            return _failure("106", _EMPTY)
        self._write_input_files()
        try:
            with pq.ParquetWriter(self.folder / "rows.parquet", ROWS, compression="zstd") as writer:
                for name, path in self.files:
                    for rows in self._read(name, path):
                        writer.write_batch(rows)
        except TypeCompatibilityError as error:
            return _failure("TypeCompatibilityException", str(error))
        except SchemaMismatchError as error:
            return _failure("200", f"Schema validation failed: {error}")
        except UnreadableError as error:
            return _failure("200", str(error))
        return self._outcome(size)

    def _outcome(self, size: int) -> dict[str, Any]:
        if self._rows == 0:
            return _failure("106", _EMPTY)
        good = self._rows - self._failed
        passed = not self._failed or (self.percent is not None and self._failed / self._rows * 100 <= self.percent)
        errors: list[dict[str, Any]] = []
        if self._failed:
            if self.diagnostics:
                kept = good if passed else 0
                text = f"Encountered {self._failed} errors in the data. Successfully ingested {kept} rows."
                errors.append({"code": "INGEST-1212-400", "description": f"{text} See the diagnostics for details."})
                errors += [
                    {"code": f"INGEST-{code}-400", "description": MESSAGES[code], "recordCount": count}
                    for code, count in sorted(self._codes.items())
                ]
            else:
                text = "Errors were found in the data. Enable error diagnostics and send the batch again for details."
                errors.append({"code": "INGEST-1211-400", "description": text})
        self._close_diagnostics()
        if not passed:
            return {"status": "failed", "errors": errors}
        metrics = {
            "inputByteSize": size, "inputFileCount": len(self.files), "inputRecordCount": self._rows,
            "outputRecordCount": good, "outputFileCount": 1, "outputByteSize": size, "failedRecordCount": self._failed,
        }  # fmt: skip
        return {"status": "success", "metrics": metrics, "errors": errors}

    def _read(self, name: str, path: Path) -> Iterator[Any]:
        match self.input_format["format"]:
            case "parquet":
                return self._read_parquet(name, path)
            case "json":
                return self._read_json(name, path)
        raise UnreadableError("The emulator does not ingest CSV.")

    def _read_parquet(self, name: str, path: Path) -> Iterator[Any]:
        tail = _tail(path)
        if tail != b"PAR1":
            raise UnreadableError(
                f"{name} is not a Parquet file. expected magic number at tail [80, 65, 82, 49] but found {list(tail)}"
            )
        try:
            with pq.ParquetFile(path) as file:
                check_types(file.schema_arrow, self.schema)
                for batch in file.iter_batches(batch_size=SLICE):
                    yield self._checked(name, batch)
        except (pa.ArrowInvalid, OSError) as error:
            raise UnreadableError(f"{name} cannot be read as Parquet: {error}") from None

    def _checked(self, name: str, batch: Any) -> Any:
        """Count the batch of rows, note the bad ones, and give the ledger of the good ones."""
        found = list(check_rows(batch, self.schema))
        if self.latest_ms is not None:
            late = pc.fill_null(pc.greater(_milliseconds(batch), self.latest_ms), False)
            if pc.any(late).as_py():
                found.append(RowErrors("1556", "timestamp", "lies in the future", late))
        bad: Any = None
        for errors in found:
            bad = errors.rows if bad is None else pc.or_(bad, errors.rows)
        self._rows += batch.num_rows
        good = batch
        if bad is not None:
            numbers = pc.indices_nonzero(bad)
            self._failed += len(numbers)
            self._note_rows(name, batch, found, numbers)
            good = batch.filter(pc.invert(bad))
        identifiers = _text_column(good, "_id")
        return pa.record_batch([identifiers, _milliseconds(good), json_bytes(good)], schema=ROWS)

    def _note_rows(self, name: str, batch: Any, found: list[RowErrors], numbers: Any) -> None:
        for code in {errors.code for errors in found}:
            rows = functools.reduce(pc.or_, (errors.rows for errors in found if errors.code == code))
            self._codes[code] += pc.sum(rows).as_py()
        if not self.diagnostics:
            return
        rows = batch.take(numbers).to_pylist(maps_as_pydicts="lossy")
        masks = [(errors, errors.rows.take(numbers).to_pylist()) for errors in found]
        for index, row in enumerate(rows):
            broken = [_error(errors.code, errors.column, errors.detail) for errors, mask in masks if mask[index]]
            self._note(name, _without_nulls(row), broken)

    def _read_json(self, name: str, path: Path) -> Iterator[Any]:
        ledger: list[tuple[str | None, int | None, int]] = []
        for text in _json_records(path, array=bool(self.input_format.get("isMultiLineJson"))):
            self._rows += 1
            record, broken = self._check_json(text)
            if broken:
                self._failed += 1
                self._codes.update({error["code"] for error in broken})
                if self.diagnostics:
                    self._note(name, record, broken)
            else:
                ledger.append((record.get("_id"), _epoch_ms(record.get("timestamp")), len(text)))
            if len(ledger) >= SLICE:
                yield _ledger(ledger)
                ledger = []
        if ledger:
            yield _ledger(ledger)

    def _check_json(self, text: bytes) -> tuple[dict[str, Any], list[dict[str, str]]]:
        try:
            record = json.loads(text)
        except ValueError:
            record = None
        if not isinstance(record, dict):
            corrupt = {"_corrupt_record": text.decode("utf-8", "replace")}
            return corrupt, [{"code": "1401", "message": MESSAGES["1401"]}]
        found = check_record(record, self.schema, drop_unknown=self.drop_unknown)
        return record, [_error(*error) for error in found]

    def _write_input_files(self) -> None:
        folder = self.folder / "meta" / "input_files"
        folder.mkdir(parents=True, exist_ok=True)
        lines = "".join(json.dumps({"path": name}) + "\n" for name, _ in self.files)
        (folder / "input_files_0.json").write_text(lines, encoding="utf-8")

    def _note(self, name: str, row: dict[str, Any], errors: list[dict[str, str]]) -> None:
        """Write one rejected row into the diagnostics of its class and among the failed rows."""
        file = _FILES.get(errors[0]["code"], _VALIDATION)
        line = {**row, "_errors": errors, "_filename": name}
        text = json.dumps(line, ensure_ascii=False, default=_json_value) + "\n"
        for path in (self.folder / "meta" / "row_errors" / file, self.folder / "failed" / "part-00000.json"):
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("a", encoding="utf-8") as out:
                out.write(text)
        if len(self._sample) < SAMPLE:
            self._sample.append(json.loads(text))

    def _close_diagnostics(self) -> None:
        if not self._sample:
            return
        (self.folder / "failed" / "_SUCCESS").touch()
        text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in self._sample)
        for name in ("row_errors_sample.json", "row_error_samples.json"):
            (self.folder / "meta" / name).write_text(text, encoding="utf-8")


def _failure(code: str, description: str) -> dict[str, Any]:
    return {"status": "failed", "errors": [{"code": code, "description": description}]}


def _error(code: str, column: str, detail: str) -> dict[str, str]:
    return {"code": code, "message": f"{MESSAGES[code]} {column} {detail}", "column": column}


def _tail(path: Path) -> bytes:
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - 4))
        return file.read(4)


def _text_column(batch: Any, name: str) -> Any:
    if name not in batch.schema.names:
        return pa.nulls(batch.num_rows, pa.string())
    return batch.column(name).cast(pa.string())


def _milliseconds(batch: Any) -> Any:
    """The rows' `timestamp` in milliseconds, whatever of the allowed types it has."""
    if "timestamp" not in batch.schema.names:
        return pa.nulls(batch.num_rows, pa.int64())
    values = batch.column("timestamp")
    if pa.types.is_timestamp(values.type):
        return values.cast(pa.int64())
    if pa.types.is_int64(values.type):
        return values
    return pa.array([_epoch_ms(value) for value in values.to_pylist()], pa.int64())


def _epoch_ms(value: Any) -> int | None:
    if isinstance(value, int):
        return value
    try:
        return round(datetime.datetime.fromisoformat(value).timestamp() * 1000)
    except (TypeError, ValueError):
        return None


def _ledger(rows: list[tuple[str | None, int | None, int]]) -> Any:
    columns = zip(*rows, strict=True)
    return pa.record_batch(
        [pa.array(column, type_) for column, type_ in zip(columns, ROWS.types, strict=True)], schema=ROWS
    )


def _json_records(path: Path, *, array: bool) -> Iterator[bytes]:
    if array:
        try:
            records = json.loads(path.read_bytes())
        except ValueError:
            raise UnreadableError(f"{path.name} is not a JSON array") from None
        if not isinstance(records, list):
            raise UnreadableError(f"{path.name} is not a JSON array")
        yield from (json.dumps(record, ensure_ascii=False).encode() for record in records)
        return
    with path.open("rb") as file:
        for line in file:
            if line.strip():
                yield line.rstrip(b"\n")


def _without_nulls(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _without_nulls(child) for name, child in value.items() if child is not None}
    if isinstance(value, list):
        return [_without_nulls(child) for child in value]
    return value


def _json_value(value: Any) -> Any:
    if isinstance(value, datetime.datetime):
        return value.astimezone(datetime.UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    if isinstance(value, datetime.date):
        return value.isoformat()
    return base64.b64encode(value).decode() if isinstance(value, bytes) else str(value)
