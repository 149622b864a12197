"""Centred rescoring and the ways to compose, on real Milvus Lite and a real server, against written-out values."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from PIL import Image

from mm_milvus import Boost, Query, Signal
from mm_milvus.encoders.base import EncoderSpec
from mm_milvus.errors import ConfigError
from mm_milvus.fusion import slerp
from mm_milvus.media import MediaPolicy, MediaReader
from mm_milvus.records import Row
from mm_milvus.search import Searcher, nearest, rescore
from mm_milvus.search.calibrate import query_mean
from mm_milvus.store import Collection, Store
from tests.search.planted import HALF, JOINT, SPEC, Planted
from tests.store.conftest import stamp

DRAW = np.random.default_rng(7)
WORDS, PICTURE = [1.0, 0.2, 0.1, 0.0], [0.1, 0.9, 0.3, 0.2]
IMAGES, TEXTS = DRAW.normal(size=(60, HALF)) + 0.5, DRAW.normal(size=(60, HALF)) + 0.5


def unit(vector: Any) -> np.ndarray:
    array = np.array(vector, np.float32)
    return array / np.linalg.norm(array)


Shop = Callable[..., tuple[Searcher, Collection]]


@pytest.fixture
def make(store: Store, name: str) -> Shop:
    def build(spec: EncoderSpec = SPEC, **stamped: Any) -> tuple[Searcher, Collection]:
        """60 random products; every sixth lacks its picture, others lack their text."""
        collection = store.create(name, stamp(store, joint=spec.joint, **stamped))
        means = collection.stamp.image_mean, collection.stamp.text_mean
        rows = []
        for n, (image, text) in enumerate(zip(IMAGES, TEXTS, strict=True)):
            has = (n % 6 != 1, n % 6 != 3)
            parts = [
                unit(part) if there else mean
                for part, there, mean in zip((image, text), has, means, strict=True)
            ]
            rows.append(
                Row(f"p{n:02}", "", np.concatenate(parts).astype(np.float32), *has, {}, "", "i", "t", "a")
            )
        collection.write(rows)
        collection.flush()
        encoder: Any = Planted(spec, {"red": WORDS, "hat": [0, 0, 1, 0.5]}, {200: PICTURE})
        return Searcher(collection, lambda: encoder, lambda: MediaReader(MediaPolicy())), collection

    return build


def picture(weight: float | None = None) -> Signal:
    return Signal("image", Image.new("RGB", (32, 32), (200, 0, 0)), weight)


def centred(collection: Collection) -> dict[str, np.ndarray]:
    """id -> the stored vector, each block without the mean and of unit norm; nothing where it is the mean."""
    found = {}
    for id, (vector, has_image, has_text) in collection.vectors([f"p{n:02}" for n in range(60)]).items():
        image, text = vector[:HALF] - collection.stamp.image_mean, vector[HALF:] - collection.stamp.text_mean
        found[id] = np.concatenate(
            [unit(image) if has_image else np.zeros(HALF), unit(text) if has_text else np.zeros(HALF)]
        )
    return found


def query_side(collection: Collection) -> tuple[np.ndarray, np.ndarray]:
    words = unit(unit(WORDS) - collection.stamp.text_mean)
    return words, unit(unit(PICTURE) - collection.stamp.image_mean)


def composed(collection: Collection, words: np.ndarray, others: np.ndarray) -> dict[str, float]:
    """id -> score: the words' part, and that of all else, of which little counts beyond the third highest."""
    stored = centred(collection)
    by_others = {id: float(vector @ others) for id, vector in stored.items()}
    third = sorted(by_others.values())[-3]
    return {
        id: float(vector @ words) + min(by_others[id], third + 0.01 * max(0.0, by_others[id] - third))
        for id, vector in stored.items()
    }


NOTHING = np.zeros(HALF)


def best(scores: dict[str, float], count: int) -> list[str]:
    return sorted(scores, key=lambda id: (-round(scores[id], 6), id))[:count]


