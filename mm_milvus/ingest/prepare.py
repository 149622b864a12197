"""Before the first row: which text is embedded, what a missing modality is replaced by, which collection it goes to."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mm_milvus import __version__
from mm_milvus.catalog import Catalog, choose_text_fields, open_catalog, render_text
from mm_milvus.errors import MediaError, StampMismatch
from mm_milvus.fusion import UNTRAINED, Fusion
from mm_milvus.ingest.pictures import Pictures, is_url
from mm_milvus.media import decode_pixels
from mm_milvus.records import Field, FieldType, Product, Rejected, Schema
from mm_milvus.store import Stamp, fused_by, storable

if TYPE_CHECKING:
    import os

    import numpy.typing as npt

    from mm_milvus.config import Settings
    from mm_milvus.encoders.base import Encoder, Prepared
    from mm_milvus.store import Collection, Store

    Array = npt.NDArray[np.float32]

__all__ = ["PREVIEW_CHARS", "Preview", "open_source", "open_target", "preview"]

PREVIEW_CHARS = 320  # of the text in a dry run, which loads no encoder
_WRITTEN_AS_TEXT = (FieldType.BOOL, FieldType.INT64, FieldType.DOUBLE)
_PREVIEW_ROWS = 1_000
_PREVIEW_PICTURES = 100
_MEAN_ROWS = 1_000  # rows looked at, and pictures and texts encoded, to estimate the means of an encoder
_MEAN_ITEMS = 256
_MEAN_BATCH = 64
_MEAN_READERS = 8


@dataclass(frozen=True, slots=True)
class Preview:
    """What an ingest would do, from the first 1,000 rows and without touching Milvus."""

    source: str
    kind: str
    mapping: dict[str, str | tuple[str, ...]]
    schema: Schema
    text_fields: tuple[str, ...]
    texts: tuple[tuple[str, str], ...]  # (id, text that would be embedded) of the first products
    rows_read: int
    rows_estimate: int | None  # of the whole catalog
    rejected: tuple[Rejected, ...]  # the first 20; ``kept`` where only a picture of the first 100 rows fails
    rejected_count: int  # of all that were found
    rows_rejected: int  # of ``rows_read``: those that an ingest would refuse
    too_many_rejects: (
        bool  # more than ``max_reject_rate`` allows: an ingest of these rows would raise TooManyRejects
    )


def preview(source: str | os.PathLike[str], settings: Settings) -> Preview:
    """The dry run. Raises CatalogError and ConfigError as an ingest would."""
    catalog = open_catalog(source, settings)
    text_fields = choose_text_fields(catalog.schema, settings)
    rows = list(islice(catalog.products(), _PREVIEW_ROWS))
    products = [row for row in rows if isinstance(row, Product)]
    rejected = [row for row in rows if isinstance(row, Rejected)]
    rejected += _unreadable_pictures(catalog, text_fields, products[:_PREVIEW_PICTURES], settings)
    refused = sum(not row.kept for row in rejected)
    return Preview(
        source=str(source),
        kind=catalog.kind,
        mapping=dict(catalog.mapping),
        schema=catalog.schema,
        text_fields=text_fields,
        texts=tuple(_texts(products, text_fields)),
        rows_read=len(rows),
        rows_estimate=catalog.estimate() if len(rows) == _PREVIEW_ROWS else len(rows),
        rejected=tuple(sorted(rejected, key=lambda row: row.line)[:20]),
        rejected_count=len(rejected),
        rows_rejected=refused,
        too_many_rejects=bool(rows) and refused / len(rows) > settings.max_reject_rate,
    )


def _texts(products: Sequence[Product], text_fields: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Of the first three products that have any."""
    rendered = (
        (product.id, render_text(product.attributes, text_fields, PREVIEW_CHARS)) for product in products
    )
    return islice((pair for pair in rendered if pair[1]), 3)


