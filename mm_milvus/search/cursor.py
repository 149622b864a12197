"""Cursors: where a page ended, written so that the next one goes on there whatever came or went meanwhile."""

from __future__ import annotations

import base64
import dataclasses
import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from mm_milvus.errors import ConfigError, FilterError
from mm_milvus.records import FieldType, Query
from mm_milvus.store.filters import ids_filter

__all__ = ["Cursor", "cursor_after", "place_in", "placed_by", "position"]

# What decides the order beside signals, filter and reranker, with its default.
_DECIDE = {
    field.name: field.default
    for field in dataclasses.fields(Query)
    if field.name
    not in (
        "signals", "filter", "rerank", "cursor", "limit", "offset", "fields", "explain", "facets", "count",
    )
}  # fmt: skip
_MOST_SEEN = 10**9
_MOST_INT = 2**63
_NO_CURSOR = "this is not a cursor; take the one of the page before"


@dataclass(frozen=True, slots=True)
class Cursor:
    """Where a page ended: after the product ``id``. Of a group, it is the one that places it.

    ``values`` are what it was boosted, sorted and grouped by, in the order of the names of these fields, and
    ``next_values`` those of the first of ``following``.
    """

    id: str
    score: float  # before boosts
    seen: int  # entries of the ranking up to here, by and large
    values: tuple[Any, ...] = ()
    shown: tuple[str, ...] = ()  # the products just before it
    following: tuple[str, ...] = ()  # those that were to come next, where known
    next_values: tuple[Any, ...] = ()


def cursor_after(query: Query, last: Cursor) -> str:
    """Asks for what comes after the page of ``query`` that ended there."""
    content = [_fingerprint(query), *dataclasses.astuple(last)]
    return base64.urlsafe_b64encode(json.dumps(content, ensure_ascii=False).encode()).decode()


def position(query: Query) -> Cursor:
    """What ``cursor_after`` was given. Raises ConfigError for what is no cursor of this query."""
    try:
        content = json.loads(base64.urlsafe_b64decode(str(query.cursor).encode()))
        if not isinstance(content, list):
            raise ValueError("a cursor is a list")
        fingerprint, *parts = content
        if len(parts) == 3:  # score, id and number were all
            raise ConfigError("this cursor is of an older mm-milvus; begin again with the first page")
        found = _read(*parts)
    except (ValueError, TypeError, RecursionError, FilterError) as error:
        raise ConfigError(_NO_CURSOR) from error
    if fingerprint != _fingerprint(query):
        raise ConfigError(
            "this cursor is of another query; only limit, fields, facets, count and explain may differ"
        )
    return found


def _read(id: Any, score: Any, seen: Any, *lists: Any) -> Cursor:
    """Raises ValueError, TypeError or FilterError for anything that no cursor holds."""
    if len(lists) != 4 or not all(isinstance(part, list) for part in lists):
        raise ValueError("four lists")
    values, shown, following, next_values = map(tuple, lists)
    ids = [id, *shown, *following]
    if not all(isinstance(text, str) for text in ids):
        raise ValueError("ids are texts")
    ids_filter(ids)  # Milvus can be asked for them
    if not (_is_number(score) and _is_number(seen) and isinstance(seen, int) and 0 <= seen <= _MOST_SEEN):
        raise ValueError("no number of a cursor")
    return Cursor(id, float(score), seen, values, shown, following, next_values)


def _is_number(value: Any) -> bool:
    if isinstance(value, bool):
        return False
    if isinstance(value, int):
        return -_MOST_INT <= value < _MOST_INT
    return isinstance(value, float) and math.isfinite(value)


def place_in(places: Mapping[str, int], last: Cursor, *, after_it: bool = True) -> int | None:
    """Where to go on among products of these places: after the last one, or with the one that was to follow it. None
    where none of them is there.
    """
    if after_it and last.id in places:
        return places[last.id] + 1
    return next((places[id] for id in last.following if id in places), None)


def placed_by(
    last: Cursor, fields: Sequence[str], types: Mapping[str, FieldType]
) -> dict[str, dict[str, Any]]:
    """id -> the values that it was placed by. Raises ConfigError for values that these fields cannot have."""
    placed = {last.id: last.values}
    if last.following:
        placed[last.following[0]] = last.next_values
    for values in placed.values():
        pairs = zip(fields, values, strict=False)
        if len(values) != len(fields) or not all(_fits(value, types[field]) for field, value in pairs):
            raise ConfigError(_NO_CURSOR)
    return {id: dict(zip(fields, values, strict=True)) for id, values in placed.items()}


def _fits(value: Any, kind: FieldType) -> bool:
    match kind:
        case _ if value is None:
            return True
        case FieldType.BOOL:
            return isinstance(value, bool)
        case FieldType.VARCHAR:
            return isinstance(value, str)
        case FieldType.INT64:
            return _is_number(value) and isinstance(value, int)
    return _is_number(value)


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
