"""How large each row is as JSON: what the Profile store's 10 KB guardrail measures (platform.md#limits).

Exact sizes are dear, so all rows are estimated a column at a time and only those near the limit are written out.
"""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

PROFILE_LIMIT = 10 * 1024
_NEAR = PROFILE_LIMIT // 2
_NUMBER, _TIMESTAMP = 8, 26


def json_bytes(batch: Any) -> Any:
    """The rows' sizes in bytes, int32: exact above half of the limit, estimated below."""
    total: Any = pa.array([2] * batch.num_rows, pa.int64())
    for name, column in zip(batch.schema.names, batch.columns, strict=True):
        total = pc.add(total, _estimate(column, name))
    near = pc.indices_nonzero(pc.greater(total, _NEAR))
    if len(near):
        sizes = total.to_pylist()
        for index, row in zip(near.to_pylist(), batch.take(near).to_pylist(maps_as_pydicts="lossy"), strict=True):
            text = json.dumps(_present(row), ensure_ascii=False, separators=(",", ":"), default=str)
            sizes[index] = len(text.encode("utf-8", "replace"))
        total = pa.array(sizes, pa.int64())
    return total.cast(pa.int32())


def _estimate(values: Any, name: str) -> Any:
    """Bytes of `"name":value,` for each row; nothing where the value is null."""
    type_, key = values.type, len(name.encode()) + 4
    if pa.types.is_struct(type_):
        size: Any = pa.array([key + 2] * len(values), pa.int64())
        for index, field in enumerate(type_):
            size = pc.add(size, _estimate(pc.struct_field(values, index), field.name))
    elif pa.types.is_map(type_) or pa.types.is_list(type_) or pa.types.is_large_list(type_):
        size = pc.add(_nested(values), key + 2)
    elif pa.types.is_string(type_) or pa.types.is_large_string(type_):
        size = pc.add(pc.binary_length(values).cast(pa.int64()), key + 2)
    else:
        constant = key + (_TIMESTAMP if pa.types.is_timestamp(type_) else _NUMBER)
        size = pa.array([constant] * len(values), pa.int64())
    return pc.if_else(pc.is_valid(values), pc.fill_null(size, 0), 0)


def _nested(values: Any) -> Any:
    """Bytes of each row's list items or map entries, from a running sum over all of them."""
    if pa.types.is_map(values.type):
        each = pc.add(_estimate(values.keys, ""), _estimate(values.items, ""))
    else:
        each = _estimate(values.values, "")
    running = np.concatenate([[0], np.cumsum(each.to_numpy(zero_copy_only=False))])
    offsets = values.offsets.to_numpy(zero_copy_only=False)
    return pa.array(running[offsets[1:]] - running[offsets[:-1]], pa.int64())


def _present(value: Any) -> Any:
    """The value without nulls, which JSON would not carry."""
    if isinstance(value, dict):
        return {name: _present(child) for name, child in value.items() if child is not None}
    return [_present(child) for child in value] if isinstance(value, list) else value
