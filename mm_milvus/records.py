"""The things that travel between the rooms: small immutable records without behaviour of their own."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Literal

from mm_milvus.errors import ConfigError

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from mm_milvus.store.filters import Condition

    Vector = npt.NDArray[np.float32]
    Reranker = Callable[["Query", Sequence["Hit"]], Sequence[float] | "Reranked"]

__all__ = [
    "Boost",
    "Crop",
    "Facet",
    "FacetCounts",
    "Field",
    "FieldType",
    "Hit",
    "IngestReport",
    "Page",
    "Product",
    "Query",
    "Rejected",
    "Reranked",
    "Row",
    "Schema",
    "Signal",
    "Sort",
    "VerifyReport",
]


class FieldType(StrEnum):
    """Type of an attribute, as it is stored and as filters see it."""

    BOOL = "bool"
    INT64 = "int64"
    DOUBLE = "double"
    VARCHAR = "varchar"
    ARRAY_BOOL = "array<bool>"
    ARRAY_INT64 = "array<int64>"
    ARRAY_DOUBLE = "array<double>"
    ARRAY_VARCHAR = "array<varchar>"
    JSON = "json"

    @property
    def element(self) -> FieldType | None:
        """Type of the elements of an array, None for anything else."""
        return FieldType(self.value[6:-1]) if self.value.startswith("array<") else None


@dataclass(frozen=True, slots=True)
class Field:
    """One attribute of a collection. ``typed`` fields are Milvus columns, the others live in the dynamic field."""

    name: str
    type: FieldType
    typed: bool = True


@dataclass(frozen=True, slots=True)
class Schema:
    """The attributes of a collection, in the order in which the catalog first shows them."""

    fields: tuple[Field, ...] = ()

    def get(self, name: str) -> Field | None:
        return next((field for field in self.fields if field.name == name), None)

    def types(self) -> dict[str, FieldType]:
        return {field.name: field.type for field in self.fields}


@dataclass(frozen=True, slots=True)
class Product:
    """A catalog row that can be ingested.

    ``attributes`` holds everything that will be stored, title and description included, under its
    canonical name and in the type of the schema; a missing value is absent, never None.
    ``images`` are references as written: a path, an http(s) URL or a data URI.
    """

    line: int  # 1-based: line of the file, row of the table
    id: str
    attributes: Mapping[str, Any]
    images: tuple[str, ...] = ()
    record: Mapping[str, Any] = field(default_factory=dict)  # the row as it was read, for the rejects file


@dataclass(frozen=True, slots=True)
class Rejected:
    """A row that was refused, or (``kept``) a row that was stored without its picture."""

    line: int
    id: str | None
    stage: str  # read, map, type, fetch, decode, encode or write
    reason: str  # one line
    record: Any = None  # the row as it was read; text where it could not be parsed
    kept: bool = False
    last: bool = False  # the catalog is damaged here: nothing after this row could be read


@dataclass(frozen=True, slots=True)
class Row:
    """A complete row of the collection. A write replaces the whole row of that id."""

    id: str
    text: str  # what was embedded
    fused: Vector  # (D_fused,) float32
    has_image: bool
    has_text: bool
    attributes: Mapping[str, Any]
    image: str = ""  # where the first picture is (absolute path or URL), for display
    image_hash: str = ""
    text_hash: str = ""
    attributes_hash: str = ""


@dataclass(frozen=True, slots=True)
class Crop:
    """A rectangle of a query picture, in pixels after EXIF rotation; the origin is the top left corner."""

    x: int
    y: int
    width: int
    height: int


@dataclass(frozen=True, slots=True)
class Signal:
    """One part of a query. ``weight`` None means the encoder's default for the kind; it may be negative."""

    kind: Literal["text", "image", "id", "vector"]
    # str for text and id; path, URL, data URI, bytes or PIL image for image; (dim,) floats for vector, used as they are
    value: Any
    weight: float | None = None
    crop: Crop | None = None


@dataclass(frozen=True, slots=True)
class Sort:
    """Order by an attribute (a number, a text or a flag). Products without a value come last.

    "score" is the query's own, unless the collection has an attribute of that name: then it is that one, and what is
    equal in it stays in the order of the query.
    """

    field: str
    descending: bool = False


@dataclass(frozen=True, slots=True)
class Boost:
    """An attribute that changes scores. A missing value changes nothing, but for "recency", where it counts as old.

    "multiply": the score times the value to the power of ``amount`` (1), where it is above 0. "add": plus ``amount``
    (1) times the value. "recency": times 0.5 + 0.5 * 2 ** (-age / ``amount``), the age in days (30); the attribute is
    a Unix time in seconds or an ISO date. "first": products whose value is true or above 0 come before all others.
    """

    field: str
    how: Literal["multiply", "add", "recency", "first"]
    amount: float | None = None

    @property
    def strength(self) -> float:
        """The amount, or what it is by default."""
        return self.amount if self.amount is not None else 30.0 if self.how == "recency" else 1.0

    def __str__(self) -> str:
        return f"{self.how}:{self.field}={self.strength:g}"


