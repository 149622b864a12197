"""Orders, groups, cursors and facets on real Milvus Lite, against what they should be by hand."""

from __future__ import annotations

import pickle
import re
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mm_milvus import Boost, Client, F, Facet, FacetCounts, Hit, Query, Signal, Sort
from mm_milvus.config import Settings
from mm_milvus.errors import ConfigError, NotSupported, UnknownField
from mm_milvus.records import Row
from mm_milvus.search import Searcher, nearest, routes, run
from mm_milvus.search.boost import boosted
from mm_milvus.search.cache import QueryEncoder
from mm_milvus.search.routes import Candidate
from mm_milvus.store import Collection, Store, mirror
from tests.search.planted import SPEC, Planted
from tests.store.conftest import DIM, stamp, unit


def product(id: str, place: float, **attributes: Any) -> Row:
    """Its similarity with ``unit(1)`` falls with ``place``, from 0 to 1."""
    vector = unit(1 - place, place)
    text = str(attributes.get("title", ""))
    return Row(id, text, vector, True, bool(text), attributes, "", "i", "t", "a")


ROWS = [
    product("a", 0.1, title="red shoe", price=30.0, featured=True, sizes=["S", "M"]),
    product("b", 0.2, title="red boot", price=10.0, sizes=["M", "M"]),
    product("c", 0.3, title="blue shoe", price=20.0, featured=False),
    product("d", 0.4, title="blue shoe", featured=True, sizes=[]),
    product("e", 0.5, title="green hat", price=20.0, featured=False, sizes=["XL"]),
]
NEAREST = (Signal("vector", unit(1)),)


class Shop:
    """A collection and what answers queries to it. No query of these tests needs a model."""

    def __init__(self, collection: Collection) -> None:
        self.collection = collection
        self.search = Searcher(collection, _no_encoder, _no_encoder)

    def ids(self, signals: tuple[Signal, ...] = NEAREST, **options: Any) -> list[str]:
        return [hit.id for hit in self.search(Query(signals, **options))]


def _no_encoder() -> Any:
    return Planted(SPEC, {}, {})


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[Shop]:
    with Store(Settings(uri=str(tmp_path / "shop.db")), create=True) as store:
        collection = store.create("shop", stamp(store))
        collection.write(ROWS)
        collection.flush()
        yield Shop(collection)


def test_the_nearest_come_first(shop: Shop) -> None:
    assert shop.ids() == list("abcde")
    assert shop.ids(limit=2, offset=1) == ["b", "c"]


@pytest.mark.parametrize(
    ("sorts", "expected"),
    [
        ((Sort("price"),), "bcead"),
        ((Sort("price", descending=True),), "aceb" + "d"),
        ((Sort("title"),), "cdeba"),
        ((Sort("featured", descending=True), Sort("price")), "adceb"),
        ((Sort("score"),), "edcba"),
        ((Sort("price"), Sort("score")), "becad"),
    ],
)
def test_sorts(shop: Shop, sorts: tuple[Sort, ...], expected: str) -> None:
    assert "".join(shop.ids(sort=sorts)) == expected


def test_boosts_by_hand(shop: Shop) -> None:
    score = {hit.id: hit.score for hit in shop.search(Query(NEAREST))}

    def boosted(*boosts: Boost) -> dict[str, float]:
        return {hit.id: hit.score for hit in shop.search(Query(NEAREST, boosts=boosts))}

    found = boosted(Boost("price", "multiply", 0.5))
    assert found == pytest.approx(
        {"a": score["a"] * 30**0.5, "b": score["b"] * 10**0.5, "c": score["c"] * 20**0.5, "d": score["d"],
         "e": score["e"] * 20**0.5}, abs=1e-5)  # fmt: skip
    assert list(found) == ["a", "c", "e", "b", "d"]
    found = boosted(Boost("price", "add", -0.1), Boost("featured", "add"))
    assert found == pytest.approx(
        {"d": score["d"] + 1, "b": score["b"] - 1, "a": score["a"] - 2, "c": score["c"] - 2, "e": score["e"] - 2},
        abs=1e-5)  # fmt: skip
    assert list(boosted(Boost("featured", "first"))) == ["a", "d", "b", "c", "e"]
    assert boosted(Boost("featured", "first")) == pytest.approx(score, abs=1e-6)
    assert list(boosted(Boost("price", "first"))) == ["a", "b", "c", "e", "d"]
    shop.collection.write([product("n", 0.5, title="negative", price=4.0)])
    away = (Signal("vector", -unit(0, 1)),)
    plain = {hit.id: hit.score for hit in shop.search(Query(away))}
    found = {hit.id: hit.score for hit in shop.search(Query(away, boosts=(Boost("price", "multiply"),)))}
    assert plain["n"] < 0
    assert found["n"] == pytest.approx(plain["n"] / 4, abs=1e-5)  # a factor above 1 helps


