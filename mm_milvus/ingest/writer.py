"""The last stages: modality vectors become one vector per product, and complete rows go to Milvus."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from mm_milvus.fusion import normalise
from mm_milvus.records import Row

if TYPE_CHECKING:
    import numpy.typing as npt

    from mm_milvus.ingest.batches import Batch
    from mm_milvus.ingest.plan import Item
    from mm_milvus.ingest.tally import Tally
    from mm_milvus.store import Collection

    Array = npt.NDArray[np.float32]

__all__ = ["Writer", "row_of"]

_LITE_ROWS, _SERVER_ROWS = 1_000, 8_000  # that are collected before they are written,
_BYTES = 24 << 20  # or so many bytes of vectors: servers like large requests,
_SECONDS = 1.0  # or after this time: what is not written yet is lost with the process
_READS, _PAUSE = 5, 0.1  # of stored vectors


class Writer:
    """Called by one thread, batch by batch. Rows are counted as written once Milvus has acknowledged them."""

    def __init__(self, collection: Collection, tally: Tally, *, keeps: bool, new: bool) -> None:
        """``keeps``: rows without their picture are stored. ``new``: no row of the catalog can be stored yet."""
        self._collection = collection
        self._fusion = collection.stamp.vectors
        self._lite = collection.capabilities.lite
        self._tally = tally
        self._keeps = keeps
        self._new = new
        self._waiting: list[tuple[Item, Row]] = []
        self._since = time.monotonic()

    def add(self, batch: Batch) -> None:
        """Takes over what was encoded, refuses what could not be, and writes when enough has come together."""
        for item in batch.items:
            _take_vectors(item)
        self._tally.add(
            images_shared=sum(picture.shared for item in batch.items for picture in item.pictures),
            texts_shared=sum(item.text_shared for item in batch.items),
        )
        items = [item for item in batch.items if self._worth_writing(item)]
        with self._tally.clock("write"):
            stored = self._stored_vectors(items)
            for item, fused in zip(items, self._fuse(items, stored), strict=True):
                self._waiting.append((item, row_of(item, fused)))
        self.flush_due()

    def flush_due(self) -> None:
        """Writes what has been collected, once it is enough or has waited long enough."""
        if self._is_due():
            with self._tally.clock("write"):
                self.flush()

    def flush(self) -> None:
        """Writes what has been collected."""
        waiting, self._waiting = self._waiting, []
        self._since = time.monotonic()
        if not waiting:
            return
        refused = self._collection.write([row for _, row in waiting], new=self._new)
        reasons = {row.id: reason for row, reason in refused}
        for item, row in waiting:
            if row.id in reasons:
                self._tally.reject_item(item, "write", reasons[row.id])
            else:
                self._tell_what_it_lacks(item)
        self._tally.add(written=len(waiting) - len(reasons))

    def _is_due(self) -> bool:
        rows = len(self._waiting)
        return bool(rows) and (
            rows >= (_LITE_ROWS if self._lite else _SERVER_ROWS)
            or rows * self._waiting[0][1].fused.nbytes >= _BYTES
            or time.monotonic() - self._since >= _SECONDS
        )

    def _worth_writing(self, item: Item) -> bool:
        """False for an item that is rejected or that is stored already as it is."""
        if item.text_slot is not None and item.text_slot.failure is not None:
            self._tally.reject_item(item, "encode", str(item.text_slot.failure))
            return False
        if item.failures:
            if not self._is_kept(item):
                return False
        elif not item.text and not item.pictures:
            fields = ", ".join(self._collection.stamp.text_fields)
            self._tally.reject_item(item, "map", f"no picture, and no text in {fields}")
            return False
        if item.unchanged:
            self._tally.add(unchanged=1)
            self._tell_what_it_lacks(item)
        return not item.unchanged

    def _is_kept(self, item: Item) -> bool:
        """Whether an item is stored although pictures failed; it is rejected if not."""
        if self._lite and not self._new and item.old is None:
            # The plan may have missed the row while Milvus Lite flushed; its stored picture must not be lost for that.
            item.old = self._collection.stored([item.product.id]).get(item.product.id)
        # Of a vector that mixes both, a picture cannot be kept beside a new text.
        mixed = item.keeps_stored and self._fusion.name != "blocks" and not item.same_text
        kept = self._keeps and not mixed and bool(item.text or item.pictures or item.keeps_stored)
        reason = "; ".join(str(error) for error in item.failures)
        if mixed:
            reason += (
                f" (the new text cannot be mixed with the stored picture by the fusion {self._fusion.name!r})"
            )
        elif not kept and not item.text:
            reason += " (and the row has no text)"
        elif kept and item.keeps_stored:
            reason += " (the stored picture stays)"
        stage = getattr(item.failures[0], "stage", "encode")
        if kept:
            item.lacks = stage, reason
        else:
            self._tally.reject_item(item, stage, reason)
        return kept

    def _tell_what_it_lacks(self, item: Item) -> None:
        """Of an item that is stored now: which pictures it is stored without."""
        if item.lacks is not None:
            stage, reason = item.lacks
            self._tally.reject_item(item, stage, reason, kept=True)

    def _stored_vectors(self, items: list[Item]) -> dict[str, Array]:
        """Vectors of the rows of which something stays. An item whose row has gone in the meantime is rejected."""
        reused = [item for item in items if self._reuses(item)]
        stored: dict[str, Array] = {}
        for attempt in range(_READS):  # Milvus Lite may miss rows for a moment while it flushes
            missing = [item.product.id for item in reused if item.product.id not in stored]
            if not missing:
                break
            time.sleep(_PAUSE * attempt)
            stored |= {id: vector for id, (vector, _, _) in self._collection.vectors(missing).items()}
        for item in reused:
            if item.product.id not in stored:
                items.remove(item)
                self._tally.reject_item(
                    item, "write", "its stored row has gone in the meantime; ingest it again"
                )
        return stored

    def _reuses(self, item: Item) -> bool:
        if item.old is None or self._fusion.name != "blocks":
            return item.same_image and item.same_text
        return (item.same_image and item.old.has_image) or (item.same_text and bool(item.text))

    def _fuse(self, items: Sequence[Item], stored: Mapping[str, Array]) -> list[Array]:
        """Fused vectors, (dim,) each. What was not encoded again is that of the stored row, bit for bit."""
        if self._fusion.name == "blocks":
            for item in items:
                if item.product.id in stored:
                    image, text = self._fusion.split(stored[item.product.id])
                    if item.same_image and item.old is not None and item.old.has_image:
                        item.image_vec = image
                    if item.same_text and item.text:
                        item.text_vec = text
        images, texts = [item.image_vec for item in items], [item.text_vec for item in items]
        fused = list(self._fusion.fuse(images, texts)) if items else []
        for index, item in enumerate(items):
            if item.same_image and item.same_text and item.product.id in stored:
                fused[index] = stored[item.product.id]
        return fused


def _take_vectors(item: Item) -> None:
    """From the slots: the mean of the unit vectors of the pictures, of unit norm again, and the text's vector."""
    vectors = []
    for picture in list(item.pictures):
        slot = picture.slot
        if slot is None:
            continue
        if slot.failure is not None:
            item.drop(picture, slot.failure)
        elif slot.vector is not None:
            vectors.append(slot.vector)
            picture.validator = slot.validator
    if vectors:
        item.image_vec = vectors[0] if len(vectors) == 1 else normalise(np.mean(vectors, axis=0))
    if item.text_slot is not None:
        item.text_vec = item.text_slot.vector


def row_of(item: Item, fused: Array) -> Row:
    """What is stored of an item, with its fused vector (dim,)."""
    reused = item.old is not None and item.same_image
    return Row(
        id=item.product.id,
        text=item.text,
        fused=fused,
        has_image=item.old.has_image if item.old is not None and reused else item.image_vec is not None,
        has_text=bool(item.text),
        attributes=item.product.attributes,
        image=item.image,
        # The stored one also says which version behind a URL was encoded; that is not asked for again.
        image_hash=item.old.image_hash if item.old is not None and reused else item.image_hash,
        text_hash=item.text_hash,
        attributes_hash=item.attributes_hash,
    )
