"""Columns out of the memory of Milvus Lite say what its own answers say."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from mm_milvus.config import Settings
from mm_milvus.errors import CollectionNotFound
from mm_milvus.records import Field, FieldType, Schema
from mm_milvus.store import Collection, Store
from mm_milvus.store.tokens import Tokens

from .conftest import ATTRIBUTES, row, stamp, unit

ROWS = [
    row("a", title="a red shoe", price=10, stock=3, featured=True, sizes=["S", "M"], ratings=[1, 2.5]),
    row("b", unit(1, 1), title='红色T恤 \'n "quotes" 🎈', specs={"size-eu": 42, "deep": {"er": [1, None]}}),
    row(
        "C",
        **{
            "颜色": "红",
            "net weight": 0.5,
            "later": "one more",
            "within": {"红": [1, {"b": "ü"}]},
            "flag": False,
            "n": 2**53,
        },
    ),
    replace(row("ä", featured=False, sizes=[]), text="", has_text=False),
    row("漢", specs=["a", 1.5, True]),
    row("漢2", specs={}),
    row("漢3", specs=[]),
]


@pytest.fixture
def store(lite_uri: str) -> Iterator[Store]:
    with Store(Settings(uri=lite_uri), create=True) as opened:
        yield opened


@pytest.fixture
def shop(store: Store) -> Collection:
    schema = Schema((*ATTRIBUTES.fields, Field("later", FieldType.VARCHAR, typed=False)))
    collection = store.create("shop", stamp(store, attributes=schema))
    assert collection.write(ROWS) == []
    collection.flush()
    return collection


def both(shop: Collection) -> list[list[Any]]:
    """Products and tokens, by columns and as Milvus Lite answers."""
    assert shop._read_columns(["id"]) is not None, "the columns cannot be read"
    found = []
    read = shop._read_columns
    for columns in (read, lambda _: None):
        shop._read_columns = columns  # type: ignore[method-assign]
        shop._mirrors._kept._kept = None
        found.append([list(shop.products()), *told(shop.tokens("the test"))])
    shop._read_columns = read  # type: ignore[method-assign]
    return found


def told(found: tuple[list[str], Tokens]) -> tuple[list[str], list[list[str]]]:
    """The ids, and of each its tokens."""
    ids, tokens = found
    names = {code: token for token, code in tokens.vocabulary.items()}
    words = [names[int(code)] for code in tokens.codes]
    ends = tokens.lengths.cumsum()
    return ids, [words[end - length : end] for end, length in zip(ends, tokens.lengths, strict=True)]


def test_products_and_tokens_are_those_that_milvus_tells(shop: Collection) -> None:
    columns, answers = both(shop)
    assert columns == answers
    products, ids, tokens = columns
    assert [product["id"] for product in products] == ids == ["C", "a", "b", "ä", "漢", "漢2", "漢3"]
    assert products[1]["ratings"] == [1.0, 2.5] and products[2]["specs"]["deep"] == {"er": [1, None]}
    assert products[0]["later"] == "one more" and products[0]["n"] == 2**53
    assert tokens[3] == []
    assert [type(value) for value in products[0].values()] == [
        type(value) for value in answers[0][0].values()
    ]


def test_the_last_row_of_an_id_counts_and_none_that_was_deleted(store: Store, shop: Collection) -> None:
    shop.write([row("a", title="now blue", price=11.0), row("d", title="new"), row("e")])
    shop.flush()
    shop.delete_ids(["b", "e"])  # is not in a file yet
    columns, answers = both(shop)
    assert columns == answers and columns[1] == ["C", "a", "d", "ä", "漢", "漢2", "漢3"]
    assert columns[0][1]["title"] == "now blue"
    shop.write([row("b", title="back again")])
    shop.flush()
    shop.delete(shop.parse("price > 10"))
    shop.flush()
    columns, answers = both(shop)
    assert columns == answers and columns[1] == ["C", "b", "d", "ä", "漢", "漢2", "漢3"]


def test_many_files_that_are_joined_are_the_same(shop: Collection) -> None:
    for n in range(12):
        shop.write([row(f"p{n}", title=f"shoe {n}"), row("a", title=f"shoe {n}")])
        shop.flush()
        if n % 4 == 3:
            shop.delete_ids([f"p{n - 1}"])
    columns, answers = both(shop)
    assert columns == answers and len(columns[1]) == len(ROWS) + 9


def test_partitions_are_one(store: Store) -> None:
    schema = Schema((Field("brand", FieldType.VARCHAR), Field("price", FieldType.DOUBLE)))
    shop = store.create("parts", stamp(store, attributes=schema, partition_key="brand"))
    shop.write([row(f"p{n}", brand=f"b{n % 5}", price=float(n)) for n in range(50)])
    shop.flush()
    shop.write([row("p7", brand="b1", price=70.0)])  # was in another one
    shop.flush()
    columns, answers = both(shop)
    assert columns == answers and len(columns[1]) == 50


def test_rows_that_are_in_no_file_are_asked_for(shop: Collection) -> None:
    shop.write([row("new", title="not flushed")])
    assert shop._read_columns(["id"]) is None
    assert "new" in [product["id"] for product in shop.products()]
    assert "new" in shop.tokens("the test")[0]


def test_an_empty_collection_has_no_columns(store: Store) -> None:
    shop = store.create("empty", stamp(store))
    assert list(shop.products()) == [] and told(shop.tokens("the test")) == ([], [])
    shop.write([row("a")])
    shop.flush()
    shop.delete_ids(["a"])
    assert list(shop.products()) == [] and told(shop.tokens("the test")) == ([], [])


def test_a_collection_that_is_gone_is_told_as_ever(store: Store, shop: Collection) -> None:
    store.drop("shop")
    with pytest.raises(CollectionNotFound):
        list(shop.products())
    with pytest.raises(CollectionNotFound):
        shop.tokens("the test")


@pytest.mark.parametrize("lacking", ["_memtable", "_read_snapshot"])
def test_another_milvus_lite_is_asked(store: Store, shop: Collection, lacking: str, monkeypatch: Any) -> None:
    assert store._embedded is not None
    real = store._embedded._database.get_collection("shop")
    kept = {"_memtable": real._memtable, "_read_snapshot": real._read_snapshot}

    class Other:
        def __init__(self) -> None:
            self.__dict__ |= {name: value for name, value in kept.items() if name != lacking}

    products = list(shop.products())
    monkeypatch.setattr(store._embedded._database, "get_collection", lambda _: Other())
    assert shop._read_columns(["id"]) is None
    monkeypatch.undo()
    monkeypatch.setattr(shop, "_read_columns", lambda _: None)
    assert list(shop.products()) == products


@pytest.mark.parametrize(
    "expression",
    [
        "price < 20",
        "not has_text",
        "has_image and not (featured == true)",
        "id in ['a', '漢', 'nobody']",
        "颜色 == '红' or `net weight` > 1",
        "later == 'one more'",
        "later is null and price is not null",
        "specs['size-eu'] == 42",
        "array_contains(sizes, 'M') and array_length(ratings) == 2",
        "title like '%T恤%'",
        "text_match(text, 'words') and stock >= 3",
    ],
)
def test_what_passes_a_filter_is_counted_alike(shop: Collection, expression: str) -> None:
    filter = shop.parse(expression)
    found = shop.count_here(filter)
    assert found == shop.count(filter) == len(shop.search(unit(1), filter=filter, limit=20))
    assert 0 < found < len(ROWS)
    assert shop.total(filter) == (found, True)