def test_a_composed_query_compares_centred_vectors(make: Shop) -> None:
    search, collection = make()
    words, shown = query_side(collection)
    expected = composed(collection, np.append(NOTHING, 0.6 * words), np.append(0.4 * shown, NOTHING))
    page = search(Query((picture(), Signal("text", "red")), limit=60, explain=True))
    assert {hit.id: hit.score for hit in page} == pytest.approx(expected, abs=1e-4)
    assert [hit.id for hit in page] == best({hit.id: hit.score for hit in page}, 60)
    assert all(hit.scores["centred"] == hit.score for hit in page)
    assert page.explain["composition"] == "sum"
    assert [(part["kind"], part["weight"]) for part in page.explain["signals"]] == [
        ("image", 0.4),
        ("text", 0.6),
    ]
    # What a product lacks counts as its expectation, 0.
    lacking = next(hit for hit in page if hit.id == "p01")
    assert lacking.score == pytest.approx(float(centred(collection)["p01"][HALF:] @ (0.6 * words)), abs=1e-5)


def test_products_too_and_words_alone_not(make: Shop) -> None:
    search, collection = make()
    stored = centred(collection)
    page = search(Query((Signal("id", "p00"),), limit=60))
    expected = {id: float(vector @ stored["p00"]) / 2 for id, vector in stored.items() if id != "p00"}
    assert {hit.id: hit.score for hit in page} == pytest.approx(expected, abs=1e-4)
    page = search(Query((Signal("text", "red"),), mode="vector", explain=True))
    assert all("centred" not in hit.scores for hit in page)
    page = search(Query((picture(),), explain=True))  # no bridge: one block alone
    assert all("centred" not in hit.scores for hit in page)


def test_a_query_on_one_block_is_about_products_that_have_it(make: Shop) -> None:
    search, _ = make()
    for signal, lacking in ((picture(), 1), (Signal("text", "red"), 3)):
        boosted = (Boost("price", "add"),)
        for options in ({}, {"min_score": -9.0}, {"group_by": "title"}, {"boosts": boosted}):
            page = search(Query((signal,), mode="vector", limit=60, **options))  # type: ignore[arg-type]
            assert {int(hit.id[1:]) for hit in page} == {n for n in range(60) if n % 6 != lacking}
            assert page.total == 50
        page = search(Query((signal,), mode="vector", limit=60, filter=f"id in ['p0{lacking}', 'p00']"))
        assert [hit.id for hit in page] == ["p00"]
    page = search(Query((picture(), Signal("text", "red")), limit=60))
    assert page.total == len(page) == 60


@pytest.mark.parametrize("size", [1, 4, 7, 25])
def test_pages_go_on_behind_what_is_rescored(make: Shop, monkeypatch: pytest.MonkeyPatch, size: int) -> None:
    for room in (rescore, nearest):
        monkeypatch.setattr(room, "RESCORED", 10)
    search, collection = make()
    query = Query((picture(), Signal("text", "red")), limit=60)
    page = search(query)
    whole, scores = [hit.id for hit in page], [hit.score for hit in page]
    assert scores == sorted(scores, reverse=True)  # of one scale
    unchanged = search(replace(query, boosts=(Boost("price", "multiply"),)))
    assert [hit.id for hit in unchanged] == whole  # no product has a price
    raw = collection.rank(search._composed(query).vector, limit=60)
    assert set(whole[:10]) == set(list(raw)[:10])
    assert whole[10:] == list(raw)[10:]
    assert whole[:10] != list(raw)[:10]
    by_offset = [
        hit.id for start in range(0, 60, size) for hit in search(replace(query, limit=size, offset=start))
    ]
    assert by_offset == whole
    page, by_cursor = search(replace(query, limit=size)), []
    for _ in range(61):
        by_cursor += [hit.id for hit in page]
        if page.cursor is None:
            break
        page = search(replace(query, limit=size, cursor=page.cursor))
    assert by_cursor == whole


