"""The plan of a batch: what is unchanged, what only needs its attributes written, what has to be encoded.

Milvus itself is the journal: the hashes stored with each row say what it was made from.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import TYPE_CHECKING, Any

from mm_milvus.catalog import render_text

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from mm_milvus.errors import MediaError
    from mm_milvus.records import Product
    from mm_milvus.store import Stamp, Stored

    Array = npt.NDArray[np.float32]

__all__ = ["Item", "attributes_hash", "picture_identity", "plan", "text_of"]


@dataclass(slots=True, eq=False)
class Item:
    """One product on its way through the worker; the stages fill in what they find."""

    product: Product
    text: str
    text_hash: str  # "" without text
    image: str  # where the first picture is, for display
    attributes_hash: str
    # Reference -> identity of the pictures that may still be had. One that fails is taken out: then the hash of the
    # stored row is not that of the catalog's, and the next ingest tries again.
    pictures: dict[str, bytes] = field(default_factory=dict)
    failures: list[MediaError] = field(default_factory=list)
    old: Stored | None = None
    encode_image: bool = True
    encode_text: bool = True
    image_vec: Array | None = None  # (D_image,) unit norm
    text_vec: Array | None = None  # (D_text,) unit norm

    @property
    def image_hash(self) -> str:
        """Identity of all pictures together, "" without any."""
        return _digest(b"".join(self.pictures.values())) if self.pictures else ""

    @property
    def same_image(self) -> bool:
        """Whether the stored row was made from these pictures."""
        old = self.old
        return old is not None and (self.image_hash, bool(self.image_hash)) == (old.image_hash, old.has_image)

    @property
    def same_text(self) -> bool:
        return self.old is not None and self.text_hash == self.old.text_hash

    @property
    def unchanged(self) -> bool:
        """Whether the stored row is what this one would become."""
        return (
            self.old is not None
            and self.same_image
            and self.same_text
            and self.attributes_hash == self.old.attributes_hash
        )


def plan(items: Iterable[Item], stored: Mapping[str, Stored], stamp: Stamp) -> None:
    """Decides for each item which modality has to be encoded.

    Fusions other than ``blocks`` mix the modalities for good: there a change of one of them encodes both.
    """
    for item in items:
        item.old = stored.get(item.product.id)
        both = stamp.fusion != "blocks" and not (item.same_image and item.same_text)
        item.encode_image = bool(item.pictures) and (both or not item.same_image)
        item.encode_text = bool(item.text) and (both or not item.same_text)


def text_of(product: Product, stamp: Stamp) -> tuple[str, str]:
    """The text to embed and its hash; both empty when the product has none."""
    text = render_text(product.attributes, stamp.text_fields, stamp.max_chars)
    return text, _digest(text.encode()) if text else ""


def picture_identity(content: bytes) -> bytes:
    """16 bytes for a picture: of the content of files and data URIs, of the address of URLs."""
    return blake2b(content, digest_size=16).digest()


def attributes_hash(attributes: Mapping[str, Any], image: str) -> str:
    """Identity of what is stored beside the vectors; the order of the keys does not count."""
    return _digest(json.dumps([attributes, image], sort_keys=True, ensure_ascii=False).encode())


def _digest(data: bytes) -> str:
    return blake2b(data, digest_size=16).hexdigest()
