"""The public face: a shop's products in one Milvus collection."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Self, Unpack

from mm_milvus.arguments import (
    IngestOptions,
    QueryOptions,
    crop_of,
    entries,
    ids_of,
    ingest_fields,
    is_address,
    liked,
    plain,
    query_fields,
    settings_of,
)
from mm_milvus.errors import CollectionNotFound, ConfigError, DatabaseNotFound, TooManyRejects
from mm_milvus.records import Crop, Hit, IngestReport, Page, Query, Signal, VerifyReport

if TYPE_CHECKING:
    from datetime import date
    from types import TracebackType

    from mm_milvus.arguments import Entries
    from mm_milvus.config import Settings
    from mm_milvus.encoders.base import Encoder, QueryTexts
    from mm_milvus.ingest import Preview
    from mm_milvus.media import MediaReader
    from mm_milvus.records import Reranker
    from mm_milvus.search import Searcher
    from mm_milvus.store import Collection, Stamp, Store
    from mm_milvus.store.filters import Condition

__all__ = ["CLOSED", "Client", "CollectionInfo", "IngestOptions", "QueryOptions"]

CLOSED = "this client is closed; make another one"


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
    """One collection of products. Use it as a context manager, once; nothing is opened before the first call.

    ``uri`` is the path of an embedded database or the URL of a Milvus server. ``config`` is a file to read settings
    from, or ready Settings; without it ``mm-milvus.toml`` and ``MM_MILVUS_*`` count, as on the command line.
    A client is not made to be shared between threads. Calls after ``close`` raise ConfigError.
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
        self.settings = settings_of(
            config, uri, collection=collection, token=token, encoder=encoder, device=device
        )
        self._store: Store | None = None
        self._collection: Collection | None = None
        self._searcher: Searcher | None = None
        self._reader: MediaReader | None = None
        self._encoders: dict[str, list[Encoder]] = {}
        self._entered = self._closed = False

    def __enter__(self) -> Self:
        self._check_open()
        if self._entered:
            raise ConfigError("this client was entered already; one `with` holds it")
        self._entered = True
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Closes the client and its connection; an embedded database can then be opened by another process."""
        self._closed = True
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

        Creates database and collection where needed; a new collection that gets no product is not kept. Unchanged
        products cost one look-up. ``progress`` is called some ten times a second. ``confirm(to_delete, stored)`` is
        asked before ``sync`` deletes more than ``max_delete_rate``. ``on_wait`` is told, in a line, when Milvus is away
        and a call is tried again. Options: those of IngestOptions. Raises CatalogError, StampMismatch, FusionError,
        EncoderError, StoreError; after the last row TooManyRejects and DeletionRefused; Interrupted after a Ctrl-C.
        """
        from mm_milvus import ingest
        from mm_milvus.store import Store

        settings = self.settings.replace(**ingest_fields(options))
        if settings.dry_run:
            raise ConfigError("dry_run is set, and an ingest would store products: call preview() instead")
        stamp = self._existing_stamp()
        catalog = ingest.open_source(source, settings, stamp)
        ingest.check_rejects(catalog, settings)
        encoders = self._replicas(stamp)
        self._connect(create=True)
        self._collection = None  # the ingest may change its schema
        waits = ingest.CountedWaits(on_wait)
        retry = settings.retry_seconds
        with Store(settings, create=True, retry_seconds=retry, on_wait=waits) as store:
            waits.stop = store.stop_waiting
            collection, new = ingest.open_target(store, catalog, encoders[0], settings)
            report = None
            try:
                report = ingest.run(
                    catalog, collection, encoders, settings, progress, new=new, confirm=confirm, waits=waits
                )
            except TooManyRejects as error:
                report = error.report
                raise
            finally:
                if new:
                    _drop_if_empty(store, report)
            return report

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

        settings = self.settings.replace(**ingest_fields(options))
        collection = self._open()
        catalog = ingest.open_source(source, settings, collection.stamp)
        return ingest.verify(catalog, collection, settings, progress)

    def preview(self, source: str | os.PathLike[str], **options: Unpack[IngestOptions]) -> Preview:
        """What ``ingest`` would do: mapping, schema, text template, first rejects. Does not touch Milvus."""
        from mm_milvus import ingest

        self._check_open()
        return ingest.preview(source, self.settings.replace(**ingest_fields(options)))

    # --- products out --------------------------------------------------------------------------------------

    def query(
        self,
        text: Entries | None = None,
        image: Any = None,
        id: Entries | None = None,
        *,
        crop: Crop | tuple[int, int, int, int] | str | None = None,
        **options: Unpack[QueryOptions],
    ) -> Page:
        """Products for words, pictures (path, URL, bytes or PIL image), known products' ids, and any mix of them.

        Each may be a sequence or a dict of weights, each entry may be a pair ``(value, weight)``; in a dict of texts
        an http(s) URL or a data URI is a picture: ``{"red shirt": 1.0, "https://.../a.jpg": 0.6, "buttons": -0.4}``.
        ``crop`` cuts the query picture: four numbers, or ``"x,y,width,height"``. Options: those of QueryOptions.
        Without any signal: the products that pass the filter, sorted. See ``search`` for the errors.
        """
        part = crop_of(crop)
        mixed = isinstance(text, Mapping)
        signals = (
            *(
                Signal("image", value, weight, part)
                if mixed and is_address(value)
                else Signal("text", value, weight)
                for value, weight in entries(text)
            ),
            *(Signal("image", value, weight, part) for value, weight in entries(image)),
            *(Signal("id", value, weight) for value, weight in entries(id)),
        )
        if part is not None and all(signal.crop is None for signal in signals):
            raise ConfigError("crop cuts the query picture; give an image, too")
        return self.search(Query(signals, **query_fields(options)))

    def similar(self, id: str, **options: Unpack[QueryOptions]) -> Page:
        """Products like this stored one, which is left out. See ``search`` for the errors."""
        return self.query(id=id, **options)

    def recommend(
        self,
        like: Entries,
        unlike: Entries = (),
        *,
        times: Mapping[str, float | str | date] | None = None,
        half_life: float = 30.0,
        skip_missing: bool = False,
        **options: Unpack[QueryOptions],
    ) -> Page:
        """Products like some stored ones and unlike others, weights counting; all of these are left out of the answer.

        ``like`` and ``unlike`` are ids, or a dict of ids and weights above 0. By the ``strategy`` "average_vector"
        products near the mean of their vectors come first (what is unlike pushes half as strong where no weight is
        given), by "best_score" those near any one that is liked, unless they are nearer to one that is not: for a
        history of many tastes. ``times`` (id -> Unix seconds, ISO date, date or datetime) lets a weight halve for every
        ``half_life`` days that a product is older than the newest. ``skip_missing`` passes over ids that are no longer
        stored, as long as one that is liked is. See ``search`` for the errors.
        """
        from mm_milvus.search.recommend import faded

        if "id" in options:
            raise ConfigError("recommend takes ids as like and unlike")
        wanted, unwanted = liked(like, unlike, options.get("strategy"))
        weighted = wanted + unwanted
        if skip_missing:
            stored = self._open().stored([id for id, _ in weighted])
            if any(id in stored for id, _ in wanted):
                weighted = [(id, weight) for id, weight in weighted if id in stored]
        return self.query(id=faded(weighted, times, half_life), **options)

    def search(self, query: Query) -> Page:
        """Answers a Query.

        Raises StampMismatch, FilterError, UnknownField, MediaError, ProductNotFound, ConfigError, NotSupported or
        StoreError.
        """
        from mm_milvus.search import Searcher

        if not isinstance(query, Query):
            raise ConfigError(f"search() takes a Query, got {query!r:.80}; query() takes words and pictures")
        query = plain(query)
        collection = self._open()
        if self._searcher is None or self._searcher.collection is not collection:
            stamp = collection.stamp
            self._searcher = Searcher(
                collection, lambda: self._encoder(stamp), self._media, lambda: self._query_texts(stamp),
                self._reranker,
            )  # fmt: skip
        return self._searcher(query)

    def get(self, ids: str | Sequence[str]) -> list[Hit]:
        """The stored products among ``ids``, in that order."""
        return self._open().get(ids_of(ids))

    def count(self, filter: str | Condition | None = None) -> int:
        """How many stored products pass the filter; all of them without one. Raises FilterError and UnknownField."""
        collection = self._open()
        if filter is None or (isinstance(filter, str) and not filter.strip()):
            return collection.count()
        return collection.count(collection.parse(filter))

    # --- the collection ------------------------------------------------------------------------------------

    def delete(self, ids: str | Sequence[str] | None = None, *, filter: str | Condition | None = None) -> int:
        """Deletes products by ids or by filter and returns how many there were."""
        from mm_milvus.store.filters import ids_filter

        collection = self._open()
        if (ids is None) == (filter is None):
            raise ConfigError("delete needs either ids or a filter")
        if filter is not None:
            return collection.delete(collection.parse(filter))
        wanted = ids_of(ids or ())
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

    def calibrate(self, queries: Iterable[str] | str | os.PathLike[str] | None) -> int:
        """Lets the shop's own queries say what all query texts have in common, where they are mixed with pictures.

        ``queries`` are texts, or a UTF-8 file of one query a line; None goes back to the encoder's generic ones.
        Stored vectors stay as they are. Returns the number of distinct queries; fewer than 20 are a ConfigError.
        """
        from mm_milvus.search.calibrate import query_mean, read_queries

        stamp = self._open().stamp
        mean, count = None, 0
        if queries is not None:
            texts = read_queries(queries) if isinstance(queries, str | os.PathLike) else queries
            encoder = self._encoder(stamp)
            stamp.check_encoder(encoder.spec, self.settings.collection)
            mean, count = query_mean(texts, encoder)
        now = self._connect().open(self.settings.collection).stamp  # an ingest may have added attributes
        self._connect().restamp(self.settings.collection, now.recalibrated(mean, count))
        self._collection = None
        return count

    def collections(self) -> list[str]:
        """Names of all collections of the database."""
        return self._connect().collections()

    def drop(self) -> None:
        """Drops the collection with all its products, and in an embedded database with its token vectors."""
        from mm_milvus.late import drop_tokens

        self._connect().drop(self.settings.collection)
        self._collection = None
        drop_tokens(self.settings)

    # --- inside --------------------------------------------------------------------------------------------

    def _check_open(self) -> None:
        if self._closed:
            raise ConfigError(CLOSED)

    def _connect(self, *, create: bool = False) -> Store:
        from mm_milvus.store import Store

        self._check_open()
        if self._store is None:
            self._store = Store(self.settings, create=create)
        return self._store

    def _open(self) -> Collection:
        if self._collection is None or self._collection.outdated:
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

    def _query_texts(self, stamp: Stamp) -> QueryTexts | None:
        """What encodes query texts without the whole encoder, unless that is loaded already."""
        from mm_milvus.encoders import load_query_texts

        name = self._encoder_name(stamp)
        return None if name in self._encoders else load_query_texts(name)

    def _reranker(self, *wanted: Any) -> Reranker:
        from mm_milvus.late import reranker_of

        return reranker_of(self.settings, *wanted)

    def _encoder_name(self, stamp: Stamp | None) -> str:
        asked = self.settings.encoder
        return stamp.encoder_name(asked, self.settings.collection) if stamp else asked or "offline"

    def _replicas(self, stamp: Stamp | None) -> list[Encoder]:
        """The encoder asked for, else the collection's own, else `offline`; once per GPU where there are several."""
        from mm_milvus.encoders import load_replicas

        name = self._encoder_name(stamp)
        if name not in self._encoders:
            device, dtype, compile = self.settings.device, self.settings.dtype, self.settings.compile
            self._encoders[name] = load_replicas(name, device=device, dtype=dtype, compile=compile)
        return self._encoders[name]


def _drop_if_empty(store: Store, report: IngestReport | None) -> None:
    """Of a new collection: the stamp would keep a wrong mapping's choice of texts for ever."""
    if report is not None and not report.written:
        store.drop(report.collection)
