"""Search by words: BM25 over search tokens of our own, by Milvus where it can, else exactly in this process."""

from __future__ import annotations

from array import array
from collections import Counter, defaultdict
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

    def __init__(self, texts: Iterable[str]) -> None:
        lengths = array("l")
        places: dict[str, array[int]] = defaultdict(lambda: array("l"))
        counts: dict[str, array[int]] = defaultdict(lambda: array("l"))
        for place, text in enumerate(texts):
            found = Counter(tokenize(text).split())
            lengths.append(found.total())
            for token, count in found.items():
                places[token].append(place)
                counts[token].append(count)
        self._lengths = np.array(lengths, np.float64)
        self._places = {token: np.array(found, np.int64) for token, found in places.items()}
        self._counts = {token: np.array(found, np.float64) for token, found in counts.items()}

    def scores(self, tokens: Sequence[str]) -> Scores:
        """(N,) float64; 0 for products that have none of the tokens. A token that stands twice counts twice."""
        scores = np.zeros(len(self._lengths))
        # Products without text count as well, as they do in Milvus.
        mean = self._lengths.mean() if len(scores) else 0.0
        for token, times in Counter(tokens).items():
            if (places := self._places.get(token)) is None:
                continue
            idf = np.log(1 + (len(scores) - len(places) + 0.5) / (len(places) + 0.5))
            tf = self._counts[token]
            norm = K1 * (1 - B + B * self._lengths[places] / mean)
            scores[places] += times * idf * tf * (K1 + 1) / (tf + norm)
        return scores
