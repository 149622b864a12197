"""A collection as it would be with a trained fusion: its products fused by that head, in a database of their own.

Nothing is encoded: the vectors of both modalities are in the collection already, where that is fused by ``blocks``.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mm_milvus.errors import ConfigError, FusionError
from mm_milvus.fusion import Fusion, load_head
from mm_milvus.late import home_of
from mm_milvus.records import Row
from mm_milvus.store import Store, fused_by, storable

if TYPE_CHECKING:
    from mm_milvus.client import Client
    from mm_milvus.encoders import EncoderSpec
    from mm_milvus.store import Collection

__all__ = ["fused_anew"]

_OWN = ("id", "text", "has_image", "has_text")
_ROWS = 1_000


def fused_anew(shop: Client, head: str, folder: Path) -> Client:
    """A client of a copy of the client's collection in ``folder``, fused by the head in the folder ``head``.

    Raises FusionError for a head that is damaged or of another encoder, and ConfigError for a collection that is not
    fused by ``blocks``.
    """
    from mm_milvus.client import Client

    source = shop._open()
    if source.stamp.fusion != "blocks":
        raise ConfigError(
            f"{source.name!r} is fused by {source.stamp.fusion}: only of a collection of the fusion blocks can be told "
            f"what {head} would make of it"
        )
    spec = shop._encoder(source.stamp).spec
    _check_encoder(head, spec, source.name)
    given = fused_by(head, spec)
    stamp = replace(source.stamp, **given, vector_dtype="float32", partition_key=None)
    settings = shop.settings.model_copy(
        update={
            "uri": str(folder / "refused.db"),
            "token": None,
            "fusion": head,
            "partition_key": None,
            "token_vectors": home_of(shop.settings).parent,
        }
    )
    with Store(settings, create=True) as store:
        schema = storable(stamp.schema, store.capabilities, None)
        copy = store.create(source.name, replace(stamp, schema=schema))
        for rows in _rows(source, stamp.vectors):
            if refused := copy.write(rows, new=True):
                raise ConfigError(f"cannot copy {refused[0][0].id!r}: {refused[0][1]}")
        copy.flush()
    return Client(config=settings)


def _check_encoder(head: str, spec: EncoderSpec, collection: str) -> None:
    config = load_head(head)[0].config
    if not spec.is_known_as(config.encoder, config.revision):
        raise FusionError(
            f"{head} was trained on the encoder {config.source or config.encoder}, whose vectors are not those of "
            f"{collection!r}: first ingest the catalog into a new collection (--fusion {head} --encoder "
            f"{config.source or config.encoder} --collection NAME), then compare with collection=NAME"
        )


def _rows(source: Collection, fusion: Fusion) -> Iterator[list[Row]]:
    blocks = source.stamp.vectors
    waiting = source.products()
    while products := list(islice(waiting, _ROWS)):
        stored = source.vectors([product["id"] for product in products])
        known = [product for product in products if product["id"] in stored]
        pairs = [blocks.split(stored[product["id"]][0]) for product in known]
        fused = fusion.fuse(
            [image if p["has_image"] else None for p, (image, _) in zip(known, pairs, strict=True)],
            [text if p["has_text"] else None for p, (_, text) in zip(known, pairs, strict=True)],
        )
        yield [_row(product, vector) for product, vector in zip(known, fused, strict=True)]


def _row(product: dict[str, Any], vector: np.ndarray[Any, np.dtype[np.float32]]) -> Row:
    attributes = {name: value for name, value in product.items() if name not in _OWN and value is not None}
    return Row(product["id"], product["text"], vector, product["has_image"], product["has_text"], attributes)
