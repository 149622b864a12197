"""Hard negatives: products near a query, by the current head and by its words, that it does not want."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from mm_milvus.search import WordIndex
from mm_milvus.store.tokens import tokenize_query
from mm_milvus.training.nearest import nearest

if TYPE_CHECKING:
    import numpy.typing as npt

    from mm_milvus.training.data import Labels
    from mm_milvus.training.model import HeadModel, Inputs

    Ints = npt.NDArray[np.int64]

__all__ = ["Known", "by_words", "draw", "hard_negatives"]

MINED = 30  # products by each way


class Known:
    """What a query is known to want, and the twins of that: no negatives."""

    def __init__(self, labels: Labels, twins: Ints) -> None:
        order = np.argsort(labels.query, kind="stable")
        self.twins = twins
        self._twins = twins[labels.product[order]]
        self._starts = np.searchsorted(labels.query[order], np.arange(len(labels.asked) + 1))

    def of(self, query: int) -> Ints:
        """The twin numbers of the products that the query wants."""
        return self._twins[self._starts[query] : self._starts[query + 1]]

    def hidden(self, queries: Ints, candidates: Ints) -> npt.NDArray[np.bool_]:
        """(B,) and (C,) places -> (B, C) what is wanted."""
        order = np.argsort(self.twins[candidates], kind="stable")
        numbers = self.twins[candidates][order]
        found = np.zeros((len(queries), len(candidates)), np.bool_)
        counts = self._starts[queries + 1] - self._starts[queries]
        rows = np.repeat(np.arange(len(queries)), counts)
        offsets = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
        wanted = self._twins[np.repeat(self._starts[queries], counts) + offsets]
        first, last = (np.searchsorted(numbers, wanted, side) for side in ("left", "right"))
        for shift in range(int((last - first).max(initial=0))):
            hit = first + shift < last
            found[rows[hit], order[first[hit] + shift]] = True
        return found


def by_words(words: Sequence[str], texts: Sequence[str]) -> Ints:
    """(Q, MINED) places of the products with the best BM25 for each query's words; -1 where there are none."""
    index = WordIndex(texts)
    found = np.full((len(words), MINED), -1, np.int64)
    for row, text in enumerate(words):
        if not text:
            continue
        scores = index.scores(tokenize_query(text).split())
        best = np.argsort(-scores, kind="stable")[:MINED]
        best = best[scores[best] > 0]
        found[row, : len(best)] = best
    return found


def hard_negatives(
    model: HeadModel, inputs: Inputs, queries: Ints, words: Ints, known: Known, skip_top: int
) -> Ints:
    """(Q, M) places of negatives of each query, those first that there are, then -1.

    ``words`` (Q, W) is what ``by_words`` found. The first ``skip_top`` by the head are left out: they may well be
    right without a label.
    """
    wanted = max(len(known.of(int(query))) for query in queries)
    near = nearest(model, inputs, queries, min(MINED + skip_top + wanted, len(inputs)))
    pool = np.full((len(queries), 2 * MINED), -1, np.int64)
    for row, query in enumerate(queries):
        mine = known.of(int(query))
        found = _others(near[row], known.twins, mine)[skip_top:][:MINED]
        found = np.unique(np.concatenate([found, _others(words[row], known.twins, mine)]))
        pool[row, : len(found)] = found[found != int(inputs.product_at[query])][: 2 * MINED]
    return pool


def _others(places: Ints, twins: Ints, wanted: Ints) -> Ints:
    places = places[places >= 0]
    return places[~np.isin(twins[places], wanted)]


def draw(pool: Ints, count: int, rng: np.random.Generator) -> Ints:
    """(B, M) negatives of the queries of a step -> up to B * count of them, each once."""
    sizes = (pool >= 0).sum(axis=1)
    some = sizes > 0
    at = (rng.random((len(pool), count)) * sizes[:, None]).astype(np.int64)
    return np.unique(np.take_along_axis(pool[some], at[some], axis=1))
