"""A collection in memory: exact in everything, and the measure of what Milvus answers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from mm_milvus.records import Hit
from mm_milvus.search import WordIndex
from mm_milvus.store import Collection, Mirror, Mirrors
from mm_milvus.store.filters import Filter, matches


class Twin:
    """Has what a Searcher uses of a Collection, over a copy of a real one."""

    def __init__(self, real: Collection) -> None:
        self.name, self.stamp, self.consistency = real.name, real.stamp, "Strong"
        self.parse = real.parse
        self.capabilities = replace(real.capabilities, lite=False, bm25=True)
        self.generation = "1"
        self._rows = list(real.products())
        ids = [row["id"] for row in self._rows]
        self._hits = {hit.id: hit for hit in real.get(ids)}
        self._vectors = real.vectors(ids)
        self._words = WordIndex(row["text"] for row in self._rows)
        self._mirrors = Mirrors(self)

    def products(self) -> Iterator[dict[str, Any]]:
        return iter(self._rows)

    def mirror(self, purpose: str) -> Mirror:
        return self._mirrors.get(purpose)

    def has_mirror(self, mirror: Mirror) -> bool:
        return self._mirrors.has(mirror)

    def vectors(self, ids: Sequence[str], consistency: str = "") -> dict[str, Any]:
        return {id: self._vectors[id] for id in ids if id in self._vectors}

    def inner_products(self, vector: np.ndarray, ids: Sequence[str]) -> dict[str, float]:
        return {id: float(vector @ found) for id, (found, _, _) in self.vectors(ids).items()}

    def get(
        self, ids: Sequence[str], fields: Sequence[str] | None = None, consistency: str = ""
    ) -> list[Hit]:
        texts = {row["id"]: row["text"] for row in self._rows}
        found = []
        for id in dict.fromkeys(ids):
            if id not in self._hits:
                continue
            values = dict(self._hits[id].attributes)
            if fields is not None:
                values = {
                    name: (values | {"text": texts[id]})[name]
                    for name in fields
                    if name in values or name == "text"
                }
            found.append(replace(self._hits[id], attributes=values))
        return found

    def _passing(self, filter: Filter | None) -> list[dict[str, Any]]:
        return [row for row in self._rows if filter is None or matches(filter, row)]

    def total(self, filter: Filter | None) -> tuple[int, bool]:
        return len(self._passing(filter)), True

    def lacks(self, flag: str) -> bool:
        return not all(row[flag] for row in self._rows)

    def rank(self, vector: np.ndarray, *, filter: Filter | None = None, limit: int) -> dict[str, float]:
        scored = {row["id"]: float(vector @ self._vectors[row["id"]][0]) for row in self._passing(filter)}
        return dict(sorted(scored.items(), key=lambda pair: -pair[1])[:limit])

    def rank_all(
        self, vectors: np.ndarray, *, filter: Filter | None = None, limit: int
    ) -> list[dict[str, float]]:
        return [self.rank(vector, filter=filter, limit=limit) for vector in vectors]

    def rank_words(self, tokens: str, *, filter: Filter | None = None, limit: int) -> dict[str, float]:
        scores = self._words.scores(tokens.split())
        passing = {row["id"] for row in self._passing(filter)}
        scored = {
            row["id"]: float(score)
            for row, score in zip(self._rows, scores, strict=True)
            if score > 0 and row["id"] in passing
        }
        return dict(sorted(scored.items(), key=lambda pair: -pair[1])[:limit])

    def search(
        self,
        vector: np.ndarray,
        *,
        filter: Filter | None = None,
        limit: int = 10,
        offset: int = 0,
        fields: Sequence[str] | None = None,
    ) -> list[Hit]:
        ranked = list(self.rank(vector, filter=filter, limit=limit + offset).items())[offset:]
        scores = dict(ranked)
        return [replace(hit, score=scores[hit.id]) for hit in self.get([id for id, _ in ranked], fields)]
