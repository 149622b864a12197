"""The embedding worker: catalog -> plan -> fetch -> decode -> encode -> fuse -> write, all of it at the same time.

One thread plans, pools fetch and decode, one or more threads encode, one writes; between them stand bounded queues, so
that the device does not wait for pictures and memory does not grow with the catalog. The calling thread reports.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor, wait
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING

from mm_milvus.catalog import Catalog, RejectsFile, default_rejects_path
from mm_milvus.errors import ConfigError, DeletionRefused, Interrupted, MmMilvusError, TooManyRejects
from mm_milvus.ingest.batches import Batch, Planner
from mm_milvus.ingest.encode import Abandoned, EncodeStage, use_cores
from mm_milvus.ingest.items import ItemReader
from mm_milvus.ingest.pictures import Pictures
from mm_milvus.ingest.sync import CatalogIds, Confirm, Refused, delete_missing
from mm_milvus.ingest.tally import Tally, Waits
from mm_milvus.ingest.writer import Writer
from mm_milvus.records import IngestReport, Product, Rejected

if TYPE_CHECKING:
    from mm_milvus.config import Settings
    from mm_milvus.encoders.base import Encoder
    from mm_milvus.store import Collection

    Progress = Callable[[IngestReport], None]

__all__ = ["check_rejects", "run"]

_AHEAD = 2  # batches beyond those that are being encoded
_DOWNLOADS = 32
_READERS = 4  # more than the cores hides slow disks
_TICK = 0.1  # seconds between two looks at a run


def run(
    catalog: Catalog,
    collection: Collection,
    encoders: Sequence[Encoder],
    settings: Settings,
    progress: Progress | None = None,
    *,
    new: bool = False,
    confirm: Confirm | None = None,
    waits: Waits | None = None,
) -> IngestReport:
    """Ingests the whole catalog and reports.

    ``encoders`` are replicas of one encoder. ``progress`` is called in the calling thread, some ten times a second.
    ``new`` says that the collection has just been created: then nothing is looked up in it. ``confirm`` is asked
    before ``sync`` deletes more than ``max_delete_rate``. ``waits`` counts calls that had to be repeated and can
    end the wait for a Milvus that is away.

    Raises Interrupted after a Ctrl-C, when what was in flight is written; TooManyRejects and DeletionRefused after the
    last row; all of them carry the report. Raises what a stage raises: StoreError, EncoderError, CatalogError.
    """
    with _rejects_file(catalog, settings) as rejects:
        tally = Tally(collection.name, collection.stamp, rejects, waits)
        tally.notices = catalog.notices
        ids = CatalogIds() if settings.sync else None
        flow = _Flow(catalog, collection, encoders, settings, tally, ids, new=new)
        try:
            flow.run(progress)
            with tally.clock("write"):
                collection.flush()
            _finish(collection, settings, tally, ids, confirm)
        except MmMilvusError as error:
            error.report = tally.report()
            raise
        except KeyboardInterrupt:
            flow.stop()
            if waits is not None:
                waits.stop()
            flow.join()  # a second Ctrl-C ends this too
            tally.stopped = "interrupted"
            raise Interrupted(tally.report()) from None
        except BaseException:  # of ``progress``, for instance: no stage goes on behind the caller's back
            flow.stop()
            if waits is not None:
                waits.stop()
            flow.join()
            raise
        finally:  # what was written until an error is seen by others, too
            collection.settle()
    return tally.report()


def check_rejects(catalog: Catalog, settings: Settings) -> None:
    """What ``run`` would refuse, before a model is loaded. Raises ConfigError when the rejects file cannot be made."""
    _rejects_file(catalog, settings).check()


def _rejects_file(catalog: Catalog, settings: Settings) -> RejectsFile:
    path = settings.rejects or default_rejects_path(catalog.path)
    if path.resolve() == catalog.path.resolve():
        raise ConfigError(f"the rejects would overwrite the catalog {path}; name another file with --rejects")
    return RejectsFile(path)


def _finish(
    collection: Collection, settings: Settings, tally: Tally, ids: CatalogIds | None, confirm: Confirm | None
) -> None:
    """What can be said only after the last row: whether too much was refused, and what has to be deleted."""
    report = tally.report()
    if report.read and report.rejected / report.read > settings.max_reject_rate:
        untouched = "; nothing was deleted" if ids is not None else ""
        raise TooManyRejects(
            f"{report.rejected} of {report.read} rows were rejected, more than the max_reject_rate of "
            f"{settings.max_reject_rate:g} allows; see {report.rejects_file}{untouched}",
            report,
        )
    if ids is not None:
        try:
            tally.add(deleted=delete_missing(collection, ids, settings.max_delete_rate, confirm))
        except Refused as error:
            raise DeletionRefused(f"nothing was deleted: {error}", tally.report()) from error


class _Flow:
    """The threads and queues of one run."""

    def __init__(
        self,
        catalog: Catalog,
        collection: Collection,
        encoders: Sequence[Encoder],
        settings: Settings,
        tally: Tally,
        ids: CatalogIds | None,
        *,
        new: bool,
    ) -> None:
        self._catalog = catalog
        self._collection = collection
        self._encoders = encoders
        self._settings = settings
        self._tally = tally
        self._ids = ids
        self._new = new
        # A folder of pictures has no other text than the names of its files: a product is its picture.
        keeps = settings.missing_image == "keep" and catalog.kind != "directory"
        self._writer = Writer(collection, tally, keeps=keeps, new=new)
        self._stopping = threading.Event()
        self._error: BaseException | None = None
        self._encode = EncodeStage(encoders, tally, self._stopping)
        self._room = threading.Semaphore(self._encode.threads + _AHEAD)
        self._queue: SimpleQueue[Future[Batch] | None] = SimpleQueue()  # as long as there is room
        self._pictures = Pictures(catalog.root, settings)
        self._ended = {stage: threading.Event() for stage in (self._plan, self._write)}
        self._threads = [
            threading.Thread(
                target=self._guarded, args=(stage,), name=f"ingest-{stage.__name__}", daemon=True
            )
            for stage in self._ended
        ]

    def run(self, progress: Progress | None) -> None:
        """Returns when everything is written. Raises the first error of any stage."""
        for thread in self._threads:
            thread.start()
        while running := self._running():
            running[0].wait(_TICK)
            if progress is not None:
                progress(self._tally.report())
        if self._error is not None:
            raise self._error

    def stop(self) -> None:
        """No further batch is begun; what is being encoded is written."""
        self._stopping.set()
        self._pictures.close()

    def join(self) -> None:
        while running := self._running():
            running[0].wait(_TICK)

    def _running(self) -> list[threading.Event]:
        """What the stages that were started and are not over will set.

        ``Thread.join`` cannot be asked: when a Ctrl-C ends it, Python 3.11 takes the thread for a dead one.
        """
        started = zip(self._threads, self._ended.values(), strict=True)
        return [ended for thread, ended in started if thread.ident is not None and not ended.is_set()]

    def _guarded(self, stage: Callable[[], None]) -> None:
        try:
            stage()
        except BaseException as error:  # raised again by the calling thread
            self._fail(error)
        finally:
            self._ended[stage].set()

    def _fail(self, error: BaseException) -> None:
        self._error = self._error or error
        self.stop()

    def _plan(self) -> None:
        """Starts the work on one batch after the other, as long as there is room."""
        pools = {
            "ask": ThreadPoolExecutor(_DOWNLOADS, "ask"),
            "fetch": ThreadPoolExecutor(_DOWNLOADS, "fetch"),
            "read": ThreadPoolExecutor(_READERS, "read"),
            "decode": ThreadPoolExecutor(os.cpu_count() or 1, "decode", initializer=use_cores, initargs=(1,)),
            "encode": ThreadPoolExecutor(
                self._encode.threads, "encode", initializer=use_cores, initargs=(self._encode.cores_each,)
            ),
        }
        try:
            with self._pictures:
                reader = ItemReader(
                    self._collection.stamp, self._pictures, self._settings, pools["read"], pools["ask"]
                )
                planner = Planner(
                    reader, self._collection, self._encoders[0], self._settings, self._tally, pools
                )
                batches = planner.batches(self._rows(), new=self._new, seen=self._seen)
                try:
                    while self._has_room() and (batch := next(batches, None)) is not None:
                        self._queue.put(pools["encode"].submit(self._encoded, batch))
                except (
                    BaseException
                ) as error:  # before the downloads are closed: theirs are no failures of pictures
                    self._fail(error)
                    raise
                self._queue.put(None)
                for pool in pools.values():  # in this order: what was fetched has to be decoded, then encoded
                    pool.shutdown(wait=not self._stopping.is_set(), cancel_futures=self._stopping.is_set())
        finally:
            self._queue.put(None)
            for pool in pools.values():  # after an error too, whose traceback would keep their threads
                pool.shutdown(wait=False, cancel_futures=True)

    def _rows(self) -> Iterator[Product | Rejected]:
        for row in self._catalog.products():
            if self._stopping.is_set():
                return
            yield row

    def _seen(self, row: Product | Rejected) -> None:
        if self._ids is not None:
            self._ids.add(row)
        if isinstance(row, Rejected):
            self._tally.reject(row)

    def _has_room(self) -> bool:
        """Waits until another batch may be begun; False when the run was stopped."""
        while not self._stopping.is_set():
            if self._room.acquire(timeout=_TICK):
                return not self._stopping.is_set()
        return False

    def _encoded(self, batch: Batch) -> Batch:
        try:
            return self._encode(batch)
        except BaseException as error:
            if not isinstance(error, Abandoned):
                self._fail(error)  # at once: other batches may wait for what this one should have encoded
            raise

    def _write(self) -> None:
        """Takes batches in their order. After a stop those that were encoded are still written."""
        while (future := self._next()) is not None:
            try:
                batch = future.result()
            except (Abandoned, CancelledError):
                continue
            except BaseException as error:  # what was encoded before and beside it is still written
                self._fail(error)
                continue
            self._writer.add(batch)
            self._room.release()
        self._writer.flush()

    def _next(self) -> Future[Batch] | None:
        """The next batch, done in one way or the other. Meanwhile what has waited long enough is written."""
        while True:
            try:
                future = self._queue.get(timeout=_TICK)
                break
            except Empty:
                self._writer.flush_due()
        while future is not None and not future.done():  # ``wait`` does not see that one was cancelled
            wait([future], timeout=_TICK)
            self._writer.flush_due()
        return future
