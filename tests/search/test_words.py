"""BM25 against its written formula, and against what Milvus Lite computes."""

from __future__ import annotations

import math
import random
from dataclasses import replace

import pytest

from mm_milvus.config import Settings
from mm_milvus.search import WordIndex
from mm_milvus.store import Store
from tests.store.conftest import row, stamp, unit

TEXTS = ["red shoe", "red red dress", "", "blue shoe for running in the rain", "红色T恤"]


def test_the_formula_written_out() -> None:
    scores = WordIndex(TEXTS).scores(["red"])
    lengths = [2, 3, 0, 7, 3]  # "红色", "t", "恤"
    mean = sum(lengths) / 5
    idf = math.log(1 + (5 - 2 + 0.5) / (2 + 0.5))
    one = idf * 1 * 2.5 / (1 + 1.5 * (0.25 + 0.75 * 2 / mean))
    two = idf * 2 * 2.5 / (2 + 1.5 * (0.25 + 0.75 * 3 / mean))
    assert scores.tolist() == pytest.approx([one, two, 0, 0, 0])
    assert WordIndex(TEXTS).scores(["red", "red"]).tolist() == pytest.approx([2 * one, 2 * two, 0, 0, 0])
    assert WordIndex(TEXTS).scores(["红色"]).argmax() == 4
    assert WordIndex(TEXTS).scores(["nowhere"]).tolist() == [0] * 5
    assert WordIndex([]).scores(["red"]).tolist() == []


def test_milvus_lite_scores_alike(lite_uri: str) -> None:
    """Its idf is that of a segment: the same while all rows are in one."""
    draw = random.Random(3)
    words = [f"word{n}" for n in range(200)]
    texts = [
        " ".join(draw.choices(words, weights=[1 / (n + 1) for n in range(200)], k=9)) for _ in range(400)
    ]
    with Store(Settings(uri=lite_uri), create=True) as store:
        collection = store.create("shop", stamp(store))
        rows = [replace(row(f"p{n:03}", unit(1)), text=text) for n, text in enumerate(texts)]
        collection.write(rows)
        collection.flush()
        index = WordIndex(texts)
        for asked in ("word3", "word0 word150", "word7 word7 word90"):
            found = collection.rank_words(asked, limit=20)
            expected = index.scores(asked.split())
            assert len(found) > 0
            for id, score in found.items():
                assert score == pytest.approx(expected[int(id[1:])], abs=1e-3)
            assert list(found.values()) == sorted(found.values(), reverse=True)
            assert max(found.values()) == pytest.approx(expected.max(), abs=1e-3)
