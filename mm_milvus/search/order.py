"""From a ranking to the products of one page: sorted, one group after the other, from a cursor or an offset on."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from mm_milvus.errors import ConfigError
from mm_milvus.records import FieldType

if TYPE_CHECKING:
    from mm_milvus.records import Query, Sort
    from mm_milvus.search.routes import Candidate

    Attributes = Mapping[str, Mapping[str, Any]]  # id -> attributes

__all__ = ["SORTABLE", "continued", "cursor_after", "grouped", "sorted_by"]

SORTABLE = (FieldType.BOOL, FieldType.INT64, FieldType.DOUBLE, FieldType.VARCHAR)


def sorted_by(
    candidates: Sequence[Candidate], sorts: Iterable[Sort], attributes: Attributes
) -> list[Candidate]:
    """By the first of ``sorts``, ties by the next one, then as they came. Missing values always come last."""
    ordered = list(candidates)
    for sort in reversed(list(sorts)):
        if sort.field == "score":
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


def cursor_after(query: Query, shown: Sequence[Candidate], seen: int) -> str:
    """Asks for what comes after the candidates of this page, the last of which is (in) the ``seen``-th entry."""
    last = shown[-1]
    # Milvus has equal scores in another order each time: these are not to be shown again, others not to be missed.
    equal = [candidate.id for candidate in shown if _same_score(candidate.score, last.score)]
    if query.cursor is not None:
        _, before, _, shown_before = _parsed(query)
        equal += shown_before if _same_score(before, last.score) else []
    content = [_fingerprint(query), last.id, last.score, seen, equal]
    return base64.urlsafe_b64encode(json.dumps(content, ensure_ascii=False).encode()).decode()


def continued(
    query: Query, entries: Sequence[Sequence[Candidate]]
) -> tuple[Sequence[Sequence[Candidate]], int]:
    """The entries after those that the cursor's pages have shown, and how many those were.

    What came in meanwhile shifts nothing: the page goes on after the last product shown. Where that one is gone, it
    goes on after as many entries as were shown.
    """
    last, score, seen, equal = _parsed(query)
    place = next((n for n, entry in enumerate(entries) if any(found.id == last for found in entry)), None)
    if place is None:
        return entries[seen:], seen
    if query.boosts or query.rerank or query.sort or query.group_by:
        return entries[place + 1 :], seen
    missed = [
        entry for entry in entries[:place] if _same_score(entry[0].score, score) and entry[0].id not in equal
    ]
    return [*missed, *(entry for entry in entries[place + 1 :] if entry[0].id not in equal)], seen


def _same_score(one: float, other: float) -> bool:
    return round(one, 6) == round(other, 6)


def _parsed(query: Query) -> tuple[str, float, int, list[str]]:
    try:
        fingerprint, last, score, seen, equal = json.loads(
            base64.urlsafe_b64decode(str(query.cursor).encode())
        )
        found = str(last), float(score), max(0, int(seen)), [str(id) for id in equal]
    except (ValueError, TypeError) as error:
        raise ConfigError("this is not a cursor; take the one of the page before") from error
    if fingerprint != _fingerprint(query):
        raise ConfigError("this cursor is of another query; only limit, fields and explain may differ")
    return found


def _key(value: Any) -> str:
    """Vectors by their bytes: writing them out takes longer than a search."""
    if isinstance(value, np.ndarray):
        return hashlib.blake2b(np.ascontiguousarray(value).tobytes(), digest_size=8).hexdigest()
    return repr(value)


def _fingerprint(query: Query) -> str:
    """Of all that decides the order."""
    same = replace(query, cursor=None, limit=1, offset=0, fields=None, explain=False, facets=(), count=True)
    unlike = ("signals", "filter", "rerank")
    values = [repr(getattr(same, name)) for name in same.__dataclass_fields__ if name not in unlike]
    values += [repr((signal.kind, signal.weight, signal.crop, _key(signal.value))) for signal in same.signals]
    values += [same.filter if isinstance(same.filter, str) else str(same.filter is not None)]
    values += [str(bool(same.rerank))]
    return hashlib.blake2b("\0".join(values).encode("utf-8", "replace"), digest_size=8).hexdigest()