def _unreadable_pictures(
    catalog: Catalog, text_fields: Sequence[str], products: Sequence[Product], settings: Settings
) -> Iterator[Rejected]:
    """Products whose picture file cannot be read: a wrong path is what most often goes wrong with a new catalog."""
    # Of a folder of pictures nothing would be left.
    keeps = settings.missing_image == "keep" and catalog.kind != "directory"
    with Pictures(catalog.root, settings) as pictures:
        for product in products:
            wanted = product.images[:1] if settings.images == "first" else product.images
            failures = [error for image in wanted if (error := _failure(pictures, image)) is not None]
            if failures:
                left = render_text(product.attributes, text_fields, 1) or len(failures) < len(wanted)
                reason = "; ".join(map(str, failures))
                stage = failures[0].stage
                yield Rejected(
                    product.line, product.id, stage, reason, product.record, kept=bool(keeps and left)
                )


def _failure(pictures: Pictures, reference: str) -> MediaError | None:
    """Why a picture file cannot be read; a URL is not asked for."""
    try:
        if not is_url(reference):
            decode_pixels(pictures.fetch(reference).data, smallest=1)
    except MediaError as error:
        return error
    return None


def open_source(source: str | os.PathLike[str], settings: Settings, stamp: Stamp | None) -> Catalog:
    """The catalog, in the types of the collection where there is one; attributes new to it are added as dynamic."""
    if stamp is None:
        return open_catalog(source, settings)
    known = stamp.schema.types()
    # A later catalog may lack attributes; their types are the collection's by now.
    types = {name: kind for name, kind in settings.types.items() if name not in known}
    catalog = open_catalog(source, settings.replace(types=types))
    added = tuple(replace(field, typed=False) for field in catalog.schema.fields if field.name not in known)
    # Text such as "0,5" or "yes" in a CSV is read as the collection's numbers and flags, as if they were set again.
    strict = {name: kind for name, kind in known.items() if kind in _WRITTEN_AS_TEXT}
    again = settings.replace(types=strict | settings.types)
    catalog = open_catalog(source, again, schema=Schema(stamp.schema.fields + added))
    if settings.text_fields is None:
        catalog.notices = tuple(_not_embedded(added, stamp, settings))
    return catalog


def _not_embedded(added: tuple[Field, ...], stamp: Stamp, settings: Settings) -> Iterator[str]:
    """Attributes that a new collection would embed and that come too late for this one. Told once: then it has them."""
    if late := choose_text_fields(Schema(added), settings):
        are, them = ("is", "it") if len(late) == 1 else ("are", "them")
        yield (
            f"this collection embeds {', '.join(stamp.text_fields) or 'no text'}: {', '.join(late)} {are} stored and "
            f"can be filtered by, but words do not find {them}; a new --collection would embed {them}"
        )


def open_target(
    store: Store, catalog: Catalog, encoder: Encoder, settings: Settings
) -> tuple[Collection, bool]:
    """The collection to write to, created and stamped when it does not exist; and whether it was created.

    Raises StampMismatch when it exists and was made in another way than the settings ask for.
    """
    name = settings.collection
    if not store.has(name):
        return store.create(name, _new_stamp(store, catalog, encoder, settings)), True
    collection = store.open(name)
    _check_stamp(collection, encoder, settings)
    if catalog.schema != collection.stamp.schema:
        store.restamp(name, replace(collection.stamp, schema=catalog.schema))
        return store.open(name), False
    return collection, False


def _check_stamp(collection: Collection, encoder: Encoder, settings: Settings) -> None:
    stamp, name = collection.stamp, collection.name
    stamp.check_encoder(encoder.spec, name)
    stamp.check_fusion(settings.fusion, name)
    for setting in ("image_weight", "text_weight", "vector_dtype", "text_fields", "partition_key"):
        asked, stamped = getattr(settings, setting), getattr(stamp, setting)
        if asked is not None and asked != stamped:
            raise StampMismatch(
                f"collection {name!r} was made with {setting} = {stamped!r}, but {asked!r} was asked for; "
                "ingest into another --collection"
            )


