"""Patterns and words: what Milvus answers itself, what the products in memory answer, and that both are right."""

from __future__ import annotations

import time
from typing import Any

import pytest

from mm_milvus import F
from mm_milvus.errors import NotSupported
from mm_milvus.records import Field, FieldType, Schema
from mm_milvus.store import Collection, Mirror, mirror
from mm_milvus.store.filters import Dialect, matches, parse, render
from mm_milvus.store.filters.texts import looks_like
from mm_milvus.store.resolve import resolved

from .conftest import ids, row, unit

TYPES = {"title": FieldType.VARCHAR, "price": FieldType.DOUBLE, "sizes": FieldType.ARRAY_VARCHAR}
SCHEMA = Schema(tuple(Field(name, kind) for name, kind in TYPES.items()))
TITLES = ["red shoe", "red shoes 10%", "blue Shoe\n", "红色T恤", None]
ROWS = [{"id": str(place), "title": title, "price": float(place)} for place, title in enumerate(TITLES)]


def asked(expression: str, dialect: Dialect, *, only_known: bool = False) -> str:
    whole = resolved(parse(expression, TYPES), dialect, lambda: Mirror(ROWS), only_known=only_known)
    return render(whole, SCHEMA, dialect)


ASKED = [
    # expression, Milvus Lite, newer server
    ("title like '%\"shoe%'", 'title like "%\\"shoe%"', 'title like "%\\"shoe%"'),
    (
        "title not like '%shoe%' and price > 1",
        '((title is not null and (not (title like "%shoe%"))) and price > 1.0)',
        '((title is not null and (not (title like "%shoe%"))) and price > 1.0)',
    ),
    ("title like '%shoe'", 'id in ["0"]', 'id in ["0"]'),
    ("title like '%10\\%%'", 'id in ["1"]', 'id in ["1"]'),
    ("title like 'red_shoe%'", 'id in ["0", "1"]', 'id in ["0", "1"]'),
    ("title not like '%shoe' and price > 2", 'id in ["3"]', '(price > 2.0 and id not in ["0", "4"])'),
    ("not (title like '%shoe' or price < 2)", 'id in ["2", "3"]', '(price >= 2.0 and id not in ["0", "4"])'),
    ("title like '%zz' or price >= 1", 'id not in ["0"]', 'id not in ["0"]'),
    ("text_match(title, 'SHOES') and id != '0'", '(id != "0" and id not in ["3", "4"])', None),
    ("text_match_all(title, 'shoes red')", 'id in ["0", "1"]', 'id in ["0", "1"]'),
    ("text_match(title, 'nothing')", 'id < ""', 'id < ""'),
    ("price > 3 or title like '%'", '(price > 3.0 or title >= "")', '(price > 3.0 or title >= "")'),
]


@pytest.mark.parametrize(("expression", "lite", "newer"), ASKED, ids=[case[0] for case in ASKED])
def test_what_milvus_is_asked(expression: str, lite: str, newer: str | None) -> None:
    assert asked(expression, Dialect.LITE) == lite
    assert asked(expression, Dialect.NULLABLE) == (newer or lite)


@pytest.mark.parametrize(("parts", "on_lite"), [(20, "(price > 9.0"), (21, 'id in ["4"]')])
def test_milvus_lite_is_given_no_long_chain(parts: int, on_lite: str) -> None:
    expression = " or ".join(["price > 9", *(f"price > {3 + n / 100}" for n in range(parts - 1))])
    assert asked(expression, Dialect.LITE).startswith(on_lite)
    assert asked(expression, Dialect.NULLABLE).startswith("(price > 9.0 or price > 3.0 or ")


def test_the_oldest_servers_are_asked_for_ids_only() -> None:
    assert asked("title like '%shoe%'", Dialect.DYNAMIC) == 'id in ["0", "1"]'
    assert asked("title like '%e%'", Dialect.DYNAMIC) == 'id not in ["3", "4"]'
    assert asked("title like '%e%'", Dialect.DYNAMIC, only_known=True) == 'id in ["0", "1", "2"]'


def test_what_cannot_be_said_is_not_rendered() -> None:
    with pytest.raises(TypeError, match="cannot answer"):
        render(parse("text_match(title, 'shoe')", TYPES), SCHEMA, Dialect.LITE)


