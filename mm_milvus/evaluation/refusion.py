"""A collection as it would be with another fusion: its products fused by that, in a database of their own.

Nothing is encoded: the vectors of both modalities are in the collection already, where that is fused by ``blocks``. The
database is an embedded one, which has vectors of float32 only. They are rounded as the collection's own are, so that
answers and size are those of its ``vector_dtype``; how fast a server would be with them, the copy cannot tell.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mm_milvus.errors import ConfigError, FusionError
from mm_milvus.fusion import UNTRAINED, Fusion, load_head
from mm_milvus.late import home_of
from mm_milvus.records import Row
from mm_milvus.store import Store, fused_by, storable

if TYPE_CHECKING:
    from mm_milvus.client import Client
    from mm_milvus.encoders import EncoderSpec
    from mm_milvus.store import Collection, Stamp, Stored

    Array = np.ndarray[Any, np.dtype[np.float32]]

__all__ = ["fused_anew", "rounded"]

_OWN = ("id", "text", "has_image", "has_text")
_ROWS = 1_000


def fused_anew(shop: Client, fusion: str, folder: Path) -> Client:
    """A client of a copy of the client's collection in ``folder``, fused by ``fusion``: sum, product, or the folder of
    a trained one.

    Raises FusionError for a fusion that does not suit the encoder, or a head that is damaged, and ConfigError for a
    collection that is not fused by ``blocks``.
    """
    from mm_milvus.client import Client

    source = shop._open()
    if source.stamp.fusion != "blocks":
        raise ConfigError(
            f"{source.name!r} is fused by {source.stamp.fusion}, not by {fusion}: only of a collection of the fusion "
            "blocks can be told what another one would make of it"
        )
    stamp = _stamp(source, fusion, shop)
    settings = shop.settings.model_copy(
        update={
            "uri": str(folder / "refused.db"),
            "token": None,
            "fusion": fusion,
            "partition_key": None,
            "token_vectors": home_of(shop.settings).parent,
        }
    )
    with Store(settings, create=True) as store:
        schema = storable(stamp.schema, store.capabilities, None)
        copy = store.create(source.name, replace(stamp, schema=schema))
        for rows in _rows(source, stamp.vectors, source.stamp.vector_dtype):
            if refused := copy.write(rows, new=True):
                raise ConfigError(f"cannot copy {refused[0][0].id!r}: {refused[0][1]}")
        copy.flush()
    return Client(config=settings)


def _stamp(source: Collection, fusion: str, shop: Client) -> Stamp:
    """That of the copy."""
    own = source.stamp
    spec = shop._encoder(own).spec
    if fusion not in UNTRAINED:
        _check_encoder(fusion, spec, source.name)
        return replace(own, **fused_by(fusion, spec), vector_dtype="float32", partition_key=None)
    # A collection of blocks is stamped with weights, too: those that it was ingested with, or the defaults.
    Fusion.check(fusion, spec, own.image_weight, own.text_weight)
    return replace(own, fusion=fusion, vector_dtype="float32", partition_key=None)


def _check_encoder(head: str, spec: EncoderSpec, collection: str) -> None:
    config = load_head(head)[0].config
    if not spec.is_known_as(config.encoder, config.revision):
        raise FusionError(
            f"{head} was trained on the encoder {config.source or config.encoder}, whose vectors are not those of "
            f"{collection!r}: first ingest the catalog into a new collection (--fusion {head} --encoder "
            f"{config.source or config.encoder} --collection NAME), then compare with collection=NAME"
        )


def rounded(vectors: Array, dtype: str) -> Array:
    """(N, dim) float32 as a collection of this ``vector_dtype`` would give them back."""
    if dtype == "float16":
        return vectors.astype(np.float16).astype(np.float32)
    if dtype == "bfloat16":  # the upper half of a float32, rounded to the nearest, ties to even
        bits = np.ascontiguousarray(vectors, np.float32).view(np.uint32)
        bits = (bits + np.uint32(0x7FFF) + ((bits >> 16) & 1)) & np.uint32(0xFFFF0000)
        return bits.view(np.float32)
    return vectors


def _rows(source: Collection, fusion: Fusion, dtype: str) -> Iterator[list[Row]]:
    blocks = source.stamp.vectors
    waiting = source.products()
    while products := list(islice(waiting, _ROWS)):
        ids = [product["id"] for product in products]
        stored, hashes = source.vectors(ids), source.stored(ids)
        known = [product for product in products if product["id"] in stored and product["id"] in hashes]
        pairs = [blocks.split(stored[product["id"]][0]) for product in known]
        fused = fusion.fuse(
            [image if p["has_image"] else None for p, (image, _) in zip(known, pairs, strict=True)],
            [text if p["has_text"] else None for p, (_, text) in zip(known, pairs, strict=True)],
        )
        vectors = rounded(fused, dtype)
        yield [_row(p, vector, hashes[p["id"]]) for p, vector in zip(known, vectors, strict=True)]


def _row(product: dict[str, Any], vector: Array, hashes: Stored) -> Row:
    """With the hashes by which token vectors are known to be current."""
    attributes = {name: value for name, value in product.items() if name not in _OWN and value is not None}
    return Row(
        product["id"],
        product["text"],
        vector,
        product["has_image"],
        product["has_text"],
        attributes,
        image_hash=hashes.image_hash,
        text_hash=hashes.text_hash,
    )
