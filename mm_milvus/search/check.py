"""What a query may ask of a collection, checked before anything is computed."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Mapping
from dataclasses import fields
from itertools import pairwise
from operator import attrgetter, is_
from typing import TYPE_CHECKING

from mm_milvus.catalog.names import nearest
from mm_milvus.errors import ConfigError, UnknownField
from mm_milvus.records import Boost, Facet, FieldType, Query, Signal, Sort
from mm_milvus.search.facets import COUNTABLE
from mm_milvus.search.order import SORTABLE, by_relevance
from mm_milvus.search.routes import POOL, mode_of
from mm_milvus.store.filters import Condition

if TYPE_CHECKING:
    from mm_milvus.store import Collection, Stamp

__all__ = ["check_query"]

_KINDS = ("text", "image", "id", "vector")
_CHOICES = {
    "mode": ("auto", "vector", "text", "hybrid"),
    "combine": ("weighted", "rrf"),
    "strategy": ("average_vector", "best_score"),
    "composition": ("sum", "product", "slerp"),
}
_JOINS = {
    "product": "multiplies words with pictures or products",
    "slerp": "goes from a picture to words",
}
_NUMBERS = (FieldType.INT64, FieldType.DOUBLE)
_BOOSTED = {
    "multiply": _NUMBERS,
    "add": (*_NUMBERS, FieldType.BOOL),
    "recency": (*_NUMBERS, FieldType.VARCHAR),
    "first": (*_NUMBERS, FieldType.BOOL),
}
_PLAIN = Query(())
# What is as usual in most queries, and then needs no look at each of it.
_REST = attrgetter(
    *(
        f.name
        for f in fields(Query)
        if f.name not in ("signals", "filter", "limit", "offset", "count", "explain")
    )
)
_USUAL = _REST(_PLAIN)
_MOST_GROUP = 100
_MOST_RRF_K = 1_000
_MOST_FACET = 10_000


def check_query(query: Query, collection: Collection) -> None:
    """Raises ConfigError or UnknownField for what is not a query to this collection."""
    _check_page(query)
    _check_values(query)
    if not query.signals:
        _check_browse(query)
    if query.signals and all(map(is_, _REST(query), _USUAL)):  # as most are: beside a search this can be felt
        return
    _check_numbers(query)
    for name, choices in _CHOICES.items():
        if getattr(query, name) not in choices:
            raise ConfigError(f"the {name} is one of {', '.join(choices)}, not {getattr(query, name)!r}")
    if not isinstance(query.exclude, tuple | list) or not all(isinstance(id, str) for id in query.exclude):
        raise ConfigError(f"exclude is a list of ids, got {query.exclude!r:.80}")
    _check_signals(query)
    _check_used(query, collection)
    _check_fields(query, collection)
    if query.cursor is not None and query.offset:
        raise ConfigError("a cursor takes the place of an offset; give one of them")


def _check_signals(query: Query) -> None:
    by_vector = mode_of(query) == "vector"
    if query.strategy == "best_score" and not by_vector:
        raise ConfigError(
            "the strategy 'best_score' compares vectors; with words alone, ask for the mode 'vector'"
        )
    if query.composition != "sum" and (query.strategy == "best_score" or query.min_score is not None):
        raise ConfigError("min_score and the strategy 'best_score' go with the composition 'sum'")
    if query.composition != "sum" and {signal.kind for signal in query.signals} == {"text"}:
        raise ConfigError(f"the composition {query.composition!r} {_JOINS[query.composition]}; give both")
    if query.composition != "sum" and query.signals and not by_vector:
        raise ConfigError(f"the composition {query.composition!r} is one of vectors: take the mode 'vector'")


def _check_values(query: Query) -> None:
    for signal in query.signals:
        if not isinstance(signal, Signal) or signal.kind not in _KINDS:
            raise ConfigError(
                f"a signal is Signal(kind, value), its kind one of {', '.join(_KINDS)}, not {signal!r:.80}"
            )
        if signal.crop is not None and signal.kind != "image":
            raise ConfigError(f"crop cuts a query picture, and this signal is of the kind {signal.kind!r}")
        if signal.kind == "image" and not _is_picture(signal.value):
            raise ConfigError(
                f"a picture is a path, an address, bytes or a PIL image, not {signal.value!r:.80}"
            )


def _check_used(query: Query, collection: Collection) -> None:
    """What was asked for and would change nothing."""
    mode = mode_of(query) if query.signals else "none"
    if query.group_size != 1 and query.group_by is None:
        raise ConfigError("group_size says how many products a group has; give group_by, too")
    if query.rerank_size != _PLAIN.rerank_size and query.rerank is None:
        raise ConfigError("rerank_size says how many products are reranked; give rerank, too")
    if mode != "hybrid" and (query.combine != "weighted" or query.alpha != _PLAIN.alpha):
        name = "combine" if query.combine != "weighted" else "alpha"
        raise ConfigError(
            f"{name} says how words and vectors come together in the mode 'hybrid'; the mode of this query is {mode}"
        )
    if query.combine == "rrf" and query.alpha != _PLAIN.alpha:
        raise ConfigError(
            "alpha weighs scores, and combine='rrf' (--combine rrf) goes by ranks; give one of them"
        )
    if query.rrf_k != _PLAIN.rrf_k and query.combine != "rrf":
        raise ConfigError(
            "rrf_k is the constant of reciprocal ranks; give combine='rrf' (--combine rrf), too"
        )
    if query.bridge:
        _check_bridge(query, mode, collection.stamp)


def _check_bridge(query: Query, mode: str, stamp: Stamp) -> None:
    kinds = {signal.kind for signal in query.signals}
    if mode in ("none", "text") or ("image" not in kinds and kinds != {"text"}):
        raise ConfigError(
            "the bridge leads from a picture, or from words alone, to the other side; give one of them"
        )
    if stamp.joint or stamp.fusion != "blocks":
        raise ConfigError(
            "a bridge is for the fusion 'blocks' of an encoder without a joint space, and this collection has "
            f"{stamp.fusion!r} of {stamp.encoder}"
        )


def _check_page(query: Query) -> None:
    for name, value in (("limit", query.limit), ("offset", query.offset)):
        if not isinstance(value, int) or isinstance(value, bool):
            raise ConfigError(f"{name} must be a whole number, got {value!r}")
    if query.limit < 1 or query.offset < 0:
        raise ConfigError("limit must be at least 1 and offset at least 0")
    if query.filter is not None and not isinstance(query.filter, (str, Condition)):
        raise ConfigError(f"filter must be an expression in a string, or made with F, got {query.filter!r}")


def _check_numbers(query: Query) -> None:
    if not isinstance(query.group_size, int) or isinstance(query.group_size, bool):
        raise ConfigError(f"group_size must be a whole number, got {query.group_size!r}")
    if not 1 <= query.group_size <= _MOST_GROUP:
        raise ConfigError(f"group_size must be between 1 and {_MOST_GROUP}, got {query.group_size}")
    if not (isinstance(query.rerank_size, int) and 1 <= query.rerank_size <= POOL):
        raise ConfigError(f"rerank_size must be between 1 and {POOL:,}, got {query.rerank_size!r}")
    if query.rerank is not None and not (callable(query.rerank) and query.signals):
        raise ConfigError(
            "rerank is a function of the query and its hits, or 'late-interaction', for a query with signals"
        )
    if not (_is_number(query.alpha) and 0 <= query.alpha <= 1):
        raise ConfigError(f"alpha must be between 0 (words alone) and 1 (vectors alone), got {query.alpha!r}")
    whole = isinstance(query.rrf_k, int) and not isinstance(query.rrf_k, bool)
    if not (whole and 1 <= query.rrf_k <= _MOST_RRF_K):
        raise ConfigError(f"rrf_k must be a whole number between 1 and {_MOST_RRF_K:,}, got {query.rrf_k!r}")
    if query.bridge is not None and not (_is_number(query.bridge) and 0 <= query.bridge <= 1):
        raise ConfigError(f"bridge must be between 0 and 1, got {query.bridge!r}")
    if query.min_score is not None and not _is_number(query.min_score):
        raise ConfigError(f"min_score must be a number, got {query.min_score!r}")


def _is_picture(value: object) -> bool:
    return isinstance(value, str | os.PathLike | bytes | bytearray) or hasattr(value, "convert")


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _check_browse(query: Query) -> None:
    nothing = query.filter is None or (isinstance(query.filter, str) and not query.filter.strip())
    if nothing and not query.sort and not query.facets:
        raise ConfigError(
            "nothing to search for: give a text, an image or an id, or a filter, a sort or facets"
        )
    if query.mode != "auto" or query.min_score is not None:
        raise ConfigError("mode and min_score need something to search for: a text, an image or an id")


def _check_fields(query: Query, collection: Collection) -> None:
    types = collection.stamp.schema.types()
    known = [*types, "text"]
    if unknown := [name for name in query.fields or () if name not in known]:
        raise UnknownField(f"{collection.name!r} has no attribute {unknown[0]!r}{nearest(unknown[0], known)}")
    for use, name, kinds in _uses(query, types):
        if not isinstance(name, str):
            raise ConfigError(f"cannot {use} {name!r:.80}: an attribute has a name")
        if name not in types:
            hint = nearest(name, types) if types else "; it has none"
            raise UnknownField(f"cannot {use} {name!r}: {collection.name!r} has no such attribute{hint}")
        if types[name] not in kinds:
            raise ConfigError(f"cannot {use} {name!r}, which is {types[name].value}")
    for facet in query.facets:
        _check_facet(facet, types[facet.field])


def _uses(query: Query, types: Mapping[str, FieldType]) -> Iterator[tuple[str, str, tuple[FieldType, ...]]]:
    for sort in query.sort:
        if not isinstance(sort, Sort):
            raise ConfigError(f"a sort is a Sort, got {sort!r}")
        if not by_relevance(sort, types):
            yield "sort by", sort.field, SORTABLE
        elif not query.signals:
            raise ConfigError("there is no score to sort by: the query has no signals")
    for boost in query.boosts:
        if not isinstance(boost, Boost):
            raise ConfigError(f"a boost is a Boost, got {boost!r}")
        if boost.how not in _BOOSTED:
            raise ConfigError(f"a boost is one of {', '.join(_BOOSTED)}, not {boost.how!r}")
        if not _is_number(boost.strength) or (boost.how == "recency" and boost.strength <= 0):
            raise ConfigError(f"the amount {boost.amount!r} of a boost makes no sense")
        if not query.signals:
            raise ConfigError("there is no score to boost: the query has no signals")
        yield "boost by", boost.field, _BOOSTED[boost.how]
    for facet in query.facets:
        if not isinstance(facet, Facet):
            raise ConfigError(f"a facet is a Facet, got {facet!r}")
        yield "count the values of", facet.field, COUNTABLE
    if query.group_by is not None:
        yield "group by", query.group_by, SORTABLE


def _check_facet(facet: Facet, kind: FieldType) -> None:
    if not isinstance(facet.size, int) or not 1 <= facet.size <= _MOST_FACET:
        raise ConfigError(f"a facet shows 1 to {_MOST_FACET:,} values, not {facet.size!r}")
    bounds = facet.bounds
    if not bounds:
        return
    if kind not in _NUMBERS:
        raise ConfigError(f"bounds need numbers, and {facet.field!r} is {kind.value}")
    if not all(map(_is_number, bounds)) or any(low >= high for low, high in pairwise(bounds)):
        raise ConfigError(f"the bounds of a facet must be rising numbers, got {bounds!r}")