@dataclass(frozen=True, slots=True)
class Facet:
    """What to count: the ``size`` most frequent values of an attribute, or its numbers between ``bounds``.

    ``bounds`` (b0, b1, ...) make ranges from each bound to below the next, with one before and one after them.
    """

    field: str
    size: int = 10
    bounds: Sequence[float] = ()

    def __post_init__(self) -> None:
        bounds: Any = self.bounds
        if isinstance(bounds, str) or not isinstance(bounds, Iterable):
            raise ConfigError(f"the bounds of a facet are a list of numbers, not {bounds!r:.80}")
        object.__setattr__(self, "bounds", tuple(bounds))  # facets are keys of caches


@dataclass(frozen=True, slots=True)
class Query:
    """What to search for and how to order and return it. Without signals: all products that pass the filter.

    ``mode``: "vector" compares vectors, "text" words (BM25), "hybrid" both; "auto" is hybrid for words alone and vector
    for everything else. ``combine`` says how hybrid joins both: "weighted" adds ``alpha`` times the vector score and
    1 - ``alpha`` times the word score, each scaled to 0..1, and "rrf" adds 1 / (``rrf_k`` + rank).
    """

    signals: tuple[Signal, ...]
    filter: str | Condition | None = None
    limit: int = 10
    offset: int = 0
    fields: tuple[str, ...] | None = None  # attributes to return; None for all
    mode: Literal["auto", "vector", "text", "hybrid"] = "auto"
    alpha: float = 0.5
    combine: Literal["weighted", "rrf"] = "weighted"
    rrf_k: int = 60  # Cormack, Clarke and Büttcher 2009; the lower, the more the first ranks count
    # Several signals at once: near their weighted mean, or near the best one and not nearer to one that pushes away.
    strategy: Literal["average_vector", "best_score"] = "average_vector"
    # Words beside pictures or products: a weighted sum of similarities; their product, which asks for both; or, in a
    # joint space, one vector between the picture's and the words'.
    composition: Literal["sum", "product", "slerp"] = "sum"
    # Where the encoder has no joint space: the share of a picture that goes to the texts of the products that look most
    # like it, or of words alone that goes to the pictures of the nearest texts. None: the encoder's own, 0: none.
    bridge: float | None = None
    # Least relevance: 0 is what any product would have, 1 the highest possible similarity, or all words of the query.
    min_score: float | None = None
    boosts: tuple[Boost, ...] = ()
    # (query, the best hits with all their attributes) -> a score for each: these come first, in that order; by name,
    # "late-interaction" is the one that a client finds the token vectors for
    rerank: Reranker | Literal["late-interaction"] | None = None
    rerank_size: int = 100
    sort: tuple[Sort, ...] = ()
    group_by: str | None = None  # a value of it appears once; ``limit`` and ``offset`` count groups
    group_size: int = 1  # products of one group
    facets: tuple[Facet, ...] = ()
    cursor: str | None = None  # of the page before, in place of an offset
    count: bool = True  # what passes: a second question to Milvus; else ``total`` is a lower bound
    exclude: tuple[str, ...] = ()  # ids of products that are left out, beside those that the query names
    explain: bool = False


@dataclass(frozen=True, slots=True)
class Hit:
    """One product of a page. ``score`` is the weighted mean of the signals' similarities, at most 1.

    With ``explain``, ``scores`` has what each route found: "vector", "text", "relevance" (``min_score``), "unboosted"
    (the score before boosts), "rerank"."""

    id: str
    score: float
    attributes: Mapping[str, Any]
    image: str = ""  # where its first picture is, "" when unknown
    scores: Mapping[str, float] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        values = {"id": self.id, "score": self.score, "attributes": dict(self.attributes)}
        return values | ({"scores": dict(self.scores)} if self.scores else {})


@dataclass(frozen=True, slots=True)
class Reranked:
    """What a reranker may return: a score for each hit, and more for ``explain`` and ``notices`` of the page."""

    scores: Sequence[float]
    explain: Mapping[str, Any] = field(default_factory=dict)
    notices: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class FacetCounts:
    """How often the values of an attribute occur among the products that pass the filter.

    A condition of the filter on this attribute itself does not count, so that other choices can be offered.
    ``exact`` is false where only the best candidates were counted. Ranges are (from, below, count), None without a
    bound.
    """

    field: str
    counts: tuple[tuple[Any, int], ...] = ()  # value and products, most frequent first
    ranges: tuple[tuple[float | None, float | None, int], ...] = ()
    min: float | None = None
    max: float | None = None
    others: int = 0  # further values
    missing: int = 0  # products without a value
    exact: bool = True

    def to_dict(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in self.__dataclass_fields__}


