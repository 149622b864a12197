"""Facets: how often the values of attributes occur among the products that pass the filter."""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from mm_milvus.records import Facet, FacetCounts, FieldType
from mm_milvus.store.filters import And, Filter, fields_of, without_not

if TYPE_CHECKING:
    from mm_milvus.search.routes import Ranking
    from mm_milvus.store import Collection

__all__ = ["COUNTABLE", "count_found", "count_values", "without"]

_NUMBERS = (FieldType.INT64, FieldType.DOUBLE)
COUNTABLE = tuple(kind for kind in FieldType if kind is not FieldType.JSON)


def without(filter: Filter | None, field: str) -> Filter | None:
    """The filter without the conditions that are about this field alone; the same one where it has none of these."""
    if filter is None or field not in fields_of(filter):
        return filter
    plain = without_not(filter)  # "not (a or b)" is an "and", too
    others = _others(plain, field)
    return filter if others == plain else others


def _others(filter: Filter, field: str) -> Filter | None:
    if fields_of(filter) == {field}:
        return None
    if not isinstance(filter, And):
        return filter
    parts = [part for inner in filter.parts if (part := _others(inner, field)) is not None]
    return And(*parts) if parts else None


def count_found(
    facets: Sequence[Facet],
    filter: Filter | None,
    collection: Collection,
    find: Callable[[Filter | None], Ranking],
) -> tuple[FacetCounts, ...]:
    """Over what ``find`` finds: for each facet with ``filter`` less what it says of that attribute alone."""
    types = collection.stamp.schema.types()
    found: dict[Filter | None, tuple[list[Mapping[str, Any]], bool]] = {}
    counts = []
    for facet in facets:
        others = without(filter, facet.field)
        if others not in found:
            ranking = find(others)
            ids = [candidate.id for candidate in ranking.candidates]
            hits = collection.get(ids, None, collection.consistency)
            found[others] = [hit.attributes for hit in hits], ranking.complete
        rows, exact = found[others]
        counts.append(count_values(facet, types[facet.field], rows, exact=exact))
    return tuple(counts)


def count_values(
    facet: Facet, kind: FieldType, rows: Iterable[Mapping[str, Any]], *, exact: bool = True
) -> FacetCounts:
    """Counts the values of one attribute. Equal counts: by value."""
    values: Counter[Any] = Counter()
    missing = 0
    for row in rows:
        value = row.get(facet.field)
        if value is None:
            missing += 1
        elif kind.element is None:
            values[value] += 1
        else:
            values.update(set(value))  # a product counts once for each value it has
    ordered = sorted(values.items(), key=lambda pair: (-pair[1], pair[0]))
    numbers = sorted(values) if kind in _NUMBERS else []
    shown = () if facet.bounds else tuple(ordered[: facet.size])
    return FacetCounts(
        facet.field,
        counts=shown,
        ranges=_ranges(facet.bounds, values) if facet.bounds else (),
        min=numbers[0] if numbers else None,
        max=numbers[-1] if numbers else None,
        others=0 if facet.bounds else len(ordered) - len(shown),
        missing=missing,
        exact=exact,
    )


def _ranges(
    bounds: Sequence[float], values: Counter[Any]
) -> tuple[tuple[float | None, float | None, int], ...]:
    counts = [0] * (len(bounds) + 1)
    for value, count in values.items():
        counts[bisect_right(bounds, value)] += count
    edges = [None, *bounds, None]
    return tuple((edges[place], edges[place + 1], count) for place, count in enumerate(counts))