def test_boosts_are_explained(shop: Shop) -> None:
    plain = {hit.id: hit.score for hit in shop.search(Query(NEAREST))}
    page = shop.search(
        Query(NEAREST, boosts=(Boost("price", "add", 0.5), Boost("featured", "first")), explain=True)
    )
    assert page.explain["boosts"] == "add:price=0.5, first:featured=1"
    assert {hit.id: hit.scores["unboosted"] for hit in page} == pytest.approx(plain, abs=1e-6)
    assert any(hit.score > hit.scores["unboosted"] + 1 for hit in page)
    unexplained = shop.search(Query(NEAREST, boosts=(Boost("price", "add", 0.5),)))
    assert (unexplained.explain, [dict(hit.scores) for hit in unexplained]) == ({}, [{}] * len(unexplained))


@pytest.mark.parametrize(
    ("boosts", "named"),
    [
        ((Boost("price", "multiply", 500),), "multiply:price=500 makes a score too large where 'price' is"),
        ((Boost("price", "multiply", 200), Boost("price", "multiply", 150)), "multiply:price=150 makes"),
        ((Boost("price", "add", -1e308),), "add:price=-1e+308 makes"),
    ],
)
def test_a_boost_beyond_all_numbers_is_named(shop: Shop, boosts: tuple[Boost, ...], named: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(f"the boost {named}")):
        shop.search(Query(NEAREST, boosts=boosts))
    away = Query((Signal("vector", -unit(0, 1)),), boosts=(Boost("price", "multiply", -300),))
    with pytest.raises(
        ConfigError, match="the boost multiply:price=-300 makes"
    ):  # scores below 0 are divided
        shop.search(away)


def test_a_reranker_has_the_last_word(shop: Shop) -> None:
    seen: list[Hit] = []

    def dearest(query: Query, hits: Sequence[Hit]) -> list[float]:
        seen[:] = hits
        assert query.signals == NEAREST
        return [hit.attributes.get("price", 0.0) for hit in hits]

    assert shop.ids(rerank=dearest) == ["a", "c", "e", "b", "d"]
    assert [hit.attributes for hit in seen] == [dict(row.attributes) for row in ROWS]
    assert shop.ids(rerank=dearest, rerank_size=2, fields=("title",)) == ["a", "b", "c", "d", "e"]
    assert shop.ids(rerank=lambda _, hits: [-hit.score for hit in hits], rerank_size=3) == [
        "c",
        "b",
        "a",
        "d",
        "e",
    ]
    page = shop.search(Query(NEAREST, rerank=dearest, explain=True, limit=1))
    assert page[0].scores["rerank"] == page[0].score == 30.0
    for bad in (
        lambda *_: [1.0],
        lambda _, hits: [float("nan")] * len(hits),
        lambda *_: None,
        lambda _, hits: ["best"] * len(hits),
        lambda _, hits: hits.clear() or [],
    ):
        with pytest.raises(ConfigError, match="a finite score for each of the 5 hits"):
            shop.search(Query(NEAREST, rerank=bad))
    with pytest.raises(ConfigError, match="rerank is a function"):
        shop.search(Query(NEAREST, rerank="model"))  # type: ignore[arg-type]


def test_what_is_new_counts_more(shop: Shop) -> None:
    now = time.time()
    days = {"0": now, "1": now - 30 * 86_400, "2": now - 3_000 * 86_400, "3": now + 86_400}
    values = [
        *days.items(),
        ("iso", datetime.fromtimestamp(now - 30 * 86_400, UTC).isoformat()),
        ("odd", "soon"),
    ]
    expected = {"0": 1.0, "1": 0.75, "2": 0.5, "3": 1.0, "iso": 0.75, "odd": 0.5, "none": 0.5}
    candidates = [Candidate(id, 1.0, {}) for id in expected]
    rows = {id: {"listed": value} for id, value in values}
    found = boosted(candidates, (Boost("listed", "recency"),), rows)
    assert {found.id: found.score for found in found} == pytest.approx(expected, abs=1e-4)


