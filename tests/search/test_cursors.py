"""Pages by cursor while products come, go and change between them, on real Milvus Lite."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from mm_milvus import Boost, Query, Signal, Sort
from mm_milvus.config import Settings
from mm_milvus.errors import ConfigError
from mm_milvus.search import Searcher
from mm_milvus.search.cursor import Cursor, position
from mm_milvus.search.order import place_after, rest_after
from mm_milvus.search.routes import Candidate
from mm_milvus.store import Store
from tests.search.planted import SPEC, Planted
from tests.search.test_pages import NEAREST, Shop, product
from tests.store.conftest import stamp

WORDS = (Signal("text", "red shoe"),)
TITLES = ("red shoe", "shoe", "red boot", "blue shoe of red", "green hat", "red shoe of suede")
STOCKED = {
    f"p{n:02}": {
        "title": f"{TITLES[n % 6]} {'x' * (n % 4)}",
        "price": float(7 * n % 11),
        "stock": 1 + n % 3,
        "颜色": ["red", "blue", "grey", "pink", "black", "white", "green"][n % 7],
    }
    for n in range(24)
}
FILTER = "stock > 0"
RANKINGS: dict[str, dict[str, Any]] = {
    "hybrid": {"signals": WORDS, "mode": "hybrid"},
    "text": {"signals": WORDS, "mode": "text"},
    "rrf": {"signals": WORDS, "mode": "hybrid", "combine": "rrf"},
    "vector": {"signals": NEAREST},
    "relevant": {"signals": NEAREST, "min_score": -5.0},
    "sorted": {"signals": WORDS, "mode": "hybrid", "sort": (Sort("price"),)},
    "sorted down, by vector": {"signals": NEAREST, "sort": (Sort("title", descending=True),)},
    "boosted": {"signals": NEAREST, "boosts": (Boost("price", "multiply", 0.3),)},
    "boosted hybrid": {"signals": WORDS, "mode": "hybrid", "boosts": (Boost("price", "multiply", 0.3),)},
    "grouped": {"signals": NEAREST, "group_by": "颜色"},
    "reranked": {"signals": NEAREST, "rerank": lambda _, hits: [-hit.attributes["price"] for hit in hits]},
    "browsed": {"signals": ()},
    "browsed by price": {"signals": (), "sort": (Sort("price", descending=True), Sort("颜色"))},
}
STANDING = [name for name in RANKINGS if name not in ("hybrid", "text", "rrf", "boosted hybrid")]


def stocked(id: str, **changed: Any) -> Any:
    number = int(id[1:]) if id[1:].isdigit() else 3
    return product(id, 0.03 * number + 0.01, **(STOCKED.get(id, STOCKED["p03"]) | changed))


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[Shop]:
    with Store(Settings(uri=str(tmp_path / "shop.db")), create=True) as store:
        collection = store.create("shop", stamp(store))
        collection.write([stocked(id) for id in STOCKED])
        collection.flush()
        found = Shop(collection)
        encoder: Any = Planted(SPEC, {"red shoe": [1.0, 0.1, 0.0, 0.0]}, {})
        found.search = Searcher(collection, lambda: encoder, lambda: encoder)
        yield found


def walk(shop: Shop, query: Query) -> Iterator[list[str]]:
    """The ids of one page after the other."""
    page = shop.search(query)
    yield [hit.id for hit in page]
    while page.cursor is not None:
        page = shop.search(replace(query, cursor=page.cursor))
        yield [hit.id for hit in page]


@pytest.mark.parametrize("gone", ["sold out", "deleted"])
@pytest.mark.parametrize("name", RANKINGS)
@pytest.mark.parametrize("limit", [1, 4])
def test_a_page_goes_on_where_the_last_product_was(shop: Shop, name: str, gone: str, limit: int) -> None:
    query = Query(**RANKINGS[name], filter=FILTER, limit=limit)
    whole = shop.ids(**RANKINGS[name], filter=FILTER, limit=7)
    page = shop.search(query)
    if gone == "deleted":
        shop.collection.delete_ids([page[-1].id])
    else:
        shop.collection.write([stocked(page[-1].id, stock=0)])
    after = shop.search(replace(query, limit=3, cursor=page.cursor))
    if name == "rrf":  # without one product the ranks of those below are others
        assert after[0].id == whole[limit]
    else:
        assert [hit.id for hit in after] == whole[limit : limit + 3]
    if name not in ("grouped", "text"):
        assert after.total == len(STOCKED) - 1


@pytest.mark.parametrize("name", STANDING)
def test_nothing_is_lost_or_shown_twice(shop: Shop, name: str) -> None:
    """Where scores stand alone: with one product sold out, one changed in price and one new after each page."""
    query = Query(**RANKINGS[name], filter=FILTER, limit=3)
    whole = shop.ids(**RANKINGS[name], filter=FILTER, limit=24)
    shown: list[str] = []
    out = []
    for number, ids in enumerate(walk(shop, query)):
        shown += ids
        if ids:
            out.append(ids[-1])
            shop.collection.write([stocked(ids[-1], stock=0)])
        shop.collection.write([stocked(f"new{number}", price=float(number), 颜色=f"{number}")])
    known = [id for id in shown if id in STOCKED]
    assert len(known) == len(set(known))
    if name != "grouped":  # a group whose product has gone is placed by its next one
        assert [id for id in known if id not in out] == [id for id in whole if id not in out]


def test_the_last_product_counts_as_it_was(shop: Shop) -> None:
    for options, changed in (
        ({"boosts": (Boost("stock", "first"),)}, {"stock": 0}),
        ({"boosts": (Boost("stock", "multiply"),)}, {"stock": 900}),
        ({"sort": (Sort("price"),)}, {"price": 1_000.0}),
        ({"sort": (Sort("颜色"), Sort("price", descending=True))}, {"颜色": "aqua"}),
        ({"group_by": "颜色"}, {"颜色": "aqua"}),
    ):
        for signals in (NEAREST, WORDS):
            query = Query(signals, limit=3, **options)  # type: ignore[arg-type]
            page, whole = shop.search(query), shop.ids(signals, limit=7, **options)
            shop.collection.write([stocked(page[-1].id, **changed)])
            assert [hit.id for hit in shop.search(replace(query, cursor=page.cursor))] == whole[3:6]
            shop.collection.write([stocked(page[-1].id)])


def test_neighbours_that_change_sides_are_neither_lost_nor_repeated() -> None:
    entries = [[Candidate(id, 0.0, {})] for id in "afbgcde"]

    def rest(last: Cursor, *, after_it: bool = True) -> str:
        start = place_after(entries, last, after_it=after_it)
        return "".join(entry[0].id for entry in rest_after(entries, start, last, lambda _: None))

    assert rest(Cursor("b", 0.0, 3, shown=("a",), following=("c", "d", "e"))) == "gcde"
    assert rest(Cursor("b", 0.0, 3, shown=("a", "c"), following=("d", "e", "f"))) == "fgde"
    assert rest(Cursor("gone", 0.0, 3, shown=("a", "c"), following=("b", "d", "f"))) == "bfgde"
    assert rest(Cursor("e", 0.0, 3, following=("b",)), after_it=False) == "bgcd"
    assert rest(Cursor("gone", 0.0, 3, following=("gone, too", "c"))) == "cde"
    assert rest(Cursor("gone", 0.0, 5)) == "de"
    assert rest(Cursor("gone", 0.0, 50)) == ""


def test_a_cursor_knows_its_neighbours_on_pages_of_any_size(shop: Shop) -> None:
    query = Query(WORDS, mode="hybrid", limit=1)
    whole = shop.ids(WORDS, mode="hybrid", limit=8)
    for seen in range(1, 6):
        last = position(query := replace(query, cursor=shop.search(query).cursor))
        assert (last.id, last.seen) == (whole[seen - 1], seen)
        assert list(last.shown) == whole[max(0, seen - 4) : seen - 1]
        assert list(last.following) == whole[seen : seen + 3]


def test_what_is_no_cursor_is_said(shop: Shop) -> None:
    query = Query(NEAREST, sort=(Sort("price"), Sort("title")), limit=3)
    cursor = shop.search(query).cursor
    assert cursor is not None
    key, id, score, seen, values, *neighbours = json.loads(base64.urlsafe_b64decode(cursor))
    assert (seen, len(values)) == (3, 2)
    rest = (values, *neighbours)
    contents: list[Any] = [
        [key, id, score, float("inf"), *rest],
        [key, id, score, 10**400, *rest],
        [key, id, score, -1, *rest],
        [key, id, score, True, *rest],
        [key, id, score, "3", *rest],
        [key, id, float("nan"), seen, *rest],
        [key, id, 10**400, seen, *rest],
        [key, id, None, seen, *rest],
        [key, "\ud800", score, seen, *rest],
        [key, "a\0", score, seen, *rest],
        [key, ["a"], score, seen, *rest],
        [key, id, score, seen, values, *[[3]] * 3],
        [key, id, score, seen, values, *["abc"] * 3],
        *(
            [key, id, score, seen, wrong, *neighbours]
            for wrong in (None, [], [1.0], ["x", "y"], [1.0, 2.0], [[], "x"], [True, "x"], [10**400, "x"])
        ),
        [key, id, score, seen, *rest, []],
        [key], [], {}, 3, None, "text", [[[]]],
    ]  # fmt: skip
    wrong = [json.dumps(content) for content in contents]
    wrong += ["[" * 20_000, "9" * 5_000, "", "\ud800".encode("utf-8", "surrogatepass").hex()]
    for written in [base64.urlsafe_b64encode(text.encode()).decode() for text in wrong] + [
        "\ud800",
        "é",
        "=",
    ]:
        with pytest.raises(ConfigError, match="not a cursor"):
            shop.search(replace(query, cursor=written))
    older = base64.urlsafe_b64encode(json.dumps([key, score, id, seen]).encode()).decode()
    with pytest.raises(ConfigError, match="of an older mm-milvus; begin again with the first page"):
        shop.search(replace(query, cursor=older))
    assert len(shop.search(replace(query, cursor=cursor))) == 3
    query = Query(NEAREST, boosts=(Boost("price", "multiply", 2.0),), limit=3)
    key, id, score, seen, _, *neighbours = json.loads(
        base64.urlsafe_b64decode(shop.search(query).cursor or "")
    )
    huge = json.dumps([key, id, score, seen, [1e300], *neighbours])
    with pytest.raises(ConfigError, match="makes a score too large"):
        shop.search(replace(query, cursor=base64.urlsafe_b64encode(huge.encode()).decode()))


def test_the_second_look_goes_on_behind_what_is_gone(shop: Shop) -> None:
    """Words and a product by vector: the best are compared again, and scores depend on those beside them."""
    signals = (Signal("id", "p00"), Signal("text", "red shoe"))
    query = Query(signals, filter=FILTER, limit=4)
    whole = shop.ids(signals, filter=FILTER, limit=8)
    page = shop.search(query)
    shop.collection.delete_ids([page[-1].id])
    after = shop.search(replace(query, cursor=page.cursor))
    assert [hit.id for hit in after] == whole[4:]
