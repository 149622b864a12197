"""Catalog -> batches of items that have to be written; their pictures are on the way to being decoded.

A product whose pictures have to be downloaded joins a batch when they are there: a slow host holds up nobody else.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import FIRST_COMPLETED, Executor, Future, wait
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mm_milvus.errors import MediaError, MmMilvusError
from mm_milvus.ingest.lanes import Lanes
from mm_milvus.ingest.pictures import host_of
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
_PATIENCE = 1.0  # seconds that products wait for those whose pictures are still being downloaded
_ARRIVING = 4  # batches of products, and at least 256 products, whose pictures are being downloaded


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
        self._downloads = Lanes(pools["fetch"], settings.per_host)
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
        for item in self._arrived(self._changed_items(chunks, new=new), size):
            if item is not None:
                (to_encode if item.has_work else to_copy).append(item)
            if to_encode and (item is None or _is_full(to_encode, size)):
                yield self._started(to_encode)
                to_encode = []
            if len(to_copy) >= _LOOKUP:
                yield Batch(to_copy, encode=False)
                to_copy = []
        if to_encode:
            yield self._started(to_encode)
        if to_copy:
            yield Batch(to_copy, encode=False)

    def _changed_items(self, chunks: Iterator[list[Item]], *, new: bool) -> Iterator[Item]:
        while True:
            with self._tally.clock("read"):
                chunk = next(chunks, None)
            if chunk is None:
                return
            with self._tally.clock("plan"):
                changed = self._changed(chunk, new=new)
            yield from changed

    def _arrived(self, items: Iterator[Item], size: int) -> Iterator[Item | None]:
        """The same items, those with pictures to download once these are there; a bounded number waits for that.

        None in between says that nothing more comes for a while.
        """
        arriving: list[Item] = []
        pause: tuple[Item | None] = (None,)
        most = max(256, _ARRIVING * size)
        look_at = size  # so many make it worth looking who has arrived
        for item in items:
            if not self._download_pictures(item):
                yield item
                continue
            arriving.append(item)
            patience = 0.0
            while len(arriving) >= look_at:
                arrived, arriving = _part(arriving, patience)
                yield from arrived or (pause if patience else ())
                look_at, patience = min(len(arriving) + size, most), _PATIENCE
        while arriving:
            arrived, arriving = _part(arriving, _PATIENCE)
            yield from arrived or pause

    def _changed(self, items: list[Item], *, new: bool) -> list[Item]:
        stored = {} if new else self._collection.stored([item.product.id for item in items])
        self._reader.compare(items, stored)
        plan(items, self._collection.stamp.fusion)
        read = sum(len(picture.data or b"") for item in items for picture in item.pictures)
        for item in items:
            if not item.encode_image:
                for picture in item.pictures:
                    picture.data = None  # items that are only copied wait by the thousand
        # An item with failures goes on even if nothing has changed: the writer reports them.
        same = [item for item in items if item.unchanged and not item.failures]
        self._tally.add(unchanged=len(same), bytes_read=read)
        return [item for item in items if not item.unchanged or item.failures]

    def _started(self, items: list[Item]) -> Batch:
        files: list[tuple[Slot, bytes]] = []
        for item in items:
            if item.encode_image:
                self._start_pictures(item, files)
            if item.encode_text:
                key = bytes.fromhex(item.text_hash)
                found = self._texts.get(key)
                item.text_shared = found is not None
                item.text_slot = found or self._texts.add(key, Slot(item.text))
        self._decode_in_groups(files)
        return Batch(items, encode=True)

    def _download_pictures(self, item: Item) -> bool:
        """Starts the downloads of the item, if it needs any. False when there is nothing to wait for."""
        if not item.encode_image or not any(picture.url for picture in item.pictures):
            return False
        files: list[tuple[Slot, bytes]] = []
        self._start_pictures(item, files)
        self._decode_in_groups(files)
        return any(_is_on_its_way(picture) for picture in item.pictures)

    def _start_pictures(self, item: Item, files: list[tuple[Slot, bytes]]) -> None:
        """Gives each picture its slot. A new one is downloaded from here on, or added to ``files``, to be decoded."""
        for picture in item.pictures:
            if picture.slot is not None:
                continue
            found = self._images.get(picture.identity)
            # Of an address that failed before, the host may be back.
            if found is not None and not (picture.url and found.failure):
                picture.slot, picture.shared = found, True
            else:
                picture.slot = self._images.add(picture.identity, Slot())
                if picture.data is None:
                    self._start_download(picture.reference, picture.slot)
                else:
                    files.append((picture.slot, picture.data))
            picture.data = None

    def _decode_in_groups(self, files: list[tuple[Slot, bytes]]) -> None:
        for start in range(0, len(files), _DECODED_TOGETHER):
            part = files[start : start + _DECODED_TOGETHER]
            decoding = self._decoders.submit(self._decode, part)
            for slot, _ in part:
                slot.decoding = decoding

    def _start_download(self, reference: str, slot: Slot) -> None:
        decoding = slot.decoding = Future()
        self._downloads.submit(host_of(reference), lambda: self._download(reference, slot, decoding))

    def _download(self, reference: str, slot: Slot, decoding: Future[None]) -> None:
        try:
            with self._tally.clock("fetch"):
                fetched = self._reader.pictures.fetch(reference)
            self._tally.add(bytes_read=len(fetched.data), cache_hits=fetched.cached)
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
                except MemoryError:
                    slot.fail(MediaError("too little memory to decode the picture", stage="decode"))


def _is_on_its_way(picture: Picture) -> bool:
    decoding = picture.slot.decoding if picture.slot is not None else None
    return decoding is not None and not decoding.done()


def _part(items: list[Item], seconds: float) -> tuple[list[Item], list[Item]]:
    """Those whose pictures have arrived, and those that still wait for one; up to ``seconds`` pass until the next."""
    if seconds:
        pictures = [picture.slot for item in items for picture in item.pictures if picture.slot is not None]
        futures = {future for slot in pictures if (future := slot.decoding) is not None and not future.done()}
        wait(futures, seconds, return_when=FIRST_COMPLETED)
    arrived: list[Item] = []
    arriving: list[Item] = []
    for item in items:
        waits = any(_is_on_its_way(picture) for picture in item.pictures)
        (arriving if waits else arrived).append(item)
    return arrived, arriving


def _is_full(items: list[Item], size: int) -> bool:
    return len(items) >= size or sum(len(item.pictures) for item in items) >= _PICTURES * size