def test_without_signals_everything_that_passes_by_id_or_sorted(shop: Shop) -> None:
    assert shop.ids((), filter="price >= 20") == ["a", "c", "e"]
    assert shop.ids((), filter=F.featured) == ["a", "d"]
    assert shop.ids((), filter=F.price >= 20, sort=(Sort("price"),)) == ["c", "e", "a"]
    page = shop.search(Query((), sort=(Sort("price"),), limit=2, offset=4))
    assert ([hit.id for hit in page], page.total, page.cursor) == (["d"], 5, None)


def test_groups_are_counted_not_products(shop: Shop) -> None:
    assert shop.ids(group_by="title") == ["a", "b", "c", "e"]
    page = shop.search(Query(NEAREST, group_by="title", group_size=2, limit=2, offset=1))
    assert ([hit.id for hit in page], page.total) == (["b", "c", "d"], 4)
    assert shop.ids(group_by="price") == ["a", "b", "c", "d"]  # d has none and stands alone


def test_facets_by_hand(shop: Shop) -> None:
    def facets(filter: str | None, *facets: Facet) -> tuple[FacetCounts, ...]:
        return shop.search(Query(NEAREST, filter=filter, facets=facets, limit=1)).facets

    title, sizes, featured = facets(None, Facet("title", size=2), Facet("sizes"), Facet("featured"))
    assert title == FacetCounts("title", (("blue shoe", 2), ("green hat", 1)), others=2)
    assert sizes == FacetCounts("sizes", (("M", 2), ("S", 1), ("XL", 1)), missing=1)
    assert featured == FacetCounts("featured", ((False, 2), (True, 2)), missing=1)
    (price,) = facets(None, Facet("price", bounds=(20, 25)))
    assert price == FacetCounts(
        "price", ranges=((None, 20, 1), (20, 25, 2), (25, None, 1)), min=10, max=30, missing=1
    )
    # its own condition does not count, those of others do
    title, price = facets('title == "red shoe" and price < 25', Facet("title"), Facet("price"))
    assert title.counts == (("blue shoe", 1), ("green hat", 1), ("red boot", 1))
    assert price.counts == ((30.0, 1),)
    (title,) = facets('title == "red shoe"', Facet("title"))
    assert sum(count for _, count in title.counts) == 5
    (title,) = facets('title == "red shoe" or price < 15', Facet("title"))  # no condition on it alone
    assert title.counts == (("red boot", 1), ("red shoe", 1))


def test_only_what_has_the_words_by_words(shop: Shop) -> None:
    words = (Signal("text", "Shoes"),)
    page = shop.search(Query(words, mode="text", facets=(Facet("title"),), explain=True))
    assert (sorted(hit.id for hit in page), page.total) == (["a", "c", "d"], 3)
    assert all(hit.scores == {"text": hit.score} for hit in page)
    assert page.facets[0].counts == (("blue shoe", 2), ("red shoe", 1))
    signals = [{"kind": "text", "value": "Shoes", "weight": 1.0}]
    assert page.explain == {"mode": "text", "signals": signals}
    page = shop.search(
        Query((Signal("text", "red", 0.7), Signal("text", "shoe", 0.3)), mode="text", explain=True)
    )
    assert [(signal["value"], signal["weight"]) for signal in page.explain["signals"]] == [
        ("red", 0.7), ("shoe", 0.3),
    ]  # fmt: skip
    assert shop.ids(words, mode="text", filter="price == 20") == ["c"]
    assert shop.ids((Signal("text", "boot red"),), mode="text", min_score=1.0) == ["b"]
    assert shop.ids((Signal("text", "nowhere"),), mode="text") == []


