"""The same queries give the same pages on Milvus Lite, on a real server, and on the exact twin in memory."""

from __future__ import annotations

import time
import uuid
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings, strategies

from mm_milvus import Boost, Client, F, Facet, Page, Query, Settings, Signal, Sort
from mm_milvus.errors import ConfigError
from mm_milvus.search import Searcher, indexes
from tests.search.twin import Twin

pytestmark = pytest.mark.slow


@dataclass
class Shop:
    """A real catalog in a real Milvus, and its twin."""

    folder: Path
    client: Client
    twin: Searcher

    def pages(self, query: Query) -> tuple[Page, Page]:
        return self.client.search(query), self.twin(query)


@pytest.fixture(scope="module", params=["lite", "large", pytest.param("server", marks=pytest.mark.server)])
def shop(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, retail_catalog: Path
) -> Iterator[Shop]:
    """On Milvus Lite, also with its own ranking by words, as for more products than are read, and on a server."""
    folder = tmp_path_factory.mktemp("same")
    uri = request.getfixturevalue("server_uri") if request.param == "server" else str(folder / "shop.db")
    with pytest.MonkeyPatch.context() as patch:
        if request.param == "large":
            patch.setattr(indexes, "MOST_ROWS", 0)
        yield from opened(folder, uri, retail_catalog, in_parts=request.param == "lite")


def opened(folder: Path, uri: str, retail_catalog: Path, *, in_parts: bool) -> Iterator[Shop]:
    chosen = Settings(uri=uri, collection=f"same_{uuid.uuid4().hex[:8]}", consistency="Bounded")
    with Client(config=chosen) as client:
        for products in (80, 82) if in_parts else ():  # files of 80, 2 and 2 products
            part = folder / f"{products}.jsonl"
            part.write_text(
                "".join(retail_catalog.read_text("utf-8").splitlines(keepends=True)[:products]), "utf-8"
            )
            client.ingest(part, image_root=retail_catalog.parent, rejects=folder / "rejects.jsonl")
        report = client.ingest(retail_catalog, rejects=folder / "rejects.jsonl")
        while client._open().count(consistency="Bounded") < report.written:
            time.sleep(0.2)
        twin: Any = Twin(client._open())
        encoder = client._encoder(twin.stamp)
        yield Shop(retail_catalog.parent, client, Searcher(twin, lambda: encoder, client._media))
        client.drop()


def text(words: str, weight: float | None = None) -> Signal:
    return Signal("text", words, weight)


WORDS = (text("leather bag"),)
QUERIES: dict[str, dict[str, Any]] = {
    "words": {"signals": WORDS},
    "words by vector": {"signals": WORDS, "mode": "vector"},
    "words by words": {"signals": WORDS, "mode": "text"},
    "words, ranks joined": {"signals": WORDS, "combine": "rrf"},
    "words, first ranks above all": {"signals": WORDS, "combine": "rrf", "rrf_k": 3},
    "mostly words": {"signals": WORDS, "alpha": 0.1},
    "two texts": {"signals": (text("wooden", 2.0), text("bowl"))},
    "away from words": {"signals": (text("bag"), text("leather", -0.5))},
    "a filter": {"signals": WORDS, "filter": "price < 100"},
    "a condition": {"signals": WORDS, "filter": (F.price < 100) & ~F.category.in_(["footwear"])},
    "a flag, a pattern and words": {
        "signals": WORDS,
        "filter": ~F.featured & F.title.like("%_a%") & ~F.title.text_match("watch rings", every=True),
        "facets": (Facet("category"),),
    },
    "words in the filter, by price": {
        "signals": (),
        "filter": F.title.text_match("leather wooden bags") & (F.price < 500),
        "sort": (Sort("price"),),
    },
    "relevant only": {"signals": WORDS, "min_score": 0.4},
    "the second page": {"signals": WORDS, "offset": 10},
    "by price": {"signals": WORDS, "min_score": 0.3, "sort": (Sort("price"),)},
    "by style and falling price": {"signals": WORDS, "sort": (Sort("style"), Sort("price", descending=True))},
    "one of a style": {"signals": WORDS, "group_by": "style"},
    "two of a category": {"signals": WORDS, "group_by": "category", "group_size": 2, "limit": 4},
    "facets": {
        "signals": WORDS,
        "filter": 'category == "accessories" and price < 200',
        "facets": (
            Facet("category"),
            Facet("style", size=3),
            Facet("price", bounds=(50.0, 100.0)),
            Facet("featured"),
        ),
    },
    "boosted": {
        "signals": WORDS,
        "boosts": (
            Boost("featured", "first"),
            Boost("current_stock", "multiply", 0.2),
            Boost("price", "add", -1e-3),
        ),
    },
    "reranked": {"signals": WORDS, "rerank": lambda _, hits: [len(hit.attributes["title"]) for hit in hits]},
    "a pattern": {"signals": WORDS, "filter": 'title like "%bag%" or description like "_e%"'},
    "words in a filter": {"signals": WORDS, "filter": 'text_match(title, "bags shoes")'},
    "no signal": {
        "signals": (),
        "filter": "price < 50",
        "sort": (Sort("price"),),
        "facets": (Facet("category"),),
    },
    "everything, dearest first": {"signals": (), "sort": (Sort("price", descending=True),)},
}