@dataclass(frozen=True, slots=True)
class Page:
    """The answer to a query: hits in falling score.

    ``total`` counts the products that pass the filter, or with ``group_by`` their groups; it is a lower bound where
    ``total_exact`` is false.
    """

    hits: tuple[Hit, ...]
    total: int
    took_ms: float
    limit: int = 10
    offset: int = 0
    total_exact: bool = True
    facets: tuple[FacetCounts, ...] = ()
    following: Callable[[], str] | str | None = field(default=None, repr=False, compare=False)
    explain: Mapping[str, Any] = field(default_factory=dict)  # how the ranking was made, if asked for
    notices: tuple[str, ...] = ()  # what the answer lacks, a line each

    @property
    def cursor(self) -> str | None:
        """Asks for the next page; None when there is none. Made when it is asked for."""
        return self.following() if callable(self.following) else self.following

    def __getstate__(self) -> list[Any]:
        """For pickle, which takes the cursor but not every query."""
        names = self.__dataclass_fields__
        return [self.cursor if name == "following" else getattr(self, name) for name in names]

    def __iter__(self) -> Iterator[Hit]:
        return iter(self.hits)

    def __len__(self) -> int:
        return len(self.hits)

    def __getitem__(self, rank: int) -> Hit:
        return self.hits[rank]

    def to_dict(self) -> dict[str, Any]:
        """The JSON shape of ``mm-milvus query --json``."""
        return {
            "hits": [hit.to_dict() for hit in self.hits],
            "total": self.total,
            "total_exact": self.total_exact,
            "took_ms": round(self.took_ms, 3),
            "limit": self.limit,
            "offset": self.offset,
            "cursor": self.cursor,
            **({"facets": [facet.to_dict() for facet in self.facets]} if self.facets else {}),
            **({"explain": dict(self.explain)} if self.explain else {}),
            **({"notices": list(self.notices)} if self.notices else {}),
        }


@dataclass(frozen=True, slots=True)
class IngestReport:
    """What an ingest did: ``read == written + unchanged + rejected``."""

    collection: str
    read: int = 0
    written: int = 0
    unchanged: int = 0
    rejected: int = 0
    kept: int = 0  # stored without (some of) their pictures; among the written and the unchanged
    deleted: int = 0  # stored products that had gone from the catalog, with ``sync``
    images_encoded: int = 0
    texts_encoded: int = 0
    images_shared: int = 0  # pictures that took the vector of an identical one of this run
    texts_shared: int = 0
    bytes_read: int = 0  # of pictures
    cache_hits: int = 0  # pictures behind URLs that came out of the ``picture_cache``
    retries: int = 0  # how often a call to Milvus had to be repeated
    seconds: float = 0.0
    stages: Mapping[str, float] = field(default_factory=dict)  # stage -> seconds, summed over its threads
    rejects_file: str | None = None
    stopped: str | None = None  # why the catalog was not read to its end, None when it was
    text_fields: tuple[str, ...] = ()  # the attributes that were embedded as text
    problems: tuple[str, ...] = ()  # one line per stage that refused something: how often, and the first case
    notices: tuple[str, ...] = ()  # what went well and may still surprise, a line each

    @property
    def rows_per_second(self) -> float:
        return self.read / self.seconds if self.seconds else 0.0

    def to_dict(self) -> dict[str, Any]:
        values = {name: getattr(self, name) for name in self.__dataclass_fields__}
        return values | {
            "rows_per_second": round(self.rows_per_second, 1),
            "stages": {stage: round(seconds, 3) for stage, seconds in self.stages.items()},
            "text_fields": list(self.text_fields),
            "problems": list(self.problems),
            "notices": list(self.notices),
        }


@dataclass(frozen=True, slots=True)
class VerifyReport:
    """How a catalog and its collection differ. ``ok`` when the next ingest would find nothing to do.

    ``missing`` (in the catalog only), ``stale`` (stored from an older version of the row), ``extra`` (stored only) and
    ``doubled`` (stored more than once) hold the first 100 ids each; the counts are of all.
    """

    collection: str
    read: int = 0  # rows of the catalog
    stored: int = 0  # rows of the collection
    rejected: int = 0  # rows that an ingest would refuse
    missing_count: int = 0
    stale_count: int = 0
    extra_count: int = 0
    doubled_count: int = 0
    missing: tuple[str, ...] = ()
    stale: tuple[str, ...] = ()
    extra: tuple[str, ...] = ()
    doubled: tuple[str, ...] = ()
    seconds: float = 0.0
    stopped: str | None = None  # why the catalog was not read to its end, None when it was

    @property
    def ok(self) -> bool:
        counts = (self.missing_count, self.stale_count, self.extra_count, self.doubled_count)
        return not any(counts) and self.stopped is None

    def to_dict(self) -> dict[str, Any]:
        values = {name: getattr(self, name) for name in self.__dataclass_fields__}
        lists = {name: list(values[name]) for name in ("missing", "stale", "extra", "doubled")}
        return {"ok": self.ok} | values | lists