def test_relevance_is_zero_for_the_mean_and_one_for_the_best(shop: Shop) -> None:
    page = shop.search(Query(NEAREST, min_score=-10.0, explain=True))
    means = np.concatenate([shop.collection.stamp.image_mean, shop.collection.stamp.text_mean])
    expected = float(unit(1) @ means)
    for hit in page:
        assert hit.scores["relevance"] == pytest.approx((hit.score - expected) / (1 - expected), abs=1e-5)
    third = page[2].scores["relevance"]
    found = shop.search(Query(NEAREST, min_score=third - 1e-6))
    assert ([hit.id for hit in found], found.total, found.total_exact) == (["a", "b", "c"], 3, True)


def test_a_page_can_be_pickled_whatever_the_query_holds(shop: Shop) -> None:
    page = shop.search(Query(NEAREST, limit=2, rerank=lambda _, hits: [hit.score for hit in hits]))
    again = pickle.loads(pickle.dumps(page))
    assert page.cursor is not None
    assert (again, again.cursor) == (page, page.cursor)


def test_a_cursor_survives_what_comes_and_goes(shop: Shop) -> None:
    for options in ({}, {"explain": True}, {"sort": (Sort("score", descending=True),)}):
        first = shop.search(Query(NEAREST, limit=2, **options))  # type: ignore[arg-type]
        assert [hit.id for hit in first] == ["a", "b"]
        shop.collection.write([product("0", 0.05, title="new")])  # before the page that was shown
        rest = Query(NEAREST, limit=2, cursor=first.cursor, **options)  # type: ignore[arg-type]
        assert [hit.id for hit in shop.search(rest)] == ["c", "d"]
        shop.collection.delete_ids(["0"])
    shop.collection.delete_ids(["b"])  # the last one shown
    assert len(shop.search(rest)) == 2
    with pytest.raises(ConfigError, match="of another query"):
        shop.search(Query(NEAREST, filter="price < 5", cursor=first.cursor))
    with pytest.raises(ConfigError, match="not a cursor"):
        shop.search(Query(NEAREST, cursor="nonsense"))


def test_equal_scores_are_shown_once_each(shop: Shop) -> None:
    shop.collection.write([product(f"same{n:02}", 0.2, title="same") for n in range(23)])
    expected = ["a", "b", *(f"same{n:02}" for n in range(23)), "c", "d", "e"]
    for limit in (1, 2, 3, 7, 28):
        assert pages(shop, limit) == expected
        by_offset = [shop.ids(limit=limit, offset=start) for start in range(0, 28, limit)]
        assert [id for page in by_offset for id in page] == expected
    cursor = shop.search(Query(NEAREST, limit=20)).cursor
    assert cursor is not None
    assert len(cursor) < 200  # whatever the number of equals


def test_the_copy_in_memory_follows_the_collection(shop: Shop) -> None:
    assert shop.ids((), sort=(Sort("price"),), limit=1) == ["b"]
    shop.collection.write([product("z", 0.9, title="cheap", price=1.0)])
    assert shop.ids((), sort=(Sort("price"),), limit=1) == ["z"]  # one that began is seen at once
    shop.collection.write([product("y", 0.9, title="cheaper", price=0.5)])
    shop.collection.flush()
    assert shop.ids((), sort=(Sort("price"),), limit=1) == ["y"]
    shop.collection.delete_ids(["y", "z"])
    assert shop.ids((), sort=(Sort("price"),), limit=1) == ["b"]


def test_what_is_too_large_to_be_copied_is_said(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mirror, "MOST_ROWS", 4)
    with pytest.raises(NotSupported, match="takes at most 4 products, and 'shop' has more"):
        shop.search(Query((), sort=(Sort("price"),)))
    page = shop.search(Query(NEAREST, limit=2, explain=True, facets=(Facet("title"),)))
    assert (page.facets[0].exact, len(page.facets[0].counts)) == (False, 4)


def pages(shop: Shop, limit: int, **options: Any) -> list[str]:
    """The ids of all pages, by cursor."""
    page, shown = shop.search(Query(NEAREST, limit=limit, **options)), []
    for _ in range(100):
        shown += [hit.id for hit in page]
        if page.cursor is None:
            return shown
        page = shop.search(Query(NEAREST, limit=limit, cursor=page.cursor, **options))
    raise AssertionError("no end")


