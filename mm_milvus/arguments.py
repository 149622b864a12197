"""What callers in Python may write, and the records that it comes to."""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import astuple, fields, replace
from difflib import get_close_matches
from numbers import Integral, Real
from operator import attrgetter, is_
from types import NoneType
from typing import TYPE_CHECKING, Any, Literal, TypedDict

from mm_milvus.config import Settings, load_settings
from mm_milvus.errors import ConfigError
from mm_milvus.records import Boost, Crop, Facet, Query, Signal, Sort

if TYPE_CHECKING:
    from mm_milvus.records import FieldType, Reranker
    from mm_milvus.store.filters import Condition

    Entry = str | tuple[str, float]  # without a weight, and with one
    Entries = Entry | Sequence[Entry] | Mapping[str, float]

__all__ = [
    "IngestOptions",
    "QueryOptions",
    "as_list",
    "crop_of",
    "entries",
    "fields_of",
    "ids_of",
    "ingest_fields",
    "is_address",
    "liked",
    "parse_boost",
    "parse_crop",
    "parse_facet",
    "parse_sort",
    "plain",
    "pushed_away",
    "query_fields",
    "settings_of",
]

_BOOSTS = ("multiply", "add", "recency", "first")
_DEFAULTS = {field.name: field.default for field in fields(Query)}
_VALUES = attrgetter(*_DEFAULTS)
_PLAIN_WEIGHTS = (NoneType, float, int)
_RECOMMEND = dict.fromkeys(("like", "unlike", "times", "half_life", "skip_missing"), "; use recommend()")


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
    fields: str | Sequence[str] | None  # a list, or "title,price"
    mode: Literal["auto", "vector", "text", "hybrid"]
    alpha: float
    combine: Literal["weighted", "rrf"]
    rrf_k: int
    strategy: Literal["average_vector", "best_score"]
    composition: Literal["sum", "product", "slerp"]
    bridge: float | None
    min_score: float | None
    boosts: Boost | str | Sequence[Boost | str]  # "first:stock", "recency:listed=30"
    rerank: Reranker | Literal["late-interaction"] | None
    rerank_size: int
    sort: Sort | str | Sequence[Sort | str]  # "price", or "-price" for falling prices
    group_by: str | None
    group_size: int
    facets: Facet | str | Sequence[Facet | str]  # "color", "price=50,100"
    cursor: str | None
    count: bool
    exclude: Sequence[str]
    explain: bool


def settings_of(config: Any, uri: Any, **given: Any) -> Settings:
    """Those of a client, whose arguments win over its ``config``. Raises ConfigError."""
    if not isinstance(config, Settings | str | os.PathLike | None):
        raise ConfigError(f"config is the path of a settings file, or Settings, not {config!r:.80}")
    if not isinstance(uri, str | os.PathLike | None):
        raise ConfigError(f"uri is the path of an embedded database or the URL of a server, not {uri!r:.80}")
    base = config if isinstance(config, Settings) else load_settings(config)
    return base.replace(uri=None if uri is None else os.fspath(uri), **given)


def ids_of(ids: str | Sequence[str]) -> list[str]:
    wanted = [ids] if isinstance(ids, str) else list(ids) if isinstance(ids, Iterable) else [ids]
    if bad := [id for id in wanted if not isinstance(id, str)]:
        raise ConfigError(f"ids are strings, got {bad[0]!r}")
    return wanted


def query_fields(options: QueryOptions) -> dict[str, Any]:
    """As a Query has them: tuples, and records in the place of strings. Raises ConfigError for an unknown option."""
    _check_names(options, [*QueryOptions.__annotations__, "text", "image", "id", "crop"], _RECOMMEND)
    return {name: _field(name, value) for name, value in options.items()}


def plain(query: Query) -> Query:
    """The same with each field as ``query_fields`` gives it, whoever made the query. Raises ConfigError."""
    given = {
        name: found
        for (name, usual), value in zip(_DEFAULTS.items(), _VALUES(query), strict=True)
        if value is not usual and (found := _field(name, value)) is not value
    }
    return replace(query, **given) if given else query


