"""What Milvus returns -> hits with plain values, and vectors."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
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
        self._readers = [(name, read) for name, kind in self._types.items() if (read := _reader(kind))]
        self._known = {*self._types, "id", "mm_image"}

    def hit(self, id: str, score: float, row: Mapping[str, Any], fields: Sequence[str] | None) -> Hit:
        """``fields`` in their order; None for all attributes, in that of the schema."""
        order: Iterable[str] = self._types if fields is None else fields
        if fields is None and not row.keys() <= self._known:
            order = [*self._types, *sorted(row.keys() - self._known)]
        attributes = {name: value for name in order if (value := row.get(name)) is not None}
        for name, read in self._readers:
            if name in attributes:
                attributes[name] = read(attributes[name])
        return Hit(id, score, attributes, row.get("mm_image") or "")

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