def test_a_ranking_of_candidates_ends_with_an_error(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(routes, "POOL", 3)
    chosen: dict[str, Any] = {"boosts": (Boost("featured", "first"),)}
    page = shop.search(Query(NEAREST, limit=3, **chosen))
    assert ([hit.id for hit in page], page.total) == (["a", "b", "c"], 5)
    for asked in ({"offset": 3}, {"offset": 1, "limit": 3}, {"limit": 4}, {"cursor": page.cursor}):
        with pytest.raises(ConfigError, match="this ranking ends after"):
            shop.search(Query(NEAREST, **asked, **chosen))
    with pytest.raises(ConfigError, match="this ranking ends after"):
        pages(shop, 2, **chosen)
    found = shop.search(Query(NEAREST, limit=5, min_score=2.0))
    assert (len(found), found.total, found.total_exact) == (0, 0, True)
    page = shop.search(Query(NEAREST, min_score=-5.0))  # its end is an answer, and said to be no exact one
    assert (len(page), page.total, page.total_exact, page.cursor) == (3, 3, False, None)
    assert shop.ids(min_score=-5.0, offset=3) == []
    assert shop.ids(offset=3) == pages(shop, 2)[3:] == ["d", "e"]  # Milvus' own goes on


@pytest.mark.parametrize("combine", ["weighted", "rrf"])
def test_hybrid_pages_are_one_ranking(shop: Shop, monkeypatch: pytest.MonkeyPatch, combine: Any) -> None:
    """Whatever the number of candidates, with words that most products have and vectors that disagree with them."""
    monkeypatch.setattr(routes, "_FIRST_PAGES", 12)
    draw = np.random.default_rng(3)
    for n in range(150):
        words = " ".join(draw.choice(["shoe", "red", "boot", "hat", "blue"], size=int(draw.integers(1, 9))))
        shop.collection.write([product(f"x{n:03}", float(draw.uniform(0.01, 0.9)), title=words)])
    signals = (Signal("text", "red shoe"), Signal("vector", unit(1, 0.2)))
    asked = Query(signals, mode="hybrid", combine=combine, alpha=0.4 if combine == "weighted" else 0.5)
    encoder: Any = Planted(SPEC, {"red shoe": [1.0, 0.1, 0.0, 0.0]}, {})
    search = Searcher(shop.collection, lambda: encoder, _no_encoder)
    whole = [hit.id for hit in search(replace(asked, limit=100))]
    for size in (3, 7):
        shown = [
            hit.id for start in range(0, 98, size) for hit in search(replace(asked, limit=size, offset=start))
        ]
        assert shown[:98] == whole[:98]
        page, by_cursor = search(replace(asked, limit=size)), []
        while page.cursor is not None and len(by_cursor) < 98:
            by_cursor += [hit.id for hit in page]
            page = search(replace(asked, limit=size, cursor=page.cursor))
        assert by_cursor[:98] == whole[: len(by_cursor)][:98]


@pytest.mark.parametrize("k", [1, 60])
def test_reciprocal_ranks_are_written_out(shop: Shop, k: int) -> None:
    encoder: Any = Planted(SPEC, {"red shoe": [1.0, 0.1, 0.0, 0.0]}, {})
    search = Searcher(shop.collection, lambda: encoder, _no_encoder)
    signals = (Signal("text", "red shoe"), Signal("vector", unit(1, 0.2)))
    asked = Query(signals, mode="hybrid", combine="rrf", rrf_k=k, explain=True)
    page = search(asked)
    assert page.explain is not None and page.explain["k"] == k
    expected = dict.fromkeys((hit.id for hit in page), 0.0)
    for route in ("vector", "text"):
        given = {hit.id: hit.scores[route] for hit in page if hit.scores and route in hit.scores}
        assert len(set(given.values())) > 1
        for rank, id in enumerate(sorted(given, key=lambda id: (-given[id], id)), start=1):
            expected[id] += 1 / (k + rank)
    assert {hit.id: hit.score for hit in page} == pytest.approx(expected, abs=1e-6)
    with pytest.raises(ConfigError, match="cursor"):
        search(replace(asked, rrf_k=k + 1, cursor=search(replace(asked, limit=1)).cursor))
    with pytest.raises(ConfigError, match="alpha weighs scores, and combine='rrf' .* goes by ranks"):
        search(replace(asked, alpha=0.9))


def test_cursors_of_conditions_tell_them_apart(shop: Shop) -> None:
    query = Query(NEAREST, filter=F.price < 100, limit=1)
    cursor = shop.search(query).cursor
    assert shop.ids(filter=F.price < 100, limit=1, cursor=cursor) == ["b"]
    with pytest.raises(ConfigError, match="of another query"):
        shop.search(Query(NEAREST, filter=F.price > 5, cursor=cursor))


def test_groups_that_are_few_among_the_best_are_looked_for(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run, "POOL", 2)
    monkeypatch.setattr(routes, "POOL", 2)
    shop.collection.write([product(f"same{n:02}", 0.01, title="same") for n in range(20)])
    page = shop.search(Query(NEAREST, group_by="title", limit=3))
    assert [hit.attributes["title"] for hit in page] == ["same", "red shoe", "red boot"]


def test_a_ranking_by_vector_ends_where_milvus_ends(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nearest, "MAX_WINDOW", 4)
    for asked in ({"offset": 4}, {"limit": 5}, {"offset": 3, "limit": 2}):
        with pytest.raises(ConfigError, match="must be at most 4, got"):
            shop.search(Query(NEAREST, **asked))  # type: ignore[arg-type]
    assert shop.ids(limit=2, offset=2) == ["c", "d"]
    with pytest.raises(ConfigError, match="ends after 4 products"):
        pages(shop, 2)


@pytest.mark.parametrize(
    ("query", "error", "message"),
    [
        (Query(()), ConfigError, "nothing to search for"),
        (Query((), filter="price < 3", min_score=0.5), ConfigError, "need something to search for"),
        (Query((), filter="price < 3", sort=(Sort("score"),)), ConfigError, "no score to sort by"),
        (Query(NEAREST, mode="text"), ConfigError, "'text' needs a text"),
        (Query((Signal("text", "x", -1.0),), mode="text"), ConfigError, "'text' needs a text with a weight"),
        (
            Query((Signal("text", "👟"),), mode="text"),
            ConfigError,
            "'text' looks for words, and '👟' has none",
        ),
        (Query((*NEAREST, Signal("text", "??")), mode="hybrid"), ConfigError, "words, and '??' has none"),
        (Query((*NEAREST, Signal("text", "x")), mode="text"), ConfigError, "compares words only"),
        (
            Query(NEAREST, mode="fuzzy"),
            ConfigError,
            "the mode is one of auto, vector, text, hybrid, not 'fuzzy'",
        ),  # type: ignore[arg-type]
        (Query(NEAREST, combine="max"), ConfigError, "not 'max'"),  # type: ignore[arg-type]
        (Query(NEAREST, alpha=1.5), ConfigError, "alpha must be between 0"),
        (Query(NEAREST, min_score=float("nan")), ConfigError, "min_score must be a number"),
        (Query(NEAREST, sort=(Sort("prise"),)), UnknownField, "cannot sort by 'prise'"),
        (Query(NEAREST, sort=(Sort("sizes"),)), ConfigError, "which is array<varchar>"),
        (Query(NEAREST, group_by="specs"), ConfigError, "cannot group by 'specs', which is json"),
        (Query(NEAREST, group_by="title", group_size=0), ConfigError, "group_size must be between 1"),
        (Query(NEAREST, facets=(Facet("specs"),)), ConfigError, "cannot count the values of 'specs'"),
        (Query(NEAREST, facets=(Facet("title", bounds=(1, 2)),)), ConfigError, "bounds need numbers"),
        (Query(NEAREST, facets=(Facet("price", bounds=(2, 1)),)), ConfigError, "must be rising numbers"),
        (Query(NEAREST, facets=(Facet("price", size=0),)), ConfigError, "shows 1 to"),
        (Query((), filter="price < 3", boosts=(Boost("price", "add"),)), ConfigError, "no score to boost"),
        (Query(NEAREST, boosts=(Boost("title", "add"),)), ConfigError, "cannot boost by 'title'"),
        (Query(NEAREST, boosts=(Boost("price", "more"),)), ConfigError, "not 'more'"),  # type: ignore[arg-type]
        (Query(NEAREST, boosts=(Boost("price", "recency", 0),)), ConfigError, "the amount 0 of a boost"),
        (Query(NEAREST, cursor="x", offset=3), ConfigError, "takes the place of an offset"),
        (Query((Signal("vector", [1.0, 2.0]),)), ConfigError, f"must be {DIM} finite numbers"),
        (Query((Signal("vector", "words"),)), ConfigError, "must be a list of numbers"),
        (Query((Signal("txt", "a"),)), ConfigError, "one of text, image, id, vector, not Signal(kind='txt'"),  # type: ignore[arg-type]
        (Query("red"), ConfigError, "a signal is Signal(kind, value), its kind one of"),  # type: ignore[arg-type]
        (Query((("text", "red"),), limit=3), ConfigError, "not ('text', 'red')"),  # type: ignore[arg-type]
    ],
)
def test_what_is_no_query_is_said(shop: Shop, query: Query, error: type[Exception], message: str) -> None:
    with pytest.raises(error) as caught:
        shop.search(query)
    assert message in str(caught.value)


def test_a_query_that_is_repeated_is_encoded_once() -> None:
    import torch

    class Counting:
        spec, smallest_side, texts, pictures = None, 0, 0, 0

        def encode_query_text(self, texts: list[str]) -> torch.Tensor:
            self.texts += len(texts)
            return torch.tensor([[float(len(text)), 1.0] for text in texts])

        def prepare(self, picture: np.ndarray) -> torch.Tensor:
            return torch.from_numpy(picture).float()

        def encode_prepared(self, pictures: list[torch.Tensor]) -> torch.Tensor:
            self.pictures += len(pictures)
            return torch.stack([picture.flatten()[:2] for picture in pictures])

    real: Any = Counting()
    encoder = QueryEncoder(lambda: real, size=2)
    assert encoder.encode_query_text(["a", "bb", "a"]).tolist() == [[1, 1], [2, 1], [1, 1]]
    assert encoder.encode_query_text(["bb"]).tolist() == [[2, 1]]
    assert real.texts == 3
    encoder.encode_query_text(["ccc", "a"])  # "bb" has to go
    encoder.encode_query_text(["bb"])
    assert real.texts == 5
    one, other = np.zeros((2, 2, 3), np.uint8), np.ones((2, 2, 3), np.uint8)
    for picture in (one, other, one, other):
        encoder.encode_prepared([encoder.prepare(picture)])
    assert real.pictures == 2


def test_python_takes_names_pairs_and_dicts(tmp_path: Path) -> None:
    asked: list[Query] = []

    class Listening(Client):
        def search(self, query: Query) -> Any:
            asked.append(query)

    with Listening(tmp_path / "none.db") as shop:
        shop.query(
            {"red shirt": 1.0, "buttons": -0.4},
            sort="-price",
            facets=["color", Facet("price")],
            fields="title",
        )
        shop.recommend(["a", "b"], unlike={"c": 2.0}, exclude=["d"], limit=3)
        shop.similar("a", filter=F.price < 3)
        shop.query(
            {
                "red": 1.0,
                "https://shop.example/a.jpg": 0.6,
                "DATA:image/png;base64,AA==": 0.2,
                "buttons": -0.4,
            }
        )
        shop.query("https://shop.example/a.jpg")  # a text that is no dict is a text
        with pytest.raises(ConfigError, match="at least one product"):
            shop.recommend([])
        for wrong in ({"like": {"a": -1.0}}, {"like": {"a": 0.0}}, {"like": "a", "unlike": {"b": -0.5}}):
            with pytest.raises(ConfigError, match="are above 0"):
                shop.recommend(**wrong)  # type: ignore[arg-type]
    first, second, third, mixed, plain = asked
    assert [(s.value, s.weight) for s in first.signals] == [("red shirt", 1.0), ("buttons", -0.4)]
    assert (first.sort, first.facets, first.fields) == (
        (Sort("price", descending=True),), (Facet("color"), Facet("price")), ("title",),
    )  # fmt: skip
    assert [(s.kind, s.value, s.weight) for s in second.signals] == [
        ("id", "a", 1.0), ("id", "b", 1.0), ("id", "c", -2.0),
    ]  # fmt: skip
    assert (second.exclude, second.limit) == (("d",), 3)
    assert [(s.kind, s.value) for s in third.signals] == [("id", "a")]
    assert [(s.kind, s.weight) for s in mixed.signals] == [
        ("text", 1.0),
        ("image", 0.6),
        ("image", 0.2),
        ("text", -0.4),
    ]
    assert [s.kind for s in plain.signals] == ["text"]
