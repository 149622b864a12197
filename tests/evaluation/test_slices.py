"""Parts of the queries: each has the queries that it should have, and their mean."""

from __future__ import annotations

import pytest

from mm_milvus.evaluation import Judged, Question, Slice
from mm_milvus.evaluation.slices import slices_of
from mm_milvus.records import Signal
from mm_milvus.store import Stored

WORDS, PICTURE, PRODUCT = Signal("text", "red"), Signal("image", "a.png"), Signal("id", "z")
STORED = {
    id: Stored(id, has_image, has_text, "", "", "")
    for id, has_image, has_text in (
        ("whole", True, True),
        ("wordless", True, False),
        ("blind", False, True),
        ("bare", False, False),
    )
}
QUESTIONS = {
    "words": Question("words", (WORDS,), {"whole": 1}),
    "several words": Question("several words", (WORDS, WORDS), {"blind": 2, "whole": 1}),
    "cheap": Question("cheap", (WORDS,), {"whole": 1}, "price < 9"),
    "picture": Question("picture", (PICTURE,), {"wordless": 1}),
    "product": Question("product", (PRODUCT,), {"whole": 1, "blind": 0}, None, ("head", "shoes")),
    "both": Question("both", (PICTURE, WORDS), {"bare": 1}, "price > 9", ("head",)),
    "all three": Question("all three", (PICTURE, WORDS, PRODUCT), {"gone": 1, "whole": 1, "wordless": 1}),
}
# What each of them is worth: no two parts of the queries have one sum.
WORTH = {qid: 2.0**-place for place, qid in enumerate(QUESTIONS)}
EXPECTED = {
    "text": ["words", "several words", "cheap"],
    "image": ["picture"],
    "id": ["product"],
    "composed": ["both", "all three"],
    "filtered": ["cheap", "both"],
    "relevant without text": ["picture", "both", "all three"],
    "relevant without picture": ["several words", "both"],
    "slice head": ["product", "both"],
    "slice shoes": ["product"],
}


def sliced(*qids: str) -> dict[str, Slice]:
    judged = [
        Judged(QUESTIONS[qid], {"a": {"MRR": WORTH[qid]}, "b": {"MRR": 1 - WORTH[qid]}}, {}) for qid in qids
    ]
    return {part.name: part for part in slices_of(judged, STORED)}


def test_each_slice_has_its_queries_and_their_mean() -> None:
    found = sliced(*QUESTIONS)
    assert list(found) == list(EXPECTED)  # in this order
    for name, qids in EXPECTED.items():
        mean = sum(WORTH[qid] for qid in qids) / len(qids)
        assert found[name].queries == len(qids), name
        assert found[name].values["a"]["MRR"] == pytest.approx(mean), name
        assert found[name].values["b"]["MRR"] == pytest.approx(1 - mean), name


def test_a_slice_that_holds_every_query_says_nothing() -> None:
    assert list(sliced("words", "several words")) == ["relevant without picture"]
    assert sliced("words") == {}
    assert list(sliced("cheap", "both")) == [
        "text", "composed", "relevant without text", "relevant without picture", "slice head",
    ]  # fmt: skip
