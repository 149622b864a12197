"""From a ranking to the products of one page: sorted, one group after the other, from a cursor or an offset on."""

from __future__ import annotations

import base64
import dataclasses
import hashlib
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from mm_milvus.errors import ConfigError
from mm_milvus.records import FieldType, Query

if TYPE_CHECKING:
    from mm_milvus.records import Hit, Sort
    from mm_milvus.search.routes import Candidate
    from mm_milvus.store import Collection

    Attributes = Mapping[str, Mapping[str, Any]]  # id -> attributes

__all__ = [
    "SORTABLE",
    "by_relevance",
    "continued",
    "cursor_after",
    "grouped",
    "position",
    "read_hits",
    "sorted_by",
]

# What decides the order beside signals, filter and reranker, with its default.
_DECIDE = {
    field.name: field.default
    for field in dataclasses.fields(Query)
    if field.name
    not in (
        "signals", "filter", "rerank", "cursor", "limit", "offset", "fields", "explain", "facets", "count",
    )
}  # fmt: skip
SORTABLE = (FieldType.BOOL, FieldType.INT64, FieldType.DOUBLE, FieldType.VARCHAR)


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


def cursor_after(query: Query, last: tuple[float, str], seen: int) -> str:
    """Asks for what comes after the product of this ``by_score``, (in) the ``seen``-th entry of the ranking."""
    content = [_fingerprint(query), *last, seen]
    return base64.urlsafe_b64encode(json.dumps(content, ensure_ascii=False).encode()).decode()


def position(query: Query) -> tuple[tuple[float, str], int]:
    """What ``cursor_after`` was given. Raises ConfigError for what is no cursor of this query."""
    try:
        fingerprint, score, id, seen = json.loads(base64.urlsafe_b64decode(str(query.cursor).encode()))
        found = (float(score), str(id)), max(0, int(seen))
    except (ValueError, TypeError) as error:
        raise ConfigError("this is not a cursor; take the one of the page before") from error
    if fingerprint != _fingerprint(query):
        raise ConfigError(
            "this cursor is of another query; only limit, fields, facets, count and explain may differ"
        )
    return found


def continued(
    query: Query, entries: Sequence[Sequence[Candidate]]
) -> tuple[Sequence[Sequence[Candidate]], int]:
    """The entries after those that the cursor's pages have shown, and how many those were.

    What came in meanwhile shifts nothing: the page goes on after the last product shown. Where that one is gone, it
    goes on after as many entries as were shown.
    """
    last, seen = position(query)
    place = next((n for n, entry in enumerate(entries) if any(found.id == last[1] for found in entry)), None)
    return (entries[seen:] if place is None else entries[place + 1 :]), seen


def _key(value: Any) -> str:
    """Vectors and pictures by their bytes: writing them out takes longer than a search."""
    if isinstance(value, bytes):
        content = value
    elif isinstance(value, np.ndarray):
        content = np.ascontiguousarray(value).tobytes()
    elif hasattr(value, "tobytes"):  # a PIL picture
        content = repr((value.size, value.mode)).encode() + value.tobytes()
    else:
        return str(value)
    return hashlib.blake2b(content, digest_size=8).hexdigest()


def _fingerprint(query: Query) -> str:
    """Of all that decides the order."""
    values = [
        f"{name}={value!r}"
        for name, usual in _DECIDE.items()
        if (value := getattr(query, name)) is not usual and value != usual
    ]
    values += [f"{signal.kind}^{signal.weight}{signal.crop}{_key(signal.value)}" for signal in query.signals]
    values += [query.filter if isinstance(query.filter, str) else str(query.filter is not None)]
    values += [str(bool(query.rerank))]
    return hashlib.blake2b("\0".join(values).encode("utf-8", "replace"), digest_size=8).hexdigest()
