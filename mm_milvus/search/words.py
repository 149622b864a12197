"""Search by words: BM25 over search tokens of our own, by Milvus where it can, else exactly in this process."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from mm_milvus.store.tokens import BM25_B as B
from mm_milvus.store.tokens import BM25_K1 as K1
from mm_milvus.store.tokens import Tokens

if TYPE_CHECKING:
    import numpy.typing as npt

    from mm_milvus.store.filters import Filter

    Scores = npt.NDArray[np.float64]
    Mask = npt.NDArray[np.bool_]
    Posting = tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]

__all__ = ["RankedWords", "WordIndex"]


class WordIndex:
    """BM25 (Robertson and Zaragoza 2009, with the idf of Lucene) over the texts of all products.

    score(q, d) = sum over the tokens t of q of  idf(t) tf (k1 + 1) / (tf + k1 (1 - b + b |d| / mean |d|)),
    idf(t) = ln(1 + (N - n(t) + 0.5) / (n(t) + 0.5)).
    """

    def __init__(self, texts: Iterable[str] | Tokens) -> None:
        self._tokens = tokens = texts if isinstance(texts, Tokens) else Tokens.of(texts)
        self._ends = np.cumsum(tokens.lengths)
        self._postings: dict[str, Posting] = {}

    def scores(self, tokens: Sequence[str]) -> Scores:
        """(N,) float64; 0 for products that have none of the tokens. A token that stands twice counts twice."""
        lengths = self._tokens.lengths
        scores = np.zeros(len(lengths))
        # Products without text count as well, as they do in Milvus.
        mean = lengths.mean() if len(scores) else 0.0
        for token, times in Counter(tokens).items():
            if token not in self._tokens.vocabulary:
                continue
            places, tf = self._posting(token)
            idf = np.log(1 + (len(scores) - len(places) + 0.5) / (len(places) + 0.5))
            norm = K1 * (1 - B + B * lengths[places] / mean)
            scores[places] += times * idf * tf * (K1 + 1) / (tf + norm)
        return scores

    def _posting(self, token: str) -> Posting:
        """Which texts have the token, and how often."""
        if token not in self._postings:
            found = np.flatnonzero(self._tokens.codes == self._tokens.vocabulary[token])
            texts = np.searchsorted(self._ends, found, side="right")
            self._postings[token] = np.unique(texts, return_counts=True)
        return self._postings[token]


class RankedWords:
    """Ranks the products of one generation by words."""

    def __init__(
        self, ids: Sequence[str], tokens: Tokens, passing: Callable[[Filter, Sequence[str]], Mask]
    ) -> None:
        """``ids`` rise; ``passing`` says which products pass a filter."""
        self._ids = ids
        self._places = {id: place for place, id in enumerate(ids)}
        self._passing = passing
        self._index = WordIndex(tokens)
        self._scored: tuple[str, Scores] = "", np.zeros(len(ids))  # one query asks twice

    def rank_words(self, tokens: str, filter: Filter | None, limit: int) -> dict[str, float]:
        """As ``Collection.rank_words``; products of equal score by rising id."""
        scores = self._scores(tokens)
        found = np.flatnonzero((scores > 0) & self._passing(filter, self._ids) if filter else scores > 0)
        best = found[np.argsort(-scores[found], kind="stable")[:limit]]
        return {self._ids[place]: float(scores[place]) for place in best}

    def score_words(self, tokens: str, ids: Sequence[str]) -> dict[str, float]:
        """What ``rank_words`` would give for these products; those that have none of the tokens are left out."""
        scores = self._scores(tokens)
        places = {id: place for id in ids if (place := self._places.get(id)) is not None}
        return {id: float(scores[place]) for id, place in places.items() if scores[place] > 0}

    def _scores(self, tokens: str) -> Scores:
        """(N,) of all products; not to be changed."""
        if self._scored[0] != tokens:
            self._scored = tokens, self._index.scores(tokens.split())
        return self._scored[1]
