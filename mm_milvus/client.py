"""The public face: a shop's products in one Milvus collection."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Literal, Self, TypedDict, Unpack

from mm_milvus.config import Settings, load_settings
from mm_milvus.errors import CollectionNotFound, ConfigError, DatabaseNotFound
from mm_milvus.records import Crop, Facet, Hit, IngestReport, Page, Query, Signal, Sort, VerifyReport

if TYPE_CHECKING:
    from types import TracebackType

    from mm_milvus.encoders.base import Encoder
    from mm_milvus.ingest import Preview
    from mm_milvus.media import MediaReader
    from mm_milvus.records import FieldType
    from mm_milvus.search import Searcher
    from mm_milvus.store import Collection, Stamp, Store
    from mm_milvus.store.filters import Condition

    Entry = str | tuple[str, float]  # without a weight, and with one
    Entries = Entry | Sequence[Entry] | Mapping[str, float]

__all__ = ["Client", "CollectionInfo", "IngestOptions", "QueryOptions"]


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
    min_score: float | None
    sort: Sort | str | Sequence[Sort | str]  # "price", or "-price" for falling prices
    group_by: str | None
    group_size: int
    facets: Facet | str | Sequence[Facet | str]
    cursor: str | None
    exclude: Sequence[str]
    explain: bool


@dataclass(frozen=True, slots=True)
class CollectionInfo:
    """What ``mm-milvus info`` shows."""

    uri: str
    collection: str
    rows: int
    server_version: str
    index: dict[str, Any]
    stamp: dict[str, Any]
    fields: tuple[dict[str, Any], ...]  # name, type, typed

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


class Client:
    """One collection of products. Use it as a context manager; nothing is opened before the first call.

    ``uri`` is the path of an embedded database or the URL of a Milvus server. ``config`` is a file to read settings
    from, or ready Settings; without it ``mm-milvus.toml`` and ``MM_MILVUS_*`` count, as on the command line.
    A client is not made to be shared between threads.
    """

    def __init__(
        self,
        uri: str | os.PathLike[str] | None = None,
        *,
        collection: str | None = None,
        token: str | None = None,
        encoder: str | None = None,
        device: str | None = None,
        config: Settings | str | os.PathLike[str] | None = None,
    ) -> None:
        base = config if isinstance(config, Settings) else load_settings(config)
        self.settings = base.replace(
            uri=None if uri is None else os.fspath(uri),
            collection=collection,
            token=token,
            encoder=encoder,
            device=device,
        )
        self._store: Store | None = None
        self._collection: Collection | None = None
        self._searcher: Searcher | None = None
        self._reader: MediaReader | None = None
        self._encoders: dict[str, list[Encoder]] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Closes the connection; an embedded database can then be opened by another process."""
        self._collection = self._searcher = None
        if self._store is not None:
            self._store.close()
            self._store = None
        if self._reader is not None:
            self._reader.__exit__(None, None, None)
            self._reader = None

    # --- products in ---------------------------------------------------------------------------------------

    def ingest(
        self,
        source: str | os.PathLike[str],
        *,
        progress: Callable[[IngestReport], None] | None = None,
        confirm: Callable[[int, int], bool] | None = None,
        on_wait: Callable[[str], None] | None = None,
        **options: Unpack[IngestOptions],
    ) -> IngestReport:
        """Embeds a catalog (JSONL, CSV, Parquet, or a folder of pictures) and writes it into the collection.

        Creates database and collection where needed. Unchanged products cost one look-up. ``progress`` is called some
        ten times a second. ``confirm(to_delete, stored)`` is asked before ``sync`` deletes more than
        ``max_delete_rate``. ``on_wait`` is told, in a line, when Milvus is away and a call is tried again. Options:
        those of IngestOptions. Raises CatalogError, StampMismatch, FusionError, EncoderError, StoreError; after the
        last row TooManyRejects and DeletionRefused; Interrupted after a Ctrl-C.
        """
        from mm_milvus import ingest
        from mm_milvus.store import Store

        settings = self.settings.replace(**_listed(options))
        if settings.dry_run:
            raise ConfigError("dry_run is set, and an ingest would store products: call preview() instead")
        stamp = self._existing_stamp()
        catalog = ingest.open_source(source, settings, stamp)
        encoders = self._replicas(stamp)
        self._connect(create=True)
        self._collection = None  # the ingest may change its schema
        waits = _Waits(on_wait)
        retry = settings.retry_seconds
        with Store(settings, create=True, retry_seconds=retry, on_wait=waits) as store:
            waits.stop = store.stop_waiting
            collection, new = ingest.open_target(store, catalog, encoders[0], settings)
            return ingest.run(
                catalog,
                collection,
                encoders,
                settings,
                progress,
                new=new,
                confirm=confirm,
                waits=waits,
            )

    def verify(
        self,
        source: str | os.PathLike[str],
        *,
        progress: Callable[[int], None] | None = None,
        **options: Unpack[IngestOptions],
    ) -> VerifyReport:
        """Compares a catalog with the collection and changes nothing: what is missing, stale, extra or stored twice.

        ``progress`` is called with the number of rows read. Raises CatalogError and StoreError.
        """
        from mm_milvus import ingest

        settings = self.settings.replace(**_listed(options))
        collection = self._open()
        catalog = ingest.open_source(source, settings, collection.stamp)
        return ingest.verify(catalog, collection, settings, progress)

    def preview(self, source: str | os.PathLike[str], **options: Unpack[IngestOptions]) -> Preview:
        """What ``ingest`` would do: mapping, schema, text template, first rejects. Does not touch Milvus."""
        from mm_milvus import ingest

        return ingest.preview(source, self.settings.replace(**_listed(options)))

    # --- products out --------------------------------------------------------------------------------------

    def query(
        self,
        text: Entries | None = None,
        image: Any = None,
        id: Entries | None = None,
        *,
        crop: Crop | tuple[int, int, int, int] | None = None,
        **options: Unpack[QueryOptions],
    ) -> Page:
        """Products for words, pictures (path, URL, bytes or PIL image), known products' ids, and any mix of them.

        Each may be a list or a dict of weights, and each entry may be a pair ``(value, weight)``. ``crop`` cuts the
        query picture. Options: those of QueryOptions. Without any signal: the products that pass the filter, sorted.
        See ``search`` for the errors.
        """
        crop = Crop(*crop) if isinstance(crop, tuple) else crop
        signals = (
            *(Signal("text", value, weight) for value, weight in _entries(text)),
            *(Signal("image", value, weight, crop) for value, weight in _entries(image)),
            *(Signal("id", value, weight) for value, weight in _entries(id)),
        )
        return self.search(Query(signals, **_query_fields(options)))

    def similar(self, id: str, **options: Unpack[QueryOptions]) -> Page:
        """Products like this stored one, which is left out. See ``search`` for the errors."""
        return self.query(id=id, **options)

    def recommend(
        self,
        like: Entries,
        unlike: Entries = (),
        **options: Unpack[QueryOptions],
    ) -> Page:
        """Products like some stored ones and unlike others: near the mean of their vectors, weights counting.

        ``like`` and ``unlike`` are ids, or a dict of ids and weights above 0; those of ``unlike`` push away, half as
        strong where no weight is given. All of them are left out of the answer. See ``search`` for the errors.
        """
        wanted = [(id, 1.0 if weight is None else weight) for id, weight in _entries(_as_list(like))]
        unwanted = [(id, -(0.5 if weight is None else weight)) for id, weight in _entries(_as_list(unlike))]
        if not wanted:
            raise ConfigError("recommend needs at least one product to like")
        return self.query(id=wanted + unwanted, **options)

    def search(self, query: Query) -> Page:
        """Answers a Query.

        Raises StampMismatch, FilterError, UnknownField, MediaError, ProductNotFound, ConfigError, NotSupported or
        StoreError.
        """
        from mm_milvus.search import Searcher

        collection = self._open()
        if self._searcher is None or self._searcher.collection is not collection:
            self._searcher = Searcher(collection, lambda: self._encoder(collection.stamp), self._media)
        return self._searcher(query)

    def get(self, ids: str | Sequence[str]) -> list[Hit]:
        """The stored products among ``ids``, in that order."""
        return self._open().get(_ids(ids))

    def count(self, filter: str | Condition | None = None) -> int:
        """How many stored products pass the filter; all of them without one. Raises FilterError and UnknownField."""
        collection = self._open()
        return collection.count(None if filter is None or filter == "" else collection.parse(filter))

    # --- the collection ------------------------------------------------------------------------------------

    def delete(self, ids: str | Sequence[str] | None = None, *, filter: str | Condition | None = None) -> int:
        """Deletes products by ids or by filter and returns how many there were."""
        from mm_milvus.store.filters import ids_filter

        collection = self._open()
        if (ids is None) == (filter is None):
            raise ConfigError("delete needs either ids or a filter")
        if filter is not None:
            return collection.delete(collection.parse(filter))
        wanted = _ids(ids or ())
        return collection.delete(ids_filter(wanted)) if wanted else 0

    def info(self) -> CollectionInfo:
        """Row count, stamp, fields and index of the collection."""
        collection = self._open()
        return CollectionInfo(
            uri=self.settings.uri,
            collection=collection.name,
            rows=collection.count(),
            server_version=collection.capabilities.version,
            index=collection.describe_index(),
            stamp=collection.stamp.describe(),
            fields=tuple(
                {"name": field.name, "type": field.type.value, "typed": field.typed}
                for field in collection.stamp.schema.fields
            ),
        )

    def collections(self) -> list[str]:
        """Names of all collections of the database."""
        return self._connect().collections()

    def drop(self) -> None:
        """Drops the collection with all its products."""
        self._connect().drop(self.settings.collection)
        self._collection = None

    # --- inside --------------------------------------------------------------------------------------------

    def _connect(self, *, create: bool = False) -> Store:
        from mm_milvus.store import Store

        if self._store is None:
            self._store = Store(self.settings, create=create)
        return self._store

    def _open(self) -> Collection:
        if self._collection is None:
            self._collection = self._connect().open(self.settings.collection)
        return self._collection

    def _existing_stamp(self) -> Stamp | None:
        try:
            return self._open().stamp
        except (DatabaseNotFound, CollectionNotFound):
            return None

    def _media(self) -> MediaReader:
        from mm_milvus.media import MediaPolicy, MediaReader

        if self._reader is None:
            self._reader = MediaReader(MediaPolicy(allow_private_hosts=self.settings.allow_private_hosts))
        return self._reader

    def _encoder(self, stamp: Stamp | None) -> Encoder:
        return self._replicas(stamp)[0]

    def _replicas(self, stamp: Stamp | None) -> list[Encoder]:
        """The encoder asked for, else the collection's own, else `offline`; once per GPU where there are several."""
        from mm_milvus.encoders import load_replicas

        asked = self.settings.encoder
        if asked and stamp:
            stamp.check_name(asked, self.settings.collection)
        name = asked or (_stamped_name(stamp) if stamp else "offline")
        if name not in self._encoders:
            device, dtype, compile = self.settings.device, self.settings.dtype, self.settings.compile
            self._encoders[name] = load_replicas(name, device=device, dtype=dtype, compile=compile)
        return self._encoders[name]


