"""What every training reads first: the encoder of a collection, labels, the vectors of queries, and whose run it is."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from mm_milvus.errors import ConfigError
from mm_milvus.records import Rejected
from mm_milvus.training.catalog import labels_from_catalog
from mm_milvus.training.data import TRAIN, Labels, Products, Queries
from mm_milvus.training.folder import CACHE, write_rejects
from mm_milvus.training.pairs import PairsFile, pairs_of, read_pairs
from mm_milvus.training.settings import TrainSettings

if TYPE_CHECKING:
    from mm_milvus.config import Settings
    from mm_milvus.fusion import HeadConfig
    from mm_milvus.media import MediaReader
    from mm_milvus.search.cache import QueryEncoder
    from mm_milvus.store import Collection, Stamp

__all__ = ["collection_encoder", "encoded_queries", "identity_of", "pictures_of", "read_labels"]

_PAGE = 1_000


def collection_encoder(stamp: Stamp, shop: Settings) -> QueryEncoder:
    """The collection's own; its texts without torch where that can be."""
    from mm_milvus.encoders import load_encoder, load_query_texts
    from mm_milvus.search.cache import QueryEncoder

    name = stamp.encoder_name(shop.encoder, shop.collection)
    encoder = QueryEncoder(
        lambda: load_encoder(name, device=shop.device, dtype=shop.dtype, compile=shop.compile),
        load_query_texts(name),
    )
    stamp.check_encoder(encoder.spec, shop.collection)
    return encoder


def pictures_of(collection: Collection, ids: list[str]) -> dict[str, str]:
    """id -> where its first picture is."""
    pages = (ids[start : start + _PAGE] for start in range(0, len(ids), _PAGE))
    return {hit.id: hit.image for page in pages for hit in collection.get(page) if hit.image}


def read_labels(settings: TrainSettings, products: Products, collection: Collection) -> PairsFile:
    """Of the file of pairs, or of the catalog, which has no lines. Raises ConfigError where no pair is left."""
    if settings.pairs is None:
        labels = labels_from_catalog(
            products,
            dev_share=settings.dev_share,
            seed=settings.seed,
            crops=settings.crops,
            pictures=lambda ids: pictures_of(collection, ids),
        )
        return PairsFile(labels)
    read = read_pairs(settings.pairs, _places(products), dev_share=settings.dev_share, seed=settings.seed)
    if not len(read.labels.queries_of(TRAIN)):
        what = f"the file of pairs {str(settings.pairs)!r} has no pair to train with{_why(read)}"
        raise ConfigError(what + _refused(settings, read.rejects, read.rejects[:1]))
    return read


def _why(read: PairsFile) -> str:
    """Where the lines are that are none to train with."""
    reasons = []
    others = [f"{count:,} {name}" for name, count in read.labels.counts()[1].items() if count]
    if others:
        reasons.append(
            f"all of its pairs are of other splits ({', '.join(others)}), and some have to be of train"
        )
    if read.rejects:
        unknown = f"{read.unknown_products:,} of them for products that are not stored"
        lines = "1 line was" if len(read.rejects) == 1 else f"{len(read.rejects):,} lines were"
        reasons.append(f"{lines} refused, {unknown}")
    return f": {'; '.join(reasons)}" if reasons else ""


def _places(products: Products) -> dict[str, int]:
    return {id: place for place, id in enumerate(products.ids)}


def _refused(settings: TrainSettings, rejects: list[Rejected], shown: list[Rejected]) -> str:
    """Where a training ends for what was refused: writes that, and tells those ``shown`` and the file."""
    path = write_rejects(settings.out, rejects)
    reasons = [
        f"; {f'product {one.id!r}' if one.line == 0 else f'line {one.line}'}: {one.reason}" for one in shown
    ]
    return "".join(reasons) + (f"; all that was refused: {path}" if rejects else "")


def encoded_queries(
    settings: TrainSettings,
    read: PairsFile,
    products: Products,
    encoder: QueryEncoder,
    reader: MediaReader,
    progress: Callable[[str, int, int], None],
) -> Queries:
    """The vectors of all queries of ``read``. Those without one go to its rejects, and its labels lose them.

    Raises ConfigError where none is left to train with.
    """
    from mm_milvus.training.encode import encode_queries

    labels = read.labels
    found = encode_queries(
        labels, products, encoder, reader,
        base=settings.base, cache=settings.out / CACHE, progress=progress,
    )  # fmt: skip
    if not found.failed:
        refused = []
    elif settings.pairs is not None:
        reasons = {labels.asked[query]: why for query, why in found.failed.items()}
        told = {one.line for one in read.rejects}
        refused = list(pairs_of(settings.pairs, _places(products), reasons, told))
    else:
        refused = _of_products(labels, found.failed, products.ids)
    read.rejects.extend(refused)
    read.labels = found.labels
    if not len(read.labels.queries_of(TRAIN)):
        what = "none of the queries to train with could be encoded"
        raise ConfigError(what + _refused(settings, read.rejects, refused[:1]))
    return found.queries


def _of_products(labels: Labels, failed: dict[int, str], ids: list[str]) -> list[Rejected]:
    """Of queries that a catalog made: what failed, once for each product and reason, without a line (0)."""
    first = dict(zip(labels.query[::-1].tolist(), labels.product[::-1].tolist(), strict=True))
    reasons = dict.fromkeys((ids[first[query]], why) for query, why in failed.items())
    return [Rejected(0, id, "encode", why) for id, why in reasons]


def identity_of(
    settings: TrainSettings,
    config: HeadConfig,
    initial: str,
    products: Products,
    labels: Labels,
    queries: Queries,
) -> str:
    """A digest of all that the trained weights depend on; ``initial`` is the fingerprint of what they start from."""
    digest = hashlib.sha256(json.dumps([settings.identity(), repr(config), initial]).encode())
    arrays = (
        products.image, products.text, products.present,
        labels.query, labels.product, labels.grade, labels.split, labels.held_out,
        queries.images, queries.texts, queries.image_at, queries.text_at, queries.product_at,
    )  # fmt: skip
    for array in arrays:
        digest.update(str(array.shape).encode())
        digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()