def _new_stamp(store: Store, catalog: Catalog, encoder: Encoder, settings: Settings) -> Stamp:
    spec = encoder.spec
    weights = (
        0.5 if settings.image_weight is None else settings.image_weight,
        0.5 if settings.text_weight is None else settings.text_weight,
    )
    fusion = settings.fusion or "blocks"
    text_fields = choose_text_fields(catalog.schema, settings)
    if fusion in UNTRAINED:
        Fusion.check(fusion, spec, *weights)
        means = _means(catalog, encoder, text_fields, settings)
        made_by: dict[str, Any] = {"fusion": fusion, "image_mean": means[0], "text_mean": means[1]}
    else:
        made_by = fused_by(fusion, spec)
    return Stamp(
        encoder=spec.name,
        revision=spec.revision,
        source=_source(settings.encoder or spec.name),
        preprocessing=spec.preprocessing,
        joint=spec.joint,
        text_fields=text_fields,
        max_chars=spec.max_chars,
        schema=storable(catalog.schema, store.capabilities, settings.partition_key),
        image_weight=weights[0],
        text_weight=weights[1],
        vector_dtype=settings.vector_dtype or "float32",
        partition_key=settings.partition_key,
        created_by=f"mm-milvus {__version__}",
        **made_by,
    )


def _source(encoder: str) -> str:
    """What to load the encoder from in later queries: a local folder by its absolute path."""
    return str(Path(encoder).absolute()) if Path(encoder).is_dir() else encoder


def _means(
    catalog: Catalog, encoder: Encoder, text_fields: Sequence[str], settings: Settings
) -> tuple[Array, Array]:
    """Document means of both modalities: the encoder's constants, or estimated once from the first rows.

    They are stamped and never change afterwards, so that a row's vector does not depend on when it came in. A modality
    that the first rows do not have at all gets a zero mean.
    """
    spec = encoder.spec
    if spec.image_mean is not None and spec.text_mean is not None:
        return np.array(spec.image_mean, np.float32), np.array(spec.text_mean, np.float32)
    products = [p for p in islice(catalog.products(), _MEAN_ROWS) if isinstance(p, Product)]
    texts = [text for p in products if (text := render_text(p.attributes, text_fields, spec.max_chars))]
    image_mean, text_mean = np.zeros(spec.image_dim, np.float32), np.zeros(spec.text_dim, np.float32)
    if texts:
        text_mean = _mean(encoder.encode_text(texts[:_MEAN_ITEMS]).numpy(), text_mean)
    if parts := _picture_vectors(catalog, products, encoder, settings):
        image_mean = _mean(np.concatenate(parts), image_mean)
    return image_mean, text_mean


def _mean(vectors: Array, otherwise: Array) -> Array:
    """(N, D) -> (D,), without the rows that the model could not encode."""
    good = vectors[np.isfinite(vectors).all(axis=1)]
    return good.mean(axis=0) if len(good) else otherwise


def _picture_vectors(
    catalog: Catalog, products: Sequence[Product], encoder: Encoder, settings: Settings
) -> list[Array]:
    def prepared(reference: str) -> Prepared | None:
        try:
            data = pictures.fetch(reference).data
            return encoder.prepare(decode_pixels(data, smallest=encoder.smallest_side))
        except MediaError:  # the ingest proper reports it
            return None

    vectors: list[Array] = []
    references = [product.images[0] for product in products if product.images][:_MEAN_ITEMS]
    with Pictures(catalog.root, settings) as pictures, ThreadPoolExecutor(_MEAN_READERS, "fetch") as pool:
        for start in range(0, len(references), _MEAN_BATCH):
            found = list(pool.map(prepared, references[start : start + _MEAN_BATCH]))
            if images := [image for image in found if image is not None]:
                vectors.append(encoder.encode_prepared(images).numpy())
    return vectors
