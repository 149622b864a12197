"""Random filters on the real embedded Milvus and on a real server find what their meaning in Python finds."""

from __future__ import annotations

import logging
import uuid
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings

from mm_milvus.records import FieldType, Schema
from mm_milvus.store import Mirror
from mm_milvus.store.filters import Dialect, Filter, Not, can_render, ids_filter, matches, parse, render
from mm_milvus.store.resolve import resolved
from tests.store.test_filters_cases import FIELDS, LAYOUTS, Case, Row, filters, table, text_filters

ROWS = table()
MIRROR = Mirror(ROWS)
MANY = settings(
    max_examples=500,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow],
    database=None,
)


class Shop:
    """A collection of the test rows in one layout."""

    def __init__(self, client: Any, schema: Schema, dialect: Dialect) -> None:
        self.client, self.schema, self.dialect = client, schema, dialect
        self.name = f"filters_{uuid.uuid4().hex[:10]}"
        self._create()
        rows = [self._stored(row) for row in ROWS]
        half = len(rows) // 2
        client.insert(self.name, rows[:half])
        client.flush(self.name)  # half of the rows on disk, half in memory: other code answers for each
        client.insert(self.name, rows[half:])
        client.load_collection(self.name)
        client.query(self.name, filter='id >= ""', limit=1, consistency_level="Strong")

    def _create(self) -> None:
        from pymilvus import DataType

        schema = self.client.create_schema(enable_dynamic_field=True)
        schema.add_field("id", DataType.VARCHAR, is_primary=True, max_length=512)
        schema.add_field("text", DataType.VARCHAR, max_length=65535)
        schema.add_field("has_image", DataType.BOOL)
        schema.add_field("has_text", DataType.BOOL)
        schema.add_field("fused", DataType.FLOAT_VECTOR, dim=2)
        for field in self.schema.fields:
            if field.typed:
                schema.add_field(field.name, nullable=True, **self._column(field.type))
        index = self.client.prepare_index_params()
        index.add_index("fused", index_type="FLAT", metric_type="IP")
        self.client.create_collection(
            self.name, schema=schema, index_params=index, consistency_level="Strong"
        )

    @staticmethod
    def _column(kind: FieldType) -> dict[str, Any]:
        from pymilvus import DataType

        element = kind.element
        long = {"max_length": 65535} if FieldType.VARCHAR in (kind, element) else {}
        if element is None:
            return {"datatype": DataType[kind.name], **long}
        return {
            "datatype": DataType.ARRAY,
            "element_type": DataType[element.name],
            "max_capacity": 4096,
            **long,
        }

    def _stored(self, row: Row) -> Row:
        nulls = {field.name: None for field in self.schema.fields if field.typed}
        return {"fused": [1.0, 0.0], **nulls, **row}

    def find(self, filter: Filter, *, only_known: bool = False) -> set[str]:
        whole = resolved(filter, self.dialect, lambda: MIRROR, only_known=only_known)
        expression = render(whole, self.schema, self.dialect)
        rows = self.client.query(
            self.name, filter=expression, output_fields=["id"], limit=1000, consistency_level="Bounded"
        )
        return {row["id"] for row in rows}

    def check(self, case: Case) -> None:
        text, meaning = case
        filter = parse(text, FIELDS)
        expected = {row["id"] for row in ROWS if meaning(row) is True}
        assert {row["id"] for row in ROWS if matches(filter, row)} == expected, text
        assert self.find(filter) == expected, text
        if not can_render(filter, self.dialect):
            assert self.find(filter, only_known=True) == expected, text


