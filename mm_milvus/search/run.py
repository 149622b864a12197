"""A query, from its signals to a page of hits."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from mm_milvus.errors import ConfigError
from mm_milvus.records import Page, Query
from mm_milvus.search.compose import compose, signal_text
from mm_milvus.store.filters import And, Condition, Filter, Not, ids_filter

if TYPE_CHECKING:
    from mm_milvus.encoders.base import Encoder
    from mm_milvus.media import MediaReader
    from mm_milvus.store import Collection

__all__ = ["run"]


def run(
    query: Query, collection: Collection, encoder: Encoder, reader: MediaReader, consistency: str
) -> Page:
    """Answers ``query``. The products that it names as examples are left out of the answer.

    Raises StampMismatch, FilterError, UnknownField, MediaError, ProductNotFound, ConfigError or StoreError.
    """
    started = time.perf_counter()
    _check_types(query)
    collection.stamp.check_encoder(encoder.spec, collection.name)
    filter = _filter(query, collection)
    _check_fields(query, collection)
    vector = compose(query.signals, collection, encoder, reader)
    hits = collection.search(
        vector, filter=filter, limit=query.limit, offset=query.offset, fields=query.fields
    )
    total, exact = query.offset + len(hits), True
    if not hits or len(hits) == query.limit:  # else the ranking ended here
        total, exact = collection.total(filter, consistency)
    took_ms = (time.perf_counter() - started) * 1000
    return Page(tuple(hits), total, took_ms, query.limit, query.offset, exact)


def _filter(query: Query, collection: Collection) -> Filter | None:
    given = query.filter
    nothing = given is None or (isinstance(given, str) and not given.strip())
    filter = None if given is None or nothing else collection.parse(given)
    examples = [signal_text(signal) for signal in query.signals if signal.kind == "id"]
    if not examples:
        return filter
    others = Not(ids_filter(examples))
    return others if filter is None else And(filter, others)


def _check_types(query: Query) -> None:
    for name in ("limit", "offset"):
        value = getattr(query, name)
        if not isinstance(value, int) or isinstance(value, bool):
            raise ConfigError(f"{name} must be a whole number, got {value!r}")
    if not isinstance(query.filter, str | Condition | None):
        raise ConfigError(f"filter must be an expression in a string, or made with F, got {query.filter!r}")


def _check_fields(query: Query, collection: Collection) -> None:
    known = [*collection.stamp.schema.types(), "text"]
    if unknown := [name for name in query.fields or () if name not in known]:
        raise ConfigError(f"{collection.name!r} has no attribute {unknown[0]!r}; it has {', '.join(known)}")