class _Waits:
    """Counts how often Milvus had to be asked again, and passes the line on."""

    def __init__(self, tell: Callable[[str], None] | None) -> None:
        self.count = 0
        self.stop: Callable[[], None] = lambda: None
        self._tell = tell

    def __call__(self, line: str) -> None:
        self.count += 1
        if self._tell is not None:
            self._tell(line)


def _stamped_name(stamp: Stamp) -> str:
    """What loads the collection's encoder again; a commit of the hub pins the model."""
    commit = re.fullmatch(r"[0-9a-f]{40}", stamp.revision)
    return f"{stamp.encoder}@{stamp.revision}" if commit else stamp.source or stamp.encoder


def _ids(ids: str | Sequence[str]) -> list[str]:
    wanted = [ids] if isinstance(ids, str) else list(ids) if isinstance(ids, Iterable) else [ids]
    if bad := [id for id in wanted if not isinstance(id, str)]:
        raise ConfigError(f"ids are strings, got {bad[0]!r}")
    return wanted


def _query_fields(options: QueryOptions) -> dict[str, Any]:
    """As a Query has them: tuples, and records in the place of names."""
    fields: dict[str, Any] = dict(options)
    for name in ("fields", "exclude"):
        if fields.get(name) is not None:
            fields[name] = tuple(_as_list(fields[name]))
    if "sort" in options:
        fields["sort"] = tuple(_sort(entry) for entry in _as_list(options["sort"]))
    if "facets" in options:
        entries = _as_list(options["facets"])
        fields["facets"] = tuple(Facet(entry) if isinstance(entry, str) else entry for entry in entries)
    return fields


def _sort(entry: Sort | str) -> Sort:
    return Sort(entry.removeprefix("-"), entry.startswith("-")) if isinstance(entry, str) else entry


def _as_list(value: Any) -> list[Any]:
    """Of one thing, of several, or of a dict of weights."""
    if isinstance(value, Mapping):
        return list(value.items())
    return list(value) if isinstance(value, Iterable) and not isinstance(value, str) else [value]


def _entries(value: Any) -> list[tuple[Any, float | None]]:
    """One value, a (value, weight) pair, or a list of either -> pairs."""
    if value is None:
        return []
    if isinstance(value, Mapping):
        return _entries(list(value.items()))
    if isinstance(value, list):
        return [pair for entry in value for pair in _entries(entry)]
    if isinstance(value, tuple):
        if len(value) == 2 and isinstance(value[1], int | float):
            return [(value[0], float(value[1]))]
        raise ConfigError(f"a weighted signal is a pair (value, weight), got {value!r}")
    return [(value, None)]


def _listed(options: IngestOptions) -> dict[str, Any]:
    return {name: list(v) if isinstance(v, tuple) else v for name, v in options.items()}
