"""From a ranking to the products of one page: sorted, one group after the other, from a cursor or an offset on."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

from mm_milvus.errors import ConfigError
from mm_milvus.records import FieldType
from mm_milvus.search.cursor import Cursor, cursor_after, place_in
from mm_milvus.search.routes import Candidate, by_score

if TYPE_CHECKING:
    from mm_milvus.records import Hit, Query, Sort
    from mm_milvus.search.routes import Ranking
    from mm_milvus.store import Collection

    Attributes = Mapping[str, Mapping[str, Any]]  # id -> attributes

__all__ = [
    "NEIGHBOURS",
    "SORTABLE",
    "Order",
    "by_relevance",
    "grouped",
    "part",
    "place_after",
    "read_hits",
    "rest_after",
    "sorted_by",
    "with_last",
]

_SAME = 1e-5  # scores that differ by less are those of one product, asked for twice
NEIGHBOURS = 3  # of the place where a page ends, on each side
SORTABLE = (FieldType.BOOL, FieldType.INT64, FieldType.DOUBLE, FieldType.VARCHAR)


@dataclass(frozen=True, slots=True)
class Order:
    """A ranking in its final order: ``rest`` is what begins with the page.

    Its entries are groups, of one product each where nothing is grouped.
    """

    ranking: Ranking
    rest: Sequence[Sequence[Candidate]]
    start: int  # of ``rest``
    entries: int  # in all
    fields: Sequence[str]  # what decides the order beside the score
    attributes: Attributes  # id -> their values

    def placed(self, candidate: Candidate) -> tuple[Any, ...]:
        """What it was placed by beside its score."""
        values = self.attributes.get(candidate.id, {})
        return tuple(values.get(field) for field in self.fields)


def by_relevance(sort: Sort, types: Mapping[str, FieldType]) -> bool:
    """Whether the score of the query is meant: an attribute of that name goes before it."""
    return sort.field == "score" and "score" not in types


def sorted_by(
    candidates: Sequence[Candidate],
    sorts: Iterable[Sort],
    attributes: Attributes,
    types: Mapping[str, FieldType],
) -> list[Candidate]:
    """By the first of ``sorts``, ties by the next one, then as they came. Missing values always come last."""
    ordered = list(candidates)
    for sort in reversed(list(sorts)):
        if by_relevance(sort, types):
            ordered.sort(key=lambda candidate: candidate.score, reverse=sort.descending)
            continue
        value = _reader(sort.field, attributes)
        present = [candidate for candidate in ordered if value(candidate) is not None]
        missing = [candidate for candidate in ordered if value(candidate) is None]
        present.sort(key=value, reverse=sort.descending)
        ordered = present + missing
    return ordered


def _reader(field: str, attributes: Attributes) -> Callable[[Candidate], Any]:
    return lambda candidate: attributes.get(candidate.id, {}).get(field)


def grouped(
    candidates: Sequence[Candidate], field: str, size: int, attributes: Attributes
) -> list[list[Candidate]]:
    """The first ``size`` candidates of each value, groups in the order of their first; without a value: alone."""
    groups: dict[Any, list[Candidate]] = {}
    value = _reader(field, attributes)
    for candidate in candidates:
        found = value(candidate)
        key = (candidate.id,) if found is None else found
        group = groups.setdefault(key, [])
        if len(group) < size:
            group.append(candidate)
    return list(groups.values())


def read_hits(
    candidates: Iterable[Candidate], collection: Collection, fields: Sequence[str] | None, *, explain: bool
) -> list[Hit]:
    """The products of the candidates with their scores, in that order; those that are gone are left out."""
    by_id = {candidate.id: candidate for candidate in candidates}
    found = collection.get(list(by_id), fields, collection.consistency)
    return [
        replace(hit, score=by_id[hit.id].score, scores=by_id[hit.id].scores if explain else {})
        for hit in found
    ]


def with_last(ranking: Ranking, last: Cursor, *, alone: bool, reranked: bool) -> tuple[Ranking, bool]:
    """The ranking with the last product of the page before where it was, and whether to go on after it.

    Scores that stand ``alone`` tell its place even if it is gone. Others depend on those beside them: where it has
    another one by now, the products that were to follow tell where to go on, if they are there.
    """
    by_id = {candidate.id: candidate for candidate in ranking.candidates}
    present = by_id.get(last.id)
    if present and (reranked or abs(present.score - last.score) < _SAME):
        return ranking, True
    followed = any(id in by_id for id in last.following)
    if reranked or (not alone and (followed or present)):
        return ranking, not followed
    by_id[last.id] = Candidate(last.id, last.score, {})
    return replace(ranking, candidates=sorted(by_id.values(), key=by_score)), True


def place_after(entries: Sequence[Sequence[Candidate]], last: Cursor, *, after_it: bool) -> int:
    """Where in the ranking the next page begins: after the last product of the page before, or with the one that was to
    follow; without any, after as many entries as were shown.
    """
    places = {found.id: place for place, entry in reversed(list(enumerate(entries))) for found in entry}
    place = place_in(places, last, after_it=after_it)
    return min(last.seen, len(entries)) if place is None else place


def rest_after(
    entries: Sequence[Sequence[Candidate]], start: int, last: Cursor, group: Callable[[str], Any]
) -> list[Sequence[Candidate]]:
    """What is still to be shown, from that place on: neighbours that have changed sides are neither lost nor repeated.

    ``group`` gives the group of a product, None where nothing is grouped.
    """
    early = {entry[0].id: entry for entry in entries[: start + 1]}
    first = [early[id] for id in last.following if id in early]
    known = {last.id, *last.shown, *(entry[0].id for entry in first)}
    rest = [entry for entry in entries[start:] if entry[0].id not in known]
    if (shown := group(last.id)) is None:
        return [*first, *rest]
    return [entry for entry in (*first, *rest) if group(entry[0].id) != shown]


def part(
    query: Query, order: Order, before: Cursor | None
) -> tuple[list[Candidate], Callable[[], str] | None]:
    """What of the ranking the page shows, and the cursor to the next one. ``before`` is the cursor of this page."""
    shown, rest = order.rest[: query.limit], order.rest[query.limit :]
    chosen = query.min_score is not None or query.group_by is not None  # then a short page is an answer
    ends = order.ranking.complete or chosen
    short = not shown if query.cursor else len(shown) < query.limit
    if short and not ends:
        raise ConfigError(
            f"this ranking ends after the {order.entries:,} best products; narrow it with a filter"
        )
    candidates = [candidate for entry in shown for candidate in entry]
    if not shown or (ends and not rest):
        return candidates, None
    known = [*before.shown, before.id] if before else []
    known += [entry[0].id for entry in shown[:-1]]
    last = shown[-1][0]
    following = [entry[0] for entry in rest[:NEIGHBOURS]]
    cursor = Cursor(
        last.id,
        last.scores.get("unboosted", last.score),
        (before.seen if before else query.offset) + len(shown),
        order.placed(last),
        tuple(known[-NEIGHBOURS:]),
        tuple(candidate.id for candidate in following),
        order.placed(following[0]) if following else (),
    )
    return candidates, partial(cursor_after, query, cursor)
