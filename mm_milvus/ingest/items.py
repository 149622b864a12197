"""A product -> an item of the plan: its text, its hashes, and the bytes of its local pictures."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Executor
from itertools import islice
from typing import TYPE_CHECKING

from mm_milvus.errors import MediaError
from mm_milvus.ingest.pictures import Pictures, is_url
from mm_milvus.ingest.plan import Item, Picture, attributes_hash, identity, text_of
from mm_milvus.ingest.slots import without_frames
from mm_milvus.records import Product, Rejected

if TYPE_CHECKING:
    from mm_milvus.config import Settings
    from mm_milvus.store import Stamp, Stored

__all__ = ["ItemReader"]

_AT_ONCE = 16  # products that one thread reads in a row: handing over a single one costs more than reading it
_WINDOW_BYTES = 32 << 20  # of local pictures that wait for their plan


class ItemReader:
    """Reads rows of the catalog in threads, in their order and a bounded number ahead."""

    def __init__(
        self, stamp: Stamp, pictures: Pictures, settings: Settings, files: Executor, urls: Executor
    ) -> None:
        self.pictures = pictures
        self._stamp = stamp
        self._settings = settings
        self._files = files
        self._urls = urls

    def chunks(
        self, rows: Iterator[Product | Rejected], size: int, seen: Callable[[Product | Rejected], None]
    ) -> Iterator[list[Item]]:
        """Items of up to ``size`` rows whose pictures stay below a bound of bytes. ``seen`` is called for each row."""
        chunk: list[Item] = []
        read = 0
        while group := list(islice(rows, _AT_ONCE * 4)):
            for row in group:
                seen(row)
            products = [row for row in group if isinstance(row, Product)]
            parts = [products[start : start + _AT_ONCE] for start in range(0, len(products), _AT_ONCE)]
            for items in self._files.map(self._read, parts):
                chunk += items
                read += sum(len(picture.data or b"") for item in items for picture in item.pictures)
            if len(chunk) >= size or read >= _WINDOW_BYTES:
                yield chunk
                chunk, read = [], 0
        if chunk:
            yield chunk

    def _read(self, products: Sequence[Product]) -> list[Item]:
        return [self.item(product) for product in products]

    def item(self, product: Product) -> Item:
        """The item of a product. A local picture that cannot be read is among its failures already."""
        text, text_hash = text_of(product, self._stamp)
        image = self.pictures.locate(product.images[0]) if product.images else ""
        item = Item(product, text, text_hash, image, attributes_hash(product.attributes, image))
        item.refetch = self._settings.refetch == "always"
        first_only = self._settings.images == "first"
        for reference in product.images[:1] if first_only else product.images:
            if is_url(reference):
                item.pictures.append(Picture(reference, identity(reference.encode()), url=True))
                continue
            try:
                data = self.pictures.fetch(reference).data
            except MediaError as error:
                item.failures.append(without_frames(error))
            else:
                item.pictures.append(Picture(reference, identity(data), data=data))
        return item

    def compare(self, items: Sequence[Item], stored: Mapping[str, Stored]) -> None:
        """Sets the stored row of each item, and asks the hosts of known URLs for the version they have now."""
        for item in items:
            item.old = stored.get(item.product.id)
        if self._settings.refetch == "changed":
            asked = [item for item in items if item.same_addresses and any(p.url for p in item.pictures)]
            list(self._urls.map(self._ask, asked))

    def _ask(self, item: Item) -> None:
        for picture in item.pictures:
            if not picture.url:
                continue
            try:
                picture.validator = self.pictures.validator(picture.reference)
            except MediaError:  # a host that is away says nothing of a picture that is stored already
                return