def some_ids(shop: Shop) -> list[str]:
    return sorted(hit["id"] for hit in shop.client._open().products())[:8]


FILTERS = [
    "price < 100",
    "featured",
    "not featured",
    'category in ["footwear", "accessories"]',
    'style like "s%"',
    "price > 1e9",
]
QUERY = strategies.fixed_dictionaries(
    {
        "signals": strategies.sampled_from([(), WORDS, (text("bag"), text("leather", 0.5)), (text("red"),)]),
        "by id": strategies.booleans(),
        "filter": strategies.none() | strategies.sampled_from(FILTERS),
        "limit": strategies.integers(1, 30),
        "offset": strategies.sampled_from([0, 0, 3, 40, 90]),
        "sort": strategies.sampled_from(
            [(), (), (Sort("price"),), (Sort("style"), Sort("price", descending=True))]
        ),
        "group_by": strategies.sampled_from([None, None, "style", "category", "gender", "price"]),
        "group_size": strategies.integers(1, 3),
        "facets": strategies.sampled_from(
            [
                (),
                (Facet("style"), Facet("featured")),
                (Facet("price", bounds=(20.0, 50.0)), Facet("gender", size=1)),
            ]
        ),
        "boosts": strategies.sampled_from(
            [(), (), (Boost("featured", "first"),), (Boost("price", "multiply", 0.1),)]
        ),
        "min_score": strategies.sampled_from([None, None, 0.2, 0.5]),
        "alpha": strategies.sampled_from([0.2, 0.5]),
        "combine": strategies.sampled_from(["weighted", "rrf"]),
        "composition": strategies.sampled_from(["sum", "sum", "product"]),
    }
)


def assert_same(found: Page, expected: Page) -> None:
    """Scores to 1e-4; products of equal score may change places."""
    assert len(found) == len(expected)
    assert [hit.score for hit in found] == pytest.approx([hit.score for hit in expected], abs=1e-4)
    by_id = {hit.id: hit for hit in expected}
    for hit in found:
        if hit.id in by_id:
            assert hit.score == pytest.approx(by_id[hit.id].score, abs=1e-4)
            assert hit.attributes == by_id[hit.id].attributes
    lowest = min((hit.score for hit in expected), default=0.0)
    strangers = [hit for hit in found if hit.id not in by_id]
    assert all(hit.score == pytest.approx(lowest, abs=1e-4) for hit in strangers)
    assert (found.total, found.facets) == (expected.total, expected.facets)


@pytest.mark.parametrize("name", QUERIES)
def test_a_query_answers_as_the_twin_does(shop: Shop, name: str) -> None:
    found, expected = shop.pages(Query(**({"limit": 10} | QUERIES[name])))
    assert len(expected) > 0
    assert_same(found, expected)


def test_pictures_and_products_too(shop: Shop) -> None:
    hit = shop.client.query("bag", limit=1)[0]
    picture = shop.folder / str(hit.attributes["image"])
    for signals in (
        (Signal("image", picture),),
        (Signal("image", picture), text("red")),
        (Signal("id", hit.id),),
        (Signal("id", hit.id), text("blue", -0.5)),
    ):
        for options in ({}, {"explain": True}, {"group_by": "category"}, {"min_score": 0.1}):
            assert_same(*shop.pages(Query(signals, **options)))


