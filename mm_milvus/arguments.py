"""What callers in Python may write, and the records that it comes to."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, TypedDict

from mm_milvus.errors import ConfigError
from mm_milvus.records import Facet, Sort

if TYPE_CHECKING:
    from mm_milvus.records import Boost, FieldType, Hit, Query
    from mm_milvus.store.filters import Condition

    Entry = str | tuple[str, float]  # without a weight, and with one
    Entries = Entry | Sequence[Entry] | Mapping[str, float]

__all__ = ["IngestOptions", "QueryOptions", "as_list", "entries", "ids_of", "listed", "query_fields"]


class IngestOptions(TypedDict, total=False):
    """Settings of one ingest; each wins over the client's own. See ``mm_milvus.config.Settings``."""

    fusion: str
    image_weight: float
    text_weight: float
    vector_dtype: str
    partition_key: str
    batch_size: int
    rejects: str | os.PathLike[str]
    max_reject_rate: float
    image_root: str | os.PathLike[str]
    allow_root: Sequence[str | os.PathLike[str]]
    allow_private_hosts: bool
    missing_image: str
    images: str
    sync: bool
    max_delete_rate: float
    refetch: str
    picture_cache: str | os.PathLike[str]
    per_host: int
    url_timeout: float
    url_deadline: float
    retry_seconds: float
    text_fields: Sequence[str]
    mapping: dict[str, str]
    types: dict[str, FieldType | str]


class QueryOptions(TypedDict, total=False):
    """What a query may ask for beside its signals. See ``mm_milvus.Query``."""

    filter: str | Condition | None
    limit: int
    offset: int
    fields: Sequence[str] | None
    mode: Literal["auto", "vector", "text", "hybrid"]
    alpha: float
    combine: Literal["weighted", "rrf"]
    strategy: Literal["average_vector", "best_score"]
    composition: Literal["sum", "product", "slerp"]
    bridge: float | None
    min_score: float | None
    boosts: Boost | Sequence[Boost]
    rerank: Callable[[Query, Sequence[Hit]], Sequence[float]] | None
    rerank_size: int
    sort: Sort | str | Sequence[Sort | str]  # "price", or "-price" for falling prices
    group_by: str | None
    group_size: int
    facets: Facet | str | Sequence[Facet | str]
    cursor: str | None
    count: bool
    exclude: Sequence[str]
    explain: bool


def ids_of(ids: str | Sequence[str]) -> list[str]:
    wanted = [ids] if isinstance(ids, str) else list(ids) if isinstance(ids, Iterable) else [ids]
    if bad := [id for id in wanted if not isinstance(id, str)]:
        raise ConfigError(f"ids are strings, got {bad[0]!r}")
    return wanted


def query_fields(options: QueryOptions) -> dict[str, Any]:
    """As a Query has them: tuples, and records in the place of names."""
    fields: dict[str, Any] = dict(options)
    for name in ("fields", "exclude"):
        if fields.get(name) is not None:
            fields[name] = tuple(as_list(fields[name]))
    if "boosts" in options:
        fields["boosts"] = tuple(as_list(options["boosts"]))
    if "sort" in options:
        fields["sort"] = tuple(_sort(entry) for entry in as_list(options["sort"]))
    if "facets" in options:
        entries = as_list(options["facets"])
        fields["facets"] = tuple(Facet(entry) if isinstance(entry, str) else entry for entry in entries)
    return fields


def _sort(entry: Sort | str) -> Sort:
    return Sort(entry.removeprefix("-"), entry.startswith("-")) if isinstance(entry, str) else entry


def as_list(value: Any) -> list[Any]:
    """Of one thing, of several, or of a dict of weights."""
    if isinstance(value, Mapping):
        return list(value.items())
    return list(value) if isinstance(value, Iterable) and not isinstance(value, str) else [value]


def entries(value: Any) -> list[tuple[Any, float | None]]:
    """One value, a (value, weight) pair, or a list of either -> pairs."""
    if value is None:
        return []
    if isinstance(value, Mapping):
        return entries(list(value.items()))
    if isinstance(value, list):
        return [pair for entry in value for pair in entries(entry)]
    if isinstance(value, tuple):
        if len(value) == 2 and isinstance(value[1], int | float):
            return [(value[0], float(value[1]))]
        raise ConfigError(f"a weighted signal is a pair (value, weight), got {value!r}")
    return [(value, None)]


def listed(options: IngestOptions) -> dict[str, Any]:
    return {name: list(v) if isinstance(v, tuple) else v for name, v in options.items()}
