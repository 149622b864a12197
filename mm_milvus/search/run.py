"""A query, from its signals to a page of hits."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from mm_milvus.encoders.base import DefaultWeights
from mm_milvus.errors import ConfigError, NotSupported
from mm_milvus.records import FacetCounts, Hit, Page, Query, Reranked
from mm_milvus.search.boost import boosted
from mm_milvus.search.cache import QueryEncoder
from mm_milvus.search.check import check_query
from mm_milvus.search.compose import Composed, compose, told, weigh
from mm_milvus.search.cursor import Cursor, cursor_after, placed_by, position
from mm_milvus.search.facets import count_found
from mm_milvus.search.indexes import Indexes
from mm_milvus.search.nearest import Nearest
from mm_milvus.search.order import (
    Order,
    by_relevance,
    grouped,
    part,
    place_after,
    read_hits,
    rest_after,
    sorted_by,
    with_last,
)
from mm_milvus.search.parts import signal_text
from mm_milvus.search.recommend import best_scores
from mm_milvus.search.relevance import at_least, relevant
from mm_milvus.search.rescore import Rescorer
from mm_milvus.search.routes import POOL, Candidate, Ranking, by_score, mode_of, pools_of, rank
from mm_milvus.store.filters import And, Condition, Filter, Not, ids_filter

if TYPE_CHECKING:
    import numpy.typing as npt

    from mm_milvus.encoders.base import Encoder, QueryTexts
    from mm_milvus.media import MediaReader
    from mm_milvus.records import Reranker
    from mm_milvus.store import Collection

    Array = npt.NDArray[np.float32]
    Following = Callable[[], str] | None
    # name, collection, and what loads encoder and reader
    Rerankers = Callable[[str, Collection, Callable[[], Encoder], Callable[[], MediaReader]], Reranker]

__all__ = ["Searcher"]


class Searcher:
    """Answers queries to one collection. ``encoder`` and ``reader`` are called when a query needs them."""

    def __init__(
        self,
        collection: Collection,
        encoder: Callable[[], Encoder],
        reader: Callable[[], MediaReader],
        texts: Callable[[], QueryTexts | None] = lambda: None,
        rerankers: Rerankers | None = None,
    ) -> None:
        """``texts`` gives what encodes query texts without the whole encoder, None where there is no such thing;
        ``rerankers`` those that a query may name."""
        self.collection = collection
        self._load_encoder = encoder
        self._load_texts = texts
        self._encoder: QueryEncoder | None = None
        self._reader = reader
        self._indexes = Indexes(collection)
        self._load_reranker = rerankers
        self._rerankers: dict[str, Reranker] = {}

    def __call__(self, query: Query) -> Page:
        """Answers ``query``. The products that it names as examples are left out of the answer.

        Raises StampMismatch, FilterError, UnknownField, MediaError, ProductNotFound, ConfigError, NotSupported or
        StoreError.
        """
        if isinstance(query.rerank, str) and query.signals and self._load_reranker is not None:
            query = replace(query, rerank=self._named(query.rerank, self._load_reranker))
        check_query(query, self.collection)
        filter = self._filter(query)
        if isinstance(query.filter, Condition):  # cursors tell filters apart by what they say
            query = replace(query, filter=repr(filter))
        mode = mode_of(query) if query.signals else "none"
        if mode not in ("none", "text"):
            encoder = self._ready_encoder()
            if any(signal.kind == "image" for signal in query.signals):
                encoder.load()  # what that takes is no part of the query's time
        started = time.perf_counter()
        # All signals together make one vector, unless each is compared by itself.
        one_vector = mode in ("vector", "hybrid") and query.strategy == "average_vector"
        composed = self._composed(query) if one_vector else None
        if composed and mode == "vector":
            filter = self._present(filter, composed)
        if composed and mode == "vector" and not _reordered(query):
            hits, total, exact, cursor = self._nearest(query, composed, filter)
            ranking = Ranking((), False, {"mode": "vector", **composed.explain})  # Milvus' own
        else:
            hits, total, exact, cursor, ranking = self._ordered(query, composed, filter)
        facets = self._facets(query, composed, filter, ranking)
        took_ms = (time.perf_counter() - started) * 1000
        return Page(
            tuple(hits), total, took_ms, query.limit, query.offset, exact, facets, cursor,
            ranking.explain if query.explain else {}, ranking.notices,
        )  # fmt: skip

    def _filter(self, query: Query) -> Filter | None:
        given = query.filter
        nothing = given is None or (isinstance(given, str) and not given.strip())
        filter = None if given is None or nothing else self.collection.parse(given)
        examples = [signal_text(signal) for signal in query.signals if signal.kind == "id"]
        if not (examples or query.exclude):
            return filter
        others = Not(ids_filter([*examples, *query.exclude]))
        return others if filter is None else And(filter, others)

    def _ready_encoder(self) -> QueryEncoder:
        if self._encoder is None:
            encoder = QueryEncoder(self._load_encoder, self._load_texts())
            self.collection.stamp.check_encoder(encoder.spec, self.collection.name)
            self._encoder = encoder
        return self._encoder

    def _composed(self, query: Query) -> Composed:
        """Raises MediaError (a query picture), ProductNotFound (an id), ConfigError (nothing to search for)."""
        return compose(query, self.collection, self._ready_encoder(), self._reader())

    def _rescorer(self, composed: Composed) -> Rescorer | None:
        if not (composed.rescored and composed.centred):
            return None
        return Rescorer(composed.centred, composed.composition, self.collection)

    def _present(self, filter: Filter | None, composed: Composed) -> Filter | None:
        """A query on one block is not about products that have nothing there."""
        if composed.alone is None:
            return filter
        flag = f"has_{composed.alone}"
        if not self.collection.lacks(flag):
            return filter
        present = self.collection.parse(flag)
        return present if filter is None else And(filter, present)

    # --- straight from Milvus ------------------------------------------------------------------------------

    def _nearest(
        self, query: Query, composed: Composed, filter: Filter | None
    ) -> tuple[list[Hit], int, bool, Following]:
        """By vector alone, in the order in which Milvus has them."""
        nearest = Nearest(self.collection, query, composed.vector, filter, self._rescorer(composed))
        if query.cursor is None:
            seen = query.offset
            hits, more = nearest.page()
        else:
            last = position(query)
            seen = last.seen
            hits, more = nearest.after(last)
        seen += len(hits)
        cursor: Following = None
        if more and hits:
            last = Cursor(hits[-1].id, hits[-1].score, seen, following=nearest.following)
            cursor = partial(cursor_after, query, last)
        ended = not more and query.cursor is None and (hits or not query.offset)
        if ended or not query.count:
            return hits, seen, bool(ended), cursor
        return hits, *self.collection.total(filter), cursor

    # --- from the candidates -------------------------------------------------------------------------------

    def _ordered(
        self, query: Query, composed: Composed | None, filter: Filter | None
    ) -> tuple[list[Hit], int, bool, Following, Ranking]:
        last = None if query.cursor is None else position(query)
        seen = last.seen if last else query.offset
        for pool in pools_of(query):
            order = self._order(query, composed, filter, pool, last)
            enough = order.start <= seen and len(order.rest) > query.limit
            if order.ranking.complete or (order.ranking.sound and enough):
                break
        candidates, cursor = part(query, order, last)
        total, exact = order.entries, order.ranking.complete
        if not exact and query.min_score is None and query.group_by is None and mode_of(query) != "text":
            total, exact = self.collection.total(filter) if query.count else (total, False)
        return self._hits(query, candidates), total, exact, cursor, order.ranking

    def _order(
        self, query: Query, composed: Composed | None, filter: Filter | None, pool: int, last: Cursor | None
    ) -> Order:
        """The ranking as it is shown, of the ``pool`` best, from the offset on or from where ``last`` was."""
        fields, types = self._ordering_fields(query), self.collection.stamp.schema.types()
        ranking = found = self._ranking(query, composed, filter, pool)
        after_it = True
        if last:
            alone = mode_of(query) == "vector" and not (composed and composed.rescored)
            ranking, after_it = with_last(found, last, alone=alone, reranked=query.rerank is not None)
        attributes = self._attributes(query, ranking.candidates, fields)
        for id, values in placed_by(last, fields, types).items() if last else ():
            attributes[id] = {**attributes.get(id, {}), **values}  # whatever they are by now
        if query.boosts:
            ranking = replace(
                ranking,
                candidates=boosted(ranking.candidates, query.boosts, attributes),
                explain={**ranking.explain, "boosts": ", ".join(map(str, query.boosts))},
            )
        if query.rerank is not None:
            ranking = self._reranked(query, ranking)
        entries = self._entries(query, ranking, attributes)
        start = place_after(entries, last, after_it=after_it) if last else query.offset
        rest: Sequence[Sequence[Candidate]] = entries[start:]
        count = len(entries)
        if last:
            rest = rest_after(
                entries, start, last, lambda id: attributes.get(id, {}).get(query.group_by or "")
            )
            if last.id not in _ids(found.candidates):  # it has but told where to go on
                count -= sum(_ids(entry) == {last.id} for entry in entries)
            ranking = replace(ranking, candidates=found.candidates)  # which facets may count
        return Order(ranking, rest, start, count, fields, attributes)

    def _ranking(self, query: Query, composed: Composed | None, filter: Filter | None, pool: int) -> Ranking:
        if not query.signals:
            return self._everything(filter)
        if query.strategy == "best_score":
            ranking = self._by_example(query, filter, pool)
            return ranking if query.min_score is None else at_least(ranking, query.min_score, ends=False)
        vector = composed.vector if composed else None
        ranking = rank(query, vector, self.collection, self._indexes, filter, pool)
        if composed:
            ranking = replace(ranking, explain={**ranking.explain, **composed.explain})
            rescore = self._rescorer(composed)
            if rescore and mode_of(query) == "vector":
                ranking = replace(ranking, candidates=rescore(ranking.candidates))
        elif query.explain:  # words alone: none of them has a default weight but 1
            signals = told(weigh(query.signals, DefaultWeights()))
            ranking = replace(ranking, explain={**ranking.explain, "signals": signals})
        return ranking if query.min_score is None else relevant(ranking, query, vector, self.collection)

    def _by_example(self, query: Query, filter: Filter | None, pool: int) -> Ranking:
        signals = [replace(s, weight=1.0 if s.weight is None else s.weight) for s in query.signals]
        signals = weigh(signals, self._ready_encoder().spec.weights)
        weights = [signal.weight or 0.0 for signal in signals]
        if not any(weight > 0 for weight in weights):
            raise ConfigError("the strategy 'best_score' needs a signal with a weight above 0")
        alone = [self._composed(replace(query, signals=(replace(signal, weight=1.0),))) for signal in signals]
        vectors = np.stack([composed.vector for composed in alone])
        ranking = best_scores(vectors, weights, self.collection, filter, pool)
        return replace(ranking, explain={**ranking.explain, "signals": told(signals)})

    def _everything(self, filter: Filter | None) -> Ranking:
        """All products that pass, by rising id."""
        mirror = self.collection.mirror("a query without signals")
        passing = mirror.passing(filter)
        return Ranking(
            [Candidate(mirror.ids[place], 0.0, {}) for place in passing.nonzero()[0]], complete=True
        )

    def _entries(
        self, query: Query, ranking: Ranking, attributes: Mapping[str, Mapping[str, Any]]
    ) -> list[list[Candidate]]:
        """The ranking in its final order, in groups where the query asks for them."""
        types = self.collection.stamp.schema.types()
        ordered = sorted_by(ranking.candidates, query.sort, attributes, types)
        if query.group_by is None:
            return [[candidate] for candidate in ordered]
        return grouped(ordered, query.group_by, query.group_size, attributes)

    def _ordering_fields(self, query: Query) -> list[str]:
        """What candidates are boosted, sorted and grouped by."""
        types = self.collection.stamp.schema.types()
        fields = {sort.field for sort in query.sort if not by_relevance(sort, types)}
        fields |= {boost.field for boost in query.boosts}
        fields |= {query.group_by} if query.group_by is not None else set()
        return sorted(map(str, fields))

    def _attributes(
        self, query: Query, candidates: Sequence[Candidate], fields: Sequence[str]
    ) -> dict[str, Mapping[str, Any]]:
        if not fields:
            return {}
        if not query.signals:
            rows = self.collection.mirror("a query without signals").rows
            return {row["id"]: row for row in rows}
        hits = self.collection.get(
            [candidate.id for candidate in candidates], fields, self.collection.consistency
        )
        return {hit.id: hit.attributes for hit in hits}

    def _hits(self, query: Query, candidates: Sequence[Candidate]) -> list[Hit]:
        return read_hits(candidates, self.collection, query.fields, explain=query.explain)

    def _named(self, name: str, load: Rerankers) -> Reranker:
        if name not in self._rerankers:
            self._rerankers[name] = load(
                name, self.collection, lambda: self._ready_encoder().encoder, self._reader
            )
        return self._rerankers[name]

    def _reranked(self, query: Query, ranking: Ranking) -> Ranking:
        """The best of it by the scores of the reranker; the others follow as they were."""
        first, others = (
            ranking.candidates[: query.rerank_size],
            ranking.candidates[query.rerank_size :],
        )
        hits = self._hits(replace(query, fields=None), first)
        given: Any = query.rerank(query, list(hits)) if callable(query.rerank) and hits else []
        explain, notices = ranking.explain, ranking.notices
        if isinstance(given, Reranked):
            explain, notices = {**explain, **given.explain}, tuple(given.notices)
            given = given.scores
        try:
            scores = np.array(given, np.float64)
        except (TypeError, ValueError):
            scores = np.array([])
        if scores.shape != (len(hits),) or not np.isfinite(scores).all():
            raise ConfigError(
                f"a reranker returns a finite score for each of the {len(hits)} hits, got {given!r:.80}"
            )
        by_id = {hit.id: float(score) for hit, score in zip(hits, scores, strict=True)}
        known = [candidate for candidate in first if candidate.id in by_id]
        found = [
            replace(
                candidate,
                score=by_id[candidate.id],
                scores={**candidate.scores, "rerank": by_id[candidate.id]},
            )
            for candidate in known
        ]
        return replace(
            ranking, candidates=[*sorted(found, key=by_score), *others], explain=explain, notices=notices
        )

    def _facets(
        self, query: Query, composed: Composed | None, filter: Filter | None, ranking: Ranking
    ) -> tuple[FacetCounts, ...]:
        """Over all products that pass the filter; over the candidates where words or a least relevance choose."""
        if not query.facets:
            return ()
        types = self.collection.stamp.schema.types()
        chosen = bool(query.signals) and (query.min_score is not None or mode_of(query) == "text")
        if not chosen:
            try:
                index = self._indexes.get("counting facets")
            except NotSupported:  # too many products: the best ones are counted, and said to be that
                if not query.signals:
                    raise
            else:
                return tuple(index.counts(facet, filter, types[facet.field]) for facet in query.facets)

        def find(others: Filter | None) -> Ranking:
            if chosen and others == filter:
                return ranking
            for pool in pools_of(query) if chosen else (POOL,):
                found = self._ranking(query, composed, others, pool)
                if found.complete:
                    break
            return found if chosen else replace(found, complete=False)

        return count_found(query.facets, filter, self.collection, find)


def _reordered(query: Query) -> bool:
    """Whether a ranking by vector is not the page yet."""
    orders = query.boosts or query.rerank or query.sort or query.group_by
    return bool(orders) or query.min_score is not None


def _ids(candidates: Iterable[Candidate]) -> set[str]:
    return {candidate.id for candidate in candidates}