def test_recommendations_too(shop: Shop) -> None:
    ids = some_ids(shop)
    liked = tuple(Signal("id", id) for id in ids[:3])
    for options in (
        {"strategy": "best_score"},
        {"strategy": "best_score", "min_score": 0.3},
        {"strategy": "best_score", "signals": (*liked, Signal("id", ids[4], -1.0))},
        {"signals": (*liked, text("red")), "composition": "product"},
        {"signals": (*liked, Signal("id", ids[4], -0.5), text("red", -0.2))},
    ):
        assert_same(*shop.pages(Query(**({"signals": liked} | options))))  # type: ignore[arg-type]


@settings(max_examples=60, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(data=strategies.data())
def test_random_queries_answer_as_the_twin_does(shop: Shop, data: strategies.DataObject) -> None:
    asked = data.draw(QUERY)
    ids = some_ids(shop)
    if asked.pop("by id"):
        asked["signals"] = (*asked["signals"], Signal("id", ids[len(asked["signals"])]))
    query = Query(**asked)
    if query.combine == "rrf":
        query = replace(query, alpha=0.5)
    if not query.signals:
        query = replace(
            query, min_score=None, boosts=(), filter=query.filter or "price > 0", composition="sum"
        )
    answers = []
    for search in (shop.client.search, shop.twin):
        try:
            answers.append(search(query))
        except ConfigError as error:
            answers.append(str(error))
    found, expected = answers
    if isinstance(found, str) or isinstance(expected, str):
        assert found == expected
        return
    assert_same(found, expected)


def test_facets_of_what_is_found_are_counted_over_its_hits(shop: Shop) -> None:
    """By hand, over the pages of the twin: it counts facets as a client does, and would make the same mistake."""
    asked = (Facet("category"), Facet("style", size=100), Facet("featured"))
    for options in ({"mode": "text"}, {"min_score": 0.3}, {"mode": "vector", "min_score": 0.1}):
        query = Query(WORDS, limit=200, **options)  # type: ignore[arg-type]
        chosen = {"category": 'category == "accessories"', "style": 'style like "%a%"'}
        found, expected = shop.pages(replace(query, filter=" and ".join(chosen.values()), facets=asked))
        assert_same(found, expected)
        for field, filter in (
            ("category", chosen["style"]),
            ("style", chosen["category"]),
            ("featured", " and ".join(chosen.values())),
        ):
            hits = shop.twin(replace(query, filter=filter))
            assert hits.total == len(hits)
            counts = Counter(hit.attributes[field] for hit in hits if field in hit.attributes)
            (facet,) = [facet for facet in found.facets if facet.field == field]
            assert (dict(facet.counts), facet.exact) == (counts, True)


def test_pages_by_cursor_are_the_ranking(shop: Shop) -> None:
    for options in (
        {"signals": WORDS},
        {"signals": WORDS, "mode": "vector"},
        {"signals": WORDS, "group_by": "style", "group_size": 2},
        {"signals": (), "sort": (Sort("price"),)},
    ):
        whole = shop.client.search(Query(**options, limit=84))  # type: ignore[arg-type]
        ids: list[str] = []
        page = shop.client.search(Query(**options, limit=7))  # type: ignore[arg-type]
        ids += [hit.id for hit in page]
        while page.cursor is not None and len(ids) < 200:
            page = shop.client.search(Query(**options, limit=7, cursor=page.cursor))  # type: ignore[arg-type]
            ids += [hit.id for hit in page]
        assert ids == [hit.id for hit in whole]


def test_nonsense_can_have_an_empty_page(shop: Shop) -> None:
    page = shop.client.query("qwxz vbnmp", min_score=0.5)
    assert (len(page), page.total) == (0, 0)
    page = shop.client.query(
        "the qwxz and vbnmp for a", min_score=0.5
    )  # words that every text has do not count
    assert (len(page), page.total) == (0, 0)
    assert len(shop.client.query("leather bag", min_score=0.5)) > 0
