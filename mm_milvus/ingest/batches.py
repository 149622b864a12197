"""Catalog -> batches of items that have to be written, in order; their pictures are on the way to being decoded."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Executor, Future
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mm_milvus.errors import MediaError, MmMilvusError
from mm_milvus.ingest.plan import Item, Picture, plan
from mm_milvus.ingest.slots import Slot, Slots
from mm_milvus.media import decode_pixels
from mm_milvus.records import Product, Rejected

if TYPE_CHECKING:
    from mm_milvus.config import Settings
    from mm_milvus.encoders.base import Encoder
    from mm_milvus.ingest.items import ItemReader
    from mm_milvus.ingest.tally import Tally
    from mm_milvus.store import Collection

__all__ = ["Batch", "Planner"]

_LOOKUP = (
    1_000  # rows of one look-up: on a server a strongly consistent one takes up to 0.2 s, whatever its size
)
_ON_CPU, _ON_CUDA = 16, 256  # products of a batch
_DECODED_TOGETHER = 8  # handing over a single picture costs as much as decoding a small one
_PICTURES = 4  # per product of a batch, on average; more make a smaller batch


@dataclass(frozen=True, slots=True, eq=False)
class Batch:
    """Items of one kind: all need the encoder, or none does."""

    items: list[Item]
    encode: bool

    @property
    def slots(self) -> list[Slot]:
        """Where the vectors of its pictures will be."""
        return [picture.slot for item in self.items for picture in item.pictures if picture.slot]


class Planner:
    """Runs in one thread; reading, downloads and decoding run in the pools."""

    def __init__(
        self,
        reader: ItemReader,
        collection: Collection,
        encoder: Encoder,
        settings: Settings,
        tally: Tally,
        pools: Mapping[str, Executor],
    ) -> None:
        self._reader = reader
        self._collection = collection
        self._encoder = encoder
        self._settings = settings
        self._tally = tally
        self._downloads = pools["fetch"]
        self._decoders = pools["decode"]
        self._images = Slots()
        self._texts = Slots()

    def batches(
        self, rows: Iterator[Product | Rejected], *, new: bool, seen: Callable[[Product | Rejected], None]
    ) -> Iterator[Batch]:
        """``new``: the collection was empty when the run began, so that nothing has to be looked up."""
        size = self._settings.batch_size or (_ON_CUDA if self._encoder.device.startswith("cuda") else _ON_CPU)
        to_encode: list[Item] = []
        to_copy: list[Item] = []
        chunks = self._reader.chunks(rows, size if new else _LOOKUP, seen)
        while True:
            with self._tally.clock("read"):
                chunk = next(chunks, None)
            if chunk is None:
                break
            with self._tally.clock("plan"):
                changed = self._changed(chunk, new=new)
            for item in changed:
                part = to_encode if item.has_work else to_copy
                part.append(item)
                if item.has_work and _is_full(part, size):
                    yield self._started(part)
                    to_encode = []
            if len(to_copy) >= _LOOKUP:
                yield Batch(to_copy, encode=False)
                to_copy = []
        if to_encode:
            yield self._started(to_encode)
        if to_copy:
            yield Batch(to_copy, encode=False)

    def _changed(self, items: list[Item], *, new: bool) -> list[Item]:
        stored = {} if new else self._collection.stored([item.product.id for item in items])
        self._reader.compare(items, stored)
        plan(items, self._collection.stamp.fusion)
        read = sum(len(picture.data or b"") for item in items for picture in item.pictures)
        # An item with failures goes on even if nothing has changed: the writer reports them.
        same = [item for item in items if item.unchanged and not item.failures]
        self._tally.add(unchanged=len(same), bytes_read=read)
        return [item for item in items if not item.unchanged or item.failures]

    def _started(self, items: list[Item]) -> Batch:
        files: list[tuple[Slot, bytes]] = []
        for item in items:
            if item.encode_image:
                for picture in item.pictures:
                    picture.slot = self._image_slot(picture, files)
                    picture.data = None
            if item.encode_text:
                key = bytes.fromhex(item.text_hash)
                found = self._texts.get(key)
                item.text_shared = found is not None
                item.text_slot = found or self._texts.add(key, Slot(item.text))
        for start in range(0, len(files), _DECODED_TOGETHER):
            part = files[start : start + _DECODED_TOGETHER]
            decoding = self._decoders.submit(self._decode, part)
            for slot, _ in part:
                slot.decoding = decoding
        return Batch(items, encode=True)

    def _image_slot(self, picture: Picture, files: list[tuple[Slot, bytes]]) -> Slot:
        """The slot of a picture. A new one is downloaded from here on, or added to ``files``, to be decoded."""
        if (found := self._images.get(picture.identity)) is not None:
            picture.shared = True
            return found
        slot = self._images.add(picture.identity, Slot())
        if picture.data is not None:
            files.append((slot, picture.data))
        else:
            slot.decoding = Future()
            self._downloads.submit(self._download, picture.reference, slot, slot.decoding)
        return slot

    def _download(self, reference: str, slot: Slot, decoding: Future[None]) -> None:
        try:
            with self._tally.clock("fetch"):
                fetched = self._reader.pictures.fetch(reference)
            self._tally.add(bytes_read=len(fetched.data))
            slot.validator = fetched.validator
            self._decoders.submit(self._decode_one, slot, fetched.data, decoding)
        except MediaError as error:
            slot.fail(error)
            decoding.set_result(None)
        except BaseException as error:  # whoever waits for the picture raises it
            decoding.set_exception(error)

    def _decode_one(self, slot: Slot, data: bytes, decoding: Future[None]) -> None:
        try:
            self._decode([(slot, data)])
            decoding.set_result(None)
        except BaseException as error:  # whoever waits for the picture raises it
            decoding.set_exception(error)

    def _decode(self, files: list[tuple[Slot, bytes]]) -> None:
        with self._tally.clock("decode"):
            for slot, data in files:
                try:
                    pixels = decode_pixels(data, smallest=self._encoder.smallest_side)
                    slot.content = self._encoder.prepare(pixels)
                except MmMilvusError as error:
                    slot.fail(error)


def _is_full(items: list[Item], size: int) -> bool:
    return len(items) >= size or sum(len(item.pictures) for item in items) >= _PICTURES * size
