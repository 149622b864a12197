"""The same queries give the same pages on Milvus Lite, on a real server, and on the exact twin in memory."""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from mm_milvus import Client, F, Facet, Page, Query, Settings, Signal, Sort
from mm_milvus.search import Searcher
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


@pytest.fixture(scope="module", params=["lite", pytest.param("server", marks=pytest.mark.server)])
def shop(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, retail_catalog: Path
) -> Iterator[Shop]:
    folder = tmp_path_factory.mktemp("same")
    uri = str(folder / "shop.db") if request.param == "lite" else request.getfixturevalue("server_uri")
    settings = Settings(uri=uri, collection=f"same_{uuid.uuid4().hex[:8]}", consistency="Bounded")
    with Client(config=settings) as client:
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
    "no signal": {
        "signals": (),
        "filter": "price < 50",
        "sort": (Sort("price"),),
        "facets": (Facet("category"),),
    },
    "everything, dearest first": {"signals": (), "sort": (Sort("price", descending=True),)},
}


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
