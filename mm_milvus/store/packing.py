"""Rows as the request that goes over the wire, built column by column.

pymilvus packs row by row and value by value, which takes longer than the server needs to store the rows. What is built
here is the same message; ``Packer.is_exact`` compares the two before it is relied on.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from mm_milvus.records import FieldType, Row
from mm_milvus.store.json import dump_json, without_nulls
from mm_milvus.store.tokens import tokenize

if TYPE_CHECKING:
    import numpy.typing as npt

    from mm_milvus.store.stamp import Stamp

    Array = npt.NDArray[np.float32]

__all__ = ["VECTORS", "Packer"]

# Columns of every collection: how a row's value is found.
_OWN: dict[str, Callable[[Row], Any]] = {
    "id": lambda row: row.id,
    "text": lambda row: row.text,
    "has_image": lambda row: row.has_image,
    "has_text": lambda row: row.has_text,
    "mm_image": lambda row: row.image,
    "mm_image_hash": lambda row: row.image_hash,
    "mm_text_hash": lambda row: row.text_hash,
    "mm_attributes_hash": lambda row: row.attributes_hash,
    "mm_tokens": lambda row: tokenize(row.text),
}
_RESERVED = frozenset((*_OWN, "fused", "mm_sparse", "$meta"))
_SCALAR = frozenset((FieldType.BOOL, FieldType.INT64, FieldType.DOUBLE, FieldType.VARCHAR))
_PAYLOADS = {"BOOL": "bool_data", "INT64": "long_data", "DOUBLE": "double_data", "VARCHAR": "string_data"}
VECTORS = {"float32": "FLOAT_VECTOR", "float16": "FLOAT16_VECTOR", "bfloat16": "BFLOAT16_VECTOR"}
_FLOATS_TAG = b"\x0a"  # field 1 of FloatArray, length-delimited


class Packer:
    """Packs rows for one collection."""

    def __init__(self, name: str, stamp: Stamp) -> None:
        self._name = name
        self._stamp = stamp
        self._types = stamp.schema.types()
        self._columns = [field.name for field in stamp.schema.fields if field.typed]
        self._typed = frozenset(self._columns)
        # Values of these attributes go into JSON as they are; doubles may come as integers.
        self._plain = frozenset(
            name for name, kind in self._types.items() if kind in _SCALAR - {FieldType.DOUBLE}
        )

    # --- for pymilvus' own packing -------------------------------------------------------------------------

    def entity(self, row: Row) -> dict[str, Any]:
        """The row as pymilvus takes it."""
        entity = {name: get(row) for name, get in _OWN.items()}
        entity["fused"] = self._vector(row.fused)
        entity |= dict.fromkeys(self._columns)
        return entity | {name: self._value(name, value) for name, value in row.attributes.items()}

    def _vector(self, vector: Array) -> Any:
        return vector if self._stamp.vector_dtype == "float32" else self._matrix([vector]).tobytes()

    def query_vector(self, vector: Array) -> Any:
        """A query vector (dim,) in the type of the stored ones, as bytes: of arrays pymilvus packs each number."""
        return self._matrix([vector]).tobytes()

    def _value(self, name: str, value: Any) -> Any:
        """A DOUBLE is a float on the wire too, so that dynamic JSON fields compare as numbers of one kind."""
        match self._types.get(name):
            case FieldType.DOUBLE:
                return float(value)
            case FieldType.ARRAY_DOUBLE:
                return [float(item) for item in value]
            case FieldType.BOOL | FieldType.INT64 | FieldType.VARCHAR:
                return value
            case _:
                return without_nulls(value)

    # --- column by column ----------------------------------------------------------------------------------

    def can_pack(self, rows: Sequence[Row]) -> bool:
        """False for attributes named like a column of our own: pymilvus knows what becomes of them."""
        return all(_RESERVED.isdisjoint(row.attributes) for row in rows)

    def request(self, rows: Sequence[Row], schema: Mapping[str, Any], *, upsert: bool) -> Any:
        """An InsertRequest, or an UpsertRequest, for a collection that pymilvus describes as ``schema``.

        Raises NotImplementedError for a schema that is not one of ours.
        """
        from pymilvus.grpc_gen import milvus_pb2

        kind = milvus_pb2.UpsertRequest if upsert else milvus_pb2.InsertRequest
        request = kind(
            collection_name=self._name,
            partition_name="",
            num_rows=len(rows),
            schema_timestamp=schema.get("update_timestamp", 0),
        )
        for info in schema["fields"]:
            if not info.get("is_function_output"):
                self._add_column(request.fields_data.add(), info, rows)
        if not schema.get("enable_dynamic_field") or schema.get("struct_array_fields"):
            raise NotImplementedError("a schema without a dynamic field")
        self._add_dynamic(request.fields_data.add(), rows)
        return request

    def _add_column(self, data: Any, info: Mapping[str, Any], rows: Sequence[Row]) -> None:
        from pymilvus import DataType

        name, kind = info["name"], DataType(info["type"])
        data.field_name, data.type = name, kind
        if info.get("default_value") or info.get("is_dynamic"):
            raise NotImplementedError(f"the column {name}")
        if name == "fused":
            self._add_vectors(data, kind, rows)
            return
        values = [_OWN[name](row) for row in rows] if name in _OWN else self._attribute(name, rows)
        if info.get("nullable"):
            data.valid_data.extend([value is not None for value in values])
            values = [value for value in values if value is not None]
        if kind.name in _PAYLOADS:
            getattr(data.scalars, _PAYLOADS[kind.name]).data.extend(values)
        elif kind is DataType.JSON:
            data.scalars.json_data.data.extend([dump_json(without_nulls(value)) for value in values])
        elif kind is DataType.ARRAY:
            payload = _PAYLOADS[DataType(info["element_type"]).name]
            add = data.scalars.array_data.data.add
            data.scalars.array_data.data.extend([])
            for value in values:
                getattr(add(), payload).data.extend(value)
        else:
            raise NotImplementedError(f"the column {name} of type {kind.name}")

    def _attribute(self, name: str, rows: Sequence[Row]) -> list[Any]:
        if name not in self._typed:
            raise NotImplementedError(f"the column {name}")
        return [row.attributes.get(name) for row in rows]

    def _add_vectors(self, data: Any, kind: Any, rows: Sequence[Row]) -> None:
        if kind.name != VECTORS[self._stamp.vector_dtype]:
            raise NotImplementedError(f"vectors of type {kind.name}")
        dim = data.vectors.dim = self._stamp.dim
        vectors = [row.fused for row in rows]
        match self._stamp.vector_dtype:
            case "float16":
                data.vectors.float16_vector = self._matrix(vectors).tobytes()
            case "bfloat16":
                data.vectors.bfloat16_vector = self._matrix(vectors).tobytes()
            case _:  # joined once: a copy of so much memory costs more than all other columns
                parts: list[Any] = [_FLOATS_TAG + _varint(4 * dim * len(rows))]
                parts += [np.ascontiguousarray(vector, dtype="<f4") for vector in vectors]
                data.vectors.float_vector.MergeFromString(b"".join(parts))

    def _matrix(self, vectors: Sequence[Array]) -> npt.NDArray[Any]:
        """(N, dim) little-endian, in the type of the stored vectors; bfloat16 as uint16."""
        match self._stamp.vector_dtype:
            case "float16":
                return np.array(vectors, dtype="<f2")
            case "bfloat16":
                # The upper half of a float32, rounded to the nearest, ties to even.
                bits = np.array(vectors, dtype="<f4").view("<u4")
                rounded = (bits + 0x7FFF + ((bits >> 16) & 1)) >> 16
                return np.asarray(rounded, dtype="<u2")
            case _:
                return np.array(vectors, dtype="<f4")

    def _add_dynamic(self, data: Any, rows: Sequence[Row]) -> None:
        from pymilvus import DataType

        data.field_name, data.type, data.is_dynamic = "$meta", DataType.JSON, True
        data.scalars.json_data.data.extend([self._dynamic(row.attributes) for row in rows])

    def _dynamic(self, attributes: Mapping[str, Any]) -> bytes:
        if self._typed:
            if attributes.keys() <= self._typed:
                return b"{}"
            attributes = {name: value for name, value in attributes.items() if name not in self._typed}
        plain = self._plain
        return dump_json(
            {
                name: value if name in plain or type(value) is float else self._value(name, value)
                for name, value in attributes.items()
            }
        )

    # --- the check -----------------------------------------------------------------------------------------

    def is_exact(self, schema: Mapping[str, Any]) -> bool:
        """Whether our requests for two probe rows are those that the installed pymilvus builds, byte for byte."""
        rows = [self._probe("a", full=True), self._probe("红'\"b", full=False)]
        try:
            return all(
                self.request(rows, schema, upsert=upsert).SerializeToString(deterministic=True)
                == self.pymilvus_request(rows, schema, upsert=upsert).SerializeToString(deterministic=True)
                for upsert in (False, True)
            )
        except (NotImplementedError, ImportError, AttributeError, LookupError, TypeError, ValueError):
            return False  # another pymilvus, or a schema that is not one of ours

    def pymilvus_request(self, rows: Sequence[Row], schema: Mapping[str, Any], *, upsert: bool) -> Any:
        """The same request, built by pymilvus."""
        from pymilvus.client.prepare import Prepare

        build = Prepare.row_upsert_param if upsert else Prepare.row_insert_param
        return build(
            self._name,
            [self.entity(row) for row in rows],
            "",
            fields_info=schema["fields"],
            struct_fields_info=schema.get("struct_array_fields", []),
            enable_dynamic=schema.get("enable_dynamic_field", False),
            schema_timestamp=schema.get("update_timestamp", 0),
        )

    def _probe(self, id: str, *, full: bool) -> Row:
        key = self._stamp.partition_key
        attributes = {name: _PROBES[kind] for name, kind in self._types.items() if full or name == key}
        if full:
            attributes["a dynamic 键"] = {"a": [1, 2.5, None, "红"]}
        vector = np.linspace(-0.3, 0.3, self._stamp.dim).astype(np.float32)
        return Row(id, "a 红色 shirt", vector, full, True, attributes, "p", "i", "t", "h")


_PROBES: dict[FieldType, Any] = {
    FieldType.BOOL: True,
    FieldType.INT64: -(2**63),
    FieldType.DOUBLE: 3,
    FieldType.VARCHAR: "红 \"'\\",
    FieldType.ARRAY_BOOL: [True, False],
    FieldType.ARRAY_INT64: [1, -2],
    FieldType.ARRAY_DOUBLE: [0.5, 2],
    FieldType.ARRAY_VARCHAR: ["S", "红"],
    FieldType.JSON: {"键": [1, 2.5, None, {"b": None}], "n": None},
}


def _varint(number: int) -> bytes:
    """As protobuf writes the length of a field."""
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)
