"""The embedding worker: batches of products become rows of the collection."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from itertools import islice
from typing import TYPE_CHECKING

import numpy as np

from mm_milvus.catalog import Catalog, RejectsFile, default_rejects_path
from mm_milvus.errors import ConfigError, InvalidValue, MediaError, TooManyRejects
from mm_milvus.fusion import normalise
from mm_milvus.ingest.pictures import Pictures, is_url
from mm_milvus.ingest.plan import Item, attributes_hash, picture_identity, plan, text_of
from mm_milvus.records import IngestReport, Product, Rejected, Row

if TYPE_CHECKING:
    import numpy.typing as npt
    from PIL.Image import Image

    from mm_milvus.config import Settings
    from mm_milvus.encoders.base import Encoder
    from mm_milvus.store import Collection

    Array = npt.NDArray[np.float32]
    Progress = Callable[[IngestReport], None]

__all__ = ["run"]

_THREADS = 4  # reading and decoding release the interpreter lock; more than the cores hides slow disks


def run(
    catalog: Catalog,
    collection: Collection,
    encoder: Encoder,
    settings: Settings,
    progress: Progress | None = None,
) -> IngestReport:
    """Ingests the whole catalog and reports. Raises TooManyRejects, its ``report`` filled, after the last row."""
    path = settings.rejects or default_rejects_path(catalog.path)
    if path.resolve() == catalog.path.resolve():
        raise ConfigError(f"the rejects would overwrite the catalog {path}; name another file with --rejects")
    started = time.perf_counter()
    with (
        RejectsFile(path) as rejects,
        Pictures(catalog.root, settings) as pictures,
        _threads() as pool,
    ):
        directory = catalog.kind == "directory"
        worker = _Worker(collection, encoder, settings, pictures, rejects, pool, pictures_only=directory)
        for rows in _batched(catalog.products(), settings.batch_size):
            worker.batch(rows)
            if progress is not None:
                progress(replace(worker.report, problems=worker.problems()))
        collection.flush()
        report = replace(
            worker.report,
            problems=worker.problems(),
            seconds=time.perf_counter() - started,
            rejects_file=str(path) if rejects.count else None,
        )
    if report.read and report.rejected / report.read > settings.max_reject_rate:
        raise TooManyRejects(
            f"{report.rejected} of {report.read} rows were rejected, more than the max_reject_rate of "
            f"{settings.max_reject_rate:g} allows; see {report.rejects_file}",
            report,
        )
    return report


@contextmanager
def _threads() -> Iterator[Executor]:
    """Threads for pictures. An interrupt does not wait for hosts that do not answer."""
    pool = ThreadPoolExecutor(_THREADS, thread_name_prefix="pictures")
    try:
        yield pool
    except BaseException:
        pool.shutdown(wait=False, cancel_futures=True)
        raise
    pool.shutdown()


def _batched(rows: Iterator[Product | Rejected], size: int) -> Iterator[list[Product | Rejected]]:
    while batch := list(islice(rows, size)):
        yield batch


class _Worker:
    """State of one run: where rows go, and what has been counted so far."""

    def __init__(
        self,
        collection: Collection,
        encoder: Encoder,
        settings: Settings,
        pictures: Pictures,
        rejects: RejectsFile,
        pool: Executor,
        *,
        pictures_only: bool,
    ) -> None:
        self._collection = collection
        self._stamp = collection.stamp
        self._encoder = encoder
        self._settings = settings
        self._pictures = pictures
        self._rejects = rejects
        # A folder of pictures has no other text than the names of its files: a product is its picture.
        self._keeps = settings.missing_image == "keep" and not pictures_only
        self._pool = pool
        self._problems: dict[str, tuple[int, str]] = {}  # stage -> how often, and the first case
        self.report = IngestReport(collection.name, text_fields=self._stamp.text_fields)

    def batch(self, rows: Sequence[Product | Rejected]) -> None:
        """One batch through all stages: read, plan, decode, encode, fuse, write."""
        self._count(read=len(rows))
        for row in rows:
            if isinstance(row, Rejected):
                self._reject(row)
                if row.last:
                    self.report = replace(self.report, stopped=f"line {row.line}: {row.reason}")
        read = self._pool.map(self._read, (row for row in rows if isinstance(row, Product)))
        work = dict(read)  # item -> bytes of its pictures that were read
        plan(work, self._collection.stored([item.product.id for item in work]), self._stamp)
        self._encode_pictures([(item, data) for item, data in work.items() if item.encode_image])
        items = [item for item in work if self._worth_writing(item)]
        self._encode_texts([item for item in items if item.encode_text])
        self._write(items, self._fuse(items))

    def problems(self) -> tuple[str, ...]:
        """What was refused, the most frequent stage first."""
        frequent = sorted(self._problems.items(), key=lambda item: -item[1][0])
        return tuple(f"{count:,} × {stage}, first on {first}" for stage, (count, first) in frequent)

    # --- stages --------------------------------------------------------------------------------------------

    def _read(self, product: Product) -> tuple[Item, list[bytes]]:
        """Text, hashes, and the bytes of local pictures. URLs are fetched only when the plan asks for it."""
        text, text_hash = text_of(product, self._stamp)
        image = self._pictures.locate(product.images[0]) if product.images else ""
        item = Item(product, text, text_hash, image, attributes_hash(product.attributes, image))
        data: list[bytes] = []
        for reference in product.images:
            if is_url(reference):
                item.pictures[reference] = picture_identity(reference.encode())
                continue
            try:
                data.append(self._pictures.read(reference))
            except MediaError as error:
                item.failures.append(error)
            else:
                item.pictures[reference] = picture_identity(data[-1])
        return item, data

    def _encode_pictures(self, work: Sequence[tuple[Item, list[bytes]]]) -> None:
        """Sets ``image_vec``: the mean of the unit vectors of a product's pictures, of unit norm again."""
        decoded = list(self._pool.map(lambda pair: self._decode(*pair), work))
        images = [image for images in decoded for image in images]
        if not images:
            return
        vectors = iter(self._encoder.encode_image(images).numpy())
        self._count(images_encoded=len(images))
        for (item, _), pictures in zip(work, decoded, strict=True):
            if pictures:
                item.image_vec = normalise(np.mean([next(vectors) for _ in pictures], axis=0))

    def _decode(self, item: Item, data: Sequence[bytes]) -> list[Image]:
        local = iter(data)
        images = []
        for reference in list(item.pictures):
            try:
                picture = self._pictures.read(reference) if is_url(reference) else next(local)
                images.append(self._pictures.decode(picture))
            except MediaError as error:
                item.failures.append(error)
                del item.pictures[reference]
        return images

    def _worth_writing(self, item: Item) -> bool:
        """Reports pictures that failed; False for an item that is rejected or that is stored already as it is."""
        if item.failures:
            kept = bool(item.text or item.pictures) and self._keeps
            reason = "; ".join(str(error) for error in item.failures)
            reason += "" if kept or item.text else " (and the row has no text)"
            self._reject_item(item, item.failures[0].stage, reason, kept=kept)
            if not kept:
                return False
        elif not item.text and not item.pictures:
            self._reject_item(item, "map", f"no picture, and no text in {', '.join(self._stamp.text_fields)}")
            return False
        if item.unchanged:
            self._count(unchanged=1)
        return not item.unchanged

    def _encode_texts(self, items: Sequence[Item]) -> None:
        if items:
            vectors = self._encoder.encode_text([item.text for item in items]).numpy()
            self._count(texts_encoded=len(items))
            for item, vector in zip(items, vectors, strict=True):
                item.text_vec = vector

    def _fuse(self, items: Sequence[Item]) -> list[Array]:
        """Fused vectors, (dim,) each. What was not encoded again is read back from the stored row, bit for bit."""
        fusion = self._stamp.vectors
        reused = [item.product.id for item in items if item.same_image or item.same_text]
        stored = self._collection.vectors(reused)
        if fusion.name == "blocks":
            for item in items:
                if item.product.id not in stored:
                    continue
                image, text = fusion.split(stored[item.product.id][0])
                if item.same_image and item.image_hash:
                    item.image_vec = image
                if item.same_text and item.text:
                    item.text_vec = text
        fused = list(fusion.fuse([i.image_vec for i in items], [i.text_vec for i in items])) if items else []
        for index, item in enumerate(items):
            if item.same_image and item.same_text and item.product.id in stored:
                fused[index] = stored[item.product.id][0]
        return fused

    def _write(self, items: Sequence[Item], fused: Sequence[Array]) -> None:
        rows = []
        for item, vector in zip(items, fused, strict=True):
            row = self._row(item, vector)
            try:
                self._collection.check(row)
            except InvalidValue as error:
                self._reject_item(item, "write", str(error))
            else:
                rows.append(row)
        self._collection.write(rows)
        self._count(written=len(rows))

    def _row(self, item: Item, fused: Array) -> Row:
        return Row(
            id=item.product.id,
            text=item.text,
            fused=fused,
            has_image=bool(item.image_hash) if item.same_image else item.image_vec is not None,
            has_text=bool(item.text),
            attributes=item.product.attributes,
            image=item.image,
            image_hash=item.image_hash,
            text_hash=item.text_hash,
            attributes_hash=item.attributes_hash,
        )

    # --- counting ------------------------------------------------------------------------------------------

    def _count(self, **more: int) -> None:
        self.report = replace(
            self.report, **{name: getattr(self.report, name) + value for name, value in more.items()}
        )

    def _reject_item(self, item: Item, stage: str, reason: str, *, kept: bool = False) -> None:
        product = item.product
        self._reject(Rejected(product.line, product.id, stage, reason, product.record, kept))

    def _reject(self, rejected: Rejected) -> None:
        self._rejects.write(rejected)
        count, first = self._problems.get(rejected.stage, (0, f"line {rejected.line}: {rejected.reason}"))
        self._problems[rejected.stage] = (count + 1, first)
        self._count(**({"kept": 1} if rejected.kept else {"rejected": 1}))