def _field(name: str, value: Any) -> Any:
    """Tuples of what may be one thing, none or several; Python's numbers in the place of numpy's."""
    match name:
        case "signals":
            signals = [_signal(given) for given in as_list(value)]
            same = isinstance(value, tuple) and all(map(is_, signals, value))
            return value if same else tuple(signals)
        case "fields":
            return None if value is None else fields_of(value)
        case "exclude":
            return tuple(ids_of(() if value is None else value))
        case "boosts" | "sort" | "facets":
            return tuple(_record(name, entry) for entry in as_list(value))
    if name == "group_by" and not isinstance(value, str | None):
        raise ConfigError(f"group_by is the name of one attribute, got {value!r:.80}")
    return _number(value)


def _signal(given: Any) -> Any:
    """What is no Signal is refused where a query is checked."""
    if not isinstance(given, Signal) or (given.crop is None and type(given.weight) in _PLAIN_WEIGHTS):
        return given
    return replace(given, weight=_number(given.weight), crop=crop_of(given.crop))


def _record(name: str, given: Any) -> Any:
    match given:
        case str():
            return {"boosts": parse_boost, "sort": parse_sort, "facets": parse_facet}[name](given)
        case Boost(amount=amount):
            return replace(given, amount=_number(amount))
        case Facet(size=size, bounds=bounds):
            return replace(given, size=_number(size), bounds=tuple(map(_number, bounds)))
    return given


def _number(value: Any) -> Any:
    """Anything but a number of numpy as it is."""
    numpys = type(value).__module__ == "numpy" and getattr(value, "shape", None) == ()
    return value.item() if numpys else value


def ingest_fields(options: IngestOptions) -> dict[str, Any]:
    """As Settings have them. Raises ConfigError for an unknown option, and for a setting that only a client has."""
    clients = {
        name: f"; it is a setting of the client: Client(config=Settings({name}=...))"
        for name in Settings.model_fields.keys() - {"dry_run"}
    }
    _check_names(options, [*IngestOptions.__annotations__, "dry_run"], clients)
    return {name: list(v) if isinstance(v, tuple) else v for name, v in options.items()}


def _check_names(given: Iterable[str], known: Collection[str], elsewhere: Mapping[str, str]) -> None:
    """Python would name a method and an argument that the caller has never seen."""
    unknown = next((name for name in given if name not in known), None)
    if unknown is None:
        return
    near = get_close_matches(unknown, known, n=2)
    nearest = f"; did you mean {' or '.join(near)}?" if near else f"; there are {', '.join(known)}"
    raise ConfigError(f"unknown option {unknown!r}{elsewhere.get(unknown, nearest)}")


def fields_of(names: str | Iterable[str]) -> tuple[str, ...]:
    """Attributes to return, from a list or from ``title,price``. An id always comes back, and may be named as well."""
    listed = [name.strip() for name in names.split(",")] if isinstance(names, str) else as_list(names)
    if bad := [name for name in listed if not isinstance(name, str)]:
        raise ConfigError(f"fields are names of attributes, got {bad[0]!r:.80}")
    return tuple(name for name in listed if name not in ("", "id"))


def crop_of(crop: Any) -> Crop | None:
    """A Crop as it is, or one of four pixel numbers or of ``x,y,width,height``. Raises ConfigError."""
    if isinstance(crop, Crop) and not all(isinstance(side, Integral) for side in astuple(crop)):
        raise ConfigError(f"a crop is in whole pixels, got {crop}")
    if crop is None or isinstance(crop, Crop):
        return crop
    return parse_crop(crop if isinstance(crop, str) else ",".join(map(str, as_list(crop))))


def parse_crop(text: str) -> Crop:
    """``x,y,width,height`` in whole pixels. Raises ConfigError."""
    parts = [part.strip() for part in text.split(",")]
    if len(parts) != 4 or not all(re.fullmatch("[0-9]{1,9}", part) for part in parts):
        raise ConfigError(f"expected x,y,width,height in whole pixels, got {text!r}")
    x, y, width, height = map(int, parts)
    if not width or not height:
        raise ConfigError("width and height must be at least 1")
    return Crop(x, y, width, height)


def parse_sort(text: str) -> Sort:
    """``price``, or ``-price`` for the highest first. Raises ConfigError."""
    field = text.strip().removeprefix("-")
    if not field:
        raise ConfigError("expected the name of an attribute, with a minus sign before it for falling order")
    return Sort(field, descending=text.strip().startswith("-"))


