"""What a row may hold: one set of limits for every backend, so that all of them take and refuse the same rows."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from mm_milvus.errors import InvalidValue
from mm_milvus.records import FieldType
from mm_milvus.store.json import dump_json
from mm_milvus.texts import check_string

if TYPE_CHECKING:
    from mm_milvus.records import Row
    from mm_milvus.store.stamp import Stamp

__all__ = [
    "ARRAY_CAPACITY",
    "ATTRIBUTES_BYTES",
    "ID_BYTES",
    "check_row",
    "check_value",
]

ID_BYTES = 512
ATTRIBUTES_BYTES = 65_000  # of all attributes of a row as JSON: a server's dynamic field holds 65,536
ARRAY_CAPACITY = 4_096
JSON_DEPTH = 50
_OTHER_BYTES = 512  # id, hashes, flags and names in a request
_INT64 = 2**63
_NAME_BYTES = 255
_ACCEPTED: dict[FieldType, type | tuple[type, ...]] = {
    FieldType.BOOL: bool,
    FieldType.INT64: int,
    FieldType.DOUBLE: (int, float),
    FieldType.VARCHAR: str,
}
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")  # ids and names stand in filters, where Milvus refuses these


def check_row(row: Row, stamp: Stamp, types: Mapping[str, FieldType]) -> int:
    """About how many bytes the row takes in a request.

    ``types`` are those of the stamp's attributes. Raises InvalidValue, with the same reason on every backend, when
    the row cannot be stored.
    """
    _check_id(row.id)
    check_string("text", row.text)
    check_string("image", row.image)
    _check_vector(row.fused, stamp.dim)
    for name, value in row.attributes.items():
        _check_name(name)
        check_value(name, value, types.get(name))
    if stamp.partition_key and stamp.partition_key not in row.attributes:
        raise InvalidValue(f"{stamp.partition_key}: the partition key may not be missing")
    if (size := _json_bytes(row.attributes)) > ATTRIBUTES_BYTES:
        raise InvalidValue(f"the attributes take {size:,} bytes as JSON, the limit is {ATTRIBUTES_BYTES:,}")
    return row.fused.nbytes + 2 * len(row.text.encode()) + size + _OTHER_BYTES


def check_value(name: str, value: Any, kind: FieldType | None) -> None:
    """Raises InvalidValue unless ``value`` is of type ``kind`` (None: any) and within the limits."""
    element = kind.element if kind else None
    if element is not None:
        _check_array(name, value, element)
    elif kind is FieldType.JSON and not isinstance(value, list | tuple | Mapping):
        raise InvalidValue(f"{name}: expected json (an object or a list), got {_show(value)}")
    elif kind in (None, FieldType.JSON):
        _check_json(name, value, depth=0)
    else:
        _check_scalar(name, value, kind)


def _check_array(name: str, value: Any, element: FieldType) -> None:
    if not isinstance(value, list | tuple):
        raise InvalidValue(f"{name}: expected a list of {element}, got {_show(value)}")
    if len(value) > ARRAY_CAPACITY:
        raise InvalidValue(f"{name}: {len(value):,} elements, the limit is {ARRAY_CAPACITY:,}")
    for index, item in enumerate(value):
        _check_scalar(f"{name}[{index}]", item, element)


def _check_scalar(name: str, value: Any, kind: FieldType | None) -> None:
    accepted = _ACCEPTED.get(kind) if kind else None
    if accepted is None or not isinstance(value, accepted):
        raise InvalidValue(f"{name}: expected {kind}, got {_show(value)}")
    if isinstance(value, bool) and kind is not FieldType.BOOL:
        raise InvalidValue(f"{name}: expected {kind}, got {_show(value)}")
    if isinstance(value, str):
        check_string(name, value)
    elif isinstance(value, int | float):
        _check_number(name, value)


def _check_number(name: str, value: float) -> None:
    if isinstance(value, float) and not math.isfinite(value):
        raise InvalidValue(f"{name}: {value} is not a finite number")
    if isinstance(value, int) and not -_INT64 <= value < _INT64:
        raise InvalidValue(f"{name}: {_show(value)} does not fit 64 bits")


def _check_json(name: str, value: Any, depth: int) -> None:
    if depth > JSON_DEPTH:
        raise InvalidValue(f"{name}: nested deeper than {JSON_DEPTH} levels")
    if isinstance(value, str):
        check_string(name, value)
    elif isinstance(value, bool | int | float):
        _check_number(name, value)
    elif isinstance(value, list | tuple):
        for item in value:
            _check_json(name, item, depth + 1)
    elif isinstance(value, Mapping):
        for key, item in value.items():
            _check_name(key)
            _check_json(name, item, depth + 1)
    elif value is not None:
        raise InvalidValue(f"{name}: {_show(value)} cannot be stored")
    elif depth == 0:
        raise InvalidValue(f"{name}: a missing value must be left out, not None")


def _check_id(value: str) -> None:
    check_string("id", value)
    _check_printable("id", value)
    if not value:
        raise InvalidValue("id: empty")
    if (size := len(value.encode())) > ID_BYTES:
        raise InvalidValue(f"id: {size:,} bytes, the limit is {ID_BYTES}")


def _check_name(name: Any) -> None:
    if not isinstance(name, str) or not name:
        raise InvalidValue(f"an attribute name must be a string that is not empty, got {_show(name)}")
    check_string("an attribute name", name)
    _check_printable(repr(name), name)
    if len(name.encode()) > _NAME_BYTES:
        raise InvalidValue(f"{name[:40]}...: the name is longer than {_NAME_BYTES} bytes")


def _check_printable(name: str, value: str) -> None:
    if found := _CONTROL.search(value):
        raise InvalidValue(f"{name}: contains the control character {found[0]!r}")


def _check_vector(vector: Any, dim: int) -> None:
    if vector.shape != (dim,):
        raise InvalidValue(f"the vector has the shape {vector.shape}, expected ({dim},)")
    with np.errstate(over="ignore", invalid="ignore"):
        square = float(np.dot(vector, vector))
    if 0.0 < square < math.inf:  # all are finite, and one is not zero
        return
    if not np.isfinite(vector).all():
        raise InvalidValue("the vector has values that are not finite")
    if not vector.any():
        raise InvalidValue("the vector is zero")


def _json_bytes(value: Any) -> int:
    """Bytes of ``value`` as Milvus stores it: JSON in UTF-8 without blanks."""
    return len(dump_json(value))


def _show(value: Any) -> str:
    text = repr(value)
    return f"{text if len(text) <= 60 else text[:57] + '...'} ({type(value).__name__})"