@pytest.fixture(scope="module")
def lite(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    from pymilvus import MilvusClient

    _silence()
    client = MilvusClient(str(tmp_path_factory.mktemp("filters") / "shop.db"))
    yield client
    client.close()


@pytest.fixture(scope="module")
def lite_columns(lite: Any) -> Shop:
    return Shop(lite, LAYOUTS["columns"], Dialect.LITE)


@pytest.fixture(scope="module")
def lite_dynamic(lite: Any) -> Shop:
    return Shop(lite, LAYOUTS["dynamic"], Dialect.LITE)


@pytest.fixture(scope="module")
def server(server_uri: str) -> Iterator[Shop]:
    from pymilvus import MilvusClient

    _silence()
    client = MilvusClient(server_uri)
    shop = Shop(client, LAYOUTS["dynamic"], Dialect.DYNAMIC)
    yield shop
    client.drop_collection(shop.name)
    client.close()


def _silence() -> None:
    for name in ("pymilvus", "milvus_lite"):
        logging.getLogger(name).setLevel(logging.CRITICAL)


@MANY
@given(filters() | text_filters())
def test_lite_with_columns(lite_columns: Shop, case: Case) -> None:
    lite_columns.check(case)


@MANY
@given(filters() | text_filters())
def test_lite_with_dynamic_attributes(lite_dynamic: Shop, case: Case) -> None:
    lite_dynamic.check(case)


@pytest.mark.server
@MANY
@given(filters() | text_filters())
def test_server(server: Shop, case: Case) -> None:
    server.check(case)


def _ids_are_only_ids(shop: Shop) -> None:
    for row in ROWS:
        assert shop.find(ids_filter([row["id"]])) == {row["id"]}
    attack = [
        "zzz'] or price >= 0 or id in ['zzz",
        'zzz"] or price >= 0 or id in ["zzz',
        '\\"] or id != ["',
        "\\",
    ]
    assert shop.find(ids_filter(attack)) == set()
    assert shop.find(ids_filter([])) == set()
    assert shop.find(Not(ids_filter(attack))) == {row["id"] for row in ROWS}
    everything = ids_filter([row["id"] for row in ROWS] + [f"none-{number}" for number in range(20_000)])
    assert shop.find(everything) == {row["id"] for row in ROWS}


def test_ids_on_lite(lite_columns: Shop) -> None:
    _ids_are_only_ids(lite_columns)


@pytest.mark.server
def test_ids_on_server(server: Shop) -> None:
    _ids_are_only_ids(server)


def _limits_hold(shop: Shop) -> None:
    """What the parser lets through, Milvus can parse: 50 parentheses, 500 comparisons, long chains of values."""
    deep = "not price < 3"
    for number in range(50):
        deep = f"(stock != {number} {'or' if number % 2 else 'and'} {deep})"
    wide = " or ".join(f"color > 'zz{number}' " for number in range(499)) + " or not featured"
    long = " or ".join(f"stock == {number}" for number in range(5_000))
    none = " and ".join(f"price != {number}" for number in range(5_000))
    for text in ("(" * 50 + "price < 3" + ")" * 50, deep, wide, long, none):
        filter = parse(text, FIELDS)
        found = shop.find(filter)
        assert found == {row["id"] for row in ROWS if matches(filter, row)}
        assert 0 < len(found) < len(ROWS)


# Lists that are too long to be written out, for what can stand before no `in`: all of it, and two kinds of values.
LONG = [*range(-300, 300), 2.5, 99.99]
LONG_LISTS = (
    f"specs['mixed'] in {LONG}",
    f"specs['mixed'] not in {LONG}",
    f"specs['mixed'] in {[*LONG, 'red']}".replace("'", '"'),
    f"not (specs['mixed'] in {[*LONG, 'red']}) or price < 3".replace("'", '"'),
    f"specs['weight'] in {LONG} and featured",
    f"counts[0] in {LONG}",
    f"not (counts[1] in {LONG})",
    f"`net weight` in {LONG}",
    f"`net weight` not in {LONG} or featured",
)


def _long_lists_mean_what_short_ones_do(shop: Shop) -> None:
    for text in LONG_LISTS:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("mm_milvus.store.filters.check.MAX_TERMS", 1_000)
            one_by_one = parse(text, FIELDS)
        filter = parse(text, FIELDS)
        assert filter != one_by_one
        found = shop.find(filter)
        assert found == {row["id"] for row in ROWS if matches(one_by_one, row)}, text[:40]
        assert 0 < len(found) < len(ROWS), text[:40]
        assert shop.find(filter, only_known=True) == found


def test_long_lists_on_lite(lite_columns: Shop, lite_dynamic: Shop) -> None:
    _long_lists_mean_what_short_ones_do(lite_columns)
    _long_lists_mean_what_short_ones_do(lite_dynamic)


@pytest.mark.server
def test_long_lists_on_server(server: Shop) -> None:
    _long_lists_mean_what_short_ones_do(server)


def test_limits_on_lite(lite_columns: Shop) -> None:
    _limits_hold(lite_columns)


@pytest.mark.server
def test_limits_on_server(server: Shop) -> None:
    _limits_hold(server)