def parse_boost(text: str) -> Boost:
    """``first:in_stock``, or with an amount ``recency:listed=90``. Raises ConfigError."""
    how, _, rest = text.strip().partition(":")
    field, _, amount = (part.strip() for part in rest.partition("="))
    try:
        if how not in _BOOSTS or not field:
            raise ValueError
        return Boost(field, how, float(amount) if amount else None)  # type: ignore[arg-type]
    except ValueError:
        raise ConfigError(
            f"expected {', '.join(_BOOSTS)}, then :FIELD or :FIELD=AMOUNT, got {text!r}"
        ) from None


def parse_facet(text: str) -> Facet:
    """``color``, or ``price=50,100`` for the numbers between bounds. Raises ConfigError."""
    field, _, bounds = (part.strip() for part in text.partition("="))
    try:
        return Facet(field, bounds=tuple(float(bound) for bound in bounds.split(",")) if bounds else ())
    except ValueError:
        raise ConfigError(f"expected FIELD or FIELD=NUMBER,NUMBER,..., got {text!r}") from None


def as_list(value: Any) -> list[Any]:
    """Of one thing, of none, of several, or of a dict of weights."""
    if value is None:
        return []
    if isinstance(value, Mapping):
        return list(value.items())
    return list(value) if isinstance(value, Iterable) and not isinstance(value, str) else [value]


def pushed_away(weight: float | None, strategy: str | None) -> float:
    """The weight of an example that is not liked: half as strong as a liked one, where none is given.

    By the best example it is as strong: half of a similarity would hardly ever be the higher one.
    """
    if weight is None:
        return -1.0 if strategy == "best_score" else -0.5
    return -weight


def is_address(value: Any) -> bool:
    """Whether a text is the address of a picture: an http(s) URL or a data URI."""
    return isinstance(value, str) and value.strip().lower().startswith(("http://", "https://", "data:image/"))


def entries(value: Any) -> list[tuple[Any, float | None]]:
    """One value, a (value, weight) pair, a sequence of either, or a dict of weights -> pairs. Raises ConfigError."""
    if value is None:
        return []
    if isinstance(value, Query | Signal):
        raise ConfigError("a Query is answered by search(); query() takes words, pictures and ids")
    if isinstance(value, Mapping):
        return [_weighted(*pair) for pair in value.items()]
    if _is_pair(value):
        return [_weighted(*value)]
    if isinstance(value, tuple) and any(isinstance(part, Real) for part in value):
        raise ConfigError(f"a weighted signal is a pair (value, weight), got {value!r:.80}")
    if isinstance(value, Sequence) and not isinstance(value, str | bytes | bytearray):
        return [pair for entry in value for pair in entries(entry)]
    return [(value, None)]


def liked(
    like: Any, unlike: Any, strategy: str | None
) -> tuple[list[tuple[Any, float]], list[tuple[Any, float]]]:
    """The ids that draw near, and those that push away, with their weights. Raises ConfigError."""
    wanted = [(id, 1.0 if weight is None else weight) for id, weight in _examples(like)]
    unwanted = [(id, pushed_away(weight, strategy)) for id, weight in _examples(unlike)]
    if not wanted:
        raise ConfigError("recommend needs at least one product to like")
    if not all(weight > 0 for _, weight in wanted) or not all(weight < 0 for _, weight in unwanted):
        raise ConfigError("the weights of like and unlike are above 0")
    return wanted, unwanted


def _examples(value: Any) -> list[tuple[Any, float | None]]:
    """As ``entries``, of any collection of ids too: a set, the keys of a dict, an array."""
    return entries(value if _is_pair(value) or isinstance(value, Mapping) else as_list(value))


def _is_pair(value: Any) -> bool:
    return isinstance(value, tuple) and len(value) == 2 and isinstance(value[1], Real)


def _weighted(value: Any, weight: Any) -> tuple[Any, float | None]:
    """The weight may be a number of numpy."""
    if not isinstance(weight, Real | None):
        raise ConfigError(f"a weighted signal is a pair (value, weight), got {(value, weight)!r:.80}")
    return value, None if weight is None else float(weight)