def test_a_product_of_both_sides_asks_for_both(make: Shop) -> None:
    search, collection = make()
    words, shown = query_side(collection)
    stored = centred(collection)
    texts = np.array([max(0.0, float(vector[HALF:] @ words)) for vector in stored.values()])
    images = np.array([max(0.0, float(vector[:HALF] @ shown)) for vector in stored.values()])
    texts, images = texts / texts.max(), images / images.max()
    expected = dict(zip(stored, texts * images - 0.1 * (texts + images) ** 2, strict=True))
    page = search(Query((picture(), Signal("text", "red")), limit=60, composition="product"))
    assert {hit.id: hit.score for hit in page} == pytest.approx(expected, abs=1e-4)
    for signals in ((picture(),), (Signal("text", "red"), Signal("text", "hat"))):
        with pytest.raises(ConfigError, match="multiplies words with pictures"):
            search(Query(signals, mode="vector", composition="product"))
    with pytest.raises(ConfigError, match="multiplies words with pictures or products; give both"):
        search(Query((Signal("text", "red"),), composition="product"))  # in the usual mode of words, too
    with pytest.raises(ConfigError, match="a vector is neither"):
        search(Query((Signal("vector", np.ones(2 * HALF)), Signal("text", "red")), composition="product"))


def test_a_collection_of_another_fusion_says_that_it_has_nothing_to_multiply(make: Shop) -> None:
    search, collection = make(JOINT, fusion="sum")
    with pytest.raises(ConfigError, match=f"'blocks'; '{collection.name}' is fused by the fusion 'sum'"):
        search(Query((picture(), Signal("text", "red")), composition="product"))


def test_slerp_is_a_direction_between_both(make: Shop) -> None:
    search, _ = make(JOINT)
    query = Query((picture(0.25), Signal("text", "red", 0.75)), composition="slerp")
    vector = search._composed(query).vector
    expected = slerp(unit(PICTURE), unit(WORDS), 0.75)
    on_image = 0.25 + 0.75 * 0.5
    assert vector == pytest.approx(np.concatenate([on_image * expected, (1 - on_image) * expected]), abs=1e-5)
    assert len(search(query)) == 10
    with pytest.raises(ConfigError, match="goes from a picture to words"):
        search(replace(query, signals=(picture(),)))


def test_slerp_by_hand() -> None:
    start, end = unit([1, 0, 0]), unit([0, 1, 0])
    for share in (0.0, 0.25, 0.5, 1.0):
        angle = share * np.pi / 2
        assert slerp(start, end, share) == pytest.approx([np.cos(angle), np.sin(angle), 0], abs=1e-6)
    assert slerp(start, start, 0.3) == pytest.approx(start)
    assert np.isfinite(slerp(start, -start, 0.5)).all()


def test_separate_spaces_have_no_direction_between_them(make: Shop) -> None:
    search, _ = make()
    with pytest.raises(ConfigError, match="a joint space such as CLIP"):
        search(Query((picture(), Signal("text", "red")), composition="slerp"))
    with pytest.raises(ConfigError, match="not 'mean'"):
        search(Query((picture(),), composition="mean"))  # type: ignore[arg-type]


def test_a_calibrated_collection_centres_words_on_its_own_queries(make: Shop) -> None:
    own = np.array([0.3, 0.1, 0.0, 0.2], np.float32)
    search, collection = make(query_text_mean=own, calibrated_by=30)
    assert collection.stamp.query_text_mean == pytest.approx(own)
    shown, words = query_side(collection)[1], unit(unit(WORDS) - own)
    page = search(Query((picture(), Signal("text", "red")), limit=60))
    expected = composed(collection, np.append(NOTHING, 0.6 * words), np.append(0.4 * shown, NOTHING))
    assert {hit.id: hit.score for hit in page} == pytest.approx(expected, abs=1e-4)


def test_the_mean_of_queries_by_hand() -> None:
    texts = {f"query {n}": DRAW.normal(size=HALF).tolist() for n in range(25)}
    encoder: Any = Planted(SPEC, texts, {})
    mean, count = query_mean([*texts, "  query 3 ", "", "query 4"], encoder)
    assert count == 25
    assert mean == pytest.approx(np.mean([unit(vector) for vector in texts.values()], axis=0), abs=1e-6)
    with pytest.raises(ConfigError, match="at least 20 different queries, the more the better; here are 2"):
        query_mean(["query 1", "query 2", "query 1"], encoder)
