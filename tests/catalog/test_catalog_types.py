"""Inference of the schema from a sample, and what happens to values that contradict it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from mm_milvus.catalog import Catalog, open_catalog
from mm_milvus.config import Settings
from mm_milvus.errors import ConfigError
from mm_milvus.records import Field, FieldType, Product, Rejected, Schema


def catalog_of(
    folder: Path, *values: Any, schema: Schema | None = None, column: str = "x", **settings: Any
) -> Catalog:
    path = folder / "shop.jsonl"
    rows = [
        {"id": n, "title": "t"} | ({} if value is ... else {column: value}) for n, value in enumerate(values)
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return open_catalog(path, Settings(**settings), schema=schema)


def outcome(catalog: Catalog, column: str = "x") -> list[Any]:
    rows = list(catalog.products())
    return [row.attributes.get(column) if isinstance(row, Product) else row.reason for row in rows]


@pytest.mark.parametrize(
    ("values", "kind", "stored"),
    [
        ([True, False], "bool", [True, False]),
        ([1, 2.5, None, ...], "double", [1.0, 2.5, None, None]),
        (["a", "", "00123"], "varchar", ["a", "", "00123"]),
        (["1", "2"], "varchar", ["1", "2"]),
        ([["a"], [], ["b", "c"]], "array<varchar>", [["a"], [], ["b", "c"]]),
        ([[1, 2.5]], "array<double>", [[1.0, 2.5]]),
        ([[True]], "array<bool>", [[True]]),
        ([{"a": [1, None]}, 5, "x"], "json", [{"a": [1, None]}, 5, "x"]),
        ([[1, "a"]], "json", [[1, "a"]]),
    ],
)
def test_types_are_inferred(tmp_path: Path, values: list[Any], kind: str, stored: list[Any]) -> None:
    if kind == "json":
        values = [*values, *[{}] * len(values)]  # objects are the majority
        stored = [*stored, *[{}] * len(stored)]
    catalog = catalog_of(tmp_path, *values)
    assert catalog.schema.get("x") == Field("x", FieldType(kind))
    found = outcome(catalog)
    assert found == stored
    assert [type(value) for value in found] == [type(value) for value in stored]


def test_a_column_without_values_is_in_no_schema(tmp_path: Path) -> None:
    assert catalog_of(tmp_path, None, [], None).schema.get("x") is None


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ([1, 2, "abc"], "x: expected double, got 'abc' (string)"),
        ([1, 2, True], "x: expected double, got True (boolean)"),
        ([1, 2, [3]], "x: expected double, got [3] (list)"),
        ([1, 2, 2**53 + 1], "x: 9007199254740993 (number) does not fit a double exactly"),
        (["a", "b", 5], "x: expected varchar, got 5 (number)"),
        (["a", "b", "é" * 32768], "x: 65,536 bytes of UTF-8, the limit is 65,535"),
        ([True, False, 1], "x: expected bool, got 1 (number)"),
        ([["a"], ["b"], ["c", 1]], "x: expected array<varchar>, got ['c', 1] (list)"),
        ([["a"], ["b"], ["c", None]], "x: expected array<varchar>, got ['c', None] (list)"),
        ([["a"], ["b"], "c"], "x: expected array<varchar>, got 'c' (string)"),
        ([{}, {}, {"a": 2**63}], "x: 9223372036854775808 (number) does not fit 64 bits"),
        ([{}, {}, {"a": "x" * 65_535}], "x: 65,544 bytes of JSON, the limit is 65,535"),
    ],
)
def test_values_that_contradict_the_majority_are_rejected(
    tmp_path: Path, values: list[Any], reason: str
) -> None:
    *_, last = catalog_of(tmp_path, *values).products()
    assert isinstance(last, Rejected)
    assert (last.line, last.id, last.stage, last.reason) == (3, "2", "type", reason)
    assert last.record == {"id": 2, "title": "t", "x": values[2]}


@pytest.mark.parametrize(
    ("kind", "value", "stored"),
    [
        ("int64", 5, 5),
        ("int64", 5.0, 5),
        ("int64", 5.5, "x: expected int64, got 5.5 (number)"),
        ("int64", 2**63 - 1, 2**63 - 1),
        ("int64", 2**63, "x: 9223372036854775808 (number) does not fit 64 bits"),
        ("int64", "0123", 123),
        ("double", "1.5", 1.5),
        ("double", "1,5", "x: expected double, got '1,5' (string)"),
        ("varchar", 38, "38"),
        ("varchar", True, "x: expected varchar, got True (boolean)"),
        ("array<int64>", [1, 2.0], [1, 2]),
        ("array<varchar>", "a|b", ["a", "b"]),
        ("bool", "TRUE", True),
        ("bool", "ja", "x: expected bool, got 'ja' (string)"),
    ],
)
def test_a_type_that_the_user_sets(tmp_path: Path, kind: str, value: Any, stored: Any) -> None:
    catalog = catalog_of(tmp_path, value, types={"x": kind})
    assert catalog.schema.get("x") == Field("x", FieldType(kind))
    assert outcome(catalog) == [stored]


@pytest.mark.parametrize(
    ("values", "stored", "currency"),
    [
        (["$1,299.99", "12"], [1299.99, 12.0], ["$", None]),
        (
            ["1.299,99 €", "9,99 €", "1.299 €", "1,5", 3],
            [1299.99, 9.99, 1299.0, 1.5, 3.0],
            ["€", "€", "€", None, None],
        ),
        (["CHF 1'299.50", "USD 12"], [1299.5, 12.0], ["CHF", "USD"]),
        (
            ["12.00", "13.00", "call us"],
            [12.0, 13.0, "price: expected double, got 'call us' (string)"],
            [None] * 3,
        ),
        (["cheap", "00123", "dear"], ["cheap", "00123", "dear"], [None] * 3),
    ],
)
def test_prices_are_amounts(
    tmp_path: Path, values: list[Any], stored: list[Any], currency: list[str | None]
) -> None:
    catalog = catalog_of(tmp_path, *values, column="price")
    assert outcome(catalog, "price") == stored
    products = [row if isinstance(row, Product) else None for row in catalog.products()]
    assert [p.attributes.get("price_currency") if p else None for p in products] == currency
    assert (catalog.schema.get("price_currency") is not None) == any(currency)


def test_an_existing_schema_is_conformed_to(tmp_path: Path) -> None:
    schema = Schema(
        (Field("title", FieldType.VARCHAR), Field("x", FieldType.INT64), Field("y", FieldType.BOOL))
    )
    catalog = catalog_of(tmp_path, 1, "a", schema=schema)
    assert catalog.schema is schema
    assert outcome(catalog) == [1, "x: expected int64, got 'a' (string)"]
    catalog = catalog_of(tmp_path, 1, "a", {"b": None}, schema=schema, column="new")
    assert outcome(catalog, "new") == [1, "a", {"b": None}]
    with pytest.raises(ConfigError, match="types: x is int64 in the collection, not double"):
        catalog_of(tmp_path, 1, schema=schema, types={"x": "double"})


def test_at_most_64_fields_are_typed_the_frequent_ones_in_catalog_order(tmp_path: Path) -> None:
    rows = [
        {"id": 1, **{f"rare{n}": n for n in range(10)}, **{f"often{n}": n for n in range(70)}, "title": "t"}
    ]
    rows += [{"id": 2, **{f"often{n}": n for n in range(1, 64)}, "title": "t", "description": "d"}]
    path = tmp_path / "shop.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    fields = open_catalog(path, Settings(types={"rare7": FieldType.INT64})).schema.fields
    assert [field.name for field in fields] == (
        ["title", "description"] + [f"rare{n}" for n in range(10)] + [f"often{n}" for n in range(70)]
    )
    typed = [field.name for field in fields if field.typed]
    assert typed == ["title", "description", "rare7"] + [f"often{n}" for n in range(1, 62)]


@pytest.mark.parametrize(
    ("kind", "values", "stored"),
    [
        ("double", ["0,5", "1.299,00", "1.299", "0007"], [0.5, 1299.0, 1299.0, 7.0]),
        ("double", ["0.5", "1,299.00", "1,299"], [0.5, 1299.0, 1299.0]),
        (
            "double",
            ["5 kg", "5 €", "12E4"],
            [f"Gewicht: expected double, got {text!r} (string)" for text in ("5 kg", "5 €", "12E4")],
        ),
        ("int64", ["1.299,00", "0,5"], [1299, "Gewicht: expected int64, got '0,5' (string)"]),
        ("array<double>", ["0,5|1,5"], [[0.5, 1.5]]),
        ("bool", ["true", "Yes", "JA", "1", "oui", "SÍ"], [True] * 6),
        ("bool", ["FALSE", "no", "Nein", "0", "non"], [False] * 5),
        ("bool", ["si", "2"], [f"Gewicht: expected bool, got {text!r} (string)" for text in ("si", "2")]),
    ],
)
def test_a_type_that_the_user_sets_for_csv(
    tmp_path: Path, kind: str, values: list[str], stored: list[Any]
) -> None:
    path = tmp_path / "shop.csv"
    lines = [f'{n};t;"{value}"' for n, value in enumerate(values)]
    path.write_text("\n".join(["id;title;Gewicht", *lines]), encoding="utf-8")
    found = outcome(open_catalog(path, Settings(types={"Gewicht": FieldType(kind)})), "Gewicht")
    assert found == stored
    assert [type(value) for value in found] == [type(value) for value in stored]


def test_csv_numbers_flags_and_codes(tmp_path: Path) -> None:
    path = tmp_path / "shop.csv"
    path.write_text(
        "id,title,weight,flag,phone,plz,model,tags,blank,sale_price,Preis,code\n"
        "1,a,1.5,true,5551234,10115,12,a|b,,,9.50,TRUE\n"
        '2,b,1e-07,False,5551235,10117,012,"[""c""]",,,"12.00 €",\n'
    )
    catalog = open_catalog(path, Settings(types={"tags": FieldType.ARRAY_VARCHAR}))
    assert {name: kind.value for name, kind in catalog.schema.types().items()} == {
        "title": "varchar", "weight": "double", "flag": "bool", "phone": "varchar", "plz": "varchar",
        "model": "varchar", "tags": "array<varchar>", "sale_price": "double",
        "Preis": "double", "Preis_currency": "varchar", "code": "varchar",
    }  # fmt: skip
    first, second = catalog.products()
    assert isinstance(first, Product)
    assert isinstance(second, Product)
    assert (first.attributes["tags"], second.attributes["tags"]) == (["a", "b"], ["c"])
    assert (second.attributes["weight"], second.attributes["flag"], second.attributes["model"]) == (
        1e-7,
        False,
        "012",
    )
