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

    from mm_milvus.errors import MmMilvusError
    from mm_milvus.ingest.slots import Slot
    from mm_milvus.records import Product
    from mm_milvus.store import Stamp, Stored

    Array = npt.NDArray[np.float32]

__all__ = ["Item", "Picture", "attributes_hash", "identity", "plan", "text_of"]

_HEX = 32  # characters of one digest


@dataclass(slots=True, eq=False)
class Picture:
    """One picture of a product. ``identity`` is of the bytes of files and data URIs, of the address of URLs."""

    reference: str
    identity: bytes
    url: bool = False
    data: bytes | None = None  # of local pictures, until they are decoded
    validator: str | None = None  # of a URL: what its host says of the version; None when it was not asked
    slot: Slot | None = None  # where its vector will be, when it has to be encoded
    shared: bool = False  # the slot is that of an identical one before


@dataclass(slots=True, eq=False)
class Item:
    """One product on its way through the worker; the stages fill in what they find."""

    product: Product
    text: str
    text_hash: str  # "" without text
    image: str  # where the first picture is, for display
    attributes_hash: str
    # Those that may still be had. One that fails is taken out: then the hash of the stored row is not that of the
    # catalog's, and the next ingest tries again.
    pictures: list[Picture] = field(default_factory=list)
    failures: list[MmMilvusError] = field(default_factory=list)
    old: Stored | None = None
    lacks: tuple[str, str] | None = None  # stage and reason, where it is stored without some of its pictures
    refetch: bool = False  # pictures behind URLs count as changed, whatever the hashes say
    encode_image: bool = True
    encode_text: bool = True
    text_slot: Slot | None = None
    text_shared: bool = False
    image_vec: Array | None = None  # (D_image,) unit norm
    text_vec: Array | None = None  # (D_text,) unit norm

    @property
    def image_hash(self) -> str:
        """Identity of all pictures together, "" without any; followed by that of their versions where hosts say it."""
        if not self.pictures:
            return ""
        validators = [picture.validator or "" for picture in self.pictures]
        versions = _digest("\0".join(validators).encode()) if any(validators) else ""
        return _digest(b"".join(picture.identity for picture in self.pictures)) + versions

    @property
    def same_addresses(self) -> bool:
        """Whether the stored row was made from pictures of these files and addresses."""
        old = self.old
        return old is not None and (self.image_hash[:_HEX], bool(self.pictures)) == (
            old.image_hash[:_HEX],
            old.has_image,
        )

    @property
    def keeps_stored(self) -> bool:
        """Whether the stored picture has to do, for none of the catalog's can be had."""
        return self.old is not None and self.old.has_image and bool(self.failures) and not self.pictures

    @property
    def same_image(self) -> bool:
        """Whether the picture part of the stored row stays. A version that nobody tells counts as the same."""
        if self.old is None or not self.same_addresses:
            return self.keeps_stored
        urls = [picture for picture in self.pictures if picture.url]
        if self.refetch and urls:
            return False
        known = all(picture.validator is not None for picture in urls)
        told, stored = self.image_hash[_HEX:], self.old.image_hash[_HEX:]
        return not (known and told and stored) or told == stored

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

    @property
    def has_work(self) -> bool:
        """Whether something has to be encoded."""
        return self.encode_image or self.encode_text

    def drop(self, picture: Picture, failure: MmMilvusError) -> None:
        self.pictures.remove(picture)
        self.failures.append(failure)


def plan(items: Iterable[Item], fusion: str) -> None:
    """Decides for each item, its ``old`` row set, which modality has to be encoded.

    Fusions other than ``blocks`` mix the modalities for good: there a change of one of them encodes both.
    """
    for item in items:
        both = fusion != "blocks" and not (item.same_image and item.same_text)
        item.encode_image = bool(item.pictures) and (both or not item.same_image)
        item.encode_text = bool(item.text) and (both or not item.same_text)


def text_of(product: Product, stamp: Stamp) -> tuple[str, str]:
    """The text to embed and its hash; both empty when the product has none."""
    text = render_text(product.attributes, stamp.text_fields, stamp.max_chars)
    return text, _digest(text.encode()) if text else ""


def identity(content: bytes) -> bytes:
    """16 bytes that stand for a picture's content, or for its address."""
    return blake2b(content, digest_size=_HEX // 2).digest()


def attributes_hash(attributes: Mapping[str, Any], image: str) -> str:
    """Identity of what is stored beside the vectors; the order of the keys does not count."""
    return _digest(json.dumps([attributes, image], sort_keys=True, ensure_ascii=False).encode())


def _digest(data: bytes) -> str:
    return identity(data).hex()
