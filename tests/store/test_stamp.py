"""The stamp, the capabilities of versions, and the schema that a newer server would be asked for."""

from __future__ import annotations

import json

import numpy as np
import pytest

from mm_milvus.encoders.base import EncoderSpec
from mm_milvus.errors import ConfigError, StampMismatch, StoreError
from mm_milvus.records import Field, FieldType, Schema
from mm_milvus.store import Stamp, storable
from mm_milvus.store.capabilities import Capabilities
from mm_milvus.store.filters import Dialect
from mm_milvus.store.schema import milvus_index, milvus_schema

ATTRIBUTES = Schema(
    (
        Field("price", FieldType.DOUBLE),
        Field("sizes", FieldType.ARRAY_VARCHAR),
        Field("颜色", FieldType.VARCHAR),
        Field("in", FieldType.VARCHAR),
        *(Field(f"a{n}", FieldType.INT64) for n in range(80)),
    )
)


def stamp(**changes: object) -> Stamp:
    values = {
        "encoder": "offline",
        "revision": "abc",
        "preprocessing": "none",
        "fusion": "blocks",
        "image_mean": np.array([0.1, -0.2], np.float32),
        "text_mean": np.array([0.3], np.float32),
        "joint": False,
        "text_fields": ("title", "颜色"),
        "max_chars": 320,
        "schema": Schema((Field("颜色", FieldType.VARCHAR, typed=False),)),
    }
    return Stamp(**values | changes)  # type: ignore[arg-type]


def spec(name: str, revision: str) -> EncoderSpec:
    return EncoderSpec(name, revision, "clip", 1, 2, False, "", 77, 300)


def test_a_stamp_survives_its_text() -> None:
    again = Stamp.from_json(stamp().to_json(), "shop")
    assert again.describe() == stamp().describe()
    assert again.schema == stamp().schema
    assert again.image_mean.tobytes() == stamp().image_mean.tobytes()
    assert again.vectors.dim == 3


@pytest.mark.parametrize("text", ["", "{}", "[]", "null", '{"schema_version": 1}', stamp().to_json()[:-9]])
def test_a_damaged_stamp_is_one_line(text: str) -> None:
    with pytest.raises(StoreError, match="the stamp of collection 'shop' is damaged"):
        Stamp.from_json(text, "shop")


def test_a_stamp_of_the_future_is_refused() -> None:
    values = json.loads(stamp(created_by="mm-milvus 9").to_json()) | {"schema_version": 99, "more": 1}
    with pytest.raises(StoreError, match=r"newer version \(mm-milvus 9\)"):
        Stamp.from_json(json.dumps(values), "shop")


def test_an_encoder_is_its_name_and_revision() -> None:
    stamp().check_encoder(spec("offline", "abc"), "shop")
    for other in (spec("offline", "abd"), spec("online", "abc")):
        with pytest.raises(StampMismatch, match=f"offline@abc, but {other.name}@{other.revision}"):
            stamp().check_encoder(other, "shop")
    stamp(revision="fp:1").check_encoder(spec("moved", "fp:1"), "shop")


@pytest.mark.parametrize(
    ("version", "nullable", "hybrid", "float16", "order_by", "dialect"),
    [
        ("v2.3.5-lite", False, False, False, False, Dialect.DYNAMIC),
        ("2.4.15", False, True, True, False, Dialect.DYNAMIC),
        ("v2.6.10", True, True, True, False, Dialect.NULLABLE),
        ("3.0.1", True, True, True, True, Dialect.NULLABLE),
        ("Cloud (compatible with Milvus 2.6)", True, True, True, False, Dialect.NULLABLE),
        ("something else", False, False, False, False, Dialect.DYNAMIC),
    ],
)
def test_capabilities_follow_the_version(
    version: str, nullable: bool, hybrid: bool, float16: bool, order_by: bool, dialect: Dialect
) -> None:
    can = Capabilities.of(version, lite=False)
    found = (can.nullable, can.hybrid_search, can.float16_vectors, can.order_by, can.dialect)
    assert found == (nullable, hybrid, float16, order_by, dialect)


def test_attributes_become_columns_where_milvus_can_have_them() -> None:
    newer = storable(ATTRIBUTES, Capabilities.of("2.6.10", lite=False), None)
    typed = [field.name for field in newer.fields if field.typed]
    assert typed[:3] == ["price", "sizes", "a0"]
    assert len(typed) == 64 - 11  # a server has 64 columns, and eleven are ours
    older = storable(ATTRIBUTES, Capabilities.of("2.3.5", lite=False), None)
    assert not any(field.typed for field in older.fields)
    with pytest.raises(ConfigError, match="'颜色'"):
        storable(ATTRIBUTES, Capabilities.of("2.6.10", lite=False), "颜色")


def test_the_request_to_a_newer_server() -> None:
    from pymilvus import DataType, MilvusClient

    can = Capabilities.of("2.6.10", lite=False)
    made = stamp(schema=storable(ATTRIBUTES, can, "a0"), vector_dtype="float16", partition_key="a0")
    schema = milvus_schema(MilvusClient, made, can)  # type: ignore[arg-type]
    fields = {field.name: field for field in schema.fields}
    assert len(fields) == 64
    assert (fields["fused"].dtype, fields["fused"].params["dim"]) == (DataType.FLOAT16_VECTOR, 3)
    assert fields["price"].nullable
    assert fields["a0"].is_partition_key
    assert not fields["a0"].nullable
    assert (fields["sizes"].dtype, fields["sizes"].element_type) == (DataType.ARRAY, DataType.VARCHAR)
    assert [function.name for function in schema.functions] == ["mm_bm25"]
    index = [entry.to_dict() for entry in milvus_index(MilvusClient, can)]  # type: ignore[arg-type]
    assert [(entry["field_name"], entry["index_type"]) for entry in index] == [
        ("fused", "HNSW"),
        ("mm_sparse", "SPARSE_INVERTED_INDEX"),
    ]
