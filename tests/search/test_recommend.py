"""Recommendation by several examples, on real Milvus Lite, against written-out values."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mm_milvus import Query, Signal
from mm_milvus.config import Settings
from mm_milvus.errors import ConfigError
from mm_milvus.records import Row
from mm_milvus.search import Searcher
from mm_milvus.search.recommend import faded
from mm_milvus.store import Store
from tests.search.planted import SPEC, Planted
from tests.store.conftest import stamp, unit

DAY = 86_400.0


@pytest.fixture(scope="module")
def search(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Searcher]:
    """Five products around each of three corners of the space."""
    uri = str(tmp_path_factory.mktemp("recommend") / "shop.db")
    with Store(Settings(uri=uri), create=True) as store:
        collection = store.create("shop", stamp(store, image_mean=np.zeros(4, np.float32)))
        corners = {"hat": (1, 0, 0), "mug": (0, 1, 0), "bag": (0, 0, 1)}
        rows = [
            Row(f"{name}{n}", "", unit(*(10 * np.array(corner) + n)), True, False, {},
                "", "i", "t", "a")
            for name, corner in corners.items()
            for n in range(5)
        ]  # fmt: skip
        collection.write(rows)
        collection.flush()
        encoder: Any = Planted(SPEC, {}, {})
        yield Searcher(collection, lambda: encoder, lambda: encoder)


def ids(search: Searcher, *signals: tuple[str, float], **options: Any) -> list[str]:
    asked = tuple(Signal("id", id, weight) for id, weight in signals)
    return [hit.id for hit in search(Query(asked, **options))]


def test_the_best_example_keeps_tastes_apart(search: Searcher) -> None:
    likes = (("hat0", 1.0), ("mug0", 1.0))
    mean = ids(search, *likes, limit=2)
    assert mean == ["hat4", "mug4"]  # what lies between both
    best = ids(search, *likes, limit=4, strategy="best_score")
    assert best == ["hat1", "mug1", "hat2", "mug2"]


def test_what_is_nearer_to_an_unliked_product_comes_last(search: Searcher) -> None:
    likes = (("hat0", 1.0), ("mug0", 1.0), ("mug1", -1.0))
    page = search(
        Query(tuple(Signal("id", id, weight) for id, weight in likes), limit=12, strategy="best_score")
    )
    scores = {hit.id: hit.score for hit in page}
    assert list(scores)[-3:] == ["mug4", "mug3", "mug2"]  # the nearest to the unliked one is the last
    assert all(scores[id] < 0 for id in ("mug4", "mug3", "mug2"))
    assert [hit.id for hit in page][:3] == ["hat1", "hat2", "hat3"]


def test_scores_of_the_best_example_by_hand(search: Searcher) -> None:
    """Only the relation of the weights counts."""
    asked = (Signal("id", "hat0", 0.5), Signal("id", "mug2", -0.1))
    page = search(Query(asked, limit=12, strategy="best_score", explain=True))
    found = search.collection.vectors([hit.id for hit in page])
    stored = {id: vector[:4] for id, (vector, _, _) in found.items()}
    liked, unliked = unit(10)[:4], unit(2, 12, 2)[:4]
    for hit in page:
        near, away = float(stored[hit.id] @ liked), 0.2 * float(stored[hit.id] @ unliked)
        assert hit.score == pytest.approx(near if near > away else -away, abs=1e-5)
    assert page.explain["strategy"] == "best_score"
    assert [part["weight"] for part in page.explain["signals"]] == [0.5, -0.1]


def test_what_is_like_neither_is_no_recommendation(tmp_path: Path) -> None:
    """Below the mean an unliked product pushes nothing away, and draws nothing near."""
    with Store(Settings(uri=str(tmp_path / "shop.db")), create=True) as store:
        collection = store.create("shop", stamp(store, image_mean=np.zeros(4, np.float32)))
        corners = {"liked": (1, 0, 0), "unliked": (0.9, 0.3, 0), "good": (0.95, 0, 0.3), "far": (-1, -0.2, 0)}
        collection.write(
            [
                Row(name, "", unit(*place), True, False, {}, "", "i", "t", "a")
                for name, place in corners.items()
            ]
        )
        encoder: Any = Planted(SPEC, {}, {})
        found = Searcher(collection, lambda: encoder, lambda: encoder)
        page = found(Query((Signal("id", "liked"), Signal("id", "unliked", -1.0)), strategy="best_score"))
        assert [hit.id for hit in page] == ["good", "far"]
        assert page[1].score < 0


def test_a_least_score_and_a_filter_go_with_it(search: Searcher) -> None:
    page = search(Query((Signal("id", "hat0"), Signal("id", "mug0")), strategy="best_score", min_score=0.9))
    assert ({hit.id[:3] for hit in page}, page.total_exact) == ({"hat", "mug"}, True)
    assert all(hit.score >= 0.9 for hit in page)
    assert ids(search, ("hat0", 1.0), strategy="best_score", filter='id like "mug%"', limit=1) == ["mug4"]
    assert ids(search, ("hat0", 1.0), strategy="best_score", filter='id == "none"') == []


@pytest.mark.parametrize(
    ("query", "message"),
    [
        (Query((Signal("id", "hat0", -1.0),), strategy="best_score"), "a signal with a weight above 0"),
        (Query((Signal("text", "hat"),), strategy="best_score"), "ask for the mode 'vector'"),
        (Query((Signal("id", "hat0"),), strategy="median"), "not 'median'"),  # type: ignore[arg-type]
    ],
)
def test_what_it_cannot_do_is_said(search: Searcher, query: Query, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        search(query)


def test_a_history_fades() -> None:
    """From its newest product on, so that the same history gives the same answer tomorrow, and an old one any."""
    newest = 1_780_000_000.0
    times = {
        "new": newest,
        "month": newest - 30 * DAY,
        "iso": datetime.fromtimestamp(newest - 60 * DAY, UTC).isoformat(),
        "datetime": datetime.fromtimestamp(newest - 15 * DAY, UTC),
        "date": datetime.fromtimestamp(newest, UTC).date(),
        "milliseconds": (newest - 30 * DAY) * 1_000,
    }
    weights = [(id, 2.0) for id in [*times, "unknown"]]
    found = dict(faded(weights, times, 30.0))
    expected = {"new": 2.0, "month": 1.0, "iso": 0.5, "datetime": 2**0.5, "milliseconds": 1.0, "unknown": 2.0}
    assert found.pop("date") == pytest.approx(2.0, abs=0.05)
    assert found == pytest.approx(expected, abs=1e-4)
    for bad in (0, -1, float("nan"), "14", None):
        with pytest.raises(ConfigError, match="half_life must be"):
            faded(weights, times, bad)  # type: ignore[arg-type]
    for odd in ("yesterday", float("nan"), True):
        with pytest.raises(ConfigError, match="the time of 'new' must be"):
            faded(weights, {"new": odd}, 30.0)
    with pytest.raises(ConfigError, match="times are a dict"):
        faded(weights, ["new"], 30.0)  # type: ignore[arg-type]
