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
_ROWS = 1_024  # queries looked at at once
_AT_ONCE = 128  # queries whose pairs are in memory at once: some may want most products


class Known:
    """What a query is known to want, and the twins of that: no negatives."""

    def __init__(self, labels: Labels, twins: Ints) -> None:
        self.twins = twins
        self._most = int(twins.max(initial=0)) + 1
        self._keys = np.sort(labels.query * self._most + twins[labels.product])
        self._starts = np.searchsorted(self._keys, np.arange(len(labels.asked) + 1) * self._most)
        self._column = np.full(
            self._most, -1, np.int64
        )  # of each twin number, while ``cells`` looks for them

    def wants(self, queries: Ints, places: Ints) -> npt.NDArray[np.bool_]:
        """(B,) queries and (B, M) places, each query's own -> (B, M) what is wanted; False for -1."""
        if not len(self._keys):
            return np.zeros(places.shape, np.bool_)
        keys = queries[:, None] * self._most + self.twins[places]
        found = np.searchsorted(self._keys, keys).clip(max=len(self._keys) - 1)
        return np.asarray((self._keys[found] == keys) & (places >= 0))

    def cells(self, queries: Ints, candidates: Ints) -> tuple[Ints, Ints]:
        """(B,) and (C,) places -> the rows and the columns of what is wanted in (B, C)."""
        numbers, of_candidate = np.unique(self.twins[candidates], return_inverse=True)
        self._column[numbers] = np.arange(len(numbers))
        found = [
            self._cells(queries, slice(start, start + _AT_ONCE), of_candidate)
            for start in range(0, len(queries), _AT_ONCE)
        ]
        self._column[numbers] = -1
        rows, columns = zip(*found, strict=True)
        return np.concatenate(rows), np.concatenate(columns)

    def _cells(self, queries: Ints, part: slice, of_candidate: Ints) -> tuple[Ints, Ints]:
        rows, wanted = self._pairs(queries[part])
        column = self._column[wanted]
        hits = column >= 0
        some, row = np.unique(rows[hits], return_inverse=True)
        wants = np.zeros((len(some), int(of_candidate.max(initial=0)) + 1), np.bool_)
        wants[row, column[hits]] = True
        at, columns = np.nonzero(wants[:, of_candidate])
        return part.start + some[at], columns

    def _pairs(self, queries: Ints) -> tuple[Ints, Ints]:
        """The row of each query and the twin number of each product that it wants, (P,) each."""
        counts = self._starts[queries + 1] - self._starts[queries]
        rows = np.repeat(np.arange(len(queries)), counts)
        offsets = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
        return rows, self._keys[np.repeat(self._starts[queries], counts) + offsets] % self._most

    def hidden(self, queries: Ints, candidates: Ints) -> npt.NDArray[np.bool_]:
        """(B,) and (C,) places -> (B, C) what is wanted."""
        found = np.zeros((len(queries), len(candidates)), np.bool_)
        found[self.cells(queries, candidates)] = True
        return found


def by_words(words: Sequence[str], texts: Sequence[str]) -> Ints:
    """(Q, MINED) places of the products with the best BM25 for each query's words; -1 where there are none."""
    index = WordIndex(texts)
    distinct = {text: place for place, text in enumerate(dict.fromkeys(words))}
    found = np.full((len(distinct), MINED), -1, np.int64)
    for text, place in distinct.items():
        if text:
            best = _best(index.scores(tokenize_query(text).split()))
            found[place, : len(best)] = best
    return found[[distinct[text] for text in words]]


def _best(scores: npt.NDArray[np.float64]) -> Ints:
    """The places of the up to MINED highest scores above 0, of equal ones the first; without sorting all of them."""
    places = np.flatnonzero(scores > 0)
    if len(places) > MINED:
        found = scores[places]
        places = places[found >= np.partition(found, -MINED)[-MINED]]
    return places[np.argsort(-scores[places], kind="stable")][:MINED]


def hard_negatives(
    model: HeadModel, inputs: Inputs, queries: Ints, words: Ints, known: Known, skip_top: int
) -> Ints:
    """(Q, M) places of negatives of each query, those first that there are, then -1.

    ``words`` (Q, W) is what ``by_words`` found. The first ``skip_top`` by the head are left out: they may well be
    right without a label.
    """
    near = nearest(model, inputs, queries, min(MINED + skip_top, len(inputs)), known)[:, skip_top:]
    pool = np.full((len(queries), 2 * MINED), -1, np.int64)
    for start in range(0, len(queries), _ROWS):
        rows = slice(start, start + _ROWS)
        asked = queries[rows]
        by_words = np.where(known.wants(asked, words[rows]), -1, words[rows])
        found = np.sort(np.concatenate([near[rows], by_words], axis=1), axis=1)
        twice = np.zeros_like(found, np.bool_)
        twice[:, 1:] = found[:, 1:] == found[:, :-1]
        itself = found == inputs.product_at.numpy()[asked][:, None]
        pool[rows] = _leading(found, twice | itself, 2 * MINED)
    return pool


def _leading(places: Ints, out: npt.NDArray[np.bool_], count: int) -> Ints:
    """(B, M) -> (B, count): those that are not ``out`` nor -1, in their order."""
    kept = (places >= 0) & ~out
    row, column = np.nonzero(kept)
    found = np.full((len(places), count), -1, np.int64)
    found[row, np.cumsum(kept, axis=1)[row, column] - 1] = places[row, column]
    return found


def draw(pool: Ints, count: int, rng: np.random.Generator) -> Ints:
    """(B, M) negatives of the queries of a step -> up to B * count of them, each once."""
    sizes = (pool >= 0).sum(axis=1)
    some = sizes > 0
    at = (rng.random((len(pool), count)) * sizes[:, None]).astype(np.int64)
    return np.unique(np.take_along_axis(pool[some], at[some], axis=1))
