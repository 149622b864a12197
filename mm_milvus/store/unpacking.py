"""What Milvus returns -> hits with plain values, and vectors."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from mm_milvus.records import FieldType, Hit

if TYPE_CHECKING:
    import numpy.typing as npt

    from mm_milvus.store.stamp import Stamp

    Array = npt.NDArray[np.float32]

__all__ = ["Unpacker"]


class Unpacker:
    """The opposite of Packer, for one collection."""

    def __init__(self, stamp: Stamp) -> None:
        self._types = stamp.schema.types()
        self._vector_dtype = stamp.vector_dtype
        self._readers = {name: read for name, kind in self._types.items() if (read := _reader(kind))}

    def hit(self, id: str, score: float, row: Mapping[str, Any], fields: Sequence[str] | None) -> Hit:
        """``fields`` in their order; None for all attributes, in that of the schema."""
        present = {}
        for name, value in row.items():
            if value is not None and name not in ("id", "mm_image"):
                read = self._readers.get(name)
                present[name] = read(value) if read else value
        if fields is None:
            ordered = [name for name in self._types if name in present]
            ordered += sorted(present.keys() - self._types.keys())
        else:
            ordered = [name for name in fields if name in present]
        return Hit(id, float(score), {name: present[name] for name in ordered}, row.get("mm_image") or "")

    def vector(self, value: Any) -> Array:
        """(dim,) float32."""
        if isinstance(value, list) and value and isinstance(value[0], bytes):
            value = value[0]
        if not isinstance(value, bytes):
            return np.asarray(value, dtype=np.float32)
        if self._vector_dtype == "float16":
            return np.frombuffer(value, dtype=np.float16).astype(np.float32)
        widened = (
            np.frombuffer(value, dtype=np.uint16).astype(np.uint32) << 16
        )  # bfloat16 is float32's upper half
        return widened.view(np.float32)


def _reader(kind: FieldType) -> Callable[[Any], Any] | None:
    """Arrays come back as protobuf containers and doubles of whole value as integers; hits hold plain values."""
    match kind:
        case FieldType.DOUBLE:
            return float
        case FieldType.ARRAY_DOUBLE:
            return lambda value: [float(item) for item in value]
        case _:
            return list if kind.element else None