@pytest.fixture
def shop(collection: Collection) -> Collection:
    words = {"a": "Red shoe", "b": "Red_shoes 10% off", "c": "blue hat\n", "d": "红色T恤", "e": None}
    collection.write(
        [
            row(
                id,
                unit(1, place / 10),
                price=float(place),
                sizes=["M"],
                **({"title": title} if title else {}),
            )
            for place, (id, title) in enumerate(words.items())
        ]
    )
    return collection


def found(shop: Collection, condition: Any) -> list[str]:
    filter = shop.parse(condition)
    hits = ids(shop.search(unit(1), filter=filter))
    assert shop.count(filter) == len(hits)
    assert shop.total(filter) == (len(hits), True)
    assert list(shop.rank(unit(1), filter=filter, limit=9)) == hits
    return hits


SAME = [
    (F.title.contains_text("shoe"), "ab"),
    (~F.title.contains_text("shoe"), "cd"),
    (F.title.endswith("hat"), ""),
    (F.title.endswith("hat\n"), "c"),
    (F.title.like("%10\\% o%"), "b"),
    (F.title.like("Red_shoe%"), "ab"),
    (F.title.like("Red\\_shoe%"), "b"),
    (F.title.like("____T_"), ""),
    (F.title.like("__T_"), "d"),
    (F.title.text_match("SHOES"), "ab"),
    (~F.title.text_match("shoe hats"), "d"),
    (F.title.text_match("off hat 红色"), "bcd"),
    (F.title.text_match("off red", every=True), "b"),
    (F.title.text_match("shoe") & F.sizes.contains("M") & (F.price < 1), "a"),
    (F.title.text_match("shoe") | F.title.is_null(), "abe"),
    ('title like "%e%" and title not like "%o%"', "c"),
    ('text_match_all(title, "t 恤") or `net weight` > 1', "d"),
]


def test_the_same_products_everywhere(shop: Collection) -> None:
    for condition, expected in SAME:
        assert found(shop, condition) == list(expected), expected


def test_what_is_written_later_is_found(shop: Collection) -> None:
    assert found(shop, F.title.endswith("shoe")) == ["a"]
    shop.write([row("f", unit(1, 0.9), title="green shoe")])
    shop.flush()
    assert found(shop, F.title.endswith("shoe")) == ["a", "f"]


def test_only_what_passes_is_deleted(shop: Collection) -> None:
    assert shop.delete(shop.parse(~F.title.like("%_shoe%") | F.title.like("% 10\\% %"))) == 3
    assert ids(shop.get(list("abcde"))) == ["a", "e"]


def test_words_are_ranked_within_the_filter(shop: Collection) -> None:
    if not shop.capabilities.bm25:
        pytest.skip("this Milvus does not rank words")
    assert shop.rank_words("word", filter=shop.parse(F.title.endswith("f")), limit=5).keys() == {"b"}


def test_a_large_collection_says_so(shop: Collection, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mirror, "MOST_ROWS", 3)
    with pytest.raises(
        NotSupported,
        match="^a filter with such patterns, words or lists on this Milvus .* at most 3 products",
    ):
        shop.count(shop.parse(F.title.endswith("shoe")))
    assert shop.count(shop.parse(F.title.startswith("Red"))) == 2


def test_no_pattern_takes_long() -> None:
    text, other = "a" * 65_535, "ab" * 30_000
    started = time.perf_counter()
    for pattern in (
        "%a" * 400 + "%b",
        "%_a" * 300 + "%b",
        "%" * 1000,
        "_" * 999 + "%",
        "%" + "a_" * 400 + "b%",
    ):
        assert looks_like(pattern)(text) is not pattern.rstrip("%").endswith("b")
        looks_like(pattern)(other)
    assert time.perf_counter() - started < 3


@pytest.mark.alone
def test_twenty_thousand_titles_are_looked_through_at_once() -> None:
    titles = [f"Running shoe number {number} für Damen, 红色T恤" for number in range(20_000)]
    rows = [{"id": title, "title": title} for title in titles]
    expressions = ("text_match(title, 'boots 红色')", "title like '%1_1%'", "title not like '%9%7%'")
    filters = [parse(expression, TYPES) for expression in expressions]
    matches(filters[0], rows[0])  # loads the dictionary
    started = time.perf_counter()
    counts = [int(Mirror(rows).passing(filter).sum()) for filter in filters]
    assert time.perf_counter() - started < 2
    assert counts[0] == 20_000 and 0 < counts[1] < counts[2] < 20_000
