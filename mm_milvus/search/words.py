"""Search by words: BM25 over search tokens of our own, by Milvus where it can, else exactly in this process."""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from mm_milvus.store.tokens import BM25_B as B
from mm_milvus.store.tokens import BM25_K1 as K1
from mm_milvus.store.tokens import tokenize

if TYPE_CHECKING:
    import numpy.typing as npt

    Scores = npt.NDArray[np.float64]

__all__ = ["WordIndex"]


class WordIndex:
    """BM25 (Robertson and Zaragoza 2009, with the idf of Lucene) over the texts of all products.

    score(q, d) = sum over the tokens t of q of  idf(t) tf (k1 + 1) / (tf + k1 (1 - b + b |d| / mean |d|)),
    idf(t) = ln(1 + (N - n(t) + 0.5) / (n(t) + 0.5)).
    """

    def __init__(self, texts: Iterable[str] = ()) -> None:
        self._lengths = array("d")
        self._places: dict[str, array[int]] = {}
        self._counts: dict[str, array[float]] = {}
        self.add(texts)

    def __len__(self) -> int:
        return len(self._lengths)

    def add(self, texts: Iterable[str]) -> None:
        """Further products, after those that are in."""
        for place, text in enumerate(texts, start=len(self)):
            found = Counter(tokenize(text).split())
            self._lengths.append(found.total())
            for token, count in found.items():
                if token not in self._places:
                    self._places[token], self._counts[token] = array("q"), array("d")
                self._places[token].append(place)
                self._counts[token].append(count)

    def scores(self, tokens: Sequence[str]) -> Scores:
        """(N,) float64; 0 for products that have none of the tokens. A token that stands twice counts twice."""
        scores = np.zeros(len(self))
        lengths = np.frombuffer(self._lengths)
        # Products without text count as well, as they do in Milvus.
        mean = lengths.mean() if len(scores) else 0.0
        for token, times in Counter(tokens).items():
            if token not in self._places:
                continue
            places, tf = np.frombuffer(self._places[token], np.int64), np.frombuffer(self._counts[token])
            idf = np.log(1 + (len(scores) - len(places) + 0.5) / (len(places) + 0.5))
            norm = K1 * (1 - B + B * lengths[places] / mean)
            scores[places] += times * idf * tf * (K1 + 1) / (tf + norm)
        return scores
